"""Matches the rows of a file with the contacts of a location, by the fingerprints of their values.

Rules
1. The keys are tried in their order; the first whose value the index has decides. Several contacts are ambiguous:
   nothing is guessed.
2. Of several rows of one contact the first by line is matched, the later ones are duplicates.
3. Not found is not left: contacts of the snapshot before that had a value which no contact has now stay in the set,
   until their entries are gone from the index. So do contacts of the snapshot that have or had an ambiguous value: a
   second contact with the value does not prune the first. And so do contacts of which nothing could be read.
4. The contacts and the counts do not depend on the order of the rows, and matching against the snapshot of a result
   gives the result again.

Pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.core.manifests.people_values import NO_VALUE, PeopleRows
from reconciler.core.model.names import ContactId
from reconciler.core.model.people import Fingerprint, MatchCounts, PeopleIndex, RowClass, Snapshot

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
    rematched: tuple[RematchedRow, ...]
    """By line."""
    lines: array[int] = field(repr=False)
    """The line of each row, in the order of the file."""
    classes: bytes = field(repr=False)
    """The class of each row: its place in `CLASSES`."""
    row_contacts: Sequence[ContactId | None] = field(repr=False)
    """The contact of each row that is matched or duplicate, else None."""
    ambiguous: Mapping[int, tuple[ContactId, ...]] = field(default_factory=dict, repr=False)
    """By line, the contacts that have the row's value."""

    def class_of(self, row: int) -> RowClass:
        """The class of a row by its place in the file."""
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
            if value in index.current:
                break
            if value != NO_VALUE:
                of_key.add(value)
    return tuple(map(frozenset, unknown))


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
        """The classes, counted, and the contacts, sorted."""
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
