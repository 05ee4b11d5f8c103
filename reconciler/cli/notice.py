"""The notice of a command that has ended, to the webhook that the environment names. It changes no exit code."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import click

from reconciler.cli import CommandRecord
from reconciler.cli.console import end_by_signals
from reconciler.core.model.errors import Interrupted
from reconciler.core.model.names import name_locations
from reconciler.core.model.notice import Notice
from reconciler.core.model.safe_text import visible
from reconciler.operations.notify import URL_VARIABLE, guess_settings, send_notice
from reconciler.operations.workspace import Workspace
from reconciler.output.notice import SentNotice
from reconciler.system import wall_clock


def notify(notice: Notice, exit_code: int, record: CommandRecord) -> None:
    """Sends the notice where it is wanted; a line tells why it did not arrive."""
    workspace = Workspace()
    settings = record.notify_settings or guess_settings(workspace.environment)
    if not notice.is_wanted(settings.when, exit_code):
        return
    sent = SentNotice(notice, exit_code, uuid4().hex, wall_clock())
    try:
        reason = asyncio.run(end_by_signals(send_notice(sent, settings, workspace)))
    except (Interrupted, KeyboardInterrupt):
        reason = "interrupted"
    except Exception as error:  # noqa: BLE001  the command has ended: whatever a notice meets is a line
        reason = type(error).__name__
    if reason:
        line = f"warning: the webhook of {URL_VARIABLE} was not notified: {reason}"
        click.echo(visible(name_locations(line, record.names)), err=True)
