"""A scan of 50 pages, each of them gone wrong in every way: no false conclusion is drawn from any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from reconciler.core.model.contact_state import ContactStates
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.observing.refresh_rules import RefreshResult
from reconciler.refresh import ReadServices, scan
from reconciler.wire import ContactRead, Page
from tests.build import HERE
from tests.fakes import a_gate

PAGES, SIZE = 50, 4
EVERYBODY = tuple(ContactId(f"{nth:020}") for nth in range(PAGES * SIZE))
NOBODY = ContactId("z" * 20)


def tags_of(contact: ContactId) -> frozenset[Tag]:
    return frozenset({Tag("odd" if int(contact) % 2 else "even")})


def row(contact: ContactId) -> ContactRead:
    return ContactRead(contact, HERE, tags_of(contact), None)


Fault = Callable[["Server", int, Page], Page]


@dataclass
class Server:
    """Everybody, a page after a cursor; the answer to request `nth` goes through `fault`."""

    nth: int = -1
    fault: Fault = lambda server, start, page: page
    asked: int = 0

    def page(self, start: int) -> Page:
        rows = tuple(map(row, EVERYBODY[start : start + SIZE]))
        return Page(rows, len(EVERYBODY), (start + len(rows),) if rows else None)

    async def get_contact(self, contact: ContactId) -> ContactRead | None:
        raise AssertionError("nobody is read by id")

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        start = cursor[0] if cursor else 0
        page = self.page(start)
        self.asked += 1
        return self.fault(self, start, page) if self.asked - 1 == self.nth else page


def lost(server: Server, start: int, page: Page) -> Page:
    """The next page comes in its place."""
    return server.page(start + SIZE)


def emptied(server: Server, start: int, page: Page) -> Page:
    return Page((), page.total, None)


def repeated(server: Server, start: int, page: Page) -> Page:
    """The page before comes once more."""
    return server.page(max(0, start - SIZE))


def ahead(server: Server, start: int, page: Page) -> Page:
    """The page after the next one comes first, and the search goes on from where it should be."""
    return replace(server.page(start + 2 * SIZE), cursor=page.cursor)


def reordered(server: Server, start: int, page: Page) -> Page:
    """Its rows come in another order, and the cursor is that of the row that is now the last."""
    return Page(page.contacts[::-1], page.total, (start + 1,))


def cut(server: Server, start: int, page: Page) -> Page:
    """Half of its rows, and the cursor of the whole."""
    return replace(page, contacts=page.contacts[: SIZE // 2])


def without_tags(server: Server, start: int, page: Page) -> Page:
    return replace(page, contacts=tuple(replace(each, tags=None) for each in page.contacts))


def miscounted(server: Server, start: int, page: Page) -> Page:
    return replace(page, total=page.total - SIZE)


def lost_and_miscounted(server: Server, start: int, page: Page) -> Page:
    """The page does not come, and as many fewer are counted: once."""
    return replace(server.page(start + SIZE), total=page.total - SIZE)


def moved_away(server: Server, start: int, page: Page) -> Page:
    return replace(page, contacts=tuple(replace(each, location=LocationId("elsewhere")) for each in page.contacts))


FAULTS = (
    lost,
    emptied,
    repeated,
    ahead,
    reordered,
    cut,
    without_tags,
    miscounted,
    lost_and_miscounted,
    moved_away,
)


def scanned(server: Server) -> RefreshResult:
    return asyncio.run(scan(ReadServices(server, a_gate(HERE))))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_page_that_goes_wrong_leads_to_a_false_conclusion(fault: Fault) -> None:
    for nth in range(PAGES + 1):
        found = scanned(Server(nth, fault))
        gone = found.unreachable([*EVERYBODY, NOBODY], ContactStates())
        assert set(gone) <= {NOBODY}, f"page {nth}"
        assert (found.shown is None) is bool(found.incomplete)
        for seen in found.seen:
            assert all(seen.tags == tags_of(contact) for contact in seen.contacts)


@pytest.mark.parametrize("fault", [lost, emptied, cut, miscounted, lost_and_miscounted, moved_away, ahead])
def test_what_went_wrong_is_told(fault: Fault) -> None:
    assert scanned(Server(7, fault)).incomplete


def test_a_complete_scan_proves_that_somebody_is_not_there() -> None:
    server = Server()
    found = scanned(server)
    assert found.incomplete == ""
    assert set(found.unreachable([*EVERYBODY, NOBODY], ContactStates())) == {NOBODY}
    assert server.asked == PAGES + 1


def test_rows_without_tags_show_that_a_contact_is_there() -> None:
    found = scanned(Server(7, without_tags))
    assert found.incomplete == ""
    assert found.unreachable(EVERYBODY, ContactStates()) == {}
    assert sum(len(each.contacts) for each in found.seen) == len(EVERYBODY) - SIZE
