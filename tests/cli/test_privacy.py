"""Invariant 17: no address of a person leaves the file that names it: a thousand, every command, every format.

All e-mail addresses have one mark in them and all phone numbers begin alike, so that a scanner finds each wherever it
is, and it is shown to find those that are planted. The files of people and the emulated CRM have them by right.
"""

from __future__ import annotations

import base64
import gzip
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import App
from reconciler.sandbox.people import LocationField, Person
from reconciler.sandbox.world import Contact, World
from tests.cli.conftest import LOCATION, Command, Ended, contact_id
from tests.privacy import Scanner

MARK = "xqvzjwkfpb"
PHONES = "+442079460"
FIELD = LocationField("field0000000000000001", "Customer number", "contact.customer_no")
PEOPLE = 1_000
FORMATS = ("text", "markdown", "json", "csv", "html")
SCANNER = Scanner([MARK, PHONES[1:]])


def address(number: int) -> str:
    return f"Person{number}.{MARK}@Example.com"


@pytest.fixture
def world() -> World:
    # the last hundred rows of the file are of nobody; two contacts share the address of the first
    contacts = [
        Contact(
            contact_id(number),
            LOCATION,
            person=Person(
                address(max(number, 1)).lower(),
                phone=f"{PHONES}{number:03d}",
                custom_fields={FIELD.id: f"{MARK}-{number}"},
            ),
        )
        for number in range(PEOPLE - 100)
    ]
    return World(LOCATION, contacts, custom_fields=[FIELD])


@pytest.fixture
def sandbox(world: World) -> Iterator[Running]:
    with in_background(App(world)) as running:
        yield running


@pytest.fixture
def answers() -> list[Ended]:
    return []


@pytest.mark.slow
def test_no_command_tells_or_keeps_an_address(reconciler: Command, project: Path, world: World) -> None:
    manifests = project / "manifests"
    rows = [f"{address(number)},{PHONES}{number:03d},{MARK}-{number}" for number in range(PEOPLE)]
    (manifests / "people.csv").write_text("\n".join(["mail,phone,number", *rows, f"two@@{MARK}.com,,"]) + "\n")
    (manifests / "acme.yaml").write_text(
        f"location: {LOCATION}\n"
        "contact_sets:\n"
        "  mail: {contacts: {file: people.csv, match: {email: mail}}, tags: [mailed]}\n"
        "  phone: {contacts: {file: people.csv, match: {phone: phone}, region: GB}, tags: [called]}\n"
        "  number: {contacts: {file: people.csv, match: {field: customer_no, column: number}}, tags: [known]}\n"
    )
    lift = [part for name in ("mail", "phone", "number") for part in ("--allow", f"max_unmatched_pct:set={name}")]
    resolve = ("resolve", "manifests/people.csv", "--by", "email,phone,field:customer_no", "--column", "email=mail")
    resolve += ("--column", "field:customer_no=number", "--location", LOCATION, "--out", "ids.csv")
    commands: list[tuple[str, ...]] = [
        *(("pull", "--dry-run", "--format", form) for form in FORMATS),
        ("pull", "--log-level", "debug", "--log-format", "json"),
        ("pull", *lift, "--reason", "many are not customers yet", "--all"),
        ("pull", "--full", *lift, "--reason", "again"),
        ("pull", "--set", "mail", "--unmatched", "left.csv"),
        resolve,
        ("validate",),
        *(("plan", "--format", form, "--all") for form in FORMATS),
        ("plan", "--out", "plan.json"),
        ("apply", "--auto-approve"),
        *(("drift", "--refresh", "search", "--format", form) for form in FORMATS),
        ("history", "--format", "json"),
        ("show", "last", "--format", "html"),
        ("state", "list", "--format", "csv"),
        ("state", "show", contact_id(1), "--format", "json"),
        ("state", "pull"),
        ("export", "--location", LOCATION, "--out", "adopted"),
        ("doctor", "--format", "json"),
        ("revert", "last", "--auto-approve"),
        ("state", "forget", contact_id(1), "--location", LOCATION),
    ]  # fmt: skip
    told = {" ".join(command): reconciler(*command) for command in commands}
    leaks = {line: SCANNER.search(f"{ended.out}\n{ended.err}".encode()) for line, ended in told.items()}
    assert {line: found for line, found in leaks.items() if found} == {}
    # these two are for people to go on with: one has the rows for the CRM's own import, the other is the file itself
    rightful = [manifests / "people.csv", project / "left.csv"]
    assert SCANNER.search_files(project, but=rightful) == {}
    # and the commands did what they are for: an answer of nothing would have no address either
    assert {line: ended.code for line, ended in told.items() if ended.code not in (0, 3, 5)} == {}
    assert len(world.holders("mailed")) == PEOPLE - 102
    assert (project / "ids.csv").exists()
    assert (project / "left.csv").exists()


@pytest.mark.parametrize(
    "planted",
    [
        address(7).encode(),
        address(7).upper().encode(),
        address(7).encode("utf-16"),
        f"x{PHONES}42y".encode(),
        base64.b64encode(b"ab" + address(7).lower().encode()),
        address(7).lower().encode().hex().encode(),
        gzip.compress(address(7).encode(), mtime=0),
        b"head" + zlib.compress(address(7).encode()) + b"tail",
    ],
)
def test_the_scanner_finds_a_planted_address(tmp_path: Path, planted: bytes) -> None:
    assert SCANNER.search(planted)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(planted)
    assert list(SCANNER.search_files(tmp_path)) == ["deep/file"]


def test_the_scanner_finds_an_address_in_a_state_and_in_the_name_of_a_file(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as database:
        database.execute("CREATE TABLE people (value BLOB)")
        database.execute("INSERT INTO people VALUES (?)", (zlib.compress(address(3).encode()),))
    (tmp_path / f"{address(4)}.txt").write_text("nothing")
    assert set(SCANNER.search_files(tmp_path)) == {"state.db", f"{address(4)}.txt"}
    assert SCANNER.search(b"Person 7, example.com, +44 20 7946") == []
