"""Every contact is found once under the cursor, whatever the page, and filters mean what they say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.names import Instant
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import App
from reconciler.sandbox.people import Person
from reconciler.sandbox.saved_world import make_world
from reconciler.sandbox.world import Contact, World, made_up_id
from reconciler.wire import Page, read_page, search_body
from tests.build import HERE, NOW, contact
from tests.sandbox.builders import ANNA, BERT, CARA, ELSEWHERE, a_world, call, document

SEARCH = "/contacts/search"
MANY = Limits(requests=100_000)


def scan(app: App, size: int, now: int = NOW) -> list[str]:
    """All pages under the cursor, `size` contacts a page."""
    found: list[str] = []
    body: dict[str, Any] = {"locationId": HERE, "pageLimit": size}
    while rows := document(call(app, "POST", SEARCH, body, now=now))["contacts"]:
        found += [row["id"] for row in rows]
        body["searchAfter"] = rows[-1]["searchAfter"]
    return found


def search(app: App, *filters: dict[str, Any], now: int = NOW, **more: Any) -> list[str]:
    body = {"locationId": HERE, "pageLimit": 500, "filters": list(filters)} | more
    response = call(app, "POST", SEARCH, body, now=now)
    assert response.status == 200
    return [row["id"] for row in document(response)["contacts"]]


def on_tags(operator: str, *values: str) -> dict[str, Any]:
    return {"field": "tags", "operator": operator, "value": list(values)}


@given(count=st.integers(0, 40), size=st.integers(1, 15), same_moment=st.booleans())
def test_the_cursor_finds_every_contact_once(count: int, size: int, same_moment: bool) -> None:
    names = [made_up_id(str(number)) for number in range(count)]
    moments = [Instant(0 if same_moment else number % 7) for number in range(count)]
    world = World(HERE, [Contact(name, HERE, added=at) for name, at in zip(names, moments, strict=True)])

    assert sorted(scan(App(world, limits=MANY), size)) == sorted(names)


@given(st.data())
def test_the_cursor_misses_nobody_while_others_come_and_go(data: st.DataObject) -> None:
    staying = [made_up_id("stay", str(number)) for number in range(20)]
    world = make_world(HERE, staying, seed=1)
    app, found, now = App(world, limits=MANY), [], int(NOW)
    body: dict[str, Any] = {"locationId": HERE, "pageLimit": 3}
    while rows := document(call(app, "POST", SEARCH, body, now=now))["contacts"]:
        found += [row["id"] for row in rows]
        body["searchAfter"] = rows[-1]["searchAfter"]
        now += 5_000
        gone = data.draw(st.sampled_from(sorted(set(world.contacts) - set(staying) | {""})))
        if gone:
            world.delete(gone, now=Instant(now))
        world.put(contact(made_up_id(str(now))), now=Instant(now))
        if len(found) > 60:
            break

    assert set(staying) <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.slow
def test_our_wire_reads_the_pages() -> None:
    app, pages, cursor = App(make_world(HERE, [], seed=1, extra=1_203), limits=MANY), [], None
    while True:
        page: Page = read_page(call(app, "POST", SEARCH, search_body(HERE, cursor)).body)
        pages.append(len(page.contacts))
        cursor = page.cursor
        if not page.contacts:
            break

    assert (pages, page.total) == ([500, 500, 203, 0], 1_203)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (on_tags("eq", "a"), [ANNA, BERT]),
        (on_tags("eq", "a", "b"), [BERT]),
        (on_tags("eq", "A"), []),
        (on_tags("not_eq", "b"), [ANNA, CARA]),
        (on_tags("contains", "b"), [BERT]),
        (on_tags("not_contains", "b"), [ANNA, CARA]),
        ({"field": "tags", "operator": "exists"}, [ANNA, BERT]),
        ({"field": "tags", "operator": "not_exists"}, [CARA]),
        ({"field": "tags", "operator": "eq", "value": "b"}, [BERT]),
    ],
)
def test_a_filter_finds_the_living_of_this_location(condition: dict[str, Any], expected: list[str]) -> None:
    assert search(App(a_world()), condition) == expected


def test_filters_are_all_met() -> None:
    assert search(App(a_world()), on_tags("eq", "a"), on_tags("not_eq", "b")) == [ANNA]


@pytest.mark.parametrize(("operator", "expected"), [("eq", [ANNA, BERT]), ("not_eq", [CARA])])
def test_eq_may_ask_for_any(operator: str, expected: list[str]) -> None:
    assert search(App(a_world(eq_needs_all=False)), on_tags(operator, "a", "b")) == expected


def test_who_has_an_address_is_found_by_it_from_the_moment_it_is_theirs() -> None:
    """Asked before and after: an answer may be remembered, and not for longer than it is true."""
    people = [Person(email="Anna@x.example"), Person(email="bert@x.example", additional_emails=("both@x.example",))]
    world = World(HERE, [Contact(who, HERE, person=person) for who, person in zip((ANNA, BERT), people, strict=True)])
    app = App(world)

    def find(*emails: str, now: int = NOW) -> list[str]:
        return search(app, {"field": "email", "operator": "eq", "value": list(emails)}, now=now)

    assert find("anna@x.example") == [ANNA]
    assert find("both@x.example", "bert@x.example") == [BERT], "who has all of them"
    world.change_person(ANNA, Person(email="new@x.example"), now=NOW)
    assert (find("anna@x.example"), find("new@x.example")) == ([ANNA], []), "the index lags"
    assert (find("anna@x.example", now=NOW + 10_000), find("new@x.example", now=NOW + 10_000)) == ([], [ANNA])


def test_the_index_lags() -> None:
    app = App(a_world(search_lag_ms=3_000))
    app.world.add(CARA, ["a"], now=NOW, by="somebody")

    assert search(app, on_tags("eq", "a"), now=NOW + 2_999) == [ANNA, BERT]
    assert search(app, on_tags("eq", "a"), now=NOW + 3_000) == [ANNA, BERT, CARA]


def test_a_hit_may_vanish_and_come_back() -> None:
    app = App(a_world(search_flickers_ms=10_000))
    found = [scan(app, 2, NOW + 10_000 * turn) for turn in range(8)]

    assert all(any(who not in seen for seen in found) for who in (ANNA, BERT, CARA))
    assert all(sum(who in seen for seen in found) == 6 for who in (ANNA, BERT, CARA))
    assert search(app, now=NOW + 80_000) == search(app, now=NOW + 89_000)


def test_a_search_may_never_end() -> None:
    app, body = App(a_world(search_ignores_cursor=True)), {"locationId": HERE, "pageLimit": 2}
    first = document(call(app, "POST", SEARCH, body))
    second = document(call(app, "POST", SEARCH, body | {"searchAfter": first["contacts"][-1]["searchAfter"]}))

    assert first == second


def test_some_rows_may_lack_their_tags() -> None:
    app = App(a_world(search_row_without_tags=1))
    page = read_page(call(app, "POST", SEARCH, search_body(HERE, None)).body)

    assert [found.tags for found in page.contacts] == [None, None, None]


def test_pages_by_number() -> None:
    assert search(App(a_world()), page=2, pageLimit=2) == [CARA]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pageLimit": 501}, "pageLimit must not be greater than 500"),
        ({"pageLimit": None}, "pageLimit must be a positive number"),
        ({"pageLimit": True}, "pageLimit must be a positive number"),
        ({"page": 0}, "page must be a positive number"),
        ({"page": 21}, "use searchAfter for records past 10000"),
        ({"page": 1, "searchAfter": [1, "a"]}, "page can not be used with searchAfter"),
        ({"searchAfter": [1]}, "searchAfter must be the one of a contact"),
        ({"searchAfter": ["1", 2]}, "searchAfter must be the one of a contact"),
        ({"searchAfter": "x"}, "searchAfter must be the one of a contact"),
        ({"more": 1}, "property more should not exist"),
        ({"filters": {}}, "filters must be an array"),
        (
            {"filters": [on_tags("eq", "x" * 76)]},
            "the value of a filter must be shorter than or equal to 75 characters",
        ),
        ({"filters": [on_tags("eq")]}, "the value of a filter must be text or a list of texts"),
        ({"filters": [{"field": "tags", "operator": "like"}]}, "operator must be one of eq, not_eq, contains"),
        ({"filters": [{"operator": "eq"}]}, "each filter must have a field, an operator and a value"),
        ({"filters": [{"field": "tags", "operator": [[]]}]}, "operator must be one of"),
    ],
)
def test_a_bad_search_is_refused(change: dict[str, Any], message: str) -> None:
    response = call(App(a_world()), "POST", SEARCH, {"locationId": HERE, "pageLimit": 500} | change)

    assert response.status == 422
    assert document(response)["message"][0].startswith(message)


def test_a_search_of_another_location_is_refused() -> None:
    assert call(App(a_world()), "POST", SEARCH, {"locationId": ELSEWHERE, "pageLimit": 5}).status == 403
    assert call(App(a_world()), "POST", SEARCH, {"pageLimit": 5}).status == 422
