"""--report FILE, once or more: the answer of a command in files too, however the command ends.

Rules
1. The suffix names the format. A file that cannot be written is refused before all else, and so is one that the
   command reads, for --out too.
2. A file is old or new, never half; only its owner may read it.
3. A command that fails writes its answer until then, and the error. An error in writing never hides another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.cli.command_record import find_record
from reconciler.cli.console import make_output
from reconciler.cli.options import OutputFormat, find_overrides
from reconciler.cli.streams import AnswerLost
from reconciler.core.formats.json_forms import Count
from reconciler.core.model.errors import ExitCode, ReconcilerError, UsageError
from reconciler.core.model.safe_text import quoted, visible
from reconciler.operations.workspace import MANIFESTS, Workspace
from reconciler.operations.written_files import refuse_files_read
from reconciler.output.document import FORMATS, SUFFIXES, CommandOutput, Document, FailureDocument, spell
from reconciler.planfile import NOT_THROUGH_LINKS
from reconciler.system import replace_file

F = TypeVar("F", bound=Callable[..., int])


class Report:
    """The file that is asked for, and the answer that it gets."""

    def __init__(self, path: Path, *, whole: bool) -> None:
        # a link that leads to itself is refused below
        self._path = Path(os.path.realpath(path))
        self._whole = whole
        self._answer: CommandOutput | None = None
        self._is_last = False
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"--report {path}: no format has the suffix {quoted(path.suffix)}",
                hint=f"there are {', '.join(SUFFIXES)}",
            )
        if path.is_symlink():
            raise UsageError(f"--report {path} is a link to {path.readlink()}", hint=NOT_THROUGH_LINKS)
        if self._path.exists() and not self._path.is_file():
            raise UsageError(f"--report {path} is there already, and is no file", hint="choose another name")
        # refused now: at the end the run would have no report
        if not os.access(self._path.parent, os.W_OK):
            raise UsageError(f"--report {path}: its directory is not there, or cannot be written to")

    def set_answer(self, answer: CommandOutput, *, is_last: bool = True) -> None:
        """The answer of the command; the last one counts. `is_last`: not of a preview, after which it would go on."""
        self._answer, self._is_last = answer, is_last

    def add_error(self, error: BaseException) -> None:
        """The error that the command ended with, after its answer; a last one that stdout does not take is whole."""
        if self._is_last and isinstance(error, AnswerLost | BrokenPipeError):
            return
        self._answer = _make_failure(error, self._answer.document if self._answer else None)

    def write(self) -> None:
        """Raises ReconcilerError where it cannot be written."""
        if self._answer is None:
            return
        text = "".join(spell(self._answer, SUFFIXES[self._path.suffix.lower()], whole=self._whole))
        try:
            replace_file(self._path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise ReconcilerError(f"the report {self._path} cannot be written: {error.strerror}") from error


def _make_failure(error: BaseException, until_then: Document | None = None) -> CommandOutput:
    """The document of an error, after the answer that was ready by then."""
    message, complete = _find_message(error), find_record().complete
    return make_output(
        FailureDocument(
            # of problems it has their hints
            complete(message),
            complete(getattr(error, "hint", "")),
            Count(getattr(error, "exit_code", ExitCode.ERROR)),
            tuple(getattr(error, "lines", (message,))),
            tuple(map(complete, getattr(error, "hints", ()))),
            until_then,
        )
    )


def _find_message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return find_record().interrupted
    return getattr(error, "message", "") or f"interrupted: {type(error).__name__}"


def answer_failure(error: ReconcilerError, form: OutputFormat) -> None:
    """Prints the document of a command that was refused; in a format that has none, nothing."""
    if form.kind in FORMATS:
        for chunk in spell(_make_failure(error), form.kind, whole=form.whole):
            click.echo(chunk, nl=False)


def reported(function: F) -> F:
    """--report: the command's `form` has the file."""

    @wraps(function)
    def command(*arguments: Any, report: tuple[Path, ...], form: OutputFormat, **values: Any) -> int:
        files = tuple(Report(path, whole=form.whole) for path in report)
        for path in report or (None,):
            _refuse_files_read({"--report": path, "--out": values.get("out")}, values)
        try:
            code = function(*arguments, form=replace(form, reports=files), **values)
        except BaseException as error:
            for file in files:
                file.add_error(error)
                _write_after_error(file)
            raise
        _write_each(files)
        return code

    return click.option(
        "--report",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE",
        help="Write the answer to FILE too, even if the command fails; once for each file. Format by suffix: "
        f"{', '.join(SUFFIXES)}.",
    )(command)  # type: ignore[return-value]


def _write_each(files: Iterable[Report]) -> None:
    """Raises ReconcilerError where one cannot be written, after all others."""
    failed = list[ReconcilerError]()
    for file in files:
        try:
            file.write()
        except ReconcilerError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _refuse_files_read(files: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Raises UsageError where a file to be written is one that the command reads. `values`: those of its options."""
    targets = {option: path for option, path in files.items() if isinstance(path, Path)}
    directory = values.get("manifests")
    workspace = Workspace(directory if isinstance(directory, Path) else MANIFESTS, find_overrides(values))
    named = {_ARGUMENTS[name]: path for name in _ARGUMENTS if isinstance(path := values.get(name), Path)}
    refuse_files_read(workspace, targets, named)


_ARGUMENTS = {"target": "the argument", "named": "--manifests"}
"""Values of a command that are paths, and the words for their places."""


def _write_after_error(file: Report) -> None:
    try:
        file.write()
    except ReconcilerError as error:
        click.echo(visible(f"warning: {error.message}"), err=True)
