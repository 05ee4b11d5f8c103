"""The command line: wiring only.

Law: this module imports click and nothing else of weight, so that `--help` is quick; a command is imported when it is
called. `tests/cli/test_help.py` holds the list of modules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import click

from reconciler import __version__
from reconciler.cli.streams import AnswerLost, drop_answers, secure_streams

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.core.model.names import LocationId
    from reconciler.core.model.notice import Notice, NotifySettings
    from reconciler.core.model.safe_text import Provenance
    from reconciler.operations.own_commands import CommandPlace
    from reconciler.ports import Clock

INTERRUPTED = 130
USAGE = 64

COMMANDS = {
    "init": ("setup", "Write a small repository to begin with."),
    "validate": ("manifests", "Check manifests and settings: every problem at once."),
    "schema": ("manifests", "Print the JSON Schema of a manifest, of the settings, or of what --format json prints."),
    "diff": ("manifests", "Say what a change to manifests means: who gains and loses what."),
    "locations": ("manifests", "List the locations: what they are called, their manifests, whether they have state."),
    "pull": ("people", "Resolve people by e-mail, phone or a custom field, sources and filters into contacts."),
    "resolve": ("people", "Resolve a file of people into a file of contact ids, once."),
    "plan": ("plan", "Preview what would change, and what it costs."),
    "show": ("state", "Render a saved plan again, or tell what a run changed."),
    "apply": ("apply", "Send the fewest requests that do what was planned."),
    "history": ("state", "List what was run: when, by whom, how it ended."),
    "revert": ("apply", "Undo what a run changed."),
    "refresh": ("refresh", "Read what contacts carry now, and store it."),
    "drift": ("plan", "Report what others changed, and what is pending."),
    "state": ("change_state", "Look at what is known of each contact, and mend it."),
    "doctor": ("doctor", "Look whether everything is in place to plan and apply: changes nothing."),
    "completion": ("setup", "Print the script that makes a shell complete commands, options, and names."),
    "export": ("refresh", "Write manifests that declare what contacts carry: adopt a location that exists."),
    "fleet": ("fleet_schedule", "Spread the work over many machines: jobs queued in PostgreSQL, and workers."),
    "demo": ("demo", "See the whole job on an emulated location."),
    "sandbox": ("sandbox", "Run the emulated API for yourself."),
}
"""The commands in the order of a day's work, each with its module and its purpose."""


