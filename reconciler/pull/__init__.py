"""Bringing a location's index of people up to date. Holds a reader and no writer; the caller keeps the readings.

Rules
1. All contacts are read once, 500 a request; later those that changed, with an overlap of the index's lag. A change
   says nothing of a deletion: after some days, or where other values are asked for, all are read again.
2. Where fewer requests look up the values one by one than read all contacts, they are looked up: by the request that
   the location is found to answer for a contact that it has shown.
3. A contact of an earlier snapshot that the reading did not show is read by id, and so is one whose value another
   contact is shown with: only the API's word on it proves it gone. Ten in a row that are not there end that, and are
   not believed: then the cause is not the contacts.
4. Readings are handed on lot by lot: only those under way are lost where a pull is ended.
5. The cost is reported before the first request that could be saved. No value of a person is part of a report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler.core.model.errors import RequestRefused
from reconciler.core.model.events import Priced, Read
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.people import (
    Fingerprint,
    IndexStatus,
    LookUp,
    PeopleBook,
    PeopleIndex,
    PeopleLot,
    PersonValue,
    ValueKind,
    is_of_use,
    needs_scan,
)
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS, Scan, count_pages, estimate_cost
from reconciler.pull.single_requests import PullServices, choose_sample, find_method, look_up, read_by_id
from reconciler.request_gate import RequestGate
from reconciler.wire import Cursor
from reconciler.wire_people import PeoplePage, PersonRead, can_look_up

LOT = 500
"""Values that are looked up, or contacts that are read by id, before they are handed on."""
LOT_PAGES = 20
"""Pages of a search likewise."""
MOST_LOOKED_UP = 100
"""So many values that an index of all contacts does not have are looked up: the index of the API may lag."""
MOST_BY_ID = 1_000
"""So many contacts that were not shown are read by id; more of them mean a search that hides them."""
PROBES = 2
"""Requests that try, for a kind of value, how it can be looked up."""


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """The people that an index has to tell of."""

    key_check: str
    secret: bytes = field(repr=False)
    covers: tuple[str, ...]
    count_unknown: Callable[[PeopleIndex], int]
    """How many of the sought values the index does not have."""
    read_unknown: Callable[[PeopleIndex], Sequence[PersonValue]]
    contacts: frozenset[ContactId] = frozenset()
    """The contacts of the snapshots before."""
    full: bool = False
    """Whether all contacts are read, however fresh the index is."""
    as_of: Instant = Instant(0)
    """The time of the pull, as its snapshots have it."""


@dataclass(slots=True)
class IndexUpdate:
    """How an index was brought up to date."""

    scanned: bool = False
    """Whether all contacts were read."""
    another_key: bool = False
    """Whether the index was learnt anew since its fingerprints were made with another key."""
    incomplete: str = ""
    """Why the reading does not prove that it showed all contacts."""
    looked_up: int = 0
    """Values that were looked up one by one."""
    one_only: bool = False
    """Whether a look-up shows one contact, also where several have the value."""
    gone: tuple[ContactId, ...] = ()
    """Contacts that the index or a snapshot had, and that are proven gone."""
    unproven: int = 0
    """Contacts of the snapshots before that were not shown, and are not proven gone."""
    unread: frozenset[ContactId] = frozenset()
    """Those of them that the index has no value of, since it began anew: they may be of any row."""
    refused: int = 0
    """Values that the API refused to look up."""


async def update_index(book: PeopleBook, wanted: IndexRequest, services: PullServices) -> IndexUpdate:
    """Reads what `wanted` asks for into `book`; raises the errors of the gate and of the API."""
    work = _Update(book, wanted, services)
    await work.carry_out()
    return work.update


@dataclass(slots=True)
class _Update:
    """One update of an index."""

    book: PeopleBook
    wanted: IndexRequest
    services: PullServices
    update: IndexUpdate = field(default_factory=IndexUpdate)
    anew: bool = False
    """Whether the entries of before are of another key, and none has been replaced yet."""
    lacks_values: bool = False
    """Whether the index has not all values that are asked for. Its entries stay: they tell who had a row's value."""
    read: set[ContactId] = field(default_factory=set)
    """The contacts that a search showed, or that were read by id, or are gone by the API's word."""

    @property
    def gate(self) -> RequestGate:
        return self.services.gate

    async def carry_out(self) -> None:
        status, wanted = self.book.status, self.wanted
        self.anew = status.key_check != wanted.key_check
        self.lacks_values = not is_of_use(status, wanted.key_check, wanted.covers)
        self.update.another_key = status.key_check not in ("", wanted.key_check)
        if self.lacks_values or wanted.full or needs_scan(status, self.gate.clock.now()):
            await self._learn()
        elif await self._read_changes():
            await self._look_up_few()
        else:
            await self._scan(await self._page(None), self.gate.clock.now())
        await self._read_strangers()

    async def _read_strangers(self) -> None:
        """Reads by id the contacts of the snapshots before that the index has no value of: it may have begun anew."""
        strangers = self.book.find_strangers(self.wanted.contacts) - self.read
        # a scan has asked for those already that it did not show
        if not self.update.scanned:
            await self._read_missing(sorted(strangers))
        self.update.unread = frozenset(strangers - self.read)

    async def _learn(self) -> None:
        """Reads all contacts, or looks the values up where that takes fewer requests."""
        began = self.gate.clock.now()
        first = await self._page(None)
        # an index without a scan behind it has only what was looked up: all values are asked for again
        unknown = self.wanted.count_unknown(PeopleIndex())
        may_look_up = not self.wanted.full and self.book.status.scanned_at is None
        if may_look_up and unknown + PROBES < count_pages(first.total):
            values = self.wanted.read_unknown(PeopleIndex())
            if await self._look_up(values, first.people):
                return
        await self._scan(first, began)

    async def _look_up_few(self) -> None:
        """Looks up values that the index does not have, where they are few."""
        if not 0 < self.wanted.count_unknown(self.book.index) <= MOST_LOOKED_UP:
            return
        values = self.wanted.read_unknown(self.book.index)
        untried = {value.kind for value in values} - dict(self.book.status.look_ups).keys()
        sample = (await self._page(None)).people if untried else ()
        await self._look_up(values, sample)

    async def _page(self, cursor: Cursor | None, changed_since: Instant | None = None) -> PeoplePage:
        search = partial(self.services.reader.search_people, self.gate.location, cursor, changed_since=changed_since)
        _, page = await self.gate.read_with_retries(search)
        return page

    def _report_cost(self, method: str, requests: int) -> None:
        cost = estimate_cost(requests, self.gate.pace.rate)
        self.gate.report(Priced(self.gate.location, method, cost.requests, cost.milliseconds, round(cost.share, 6)))

    async def _scan(self, first: PeoplePage, began: Instant) -> None:
        self._report_cost("search", count_pages(first.total))
        scan = await self._read_pages(first)
        self.update.scanned, self.update.incomplete = True, scan.why_incomplete
        await self._read_missing(sorted(self.wanted.contacts - scan.shown))
        status = replace(self.book.status, read_until=began)
        if scan.why_incomplete:
            await self._keep(PeopleLot(status))
            return
        # neither shown nor of a snapshot: what they were found by counts no more, until they are shown again
        hidden = self.book.contacts - scan.shown - self.wanted.contacts
        await self._keep(PeopleLot(replace(status, scanned_at=began), dict.fromkeys(hidden, frozenset())))

    async def _read_changes(self) -> bool:
        """Reads the contacts that changed; False where the location does not answer such a search."""
        status, began = self.book.status, self.gate.clock.now()
        if status.read_until is None:
            return False
        # a contact that changed shortly before the last reading may not have been in the index of the API then
        since = Instant(status.read_until - INDEX_LAG_MS)
        try:
            first = await self._page(None, since)
        except RequestRefused:
            return False
        scan = await self._read_pages(first, since)
        self.update.incomplete = scan.why_incomplete
        await self._read_missing(sorted(self._find_rivals(scan.shown)))
        if not scan.why_incomplete:
            await self._keep(PeopleLot(replace(self.book.status, read_until=began)))
        return True

    def _find_rivals(self, shown: Set[ContactId]) -> set[ContactId]:
        """The contacts that were not shown, each the only other one with a value of a contact that was.

        One that was deleted and created anew is shown as the new one, and nothing tells that the old one is gone.
        """
        pairs = [contacts for contacts in self.book.index.current.values() if len(contacts) == 2]
        return {contact for pair in pairs if shown & set(pair) for contact in pair if contact not in shown}

    async def _read_pages(self, page: PeoplePage, changed_since: Instant | None = None) -> Scan:
        scan, people, number = Scan(self.gate.location), dict[ContactId, frozenset[Fingerprint]](), 0
        while True:
            rows = [(person.id, person.location) for person in page.people]
            scan.add_page(rows, page.total, page.cursor)
            # of a contact that comes twice the later row is the newer reading
            people |= {
                person.id: self.services.fingerprints(person) for person in page.people if self.services.is_here(person)
            }
            number += 1
            if page.total:
                self.gate.report(Read(self.gate.location, len(scan.shown), page.total))
            if scan.ended or number % LOT_PAGES == 0:
                await self._keep(PeopleLot(self._status(), people))
                self.read |= people.keys()
                people = {}
            if scan.ended:
                return scan
            page = await self._page(page.cursor, changed_since)

    def _status(self) -> IndexStatus:
        """The status while the index is brought up to date: with other values no scan has come to its end."""
        if not self.lacks_values:
            return self.book.status
        wanted, status = self.wanted, self.book.status
        begun_at = wanted.as_of if self.anew else status.begun_at
        return IndexStatus(wanted.key_check, wanted.secret, wanted.covers, look_ups=status.look_ups, begun_at=begun_at)

    async def _keep(self, lot: PeopleLot) -> None:
        lot = replace(lot, anew=self.anew)
        self.book.apply_lot(lot)
        await self.services.keep(lot)
        self.anew = self.lacks_values = False

    async def _read_missing(self, contacts: Sequence[ContactId]) -> None:
        """Reads by id the contacts that were not shown, where they are few enough."""
        unproven = self.wanted.contacts.intersection(contacts)
        self.update.unproven += len(unproven)
        if not 0 < len(contacts) <= MOST_BY_ID:
            return
        self._report_cost("get", len(contacts))
        for start in range(0, len(contacts), LOT):
            readings = await read_by_id(self.services, contacts[start : start + LOT])
            if not readings.is_believed:
                return
            await self._keep(PeopleLot(self._status(), readings.people, frozenset(readings.gone)))
            self.read |= readings.people.keys() | readings.gone.keys()
            self.update.gone += tuple(sorted(readings.gone))
            self.update.unproven -= len(unproven & (readings.gone.keys() | readings.people.keys()))

    async def _look_up(self, values: Sequence[PersonValue], sample: Sequence[PersonRead]) -> bool:
        """Looks up each value; False where the location does not answer for each kind of them."""
        methods = await self._find_methods({value.kind for value in values}, sample)
        if LookUp.NONE in methods.values() or not all(can_look_up(value.text) for value in values):
            return False
        self._report_cost("look-up", len(values))
        shown = set[ContactId]()
        for start in range(0, len(values), LOT):
            readings = await look_up(self.services, values[start : start + LOT], methods)
            if readings.is_refused:
                return False
            await self._keep(PeopleLot(self._status(), readings.people))
            shown |= readings.people.keys()
            self.update.refused += readings.refused
            self.update.looked_up = min(start + LOT, len(values))
            self.gate.report(Read(self.gate.location, self.update.looked_up, len(values)))
        self.update.one_only = LookUp.DUPLICATE in methods.values()
        # found by an earlier pull and not by this one: the look-up may have missed it, or it has the value no more
        current = self.book.index.current
        found_before = {contact for value in values for contact in current.get(self._fingerprint(value), ())}
        await self._read_missing(sorted(found_before - shown))
        return True

    def _fingerprint(self, value: PersonValue) -> Fingerprint:
        return self.services.fingerprint(value) or Fingerprint(b"")

    async def _find_methods(self, kinds: set[ValueKind], sample: Sequence[PersonRead]) -> dict[ValueKind, LookUp]:
        """How values of each kind are looked up, tried with contacts of `sample` where that is not known."""
        methods = dict(self.book.status.look_ups)
        for kind in sorted(kinds - methods.keys()):
            pair = choose_sample(kind, sample)
            method = LookUp.NONE if pair is None else await find_method(self.services, *pair)
            # not written down: another contact may be found
            if method is LookUp.NONE:
                return {kind: method}
            methods[kind] = method
        await self._keep(PeopleLot(replace(self._status(), look_ups=tuple(sorted(methods.items())))))
        return {kind: methods[kind] for kind in kinds}
