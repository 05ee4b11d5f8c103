"""When, from which commit, by which version and by which command a report was made.

Law: no password and no token is in it, wherever on the command line it stood.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.model.names import Instant
from reconciler.core.model.settings import redacted

PROGRAM = "reconciler"
_HIDDEN = "***"
_USER = re.compile(r"(?<=://).*@", re.DOTALL)
"""Whatever stands before a host: a user and a password, which may hold any character."""
_TOKEN = re.compile(r"\bpit-[0-9A-Fa-f-]{8,}|\beyJ[\w-]{8,}(?:\.[\w-]*)*")
"""A token of a private integration, and a JSON Web Token."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a report came to be."""

    at: Instant
    """When it was made."""
    commit: str
    """The commit that the manifests were checked out at; empty where it read none, or Git tells none."""
    version: str
    """The version of reconciler."""
    command: str
    """The command line for a shell, without passwords and tokens."""


def command_line(arguments: Sequence[str]) -> str:
    """The command with these arguments, as a person types it; `***` stands for each secret."""
    return shlex.join([PROGRAM, *map(_without_secrets, arguments)])


def _without_secrets(argument: str) -> str:
    return _TOKEN.sub(_HIDDEN, redacted(_USER.sub(f"{_HIDDEN}@", argument)))
