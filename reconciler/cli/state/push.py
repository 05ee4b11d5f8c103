"""`reconciler state push`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common, locking
from reconciler.cli.state.working import locked, whole
from reconciler.cli.whose import settings_of, whose_state
from reconciler.clock import SystemClock
from reconciler.core.formats.integrity import verify
from reconciler.core.formats.state_json import Portable, accept
from reconciler.core.formats.state_json_reader import read_state
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source
from reconciler.store import open_store

OPERATION = "state push"


@click.command("push", epilog="Example: reconciler state push state.json")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@whose_state
@locking
@common
def command(file: Path, manifests: Path, **options: Any) -> int:
    """Replace the state by what FILE holds, which `state pull` printed.

    Refused where the lineage is another, the serial is older than that of the state, or something in it contradicts
    itself. Into an empty state, lineage and serial are taken over.
    """
    console = Console.of(options)
    found = load_portable(file)
    with open_store(settings_of(manifests, options).state) as store:
        for each in found:
            location = each.state.location
            with locked(store, location, operation=OPERATION, console=console, options=options) as held:
                new = accept(whole(store, location), each)
                if new is not None:
                    held.store.replace_state(held.lease, new.state, new.runs)
            done = "is as the file says already" if new is None else f"is at serial {new.state.serial}"
            console.say(f"location {location} {done}")
    return 0


def load_portable(path: Path) -> tuple[Portable, ...]:
    """What the file holds; raises InvalidInput where it is no state, or contradicts itself."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput([Problem(Source(str(path)), f"cannot be read: {error.strerror}", "state")]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput([Problem(Source(str(path)), "is not JSON", "state")]) from error
    found = read_state(document, path=str(path))
    now = SystemClock().now()
    if wrong := [Problem(Source(str(path)), line, "state") for each in found for line in verify(each, now=now)]:
        raise InvalidInput(wrong)
    return found
