"""Whose state: the settings and manifests of the directory that a command works with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.cli.command_record import learn_directory, learn_names
from reconciler.cli.options import flags_of
from reconciler.core.model.errors import InvalidInput, ReconcilerError, UsageError
from reconciler.core.model.names import Instant, LocationId, closest_name
from reconciler.core.model.settings import Settings
from reconciler.loading import Loaded, load, load_settings
from reconciler.ports import StateReader
from reconciler.store import LOCATION

F = TypeVar("F", bound=Callable[..., Any])


def whose_state(function: F) -> F:
    """--manifests."""
    return click.option(
        "--manifests",
        type=click.Path(path_type=Path),
        default=Path("manifests"),
        metavar="DIR",
        help="Whose reconciler.yaml names the state.  [default: manifests]",
    )(function)


def settings_of(directory: Path, options: Mapping[str, Any], *, begins: bool = False) -> Settings:
    """The settings of a manifests directory, under the environment and the common options.

    `begins`: it need not be there yet.
    """
    flags = flags_of(options)
    settings = load_settings(directory, environment=os.environ, flags=flags, begins=begins)
    learn_names(settings)
    return settings


def load_named(directory: Path, options: Mapping[str, Any], *, now: Instant, strict: bool = False) -> Loaded:
    """The manifests and settings of a directory, as `load`; what is said of their locations from now on has names."""
    learn_directory(directory)
    try:
        loaded = load(directory, environment=os.environ, flags=flags_of(options), now=now, strict=strict)
    except InvalidInput:
        learn_names_of(directory, options)
        raise
    learn_names(loaded.settings)
    return loaded


def learn_names_of(directory: Path, options: Mapping[str, Any]) -> None:
    """The names in the settings of a directory, where nothing else is needed of them, or they cannot be loaded."""
    with suppress(ReconcilerError, OSError):
        settings_of(directory, options, begins=True)


def chosen(reader: StateReader, given: tuple[str, ...], settings: Settings) -> list[LocationId]:
    """The locations that were asked for, by id or name; all of them where none was."""
    return [known_location(reader, each, settings) for each in given] or list(reader.list_locations())


def known_location(reader: StateReader, given: str, settings: Settings) -> LocationId:
    """The location that is called so, or has this id; raises UsageError where neither settings nor state have it.

    A state of its own for each location may have no list: then every id is taken.
    """
    location = settings.find_location(given)
    if location in settings.locations or LOCATION in settings.state:
        return location
    there = sorted({*settings.locations, *reader.list_locations()})
    if location in there:
        return location
    near = closest_name(given, [*there, *settings.names().values()])
    hint = f"did you mean {near!r}?" if near else "they have: " + (", ".join(map(settings.called, there)) or "none")
    raise UsageError(f"neither the settings nor the state have a location {given!r}", hint=hint)
