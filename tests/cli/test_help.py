"""`--help` is quick, and says how to use each command."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from reconciler import __version__
from reconciler.cli import COMMANDS, cli
from tests.cli.conftest import Command

OURS = {"reconciler", "reconciler.cli", "reconciler.cli.streams", "reconciler.__main__"}


def _modules_of(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_imports_click_and_nothing_else_of_weight() -> None:
    helped = _modules_of("from reconciler.cli import run\nrun(['--help'])")
    bare = _modules_of("import click\nclick.echo('')\nclick.Group('x').get_help(click.Context(click.Group('x')))")
    assert {name for name in helped if name.partition(".")[0] == "reconciler"} <= OURS
    assert helped - bare - OURS <= {"importlib", "importlib._abc", "importlib.util"}


def _all_commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [(name,) for name in COMMANDS]
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            found += [(name, sub) for sub in command.list_commands(context)]
    return found


@pytest.mark.parametrize("path", _all_commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(reconciler: Command, path: tuple[str, ...]) -> None:
    ended = reconciler(*path, "--help")
    assert ended.code == 0
    assert "Example: reconciler" in ended.out


def test_the_short_help_is_the_commands_own() -> None:
    for name, (_, short) in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert (command.help or "").startswith(short.split(":")[0].rstrip("."))


def test_version(reconciler: Command) -> None:
    assert reconciler("--version").out == f"reconciler {__version__}\n"


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("manifest", "settings")), "report", "plan"]
)
def test_a_schema_is_called_as_the_documentation_calls_it(reconciler: Command, kind: str) -> None:
    ended = reconciler("schema", kind)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["$schema"]
