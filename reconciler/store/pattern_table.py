"""Tag sets and `ContactState` values stored once each and named by number, so that a million contacts stay small."""

from __future__ import annotations

import json
from typing import Any

from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactState, ObservationOrigin, UndecidedReading
from reconciler.core.model.names import Instant, SetName, Tag, TagSet
from reconciler.core.model.outcome import Rejection
from reconciler.store.database import Database, decoding, first

_COLUMNS = (
    "observed, observed_at, origin, ledger, kept, doubt, doubt_at, quarantine, quarantined_at,"
    " quarantined_since, membership, restored, unconfirmed, spent, reading, attempted_at"
)
_TAGSET = "SELECT n FROM tagsets WHERE tags = ?"
_ADD_TAGSET = "INSERT INTO tagsets (tags) VALUES (?) ON CONFLICT DO NOTHING RETURNING n"


class Interning:
    """The numbers of values within one connection; made as they are needed, inside the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tagsets: dict[TagSet, int] = {}
        self._known: dict[int, dict[ContactState, int]] = {}

    def forget(self) -> None:
        """After a rollback, or where another process may have written: the numbers may be void."""
        self._tagsets.clear()
        self._known.clear()

    def tagset(self, tags: TagSet) -> int:
        number = self._tagsets.get(tags)
        if number is None:
            # in ASCII: half a surrogate pair, which an answer may hold, is no text to SQLite
            text = json.dumps(sorted(tags))
            row = first(self._database.execute(_TAGSET, (text,)))
            if row is None:
                # only now: most tag sets are there already, and the lock would make locations wait for one another
                self._database.add_shared()
                added = self._database.execute(_ADD_TAGSET, (text,))
                row = first(added) or first(self._database.execute(_TAGSET, (text,)))
            number = self._tagsets[tags] = int(row[0])
        return number

    def optional(self, tags: TagSet | None) -> int | None:
        return None if tags is None else self.tagset(tags)

    def known(self, location: int, known: ContactState) -> int:
        # read once for each location: a query for each contact would be a round trip
        numbers = self._known.get(location)
        if numbers is None:
            numbers = self._known[location] = {each: number for number, each in self._stored(location)}
        number = numbers.get(known)
        if number is None:
            number = numbers[known] = self._insert(location, known)
        return number

    def _insert(self, location: int, known: ContactState) -> int:
        row = (
            location,
            self.optional(known.observed),
            known.observed_at,
            known.origin,
            self.tagset(known.ledger),
            self.tagset(known.kept),
            self.tagset(known.doubt),
            known.doubt_at,
            known.quarantine,
            known.quarantined_at,
            known.quarantined_since,
            None if known.membership is None else json.dumps(sorted(known.membership)),
            json.dumps(known.restored),
            self.tagset(known.unconfirmed),
            json.dumps(known.spent),
            _reading_text(known.reading),
            known.attempted_at,
        )
        marks = ", ".join((self._database.next_known, *"?" * len(row)))
        insert = f"INSERT INTO known (n, location, {_COLUMNS}) VALUES ({marks}) RETURNING n"
        return int(first(self._database.execute(insert, row))[0])

    def read(self, location: int) -> tuple[dict[int, int], list[ContactState]]:
        """The location's patterns, UNKNOWN first, and the place of each stored number among them."""
        places = {NEVER_OBSERVED: 0}
        indices = {number: places.setdefault(known, len(places)) for number, known in self._stored(location)}
        return indices, list(places)

    @decoding()
    def _stored(self, location: int) -> list[tuple[int, ContactState]]:
        tagsets = {number: tags_of(text) for number, text in self._database.execute("SELECT n, tags FROM tagsets")}
        stored = self._database.execute(f"SELECT n, {_COLUMNS} FROM known WHERE location = ? ORDER BY n", (location,))
        return [(number, _known(tuple(row), tagsets)) for number, *row in stored]

    def sweep(self, location: int) -> None:
        """Drops the patterns that no contact has any more."""
        self._database.execute(
            "DELETE FROM known WHERE n IN"
            " (SELECT n FROM known WHERE location = ? EXCEPT SELECT known FROM contacts WHERE location = ?)",
            (location, location),
        )
        self._known.pop(location, None)


def tags_of(text: str) -> TagSet:
    return frozenset(Tag(tag) for tag in json.loads(text))


def _known(row: tuple[Any, ...], tagsets: dict[int, TagSet]) -> ContactState:
    observed, observed_at, origin, ledger, kept, doubt, doubt_at, *refused = row[:11]
    quarantine, quarantined_at, quarantined_since, membership = refused
    restored, unconfirmed, spent, reading, attempted_at = row[11:]
    return ContactState(
        observed=None if observed is None else tagsets[observed],
        observed_at=observed_at,
        origin=ObservationOrigin(origin),
        ledger=tagsets[ledger],
        kept=tagsets[kept],
        doubt=tagsets[doubt],
        doubt_at=doubt_at,
        quarantine=None if quarantine is None else Rejection(quarantine),
        quarantined_at=quarantined_at,
        quarantined_since=quarantined_since,
        membership=None if membership is None else frozenset(map(SetName, json.loads(membership))),
        restored=_dated(restored),
        # before schema version 4 states did not say whether a tag in doubt was ever observed
        unconfirmed=tagsets[doubt] & tagsets[ledger] if unconfirmed is None else tagsets[unconfirmed],
        spent=_dated(spent),
        reading=None if reading is None else _reading(json.loads(reading)),
        attempted_at=attempted_at,
    )


def _dated(text: str) -> tuple[tuple[Tag, Instant], ...]:
    return tuple((Tag(tag), Instant(at)) for tag, at in json.loads(text))


def _reading_text(reading: UndecidedReading | None) -> str | None:
    if reading is None:
        return None
    return json.dumps([reading.asked, reading.answered, reading.served, reading.updated, sorted(reading.tags)])


def _reading(stored: Any) -> UndecidedReading:
    asked, answered, served, updated, tags = stored
    return UndecidedReading(asked, answered, served, updated, frozenset(map(Tag, tags)))
