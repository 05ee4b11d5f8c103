"""Settling by search what is in doubt on many contacts, where that takes less time than reading them one by one.

Rules
1. A search settles nothing but adds that a row shows to be there; `core/observing/search.py` says when a row does.
2. Whoever no row shows yet is read one by one, unless waiting until the index cannot be behind, and searching again,
   takes less time.
3. Searches take their turn like writes. One that fails hurts nothing: the contacts are read one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from reconciler.apply.learnt_aliases import reader_of
from reconciler.apply.run import Run
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import ApiError, InDoubt, NotApplied, QuotaExhausted
from reconciler.core.model.events import Read
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Outcome
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS, count_pages
from reconciler.core.observing.search import (
    Scan,
    Searches,
    cheapest_searches,
    provable_adds,
    reading_ms,
    record_search_row,
    searching_ms,
)
from reconciler.core.running.quota import Tries
from reconciler.wire import LONGEST_TAG_SOUGHT, ContactRead, Page

NONE: TagSet = frozenset()
Adds = dict[ContactId, TagSet]


async def settle_by_search(run: Run, doubts: Mapping[ContactId, ContactState]) -> None:
    """Settles what rows of searches show, now or once the index can no longer be behind; the rest stays in doubt."""
    adds = {contact: run.adds_in_doubt(contact, known.doubt) for contact, known in doubts.items()}
    # a contact with a removal in doubt is read anyway, and need not be searched for
    left = {contact: tags for contact, tags in adds.items() if tags == doubts[contact].doubt}
    total = len(left)
    try:
        await _search(run, left, _searches(run, _shown_by(run, left, run.now())), total)
        wait = max((doubts[contact].doubt_at or 0 for contact in left), default=0) + INDEX_LAG_MS - run.now()
        again = _searches(run, left)
        if wait > 0 and again.tags and _pays(run, len(left), wait, again):
            await run.pause(wait, f"the search shows what is in doubt on {len(left):,} contacts")
            await _search(run, left, again, total)
    except ApiError:
        return


def _pays(run: Run, contacts: int, wait: int, searches: Searches) -> bool:
    """Whether to wait and to search is done before as many contacts were read."""
    return wait + searching_ms(searches.pages, run.pace.rate) < reading_ms(contacts, run.pace.rate)


def _shown_by(run: Run, left: Adds, asked: Instant) -> Adds:
    """Those of which a row that is asked for then may show something."""
    return {contact: tags for contact in left if (tags := _may_show(run, contact, asked))}


def _may_show(run: Run, contact: ContactId, asked: Instant) -> TagSet:
    known = run.state.observed[contact]
    return provable_adds(known, run.adds_in_doubt(contact, known.doubt), known.observed or NONE, asked)


def _searches(run: Run, adds: Adds) -> Searches:
    sought = {
        tag for tags in set(adds.values()) for tag in tags if len(run.state.spelling.kept_as(tag)) <= LONGEST_TAG_SOUGHT
    }
    return cheapest_searches(Counter(adds.values()), run.state.observed, frozenset(sought), run.pace.rate)


async def _search(run: Run, left: Adds, searches: Searches, total: int) -> None:
    """Whoever is settled leaves `left`."""
    for tag in searches.tags:
        scan, page = Scan(run.location), None
        for number in count(1):
            asked, page = await _page(run, page, tag)
            rows = [(row.id, row.location) for row in page.contacts]
            news = scan.add_page(rows, page.total, page.cursor)
            _take_in(run, [row for row, new in zip(page.contacts, news, strict=True) if new], asked, left)
            run.tell(Read(run.location, total - len(left), total))
            if scan.ended or _is_enough(run, scan, number, left):
                break


def _is_enough(run: Run, scan: Scan, number: int, left: Adds) -> bool:
    """Whether what is left had better be read, after so many pages."""
    counted = scan.total or 0
    ahead = count_pages(counted) - 1 - number
    rate = run.pace.rate
    return ahead <= 0 or searching_ms(ahead, rate) >= reading_ms(len(left), rate)


async def _page(run: Run, before: Page | None, tag: Tag) -> tuple[Instant, Page]:
    """The next page, and when it was asked for."""
    assert run.world.reader is not None
    cursor: tuple[Any, ...] | None = None if before is None else before.cursor
    tries = Tries()
    while True:
        ticket = await run.turn()
        asked, run.reads = run.now(), run.reads + 1
        search = reader_of(run).search(run.location, cursor, tag=tag)
        try:
            return asked, await run.asked(ticket, search)
        except (NotApplied, InDoubt, QuotaExhausted) as error:
            if not await run.once_more(tries, error):
                raise


def _take_in(run: Run, rows: Iterable[ContactRead], asked: Instant, left: Adds) -> None:
    """What the rows show is durable, and settled."""
    changed: dict[ContactId, ContactState] = {}
    for row in rows:
        if row.id not in left or row.tags is None:
            continue
        known = run.state.observed[row.id]
        seen = _may_show(run, row.id, asked) & row.tags
        if not seen:
            continue
        changed[row.id] = record_search_row(known, seen, row.tags, asked, settle_ms=run.options.settle_ms)
        run.tally.set_outcome(row.id, seen, Outcome.SEEN)
        if not changed[row.id].doubt:
            del left[row.id]
            run.doubtful.pop(row.id, None)
    if changed:
        run.world.store.save_states(run.tenure.lease, changed)
        run.state.observed.update(changed)
