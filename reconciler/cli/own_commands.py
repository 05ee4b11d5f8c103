"""The commands of ours that a text for people names, completed: they reach the manifests and the state of the command
that runs.

Rules
1. A command stands between backticks, or is the end of its line; another text that looks like one stays as it is.
2. An option that a command has already, or does not take, is not added. A state is added without its secrets.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from reconciler.cli import cli
from reconciler.core.model.safe_text import redacted
from reconciler.operations.workspace import MANIFESTS

_COMMAND = re.compile(r"(?<=`)reconciler [a-z][^`\n]*(?=`)|(?<!\S)reconciler [a-z][^`\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CommandPlace:
    """The manifests and the state that the command line names."""

    manifests: Path = MANIFESTS
    state: str = ""
    """The URL of `--state`; empty where the settings or a variable say it, as they will again."""

    @property
    def is_default(self) -> bool:
        return self == CommandPlace()

    def at(self, manifests: Path) -> CommandPlace:
        return replace(self, manifests=manifests)

    def complete(self, text: str) -> str:
        """The text, in which each command of ours leads to the same place."""
        if "reconciler " not in text:
            return text
        return _COMMAND.sub(lambda command: " ".join([command[0], *self._list_missing(command[0])]), text)

    def _list_missing(self, text: str) -> Iterator[str]:
        """The words that the command lacks; none where it is no command that can be parsed."""
        parsed = _parse(text)
        if parsed is None:
            return
        command, given = parsed
        options = {option: parameter.name for parameter in command.params for option in parameter.opts}
        # `apply` takes both: its argument may be a plan
        named = next((option for option in ("--manifests", "manifests") if option in options), "")
        # one that takes no manifests, such as `init`, goes by no state either
        if not named:
            return
        if self.manifests != MANIFESTS and not isinstance(given.get(options[named] or ""), str):
            yield from (["--manifests"] if named == "--manifests" else [])
            yield shlex.quote(str(self.manifests))
        if self.state and "state" not in given:
            yield f"--state {shlex.quote(redacted(self.state))}"


def _parse(text: str) -> tuple[click.Command, Mapping[str, object]] | None:
    """The command and the values of its line; None where the text is another."""
    command: click.Command | None = cli
    try:
        words = shlex.split(text)[1:]
        while isinstance(command, click.Group) and words:
            command = command.get_command(click.Context(command), words.pop(0))
        if command is None or isinstance(command, click.Group):
            return None
        given, surplus, _ = command.make_parser(click.Context(command)).parse_args(words)
    except (ValueError, click.UsageError):
        return None
    return None if surplus else (command, given)
