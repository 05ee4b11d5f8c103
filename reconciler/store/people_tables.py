"""Snapshots of matched sets, and the index of people, in the tables. Each function is part of the caller's transaction.

Rules
1. A contact of the index is one row: the fingerprints that it has, and those that it had, each 16 bytes, sorted. No
   value that a person is known by is stored.
2. A snapshot is content of the location: its serial grows where a snapshot's contacts change. The index is none.
3. A row is written only where a reading differs from it: an overlap of two readings costs nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.core.formats.state_json import facts_text, missing_document, read_facts, read_missing
from reconciler.core.model.names import ContactId, LocationId, SetName
from reconciler.core.model.people import Fingerprint, IndexStatus, MatchCounts, PeopleIndex, PeopleLot, Snapshot
from reconciler.store.database import Database, Given, Undecodable, decoding, first

WIDTH = 16
"""Bytes of a fingerprint."""

PIECE = 50_000
"""Rows of people that are read at once: a server sends a whole answer before its first row is seen."""

_SNAPSHOTS = """
SELECT name, as_of, source_digest, counts, contacts, missing FROM snapshots WHERE location = ? ORDER BY name
"""
_PUT_SNAPSHOT = """
INSERT INTO snapshots (location, name, as_of, source_digest, counts, contacts, missing) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (location, name) DO UPDATE SET as_of = excluded.as_of, source_digest = excluded.source_digest,
    counts = excluded.counts, contacts = excluded.contacts, missing = excluded.missing
