"""The product keeps its promises where the API is otherwise than we believe: a case for each switch of the sandbox.

A case tells the story that the switch bears on, how it ends, and the words of the product. `check_promises` holds in
all of them: no pair is added twice, and a report tells of no more and no less than there was.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.errors import AuthRefused
from reconciler.core.model.names import Tag
from reconciler.core.model.outcome import Outcome
from reconciler.core.observing.refresh_rules import Method
from reconciler.sandbox.access import Limits
from reconciler.sandbox.assumptions import Assumptions, DuplicateSearch, Merged, Oversize
from tests.assumed import Play, check_open, check_promises
from tests.build import name

CROWDED = {"limits": Limits(4, 10_000), "strangers": 1}
"""Another program uses the limits too, so that requests of ours are refused with 429."""
NEVER_SENT = "the product sends no such request"


@dataclass(frozen=True)
class Case:
    """`told`: what the product says, in part. `is_open`: something stays undone, and is planned, held or told.

    `people`: the story is that of the people; a pull finds two by e-mail, by phone and by number. `filters`: that of
    sets by filter. `has_drift`: drift tells what a person took away, as nothing else hides it. `is_late`: that takes
    until a later refresh. `unmet`: why the story never comes to it: the product sends no such request, or the tests in
    which it does.
    """

    switch: str
    value: object
    told: str = ""
    is_open: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    people: bool = False
    filters: bool = False
    unmet: str = ""
    has_drift: bool = True
    is_late: bool = False
    seen: Callable[[Play], bool] = lambda play: True

    def __str__(self) -> str:
        return f"{self.switch}={self.value}"


def outcomes(play: Play, outcome: Outcome) -> int:
    return sum(report.pairs.get(outcome, 0) for report in play.reports)


def carries(play: Play, tag: str) -> bool:
    return Tag(tag) in play.world.tags_of(name("anna"))


def answered(play: Play, status: int) -> int:
    return sum(response.status_code == status for _, response in play.transport.asked)


CASES = (
    Case("lowercases_tags", False, is_open=True, seen=lambda play: "still there when it was read" in play.told),
    Case("trims_tags", False, seen=lambda play: Tag("regular ") in play.world.tags_of(name("bert"))),
    Case("collapses_spaces", True, told="keeps the tag 'two  spaces' as 'two spaces'"),
    Case("composes_unicode", True, told="keeps the tag 'cafe\u0301' as 'caf\u00e9'"),
    Case("blank_tags_refused", False, unmet=NEVER_SENT),
    Case("longest_tag", 8, is_open=True, has_drift=False, told="must be shorter than or equal to 8 characters"),
    Case("max_contacts", 2, told="contacts must contain not more than 2 elements"),
    Case("max_tags", 2, told="smaller ones from here on", seen=lambda play: play.plan().summary.requests == 0),
    Case("oversize", Oversize.ACCEPTED, more={"max_tags": 2}),
    Case("oversize", Oversize.CUT, is_open=True, more={"max_tags": 2}, seen=lambda p: outcomes(p, Outcome.HELD) > 0),
    Case("oversize_names_limit", False, more={"max_tags": 2}, told="smaller ones from here on", has_drift=False),
    Case("unknown_tags_refused", True, is_open=True, has_drift=False, told="does not exist"),
    Case("writes_refused_after_effect", 1, told="a refused request may have taken effect"),
    Case("empty_lists_refused", False, unmet=NEVER_SENT),
    Case("extra_keys_refused", False, unmet=NEVER_SENT),
    Case("remove_all_on_add_refused", False, unmet=NEVER_SENT),
    Case("repeats_give_rows", False, unmet=NEVER_SENT),
    Case("rows_as_sent", False, unmet="simulation/town.py"),
    Case("counts_errors", False),
    Case("succeeds_with_errors", False),
    Case("spells_succeeded", True),
    Case("spells_succeded", False),
    Case("rows_as_text", True),
    Case("unknown_contact", "no such contact", told="no such contact", seen=lambda p: outcomes(p, Outcome.HELD) > 0),
    Case("missing_contact_status", 404, seen=lambda play: len(play.read[1].gone) == 4),
    # words that nobody told us: of what is said so nothing is believed
    Case("missing_contact_message", "No contact has this id", seen=lambda play: len(play.read[1].gone) == 1),
    Case("merged_row", Merged.UNDER_OWN_ID, seen=lambda play: outcomes(play, Outcome.NOOP) > 1),
    Case("merged_row", Merged.UNDER_SURVIVOR, seen=lambda play: outcomes(play, Outcome.SEEN) > 0),
    Case("merged_reads_as_survivor", True, seen=lambda play: name("ghost") in play.read[1].unread),
    Case("read_under_other_id", 1, seen=lambda play: play.read[1].read == 0 and len(play.read[1].unread) == 3),
    Case("read_without_location", True, seen=lambda play: play.read[1].read == 3),
    Case("changes_as_asked", True, seen=lambda play: outcomes(play, Outcome.SEEN) > 0),
    Case("tag_write_moves_date", False),
    Case("noop_write_moves_date", True, unmet="test_trial.py"),
    Case("search_lag_ms", 600_000, seen=lambda play: play.read[0].changed == 0),
    Case("search_flickers_ms", 400_000, seen=lambda play: play.read[1].read == 3),
    Case("search_ignores_cursor", True, told="the search came back to where it had been"),
    Case("read_lag_ms", 600_000, has_drift=False, is_late=True),
    Case("search_row_without_tags", 1, seen=lambda play: play.read[0].read == 0),
    Case("search_row_with_nulls", False, people=True),
    Case("additional_as_objects", True, people=True),
    Case("field_numbers", True, people=True),
    Case("additional_are_sought", False, people=True, unmet="simulation/people/play.py"),
    Case("email_filter_finds_nothing", True, people=True),
    Case("phone_filter_finds_nothing", True, people=True),
    Case("duplicate_search", DuplicateSearch.FINDS_NOTHING, people=True, unmet="pull/test_look_ups.py"),
    Case("duplicate_search", DuplicateSearch.MISSING, people=True, unmet="pull/test_look_ups.py"),
    Case("lowercases_emails", False, people=True),
    Case("merging_keeps_addresses", False, people=True),
    Case("index_keeps_case", True, filters=True, unmet="simulation/release/filtered.py"),
    Case("eq_needs_all", False, people=True, unmet=NEVER_SENT),
    Case("opportunity_not_eq_is_any", False, filters=True),
    Case(
        "unknown_version_status",
        400,
        unmet="cli/test_doctor.py",
        told="see api.version",
        more={"version": "2020-01-01"},
        is_open=True,
        has_drift=False,
    ),
    Case(
        "unknown_version_status",
        401,
        told="see api.version",
        more={"version": "2020-01-01"},
        is_open=True,
        has_drift=False,
    ),
    Case("retry_after", False, more=CROWDED),
    Case("daily_reset_header", False),
    # with room for four the windows of either kind refuse the same requests of this story
    Case("interval_slides", False, more=CROWDED | {"limits": Limits(3, 10_000)}),
    Case("refused_requests_count", True, more=CROWDED),
    Case("location_token_s", 1, more={"company": "agency"}, seen=lambda play: play.exchanges > 1),
    Case("exchange_status", 200, more={"company": "agency"}),
    Case("exchange_in_camel_case", True, more={"company": "agency"}),
    Case("exchange_revokes", True, more={"company": "agency"}),
)


def test_every_switch_has_a_case() -> None:
    assert {case.switch for case in CASES} == {member.name for member in fields(Assumptions)}
    assert not [str(case) for case in CASES if case.value == getattr(Assumptions(), case.switch) and not case.more]


def tell(play: Play, case: Case) -> None:
    if case.people:
        play.tell_people()
    elif case.filters:
        play.tell_filters()
    else:
        play.tell_tags()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_story_comes_to_what_the_switch_changes(tmp_path: Path, case: Case) -> None:
    """Otherwise the case would show nothing: some answer is another one, or the case says where else it is shown."""
    answered = []
    for switched in ({case.switch: case.value}, {}):
        directory = tmp_path / str(len(answered))
        directory.mkdir()
        # the same waits in both, a part of which is chosen at random: else these would be the difference
        random.seed(1)
        play = Play(directory, **switched, **case.more)  # type: ignore[arg-type]
        tell(play, case)
        answered.append([(each.status_code, each.headers, each.content) for _, each in play.transport.asked])
    assert (answered[0] == answered[1]) is bool(case.unmet)
    assert case.unmet in ("", NEVER_SENT) or case.switch in (Path(__file__).parent / case.unmet).read_text()


@pytest.mark.one_in(63)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_product_keeps_its_promises(tmp_path: Path, case: Case) -> None:
    play = Play(tmp_path, **{case.switch: case.value}, **case.more)
    tell(play, case)
    if case.people:
        assert set(play.matched.values()) == {2}
    elif not case.filters:
        assert ("missing customer" in play.drift) is case.has_drift
    if case.is_late:
        play.wait()
        play.wait()
        play.refresh(Method.GET)
        play.apply()
    check_promises(play)
    if case.is_open:
        check_open(play)
    else:
        assert play.plan().deltas == ()
        assert case.people or case.filters or not play.unsettled()
    assert case.told in play.told
    assert case.seen(play)
    assert not [error for error in play.errors if not case.is_open]


@pytest.mark.slow
def test_an_unknown_version_stops_at_once_and_sends_nothing_more(tmp_path: Path) -> None:
    play = Play(tmp_path, version="2020-01-01")
    play.tell_tags()
    (first, *_) = play.reports
    assert (first.requests, first.reads, first.exit_code) == (1, 0, AuthRefused.exit_code)
    assert "needs a token" not in first.error


def test_the_version_that_the_vendors_kit_sends_is_taken(tmp_path: Path) -> None:
    play = Play(tmp_path, version="2023-02-21")
    play.tell_tags()
    assert (play.unsettled(), play.errors) == (set(), [])


@pytest.mark.slow
def test_ten_tags_a_request_are_learnt_and_kept(tmp_path: Path) -> None:
    play = Play(tmp_path, max_tags=10)
    tags = ", ".join(f"tag{number}" for number in range(24))
    sets = f"{{s: {{contacts: [{name('cara')}], tags: [{tags}]}}}}"
    play.declare(acme_yaml=f"location: {play.world.location}\ncontact_sets: {sets}\n")
    play.apply()
    sizes = [len(body["tags"]) for body in play.transport.bodies]
    assert len(play.world.tags_of(name("cara"))) == 24
    assert (sizes[0], max(sizes[1:])) == (24, 10)
    assert play.plan().deltas == ()
