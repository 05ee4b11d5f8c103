"""Forms: how JSON spells the values of a type, reads them back, and describes them. A reader takes no other type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any, Generic, NewType, TypeVar

from reconciler.core.model import Json, JsonObject
from reconciler.core.model.names import Instant, Source, iso, parse_instant

T = TypeVar("T")
Schema = JsonObject

LONGEST_TEXT = 10_000
"""Characters. No text of a CRM or a manifest comes near it; a document with more is no document of ours."""

Count = NewType("Count", int)
"""An integer that is not negative."""


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """How JSON spells the values of one type."""

    write: Callable[[T], Json]
    read: Callable[[Any], T]
    schema: Schema
    is_plain: bool = False
    """Whether a value is its own JSON: a long list of ids is copied, not written id by id."""


def object_schema(about: str, properties: Mapping[str, Json], *, optional: Iterable[str] = ()) -> Schema:
    description: Schema = {"description": about} if about else {}
    required = [name for name in properties if name not in optional]
    return {"type": "object", **description, "properties": properties, "required": required}


def described(schema: Schema, about: str) -> Schema:
    """The description stands where the published schemas have it: second in an object with members, last elsewhere."""
    first: Schema = {"type": "object", "description": about} if "properties" in schema else {}
    return {**first, **schema, "description": about}


def enum_form(kind: type[Enum], *, by_name: bool = False) -> Form[Any]:
    """`by_name`: spelt by its lower-case name, where its value is a sentence for people."""
    if by_name:
        names: Schema = {"enum": [member.name.lower() for member in kind]}
        return Form(lambda member: member.name.lower(), lambda name: kind[read_text(name).upper()], names)
    return Form(lambda member: member.value, kind, {"enum": [member.value for member in kind]}, is_plain=True)


def optional_form(form: Form[Any]) -> Form[Any]:
    return Form(
        lambda value: None if value is None else form.write(value),
        lambda item: None if item is None else form.read(item),
        {"anyOf": [form.schema, {"type": "null"}]},
        form.is_plain,
    )


def list_form(form: Form[Any], kind: Any) -> Form[Any]:
    # a set has no order of its own, and equal documents must be equal bytes
    ordered = sorted if issubclass(kind, frozenset) else list
    return Form(
        lambda values: ordered(values) if form.is_plain else [form.write(value) for value in values],
        lambda items: (frozenset if kind is frozenset else tuple)(map(form.read, read_list(items))),
        {"type": "array", "items": form.schema},
    )


def fixed_form(forms: list[Form[Any]]) -> Form[Any]:
    schema: Schema = {"type": "array", "prefixItems": [form.schema for form in forms], "items": False}
    return Form(
        lambda values: [form.write(value) for form, value in zip(forms, values, strict=True)],
        lambda items: tuple(form.read(item) for form, item in zip(forms, read_list(items), strict=True)),
        schema,
    )


def mapping_form(key: Form[Any], value: Form[Any]) -> Form[Any]:
    # keys of an enum are closed, ids and tags are not
    names: Schema = {"propertyNames": key.schema} if "enum" in key.schema else {}

    def read(items: object) -> object:
        if not isinstance(items, dict):
            raise wrong(items, "an object")
        return {key.read(name): value.read(item) for name, item in items.items()}

    return Form(
        lambda table: {str(key.write(name)): value.write(item) for name, item in table.items()},
        read,
        {"type": "object", **names, "additionalProperties": value.schema},
    )


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong(value, "text")
    # a document from a pull request must not fill the memory of a CI job
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"a text of {len(value):,} characters, and at most {LONGEST_TEXT:,} are taken")
    return value


def read_list(items: object) -> list[Any]:
    if not isinstance(items, list):
        raise wrong(items, "a list")
    return items


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong(value, "true or false")
    return value


def _read_integer(value: object) -> int:
    # Python takes True for 1
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(value, "an integer")
    return value


def _read_count(value: object) -> int:
    if _read_integer(value) < 0:
        raise wrong(value, "a count")
    return _read_integer(value)


def _read_number(value: object) -> float:
    """A finite number; an integer stays one, so that a plan that was read is written as it was."""
    # NaN and infinity are no JSON, though Python reads them
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise wrong(value, "a number")
    return value


def wrong(value: object, expected: str) -> TypeError:
    return TypeError(f"{str(value)[:40]!r} is not {expected}")


def _itself(value: Any) -> Any:
    return value


PLAIN_FORMS: Mapping[object, Form[Any]] = {
    str: Form(_itself, read_text, {"type": "string"}, is_plain=True),
    bool: Form(_itself, _read_flag, {"type": "boolean"}, is_plain=True),
    int: Form(_itself, _read_integer, {"type": "integer"}, is_plain=True),
    float: Form(_itself, _read_number, {"type": "number"}, is_plain=True),
    Count: Form(_itself, _read_count, {"type": "integer", "minimum": 0}, is_plain=True),
    Instant: Form(iso, lambda text: parse_instant(read_text(text)), {"type": "string", "format": "date-time"}),
    Source: Form(str, lambda text: Source.parse(read_text(text)), {"type": "string"}),
}
