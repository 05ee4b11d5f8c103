"""`reconciler state forget`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common, locking
from reconciler.cli.state.working import journalled, locked
from reconciler.cli.whose import known_location, settings_of, whose_state
from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import ContactId
from reconciler.core.planning.plan import LocationState
from reconciler.output.blocks import counted
from reconciler.store import open_reader, open_store

OPERATION = "state forget"


@click.command("forget", epilog="Example: reconciler state forget qFSqySFkVvNzOSqgGqFi --location asdrwHvLUxlfw5SqKVCN")
@click.argument("contacts", nargs=-1, metavar="[CONTACT]…")
@click.option("--location", required=True, metavar="L", help="The contacts' location, by id or name.")
@click.option("--limits", is_flag=True, help="Forget how much a request may hold, as refusals told.")
@whose_state
@locking
@common
def command(contacts: tuple[str, ...], location: str, limits: bool, manifests: Path, **options: Any) -> int:
    """Forget everything about contacts: observed tags, management, doubts, quarantine, journal.

    Sends nothing. Tags that were under management stay on the contact and are nobody's from here on; they are told. A
    contact that the manifests still declare is one that was never observed.

    With --limits, the sizes of requests that the location's API taught us: the next run sends full ones again.
    """
    console = Console.of(options)
    ids = list(dict.fromkeys(map(ContactId, contacts)))
    if not ids and not limits:
        raise UsageError("nothing to forget: name contacts, or say --limits")
    settings = settings_of(manifests, options)
    with open_reader(settings.state) as reader:
        place = known_location(reader, location, settings)
    with (
        open_store(settings.state) as store,
        locked(store, place, operation=OPERATION, console=console, options=options) as held,
        journalled(held, OPERATION),
    ):
        state = held.store.load_state()
        if limits:
            held.store.save_facts(held.lease, state.facts.without_limits())
        if ids:
            held.store.forget_contacts(held.lease, ids)
    if limits:
        console.say(f"forgot how much a request to location {place} may hold")
    if ids:
        _tell(ids, state, console)
    return 0


def _tell(ids: Sequence[ContactId], state: LocationState, console: Console) -> None:
    observed = state.observed
    known = [contact for contact in ids if contact in observed.contacts]
    for contact in known:
        if ledger := observed[contact].ledger:
            console.note(f"{contact} keeps {', '.join(sorted(ledger))}, which nobody manages any more")
    for contact in ids:
        if contact not in observed.contacts:
            console.note(f"nothing was known of {contact}")
    console.say(f"forgot {counted(len(known), 'contact')} of location {state.location}")
