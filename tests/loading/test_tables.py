"""Contact files: what counts as a row, what is refused with which line, and that memory stays flat."""

from __future__ import annotations

import base64
import csv
import io
import json
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.names import Source
from reconciler.core.model.people import RowFilter
from reconciler.loading.contact_files import BLOCK, read_rows, read_table, text_lines
from reconciler.loading.contact_ids import ContactTable, FileFaults, FileRequest
from tests.extras import need

ASKED = Source("m.yaml", 3, 5)


def table(name: str, data: bytes | BinaryIO, **wanted: Any) -> ContactTable:
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    return read_table(stream, FileRequest(name, ASKED, **wanted))


def equal(**texts: str) -> tuple[RowFilter, ...]:
    return tuple(RowFilter(column, text) for column, text in texts.items())


def ids(name: str, data: bytes, **wanted: Any) -> tuple[str, ...]:
    return table(name, data, **wanted).ids


def problems(name: str, data: bytes, **wanted: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        table(name, data, **wanted)
    return [str(problem) for problem in caught.value.problems]


def test_the_column_is_contact_id_else_id_else_the_one_that_is_named() -> None:
    assert ids("c.csv", b"id,contact_id\nA,B\n") == ("B",)
    assert ids("c.csv", b"id,other\nA,B\n") == ("A",)
    assert ids("c.csv", b"id,Other Id\nA,B\n", column="Other Id") == ("B",)
    assert ids("c.jsonl", b'{"id": "A", "contact_id": "B"}\n') == ("B",)


def test_what_the_vendor_exports_is_read_as_it_is() -> None:
    assert ids("c.csv", b"Contact Id,First Name,Tags\nA,Ann,vip\n") == ("A",)
    assert ids("c.csv", b"id,Contact Id\nB,A\n") == ("A",)


LISTS = b'Contact Id,Tags\nA,"vip, gold"\nB,gold;vip\nC,vip\nD,vipx\nE,\n'
JSON_LISTS = b'{"id": "A", "tags": ["vip", "gold"]}\n{"id": "B", "tags": []}\n{"id": "C", "tags": "vip"}\n{"id": "D"}\n'


def test_a_list_that_contains_a_text_passes() -> None:
    assert ids("c.csv", LISTS, where=(RowFilter("Tags", "vip", contains=True),)) == ("A", "B", "C")
    assert ids("c.jsonl", JSON_LISTS, where=(RowFilter("tags", "vip", contains=True),)) == ("A", "C")


def test_asking_for_a_text_where_lists_hold_it_is_warned_about() -> None:
    for name, data, column, passed, warned in [
        ("c.csv", LISTS, "Tags", ("C",), "c.csv:2: warning: in column 'Tags' 2 rows hold lists with 'vip'"),
        ("c.jsonl", JSON_LISTS, "tags", ("C",), "c.jsonl:1: warning: in column 'tags' a row holds a list with 'vip'"),
    ]:
        found = table(name, data, where=(RowFilter(column, "vip"),))
        assert found.ids == passed
        (problem,) = found.problems
        assert str(problem).startswith(warned)
        assert problem.hint == f"to ask for lists that hold it: where: {{{column}: {{contains: vip}}}}"


def test_an_address_is_refused_and_never_repeated() -> None:
    (problem,) = problems("c.csv", b"contact_id\nAnna.Berg@example.com\n")
    assert problem.startswith("c.csv:2: an e-mail address where a contact id is needed")
    assert "example.com" not in problem


def test_an_id_that_a_spreadsheet_made_a_number_is_refused() -> None:
    for text in ("1.23457E+19", "1,2E+05", "9E+19"):
        (problem,) = problems("c.txt", f"{text}\n".encode())
        assert "which a spreadsheet made of an id" in problem


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("contact_id\nA\n".encode("utf-16"), "this is UTF-16"),
        ("contact_id\nA\n".encode("utf-16-le"), "this is UTF-16"),
        ("contact_id\nA\n".encode("utf-16-be"), "this is UTF-16"),
        (b"contact_id\rA\r", "lines that end as on old Macs"),
        (b"sep=;\ncontact_id;plan\n", "the first line, 'sep=;', is for Excel"),
        (b"\xef\xbb\xbfsep=,\ncontact_id,plan\n", "the first line, 'sep=,', is for Excel"),
    ],
)
def test_what_other_programs_write_is_named(data: bytes, named: str) -> None:
    (problem,) = problems("c.csv", data)
    assert problem.startswith(f"c.csv:1: {named}")
    assert "hint: " in problem


