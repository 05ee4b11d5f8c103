"""Limits that others use too, while contacts are read: the reserve of the day is kept, a 429 is waited out."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.errors import QuotaExhausted
from reconciler.core.model.events import Waiting
from reconciler.core.model.names import ContactId
from reconciler.core.running.pace import PATIENCE_MS
from reconciler.sandbox.access import Limits
from tests.build import HERE
from tests.fakes import keeping, read_contacts
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.test_refresh import Library, nth_id, numbered

WINDOWS = 6
"""So many windows at least that others use up end no reading."""


def library_of(number: int, **more: object) -> Library:
    return Library(*(numbered(nth, "a") for nth in range(number)), **more)  # type: ignore[arg-type]


def used_up(requests: range, kind: FaultKind) -> FaultPlan:
    return FaultPlan(dict.fromkeys(requests, Fault(kind)))


def read_until_refused(library: Library, number: int) -> tuple[QuotaExhausted, list[ContactId]]:
    kept: list[ObservedContacts] = []
    with pytest.raises(QuotaExhausted) as caught:
        asyncio.run(read_contacts([nth_id(nth) for nth in range(number)], library.reading, keeping(kept)))
    return caught.value, [contact for seen in kept for contact in seen.contacts]


@pytest.mark.parametrize(("reserve", "allowed"), [(0, 20), (50, 10), (90, 2)])
def test_a_reading_leaves_the_reserve_of_the_day_to_others(reserve: float, allowed: int) -> None:
    """The API lets 20 requests a day through; what is the reserve of them is still there when the reading ends."""
    library = library_of(60, limits=Limits(requests_per_day=20), rate=Rate(per_day=20, reserve_pct=reserve))
    ended, kept = read_until_refused(library, 60)

    # the last answer counts as under way until it is here: one less may be taken for what is left
    assert library.requests() in (allowed - 1, allowed)
    assert (len(kept), ended.exit_code) == (library.requests(), 8)
    assert "shared by whatever else asks for this location" in ended.hint


@pytest.mark.slow
def test_a_search_leaves_the_reserve_of_the_day_to_others() -> None:
    library = library_of(3_000, limits=Limits(requests_per_day=6), rate=Rate(per_day=6, reserve_pct=50))
    with pytest.raises(QuotaExhausted):
        library.scan()
    assert library.requests() in (2, 3)


@pytest.mark.slow
def test_a_limit_that_is_used_up_while_it_is_asked_whether_others_are_there_is_told_as_that() -> None:
    """Twenty are read at once: by the tenth answer that there is no such contact, the limit is used up."""
    gone = (numbered(nth, "a", deleted=True) for nth in range(1, 60))
    library = Library(numbered(0, "a"), *gone, rate=Rate(per_day=21, reserve_pct=0), limits=Limits(requests_per_day=99))
    ended, kept = read_until_refused(library, 60)

    assert (kept, ended.exit_code) == ([nth_id(0)], 8)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("retry_after", [True, False])
@pytest.mark.parametrize("kind", [FaultKind.USED_UP, FaultKind.TOO_MANY])
def test_windows_that_others_use_up_are_waited_out(kind: FaultKind, retry_after: bool) -> None:
    """USED_UP: the headers say that nothing is left. TOO_MANY: they say that 99 are, and ask for a second of ten."""
    library = library_of(30, faults=used_up(range(5, 5 + WINDOWS), kind), retry_after=retry_after)
    seen = library.get(*(nth_id(nth) for nth in range(30)))

    assert len(seen) == 30
    assert any(isinstance(each, Waiting) and "429" in each.why for each in library.events)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", [FaultKind.USED_UP, FaultKind.TOO_MANY])
def test_a_search_waits_windows_out_too(kind: FaultKind) -> None:
    library = library_of(1_200, faults=used_up(range(1, 1 + WINDOWS), kind))

    assert len(library.scan()) == 1_200


@pytest.mark.one_in(3)
@pytest.mark.parametrize("retry_after", [True, False])
@pytest.mark.parametrize("kind", [FaultKind.USED_UP, FaultKind.TOO_MANY])
def test_a_limit_that_stays_used_up_ends_the_reading_with_what_was_read(kind: FaultKind, retry_after: bool) -> None:
    library = library_of(30, faults=used_up(range(5, 10_000), kind), retry_after=retry_after)
    began = library.clock.ms
    ended, kept = read_until_refused(library, 30)

    assert (len(kept), ended.exit_code) == (5, 8)
    assert library.clock.ms - began >= max(PATIENCE_MS, WINDOWS * 10_000)
    assert f"the rate limit of location {HERE} (100 requests in 10 s) let no request through for" in ended.message
    assert "answered 429" in ended.message
    assert "other jobs with this token, other apps, Zapier, n8n" in ended.hint


@pytest.mark.slow
def test_whoever_gets_some_of_every_window_reads_to_the_end() -> None:
    """Nine of ten requests are refused, and each contact still has its turn."""
    mostly = {nth: Fault(FaultKind.TOO_MANY) for nth in range(600) if nth % 10}
    library = library_of(40, faults=FaultPlan(mostly))

    assert len(library.get(*(nth_id(nth) for nth in range(40)))) == 40


def test_an_error_after_many_429_is_still_tried_again() -> None:
    faults = {nth: Fault(FaultKind.TOO_MANY) for nth in range(WINDOWS)} | {WINDOWS: Fault(FaultKind.ERROR_BEFORE)}
    library = library_of(1, faults=FaultPlan(faults))

    assert library.get(nth_id(0)).keys() == {nth_id(0)}
