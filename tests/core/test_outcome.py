"""classify_rows: what the rows of an answer mean, case by case. Rows decide, one a contact; doubt stays doubt."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import (
    Action,
    ContactOutcome,
    Outcome,
    Refusal,
    RefusalKind,
    Rejection,
    ResponseRow,
    called,
    classify_rows,
    is_version_refused,
    read_refusal,
)
from tests.build import Words, ids, tags

ADD, REMOVE = Action.ADD, Action.REMOVE
ANNA, BERT = ids("anna bert")
APPLIED, NOOP, REJECTED, HELD, IN_DOUBT = (
    Outcome.APPLIED,
    Outcome.NOOP,
    Outcome.REJECTED,
    Outcome.HELD,
    Outcome.IN_DOUBT,
)


def success(
    old: Words | None, added: Words | None = "", removed: Words | None = "", *, of: ContactId = ANNA
) -> ResponseRow:
    told = [None if text is None else tags(text) for text in (old, added, removed)]
    return ResponseRow(of, "success", "Tags updated", *told)


def error(message: str, *, kind: str = "error", of: ContactId = ANNA) -> ResponseRow:
    return ResponseRow(of, kind, message)


SENT, KEPT = "two  spaces", "two spaces"
"""A tag, and the spelling of it that the location keeps."""

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
    ("an added tag that is kept in another spelling", ADD, [SENT], [success("", [KEPT])], APPLIED),
    ("an added tag beside one that is kept in another spelling", ADD, ["x", SENT], [success("", ["x", KEPT])], APPLIED),
    ("a tag that was there in another spelling", ADD, [SENT], [success([KEPT])], NOOP),
    ("an addition of the spelling that was there", ADD, [SENT], [success([KEPT], [KEPT])], IN_DOUBT),
    ("an addition of another tag than the one that was there", ADD, [SENT], [success([KEPT], "x")], IN_DOUBT),
    ("an addition that is missing beside a spelling", ADD, ["x", SENT], [success("", [KEPT])], IN_DOUBT),
    ("a removal of the spelling that is there", REMOVE, [SENT], [success([KEPT], "", [KEPT])], APPLIED),
    ("a removal beside a spelling", REMOVE, ["x", SENT], [success(["x", KEPT], "", ["x", KEPT])], APPLIED),
    ("a removal that is missing beside a spelling", REMOVE, ["x", SENT], [success(["x", KEPT], "", [KEPT])], IN_DOUBT),
    ("a removal of more than a spelling", REMOVE, [SENT], [success(["x", KEPT], "", ["x", KEPT])], IN_DOUBT),
    ("a removal of a spelling that was not there", REMOVE, [SENT], [success("x", "", [KEPT])], IN_DOUBT),
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
        "an error that says it removed something",
        REMOVE,
        "x",
        [ResponseRow(ANNA, "error", DELETED, tags("x"), tags(""), tags("x"))],
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
def test_a_row_means(action: Action, asked: Words, rows: list[ResponseRow], expected: Outcome) -> None:
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


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ContactOutcome(IN_DOUBT, "no row in the answer")),
        ([success("", "x")] * 2, ContactOutcome(IN_DOUBT, "2 rows in the answer")),
        ([success("", "x"), error(DELETED), error("?")], ContactOutcome(IN_DOUBT, "3 rows in the answer")),
        (
            [ResponseRow(ANNA, "error", DELETED, None, tags("x"))],
            ContactOutcome(IN_DOUBT, "an error row that tells of a change"),
        ),
        ([success(None)], ContactOutcome(IN_DOUBT, "a row without its tags")),
        ([success("x", "x")], ContactOutcome(IN_DOUBT, "a row that contradicts the request")),
        ([error("Rate limited")], ContactOutcome(HELD, "Rate limited")),
        ([error("")], ContactOutcome(HELD, "an error without a message")),
        ([error("Half done", kind="partial")], ContactOutcome(HELD, "Half done")),
        ([error("", kind="partial")], ContactOutcome(HELD, "a row of unknown type")),
        ([error("Contact is DELETED")], ContactOutcome(REJECTED, "Contact is DELETED", Rejection.DELETED)),
        (
            [success("x y", [], [])],
            ContactOutcome(NOOP, "Tags updated", old=tags("x y"), added=tags(""), removed=tags("")),
        ),
        ([success("y", "x")], ContactOutcome(APPLIED, "Tags updated", old=tags("y"), added=tags("x"))),
    ],
)
def test_a_verdict_says_why_and_tells_the_tags_of_a_success_alone(
    rows: list[ResponseRow], expected: ContactOutcome
) -> None:
    assert classify_rows(ADD, [ANNA], tags("x"), rows) == {ANNA: expected}


def test_a_removal_tells_the_tags_that_it_took() -> None:
    expected = ContactOutcome(APPLIED, "Tags updated", old=tags("x y"), removed=tags("x"))
    assert classify_rows(REMOVE, [ANNA], tags("x"), [success("x y", removed="x")]) == {ANNA: expected}


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


HERE = called("environment variable TOKEN")
LACKS_A_SCOPE = Refusal(
    RefusalKind.SCOPE,
    "the token from environment variable TOKEN lacks a scope",
    "give it the scopes contacts.readonly and locations/tags.readonly, and contacts.write to apply",
)
UNKNOWN_VERSION = Refusal(RefusalKind.VERSION, "the request named no version that it knows", "see api.version")
NO_TOKEN = Refusal(
    RefusalKind.TOKEN,
    "the token from environment variable TOKEN is expired, revoked or rotated, or is no token of this API",
    "make a new token in HighLevel, and set it where the old one is held",
)
NOT_IN_THIS_PLACE = Refusal(
    RefusalKind.PLACE,
    "the token from environment variable TOKEN may not do this in the location",
    "see that the token is of this location and has the scopes it needs",
)


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (401, ["The token is not authorized for this scope."], LACKS_A_SCOPE),
        (403, ["SCOPE missing"], LACKS_A_SCOPE),
        # the token is named beside the scope, and the scope beside the version
        (401, ["Invalid token", "no scope for this version"], LACKS_A_SCOPE),
        (401, ["version header was not found."], UNKNOWN_VERSION),
        (400, ["Version header is invalid"], UNKNOWN_VERSION),
        (401, ["Invalid JWT"], NO_TOKEN),
        (401, ["ver", "sion"], NO_TOKEN),
        (401, [], NO_TOKEN),
        (403, ["The token does not have access to this location."], NOT_IN_THIS_PLACE),
        (403, [], NOT_IN_THIS_PLACE),
    ],
)
def test_a_refusal_is_told_with_its_remedy(status: int, said: Iterable[str], expected: Refusal) -> None:
    assert read_refusal(status, said, HERE) == expected


def test_a_web_page_that_refuses_is_no_answer_about_the_token() -> None:
    assert read_refusal(401, ["scope"], HERE, page=True) == Refusal(
        RefusalKind.PAGE,
        "this is a web page and no answer of the API: a firewall, a proxy or a sign-in refuses",
        "see api.base_url, and what network and proxy let through",
    )


def test_a_token_is_called_by_its_place_where_that_is_known() -> None:
    assert (called("environment variable TOKEN"), called("")) == (
        "the token from environment variable TOKEN",
        "the token",
    )


@pytest.mark.parametrize(
    ("status", "said", "is_so"),
    [
        (400, ["Version header is invalid"], True),
        (401, ["version header was not found."], True),
        (403, ["version header was not found."], False),
        (422, ["version header was not found."], False),
        (401, [], False),
        (400, ["the tag version is invalid"], False),
        (400, ["version header is invalid", "the tag is too long"], False),
    ],
)
def test_a_version_is_refused_by_words_about_its_header_alone(status: int, said: list[str], is_so: bool) -> None:
    assert is_version_refused(status, said) is is_so
