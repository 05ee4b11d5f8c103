"""What a location taught us: as a value, as a document, and as a part of a state that hangs together."""

from __future__ import annotations

import json

import pytest

from reconciler.core.formats.integrity import accept, verify
from reconciler.core.formats.state_json import Portable, read_state, state_document
from reconciler.core.model.api_limits import NO_FACTS, LocationFacts, TrialVerdict, TriedRow
from reconciler.core.model.contact_state import ContactReading, ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag
from reconciler.core.model.outcome import Rejection
from reconciler.core.model.state_fields import ContradictoryState
from reconciler.core.planning.plan import LocationState
from tests.build import contact_state
from tests.fakes import START

HERE, ANNA = LocationId("asdrwHvLUxlfw5SqKVCN"), ContactId("Anna" * 5)
LINEAGE = "6f1c8c4e-0000-4000-8000-000000000000"
ALIAS = (Tag("x  y"), Tag("x y"))
TRIED = TriedRow("case", TrialVerdict.OTHERWISE, "'A' is kept as 'A'", START)


def portable(known: ContactState | None = None, facts: LocationFacts = NO_FACTS, serial: int = 1) -> Portable:
    observed = ContactStates()
    observed.update({ANNA: known or ContactState()})
    return Portable(LocationState(HERE, LINEAGE, serial, observed, facts=facts), ())


def test_the_last_answer_about_a_spelling_rules() -> None:
    facts = LocationFacts(max_tags=3).with_aliases([ALIAS, (Tag("a"), Tag("b"))]).with_aliases([(Tag("a"), Tag("c"))])
    assert facts == LocationFacts(max_tags=3, aliases=((Tag("a"), Tag("c")), ALIAS))


@pytest.mark.parametrize(
    "facts",
    [
        NO_FACTS,
        LocationFacts(True, 1, 2, (ALIAS,)),
        LocationFacts(max_tags=2, limits_at=START),
        LocationFacts(tried=(TRIED,)),
    ],
)
def test_facts_survive_a_document(facts: LocationFacts) -> None:
    (found,) = read_state(json.loads(json.dumps(state_document([portable(facts=facts)]))), path="x")
    assert found.state.facts == facts


def test_what_was_given_read_and_tried_before_survives_a_document() -> None:
    known = contact_state(
        doubt=frozenset({Tag("a")}),
        doubt_at=START,
        spent=((Tag("a"), START), (Tag("b"), START)),
        reading=ContactReading(START, Instant(START + 1), None, START, frozenset({Tag("a")})),
        attempted_at=START,
    )
    (found,) = read_state(json.loads(json.dumps(state_document([portable(known)]))), path="x")
    assert found.state.observed[ANNA] == known
    assert verify(found, now=START) == ()


def test_a_document_of_version_1_2_is_read() -> None:
    document = json.loads(json.dumps(state_document([portable(facts=LocationFacts(max_tags=3))])))
    document["format_version"] = "1.2"
    del document["locations"][0]["facts"]["limits_at"]
    for known in document["locations"][0]["known"]:
        del known["spent"], known["reading"], known["attempted_at"]
    (found,) = read_state(document, path="x")
    assert (found.state.facts, found.state.observed[ANNA]) == (LocationFacts(max_tags=3), ContactState())


def test_a_document_that_knows_no_facts_is_read() -> None:
    document = json.loads(json.dumps(state_document([portable(facts=LocationFacts(max_tags=3))])))
    document["format_version"] = "1.0"
    del document["locations"][0]["facts"]
    for known in document["locations"][0]["known"]:
        del known["quarantined_since"], known["membership"], known["restored"]
    (found,) = read_state(document, path="x")
    assert found.state.facts == NO_FACTS
    assert found.state.observed[ANNA] == ContactState()


@pytest.mark.parametrize(
    ("field", "value"), [("moves_updated", 1), ("max_tags", -1), ("max_contacts", "9"), ("aliases", {"a": 1})]
)
def test_facts_of_another_type_are_refused(field: str, value: object) -> None:
    document = json.loads(json.dumps(state_document([portable()])))
    document["locations"][0]["facts"][field] = value
    with pytest.raises(InvalidInput):
        read_state(document, path="x")


