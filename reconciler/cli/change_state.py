"""`reconciler state import`, `forget`, `push`, `migrate`, `recover` and `unlock`: commands that change the state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from reconciler.cli.complete import complete_location
from reconciler.cli.console import Console
from reconciler.cli.forget import forget_whole
from reconciler.cli.options import Invocation, common, locking, manifests_option
from reconciler.cli.state import state_command
from reconciler.core.formats.state_json import Portable, UnrecordedAnswers
from reconciler.core.model.errors import UsageError
from reconciler.core.model.lease import Lease, describe_lease, unlock_command
from reconciler.core.model.names import ContactId, Instant, parse_instant
from reconciler.core.model.safe_text import redacted
from reconciler.operations.change_state import (
    ForgetRequest,
    ImportRequest,
    ImportResult,
    PushedState,
    find_export_time,
    forget,
    import_contacts,
    push_states,
    read_portable,
    recover_answers,
    unlock,
)
from reconciler.operations.migrate_state import migrate_states
from reconciler.operations.state import list_locks
from reconciler.operations.workspace import Workspace
from reconciler.output.blocks import counted, moment

T = TypeVar("T")


@state_command.command("import", epilog="Example: reconciler state import contacts.csv --location asdrwHvLUxlfw5SqKVCN")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--location",
    required=True,
    metavar="L",
    shell_complete=complete_location,
    help="The contacts' location, by id or name.",
)
@click.option(
    "--observed-at",
    default="",
    metavar="TIME",
    help="When FILE was exported.  [default: its commit, or its last change]",
)
@manifests_option
@locking
@common
def import_file(file: Path, location: str, observed_at: str, lock_timeout_ms: int, invocation: Invocation) -> int:
    """Learn what contacts carry from an export, without asking the API: adopt a location without a write.

    FILE is a CSV export with the columns contact_id (or Contact Id, id) and tags, or a JSON dump of search rows. What
    is known from later is kept. The next plan adopts what is declared and there already.

    Without --observed-at a file that Git tracks is of the time of its commit, since a checkout makes every file new;
    where that cannot be told (changed since, a shallow clone) the time has to be given.
    """
    console, workspace = invocation.console, invocation.workspace
    # the notes and errors below have the names of locations
    workspace.find_names()
    now = workspace.clock.now()
    at = _parse_time(observed_at, now) if observed_at else _find_time(file, now, console)
    result = asyncio.run(import_contacts(workspace, ImportRequest(file, location, at, lock_timeout_ms)))
    _note_import(result, console)
    console.answer(f"learnt the tags of {counted(result.changed, 'contact')} as of {moment(at)}\n")
    return 0


def _note_import(result: ImportResult, console: Console) -> None:
    exported = result.exported
    if exported.elsewhere:
        console.note(f"left out {counted(exported.elsewhere, 'contact')} of other locations")
    if exported.without_tags:
        console.note(f"left out {counted(exported.without_tags, 'row')} that do not tell the tags")
    if exported.unparted:
        rows = counted(exported.unparted, "row")
        console.note(f"{rows} with a tag that has ';' or '|' in it: it is one tag, as commas part them")
    if kept := result.contacts - result.changed:
        console.note(f"kept what is known from later, or the same, of {counted(kept, 'contact')}")


def _parse_time(text: str, now: Instant) -> Instant:
    try:
        at = parse_instant(text if "T" in text else f"{text}T00:00:00Z")
    except (ValueError, OverflowError) as error:
        today = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise UsageError(f"--observed-at {text!r} is no time", hint=f"write it like {today}") from error
    if at > now:
        raise UsageError(f"--observed-at {text} is yet to come", hint="say when the file was exported")
    return at


def _find_time(file: Path, now: Instant, console: Console) -> Instant:
    at, is_committed = find_export_time(file, now)
    if is_committed:
        console.note(f"{file} is as it was committed: its tags are of that time, or earlier (--observed-at tells when)")
    return at


@state_command.command(
    "forget", epilog="Example: reconciler state forget qFSqySFkVvNzOSqgGqFi --location asdrwHvLUxlfw5SqKVCN"
)
@click.argument("contacts", nargs=-1, metavar="[CONTACT]…")
@click.option(
    "--location",
    required=True,
    metavar="L",
    shell_complete=complete_location,
    help="The contacts' location, by id or name.",
)
@click.option("--limits", is_flag=True, help="Forget how much a request may hold, as refusals told.")
@click.option("--whole", is_flag=True, help="Forget the location as a whole, such as a mistyped one; asks first.")
@click.option("--yes", is_flag=True, help="With --whole: do not ask; needed where there is no terminal.")
@manifests_option
@locking
@common
def forget_contacts(
    contacts: tuple[str, ...],
    location: str,
    limits: bool,
    whole: bool,
    yes: bool,
    lock_timeout_ms: int,
    invocation: Invocation,
) -> int:
    """Forget everything about contacts: observed tags, management, doubts, quarantine, journal.

    Sends nothing. Tags that were under management stay on the contact and are nobody's from here on; they are told. A
    contact that the manifests still declare is one that was never observed.

    With --limits, the sizes of requests that the location's API taught us: the next run sends full ones again. With
    --whole, the location with its history: it is listed no more. Refused while a run works there, or what one did is in
    doubt.
    """
    console = invocation.console
    if whole or yes:
        is_alone = whole and not (contacts or limits)
        return forget_whole(location, lock_timeout_ms, invocation, yes=yes, is_alone=is_alone)
    ids = tuple(dict.fromkeys(map(ContactId, contacts)))
    request = ForgetRequest(location, ids, limits, lock_timeout_ms)
    result = asyncio.run(forget(invocation.workspace, request))
    if limits:
        console.say(f"forgot how much a request to location {result.location} may hold")
    for contact, ledger in result.released.items():
        console.note(f"{contact} keeps {', '.join(sorted(ledger))}, which nobody manages any more")
    for contact in result.unknown:
        console.note(f"nothing was known of {contact}")
    if ids:
        console.say(f"forgot {counted(len(result.forgotten), 'contact')} of location {result.location}")
    if result.people:
        erased = counted(len(result.people), "contact")
        console.say(f"erased {erased} from the index of people and from snapshots of matched sets")
    for path in result.files:
        console.note(f"{path} still names a contact that was forgotten: take the row out of the set's file, and pull")
    return 0


@state_command.command("push", epilog="Example: reconciler state push state.json")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@manifests_option
@locking
@common
def push(file: Path, lock_timeout_ms: int, invocation: Invocation) -> int:
    """Replace the state by what FILE holds, which `state pull` printed.

    Refused where the lineage is another, the serial is older than that of the state, or something in it contradicts
    itself. Into an empty state, lineage and serial are taken over.
    """
    workspace = invocation.workspace
    states = read_portable(file, workspace.clock.now())
    pushed = push_states(workspace, states, lock_timeout_ms=lock_timeout_ms)
    return _say_each(pushed, _describe_pushed, invocation.console)


def _describe_pushed(pushed: PushedState) -> str:
    done = "is as the file says already" if pushed.serial is None else f"is at serial {pushed.serial}"
    return f"location {pushed.location} {done}"


def _say_each(results: AsyncIterator[T], describe: Callable[[T], str], console: Console) -> int:
    """A line for each result, as soon as it is there."""

    async def say_each() -> None:
        async for result in results:
            console.say(describe(result))

    asyncio.run(say_each())
    return 0


@state_command.command("migrate", epilog="Example: reconciler state migrate sqlite:////srv/crm/state.db")
@click.argument("url", metavar="URL")
@manifests_option
@locking
@common
def migrate(url: str, lock_timeout_ms: int, invocation: Invocation) -> int:
    """Copy the whole state, history included, to another place, and prove that it arrived.

    Nobody can work on a location while it is copied. The old state stays, and is refused from then on with the place
    where it went: point `state` in reconciler.yaml to the new one, and put the old one away.
    """
    copied = migrate_states(invocation.workspace, url, lock_timeout_ms=lock_timeout_ms)
    _say_each(copied, _describe_copied, invocation.console)
    invocation.console.answer(f"now set `state: {redacted(url)}` in reconciler.yaml, and put the old state away\n")
    return 0


def _describe_copied(copied: Portable) -> str:
    contacts = counted(len(copied.state.observed), "contact")
    return f"location {copied.state.location}: {contacts}, {counted(len(copied.runs), 'run')}"


@state_command.command("recover", epilog="Example: reconciler state recover plan.json.emergency-3f0c9e1b2a4d-7.json")
@click.argument("files", type=click.Path(path_type=Path), metavar="FILE...", nargs=-1, required=True)
@manifests_option
@locking
@common
def recover(files: tuple[Path, ...], lock_timeout_ms: int, invocation: Invocation) -> int:
    """Write down what a run learnt when the state could not be written.

    Each FILE is an emergency journal that the run named. Possible until the next run begins; after that, what is in
    doubt is settled by `--refresh get`.
    """
    recovered = recover_answers(invocation.workspace, files, lock_timeout_ms=lock_timeout_ms)
    return _say_each(recovered, _describe_recovered, invocation.console)


def _describe_recovered(answers: UnrecordedAnswers) -> str:
    return f"run {answers.run}: recorded the answer of {counted(len(answers.verdicts), 'contact')}"


@state_command.command(
    "unlock",
    epilog="Example: reconciler state unlock 0c3f5a1e9d7b4e62a8f1c05b3d7e9412 --location asdrwHvLUxlfw5SqKVCN",
)
@click.argument("lease", metavar="[ID]", required=False)
@click.option(
    "--location",
    metavar="L",
    shell_complete=complete_location,
    help="The locked location, by id or name. Needed with ID.",
)
@manifests_option
@common
def unlock_location(lease: str | None, location: str | None, invocation: Invocation) -> int:
    """List the locks, or end a lease whose holder is gone for good.

    Without ID: who holds which location, since when, where, and the command that ends that lease. With the exact ID:
    ends it. A holder that lives after all is refused every further write, and stops; a request of it that is under way
    may still take effect, and is listed as in doubt.
    """
    console, workspace = invocation.console, invocation.workspace
    if lease is None:
        _say_locks(workspace, location, console)
        return 0
    if location is None:
        raise UsageError(
            "which location is locked was not said: --location L", hint="`reconciler state unlock` lists the locks"
        )
    ended = unlock(workspace, location, lease)
    console.note(f"was: {describe_lease(ended)}")
    console.say(f"unlocked location {ended.location}")
    return 0


def _say_locks(workspace: Workspace, location: str | None, console: Console) -> None:
    result = list_locks(workspace, location)
    for lease in result.leases:
        for line in _describe_lock(lease):
            console.say(line)
    if not result.leases:
        none = "no location is locked" if result.location is None else f"location {result.location} is not locked"
        console.say(f"{none} in {redacted(result.url)}")


def _describe_lock(lease: Lease) -> Iterator[str]:
    """The lines of one lease; the command stands in a line of its own, whatever the width."""
    holder = lease.holder
    yield f"location {lease.location} is locked"
    yield f"  by {holder.who}, {holder.operation}, reconciler {holder.version}"
    yield f"  on {holder.host}, process {holder.pid}"
    if holder.run_url:
        yield f"  in {holder.run_url}"
    yield f"  since {moment(holder.created)}; ends {moment(lease.expires)} unless renewed"
    yield "  if that process is gone for good, end its lease:"
    yield f"  {unlock_command(lease)}"
