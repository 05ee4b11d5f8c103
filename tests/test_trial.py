"""`doctor --try`: a few requests on one contact settle the right rows the right way round, and leave its tags alone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from reconciler.core.model.api_limits import LocationFacts, TrialVerdict
from reconciler.core.model.errors import (
    AuthRefused,
    InDoubt,
    Interrupted,
    LockHeld,
    RequestRefused,
    StateError,
    Unfinished,
    UsageError,
)
from reconciler.core.model.journal import RunRecord, RunStatus
from reconciler.core.observing.trial import PREFIX
from reconciler.core.observing.trial_rows import TRIAL_ROWS
from reconciler.operations.plan import make_plan
from reconciler.operations.plan_options import PlanRequest
from reconciler.operations.try_contact import TrialRequest, TrialResult, try_contact
from reconciler.operations.workspace import open_session
from reconciler.request_gate import Stop
from reconciler.sandbox.assumptions import Assumptions, Oversize
from reconciler.store import open_reader, open_store
from tests.assumed import MANIFEST, Play
from tests.build import HERE, name
from tests.fakes import a_holder

BERT = name("bert")
STATE = "RECONCILER_STATE"
AS_ASSUMED, OTHERWISE, OPEN = TrialVerdict
SPELLING = {"case", "trim", "spaces", "unicode", "changes"}
READ = {"date-moved", "date-unmoved"}


def str_of_switches(value: object) -> str:
    """Of the sets of a case, whose order is any, nothing."""
    return " ".join(f"{switch}={what}" for switch, what in value.items()) if isinstance(value, dict) else ""


def begin(directory: Path, **assumed: object) -> Play:
    play = Play(directory, **assumed)  # type: ignore[arg-type]
    play.declare(acme_yaml=MANIFEST)
    return play


def run_trial(play: Play, contact: str = BERT, **more: object) -> TrialResult:
    return play.clock.run(try_contact(play.workspace, TrialRequest(HERE, contact, **more)))  # type: ignore[arg-type]


def facts(play: Play) -> LocationFacts:
    with open_reader(play.environment[STATE]) as reader:
        return reader.at(HERE).load_state().facts


def runs(play: Play) -> list[RunRecord]:
    with open_reader(play.environment[STATE]) as reader:
        return list(reader.at(HERE).read_runs())


def notes(play: Play) -> str:
    return "\n".join(play.clock.run(make_plan(open_session(play.workspace), PlanRequest())).notes)


def test_a_trial_settles_its_rows_in_a_minute_and_leaves_the_contact_as_it_was(tmp_path: Path) -> None:
    play = begin(tmp_path)
    before, began = play.world.tags_of(BERT), play.clock.now()
    result = run_trial(play)
    verdicts = {row.name: row.verdict for row in result.rows}

    assert list(verdicts) == [question.name for question in TRIAL_ROWS]
    assert {row for row, verdict in verdicts.items() if verdict is not AS_ASSUMED} == {"refused-effect"}
    assert len(play.transport.asked) == result.requests == 10
    assert play.clock.now() - began < 60_000
    assert play.world.tags_of(BERT) == before
    assert {change.contact for change in play.world.transitions if change.at >= began} == {BERT}
    assert facts(play).tried == tuple(sorted(result.rows, key=lambda row: row.name))
    assert facts(play).moves_updated is True
    assert [(run.header.operation, run.status) for run in runs(play)] == [("try", RunStatus.COMPLETE)]
    assert notes(play) == ""


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("assumed", "otherwise", "still_open"),
    [
        ({"lowercases_tags": False}, {"case"}, set()),
        ({"trims_tags": False}, {"trim"}, set()),
        ({"collapses_spaces": True}, {"spaces"}, set()),
        ({"composes_unicode": True}, {"unicode"}, set()),
        ({"rows_as_text": True}, {"row-shape"}, set()),
        ({"changes_as_asked": True}, {"changes", "no-op"}, set()),
        ({"tag_write_moves_date": False}, {"date-moved"}, set()),
        ({"noop_write_moves_date": True}, {"date-unmoved"}, set()),
        ({"read_lag_ms": 5_000}, {"current-read"}, READ | {"size"}),
        ({"read_lag_ms": 600_000}, {"current-read"}, READ | SPELLING | {"size"}),
        ({"search_lag_ms": 15_000}, set(), set()),
        ({"search_lag_ms": 600_000}, set(), {"search-lag"}),
        ({"daily_reset_header": False}, {"headers"}, set()),
        ({"unknown_version_status": 401}, {"version"}, set()),
        ({"missing_contact_status": 404}, set(), set()),
        ({"missing_contact_message": "No such contact"}, {"absence"}, set()),
        ({"max_tags": 10}, {"size"}, set()),
        ({"max_tags": 10, "oversize_names_limit": False}, {"size"}, set()),
        ({"max_tags": 10, "oversize": Oversize.CUT}, {"size"}, set()),
        ({"merged_reads_as_survivor": True}, set(), set()),
        # refused for its length: that says nothing of tags that are new
        (
            {"longest_tag": 20},
            set(),
            SPELLING | READ | {"status", "row-shape", "new-tags", "no-op", "current-read", "search-lag", "size"},
        ),
        # the add took effect, and the read is of before it
        (
            {"writes_refused_after_effect": 1, "read_lag_ms": 5_000},
            set(),
            SPELLING | READ | {"status", "row-shape", "new-tags", "no-op", "current-read", "search-lag", "size"},
        ),
        (
            {"writes_refused_after_effect": 1},
            {"refused-effect"},
            {"status", "row-shape", "changes", "new-tags", "no-op", "date-unmoved", "current-read", "size"},
        ),
        (
            {"unknown_tags_refused": True},
            {"new-tags"},
            SPELLING | READ | {"status", "row-shape", "no-op", "current-read", "search-lag", "size"},
        ),
        (
            {"read_under_other_id": 1},
            {"read-id"},
            {row.name for row in TRIAL_ROWS} - {"headers", "version", "absence", "read-id", "refused-effect"},
        ),
    ],
    ids=str_of_switches,
)
def test_each_switch_settles_its_row_the_right_way_round(
    tmp_path: Path, assumed: dict[str, object], otherwise: set[str], still_open: set[str]
) -> None:
    play = begin(tmp_path, **assumed)
    before = play.world.tags_of(BERT)
    result = run_trial(play)

    assert {row.name for row in result.rows if row.verdict is OTHERWISE} == otherwise
    assert {row.name for row in result.rows if row.verdict is OPEN} - {"refused-effect"} == still_open
    assert play.world.tags_of(BERT) == before
    assert len(play.transport.asked) <= 12
    assert {row.name for row in facts(play).tried} == {row.name for row in TRIAL_ROWS}


WARNED = {
    "case": {"lowercases_tags": False},
    "trim": {"trims_tags": False},
    "new-tags": {"unknown_tags_refused": True},
    "current-read": {"read_lag_ms": 5_000},
    "read-id": {"read_under_other_id": 1},
    "absence": {"missing_contact_message": "No such contact"},
    "size": {"max_tags": 10, "oversize_names_limit": False},
}


def test_every_row_that_plan_warns_of_is_tried() -> None:
    assert {row.name for row in TRIAL_ROWS if row.warns} | {"size"} == set(WARNED)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("row", WARNED)
def test_plan_warns_of_a_row_that_nothing_else_goes_by(tmp_path: Path, row: str) -> None:
    play = begin(tmp_path, **WARNED[row])
    run_trial(play)
    (line,) = notes(play).splitlines()
    assert f"location {HERE} is other than assumed (" in line
    assert "doctor --try, 2026-" in line
    assert next(question.deviation for question in TRIAL_ROWS if question.name == row) in line


@pytest.mark.slow
def test_a_size_that_the_refusal_names_is_heeded_by_the_next_apply(tmp_path: Path) -> None:
    play = begin(tmp_path, max_tags=3)
    run_trial(play)
    assert (facts(play).max_tags, notes(play)) == (3, "")
    began = len(play.transport.bodies)
    play.apply()
    assert max(len(body["tags"]) for body in play.transport.bodies[began:]) == 3


def test_dates_that_do_not_move_are_heeded(tmp_path: Path) -> None:
    play = begin(tmp_path, tag_write_moves_date=False)
    run_trial(play)
    assert facts(play).moves_updated is False


def test_a_later_trial_that_does_not_settle_a_row_leaves_what_was_settled(tmp_path: Path) -> None:
    play = begin(tmp_path)
    run_trial(play)
    play.world.assume(Assumptions(search_lag_ms=600_000, trims_tags=False))
    run_trial(play)
    tried = {row.name: row.verdict for row in facts(play).tried}
    assert (tried["search-lag"], tried["trim"]) == (AS_ASSUMED, OTHERWISE)


def test_tags_that_a_killed_trial_left_are_removed_by_the_next_one(tmp_path: Path) -> None:
    play = begin(tmp_path)
    before = play.world.tags_of(BERT)
    play.world.add(BERT, [f"{PREFIX}0f0f0f0f-plain"], now=play.clock.now(), by="api")
    result = run_trial(play)
    assert result.removed == (f"{PREFIX}0f0f0f0f-plain",)
    assert play.world.tags_of(BERT) == before


@pytest.mark.parametrize("trials", [1, 9, 12])
def test_tags_of_killed_trials_make_no_request_larger_than_is_allowed(tmp_path: Path, trials: int) -> None:
    """Of nine trials they fill the request, and of twelve they do not fit into one."""
    play = begin(tmp_path)
    before = play.world.tags_of(BERT)
    for number in range(trials):
        left = [f"{PREFIX}{number:08x}-{kind}" for kind in ("plain", "case", "trim", "two  spaces", "e")]
        play.world.add(BERT, left, now=play.clock.now(), by="api")
    result = run_trial(play)
    assert max(len(body["tags"]) for body in play.transport.bodies) == 50
    assert {row.name: row.verdict for row in result.rows}["size"] is AS_ASSUMED
    assert len(result.removed) == 5 * trials
    assert play.world.tags_of(BERT) == before


def test_a_trial_that_does_not_fit_the_users_own_limit_is_refused(tmp_path: Path) -> None:
    play = begin(tmp_path)
    play.environment["RECONCILER_API_MAX_TAGS"] = "4"
    with pytest.raises(UsageError, match=r"a trial adds 5 tags in one request, and api\.max_tags is 4"):
        run_trial(play)
    assert play.transport.asked == []


def test_an_agencys_token_is_exchanged_for_the_version_that_is_tried_out(tmp_path: Path) -> None:
    result = run_trial(begin(tmp_path, company="agency"))
    assert {row.name: row.verdict for row in result.rows}["version"] is AS_ASSUMED


def test_a_location_that_nobody_knows_is_given_no_state(tmp_path: Path) -> None:
    play = begin(tmp_path)
    with pytest.raises(UsageError, match="have a location 'nowhere'"):
        play.clock.run(try_contact(play.workspace, TrialRequest("nowhere", BERT)))
    assert play.transport.asked == []
    with open_reader(play.environment[STATE]) as reader:
        assert list(reader.list_locations()) == []


def test_a_token_that_may_only_read_leaves_no_doubt_about_the_tags(tmp_path: Path) -> None:
    play = begin(tmp_path)

    def refuse(request: httpx.Request) -> httpx.Response | None:
        said = {"statusCode": 401, "message": "The token is not authorized for this scope."}
        return httpx.Response(401, json=said) if "/bulk/" in request.url.path else None

    play.transport.answer = refuse
    with pytest.raises(AuthRefused) as refused:
        run_trial(play)
    assert "may still have tags" not in refused.value.message
    assert "contacts.write to apply" in refused.value.hint
    assert sum("/bulk/" in request.url.path for request, _ in play.transport.asked) == 1


def test_a_token_of_a_location_that_ends_meanwhile_is_exchanged_anew(tmp_path: Path) -> None:
    play = begin(tmp_path, company="agency", location_token_s=1)
    before = play.world.tags_of(BERT)
    result = run_trial(play)
    assert {row.name for row in result.rows if row.verdict is OTHERWISE} == set()
    assert play.world.tags_of(BERT) == before


def test_tags_that_no_read_and_no_removal_tells_of_are_looked_for_once_more(tmp_path: Path) -> None:
    """The add is refused and has its effect all the same, a read is of some seconds ago, and no removal is taken."""
    play = begin(tmp_path, writes_refused_after_effect=1, read_lag_ms=5_000)
    play.transport.answer = lambda request: (
        httpx.Response(400, json={"statusCode": 400, "message": "no"}) if request.url.path.endswith("/remove") else None
    )
    with pytest.raises(Unfinished, match="may still have tags of the trial"):
        run_trial(play)


def test_tags_that_the_last_look_cannot_tell_of_are_named(tmp_path: Path) -> None:
    """Every write is refused, and the look some time later, too."""
    play = begin(tmp_path)

    def answer(request: httpx.Request) -> httpx.Response | None:
        if "/bulk/" in request.url.path:
            return httpx.Response(400, json={"statusCode": 400, "message": "no"})
        is_late = sum("/bulk/" in asked.url.path for asked, _ in play.transport.asked) == 3
        looked = is_late and "/bulk/" not in play.transport.asked[-1][0].url.path
        return httpx.Response(401, json={"statusCode": 401, "message": "Invalid token"}) if looked else None

    play.transport.answer = answer
    with pytest.raises(Unfinished, match=r"may still have tags of the trial, .*-plain.*answered 401"):
        run_trial(play)


def interrupt(play: Play, nth: int, act: Callable[[], object]) -> None:
    """Does something once so many requests were answered."""

    def after(_: httpx.Request) -> None:
        if len(play.transport.asked) == nth:
            act()

    play.transport.after = after


@pytest.mark.one_in(4)
@pytest.mark.parametrize("nth", range(1, 10))
def test_a_signal_at_any_request_leaves_no_tag_behind(tmp_path: Path, nth: int) -> None:
    play, stop = begin(tmp_path), Stop()
    before = play.world.tags_of(BERT)
    interrupt(play, nth, lambda: stop.ask(signal.SIGINT))
    with pytest.raises(Interrupted) as ended:
        run_trial(play, stop=stop)

    assert play.world.tags_of(BERT) == before
    assert ("the trial's tags are gone" in ended.value.message) is (nth > 1)
    assert ended.value.exit_code == 130
    assert [run.status for run in runs(play)] == [RunStatus.STOPPED]
    assert facts(play).tried == ()


def test_one_that_is_cancelled_cleans_up_too(tmp_path: Path) -> None:
    play = begin(tmp_path)
    before = play.world.tags_of(BERT)

    def cancel() -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "trial":
                task.cancel()

    async def play_it() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(try_contact(play.workspace, TrialRequest(HERE, BERT)), name="trial")

    interrupt(play, 3, cancel)
    play.clock.run(play_it())
    assert play.world.tags_of(BERT) == before


def refuse_from(play: Play, nth: int, status: int, message: str) -> None:
    """From this request on the API answers nothing but an error."""

    def answer(_: httpx.Request) -> httpx.Response | None:
        refused = len(play.transport.asked) >= nth
        return httpx.Response(status, json={"statusCode": status, "message": message}) if refused else None

    play.transport.answer = answer


def test_what_cannot_be_removed_is_told_with_the_way_out(tmp_path: Path) -> None:
    play = begin(tmp_path)
    refuse_from(play, 3, 401, "Invalid token")
    with pytest.raises(AuthRefused) as refused:
        run_trial(play)
    assert f"contact {BERT} may still have tags of the trial, '{PREFIX}" in refused.value.message
    assert f"remove its tags that begin with {PREFIX} in HighLevel, or try the contact again" in refused.value.message


def test_a_write_without_an_answer_is_told_and_removed(tmp_path: Path) -> None:
    play = begin(tmp_path)
    refuse_from(play, 1, 503, "")
    with pytest.raises(InDoubt) as ended:
        run_trial(play)
    assert f"the request may still take effect: look at contact {BERT}" in ended.value.message
    assert "may still have tags of the trial" in ended.value.message


def test_tags_that_come_back_are_told(tmp_path: Path) -> None:
    play = begin(tmp_path)

    def put_back(request: httpx.Request) -> None:
        if request.url.path.endswith("/remove"):
            play.world.add(BERT, [f"{PREFIX}workflow"], now=play.clock.now(), by="a workflow")

    play.transport.after = put_back
    with pytest.raises(Unfinished, match=f"may still have tags of the trial, '{PREFIX}workflow'"):
        run_trial(play)


def test_a_contact_of_another_location_or_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    play = begin(tmp_path)
    with pytest.raises(UsageError, match="is no contact id"):
        run_trial(play, "somebody")
    with pytest.raises(AuthRefused):
        run_trial(play, name("away"))
    with pytest.raises(RequestRefused, match=f"contact {name('gone')} cannot be read: .*Contact not found") as gone:
        run_trial(play, name("gone"))
    assert "address of the contact's page" in gone.value.hint
    assert play.transport.bodies == []


def test_a_trial_waits_for_no_other_run_and_makes_no_state_in_ci(tmp_path: Path) -> None:
    play = begin(tmp_path)
    play.environment["CI"] = "true"
    with pytest.raises(StateError, match="has no state here, and this is CI"):
        run_trial(play)
    del play.environment["CI"]
    with open_store(play.environment[STATE]) as store:
        store.at(HERE).acquire_lease(a_holder(), play.clock.now())
        with pytest.raises(LockHeld):
            run_trial(play)
    assert play.transport.asked == []
