"""How the index of people is brought up to date: what is asked, how often, and what a lagging location hides."""

from __future__ import annotations

import pytest

from reconciler.core.model.people import RowClass
from reconciler.sandbox.world import Contact
from tests.build import HERE, contact, name, person
from tests.pull.stage import EMAIL, NUMBER, PHONE, Killed, Stage, refuse

MATCHED, NOT_FOUND = RowClass.MATCHED, RowClass.NOT_FOUND


def crowd(number: int) -> list[Contact]:
    return [contact(f"c{nth:05}x", person=person(f"c{nth}@example.com")) for nth in range(number)]


def addresses(numbers: range) -> list[str]:
    return [f"c{nth}@example.com" for nth in numbers]


def test_all_are_read_once_then_the_changes_alone() -> None:
    stage = Stage(*crowd(1_200))
    rows = addresses(range(1_150))
    first = stage.pull(*rows)
    assert [request.is_page for request in first.asked] == [True] * 4
    assert first.result.counts.matched == 1_150
    # told before the second page: the first had to tell how many they are
    (cost,) = first.costs
    assert (cost.method, cost.requests) == ("search", 4)
    stage.wait(minutes=60)
    second = stage.pull(*rows)
    assert [request.is_change for request in second.asked] == [True]
    assert second.contacts == first.contacts


def test_a_search_that_lags_shows_a_late_change_at_the_next_pull() -> None:
    stage = Stage(*crowd(20), search_lag_ms=60_000)
    rows = ["ann@example.com", *addresses(range(1, 15))]
    stage.give("c00000x", person("ann@example.com"))
    # the index of the search has not heard of it: the row is not found, and nobody is taken in its place
    assert stage.pull(*rows, full=True).classes[0] is NOT_FOUND
    stage.wait(minutes=2)
    # the change is older than the pull before: only the overlap shows it
    found = stage.pull(*rows)
    assert found.classes[0] is MATCHED
    assert found.count("page") == 0


def test_who_vanishes_from_a_flickering_search_does_not_leave() -> None:
    stage = Stage(*crowd(40), search_flickers_ms=600_000)
    rows = addresses(range(40))
    seen = stage.pull(*rows, full=True)
    assert 0 < seen.result.counts.not_found < 40
    members = set(seen.contacts)
    for _ in range(5):
        stage.wait(minutes=10)
        pulled = stage.pull(*rows, full=True)
        # each turn hides others; those of the snapshot are read by id, and stay
        assert members <= set(pulled.contacts)
        assert pulled.read.update.gone == ()
        members = set(pulled.contacts)
    assert len(members) == 40


def test_another_key_has_all_learnt_anew() -> None:
    stage = Stage(*crowd(30))
    rows = addresses(range(20))
    stage.pull(*rows, full=True)
    stage.key = "another key, as long as the first"
    again = stage.pull(*rows)
    assert again.read.update.scanned
    assert again.result.counts.matched == 20
    assert len(stage.index.current) == 30
    assert any("key" in remark for remark in again.read.list_remarks())


def test_values_that_were_not_asked_for_before_have_all_read_anew() -> None:
    stage = Stage(*(contact(short, person=person(f"{short}@example.com", f"+4420794600{n:02}"))
                    for n, short in enumerate(("ann", "bob", "cyd"))))  # fmt: skip
    stage.pull("ann@example.com", full=True)
    pulled = stage.pull("+44 20 7946 0001", keys=PHONE, full=False)
    assert pulled.contacts == (name("bob"),)
    # what the index had before is not lost
    assert stage.index.status.covers == ("email", "phone")
    assert stage.pull("cyd@example.com").contacts == (name("cyd"),)


def test_a_week_later_all_are_read_again() -> None:
    stage = Stage(*crowd(20))
    rows = addresses(range(20))
    stage.pull(*rows, full=True)
    stage.wait(days=6.9)
    assert not stage.pull(*rows).read.update.scanned
    stage.wait(days=0.2)
    assert stage.pull(*rows).read.update.scanned


def test_a_location_that_refuses_the_range_of_dates_is_read_whole() -> None:
    stage = Stage(*crowd(20))
    rows = addresses(range(20))
    stage.pull(*rows, full=True)
    stage.transport.answers = lambda asked: refuse(422, "operator range is unknown") if asked.is_change else None
    stage.give("c00003x", person("new@example.com"))
    stage.wait(minutes=10)
    pulled = stage.pull("new@example.com", *rows)
    assert pulled.read.update.scanned
    assert pulled.classes[0] is MATCHED


