"""Progress: few lines in a log, one JSON object a line for machines, a board on a terminal, nothing where asked."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
from rich.console import Console as Rich

from reconciler.cli.progress_output import EVERY_MS, Progress, Verbosity
from reconciler.core.model.events import (
    BatchAnswered,
    Event,
    LocationProgress,
    Priced,
    Queued,
    Read,
    RoundStarted,
    Waiting,
)
from reconciler.core.model.measured import RequestEnded, StateCalled
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.outcome import Action
from reconciler.output.progress import Board, facts
from tests.build import NOW
from tests.fakes import FakeClock

HERE, THERE = LocationId("asdrwHvLUxlfw5SqKVCN"), LocationId("bsdrwHvLUxlfw5SqKVCN")


def answered(done: int, of: int, *, location: LocationId = HERE, **more: Any) -> BatchAnswered:
    counts = {"applied": 10, "noop": 0, "rejected": 0, "unclear": 0} | more
    return BatchAnswered(location, Action.ADD, tags=1, done=done, requests=of, **counts)


def told(capfd: pytest.CaptureFixture[str], *events: tuple[int, Event], **options: Any) -> list[str]:
    """The lines on stderr of events that happen so many milliseconds after one another."""
    clock = FakeClock(NOW)
    progress = Progress(Verbosity(**options), clock.now)
    for gap, event in events:
        clock.ms += gap
        progress(event)
    said = capfd.readouterr()
    assert said.out == ""
    return said.err.splitlines()


def a_run(requests: int, gap: int) -> list[tuple[int, Event]]:
    return [(0, RoundStarted(HERE, 1, requests)), *((gap, answered(nth + 1, requests)) for nth in range(requests))]


def test_a_quick_run_of_thousands_takes_a_few_lines(capfd: pytest.CaptureFixture[str]) -> None:
    lines = told(capfd, *a_run(2_000, 5))
    assert len(lines) == 3
    assert lines[0] == f"{HERE}: round 1, 2,000 requests"
    assert lines[-1].startswith(f"{HERE}: 2,000 of 2,000 requests, 20,000 contacts, 200.0/s")


def test_a_slow_run_tells_every_few_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    lines = told(capfd, *a_run(2_000, 1_000))
    assert len(lines) == 1 + 2_000 / 5
    assert "about 32 min 20 s left" in lines[12]


@pytest.mark.parametrize("contacts", [1, 7, 19, 20, 35])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_reading_a_few_contacts_takes_no_line_a_contact(
    capfd: pytest.CaptureFixture[str], contacts: int, log_format: str
) -> None:
    """As `refresh`, `drift --refresh`, `plan --refresh` and a settling tell it: half a second a contact."""
    events: list[tuple[int, Event]] = [(0, Priced(HERE, "get", contacts, 0, 0.1))]
    events += [(500, Read(HERE, done, contacts)) for done in range(1, contacts + 1)]
    lines = told(capfd, *events, as_json=log_format == "json")
    assert len(lines) == 2 + (contacts - 1) * 500 // EVERY_MS


def test_an_end_that_is_told_twice_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """The last page of a search is empty, which proves the end."""
    (line,) = told(capfd, (0, Read(HERE, 3, 3)), (300, Read(HERE, 3, 3)))
    assert line.startswith(f"{HERE}: 3 of 3 contacts read")


@pytest.mark.slow
def test_reading_a_million_contacts_takes_few_lines_for_machines_too(capfd: pytest.CaptureFixture[str]) -> None:
    events = [(1, Read(HERE, done, 10_000)) for done in range(1, 10_001)]
    assert len(told(capfd, *events)) == 2
    assert len(told(capfd, *events, as_json=True)) == 2


def test_many_that_wait_for_the_same_take_a_line_every_few_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    """Twenty readers are turned away at once, again and again; a header's number differs each time."""
    waits = [(100, Waiting(HERE, 2_000, f"rate limit: X-RateLimit-Remaining: {nth % 7}")) for nth in range(100)]
    assert len(told(capfd, *waits)) == 2
    other = (0, Waiting(HERE, 2_000, "what is in doubt settles"))
    assert len(told(capfd, waits[0], other, waits[1])) == 2


