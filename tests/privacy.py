"""Finds addresses of people where none may be: in answers, logs, states, plans, reports, journals and their packings.

A text counts as found in any spelling that our outputs and stores could have: as it is, in another case, in UTF-16,
escaped for JSON, HTML or a URL, in base64 or hexadecimal digits, and within zlib, gzip, zip or a column of SQLite.
"""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from urllib.parse import quote

DEEPEST = 4
"""So many packings within one another are opened."""
BROKEN = (zlib.error, EOFError, OSError)
"""What looked packed and is not."""


class Scanner:
    """Looks for the values of people in bytes and in directories.

    `marks`: texts that chance does not make, one of which stands in every value: some letters that all e-mail addresses
    have, the first digits of all phone numbers. A thousand values sought one by one would take hours.
    """

    def __init__(self, marks: Iterable[str]) -> None:
        spellings = {spelling for mark in marks for spelling in _spellings(mark)}
        self._any = re.compile(b"|".join(map(re.escape, sorted(spellings, key=len, reverse=True))), re.IGNORECASE)

    def search(self, content: bytes) -> list[bytes]:
        """The spellings that the content has, packed or not."""
        return sorted({found for layer in _unpack(content, DEEPEST) for found in self._any.findall(layer)})

    def search_files(self, directory: Path, *, but: Iterable[Path] = ()) -> dict[str, list[bytes]]:
        """The files below a directory with a value in their name or content, and the spellings."""
        spared = {path.resolve() for path in but}
        found: dict[str, list[bytes]] = {}
        for path in sorted(directory.rglob("*")):
            if path.is_file() and path.resolve() not in spared:
                name = str(path.relative_to(directory))
                here = [self.search(content) for content in (name.encode(), path.read_bytes(), _sqlite_dump(path))]
                found |= {name: list(chain.from_iterable(here))} if any(here) else {}
        return found


def _spellings(mark: str) -> Iterator[bytes]:
    for text in {mark, json.dumps(mark)[1:-1], html.escape(mark), quote(mark)}:
        yield text.encode()
        yield text.encode("utf-16-le")
        yield text.encode().hex().encode()
    # base64 has three forms, by the place of the text among the bytes; its ends depend on the neighbours
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + mark.encode())
        yield encoded[4 if shift else 0 : -4]


def _unpack(content: bytes, deepest: int) -> Iterator[bytes]:
    """The content, and everything that is packed in it."""
    yield content
    if not deepest:
        return
    for layer in _unzip(content):
        yield from _unpack(layer, deepest - 1)


def _unzip(content: bytes) -> Iterator[bytes]:
    if content[:2] == b"\x1f\x8b":
        with suppress(*BROKEN):
            yield gzip.decompress(content)
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    # any zlib stream, wherever it begins
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", content):
        unpacker = zlib.decompressobj()
        with suppress(*BROKEN):
            yield unpacker.decompress(content[match.start() :], 64_000_000)


def _sqlite_dump(path: Path) -> bytes:
    """Every value of a SQLite file: its pages may part a text, and a blob be packed."""
    if not path.read_bytes()[:16].startswith(b"SQLite format 3"):
        return b""
    parts: list[bytes] = []
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    content = cell if isinstance(cell, bytes) else str(cell).encode()
                    parts += list(_unpack(content, DEEPEST))
    return b"\n".join(parts)