@pytest.mark.slow
def test_a_scan_whose_total_changes_proves_nobody_gone() -> None:
    stage = Stage(*crowd(1_100), search_lag_ms=0)
    rows = addresses(range(1_100))
    stage.pull(*rows, full=True)

    def lose_one(nth: int) -> None:
        if nth == 1:
            stage.world.delete(name("c00002x"), now=stage.clock.now())

    stage.transport.before = lose_one
    pulled = stage.pull(*rows, full=True)
    assert "changed from 1,100 to 1,099" in pulled.read.update.incomplete
    assert any("not complete" in remark for remark in pulled.read.list_remarks())
    # and it counts for no full reading: the next pull reads all again
    stage.transport.before = lambda nth: None
    assert stage.index.status.scanned_at is not None


@pytest.mark.slow
def test_a_pull_that_is_killed_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(*crowd(12_000))
    rows = addresses(range(11_990))

    def kill(nth: int) -> None:
        if nth == 21:
            raise Killed

    stage.transport.before = kill
    with pytest.raises(Killed):
        stage.pull(*rows)
    # twenty pages of 500 were handed on; no scan has come to its end, and the next pull begins one
    assert len(stage.index.current) == 10_000
    assert stage.index.status.scanned_at is None
    stage.transport.before = lambda nth: None
    pulled = stage.pull(*rows)
    assert pulled.read.update.scanned
    assert pulled.result.counts.matched == 11_990


def test_a_merged_contact_is_found_as_its_survivor() -> None:
    people = [contact("ann", person=person("ann@example.com")), contact("bob", person=person("bob@example.com"))]
    stage = Stage(*people, search_lag_ms=0, merged_reads_as_survivor=True)
    rows = ("ann@example.com", "bob@example.com")
    assert stage.pull(*rows, full=True).contacts == tuple(sorted(map(name, ("ann", "bob"))))
    stage.world.merge(name("bob"), name("ann"), now=stage.clock.now())
    pulled = stage.pull(*rows, full=True)
    # by its id it is answered as the survivor, whose address is that of the row by now
    assert pulled.classes == [MATCHED, RowClass.DUPLICATE]
    assert pulled.contacts == (name("ann"),)


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("nulls", [False, True])
def test_additional_addresses_count_in_every_form(objects: bool, nulls: bool) -> None:
    stage = Stage(
        contact("ann", person=person("ann@example.com ann@work.example", "+442079460001 +442079460002")),
        contact("bob", person=person(customer_no="0042")),
        contact("cyd"),
        additional_as_objects=objects,
        search_row_with_nulls=nulls,
    )
    assert stage.pull("Ann@Work.Example", full=True).contacts == (name("ann"),)
    stage.before = None
    assert stage.pull("020 7946 0002", keys=PHONE, region="GB", full=True).contacts == (name("ann"),)
    stage.before = None
    assert stage.pull("0042", keys=NUMBER, full=True).contacts == (name("bob"),)


def test_a_custom_field_that_comes_as_a_number_matches_its_text() -> None:
    stage = Stage(contact("bob", person=person(customer_no="42")), field_numbers=True)
    assert stage.pull("42", keys=NUMBER, full=True).contacts == (name("bob"),)


def test_a_contact_of_another_location_is_nobody_s_match() -> None:
    stage = Stage(contact("ann", person=person("ann@example.com")), contact("bob", location=HERE))
    stage.transport.answers = lambda asked: None
    pulled = stage.pull("ann@example.com", "bob@example.com", full=True, keys=EMAIL)
    assert pulled.classes == [MATCHED, NOT_FOUND]


@pytest.mark.slow
def test_a_hundred_thousand_contacts_take_201_requests() -> None:
    stage = Stage(*crowd(100_000))
    pulled = stage.pull(*addresses(range(1_000)))
    assert len(pulled.asked) == 201
    (cost,) = pulled.costs
    assert cost.requests == 201


@pytest.mark.slow
def test_a_dozen_people_of_a_hundred_thousand_are_looked_up() -> None:
    stage = Stage(*crowd(100_000))
    pulled = stage.pull(*addresses(range(500, 512)))
    assert pulled.result.counts.matched == 12
    # the first page, which tells how many there are; a probe for each way to look up; a request for each person
    assert len(pulled.asked) <= 12 + 2 + 1
    assert pulled.costs[0].requests <= 12
