"""Reads the ids of a contact file: .csv, .tsv, .jsonl, .txt (one id a line), and .parquet with the extra `[bulk]`.

Rules
1. A row that cannot be trusted is an error with its line (ragged, without an id, not UTF-8, an open quote): an id that
   is silently lost would be pruned, and a shifted column would tag the wrong contact.
2. Blanks around an id do not count, empty lines do not count, an id given twice counts once.
3. Streamed: memory holds the ids and some hundred kilobytes.
4. A table is read in blocks of lines, whose columns are taken as wholes; one that is cut by its delimiters and line
   ends alone is not even given to the parser. A block with a row that is not plain (a fault, an empty line, a cell
   over several lines) is read row by row instead, and so is all that follows a block which does not end with a row:
   the ids, their lines and the faults are the same.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from io import BufferedIOBase, BytesIO, StringIO
from itertools import chain, count
from operator import itemgetter
from typing import BinaryIO, cast

from reconciler.core.model.contact_numbers import ContactNumbers
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.loading.contact_ids import ContactTable, FileFaults, FileRequest, IdCollector, Row, find_columns
from reconciler.loading.file_tree import ENDINGS
from reconciler.loading.files import (
    END_WITH_LF,
    LFS,
    LFS_ELSEWHERE,
    OLD_LINE_ENDS,
    SAVE_AS_UTF_8,
    UTF_16,
    is_lfs_pointer,
    is_utf_16,
)
from reconciler.loading.parquet_files import read_parquet

MAX_LINE = 1_048_576
BLOCK = 1 << 18
"""Bytes of a block, without the rest of its last line: they stay within a processor's cache."""

_HALF_A_CELL = csv.field_size_limit() // 2
_OF_CELLS = {
    delimiter: bytes(byte for byte in range(256) if byte not in f'{delimiter}\n\r"\0'.encode()) for delimiter in ",\t"
}
"""By the delimiter, the bytes that mean nothing to the parser of a table."""


def read_table(
    stream: BinaryIO, request: FileRequest, contacts: ContactNumbers | None = None, *, block_bytes: int = BLOCK
) -> ContactTable:
    """The ids of an open contact file; raises InvalidInput with every fault, each with its line.

    `contacts`: those of all files so far, which are numbered together. `block_bytes`: of a block, without the rest of
    its last line; 0 reads row by row.
    """
    faults = FileFaults(request)
    collector = IdCollector(faults, contacts)
    add_id = collector.add_id
    delimiter = _DELIMITERS.get(request.kind)
    if block_bytes and delimiter:
        rows = _read_blocks(stream, collector, faults, delimiter, block_bytes)
    else:
        rows = read_cells(stream, faults)
    for line, (cell,) in rows:
        add_id(cell, line)
    return collector.build_table()


def read_cells(stream: BinaryIO, faults: FileFaults) -> Iterator[Row]:
    """The rows of an open file that meet its filters; a row that cannot be trusted is a fault, and left out."""
    request = faults.request
    ending = request.kind
    if ending == ".parquet":
        return read_parquet(stream, faults)
    if ending in _READERS:
        return _READERS[ending](text_lines(stream, faults), faults)
    hint = "known endings: " + ", ".join(ENDINGS)
    raise InvalidInput([Problem(request.source, f"not a contact file: {request.path}", "contact-file", hint=hint)])


def read_every_column(stream: BinaryIO, request: FileRequest) -> tuple[Sequence[object], Iterator[Row]]:
    """The names of the columns of an open file, and the rows that meet its filters, with all their cells."""
    if request.kind != ".jsonl":
        rows = read_cells(stream, FileFaults(replace(request, every_column=True)))
        return next(rows)[1], rows
    faults, names = FileFaults(request), dict[str, None]()
    for number, line in enumerate(text_lines(stream, faults), 1):
        names.update(dict.fromkeys(() if line.isspace() else _read_json_line(line, number, faults) or ()))
    faults.raise_errors()
    stream.seek(0)
    return tuple(names), read_cells(stream, FileFaults(replace(request, people=tuple(names))))


def text_lines(stream: BinaryIO, faults: FileFaults) -> Iterator[str]:
    """The lines of a file with their ends, without its byte order mark."""
    return _decode_lines(_raw_lines(stream), faults, 1)


def _raw_lines(stream: BinaryIO) -> Iterator[bytes]:
    return iter(partial(stream.readline, MAX_LINE), b"")


def _decode_lines(lines: Iterable[bytes], faults: FileFaults, first: int) -> Iterator[str]:
    for number, raw in enumerate(lines, first):
        # before the checks below, whose messages would not tell that the file is of another kind
        if number == 1:
            _refuse_other_files(raw, faults)
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            raise faults.fatal_error("size", number, f"a line longer than {MAX_LINE:,} bytes")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"not UTF-8: byte 0x{raw[error.start]:02x}"
            raise faults.fatal_error("encoding", number, message, SAVE_AS_UTF_8) from None
        if "\0" in line:
            raise faults.fatal_error("encoding", number, "a NUL character")
        yield line.removeprefix("\ufeff") if number == 1 else line


