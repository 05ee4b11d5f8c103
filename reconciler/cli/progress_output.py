"""Progress while a command works, on stderr: a board on a terminal, lines in a log, one JSON object a line for a
machine.

Rules
1. A line a location at most every `EVERY_MS`, however much happens; beginnings and ends always. Waits of a second or
   more go by the same limit, for each reason of its own. `--log-level debug` writes every event. A line is flushed.
2. A board stands only where nothing else is written; any other output closes it first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TextIO

import click

from reconciler.cli.command_record import find_record, for_person
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
from reconciler.core.model.measured import Measured, StateCalled
from reconciler.core.model.names import Instant, LocationId, iso
from reconciler.core.model.safe_text import json_line, visible
from reconciler.output.blocks import counted, duration, percent
from reconciler.system import SystemClock

if TYPE_CHECKING:
    from reconciler.output.progress import LiveBoard

EVERY_MS = 5_000
"""A few seconds: a log shows that the command goes on."""


@dataclass(frozen=True, slots=True)
class Verbosity:
    """How much of its progress a command tells, and how."""

    quiet: bool = False
    level: str = "info"
    """debug, info, warning or error."""
    as_json: bool = False
    color: str = "auto"
    """auto, always or never."""


def wants_colour(choice: str, stream: TextIO) -> bool:
    """The one place that decides about colour."""
    if choice != "auto":
        return choice == "always"
    return _is_terminal(stream) and not os.environ.get("NO_COLOR")


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


class Progress:
    """The Reporter of the stages. `now` replaces the clock."""

    def __init__(self, verbosity: Verbosity, now: Callable[[], Instant] | None = None) -> None:
        self._now = now or SystemClock().now
        self._level = verbosity.level
        self._json = verbosity.as_json
        self._silent = verbosity.quiet or self._level in ("warning", "error")
        self._progresses: dict[LocationId, LocationProgress] = {}
        self._last_lines: dict[tuple[LocationId, str], Instant] = {}
        self._ended: dict[LocationId, tuple[str, int]] = {}
        # lines of debug would tear a board
        self._drawn = not self._silent and not self._json and self._level != "debug" and _is_terminal(sys.stderr)
        self._colour = wants_colour(verbosity.color, sys.stderr)
        self._board: LiveBoard | None = None

    def __call__(self, event: Event) -> None:
        if self._silent:
            return
        if isinstance(event, Measured):
            # a location whose state is asked has left the queue, and may end without a request
            if isinstance(event, StateCalled) and event.location in self._progresses:
                self._progresses[event.location].leave_queue()
            return
        now = self._now()
        progress = self._progresses.setdefault(
            event.location, LocationProgress(event.location, now, find_record().names.get(event.location, ""))
        )
        progress.apply_event(event, now)
        if self._drawn:
            self._draw_board()
        elif self._level == "debug" or self._is_worth_a_line(event, progress, now):
            self._write_line(event, progress, now)

    def close(self) -> None:
        """Takes the drawing away; it comes back with the next event."""
        if self._board is not None:
            self._board.close()

    def _draw_board(self) -> None:
        if all(progress.is_done for progress in self._progresses.values()):
            self.close()
            return
        if self._board is None:
            from reconciler.output.progress import LiveBoard

            self._board = LiveBoard(lambda: list(self._progresses.values()), self._now, colour=self._colour)
        self._board.show()

    def _is_worth_a_line(self, event: Event, progress: LocationProgress, now: Instant) -> bool:
        if isinstance(event, Waiting):
            # the reason alone: after the colon stand numbers of a header, which differ each time
            return event.milliseconds >= 1_000 and self._is_due(event.location, event.why.split(":")[0], now)
        if not isinstance(event, BatchAnswered | Read):
            self._last_lines[event.location, ""] = now
            self._ended.pop(event.location, None)
            return True
        if progress.is_done:
            end, before = (progress.what, progress.done), self._ended.get(event.location)
            self._last_lines[event.location, ""], self._ended[event.location] = now, end
            return end != before
        self._ended.pop(event.location, None)
        return self._is_due(event.location, "", now, since=progress.since)

    def _is_due(self, location: LocationId, what: str, now: Instant, *, since: Instant | None = None) -> bool:
        """Whether its last line is long enough ago; then the next one is written now. `since`: when it began, which
        counts as a first line."""
        last = self._last_lines.get((location, what), since)
        if last is not None and now - last < EVERY_MS:
            return False
        self._last_lines[location, what] = now
        return True

    def _write_line(self, event: Event, progress: LocationProgress, now: Instant) -> None:
        if self._json:
            document = {"time": iso(now), "event": type(event).__name__} | asdict(event)
            click.echo(json_line(document), err=True, nl=False)
        else:
            click.echo(visible(for_person(_describe_event(event, progress, now))), err=True)


def _describe_event(event: Event, progress: LocationProgress, now: Instant) -> str:
    match event:
        case RoundStarted():
            return f"{progress.called}: round {event.round}, {counted(event.requests, 'request')}"
        case Waiting():
            return f"{progress.called}: waiting {duration(event.milliseconds / 1000)}: {event.why}"
        case Queued():
            return f"{progress.called}: in the queue: {counted(event.most, 'location')} at once"
        case Priced():
            return f"{progress.called}: reading by {event.method}: {_describe_price(event)}"
    # a command that reads and sends nothing tells no progress
    from reconciler.output.progress import facts

    return f"{progress.called}: {', '.join(facts(progress, now))}"


def _describe_price(event: Priced) -> str:
    time = f", at least {duration(event.milliseconds / 1000)}" if event.milliseconds >= 1_000 else ""
    more = f", and at least 2 for each of {counted(event.exclusive, 'exclusive tag')}" if event.exclusive else ""
    return f"{counted(event.requests, 'request')}, {percent(event.share)} of a day's quota{time}{more}"
