"""People as users name them: keys of a match, queries, fingerprints of values, a location's index, snapshots of sets.

Rules
1. No e-mail address, phone number or field value is a value of this module that is stored: a fingerprint stands for it.
2. A snapshot is all that planning sees of a matched set: sorted contact ids, when and of what they were pulled.
3. Every row of a file ends in exactly one class.
4. A reading replaces all values that a contact had in the index: those that it has no more become former ones.
5. Only a contact that is proven gone leaves the index: an index of the API that flickers hides people for a while.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple, NewType

from reconciler.core.model.contact_filter import ContactFilter
from reconciler.core.model.names import ContactId, Instant, Source

Fingerprint = NewType("Fingerprint", bytes)
"""The first 16 bytes of the HMAC-SHA-256 of a kind of value and a normalised value, under the key of the index."""


class ValueKind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    FIELD = "field"


@dataclass(frozen=True, slots=True)
class PersonValue:
    """A value that a person can be matched by, in memory only."""

    kind: ValueKind
    text: str = field(repr=False)
    custom_field: str = ""
    """The id of the custom field, for a value of one."""


class RowClass(StrEnum):
    """The class that a row of a matched file ends in."""

    MATCHED = "matched"
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    """Several contacts have its value."""
    DUPLICATE = "duplicate"
    """An earlier row is of the same contact."""
    MALFORMED = "malformed"
    """None of its values can be one of a person."""


@dataclass(frozen=True, slots=True)
class MatchKey:
    """A column of the file, and the kind of value that its cells hold."""

    kind: ValueKind
    column: str
    custom_field: str = ""
    """The custom field's key or id, for a value of one."""


class RowFilter(NamedTuple):
    """A condition on a column of a file: its text, or an item of its list, equals `text`."""

    column: str
    text: str
    contains: bool = False
    """Whether the column holds a list that must have the text among its items."""


class RowFormat(StrEnum):
    """The form in which a command prints rows."""

    CSV = "csv"
    JSON_LINES = "jsonl"


TIMEOUT_S = 600
MOST_MIB = 1024


@dataclass(frozen=True, slots=True)
class RowQuery:
    """A source of the settings, which gives the rows of contact sets when it is asked, by a pull alone."""

    name: str
    place: Source = field(compare=False)
    """Where the settings name it."""
    command: tuple[str, ...] = ()
    """A program and its arguments, without a shell; empty where `sql` is asked."""
    sql: str = ""
    """A SELECT on the tables of `files`; empty where a command is run."""
    files: tuple[str, ...] = ()
    """Names in the tree of manifests."""
    format: RowFormat | None = None
    """None: told by the first character."""
    timeout_s: int = TIMEOUT_S
    max_mib: int = MOST_MIB
    max_age_ms: int | None = None
    """How old a snapshot may be of a set that does not say it."""

    def __str__(self) -> str:
        return f"{_OF_A_QUERY}{self.name}"


_OF_A_QUERY = "source "


def row_place(path: str, line: int) -> str:
    """Where a row stands: in a file by its line, in a query's output by its row; the first is the line of names."""
    if path.startswith(_OF_A_QUERY):
        return f"{path}, row {line}"
    return f"{path}:{line}" if line else path


@dataclass(frozen=True, slots=True)
class Match:
    """How the rows of a file, or of a query, become contacts of the location: the keys are tried in their order.

    Of a set by filter it is the filter.
    """

    file: str
    """The file's name in the tree of manifests; empty where a query has the rows."""
    keys: tuple[MatchKey, ...]
    """None where the rows of a query have ids."""
    where: tuple[RowFilter, ...] = ()
    region: str = ""
    """The country, as `DE`, of phone numbers that are written without one."""
    max_age_ms: int | None = None
    """How old the snapshot may be when tags are planned by it; None: any age."""
    source_digest: str = ""
    """Identifies the file's bytes and the match as they are now: another one than the snapshot's tells that the file
    changed since it was pulled. Empty: the file is not here, or is left to the pull. Of a query: its text, and how its
    rows are read; the snapshot's begins with it, and goes on with the rows that were given."""
    snapshot: Snapshot | None = None
    """None: the set was never pulled."""
    query: RowQuery | None = None
    """The source of the rows; None: a file."""
    column: str | None = None
    """The column of the ids, where the rows of a query have these."""
    filter: ContactFilter | None = None
    """The filter that the search is asked for: then there are no rows."""

    @property
    def origin(self) -> str:
        """The file, the source or the filter that the contacts are pulled from, for people."""
        return "filter" if self.filter is not None else self.file or str(self.query)

    @property
    def is_outdated(self) -> bool:
        """Whether what the snapshot was pulled from is known to be another by now."""
        return self.snapshot is not None and not self.snapshot.source_digest.startswith(self.source_digest)

    @property
    def expires_at(self) -> Instant | None:
        """When the snapshot is too old to plan by; None where it never is, or there is none."""
        if self.snapshot is None or self.max_age_ms is None:
            return None
        return Instant(self.snapshot.as_of + self.max_age_ms)


