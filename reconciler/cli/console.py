"""The console of a person: the answer on stdout, progress and errors on stderr."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.command_record import (
    contact_url,
    find_record,
    for_person,
    learn_directory,
    learn_names,
    location_names,
    provenance,
)
from reconciler.cli.progress_output import Progress, Verbosity, wants_colour
from reconciler.core.model.errors import Severity
from reconciler.core.model.events import Event
from reconciler.core.model.safe_text import json_line, visible
from reconciler.core.model.settings import Settings
from reconciler.operations.workspace import Session
from reconciler.output.blocks import View
from reconciler.output.document import CommandOutput, Document, count_rows, spell
from reconciler.output.text import render_text

if TYPE_CHECKING:
    from reconciler.cli.options import OutputFormat

FILE_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Console:
    """Prints answers, notes and progress; hears of an operation's progress as its Listener."""

    colour: bool
    """Whether stdout gets colour."""
    quiet: bool
    as_json: bool
    """Whether progress and notes are JSON, one object a line."""
    progress: Progress

    @classmethod
    def open(cls, verbosity: Verbosity) -> Console:
        """The console of a command; its drawing goes away when the command ends, however it ends."""
        progress = Progress(verbosity)
        if (command := click.get_current_context(silent=True)) is not None:
            # an error or an interrupt leaves a clean screen as well
            command.call_on_close(progress.close)
        return cls(wants_colour(verbosity.color, sys.stdout), verbosity.quiet, verbosity.as_json, progress)

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
        """A line for people that quiet does not silence."""
        # a board and a line must not share the screen
        self.progress.close()
        text = "".join(f"{visible(for_person(line))}\n" for line in lines)
        click.echo(json_line({"note": "\n".join(lines)}) if self.as_json else text, err=True, nl=False)

    def warn_of_problems(self, session: Session) -> None:
        """Warnings of manifests, settings and variables."""
        for problem in session.problems:
            if problem.severity is not Severity.INFO:
                self.warn(*problem.lines)

    def __call__(self, event: Event, /) -> None:
        self.progress(event)

    def on_manifests(self, directory: Path, /) -> None:
        learn_directory(directory)

    def on_settings(self, settings: Settings, /) -> None:
        learn_names(settings)

    def on_reading(self, kept: bool, /) -> None:
        find_record().begin_reading(kept=kept)

    def on_sending(self) -> None:
        find_record().begin_sending()


_ANSWERED = "reconciler.answered"


def _note_answer() -> None:
    if (command := click.get_current_context(silent=True)) is not None:
        command.meta[_ANSWERED] = True


def has_answered() -> bool:
    """Whether the command has printed an answer on stdout."""
    command = click.get_current_context(silent=True)
    return command is not None and command.meta.get(_ANSWERED, False)


def make_output(document: Document) -> CommandOutput:
    """The document with the names, provenance and links of the running command."""
    return CommandOutput(document, location_names(), provenance, contact_url())


def print_document(document: Document, console: Console, form: OutputFormat) -> None:
    """Answers on stdout, in the format of `--format`, and in the file of `--report`."""
    output = make_output(document)
    if form.report is not None:
        form.report.set_answer(output)
    if form.kind == "text":
        console.show(output.view(count_rows(form.whole)))
        return
    for chunk in spell(output, form.kind, whole=form.whole):
        console.answer(chunk)
