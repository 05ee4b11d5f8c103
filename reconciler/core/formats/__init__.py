"""JSON of our own values: writer, reader and JSON Schema derive from the types of a class's fields.

Rules
1. A class is an object with a member for each field, in their order; its `JsonSpelling` names every exception.
2. An id or a tag is text, an Instant RFC 3339, a place `path:line:column`, an enum its value; a set is sorted.
3. A reader takes no value of another type: it raises KeyError, TypeError, ValueError or OverflowError.
4. A description comes from a `JsonSpelling` or from `Annotated[type, "…"]`. No docstring reaches a published schema.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import reduce
from types import NoneType, UnionType
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from reconciler.core.formats.json_forms import (
    PLAIN_FORMS,
    Form,
    Schema,
    described,
    enum_form,
    fixed_form,
    list_form,
    mapping_form,
    object_schema,
    optional_form,
    wrong,
)
from reconciler.core.model import JsonObject

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JsonSpelling:
    """Where the JSON of a class differs from its fields."""

    about: str = ""
    """The description of the object."""
    members: str | None = None
    """The members in their order, where they are not the fields; `tag=scope` spells the field `scope` as `tag`, and
    `who=header.who` a field of a part. `*batch`, of what is written only: all members of the part `batch`."""
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
    path: tuple[str, ...]
    """The fields that lead to the value, or to what it is derived of: two where the member is a part's."""
    default: object
    is_later: bool
    is_sparse: bool
    derive: Callable[[Any], object] | None = None

    def value_in(self, owner: object) -> object:
        value = reduce(getattr, self.path, owner)
        return value if self.derive is None else self.derive(value)

    def is_left_out(self, value: object) -> bool:
        return self.is_sparse and (not value or value == self.default)


class Forms:
    """The forms of a document's types. `forms`: those that no rule derives."""

    def __init__(self, spellings: Mapping[type, JsonSpelling], forms: Mapping[object, Form[Any]] | None = None) -> None:
        self._spellings = defaultdict(JsonSpelling, spellings)
        self._underived = forms or {}
        self._forms: dict[object, Form[Any]] = {**PLAIN_FORMS, **self._underived}
        self._members_of: dict[type, tuple[_Member, ...]] = {}

    def extended(
        self, spellings: Mapping[type, JsonSpelling], forms: Mapping[object, Form[Any]] | None = None
    ) -> Forms:
        """The forms of a document that has these types among others."""
        return Forms({**self._spellings, **spellings}, {**self._underived, **(forms or {})})

    def form(self, kind: type[T]) -> Form[T]:
        """Each is made once: a million contacts are not asked for their types one by one."""
        return self.form_of(kind)

    def write(self, value: object) -> JsonObject:
        """The object of a value of one of our classes."""
        written = self.form_of(type(value)).write(value)
        assert isinstance(written, dict)
        return written

    def list_members(self, value: object) -> Iterator[tuple[str, object, Form[Any]]]:
        """The members of the object of a value of one of our classes: each with its own value, and that one's form."""
        self.form_of(type(value))
        for member in self._members_of[type(value)]:
            part = member.value_in(value)
            if not member.is_left_out(part):
                yield member.name, part, member.form

    def schema(self, hint: object) -> Schema:
        return self.form_of(hint).schema

    def members(self, kind: type) -> Schema:
        """The schema of each member of a class of ours."""
        members = self.form_of(kind).schema["properties"]
        assert isinstance(members, dict)
        return members

    def form_of(self, hint: Any) -> Form[Any]:
        """Of any type, such as one that may be None."""
        # type hints are looked up once a class, not once a value
        if hint not in self._forms:
            self._forms[hint] = self._make(hint)
        return self._forms[hint]

    def _make(self, hint: Any) -> Form[Any]:
        if isinstance(hint, NewType):
            return self.form_of(hint.__supertype__)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return enum_form(hint)
        if is_dataclass(hint):
            return self._object(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            form = self.form_of(arguments[0])
            return Form(form.write, form.read, described(form.schema, arguments[1]), form.is_plain)
        # the only union of our documents is "or null"
        if origin in (Union, UnionType):
            return optional_form(self.form_of(next(kind for kind in arguments if kind is not NoneType)))
        if issubclass(origin, Mapping):
            return mapping_form(*map(self.form_of, arguments))
        if origin is tuple and ... not in arguments:
            return fixed_form([self.form_of(argument) for argument in arguments])
        return list_form(self.form_of(arguments[0]), origin)

    def _object(self, kind: Any) -> Form[Any]:
        spelling = self._spellings[kind]
        members = self._members_of[kind] = tuple(self._members(kind))

        def write(value: object) -> JsonObject:
            values = ((member, member.value_in(value)) for member in members)
            # a sparse member came with a minor version: documents without it keep their bytes
            return {member.name: member.form.write(part) for member, part in values if not member.is_left_out(part)}

        schemas: Schema = {member.name: member.form.schema for member in members}
        schema = object_schema(spelling.about, schemas, optional=spelling.sparse.split())
        return Form(write, self._object_reader(kind, members), schema)

    def _object_reader(self, kind: Any, members: Iterable[_Member]) -> Callable[[object], object]:
        hints = get_type_hints(kind)
        readable = tuple(member for member in members if member.derive is None)

        def read(item: object) -> object:
            if not isinstance(item, dict):
                raise wrong(item, "an object")
            values: dict[str, Any] = {}
            parts: dict[str, dict[str, Any]] = {}
            for member in readable:
                if member.name in item or not member.is_later:
                    # a part is frozen: its members are collected before it is made
                    place = values if len(member.path) == 1 else parts.setdefault(member.path[0], {})
                    place[member.path[-1]] = member.form.read(item[member.name])
            made = {name: _part_class(hints[name])(**part) for name, part in parts.items()}
            return kind(**values, **made)

        return read

    def _members(self, kind: Any) -> Iterable[_Member]:
        spelling = self._spellings[kind]
        defaults = {spec.name: spec.default for spec in fields(kind)}
        later, sparse = spelling.later.split(), spelling.sparse.split()
        for text in defaults if spelling.members is None else spelling.members.split():
            if text.startswith("*"):
                members = self._members(get_type_hints(kind)[text[1:]])
                yield from (replace(member, path=(text[1:], *member.path)) for member in members)
                continue
            name, _, renamed = text.partition("=")
            path = tuple((renamed or name).split("."))
            form = self._member_form(kind, path, spelling.types.get(name))
            yield _Member(name, form, path, defaults.get(path[-1], MISSING), name in later, name in sparse)
        # after the fields, as the published documents have them
        for name, (hint, derive) in spelling.derived.items():
            yield _Member(name, self.form_of(hint), (), MISSING, name in later, name in sparse, derive)

    def _member_form(self, kind: Any, path: Sequence[str], narrower: object) -> Form[Any]:
        *parts, last = path
        # the path leads through parts, which may be None, to the class that has the field
        for part in parts:
            kind = _part_class(get_type_hints(kind)[part])
        own = get_type_hints(kind, include_extras=True)[last]
        form = self.form_of(narrower or own)
        if get_origin(narrower) is Mapping and get_origin(own) is tuple:
            # a frozen value keeps its table as pairs, so that it can be hashed
            return Form(lambda pairs: form.write(dict(pairs)), lambda item: tuple(form.read(item).items()), form.schema)
        return form


def _part_class(hint: Any) -> Any:
    """The class of a part that may be None."""
    return next((kind for kind in get_args(hint) if kind is not NoneType), hint)
