"""Laws of spelling: whatever a tag is called, in manifests or in state, plan and drift are the same."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.resolve import Desired
from reconciler.core.manifests.wants import Want
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.batch import Batch, Cause, Reason
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactReading, ContactState, ObservationOrigin
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus
from reconciler.core.model.manifest import Authority, OnLeave, TagRule
from reconciler.core.model.names import ContactId, Instant, Source, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.release_rules import TagPace, TagWindow
from reconciler.core.model.settings import ExpectedDrift, Guard
from reconciler.core.observing.attribution import mark_expected
from reconciler.core.observing.drift import find_drift
from reconciler.core.planning.approved_scope import respell_state
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.guards import Allowance
from reconciler.core.planning.make_plan import plan_location, plan_revert
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.planning.revert import NetChange, Reversal
from reconciler.core.planning.situation import OlderRows, Searched
from reconciler.core.planning.tag_aliases import AS_SENT, make_spelling
from tests.build import (
    DAY,
    HERE,
    NOW,
    a_rule,
    a_set,
    carries,
    changed_state,
    declare,
    fields_of,
    ids,
    loaded,
    only,
    plan_options,
    state,
    state_of,
    tags,
    unseen,
)

SENT, KEPT = "x__y", "x_y"
"""What was sent, and how the location keeps it."""

ALIASES = ((SENT, KEPT),)
TAGS = ("a", "g1", "g2", KEPT)
PEOPLE = ("anna", "bert", "cara")


def renamed(text: str, mask: list[bool]) -> str:
    """The words, some of them in the other spelling."""
    told = iter(mask)
    return " ".join(SENT if word == KEPT and next(told) else word for word in text.split())


def some(most: int = 3) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(TAGS), unique=True, max_size=most).map(" ".join)


masks = st.lists(st.booleans(), min_size=40, max_size=40)


@st.composite
def manifests(draw: st.DrawFn) -> tuple[Desired, Desired]:
    """The same, once in the location's spelling, and once in whichever."""
    plain, other = [], []
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("a g1", f"{KEPT} g2", f"a {KEPT}", KEPT)))
        absent = " ".join(tag for tag in draw(some(1)).split() if tag not in kind.split() and not tag.startswith("g"))
        more = {
            "authority": draw(st.none() | st.sampled_from(Authority)),
            "on_leave": draw(st.sampled_from(OnLeave)),
            "ignore": draw(st.sampled_from(("", "x_*"))),
        }
        contacts = " ".join(draw(st.lists(st.sampled_from(PEOPLE), unique=True)))
        plain.append(a_set(f"s{number}", contacts, kind, absent=absent, **more))
        mask = draw(masks)
        other.append(a_set(f"s{number}", contacts, renamed(kind, mask), absent=renamed(absent, mask[20:]), **more))
    rule = draw(
        st.sampled_from(({"once": True}, {"protected": True}, {"max_adds": 1}, {"inert": True}, {"exclusive": True}))
    )
    groups = [a_rule("g1", group="g"), a_rule("g2", group="g")]
    rules = [[*groups, a_rule(tag, **rule)] for tag in (KEPT, draw(st.sampled_from((SENT, KEPT))))]
    return declare(*plain, rule=rules[0]), declare(*other, rule=rules[1])


@st.composite
def contacts(draw: st.DrawFn) -> tuple[ContactState, ContactState]:
    """The same known, once in the location's spelling."""
    ledger, observed = draw(some()), draw(st.none() | some(4))
    parts = {name: draw(some(2)) if name != "ledger" else ledger for name in ("ledger", "kept", "doubt")}
    parts["kept"] = " ".join(tag for tag in parts["kept"].split() if tag in ledger.split())
    never = " ".join(tag for tag in draw(some(2)).split() if tag in ledger.split())
    dated = {Tag(tag): Instant(NOW - draw(st.sampled_from((DAY, 9 * DAY)))) for tag in ledger.split()}
    given = {Tag(tag): Instant(NOW - DAY) for tag in draw(some(2)).split()}

    def known(mask: list[bool]) -> ContactState:
        told = {name: renamed(text, mask[index * 5 :]) for index, (name, text) in enumerate(parts.items())}
        made = unseen(**told) if observed is None else carries(renamed(observed, mask[15:]), **told)
        return changed_state(
            made,
            restored=tuple(sorted((Tag(renamed(tag, mask[20:])), at) for tag, at in dated.items())),
            # a pair that is unconfirmed is in the ledger by the same name
            unconfirmed=tags(renamed(never, mask)),
            spent=tuple(sorted((Tag(renamed(tag, mask[30:])), at) for tag, at in given.items())),
        )

    return known([False] * 40), known(draw(masks))


