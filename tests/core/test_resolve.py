"""resolve: unions, set algebra, groups, time, authority, what stays on leaving, a digest that moves with meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.manifests.set_members import members_of
from reconciler.core.manifests.wants import NOTHING, Want
from reconciler.core.model.batch import Reason
from reconciler.core.model.manifest import Authority, Combined, ContactSet, ListedContacts, OnLeave, TagRule
from reconciler.core.model.names import ContactId, Instant, SetName, Source, Tag
from reconciler.core.model.release_rules import TagPace, TagWindow
from tests.build import DAY, HERE, NOW, a_manifest, a_rule, a_set, declare, ids, names, rules, tags, union

ANNA, BERT, CARA = ids("anna bert cara")
KEEP = OnLeave.KEEP


def present(desired: Desired, contact: ContactId) -> set[str]:
    return set(desired.want(contact).present)


def absent(desired: Desired, contact: ContactId) -> dict[str, Reason]:
    return {tag: cause.reason for tag, cause in desired.want(contact).absent.items()}


def members(*sets: ContactSet, of: str) -> set[str]:
    return set(members_of(sets)[SetName(of)])


def test_a_contact_shall_carry_the_union_of_its_sets() -> None:
    desired = declare(a_set("a", "anna bert", "x y"), a_set("b", "bert cara", "y z", absent="w"))
    assert [present(desired, each) for each in (ANNA, BERT, CARA)] == [{"x", "y"}, {"x", "y", "z"}, {"y", "z"}]
    assert absent(desired, ANNA) == {}
    assert absent(desired, BERT) == {"w": Reason.ABSENT}


def test_a_contact_of_no_set_is_wanted_nothing() -> None:
    assert declare(a_set("a", "anna", "x")).want(BERT) is NOTHING


def test_every_place_that_asks_for_a_tag_is_named() -> None:
    one, other = Source("a.yaml", 3, 5), Source("b.yaml", 1, 2)
    desired = resolve(
        [
            a_manifest(a_set("b", "anna", "x", place=other), path="b.yaml"),
            a_manifest(a_set("a", "anna", "x", place=one), path="a.yaml"),
        ],
        now=NOW,
    )
    assert desired.want(ANNA).present == {"x": (one, other)}


@pytest.mark.parametrize(
    ("contacts", "expected"),
    [
        (union("some"), "anna bert"),
        (union("some others"), "anna bert cara"),
        (union("some others", minus="others"), "anna"),
        (union("some others", only="others"), "bert cara"),
        (union("some others", only="others", minus="some"), "cara"),
        (union("some", only="others", minus="others"), ""),
        (union("some others", only="alone others"), "anna bert cara"),
        (union("some", minus="some"), ""),
        (union("some", minus="alone empty"), "bert"),
        (union("empty"), ""),
    ],
)
def test_set_algebra(contacts: Combined, expected: str) -> None:
    base = (a_set("some", "anna bert"), a_set("others", "bert cara"), a_set("alone", "anna"), a_set("empty", ""))
    found = replace(base[0], name=SetName("combined"), contacts=contacts)
    assert members(found, *base, of="combined") == set(expected.split())


def test_sets_of_sets_of_sets_are_worked_out_in_any_order() -> None:
    sets = [a_set("s0", "anna bert cara"), *(a_set(f"s{n}", union(f"s{n - 1}", minus="bert")) for n in range(1, 2_000))]
    bert = a_set("bert", "bert")
    for ordered in ([*sets, bert], [bert, *reversed(sets)]):
        assert members(*ordered, of="s1999") == {"anna", "cara"}


def test_an_unknown_set_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(KeyError):
        members_of([a_set("a", union("nobody"))])


def test_membership_ignores_time_and_declaring_obeys_it() -> None:
    desired = declare(
        a_set("ended", "anna bert", "old", until=NOW), a_set("now", union("ended"), "new", authority=Authority.OWNED)
    )
    assert present(desired, ANNA) == {"new"}
    assert set(desired.want(ANNA).expired) == {"old"}
    assert {each.name: (len(each.members), each.active) for each in desired.sets} == {
        "ended": (2, False),
        "now": (2, True),
    }


@pytest.mark.parametrize(
    ("start", "until", "active"),
    [
        (None, None, True),
        (NOW, None, True),
        (NOW + 1, None, False),
        (NOW - 1, None, True),
        (None, NOW, False),
        (None, NOW + 1, True),
        (None, NOW - 1, False),
        (NOW, NOW + 1, True),
        (NOW - 1, NOW, False),
        (NOW, NOW, False),
    ],
)
def test_from_is_inclusive_and_until_exclusive(start: int | None, until: int | None, active: bool) -> None:
    desired = declare(a_set("a", "anna", "x", absent="y", start=start, until=until))
    assert present(desired, ANNA) == ({"x"} if active else set())
    assert set(absent(desired, ANNA)) == ({"y"} if active else set())


def test_a_tag_that_another_set_declares_is_not_expired() -> None:
    desired = declare(a_set("ended", "anna", "x y", until=NOW), a_set("now", "anna", "y"))
    assert set(desired.want(ANNA).expired) == {"x"}


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([], None),
        ([(None, NOW)], None),
        ([(NOW, None)], None),
        ([(None, NOW + 1)], NOW + 1),
        ([(NOW + 5, NOW + 9)], NOW + 5),
        ([(NOW - 5, NOW + 9), (NOW + 7, None)], NOW + 7),
    ],
)
def test_valid_until_is_the_next_boundary(edges: list[tuple[int | None, int | None]], expected: int | None) -> None:
    sets = [a_set(f"s{n}", "anna", "x", start=start, until=until) for n, (start, until) in enumerate(edges)]
    assert declare(*sets).valid_until == expected


def test_nothing_changes_before_valid_until() -> None:
    sets = (a_set("a", "anna", "x", until=NOW + DAY), a_set("b", "anna bert", "y", start=NOW + 3 * DAY))
    first = declare(*sets)
    assert first.valid_until is not None
    assert declare(*sets, now=first.valid_until - 1).digest == first.digest
    assert declare(*sets, now=first.valid_until).digest != first.digest


def test_the_other_tags_of_a_declared_tags_group_are_absent() -> None:
    group = [a_rule(tag, group="lifecycle") for tag in ("lead", "customer", "churned")]
    desired = declare(a_set("a", "anna", "customer"), a_set("b", "bert", "vip"), rule=group)
    assert absent(desired, ANNA) == {"lead": Reason.GROUP, "churned": Reason.GROUP}
    assert absent(desired, BERT) == {}


def test_a_tag_asked_to_be_absent_is_so_by_name_even_in_a_group() -> None:
    group = [a_rule(tag, group="lifecycle") for tag in ("lead", "customer")]
    assert absent(declare(a_set("a", "anna", "customer", absent="lead"), rule=group), ANNA) == {"lead": Reason.ABSENT}


def test_a_group_out_of_time_excludes_nothing() -> None:
    group = [a_rule(tag, group="lifecycle") for tag in ("lead", "customer")]
    assert absent(declare(a_set("a", "anna", "customer", until=NOW), rule=group), ANNA) == {}


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ((None, None), Authority.ADDITIVE),
        ((Authority.OWNED, None), Authority.OWNED),
        ((Authority.EXACT, Authority.OWNED), Authority.EXACT),
        ((Authority.ADDITIVE, Authority.EXACT), Authority.EXACT),
    ],
)
def test_the_strongest_authority_holds(sets: tuple[Authority | None, ...], expected: Authority) -> None:
    given_sets = [a_set(f"s{n}", "anna", "x", authority=each) for n, each in enumerate(sets)]
    assert declare(*given_sets).want(ANNA).authority is expected


def test_a_set_out_of_time_has_no_authority() -> None:
    strong = a_set("a", "anna", "x", authority=Authority.EXACT, ignore="wf-*", until=NOW)
    want = declare(strong, a_set("b", "anna", "y")).want(ANNA)
    assert (want.authority, want.ignore) == (Authority.ADDITIVE, ())


def test_authority_falls_back_from_set_to_manifest_to_settings() -> None:
    own = a_manifest(a_set("a", "anna", "x", authority=Authority.ADDITIVE), a_set("b", "bert", "x"))
    other = a_manifest(a_set("c", "cara", "x"))
    desired = resolve([replace(own, authority=Authority.EXACT), other], now=NOW, authority=Authority.OWNED)
    expected = [Authority.ADDITIVE, Authority.EXACT, Authority.OWNED]
    assert [desired.want(each).authority for each in (ANNA, BERT, CARA)] == expected


def test_a_manifests_rule_stands_in_place_of_the_shared_one() -> None:
    desired = declare(a_set("a", "anna", "x"), rule=[a_rule("x", once=True)], shared=[a_rule("x", protected=True)])
    assert desired.rules == rules(a_rule("x", once=True))


def test_tags_stay_on_leaving_only_where_every_set_that_declares_them_keeps_them() -> None:
    desired = declare(
        a_set("keep", "anna bert", "x y", on_leave=KEEP), a_set("firm", "bert", "y"), a_set("more", "cara", "z")
    )
    assert desired.want(ANNA).keep == tags("x y")
    assert desired.want(BERT).keep == tags("x")
    assert desired.want(CARA).keep == tags("")


def test_owned_tags_are_those_named_in_the_locations_manifests() -> None:
    desired = declare(
        a_set("a", "anna", "x", absent="y"), a_set("b", "", "z", until=NOW), rule=[a_rule("r")], shared=[a_rule("s")]
    )
    assert desired.owned == tags("x y z r")


def test_what_a_shared_group_excludes_is_owned() -> None:
    group = [a_rule(tag, group="lifecycle") for tag in ("lead", "customer")]
    desired = declare(a_set("a", "anna", "customer"), shared=[*group, a_rule("other", group="else")])
    assert absent(desired, ANNA) == {"lead": Reason.GROUP}
    assert desired.owned == tags("lead customer")


BASE = a_manifest(
    a_set("a", "anna bert", "x", absent="w", ignore="wf-*", authority=Authority.OWNED),
    a_set("b", union("a", minus="c"), "y", on_leave=KEEP, until=NOW + DAY),
    a_set("c", "bert cara", "z"),
    rule=[a_rule("x", group="g", max_adds=3), a_rule("v", group="g")],
)


def digest(*sets: ContactSet, rule: Mapping[Tag, TagRule] | None = None, now: int = NOW) -> str:
    manifest = replace(BASE, sets=sets or BASE.sets, rules=BASE.rules if rule is None else rule)
    return resolve([manifest], now=Instant(now)).digest


def without_meaning() -> list[tuple[ContactSet, ...]]:
    a, b, c = BASE.sets
    elsewhere = Source("other.yaml", 77, 7)
    return [
        (c, b, a),
        (replace(a, source=elsewhere), b, c),
        (replace(a, contacts=ListedContacts(ids("bert anna"), elsewhere, "contacts.csv")), b, c),
        (a_set("a", "anna bert", "x", absent="w", ignore="wf-*", authority=Authority.OWNED, place=elsewhere), b, c),
        (replace(a, contacts=union("people")), b, c, a_set("people", "anna bert")),
        (a, b, c, a_set("people", "dora emil")),
        (a, b, c, a_set("same", "anna", "x", authority=Authority.ADDITIVE)),
        (replace(a, allow_empty=True, name=SetName("renamed")), replace(b, contacts=union("renamed", minus="c")), c),
        (a, replace(b, until=Instant(NOW + 2 * DAY)), c),
    ]


@pytest.mark.parametrize("sets", without_meaning())
def test_the_digest_stays_where_nothing_that_matters_changed(sets: tuple[ContactSet, ...]) -> None:
    assert digest(*sets) == digest()


def with_meaning() -> list[tuple[ContactSet, ...]]:
    a, b, c = BASE.sets
    return [
        (a, c),
        (a_set("a", "anna bert dora", "x", absent="w", ignore="wf-*", authority=Authority.OWNED), b, c),
        (replace(a, ignore=()), b, c),
        (replace(a, authority=None), b, c),
        (replace(a, absent=()), b, c),
        (replace(a, tags=c.tags), b, c),
        (a, replace(b, on_leave=OnLeave.REMOVE), c),
        (a, replace(b, until=NOW), c),
        (a, replace(b, contacts=union("a", only="c")), c),
        (a, replace(b, contacts=replace(union("a"), minus=names("b2"))), c, a_set("b2", "bert", "y")),
    ]


@pytest.mark.parametrize("sets", with_meaning())
def test_the_digest_moves_with_what_is_declared(sets: tuple[ContactSet, ...]) -> None:
    assert digest(*sets) != digest()


CHANGED: dict[str, object] = {
    "group": "h",
    "max_adds": 4,
    "max_removes": 1,
    "min_holders": 1,
    "protected": True,
    "triggers": True,
    "once": True,
    "inert": True,
    "exclusive": True,
    "renamed_from": "top",
    "pace": TagPace(500, 3_600_000),
    "window": TagWindow((0,), 540, 1_080, "UTC"),
}


@pytest.mark.parametrize(
    "name", [each.name for each in fields(TagRule) if each.name not in ("tag", "source", "description")]
)
def test_the_digest_moves_with_every_field_of_a_rule_but_two(name: str) -> None:
    """A field that is new fails here until it is told what to change it to, or that no plan depends on it."""
    changed = replace(BASE.rules[Tag("x")], **{name: CHANGED[name]})  # type: ignore[arg-type]
    assert digest(rule={**BASE.rules, **rules(changed)}) != digest()


def test_the_digest_stays_with_a_description() -> None:
    described = rules(*(replace(rule, description="text", source=Source("x", 9)) for rule in BASE.rules.values()))
    assert digest(rule=described) == digest()


def test_the_digest_tells_one_odd_id_from_two() -> None:
    odd = replace(a_set("a", "", "x"), contacts=ListedContacts((ContactId("anna\nbert"),), Source("a")))
    assert declare(odd).digest != declare(a_set("a", "anna bert", "x")).digest


def test_the_digest_takes_text_that_is_no_unicode() -> None:
    odd = replace(a_set("a", "", "x"), contacts=ListedContacts((ContactId("\ud800"),), Source("a")))
    assert declare(odd).digest.startswith("sha256:")


words = st.sampled_from(("t1", "t2", "t3", "t4"))
contacts = st.lists(st.sampled_from(("c1", "c2", "c3", "c4", "c5")), unique=True, max_size=4)
moments = st.none() | st.sampled_from((NOW - 1, NOW, NOW + 1))


@st.composite
def some_sets(draw: st.DrawFn) -> list[ContactSet]:
    made: list[ContactSet] = []
    for number in range(draw(st.integers(1, 5))):
        earlier = st.lists(st.sampled_from([each.name for each in made]), max_size=2) if made else st.just([])
        chosen = draw(earlier)
        listed = " ".join(draw(contacts))
        combined = union(" ".join(chosen), minus=" ".join(draw(earlier)), only=" ".join(draw(earlier)))
        made.append(
            a_set(
                f"s{number}",
                combined if chosen else listed,
                " ".join(draw(st.lists(words, unique=True, max_size=2))),
                absent=" ".join(draw(st.lists(st.sampled_from(("t8", "t9")), unique=True, max_size=1))),
                authority=draw(st.none() | st.sampled_from(Authority)),
                on_leave=draw(st.sampled_from(OnLeave)),
                ignore=" ".join(draw(st.lists(st.sampled_from(("wf-*", "x*")), max_size=1))),
                start=draw(moments),
                until=draw(moments),
            )
        )
    return made


def meaning(desired: Desired) -> tuple[object, ...]:
    """All of it but the numbering of the wants."""
    wants: dict[ContactId, Want] = {each: desired.want(each) for each in desired.contacts}
    sets = {each.name: (each.active, frozenset(each.members)) for each in desired.sets}
    return (wants, sets, desired.rules, desired.owned, desired.valid_until, desired.digest)


@pytest.mark.slow
@given(some_sets(), st.data())
def test_the_order_of_sets_manifests_and_contacts_means_nothing(sets: list[ContactSet], data: st.DataObject) -> None:
    group = [a_rule("t1", group="g"), a_rule("t2", group="g")]
    whole = resolve([a_manifest(*sets, rule=group)], now=NOW)
    shuffled = [_shuffled(each, data) for each in data.draw(st.permutations(sets))]
    cut = data.draw(st.integers(0, len(sets)))
    parts = [a_manifest(*shuffled[:cut], rule=group), a_manifest(*shuffled[cut:])]
    assert meaning(resolve(data.draw(st.permutations(parts)), now=NOW)) == meaning(whole)


def _shuffled(each: ContactSet, data: st.DataObject) -> ContactSet:
    if not isinstance(each.contacts, ListedContacts):
        return each
    return replace(each, contacts=replace(each.contacts, ids=tuple(data.draw(st.permutations(each.contacts.ids)))))


@given(some_sets())
def test_every_want_is_what_the_contract_says(sets: list[ContactSet]) -> None:
    desired = declare(*sets)
    inside = members_of(sets)
    for contact in {contact for each in sets for contact in inside[each.name]}:
        own = [each for each in sets if contact in inside[each.name]]
        active = [each for each in own if (each.start or 0) <= NOW < (each.until or NOW + 1)]
        want = desired.want(contact)
        assert set(want.present) == {use.tag for each in active for use in each.tags}
        assert set(want.absent) == {use.tag for each in active for use in each.absent}
        strengths = [each.authority or Authority.ADDITIVE for each in active]
        assert want.authority is next(
            (each for each in (Authority.EXACT, Authority.OWNED) if each in strengths), Authority.ADDITIVE
        )
    assert desired.location == HERE
