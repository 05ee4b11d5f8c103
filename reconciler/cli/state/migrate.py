"""`reconciler state migrate`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common, locking
from reconciler.cli.state.working import locked, whole
from reconciler.cli.whose import settings_of, whose_state
from reconciler.core.formats.state_json import accept
from reconciler.core.model.errors import StateError, UsageError
from reconciler.core.model.safe_text import redacted
from reconciler.output.blocks import counted
from reconciler.store import open_store

OPERATION = "state migrate"


@click.command("migrate", epilog="Example: reconciler state migrate sqlite:////srv/crm/state.db")
@click.argument("url", metavar="URL")
@whose_state
@locking
@common
def command(url: str, manifests: Path, **options: Any) -> int:
    """Copy the whole state, history included, to another place, and prove that it arrived.

    Nobody can work on a location while it is copied. The old state stays as it is: point `state` in reconciler.yaml to
    the new one, and put the old one away.
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    if url == settings.state:
        raise UsageError("the state is there already", hint="name another place")
    with open_store(settings.state) as source, open_store(url) as target:
        for location in source.list_locations():
            with (
                locked(source, location, operation=OPERATION, console=console, options=options),
                locked(target, location, operation=OPERATION, console=console, options=options) as held,
            ):
                found = whole(source, location)
                new = accept(whole(target, location), found)
                if new is not None:
                    held.store.replace_state(held.lease, new.state, new.runs)
                if accept(found, whole(target, location)) is not None:
                    raise StateError(f"location {location} did not arrive whole", hint="the old state is untouched")
            copied = counted(len(found.state.observed), "contact")
            console.say(f"location {location}: {copied}, {counted(len(found.runs), 'run')}")
    console.answer(f"now set `state: {redacted(url)}` in reconciler.yaml, and put the old state away\n")
    return 0