def content(plan: LocationPlan) -> LocationPlan:
    """All that is told and sent; the manifests' digest goes with their text."""
    return replace(plan, manifests_digest="")


OPTIONS = plan_options(now=Instant(NOW))


@pytest.mark.slow
@given(manifests(), st.dictionaries(st.sampled_from(PEOPLE).map(ContactId), contacts()), st.booleans())
def test_a_plan_is_the_same_whatever_a_tag_is_called(
    desired: tuple[Desired, Desired], people: dict[ContactId, tuple[ContactState, ContactState]], retry: bool
) -> None:
    plain, other = (
        loaded(state_of({who: both[index] for who, both in people.items()}), aliases=ALIASES) for index in (0, 1)
    )
    options = replace(OPTIONS, selection=only(retry_held=retry))
    expected = plan_location(desired[0], plain, options)
    assert content(plan_location(desired[1], other, options)) == content(expected)
    # the one spelling that is told and sent is the location's
    assert SENT not in repr(expected.deltas) + repr(expected.batches) + repr(expected.deferrals)
    # a location without the alias, that was never sent the other spelling, has that very plan
    bare = replace(plain, spelling=AS_SENT, facts=LocationFacts())
    assert content(plan_location(desired[0], bare, options)) == content(expected)


@pytest.mark.slow
@given(manifests(), st.dictionaries(st.sampled_from(PEOPLE).map(ContactId), contacts()))
def test_a_drift_report_is_the_same_whatever_a_tag_is_called(
    desired: tuple[Desired, Desired], people: dict[ContactId, tuple[ContactState, ContactState]]
) -> None:
    reports = [
        find_drift(
            desired[index],
            loaded(state_of({who: both[index] for who, both in people.items()}), aliases=ALIASES),
            now=Instant(NOW),
            foreign=True,
        )
        for index in (0, 1)
    ]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("called", [SENT, KEPT])
def test_what_a_person_names_is_the_tag_in_either_spelling(called: str) -> None:
    desired = declare(a_set("s", "anna", f"{SENT} a"), rule=[a_rule(SENT, once=True, max_adds=0)])
    there = loaded(state(anna=changed_state(carries(""), spent=((Tag(SENT), Instant(NOW - DAY)),))), aliases=ALIASES)
    options = plan_options(
        selection=Selection(tags=tags(called), again=tags(called)),
        allowances=(Allowance(Guard.MAX_ADDS, called, "meant"),),
        now=Instant(NOW),
    )
    plan = plan_location(desired, there, options)
    assert [(change.tag, change.reason) for delta in plan.deltas for change in delta.changes] == [(KEPT, "again")]
    assert plan.refused == ()


def test_rules_of_two_spellings_of_a_tag_are_one_rule_that_forbids_what_either_does() -> None:
    one = a_rule(SENT, protected=True, max_adds=5, inert=True, renamed_from=Tag(KEPT))
    other = a_rule(KEPT, once=True, max_adds=3, min_holders=2, group="g")
    desired = make_spelling([(Tag(SENT), Tag(KEPT))]).spell_desired(
        declare(a_set("s", "anna", KEPT), rule=[one, other])
    )
    assert list(desired.rules) == [KEPT]
    rule: TagRule = desired.rules[Tag(KEPT)]
    assert (rule.protected, rule.once, rule.inert, rule.exclusive) == (True, True, False, False)
    assert (rule.max_adds, rule.min_holders, rule.group, rule.renamed_from) == (3, 2, "g", None)


