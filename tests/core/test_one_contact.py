"""All that a plan says of one contact, by what is declared and what is known of it, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.manifest import Authority, OnLeave, TagRule
from reconciler.core.model.names import ContactId, Instant, SetName, Source, Tag
from reconciler.core.model.outcome import Action, Rejection
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.changes import Diff, HeldContacts, Selection
from reconciler.core.planning.diff import diff
from reconciler.core.planning.situation import Reassertion, Searched
from tests.build import (
    DAY,
    NOW,
    a_rule,
    a_set,
    carries,
    changed_state,
    declare,
    ids,
    only,
    postponed,
    recorded,
    state,
    tags,
    unseen,
)

OWNED, EXACT, KEEP = Authority.OWNED, Authority.EXACT, OnLeave.KEEP
GROUP = (a_rule("lead", group="stage"), a_rule("customer", group="stage"))
RENAMED = (a_rule("new", renamed_from=Tag("old")),)
ONCE = (a_rule("x", once=True),)
SAFE = (a_rule("old", protected=True),)
ALL_INERT = tuple(a_rule(tag, inert=True) for tag in "wxyz")

FLAPPING = "flapping: put back less than 7 days ago"
UNCONFIRMED = "once: its add was in doubt, and it was not there when it was looked for"
GIVEN = "given x: once: given before, on 2026-11-17"
SPARED = "protected or ignored"


def told(found: Diff) -> set[str]:
    """All that is said of anna. `no place`: no set asks for it; `may`: sent again where that saves a request."""
    return {*_sent(found), *_listed(found), *postponed(found).get("anna", ())}


def _sent(found: Diff) -> Iterator[str]:
    for delta in found.deltas:
        for change in delta.changes if "anna" in delta.contacts else ():
            sign, place = "+" if change.action is Action.ADD else "-", "" if change.sources else " (no place)"
            yield f"{sign}{change.tag} {change.reason}{place}"
    for sign, demands in (("+", found.demands.adds), ("-", found.demands.removes)):
        for demand in demands:
            if "anna" in demand.contacts and demand.may != demand.must:
                yield f"may {sign}{' '.join(sorted(demand.may - demand.must))}"


def _listed(found: Diff) -> Iterator[str]:
    for kind, parts in (("held", found.held), ("spared", found.spared), ("given", found.given)):
        yield from (f"{kind} {' '.join(each.tags)}: {each.why}" for each in parts if "anna" in each.contacts)
    yield from (f"refused: {each.why}" for each in found.quarantined if "anna" in each.contacts)
    yield from (f"ledger {text}" for contact, text in recorded(found).items() if contact == "anna")


def of_anna(
    known: ContactState,
    text: str = "",
    *,
    absent: str = "",
    ignore: str = "",
    authority: Authority | None = None,
    on_leave: OnLeave = OnLeave.REMOVE,
    rule: tuple[TagRule, ...] = (),
    named: str = "named",
    spent: str = "",
    **options: object,
) -> set[str]:
    """`named`: tags of a set of the location that holds others; `spent`: those with an outcome in this run."""
    wanted = a_set("a", "anna", text, absent=absent, ignore=ignore, authority=authority, on_leave=on_leave)
    desired = declare(wanted, a_set("b", "bert", named), rule=rule)
    observed = state(anna=known, bert=carries(named, ledger=named))
    done = {ContactId("anna"): tags(spent)} if spent else None
    return told(diff(desired, observed, spent=done, now=NOW, **options))  # type: ignore[arg-type]


def put_back(known: ContactState, *lately: str) -> ContactState:
    """These tags were put back a day ago."""
    return changed_state(known, restored=tuple((Tag(tag), Instant(NOW - DAY)) for tag in lately))


def given(known: ContactState, *before: str) -> ContactState:
    """These tags were given a day ago."""
    return changed_state(known, spent=tuple((Tag(tag), Instant(NOW - DAY)) for tag in before))


def unconfirmed(known: ContactState, text: str) -> ContactState:
    """No answer ever showed these tags of the ledger."""
    return changed_state(known, unconfirmed=tags(text))


Options = dict[str, object]
Case = tuple[ContactState, Options, set[str]]

ORDINARY: list[Case] = [
    (carries("x", ledger="x"), {"text": "x"}, set()),
    (carries("x foreign", ledger="x"), {"text": "x"}, set()),
    (carries(""), {"text": "x y"}, {"+x declared", "+y declared"}),
    (unseen(), {"text": "x y"}, {"+x declared", "+y declared"}),
    (carries("", ledger="x"), {"text": "x y"}, {"+x restored", "+y declared"}),
    (carries("old", ledger="old"), {"text": "x"}, {"+x declared", "-old pruned (no place)"}),
    (carries("x y"), {"text": "x y z"}, {"+z declared", "ledger +x +y"}),
    (carries("", ledger="x old"), {"text": "x y"}, {"+x restored", "+y declared", "ledger -old"}),
    (carries("x", ledger="x"), {"text": "x", "on_leave": KEEP}, {"ledger =x"}),
    (carries("x", ledger="x y", kept="x"), {"text": "x y"}, {"+y restored", "ledger "}),
    (carries("x", ledger="x y", kept="y"), {"text": "x"}, {"ledger -y"}),
    (carries("wf", ledger="wf"), {"text": "x", "ignore": "wf"}, {"+x declared", f"spared wf: {SPARED}"}),
    (carries("", ledger="x"), {"text": "x y", "spent": "x"}, {"+y declared"}),
    (carries("x w"), {"text": "x", "absent": "w"}, {"-w absent", "ledger +x"}),
    (unseen(ledger="x"), {"text": "x"}, {"+x declared"}),
    (unseen(ledger="old"), {"text": "x"}, {"+x declared", "until_observed: old"}),
]


DOUBTS: list[Case] = [
    (carries("y", ledger="x", doubt="x"), {"text": "x y"}, {"held x: in doubt", "ledger +y"}),
    (carries("", doubt="x"), {"text": "x"}, {"held x: in doubt"}),
    (unseen(doubt="x"), {"text": "x"}, {"held x: in doubt"}),
    (carries("w v", doubt="x"), {"text": "x", "absent": "w v"}, {"held x: in doubt", "until_settled: v w"}),
    (carries("w v", doubt="w"), {"absent": "w v"}, {"held w: in doubt", "-v absent"}),
    (carries("old", ledger="old", doubt="old"), {}, {"held old: in doubt"}),
    (unseen(doubt="w"), {"absent": "w v"}, {"held w: in doubt", "-v absent"}),
    (unseen(doubt="x"), {"text": "x", "absent": "w"}, {"held x: in doubt", "until_settled: w"}),
    # asked to, a plan sends once more what this run did not bring into doubt anew
    (
        carries("w", doubt="x w"),
        {"text": "x", "absent": "w", "selection": only(retry_held=True)},
        {"+x declared", "-w absent"},
    ),
    (
        carries("w", doubt="x"),
        {"text": "x", "absent": "w", "selection": only(retry_held=True), "spent": "x"},
        {"held x: in doubt", "until_settled: w"},
    ),
    (
        carries("w", doubt="y"),
        {"text": "x", "absent": "w", "selection": only(retry_held=True), "spent": "x"},
        {"held y: in doubt", "-w absent"},
    ),
    (carries("x", doubt="x y"), {"text": "x", "selection": only(tag="x")}, {"held x: in doubt"}),
]


FLAPPED: list[Case] = [
    (put_back(carries("", ledger="x"), "x"), {"text": "x y"}, {"+y declared", f"held x: {FLAPPING}"}),
    (
        put_back(carries("", ledger="x z"), "x", "z"),
        {"text": "x y"},
        {"+y declared", f"held x: {FLAPPING}", "ledger -z"},
    ),
    (put_back(carries("", ledger="x"), "x"), {"text": "x", "selection": only(retry_held=True)}, {"+x restored"}),
    (put_back(carries("", ledger="x"), "x"), {"text": "x y", "selection": only(tag="y")}, {"+y declared"}),
    # its own answer brought the state in which it looks so
    (put_back(carries("", ledger="x"), "x"), {"text": "x y", "spent": "x"}, {"+y declared"}),
    (put_back(carries("x", ledger="x"), "x"), {"text": "x y"}, {"+y declared"}),
    (put_back(carries("", ledger="x", doubt="x"), "x"), {"text": "x"}, {"held x: in doubt"}),
    (put_back(carries("w", ledger="x"), "x"), {"text": "x", "absent": "w"}, {"-w absent", f"held x: {FLAPPING}"}),
]


ONCE_GIVEN: list[Case] = [
    (given(carries(""), "x"), {"text": "x y", "rule": ONCE}, {"+y declared", GIVEN}),
    (given(unseen(), "x"), {"text": "x y", "rule": ONCE}, {"+y declared", GIVEN}),
    (given(carries(""), "x"), {"text": "x", "rule": ONCE, "selection": Selection(again=tags("x"))}, {"+x again"}),
    (given(carries(""), "x"), {"text": "x", "rule": ONCE, "selection": Selection(again=tags("y"))}, {GIVEN}),
    (given(carries("x"), "x"), {"text": "x", "rule": ONCE}, {"ledger +x"}),
    (given(carries(""), "x"), {"text": "x y", "rule": ONCE, "selection": only(tag="y")}, {"+y declared"}),
    (given(carries(""), "x"), {"text": "y", "rule": ONCE}, {"+y declared"}),
    # the tag is of the rule no more, and another one never was given
    (given(carries(""), "x"), {"text": "x"}, {"+x declared"}),
    (given(carries(""), "z"), {"text": "x", "rule": ONCE}, {"+x declared"}),
    (carries("", ledger="x"), {"text": "x y", "rule": ONCE}, {"+y declared"}),
    (carries("", ledger="x", doubt="x"), {"text": "x", "rule": ONCE}, {"held x: in doubt"}),
    (
        unconfirmed(carries("", ledger="x"), "x"),
        {"text": "x y", "rule": ONCE},
        {"+y declared", f"held x: {UNCONFIRMED}"},
    ),
    (
        unconfirmed(carries("", ledger="x y z"), "x y"),
        {"text": "x y z", "rule": (*ONCE, a_rule("z", once=True))},
        {"+y declared", f"held x: {UNCONFIRMED}"},
    ),
    (
        unconfirmed(carries("", ledger="x"), "x"),
        {"text": "x u", "rule": (*ONCE, a_rule("u", once=True))},
        {"+u declared", f"held x: {UNCONFIRMED}"},
    ),
    (
        unconfirmed(carries("", ledger="x"), "x"),
        {"text": "x", "rule": ONCE, "selection": only(retry_held=True)},
        {"+x declared"},
    ),
    (unconfirmed(carries("", ledger="x", doubt="x"), "x"), {"text": "x", "rule": ONCE}, {"held x: in doubt"}),
    (unconfirmed(carries("", ledger="x"), "x"), {"text": "x"}, {"+x declared"}),
    (
        put_back(unconfirmed(carries("", ledger="x z"), "x"), "x", "z"),
        {"text": "x z", "rule": ONCE},
        {f"held x: {UNCONFIRMED}", f"held z: {FLAPPING}"},
    ),
]


IN_PLACE_OF: list[Case] = [
    (carries("lead"), {"text": "customer", "rule": GROUP}, {"+customer declared", "-lead group"}),
    (carries("old"), {"text": "new", "rule": RENAMED}, {"+new declared", "-old renamed"}),
    # without the tag that takes its place it stays
    (
        put_back(carries("lead w", ledger="customer"), "customer"),
        {"text": "customer", "absent": "w", "rule": GROUP},
        {"-w absent", f"held customer: {FLAPPING}", "until_replaced: lead"},
    ),
    (
        unconfirmed(carries("lead", ledger="customer"), "customer"),
        {"text": "customer", "rule": (GROUP[0], a_rule("customer", group="stage", once=True))},
        {f"held customer: {UNCONFIRMED}", "until_replaced: lead"},
    ),
    (carries("old"), {"text": "new", "rule": RENAMED, "selection": only(tag="old")}, {"until_replaced: old"}),
    (carries(""), {"text": "new", "rule": RENAMED, "selection": only(tag="old")}, set()),
    (
        put_back(carries("lead", ledger="customer", doubt="lead"), "customer"),
        {"text": "customer", "rule": GROUP},
        {"held lead: in doubt", f"held customer: {FLAPPING}"},
    ),
    # another tag that is left out takes no place
    (
        carries("old new", ledger="new"),
        {"text": "new other", "rule": (*RENAMED, a_rule("other", inert=True)), "selection": only(tag="old")},
        {"-old renamed"},
    ),
    (
        carries("lead customer", ledger="customer"),
        {"text": "customer other", "rule": (*GROUP, a_rule("other", group="else")), "selection": only(tag="lead")},
        {"-lead group"},
    ),
    # that is for a group and a new name alone: a tag that is named absent goes
    (
        put_back(carries("lead", ledger="customer"), "customer"),
        {"text": "customer", "absent": "lead", "rule": GROUP},
        {"-lead absent", f"held customer: {FLAPPING}"},
    ),
]


STAYS: list[Case] = [
    (carries("old", ledger="old"), {"rule": SAFE}, {f"spared old: {SPARED}"}),
    (carries("old"), {"absent": "old", "rule": SAFE}, {f"spared old: {SPARED}"}),
    (unseen(ledger="old"), {"rule": SAFE}, {f"spared old: {SPARED}"}),
    (carries(""), {"absent": "old", "rule": SAFE}, set()),
    (carries("", ledger="old"), {"rule": SAFE}, {"ledger -old"}),
    (carries("old", ledger="old", kept="old"), {"rule": SAFE}, {"ledger -old"}),
    (carries("old", ledger="old"), {"text": "old", "authority": OWNED, "rule": SAFE}, set()),
    (carries("old", ledger="old"), {"rule": SAFE, "selection": only(tag="x")}, set()),
    # nobody asks for it to be taken away by its name
    (carries("old"), {"named": "old", "authority": OWNED, "rule": SAFE}, set()),
    (carries("old"), {"authority": EXACT, "rule": SAFE}, set()),
    (carries("old w"), {"absent": "old w", "ignore": "o*"}, {"-w absent", f"spared old: {SPARED}"}),
    (
        carries("x old", ledger="x old", kept="old"),
        {"text": "x", "named": "old", "authority": OWNED},
        {"spared old: kept on leaving"},
    ),
    (
        unseen(ledger="x old", kept="old"),
        {"text": "x", "named": "old", "authority": OWNED},
        {"+x declared", "spared old: kept on leaving"},
    ),
    (
        carries("x", ledger="x old", kept="old"),
        {"text": "x", "named": "old", "authority": OWNED},
        {"ledger -old"},
    ),
    (
        carries("x old", ledger="x old", kept="old"),
        {"text": "x", "absent": "old", "authority": OWNED},
        {"-old absent"},
    ),
    (
        carries("x old", ledger="x old", kept="old"),
        {"text": "x old", "named": "old", "authority": OWNED, "on_leave": KEEP},
        {"ledger =old =x"},
    ),
    (
        carries("x old", ledger="x old", kept="old"),
        {"text": "x", "named": "old", "authority": OWNED, "selection": only(tag="x")},
        set(),
    ),
    (carries("x old", ledger="x old", kept="old"), {"text": "x", "named": "old"}, {"ledger -old"}),
    (
        carries("x old", ledger="x old", kept="old"),
        {"text": "x", "named": "old", "authority": EXACT},
        {"-old owned", "ledger -old"},
    ),
]


REFUSED: list[Case] = [
    (carries("", quarantine=Rejection.DELETED), {"text": "x"}, {"refused: deleted"}),
    (carries("w", quarantine=Rejection.DELETED), {"absent": "w"}, {"refused: deleted"}),
    (carries("x", ledger="x", doubt="z", quarantine=Rejection.DELETED), {"text": "x"}, {"refused: deleted"}),
    (carries("x", quarantine=Rejection.DELETED), {"text": "x"}, {"ledger +x"}),
    (carries("x", ledger="x", quarantine=Rejection.DELETED), {"text": "x"}, set()),
    (
        carries("old", ledger="old", quarantine=Rejection.DELETED),
        {"text": "x", "rule": SAFE},
        {"refused: deleted", f"spared old: {SPARED}"},
    ),
    (
        carries("w", quarantine=Rejection.DELETED),
        {"text": "x", "absent": "w", "selection": only(retry_rejected=True)},
        {"+x declared", "-w absent"},
    ),
    (
        carries("w", quarantine=Rejection.DELETED),
        {"text": "x", "absent": "w", "selection": only(retry_rejected=True), "spent": "x"},
        {"refused: deleted"},
    ),
    (
        carries("w", quarantine=Rejection.DELETED),
        {"text": "x", "gone": [HeldContacts("not there", (), ids("anna"))]},
        {"refused: not there"},
    ),
    (carries("w"), {"text": "x", "gone": [HeldContacts("not there", (), ids("anna"))]}, {"refused: not there"}),
]


SEARCHED = Searched(tags("board"), tags("board"), Instant(NOW - DAY))
BOARD = (a_rule("board", exclusive=True),)
BY_AUTHORITY: list[Case] = [
    (
        carries("x board named y", ledger="x"),
        {"text": "x", "named": "named board", "authority": OWNED, "rule": BOARD, "searched": SEARCHED},
        {"-board exclusive", "-named owned"},
    ),
    (
        carries("x board named y", ledger="x"),
        {"text": "x", "named": "named board", "authority": EXACT, "rule": BOARD, "searched": SEARCHED},
        {"-board exclusive", "-named owned", "-y exact"},
    ),
    (
        carries("x board", ledger="x"),
        {"text": "x", "named": "named board", "rule": BOARD, "searched": SEARCHED},
        {"-board exclusive"},
    ),
    (unseen(), {"authority": OWNED}, {"needs_refresh: named"}),
    (unseen(), {"authority": EXACT}, {"needs_refresh: named"}),
    (unseen(), {"text": "x", "authority": EXACT}, {"+x declared", "until_observed: named", "exact:"}),
    (
        unseen(),
        {"text": "x", "authority": EXACT, "selection": Selection(apply_deferrals=True)},
        {"+x declared", "until_observed: named", "open:"},
    ),
    (unseen(doubt="x"), {"text": "x", "authority": EXACT}, {"held x: in doubt", "until_settled: named", "exact:"}),
    (unseen(doubt="w"), {"absent": "w", "authority": OWNED}, {"held w: in doubt", "until_settled: named"}),
    (unseen(), {"absent": "w", "authority": EXACT}, {"-w absent", "until_observed: named", "exact:"}),
]


AGAIN = Reassertion(Reassert.ALWAYS, Instant(NOW - DAY))
SENT_AGAIN: list[Case] = [
    (carries("x", ledger="x"), {"text": "x y", "reassertion": AGAIN}, {"+y declared", "may +x"}),
    (carries("x", ledger="x", at=NOW - DAY - 1), {"text": "x y", "reassertion": AGAIN}, {"+y declared"}),
    (carries("x", ledger="x"), {"text": "x", "reassertion": AGAIN}, set()),
    (carries("w", ledger="w"), {"absent": "w v", "reassertion": AGAIN}, {"-w absent", "may -v"}),
    (carries("", ledger=""), {"absent": "w v", "reassertion": AGAIN}, set()),
    (
        carries("a b", ledger="a b"),
        {"text": "c", "reassertion": AGAIN},
        {"+c declared", "-a pruned (no place)", "-b pruned (no place)"},
    ),
    (
        carries("x z", ledger="x z", doubt="z"),
        {"text": "x y z", "reassertion": AGAIN},
        {"+y declared", "may +x", "held z: in doubt"},
    ),
    (
        carries("x", ledger="x"),
        {"text": "x y", "reassertion": AGAIN, "selection": only(tag="y")},
        {"+y declared"},
    ),
]


@pytest.mark.parametrize(
    ("known", "options", "expected"),
    [
        pytest.param(*case, id=f"{name}-{number}")
        for name, cases in (
            ("ordinary", ORDINARY),
            ("in-doubt", DOUBTS),
            ("flapping", FLAPPED),
            ("once", ONCE_GIVEN),
            ("in-place-of", IN_PLACE_OF),
            ("stays", STAYS),
            ("refused", REFUSED),
            ("by-authority", BY_AUTHORITY),
            ("sent-again", SENT_AGAIN),
        )
        for number, case in enumerate(cases)
    ],
)
def test_a_plan_says_of_a_contact_what_is_sent_what_waits_and_what_is_left_aside(
    known: ContactState, options: Options, expected: set[str]
) -> None:
    assert of_anna(known, **options) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [carries("x", ledger="x"), carries("x", ledger="x", doubt="z")])
def test_what_ended_is_taken_with_the_place_where_it_was_declared(known: ContactState) -> None:
    place = Source("acme.yaml", 4)
    desired = declare(a_set("a", "anna", "x", until=NOW, place=place))
    (delta,) = diff(desired, state(anna=known), now=NOW).deltas
    assert [(change.tag, change.reason, change.sources) for change in delta.changes] == [("x", "expired", (place,))]


def test_a_tag_that_two_sets_declare_names_the_place_of_each_contacts_own() -> None:
    first, second = Source("acme.yaml", 4), Source("acme.yaml", 9)
    desired = declare(a_set("a", "anna", "x", place=first), a_set("b", "bert", "x", place=second))
    for known in (carries(""), unseen(), carries("", doubt="z")):
        found = diff(desired, state(anna=known, bert=known))
        assert {
            contact: [change.sources for change in delta.changes]
            for delta in found.deltas
            for contact in delta.contacts
        } == {"anna": [(first,)], "bert": [(second,)]}


def test_a_contact_that_left_its_sets_is_planned_by_what_the_ledger_holds() -> None:
    known = changed_state(carries("x", ledger="x", quarantine=Rejection.DELETED), membership=frozenset({SetName("a")}))
    assert told(diff(declare(a_set("a", "bert", "y")), state(anna=known))) == {"-x pruned (no place)"}
