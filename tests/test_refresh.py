"""Reading contacts through the real client: every page, nothing made up, nothing newer overwritten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.errors import AuthRefused, InDoubt, NotApplied, Unfinished
from reconciler.core.model.events import Event, Priced, Read, Waiting
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.model.outcome import Rejection
from reconciler.core.observing.refresh_rules import (
    INDEX_LAG_MS,
    MOST_READ_AGAIN,
    Method,
    RefreshRequest,
    RefreshResult,
    UnreachableReason,
    contradicted_by,
)
from reconciler.core.planning.situation import OlderRows, Searched
from reconciler.core.planning.tag_aliases import AS_SENT
from reconciler.core.running.pace import Pace
from reconciler.highlevel.client import HighLevel
from reconciler.ports import TagReader
from reconciler.refresh import ReadServices, refresh, scan
from reconciler.request_gate import NoLease, RequestGate
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import DEMO_TOKEN, Access, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact, World
from reconciler.wire import ContactRead, Page
from tests.build import HERE, Words, contact, contact_state, tags
from tests.fakes import START, FakeClock, a_gate, keeping, read_contacts
from tests.sandbox.faults import LIES, Fault, FaultKind, FaultPlan, Network
from tests.sandbox.transport import SandboxTransport

THERE = LocationId("zzzzzzzzzzzzzzzzzzzz")


def nth_id(nth: int) -> ContactId:
    return ContactId(f"{nth:020}")


def numbered(nth: int, carried: Words = "", *, location: LocationId = HERE, deleted: bool = False) -> Contact:
    """A contact of that number: a search shows them in the order in which they were added."""
    added = Instant(START - 10_000 + nth)
    made = contact(nth_id(nth), carried, location=location, deleted=deleted)
    return replace(made, added=added, updated=added)


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
        pace = Pace(rate or Rate())
        api = HighLevel(
            "https://api.example",
            token=DEMO_TOKEN,
            transport=transport,
            on_quota=lambda quota: pace.heed_quota(quota, self.clock.now()),
            now=self.clock.now,
        )
        self.reading = ReadServices(
            api, RequestGate(HERE, pace, self.clock, self.events.append, NoLease(self.clock), chance=lambda: 0.5)
        )

    def get(self, *contacts: ContactId) -> dict[ContactId, ObservedContacts]:
        return by_contact(self.clock.run(read_contacts(contacts, self.reading)).seen)

    def scan(self) -> dict[ContactId, ObservedContacts]:
        return by_contact(asyncio.run(scan(self.reading)).seen)

    def requests(self) -> int:
        return self.reading.gate.pace.departed


def by_contact(seen: tuple[ObservedContacts, ...]) -> dict[ContactId, ObservedContacts]:
    found = {contact: each for each in seen for contact in each.contacts}
    assert len(found) == sum(len(each.contacts) for each in seen)
    return found


def faults(*kinds: FaultKind) -> FaultPlan:
    return FaultPlan({nth: Fault(kind) for nth, kind in enumerate(kinds)})


def broken(requests: range) -> FaultPlan:
    return FaultPlan(dict.fromkeys(requests, Fault(FaultKind.ERROR_BEFORE)))


def test_get_reads_each_contact_once() -> None:
    library = Library(numbered(1, "a"), numbered(2), numbered(3, "a"))
    seen = library.get(nth_id(1), nth_id(2), nth_id(3))

    assert {each: found.tags for each, found in seen.items()} == {
        nth_id(1): {"a"},
        nth_id(2): frozenset(),
        nth_id(3): {"a"},
    }
    assert {(found.at, found.origin) for found in seen.values()} == {(START, ObservationOrigin.GET)}
    assert library.requests() == 3
    assert library.events[-1] == Read(HERE, 3, 3)


def test_get_tells_nothing_of_contacts_that_are_not_there() -> None:
    library = Library(numbered(1, "a"), numbered(2, "a", deleted=True), numbered(3, "a", location=THERE))

    assert library.get(nth_id(1), nth_id(2), nth_id(3), nth_id(4), ContactId("no/id")).keys() == {nth_id(1)}


@pytest.mark.parametrize("status", [400, 404, 422])
def test_whatever_the_api_says_of_a_missing_contact(status: int) -> None:
    library = Library(numbered(1), missing_contact_status=status)

    assert library.get(nth_id(9), nth_id(1)).keys() == {nth_id(1)}


def test_a_contact_elsewhere_does_not_stop_the_reading_wherever_it_stands() -> None:
    strangers = [numbered(nth, "a", location=THERE) for nth in range(3)]
    library = Library(*strangers, numbered(7, "a"))

    assert library.get(*(nth_id(nth) for nth in range(8))).keys() == {nth_id(7)}


def test_a_token_of_another_location_is_told_soon() -> None:
    library = Library(*(numbered(nth, location=THERE) for nth in range(200)))
    with pytest.raises(AuthRefused) as caught:
        library.get(*(nth_id(nth) for nth in range(200)))

    assert caught.value.exit_code == 7
    assert library.requests() < 50


def test_a_bad_token_is_told_at_once() -> None:
    library = Library(numbered(1), numbered(2), access=Access(token="another"))
    with pytest.raises(AuthRefused):
        library.get(nth_id(1), nth_id(2))
    assert library.requests() == 1
    with pytest.raises(AuthRefused):
        library.scan()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("number", [0, 1, 499, 500, 501, 1_000, 1_234])
def test_a_scan_reads_every_page_to_the_end(number: int) -> None:
    library = Library(*(numbered(nth, "odd" if nth % 2 else "even") for nth in range(number)))
    seen = library.scan()

    assert {each: found.tags for each, found in seen.items()} == {
        nth_id(nth): frozenset({Tag("odd" if nth % 2 else "even")}) for nth in range(number)
    }
    assert {(found.at, found.origin) for found in seen.values()} <= {(START - INDEX_LAG_MS, ObservationOrigin.SEARCH)}
    assert library.events[-1] == Read(HERE, number, number)


@pytest.mark.slow
def test_a_scan_goes_past_the_depth_of_numbered_pages() -> None:
    library = Library(*(numbered(nth) for nth in range(10_700)))

    assert len(library.scan()) == 10_700


def test_a_row_without_tags_tells_nothing() -> None:
    library = Library(*(numbered(nth, "a") for nth in range(700)), search_row_without_tags=3)
    seen = library.scan()

    assert 300 < len(seen) < 600
    assert {found.tags for found in seen.values()} == {frozenset({"a"})}


def test_contacts_deleted_or_elsewhere_are_not_among_the_rows() -> None:
    library = Library(numbered(1), numbered(2, deleted=True), numbered(3, location=THERE))

    assert library.scan().keys() == {nth_id(1)}


class Pages:
    """A reader that answers searches with these pages."""

    def __init__(self, *pages: Page) -> None:
        self._pages = list(pages)

    async def get_contact(self, contact: ContactId) -> ContactRead | None:
        raise AssertionError("not asked for")

    async def search(self, location: LocationId, cursor: tuple[object, ...] | None, *, tag: str = "") -> Page:
        return self._pages.pop(0)


def scanned(*pages: Page) -> dict[ContactId, ObservedContacts]:
    reading = ReadServices(Pages(*pages), a_gate(HERE, Pace(Rate())))
    return by_contact(asyncio.run(scan(reading)).seen)


def row(nth: int, location: str = HERE) -> ContactRead:
    return ContactRead(nth_id(nth), LocationId(location), frozenset({Tag("a")}), None)


def test_a_foreign_row_is_nobody_of_ours() -> None:
    assert scanned(Page((row(1), row(2, THERE), row(3, "")), 3, None)).keys() == {nth_id(1), nth_id(3)}


def test_a_search_that_does_not_move_on_ends() -> None:
    page = Page((row(1),), 2, (1, "a"))

    assert scanned(page, page).keys() == {nth_id(1)}


def test_a_contact_on_two_pages_counts_once() -> None:
    assert scanned(Page((row(1), row(2)), 3, (1,)), Page((row(2), row(3)), 3, (2,)), Page((), 3, None)).keys() == {
        nth_id(1),
        nth_id(2),
        nth_id(3),
    }


def test_a_lagging_row_never_replaces_a_newer_observation() -> None:
    library = Library(numbered(1, "a"), numbered(2, "a"))
    written = contact_state(frozenset({Tag("b")}), START, ObservationOrigin.WRITE)
    older = contact_state(frozenset({Tag("b")}), Instant(START - INDEX_LAG_MS - 1), ObservationOrigin.WRITE)
    observed = ContactStates()
    observed.update({nth_id(1): written, nth_id(2): older})
    for each in asyncio.run(scan(library.reading)).seen:
        observed.update(dict(each.apply_to(observed)))

    assert observed[nth_id(1)] == written
    assert observed[nth_id(2)].observed == {"a"}


@pytest.mark.parametrize(("age_ms", "lifted"), [(INDEX_LAG_MS - 1, False), (INDEX_LAG_MS, True)])
def test_a_lagging_row_does_not_bring_back_a_contact_rejected_since(age_ms: int, lifted: bool) -> None:
    library = Library(numbered(1, "a"))
    observed = ContactStates()
    rejected = contact_state(quarantine=Rejection.DELETED, quarantined_at=Instant(START - age_ms))
    observed.update({nth_id(1): rejected})
    for each in asyncio.run(scan(library.reading)).seen:
        observed.update(dict(each.apply_to(observed)))

    assert (observed[nth_id(1)].quarantine is None) is lifted


def test_a_lagging_row_does_not_settle_a_doubt() -> None:
    library = Library(numbered(1, "a"))
    observed = ContactStates()
    observed.update({nth_id(1): ContactState().with_doubt(frozenset({Tag("a")}), Instant(START - INDEX_LAG_MS))})
    for each in asyncio.run(scan(library.reading)).seen:
        observed.update(dict(each.apply_to(observed)))

    assert observed[nth_id(1)].doubtful == {"a"}


Ask = Callable[[Library], dict[ContactId, ObservedContacts]]
ASKING: dict[str, Ask] = {"get": lambda library: library.get(nth_id(1)), "search": lambda library: library.scan()}


@pytest.mark.parametrize("asking", sorted(ASKING))
@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind not in LIES])
def test_reading_again_harms_nobody(asking: str, kind: FaultKind) -> None:
    library = Library(numbered(1, "a"), faults=faults(kind, kind))

    assert ASKING[asking](library).keys() == {nth_id(1)}
    assert sum(isinstance(each, Waiting) for each in library.events) >= 2
    assert library.world.transitions == []


@pytest.mark.parametrize("asking", sorted(ASKING))
@pytest.mark.parametrize(("kind", "raised"), [(FaultKind.REFUSED, NotApplied), (FaultKind.ERROR_BEFORE, InDoubt)])
def test_reading_gives_up_after_some_tries(asking: str, kind: FaultKind, raised: type[Exception]) -> None:
    library = Library(numbered(1, "a"), faults=faults(*[kind] * 5))
    with pytest.raises(raised):
        ASKING[asking](library)
    assert library.requests() == 5


def read_by_id(library: Library, *contacts: ContactId) -> tuple[RefreshResult, list[ObservedContacts]]:
    kept: list[ObservedContacts] = []
    return asyncio.run(read_contacts(contacts, library.reading, keeping(kept))), kept


def test_a_contact_that_is_answered_as_another_one_is_left_out_and_told() -> None:
    library = Library(numbered(1, "a"), numbered(2, "b"), merged_reads_as_survivor=True)
    library.world.merge(nth_id(1), nth_id(2), now=START)
    found, _ = read_by_id(library, nth_id(1), nth_id(2))

    assert by_contact(found.seen).keys() == {nth_id(2)}
    assert found.unread == {nth_id(1): f"contact {nth_id(1)} was answered as {nth_id(2)}: merged?"}
    assert (found.gone, library.requests()) == ({}, 2)


def test_a_contact_that_cannot_be_read_is_left_out_and_told() -> None:
    library = Library(
        numbered(1, "a"), numbered(2), faults=FaultPlan(dict.fromkeys(range(5), Fault(FaultKind.GATEWAY)))
    )
    found, _ = read_by_id(library, nth_id(1), nth_id(2))

    assert (by_contact(found.seen).keys(), found.gone) == ({nth_id(2)}, {})
    assert "answered 404" in found.unread[nth_id(1)]


def test_a_contact_that_is_shown_without_its_location_is_ours() -> None:
    library = Library(numbered(1, "a"), read_without_location=True)

    assert library.get(nth_id(1)).keys() == {nth_id(1)}


@dataclass
class Forgetful:
    """An API whose reads by id come from a copy that has a few contacts; its search shows all of them."""

    api: TagReader
    copied: set[ContactId]

    async def get_contact(self, contact: ContactId) -> ContactRead | Rejection:
        return await self.api.get_contact(contact) if contact in self.copied else Rejection.DELETED

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        return await self.api.search(location, cursor, tag=tag)


def test_ten_in_a_row_that_are_said_not_to_be_there_end_it_with_what_was_read() -> None:
    """The search shows others that cannot be read by id either: then it is not the contacts."""
    library = Library(*(numbered(nth, "a") for nth in range(200)))
    reading = replace(library.reading, reader=Forgetful(library.reading.reader, {nth_id(nth) for nth in range(5)}))
    kept: list[ObservedContacts] = []
    with pytest.raises(Unfinished, match="10 contacts in a row are said not to be there") as caught:
        asyncio.run(read_contacts([nth_id(nth) for nth in range(200)], reading, keeping(kept)))

    assert caught.value.exit_code == 3
    assert by_contact(tuple(kept)).keys() == {nth_id(nth) for nth in range(5)}
    assert library.requests() < 50


@pytest.mark.one_in(4)
@pytest.mark.parametrize("gone", [range(5, 200), range(195), range(199)], ids=["the last", "the first", "nearly all"])
def test_many_in_a_row_that_are_gone_are_gone_where_others_are_shown(gone: range) -> None:
    """Somebody deleted hundreds: the contacts that the search still shows are read by id as ever."""
    library = Library(*(numbered(nth, "a", deleted=nth in gone) for nth in range(200)))
    result = library.clock.run(read_contacts([nth_id(nth) for nth in range(200)], library.reading))

    assert result.gone == {nth_id(nth): UnreachableReason.ABSENT for nth in gone}
    assert by_contact(result.seen).keys() == {nth_id(nth) for nth in range(200) if nth not in gone}
    # for each ten a search, and three of its contacts
    assert library.requests() <= 200 + 4 * 20


def test_where_a_search_shows_nobody_ten_in_a_row_end_it() -> None:
    library = Library(*(numbered(nth, "a", deleted=True) for nth in range(200)))
    with pytest.raises(Unfinished, match="10 contacts in a row are said not to be there"):
        library.get(*(nth_id(nth) for nth in range(200)))


def test_ten_in_a_row_that_cannot_be_read_end_it() -> None:
    plan = FaultPlan(dict.fromkeys(range(20, 2_000), Fault(FaultKind.GATEWAY, status=400)))
    library = Library(*(numbered(nth, "a") for nth in range(200)), faults=plan)
    with pytest.raises(InDoubt, match="answered 400"):
        read_by_id(library, *(nth_id(nth) for nth in range(200)))

    assert library.requests() < 200


@pytest.mark.slow
def test_reading_keeps_to_the_rate_limit() -> None:
    library = Library(*(numbered(nth) for nth in range(300)), limits=Limits(20, 10_000), rate=Rate(20, 10_000))
    seen = library.get(*(nth_id(nth) for nth in range(300)))

    assert len(seen) == 300
    assert {each.why for each in library.events if isinstance(each, Waiting)} == {"rate limit"}


def test_a_quota_shared_with_others_is_waited_for() -> None:
    library = Library(numbered(1, "a"))
    library.app.limiter.spend(100, now=library.clock.now())

    assert library.get(nth_id(1)).keys() == {nth_id(1)}


def test_what_was_read_before_it_broke_off_is_handed_on() -> None:
    library = Library(*(numbered(nth, "a") for nth in range(30)), faults=broken(range(20, 80)))
    kept: list[ObservedContacts] = []
    with pytest.raises(InDoubt):
        asyncio.run(read_contacts([nth_id(nth) for nth in range(30)], library.reading, keeping(kept)))
    assert 0 < sum(len(each.contacts) for each in kept) < 30


def test_pages_that_were_read_before_it_broke_off_are_handed_on() -> None:
    library = Library(*(numbered(nth, "a") for nth in range(1_700)), faults=broken(range(2, 11)))
    kept: list[ObservedContacts] = []
    with pytest.raises(InDoubt):
        asyncio.run(scan(library.reading, keeping(kept)))
    assert sum(len(each.contacts) for each in kept) == 1_000


def wanted(method: Method, number: int, **more: Any) -> RefreshRequest:
    return RefreshRequest(method, tuple(nth_id(nth) for nth in range(number)), **more)


def asked(library: Library, want: RefreshRequest) -> tuple[RefreshResult, Counter[str]]:
    """What a refresh found, and how many requests of each kind it took."""
    heard: list[str] = []

    class Listener:
        async def get_contact(self, contact: ContactId) -> ContactRead | None:
            heard.append("get")
            return await reader.get_contact(contact)

        async def search(self, location: LocationId, cursor: Any, *, tag: str = "") -> Page:
            heard.append(f"search {tag}".strip())
            return await reader.search(location, cursor, tag=tag)

    reader = library.reading.reader
    found = asyncio.run(refresh(want, replace(library.reading, reader=Listener())))
    return found, Counter(heard)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("want", "requests"),
    [
        (wanted(Method.GET, 40), {"get": 40}),
        (wanted(Method.SEARCH, 40), {"search": 3}),
        (wanted(Method.AUTO, 40), {"search": 3}),
        (wanted(Method.AUTO, 1), {"get": 1}),
        (wanted(Method.AUTO, 3, known=1_000), {"get": 3}),
        (wanted(Method.AUTO, 40, lagging=False), {"get": 40}),
        (wanted(Method.AUTO, 40, doubtful=(nth_id(3), nth_id(4))), {"search": 3, "get": 2}),
        (wanted(Method.AUTO, 0), {}),
        (wanted(Method.SEARCH, 0), {}),
    ],
)
def test_auto_takes_the_cheapest_that_is_allowed(want: RefreshRequest, requests: dict[str, int]) -> None:
    library = Library(*(numbered(nth, "a") for nth in range(700)))
    found, took = asked(library, want)

    assert took == requests
    told = [each for each in library.events if isinstance(each, Priced)]
    assert sum(each.requests for each in told) == sum(requests.values())
    assert (found.shown is not None) is ("search" in requests)


@pytest.mark.slow
def test_auto_reads_one_by_one_where_counting_showed_that_it_is_cheaper() -> None:
    library = Library(*(numbered(nth, "a") for nth in range(6_000)))
    _, took = asked(library, wanted(Method.AUTO, 9))

    assert took == {"search": 1, "get": 9}


@pytest.mark.slow
def test_the_cost_is_told_before_it_is_spent() -> None:
    library = Library(*(numbered(nth, "a") for nth in range(1_200)), rate=Rate(100, 10_000, per_day=1_000))
    asked(library, wanted(Method.GET, 1_200))

    assert library.events[0] == Priced(HERE, "get", 1_200, 110_000, 1.2)


def test_the_holders_of_an_exclusive_tag_are_found_by_a_search_for_it() -> None:
    library = Library(*(numbered(nth, "board" if nth in (3, 600) else "a") for nth in range(700)))
    found, took = asked(library, wanted(Method.GET, 2, exclusive=tags("board")))

    assert took == {"get": 2, "search board": 2}
    assert found.searched == Searched(tags("board"), tags("board"), Instant(START - INDEX_LAG_MS))
    assert {each for seen in found.seen if "board" in seen.tags for each in seen.contacts} == {nth_id(3), nth_id(600)}


def test_a_search_for_holders_alone_is_priced_too() -> None:
    library = Library(numbered(1, "board"))
    _, took = asked(library, wanted(Method.GET, 0, exclusive=tags("board")))

    assert took == {"search board": 2}
    assert library.events[0] == Priced(HERE, "search", 0, 0, 0.0, exclusive=1)


def test_a_complete_scan_that_tells_all_tags_finds_the_holders_too() -> None:
    library = Library(*(numbered(nth, "board") for nth in range(7)))
    found, took = asked(library, wanted(Method.SEARCH, 2, exclusive=tags("board")))

    assert took == {"search": 2}
    assert found.searched.complete == {"board"}


def test_a_holder_whose_row_lacks_tags_is_read_by_id() -> None:
    library = Library(*(numbered(nth, "board") for nth in range(7)), search_row_without_tags=2)
    found, took = asked(library, wanted(Method.SEARCH, 2, exclusive=tags("board")))

    assert took["search"] == 2
    assert took["search board"] == 2
    assert took["get"] > 0
    assert found.searched.complete == {"board"}
    assert {each for seen in found.seen for each in seen.contacts} == {nth_id(nth) for nth in range(7)}


def test_a_tag_too_long_to_be_searched_for_is_not() -> None:
    long = "b" * 76
    found, took = asked(Library(numbered(1, long)), wanted(Method.GET, 1, exclusive=tags(long)))

    assert took == {"get": 1}
    assert found.searched.tags == frozenset()


@pytest.mark.slow
def test_thousands_are_read_some_at_a_time() -> None:
    busy = most = 0

    class Slow:
        async def get_contact(self, contact: ContactId) -> ContactRead | None:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            for _ in range(5):
                await asyncio.sleep(0)
            busy -= 1
            return row(int(contact))

    reading = ReadServices(Slow(), a_gate(HERE))  # type: ignore[arg-type]
    found = asyncio.run(read_contacts([nth_id(nth) for nth in range(1_200)], reading))

    assert 5 < most <= 20
    assert sum(len(each.contacts) for each in found.seen) == 1_200


@pytest.mark.slow
def test_an_error_ends_all_that_was_read_at_once() -> None:
    library = Library(*(numbered(nth) for nth in range(50)), faults=broken(range(10, 500)))
    with pytest.raises(InDoubt):
        library.get(*(nth_id(nth) for nth in range(50)))
    assert library.requests() < 160


def known_otherwise(want: RefreshRequest, number: int) -> RefreshRequest:
    """The first so many contacts carry another tag, as a write told since."""
    since = contact_state(tags("b"), START, ObservationOrigin.WRITE)
    observed = ContactStates()
    observed.update({nth_id(nth): since for nth in range(number)})
    return replace(want, contradicted=partial(contradicted_by, observed=observed, spelling=AS_SENT))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("want", "contradicting", "again"),
    [
        (wanted(Method.AUTO, 40), 6, 6),
        (wanted(Method.SEARCH, 40), 6, 0),
        # nobody asked for the others
        (wanted(Method.AUTO, 4), 6, 4),
        # what is in doubt is read anyhow, once
        (wanted(Method.AUTO, 40, doubtful=(nth_id(3), nth_id(4))), 6, 4),
        (wanted(Method.AUTO, 700), MOST_READ_AGAIN, MOST_READ_AGAIN),
        # the index is behind as a whole
        (wanted(Method.AUTO, 700), MOST_READ_AGAIN + 1, 0),
    ],
)
def test_contradicted_rows_are_counted_and_under_auto_read_by_id_where_they_are_few(
    want: RefreshRequest, contradicting: int, again: int
) -> None:
    library = Library(*(numbered(nth, "a") for nth in range(700)))
    found, took = asked(library, known_otherwise(want, contradicting))

    assert found.searched.older_rows == OlderRows(700, contradicting, again)
    assert took.get("get", 0) == again + len(want.doubtful)


def test_rows_of_a_search_for_holders_are_counted_too() -> None:
    library = Library(*(numbered(nth, "board" if nth in (3, 600) else "a") for nth in range(700)))
    found, _ = asked(library, known_otherwise(wanted(Method.GET, 0, exclusive=tags("board")), 10))

    assert found.searched.older_rows == OlderRows(2, 1, 0)