def _refuse_other_files(first: bytes, faults: FileFaults) -> None:
    """Refuses a Git LFS pointer, UTF-16 and old line ends by the first line.

    That is the whole file where lines end otherwise than with a line feed.
    """
    if is_lfs_pointer(first):
        raise faults.fatal_error("git-lfs", 1, LFS, LFS_ELSEWHERE)
    if is_utf_16(first):
        raise faults.fatal_error("encoding", 1, UTF_16, SAVE_AS_UTF_8)
    if b"\r" in first and not first.endswith(b"\n"):
        raise faults.fatal_error("encoding", 1, OLD_LINE_ENDS, END_WITH_LF)


def read_rows(
    lines: Iterable[str], faults: FileFaults, delimiter: str, *, first: int = 1
) -> Iterator[tuple[int, list[str]]]:
    """The rows of delimited text that are not empty, each with the line it starts on; the text starts on `first`."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = first
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + first
    except csv.Error as error:
        raise faults.fatal_error("contact-file", line, f"not a table: {error}") from None


class _Columns:
    """The columns of a table that are asked for, by its header."""

    def __init__(self, header: list[str], faults: FileFaults) -> None:
        self.faults = faults
        self.width = len(header)
        self.places = [header.index(column) for column in find_columns(header, faults)]
        self.filters = [(row_filter, header.index(row_filter.column)) for row_filter in faults.request.where]

    def pick_cells(self, table: Iterable[tuple[int, list[str]]]) -> Iterator[Row]:
        """The rows that meet the filters, with the cells of these columns."""
        # looked up once: a file may have millions of rows
        width, places, filters, meets_filters = self.width, self.places, self.filters, self.faults.meets_filters
        for line, row in table:
            if len(row) != width:
                self.faults.add_fault("ragged", line, f"a row of {len(row)} fields under a header of {width}")
            elif not filters or meets_filters([(row_filter, row[at]) for row_filter, at in filters], line):
                yield line, [row[at] for at in places]


def _read_delimited(lines: Iterable[str], faults: FileFaults, delimiter: str) -> Iterator[Row]:
    table = read_rows(lines, faults, delimiter)
    header = read_header(table, faults, delimiter)
    columns = _Columns(header, faults)
    if faults.request.every_column:
        columns.places = list(range(len(header)))
        yield 1, header
    yield from columns.pick_cells(table)


def _read_blocks(
    stream: BinaryIO, collector: IdCollector, faults: FileFaults, delimiter: str, block_bytes: int
) -> Iterator[Row]:
    """Collects the ids of plain blocks, and yields the rows of others with their ids."""
    passed = count(1)
    # the number is taken as a line is read: the header may have several
    head = read_rows((line for line, _ in zip(text_lines(stream, faults), passed, strict=False)), faults, delimiter)
    columns = _Columns(read_header(head, faults, delimiter), faults)
    first = next(passed)
    for block, rest in _cut_blocks(stream, block_bytes):
        if not columns.filters and (added := _collect_cut(block, delimiter, columns, collector, first)):
            first += added
            continue
        rows = _parse_block(block, delimiter)
        if rows is None:
            unread = BytesIO(block + rest + stream.readline(MAX_LINE))
            lines = _decode_lines(chain(_raw_lines(unread), _raw_lines(stream)), faults, first)
            yield from columns.pick_cells(read_rows(lines, faults, delimiter, first=first))
            return
        ends = block.count(b"\n")
        # a quoted cell may go over lines
        is_plain = set(map(len, rows)) == {columns.width} and len(rows) == ends + (not block.endswith(b"\n"))
        if is_plain and not columns.filters:
            collector.add_ids(list(map(itemgetter(columns.places[0]), rows)), first)
        else:
            yield from columns.pick_cells(_number_rows(rows, first))
        first += ends


def _cut_blocks(stream: BinaryIO, block_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """The rest of a file in blocks of whole lines, each with what was read of the line after it."""
    # no more than is there: a stream may be slow, or without an end
    read_some = cast(BufferedIOBase, stream).read1
    rest = b""
    while some := read_some(block_bytes):
        some = rest + some
        end = len(some) if len(some) >= MAX_LINE else some.rfind(b"\n") + 1
        block, rest = some[:end], some[end:]
        if block:
            yield block, rest
    if rest:
        yield rest, b""


def _collect_cut(block: bytes, delimiter: str, columns: _Columns, collector: IdCollector, first: int) -> int:
    """Collects the ids of a block that is plainly rows which the delimiter cuts; how many rows, 0 where it is not."""
    if not block.endswith(b"\n"):
        block += b"\n"
    rows, ends = block.count(b"\n"), delimiter * (columns.width - 1) + "\n"
    # an empty line is no row, and would be one of a single column
    is_doubtful = _may_have_long_cell(block, delimiter) or (columns.width == 1 and b"\n\n" in b"\n" + block)
    if is_doubtful or block.translate(None, _OF_CELLS[delimiter]) != ends.encode() * rows:
        return 0
    if block.isascii() and collector.add_cells(block, delimiter, columns.width, columns.places[0], first):
        return rows
    try:
        cells = block.decode().replace("\n", delimiter).split(delimiter)
    except UnicodeDecodeError:
        return 0
    collector.add_ids(cells[columns.places[0] : -1 : columns.width], first)
    return rows


def _may_have_long_cell(block: bytes, delimiter: str) -> bool:
    """Whether one of the cells may be longer than the parser takes: such a one has a part of half its length alone."""
    starts = range(0, len(block) - _HALF_A_CELL + 1, _HALF_A_CELL)
    ends = b"\n", delimiter.encode()
    return any(all(block.find(end, start, start + _HALF_A_CELL) < 0 for end in ends) for start in starts)


def _parse_block(block: bytes, delimiter: str) -> list[list[str]] | None:
    """The rows of a block; None where one of them is not to be read, or goes on in the next block."""
    if b"\0" in block or len(block) >= MAX_LINE:
        return None
    try:
        # lines end with a line feed alone, as in `text_lines`
        return list(csv.reader(StringIO(block.decode(), newline="\n"), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None


def _number_rows(rows: Iterable[list[str]], first: int) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line it starts on."""
    for row in rows:
        if row:
            yield first, row
        # a quoted cell may go over lines
        first += 1 + sum(cell.count("\n") for cell in row)


