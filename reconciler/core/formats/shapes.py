"""JSON of our own values: writer, reader and JSON Schema derive from the types of a class's fields.

Rules
1. A class is an object with a member for each field, in their order; its `Spelling` names every exception.
2. An id or a tag is text, an Instant RFC 3339, a place `path:line:column`, an enum its value; a set is sorted.
3. A reader takes no value of another type: it raises KeyError, TypeError, ValueError or OverflowError.
4. A description comes from a `Spelling` or from `Annotated[type, "…"]`. No docstring reaches a published schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from reconciler.core.model.json_values import Json, JsonObject
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


@dataclass(frozen=True, slots=True)
class Spelling:
    """Where the JSON of a class differs from its fields."""

    about: str = ""
    """The description of the object."""
    members: str = ""
    """The members in their order, where it is not that of the fields; `tag=scope` names the field `scope` `tag`."""
    types: Mapping[str, object] = field(default_factory=dict)
    """By member, a type that says more than the field's: a count, a description."""
    later: str = ""
    """Members that documents of older versions lack: the field's default stands for them."""
    sparse: str = ""
    """Members that are left out where they hold their default, or nothing."""
    derived: Mapping[str, tuple[object, Callable[[Any], object]]] = field(default_factory=dict)
    """Members that are written only, each with its type, and made of the whole value."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    form: Form[Any]
    field: str
    default: object
    is_later: bool
    is_sparse: bool
    derive: Callable[[Any], object] | None = None

    def value_in(self, whole: object) -> object:
        return getattr(whole, self.field) if self.derive is None else self.derive(whole)

    def is_left_out(self, value: object) -> bool:
        return self.is_sparse and (not value or value == self.default)


class Forms:
    """The forms of a document's types. `forms`: those that no rule derives."""

    def __init__(self, spellings: Mapping[type, Spelling], forms: Mapping[object, Form[Any]] | None = None) -> None:
        self._spellings = spellings
        self._forms: dict[object, Form[Any]] = {**_PLAIN, **(forms or {})}

    def form(self, kind: type[T]) -> Form[T]:
        """Each is made once: a million contacts are not asked for their types one by one."""
        return self._form(kind)

    def write(self, value: object) -> JsonObject:
        """The object of a value of one of our classes."""
        written = self._form(type(value)).write(value)
        assert isinstance(written, dict)
        return written

    def schema(self, hint: object) -> Schema:
        return self._form(hint).schema

    def members(self, kind: type) -> Schema:
        """The schema of each member of a class of ours."""
        members = self._form(kind).schema["properties"]
        assert isinstance(members, dict)
        return members

    def _form(self, hint: Any) -> Form[Any]:
        if hint not in self._forms:
            self._forms[hint] = self._make(hint)
        return self._forms[hint]

    def _make(self, hint: Any) -> Form[Any]:
        if isinstance(hint, NewType):
            return self._form(hint.__supertype__)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return enum_form(hint)
        if is_dataclass(hint):
            return self._object(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            form = self._form(arguments[0])
            return Form(form.write, form.read, _described(form.schema, arguments[1]), form.is_plain)
        if origin in (Union, UnionType):
            return _optional(self._form(next(kind for kind in arguments if kind is not NoneType)))
        if issubclass(origin, Mapping):
            return _mapping(*map(self._form, arguments))
        if origin is tuple and ... not in arguments:
            return _fixed([self._form(argument) for argument in arguments])
        return _list(self._form(arguments[0]), origin)

    def _object(self, kind: Any) -> Form[Any]:
        spelling = self._spellings.get(kind, _AS_IT_STANDS)
        members = tuple(self._members(kind, spelling))
        known = tuple(member for member in members if member.derive is None)

        def write(value: object) -> JsonObject:
            values = ((member, member.value_in(value)) for member in members)
            return {member.name: member.form.write(part) for member, part in values if not member.is_left_out(part)}

        def read(item: object) -> object:
            if not isinstance(item, dict):
                raise wrong(item, "an object")
            present = (member for member in known if member.name in item or not member.is_later)
            return kind(**{member.field: member.form.read(item[member.name]) for member in present})

        schemas: Schema = {member.name: member.form.schema for member in members}
        return Form(write, read, object_schema(spelling.about, schemas, optional=spelling.sparse.split()))

    def _members(self, kind: Any, spelling: Spelling) -> Iterable[_Member]:
        hints = get_type_hints(kind, include_extras=True)
        defaults = {each.name: each.default for each in fields(kind)}
        later, sparse = spelling.later.split(), spelling.sparse.split()
        for text in spelling.members.split() or defaults:
            name, _, renamed = text.partition("=")
            source = renamed or name
            form = self._form(spelling.types.get(name, hints[source]))
            yield _Member(name, form, source, defaults[source], name in later, name in sparse)
        for name, (hint, derive) in spelling.derived.items():
            yield _Member(name, self._form(hint), "", MISSING, name in later, name in sparse, derive)


_AS_IT_STANDS = Spelling()


def object_schema(about: str, properties: Mapping[str, Json], *, optional: Iterable[str] = ()) -> Schema:
    described: Schema = {"description": about} if about else {}
    required = [name for name in properties if name not in optional]
    return {"type": "object", **described, "properties": properties, "required": required}


def _described(schema: Schema, about: str) -> Schema:
    """The description stands where the published schemas have it: second in an object with members, last elsewhere."""
    first: Schema = {"type": "object", "description": about} if "properties" in schema else {}
    return {**first, **schema, "description": about}


def enum_form(kind: type[Enum], *, by_name: bool = False) -> Form[Any]:
    """`by_name`: spelt by its lower-case name, where its value is a sentence for people."""
    if by_name:
        names: Schema = {"enum": [member.name.lower() for member in kind]}
        return Form(lambda member: member.name.lower(), lambda name: kind[read_text(name).upper()], names)
    return Form(lambda member: member.value, kind, {"enum": [member.value for member in kind]}, is_plain=True)


def _optional(form: Form[Any]) -> Form[Any]:
    return Form(
        lambda value: None if value is None else form.write(value),
        lambda item: None if item is None else form.read(item),
        {"anyOf": [form.schema, {"type": "null"}]},
        form.is_plain,
    )


def _list(form: Form[Any], kind: Any) -> Form[Any]:
    ordered = sorted if issubclass(kind, frozenset) else list
    return Form(
        lambda values: ordered(values) if form.is_plain else [form.write(value) for value in values],
        lambda items: (frozenset if kind is frozenset else tuple)(map(form.read, read_list(items))),
        {"type": "array", "items": form.schema},
    )


def _fixed(forms: list[Form[Any]]) -> Form[Any]:
    schema: Schema = {"type": "array", "prefixItems": [form.schema for form in forms], "items": False}
    return Form(
        lambda values: [form.write(value) for form, value in zip(forms, values, strict=True)],
        lambda items: tuple(form.read(item) for form, item in zip(forms, read_list(items), strict=True)),
        schema,
    )


def _mapping(key: Form[Any], value: Form[Any]) -> Form[Any]:
    names: Schema = {"propertyNames": key.schema} if "enum" in key.schema else {}

    def read(items: object) -> object:
        if not isinstance(items, dict):
            raise wrong(items, "an object")
        return {key.read(name): value.read(item) for name, item in items.items()}

    return Form(
        lambda found: {str(key.write(name)): value.write(item) for name, item in found.items()},
        read,
        {"type": "object", **names, "additionalProperties": value.schema},
    )


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong(value, "text")
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
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise wrong(value, "a number")
    return value


def wrong(value: object, expected: str) -> TypeError:
    return TypeError(f"{str(value)[:40]!r} is not {expected}")


def _itself(value: Any) -> Any:
    return value


_PLAIN: Mapping[object, Form[Any]] = {
    str: Form(_itself, read_text, {"type": "string"}, is_plain=True),
    bool: Form(_itself, _read_flag, {"type": "boolean"}, is_plain=True),
    int: Form(_itself, _read_integer, {"type": "integer"}, is_plain=True),
    float: Form(_itself, _read_number, {"type": "number"}, is_plain=True),
    Count: Form(_itself, _read_count, {"type": "integer", "minimum": 0}, is_plain=True),
    Instant: Form(iso, lambda text: parse_instant(read_text(text)), {"type": "string", "format": "date-time"}),
    Source: Form(str, lambda text: Source.parse(read_text(text)), {"type": "string"}),
}