def test_what_is_declared_in_both_spellings_is_declared_once_and_firm_where_one_is() -> None:
    desired = declare(
        a_set("s", "anna", SENT, on_leave=OnLeave.KEEP), a_set("t", "anna", KEPT), a_set("u", "bert", "a", absent=SENT)
    )
    read = make_spelling([(Tag(SENT), Tag(KEPT))]).spell_desired(desired)
    anna, bert = (read.want(ContactId(who)) for who in ("anna", "bert"))
    assert (set(anna.present), anna.keep) == ({KEPT}, frozenset())
    assert set(bert.absent) == {KEPT}
    assert read.digest == desired.digest


def test_a_wish_of_several_spellings_is_one_wish() -> None:
    """Its places are those of all of them; of two that tell against it, the first by name; what is ignored is added."""
    places = [Source("acme.yaml", line) for line in range(6)]
    first, second, third = (Cause(Reason.ABSENT, (place,)) for place in places[:3])
    want = Want(
        present={Tag("z"): (places[3], places[1]), Tag("m"): (), Tag("b"): (places[2], places[3]), Tag("a"): ()},
        absent={Tag("x"): first, Tag("w"): second, Tag("c"): third, Tag("o"): third},
        expired={Tag("y"): (places[5],), Tag("x"): (places[4],), Tag("c"): (places[3],)},
        keep=tags("z m a"),
        authority=Authority.EXACT,
        ignore=("x*", "q"),
    )
    spelling = make_spelling(pairs_of("z:b c:b w:y x:y xx:[*?]"))
    desired = replace(declare(a_set("s", "anna", "z")), wants=(want, Want()), owned=tags("z o"), rules={})
    spelt = spelling.spell_desired(desired)
    assert spelt == replace(
        desired,
        wants=(
            Want(
                present={Tag("a"): (), Tag("b"): (places[1], places[2], places[3]), Tag("m"): ()},
                absent={Tag("o"): third, Tag("y"): second},
                expired={Tag("y"): (places[4],)},
                keep=tags("m a"),
                authority=Authority.EXACT,
                ignore=("x*", "q", "y", "[[][*][?]]"),
            ),
            Want(),
        ),
        owned=tags("b o"),
    )
    # requests, and with them the journal, list tags in this order
    assert list(spelt.wants[0].present) == ["a", "b", "m"]
    assert AS_SENT.spell_desired(desired) is desired


def test_what_is_ignored_in_one_spelling_is_ignored_in_the_other() -> None:
    desired = declare(a_set("s", "anna", "a", authority=Authority.EXACT, ignore="x__*"))
    there = loaded(state(anna=carries(f"a {KEPT} wild")), aliases=ALIASES)
    plan = plan_location(desired, there, OPTIONS)
    assert [change.tag for delta in plan.deltas for change in delta.changes] == ["wild"]


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ("", {}),
        ("a:b", {"a": "b"}),
        ("a:b b:c", {"a": "c", "b": "c"}),
        ("a:c b:c", {"a": "c", "b": "c"}),
        # what comes back of each other is one tag all the same
        ("a:b b:a", {"b": "a"}),
        ("z:b b:a a:b", {"z": "a", "b": "a"}),
    ],
)
def test_every_tag_has_one_spelling(told: str, names: dict[str, str]) -> None:
    pairs = [(Tag(sent), Tag(back)) for sent, back in (each.split(":") for each in told.split())]
    assert dict(make_spelling(pairs).names) == names


def pairs_of(told: str) -> list[tuple[Tag, Tag]]:
    return [(Tag(sent), Tag(back)) for sent, back in (each.split(":") for each in told.split())]


@pytest.mark.parametrize(
    ("learnt", "names", "kept"),
    [
        ("", {"a": "b", "c": "b", "x": "y"}, {}),
        # what the plan calls `y` came back as `z`
        ("y:z", {"a": "b", "c": "b", "x": "y", "z": "y"}, {"y": "z"}),
        ("y:z n:m", {"a": "b", "c": "b", "x": "y", "z": "y", "m": "n"}, {"y": "z", "n": "m"}),
        # the plan calls it `a`, as it was spelt when the plan was made
        ("a:b", {"b": "a", "c": "a", "x": "y"}, {"a": "b"}),
    ],
)
def test_a_run_calls_a_tag_as_before_and_knows_how_it_is_kept(
    learnt: str, names: dict[str, str], kept: dict[str, str]
) -> None:
    spelling = make_spelling(pairs_of("a:b c:b x:y")).with_learnt(pairs_of(learnt))
    assert (spelling.names, spelling.kept) == (names, kept)
    assert {tag: spelling.kept_as(Tag(tag)) for tag in (*kept, "other")} == {**kept, "other": "other"}
    again = spelling.with_learnt([(Tag("x"), Tag("y"))])
    assert again.kept == {**kept, "x": "y"}


