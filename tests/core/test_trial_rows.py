"""What a trial settles by answers that the sandbox does not give, and leaves open where they are missing."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.model.api_limits import TrialVerdict, TriedRow
from reconciler.core.observing.trial import PREFIX, RefusedCall, ShownContact, TrialAnswers, TrialTags, WrittenRow
from reconciler.core.observing.trial_rows import judge_answers
from tests.build import NOW, name

ANNA = name("anna")
OPEN = TrialVerdict.OPEN
TAGS = TrialTags.make("0f0f")
BEFORE = ShownContact(ANNA, frozenset({"vip"}), NOW)


def judged(**answers: Any) -> dict[str, TriedRow]:
    return {row.name: row for row in judge_answers(TrialAnswers(TAGS, ANNA, BEFORE, **answers), NOW)}


def settled(**answers: Any) -> dict[str, bool]:
    """The rows that these answers settle, and whether each is as assumed."""
    verdicts = {row.name: row.verdict for row in judged(**answers).values()}
    return {row: verdict is TrialVerdict.AS_ASSUMED for row, verdict in verdicts.items() if verdict is not OPEN}


def test_answers_that_are_missing_leave_their_rows_open() -> None:
    assert settled() == {"read-id": True}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"version": "taken"}, {"version": False}),
        ({"version": RefusedCall(400, ("version header was invalid",))}, {"version": True}),
        ({"version": RefusedCall(401, ("version header was not found.",))}, {"version": False}),
        ({"version": RefusedCall(400, ("Bad request",))}, {"version": False}),
        ({"missing": "found"}, {"absence": False}),
        ({"missing": RefusedCall(400, ("Contact not found",), known=True)}, {"absence": True}),
        ({"missing": RefusedCall(404, ("No such contact",))}, {"absence": False}),
        ({"missing": RefusedCall(401, ("Invalid token",))}, {}),
    ],
)
def test_a_request_that_was_to_be_refused_settles_its_row(answers: dict[str, Any], expected: dict[str, bool]) -> None:
    assert settled(**answers) == {"read-id": True} | expected


def written(*added: str) -> WrittenRow:
    return WrittenRow(201, "object", ANNA, "success", "", added, ())


def shown(*tags: str) -> ShownContact:
    return ShownContact(ANNA, BEFORE.tags | {*tags}, NOW)


def test_a_location_that_keeps_tags_as_they_are_sent_leaves_open_whether_the_row_does() -> None:
    row = judged(added=written(*TAGS.sent), after_add=shown(*TAGS.sent))["changes"]
    assert (row.verdict, row.found) == (OPEN, "all tags are kept as they were sent: see no-op")


@pytest.mark.parametrize(("added", "expected"), [("kept", True), ("sent", False)])
def test_a_row_names_tags_as_they_are_kept_or_as_they_were_sent(added: str, expected: bool) -> None:
    kept = [tag.strip().lower() for tag in TAGS.sent]
    assert (
        settled(added=written(*(kept if added == "kept" else TAGS.sent)), after_add=shown(*kept))["changes"] is expected
    )


PLAIN = f"{PREFIX}0f0f-plain"


def removal(*removed: str) -> WrittenRow:
    return WrittenRow(201, "object", ANNA, "success", "", (), removed)


@pytest.mark.parametrize(
    ("left", "answers", "expected"),
    [
        # a read may be of before the add
        ((), {}, None),
        ((PLAIN,), {}, False),
        # the removal finds nothing there, or what the add put there
        ((), {"sized": removal()}, True),
        ((), {"sized": removal(PLAIN)}, False),
        ((), {"sized": RefusedCall(400, ("no",)), "removed": removal(PLAIN)}, False),
        ((), {"sized": RefusedCall(400, ("no",)), "removed": RefusedCall(400, ("no",))}, None),
        ((), {"sized": WrittenRow(201, "none")}, None),
    ],
)
def test_what_a_refused_add_did_is_told_by_a_read_that_shows_it_or_by_the_removal(
    left: tuple[str, ...], answers: dict[str, Any], expected: bool | None
) -> None:
    found = settled(added=RefusedCall(400, ("no",)), after_add=shown(*left), **answers)
    assert found.get("refused-effect") is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tag vip does not exist", False),
        ("Unknown tag", False),
        ("each value in tags must be shorter than or equal to 20 characters", None),
        ("Bad Request", None),
    ],
)
def test_only_words_that_say_so_tell_that_a_tag_has_to_be_there_before(words: str, expected: bool | None) -> None:
    found = settled(added=RefusedCall(422, (words,)), after_add=shown(), sized=removal())
    assert found.get("new-tags") is expected
