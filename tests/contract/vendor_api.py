"""The vendor's OpenAPI files as one document, as a mock of the vendor and a generator of requests take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VERSIONS = {"2021-07-28": "contacts-2021-07-28.json", "v3": "contacts-v3.json"}
OTHERS = ("locations-2021-07-28.json", "oauth-2021-07-28.json")
"""There are no later ones of these."""
COMMON = "common-schemas.json"
USED = {
    "/contacts/bulk/tags/update/{type}": "post",
    "/contacts/search": "post",
    "/contacts/search/duplicate": "get",
    "/contacts/{contactId}": "get",
    "/locations/{locationId}/tags": "get",
    "/locations/{locationId}/customFields": "get",
    "/oauth/locationToken": "post",
}
"""What reconciler asks: nothing else leaves it."""


def vendor_document(directory: Path, version: str) -> dict[str, Any]:
    """All operations of contacts, locations and OAuth. Each file keeps its schemas: two have one of the same name."""
    names = (VERSIONS[version], *OTHERS)
    parts = [_read(directory, name) for name in names]
    document = parts[0] | {"paths": {}, "components": {"schemas": {}, "securitySchemes": {}}}
    for part in (*parts, _read(directory, COMMON)):
        document["paths"] |= part.get("paths", {})
        for kind, members in part["components"].items():
            document["components"][kind] |= members
    return document


def only_used(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the operations that reconciler asks."""
    return document | {"paths": {path: {method: document["paths"][path][method]} for path, method in USED.items()}}


def with_parameter(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the path parameter that the vendor uses and forgets to declare."""
    path = "/contacts/bulk/tags/update/{type}"
    parameter = {
        "name": "type",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": ["add", "remove"]},
    }
    return document | {"paths": document["paths"] | {path: document["paths"][path] | {"parameters": [parameter]}}}


def _read(directory: Path, name: str) -> dict[str, Any]:
    """The file, its schemas called by its name, so that those of another file stay apart."""
    text = (directory / name).read_text(encoding="utf-8")
    prefix = name.partition("-")[0]
    text = text.replace("../common/common-schemas.json#/components/schemas/", "#/components/schemas/common.")
    document: dict[str, Any] = json.loads(
        text.replace('"#/components/schemas/', f'"#/components/schemas/{prefix}.').replace(
            f"{prefix}.common.", "common."
        )
    )
    schemas = document["components"].get("schemas", {})
    document["components"]["schemas"] = {f"{prefix}.{key}": schema for key, schema in schemas.items()}
    return document
