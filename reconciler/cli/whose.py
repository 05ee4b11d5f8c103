"""Whose state: the settings of commands that need the state and no manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.cli.options import flags_of
from reconciler.core.settings import Settings
from reconciler.loading import load_settings

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
    return load_settings(directory, environment=os.environ, flags=flags, begins=begins)