"""
_DROP_SNAPSHOT = "DELETE FROM snapshots WHERE location = ? AND name = ?"
_PEOPLE = "SELECT contact, present, past FROM people WHERE location = ? AND contact >= ? ORDER BY contact LIMIT ?"
_PEOPLE_OF_LOT = f"""
SELECT people.contact, present, past FROM {Given.CONTACTS} AS given JOIN people ON people.contact = given.id
WHERE people.location = ?
"""
_PUT_PEOPLE = f"""
INSERT INTO people (location, contact, present, past) SELECT ?, contact, present, past FROM {Given.PEOPLE} WHERE true
ON CONFLICT (location, contact) DO UPDATE SET present = excluded.present, past = excluded.past
"""
_ERASE_PEOPLE = f"DELETE FROM people WHERE location = ? AND contact IN (SELECT id FROM {Given.CONTACTS})"
_PUT_STATUS = """
INSERT INTO people_status (location, status, revision) VALUES (?, ?, 1)
ON CONFLICT (location) DO UPDATE SET status = excluded.status, revision = people_status.revision + 1
"""


@decoding()
def read_snapshots(database: Database, location: LocationId) -> Mapping[SetName, Snapshot]:
    number = _number_of(database, location)
    return {} if number is None else _snapshots(database, number)


def _number_of(database: Database, location: LocationId) -> int | None:
    row = first(database.execute("SELECT n FROM locations WHERE id = ?", (location,)))
    return None if row is None else int(row[0])


@decoding()
def _snapshots(database: Database, number: int) -> dict[SetName, Snapshot]:
    return {
        SetName(name): Snapshot(
            _contacts(contacts), as_of, digest, read_facts(MatchCounts, counts), read_missing(json.loads(missing))
        )
        for name, as_of, digest, counts, contacts, missing in database.execute(_SNAPSHOTS, (number,))
    }


def _contacts(content: bytes) -> tuple[ContactId, ...]:
    try:
        return tuple(json.loads(zlib.decompress(content)))
    except zlib.error as error:
        raise ValueError(f"compressed contacts: {error}") from error


def put_snapshots(database: Database, number: int, snapshots: Mapping[SetName, Snapshot]) -> bool:
    """Replaces the snapshots that are named; whether contacts of one are new."""
    before = _snapshots(database, number)
    for name, snapshot in snapshots.items():
        content = zlib.compress(json.dumps(snapshot.contacts, separators=(",", ":")).encode(), 1)
        counts, missing = facts_text(snapshot.counts), json.dumps(missing_document(snapshot.missing))
        row = (number, name, snapshot.as_of, snapshot.source_digest, counts, content, missing)
        database.execute(_PUT_SNAPSHOT, row)
    return any(name not in before or before[name].contacts != new.contacts for name, new in snapshots.items())


def drop_snapshots(database: Database, number: int, names: Iterable[SetName]) -> bool:
    """Whether there was one of them."""
    return sum(database.execute(_DROP_SNAPSHOT, (number, name)).rowcount for name in names) > 0


@decoding()
def read_people(database: Database, location: LocationId) -> PeopleIndex:
    """The index; contacts that are alone with a fingerprint share no object but their own id and tuple."""
    number = _number_of(database, location)
    status = None if number is None else _status(database, number)
    if number is None or status is None:
        return PeopleIndex()
    current: dict[Fingerprint, tuple[ContactId, ...]] = {}
    former: dict[Fingerprint, tuple[ContactId, ...]] = {}
    for contact, present, past in _rows(database, number):
        alone = (contact,)
        # most contacts have one value and never had another: nothing is cut for them
        for fingerprint in (present,) if len(present) == WIDTH else _cut(present):
            if (others := current.setdefault(fingerprint, alone)) is not alone:
                current[fingerprint] = others + alone
        for fingerprint in _cut(past) if past else ():
            if (others := former.setdefault(fingerprint, alone)) is not alone:
                former[fingerprint] = others + alone
    return PeopleIndex(status, current, former)


def _rows(database: Database, number: int) -> Iterator[tuple[ContactId, Any, Any]]:
    """The rows of people in the order of their contacts."""
    # the last row of a piece is read again, as the first of the next one: no text comes right after another one
    rows = database.execute(_PEOPLE, (number, "", PIECE)).fetchall()
    yield from rows
    while len(rows) == PIECE:
        rows = database.execute(_PEOPLE, (number, rows[-1][0], PIECE)).fetchall()
        yield from rows[1:]


@decoding()
def _status(database: Database, number: int) -> IndexStatus | None:
    row = first(database.execute("SELECT status FROM people_status WHERE location = ?", (number,)))
    return None if row is None else read_facts(IndexStatus, row[0])


def pack(fingerprints: frozenset[Fingerprint]) -> bytes:
    return b"".join(sorted(fingerprints))


def unpack(content: bytes) -> frozenset[Fingerprint]:
    """The inverse of `pack`."""
    return frozenset(_cut(content))


def _cut(content: bytes) -> list[Fingerprint]:
    if len(content) % WIDTH:
        raise ValueError(f"fingerprints of {len(content)} bytes")
    return [Fingerprint(content[at : at + WIDTH]) for at in range(0, len(content), WIDTH)]


def put_people(database: Database, number: int, lot: PeopleLot) -> None:
    if lot.anew:
        database.execute("DELETE FROM people WHERE location = ?", (number,))
    elif lot.gone:
        database.give(Given.CONTACTS, ((contact, 0) for contact in sorted(lot.gone)))
        database.execute(_ERASE_PEOPLE, (number,))
    # in order: the pages that hold them are next to one another
    contacts = sorted(lot.people)
    database.give(Given.CONTACTS, ((contact, 0) for contact in contacts))
    stored = {contact: (present, past) for contact, present, past in database.execute(_PEOPLE_OF_LOT, (number,))}
    database.give(Given.PEOPLE, _changed(lot.people, contacts, stored))
    database.execute(_PUT_PEOPLE, (number,))
    database.execute(_PUT_STATUS, (number, facts_text(lot.status)))


def _changed(
    people: Mapping[ContactId, frozenset[Fingerprint]],
    contacts: Iterable[ContactId],
    stored: Mapping[ContactId, tuple[bytes, bytes]],
) -> Iterator[tuple[str, bytes, bytes]]:
    for contact in contacts:
        present = pack(people[contact])
        before, past = stored.get(contact, (b"", b""))
        if present != before:
            # a value that the contact has again is no former one
            had = unpack(before + past) - people[contact]
            yield contact, present, pack(had)


def forget(database: Database, number: int) -> frozenset[ContactId]:
    """The contacts in `Given.CONTACTS` leave the index; those that it had."""
    erased = frozenset(ContactId(row[0]) for row in database.execute(_PEOPLE_OF_LOT, (number,)))
    if erased:
        database.execute(_ERASE_PEOPLE, (number,))
        # a copy of the state that still has them is no longer one of this state
        database.execute("UPDATE people_status SET revision = revision + 1 WHERE location = ?", (number,))
    return erased


def forget_in_snapshots(database: Database, number: int, contacts: frozenset[ContactId]) -> frozenset[ContactId]:
    """Contacts leave the snapshots; those that one had."""
    stored = _snapshots(database, number)
    erased = {name: found for name, each in stored.items() if (found := contacts.intersection(each.contacts))}
    put_snapshots(database, number, {name: stored[name].without(found) for name, found in erased.items()})
    return frozenset().union(*erased.values())


def find_faults(database: Database) -> Iterator[str]:
    """Snapshots, and the status of an index, that cannot be read, a line each."""
    for number, location in database.execute("SELECT n, id FROM locations ORDER BY id").fetchall():
        try:
            _snapshots(database, number)
            _status(database, number)
        except Undecodable as error:
            yield f"people of location {location} cannot be read: {error}"
