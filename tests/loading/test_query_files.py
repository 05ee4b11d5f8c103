"""SQL on files: each row of a table is there, or the table is refused. A row that is lost takes a person out of a
set.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from reconciler.core.model.names import Source
from reconciler.core.model.people import RowQuery
from reconciler.loading.files import Directory
from reconciler.loading.query_files import run_sql
from reconciler.loading.query_tables import RowCopier, SqlFailed
from tests.extras import need

pytestmark = pytest.mark.extras


def select(directory: Path, content: str, *, name: str = "rows.csv", sql: str = "select * from rows") -> str:
    need("duckdb")
    (directory / name).write_text(content, encoding="utf-8", newline="")
    query = RowQuery("vips", Source("reconciler.yaml", 1, 1), sql=sql, files=(name,))
    with run_sql(query, Directory(directory), Event()) as kept:
        return kept.read().decode()


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "content",
    [
        "id,plan\nA,x\n#B,y\nC,z\n",
        "#id,plan\nA,x\n",
        "id\nA\n#B\n//C\n",
        "id,plan\n1,2\n3,4\n",
        "id,plan\nA,2026-01-01T00:00:00Z\nB,007\nC,1e3\n",
    ],
)
def test_what_looks_like_a_remark_a_number_or_a_time_is_a_row_of_text(tmp_path: Path, content: str) -> None:
    assert select(tmp_path, content) == content


def test_marks_and_line_ends_of_other_programs_are_taken(tmp_path: Path) -> None:
    assert select(tmp_path, '\ufeffid,note\r\nA,"x, ""y"""\r\nB,z\r\n') == 'id,note\nA,"x, ""y"""\nB,z\n'
    assert select(tmp_path, "id\tnote\nA\tx,y\n", name="rows.tsv") == 'id,note\nA,"x,y"\n'


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("id,plan\nA,x\n#lost@example.com\nC,y\n", 3),
        ("note\nid,plan\nA,x\n", 2),
        ("id,plan\nA,x,1\nB,y,2\n", 2),
        ("id;plan\nA,1\n", 2),
        ('id,plan\nA,"x\nB,y\n', 2),
        ('id,"plan\nA,x\n', 1),
        ("\nid,plan\nA,x\n", 1),
        ("id,,plan\nA,x,y\n", 1),
        ("id,ID\nA,x\n", 1),
        ("id,plan\nA,x\nB,y,\n", 3),
        ("id,plan,note\nA,x,z\nB,y,\0\n", 3),
        ("", 1),
    ],
)
def test_a_table_of_which_a_row_would_be_lost_is_refused_by_its_line(tmp_path: Path, content: str, line: int) -> None:
    with pytest.raises(SqlFailed) as failed:
        select(tmp_path, content)
    assert f"line {line}" in str(failed.value).lower().replace("line: ", "line ")
    assert "example.com" not in str(failed.value)


def test_a_lone_carriage_return_is_a_part_of_its_cell(tmp_path: Path) -> None:
    assert select(tmp_path, 'id,note\nA,"x\ry"\n', sql="select id, length(note) as n from rows") == "id,n\nA,3\n"


def test_a_copy_that_the_disk_does_not_take_fails_the_source_alone(tmp_path: Path) -> None:
    copier = RowCopier(RowQuery("vips", Source("reconciler.yaml", 1, 1)), tmp_path / "gone", 1e12, Event())
    (tmp_path / "rows.csv").write_text("id\nA\n")
    with (tmp_path / "rows.csv").open("rb") as table, pytest.raises(SqlFailed, match="cannot be copied"):
        copier.copy_rows("rows.csv", table)


@pytest.mark.slow
def test_an_empty_line_is_no_row_of_a_table_of_one_column(tmp_path: Path) -> None:
    assert select(tmp_path, "id\nA\n\nB\n\n") == "id\nA\nB\n"
    everybody_else = (
        "select column0 as id from (values ('A'), ('C')) t(column0) where column0 not in (select id from rows)"
    )
    assert select(tmp_path, "id\nA\n\n", sql=everybody_else) == "id\nC\n"


def test_values_of_json_lines_stay_the_text_that_they_are(tmp_path: Path) -> None:
    line = '{"id": "00012", "at": "2026-01-01T00:00:00Z", "on": "2026-01-01"}\n'
    assert select(tmp_path, line, name="rows.jsonl") == "id,at,on\n00012,2026-01-01T00:00:00Z,2026-01-01\n"


def test_no_kind_is_guessed_for_the_values_of_json_lines(tmp_path: Path) -> None:
    lines = '{"id": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}\n{"id": "007"}\n{"id": 9007199254740993}\n{"id": 0.5}\n'
    values = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11\n007\n9007199254740993\n0.5\n"
    assert select(tmp_path, lines, name="rows.jsonl") == f"id\n{values}"


@pytest.mark.slow
def test_a_late_line_of_json_has_its_own_keys_and_values(tmp_path: Path) -> None:
    lines = '{"id": 1}\n' * 21_000 + '{"id": 1.5, "plan": "x"}\n'
    assert select(tmp_path, lines, name="rows.jsonl").splitlines()[-1] == "1.5,x"


@pytest.mark.parametrize("sql", ["select id::int from rows", "select strptime(id, '%Y') from rows"])
def test_an_error_repeats_no_value_of_a_file(tmp_path: Path, sql: str) -> None:
    with pytest.raises(SqlFailed) as failed:
        select(tmp_path, '{"id": "Anna Gruber"}\n', name="rows.jsonl", sql=sql)
    assert "Gruber" not in str(failed.value)


def test_an_error_of_a_json_line_repeats_none_of_it(tmp_path: Path) -> None:
    with pytest.raises(SqlFailed) as failed:
        select(tmp_path, '{"id": "A", "id": "Gruber"}\n', name="rows.jsonl")
    assert "line 1" in str(failed.value)
    assert "Gruber" not in str(failed.value)


def test_an_error_of_the_sql_names_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(SqlFailed, match='"idd"'):
        select(tmp_path, "id\nA\n", sql="select idd from rows")
