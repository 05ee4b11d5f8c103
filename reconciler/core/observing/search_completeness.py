"""Whether a search showed everybody. Pages in, rows and a verdict out; pure.

Rules
1. A row is a fact of its own, whatever becomes of the rest.
2. A scan is complete when it came to its end, every page counted the same total, nobody and no cursor came twice, all
   rows were of the location, and as many contacts came as were counted.
3. A search that goes on after twice as many pages as the contacts it counted need, and one, is ended, and not complete.
4. Nothing follows from who is not among the rows of a scan that is not complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.core.model.names import ContactId, LocationId


@dataclass(slots=True)
class Scan:
    """The pages of one search so far. `shown`: every contact of the location that came."""

    location: LocationId
    shown: set[ContactId] = field(default_factory=set)
    total: int | None = None
    ended: bool = False
    doubt: str = ""
    _cursors: set[tuple[Any, ...]] = field(default_factory=set)
    _pages: int = 0
    _largest: int = 1

    def page(
        self, rows: Sequence[tuple[ContactId, LocationId]], total: int, cursor: tuple[Any, ...] | None
    ) -> list[bool]:
        """Takes in a page, its rows by contact and location; which of the rows are new and of the location."""
        if self.total is not None and total != self.total:
            self._doubt(f"the number of contacts changed from {self.total:,} to {total:,} while they were read")
        self.total = total if self.total is None else self.total
        self.ended = not rows or cursor is None
        if cursor is not None and cursor in self._cursors:
            self.ended = True
            self._doubt("the search came back to where it had been")
        if cursor is not None:
            self._cursors.add(cursor)
        self._pages, self._largest = self._pages + 1, max(self._largest, len(rows))
        if not self.ended and self._pages > 2 * -(-self.total // self._largest) + 1:
            self.ended = True
            self._doubt(f"it went on after {self._pages:,} pages, and {self.total:,} contacts were counted")
        return [self._row(contact, location) for contact, location in rows]

    def _row(self, contact: ContactId, location: LocationId) -> bool:
        if location not in (self.location, ""):
            self._doubt("a contact of another location is among the rows")
            return False
        if contact in self.shown:
            self._doubt("a contact came twice")
            return False
        self.shown.add(contact)
        return True

    @property
    def why_incomplete(self) -> str:
        """Empty where the scan is proven complete."""
        if self.doubt:
            return self.doubt
        if not self.ended or self.total is None:
            return "it did not come to its end"
        if len(self.shown) != self.total:
            return f"{len(self.shown):,} contacts came, and {self.total:,} were counted"
        return ""

    def _doubt(self, why: str) -> None:
        self.doubt = self.doubt or why
