"""What a person sees: the answer on stdout, progress and errors on stderr. Colour is decided here and nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click

from reconciler.core.event import BatchAnswered, Event, Priced, Read, RoundStarted, Waiting
from reconciler.core.printable import visible
from reconciler.core.view.blocks import ROWS, View, counted, duration
from reconciler.render.text import render_text

LINES_A_ROUND = 20
READ_A_LINE = 500
FILE_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Console:
    """How to speak: `colour` on stdout, `quiet` about progress, `log_format` text or json."""

    colour: bool
    quiet: bool
    log_level: str
    log_format: str

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Console:
        """From the common options."""
        return cls(
            colour=_wants_colour(options["color"]),
            quiet=options["quiet"],
            log_level=options["log_level"],
            log_format=options["log_format"],
        )

    def show(self, view: View) -> None:
        width = shutil.get_terminal_size((FILE_WIDTH, 24)).columns if sys.stdout.isatty() else FILE_WIDTH
        click.echo(render_text(view, colour=self.colour, width=width), nl=False, color=self.colour)

    def answer(self, text: str) -> None:
        click.echo(text, nl=False)

    def note(self, text: str) -> None:
        """A line for people, on stderr; not when they asked for quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """What is told in any case."""
        click.echo(json.dumps({"note": text}) if self.log_format == "json" else visible(text), err=True)

    def __call__(self, event: Event) -> None:
        """Tells an event; the Reporter of the stages."""
        if self.quiet or self.log_level in ("warning", "error"):
            return
        if self.log_format == "json":
            click.echo(json.dumps({"event": type(event).__name__} | asdict(event)), err=True)
        elif self.log_level == "debug" or _worth_a_line(event):
            click.echo(visible(_sentence(event)), err=True)


def rows(whole: bool) -> int | None:
    """How many rows a table may have: all of them under --all."""
    return None if whole else ROWS


def _wants_colour(choice: str) -> bool:
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and not os.environ.get("CI")


def _worth_a_line(event: Event) -> bool:
    """Long rounds get some twenty lines, not thousands."""
    match event:
        case BatchAnswered(done=done, requests=all_of_them):
            return done == all_of_them or done % max(1, all_of_them // LINES_A_ROUND) == 0
        case Read(done=done, total=all_of_them):
            return done == all_of_them or done % READ_A_LINE == 0
        case Waiting(milliseconds=milliseconds):
            return milliseconds >= 1_000
    return True


def _sentence(event: Event) -> str:
    match event:
        case RoundStarted():
            return f"{event.location}: round {event.round}, {counted(event.requests, 'request')}"
        case BatchAnswered():
            ended = (("applied", event.applied), ("noop", event.noop), ("rejected", event.rejected))
            told = ", ".join(f"{number:,} {word}" for word, number in (*ended, ("unclear", event.unclear)) if number)
            asked = f"{event.action} {counted(event.tags, 'tag')}"
            return f"{event.location}: {event.done:,} of {event.requests:,}: {asked}, contacts: {told}"
        case Waiting():
            return f"{event.location}: waiting {duration(event.milliseconds / 1000)}: {event.why}"
        case Read():
            return f"{event.location}: {event.done:,} of {counted(event.total, 'contact')} read"
        case Priced():
            return f"{event.location}: reading by {event.method}: {_price(event)}"


def _price(event: Priced) -> str:
    time = f", at least {duration(event.milliseconds / 1000)}" if event.milliseconds >= 1_000 else ""
    more = f", and at least 2 for each of {counted(event.exclusive, 'exclusive tag')}" if event.exclusive else ""
    return f"{counted(event.requests, 'request')}, {100 * event.share:.2g} % of a day's quota{time}{more}"
