"""The record of a command line, found, and filled from settings; how its reports came to be; its end, and its error.

Law: stages, and documents for machines, know ids only. A name is put beside an id where a text leaves for a person, by
`core.names.name_locations`. Loading settings gives their names to `learn_names`.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import click

from reconciler import __version__
from reconciler.cli import CommandRecord
from reconciler.core.model.errors import ExitCode, InvalidInput, LockHeld, ReconcilerError
from reconciler.core.model.names import name_locations
from reconciler.core.model.notice import Notice
from reconciler.core.model.safe_text import Provenance, command_line, visible
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.ports import Clock
from reconciler.system import SystemClock

T = TypeVar("T")
LONGEST_PATH = 200
_SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "KEY")


def find_record() -> CommandRecord:
    """The record of the command line that runs; a new one where none does."""
    command = click.get_current_context(silent=True)
    return (command and command.find_object(CommandRecord)) or CommandRecord()


def find_clock() -> Clock:
    """The clock by which the command waits."""
    return find_record().clock or SystemClock()


def learn_names(settings: Settings) -> None:
    """Keeps names, links and the form of a notice until the command ends, and for the error that it ends with."""
    origin, record = settings.origin("state"), find_record()
    named_by = origin.source if origin.kind is OriginKind.ENVIRONMENT else None
    record.set_names(settings.names(), named_by.path if named_by else "")
    record.set_links(settings.contact_url)
    record.set_notify_settings(settings.notify)


def set_notice(notice: Notice) -> None:
    """Keeps the notice that a webhook gets at the end, where the environment names one."""
    if os.environ.get("RECONCILER_NOTIFY_URL", "").strip():
        find_record().set_notice(notice)


def for_person(text: str) -> str:
    """The text with the name of each location that it speaks of, and the options of each command of ours."""
    record = find_record()
    return record.complete(name_locations(text, record.names))


def provenance() -> Provenance | None:
    """How the reports of the command came to be, the same in all of them; None where no command runs."""
    record = find_record()
    # one instant and one commit in all reports of a command
    if record.provenance is None and click.get_current_context(silent=True) is not None:
        record.set_provenance(_make_provenance(record))
    return record.provenance


def _make_provenance(record: CommandRecord) -> Provenance:
    # it starts Git, and looks for secrets, which no answer in text needs
    from reconciler.highlevel.tokens import cut
    from reconciler.operations.identity import find_commit

    secrets = _list_secrets(os.environ)
    return Provenance(
        at=SystemClock().now(),
        commit=find_commit(record.directory) if record.directory else "",
        version=__version__,
        command=command_line([cut(secrets, argument) for argument in record.arguments]),
    )


def _list_secrets(environment: Mapping[str, str]) -> list[str]:
    """Values of variables that are called like secrets."""
    from reconciler.highlevel.tokens import SHORTEST

    values = (value for name, value in environment.items() if any(mark in name.upper() for mark in _SECRET_NAMES))
    # a short value would cut words that are no secret
    return [value for value in values if len(value) >= SHORTEST]


def print_error(error: Exception, record: CommandRecord) -> int:
    """Prints an error to stderr, ours in plain words and any other as the bug it is; returns its exit code."""
    if isinstance(error, OSError) and error.filename is not None:
        # a path that a person named: too long, taken away meanwhile, not to be read
        error = ReconcilerError(f"{_shorten(str(error.filename))}: {error.strerror or 'it cannot be used'}")
    if not isinstance(error, ReconcilerError):
        # a bug is reported with its traceback, and never looks like a refusal
        traceback.print_exception(error)
        click.echo(f"this is a bug of reconciler {__version__}: please report it with the lines above", err=True)
        return ExitCode.ERROR
    mark = "" if isinstance(error, InvalidInput) else "error: "
    for line in error.lines:
        click.echo(f"{mark}{visible(record.complete(name_locations(line, record.names)))}", err=True)
    for hint in error.hints:
        click.echo(f"  hint: {visible(record.complete(name_locations(hint, record.names)))}", err=True)
    variable = record.state_variable
    if variable and _is_about_state(error) and variable not in error.message:
        click.echo(f"  hint: the variable {variable} says where the state is", err=True)
    return error.exit_code


def _is_about_state(error: ReconcilerError) -> bool:
    """Whether the state may be another one than was meant."""
    # a state that is locked was found
    return not isinstance(error, LockHeld) and re.search(r"\bstate\b", error.message) is not None


def _shorten(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else f"{path[: LONGEST_PATH // 2]}…{path[-LONGEST_PATH // 2 :]}"


def run_to_end(work: Coroutine[Any, Any, T], *, waits: bool = True) -> T:
    """The result of `work`; `waits`: whether it may wait for somebody. Without that no event loop is loaded."""
    if waits:
        import asyncio

        return asyncio.run(work)
    try:
        work.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    raise AssertionError("it waits for somebody")
