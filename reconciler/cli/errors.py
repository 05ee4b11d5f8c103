"""How an error ends: ours in plain words and with its own exit code, any other as the bug it is."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping

import click

from reconciler import __version__
from reconciler.core.model.errors import ExitCode, InvalidInput, LockHeld, ReconcilerError
from reconciler.core.model.names import LocationId, name_locations
from reconciler.core.model.safe_text import visible

LONGEST_PATH = 200


def tell(error: Exception, names: Mapping[LocationId, str], *, state_variable: str = "") -> int:
    """Prints the error to stderr; returns the exit code. `names`: what people call the locations. `state_variable`: the
    variable that says where the state is, if one does."""
    if isinstance(error, OSError) and error.filename is not None:
        # a path that somebody gave: too long, taken away meanwhile, not to be read
        error = ReconcilerError(f"{_short(str(error.filename))}: {error.strerror or 'it cannot be used'}")
    if not isinstance(error, ReconcilerError):
        traceback.print_exception(error)
        click.echo(f"this is a bug of reconciler {__version__}: please report it with the lines above", err=True)
        return ExitCode.ERROR
    mark = "" if isinstance(error, InvalidInput) else "error: "
    for line in error.lines:
        click.echo(f"{mark}{visible(name_locations(line, names))}", err=True)
    for hint in error.hints:
        click.echo(f"  hint: {visible(name_locations(hint, names))}", err=True)
    if state_variable and _is_about_state(error) and state_variable not in error.message:
        click.echo(f"  hint: the variable {state_variable} says where the state is", err=True)
    return error.exit_code


def _is_about_state(error: ReconcilerError) -> bool:
    """Whether the state may be another one than was meant; one that is locked was found."""
    return not isinstance(error, LockHeld) and re.search(r"\bstate\b", error.message) is not None


def _short(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else f"{path[: LONGEST_PATH // 2]}…{path[-LONGEST_PATH // 2 :]}"
