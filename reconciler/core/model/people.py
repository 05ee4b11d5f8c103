"""People as users name them: the keys of a match, fingerprints of values, a location's index, snapshots of sets.

Rules
1. No e-mail address, phone number or field value is a value of this module that is stored: a fingerprint stands for it.
2. A snapshot is all that planning sees of a matched set: sorted contact ids, when and of what they were pulled.
3. Every row of a file ends in exactly one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NewType

from reconciler.core.model.names import ContactId, Instant

Fingerprint = NewType("Fingerprint", bytes)
"""The first 16 bytes of the HMAC-SHA-256 of a kind of value and a normalised value, under the key of the index."""


class ValueKind(StrEnum):
    """The kind of value by which a person is matched."""

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


@dataclass(frozen=True, slots=True)
class Match:
    """How the rows of a file become contacts of the location: the keys are tried in their order."""

    file: str
    """The file's name in the tree of manifests."""
    keys: tuple[MatchKey, ...]
    where: tuple[RowFilter, ...] = ()
    region: str = ""
    """The country, as `DE`, of phone numbers that are written without one."""
    max_age_ms: int | None = None
    """How old the snapshot may be when tags are planned by it; None: any age."""
    source_digest: str = ""
    """Identifies the file's bytes and the match as they are now: another one than the snapshot's tells that the file
    changed since it was pulled. Empty: the file is not here, or is left to the pull."""
    snapshot: Snapshot | None = None
    """None: the set was never pulled."""

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
    """Of the file and the match that it was pulled from: SHA-256."""
    counts: MatchCounts = MatchCounts()


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
