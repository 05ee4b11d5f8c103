"""Few values are looked up one by one, by the request that the location is found to answer; contacts are read by id."""

from __future__ import annotations

import json

import pytest

from reconciler.core.model.people import LookUp, RowClass, ValueKind
from reconciler.sandbox.assumptions import DuplicateSearch
from tests.build import contact, name, person
from tests.pull.stage import EMAIL, NUMBER, PHONE, Stage, dated, refuse
from tests.pull.test_index import addresses, crowd

PHONES = [f"+4420794600{nth:02}" for nth in range(4)]


def a_large_stage(**assumptions: object) -> Stage:
    """Enough people for a look-up to cost less than to read them all."""
    special = [
        contact("ann", person=person("ann@example.com", PHONES[0], "A-1")),
        contact("bob", person=person("bob@example.com", PHONES[1], "B-2")),
        contact("cyd", person=person("both@example.com", PHONES[2])),
        contact("dan", person=person("both@example.com", PHONES[3])),
    ]
    return Stage(*special, *crowd(2_000), **assumptions)


def test_few_rows_are_looked_up_and_the_cost_is_told_before() -> None:
    stage = a_large_stage()
    pulled = stage.pull("ann@example.com")
    assert pulled.contacts == (name("ann"),)
    assert not pulled.read.update.scanned
    assert (pulled.count("page"), pulled.count("look_up")) == (1, 2)
    (cost,) = pulled.costs
    assert (cost.method, cost.requests) == ("look-up", 1)
    # the way is known by now: no probe
    assert stage.pull("ann@example.com", "bob@example.com").count("look_up") == 2


@pytest.mark.slow
def test_a_search_shows_all_who_have_the_value() -> None:
    pulled = a_large_stage().pull("both@example.com")
    assert pulled.classes == [RowClass.AMBIGUOUS]
    assert pulled.result.ambiguous == {2: tuple(sorted((name("cyd"), name("dan"))))}


@pytest.mark.slow
def test_a_search_by_email_that_finds_nothing_gives_way_to_the_search_for_duplicates() -> None:
    stage = a_large_stage(email_filter_finds_nothing=True)
    pulled = stage.pull("bob@example.com")
    assert pulled.contacts == (name("bob"),)
    assert dict(stage.index.status.look_ups) == {ValueKind.EMAIL: LookUp.DUPLICATE}
    # which shows one contact, also where several have the value: that is said
    assert any("shows one contact" in remark for remark in pulled.read.list_remarks())


@pytest.mark.slow
def test_a_search_by_phone_that_finds_nothing_gives_way_too() -> None:
    stage = a_large_stage(phone_filter_finds_nothing=True)
    assert stage.pull(PHONES[1], keys=PHONE).contacts == (name("bob"),)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [DuplicateSearch.MISSING, DuplicateSearch.FINDS_NOTHING])
@pytest.mark.parametrize(("keys", "value"), [(EMAIL, "bob@example.com"), (PHONE, PHONES[1])])
def test_where_no_look_up_finds_who_is_there_all_are_read(answer: DuplicateSearch, keys: object, value: str) -> None:
    stage = a_large_stage(email_filter_finds_nothing=True, phone_filter_finds_nothing=True, duplicate_search=answer)
    pulled = stage.pull(value, keys=keys)  # type: ignore[arg-type]
    # nothing found by a request that finds nobody is no answer
    assert pulled.read.update.scanned
    assert pulled.contacts == (name("bob"),)


def test_custom_fields_are_looked_up_by_the_search_alone() -> None:
    stage = a_large_stage()
    pulled = stage.pull("b-2", keys=NUMBER)
    assert pulled.contacts == (name("bob"),)
    assert not any("duplicate" in request.path for request in pulled.asked)


@pytest.mark.slow
def test_who_an_index_of_all_lacks_is_looked_up() -> None:
    stage = a_large_stage(search_lag_ms=0)
    stage.pull("ann@example.com", full=True)
    # came after, without a change that the search for changes shows
    stage.transport.answers = lambda asked: None
    new = contact("eve", person=person("eve@example.com"))
    stage.world.put(new, now=stage.clock.now())
    pulled = stage.pull("ann@example.com", "eve@example.com")
    assert pulled.contacts == tuple(sorted(map(name, ("ann", "eve"))))
    assert not pulled.read.update.scanned


def test_only_the_api_s_word_by_id_proves_a_contact_gone() -> None:
    stage = Stage(*crowd(30), search_lag_ms=0)
    rows = addresses(range(20))
    stage.pull(*rows, full=True)
    stage.world.delete(name("c00004x"), now=stage.clock.now())
    # a search for changes says nothing of it
    assert name("c00004x") in stage.pull(*rows).contacts
    pulled = stage.pull(*rows, full=True)
    assert pulled.read.update.gone == (name("c00004x"),)
    assert name("c00004x") not in pulled.contacts
    assert pulled.count("by_id") == 1


