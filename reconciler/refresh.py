"""Reading the tags that contacts carry now. Holds a reader and no writer, and stores nothing: readings are values.

Rules
1. `get` reads contacts one by one: observations of the moment, dated when the reading of their lot began.
2. `search` reads pages of 500 from an index that lags: a row is an observation made `INDEX_LAG_MS` before it was read.
3. A row without tags tells nothing; absence from the rows tells nothing unless the scan is complete.
4. A contact is absent where the API says so of it. A contact that the token may not see is another location's, unless
   it may see none: then the token is. A contact that cannot be read is left out, and reported.
5. Too many in a row that cannot be read end it, and so do as many that are not there, unless another one that is
   there is shown beside them: then the cause is not the contacts.
6. Rows that contradict a newer observation are counted, and under `auto` their contacts are read by id, where they are
   few.
7. Readings are handed on lot by lot (`keep`), and before an error or a signal ends it: only requests under way are
   lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler.control_read import MOST_IN_A_ROW, Absences, is_about_all, read_tags_to_control
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.errors import ApiError, AuthRefused, Unfinished, Unread
from reconciler.core.model.events import Priced, Read
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.model.outcome import THE_TOKEN, Rejection
from reconciler.core.observing.refresh_rules import (
    INDEX_LAG_MS,
    Method,
    ReadLot,
    RefreshRequest,
    RefreshResult,
    Scan,
    UnreachableReason,
    cheaper_method,
    choose_rereads,
    count_pages,
    estimate_cost,
    lot_of_rows,
    method_without_count,
)
from reconciler.core.planning.situation import OlderRows, Searched
from reconciler.ports import TagReader
from reconciler.request_gate import RequestGate, run_jobs
from reconciler.wire import FORBIDDEN, LONGEST_TAG_SOUGHT, Page

LOT = 500
"""Contacts that are read one by one before they are handed on."""
LOT_PAGES = 20
"""Pages of a search likewise."""
AT_ONCE = 20
Keep = Callable[[tuple[ObservedContacts, ...]], Awaitable[None]]


async def keep_nothing(_: tuple[ObservedContacts, ...]) -> None:
    """For a caller that only wants the result."""


@dataclass(frozen=True, slots=True)
class ReadServices:
    """The parts of the outside world that reading uses, for one location."""

    reader: TagReader
    gate: RequestGate
    token: str = THE_TOKEN
    """The token's name in messages, with where it is held."""


async def refresh(wanted: RefreshRequest, reading: ReadServices, keep: Keep = keep_nothing) -> RefreshResult:
    """Reads as `wanted` asks; the cost is reported before the first request that could be saved."""
    return await _Refresh(wanted, reading, keep, reading.gate.clock.now()).carry_out()


async def scan(reading: ReadServices, keep: Keep = keep_nothing) -> RefreshResult:
    """Every contact that the search shows, 500 a request."""
    work = _Refresh(RefreshRequest(Method.SEARCH, ()), reading, keep, reading.gate.clock.now())
    await work.scan(await work.page(None), work.began)
    return work.result()