def read_header(table: Iterator[tuple[int, list[str]]], faults: FileFaults, delimiter: str) -> list[str]:
    """The names of the columns: the first row of a table."""
    header = [name.strip() for name in next(table, (1, []))[1]]
    if not header:
        raise faults.fatal_error("column", 1, "the file is empty: its first line must name the columns")
    if header[0].lower().startswith("sep="):
        message = f"the first line, {delimiter.join(header)[:20]!r}, is for Excel and names no columns"
        hint = "leave that line out; .csv is separated by commas, .tsv by tabs"
        raise faults.fatal_error("contact-file", 1, message, hint)
    return header


def _read_id_lines(lines: Iterable[str], faults: FileFaults) -> Iterator[Row]:
    request = faults.request
    if request.people:
        hint = "name it .csv, and begin it with a line that names its column"
        message = f"{request.path} has no columns that people can be matched by"
        raise InvalidInput([Problem(request.source, message, "column", hint=hint)])
    if request.named_columns:
        message = f"{request.path} has one id a line and no columns: leave `column` and `where` out"
        raise InvalidInput([Problem(request.source, message, "column")])
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            yield number, (line,)


def _read_jsonl(lines: Iterable[str], faults: FileFaults) -> Iterator[Row]:
    request, seen = faults.request, set[str]()
    columns = request.people or ((request.column,) if request.column is not None else ())
    # an id that a row leaves out is a fault of the row, which has its line
    sought = request.named_columns[0 if request.people or request.column is None else 1 :]
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        row = _read_json_line(line, number, faults)
        if row is None:
            continue
        columns = columns or find_columns(list(row), faults, line=number)
        seen.update(name for name in sought if name in row)
        if _meets_filters(row, faults, number):
            yield number, [row.get(column) for column in columns]
    # JSON rows leave out keys without a value: only one that no row has is a mistake in the manifest
    unseen = [name for name in sought if name not in seen]
    if unseen:
        asking = "`match`" if unseen[0] in request.people else "`where`"
        raise faults.fatal_error("column", 1, f"no row has the key {unseen[0]!r} that {asking} asks for")


def _meets_filters(row: Mapping[str, object], faults: FileFaults, number: int) -> bool:
    where = faults.request.where
    # a row without the key does not meet the filter, but its other columns may still be worth a warning
    values = [(row_filter, row[row_filter.column]) for row_filter in where if row_filter.column in row]
    return faults.meets_filters(values, number) and len(values) == len(where)


class _Doubled(ValueError):
    msg = "a key stands twice"


def _refuse_doubled_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these pairs; raises where one key would hide another, as Python's reader lets it."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _Doubled
    return row


def _read_json_line(line: str, number: int, faults: FileFaults) -> dict[str, object] | None:
    try:
        row = json.loads(line, object_pairs_hook=_refuse_doubled_keys)
    except (ValueError, RecursionError) as error:
        faults.add_fault("contact-file", number, f"not JSON: {getattr(error, 'msg', 'nested too deeply')}")
        return None
    if not isinstance(row, dict):
        faults.add_fault("contact-file", number, "not a JSON object")
        return None
    return row


_DELIMITERS: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}

_READERS: Mapping[str, Callable[[Iterable[str], FileFaults], Iterator[Row]]] = {
    **{ending: partial(_read_delimited, delimiter=delimiter) for ending, delimiter in _DELIMITERS.items()},
    ".jsonl": _read_jsonl,
    ".txt": _read_id_lines,
}