class Counting(io.StringIO):
    """Counts the lines that were written, and those that were there when it was flushed last."""

    flushed = 0

    def flush(self) -> None:
        super().flush()
        self.flushed = self.getvalue().count("\n")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_is_there_as_soon_as_it_is_told(log_format: str) -> None:
    """A log of CI is a pipe: what stays in a buffer is seen when all is over."""
    stream = Counting()
    with contextlib.redirect_stderr(stream):
        progress = Progress(Verbosity(as_json=log_format == "json"), FakeClock(NOW).now)
        progress(RoundStarted(HERE, 1, 5))
        assert stream.flushed == 1
        progress(Waiting(HERE, 9_000, "rate limit"))
        assert stream.flushed == 2


def test_debug_tells_everything_and_warning_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert len(told(capfd, *a_run(200, 5), level="debug")) == 201
    assert told(capfd, *a_run(200, 5), level="warning") == []
    assert told(capfd, *a_run(200, 5), quiet=True) == []
    assert told(capfd, *a_run(200, 5), quiet=True, as_json=True) == []


def test_waits_are_told_from_a_second_on(capfd: pytest.CaptureFixture[str]) -> None:
    short, long = Waiting(HERE, 999, "rate limit"), Waiting(HERE, 90_000, "what is in doubt settles")
    assert told(capfd, (0, short), (0, long)) == [f"{HERE}: waiting 1 min 30 s: what is in doubt settles"]


KEYS = {
    "RoundStarted": {"round", "requests"},
    "BatchAnswered": {"action", "tags", "done", "requests", "applied", "noop", "rejected", "unclear", "quota_left"},
    "Waiting": {"milliseconds", "why", "cause"},
    "Read": {"done", "total"},
    "Priced": {"method", "requests", "milliseconds", "share", "exclusive"},
}


def test_one_json_object_a_line_with_keys_that_stay(capfd: pytest.CaptureFixture[str]) -> None:
    events = [
        RoundStarted(HERE, 1, 1),
        Priced(HERE, "get", 3, 0, 0.1),
        Read(HERE, 1, 1),
        Waiting(HERE, 5_000, "\x1b[2J\n::error::x ##[y]"),
        answered(1, 1, quota_left=17),
    ]
    lines = told(capfd, *((0, event) for event in events), as_json=True)
    documents = [json.loads(line) for line in lines]
    assert {each["event"]: each.keys() - {"time", "event", "location"} for each in documents} == KEYS
    assert all(each["time"].endswith("Z") and each["location"] == HERE for each in documents)
    assert "\x1b" not in "".join(lines)
    assert "##" not in "".join(lines)


def test_outside_text_changes_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    (line,) = told(capfd, (0, Waiting(HERE, 5_000, "\x1b[2J\n::error::x")))
    assert "\x1b" not in line
    assert "::" not in line


def standing(*events: tuple[int, Event], start: int = NOW) -> tuple[LocationProgress, Instant]:
    now = start
    found = LocationProgress(HERE, Instant(now))
    for gap, event in events:
        now += gap
        found.apply_event(event, Instant(now))
    return found, Instant(now)


def test_what_a_line_says() -> None:
    found, now = standing(
        (0, RoundStarted(HERE, 1, 100)),
        (1_000, answered(10, 100, rejected=2, unclear=3, quota_left=5_000)),
        (0, Waiting(HERE, 4_000, "rate limit")),
    )
    assert facts(found, now) == [
        "10 of 100 requests",
        "15 contacts",
        "10.0/s",
        "2 rejected",
        "3 in doubt",
        "5,000 left today",
        "about 13 s left",
        "waiting 4 s: rate limit",
    ]


def test_the_rate_is_that_of_late() -> None:
    slow = [(10_000, answered(nth, 200)) for nth in range(1, 11)]
    quick = [(100, answered(nth, 200)) for nth in range(11, 160)]
    found, now = standing((0, RoundStarted(HERE, 1, 200)), *slow, *quick)
    assert found.rate(now) == pytest.approx(5.0, abs=0.1)
    assert found.rate(Instant(now + 60_000)) == 0
    assert found.left_ms(Instant(now + 60_000)) is None


