"""Matches the rows of a file with the contacts of a location, by the fingerprints of their values. Pure.

Rules of values
1. A value is normalised before it has a fingerprint, of a file as of the CRM: else the same person is not recognised.
2. Nothing is mended: a text that cannot be an address or a number is malformed, and None. (Source of the longest
   address: RFC 5321, 4.5.3.1.3, less its brackets. Phone numbers are read by a function that the caller brings, since
   their rules are a library's.)
3. No error and no `repr` of this module holds a value or a key.

Rules of matching
4. The keys are tried in their order; the first whose value the index has decides. Several contacts are ambiguous:
   nothing is guessed.
5. Of several rows of one contact the first by line is matched, the later ones are duplicates.
6. Not found is not left: contacts of the snapshot before that had a value which no contact has now stay in the set,
   until their entries are gone from the index. Where that began anew, any of them may have had it. So do contacts of
   the snapshot that have or had an ambiguous value: a second contact with the value does not prune the first. And so
   do contacts of which nothing could be read.
7. The contacts and the counts do not depend on the order of the rows, and matching against the snapshot of a result
   gives the result again.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.core.manifests.malformed import MalformedRows
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.people import Fingerprint, MatchCounts, PeopleIndex, RowClass, Snapshot, ValueKind

LONGEST_EMAIL = 254
FINGERPRINT_BYTES = 16
NO_VALUE = Fingerprint(bytes(FINGERPRINT_BYTES))
"""Stands in `PeopleRows` where a row has no sound value."""

ReadPhone = Callable[[str, str], str | None]
"""From a phone number and a region to E.164; None where it is no number there."""
MakeFingerprint = Callable[[str], Fingerprint]

_ASCII_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
"""Two parts of visible ASCII without a blank, with a single @ between them."""


def normalise_email(text: str) -> str | None:
    """The address trimmed, in Unicode's form NFC and lower case; None where it cannot be one."""
    text = text.strip()
    # most addresses are ASCII, which has a single form
    if text.isascii():
        sound = _ASCII_EMAIL.fullmatch(text) is not None and len(text) <= LONGEST_EMAIL
        return text.lower() if sound else None
    text = _fold(text)
    local, _, domain = text.partition("@")
    sound = bool(local) and bool(domain) and "@" not in domain and len(text) <= LONGEST_EMAIL
    return text if sound and text.isprintable() and not any(map(str.isspace, text)) else None


def normalise_field(text: str) -> str | None:
    """The value of a custom field trimmed, in form NFC and lower case; None where it is empty or cannot be printed."""
    text = _fold(text.strip())
    return text if text and text.isprintable() else None


def _fold(text: str) -> str:
    # again after the case: a small letter may compose with a mark that its capital does not compose with
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Normalises values by their kind; `region` is the country of phone numbers that are written without one."""

    read_phone: ReadPhone | None = field(default=None, repr=False)
    """None where no phone number is asked for: all are malformed."""
    region: str = ""

    def normalise(self, kind: ValueKind, text: str) -> str | None:
        """The one spelling of a value; None where it is malformed."""
        if kind is ValueKind.EMAIL:
            return normalise_email(text)
        if kind is ValueKind.PHONE:
            return self.read_phone(text, self.region) if self.read_phone else None
        return normalise_field(text)


class Fingerprinter:
    """Makes the fingerprints of normalised values under a key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @property
    def key_check(self) -> str:
        """Tells this key from another one, and nothing else of it."""
        return hmac.digest(self._key, b"reconciler: the key of an index of people", "sha256").hex()[:16]

    def of(self, kind: ValueKind, value: str, custom_field: str = "") -> Fingerprint:
        """The fingerprint of a normalised value; `custom_field` is the field's id, for a value of one."""
        return self.for_kind(kind, custom_field)(value)

    def for_kind(self, kind: ValueKind, custom_field: str = "") -> MakeFingerprint:
        """The function from normalised values of one kind to their fingerprints."""
        # the kind is hashed too: an address and a field with the same text are two values
        key, prefix = self._key, f"{kind}\0{custom_field}\0".encode(errors="surrogatepass")

        def make_fingerprint(value: str) -> Fingerprint:
            # JSON may hold half a surrogate pair, which UTF-8 refuses
            digest = hmac.digest(key, prefix + value.encode(errors="surrogatepass"), "sha256")
            return Fingerprint(digest[:FINGERPRINT_BYTES])

        return make_fingerprint


