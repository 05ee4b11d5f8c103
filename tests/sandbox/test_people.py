"""The emulated location tells how its people are reached, and finds them by that, as far as the vendor's API does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from reconciler.core.model.names import ContactId, Instant, iso
from reconciler.core.model.people import ValueKind
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import App
from reconciler.sandbox.assumptions import Assumptions, DuplicateSearch
from reconciler.sandbox.people import SHARED_EMAIL, Person
from reconciler.sandbox.saved_world import customer_field, make_world
from reconciler.sandbox.world import World, made_up_id
from reconciler.wire_people import (
    PersonValue,
    custom_fields_path,
    duplicate_path,
    look_up_body,
    people_body,
    read_custom_fields,
    read_people,
    read_person,
)
from tests.build import CUSTOMER_FIELD, DAY, HERE, NOW, person
from tests.sandbox.builders import (
    ANNA,
    BERT,
    CARA,
    DORA,
    ELSEWHERE,
    GONE,
    a_peopled_world,
    a_world,
    call,
    document,
    load_world,
    save_world,
)

SEARCH, DUPLICATE = "/contacts/search", "/contacts/search/duplicate"
NUMBER = f"customFields.{CUSTOMER_FIELD.id}"
YESTERDAY = NOW - DAY


def rows(app: App, *filters: dict[str, Any], now: int = NOW) -> dict[str, dict[str, Any]]:
    body = {"locationId": HERE, "pageLimit": 500, "filters": list(filters)}
    response = call(app, "POST", SEARCH, body, now=now)
    assert response.status == 200
    return {row["id"]: row for row in document(response)["contacts"]}


def where(field: str, operator: str, value: object = None) -> dict[str, Any]:
    return {"field": field, "operator": operator} | ({} if value is None else {"value": value})


def shown(app: App, contact: str) -> dict[str, Any]:
    found = document(call(app, "GET", f"/contacts/{contact}"))["contact"]
    assert isinstance(found, dict)
    return found


def duplicate(app: App, now: int = NOW, **query: str) -> str | None:
    response = call(app, "GET", f"{DUPLICATE}?{urlencode({'locationId': HERE} | query)}", now=now)
    assert response.status == 200
    found = document(response)["contact"]
    return None if found is None else str(found["id"])


def test_a_row_and_a_read_tell_how_a_person_is_reached() -> None:
    app = App(a_peopled_world())
    told = {
        "email": "anna@example.com",
        "additionalEmails": ["anna@example.org"],
        "phone": "+442079460001",
        "additionalPhones": ["+442079460002"],
        "customFields": [{"id": CUSTOMER_FIELD.id, "value": "K-1"}],
        "dateAdded": iso(Instant(YESTERDAY)),
        "dateUpdated": iso(Instant(YESTERDAY)),
    }

    assert rows(app)[ANNA].items() >= told.items()
    assert shown(app, ANNA).items() >= told.items()


def test_who_has_no_email_has_null_in_a_row_or_no_key() -> None:
    nulls, without = App(a_peopled_world()), App(a_peopled_world(search_row_with_nulls=False))

    assert (rows(nulls)[DORA]["email"], rows(nulls)[DORA]["phone"], rows(nulls)[DORA]["customFields"]) == (
        None,
        None,
        [],
    )
    assert not {"email", "phone"} & rows(without)[DORA].keys()
    assert not {"email", "phone"} & shown(nulls, DORA).keys()


def test_additional_addresses_may_be_objects() -> None:
    app = App(a_peopled_world(additional_as_objects=True))

    for found in (rows(app)[ANNA], shown(app, ANNA)):
        assert found["additionalEmails"] == [{"email": "anna@example.org"}]
        assert found["additionalPhones"] == [{"phone": "+442079460002"}]


def test_emails_may_be_kept_as_they_were_written() -> None:
    app = App(a_peopled_world(lowercases_emails=False))

    assert rows(app)[ANNA]["additionalEmails"] == ["Anna@example.org"]
    assert [*rows(app, where("email", "eq", "anna@example.org"))] == [ANNA]


@pytest.mark.parametrize(("written", "told"), [("12", 12), ("012", "012"), ("K-1", "K-1"), ("²", "²"), ("", None)])
def test_a_field_may_have_a_number(written: str, told: object) -> None:
    app = App(a_peopled_world(field_numbers=True))
    app.world.change_person(DORA, person(customer_no=written), now=NOW)

    assert [each["value"] for each in shown(app, DORA)["customFields"]] == ([] if told is None else [told])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (where("email", "eq", "anna@example.com"), [ANNA]),
        (where("email", "eq", "anna@example.org"), [ANNA]),
        (where("email", "eq", "Anna@example.com"), []),
        (where("email", "eq", "both@example.com"), [BERT, CARA]),
        (where("email", "eq", "away@example.com"), []),
        (where("email", "not_eq", "anna@example.com"), [BERT, CARA, DORA]),
        (where("email", "exists"), [ANNA, BERT, CARA]),
        (where("email", "not_exists"), [DORA]),
        (where("phone", "eq", "+442079460002"), [ANNA]),
        (where("phone", "eq", "+12025550102"), []),
        (where("phone", "contains", "2025550"), [BERT]),
        (where("phone", "exists"), [ANNA, BERT]),
        (where("phone", "not_exists"), [CARA, DORA]),
        (where(NUMBER, "eq", "k-1"), [ANNA]),
        (where(NUMBER, "eq", "K-1"), []),
        (where(NUMBER, "exists"), [ANNA, CARA]),
    ],
)
def test_a_filter_finds_people(condition: dict[str, Any], expected: list[str]) -> None:
    assert [*rows(App(a_peopled_world()), condition)] == expected


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"gte": iso(Instant(YESTERDAY))}, [ANNA, DORA]),
        ({"gt": YESTERDAY}, [ANNA]),
        ({"lte": iso(Instant(YESTERDAY))}, [DORA]),
        ({"gte": YESTERDAY, "lt": NOW}, [DORA]),
        ({"gte": NOW, "lte": NOW}, [ANNA]),
    ],
)
def test_a_range_of_dates_finds_what_changed(value: dict[str, Any], found: list[str]) -> None:
    app = App(a_peopled_world(search_lag_ms=0))
    app.world.change_person(ANNA, person("anna@example.net"), now=NOW)

    assert [who for who in rows(app, where("dateUpdated", "range", value)) if who in {ANNA, DORA}] == found
    assert rows(app, where("dateAdded", "range", {"gt": YESTERDAY})) == {}


def test_a_filter_sees_the_date_and_the_email_of_the_index() -> None:
    app = App(a_peopled_world(search_lag_ms=3_000))
    app.world.change_person(ANNA, person("new@example.com"), now=NOW)
    changed, renamed = where("dateUpdated", "range", {"gte": NOW}), where("email", "eq", "new@example.com")

    assert (rows(app, changed, now=NOW + 2_999), rows(app, renamed, now=NOW + 2_999)) == ({}, {})
    assert [*rows(app, changed, renamed, now=NOW + 3_000)] == [ANNA]
    assert shown(app, ANNA)["email"] == "new@example.com"


def test_a_deleted_person_is_found_until_the_index_knows() -> None:
    app = App(a_peopled_world(search_lag_ms=3_000))
    app.world.delete(ANNA, now=NOW)

    assert [*rows(app, where("email", "eq", "anna@example.com"), now=NOW + 2_999)] == [ANNA]
    assert rows(app, where("email", "eq", "anna@example.com"), now=NOW + 3_000) == {}
    assert duplicate(app, email="anna@example.com") is None


def test_a_hit_by_email_may_vanish_and_come_back() -> None:
    app = App(a_peopled_world(search_flickers_ms=10_000))
    seen = [ANNA in rows(app, where("email", "exists"), now=NOW + 10_000 * turn) for turn in range(8)]

    assert seen.count(True) == 6


@pytest.mark.parametrize(("field", "value"), [("email", "anna@example.com"), ("phone", "+442079460001")])
def test_a_filter_may_be_blind(field: str, value: str) -> None:
    app = App(a_peopled_world(**{f"{field}_filter_finds_nothing": True}))

    assert rows(app, where(field, "eq", value)) == {}
    assert [*rows(app, where(NUMBER, "eq", "k-1"))] == [ANNA]


def test_additional_addresses_may_not_be_sought() -> None:
    app = App(a_peopled_world(additional_are_sought=False))

    assert rows(app, where("email", "eq", "anna@example.org")) == {}
    assert duplicate(app, email="anna@example.org") is duplicate(app, number="+442079460002") is None
    assert rows(app)[ANNA]["additionalEmails"] == ["anna@example.org"]


@pytest.mark.parametrize("field", ["customFields.none", "customFields.customer_no", "firstName", ""])
def test_an_unknown_field_is_refused(field: str) -> None:
    body = {"locationId": HERE, "pageLimit": 5, "filters": [where(field, "eq", "x")]}
    response = call(App(a_peopled_world()), "POST", SEARCH, body)

    assert (response.status, document(response)["message"]) == (400, f"Invalid field {field}")


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (where("email", "range", {"gte": 1}), "operator must be one of eq, not_eq, exists"),
        (where("dateUpdated", "eq", "x"), "operator must be one of range, exists, not_exists; not"),
        (where("dateUpdated", "range", {}), "the value of a range must have some of gte, gt, lte, lt, each a date"),
        (where("dateUpdated", "range", {"gte": "yesterday"}), "the value of a range must have"),
        (where("dateUpdated", "range", {"gte": True}), "the value of a range must have"),
        (where("dateUpdated", "range", {"from": 1}), "the value of a range must have"),
        (where("email", "eq", "x" * 76), "the value of a filter must be shorter than or equal to 75 characters"),
    ],
)
def test_a_bad_filter_is_refused(condition: dict[str, Any], message: str) -> None:
    body = {"locationId": HERE, "pageLimit": 5, "filters": [condition]}
    response = call(App(a_peopled_world()), "POST", SEARCH, body)

    assert response.status == 422
    assert document(response)["message"][0].startswith(message)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"email": "ANNA@example.com"}, ANNA),
        ({"email": "anna@example.org"}, ANNA),
        ({"email": "both@example.com"}, BERT),
        ({"email": "away@example.com"}, None),
        ({"number": "+12025550101"}, BERT),
        ({"number": "+12025550102"}, None),
        ({"email": "both@example.com", "number": "+442079460001"}, BERT),
        ({"email": "none@example.com", "number": "+442079460001"}, ANNA),
    ],
)
def test_the_search_for_duplicates_shows_one_contact(query: dict[str, str], expected: str | None) -> None:
    app = App(a_peopled_world())

    assert duplicate(app, **query) == expected
    assert expected is None or shown(app, expected)["id"] == expected


def test_the_search_for_duplicates_may_find_nothing_or_be_missing() -> None:
    blind = App(a_peopled_world(duplicate_search=DuplicateSearch.FINDS_NOTHING))
    missing = App(a_peopled_world(duplicate_search=DuplicateSearch.MISSING))

    assert duplicate(blind, email="anna@example.com") is None
    assert call(missing, "GET", f"{DUPLICATE}?locationId={HERE}&email=anna%40example.com").status == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"locationId={HERE}", 400),
        ("email=anna%40example.com", 400),
        (f"locationId={ELSEWHERE}&email=anna%40example.com", 403),
        ("", 400),
    ],
)
def test_a_search_for_duplicates_names_the_location_and_a_value(query: str, status: int) -> None:
    response = call(App(a_peopled_world()), "GET", f"{DUPLICATE}?{query}")

    assert response.status == status
    assert "example" not in response.body.decode()


def test_the_custom_fields_of_the_location() -> None:
    app = App(a_peopled_world())
    answers = [
        call(app, "GET", f"/locations/{HERE}/customFields{query}") for query in ("", "?model=contact", "?model=all")
    ]

    assert [document(answer)["customFields"] for answer in answers] == [
        [
            {
                "id": CUSTOMER_FIELD.id,
                "name": "Customer number",
                "fieldKey": "contact.customer_no",
                "dataType": "TEXT",
                "locationId": HERE,
                "model": "contact",
            }
        ]
    ] * 3
    assert document(call(app, "GET", f"/locations/{HERE}/customFields?model=opportunity")) == {"customFields": []}
    assert call(app, "GET", f"/locations/{ELSEWHERE}/customFields").status == 403


@pytest.mark.parametrize("kept", [True, False])
def test_a_merged_person_may_be_found_as_the_survivor(kept: bool) -> None:
    app = App(a_peopled_world(merging_keeps_addresses=kept, search_lag_ms=3_000))
    app.world.merge(ANNA, BERT, now=NOW)
    survivor = app.world.contacts[BERT]

    expected = person(
        "both@example.com anna@example.com anna@example.org", "+12025550101 +442079460001 +442079460002", "K-1"
    )
    assert survivor.person == (expected if kept else person("both@example.com", "+12025550101"))
    assert survivor.updated == (NOW if kept else YESTERDAY)
    assert duplicate(app, email="anna@example.com") == (BERT if kept else None)
    assert [*rows(app, where("email", "eq", "anna@example.com"), now=NOW + 2_999)] == [ANNA]
    assert [*rows(app, where("email", "eq", "anna@example.com"), now=NOW + 3_000)] == ([BERT] if kept else [])


def test_whoever_has_no_email_gets_that_of_the_merged() -> None:
    world = a_peopled_world()
    world.merge(ANNA, DORA, now=NOW)
    world.merge(BERT, CARA, now=NOW)

    assert world.contacts[DORA].person == world.contacts[ANNA].person
    assert world.contacts[CARA].person == person("both@example.com", "+12025550101", "K-2")


def test_the_same_person_again_is_no_change() -> None:
    world = a_peopled_world()
    world.change_person(ANNA, world.contacts[ANNA].person, now=NOW)

    assert (world.contacts[ANNA].updated, world.version) == (YESTERDAY, 0)


def test_people_survive_their_file(tmp_path: Path) -> None:
    world = a_peopled_world(duplicate_search=DuplicateSearch.MISSING)
    save_world(tmp_path / "world.json", world)
    loaded = load_world(tmp_path / "world.json")

    assert (dict(loaded.contacts), loaded.custom_fields) == (dict(world.contacts), (CUSTOMER_FIELD,))
    assert loaded.assumptions == world.assumptions


def test_a_file_of_an_older_version_has_no_people(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    save_world(path, a_world())
    older = json.loads(path.read_text()) | {"format_version": "1.1"}
    del older["custom_fields"]
    for contact in older["contacts"]:
        del contact["person"]
    older["assumptions"] = {"oversize": "cut"}
    path.write_text(json.dumps(older))
    loaded = load_world(path)

    assert {contact.person for contact in loaded.contacts.values()} == {Person()}
    assert (loaded.custom_fields, loaded.assumptions.search_row_with_nulls) == ((), Assumptions().search_row_with_nulls)


def peopled(count: int, *, extra: int = 100) -> World:
    return make_world(HERE, [made_up_id("list", str(nth)) for nth in range(count)], seed=3, extra=extra, people=True)


@pytest.mark.slow
def test_made_up_people_are_always_the_same_and_nobodys() -> None:
    world = peopled(2_000)
    people = [contact.person for contact in world.contacts.values()]
    emails = [email for each in people for email in (each.email, *each.additional_emails) if email]
    phones = [phone for each in people for phone in (each.phone, *each.additional_phones) if phone]
    numbers = [value for each in people for value in each.custom_fields.values()]

    assert dict(peopled(2_000).contacts) == dict(world.contacts)
    assert {email.partition("@")[2] for email in emails} == {"example.com", "example.org"}
    assert {(phone[:2], len(phone)) for phone in phones} == {("+1", 12), ("+4", 13)}
    assert (emails.count(SHARED_EMAIL), len(set(emails))) == (2, len(emails) - 1)
    assert (len(set(phones)), len(set(numbers))) == (len(phones), len(numbers))
    assert 0.9 < sum(bool(each.email) for each in people) / len(people) < 0.99
    assert 0.1 < sum(bool(each.additional_emails) for each in people) / len(people) < 0.3
    assert 0.4 < sum(bool(each.phone) for each in people) / len(people) < 0.8
    assert 0.5 < len(numbers) / len(people) < 0.7
    assert [field.key for field in world.custom_fields] == ["contact.customer_no"]


@pytest.mark.slow
def test_people_change_neither_tags_nor_dates_and_hardly_one_another() -> None:
    world, smaller = peopled(300), peopled(299)
    plain = make_world(HERE, [made_up_id("list", str(nth)) for nth in range(300)], seed=3, extra=100)
    same = sum(world.contacts[who].person == smaller.contacts[who].person for who in smaller.contacts)

    assert {who: (found.tags, found.updated) for who, found in world.contacts.items()} == {
        who: (found.tags, found.updated) for who, found in plain.contacts.items()
    }
    assert {found.person for found in plain.contacts.values()} == {Person()}
    assert same > 0.98 * len(smaller.contacts)


def test_a_small_made_up_world_shares_no_email() -> None:
    world = make_world(HERE, [ANNA, BERT], seed=1, people=True)

    assert world.contacts[ContactId(ANNA)].person.email != world.contacts[ContactId(BERT)].person.email
    assert SHARED_EMAIL not in {contact.person.email for contact in world.contacts.values()}


def test_the_people_of_a_file_live_in_a_made_up_world() -> None:
    number = customer_field(HERE)
    persons = [Person("vip@example.com"), Person(phone="+442079460001"), Person(custom_fields={number.id: "K-1"})]
    world = make_world(HERE, [ANNA], seed=1, extra=2, living=persons)

    people = [contact.person for contact in world.contacts.values()]
    assert people == [Person()] * 3 + persons
    assert make_world(HERE, [ANNA], seed=1, extra=2, living=persons).contacts == world.contacts


@pytest.mark.parametrize(
    "switch",
    [
        {},
        {"additional_as_objects": True},
        {"search_row_with_nulls": False},
        {"lowercases_emails": False},
        {"field_numbers": True},
        {"search_row_without_tags": 1},
    ],
)
def test_our_wire_reads_the_people(switch: dict[str, Any]) -> None:
    app = App(a_peopled_world(**switch))
    page = read_people(call(app, "POST", SEARCH, people_body(HERE, None)).body)
    people = {each.id: {(value.kind, value.text.lower()) for value in each.values} for each in page.people}
    read = read_person(call(app, "GET", f"/contacts/{ANNA}").body)

    anna = {
        (ValueKind.EMAIL, "anna@example.com"),
        (ValueKind.EMAIL, "anna@example.org"),
        (ValueKind.PHONE, "+442079460001"),
        (ValueKind.PHONE, "+442079460002"),
        (ValueKind.FIELD, "k-1"),
    }
    assert (people[ANNA], people[DORA], page.total) == (anna, set(), 4)
    assert read is not None
    assert {(value.kind, value.text.lower()) for value in read.values} == anna


@pytest.mark.parametrize(
    "value",
    [
        PersonValue(ValueKind.EMAIL, "anna@example.org"),
        PersonValue(ValueKind.PHONE, "+442079460002"),
        PersonValue(ValueKind.FIELD, "k-1", CUSTOMER_FIELD.id),
    ],
)
def test_our_wire_looks_a_value_up(value: PersonValue) -> None:
    app = App(a_peopled_world())
    page = read_people(call(app, "POST", SEARCH, look_up_body(HERE, value)).body)
    found = page.people

    if value.kind is not ValueKind.FIELD:
        one = read_person(call(app, "GET", duplicate_path(HERE, value)).body)
        assert one == found[0]
    assert [each.id for each in found] == [ANNA]


def test_our_wire_asks_for_changes_and_fields() -> None:
    app = App(a_peopled_world(search_lag_ms=0))
    app.world.change_person(BERT, person("new@example.com"), now=NOW)
    changed = read_people(call(app, "POST", SEARCH, people_body(HERE, None, changed_since=NOW)).body)
    (found,) = read_custom_fields(call(app, "GET", custom_fields_path(HERE)).body)

    assert [each.id for each in changed.people] == [BERT]
    assert (found.id, found.is_called("customer_no")) == (CUSTOMER_FIELD.id, True)


def test_many_lookups_use_the_quota() -> None:
    app = App(a_peopled_world(), limits=Limits(requests=2))
    path = f"{DUPLICATE}?locationId={HERE}&email=anna%40example.com"

    assert [call(app, "GET", path).status for _ in range(3)] == [200, 200, 429]


def test_a_deleted_contact_cannot_be_read_by_its_address() -> None:
    assert duplicate(App(a_peopled_world()), number="+12025550102") is None
    assert call(App(a_peopled_world()), "GET", f"/contacts/{GONE}").status == 400
