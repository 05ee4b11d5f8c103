"""Manifests and contact files as text: what `export` writes and `load` reads.

Rules
1. Whatever a tag holds, it comes back as that tag: what is not plainly a word is quoted, what cannot be seen escaped.
2. Nothing that exists is overwritten; nothing is written where anything would be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from reconciler.core.manifests.export_sets import ExportedSet
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.names import LocationId

_WORD = re.compile(r"[a-z0-9](?:[a-z0-9 _./+-]*[a-z0-9])?")


def manifest_text(location: LocationId, sets: Iterable[ExportedSet], *, folder: str, comment: str) -> str:
    """A manifest with these sets, their contacts in files of `folder` beside it. `comment`: one printable line."""
    lines = [f"# {comment}", f"location: {location}", "contact_sets:"]
    for each in sets:
        lines += [
            f"  {each.name}:",
            f"    contacts: {{file: {folder}/{each.name}.csv}}",
            "    tags:",
            *(f"      - {scalar(tag)}" for tag in each.tags),
        ]
    return "\n".join(lines) + "\n"


def contacts_text(each: ExportedSet) -> str:
    return "contact_id\n" + "".join(f"{_cell(contact)}\n" for contact in each.contacts)


def scalar(text: str) -> str:
    """A YAML scalar that is read as exactly this text."""
    if _WORD.fullmatch(text):
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char == " " or char.isprintable():
        return char
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"') else text


def write_files(directory: Path, files: Mapping[Path, str]) -> None:
    """Writes all of the files (their paths relative to the directory), or none where one is there already."""
    existing = sorted(path for path in files if (directory / path).exists())
    if existing:
        raise UsageError(
            f"{directory / existing[0]} exists already, and nothing is overwritten", hint="choose another --out"
        )
    try:
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ReconcilerError(f"{error.filename} cannot be written: {error.strerror}") from error
