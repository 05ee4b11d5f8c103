"""JSON Schema in small pieces, and that of our own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from reconciler.core.model.names import Instant

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
MOMENT: Schema = {"type": "string", "format": "date-time"}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(kind: type[Enum]) -> Schema:
    return {"enum": [each.value for each in kind]}


def object_of(description: str, /, **properties: Schema) -> Schema:
    told = {"description": description} if description else {}
    return {"type": "object", **told, "properties": properties, "required": list(properties)}


def shape_of(hint: Any) -> Schema:
    """The schema of a type of ours, as `dataclasses.asdict` and `json` spell its values."""
    if hint is Instant:
        return MOMENT
    if isinstance(hint, NewType):
        return shape_of(hint.__supertype__)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return one_of(hint)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        told = ABOUT.get(getattr(hint, "__name__", ""), "")
        return object_of(told, **{each.name: shape_of(hints[each.name]) for each in fields(hint)})
    return _compound(get_origin(hint), get_args(hint))


_PLAIN: Mapping[Any, Schema] = {
    str: TEXT,
    bool: FLAG,
    int: {"type": "integer"},
    float: NUMBER,
    NoneType: {"type": "null"},
}


def _compound(origin: Any, arguments: tuple[Any, ...]) -> Schema:
    if origin in (Union, UnionType):
        return {"anyOf": [shape_of(each) for each in arguments]}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": shape_of(arguments[1])}
    return list_of(shape_of(arguments[0]))


ABOUT: Mapping[str, str] = {
    "LocationReport": "A run in one location.",
    "FailedChange": "A contact of a batch that did not end well, and what the API said of it.",
    "Surprises": "Contacts that were found with tags more, or tags less, than were last observed.",
    "Shortfall": "Pairs that did not end well, or were not sent, for one reason: the tags on each of the contacts.",
    "Provenance": "How a report came to be.",
    "DriftReport": "The drift of one location. `oldest`, `newest`: observations of declared contacts. "
    "`incomplete`: why a search",
    "Drifted": "Contacts that drifted alike. `tag` is empty where the whole contact is meant.",
    "Setter": "A run that last set a pair: its id, whose it was, and when the request was answered.",
    "OlderRows": "What a search told that is older than known, and contradicts it: it was set aside.",
    "Refreshed": "What a refresh stored. `read`: contacts whose tags were told; `changed`: those of whom that is news.",
    "Comparison": "What changed in one location; sorted. `gone`: no manifest names it any more, so it is left "
    "untouched.",
    "TagMove": "How many contacts gain and lose the tag, and for how many it becomes, or no longer is, forbidden.",
    "SetMove": "A contact set's size before and after (None: it is not there), and who came and went.",
    "MovedContacts": "Contacts that gain and lose the same tags.",
    "SettingMove": "One setting that changed; None where it is not there. `key`: dotted, such as `api.base_url`.",
}
"""The published description of each class: its docstring is for readers of the code, and moves with it."""

TEXTS = list_of(TEXT)
REMEDIES: dict[str, Schema] = {
    "remedies": {**TEXTS, "description": "What settles the pairs and contacts that are left aside: commands, in words."}
}
