"""`reconciler state verify`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common
from reconciler.cli.state.working import whole
from reconciler.cli.whose import settings_of, whose_state
from reconciler.clock import SystemClock
from reconciler.core.formats.integrity import verify
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.safe_text import redacted
from reconciler.output.blocks import counted
from reconciler.store import open_reader


@click.command("verify", epilog="Example: reconciler state verify")
@whose_state
@common
def command(manifests: Path, **options: Any) -> int:
    """Check every law that the state obeys: how it is stored, and that all of it hangs together.

    Exit code 0 where all of them hold, 1 where not. Changes nothing.
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    now = SystemClock().now()
    with open_reader(settings.state) as reader:
        wrong = list(reader.find_faults())
        # what is damaged cannot be looked at more closely
        locations = [] if wrong else list(reader.list_locations())
        for location in locations:
            wrong += [f"location {location}: {line}" for line in verify(whole(reader, location), now=now)]
    for line in wrong:
        console.say(line)
    if wrong:
        return ExitCode.ERROR
    console.say(f"{redacted(settings.state)} is whole: {counted(len(locations), 'location')}")
    return ExitCode.DONE
