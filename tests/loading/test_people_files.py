"""Files of people: which rows count, which cells are values, and that no fault repeats one."""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.malformed import explain_malformed
from reconciler.core.manifests.match import CLASSES, NO_VALUE, Fingerprinter, Normaliser, find_unknown, match_rows
from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.names import ContactId, Source
from reconciler.core.model.people import Fingerprint, Match, MatchKey, PeopleIndex, RowFilter, ValueKind
from reconciler.loading.people_files import (
    PeopleFile,
    find_values,
    make_normaliser,
    phone_reader,
    read_full_rows,
    read_people,
)
from tests.extras import need

PLACE = Source("m.yaml", 3, 5)
MAIL = MatchKey(ValueKind.EMAIL, "mail")
NUMBER = MatchKey(ValueKind.FIELD, "number", "f1")
KEY = Fingerprinter(b"0123456789abcdef")


def people_file(name: str, *keys: MatchKey, where: tuple[RowFilter, ...] = ()) -> PeopleFile:
    match = Match(name, keys or (MAIL,), where)
    return PeopleFile(name, PLACE, match, Normaliser(), KEY)


def emails(name: str, data: bytes, *, where: tuple[RowFilter, ...] = ()) -> list[tuple[int, str]]:
    """The line and the address of each row, empty where it has none that is sound."""
    file = people_file(name, where=where)
    rows = read_people(io.BytesIO(data), file)
    wanted = {values[0] for values in rows.by_row()}
    texts = {KEY.of(v.kind, v.text): v.text for v in find_values(io.BytesIO(data), file, wanted)} | {NO_VALUE: ""}
    return [(line, texts[values[0]]) for line, values in zip(rows.lines, rows.by_row(), strict=True)]


def problems(name: str, data: bytes, *keys: MatchKey) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read_people(io.BytesIO(data), people_file(name, *keys))
    return [str(problem) for problem in caught.value.problems]


def test_rows_are_read_from_every_kind_of_table() -> None:
    rows = [(2, "anna@example.com"), (3, ""), (4, "bea@example.com")]
    assert emails("p.csv", b"name,mail\nAnna,Anna@Example.com\nx,\nBea,bea@example.com\n") == rows
    assert emails("p.tsv", b"mail\tname\r\nanna@example.com\ta\r\nx\tx\r\n bea@example.com\tb\r\n") == rows
    lines = b'\n{"mail": "anna@example.com"}\n{"name": "x"}\n{"mail": "bea@example.com"}\n'
    assert emails("p.jsonl", lines) == rows


def test_rows_that_do_not_meet_the_filters_do_not_count() -> None:
    data = b"mail,plan\na@x,gold\nb@x,free\n"
    assert emails("p.csv", data, where=(RowFilter("plan", "gold", False),)) == [(2, "a@x")]
    lists = b'{"mail": "a@x", "tags": ["vip", "new"]}\n{"mail": "b@x", "tags": []}\n'
    assert emails("p.jsonl", lists, where=(RowFilter("tags", "vip", True),)) == [(1, "a@x")]


def test_a_cell_that_is_no_text_holds_no_address() -> None:
    lines = b'{"mail": ["a@x"]}\n{"mail": null}\n{"mail": true}\n{"mail": {"a@x": 1}}\n{"mail": "a@x"}\n'
    assert emails("p.jsonl", lines) == [(1, ""), (2, ""), (3, ""), (4, ""), (5, "a@x")]


def test_a_number_in_json_is_the_text_that_it_is_written_as() -> None:
    rows = read_people(
        io.BytesIO(b'{"number": 7}\n{"number": "7"}\n{"number": " 7 "}\n'), people_file("p.jsonl", NUMBER)
    )
    assert set(rows.by_row()) == {(KEY.of(ValueKind.FIELD, "7", "f1"),)}


