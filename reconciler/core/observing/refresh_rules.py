"""The request of a refresh, its cost, and its result; whether a search is complete. Pure.

Rules
1. An index that lags is not asked where the answer must be of this moment: an apply is never verified by it, a doubt
   never settled (but for adds that it shows, see `running/doubt.py`), and no age below the lag promised.
2. `auto` takes the method that needs fewer requests, of those that are allowed.
3. A contact that was observed within `max_age` is not read again.
4. A row of a search replaces no newer observation. Where it contradicts one, it is counted and told; `auto` reads
   the contact by id, unless so many are contradicted that the index is behind as a whole. A row is a fact of its own,
   even in a scan that is not complete; from absence among the rows of such a scan nothing follows.
5. A scan is complete when it came to its end, every page counted the same total, no contact and no cursor came twice,
   all rows were of the location, and as many contacts came as were counted. One that goes on after twice as many pages
   as the contacts it counted need, and one, is ended, and not complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.core.model.api_limits import Rate, duration
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import SETTLE_MS, ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.names import ContactId, Instant, LocationId, TagSet
from reconciler.core.planning.situation import NOT_SEARCHED, OlderRows, Searched
from reconciler.core.planning.tag_aliases import Spelling

INDEX_LAG_MS = 300_000
"""How far the search may be behind, at the most that we reckon with."""

PAGE = 500

MOST_READ_AGAIN = 500
"""So many contacts with rows that were set aside are read by id; more of them mean an index behind a large run."""

Contradicted = Callable[[Iterable[ObservedContacts]], Sequence[ContactId]]


class Method(StrEnum):
    GET = "get"
    SEARCH = "search"
    AUTO = "auto"


class UnreachableReason(StrEnum):
    """Why a declared contact cannot be reached, as far as reading tells."""

    ABSENT = "the API does not have it"
    ELSEWHERE = "it is in another location"
    UNSHOWN = "a complete search does not show it"


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """The purpose of a refresh of one location."""

    method: Method
    contacts: tuple[ContactId, ...]
    """The contacts to observe anew."""
    doubtful: tuple[ContactId, ...] = ()
    """Those of them that only a reading of the moment settles."""
    exclusive: TagSet = frozenset()
    """The tags with holders to be found."""
    known: int = 0
    """The number of contacts that the location has at least."""
    lagging: bool = True
    """Whether an index that lags may answer."""
    everybody: bool = False
    """Whether all contacts of the location are to be observed, by a search."""
    contradicted: Contradicted = lambda _: ()
    """The contacts of observations with a state that is newer and differs; none without a state."""

    @property
    def is_empty(self) -> bool:
        return not self.contacts and not self.exclusive and not self.everybody


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """The findings of a refresh.

    `gone`: contacts that reading one by one did not find; `unread`: those that it could not read, and why. `shown`: all
    contacts, by a complete search that began at `since`, the lag taken off; None without one, and then `incomplete`
    says why, if there was a search at all.
    """

    seen: tuple[ObservedContacts, ...] = ()
    gone: Mapping[ContactId, UnreachableReason] = field(default_factory=dict)
    unread: Mapping[ContactId, str] = field(default_factory=dict)
    searched: Searched = NOT_SEARCHED
    shown: Set[ContactId] | None = None
    since: Instant | None = None
    incomplete: str = ""

    def unreachable(self, declared: Iterable[ContactId], observed: ContactStates) -> dict[ContactId, UnreachableReason]:
        """Those of `declared` that are not there: they were looked for, and nothing newer shows them."""
        found = dict(self.gone)
        if self.shown is not None and self.since is not None:
            for contact in declared:
                # an observation after the search began shows the contact, also if the search did not
                at = observed[contact].observed_at
                if contact not in self.shown and (at is None or at < self.since):
                    found.setdefault(contact, UnreachableReason.UNSHOWN)
        return found


@dataclass(frozen=True, slots=True)
class Cost:
    """`milliseconds` at the least, at the rate limit; `share` of a day's quota."""

    requests: int
    milliseconds: int
    share: float


def estimate_cost(requests: int, rate: Rate, *, each_ms: int = 0) -> Cost:
    """`each_ms`: how long a request takes where the next one cannot start before its end."""
    return Cost(requests, max(duration(requests, rate), requests * each_ms), requests / rate.per_day)


