"""JSON Schema (2020-12) of manifests and settings, for editors and other tools; from the loader's own definitions.

Rules
1. A name, id or tag may be any scalar, because an editor types `no` and `012`; a number or true/false stands unquoted.
2. A key that may be left out may not be written as null: the loader would take it for the text it is.
3. Same definitions, same bytes: keys keep the order in which the definitions name them.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from reconciler.loading.models import ManifestModel
from reconciler.loading.settings_models import SettingsModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Bounds that stand around a parser of ours come out of pydantic under its own names.
_BOUNDS = {"ge": "minimum", "le": "maximum"}


class SchemaKind(StrEnum):
    MANIFEST = "manifest"
    SETTINGS = "settings"


_MODELS: dict[SchemaKind, type[BaseModel]] = {SchemaKind.MANIFEST: ManifestModel, SchemaKind.SETTINGS: SettingsModel}
_TITLES = {SchemaKind.MANIFEST: "reconciler manifest", SchemaKind.SETTINGS: "reconciler settings"}


def schema(kind: SchemaKind) -> dict[str, Any]:
    """The schema of one kind of file as plain data."""
    made = _MODELS[kind].model_json_schema(by_alias=True, schema_generator=GenerateJsonSchema)
    cleaned: dict[str, Any] = _cleaned(made)
    return {"$schema": DIALECT, **cleaned, "title": _TITLES[kind]}


def schema_text(kind: SchemaKind) -> str:
    """The schema as a file."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def _cleaned(value: Any) -> Any:
    """Without the null of optional keys, null defaults and generated titles; descriptions on one line."""
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {_BOUNDS.get(key, key): _part(key, part) for key, part in value.items() if not _superfluous(key, part)}
    choices = made.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        left = [choice for choice in choices if choice != {"type": "null"}]
        del made["anyOf"]
        made = {**left[0], **made} if len(left) == 1 else {**made, "anyOf": left}
    return made


def _part(key: str, part: Any) -> Any:
    if key in ("properties", "$defs"):
        return {name: _cleaned(below) for name, below in part.items()}
    if key in ("examples", "default", "enum", "required"):
        return part
    if key == "description":
        return " ".join(part.split())
    return _cleaned(part)


def _superfluous(key: str, part: Any) -> bool:
    return (key == "default" and part is None) or (key == "title" and isinstance(part, str))