def test_a_row_has_a_value_for_every_key() -> None:
    rows = read_people(io.BytesIO(b"mail,number\na@x,K-1\nb,K-2\nc@x,\n"), people_file("p.csv", NUMBER, MAIL))
    assert list(rows.by_row()) == [
        (KEY.of(ValueKind.FIELD, "k-1", "f1"), KEY.of(ValueKind.EMAIL, "a@x")),
        (KEY.of(ValueKind.FIELD, "k-2", "f1"), NO_VALUE),
        (NO_VALUE, KEY.of(ValueKind.EMAIL, "c@x")),
    ]


def test_values_are_read_again_for_the_rows_that_are_not_known() -> None:
    data, file = b"mail,number\na@x,1\nNew@X,2\nnew@x,3\n", people_file("p.csv", MAIL, NUMBER)
    rows = read_people(io.BytesIO(data), file)
    people = PeopleIndex(current={KEY.of(ValueKind.EMAIL, "a@x"): (ContactId("ann"),)})
    unknown = frozenset[Fingerprint]().union(*find_unknown(rows, people))
    found = [(value.kind, value.text, value.custom_field) for value in find_values(io.BytesIO(data), file, unknown)]
    assert found == [("email", "new@x", ""), ("field", "2", "f1"), ("field", "3", "f1")]


@pytest.mark.parametrize(
    ("name", "data", "columns", "copied"),
    [
        (
            "p.csv",
            b'mail,, note,note\nA@x,1,"a, ""b""\nc",=2\nb@x,,,\n',
            ("mail", "", "note", "note"),
            [(2, ("A@x", "1", 'a, "b"\nc', "=2")), (4, ("b@x", "", "", ""))],
        ),
        (
            "p.jsonl",
            '{"mail": "A@x", "n": 5}\n\n{"note": ["ä"], "mail": "b@x"}\n'.encode(),
            ("mail", "n", "note"),
            [(1, ("A@x", "5", "")), (3, ("b@x", "", '["\\u00e4"]'))],
        ),
    ],
)
def test_rows_are_read_again_with_all_their_columns(
    name: str, data: bytes, columns: tuple[str, ...], copied: list[tuple[int, tuple[str, ...]]]
) -> None:
    file = people_file(name)
    full = read_full_rows(io.BytesIO(data), file)
    assert (full.columns, list(full.rows)) == (columns, copied)
    rows = read_people(io.BytesIO(data), file)
    assert list(rows.lines) == [line for line, _ in copied]


def test_malformed_rows_are_counted_by_their_reasons_with_the_line_of_the_first() -> None:
    """One reason was told for all: an empty line of a spreadsheet looked like an address with a mistake."""
    cells = [
        *('"ann@x.de; bob@x.de"', "Ann <ann@x.de>", "ann＠x.de", "ann.x.de", "4.93E+12", "a@x .de"),
        *("", '" "', "", "ann@x.de"),
    ]
    data = "mail,note\n" + "".join(f"{cell},\n" for cell in cells)
    match = Match("p.csv", (MatchKey(ValueKind.EMAIL, "mail"),))
    file = replace(people_file("p.csv"), match=match)
    rows = read_people(io.BytesIO(data.encode()), file)
    assert [(kind.reason, kind.rows, kind.first) for kind in rows.malformed] == [
        ("empty", 3, 8),
        ("several addresses in one cell", 1, 2),
        ("a name around an address", 1, 3),
        ("a full-width ＠ in an address", 1, 4),
        ("an address without @", 1, 5),
        ("a number as a spreadsheet shortens it (4.93E+12)", 1, 6),
        ("no whole address", 1, 7),
    ]
    phones = [(ValueKind.PHONE, "030 12 ext. 3"), (ValueKind.PHONE, "12"), (ValueKind.FIELD, "a\x07")]
    assert [explain_malformed([cell]) for cell in phones] == [
        "letters in a phone number",
        "no whole phone number",
        "characters that cannot be shown",
    ]