def count_pages(contacts: int) -> int:
    """Requests of a search that shows so many: the last page is empty, which proves the end."""
    return -(-contacts // PAGE) + 1


def may_search(*, max_age_ms: int | None, verifies: bool) -> bool:
    """Whether an index that lags may answer this refresh."""
    return not verifies and (max_age_ms is None or max_age_ms >= INDEX_LAG_MS)


def method_without_count(wanted: RefreshRequest) -> Method | None:
    """The method, where it is clear before the location's contacts are counted."""
    if wanted.method is not Method.AUTO:
        return wanted.method
    # reading them one by one costs no more than the pages alone would
    if not wanted.lagging or len(wanted.contacts) <= count_pages(wanted.known) + len(wanted.doubtful):
        return Method.GET
    return None


def cheaper_method(wanted: RefreshRequest, total: int) -> Method:
    """The method for a location of `total` contacts, the first page of which was read to count them."""
    searching = count_pages(total) - 1 + len(wanted.doubtful)
    return Method.GET if len(wanted.contacts) <= searching else Method.SEARCH


def list_outdated(contacts: Iterable[ContactId], observed: ContactStates, before: Instant | None) -> list[ContactId]:
    """Those not observed since `before`, in doubt, or never; all of them where there is no such instant."""
    if before is None:
        return list(contacts)
    # asked once a state: a million contacts share a few thousand
    old = [
        known.observed_at is None or known.observed_at < before or bool(known.doubtful) for known in observed.patterns
    ]
    return [contact for contact in contacts if old[observed.contacts.get(contact, 0)]]


def contradicted_by(seen: Iterable[ObservedContacts], observed: ContactStates, spelling: Spelling) -> list[ContactId]:
    """The contacts with a state that is newer than the observation, and differs from it."""
    found = []
    for each in map(spelling.spell_observed, seen):
        for contact in each.contacts:
            known = observed[contact]
            if known.observed_at is not None and each.at < known.observed_at and each.tags != known.observed:
                found.append(contact)
    return found


def choose_rereads(wanted: RefreshRequest, contradicted: Iterable[ContactId]) -> tuple[ContactId, ...]:
    """The contacts with rows that were set aside that are read by id."""
    # these are read by id in any case
    settled = set(wanted.doubtful)
    again = (set(contradicted) & set(wanted.contacts)) - settled
    # a user who asked for `search` gets no read by id
    few = wanted.method is Method.AUTO and len(again) <= MOST_READ_AGAIN
    return tuple(sorted(again)) if few else ()


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The result of a refresh that was stored.

    `read`: contacts with tags that were told; `changed`: those with other tags than before. `since`: the oldest
    reading; `run`: its id in the history, empty where no contact had to be read. `unread`: contacts that could not be
    read, and why. `older_rows`: the rows of a search that were set aside.
    """

    location: LocationId
    run: str
    read: int
    changed: int
    since: Instant | None
    gone: Mapping[ContactId, UnreachableReason]
    incomplete: str
    unread: Mapping[ContactId, str] = field(default_factory=dict)
    older_rows: OlderRows | None = None


def record_observations(
    observed: ContactStates, seen: Iterable[ObservedContacts], *, settle_ms: int = SETTLE_MS
) -> dict[ContactId, ContactState]:
    """Records observations, one after the other, so that the newest of a contact wins; the states that changed."""
    changed: dict[ContactId, ContactState] = {}
    for each in seen:
        known = each.apply_to(observed, settle_ms=settle_ms)
        news = {contact: after for contact, after in known if after != observed[contact]}
        observed.update(news)
        changed |= news
    return changed


@dataclass(slots=True)
class ReadLot:
    """Contacts by the tags that were read, all at one instant."""

    at: Instant
    origin: ObservationOrigin
    contacts: dict[TagSet, list[ContactId]] = field(default_factory=dict)

    def add(self, contact: ContactId, tags: TagSet | None) -> None:
        """A contact that was shown without its tags is left out."""
        if tags is not None:
            self.contacts.setdefault(tags, []).append(contact)

    def values(self) -> tuple[ObservedContacts, ...]:
        ordered = sorted(self.contacts.items(), key=lambda item: sorted(item[0]))
        return tuple(
            ObservedContacts(tags, self.at, self.origin, tuple(sorted(contacts))) for tags, contacts in ordered
        )


def lot_of_rows(asked: Instant) -> ReadLot:
    """A lot of rows that are asked for from then on: the index may be as late as it ever is."""
    return ReadLot(Instant(asked - INDEX_LAG_MS), ObservationOrigin.SEARCH)


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
