"""What is told while a command works, on stderr: a board on a terminal, lines in a log, one JSON object a line for
machines.

Rules
1. A line a location at most every `EVERY_MS`, however much happens; beginnings and ends always. So do waits of a second
   or more, by what is waited for. `--log-level debug` tells everything. A line is there as soon as it is told.
2. A board stands only where nothing else is written; whoever writes closes it first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.command_record import for_person, location_names
from reconciler.clock import SystemClock
from reconciler.core.model.events import BatchAnswered, Event, LocationProgress, Priced, Read, RoundStarted, Waiting
from reconciler.core.model.names import Instant, LocationId, iso
from reconciler.core.model.safe_text import json_line, visible
from reconciler.output.blocks import counted, duration, percent
from reconciler.output.progress import facts

if TYPE_CHECKING:
    from reconciler.output.live import LiveBoard

EVERY_MS = 5_000
"""A few seconds: whoever looks at a log sees that it goes on."""


def wants_colour(choice: str, stream: Any) -> bool:
    """The one place that decides about colour."""
    if choice != "auto":
        return choice == "always"
    return _is_terminal(stream) and not os.environ.get("NO_COLOR")


def _is_terminal(stream: Any) -> bool:
    return bool(stream.isatty()) and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


class Progress:
    """The Reporter of the stages. `now` replaces the clock; everything else follows from the common options."""

    def __init__(self, options: Mapping[str, Any], now: Callable[[], Instant] | None = None) -> None:
        self._now = now or SystemClock().now
        self._level = options["log_level"]
        self._json = options["log_format"] == "json"
        self._silent = options["quiet"] or self._level in ("warning", "error")
        self._standings: dict[LocationId, LocationProgress] = {}
        self._told: dict[tuple[LocationId, str], Instant] = {}
        self._ended: dict[LocationId, tuple[str, int]] = {}
        self._drawn = not self._silent and not self._json and self._level != "debug" and _is_terminal(sys.stderr)
        self._colour = wants_colour(options["color"], sys.stderr)
        self._board: LiveBoard | None = None

    def __call__(self, event: Event) -> None:
        if self._silent:
            return
        now = self._now()
        standing = self._standings.setdefault(
            event.location, LocationProgress(event.location, now, location_names().get(event.location, ""))
        )
        standing.apply_event(event, now)
        if self._drawn:
            self._draw()
        elif self._level == "debug" or self._worth_telling(event, standing, now):
            self._write(event, standing, now)

    def close(self) -> None:
        """What is drawn goes away; it comes back with the next event."""
        if self._board is not None:
            self._board.close()

    def _draw(self) -> None:
        if all(each.is_done for each in self._standings.values()):
            self.close()
            return
        if self._board is None:
            # rich's moving parts are loaded where something moves
            from reconciler.output.live import LiveBoard

            self._board = LiveBoard(lambda: list(self._standings.values()), self._now, colour=self._colour)
        self._board.show()

    def _worth_telling(self, event: Event, standing: LocationProgress, now: Instant) -> bool:
        if isinstance(event, Waiting):
            # what it waits for, without the numbers that a header told
            return event.milliseconds >= 1_000 and self._is_due(event.location, event.why.split(":")[0], now)
        if not isinstance(event, BatchAnswered | Read):
            self._told[event.location, ""] = now
            self._ended.pop(event.location, None)
            return True
        if standing.is_done:
            end, before = (standing.what, standing.done), self._ended.get(event.location)
            self._told[event.location, ""], self._ended[event.location] = now, end
            return end != before
        self._ended.pop(event.location, None)
        return self._is_due(event.location, "", now, since=standing.since)

    def _is_due(self, location: LocationId, what: str, now: Instant, *, since: Instant | None = None) -> bool:
        """Whether nothing was told of it for long enough; then it is told now. `since`: when it began, where silence
        goes without saying until then."""
        last = self._told.get((location, what), since)
        if last is not None and now - last < EVERY_MS:
            return False
        self._told[location, what] = now
        return True

    def _write(self, event: Event, standing: LocationProgress, now: Instant) -> None:
        if self._json:
            document = {"time": iso(now), "event": type(event).__name__} | asdict(event)
            click.echo(json_line(document), err=True, nl=False)
        else:
            click.echo(visible(for_person(_sentence(event, standing, now))), err=True)


def _sentence(event: Event, standing: LocationProgress, now: Instant) -> str:
    match event:
        case RoundStarted():
            return f"{standing.called}: round {event.round}, {counted(event.requests, 'request')}"
        case Waiting():
            return f"{standing.called}: waiting {duration(event.milliseconds / 1000)}: {event.why}"
        case Priced():
            return f"{standing.called}: reading by {event.method}: {_price(event)}"
    return f"{standing.called}: {', '.join(facts(standing, now))}"


def _price(event: Priced) -> str:
    time = f", at least {duration(event.milliseconds / 1000)}" if event.milliseconds >= 1_000 else ""
    more = f", and at least 2 for each of {counted(event.exclusive, 'exclusive tag')}" if event.exclusive else ""
    return f"{counted(event.requests, 'request')}, {percent(event.share)} of a day's quota{time}{more}"