def test_a_location_in_the_queue_says_so_until_it_begins() -> None:
    found, now = standing((0, Queued(HERE, 8)))
    assert facts(found, Instant(now + 60_000)) == ["0 of 0 requests", "in the queue: 8 locations work at once"]
    for begins in (RoundStarted(HERE, 1, 2), Read(HERE, 0, 2), Priced(HERE, "search", 2, 1_000, 0.1)):
        begun, now = standing((0, Queued(HERE, 8)), (0, begins))
        assert not any("queue" in part for part in facts(begun, now))


def test_a_location_with_a_place_is_in_the_queue_no_more_though_it_has_nothing_to_send() -> None:
    found, _ = standing((0, Queued(HERE, 8)))
    found.leave_queue()
    assert facts(found, NOW) == ["0 of 0 requests"]
    waiting, now = standing((0, Waiting(HERE, 4_000, "rate limit")))
    waiting.leave_queue()
    assert "waiting 4 s: rate limit" in facts(waiting, now)


def test_a_call_of_its_state_says_that_a_location_has_left_the_queue(capfd: pytest.CaptureFixture[str]) -> None:
    asked = StateCalled(HERE, "load_state", 3)
    lines = told(capfd, (0, Queued(HERE, 8)), (0, asked), (0, answered(1, 2)), level="debug")
    assert [line for line in lines if "queue" in line] == [f"{HERE}: in the queue: 8 locations at once"]


def test_numbers_for_machines_are_no_progress() -> None:
    begun = (0, RoundStarted(HERE, 1, 2)), (0, Waiting(HERE, 4_000, "rate limit"))
    asked = RequestEnded(HERE, "POST", "/contacts/bulk", "api.example", Instant(NOW), 200, 201)
    assert standing(*begun, (0, asked)) == standing(*begun)


def test_a_wait_that_is_over_is_not_told() -> None:
    found, now = standing((0, RoundStarted(HERE, 1, 2)), (0, Waiting(HERE, 4_000, "rate limit")))
    assert facts(found, Instant(now + 4_000)) == ["0 of 2 requests"]


def test_rounds_and_readings_begin_anew_and_what_went_wrong_adds_up() -> None:
    found, _ = standing(
        (0, RoundStarted(HERE, 1, 2)),
        (10, answered(2, 2, rejected=1)),
        (10, Read(HERE, 1, 5)),
        (10, Read(HERE, 5, 5)),
        (10, RoundStarted(HERE, 2, 1)),
        (10, answered(1, 1, rejected=1)),
    )
    assert (found.round, found.done, found.total, found.rejected) == (2, 1, 1, 2)
    assert found.is_done


def test_a_board_has_a_row_a_location() -> None:
    sink = io.StringIO()
    now = Instant(NOW)
    here, there = LocationProgress(HERE, now), LocationProgress(LocationId("\x1b[2Jevil"), now)
    here.apply_event(RoundStarted(HERE, 1, 10), now)
    here.apply_event(answered(5, 10), Instant(now + 500))
    Rich(file=sink, width=160, no_color=True).print(Board([here, there], Instant(now + 500)))
    lines = sink.getvalue().splitlines()
    assert len(lines) == 2
    assert "5 of 10 requests" in lines[0]
    assert "━" in lines[0]
    assert "\x1b" not in sink.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_board_keeps_to_a_line_a_location_on_a_narrow_terminal(width: int) -> None:
    sink, now = io.StringIO(), Instant(NOW)
    here = LocationProgress(HERE, now)
    here.apply_event(RoundStarted(HERE, 1, 1000), now)
    here.apply_event(answered(5, 1000, rejected=3), Instant(now + 500))
    here.apply_event(Waiting(HERE, 9_000, "the rate limit"), Instant(now + 500))
    Rich(file=sink, width=width, no_color=True).print(Board([here], Instant(now + 500)))
    (line,) = sink.getvalue().splitlines()
    assert len(line) <= width
    assert "5 of 1,000" in line
    assert "waiting" in line
