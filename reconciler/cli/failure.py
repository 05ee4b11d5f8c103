"""How an error ends: ours in plain words and with its own exit code, any other as the bug it is."""

from __future__ import annotations

import traceback

import click

from reconciler import __version__
from reconciler.core.errors import ExitCode, InvalidInput, ReconcilerError
from reconciler.core.printable import visible


def tell(error: Exception) -> int:
    """Prints the error to stderr; returns the exit code."""
    if not isinstance(error, ReconcilerError):
        traceback.print_exception(error)
        click.echo(f"this is a bug of reconciler {__version__}: please report it with the lines above", err=True)
        return ExitCode.ERROR
    mark = "" if isinstance(error, InvalidInput) else "error: "
    for line in error.lines:
        click.echo(f"{mark}{visible(line)}", err=True)
    for hint in error.hints:
        click.echo(f"  hint: {visible(hint)}", err=True)
    return error.exit_code
