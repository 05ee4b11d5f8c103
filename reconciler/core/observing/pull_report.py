"""The report of a pull: who joined and left each matched set, and the rows that are of no contact. Pure.

Law: a row is named by its file and line, a contact by its id; no value of a person stands in a report.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from reconciler.core.manifests.match import CLASSES, MatchResult
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName
from reconciler.core.model.people import MatchCounts, RowClass
from reconciler.core.planning.guards import Measured


@dataclass(frozen=True, slots=True)
class RowsAside:
    """Rows of one class, of those that give the set no contact."""

    row_class: RowClass
    lines: tuple[int, ...]
    """Where they stand in the file, sorted; 0 in a file without lines."""


@dataclass(frozen=True, slots=True)
class AmbiguousRow:
    """A row whose value several contacts have."""

    line: int
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row whose value another contact has than at the last pull."""

    line: int
    before: ContactId
    after: ContactId


def list_rows_aside(result: MatchResult) -> tuple[RowsAside, ...]:
    """The rows of a match that give no contact, by their class."""
    lines: defaultdict[RowClass, list[int]] = defaultdict(list)
    for line, code in zip(result.lines, result.classes, strict=True):
        if CLASSES[code] is not RowClass.MATCHED:
            lines[CLASSES[code]].append(line)
    return tuple(RowsAside(row_class, tuple(lines[row_class])) for row_class in CLASSES if lines[row_class])


def list_ambiguous(result: MatchResult) -> tuple[AmbiguousRow, ...]:
    return tuple(AmbiguousRow(line, contacts) for line, contacts in sorted(result.ambiguous.items()))


@dataclass(frozen=True, slots=True)
class PulledSet:
    """One matched set: its rows as they were matched, against its snapshot before."""

    name: SetName
    file: str
    """The file, as a person names it."""
    size: int = 0
    """The contacts of the set by now: those of the snapshot before, where that is kept."""
    size_before: int | None = None
    """None: the set was never pulled."""
    pulled_before: Instant | None = None
    """When the snapshot before was pulled."""
    counts: MatchCounts = MatchCounts()
    joined: tuple[ContactId, ...] = ()
    left: tuple[ContactId, ...] = ()
    aside: tuple[RowsAside, ...] = ()
    ambiguous: tuple[AmbiguousRow, ...] = ()
    changed: tuple[ChangedRow, ...] = ()
    guards: tuple[Measured, ...] = ()
    failure: tuple[str, ...] = ()
    """Why the rows could not be matched, in lines: the snapshot before is kept."""

    @property
    def refused(self) -> tuple[Measured, ...]:
        return tuple(guard for guard in self.guards if guard.refused)

    @property
    def is_new(self) -> bool:
        """Whether the snapshot is replaced: neither did its source fail nor a guard refuse it."""
        return not self.failure and not self.refused

    @property
    def is_unchanged(self) -> bool:
        return self.size_before is not None and not self.joined and not self.left


@dataclass(frozen=True, slots=True)
class PulledLocation:
    """The matched sets of one location, and how its people were read."""

    location: LocationId
    as_of: Instant
    run: str = ""
    """Its id in the history; empty where nothing is kept."""
    sets: tuple[PulledSet, ...] = ()
    requests: int = 0
    scanned: bool = False
    """Whether all contacts of the location were read."""
    looked_up: int = 0
    """Values that were looked up one by one."""
    gone: tuple[ContactId, ...] = ()
    """Contacts that the index or a snapshot had, and that are proven gone."""
    remarks: tuple[str, ...] = ()
    """Sentences that a person should know: a search that was not complete, a key that is kept with the state."""
    is_kept: bool = True
    """Whether the snapshots are written: not under `--dry-run`."""


@dataclass(frozen=True, slots=True)
class ResolvedFile:
    """A file of people that was resolved into a file of contact ids."""

    location: LocationId
    file: str
    out: str
    counts: MatchCounts
    aside: tuple[RowsAside, ...] = ()
    ambiguous: tuple[AmbiguousRow, ...] = ()
    requests: int = 0
    looked_up: int = 0
    """Values that were looked up one by one."""
    remarks: tuple[str, ...] = ()
    """Sentences that a person should know."""

    @property
    def is_complete(self) -> bool:
        """Whether every row is of a contact."""
        return self.counts.matched + self.counts.duplicate == self.counts.rows