def test_ten_absences_in_a_row_are_believed_where_others_are_there() -> None:
    """Of 60 contacts 42 are deleted: one page that shows the others, and three of them read by id, are the proof."""
    stage = Stage(*crowd(60), search_lag_ms=0)
    rows = addresses(range(60))
    stage.pull(*rows, full=True)
    deleted = [name(f"c{nth:05}x") for nth in range(42)]
    for gone in deleted:
        stage.world.delete(gone, now=stage.clock.now())
    pulled = stage.pull(*rows, full=True)
    assert pulled.read.update.gone == tuple(deleted)
    assert (len(pulled.contacts), pulled.read.update.unproven) == (18, 0)
    # no more than one such look for each ten
    assert 42 + 3 <= pulled.count("by_id") <= 42 + 3 * 4


def test_ten_absences_in_a_row_are_not_believed_where_no_contact_is_shown() -> None:
    stage = Stage(*crowd(60), search_lag_ms=0)
    rows = addresses(range(60))
    stage.pull(*rows, full=True)
    for nth in range(12):
        stage.world.delete(name(f"c{nth:05}x"), now=stage.clock.now())
    stage.transport.answers = lambda asked: refuse(400, "Contact not found") if asked.is_by_id else None
    pulled = stage.pull(*rows, full=True)
    assert pulled.read.update.gone == ()
    assert len(pulled.contacts) == 60
    assert pulled.read.update.unproven == 12
    assert any("not proven gone" in remark for remark in pulled.read.list_remarks())


@pytest.mark.slow
def test_a_contact_that_was_found_by_a_look_up_is_read_by_id_before_it_leaves() -> None:
    stage = a_large_stage(search_lag_ms=0)
    assert stage.pull("ann@example.com", "bob@example.com").contacts == tuple(sorted(map(name, ("ann", "bob"))))
    stage.world.delete(name("bob"), now=stage.clock.now())
    pulled = stage.pull("ann@example.com", "bob@example.com")
    assert pulled.read.update.gone == (name("bob"),)
    assert pulled.contacts == (name("ann"),)


def test_a_look_up_that_misses_a_contact_that_is_there_keeps_it() -> None:
    stage = a_large_stage(search_lag_ms=0)
    stage.pull("ann@example.com", "bob@example.com")
    hidden = json.dumps({"contacts": [], "total": 0}).encode()

    def hide(asked: object) -> object:
        import httpx

        is_bob = "bob@example.com" in getattr(asked, "body", "")
        return httpx.Response(200, content=hidden) if is_bob else None

    stage.transport.answers = hide  # type: ignore[assignment]
    pulled = stage.pull("ann@example.com", "bob@example.com")
    assert name("bob") in pulled.contacts


@pytest.mark.slow
def test_an_address_that_moved_since_it_was_looked_up_is_of_its_new_contact() -> None:
    stage = a_large_stage(search_lag_ms=0)
    assert stage.pull("ann@example.com").contacts == (name("ann"),)
    stage.give("ann", person("ann.new@example.com"))
    stage.give("bob", person("ann@example.com"))
    pulled = stage.pull("ann@example.com")
    # who had it is read by id: without that the address would be of two
    assert pulled.classes == [RowClass.MATCHED]
    assert pulled.contacts == (name("bob"),)
    (changed,) = pulled.result.rematched
    assert (changed.former, changed.current) == (name("ann"), name("bob"))


def test_a_contact_that_was_deleted_and_created_anew_is_matched_by_the_changes() -> None:
    stage = Stage(*crowd(30), search_lag_ms=0)
    rows = addresses(range(20))
    stage.pull(*rows, full=True)
    stage.wait(minutes=10)
    stage.world.delete(name("c00004x"), now=stage.clock.now())
    new = contact("new", person=person("c4@example.com"))
    stage.world.put(dated(new, stage.clock.now()), now=stage.clock.now())
    pulled = stage.pull(*rows)
    assert not pulled.read.update.scanned
    assert pulled.read.update.gone == (name("c00004x"),)
    assert name("new") in pulled.contacts
    assert name("c00004x") not in pulled.contacts
    assert pulled.count("by_id") == 1


def test_an_address_of_many_has_nobody_read_by_id() -> None:
    shared = [contact(f"s{nth}x", person=person("office@example.com")) for nth in range(5)]
    stage = Stage(*shared, search_lag_ms=0)
    stage.pull("office@example.com", full=True)
    stage.wait(minutes=10)
    stage.give("s0x", person("office@example.com s0@example.com"))
    pulled = stage.pull("office@example.com")
    assert pulled.classes == [RowClass.AMBIGUOUS]
    assert pulled.count("by_id") == 0