class CommandRecord:
    """The effects of a command line so far, for its reports and for the words that it ends with."""

    # by hand: to import dataclasses takes as long as all the rest of `--help`
    def __init__(self, arguments: Sequence[str] = (), clock: Clock | None = None) -> None:
        self.arguments, self.clock = arguments, clock
        """The clock by which the command waits; None for the system's."""
        self.directory: Path | None = None
        """The manifests that the command reads: their checkout has the commit of its reports."""
        self.provenance: Provenance | None = None
        """How the reports of the command came to be, the same in all of them; None until the first one."""
        self.has_answered = False
        """Whether an answer is on stdout."""
        self.names: dict[LocationId, str] = {}
        """The names that people gave to locations."""
        self.place: CommandPlace | None = None
        """The manifests and the state that the command line names; None before it is parsed."""
        self.contact_url = ""
        """The address where the CRM shows a contact."""
        self.state_variable = ""
        """The variable that says where the state is; empty where none does."""
        self.sends = False
        """Whether a run that may change tags has begun, with a journal."""
        self.reads = False
        """Whether contacts were asked for."""
        self.keeps = False
        """Whether the tags that were read are in the state."""
        self.notice: Notice | None = None
        """The notice that a webhook gets at the end; None for a command that sends none."""
        self.notify_settings: NotifySettings | None = None
        """None until the settings are loaded."""
        self._ends: list[Callable[[int], None]] = []

    def call_at_end(self, end: Callable[[int], None]) -> None:
        """Calls `end` with the exit code of the command, once it has answered."""
        self._ends.append(end)

    def end(self, exit_code: int) -> None:
        for end in self._ends:
            end(exit_code)

    def begin_reading(self, *, kept: bool) -> None:
        self.reads, self.keeps = True, kept

    def begin_sending(self) -> None:
        self.sends = True

    def note_answer(self) -> None:
        self.has_answered = True

    def set_directory(self, directory: Path) -> None:
        self.directory = directory
        # of `apply` it is not known before
        self.place = self.place and self.place.at(directory)

    def set_place(self, place: CommandPlace) -> None:
        self.place = place

    @property
    def complete(self) -> Callable[[str], str]:
        """Gives the commands of ours in a text the options that lead to the same manifests and state."""
        return str if self.place is None or self.place.is_default else self.place.complete

    def set_links(self, contact_url: str) -> None:
        self.contact_url = contact_url

    def set_provenance(self, provenance: Provenance) -> None:
        self.provenance = provenance

    def set_notice(self, notice: Notice) -> None:
        self.notice = notice

    def set_notify_settings(self, settings: NotifySettings) -> None:
        self.notify_settings = settings

    def set_names(self, names: Mapping[LocationId, str], state_variable: str) -> None:
        self.names.update(names)
        self.state_variable = state_variable or self.state_variable

    @property
    def interrupted(self) -> str:
        """The words for an interrupt that comes now."""
        if self.sends:
            return "interrupted: what was in flight is in the journal, the next run goes on from there"
        if not self.reads:
            return "interrupted: nothing was sent"
        if self.keeps:
            return "interrupted: nothing was sent; what was read until then is kept"
        return "interrupted: nothing was sent; what was read until then is not kept"


class Suggesting(click.Group):
    """A group that names the command that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            raise click.UsageError(
                f"No such command {name[:80]!r}.{_suggest_close(name, self.list_commands(ctx))}", ctx
            )
        return super().resolve_command(ctx, args)


def _suggest_close(name: str, commands: Sequence[str]) -> str:
    # --help does without it
    from difflib import get_close_matches

    close = get_close_matches(name[:80], commands)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


class _Commands(Suggesting):
    """A group that imports a command's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = getattr(import_module(f"reconciler.cli.{module}"), f"{cmd_name}_command")
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: reconciler plan manifests/   then   reconciler apply manifests/",
)
@click.version_option(__version__, message="reconciler %(version)s")
def cli() -> None:
    """Tags as code for HighLevel: manifests declare which contact carries which tag."""


def run(arguments: Sequence[str], clock: Clock | None = None) -> int:
    """Runs one command line; returns its exit code and never raises for an error that a user may cause.

    `clock`: by which it waits; None for the system's.
    """
    record = CommandRecord(arguments, clock)
    exit_code = _run(arguments, record)
    with suppress(KeyboardInterrupt):
        # it has answered: an interrupt ends no more than the wait for what measures it
        record.end(exit_code)
    # last of all: the exit code stands, the lease is given back, the answer is printed
    if record.notice is not None:
        from reconciler.cli.notice import notify

        notify(record.notice, exit_code, record)
    return exit_code


def _run(arguments: Sequence[str], record: CommandRecord) -> int:
    try:
        result = cli.main(list(arguments), prog_name="reconciler", standalone_mode=False, obj=record)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(record.interrupted, err=True)
        return INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # the reader of our output has gone, where click would leave: print nothing more, not even at exit
        if (code := getattr(error, "code", 1)) != 0:
            drop_answers()
        # so does a completion, which is done
        return 1 if code else 0
    except AnswerLost as error:
        drop_answers()
        click.echo(f"error: {error.message}", err=True)
        return 1
    except Exception as error:  # noqa: BLE001  the last door: our errors in plain words, bugs as bugs
        from reconciler.cli.command_record import print_error

        return print_error(error, record)


def main() -> None:
    """The console script."""
    with secure_streams():
        sys.exit(run(sys.argv[1:]))