def test_a_plan_that_calls_tags_otherwise_is_spoken_of_in_its_own_words() -> None:
    spelling = make_spelling(pairs_of("a:b c:d e:f"))
    called = spelling.as_called(map(Tag, ("e", "a", "d", "other")))
    assert (called.names, called.kept) == ({"b": "a", "f": "e", "c": "d"}, {"a": "b", "e": "f"})
    assert spelling.as_called(map(Tag, ("b", "other"))) is spelling


def test_a_tag_is_known_by_each_of_its_spellings() -> None:
    spelling = make_spelling(pairs_of("a:b c:b x:y"))
    assert spelling.all_spellings(Tag("b")) == ("b", "a", "c")
    assert spelling.all_spellings(Tag("other")) == ("other",)
    assert spelling.read(tags("a c x other")) == tags("b y other")
    assert spelling.missing_from(tags("a c x other"), tags("c other")) == tags("x")
    assert spelling.missing_from(tags("a x y"), tags("y")) == tags("a")


def test_all_that_meets_the_state_is_read_in_its_spelling() -> None:
    spelling = make_spelling(pairs_of("a:b"))
    since, older = Instant(NOW), OlderRows(3, 2, 1)
    seen = ObservedContacts(tags("a x"), since, ObservationOrigin.GET, ids("anna bert"))
    assert spelling.spell_observed(seen) == replace(seen, tags=tags("b x"))
    searched = Searched(tags("a x"), tags("a"), since, older)
    assert spelling.spell_searched(searched) == Searched(tags("b x"), tags("b"), since, older)
    chosen = Selection(tags=tags("a x"), again=tags("a y"), retry_held=True)
    assert spelling.spell_selection(chosen) == Selection(tags=tags("b x"), again=tags("b y"), retry_held=True)
    known = state(anna=carries("a", ledger="a"), bert=carries("b", ledger="b"), cara=unseen(doubt="a x"))
    expected = state(anna=carries("b", ledger="b"), bert=carries("b", ledger="b"), cara=unseen(doubt="b x"))
    assert dict(spelling.spell_states(known).items()) == dict(expected.items())
    assert AS_SENT.spell_states(known) is known


def test_a_request_asks_for_what_the_location_keeps() -> None:
    spelling = AS_SENT.with_learnt(pairs_of("a:z x:y"))
    batch = Batch(Action.REMOVE, ids("anna bert"), tuple(map(Tag, "abx")), (1,))
    assert spelling.spell_request(batch) == replace(batch, tags=tuple(map(Tag, "byz")))
    assert AS_SENT.spell_request(batch) is batch


def test_what_came_back_last_is_how_the_location_keeps_a_tag() -> None:
    facts = LocationFacts().with_aliases([(Tag("a"), Tag("b"))]).with_aliases([(Tag("b"), Tag("a"))])
    assert facts.aliases == (("b", "a"),)


def test_a_run_goes_on_with_the_spelling_that_was_approved() -> None:
    plan = plan_location(declare(a_set("s", "anna bert", SENT)), loaded(state()), OPTIONS)
    there = respell_state(loaded(state(anna=carries(KEPT, ledger=SENT)), aliases=ALIASES), plan)
    assert there.observed[ContactId("anna")] == carries(SENT, ledger=SENT)
    again = plan_location(declare(a_set("s", "anna bert", SENT)), there, OPTIONS)
    assert [(delta.tags(Action.ADD), delta.contacts) for delta in again.deltas] == [({SENT}, ("bert",))]
    # and a removal is asked for by what is there
    gone = plan_location(declare(a_set("t", "", SENT)), there, OPTIONS)
    assert [there.spelling.spell_request(batch).tags for batch in gone.batches] == [(KEPT,)]
    assert respell_state(there, gone) == there


