"""--report FILE: what a command answers, in a file too, however the command ends.

Rules
1. The suffix names the format. A file that cannot be written is told before anything else is done.
2. The file is old or new, never half; only its owner may read it.
3. A command that fails writes what it had to tell until then, and the error. An error in writing never hides another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.cli.answers import command_output
from reconciler.cli.command_record import command_record
from reconciler.cli.options import FORMATS
from reconciler.core.formats.json_forms import Count
from reconciler.core.model.errors import ExitCode, ReconcilerError, UsageError
from reconciler.core.model.safe_text import visible
from reconciler.output.document import CommandOutput, Document, spell
from reconciler.output.problems import FailureDocument
from reconciler.planfile import NOT_THROUGH_LINKS
from reconciler.private_file import replace_file

F = TypeVar("F", bound=Callable[..., int])


SUFFIXES: Mapping[str, str] = {".json": "json", ".md": "markdown", ".txt": "text", ".csv": "csv", ".html": "html"}
"""The formats, by the suffix of the file."""


class Report:
    """The file that is asked for, and what is to be in it so far."""

    def __init__(self, path: Path, *, whole: bool) -> None:
        self._path = path.resolve()
        self._whole = whole
        self._told: CommandOutput | None = None
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"--report {path}: no format has the suffix {path.suffix!r}", hint=f"there are {', '.join(SUFFIXES)}"
            )
        if path.is_symlink():
            raise UsageError(f"--report {path} is a link to {path.readlink()}", hint=NOT_THROUGH_LINKS)
        if self._path.exists() and not self._path.is_file():
            raise UsageError(f"--report {path} is there already, and is no file", hint="choose another name")
        if not os.access(self._path.parent, os.W_OK):
            raise UsageError(f"--report {path}: its directory is not there, or cannot be written to")

    def take(self, told: CommandOutput) -> None:
        """What the command answers; the last one counts."""
        self._told = told

    def fail(self, error: BaseException) -> None:
        """What the command ended with, after what it had to tell."""
        self._told = _failure(error, self._told.document if self._told else None)

    def write(self) -> None:
        """Raises ReconcilerError where it cannot be written."""
        if self._told is None:
            return
        text = "".join(spell(self._told, SUFFIXES[self._path.suffix.lower()], whole=self._whole))
        try:
            replace_file(self._path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise ReconcilerError(f"the report {self._path} cannot be written: {error.strerror}") from error


def _failure(error: BaseException, until_then: Document | None = None) -> CommandOutput:
    """The error that a command ended with, after the answer that was ready by then."""
    message = _message(error)
    return command_output(
        FailureDocument(
            message,
            getattr(error, "hint", ""),
            Count(getattr(error, "exit_code", ExitCode.ERROR)),
            tuple(getattr(error, "lines", (message,))),
            tuple(getattr(error, "hints", ())),
            until_then,
        )
    )


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return command_record().interrupted
    return getattr(error, "message", "") or f"interrupted: {type(error).__name__}"


def answer_failure(error: ReconcilerError, kind: str, *, whole: bool) -> None:
    """The document of a command that was refused, on stdout; in a format that has none, nothing."""
    if kind in FORMATS:
        for chunk in spell(_failure(error), kind, whole=whole):
            click.echo(chunk, nl=False)


def reported(function: F) -> F:
    """--report."""

    @wraps(function)
    def command(*arguments: Any, report: Path | None, **options: Any) -> int:
        if report is None:
            return function(*arguments, report=None, **options)
        sink = Report(report, whole=options["whole"])
        try:
            code = function(*arguments, report=sink, **options)
        except BaseException as error:
            sink.fail(error)
            _write_after(sink)
            raise
        sink.write()
        return code

    return click.option(
        "--report",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Write the answer to FILE too, even if the command fails; format by suffix: {', '.join(SUFFIXES)}.",
    )(command)  # type: ignore[return-value]


def _write_after(sink: Report) -> None:
    try:
        sink.write()
    except ReconcilerError as error:
        click.echo(visible(f"warning: {error.message}"), err=True)
