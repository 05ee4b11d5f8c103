"""`reconciler doctor`: whether everything is in place, and with --try how the API really behaves."""

from __future__ import annotations

import asyncio

import click

from reconciler.cli.console import Console, read_line, stop_by_signals
from reconciler.cli.options import Invocation, common, locations_option, manifests_argument, output
from reconciler.cli.streams import can_ask
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.safe_text import visible
from reconciler.core.observing.trial import PREFIX
from reconciler.operations.doctor import DoctorRequest, examine
from reconciler.output.findings import DoctorDocument
from reconciler.output.trial import TrialDocument, tell_findings

WORD = "try"
QUESTION = f"""`doctor --try` adds five tags to contact %s, which begin with {PREFIX}, and removes them again.
It must be a contact of your own, which nobody misses: a workflow of HighLevel that is started by *any* tag (trigger
"Contact tag" without a filter) starts for each of them, and sends what it sends. Look at the workflows first.
"""

AT_ONCE = (
    f"at once: contact %s may have kept tags that begin with {PREFIX}, and no `apply` removes them; the same trial, "
    "run again, does"
)
"""The journal knows nothing of what a trial asks."""


@click.command(epilog="Example: reconciler doctor manifests/ --location asdrwHvLUxlfw5SqKVCN")
@manifests_argument
@locations_option
@click.option("--offline", is_flag=True, help="Ask the API nothing.")
@click.option(
    "--try",
    "contact",
    metavar="CONTACT",
    help="Try the API out on this contact, one of your own; asks first. Needs one --location.",
)
@click.option("--yes", is_flag=True, help="With --try: do not ask; needed where there is no terminal.")
@output(whole=False)
@common
def doctor_command(
    locations: tuple[str, ...], offline: bool, contact: str | None, yes: bool, invocation: Invocation
) -> int:
    """Look whether everything is in place to plan and apply: changes nothing.

    Versions, manifests, state and lock; and for each location the API, the token, what it may read, the clock and the
    limits, from two requests that only read, and are read as a refresh reads them. Exit code 0 where nothing is bad, 7
    where a token is refused, else 1.

    With --try, some ten requests in about a minute settle how the API behaves where its documents leave that open:
    they add tags to the one contact and remove them again. The findings are kept in the state, and plan and apply go
    by them.
    """
    if contact is not None:
        return _try(locations, contact, offline=offline, yes=yes, invocation=invocation)
    if yes:
        raise UsageError("--yes is for --try", hint="leave it out")
    result = asyncio.run(examine(invocation.workspace, DoctorRequest(locations, offline)))
    invocation.print_document(DoctorDocument(result.examined))
    return result.exit_code


def _try(locations: tuple[str, ...], contact: str, *, offline: bool, yes: bool, invocation: Invocation) -> int:
    # loaded only where a contact is tried: doctor alone needs no writer
    from reconciler.operations.try_contact import TrialRequest, try_contact

    if offline:
        raise UsageError("--try asks the API, and --offline does not", hint="leave one of them out")
    # a contact is in one location, and its id does not tell in which
    if len(locations) != 1:
        raise UsageError(
            "--try needs one --location: that of the contact", hint="as in --location asdrwHvLUxlfw5SqKVCN"
        )
    if not yes:
        _ask(contact)

    async def try_until_signal(console: Console) -> TrialDocument:
        with stop_by_signals(console, AT_ONCE % contact) as stop:
            tried = await try_contact(invocation.workspace, TrialRequest(locations[0], contact, stop))
        return TrialDocument(
            tried.location, tried.contact, tried.run, tried.requests, tried.removed, tell_findings(tried.rows)
        )

    invocation.print_document(asyncio.run(try_until_signal(invocation.console)))
    return 0


def _ask(contact: str) -> None:
    """Goes on only where a person types the word."""
    if not can_ask():
        raise UsageError(
            "doctor --try asks before it writes, and there is no terminal to ask on",
            hint="look at the contact and at the workflows of its location, then add --yes",
        )
    click.echo(QUESTION % visible(contact[:80]), nl=False, err=True)
    click.echo(f"Type {WORD} to go on: ", nl=False, err=True)
    if read_line().strip().lower() != WORD:
        raise ReconcilerError("not tried: nothing was sent", hint=f"only the word {WORD} goes on")
