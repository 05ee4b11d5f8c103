"""What a person sees: the answer on stdout, progress and errors on stderr."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from reconciler.cli.command_record import for_person
from reconciler.cli.progress_output import Progress, wants_colour
from reconciler.core.model.events import Event
from reconciler.core.model.safe_text import json_line, visible
from reconciler.output.blocks import View
from reconciler.output.text import render_text

FILE_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Console:
    """How to speak: `colour` on stdout, `quiet` about progress, `log_format` text or json."""

    colour: bool
    quiet: bool
    log_format: str
    progress: Progress

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Console:
        """From the common options. What is drawn goes away when the command ends, however it ends."""
        progress = Progress(options)
        if (command := click.get_current_context(silent=True)) is not None:
            command.call_on_close(progress.close)
        return cls(wants_colour(options["color"], sys.stdout), options["quiet"], options["log_format"], progress)

    def show(self, view: View) -> None:
        width = shutil.get_terminal_size((FILE_WIDTH, 24)).columns if sys.stdout.isatty() else FILE_WIDTH
        self.progress.close()
        _note_answer()
        click.echo(render_text(view, colour=self.colour, width=width), nl=False, color=self.colour)

    def answer(self, text: str) -> None:
        self.progress.close()
        _note_answer()
        click.echo(text, nl=False)

    def say(self, line: str) -> None:
        """A sentence for people, on stdout."""
        self.answer(f"{visible(for_person(line))}\n")

    def note(self, text: str) -> None:
        """A line for people, on stderr; not when they asked for quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, *lines: str) -> None:
        """What is told in any case."""
        self.progress.close()
        as_json = self.log_format == "json"
        text = "".join(f"{visible(for_person(line))}\n" for line in lines)
        told = json_line({"note": "\n".join(lines)}) if as_json else text
        click.echo(told, err=True, nl=False)

    def __call__(self, event: Event) -> None:
        """Tells an event; the Reporter of the stages."""
        self.progress(event)


_ANSWERED = "reconciler.answered"


def _note_answer() -> None:
    if (command := click.get_current_context(silent=True)) is not None:
        command.meta[_ANSWERED] = True


def has_answered() -> bool:
    """Whether the command has put something on stdout."""
    command = click.get_current_context(silent=True)
    return command is not None and command.meta.get(_ANSWERED, False)