def test_where_keeps_the_rows_that_are_equal_in_every_column() -> None:
    data = b"id,plan,country\nA,gold,DE\nB,gold,FR\nC,silver,DE\n"
    assert ids("c.csv", data, where=equal(plan="gold", country="DE")) == ("A",)
    lines = b'{"id": "A", "n": 5, "ok": true}\n{"id": "B", "n": "5", "ok": false}\n{"id": "C"}\n'
    assert ids("c.jsonl", lines, where=equal(n="5")) == ("A", "B")
    assert ids("c.jsonl", lines, where=equal(ok="true")) == ("A",)


@pytest.mark.parametrize(
    "data",
    [
        b"id,n\nA,1\nB,2\n",
        b"id,n\r\nA,1\r\nB,2",
        b"\xef\xbb\xbfid,n\nA,1\nB,2\n",
        b"\n\nid,n\n\nA,1\n\nB,2\n\n",
        b' id ,n\n" A ",1\nB,"two\nlines, and ""quotes"""\n',
    ],
    ids=["plain", "crlf", "bom", "empty lines", "quoted"],
)
def test_ways_to_write_the_same_ids(data: bytes) -> None:
    assert ids("c.csv", data) == ("A", "B")


def test_the_line_of_each_id_is_the_one_its_row_starts_on() -> None:
    found = table("c.csv", b'id,n\nA,"x\ny"\nB,1\n\nC,2\n')
    assert list(found.lines) == [2, 4, 6]
    assert list(table("c.txt", b"A\n\n B \n").lines) == [1, 3]


def test_an_id_given_again_counts_once_and_is_told() -> None:
    found = table("c.txt", b"A\nB\nA\nA\n")
    assert found.ids == ("A", "B")
    assert [str(problem) for problem in found.problems] == [
        "c.txt:3: info: 2 ids are given again and counted once, for example 'A'"
    ]


