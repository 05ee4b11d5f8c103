"""The exceptions of `exceptions.toml`: whatever differs is listed there with its reason, and nothing else is."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]
FILE = Path(__file__).with_name("exceptions.toml")


def exceptions(kind: str, version: str) -> list[Entry]:
    """The entries of a kind for a version of the API."""
    return [entry for entry in tomllib.loads(FILE.read_text(encoding="utf-8"))[kind] if version in entry["versions"]]


def compare(found: Set[tuple[str, ...]], listed: Set[tuple[str, ...]]) -> list[str]:
    """What differs and is not listed, and what is listed and does not differ."""
    surplus = [f"differs, and stands not in exceptions.toml: {each}" for each in sorted(found - listed)]
    return surplus + [f"stands in exceptions.toml, and does not differ: {each}" for each in sorted(listed - found)]
