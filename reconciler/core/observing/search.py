"""A search of contacts: whether it is complete, the doubts that a row settles, and where it is cheaper than reading.

Rules
1. An index that lags can hide a tag that was added, and show one that was removed lately. So a row shows an add to have
   come to be where the row is younger than the request; and where the tag was seen absent so long ago that the row
   cannot be from before that.
2. Nothing else follows from a search: a tag that a row lacks may have been added, one that it has may be removed since.
   Removals in doubt, and adds that no row shows, are settled by reading.
3. The cheaper way is the one that takes less time at the rate limit: a page follows the one before, reads do not wait
   for one another.
4. A row is a fact of its own, even in a scan that is not complete.
5. A scan is complete when it came to its end, every page counted the same total, no contact and no cursor came twice,
   all rows were of the location, and as many contacts came as were counted.
6. A search that goes on after twice as many pages as the contacts it counted need, and one, is ended, and not complete.
7. Nothing follows from absence among the rows of a scan that is not complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.core.model.api_limits import Rate, duration
from reconciler.core.model.contact_changes import confirm_adds, record_observation
from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, TagSet
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS, count_pages, estimate_cost

PAGE_MS = 1_000
"""How long a page is reckoned to take: the next one is asked for with its cursor."""

EVERYBODY = Tag("")
"""In place of a tag to search for: all contacts of the location."""

NONE: TagSet = frozenset()


def provable_adds(known: ContactState, adds: TagSet, before: TagSet, asked: Instant) -> TagSet:
    """Those of `adds`, all tags in doubt on the contact, that a row asked for then may prove to have come to be.

    `before`: its tags by the observation before, spelt as we send them.
    """
    if known.doubt != adds or known.doubt_at is None:
        return NONE
    oldest = asked - INDEX_LAG_MS
    # even an index that lags as far as it may has seen the request by then
    if oldest >= known.doubt_at:
        return adds
    if known.observed is None or known.observed_at is None or known.observed_at > oldest:
        return NONE
    # a tag that was there before may be shown from before: it proves nothing
    return adds - before


def record_search_row(
    known: ContactState, seen: TagSet, tags: TagSet, asked: Instant, *, settle_ms: int
) -> ContactState:
    """The state once a row with these `tags` showed the adds `seen`; the others stay in doubt."""
    at = Instant(asked - INDEX_LAG_MS)
    if known.observed_at is None or at >= known.observed_at:
        after = record_observation(known, tags, at=at, origin=ObservationOrigin.SEARCH, settle_ms=settle_ms)
    else:
        # of all else the row may tell what was before
        after = replace(known, observed=(known.observed or NONE) | seen)
    doubt = known.doubt - seen
    return replace(confirm_adds(after, seen), doubt=doubt, doubt_at=known.doubt_at if doubt else None)


@dataclass(frozen=True, slots=True)
class Searches:
    """Searches for one tag each, or for all contacts; `pages`: the requests that they take, as far as is known."""

    tags: tuple[Tag, ...] = ()
    pages: int = 0


def cheapest_searches(groups: Counter[TagSet], observed: ContactStates, sought: TagSet, rate: Rate) -> Searches:
    """The searches that take less time than reading; none where none does.

    `groups`: how many contacts have these adds in doubt; the row of a contact tells of all of them. `sought`: the tags
    that can be searched for.
    """
    by_tag, left = _by_tag(groups, _holders(observed, sought), rate)
    everybody = Searches((EVERYBODY,), count_pages(max(len(observed), groups.total())))
    to_beat = min(searching_ms(by_tag.pages, rate) + reading_ms(left, rate), reading_ms(groups.total(), rate))
    return everybody if searching_ms(everybody.pages, rate) < to_beat else by_tag


def _by_tag(groups: Counter[TagSet], holders: Mapping[Tag, int], rate: Rate) -> tuple[Searches, int]:
    """One tag after the other, most contacts first; and how many contacts are left to be read."""
    left, chosen = Counter(groups), Searches()
    while left:
        shown: Counter[Tag] = Counter()
        for tags, number in left.items():
            shown.update(dict.fromkeys(tags & holders.keys(), number))
        tag = max(sorted(shown), key=shown.__getitem__, default=EVERYBODY)
        # a greedy choice: it ends where the tag that shows the most contacts does not pay
        if searching_ms(number := count_pages(holders.get(tag, 0)), rate) >= reading_ms(shown[tag], rate):
            break
        chosen = Searches((*chosen.tags, tag), chosen.pages + number)
        left = Counter({tags: number for tags, number in left.items() if tag not in tags})
    return chosen, left.total()


def _holders(observed: ContactStates, tags: TagSet) -> dict[Tag, int]:
    """How many contacts a search for each tag may show, as far as is known."""
    # counted by state: a million contacts share a few thousand
    alike = Counter(observed.contacts.values())
    holders = dict.fromkeys(tags, 0)
    for index, known in enumerate(observed.patterns):
        for tag in ((known.observed or NONE) | known.doubt) & tags:
            holders[tag] += alike[index]
    return holders


def reading_ms(contacts: int, rate: Rate) -> int:
    """How long reading so many takes one by one, at the least."""
    return duration(contacts, rate)


def searching_ms(number: int, rate: Rate) -> int:
    """How long so many pages take."""
    return estimate_cost(number, rate, each_ms=PAGE_MS).milliseconds


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

    def add_page(
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
        # an index that ignores the cursor would be asked for ever
        if not self.ended and self._pages > 2 * -(-self.total // self._largest) + 1:
            self.ended = True
            self._doubt(f"it went on after {self._pages:,} pages, and {self.total:,} contacts were counted")
        return [self._row(contact, location) for contact, location in rows]

    def _row(self, contact: ContactId, location: LocationId) -> bool:
        # a row without a location is taken: the search asked for one location only
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
