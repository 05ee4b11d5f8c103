"""Files of people in place of ids: how a manifest says that they are matched, and their rows; the home of phonenumbers.

Rules
1. While manifests are loaded no row is read: the file's bytes are digested, and of a table the header is checked. The
   same bytes, columns and conditions have the same digest.
2. A pull reads a file as strictly as a contact file. No fault has a cell of it: file and line name the row.
3. Streamed: memory holds the fingerprints of the rows, and no value.
4. A file is read again where values or other columns are needed: the rows come in the same order, by the same filters.
5. A phone number is made of digits and the usual marks between them; letters, as of an extension, make it malformed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from array import array
from collections import abc
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from reconciler.core.manifests.malformed import MalformedBook
from reconciler.core.manifests.match import NO_VALUE, Fingerprinter, Normaliser, PeopleRows, ReadPhone
from reconciler.core.model.errors import InvalidInput, Problem, ReconcilerError, UsageError, install_hint
from reconciler.core.model.names import Source
from reconciler.core.model.people import (
    Fingerprint,
    Match,
    MatchKey,
    PersonValue,
    RowFilter,
    RowQuery,
    Snapshot,
    ValueKind,
)
from reconciler.loading import mistakes
from reconciler.loading.contact_files import read_cells, read_every_column, read_header, read_rows, text_lines
from reconciler.loading.contact_ids import FileFaults, FileRequest, find_columns, json_text
from reconciler.loading.file_tree import ENDINGS
from reconciler.loading.files import LFS, LFS_ELSEWHERE, MOST_OF_A_POINTER, is_lfs_pointer
from reconciler.loading.nodes import Mapping
from reconciler.loading.row_models import FileContacts, ListFilter, RowContacts
from reconciler.system import replace_file

_BLOCK = 1024 * 1024
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def make_match(name: str, model: RowContacts, node: Mapping, snapshot: Snapshot | None) -> Match:
    """How people are matched by the rows of a file or of a query, which are not read yet."""
    return Match(
        file=name,
        keys=tuple(_match_keys(model, node)),
        where=row_filters(model.where),
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


def make_query_match(query: RowQuery, model: RowContacts, node: Mapping, snapshot: Snapshot | None) -> Match:
    """How the rows of a query become contacts, with the digest of what will be asked."""
    match = make_match("", model, node, snapshot)
    max_age_ms = query.max_age_ms if match.max_age_ms is None else match.max_age_ms
    match = replace(match, query=query, column=model.column, max_age_ms=max_age_ms)
    # a digest of what is asked, not of the bounds: to wait longer is no other question
    asked = [query.command, query.sql, query.files, query.format, match.column]
    described = json.dumps([asked, *_describe_rows(match)])
    return replace(match, source_digest="sha256:" + hashlib.sha256(described.encode()).hexdigest())


def list_match_faults(model: RowContacts, node: Mapping) -> Iterator[Problem]:
    """Mistakes in how people are matched that no single value shows."""

    def fault(key: tuple[str, ...], message: str, hint: str = "") -> Problem:
        return Problem(mistakes.locate_value(node, ("contacts", *key), of_key=True), message, "match", hint=hint)

    match = model.match
    if match is None:
        # a query is pulled, however its rows tell who is meant
        for key in ("region", "max_age") if isinstance(model, FileContacts) else ("region",):
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
        what = "a file" if isinstance(model, FileContacts) else "a source"
        yield fault(("column",), f"{what} whose people are matched has no column of ids: leave `column` out")
    if model.region is not None and match.phone is None:
        yield fault(("region",), "`region` is of phone numbers, and `match` has no `phone`")
    if not isinstance(model, FileContacts):
        return
    ending = next((ending for ending in ENDINGS if model.file.lower().endswith(ending)), "")
    if not ending:
        hint = "known endings: " + ", ".join(ending for ending in ENDINGS if ending != ".txt")
        yield fault(("file",), f"not a file of people: {model.file[:200]}", hint)
    if ending == ".txt":
        hint = "give it a first line that names its column, call it .csv, and match by that column"
        yield fault(("file",), "people are matched by columns, and a .txt file has none", hint)


def _match_keys(model: RowContacts, node: Mapping) -> Iterator[MatchKey]:
    """The keys in the order written."""
    if model.match is None:
        return
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
    described = json.dumps([content.hexdigest(), *_describe_rows(match)])
    return "sha256:" + hashlib.sha256(described.encode()).hexdigest()


def _describe_rows(match: Match) -> tuple[object, ...]:
    return [[key.kind, key.column, key.custom_field] for key in match.keys], match.region, match.where


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


def row_filters(where: abc.Mapping[str, str | ListFilter]) -> tuple[RowFilter, ...]:
    return tuple(
        RowFilter(column, condition.contains, contains=True)
        if isinstance(condition, ListFilter)
        else RowFilter(column, condition)
        for column, condition in where.items()
    )


_PHONE = re.compile(r"[+＋]?[\d\s().\-‐‑‒–/]+")


@dataclass(frozen=True, slots=True)
class PeopleFile:
    """A file of people, and how its cells become fingerprints."""

    path: str
    """The file as a person names it."""
    source: Source
    """The place in the manifest."""
    match: Match
    """Its custom fields are named by their ids."""
    normaliser: Normaliser
    fingerprinter: Fingerprinter
    ending: str = ""
    """The kind of file, where its path does not tell it."""

    @property
    def request(self) -> FileRequest:
        """What is asked of the table."""
        columns = tuple(key.column for key in self.match.keys)
        return FileRequest(self.path, self.source, None, self.match.where, columns, ending=self.ending)


def read_people(stream: BinaryIO, file: PeopleFile) -> PeopleRows:
    """The rows of an open file that meet its filters; raises InvalidInput with every fault, each with its line."""
    faults = FileFaults(file.request)
    lines, fingerprints = array("L"), [bytearray() for _ in file.match.keys]
    columns = [
        (place, key.kind, file.fingerprinter.for_kind(key.kind, key.custom_field), fingerprints[place])
        for place, key in enumerate(file.match.keys)
    ]
    normalise, unread_phones, malformed = file.normaliser.normalise, 0, MalformedBook()
    for line, cells in read_cells(stream, faults):
        lines.append(line)
        is_malformed = True
        for place, kind, make_fingerprint, collected in columns:
            text = normalise(kind, _value_text(cells[place]))
            collected += NO_VALUE if text is None else make_fingerprint(text)
            is_malformed &= text is None
            if text is None and kind is ValueKind.PHONE and _value_text(cells[place]).strip():
                unread_phones += 1
        if is_malformed:
            malformed.add(line, ((kind, _value_text(cells[place])) for place, kind, _, _ in columns))
    faults.raise_errors()
    return PeopleRows(lines, tuple(map(bytes, fingerprints)), unread_phones, malformed.list_reasons())


def find_values(stream: BinaryIO, file: PeopleFile, wanted: Collection[Fingerprint]) -> Iterator[PersonValue]:
    """The normalised values of an open file that have one of these fingerprints, each once."""
    missing = set(wanted)
    for value in chain.from_iterable(read_values(stream, file)):
        fingerprint = file.fingerprinter.of(value.kind, value.text, value.custom_field)
        if fingerprint in missing:
            missing.discard(fingerprint)
            yield value


def read_values(stream: BinaryIO, file: PeopleFile) -> Iterator[tuple[PersonValue, ...]]:
    """The sound values of each row of an open file, normalised; in the end raises InvalidInput with every fault."""
    faults = FileFaults(file.request)
    for _, cells in read_cells(stream, faults):
        texts = (
            (key, file.normaliser.normalise(key.kind, _value_text(cell)))
            for key, cell in zip(file.match.keys, cells, strict=True)
        )
        yield tuple(PersonValue(key.kind, text, key.custom_field) for key, text in texts if text is not None)
    faults.raise_errors()


def _value_text(cell: object) -> str:
    """The text of a cell that may hold a value; a number is the text that it is written as."""
    if isinstance(cell, str):
        return cell
    return json.dumps(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else ""


@dataclass(frozen=True, slots=True)
class FullRows:
    """The rows of a file with all their columns, in the order of its `PeopleRows`."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[int, tuple[str, ...]]]
    """The line of each row, and its cells as they are written."""


