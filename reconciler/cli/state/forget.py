"""`reconciler state forget`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common, locking
from reconciler.cli.state.working import journalled, locked
from reconciler.cli.whose import settings_of, whose_state
from reconciler.core.names import ContactId, LocationId
from reconciler.core.view.blocks import counted
from reconciler.store import open_store

OPERATION = "state forget"


@click.command("forget", epilog="Example: reconciler state forget qFSqySFkVvNzOSqgGqFi --location asdrwHvLUxlfw5SqKVCN")
@click.argument("contacts", nargs=-1, required=True, metavar="CONTACT…")
@click.option("--location", required=True, metavar="L", help="The contacts' location.")
@whose_state
@locking
@common
def command(contacts: tuple[str, ...], location: str, manifests: Path, **options: Any) -> int:
    """Forget everything about contacts: observed tags, management, doubts, quarantine, journal.

    Sends nothing. Tags that were under management stay on the contact and are nobody's from here on; they are told. A
    contact that the manifests still declare is one that was never observed.
    """
    console = Console.of(options)
    ids = list(dict.fromkeys(map(ContactId, contacts)))
    place = LocationId(location)
    with (
        open_store(settings_of(manifests, options).state) as store,
        locked(store, place, operation=OPERATION, console=console, options=options) as hands,
        journalled(hands, OPERATION),
    ):
        observed = store.load(place).observed
        store.forget(hands.lease, ids)
    known = [contact for contact in ids if contact in observed.contacts]
    for contact in known:
        if ledger := observed[contact].ledger:
            console.note(f"{contact} keeps {', '.join(sorted(ledger))}, which nobody manages any more")
    for contact in ids:
        if contact not in observed.contacts:
            console.note(f"nothing was known of {contact}")
    console.answer(f"forgot {counted(len(known), 'contact')} of location {location}\n")
    return 0
