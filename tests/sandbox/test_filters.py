"""The filters of the search are those of the vendor's page; some made-up contacts have what a filter asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.model.contact_filter import Condition, ConditionGroup, FilterOperator
from reconciler.loading.filter_models import ConditionModel, OpportunityTest
from reconciler.sandbox.app import App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.filters import OF_OPPORTUNITIES, STANDARD
from reconciler.sandbox.saved_world import make_world
from reconciler.sandbox.traits import find_traits
from reconciler.sandbox.world import World
from tests.build import HERE, contact, location_field, person
from tests.sandbox.builders import call, document

SEARCH = "/contacts/search"
BOXES = replace(location_field("boxes", "TEXTBOX_LIST"), options={"box1": "Waist", "box2": "Hip"})
PLAN, POINTS, LIKES, BORN = (
    location_field(key, kind)
    for key, kind in (("plan", "TEXT"), ("points", "NUMERICAL"), ("likes", "MULTIPLE_OPTIONS"), ("born", "DATE"))
)
DEALS = '[{"pipelineId": "p1", "status": "open"}, {"pipelineId": "p2", "status": "lost"}]'
CUSTOM = [PLAN, POINTS, LIKES, BORN, BOXES]


def world(**assumed: Any) -> World:
    people = [
        contact("ann", "a", person=person(fields={"plan": "Gold", "points": "120"}, city="Berlin", dnd="true")),
        contact("bob", "b", person=person(fields={"plan": "silver", "born": "1990-05-01"}, city="bern")),
        contact("cid", person=person("cid@example.com", assignedTo="userA", lastAppointment="2026-01-05T10:00:00Z")),
        contact("dan", person=person(fields={"boxes.box1": "80"}, opportunities=DEALS)),
        contact("eve", person=person(fields={"boxes.box2": "80"}, opportunities='[{"status": "won"}]')),
    ]
    return World(HERE, people, custom_fields=CUSTOM, assumptions=Assumptions(**assumed))


def ask(app: App, *filters: dict[str, Any]) -> Any:
    return call(app, "POST", SEARCH, {"locationId": HERE, "pageLimit": 500, "filters": list(filters)})


def find(*filters: dict[str, Any], **assumed: Any) -> str:
    rows = document(ask(App(world(**assumed)), *filters))["contacts"]
    return " ".join(row["id"][:3] for row in rows)


def on(field: str, operator: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "operator": operator} | ({} if value is None else {"value": value})


def group(name: str, *filters: dict[str, Any]) -> dict[str, Any]:
    return {"group": name, "filters": list(filters)}


def custom(field: Any) -> str:
    return f"customFields.{field.id}"


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (on("city", "eq", "berlin"), "ann"),
        (on("city", "eq", "Berlin"), ""),
        (on("city", "contains", "ber"), "ann bob"),
        (on("city", "not_contains", "lin"), "bob cid dan eve"),
        (on("city", "not_exists"), "cid dan eve"),
        (on("dnd", "eq", True), "ann"),
        (on("dnd", "not_eq", True), "bob cid dan eve"),
        (on("assignedTo", "eq", "userA"), "cid"),
        (on("lastAppointment", "range", {"gt": "2026-01-01T00:00:00Z"}), "cid"),
        (on("lastAppointment", "exists"), "cid"),
        (on("opportunities", "nested", [on("status", "eq", "open")]), "dan"),
        (on("opportunities", "nested", [on("pipelineId", "eq", "p1"), on("status", "eq", "open")]), "dan"),
        (on("opportunities", "nested", [on("pipelineId", "eq", "p1"), on("status", "eq", "lost")]), ""),
        (on("opportunities", "nested", [on("status", "not_eq", "open")]), "dan eve"),
        (on("opportunities", "nested", [on("pipelineId", "not_exists")]), "eve"),
        (on(f"{custom(BOXES)}.box1", "eq", "80"), "dan"),
        (on(f"{custom(BOXES)}.box2", "contains", "8"), "eve"),
        (on(custom(PLAN), "eq", "gold"), "ann"),
        (on(custom(POINTS), "range", {"gte": 120}), "ann"),
        (on(custom(POINTS), "eq", 120), "ann"),
        (on(custom(BORN), "range", {"gte": "1990-05-01T00:00:00.000Z", "lt": "1991-01-01T00:00:00Z"}), "bob"),
        (group("OR", on("city", "eq", "bern"), on("email", "exists")), "bob cid"),
        (group("AND", on("city", "exists"), group("OR", on("tags", "eq", "b"), on("tags", "eq", "c"))), "bob"),
    ],
)
def test_a_filter_means_what_the_page_says(condition: dict[str, Any], found: str) -> None:
    assert find(condition) == found


def test_of_opportunities_not_eq_may_mean_none_of_them() -> None:
    asked = on("opportunities", "nested", [on("status", "not_eq", "open")])
    assert find(asked, opportunity_not_eq_is_any=False) == "ann bob cid eve"


def test_the_index_may_keep_capitals() -> None:
    assert find(on("city", "eq", "Berlin"), index_keeps_case=True) == "ann"
    assert find(on("city", "eq", "berlin"), index_keeps_case=True) == ""


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (on("id", "contains", "ann"), "operator must be one of eq, not_eq; not"),
        (on("email", "contains", "ann"), "operator must be one of eq, not_eq, exists, not_exists; not"),
        (on("dateAdded", "eq", "x"), "operator must be one of range, exists, not_exists; not"),
        (on(custom(LIKES), "contains", "x"), "operator must be one of eq, not_eq, exists"),
        (on(custom(BORN), "eq", "x"), "operator must be one of range"),
        (on(custom(POINTS), "range", {"gte": "x"}), "the value of a range must have"),
        (on("opportunities", "eq", "open"), "a filter of opportunities must have the operator nested and a list"),
        (on("opportunities", "nested", [on("status", "contains", "o")]), "operator must be one of eq, not_eq, exists"),
        (
            on("opportunities", "nested", [group("OR", on("status", "exists"))]),
            "the filters of opportunities must have a field, an operator and a value",
        ),
        (group("XOR", on("city", "exists")), "a group must be AND or OR"),
        (group("AND"), "a group must be AND or OR, and have filters"),
        (group("OR", on("city", "like", "x")), "operator must be one of"),
    ],
)
def test_a_filter_that_the_page_does_not_have_is_refused(condition: dict[str, Any], message: str) -> None:
    answer = ask(App(world()), condition)
    assert answer.status == 422
    assert document(answer)["message"][0].startswith(message)


def test_an_unknown_field_in_a_group_is_refused() -> None:
    answer = ask(App(world()), group("OR", on("citty", "eq", "x")))
    assert (answer.status, document(answer)["message"]) == (400, "Invalid field citty")


def test_a_list_of_text_boxes_is_asked_for_by_one_of_them_and_an_opportunity_by_its_own_fields() -> None:
    for unknown in (custom(BOXES), f"{custom(BOXES)}.box3", "pipelineId", "opportunities.status"):
        assert ask(App(world()), on(unknown, "exists")).status == 400
    assert ask(App(world()), on("opportunities", "nested", [on("city", "exists")])).status == 400


def test_every_field_of_a_manifest_is_one_of_the_search() -> None:
    written = [name for name in ConditionModel.model_fields if "_" not in name]
    assert set(OpportunityTest.model_fields) == set(OF_OPPORTUNITIES)
    assert {*STANDARD, "opportunities"} == set(written) - {
        "option",
        "field",
        "eq",
        "contains",
        "exists",
        "after",
        "before",
        "gt",
        "gte",
        "lt",
        "lte",
    }


def test_some_contacts_have_the_values_that_a_filter_asks_for() -> None:
    wanted = ConditionGroup(
        (
            Condition("plan", FilterOperator.EQ, "gold", is_custom=True),
            Condition("points", FilterOperator.RANGE, bounds=(("gt", 10),), is_custom=True),
            Condition("city", FilterOperator.EQ, "Berlin"),
            Condition("dnd", FilterOperator.NOT_EQ, True),
        )
    )
    made = make_world(HERE, [], seed=1, extra=200, people=True, traits=[find_traits(wanted)])
    names = {field.key: field.id for field in made.custom_fields}
    having = [entry for entry in made.contacts.values() if entry.person.details.get("city") == "Berlin"]
    assert 30 <= len(having) <= 70
    assert {entry.person.custom_fields[names["contact.plan"]] for entry in having} == {"gold"}
    assert {entry.person.custom_fields[names["contact.points"]] for entry in having} == {"11"}


def test_some_contacts_have_the_opportunity_and_the_text_box_that_a_filter_asks_for() -> None:
    waist = Condition("measures", FilterOperator.EQ, "80", is_custom=True, option="Waist")
    deal = (Condition("pipelineId", FilterOperator.EQ, "p1"), Condition("status", FilterOperator.EQ, "open"))
    wanted = ConditionGroup((waist, ConditionGroup(deal, nested="opportunities")))
    made = make_world(HERE, [], seed=1, extra=200, people=True, traits=[find_traits(wanted)])
    (measures,) = (field for field in made.custom_fields if field.key == "contact.measures")
    ((box, label),) = measures.options.items()
    assert (measures.kind, label) == ("TEXTBOX_LIST", "Waist")
    asked = [
        on(f"{custom(measures)}.{box}", "eq", "80"),
        on("opportunities", "nested", [on("pipelineId", "eq", "p1"), on("status", "eq", "open")]),
    ]
    assert 30 <= document(ask(App(made), *asked))["total"] <= 70
