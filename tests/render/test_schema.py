"""The published JSON Schemas: they are some, and every document is as they say, with no field that they do not name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.core.model.errors import Problem
from reconciler.core.model.names import Source
from reconciler.output.document import add_provenance, spell
from reconciler.output.findings import ProblemList
from reconciler.output.schema import SCHEMAS, plan_schema, report_schema
from tests.json_schema import check_schema, find_errors
from tests.render.documents import ANSWERS


def closed(schema: Any) -> Any:
    """The schema without room for fields that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    return made | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else made


def whole(name: str) -> Any:
    return plan_schema() if name.startswith("plan") else report_schema()


def told(name: str) -> Any:
    return json.loads("".join(spell(ANSWERS[name](), "json", whole=False)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCHEMAS)
def test_it_is_a_schema(kind: str) -> None:
    check_schema(SCHEMAS[kind]())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ANSWERS)
def test_every_document_is_as_its_schema_says_and_has_no_field_more(name: str) -> None:
    schema = closed(whole(name))
    if "$defs" in schema:
        # told apart by `report`, so that the message is about the right one
        schema = schema["$defs"][told(name)["report"]]
    assert find_errors(schema, told(name)) == []
    assert find_errors(whole(name), told(name)) == []


def test_problems_too() -> None:
    problem = Problem(Source("a.yaml", 1, 2), "wrong", "check", hint="right")
    assert find_errors(closed(report_schema()), add_provenance(ProblemList([problem]).json(), None)) == []


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ANSWERS)
def test_fields_of_a_later_minor_version_are_allowed_and_another_major_is_not(name: str) -> None:
    assert find_errors(whole(name), told(name) | {"format_version": "1.99", "new": 1}) == []
    assert find_errors(whole(name), told(name) | {"format_version": "2.0"})


@pytest.mark.one_in(11)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_document_that_lacks_a_field_is_refused(name: str) -> None:
    document = told(name)
    for key in document:
        assert find_errors(whole(name), {other: value for other, value in document.items() if other != key}), key