@dataclass(slots=True)
class _Refresh:
    """One refresh of one location, and its results so far."""

    wanted: RefreshRequest
    reading: ReadServices
    keep: Keep
    began: Instant
    seen: list[ObservedContacts] = field(default_factory=list)
    gone: dict[ContactId, UnreachableReason] = field(default_factory=dict)
    unread: dict[ContactId, str] = field(default_factory=dict)
    shown: set[ContactId] | None = None
    searched: Searched = field(default_factory=Searched)
    incomplete: str = ""
    silent: dict[ContactId, None] = field(default_factory=dict)
    """Contacts that a search showed without their tags, in the order of its rows."""
    rows: int = 0
    """Rows of searches."""
    contradicted: set[ContactId] = field(default_factory=set)
    """Contacts with a row that contradicts a newer observation."""
    absences: Absences = field(default_factory=Absences)
    failed: int = 0
    """Contacts in a row that could not be read."""

    @property
    def location(self) -> LocationId:
        return self.reading.gate.location

    async def carry_out(self) -> RefreshResult:
        if self.wanted.contacts or self.wanted.everybody:
            await self._observe()
        elif self.wanted.exclusive:
            self._report_cost(Method.SEARCH, 0)
        # a complete scan has shown the holders of every exclusive tag already
        for tag in sorted(self.wanted.exclusive - self.searched.complete):
            await self._find_holders(tag)
        if again := choose_rereads(self.wanted, self.contradicted):
            await self.get(again)
        if self.contradicted:
            older = OlderRows(self.rows, len(self.contradicted), len(again))
            self.searched = replace(self.searched, older_rows=older)
        return self.result()

    def result(self) -> RefreshResult:
        return RefreshResult(
            seen=tuple(self.seen),
            gone=self.gone,
            unread=self.unread,
            searched=self.searched,
            shown=self.shown,
            since=Instant(self.began - INDEX_LAG_MS),
            incomplete=self.incomplete,
        )

    async def _observe(self) -> None:
        """Reads by the method that was asked for, or the cheaper one."""
        wanted, page, method = self.wanted, None, method_without_count(self.wanted)
        began = self.reading.gate.clock.now()
        if method is not Method.GET:
            # the first page counts the contacts, which decides the method; a scan goes on from it
            page = await self.page(None)
            method = method or cheaper_method(wanted, page.total)
        if page is None or method is Method.GET:
            self._report_cost(Method.GET, len(wanted.contacts))
            await self.get(wanted.contacts)
            return
        took = self.reading.gate.clock.now() - began
        self._report_cost(Method.SEARCH, count_pages(page.total) + len(wanted.doubtful), each_ms=took)
        await self.scan(page, began)
        if wanted.method is Method.AUTO:
            await self.get(wanted.doubtful)
        elif wanted.everybody:
            await self.get(tuple(self.silent))

    def _report_cost(self, method: Method, requests: int, *, each_ms: int = 0) -> None:
        cost = estimate_cost(requests, self.reading.gate.pace.rate, each_ms=each_ms)
        exclusive = len(self.wanted.exclusive)
        self.reading.gate.report(
            Priced(self.location, method, cost.requests, cost.milliseconds, round(cost.share, 6), exclusive)
        )

    async def get(self, contacts: Sequence[ContactId]) -> None:
        done = 0

        async def read_one(contact: ContactId, lot: ReadLot) -> None:
            nonlocal done
            await self._get_one(contact, lot, len(contacts))
            done += 1
            self.reading.gate.report(Read(self.location, done, len(contacts)))

        for start in range(0, len(contacts), LOT):
            lot = ReadLot(self.reading.gate.clock.now(), ObservationOrigin.GET)
            chunk = contacts[start : start + LOT]
            try:
                if not start:
                    # alone: one request shows a token that is no good
                    await read_one(chunk[0], lot)
                    chunk = chunk[1:]
                await run_jobs((partial(read_one, contact, lot) for contact in chunk), AT_ONCE)
            finally:
                await self._hand_on(lot)

    async def _get_one(self, contact: ContactId, lot: ReadLot, of: int) -> None:
        await self.absences.wait()
        try:
            _, answer = await self.reading.gate.read_with_retries(partial(self.reading.reader.get_contact, contact))
        except ApiError as error:
            self._record_failure(contact, error, of)
            return
        self.failed = 0
        if isinstance(answer, Rejection):
            await self._record_absence(contact, answer, saw_any=bool(self.seen or lot.contacts), of=of)
        elif answer.location not in (self.location, ""):
            await self._record_absence(contact, Rejection.FOREIGN, saw_any=True, of=of)
        elif answer.tags is None:
            self.unread[contact] = "it was shown without its tags"
        else:
            self.absences.end()
            lot.add(contact, answer.tags)

    def _record_failure(self, contact: ContactId, error: ApiError, of: int) -> None:
        """Raises an error that is about more than the one contact."""
        self.failed += 1
        self.unread[contact] = error.message
        # of few contacts all may have been merged: an answer about another contact is no fault of the API
        most = MOST_IN_A_ROW if isinstance(error, Unread) else min(MOST_IN_A_ROW, of)
        if is_about_all(error) or self.failed >= most:
            raise error

    async def _record_absence(self, contact: ContactId, why: Rejection, *, saw_any: bool, of: int) -> None:
        """`saw_any`: whether the token has read any contact of the location."""
        missed = self.absences.add(contact)
        self.gone[contact] = UnreachableReason.ELSEWHERE if why is Rejection.FOREIGN else UnreachableReason.ABSENT
        if (
            not saw_any
            and missed >= min(MOST_IN_A_ROW, of)
            and set(self.gone.values()) == {UnreachableReason.ELSEWHERE}
        ):
            raise AuthRefused(
                f"every contact that was read is said to be another location's than {self.location}, by "
                f"{self.reading.token}",
                status=FORBIDDEN,
                hint="see that the token is of this location, and that the manifest names its contacts",
            )
        if not await self.absences.are_believed(read_tags_to_control(self.reading.reader, self.reading.gate)):
            raise Unfinished(
                f"{MOST_IN_A_ROW} contacts in a row are said not to be there: {self.reading.token}, the location "
                f"{self.location} or the API is probably wrong; no more was read, and nothing follows from it for them",
                hint="see that the token is of this location and the manifests name its contacts; "
                "`reconciler state forget` gives up contacts that are really gone",
            )

    async def page(self, cursor: tuple[object, ...] | None, tag: str = "") -> Page:
        search = partial(self.reading.reader.search, self.location, cursor, tag=tag)
        _, page = await self.reading.gate.read_with_retries(search)
        return page

    async def scan(self, first: Page, asked: Instant) -> None:
        """Reads on from the first page, which was asked for at `asked`, to the last."""
        pages = await self._read_pages(first, asked, "")
        self.incomplete = pages.why_incomplete
        if self.incomplete:
            return
        self.shown = pages.shown
        # a contact that was shown without its tags may carry an exclusive one
        complete = frozenset() if self.silent else self.wanted.exclusive
        self.searched = replace(self.searched, tags=self.wanted.exclusive, complete=complete, since=self._since())

    async def _find_holders(self, tag: Tag) -> None:
        """Reads the contacts that carry the tag."""
        if len(tag) > LONGEST_TAG_SOUGHT:
            return
        before = self.searched
        self.searched = replace(before, tags=before.tags | {tag}, since=self._since())
        self.silent.clear()
        asked = self.reading.gate.clock.now()
        holders = await self._read_pages(await self.page(None, tag), asked, tag)
        # they carry the tag, as the search says, and may carry others
        await self.get(tuple(self.silent))
        if not holders.why_incomplete:
            self.searched = replace(self.searched, complete=before.complete | {tag})

    async def _read_pages(self, page: Page, asked: Instant, tag: str) -> Scan:
        scan, number, read = Scan(self.location), 0, 0
        lot = lot_of_rows(asked)
        while True:
            rows = [(contact.id, contact.location) for contact in page.contacts]
            news = scan.add_page(rows, page.total, page.cursor)
            for contact, new in zip(page.contacts, news, strict=True):
                if new:
                    lot.add(contact.id, contact.tags)
                    self.silent |= {contact.id: None} if contact.tags is None else {}
            number, read = number + 1, read + len(page.contacts)
            self.reading.gate.report(Read(self.location, read, page.total))
            if scan.ended or number % LOT_PAGES == 0:
                await self._hand_on(lot)
                lot = lot_of_rows(self.reading.gate.clock.now())
            if scan.ended:
                return scan
            try:
                page = await self.page(page.cursor, tag)
            except BaseException:
                await self._hand_on(lot)
                raise

    def _since(self) -> Instant:
        # a contact that changed later may not be in the index yet
        return Instant(self.began - INDEX_LAG_MS)

    async def _hand_on(self, lot: ReadLot) -> None:
        if values := lot.values():
            if lot.origin is ObservationOrigin.SEARCH:
                self.rows += sum(len(seen.contacts) for seen in values)
                self.contradicted.update(self.wanted.contradicted(values))
            self.seen += values
            await self.keep(values)