@dataclass(frozen=True, slots=True)
class PeopleRows:
    """The rows of a matched file, without their values.

    Arrays and bytes, not objects: a file may have a million rows.
    """

    lines: array[int]
    """The line of each row; of Parquet, its number from 1."""
    fingerprints: tuple[bytes, ...] = field(repr=False)
    """By key of the match: `FINGERPRINT_BYTES` for each row, `NO_VALUE` where the row has no sound value."""
    unread_phones: int = 0
    """Cells for a phone number that have a text and no sound number."""
    malformed: tuple[MalformedRows, ...] = ()
    """The rows without a sound value, by the reason."""

    def __len__(self) -> int:
        return len(self.lines)

    def by_row(self) -> Iterator[tuple[Fingerprint, ...]]:
        """The fingerprints of each row by the keys in their order, `NO_VALUE` where it has no sound value."""
        return zip(*map(_split, self.fingerprints), strict=True)


def _split(fingerprints: bytes) -> Iterator[Fingerprint]:
    for start in range(0, len(fingerprints), FINGERPRINT_BYTES):
        yield Fingerprint(fingerprints[start : start + FINGERPRINT_BYTES])


CLASSES = tuple(RowClass)
_CODES = {row_class: code for code, row_class in enumerate(CLASSES)}
_NONE = frozenset[ContactId]()
UNMATCHED = frozenset({RowClass.NOT_FOUND, RowClass.AMBIGUOUS, RowClass.MALFORMED})


@dataclass(frozen=True, slots=True)
class RematchedRow:
    """A row whose value another contact has than the one that had it when the snapshot was pulled."""

    line: int
    former: ContactId
    current: ContactId


@dataclass(frozen=True, slots=True)
class MatchResult:
    """The class of every row, and the contacts of the set."""

    contacts: tuple[ContactId, ...]
    """Sorted."""
    counts: MatchCounts
    rematched: tuple[RematchedRow, ...] = ()
    """By line."""
    lines: array[int] = field(default_factory=lambda: array("L"), repr=False)
    """The line of each row, in the order of the file; none where only the contacts are known."""
    classes: bytes = field(default=b"", repr=False)
    """The class of each row: its place in `CLASSES`."""
    row_contacts: Sequence[ContactId | None] = field(default=(), repr=False)
    """The contact of each row that is matched or duplicate, else None."""
    ambiguous: Mapping[int, tuple[ContactId, ...]] = field(default_factory=dict, repr=False)
    """By line, the contacts that have the row's value."""
    missing: Mapping[ContactId, Instant] = field(default_factory=dict, repr=False)
    """Of a set by filter the contacts that a complete search did not show, and since when."""

    def class_of(self, row: int) -> RowClass:
        return CLASSES[self.classes[row]]


def match_rows(
    rows: PeopleRows, index: PeopleIndex, previous: Snapshot | None, unread: frozenset[ContactId] = _NONE
) -> MatchResult:
    """Puts every row into its class; `previous`: the snapshot of the set before, None where it was never pulled.

    `unread`: contacts that may have any value, as far as the index tells: those of the snapshot stay.
    """
    matching = _Matching(rows, index, frozenset(previous.contacts if previous else ()))
    matching.hold(unread)
    matching.match_current()
    matching.match_kept()
    return matching.build_result()


def find_unknown(rows: PeopleRows, index: PeopleIndex) -> tuple[frozenset[Fingerprint], ...]:
    """By key of the match, the values that no contact has by the index, of rows that no earlier key decides."""
    unknown: list[set[Fingerprint]] = [set() for _ in rows.fingerprints]
    for values in rows.by_row():
        for of_key, value in zip(unknown, values, strict=True):
            # this key decides the row (rule 4): no later one is asked for it
            if value in index.current:
                break
            if value != NO_VALUE:
                of_key.add(value)
    return tuple(map(frozenset, unknown))