@dataclass(frozen=True, slots=True)
class MatchCounts:
    """Rows by the class that they ended in; their sum is `rows`."""

    rows: int = 0
    matched: int = 0
    not_found: int = 0
    ambiguous: int = 0
    duplicate: int = 0
    malformed: int = 0
    kept: int = 0
    """Of the matched rows, those whose value was not found this time, and whose contact is not proven gone."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The contacts of a set as they were pulled."""

    contacts: tuple[ContactId, ...]
    """Sorted."""
    as_of: Instant
    source_digest: str
    """Of the file and the match that it was pulled from: SHA-256; of a query what asked it, and then what it gave."""
    counts: MatchCounts = MatchCounts()
    missing: Mapping[ContactId, Instant] = field(default_factory=dict)
    """The contacts of a set by filter that a complete scan did not show, and since when none did: they are still in
    the set."""

    def without(self, contacts: Container[ContactId]) -> Snapshot:
        """The snapshot where these contacts are forgotten."""
        missing = {contact: at for contact, at in self.missing.items() if contact not in contacts}
        staying = tuple(contact for contact in self.contacts if contact not in contacts)
        return replace(self, contacts=staying, missing=missing)


class LookUp(StrEnum):
    """The request by which a location finds a single person by a value."""

    SEARCH = "search"
    """A search with a filter: it shows every contact that has the value."""
    DUPLICATE = "duplicate"
    """The vendor's search for duplicates: it shows one contact, also where several have the value."""
    NONE = "none"
    """Neither finds a contact that the location has shown."""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an index of people covers."""

    key_check: str = ""
    """Tells whether fingerprints were made with the key of now."""
    secret: bytes = field(default=b"", repr=False)
    """The key, where it is kept with the state; empty where the environment has it."""
    covers: tuple[str, ...] = ()
    """The values that the index has, sorted: `email`, `phone`, and ids of custom fields."""
    scanned_at: Instant | None = None
    """When the last scan of all contacts began that came to its end; None: there was none."""
    read_until: Instant | None = None
    """Changes of contacts until then are in the index."""
    look_ups: tuple[tuple[ValueKind, LookUp], ...] = ()
    """The request that was found to answer, by kind of value, sorted."""
    begun_at: Instant | None = None
    """The time of the pull that began the index anew: it has no value that a contact had before. None: not known."""

    def may_lack_past(self, snapshot: Snapshot, now: Instant) -> bool:
        """Whether contacts of the snapshot may have had values that the index does not tell; `now`: the pull's time."""
        # a pull that was stopped, or was of other sets, began the index, and left the snapshot as it was
        return self.begun_at is not None and (self.begun_at == now or snapshot.as_of < self.begun_at)


@dataclass(frozen=True, slots=True)
class PeopleIndex:
    """The contacts of a location by the fingerprints of their values."""

    status: IndexStatus = IndexStatus()
    current: Mapping[Fingerprint, tuple[ContactId, ...]] = field(default_factory=dict, repr=False)
    """The contacts that have the value by their last reading, sorted: several are ambiguous."""
    former: Mapping[Fingerprint, tuple[ContactId, ...]] = field(default_factory=dict, repr=False)
    """The contacts that had the value by an earlier reading and did not by the last, sorted."""


@dataclass(frozen=True, slots=True)
class PeopleLot:
    """Readings of people to be saved in the index, at once."""

    status: IndexStatus
    people: Mapping[ContactId, frozenset[Fingerprint]] = field(default_factory=dict, repr=False)
    """All fingerprints of each contact that was read: others that it had become former ones."""
    gone: frozenset[ContactId] = frozenset()
    """Contacts that are proven gone: all of their entries are deleted."""
    anew: bool = False
    """Whether all entries are deleted first: of another key, or without values that are asked for now."""


