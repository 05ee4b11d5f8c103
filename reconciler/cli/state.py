"""`reconciler history` and `show`, of the runs of the journal and of a saved plan; and `reconciler state` with its
commands that change nothing: `list`, `show`, `pull` and `verify`. `change_state.py` adds those that change the state.
"""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli import Suggesting
from reconciler.cli.complete import complete_location, complete_plan_or_run
from reconciler.cli.options import Invocation, common, locations_option, manifests_option, output
from reconciler.cli.plan_flags import parse_age
from reconciler.core.formats.state_json import state_document
from reconciler.core.model.errors import ExitCode, PlanFileError, UsageError
from reconciler.core.model.names import ContactId, Instant, normalise_tag
from reconciler.core.model.safe_text import json_line, redacted
from reconciler.operations.runs import LAST, find_log, list_history
from reconciler.operations.state import StateFilter, Status, find_contact, load_states, pull_states, verify_state
from reconciler.output.blocks import counted
from reconciler.output.contact import ContactDocument
from reconciler.output.history import HistoryDocument
from reconciler.output.log import LogDocument
from reconciler.output.plan import PlanDocument
from reconciler.output.state import FactsDocument, StateDocument
from reconciler.planfile import load_plan, no_plan_file


@click.group(cls=Suggesting, epilog="Example: reconciler state list --location asdrwHvLUxlfw5SqKVCN")
def state_command() -> None:
    """Look at what is known of each contact, and mend it."""


@state_command.command("list", epilog="Example: reconciler state list --tag vip --status quarantined --older-than 30d")
@locations_option
@click.option("--tag", "tags", multiple=True, metavar="T", help="Only contacts with this tag; repeatable: with any.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in Status]),
    help="Only contacts of this status; repeatable: of any.",
)
@click.option("--older-than", default="", metavar="AGE", help="Only contacts not observed since, such as 12h, 30d.")
@manifests_option
@output()
@common
def list_contacts(
    locations: tuple[str, ...],
    tags: tuple[str, ...],
    statuses: tuple[str, ...],
    older_than: str,
    invocation: Invocation,
) -> int:
    """List contacts with their observed and managed tags."""
    console, workspace = invocation.console, invocation.workspace
    age = parse_age("older-than", older_than)
    state_filter = StateFilter(
        tags=frozenset(map(normalise_tag, tags)),
        statuses=frozenset(map(Status, statuses)),
        before=None if age is None else Instant(workspace.clock.now() - age),
    )
    result = load_states(workspace, locations, state_filter)
    invocation.print_document(StateDocument(result.states))
    if not result.states:
        console.note(f"no state yet at {redacted(result.url)}: the first apply makes it")
    return 0


@state_command.command("show", epilog="Example: reconciler state show qFSqySFkVvNzOSqgGqFi")
@click.argument("contact", default="", metavar="[CONTACT]")
@click.option(
    "--location",
    "locations",
    multiple=True,
    metavar="L",
    shell_complete=complete_location,
    help="Only this location, by id or name.",
)
@manifests_option
@output()
@common
def show(contact: str, locations: tuple[str, ...], invocation: Invocation) -> int:
    """Tell all that is known of a contact: its tags, who declares them, since when, from which run, what was done.

    Without CONTACT: each location's serial and lineage, and what its API taught us: limits of a request, tags that it
    spells otherwise, whether a write of tags moves `dateUpdated`.
    """
    console, workspace = invocation.console, invocation.workspace
    if not contact:
        invocation.print_document(FactsDocument(load_states(workspace, locations).states))
        return 0
    result = find_contact(workspace, ContactId(contact), locations)
    for note in result.notes:
        console.note(note)
    if not result.stories:
        raise UsageError(f"nothing is known of contact {contact!r}", hint="`reconciler state list` lists the contacts")
    invocation.print_document(ContactDocument(result.stories))
    return 0


@state_command.command("pull", epilog="Example: reconciler state pull --location asdrwHvLUxlfw5SqKVCN > state.json")
@locations_option
@manifests_option
@common
def pull(locations: tuple[str, ...], invocation: Invocation) -> int:
    """Print the whole state as portable JSON: contents, ledger and journal, to keep, read or push."""
    states = pull_states(invocation.workspace, locations)
    invocation.console.answer(json_line(state_document(states)))
    return 0


@state_command.command("verify", epilog="Example: reconciler state verify")
@manifests_option
@common
def verify(invocation: Invocation) -> int:
    """Check every law that the state obeys: how it is stored, and that all of it hangs together.

    Exit code 0 where all of them hold, 1 where not. Changes nothing.
    """
    console, result = invocation.console, verify_state(invocation.workspace)
    for line in result.faults:
        console.say(line)
    if result.faults:
        return ExitCode.ERROR
    console.say(f"{redacted(result.url)} is whole: {counted(result.locations, 'location')}")
    for line in result.copied:
        console.say(line)
    return ExitCode.DONE


@click.command(epilog="Example: reconciler history   then   reconciler show 3f0c9e1b2a4d")
@locations_option
@manifests_option
@output()
@common
def history_command(locations: tuple[str, ...], invocation: Invocation) -> int:
    """List what was run: when, by whom, how it ended.

    `show RUN` tells what a run changed, `revert RUN` undoes it, as far as its rows are kept (history_keep).
    """
    console = invocation.console
    # only a page draws
    result = list_history(invocation.workspace, locations, with_trends=invocation.form.kind == "html")
    invocation.print_document(HistoryDocument(result.runs, result.trends))
    if not any(result.runs.values()):
        console.note(f"no run yet in {redacted(result.state)}")
    return 0


LONGEST = 12


@click.command(epilog="Example: reconciler show plan.json --all   or   reconciler show 3f0c9e1b2a4d")
@click.argument("what", metavar="PLAN | RUN", shell_complete=complete_plan_or_run)
@manifests_option
@output()
@common
def show_command(what: str, invocation: Invocation) -> int:
    """Render a saved plan again, or tell what a run changed.

    PLAN is a file that `plan --out` wrote. RUN is an id that `history` lists, or `last`: per tag and per contact what
    became of it, who ran it, when, and from which change digest and commit.
    """
    if Path(what).is_file():
        plan = load_plan(Path(what))
        # a file is shown without valid manifests too: names are a courtesy
        invocation.workspace.find_names()
        invocation.print_document(PlanDocument(plan))
        return 0
    if not _is_run(what):
        raise _explain_neither(what)
    invocation.print_document(LogDocument(find_log(invocation.workspace, what)))
    return 0


def _explain_neither(what: str) -> PlanFileError:
    if Path(what).suffix and not Path(what).exists():
        return no_plan_file(Path(what), f"no plan file {what}")
    return PlanFileError(f"there is no plan {what}, and it is no run", hint="`reconciler history` lists the runs")


def _is_run(text: str) -> bool:
    return text == LAST or (0 < len(text) <= LONGEST and all(char in "0123456789abcdef" for char in text))
