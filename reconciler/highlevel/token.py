"""Where the token comes from: the environment, or a command that prints it. Never from a file of ours."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping

from reconciler.core.model.errors import AuthRefused
from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import called

DEFAULT_VARIABLE = "HIGHLEVEL_TOKEN"
COMMAND_TIMEOUT_S = 60


def find_token(
    location: LocationId,
    environment: Mapping[str, str],
    *,
    variable: str = DEFAULT_VARIABLE,
    command: str = "",
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> str:
    """The token of a location; raises AuthRefused naming the variable or the command, never the token."""
    token = environment.get(variable, "").strip()
    if not token and command:
        token = _ask(command, timeout_s)
    if not token and command:
        raise AuthRefused(
            f"no token for location {location}: {variable} is not set and token_command printed nothing",
            hint="try the command in a terminal",
        )
    if not token:
        raise AuthRefused(
            f"no token for location {location}: environment variable {variable} is not set",
            hint=f"export {variable}=…, or give the location a `token_command` in reconciler.yaml",
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AuthRefused(
            f"{called(held_in(environment, variable, command))} has characters that a header cannot carry",
            hint="see how it was set",
        )
    return token


def held_in(environment: Mapping[str, str], variable: str, command: str) -> str:
    """Where a token is held, as a message names it; empty where there is none."""
    if environment.get(variable, "").strip():
        return f"environment variable {variable}"
    return "token_command (in reconciler.yaml)" if command else ""


def _ask(command: str, timeout_s: float) -> str:
    """What the command prints. It runs without a shell; its errors are told without its output."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=timeout_s, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        # from None: the error holds what the command printed so far
        raise AuthRefused(f"token_command did not run: {type(error).__name__}", hint="try it in a terminal") from None
    if done.returncode:
        raise AuthRefused(f"token_command ended with exit code {done.returncode}", hint="try it in a terminal")
    return done.stdout.decode("ascii", "replace").strip()
