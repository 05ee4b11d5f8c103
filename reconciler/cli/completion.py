"""`reconciler completion`"""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from reconciler.core.model.errors import ReconcilerError

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
VARIABLE = "_RECONCILER_COMPLETE"


@click.command(epilog='Example: reconciler completion bash >> ~/.bashrc   or   eval "$(reconciler completion zsh)"')
@click.argument("shell", type=click.Choice(sorted(SHELLS)))
def command(shell: str) -> int:
    """Print the script that makes a shell complete commands and options.

    For bash (4.4 or later) and zsh put it into ~/.bashrc or ~/.zshrc; for fish into
    ~/.config/fish/completions/reconciler.fish.
    """
    group = click.get_current_context().find_root().command
    try:
        click.echo(SHELLS[shell](group, {}, "reconciler", VARIABLE).source())
    except RuntimeError as error:
        raise ReconcilerError(f"no completion for {shell}: {error}") from error
    return 0
