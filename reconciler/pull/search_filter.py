"""Asks the contact search for those that meet a filter, page by page: `search_filter(wanted, reader, gate) -> Hits`.

Law: holds a reader and no writer, and keeps nothing.
"""

from __future__ import annotations

from functools import partial

from reconciler.core.manifests.filtered_members import Hits
from reconciler.core.model.contact_filter import ContactFilter
from reconciler.core.model.events import Priced, Read
from reconciler.core.observing.refresh_rules import Scan, count_pages, estimate_cost
from reconciler.ports import PeopleReader
from reconciler.request_gate import RequestGate
from reconciler.wire import Page


async def search_filter(wanted: ContactFilter, reader: PeopleReader, gate: RequestGate) -> Hits:
    """All pages, 500 contacts a request; raises the errors of the gate and of the API."""
    began, scan, cursor = gate.clock.now(), Scan(gate.location), None
    while not scan.ended:
        _, page = await gate.read_with_retries(partial(reader.search_filter, gate.location, wanted, cursor))
        # the first page counts them
        if cursor is None:
            _report_cost(gate, page)
        cursor = page.cursor
        scan.add_page([(contact.id, contact.location) for contact in page.contacts], page.total, cursor)
        if page.total:
            gate.report(Read(gate.location, len(scan.shown), page.total))
    return Hits(frozenset(scan.shown), began, gate.clock.now(), scan.why_incomplete)


def _report_cost(gate: RequestGate, first: Page) -> None:
    cost = estimate_cost(count_pages(first.total), gate.pace.rate)
    gate.report(Priced(gate.location, "filter", cost.requests, cost.milliseconds, round(cost.share, 6)))
