"""The JSON Schema: it is one, it says something of every key, and it accepts what the loader accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.core.model.errors import InvalidInput
from reconciler.loading import FileTree, load
from reconciler.loading.settings_models import SchemaKind, build_schema, schema_text
from tests.json_schema import check_schema, find_errors

LOCATION = "asdrwHvLUxlfw5SqKVCN"


@pytest.fixture(params=list(SchemaKind), ids=str)
def kind(request: pytest.FixtureRequest) -> SchemaKind:
    return SchemaKind(request.param)


def errors(kind: SchemaKind, value: Any) -> list[str]:
    return find_errors(build_schema(kind), value)


def definitions(kind: SchemaKind) -> Iterator[tuple[str, dict[str, Any]]]:
    whole = build_schema(kind)
    for name, definition in (("top", whole), *whole["$defs"].items()):
        for key, part in definition.get("properties", {}).items():
            below = whole["$defs"].get(part.get("$ref", "").removeprefix("#/$defs/"), {})
            yield f"{name}.{key}", {"description": below.get("description"), **part}


@pytest.mark.slow
def test_it_is_a_schema_and_the_same_every_time(kind: SchemaKind) -> None:
    check_schema(build_schema(kind))
    assert schema_text(kind) == schema_text(kind)
    assert build_schema(kind)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.slow
def test_every_key_has_a_description_and_no_unknown_key_passes(kind: SchemaKind) -> None:
    assert [key for key, part in definitions(kind) if not part.get("description")] == []
    for definition in (build_schema(kind), *build_schema(kind)["$defs"].values()):
        assert definition.get("additionalProperties") is False or "enum" in definition


@pytest.mark.slow
def test_every_example_is_valid(kind: SchemaKind) -> None:
    whole = build_schema(kind)
    for key, part in definitions(kind):
        for example in part.get("examples", ()):
            assert not find_errors({**part, "$defs": whole["$defs"]}, example), key


@pytest.mark.one_in(3)
@pytest.mark.parametrize("typed", [False, 12, 1.5, None, "text"])
def test_tags_and_ids_may_be_any_scalar_since_an_editor_types_them(typed: Any) -> None:
    contact_set = {"contacts": [typed], "tags": [typed], "absent": [typed]}
    assert errors(SchemaKind.MANIFEST, {"location": LOCATION, "contact_sets": {"a": contact_set}}) == []


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "contacts", [["x"], {"file": "c.csv"}, {"file": "c.csv", "where": {"n": 5}}, {"sets": ["a"], "except": ["b"]}]
)
def test_ways_to_name_contacts(contacts: Any) -> None:
    assert errors(SchemaKind.MANIFEST, {"location": LOCATION, "contact_sets": {"a": {"contacts": contacts}}}) == []


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "value",
    [
        {},
        {"location": LOCATION, "contact_set": {}},
        {"location": LOCATION, "contact_sets": {"a": {}}},
        {"location": LOCATION, "contact_sets": {"a": {"contacts": {"file": "x", "sets": ["y"]}}}},
        {"location": LOCATION, "contact_sets": {"a": {"contacts": [], "from": "soon"}}},
        {"location": LOCATION, "contact_sets": {"a": {"contacts": [], "authority": "total"}}},
        {"location": LOCATION, "tags": {"vip": {"max_adds": "many"}}},
        {"location": LOCATION, "tags": {"vip": {"max_adds": None}}},
    ],
)
def test_what_is_wrong_is_wrong_in_an_editor_too(value: Any) -> None:
    assert errors(SchemaKind.MANIFEST, value)


@pytest.mark.slow
def test_settings(kind: SchemaKind) -> None:
    assert errors(SchemaKind.SETTINGS, {}) == []
    assert errors(SchemaKind.SETTINGS, {"api": {"version": "2021-07-28"}, "guards": {"max_removes_pct": 2.5}}) == []
    assert errors(SchemaKind.SETTINGS, {"allow": [{"guard": "empties_tag", "reason": "x"}]})
    assert errors(SchemaKind.SETTINGS, {"guards": {"max_removes_pct": 101}})


def test_the_defaults_in_the_schema_are_those_that_hold() -> None:
    api = build_schema(SchemaKind.SETTINGS)["$defs"]["ApiModel"]["properties"]
    text = "api: {" + ", ".join(f"{key}: '{part['default']}'" for key, part in api.items()) + "}"
    files = {"m.yaml": f"location: {LOCATION}\ncontact_sets: {{}}\n".encode()}
    with_defaults = load(FileTree({**files, "reconciler.yaml": text.encode()})).settings
    assert with_defaults.api == load(FileTree(files)).settings.api


def test_the_loader_refuses_a_null_that_the_schema_refuses() -> None:
    text = f"location: {LOCATION}\ntags: {{vip: {{max_adds: null}}}}\n"
    with pytest.raises(InvalidInput, match="expected a whole number"):
        load(FileTree({"m.yaml": text.encode()}))
