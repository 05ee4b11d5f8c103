"""docs/cli.md, made from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from reconciler.cli import COMMANDS, cli
from reconciler.loading.settings import flag_name, setting_keys, variable_name

HEAD = """# Command line

Every command and option, made from the commands themselves: `reconciler COMMAND --help` says the same. Options stand
after the command. What the commands are for together is told in the [reference](reference.md); how they end, in
[exit codes](exit-codes.md).

`reconciler --version` prints the version, `reconciler --help` (or `-h`) the commands.
"""

COMMON = ("state", "quiet", "log_level", "log_format", "color")

SETTINGS = """## A flag for each setting

Every simple key of `reconciler.yaml` is also a flag of every command that has the common options, and an environment
variable. A flag wins over a variable, a variable over the file. What each setting means:
[manifests and settings](manifests.md#settings).

| setting | flag | variable |
|---|---|---|
"""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its path, such as `state show`, in the order of the help."""
    context = click.Context(cli, info_name="reconciler")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for sub in command.list_commands(context):
                found = command.get_command(context, sub)
                assert found is not None
                yield f"{name} {sub}", found


def options(command: click.Command) -> list[click.Option]:
    """The options that are its own: without the common ones and the flags of settings."""
    found = [each for each in command.params if isinstance(each, click.Option)]
    return [each for each in found if not each.hidden and each.name not in COMMON]


def common_options() -> list[click.Option]:
    plan = dict(commands())["plan"]
    return [each for each in plan.params if isinstance(each, click.Option) and each.name in COMMON]


def reference() -> str:
    parts = [HEAD, "## Common options\n\nMost commands have them.\n\n" + _table(common_options())]
    parts += [_section(path, command) for path, command in commands()]
    rows = "".join(f"| `{key}` | `{flag_name(key)}` | `{variable_name(key)}` |\n" for key in setting_keys())
    return "\n".join([*parts, SETTINGS + rows])


def _section(path: str, command: click.Command) -> str:
    level = "###" if " " in path else "##"
    # a fresh context: usage as `reconciler COMMAND --help` prints it
    context = click.Context(command, info_name=f"reconciler {path}")
    usage = " ".join(command.collect_usage_pieces(context))
    example = (command.epilog or "").removeprefix("Example: ")
    parts = [f"{level} {path}", f"```text\nreconciler {path} {usage}\n```", _text(inspect.cleandoc(command.help or ""))]
    parts += [_table(options(command)).rstrip()] if options(command) else []
    parts += ["Example:\n\n" + _example(example)]
    return "\n\n".join(parts) + "\n"


def _example(text: str) -> str:
    lines = "\n".join(part.strip() for part in text.split("   or   "))
    return f"```text\n{lines}\n```"


def _table(found: list[click.Option]) -> str:
    rows = [f"| {_names(each)} | {_cell(each.help or '')}{_default(each)} |" for each in found]
    return "| option | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _names(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or _choices(option)}"
    names = ", ".join(f"`{name}{value}`" for name in option.opts)
    return names.replace("|", "\\|")


def _choices(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return option.type.name.upper()


def _default(option: click.Option) -> str:
    return f" Default: `{option.default}`." if option.show_default and not option.is_flag else ""


def _text(text: str) -> str:
    """Help as Markdown: nothing in it is HTML."""
    return text.replace("<", "&lt;").replace("*", "\\*")
