"""Reading contacts through the real client: every page, nothing made up, nothing newer overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from reconciler.core.errors import AuthRefused, InDoubt, NotApplied
from reconciler.core.event import Event, Read, Waiting
from reconciler.core.names import ContactId, Instant, LocationId, Tag
from reconciler.core.observed import Known, Observed, Origin, Seen
from reconciler.core.outcome import Rejection
from reconciler.core.pace import Pace, Rate
from reconciler.highlevel.client import HighLevel
from reconciler.refresh import INDEX_LAG_MS, Reading, read_contacts, scan
from reconciler.sandbox.app import DEMO_TOKEN, Access, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.faults import Fault, FaultPlan, Kind, Network
from reconciler.sandbox.limiter import Limits
from reconciler.sandbox.transport import SandboxTransport
from reconciler.sandbox.world import Contact, World
from reconciler.wire import ContactRead, Page
from tests.fakes import START, FakeClock

HERE, THERE = LocationId("asdrwHvLUxlfw5SqKVCN"), LocationId("zzzzzzzzzzzzzzzzzzzz")


def contact(nth: int, *tags: str, location: LocationId = HERE, deleted: bool = False) -> Contact:
    added = Instant(START - 10_000 + nth)
    return Contact(name(nth), location, frozenset(map(Tag, tags)), added, added, added if deleted else None)


def name(nth: int) -> ContactId:
    return ContactId(f"{nth:020}")


class Library:
    """A location to be read, and everything that was said while reading."""

    def __init__(
        self,
        *contacts: Contact,
        faults: FaultPlan | None = None,
        limits: Limits | None = None,
        rate: Rate | None = None,
        access: Access | None = None,
        **assumptions: object,
    ) -> None:
        self.clock = FakeClock()
        self.world = World(HERE, contacts, assumptions=Assumptions(**assumptions))  # type: ignore[arg-type]
        self.app = App(self.world, accesses=[access or Access()], limits=limits)
        self.network = Network(self.app, faults)
        self.events: list[Event] = []
        transport = SandboxTransport(self.network, now=self.clock.now, sleep=self.clock.sleep_seconds, latency_ms=100)
        api = HighLevel("https://api.example", token=DEMO_TOKEN, transport=transport)
        self.reading = Reading(api, self.clock, self.events.append, Pace(rate or Rate()))

    def get(self, *contacts: ContactId) -> dict[ContactId, Seen]:
        return by_contact(asyncio.run(read_contacts(HERE, contacts, self.reading)))

    def scan(self) -> dict[ContactId, Seen]:
        return by_contact(asyncio.run(scan(HERE, self.reading)))

    def requests(self) -> int:
        return self.reading.pace.departed


def by_contact(seen: tuple[Seen, ...]) -> dict[ContactId, Seen]:
    found = {contact: each for each in seen for contact in each.contacts}
    assert len(found) == sum(len(each.contacts) for each in seen)
    return found


def faults(*kinds: Kind) -> FaultPlan:
    return FaultPlan({nth: Fault(kind) for nth, kind in enumerate(kinds)})


def test_get_reads_each_contact_once() -> None:
    library = Library(contact(1, "a"), contact(2), contact(3, "a"))
    seen = library.get(name(1), name(2), name(3))

    assert {each: found.tags for each, found in seen.items()} == {
        name(1): {"a"},
        name(2): frozenset(),
        name(3): {"a"},
    }
    assert {(found.at, found.origin) for found in seen.values()} == {(START, Origin.GET)}
    assert library.requests() == 3
    assert library.events[-1] == Read(HERE, 3, 3)


def test_get_tells_nothing_of_contacts_that_are_not_there() -> None:
    library = Library(contact(1, "a"), contact(2, "a", deleted=True), contact(3, "a", location=THERE))

    assert library.get(name(1), name(2), name(3), name(4), ContactId("no/id")).keys() == {name(1)}


@pytest.mark.parametrize("status", [400, 404, 422])
def test_whatever_the_api_says_of_a_missing_contact(status: int) -> None:
    library = Library(contact(1), missing_contact_status=status)

    assert library.get(name(9), name(1)).keys() == {name(1)}


def test_a_contact_elsewhere_does_not_stop_the_reading_wherever_it_stands() -> None:
    strangers = [contact(nth, "a", location=THERE) for nth in range(3)]
    library = Library(*strangers, contact(7, "a"))

    assert library.get(*(name(nth) for nth in range(8))).keys() == {name(7)}


def test_a_token_of_another_location_is_told_soon() -> None:
    library = Library(*(contact(nth, location=THERE) for nth in range(200)))
    with pytest.raises(AuthRefused) as caught:
        library.get(*(name(nth) for nth in range(200)))

    assert caught.value.exit_code == 7
    assert library.requests() < 50


def test_a_bad_token_is_told_at_once() -> None:
    library = Library(contact(1), contact(2), access=Access(token="another"))
    with pytest.raises(AuthRefused):
        library.get(name(1), name(2))
    assert library.requests() == 1
    with pytest.raises(AuthRefused):
        library.scan()


@pytest.mark.parametrize("number", [0, 1, 499, 500, 501, 1_000, 1_234])
def test_a_scan_reads_every_page_to_the_end(number: int) -> None:
    library = Library(*(contact(nth, "odd" if nth % 2 else "even") for nth in range(number)))
    seen = library.scan()

    assert {each: found.tags for each, found in seen.items()} == {
        name(nth): frozenset({Tag("odd" if nth % 2 else "even")}) for nth in range(number)
    }
    assert {(found.at, found.origin) for found in seen.values()} <= {(START - INDEX_LAG_MS, Origin.SEARCH)}
    assert library.events[-1] == Read(HERE, number, number)


def test_a_scan_goes_past_the_depth_of_numbered_pages() -> None:
    library = Library(*(contact(nth) for nth in range(10_700)))

    assert len(library.scan()) == 10_700


def test_a_row_without_tags_tells_nothing() -> None:
    library = Library(*(contact(nth, "a") for nth in range(700)), search_row_without_tags=3)
    seen = library.scan()

    assert 300 < len(seen) < 600
    assert {found.tags for found in seen.values()} == {frozenset({"a"})}


def test_contacts_deleted_or_elsewhere_are_not_among_the_rows() -> None:
    library = Library(contact(1), contact(2, deleted=True), contact(3, location=THERE))

    assert library.scan().keys() == {name(1)}


class Pages:
    """A reader that answers searches with these pages."""

    def __init__(self, *pages: Page) -> None:
        self._pages = list(pages)

    async def get_contact(self, contact: ContactId) -> ContactRead | None:
        raise AssertionError("not asked for")

    async def search(self, location: LocationId, cursor: tuple[object, ...] | None) -> Page:
        return self._pages.pop(0)


def scanned(*pages: Page) -> dict[ContactId, Seen]:
    clock = FakeClock()
    reading = Reading(Pages(*pages), clock, lambda event: None, Pace(Rate()))
    return by_contact(asyncio.run(scan(HERE, reading)))


def row(nth: int, location: str = HERE) -> ContactRead:
    return ContactRead(name(nth), LocationId(location), frozenset({Tag("a")}), None)


def test_a_foreign_row_is_nobody_of_ours() -> None:
    assert scanned(Page((row(1), row(2, THERE), row(3, "")), 3, None)).keys() == {name(1), name(3)}


def test_a_search_that_does_not_move_on_ends() -> None:
    page = Page((row(1),), 2, (1, "a"))

    assert scanned(page, page).keys() == {name(1)}


def test_a_contact_on_two_pages_counts_once() -> None:
    assert scanned(Page((row(1), row(2)), 3, (1,)), Page((row(2), row(3)), 3, (2,)), Page((), 3, None)).keys() == {
        name(1),
        name(2),
        name(3),
    }


def test_a_lagging_row_never_replaces_a_newer_observation() -> None:
    library = Library(contact(1, "a"), contact(2, "a"))
    written = Known(frozenset({Tag("b")}), START, Origin.WRITE)
    older = Known(frozenset({Tag("b")}), Instant(START - INDEX_LAG_MS - 1), Origin.WRITE)
    observed = Observed()
    observed.update({name(1): written, name(2): older})
    for each in asyncio.run(scan(HERE, library.reading)):
        observed.update(dict(each.absorb(observed)))

    assert observed[name(1)] == written
    assert observed[name(2)].observed == {"a"}


@pytest.mark.parametrize(("age_ms", "lifted"), [(INDEX_LAG_MS - 1, False), (INDEX_LAG_MS, True)])
def test_a_lagging_row_does_not_bring_back_a_contact_rejected_since(age_ms: int, lifted: bool) -> None:
    library = Library(contact(1, "a"))
    observed = Observed()
    rejected = Known(quarantine=Rejection.DELETED, quarantined_at=Instant(START - age_ms))
    observed.update({name(1): rejected})
    for each in asyncio.run(scan(HERE, library.reading)):
        observed.update(dict(each.absorb(observed)))

    assert (observed[name(1)].quarantine is None) is lifted


def test_a_lagging_row_does_not_settle_a_doubt() -> None:
    library = Library(contact(1, "a"))
    observed = Observed()
    observed.update({name(1): Known().in_doubt(frozenset({Tag("a")}), Instant(START - INDEX_LAG_MS))})
    for each in asyncio.run(scan(HERE, library.reading)):
        observed.update(dict(each.absorb(observed)))

    assert observed[name(1)].doubt == {"a"}


Ask = Callable[[Library], dict[ContactId, Seen]]
ASKING: dict[str, Ask] = {"get": lambda library: library.get(name(1)), "search": lambda library: library.scan()}


@pytest.mark.parametrize("asking", sorted(ASKING))
@pytest.mark.parametrize("kind", list(Kind))
def test_reading_again_harms_nobody(asking: str, kind: Kind) -> None:
    library = Library(contact(1, "a"), faults=faults(kind, kind))

    assert ASKING[asking](library).keys() == {name(1)}
    assert sum(isinstance(each, Waiting) for each in library.events) >= 2
    assert library.world.transitions == []


@pytest.mark.parametrize("asking", sorted(ASKING))
@pytest.mark.parametrize(("kind", "raised"), [(Kind.REFUSED, NotApplied), (Kind.ERROR_BEFORE, InDoubt)])
def test_reading_gives_up_after_some_tries(asking: str, kind: Kind, raised: type[Exception]) -> None:
    library = Library(contact(1, "a"), faults=faults(*[kind] * 5))
    with pytest.raises(raised):
        ASKING[asking](library)
    assert library.requests() == 5


def test_reading_keeps_to_the_rate_limit() -> None:
    library = Library(*(contact(nth) for nth in range(300)), limits=Limits(20, 10_000), rate=Rate(20, 10_000))
    seen = library.get(*(name(nth) for nth in range(300)))

    assert len(seen) == 300
    assert {each.why for each in library.events if isinstance(each, Waiting)} == {"rate limit"}


def test_a_quota_shared_with_others_is_waited_for() -> None:
    library = Library(contact(1, "a"))
    library.app.limiter.spend(100, now=library.clock.now())

    assert library.get(name(1)).keys() == {name(1)}
