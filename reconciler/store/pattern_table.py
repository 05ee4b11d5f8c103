"""Tag sets and `ContactState` values stored once each and named by number, so that a million contacts stay small."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, islice
from operator import itemgetter
from typing import Any, TypeAlias

from reconciler.core.model.alike import distinct_objects, map_alike
from reconciler.core.model.contact_state import (
    NONE,
    ContactReading,
    ContactState,
    DatedTags,
    Ledger,
    Observation,
    ObservationOrigin,
)
from reconciler.core.model.lease import Lease
from reconciler.core.model.names import Instant, SetName, Tag, TagSet
from reconciler.core.model.outcome import Rejection
from reconciler.core.model.state_fields import (
    FIELDS,
    ContradictoryState,
    build_state,
    field_values,
    name_faults,
)
from reconciler.store.database import Database, Given, Rows, decoding

_COLUMNS = ", ".join(field.name for field in FIELDS)
_FIELD_OF = {field.name: field for field in FIELDS}
_OWN = tuple(_FIELD_OF[name] for name in ("observed", "observed_at", "ledger"))
"""The fields in which most patterns of a location differ."""
_OTHERS = tuple(field for field in FIELDS if field not in _OWN)
_FROM_OWN = ", ".join(field.name for field in (*_OWN, *_OTHERS))
_UNCONFIRMED = _OTHERS.index(_FIELD_OF["unconfirmed"])
_ADD_PATTERNS = f"""
INSERT INTO known (n, location, {_COLUMNS}) SELECT n, location, {_COLUMNS} FROM {Given.PATTERNS} ORDER BY n
"""
_GIVEN_TAGSETS = f"SELECT n, tagsets.tags FROM {Given.TAGSETS} AS given JOIN tagsets ON tagsets.tags = given.tags"
_ADD_TAGSETS = f"""
INSERT INTO tagsets (tags) SELECT tags FROM {Given.TAGSETS} WHERE true ORDER BY tags ON CONFLICT DO NOTHING
"""

_TOGETHER = 1_000
"""So many tag sets are parsed at once."""

PatternEpochs: TypeAlias = Counter[int]
"""How often patterns of each location were deleted or facts saved, for all connections of this process to one state."""


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Those of a location that are known here: their numbers, and by number the tags under management."""

    numbers: dict[ContactState, int]
    ledgers: dict[int, TagSet]


