"""What is told while a command works, on stderr: a board on a terminal, lines in a log, one JSON object a line for
machines.

Rules
1. A line a location at most every `EVERY_MS`, or for every twentieth of the whole; beginnings, ends and waits of a
   second always. `--log-level debug` tells everything.
2. A board stands only where nothing else is written; whoever writes closes it first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from reconciler.clock import SystemClock
from reconciler.core.event import BatchAnswered, Event, Priced, Read, RoundStarted, Waiting
from reconciler.core.names import Instant, LocationId, iso
from reconciler.core.printable import json_line, visible
from reconciler.core.standing import Standing
from reconciler.core.view.blocks import counted, duration
from reconciler.core.view.standing import facts

if TYPE_CHECKING:
    from reconciler.render.live import LiveBoard

EVERY_MS = 15_000
PARTS = 20


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
        self._standings: dict[LocationId, Standing] = {}
        self._told: dict[LocationId, tuple[Instant, int]] = {}
        self._drawn = not self._silent and not self._json and self._level != "debug" and _is_terminal(sys.stderr)
        self._colour = wants_colour(options["color"], sys.stderr)
        self._board: LiveBoard | None = None

    def __call__(self, event: Event) -> None:
        if self._silent:
            return
        now = self._now()
        standing = self._standings.setdefault(event.location, Standing(event.location, now))
        standing.take(event, now)
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
            from reconciler.render.live import LiveBoard

            self._board = LiveBoard(lambda: list(self._standings.values()), self._now, colour=self._colour)
        self._board.show()

    def _worth_telling(self, event: Event, standing: Standing, now: Instant) -> bool:
        if isinstance(event, Waiting):
            return event.milliseconds >= 1_000
        if not isinstance(event, BatchAnswered | Read):
            return True
        since, done = self._told.get(event.location, (standing.since, 0))
        part = standing.done - done >= max(1, standing.total // PARTS) or standing.done < done
        if standing.is_done or part or now - since >= EVERY_MS:
            self._told[event.location] = now, standing.done
            return True
        return False

    def _write(self, event: Event, standing: Standing, now: Instant) -> None:
        if self._json:
            document = {"time": iso(now), "event": type(event).__name__} | asdict(event)
            click.echo(json_line(document), err=True, nl=False)
        else:
            click.echo(visible(_sentence(event, standing, now)), err=True)


def _sentence(event: Event, standing: Standing, now: Instant) -> str:
    match event:
        case RoundStarted():
            return f"{event.location}: round {event.round}, {counted(event.requests, 'request')}"
        case Waiting():
            return f"{event.location}: waiting {duration(event.milliseconds / 1000)}: {event.why}"
        case Priced():
            return f"{event.location}: reading by {event.method}: {_price(event)}"
    return f"{event.location}: {', '.join(facts(standing, now))}"


def _price(event: Priced) -> str:
    time = f", at least {duration(event.milliseconds / 1000)}" if event.milliseconds >= 1_000 else ""
    more = f", and at least 2 for each of {counted(event.exclusive, 'exclusive tag')}" if event.exclusive else ""
    return f"{counted(event.requests, 'request')}, {100 * event.share:.2g} % of a day's quota{time}{more}"