def test_rows_that_are_read_again_meet_the_same_filters() -> None:
    file = people_file("p.csv", where=(RowFilter("plan", "gold", False),))
    data = b"mail,plan\na@x,free\nb@x,gold\nc@x,gold\n"
    result = match_rows(read_people(io.BytesIO(data), file), PeopleIndex(), None)
    copied = zip(result.classes, read_full_rows(io.BytesIO(data), file).rows, strict=True)
    assert [(CLASSES[code], *row) for code, row in copied] == [
        ("not_found", 3, ("b@x", "gold")),
        ("not_found", 4, ("c@x", "gold")),
    ]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("p.csv", b"E-Mail,name\na@x,A\n", "p.csv:1: no column 'mail'; the columns are 'E-Mail', 'name'"),
        ("p.csv", b"Mail,name\na@x,A\n", "p.csv:1: no column 'mail'; the columns are 'Mail', 'name'\n  hint: did you"),
        ("p.csv", b"mail,mail\na@x,b@x\n", "p.csv:1: column 'mail' is there more than once"),
        ("p.csv", b"", "p.csv:1: the file is empty"),
        ("p.csv", b"mail,a\nanna@example.com\n", "p.csv:2: a row of 1 fields under a header of 2"),
        ("p.csv", b"mail,a\nanna@example.com,\xff\n", "p.csv:2: not UTF-8: byte 0xff"),
        ("p.csv", b'mail,a\n"anna@example.com,x\n', "p.csv:2: not a table"),
        ("p.csv", b"Anna,anna@example.com\nBea,b@x\n", "p.csv:1: the first line has an e-mail address or a number"),
        ("p.jsonl", b'{"mail": "anna@example.com"\n', "p.jsonl:1: not JSON"),
        ("p.jsonl", b'["anna@example.com"]\n', "p.jsonl:1: not a JSON object"),
        ("p.jsonl", b'{"mail": "anna@example.com", "mail": "b@x"}\n', "p.jsonl:1: not JSON: a key stands twice"),
        ("p.jsonl", b'{"e": "anna@example.com"}\n', "p.jsonl:1: no row has the key 'mail' that `match` asks for"),
        ("p.txt", b"anna@example.com\n", "m.yaml:3:5: p.txt has no columns that people can be matched by"),
        ("p.xlsx", b"anna@example.com\n", "m.yaml:3:5: not a contact file: p.xlsx"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_without_its_cells(name: str, data: bytes, said: str) -> None:
    found = problems(name, data)
    assert [problem for problem in found if problem.startswith(said)]
    assert "anna@" not in "".join(found)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
PEOPLE = st.lists(st.lists(st.sampled_from(["secret7@example.com", "+49171secret7", "secret7"]) | TEXTS, max_size=3))


@given(PEOPLE, st.binary(max_size=3), st.sampled_from(["p.csv", "p.tsv", "p.jsonl", "p.txt"]), st.booleans())
def test_no_value_is_shown(cells: list[list[str]], noise: bytes, name: str, header: bool) -> None:
    out = io.StringIO()
    if name == "p.jsonl":
        out.writelines(json.dumps(dict(zip(["mail", "number", "x"], row, strict=False))) + "\n" for row in cells)
    else:
        writer = csv.writer(out, delimiter="\t" if name == "p.tsv" else ",")
        # a file without a header has people in its first line
        writer.writerows([["mail", "number", "x"]] if header else [["secret7", "secret7@example.com", "x"]])
        writer.writerows(cells)
    data, file = out.getvalue().encode(errors="surrogatepass") + noise, people_file(name, MAIL, NUMBER)
    shown = [repr(file)]
    try:
        rows = read_people(io.BytesIO(data), file)
        unknown = frozenset[Fingerprint]().union(*find_unknown(rows, PeopleIndex()))
        shown += [repr(rows), repr(match_rows(rows, PeopleIndex(), None))]
        shown += [repr(list(find_values(io.BytesIO(data), file, unknown)))]
    except InvalidInput as error:
        shown += [str(error), repr(error), error.hint]
    assert "secret7" not in "".join(shown)


def test_a_first_line_of_numbers_is_not_repeated() -> None:
    for cell in ("+49 171 2345678", "'+491712345678", "0171/2345678", "10007"):
        (problem,) = problems("p.csv", f"{cell},Anna Berg\n".encode())
        assert problem == (
            "p.csv:1: the first line has an e-mail address or a number, and names no columns\n"
            "  hint: begin the file with a line that names its columns"
        )


@pytest.mark.slow
def test_a_row_costs_its_line_and_its_fingerprints() -> None:
    data, count = b"mail,number\n" + b"anna@example.com,7\n" * 20_000, 20_000
    file = people_file("p.csv", MAIL, NUMBER)
    tracemalloc.start()
    try:
        rows = read_people(io.BytesIO(data), file)
        read = tracemalloc.get_traced_memory()[0]
        result = match_rows(rows, PeopleIndex(), None)
        matched = tracemalloc.get_traced_memory()[0] - read
    finally:
        tracemalloc.stop()
    assert len(rows) == result.counts.not_found == count
    assert read < 48 * count
    assert matched < 12 * count


def test_a_phone_key_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    match = Match("p.csv", (MAIL, MatchKey(ValueKind.PHONE, "tel")), region="DE")
    with pytest.raises(InvalidInput) as caught:
        make_normaliser(match, PLACE)
    assert str(caught.value) == (
        "m.yaml:3:5: a match by phone needs the extra [phone]\n  hint: pip install 'tagreconciler[phone]', "
        "or pip install '.[phone]' in a checkout"
    )
    assert make_normaliser(Match("p.csv", (MAIL,)), PLACE).read_phone is None


@pytest.mark.extras
@pytest.mark.parametrize(
    ("written", "region", "number"),
    [
        ("+49 171 2345678", "", "+491712345678"),
        ("+49 171 2345678", "US", "+491712345678"),
        ("'+49 171 2345678", "", "+491712345678"),
        ("0171/234-56.78", "DE", "+491712345678"),
        ("(0)171 2345678", "DE", "+491712345678"),
        ("0049 171 2345678", "DE", "+491712345678"),
        ("14155550132", "US", "+14155550132"),
        ("+49 (0)171 2345678", "DE", "+491712345678"),
        ("\uff0b\uff14\uff19 171 2345678", "", "+491712345678"),
        ("(415) 555-0132", "US", "+14155550132"),
        ("+39 06 1234 5678", "", "+390612345678"),
        ("0171 2345678", "", None),
        ("", "DE", None),
        ("12", "DE", None),
        ("555-0132", "US", None),
        ("+49", "DE", None),
        ("+999 171 2345678", "DE", None),
        ("4.91713E+11", "DE", None),
        ("0171 2345678 ext. 5", "DE", None),
        ("call 0171 2345678", "DE", None),
        ("+1 800 FLOWERS", "US", None),
        ("+49 171 2345678 9012345678", "DE", None),
        ("anna@example.com", "DE", None),
        ("0171 2345678", "XX", None),
    ],
)
def test_a_phone_number_is_read_for_its_region(written: str, region: str, number: str | None) -> None:
    need("phonenumbers")
    read_phone = phone_reader(PLACE)
    assert read_phone(written, region) == number
    assert number is None or read_phone(number, "") == number


@pytest.mark.extras
def test_people_are_read_from_parquet_by_the_number_of_the_row() -> None:
    duckdb = need("duckdb")
    keys = (MAIL, NUMBER)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "p.parquet"
        rows = "('Anna@x', 'gold', 7), (NULL, 'gold', NULL), ('c@x', 'free', 1), ('bea@x', 'gold', NULL)"
        query = f"SELECT * FROM (VALUES {rows}) AS people(mail, plan, number)"
        duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        data = path.read_bytes()
    file = people_file("p.parquet", *keys, where=(RowFilter("plan", "gold", False),))
    people = read_people(io.BytesIO(data), file)
    assert list(people.lines) == [1, 2, 4]
    assert list(people.by_row()) == [
        (KEY.of(ValueKind.EMAIL, "anna@x"), KEY.of(ValueKind.FIELD, "7", "f1")),
        (NO_VALUE, NO_VALUE),
        (KEY.of(ValueKind.EMAIL, "bea@x"), NO_VALUE),
    ]
    full = read_full_rows(io.BytesIO(data), file)
    assert full.columns == ("mail", "plan", "number")
    assert list(full.rows) == [(1, ("Anna@x", "gold", "7")), (2, ("", "gold", "")), (4, ("bea@x", "gold", ""))]
