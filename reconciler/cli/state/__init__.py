"""`reconciler state`: a command a file."""

from __future__ import annotations

import click

from reconciler.cli import Suggesting
from reconciler.cli.state import forget, importing, listing, migrate, pull, push, recover, show, unlock, verify


@click.group(cls=Suggesting, epilog="Example: reconciler state list --location asdrwHvLUxlfw5SqKVCN")
def command() -> None:
    """Look at what is known of each contact, and mend it."""


for each in (listing, show, importing, forget, pull, push, migrate, verify, unlock, recover):
    command.add_command(each.command)