def test_a_doubt_is_in_one_spelling_with_all_that_goes_with_it() -> None:
    reading = ContactReading(Instant(1), Instant(2), tags=tags(f"a {SENT}"))
    known = changed_state(unseen(ledger=f"{SENT} {KEPT}", doubt=SENT), unconfirmed=tags(SENT), reading=reading)
    read = make_spelling([(Tag(SENT), Tag(KEPT))]).spell_state(known)
    assert (read.ledger.tags, read.doubtful) == ({KEPT}, {KEPT})
    # it was seen by its other name
    assert read.ledger.unconfirmed == set()
    assert fields_of(read)["reading"] == replace(reading, tags=tags(f"a {KEPT}"))


def test_what_stays_and_what_was_put_back_is_known_in_either_spelling() -> None:
    read = make_spelling([(Tag(SENT), Tag(KEPT))])
    dates = ((Tag(SENT), Instant(NOW - DAY)), (Tag(KEPT), Instant(NOW - 9 * DAY)))
    known = changed_state(carries("", ledger=f"{SENT} a", kept=SENT), restored=tuple(sorted(dates)))
    spelt = read.spell_state(known)
    assert (spelt.ledger.kept, spelt.past_adds.restored) == ({KEPT}, ((KEPT, NOW - DAY),))


def test_what_is_absent_in_one_spelling_and_present_in_the_other_is_present() -> None:
    desired = declare(a_set("s", "anna", SENT, absent=KEPT))
    plan = plan_location(desired, loaded(state(anna=carries(KEPT, ledger=KEPT)), aliases=ALIASES), OPTIONS)
    assert plan.is_empty
    assert dict(make_spelling([(Tag(SENT), Tag(KEPT))]).spell_desired(desired).want(ContactId("anna")).absent) == {}


@pytest.mark.parametrize(
    ("old", "added", "removed", "told"),
    [
        ("", SENT, "", ("", KEPT, "")),
        (SENT, KEPT, "", (KEPT, "", "")),
        (f"{SENT} {KEPT}", "", SENT, (KEPT, "", "")),
        (f"{SENT} {KEPT}", "", f"{SENT} {KEPT}", (KEPT, "", KEPT)),
    ],
)
def test_a_tag_came_or_went_where_it_did_in_all_spellings(
    old: str, added: str, removed: str, told: tuple[str, str, str]
) -> None:
    verdict = ContactOutcome(Outcome.APPLIED, "", None, tags(old), tags(added), tags(removed))
    read = make_spelling([(Tag(SENT), Tag(KEPT))])
    batch = BatchRecord(
        Action.ADD, (Tag(SENT),), Instant(0), Instant(1), BatchStatus.ANSWERED, {ContactId("anna"): Answer(verdict)}
    )
    found = read.spell_record(batch)
    spelt = replace(verdict, **dict(zip(("old", "added", "removed"), map(tags, told), strict=True)))
    assert found == replace(batch, tags=(Tag(KEPT),), answers={ContactId("anna"): Answer(spelt)})
    assert AS_SENT.spell_record(batch) is batch


def test_a_record_is_read_whole_also_where_an_answer_does_not_tell_the_tags() -> None:
    read = make_spelling(pairs_of("b:c"))
    untold = ContactOutcome(Outcome.IN_DOUBT, "no row in the answer", added=tags("b"))
    answers = {ContactId("anna"): Answer(None, tags("b x"), tags("b y")), ContactId("bert"): Answer(untold)}
    batch = BatchRecord(Action.ADD, tuple(map(Tag, "bda")), Instant(0), None, BatchStatus.INTENDED, answers)
    anna = Answer(None, tags("c x"), tags("c y"))
    assert read.spell_record(batch) == replace(
        batch, tags=tuple(map(Tag, "acd")), answers={**answers, ContactId("anna"): anna}
    )
    verdict = ContactOutcome(Outcome.APPLIED, old=tags(""), added=tags("b"))
    assert AS_SENT.spell_outcome(verdict) is verdict


