"""classify_rows: what the rows of an answer mean, case by case. Rows decide, one a contact; doubt stays doubt."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection, ResponseRow, classify_rows
from tests.build import ids, tags

ADD, REMOVE = Action.ADD, Action.REMOVE
ANNA, BERT = ids("anna bert")
APPLIED, NOOP, REJECTED, HELD, IN_DOUBT = (
    Outcome.APPLIED,
    Outcome.NOOP,
    Outcome.REJECTED,
    Outcome.HELD,
    Outcome.IN_DOUBT,
)


def success(old: str | None, added: str | None = "", removed: str | None = "", *, of: ContactId = ANNA) -> ResponseRow:
    told = [None if text is None else tags(text) for text in (old, added, removed)]
    return ResponseRow(of, "success", "Tags updated", *told)


def error(message: str, *, kind: str = "error", of: ContactId = ANNA) -> ResponseRow:
    return ResponseRow(of, kind, message)


INVALID, DELETED = "contact id is not a valid firebase id", "contact is deleted"
FOREIGN = "contact does not belong to location"

CASES = [
    # what was sent, the rows that came back, what became of anna
    ("an added tag", ADD, "x", [success("", "x")], APPLIED),
    ("a tag added to others", ADD, "x", [success("y", "x")], APPLIED),
    ("one of two was there", ADD, "x y", [success("y", "x")], APPLIED),
    ("all were there", ADD, "x y", [success("x y z")], NOOP),
    ("a removed tag", REMOVE, "x", [success("x y", removed="x")], APPLIED),
    ("one of two was gone", REMOVE, "x y", [success("x", removed="x")], APPLIED),
    ("all were gone", REMOVE, "x y", [success("z")], NOOP),
    ("nothing was there at all", REMOVE, "x", [success("")], NOOP),
    ("an invalid id", ADD, "x", [error(INVALID)], REJECTED),
    ("a deleted contact", ADD, "x", [error(DELETED)], REJECTED),
    ("a contact of another location", REMOVE, "x", [error(FOREIGN)], REJECTED),
    ("no rows at all", ADD, "x", [], IN_DOUBT),
    ("no row of the contact", ADD, "x", [success("", "x", of=BERT)], IN_DOUBT),
    ("the same row twice", ADD, "x", [success("", "x"), success("", "x")], IN_DOUBT),
    ("two rows that differ", ADD, "x", [success("", "x"), error(DELETED)], IN_DOUBT),
    ("two errors", ADD, "x", [error(DELETED), error(FOREIGN)], IN_DOUBT),
    ("an addition that was not asked for", ADD, "x", [success("", "x y")], IN_DOUBT),
    ("an addition that is missing", ADD, "x y", [success("", "x")], IN_DOUBT),
    ("an addition of what was there", ADD, "x", [success("x", "x")], IN_DOUBT),
    ("a removal in the answer to an add", ADD, "x", [success("y", "x", "y")], IN_DOUBT),
    ("an addition in the answer to a removal", REMOVE, "x", [success("x", "y", "x")], IN_DOUBT),
    ("a removal that was not asked for", REMOVE, "x", [success("x y", removed="x y")], IN_DOUBT),
    ("a removal of what was not there", REMOVE, "x", [success("", removed="x")], IN_DOUBT),
    ("a removal that is missing", REMOVE, "x", [success("x")], IN_DOUBT),
    ("without the old tags", ADD, "x", [success(None, "x")], IN_DOUBT),
    ("without the added tags", ADD, "x", [success("", None)], IN_DOUBT),
    ("without the removed tags", ADD, "x", [success("", "x", None)], IN_DOUBT),
    ("without any tags", ADD, "x", [success(None, None, None)], IN_DOUBT),
    ("a tag that came back spelt otherwise", ADD, "x-y", [success("", "x_y")], IN_DOUBT),
    ("an unknown message", ADD, "x", [error("rate limited")], HELD),
    ("an empty message", ADD, "x", [error("")], HELD),
    ("a documented message spelt otherwise", ADD, "x", [error("Contact is deleted.")], HELD),
    ("a documented message in another type", ADD, "x", [error(DELETED, kind="warning")], HELD),
    ("an unknown type", ADD, "x", [error("Tags updated", kind="partial")], HELD),
    ("an empty type", ADD, "x", [error("Tags updated", kind="")], HELD),
    ("a type spelt otherwise", ADD, "x", [error("Tags updated", kind="Success")], HELD),
    (
        "an error that says it changed something",
        ADD,
        "x",
        [ResponseRow(ANNA, "error", DELETED, tags(""), tags("x"))],
        IN_DOUBT,
    ),
    (
        "an error with the tags as they were",
        ADD,
        "x",
        [ResponseRow(ANNA, "error", DELETED, tags("y"), tags(""))],
        REJECTED,
    ),
    ("a row of a contact that was not sent", ADD, "x", [success("", "x"), error(DELETED, of=BERT)], APPLIED),
    ("an id in another case", ADD, "x", [success("", "x", of=ContactId("Anna"))], IN_DOUBT),
]


@pytest.mark.parametrize(
    ("action", "asked", "rows", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_row_means(action: Action, asked: str, rows: list[ResponseRow], expected: Outcome) -> None:
    for order in permutations(rows):
        assert classify_rows(action, [ANNA], tags(asked), order)[ANNA].outcome is expected


VENDORS = [
    ResponseRow(ContactId("qFSqySFkVvNzOSqgGqFi"), "success", "Tags updated", tags("tag-1 tag-2"), tags(""), tags("")),
    ResponseRow(ContactId("abcdef"), "error", INVALID),
    ResponseRow(ContactId("qFSqySFkVvNzOSqgGqFi"), "error", DELETED),
    ResponseRow(ContactId("3ualbhnV7j3n3a9r2moD"), "error", FOREIGN),
]


@pytest.mark.parametrize("rows", list(permutations(VENDORS)))
def test_the_vendors_own_example(rows: tuple[ResponseRow, ...]) -> None:
    """It answers one contact twice: that one is in doubt, whichever row comes first."""
    found = classify_rows(ADD, dict.fromkeys(row.contact for row in VENDORS), tags("tag-1"), rows)
    assert {contact: (verdict.outcome, verdict.rejection) for contact, verdict in found.items()} == {
        "qFSqySFkVvNzOSqgGqFi": (IN_DOUBT, None),
        "abcdef": (REJECTED, Rejection.INVALID),
        "3ualbhnV7j3n3a9r2moD": (REJECTED, Rejection.FOREIGN),
    }


@pytest.mark.parametrize(
    ("row", "action", "carried"),
    [
        (success("y", "x"), ADD, "x y"),
        (success("x y", removed="x"), REMOVE, "y"),
        (success("x"), ADD, "x"),
    ],
)
def test_an_answer_tells_what_the_contact_carries_now(row: ResponseRow, action: Action, carried: str) -> None:
    assert classify_rows(action, [ANNA], tags("x"), [row])[ANNA].observed == tags(carried)


def test_what_is_unclear_tells_nothing_and_says_why() -> None:
    for rows in ([], [success("", "x"), success("", "x")], [success(None)], [error("who knows")]):
        verdict = classify_rows(ADD, [ANNA], tags("x"), rows)[ANNA]
        assert verdict.observed is None
        assert verdict.message


some_tags = st.none() | st.frozensets(st.sampled_from(tuple(tags("x y z"))))
some_rows = st.lists(
    st.builds(
        ResponseRow,
        contact=st.sampled_from((ANNA, BERT, ContactId("cara"))),
        type=st.sampled_from(("success", "error", "other")),
        message=st.sampled_from(("Tags updated", INVALID, DELETED, "new")),
        old=some_tags,
        added=some_tags,
        removed=some_tags,
    ),
    max_size=5,
)


@given(st.sampled_from(Action), st.frozensets(st.sampled_from(tuple(tags("x y"))), min_size=1), some_rows, st.data())
def test_every_contact_sent_gets_one_verdict_whatever_comes_back(
    action: Action, asked: frozenset[str], rows: list[ResponseRow], data: st.DataObject
) -> None:
    found = classify_rows(action, [ANNA, BERT], asked, rows)  # type: ignore[arg-type]
    assert list(found) == [ANNA, BERT]
    assert found == classify_rows(action, [ANNA, BERT], asked, data.draw(st.permutations(rows)))  # type: ignore[arg-type]
    for verdict in found.values():
        _is_sound(action, asked, verdict)


def _is_sound(action: Action, asked: frozenset[str], verdict: ContactOutcome) -> None:
    """Only what was asked for was changed, and afterwards it is as asked for."""
    assert (verdict.outcome is REJECTED) == (verdict.rejection is not None)
    assert (verdict.outcome in (APPLIED, NOOP)) == (verdict.observed is not None)
    assert (verdict.added | verdict.removed) <= asked
    if verdict.observed is not None:
        assert asked & verdict.observed == (asked if action is ADD else set())
