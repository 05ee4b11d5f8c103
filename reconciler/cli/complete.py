"""Completes names in a shell: those of `operations/known_names.py`.

Rule: a parameter names its function of this module. The operation is imported when a shell asks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from reconciler.operations.workspace import Workspace

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_location(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    from reconciler.operations.known_names import list_location_names

    return _offer(list_location_names, context, begun)


def complete_set(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    from reconciler.operations.known_names import list_set_names

    return _offer(list_set_names, context, begun)


def complete_run(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    from reconciler.operations.known_names import list_run_ids

    return _offer(lambda workspace: ["last", *list_run_ids(workspace)], context, begun)


def complete_plan_or_run(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files, which the shell finds itself, and runs: bash forgets the words before a file."""
    return [CompletionItem(begun, type="file"), *complete_run(context, parameter, begun)]


def _offer(find: Callable[[Workspace], list[str]], context: click.Context, begun: str) -> list[CompletionItem]:
    try:
        names = find(_find_workspace(context))
    except Exception:  # noqa: BLE001  whatever it is would be printed into the line that somebody types
        return []
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def _find_workspace(context: click.Context) -> Workspace:
    """The manifests and the state that the line names so far."""
    from reconciler.operations.workspace import MANIFESTS, Workspace

    directory, state = context.params.get("manifests"), context.params.get("state")
    # click assigns no argument where the last option still waits for its value
    if any(param.name in ("manifests", "target") for param in context.command.params if param.nargs == 1):
        directory = next((Path(text) for text in context.args if Path(text).is_dir()), directory)
    overrides = {"state": state} if isinstance(state, str) else {}
    return Workspace(directory if isinstance(directory, Path) else MANIFESTS, overrides)