def test_many_faults_of_a_kind_are_counted_not_listed() -> None:
    found = problems("c.csv", b"id,n\n" + b"A\n" * 1000 + b",1\n")
    assert len(found) == 6
    assert found[4] == "c.csv:6: a row of 1 fields under a header of 2 (and 995 more rows like it)"
    assert found[5] == "c.csv:1002: a row without an id"


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("c.csv", b"id\nA\n\xff\n", "c.csv:3: not UTF-8: byte 0xff"),
        ("c.csv", b"id\nA\0\n", "c.csv:2: a NUL character"),
        ("c.csv", b'id\n"A\nB\n', "c.csv:2: not a table: unexpected end of data"),
        ("c.csv", b"id,id\nA,B\n", "c.csv:1: column 'id' is there more than once"),
        ("c.csv", b"id\nA\x1b[31m\n", "c.csv:2: an id with characters that cannot be seen: U+001B"),
        ("c.txt", b"x" * 1_048_577, "c.txt:1: a line longer than 1,048,576 bytes"),
        ("c.jsonl", b"[" * 100_000, "c.jsonl:1: not JSON: nested too deeply"),
        ("c.jsonl", b'{"id": "\\ud83d"}', "c.jsonl:1: an id with characters that cannot be seen: U+D83D"),
        ("c.jsonl", b'{"id": 1' + b"0" * 5000 + b"}", "c.jsonl:1: not JSON"),
        ("c.xlsx", b"", "m.yaml:3:5: not a contact file: c.xlsx"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_its_line(name: str, data: bytes, told: str) -> None:
    assert problems(name, data)[0].startswith(told)


def test_a_missing_column_lists_the_columns_that_are_there() -> None:
    found = problems("c.csv", b"Contact ID,Name\nA,B\n")
    assert found == [
        "c.csv:1: no column 'contact_id', 'Contact Id' or 'id'; the columns are 'Contact ID', 'Name'\n"
        "  hint: name it in the manifest: column: Contact ID"
    ]
    assert "and 80 more" in problems("c.csv", ",".join(map(str, range(100))).encode())[0]


def test_conditions_that_no_row_meets_are_told() -> None:
    """The set had no contacts, and its one hint was allow_empty."""
    (found,) = table("c.csv", b"id,plan\nA,gold\n", where=equal(plan="1")).problems
    assert (found.check, found.message) == ("where-unmet", "no row of c.csv meets `where` (column 'plan')")
    assert not table("c.csv", b"id,plan\nA,gold\n", where=equal(plan="gold")).problems


def test_a_table_without_a_header_is_told_what_it_lacks() -> None:
    (found,) = problems("c.csv", b"qFSqySFkVvNzOSqgGqFi\n3ualbhnV7j3n3a9r2moD\n")
    assert "hint: the first line looks like a contact's: begin the file with a line that says contact_id" in found


def test_a_column_that_is_written_otherwise_is_named() -> None:
    assert "column: ID" in problems("c.csv", b"ID,Name\nA,B\n")[0]
    assert "column: contactId" in problems("c.csv", b"contactId,Name\nA,B\n")[0]
    (found,) = problems("c.csv", b"id,Plan\nA,gold\n", where=equal(plan="gold"))
    assert found == "c.csv:1: no column 'plan'; the columns are 'id', 'Plan'\n  hint: did you mean 'Plan'?"


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.jsonl", "c.txt"])
@given(data=st.binary(max_size=300))
def test_hostile_bytes_give_no_other_exception(name: str, data: bytes) -> None:
    with suppress(InvalidInput):
        table(name, data)


@given(
    values=st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2, max_size=2),
        max_size=8,
    )
)
def test_what_the_standard_writer_writes_is_read_back(values: list[list[str]]) -> None:
    made = io.StringIO(newline="")
    csv.writer(made).writerows(values)
    collector = FileFaults(FileRequest("c.csv", ASKED))
    lines = text_lines(io.BytesIO(("\ufeff" + made.getvalue()).encode()), collector)
    assert [row for _, row in read_rows(lines, collector, ",")] == values


def test_csv_spectrum(corpora: Path) -> None:
    for case in json.loads((corpora / "csv-spectrum.json").read_text()):
        collector = FileFaults(FileRequest("c.csv", ASKED))
        found = [
            row
            for _, row in read_rows(
                text_lines(io.BytesIO(base64.b64decode(case["csv_base64"])), collector), collector, ","
            )
        ]
        assert [dict(zip(found[0], row, strict=True)) for row in found[1:]] == case["rows"], case["name"]


