"""The first run of all: whether a state that is not there may be taken for one that is new.

Rules
1. In CI a missing state is more likely lost or misnamed than new, whoever named it: a plan on it gives every tag again,
   and a report on it observed nothing. Every command that goes by state refuses it there, without --create-state.
2. The first apply that is known of a location is measured by the guard `max_first_adds`, anywhere; --create-state
   lifts it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import Guard, OriginKind, Settings
from reconciler.core.planning.guards import CREATE_STATE, Allowance
from reconciler.ports import StateReader
from reconciler.store import open_reader

F = TypeVar("F", bound=Callable[..., Any])


def beginning(function: F) -> F:
    """--create-state."""
    text = "The first run is meant: in CI go on where no state is there, and let it add what starts automations."
    return click.option(CREATE_STATE, is_flag=True, help=text)(function)


def refuse_missing_state(settings: Settings, locations: Iterable[LocationId], options: Mapping[str, Any]) -> None:
    """Raises UsageError in CI where no location has state and nobody said that this is the first run."""
    if options["create_state"] or not os.environ.get("CI"):
        return
    with open_reader(settings.state) as reader:
        if _is_there(reader, locations):
            return
    origin = settings.origin("state")
    named = "the default" if origin.kind is OriginKind.DEFAULT else f"named by {origin}"
    raise UsageError(
        f"there is no state at {redacted(settings.state)} ({named}): in CI, where CI is set, that is taken for lost or "
        "misnamed, since each run on it would be a first run",
        hint="name the state that earlier runs wrote (--state, RECONCILER_STATE or `state` in reconciler.yaml), or add "
        f"{CREATE_STATE} for the first run",
    )


def _is_there(reader: StateReader, locations: Iterable[LocationId]) -> bool:
    """Whether any location has state; where they cannot be listed, those of the manifests are asked."""
    try:
        return bool(reader.list_locations())
    except UsageError:
        return any(reader.at(location).load_state().lineage for location in locations)


def first_run_allowances(desired: Desired, options: Mapping[str, Any]) -> list[Allowance]:
    """The guard on the first apply, lifted by --create-state for each tag that it may hold for."""
    if not options.get("create_state"):
        return []
    return [Allowance(Guard.MAX_FIRST_ADDS, tag, f"{CREATE_STATE} was given") for tag in sorted(desired.rules)]
