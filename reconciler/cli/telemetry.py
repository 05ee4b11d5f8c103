"""The telemetry of a command, from its start to its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from reconciler.cli.command_record import find_record
from reconciler.operations.telemetry import name_endpoint, open_telemetry
from reconciler.system import SystemClock

if TYPE_CHECKING:
    from reconciler.telemetry import Telemetry


def measure_command(command: click.Context, warn: Callable[[str], None]) -> Telemetry | None:
    """The Reporter that measures a command, where a variable names an endpoint; it ends with the command."""
    telemetry = open_telemetry(os.environ, command.command_path.partition(" ")[2], SystemClock().now, warn)
    if telemetry is None:
        return None

    # after the answer: nobody waits for numbers to read it
    def end(exit_code: int) -> None:
        if reasons := telemetry.close(exit_code):
            endpoint = name_endpoint(os.environ)
            warn(f"telemetry did not reach the endpoint in {endpoint} ({reasons}): the run is not affected")

    find_record().call_at_end(end)
    return telemetry
