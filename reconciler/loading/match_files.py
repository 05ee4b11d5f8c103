"""Files of people in place of ids: how a manifest says that they are matched, as far as that is known without a pull.

Rules
1. No row is read: the file's bytes are digested, and of a table the header is checked.
2. The same bytes, columns and conditions have the same digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from reconciler.core.model.errors import Problem
from reconciler.core.model.people import Match, MatchKey, RowFilter, Snapshot, ValueKind
from reconciler.loading import mistakes
from reconciler.loading.contact_files import read_header, read_rows, text_lines
from reconciler.loading.contact_ids import FileFaults, FileRequest, find_columns
from reconciler.loading.file_tree import ENDINGS
from reconciler.loading.files import LFS, LFS_ELSEWHERE, MOST_OF_A_POINTER, is_lfs_pointer
from reconciler.loading.models import FileContacts, ListFilter
from reconciler.loading.nodes import Mapping

_BLOCK = 1024 * 1024
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def make_match(name: str, model: FileContacts, node: Mapping, snapshot: Snapshot | None) -> Match:
    """How people are matched by a file that is not read yet."""
    return Match(
        file=name,
        keys=tuple(_match_keys(model, node)),
        where=row_filters(model),
        region=model.region or "",
        max_age_ms=model.max_age,
        snapshot=snapshot,
    )


def check_source(stream: BinaryIO, match: Match, request: FileRequest) -> Match:
    """The match with the digest of its open file; raises InvalidInput where the header lacks a column."""
    digest = _digest_source(stream, match)
    stream.seek(0)
    _check_header(stream, replace(request, people=tuple(key.column for key in match.keys)))
    return replace(match, source_digest=digest)


def list_match_faults(model: FileContacts, node: Mapping) -> Iterator[Problem]:
    """Mistakes in how people are matched that no single value shows."""

    def fault(key: tuple[str, ...], message: str, hint: str = "") -> Problem:
        return Problem(mistakes.locate_value(node, ("contacts", *key), of_key=True), message, "match", hint=hint)

    match = model.match
    if match is None:
        for key in ("region", "max_age"):
            if getattr(model, key) is not None:
                yield fault((key,), f"`{key}` is of people who are matched: `match` is missing")
        return
    if not any((match.email, match.phone, match.field, match.column)):
        hint = "name the column of one, such as match: {email: mail}"
        yield fault(("match",), "`match` names no column: it takes email, phone, or field and column", hint)
    if (match.field is None) != (match.column is None):
        written, missing = ("field", "column") if match.column is None else ("column", "field")
        hint = "such as match: {field: customer_no, column: number}"
        yield fault(("match", written), f"`{written}` needs `{missing}` beside it: a custom field and its column", hint)
    if model.column is not None:
        yield fault(("column",), "a file whose people are matched has no column of ids: leave `column` out")
    if model.region is not None and match.phone is None:
        yield fault(("region",), "`region` is of phone numbers, and `match` has no `phone`")
    ending = next((ending for ending in ENDINGS if model.file.lower().endswith(ending)), "")
    if not ending:
        hint = "known endings: " + ", ".join(ending for ending in ENDINGS if ending != ".txt")
        yield fault(("file",), f"not a file of people: {model.file[:200]}", hint)
    if ending == ".txt":
        hint = "give it a first line that names its column, call it .csv, and match by that column"
        yield fault(("file",), "people are matched by columns, and a .txt file has none", hint)


def _match_keys(model: FileContacts, node: Mapping) -> Iterator[MatchKey]:
    """The keys in the order written."""
    assert model.match is not None
    written = mistakes.node_at(node, ("contacts", "match"))
    for key in written.items if isinstance(written, Mapping) else ():
        if key == "field":
            yield MatchKey(ValueKind.FIELD, model.match.column or "", model.match.field or "")
        elif key != "column":
            yield MatchKey(ValueKind(key), getattr(model.match, key))


def _digest_source(stream: BinaryIO, match: Match) -> str:
    """Identifies the file's bytes, and the rows and columns that are matched: one pass, no row is read as one."""
    content = hashlib.sha256()
    while block := stream.read(_BLOCK):
        content.update(block)
    keys = [[key.kind, key.column, key.custom_field] for key in match.keys]
    described = json.dumps([content.hexdigest(), keys, match.region, match.where])
    return "sha256:" + hashlib.sha256(described.encode()).hexdigest()


def _check_header(stream: BinaryIO, request: FileRequest) -> None:
    """Raises InvalidInput where the header of a table lacks a column, or the file is of another kind than it says.

    Only the first line is read; files without a header are left to the pull.
    """
    faults = FileFaults(request)
    delimiter = next((mark for ending, mark in _DELIMITERS.items() if request.path.lower().endswith(ending)), "")
    if delimiter:
        rows = read_rows(text_lines(stream, faults), faults, delimiter)
        find_columns(read_header(rows, faults, delimiter), faults)
    elif is_lfs_pointer(stream.read(MOST_OF_A_POINTER)):
        raise faults.fatal_error("git-lfs", 1, LFS, LFS_ELSEWHERE)


def row_filters(model: FileContacts) -> tuple[RowFilter, ...]:
    return tuple(
        RowFilter(column, condition.contains, contains=True)
        if isinstance(condition, ListFilter)
        else RowFilter(column, condition)
        for column, condition in model.where.items()
    )