OF_A_RULE = {
    "group": "g",
    "max_adds": 1,
    "max_removes": 1,
    "min_holders": 1,
    "protected": True,
    "triggers": True,
    "once": True,
    "inert": True,
    "exclusive": True,
    "renamed_from": "old",
    "pace": TagPace(1, 1_000),
    "window": TagWindow((0,), 0, 60, "UTC"),
}
"""A value of each property of a rule that is not the default; a new property needs one here."""


def rule_of(*rules: TagRule) -> TagRule:
    """The one rule of the tag that these rules, in this order, come to."""
    desired = replace(declare(a_set("s", "anna", SENT)), rules={rule.tag: rule for rule in rules})
    return make_spelling([(Tag(SENT), Tag(KEPT))]).spell_desired(desired).rules[Tag(KEPT)]


@pytest.mark.parametrize("name", [entry.name for entry in fields(TagRule)][3:])
def test_no_property_of_a_rule_is_of_the_first_spelling_alone(name: str) -> None:
    plain, given = a_rule(SENT), a_rule(KEPT, **{name: OF_A_RULE[name]})
    assert rule_of(plain, given) == rule_of(given, plain)
    # that sending it again does no harm is to be said of both
    assert getattr(rule_of(plain, given), name) == (False if name == "inert" else OF_A_RULE[name])
    assert getattr(rule_of(a_rule(SENT, **{name: OF_A_RULE[name]}), given), name) == OF_A_RULE[name]


def test_of_two_rules_the_stricter_limit_counts_and_the_first_group_old_name_and_window() -> None:
    windows = [TagWindow((day,), 0, 60, "UTC") for day in (0, 1)]
    first = a_rule(
        SENT, group="g", max_adds=5, max_removes=1, min_holders=7, inert=True, renamed_from=Tag("old"),
        pace=TagPace(5, 1_000), window=windows[0],
    )  # fmt: skip
    second = a_rule(
        KEPT, group="h", max_adds=3, max_removes=4, min_holders=2, inert=True, renamed_from=Tag("older"),
        pace=TagPace(9, 5_000), window=windows[1],
    )  # fmt: skip
    both = replace(first, tag=Tag(KEPT), max_adds=3, pace=TagPace(5, 5_000))
    assert rule_of(first, second) == both
    assert rule_of(second, first) == replace(
        both, group="h", renamed_from=Tag("older"), window=windows[1], source=second.source
    )


def test_a_rule_is_of_the_spelling_in_use_and_so_is_the_old_name() -> None:
    plain, renamed = a_rule("plain"), a_rule("new", renamed_from=Tag(SENT), max_adds=2)
    desired = declare(a_set("s", "anna", "new"), rule=[plain, renamed])
    spelt = make_spelling([(Tag(SENT), Tag(KEPT))]).spell_desired(desired)
    assert spelt.rules == {"plain": plain, "new": replace(renamed, renamed_from=Tag(KEPT))}


def test_a_revert_of_what_was_sent_otherwise_removes_what_is_there() -> None:
    there = loaded(state(anna=carries(KEPT, ledger=SENT)), aliases=ALIASES)
    run = Reversal("run", {ContactId("anna"): NetChange(added=tags(SENT))}, {})
    plan = plan_revert(run, declare(a_set("s", "", "a")), there, OPTIONS)
    assert [(change.tag, change.action) for delta in plan.deltas for change in delta.changes] == [(KEPT, "remove")]
    demanded = plan_revert(run, declare(a_set("s", "anna", SENT)), there, OPTIONS)
    assert (demanded.deltas, [each.tags for each in demanded.held]) == ((), [(KEPT,)])


def test_drift_that_is_expected_is_expected_in_either_spelling() -> None:
    desired, there = declare(a_set("s", "anna", SENT)), loaded(state(anna=carries("", ledger=SENT)), aliases=ALIASES)
    report = find_drift(desired, there)
    entry = ExpectedDrift(tag=SENT, reason="a workflow takes it", source=Source("reconciler.yaml", 1, 1))
    told = mark_expected(report, [entry], desired, now=Instant(NOW), spelling=there.spelling)
    assert [(each.tag, each.expected) for each in told.drifted] == [(KEPT, "a workflow takes it")]
    assert told.location == HERE
