"""States of every version that there was: carried forward whole, and old or new wherever that is interrupted."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.formats.state_json import Portable, read_state, state_document
from reconciler.core.model.lease import TTL_MS
from reconciler.core.model.outcome import REJECTIONS, Outcome
from reconciler.operations.runs import read_log
from reconciler.ports import StateReader
from reconciler.store import open_reader, open_store
from reconciler.store.schema import STEPS, VERSION
from reconciler.store.sqlite import migrate, version_of
from reconciler.store.sqlite_file import DISK
from tests.build import HERE
from tests.fakes import START
from tests.store.sample import fill
from tests.store.test_contract import header, taken
from tests.store.test_sqlite import Camera, url

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = range(1, VERSION + 1)
OLD = sorted(STEPS)


def document(reader: StateReader) -> Any:
    """Everything that a state holds; runs, lineages and the like are made up by each state for itself."""
    found = [
        Portable(
            reader.at(each).load_state(),
            tuple(read_log(reader, run) for run in reader.at(each).read_runs()),
            reader.at(each).read_snapshots(),
        )
        for each in reader.list_locations()
    ]
    return json.loads(json.dumps(state_document(found)))


def copied(version: int, directory: Path) -> Path:
    path = directory / "state.db"
    directory.mkdir(exist_ok=True)
    shutil.copyfile(GOLDEN / f"version-{version}.db", path)
    path.chmod(0o600)
    return path


def test_there_is_a_golden_state_of_every_version(bless: bool) -> None:
    newest = GOLDEN / f"version-{VERSION}.db"
    if bless and not newest.exists():
        with open_store(url(newest)) as store:
            fill(store)
        for ending in (".backup", "-journal"):
            newest.with_name(newest.name + ending).unlink()
    assert sorted(each.name for each in GOLDEN.glob("*.db")) == [f"version-{version}.db" for version in VERSIONS]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("opening", ["reader", "store"])
def test_every_version_reads_as_it_was_written(tmp_path: Path, version: int, opening: str, bless: bool) -> None:
    path = copied(version, tmp_path)
    if opening == "store":
        with open_store(url(path)):
            pass
    with open_reader(url(path)) as reader:
        found = document(reader)
    golden = GOLDEN / f"version-{version}.json"
    if bless:
        golden.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(golden.read_text())


@pytest.mark.parametrize("version", OLD)
def test_whoever_only_looks_carries_nothing_forward(tmp_path: Path, version: int) -> None:
    path = copied(version, tmp_path)
    before = path.read_bytes()
    with open_reader(url(path)) as reader:
        document(reader)

    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.parametrize("version", OLD)
def test_a_copy_is_put_beside_it_before_it_is_changed(tmp_path: Path, version: int) -> None:
    path = copied(version, tmp_path)
    with open_store(url(path)) as state:
        store = state.at(HERE)
        store.begin_run(taken(store, name="three", now=START + 2 * TTL_MS), header())

    copy = path.with_name(f"state.db.v{version}.backup")
    assert copy.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(copy) as connection:
        assert version_of(connection) == version
    connection.close()
    with open_reader(url(copy)) as reader:
        found = document(reader)
    for location in found["locations"]:
        mark = location["runs"].pop()
        assert mark["operation"] == f"backup before the upgrade from version {version}"
    assert found == json.loads((GOLDEN / f"version-{version}.json").read_text())


STORED_SINCE = 5
"""The schema version since which a state says why an answer refused a contact."""


@pytest.mark.parametrize("version", [version for version in OLD if version < STORED_SINCE])
@pytest.mark.parametrize("message", [*REJECTIONS, "contact was merged"])
def test_why_a_contact_was_refused_is_derived_once_from_the_message(tmp_path: Path, version: int, message: str) -> None:
    path = copied(version, tmp_path)
    table = "answers" if version > 2 else "rows"
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {table} SET message = ? WHERE outcome = 'rejected'", (message,))
    connection.close()
    with open_store(url(path)):
        pass
    connection = sqlite3.connect(path)
    stored = connection.execute("SELECT rejection FROM answers WHERE outcome = 'rejected'").fetchall()
    connection.close()
    assert stored == [(REJECTIONS.get(message),)]


@pytest.mark.parametrize("version", [version for version in VERSIONS if version >= STORED_SINCE])
def test_what_was_stored_stands_whatever_the_list_of_messages_says_today(tmp_path: Path, version: int) -> None:
    """The vendor changes a sentence, or we learn another one: what runs were told before means what it meant then."""
    path = copied(version, tmp_path)
    unlisted, listed = "this contact has been merged away", next(iter(REJECTIONS))
    assert unlisted not in REJECTIONS
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE answers SET message = ? WHERE outcome = 'rejected'", (unlisted,))
        connection.execute("UPDATE answers SET message = ? WHERE outcome = 'held'", (listed,))
    connection.close()
    with open_store(url(path)) as state:
        logs = [read_log(state, run) for each in state.list_locations() for run in state.at(each).read_runs()]
        told = [answer.verdict for log in logs for batch in log.batches for answer in batch.answers.values()]
        verdicts = {each.outcome: each for each in told if each is not None}
        assert (verdicts[Outcome.REJECTED].message, verdicts[Outcome.REJECTED].rejection) == (unlisted, "deleted")
        assert (verdicts[Outcome.HELD].message, verdicts[Outcome.HELD].rejection) == (listed, None)
        found = read_state(document(state), path="a file")
    again = [
        answer.verdict
        for each in found
        for log in each.runs
        for batch in log.batches
        for answer in batch.answers.values()
    ]
    assert {each for each in again if each} == {each for each in told if each}


@pytest.mark.one_in(9)
@pytest.mark.parametrize("version", OLD)
def test_interrupted_anywhere_it_is_old_or_new(tmp_path: Path, version: int) -> None:
    path = copied(version, tmp_path / "live")
    expected = json.loads((GOLDEN / f"version-{version}.json").read_text())
    connection = sqlite3.connect(path, isolation_level=None)
    camera = Camera(path, tmp_path)
    connection.set_trace_callback(camera)
    connection.execute("PRAGMA cache_size = 5")
    migrate(connection, path, DISK)
    camera("the end")
    connection.close()

    versions = []
    for copy in camera.copies:
        copy.chmod(0o600)
        with open_reader(url(copy)) as reader:
            assert document(reader) == expected
        left = sqlite3.connect(copy)
        versions.append(version_of(left))
        left.close()
    assert set(versions) == {version, VERSION}
    assert versions == sorted(versions)


@pytest.mark.parametrize("version", OLD)
def test_two_that_carry_it_forward_at_once_do_it_once(tmp_path: Path, version: int) -> None:
    path = copied(version, tmp_path)
    first, second = (sqlite3.connect(path, isolation_level=None) for _ in range(2))
    assert version_of(first) == version_of(second)
    migrate(first, path, DISK)
    migrate(second, path, DISK)
    first.close()
    second.close()
    with open_reader(url(path)) as reader:
        assert document(reader) == json.loads((GOLDEN / f"version-{version}.json").read_text())


def test_the_tables_of_a_state_carried_forward_are_those_of_a_new_one(tmp_path: Path) -> None:
    with open_store(url(tmp_path / "new.db")):
        pass
    shapes = []
    for path in (tmp_path / "new.db", *(copied(version, tmp_path / str(version)) for version in OLD)):
        with open_store(url(path)):
            pass
        connection = sqlite3.connect(path)
        listed = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        tables = [name for (name,) in listed]
        shapes.append({name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in tables})
        connection.close()
    assert all(shape == shapes[0] for shape in shapes)
