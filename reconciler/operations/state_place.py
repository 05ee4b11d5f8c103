"""A state with a relative URL: that of the working directory, which may be another one than that of the manifests.

Rules
1. Where the working directory has no such state, and the directory of the manifests or one above it has, nothing goes
   by the empty one: a run would begin a second state, and give every tag again.
2. Where both have one, that of the working directory counts, with a warning.
3. Above the manifests the directories up to the top of their checkout are looked at, and the next one in any case; none
   from the working directory on.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.model.errors import Problem, Severity, StateError, UsageError
from reconciler.core.model.names import Source
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import Settings
from reconciler.store import find_state_file, name_state, open_reader


@dataclass(frozen=True, slots=True)
class OtherState:
    """A state in another directory than the working directory."""

    home: Path
    """The directory from which the URL of the settings names it."""
    file: Path
    url: str
    """Its whole URL."""
    is_only: bool
    """Whether the working directory has none."""


def find_other_state(settings: Settings, directory: Path) -> OtherState | None:
    """The state nearest to the manifests at `directory`, where it is another than that of the working directory."""
    url, working = settings.state, Path.cwd()
    here = find_state_file(url, working)
    for home in _list_homes(directory, working):
        file, whole = find_state_file(url, home), name_state(url, home)
        if file is None or (here is not None and file.samefile(here)) or _is_empty(whole):
            continue
        return OtherState(home, file, whole, is_only=here is None or _is_empty(name_state(url, working)))
    return None


def _is_empty(url: str) -> bool:
    """Whether no location has state there; not where that cannot be told."""
    try:
        with open_reader(url) as reader:
            return not reader.list_locations()
    except StateError:
        return False


def _list_homes(directory: Path, working: Path) -> Iterator[Path]:
    """The directories of a state that may be meant, the nearest to the manifests first."""
    typed = Path(os.path.normpath(directory.absolute()))
    # through links a directory may lie below others than its name says
    for place in dict.fromkeys((typed, Path(os.path.realpath(typed)))):
        above = (place, *place.parents)
        top = next((depth for depth, home in enumerate(above) if os.path.lexists(home / ".git")), 1)
        for home in above[: max(1, top) + 1]:
            if Path(os.path.realpath(home)) != working:
                yield home
            elif home != place:
                break


def refuse_other_state(settings: Settings, directory: Path) -> None:
    """Raises UsageError where the working directory has no such state, and the manifests at `directory` have."""
    other = find_other_state(settings, directory)
    if other is None or not other.is_only:
        return
    # between backticks no report breaks it
    flag = f"`{_state_flag(other.url)}`"
    raise UsageError(
        f"the state {redacted(settings.state)} is relative to the working directory, {Path.cwd()}, which has none, and "
        f"there is one by the manifests: {other.file}",
        hint=f"run it in {other.home}, or name the state by its whole path: {flag}; to begin "
        "another one here, name that so",
    )


def warn_of_other_state(settings: Settings, directory: Path) -> tuple[Problem, ...]:
    """A warning where both the working directory and the manifests at `directory` have a state."""
    other = find_other_state(settings, directory)
    if other is None or other.is_only:
        return ()
    source = settings.origin("state").source or Source("state")
    message = (
        f"the state {redacted(settings.state)} is taken from the working directory, {Path.cwd()}, and there is another "
        f"one by the manifests: {other.file}"
    )
    here, there = (
        f"`reconciler history {_state_flag(url)}`" for url in (name_state(settings.state, Path.cwd()), other.url)
    )
    hint = f"see which one earlier runs wrote ({here}, {there}), and put the other away"
    return (Problem(source, message, "state", Severity.WARNING, hint),)


def _state_flag(url: str) -> str:
    return f"--state {shlex.quote(redacted(url))}"


def describe_place(settings: Settings) -> str:
    """Where the state is, and that it is relative to the working directory, if it is."""
    shown = redacted(settings.state)
    is_relative = name_state(settings.state, Path.cwd()) != settings.state
    return f"{shown} (relative to the working directory)" if is_relative else shown
