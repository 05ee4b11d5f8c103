"""The wire asks for people as the vendor documents it, reads their values, and calls everything else unreadable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.core.model.contact_filter import Condition, ConditionGroup, ContactFilter, FilterOperator
from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.people import PersonValue, ValueKind
from reconciler.wire import LONGEST_ID, Cursor, UnreadableAnswer
from reconciler.wire_people import (
    LONGEST_VALUE,
    CustomField,
    PeoplePage,
    PersonRead,
    can_look_up,
    custom_fields_path,
    duplicate_path,
    filter_body,
    look_up_body,
    path_template,
    people_body,
    read_custom_fields,
    read_people,
    read_person,
)
from tests.build import HERE, NOW, name

EMAIL, PHONE, FIELD = ValueKind.EMAIL, ValueKind.PHONE, ValueKind.FIELD
ANNA, BERT = name("anna"), name("bert")
ALL_AT_ONCE = {"locationId": HERE, "pageLimit": 500}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("cursor", "since", "expected"),
    [
        (None, None, {}),
        ((1, "a"), None, {"searchAfter": [1, "a"]}),
        (
            (),
            NOW,
            {
                "searchAfter": [],
                "filters": [
                    {"field": "dateUpdated", "operator": "range", "value": {"gte": "2026-11-18T11:06:40.000Z"}}
                ],
            },
        ),
    ],
)
def test_people_are_asked_for_by_page_and_by_their_last_change(
    cursor: Cursor | None, since: Any, expected: dict[str, Any]
) -> None:
    assert json.loads(people_body(HERE, cursor, changed_since=since)) == ALL_AT_ONCE | expected


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (PersonValue(EMAIL, "anna@example.com"), "email"),
        (PersonValue(PHONE, "+442079460001"), "phone"),
        (PersonValue(FIELD, "K-1", "f1"), "customFields.f1"),
    ],
)
def test_a_look_up_asks_for_one_value(value: PersonValue, field: str) -> None:
    asked = {"field": field, "operator": "eq", "value": value.text}
    assert json.loads(look_up_body(HERE, value)) == ALL_AT_ONCE | {"filters": [asked]}


def asks(field: str, operator: str, **value: object) -> dict[str, Any]:
    return {"field": field, "operator": operator} | value


CITY = Condition("city", FilterOperator.EQ, "berlin")
TYPED = Condition("f1", FilterOperator.CONTAINS, "Gold", is_custom=True)
UNLIKE = Condition("city", FilterOperator.NOT_EQ, "Bern")
NAMED = Condition("assignedTo", FilterOperator.EQ, "Ab12", is_exact=True)
FLAG = Condition("dnd", FilterOperator.EQ, value=True)
EMPTY = Condition("email", FilterOperator.NOT_EXISTS)
SINCE = Condition("dateAdded", FilterOperator.RANGE, bounds=(("gte", "2026-01-01"), ("lt", 7)))
IN_BERLIN = asks("city", "eq", value="berlin")
IS_FLAGGED = asks("dnd", "eq", value=True)
HAS_NO_EMAIL = asks("email", "not_exists")


@pytest.mark.parametrize(
    ("wanted", "filters"),
    [
        (CITY, [IN_BERLIN]),
        # the index holds a text as it was written or in lower case
        (
            TYPED,
            [
                {
                    "group": "OR",
                    "filters": [
                        asks("customFields.f1", "contains", value="Gold"),
                        asks("customFields.f1", "contains", value="gold"),
                    ],
                }
            ],
        ),
        (
            UNLIKE,
            [
                {
                    "group": "AND",
                    "filters": [asks("city", "not_eq", value="Bern"), asks("city", "not_eq", value="bern")],
                }
            ],
        ),
        (NAMED, [asks("assignedTo", "eq", value="Ab12")]),
        (FLAG, [IS_FLAGGED]),
        (EMPTY, [HAS_NO_EMAIL]),
        (SINCE, [asks("dateAdded", "range", value={"gte": "2026-01-01", "lt": 7})]),
        # the list is a group of its own, and only one whose members all have to be met
        (ConditionGroup((CITY, EMPTY)), [IN_BERLIN, HAS_NO_EMAIL]),
        (ConditionGroup((CITY, EMPTY), is_any=True), [{"group": "OR", "filters": [IN_BERLIN, HAS_NO_EMAIL]}]),
        (
            ConditionGroup((ConditionGroup((CITY, FLAG)), EMPTY), is_any=True),
            [{"group": "OR", "filters": [{"group": "AND", "filters": [IN_BERLIN, IS_FLAGGED]}, HAS_NO_EMAIL]}],
        ),
        (
            ConditionGroup((CITY, FLAG), nested="opportunities"),
            [{"field": "opportunities", "operator": "nested", "value": [IN_BERLIN, IS_FLAGGED]}],
        ),
    ],
)
def test_a_filter_is_sent_in_the_vendors_form(wanted: ContactFilter, filters: list[Any]) -> None:
    assert json.loads(filter_body(HERE, wanted, None)) == ALL_AT_ONCE | {"filters": filters}
    later = ALL_AT_ONCE | {"filters": filters, "searchAfter": [7]}
    assert json.loads(filter_body(HERE, wanted, (7,))) == later


def test_a_filter_takes_a_value_of_seventy_five_characters() -> None:
    assert (can_look_up("x" * 75), can_look_up("x" * 76)) == (True, False)


@pytest.mark.parametrize(
    ("value", "query"),
    [
        (PersonValue(EMAIL, "anna+1@example.com"), "email=anna%2B1%40example%2Ecom"),
        (PersonValue(PHONE, "+4420"), "number=%2B4420"),
        (PersonValue(EMAIL, "é&a=b c\n\ud800"), "email=%C3%A9%26a%3Db%20c%0A%ED%A0%80"),
    ],
)
def test_the_search_for_duplicates_is_asked_with_every_sign_escaped(value: PersonValue, query: str) -> None:
    found = duplicate_path(LocationId("a-b"), value)
    assert found == f"/contacts/search/duplicate?locationId=a%2Db&{query}"


def test_the_path_of_custom_fields_carries_no_id_that_would_change_it() -> None:
    assert custom_fields_path(HERE) == f"/locations/{HERE}/customFields"
    with pytest.raises(ValueError, match="a path cannot carry"):
        custom_fields_path(LocationId("a/b"))


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/contacts/search", "/contacts/search"),
        ("/contacts/search/duplicate?locationId=x&email=anna%40example.com", "/contacts/search/duplicate"),
        ("/contacts/bulk/tags/update/add", "/contacts/bulk/tags/update/add"),
        ("/oauth/locationToken", "/oauth/locationToken"),
        (f"/contacts/{ANNA}", "/contacts/{contactId}"),
        (f"/contacts/{ANNA}?fields=a?b", "/contacts/{contactId}"),
        (f"/locations/{HERE}", "/locations/{locationId}"),
        (f"/locations/{HERE}/customFields", "/locations/{locationId}/customFields"),
        (f"/contacts/{ANNA}/tags", "other"),
        ("/elsewhere/anna@example.com", "other"),
    ],
)
def test_a_request_is_told_by_its_path_without_ids_and_values(path: str, template: str) -> None:
    assert path_template(path) == template


FULL = {
    "id": ANNA,
    "locationId": HERE,
    "email": "anna@example.com",
    "additionalEmails": ["anna@example.org", {"email": "a@example.net", "label": "work"}, {"label": "x"}, None],
    "phone": "+4420",
    "additionalPhones": [{"phone": "+4421"}, "+4422"],
    "customFields": [
        {"id": "f1", "value": ["K-1", 12, 1.5, True, None, ""]},
        {"id": "f2", "value": 7},
        {"id": "f3", "value": False},
        {"value": "of no field"},
        {"id": 7, "value": "x"},
        "f4",
    ],
}
READ = PersonRead(
    ANNA,
    HERE,
    (
        PersonValue(EMAIL, "anna@example.com"),
        PersonValue(EMAIL, "anna@example.org"),
        PersonValue(EMAIL, "a@example.net"),
        PersonValue(PHONE, "+4420"),
        PersonValue(PHONE, "+4421"),
        PersonValue(PHONE, "+4422"),
        PersonValue(FIELD, "K-1", "f1"),
        PersonValue(FIELD, "12", "f1"),
        PersonValue(FIELD, "1.5", "f1"),
        PersonValue(FIELD, "7", "f2"),
    ),
)
LONGEST = "x" * LONGEST_VALUE


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (FULL, READ),
        ({"id": ANNA}, PersonRead(ANNA, LocationId(""), ())),
        (
            {"id": "x" * LONGEST_ID, "email": LONGEST, "phone": LONGEST + "x"},
            PersonRead(ContactId("x" * LONGEST_ID), LocationId(""), (PersonValue(EMAIL, LONGEST),)),
        ),
        (
            {
                "id": "a",
                "locationId": 7,
                "email": 7,
                "additionalEmails": "a@b",
                "customFields": {"id": "f", "value": "x"},
            },
            PersonRead(ContactId("a"), LocationId(""), ()),
        ),
    ],
    ids=["all", "none", "longest", "of another form"],
)
def test_a_person_is_read_with_the_values_that_can_be_read(item: dict[str, Any], expected: PersonRead) -> None:
    assert read_person(encoded({"contact": item})) == expected
    page = read_people(encoded({"contacts": [{"id": BERT}, item | {"searchAfter": [1, "a"]}], "total": 9}))
    assert page == PeoplePage((PersonRead(BERT, LocationId(""), ()), expected), 9, (1, "a"))


def test_an_answer_may_have_nobody() -> None:
    assert read_person(encoded({"contact": None})) is None
    assert read_people(encoded({"contacts": [], "total": 0})) == PeoplePage((), 0, None)
    assert read_people(encoded({"contacts": [{"id": BERT}], "total": 1})).cursor is None


NO_ID = "a contact has no `id` of 1 to 200 characters"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "the answer has no `contact`"),
        ({"contact": []}, NO_ID),
        ({"contact": {}}, NO_ID),
        ({"contact": {"id": ""}}, NO_ID),
        ({"contact": {"id": ["a"]}}, NO_ID),
        ({"contact": {"id": "x" * (LONGEST_ID + 1)}}, NO_ID),
        ([], "the body is not a JSON object"),
    ],
)
def test_an_answer_without_a_contact_is_unreadable(document: object, why: str) -> None:
    with pytest.raises(UnreadableAnswer) as told:
        read_person(encoded(document))
    assert str(told.value) == why


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"total": 1}, "the answer has no list `contacts`"),
        ({"contacts": {}, "total": 1}, "the answer has no list `contacts`"),
        ({"contacts": []}, "the answer has no number `total`"),
        ({"contacts": [], "total": True}, "the answer has no number `total`"),
        ({"contacts": [], "total": 1.0}, "the answer has no number `total`"),
        ({"contacts": [], "total": -1}, "the answer has no number `total`"),
        ({"contacts": [{"id": ANNA}, 7], "total": 1}, NO_ID),
    ],
)
def test_a_page_of_another_shape_is_unreadable(document: object, why: str) -> None:
    with pytest.raises(UnreadableAnswer) as told:
        read_people(encoded(document))
    assert str(told.value) == why


def test_custom_fields_are_read_with_the_options_of_text_boxes() -> None:
    boxes = {
        "id": "f1",
        "fieldKey": "contact.sizes",
        "name": "Sizes",
        "dataType": "TEXTBOX_LIST",
        "textBoxListOptions": [{"id": "o1", "label": "Hat"}, {"id": "o2"}, {"label": "of no id"}, "o3"],
        "picklistOptions": [{"id": "o1", "label": "Hat"}, {"id": "o4", "label": "Shoe"}],
    }
    found = read_custom_fields(encoded({"customFields": [boxes, "no field", {"id": "f2", "picklistOptions": "a"}]}))
    assert found == (
        CustomField("f1", "contact.sizes", "Sizes", "TEXTBOX_LIST", (("o1", "Hat"), ("o2", ""), ("o4", "Shoe"))),
        CustomField("f2", "", ""),
    )
    for body in ({}, {"customFields": {}}):
        with pytest.raises(UnreadableAnswer) as told:
            read_custom_fields(encoded(body))
        assert str(told.value) == "the answer has no list `customFields`"


@pytest.mark.parametrize(
    ("text", "is_so"),
    [("f1", True), ("contact.sizes", True), ("sizes", True), ("Sizes", True), ("contact.", False), ("size", False)],
)
def test_a_manifest_means_a_field_by_its_id_its_key_or_its_name(text: str, is_so: bool) -> None:
    assert CustomField("f1", "contact.sizes", "Sizes").is_called(text) is is_so


def test_what_is_read_of_a_person_shows_no_value() -> None:
    for shown in (repr(READ), repr(read_people(encoded({"contacts": [FULL], "total": 1})))):
        assert ANNA in shown
        assert "example" not in shown
        assert "+44" not in shown
