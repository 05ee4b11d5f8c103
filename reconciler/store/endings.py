"""What the report of a run told at its end, in the tables. Each function is part of the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from reconciler.core.model.journal import RunEnding, Shortfall
from reconciler.core.model.names import ContactId, Tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.store.database import Database, Given, decoding, first

_RUN = "(SELECT n FROM runs WHERE id = ?)"
_PUT = f"INSERT INTO shortfalls (run, n, outcome, action, tags, why) VALUES ({_RUN}, ?, ?, ?, ?, ?)"
_PUT_CONTACTS = f"""
INSERT INTO shortfall_contacts (run, n, contact) SELECT {_RUN}, known, id FROM {Given.CONTACTS} ORDER BY known, id
"""
_GROUPS = f"SELECT n, outcome, action, tags, why FROM shortfalls WHERE run = {_RUN} ORDER BY n"
_CONTACTS = f"SELECT n, contact FROM shortfall_contacts WHERE run = {_RUN} ORDER BY n, contact"


def put_ending(database: Database, run: str, ending: RunEnding) -> None:
    numbers = {
        "pairs": dict(ending.pairs),
        "rounds": ending.rounds,
        "reads": ending.reads,
        "adopted": ending.adopted,
        "released": ending.released,
        "outside": ending.outside,
        "error": ending.error,
    }
    database.execute("UPDATE runs SET ending = ? WHERE id = ?", (json.dumps(numbers), run))
    for number, each in enumerate(ending.shortfalls):
        database.execute(_PUT, (run, number, each.outcome, each.action, json.dumps(each.tags), each.why))
    database.give(Given.CONTACTS, _numbered(ending.shortfalls))
    database.execute(_PUT_CONTACTS, (run,))


def _numbered(shortfalls: Iterable[Shortfall]) -> Iterator[tuple[ContactId, int]]:
    return ((contact, number) for number, each in enumerate(shortfalls) for contact in each.contacts)


@decoding()
def read_ending(database: Database, run: str) -> RunEnding | None:
    """Without the contacts that were given up or forgotten since."""
    found = first(database.execute("SELECT ending FROM runs WHERE id = ?", (run,)))
    if found is None or found[0] is None:
        return None
    contacts: dict[int, list[ContactId]] = {}
    for number, contact in database.execute(_CONTACTS, (run,)).fetchall():
        contacts.setdefault(number, []).append(ContactId(contact))
    shortfalls = tuple(
        Shortfall(Outcome(outcome), Action(action), tuple(map(Tag, json.loads(tags))), why, tuple(contacts[number]))
        for number, outcome, action, tags, why in database.execute(_GROUPS, (run,)).fetchall()
        if number in contacts
    )
    numbers = json.loads(found[0])
    pairs = tuple((Outcome(outcome), int(count)) for outcome, count in numbers.pop("pairs").items())
    return RunEnding(pairs=pairs, shortfalls=shortfalls, **numbers)