class Endless(io.RawIOBase):
    """A file that is made while it is read."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = next(self._parts, b"")
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.slow
def test_rows_that_are_filtered_out_cost_no_memory() -> None:
    body = (b"%020d,silver,%s\n" % (number, b"x" * 1000) for number in range(20_000))
    stream = io.BufferedReader(Endless(part for source in ([b"id,plan,name\n"], body) for part in source), 4096)
    tracemalloc.start()
    try:
        found = table("c.csv", stream, where=equal(plan="gold"))  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.ids == ()
    assert peak < 1_000_000, "20 MB went by"


def test_parquet_without_the_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert problems("c.parquet", b"PAR1") == [
        "m.yaml:3:5: c.parquet needs the extra [bulk]\n  hint: pip install 'tagreconciler[bulk]', "
        "or pip install '.[bulk]' in a checkout"
    ]


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    duckdb = need("duckdb")
    path = tmp_path / "it's.parquet"
    target = str(path).replace("'", "''")
    duckdb.sql(
        "COPY (SELECT * FROM (VALUES ('A', 'gold', 1), ('B', 'silver', 2), ('A', 'gold', 3), (NULL, 'none', 4)) "
        f'AS t("the ""id", plan, n)) TO \'{target}\' (FORMAT parquet)'
    )
    return path


@pytest.mark.extras
def test_parquet(parquet: Path) -> None:
    wanted: dict[str, Any] = {"column": 'the "id', "where": equal(plan="gold")}
    with parquet.open("rb") as stream:
        assert table(str(parquet), stream, **wanted).ids == ("A",)
    assert ids("c.parquet", parquet.read_bytes(), **wanted) == ("A",), "from memory"
    assert ids("c.parquet", parquet.read_bytes(), column='the "id', where=equal(n="2")) == ("B",)


@pytest.mark.slow
@pytest.mark.extras
def test_lists_in_parquet(tmp_path: Path) -> None:
    duckdb = need("duckdb")
    path = tmp_path / "lists.parquet"
    rows_of = "('A', ['vip', 'gold'], 'x, vip'), ('B', ['lead'], 'vipx'), ('C', NULL, NULL)"
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {rows_of}) AS t(id, tags, words)) TO '{path}' (FORMAT parquet)")
    data = path.read_bytes()
    assert ids("c.parquet", data, where=(RowFilter("tags", "vip", contains=True),)) == ("A",)
    assert ids("c.parquet", data, where=(RowFilter("words", "vip", contains=True),)) == ("A",)
    (problem,) = table("c.parquet", data, where=(RowFilter("tags", "vip"),)).problems
    assert "`where` asks for this text alone" in problem.message


@pytest.mark.slow
@pytest.mark.extras
def test_parquet_that_cannot_be_trusted(parquet: Path) -> None:
    data = parquet.read_bytes()
    assert "no column 'contact_id', 'Contact Id' or 'id'" in problems("c.parquet", data)[0]
    assert "a row without an id" in problems("c.parquet", data, column='the "id')[0]
    assert "an id that is not text" in problems("c.parquet", data, column="n")[0]
    assert "not Parquet" in problems("c.parquet", b"PAR1 but not really")[0]


PIECES = st.sampled_from([
    "a1", "b2", "c3", " d4 ", "e-5", "é6", "", ",", ",", "\n", "\n", "\n", "\r\n", "\r", '"', '"', '"a1"', '"f\n7"',
    "x,y\n", "a1,Wien\n", "b2,Graz\n", "\0", "\ufeff", "\u2028", "\x0b", "g8\n\n", "h9,Linz;Wien\n",
])  # fmt: skip


@given(
    st.lists(PIECES, max_size=25).map("".join),
    st.sampled_from(["id,city\n", "id\n", 'id,"ci\nty"\n', "\n\nid,city\n", ""]),
    st.sampled_from([{}, {"where": equal(city="Wien")}]),
    st.integers(1, 30),
    st.booleans(),
)
def test_blocks_are_read_as_rows_are(
    body: str, header: str, wanted: dict[str, Any], block_bytes: int, broken: bool
) -> None:
    content = (header + body).encode() + (b"\xff" if broken else b"")

    def read(block_bytes: int) -> object:
        try:
            found = read_table(io.BytesIO(content), FileRequest("c.csv", ASKED, **wanted), block_bytes=block_bytes)
        except InvalidInput as error:
            return [str(problem) for problem in error.problems]
        return found.ids, found.lines, found.problems

    assert read(block_bytes) == read(0)


@pytest.mark.parametrize("before", [0, 1, 70_000, 131_071, 131_072, 200_000])
@pytest.mark.parametrize("longest", [131_071, 131_072, 131_073, 200_000])
def test_a_cell_that_the_parser_refuses_is_refused_wherever_in_a_block_it_stands(before: int, longest: int) -> None:
    """The parser of tables takes 131,072 characters a cell; a block is larger, and most are not given to it."""
    rows = [f"id{number:010},Wien\n" for number in range(before // 18)]
    content = "".join(["id,city\n", *rows, f"long,{'x' * longest}\n", *rows, "last,Graz\n"]).encode()

    def read(block_bytes: int) -> object:
        try:
            found = read_table(io.BytesIO(content), FileRequest("c.csv", ASKED), block_bytes=block_bytes)
        except InvalidInput as error:
            return [str(problem) for problem in error.problems]
        return list(found.ids), found.lines, found.problems

    plain = read(0)
    assert isinstance(plain, list) == (longest > 131_072), "so does the parser"
    assert read(BLOCK) == plain