def test_a_push_of_other_facts_is_a_change() -> None:
    present, new = portable(), portable(facts=LocationFacts(max_tags=3))
    assert accept(present, present) is None
    accepted = accept(present, new)
    assert accepted is not None
    assert accepted.state.serial == 2


@pytest.mark.parametrize(
    ("known", "facts", "line"),
    [
        (ContactState(), LocationFacts(max_tags=0), "a request may hold 0 tags"),
        (ContactState(), LocationFacts(tried=(TRIED, TRIED)), "rows of a trial that are not sorted, or twice there"),
        (ContactState(), LocationFacts(aliases=((Tag("a"), Tag("a")),)), "the alias 'a' of 'a' is none"),
        (ContactState(), LocationFacts(aliases=((Tag("a"), Tag("B")),)), "the alias 'a' of 'B' is none"),
        (
            ContactState(),
            LocationFacts(aliases=((Tag("a"), Tag("b")), (Tag("a"), Tag("c")))),
            "one tag has several aliases",
        ),
        (
            contact_state(quarantine=Rejection.INVALID, quarantined_at=START, quarantined_since=Instant(START + 1)),
            NO_FACTS,
            "first refused after it was last refused",
        ),
        (contact_state(restored=((Tag("a"), START),)), NO_FACTS, "not under management"),
        (contact_state(spent=((Tag("a"), START), (Tag("a"), Instant(START + 1)))), NO_FACTS, "at several times"),
        (contact_state(spent=((Tag("a"), Instant(START + 600_000)),)), NO_FACTS, "given at a time that is yet to come"),
        (contact_state(spent=((Tag("A"), START),)), NO_FACTS, "not in their one spelling"),
        (contact_state(attempted_at=Instant(START + 600_000)), NO_FACTS, "tried at a time that is yet to come"),
        (ContactState(), LocationFacts(limits_at=START), "and no limit"),
        (
            contact_state(ledger=frozenset({Tag("a")}), restored=((Tag("a"), START + 600_000),)),
            NO_FACTS,
            "restored at a time that is yet to come",
        ),
    ],
)
def test_what_does_not_hang_together_is_told(known: ContactState, facts: LocationFacts, line: str) -> None:
    (found,) = verify(portable(known, facts), now=START)
    assert line in found


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("observed_at", None, "observed tags without a time and an origin, or these without tags"),
        ("observed", None, "observed tags without a time and an origin, or these without tags"),
        ("origin", "", "observed by nobody"),
        ("doubt", [], "a doubt without a time, or a time without a doubt"),
        ("doubt_at", None, "a doubt without a time, or a time without a doubt"),
        ("quarantine", None, "a quarantine without a time, or a time without a quarantine"),
        ("quarantined_at", None, "first refused after it was last refused"),
    ],
)
def test_fields_that_contradict_one_another_make_no_state(field: str, value: object, line: str) -> None:
    whole = contact_state(
        frozenset({Tag("a")}),
        START,
        ObservationOrigin.GET,
        doubt=frozenset({Tag("b")}),
        doubt_at=START,
        quarantine=Rejection.INVALID,
        quarantined_at=START,
        quarantined_since=START,
    )
    document = json.loads(json.dumps(state_document([portable(whole)])))
    document["locations"][0]["known"][0][field] = value
    with pytest.raises(InvalidInput) as caught:
        read_state(document, path="x")
    assert f"x: 1 contacts ({ANNA}): {line}" in [str(problem) for problem in caught.value.problems]


def test_sets_of_a_quarantine_that_is_none_make_no_state() -> None:
    with pytest.raises(ContradictoryState, match="and no quarantine"):
        contact_state(membership=frozenset({SetName("s")}))


def test_what_hangs_together_is_not() -> None:
    quarantined = contact_state(
        quarantine=Rejection.INVALID,
        quarantined_at=START,
        quarantined_since=START,
        membership=frozenset(),
        ledger=frozenset({Tag("a")}),
        restored=((Tag("a"), START),),
    )
    assert verify(portable(quarantined, LocationFacts(True, 1, 1, (ALIAS,))), now=START) == ()
