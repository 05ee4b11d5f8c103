"""`reconciler state`: commands that look at the state in `inspect.py`, commands that change it in `change.py`."""

from __future__ import annotations

import click

from reconciler.cli import Suggesting
from reconciler.cli.state import change, inspect


@click.group(cls=Suggesting, epilog="Example: reconciler state list --location asdrwHvLUxlfw5SqKVCN")
def command() -> None:
    """Look at what is known of each contact, and mend it."""


for subcommand in (
    inspect.list_contacts,
    inspect.show,
    change.import_file,
    change.forget_contacts,
    inspect.pull,
    change.push,
    change.migrate,
    inspect.verify,
    change.unlock_location,
    change.recover,
):
    command.add_command(subcommand)