SCAN_MAX_AGE_MS = 7 * 24 * 3_600_000
"""After so long all contacts are read anew: a search for changes does not show who was deleted."""

Entries = dict[Fingerprint, tuple[ContactId, ...]]


class PeopleBook:
    """An index that takes in lots; `status` is that of the last one."""

    def __init__(self, index: PeopleIndex) -> None:
        self.status = index.status
        self._current: Entries = dict(index.current)
        self._former: Entries = dict(index.former)
        # a million contacts have as many entries: they are turned around only where a reading replaces some
        self._values_of: dict[ContactId, set[Fingerprint]] | None = None

    @property
    def index(self) -> PeopleIndex:
        """The index as it is by now; not to be used after the next lot."""
        return PeopleIndex(self.status, self._current, self._former)

    @property
    def contacts(self) -> frozenset[ContactId]:
        """The contacts that have a value by their last reading."""
        return frozenset(contact for contacts in self._current.values() for contact in contacts)

    def apply_lot(self, lot: PeopleLot) -> None:
        self.status = lot.status
        if lot.anew:
            self._current, self._former, self._values_of = {}, {}, {}
        if lot.gone:
            self._forget_contacts(lot.gone)
        for contact, values in lot.people.items():
            self._replace_values(contact, values)

    def _replace_values(self, contact: ContactId, values: Iterable[Fingerprint]) -> None:
        before, after = self._turned_around.get(contact, set()), set(values)
        for value in before - after:
            _take_out(self._current, value, contact)
            _put_in(self._former, value, contact)
        for value in after - before:
            _put_in(self._current, value, contact)
            _take_out(self._former, value, contact)
        self._turned_around[contact] = after

    def make_former(self, contacts: Iterable[ContactId], values: frozenset[Fingerprint]) -> tuple[PeopleLot, PeopleLot]:
        """The lots after which the values are former ones of all these contacts; their values of now stay.

        Between the two the index is of no key, and has to be read anew: the contacts do not have these values.
        """
        now = {contact: frozenset(self._turned_around.get(contact, ())) for contact in contacts}
        with_former = {contact: having | values for contact, having in now.items()}
        return PeopleLot(replace(self.status, key_check=""), with_former), PeopleLot(self.status, now)

    def find_strangers(self, contacts: Iterable[ContactId]) -> set[ContactId]:
        """Those of `contacts` that the index has no value of, neither a present nor a former one."""
        strangers = set(contacts)
        for entries in (self._current, self._former) if strangers else ():
            for having in entries.values():
                strangers.difference_update(having)
        return strangers

    def _forget_contacts(self, gone: frozenset[ContactId]) -> None:
        for contact in gone:
            for value in self._turned_around.pop(contact, set()):
                _take_out(self._current, value, contact)
        # former values are walked once for all that are gone
        for value in [value for value, contacts in self._former.items() if not gone.isdisjoint(contacts)]:
            for contact in gone.intersection(self._former[value]):
                _take_out(self._former, value, contact)

    @property
    def _turned_around(self) -> dict[ContactId, set[Fingerprint]]:
        if self._values_of is None:
            self._values_of = {}
            for value, contacts in self._current.items():
                for contact in contacts:
                    self._values_of.setdefault(contact, set()).add(value)
        return self._values_of


def _put_in(entries: Entries, value: Fingerprint, contact: ContactId) -> None:
    before = entries.get(value)
    entries[value] = (contact,) if before is None else tuple(sorted({*before, contact}))


def _take_out(entries: Entries, value: Fingerprint, contact: ContactId) -> None:
    before = entries.get(value, ())
    if before == (contact,):
        del entries[value]
    elif contact in before:
        entries[value] = tuple(other for other in before if other != contact)


def needs_scan(status: IndexStatus, now: Instant) -> bool:
    """Whether all contacts have to be read: never yet, or too long ago."""
    return status.scanned_at is None or now - status.scanned_at > SCAN_MAX_AGE_MS


def is_of_use(status: IndexStatus, key_check: str, covers: Iterable[str]) -> bool:
    """Whether an index has the values that are asked for, under the key of now."""
    return status.key_check == key_check and set(covers) <= set(status.covers)
