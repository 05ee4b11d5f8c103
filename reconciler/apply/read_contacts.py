"""Reading contacts in the midst of a run, by id, and by search where that takes less time.

Rules
1. Reads take their turn like writes, and are tried again while that may help.
2. A reading that fails hurts nothing: the contact stays unread. Too many in a row, and no more is read.
3. A contact is absent where the API says so of it. Too many in a row, and no more is read, unless another one that is
   there is shown beside them: then the API, the token or the location is not as it was, and none of these contacts is
   taken for absent.
4. A limit that is used up ends the run; the readings until then still settle doubts.
5. One contact that may not be seen is another location's, where another one may: else it may be the token that is.
6. A search settles nothing but adds that a row shows to be there; `core/running/doubt.py` says when a row does.
7. A contact that no row shows yet is read by id, unless waiting until the index cannot be behind, and searching again,
   takes less time. A search that fails hurts nothing: the contacts are read by id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from reconciler.apply.run import Run
from reconciler.control_read import MOST_IN_A_ROW, Absences, read_tags_to_control
from reconciler.core.model.api_limits import duration
from reconciler.core.model.contact_state import NONE, ContactReading, ContactState
from reconciler.core.model.errors import ApiError, AuthRefused, QuotaExhausted
from reconciler.core.model.events import Read
from reconciler.core.model.journal import ReadFor
from reconciler.core.model.names import ContactId, Instant, TagSet
from reconciler.core.model.outcome import Outcome, Rejection
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS, Scan, count_pages
from reconciler.core.running.doubt import Searches, cheapest_searches, provable_adds, record_search_row, searching_ms
from reconciler.request_gate import Halted, run_jobs
from reconciler.wire import FORBIDDEN, LONGEST_TAG_SOUGHT, ContactRead

Adds = dict[ContactId, TagSet]


@dataclass(slots=True)
class Readings:
    """The results of reading so far."""

    purpose: ReadFor = ReadFor.DOUBTS
    found: dict[ContactId, ContactReading] = field(default_factory=dict)
    absent: dict[ContactId, Rejection] = field(default_factory=dict)
    """Contacts that the API says not to have."""
    absences: Absences = field(default_factory=Absences)
    """Those of them that were read last, with no contact found since."""
    answered: int = 0
    """Reads that found a contact or its absence."""
    failed_in_a_row: int = 0
    blind: str = ""
    """Why no more is read; empty while contacts are."""
    forbidden: bool = False
    """Whether that is since the token may not read contacts."""
    saw_any: bool = False

    @property
    def missing(self) -> dict[ContactId, Rejection]:
        """The contacts that are not there, as far as that is proven."""
        # so many in a row say more of the API than of the contacts
        unproven = self.absences.unproven
        return {
            contact: why
            for contact, why in self.absent.items()
            if contact not in unproven and (self.saw_any or why is not Rejection.FOREIGN)
        }

    def add_answer(self) -> None:
        self.failed_in_a_row = 0
        self.answered += 1

    def add_found(self, contact: ContactId, reading: ContactReading) -> None:
        self.absences.end()
        self.found[contact] = reading

    def see_any(self) -> None:
        """The token may read contacts of the location."""
        self.saw_any = True

    def add_absent(self, contact: ContactId, why: Rejection) -> bool:
        """Whether there are too many in a row to be believed."""
        self.absent[contact] = why
        self.absences.add(contact)
        return self.absences.are_too_many

    def add_failure(self) -> bool:
        """Whether there are too many in a row to go on."""
        self.failed_in_a_row += 1
        return self.failed_in_a_row >= MOST_IN_A_ROW

    def end(self, why: str, *, forbidden: bool = False) -> None:
        """No more is read."""
        self.blind, self.forbidden = why, self.forbidden or forbidden


async def read_contacts(run: Run, contacts: Iterable[ContactId], readings: Readings, *, done: int, total: int) -> None:
    """Reads them, some at once, until the run is halted; the readings until then are kept."""

    async def read_one(contact: ContactId) -> None:
        nonlocal done
        await readings.absences.wait()
        if readings.blind or run.gate.error is not None:
            return
        try:
            await read_contact(run, contact, readings)
        except Halted:
            return
        done += 1
        run.report(Read(run.location, done, total))

    await run_jobs((partial(read_one, contact) for contact in contacts), run.apply_options.in_flight)


async def read_contact(run: Run, contact: ContactId, readings: Readings) -> None:
    try:
        asked, answer = await run.gate.read_with_retries(
            lambda: run.reader.get_contact(contact), gives_up=lambda: bool(readings.blind), purpose=readings.purpose
        )
    except ApiError as error:
        _record_failure(run, readings, error)
        return
    readings.add_answer()
    if isinstance(answer, Rejection):
        await _record_absence(run, contact, readings, answer)
        return
    readings.see_any()
    if answer.location not in (run.location, ""):
        await _record_absence(run, contact, readings, Rejection.FOREIGN)
    elif answer.tags is not None:
        # dated by both ends: the API read the contact at some moment in between
        reading = ContactReading(asked, run.now(), answer.served, answer.updated, answer.tags)
        readings.add_found(contact, reading)
    else:
        run.progress.add_note("what was read without its tags stays in doubt")


def _record_failure(run: Run, readings: Readings, error: ApiError) -> None:
    too_many = readings.add_failure()
    if isinstance(error, AuthRefused) and error.status != FORBIDDEN:
        # refused for all contacts; any other error may be about the one
        readings.end(_why_forbidden(run, error.message), forbidden=True)
        return
    if isinstance(error, QuotaExhausted):
        run.gate.halt(error)
    if too_many or isinstance(error, QuotaExhausted):
        readings.end(f"contacts cannot be read ({error.message})")
    run.progress.add_note(f"what could not be read stays in doubt: {error.message}")


async def _record_absence(run: Run, contact: ContactId, readings: Readings, why: Rejection) -> None:
    if not readings.add_absent(contact, why) or readings.blind:
        return
    if not readings.saw_any and set(readings.absent.values()) == {Rejection.FOREIGN}:
        readings.end(_why_forbidden(run, "every contact is said to be another location's"), forbidden=True)
        return
    try:
        are_believed = await readings.absences.are_believed(read_tags_to_control(run.reader, run.gate))
    except ApiError as error:
        _record_failure(run, readings, error)
        return
    if not are_believed:
        readings.end(
            f"{MOST_IN_A_ROW} contacts in a row are said not to be there, which is not believed: "
            f"{run.token}, the location or the API is probably wrong; "
            "`reconciler state forget` gives up contacts that are really gone"
        )


def _why_forbidden(run: Run, why: str) -> str:
    return f"{run.token} may not read contacts of location {run.location} ({why})"


async def settle_by_search(run: Run, doubts: Mapping[ContactId, ContactState]) -> None:
    """Settles adds that rows of searches show, now or once the index can no longer be behind."""
    adds = {contact: run.adds_in_doubt(contact, state.doubtful) for contact, state in doubts.items()}
    # a contact with a removal in doubt is read by id anyway, and need not be searched for
    open_adds = {contact: tags for contact, tags in adds.items() if tags == doubts[contact].doubtful}
    total = len(open_adds)
    try:
        await _search(run, open_adds, _choose_searches(run, _provable(run, open_adds, run.now())), total)
        last = max((doubt.sent for contact in open_adds if (doubt := doubts[contact].doubt)), default=0)
        wait = last + INDEX_LAG_MS - run.now()
        again = _choose_searches(run, open_adds)
        if wait > 0 and again.tags and _pays(run, len(open_adds), wait, again):
            await run.gate.pause(wait, f"the search shows what is in doubt on {len(open_adds):,} contacts")
            await _search(run, open_adds, again, total)
    except ApiError:
        return


def _pays(run: Run, contacts: int, wait: int, searches: Searches) -> bool:
    """Whether to wait and to search is done before as many contacts were read."""
    rate = run.gate.pace.rate
    return wait + searching_ms(searches.pages, rate) < duration(contacts, rate)


def _provable(run: Run, contacts: Iterable[ContactId], asked: Instant) -> Adds:
    """The adds that a row which is asked for then may prove; contacts without any are left out."""
    return {contact: tags for contact in contacts if (tags := _provable_on(run, contact, asked))}


def _provable_on(run: Run, contact: ContactId, asked: Instant) -> TagSet:
    state = run.state_of(contact)
    return provable_adds(state, run.adds_in_doubt(contact, state.doubtful), state.observed or NONE, asked)


def _choose_searches(run: Run, adds: Adds) -> Searches:
    sought = {
        tag for tags in set(adds.values()) for tag in tags if len(run.spelling.kept_as(tag)) <= LONGEST_TAG_SOUGHT
    }
    return cheapest_searches(Counter(adds.values()), run.observed, frozenset(sought), run.gate.pace.rate)


async def _search(run: Run, open_adds: Adds, searches: Searches, total: int) -> None:
    """Removes the contacts that are settled from `open_adds`."""
    for tag in searches.tags:
        scan, cursor = Scan(run.location), None
        for number in count(1):
            asked, page = await run.gate.read_with_retries(partial(run.reader.search, run.location, cursor, tag=tag))
            cursor = page.cursor
            rows = [(row.id, row.location) for row in page.contacts]
            news = scan.add_page(rows, page.total, page.cursor)
            await _settle_rows(
                run, [row for row, new in zip(page.contacts, news, strict=True) if new], asked, open_adds
            )
            run.report(Read(run.location, total - len(open_adds), total))
            if scan.ended or _is_enough(run, scan, number, open_adds):
                break


def _is_enough(run: Run, scan: Scan, number: int, open_adds: Adds) -> bool:
    """Whether to read the open ones by id takes less time than the pages ahead."""
    # the last page is empty and only proves the end: it can settle nothing
    ahead = count_pages(scan.total or 0) - 1 - number
    rate = run.gate.pace.rate
    return ahead <= 0 or searching_ms(ahead, rate) >= duration(len(open_adds), rate)


async def _settle_rows(run: Run, rows: Iterable[ContactRead], asked: Instant, open_adds: Adds) -> None:
    changed: dict[ContactId, ContactState] = {}
    for row in rows:
        if row.id not in open_adds or row.tags is None:
            continue
        if not (seen := _provable_on(run, row.id, asked) & row.tags):
            continue
        settle_ms = run.options.settle_ms
        changed[row.id] = record_search_row(run.state_of(row.id), seen, row.tags, asked, settle_ms=settle_ms)
        run.outcomes.set_outcome(row.id, seen, Outcome.SEEN)
        # a row settles no removal, nor an add that it does not show: such a contact is still read by id
        if not changed[row.id].doubtful:
            del open_adds[row.id]
            run.doubts.remove(row.id)
    await run.save_states(changed)