def read_full_rows(stream: BinaryIO, file: PeopleFile) -> FullRows:
    """Reads an open file once more, for a copy of its rows."""
    columns, rows = read_every_column(stream, file.request)
    return FullRows(_full_texts(columns), ((line, _full_texts(cells)) for line, cells in rows))


def _full_texts(cells: Sequence[object]) -> tuple[str, ...]:
    return tuple("" if cell is None else json_text(cell) for cell in cells)


def phone_reader(source: Source, region: str = "") -> ReadPhone:
    """The function that reads phone numbers; raises InvalidInput where the library of `[phone]` is not installed.

    `region`: a country that it will be called with; raises InvalidInput where that has no phone numbers.
    """
    try:
        import phonenumbers
    except ImportError:
        message = "a match by phone needs the extra [phone]"
        problem = Problem(source, message, "extra", hint=install_hint("phone"))
        raise InvalidInput([problem]) from None
    if region and region not in phonenumbers.SUPPORTED_REGIONS:
        hint = "the United Kingdom is GB" if region == "UK" else ""
        message = f"no country with phone numbers is called {region[:80]!r}"
        raise InvalidInput([Problem(source, message, "region", hint=hint)])
    possible, e164 = phonenumbers.ValidationResult.IS_POSSIBLE, phonenumbers.PhoneNumberFormat.E164

    def read_phone(text: str, region: str) -> str | None:
        # spreadsheets show a + as text by an apostrophe before it
        text = text.strip().removeprefix("'")
        if not _PHONE.fullmatch(text):
            return None
        try:
            number = phonenumbers.parse(text, region or None)
        except phonenumbers.NumberParseException:
            return None
        # one that lacks its area code is no number to call from elsewhere
        if phonenumbers.is_possible_number_with_reason(number) != possible:
            return None
        return phonenumbers.format_number(number, e164)

    return read_phone


def make_normaliser(match: Match, source: Source) -> Normaliser:
    """Normalises the values of a match; the library for phone numbers is asked for only where it has a phone key."""
    has_phone = any(key.kind is ValueKind.PHONE for key in match.keys)
    return Normaliser(phone_reader(source, match.region) if has_phone else None, match.region)


def refuse_existing(target: Path, *, replaces: bool = False) -> None:
    """Raises UsageError where a file cannot be written: there is one that it does not replace, or no directory."""
    # the author of a checkout's files may have put a link there, to have a file elsewhere replaced
    if target.is_symlink() or (target.exists() and not (replaces and target.is_file())):
        raise UsageError(f"{target} is there already", hint="name another file, or remove it")
    if not target.parent.is_dir():
        raise UsageError(
            f"{target} cannot be written: {target.parent} is no directory", hint="make the directory first"
        )


def write_rows(target: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], *, replaces: bool = False) -> None:
    """Writes a table of people, whole or not at all, readable by its owner alone.

    Raises UsageError where there is something already that it does not replace.
    """
    refuse_existing(target, replaces=replaces)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    try:
        # half of a surrogate pair, which a JSON string may hold, has no UTF-8
        replace_file(target, text.getvalue().encode(errors="replace"))
    except OSError as error:
        raise ReconcilerError(f"{target} cannot be written: {error.strerror}") from None