def find_unproven(
    rows: PeopleRows, index: PeopleIndex, previous: Snapshot
) -> tuple[frozenset[ContactId], frozenset[Fingerprint]]:
    """Of an index that began anew, the contacts of the snapshot that no row has, and the values that tell no contact.

    Any of the values may have been any of the contacts', as far as is known.
    """
    matched, values = match_rows(rows, index, None).contacts, frozenset(_list_undecided(rows, index))
    return frozenset(previous.contacts).difference(matched) if values else _NONE, values


def _list_undecided(rows: PeopleRows, index: PeopleIndex) -> Iterator[Fingerprint]:
    """The values that no contact has, or several have, of rows that no earlier key decides."""
    for values in rows.by_row():
        for value in values:
            contacts = index.current.get(value, ())
            if len(contacts) != 1 and value != NO_VALUE:
                yield value
            if contacts:
                break


class _Matching:
    """One matching: the classes so far, and the contacts that are matched or held in the set."""

    def __init__(self, rows: PeopleRows, index: PeopleIndex, before: frozenset[ContactId]) -> None:
        self._rows, self._current, self._former, self._before = rows, index.current, index.former, before
        self._classes = bytearray(len(rows))
        self._row_contacts: list[ContactId | None] = [None] * len(rows)
        self._matched: set[ContactId] = set()
        self._held: set[ContactId] = set()
        self._candidates: dict[int, frozenset[ContactId]] = {}
        self._kept = 0
        self._ambiguous: dict[int, tuple[ContactId, ...]] = {}
        self._rematched: list[RematchedRow] = []

    def hold(self, contacts: frozenset[ContactId]) -> None:
        """Keeps those of these contacts in the set that the snapshot before has."""
        self._held |= self._before & contacts

    def match_current(self) -> None:
        """Classifies the rows by the contacts that have their values now, and notes those of the snapshot before."""
        current = self._current.get
        for row, values in enumerate(self._rows.by_row()):
            former = _NONE
            for value in values:
                if contacts := current(value):
                    self._decide(row, value, contacts)
                    break
                former |= self._former_of(value)
            else:
                malformed = values.count(NO_VALUE) == len(values)
                self._classes[row] = _CODES[RowClass.MALFORMED if malformed else RowClass.NOT_FOUND]
                if former:
                    self._candidates[row] = former
            if former:
                self._held |= former

    def _former_of(self, value: Fingerprint) -> frozenset[ContactId]:
        """The contacts of the snapshot before that had the value."""
        contacts = self._former.get(value)
        return self._before.intersection(contacts) if contacts else _NONE

    def _decide(self, row: int, value: Fingerprint, contacts: tuple[ContactId, ...]) -> None:
        line = self._rows.lines[row]
        if len(contacts) > 1:
            self._classes[row] = _CODES[RowClass.AMBIGUOUS]
            self._ambiguous[line] = contacts
            self._held |= self._before.intersection(contacts) | self._former_of(value)
            return
        (contact,) = contacts
        self._take(row, contact, self._matched)
        if contact not in self._before and (former := self._former_of(value)):
            self._rematched.append(RematchedRow(line, min(former), contact))

    def _take(self, row: int, contact: ContactId, taken: set[ContactId]) -> None:
        self._classes[row] = _CODES[RowClass.DUPLICATE if contact in taken else RowClass.MATCHED]
        self._row_contacts[row] = contact
        taken.add(contact)

    def match_kept(self) -> None:
        """Matches rows whose values no contact has now with the contacts that they keep in the set."""
        kept: set[ContactId] = set()
        # by candidates, not by line: the counts would depend on the order of the rows
        for row, candidates in sorted(self._candidates.items(), key=lambda item: (len(item[1]), sorted(item[1]))):
            # a contact that another row has now is in the set by that row
            if own := candidates - self._matched:
                self._take(row, min(own - kept, default=min(own)), kept)
        self._kept = len(kept)

    def build_result(self) -> MatchResult:
        return MatchResult(
            contacts=tuple(sorted(self._matched | self._held)),
            counts=self._count(),
            rematched=tuple(self._rematched),
            lines=self._rows.lines,
            classes=bytes(self._classes),
            row_contacts=self._row_contacts,
            ambiguous=self._ambiguous,
        )

    def _count(self) -> MatchCounts:
        by_class = {row_class.value: self._classes.count(code) for row_class, code in _CODES.items()}
        return MatchCounts(rows=len(self._rows), **by_class, kept=self._kept)
