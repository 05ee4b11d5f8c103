"""The commands of ours that a text for people names, completed: they reach the manifests and the state of the command
that runs.

Rules
1. A command stands between backticks, or is the end of its line; another text that looks like one stays as it is.
2. An option that a command has already, or does not take, is not added. A state is added without its secrets.
3. The arguments of each command are written here once more: to import one for its options would take as long as a small
   plan. `tests/cli/test_own_commands.py` compares.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.core.model.safe_text import path_word, redacted
from reconciler.operations.workspace import MANIFESTS

BY_ARGUMENT = frozenset(
    {"validate", "diff", "locations", "pull", "plan", "refresh", "drift", "doctor", "sandbox make"}
    | {f"fleet {name}" for name in ("drift", "pull", "worker")}
)
"""The commands whose argument is the directory of the manifests."""
BY_OPTION = {
    **dict.fromkeys(("history", "export", "state list", "state pull", "state verify"), 0),
    **dict.fromkeys(("resolve", "show", "apply", "revert"), 1),
    **{f"state {name}": 1 for name in ("import", "migrate", "push", "show", "unlock")},
    **{f"fleet {name}": 1 for name in ("apply", "cancel", "schedule", "status", "wait")},
    **dict.fromkeys(("state forget", "state recover"), 1_000),
}
"""The commands that take it by `--manifests`, and how many arguments each takes at most."""
FLAGS = frozenset(
    {
        "--all",
        "--apply-deferrals",
        "--auto-approve",
        "--create-state",
        "--detailed-exitcode",
        "--drain",
        "--dry-run",
        "--explain-batches",
        "--fail-fast",
        "--force",
        "--full",
        "--help",
        "--limits",
        "--offline",
        "--quiet",
        "--quota-spill",
        "--retry-held",
        "--retry-rejected",
        "--show-settings",
        "--strict",
        "--wait",
        "--whole",
        "--yes",
    }
)
"""The options without a value."""
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
        """The words that the command lacks; none of text that is no command, or one that takes no manifests."""
        try:
            words = shlex.split(text)[1:]
        except ValueError:
            return
        name = next((name for name in (" ".join(words[:2]), words[0]) if name in BY_ARGUMENT or name in BY_OPTION), "")
        arguments, options = _sort_words(words[len(name.split()) :])
        if not name or len(arguments) > BY_OPTION.get(name, 1):
            return
        if self.manifests != MANIFESTS and not (arguments if name in BY_ARGUMENT else "--manifests" in options):
            yield from ([] if name in BY_ARGUMENT else ["--manifests"])
            yield path_word(self.manifests)
        if self.state and "--state" not in options:
            yield f"--state {shlex.quote(redacted(self.state))}"


def _sort_words(words: Sequence[str]) -> tuple[list[str], set[str]]:
    """The arguments among the words after a command, and its options without their values."""
    arguments, options, left = list[str](), set[str](), iter(words)
    for word in left:
        if not word.startswith("--"):
            arguments.append(word)
            continue
        options.add(word.partition("=")[0])
        if word not in FLAGS and "=" not in word:
            next(left, None)
    return arguments, options
