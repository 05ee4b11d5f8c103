"""Sets by filter against the emulated search: what a filter and its opposite find, and what an index that flickers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.contact_filter import (
    Condition,
    ConditionGroup,
    ContactFilter,
    FilterOperator,
    digest_filter,
    negate,
)
from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.names import ContactId, Instant, SetName, Source
from reconciler.core.model.people import PeopleIndex, Snapshot
from reconciler.core.model.settings import Settings
from reconciler.core.running.pace import Pace
from reconciler.operations.custom_fields import name_by_id
from reconciler.operations.filtered_sets import FilteredSet
from reconciler.operations.people_index import PeopleReading
from reconciler.operations.workspace import Workspace, rate_from
from reconciler.sandbox.app import App
from reconciler.sandbox.world import Contact, World
from reconciler.wire_people import CustomField, filter_body
from tests.build import CUSTOMER_FIELD, HERE, NOW, contact, ids, person
from tests.pull.stage import Asked, Stage, StagedApi, dated, refuse
from tests.sandbox.builders import call, document

GOLD = Condition("city", FilterOperator.EQ, "Berlin")
VIP = SetName("vip")
KEY = b"the key of the environment"


class FilterStage(Stage):
    """Pulls one set by filter, again and again."""

    def search(self, wanted: ContactFilter = GOLD) -> tuple[ContactId, ...]:
        self.transport.asked = []
        settings = Settings()
        workspace = Workspace(Path("manifests"), {}, {}, self.listener, self.clock)
        api = StagedApi(workspace, settings, HERE, Pace(rate_from(settings)), transport=self.transport)
        entry = FilteredSet(VIP, Source("manifests/acme.yaml", 4, 5), wanted, digest_filter(wanted), may_be_empty=True)
        read = self.clock.run(PeopleReading(api, (), filters=(entry,)).read(PeopleIndex()))
        for failure in read.all_failures.values():
            raise failure
        digest = entry.make_digest(KEY, self.before)
        members = entry.find_members(read.filtered.hits[VIP], self.before, digest)
        self.before = Snapshot(members.contacts, self.clock.now(), digest, members.counts, members.missing)
        return members.contacts


def berliners(count: int) -> list[Contact]:
    return [
        dated(contact(f"c{nth}x", person=person(city="Berlin")), Instant(NOW - 86_400_000 + nth))
        for nth in range(count)
    ]


def test_an_index_that_flickers_takes_nobody_out() -> None:
    stage = FilterStage(*berliners(40), search_flickers_ms=60_000)
    # within one turn some are hidden, and in the next ones others
    shown = [set(stage.search())]
    for _ in range(4):
        stage.wait(minutes=1)
        shown.append(set(stage.search()))
    assert len(shown[0]) == 30
    assert all(before <= after for before, after in pairwise(shown))
    assert len(shown[-1]) == 40


def test_a_contact_that_left_is_out_after_two_searches_beyond_the_lag() -> None:
    stage = FilterStage(*berliners(3), search_lag_ms=12_000)
    assert len(stage.search()) == 3
    stage.give("c1x", person(city="Bern"))
    # the index does not know yet
    assert len(stage.search()) == 3
    for minutes, size in ((1, 3), (4, 3), (2, 2)):
        stage.wait(minutes=minutes)
        assert len(stage.search()) == size


@pytest.mark.parametrize(("contacts", "requests"), [(0, 1), (1, 2), (500, 2), (501, 3)])
def test_a_request_shows_five_hundred(contacts: int, requests: int) -> None:
    stage = FilterStage(*berliners(contacts))
    assert len(stage.search()) == contacts
    # the last page is empty, which proves the end
    assert len(stage.transport.asked) == requests


def test_an_api_that_pages_no_further_is_told() -> None:
    stage = FilterStage(*berliners(3))

    def cut(asked: Asked) -> httpx.Response:
        rows = [{"id": ids("c0x")[0], "locationId": HERE, "tags": []}]
        return answer({"contacts": rows, "total": 12_000})

    stage.transport.answers = cut
    with pytest.raises(InvalidInput, match="not complete: 1 contacts came, and 12,000 were counted"):
        stage.search()


def test_a_filter_that_the_api_refuses_is_the_sets_failure() -> None:
    stage = FilterStage(*berliners(3))
    stage.transport.answers = lambda asked: refuse(400, "Invalid field city")
    with pytest.raises(InvalidInput, match=r"the API does not take the filter: .*Invalid field city"):
        stage.search()


@pytest.mark.parametrize(
    "condition",
    [
        Condition("email", FilterOperator.EQ, "ann@example.com"),
        Condition("phone", FilterOperator.CONTAINS, "794601"),
        Condition("second mail", FilterOperator.NOT_EQ, "ann@example.com", is_custom=True),
        Condition("mobile", FilterOperator.EQ, "+44 20 7946 0123", is_custom=True),
    ],
    ids=str,
)
def test_a_filter_is_told_without_addresses(condition: Condition) -> None:
    assert str(condition).endswith("(not shown)")


def by_mail(address: str) -> FilteredSet:
    wanted = Condition("email", FilterOperator.EQ, address)
    return FilteredSet(VIP, Source("manifests/acme.yaml", 4, 5), wanted, digest_filter(wanted))


def test_a_plan_tells_no_address_by_the_digest_of_a_filter_and_a_pull_does_by_its_key() -> None:
    ann, bea = by_mail("ann@example.com"), by_mail("bea@example.com")
    # what needs no key has no part in it that could be tried
    assert ann.digest == bea.digest
    sealed = {entry.make_digest(key, None) for entry in (ann, bea) for key in (KEY, b"another key of this length")}
    assert len(sealed) == 4
    assert all(digest.startswith(f"{ann.digest} hmac-sha256:") for digest in sealed)
    assert ann.make_digest(KEY, None) == by_mail("ann@example.com").make_digest(KEY, None)


def test_without_a_key_the_digest_of_an_address_keeps_its_salt() -> None:
    ann = by_mail("ann@example.com")
    first = ann.make_digest(None, None)
    before = Snapshot((), Instant(0), first)
    assert first != ann.make_digest(None, None)
    assert ann.make_digest(None, before) == first
    assert by_mail("bea@example.com").make_digest(None, before) != first


def test_a_filter_without_an_address_has_the_digest_of_older_snapshots() -> None:
    wanted = Condition("city", FilterOperator.EQ, "Berlin")
    entry = FilteredSet(VIP, Source("manifests/acme.yaml", 4, 5), wanted, digest_filter(wanted))
    assert entry.make_digest(KEY, None) == entry.make_digest(None, None) == entry.digest
    assert entry.digest == "sha256:4d03ac081eb220514d3feff0e18b4c858783aaf762f38cdab64784cf57b76271"


POINTS = CustomField("f1", "contact.points", "Points", "NUMERICAL")


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "1_000", "1234567890123456789", "\u0663", "ann@example.com"])
def test_a_number_is_asked_for_as_one(text: str) -> None:
    with pytest.raises(InvalidInput, match="its value is a number") as raised:
        name_by_id(Condition("points", FilterOperator.EQ, text, is_custom=True), [POINTS])
    assert text not in str(raised.value)


def answer(body: object) -> httpx.Response:
    return httpx.Response(200, content=json.dumps(body).encode())


def test_the_words_of_a_refusal_repeat_no_address() -> None:
    stage = FilterStage(*berliners(3))
    stage.transport.answers = lambda asked: refuse(422, "ann@example.com is none")
    with pytest.raises(InvalidInput, match="it answered 422; its words are withheld") as refused:
        stage.search(Condition("email", FilterOperator.EQ, "ann@example.com"))
    assert "ann@example.com" not in str(refused.value)


WORDS = st.sampled_from(["Berlin", "bern", "x"])
CONDITIONS = st.one_of(
    st.builds(Condition, st.just("city"), st.sampled_from([FilterOperator.EQ, FilterOperator.CONTAINS]), WORDS),
    st.builds(Condition, st.sampled_from(["email", "city"]), st.just(FilterOperator.EXISTS)),
    st.builds(
        lambda bounds: Condition("dateOfBirth", FilterOperator.RANGE, bounds=bounds),
        st.sampled_from(
            [
                (("gt", "1990-01-01T00:00:00.000Z"),),
                (("gte", "1980-01-01T00:00:00.000Z"), ("lt", "1990-01-01T00:00:00.000Z")),
            ]
        ),
    ),
)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds(negate, inner),
        st.builds(ConditionGroup, st.lists(inner, min_size=1, max_size=3).map(tuple), st.booleans()),
    ),
    max_leaves=6,
)
DETAILS = st.fixed_dictionaries(
    {},
    optional={
        "city": WORDS,
        "emails": st.just("a@example.com"),
        "dateOfBirth": st.sampled_from(["1990-01-01", "1985-06-01"]),
    },
)


def find(people: Sequence[dict[str, str]], wanted: ContactFilter) -> set[str]:
    contacts = [contact(f"c{nth}x", person=person(**values)) for nth, values in enumerate(people)]
    app = App(World(HERE, contacts, custom_fields=[CUSTOMER_FIELD]))
    response = call(app, "POST", "/contacts/search", json.loads(filter_body(HERE, wanted, None)))
    assert response.status == 200
    return {row["id"] for row in document(response)["contacts"]}


@given(st.lists(DETAILS, max_size=5), FILTERS)
def test_not_finds_all_others(people: list[dict[str, str]], wanted: ContactFilter) -> None:
    found, others = find(people, wanted), find(people, negate(wanted))
    assert found.isdisjoint(others)
    assert len(found | others) == len(people)
    assert negate(negate(wanted)) == wanted or find(people, negate(negate(wanted))) == found


@pytest.mark.slow
@given(st.lists(DETAILS, max_size=5), FILTERS, st.randoms())
def test_the_order_of_contacts_does_not_count_and_twice_is_as_good_as_once(
    people: list[dict[str, str]], wanted: ContactFilter, chance: object
) -> None:
    contacts = [contact(f"c{nth}x", person=person(**values)) for nth, values in enumerate(people)]
    stage = FilterStage(*contacts)
    first = stage.search(wanted)
    stage.wait(minutes=10)
    assert stage.search(wanted) == first
    chance.shuffle(contacts)  # type: ignore[attr-defined]
    ages = [dated(entry, Instant(NOW - 86_400_000 + nth)) for nth, entry in enumerate(contacts)]
    assert FilterStage(*ages).search(wanted) == first