class Interning:
    """The numbers of values within one connection; made as they are needed, inside the caller's transaction.

    Tag sets are never deleted. Patterns are, and their numbers are given again: by another process only under another
    lease, by another connection of this process only in another epoch.
    """

    def __init__(self, database: Database, epochs: PatternEpochs) -> None:
        self._database, self._epochs = database, epochs
        self._tagsets: dict[TagSet, int] = {}
        self._known: dict[int, _Patterns] = {}
        self._known_under: dict[int, tuple[int, str, int]] = {}

    def forget(self) -> None:
        """After a rollback: the numbers may be void."""
        self._tagsets.clear()
        self._known.clear()

    def begin(self, location: int, lease: Lease) -> bool:
        """In a transaction that no other one writes beside: numbers that may be void are forgotten.

        Whether that was so: what else is remembered of the location may be void, too.
        """
        under = (lease.fence, lease.holder.id, self._epochs[location])
        if self._known_under.get(location) != under:
            self._known.pop(location, None)
            self._known_under[location] = under
            return True
        return False

    def outdate(self, location: int) -> None:
        """Patterns of the location were deleted, or facts saved: what is remembered is void for every connection."""
        self._known.pop(location, None)
        # before the transaction ends: the location's next one is told, and none counts beside it
        self._epochs[location] += 1

    def tagset(self, tags: TagSet) -> int:
        if tags not in self._tagsets:
            self.prepare((tags,))
        return self._tagsets[tags]

    def prepare(self, tagsets: Iterable[TagSet | None]) -> None:
        """Numbers these tag sets in one round trip for all that have no number here."""
        wanted = set(tagsets) - self._tagsets.keys() - {None}
        # in ASCII: half a surrogate pair, which an answer may hold, is no text to SQLite
        texts = {json.dumps(sorted(tags)): tags for tags in wanted if tags is not None}
        if not texts:
            return
        # only for some: most tag sets have a number already, and the lock would make locations wait for one another
        self._database.add_shared()
        self._database.give(Given.TAGSETS, ((text,) for text in sorted(texts)))
        self._database.execute(_ADD_TAGSETS)
        for number, text in self._database.execute(_GIVEN_TAGSETS).fetchall():
            self._tagsets[texts[text]] = int(number)

    def optional(self, tags: TagSet | None) -> int | None:
        return None if tags is None else self.tagset(tags)

    def known(self, location: int, known: ContactState) -> int:
        return self.numbers_of(location, (known,))[0]

    def numbers_of(
        self, location: int, states: Collection[ContactState], tagsets: Iterable[TagSet | None] = ()
    ) -> list[int]:
        """The number of each state; contacts share states, and each is looked up once. `tagsets`: as of `prepare`."""
        numbers = self._patterns(location).numbers
        fresh = {state: field_values(state) for state in distinct_objects(states) if state not in numbers}
        self.prepare(chain(tagsets, *map(_tagsets_in, fresh.values())))
        if fresh:
            self._insert(location, fresh)
        return map_alike(numbers.__getitem__, states)

    @decoding()
    def ledgers_of(self, location: int, patterns: Collection[int | None]) -> list[TagSet]:
        """The tags under management by the patterns of these numbers; none where there is no pattern."""
        ledgers = self._patterns(location).ledgers
        if not ledgers.keys() >= set(patterns) - {None}:
            # another connection added some since
            del self._known[location]
            ledgers = self._patterns(location).ledgers
        return [NONE if number is None else ledgers[number] for number in patterns]

    def _patterns(self, location: int) -> _Patterns:
        # read once for each location: a query for each contact would be a round trip
        if location not in self._known:
            tagsets = read_tagsets(self._database)
            self._tagsets = {tags: number for number, tags in tagsets.items()}
            stored = decode_patterns(ask_patterns(self._database, location), tagsets)
            self._known[location] = _Patterns(
                {each: number for number, each in stored}, {number: each.ledger.tags for number, each in stored}
            )
        return self._known[location]

    def _insert(self, location: int, states: Mapping[ContactState, tuple[Any, ...]]) -> None:
        """States with the values of their fields, whose tag sets are numbered."""
        patterns, rows = self._patterns(location), []
        written: dict[object, Callable[[Any], Any]] = {**_WRITERS, TagSet: self._tagsets.__getitem__}
        writers = [written.get(field.kind, _as_it_is) for field in FIELDS]
        for state, values in states.items():
            number = patterns.numbers[state] = self._database.number_pattern()
            patterns.ledgers[number] = state.ledger.tags
            columns = [None if value is None else write(value) for write, value in zip(writers, values, strict=True)]
            rows.append((number, location, *columns))
        self._database.give(Given.PATTERNS, rows)
        self._database.execute(_ADD_PATTERNS)

    def sweep(self, location: int) -> None:
        """Drops the patterns that no contact has any more."""
        self._database.execute(
            "DELETE FROM known WHERE n IN"
            " (SELECT n FROM known WHERE location = ? EXCEPT SELECT known FROM contacts WHERE location = ?)",
            (location, location),
        )
        self.outdate(location)


def ask_patterns(database: Database, location: int) -> list[Any]:
    """The rows of the patterns of the location of that number."""
    return database.execute(f"SELECT n, {_FROM_OWN} FROM known WHERE location = ? ORDER BY n", (location,)).fetchall()


@decoding()
def decode_patterns(rows: Iterable[Any], tagsets: Mapping[int, TagSet]) -> list[tuple[int, ContactState]]:
    """The patterns of these rows, each with its number."""
    read = _StateReader(tagsets)
    return [(number, read(*row)) for number, *row in rows]


def tags_of(text: str) -> TagSet:
    return frozenset(json.loads(text))


def find_contradictions(database: Database) -> Iterator[str]:
    """A line for each stored pattern whose columns make no state."""
    read = _StateReader(read_tagsets(database))
    stored = (
        f"SELECT known.n, id, {_FROM_OWN} FROM known JOIN locations ON known.location = locations.n ORDER BY known.n"
    )
    for number, location, *row in database.execute(stored).fetchall():
        try:
            read(*row)
        except ContradictoryState as error:
            contacts = [
                contact for (contact,) in database.execute("SELECT id FROM contacts WHERE known = ?", (number,))
            ]
            yield from (f"location {location}: {line}" for line in name_faults(contacts, error.faults))


def read_tagsets(database: Database) -> dict[int, TagSet]:
    return decode_tagsets(ask_tagsets(database))


def ask_tagsets(database: Database) -> Rows:
    return database.execute("SELECT n, tags FROM tagsets")


def decode_tagsets(rows: Iterable[Any]) -> dict[int, TagSet]:
    """The tag sets of these rows by number."""
    # of a tag in ten thousand sets one text is kept
    intern, stored = dict[Tag, Tag]().setdefault, iter(rows)
    read: dict[int, TagSet] = {}
    # a parser that is called once for many takes a third of the time
    while block := list(islice(stored, _TOGETHER)):
        parsed = json.loads(f"[{','.join(text for _, text in block)}]")
        read |= {number: frozenset(map(intern, tags, tags)) for (number, _), tags in zip(block, parsed, strict=True)}
    return read


class _StateReader:
    """Rows of `known` as states.

    Most differ in what was observed, when, and in the ledger alone: the other columns are read and checked once.
    """

    def __init__(self, tagsets: Mapping[int, TagSet]) -> None:
        readers = {kind: cache(read) for kind, read in _READERS.items()} | {TagSet: tagsets.__getitem__}
        self._fields = tuple((field.name, readers.get(field.kind)) for field in (*_OWN, *_OTHERS))
        self._tagsets = tagsets
        self._alike: dict[tuple[Any, ...], ContactState] = {}

    def __call__(self, observed: int | None, at: Instant | None, ledger: int, *others: Any) -> ContactState:
        # NULL in rows of before schema version 4, where it depends on the ledger
        if others[_UNCONFIRMED] is None:
            return self._build(observed, at, ledger, *others)
        key = observed is None, at is None, *others
        alike = self._alike.get(key)
        if alike is None:
            alike = self._alike[key] = self._build(observed, at, ledger, *others)
        seen = alike.observation
        if seen is not None and observed is not None and at is not None:
            seen = Observation(self._tagsets[observed], at, seen.origin)
        managed = Ledger(self._tagsets[ledger], alike.ledger.kept, alike.ledger.unconfirmed)
        return ContactState(seen, managed, alike.doubt, alike.quarantine, alike.past_adds)

    def _build(self, *row: Any) -> ContactState:
        return build_state(
            {
                name: value if value is None or read is None else read(value)
                for (name, read), value in zip(self._fields, row, strict=True)
            }
        )


def _reading_text(reading: ContactReading) -> str:
    return json.dumps([reading.asked, reading.answered, reading.served, reading.updated, sorted(reading.tags)])


def _read_reading(text: str) -> ContactReading:
    asked, answered, served, updated, tags = json.loads(text)
    return ContactReading(asked, answered, served, updated, frozenset(map(Tag, tags)))


def _as_it_is(value: Any) -> Any:
    return value


_tagsets_in = itemgetter(*(place for place, field in enumerate(FIELDS) if field.kind == TagSet))
"""The tag sets among the values of a state's fields."""

_WRITERS: Mapping[object, Callable[[Any], str]] = {
    DatedTags: lru_cache(maxsize=1_000)(json.dumps),
    frozenset[SetName]: lambda names: json.dumps(sorted(names)),
    ContactReading: _reading_text,
}
"""How a column holds the values of a type, where it does not hold them as they are; tag sets are numbers."""

_READERS: Mapping[object, Callable[[Any], Any]] = {
    ObservationOrigin: ObservationOrigin,
    Rejection: Rejection,
    DatedTags: lambda text: tuple((Tag(tag), Instant(at)) for tag, at in json.loads(text)),
    frozenset[SetName]: lambda text: frozenset(map(SetName, json.loads(text))),
    ContactReading: _read_reading,
}
