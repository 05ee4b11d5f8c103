"""`reconciler pull` as a user runs it: a file of e-mail addresses, and a location that has these people.

The world tells what the outside does: which contact has which address by now. No address may come back in an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.people import LocationField, Person
from reconciler.sandbox.world import Contact, World
from tests.cli.conftest import LOCATION, Command, contact_id

NUMBER = LocationField("field0000000000000001", "Customer number", "contact.customer_no")
PEOPLE = 40


def person(number: int) -> Person:
    return Person(
        email=f"person{number}@example.com",
        phone=f"+44770090{number:04d}",
        custom_fields={NUMBER.id: f"C-{number:04d}"},
    )


@pytest.fixture
def world() -> World:
    contacts = [Contact(contact_id(number), LOCATION, person=person(number)) for number in range(PEOPLE)]
    # the search shows a change at once: what lags is another test's
    return World(LOCATION, contacts, custom_fields=[NUMBER], assumptions=Assumptions(search_lag_ms=0))


@pytest.fixture
def people(project: Path) -> Callable[..., None]:
    """Writes manifests/people.csv, and a manifest that matches it."""

    def write(numbers: range | list[int], *, match: str = "{email: mail}", more: str = "", extra: str = "") -> None:
        rows = [f"Person{number}@Example.com,+44 7700 90{number:04d},c-{number:04d}" for number in numbers]
        (project / "manifests" / "people.csv").write_text(
            "\n".join(["mail,mobile,number", *rows, *extra.split()]) + "\n"
        )
        (project / "manifests" / "acme.yaml").write_text(
            f"location: {LOCATION}\n"
            "contact_sets:\n"
            "  vip:\n"
            f"    contacts: {{file: people.csv, match: {match}{more}}}\n"
            "    tags: [vip]\n"
        )

    return write


def test_people_are_pulled_and_planned(reconciler: Command, people: Callable[..., None]) -> None:
    people(range(12))
    before = reconciler("plan")
    assert before.code == 1
    assert "reconciler pull --set vip" in before.err

    pulled = reconciler("pull", "--format", "json")

    assert pulled.code == 0, pulled.err
    (location,) = json.loads(pulled.out)["locations"]
    (vip,) = location["sets"]
    assert vip["counts"] == {
        "rows": 12, "matched": 12, "not_found": 0, "ambiguous": 0, "duplicate": 0, "malformed": 0, "kept": 0,
    }  # fmt: skip
    assert vip["joined"] == [contact_id(number) for number in range(12)]
    planned = json.loads(reconciler("plan", "--format", "json").out)
    assert planned["locations"][0]["summary"]["adds"] == 12


@pytest.mark.one_in(3)
@pytest.mark.parametrize("match", ["{phone: mobile}", "{field: customer_no, column: number}"])
def test_phones_and_custom_fields_match_too(reconciler: Command, people: Callable[..., None], match: str) -> None:
    people(range(12), match=match, more=", region: GB" if "phone" in match else "")
    pulled = reconciler("pull", "--format", "json")
    assert pulled.code == 0, pulled.err
    assert json.loads(pulled.out)["locations"][0]["sets"][0]["counts"]["matched"] == 12


def test_a_second_pull_changes_nothing(reconciler: Command, people: Callable[..., None]) -> None:
    """As contract 3.15 has it."""
    people(range(12))
    assert reconciler("pull").code == 0
    again = reconciler("pull")
    assert again.code == 0
    assert "Nobody joined or left." in again.out


def test_where_no_set_is_pulled_it_says_so(reconciler: Command, manifest: Callable[..., None]) -> None:
    manifest(vip=([0], ["vip"], []))
    pulled = reconciler("pull")

    assert (pulled.code, pulled.out.strip()) == (0, "Nothing to pull: no set has a `match`, a `source` or a `filter`.")


def test_a_dry_run_keeps_nothing(reconciler: Command, people: Callable[..., None]) -> None:
    people(range(12))
    assert reconciler("pull", "--dry-run").code == 0
    assert reconciler("plan").code == 1


def test_too_many_unmatched_rows_are_refused(reconciler: Command, people: Callable[..., None], project: Path) -> None:
    people(range(30, 48))

    refused = reconciler("pull", "--unmatched", "left.csv")

    assert refused.code == 5
    assert "max_unmatched_pct" in refused.err
    # the rows for the vendor's own import are a file of the caller's, as they were written
    assert (project / "left.csv").read_text().splitlines() == [
        "mail,mobile,number",
        *(f"Person{number}@Example.com,+44 7700 90{number:04d},c-{number:04d}" for number in range(40, 48)),
    ]
    lifted = reconciler("pull", "--allow", "max_unmatched_pct:set=vip", "--reason", "new people come tomorrow")
    assert lifted.code == 0, lifted.err
    assert "@" not in refused.out + refused.err + lifted.out + lifted.err


def test_every_row_ends_in_one_class(reconciler: Command, people: Callable[..., None], world: World) -> None:
    """As contract 3.13 has it."""
    # two contacts have the address of person 3, as in a location that allows duplicates
    world.change_person(contact_id(4), replace(person(4), email="person3@example.com"), now=Instant(1))
    people([*range(24), 5], extra="nobody@example.com,, no-address,,")
    pulled = reconciler("pull", "--format", "json")
    assert pulled.code == 0, pulled.err
    vip = json.loads(pulled.out)["locations"][0]["sets"][0]
    assert vip["counts"] == {
        "rows": 27, "matched": 22, "not_found": 2, "ambiguous": 1, "duplicate": 1, "malformed": 1, "kept": 0,
    }  # fmt: skip
    assert {aside["row_class"]: aside["lines"] for aside in vip["aside"]} == {
        "not_found": [6, 27],
        "ambiguous": [5],
        "duplicate": [26],
        "malformed": [28],
    }
    assert vip["ambiguous"] == [{"line": 5, "contacts": [contact_id(3), contact_id(4)]}]
    table = reconciler("pull", "--format", "csv").out
    rows = [f"{LOCATION},vip,ambiguous,{contact_id(number)},manifests/people.csv,5" for number in (3, 4)]
    assert [row for row in table.splitlines() if ",ambiguous," in row] == rows
    shown = reconciler("pull").out
    assert f"manifests/people.csv:5  {contact_id(3)}, {contact_id(4)}" in shown


@pytest.mark.slow
def test_not_found_is_not_left(reconciler: Command, people: Callable[..., None], world: World) -> None:
    """As contract 3.14 has it."""
    people(range(12))
    assert reconciler("pull").code == 0
    # the address is another one by now; that the contact is gone is not said by anybody
    world.change_person(contact_id(2), replace(person(2), email="new2@example.com"), now=Instant(1))
    pulled = reconciler("pull", "--full", "--format", "json")
    vip = json.loads(pulled.out)["locations"][0]["sets"][0]
    assert (vip["left"], vip["counts"]["kept"], vip["size"]) == ([], 1, 12)
    # now it is
    world.delete(contact_id(2), now=Instant(2))
    pulled = reconciler("pull", "--full", "--format", "json")
    vip = json.loads(pulled.out)["locations"][0]["sets"][0]
    assert (vip["left"], vip["size"]) == ([contact_id(2)], 11)


def rename_the_set(reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    manifest = Path("manifests/acme.yaml")
    manifest.write_text(manifest.read_text().replace("  vip:", "  gold:"))
    return ()


def move_the_state(reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    assert reconciler("state", "migrate", "sqlite:///new.db").code == 0
    return ("--state", "sqlite:///new.db")


def test_nothing_is_pulled_into_a_state_that_was_migrated_away(
    reconciler: Command, people: Callable[..., None]
) -> None:
    """A nightly job with the old variable would go on, and nobody who joins would ever be in the new state."""
    people(range(3))
    assert reconciler("pull").code == 0
    assert reconciler("state", "migrate", "sqlite:///new.db").code == 0
    for arguments in (["pull"], ["pull", "--dry-run"]):
        ended = reconciler(*arguments)
        assert (ended.code, "was migrated to sqlite:///new.db: later runs are there" in ended.err) == (1, True)
    assert reconciler("pull", "--state", "sqlite:///new.db").code == 0


def take_a_key(reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setenv("RECONCILER_KEY", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
    return ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["", pytest.param("manifests/.resolved", marks=pytest.mark.slow)], ids=["state", "files"]
)
@pytest.mark.parametrize("change", [rename_the_set, move_the_state, take_a_key])
def test_who_is_kept_stays_whatever_else_is_changed(
    reconciler: Command,
    people: Callable[..., None],
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Command, pytest.MonkeyPatch], tuple[str, ...]],
    place: str,
) -> None:
    """Two addresses are others in the CRM; the file still has those that it had, and nobody took a row out of it."""
    if place:
        Path("manifests/reconciler.yaml").write_text(f"snapshots: {place}\n")
    people(range(12))
    assert reconciler("pull").code == 0
    assert reconciler("apply", "--auto-approve").code == 0
    for number in (2, 5):
        world.change_person(
            contact_id(number), replace(person(number), email=f"new{number}@example.com"), now=Instant(1)
        )
    assert reconciler("pull", "--full").code == 0
    options, told = change(reconciler, monkeypatch), list[str]()

    for _ in range(2):
        pulled = json.loads(reconciler("pull", "--full", "--format", "json", *options).out)
        (found,) = pulled["locations"][0]["sets"]
        assert (found["left"], found["counts"]["kept"], found["size"]) == ([], 2, 12)
        told += [remark for remark in pulled["locations"][0]["remarks"] if "Set vip keeps 2 contacts" in remark]
        assert (
            json.loads(reconciler("plan", "--format", "json", *options).out)["locations"][0]["summary"]["removes"] == 0
        )
    # who took rows out of the file in the same change looks at them
    assert len(told) == (0 if change is rename_the_set else 1)

    # who takes the rows out of the file takes the contacts out of the set
    people([number for number in range(12) if number not in (2, 5)])
    if change is rename_the_set:
        rename_the_set(reconciler, monkeypatch)
    pulled = json.loads(reconciler("pull", "--format", "json", *options).out)
    assert pulled["locations"][0]["sets"][0]["left"] == sorted(map(contact_id, (2, 5)))


@pytest.mark.slow
@pytest.mark.parametrize("key", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["same key", "another key"])
def test_everybody_stays_beside_the_same_rows_where_two_sets_take_names_of_one_another(
    reconciler: Command, world: World, project: Path, monkeypatch: pytest.MonkeyPatch, key: bool
) -> None:
    """Of either set one contact is kept; the report compares what has the name now with what had it."""

    def write(first: str, second: str) -> None:
        (project / "manifests" / "acme.yaml").write_text(
            f"location: {LOCATION}\n"
            "contact_sets:\n"
            f"  {first}: {{contacts: {{file: a.csv, match: {{email: mail}}}}, tags: [a]}}\n"
            f"  {second}: {{contacts: {{file: b.csv, match: {{email: mail}}}}, tags: [b]}}\n"
        )

    for name, numbers in (("a", range(4)), ("b", range(4, 8))):
        rows = "\n".join(person(number).email for number in numbers)
        (project / "manifests" / f"{name}.csv").write_text(f"mail\n{rows}\n")
    write("vip", "best")
    assert reconciler("pull").code == 0
    for number in (1, 5):
        world.change_person(contact_id(number), Person(email=f"new{number}@example.com"), now=Instant(1))
    assert reconciler("pull", "--full").code == 0
    write("best", "vip")
    if key:
        take_a_key(reconciler, monkeypatch)

    pulled = json.loads(reconciler("pull", "--format", "json").out)
    best, vip = pulled["locations"][0]["sets"]
    assert (best["joined"], best["left"]) == (first := list(map(contact_id, range(4))), vip["joined"])
    assert (vip["left"], [entry["counts"]["kept"] for entry in (best, vip)]) == (first, [1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", pytest.param("a key of the tests, long enough", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("asked", "there"), [(1, 1), (2, 1)], ids=["renamed", "another one"])
def test_a_set_by_filter_is_another_one_where_it_asks_for_another_address(
    reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch, key: str, asked: int, there: int
) -> None:
    """The old set is gone, and its contact is no contact of the new one unless the address is the same."""
    if key:
        monkeypatch.setenv("RECONCILER_KEY", key)

    def pull(name: str, number: int) -> dict[str, object]:
        (project / "manifests" / "acme.yaml").write_text(
            f"location: {LOCATION}\n"
            "contact_sets:\n"
            f"  {name}: {{contacts: {{filter: {{email: {{eq: {person(number).email}}}}}}}, tags: [{name}]}}\n"
        )
        pulled = json.loads(reconciler("pull", "--format", "json").out)
        (found,) = pulled["locations"][0]["sets"]
        return dict(found)

    assert pull("ann", 1)["size"] == 1
    found = pull("bob", asked)
    assert (found["size"], found["size_before"]) == (there, 1 if asked == 1 else None)
    assert json.loads(reconciler("plan", "--format", "json").out)["locations"][0]["summary"]["adds"] == 1


def pull_the_other_set(reconciler: Command, manifests: Path) -> None:
    assert reconciler("pull", "--set", "best").code == 0


def pull_without_the_file(reconciler: Command, manifests: Path) -> None:
    (manifests / "people.csv").rename(manifests / "away.csv")
    assert reconciler("pull").code == 1
    (manifests / "away.csv").rename(manifests / "people.csv")


def pull_beside_a_damaged_snapshot(reconciler: Command, manifests: Path) -> None:
    ids = manifests / ".resolved" / LOCATION / "vip.txt"
    content = ids.read_text()
    ids.write_text(content + "<<<<<<< HEAD\n")
    assert reconciler("pull").code == 1
    ids.write_text(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        pull_the_other_set,
        pytest.param(pull_without_the_file, marks=pytest.mark.slow),
        pytest.param(pull_beside_a_damaged_snapshot, marks=pytest.mark.slow),
    ],
)
def test_who_is_kept_stays_though_its_set_is_pulled_after_the_index_began_anew(
    reconciler: Command,
    people: Callable[..., None],
    world: World,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: Callable[[Command, Path], None],
) -> None:
    """The first pull with another key is not of this set, or cannot be: what it had is not known at the second one."""
    manifests = project / "manifests"
    people(range(12))
    if first is pull_beside_a_damaged_snapshot:
        (manifests / "reconciler.yaml").write_text("snapshots: manifests/.resolved\n")
    (manifests / "best.csv").write_text("mail\nperson20@example.com\n")
    (manifests / "best.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n"
        "  best: {contacts: {file: best.csv, match: {email: mail}}, tags: [best]}\n"
    )
    assert reconciler("pull").code == 0
    world.change_person(contact_id(2), replace(person(2), email="new2@example.com"), now=Instant(1))
    assert reconciler("pull", "--full").code == 0
    take_a_key(reconciler, monkeypatch)
    first(reconciler, manifests)

    pulled = json.loads(reconciler("pull", "--format", "json").out)
    vip = next(entry for entry in pulled["locations"][0]["sets"] if entry["name"] == "vip")
    assert (vip["left"], vip["counts"]["kept"], vip["size"]) == ([], 1, 12)


def test_a_source_that_fails_keeps_its_snapshot(
    reconciler: Command, people: Callable[..., None], project: Path
) -> None:
    people(range(12))
    assert reconciler("pull").code == 0
    people([])
    empty = reconciler("pull")
    assert empty.code == 1
    assert "people.csv has no rows" in empty.out + empty.err
    # plan goes on by the snapshot, and says that the file has changed
    planned = reconciler("plan", "--format", "json")
    assert planned.code == 0
    assert json.loads(planned.out)["locations"][0]["summary"]["adds"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("working", ["manifests", "cron"])
def test_snapshots_are_the_same_files_wherever_a_pull_runs(
    reconciler: Command, people: Callable[..., None], project: Path, monkeypatch: pytest.MonkeyPatch, working: str
) -> None:
    manifests, state = project / "manifests", f"sqlite:///{project}/.reconciler/state.db"
    (manifests / "reconciler.yaml").write_text("snapshots: manifests/.resolved/\n")
    people(range(12))
    assert reconciler("pull").code == 0
    people(range(11))
    (project / "cron").mkdir()
    monkeypatch.chdir(working)
    named = "." if working == "manifests" else str(manifests)

    pulled = json.loads(reconciler("pull", named, "--state", state, "--format", "json").out)

    assert pulled["locations"][0]["sets"][0]["left"] == [contact_id(11)]
    assert len((manifests / ".resolved" / LOCATION / "vip.txt").read_text().split()) == 11
    assert not (manifests / "manifests").exists()
    assert "valid: 1 manifest" in reconciler("validate", named, "--state", state).out


@pytest.mark.slow
def test_a_damaged_snapshot_is_not_taken_for_a_first_pull(
    reconciler: Command, people: Callable[..., None], project: Path
) -> None:
    (project / "manifests" / "reconciler.yaml").write_text("snapshots: manifests/.resolved/\n")
    people(range(20))
    assert reconciler("pull").code == 0
    people(range(2))
    assert reconciler("pull").code == 5, "the guard refuses who would leave"
    (project / "manifests" / "other.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n"
        "  other: {contacts: {file: people.csv, match: {email: mail}}, tags: [other]}\n"
    )
    ids = project / "manifests" / ".resolved" / LOCATION / "vip.txt"
    ids.write_text(conflict := ids.read_text() + "<<<<<<< HEAD\n")

    damaged = reconciler("pull", "--format", "json")

    assert damaged.code == 1
    sets = {each["name"]: each for each in json.loads(damaged.out)["locations"][0]["sets"]}
    assert "the snapshot of contact set 'vip' cannot be used" in sets["vip"]["failure"][0]
    assert "delete both" in sets["vip"]["failure"][1]
    assert ids.read_text() == conflict
    assert (sets["other"]["failure"], sets["other"]["size"]) == ([], 2), "the others go on"


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    "broken", [None, b"", b"mail;mobile\na@example.com;1\n", "mail\n".encode("utf-16"), b"address\na@example.com\n"]
)
def test_a_file_with_a_fault_stops_its_own_set_alone(
    reconciler: Command, people: Callable[..., None], project: Path, broken: bytes | None
) -> None:
    people(range(12))
    manifest = project / "manifests" / "acme.yaml"
    manifest.write_text(
        manifest.read_text() + "  best: {contacts: {file: best.csv, match: {email: mail}}, tags: [best]}\n"
    )
    if broken is not None:
        (project / "manifests" / "best.csv").write_bytes(broken)
    pulled = reconciler("pull", "--format", "json")
    assert pulled.code == 1
    sets = json.loads(pulled.out)["locations"][0]["sets"]
    assert [(entry["name"], entry["size"], bool(entry["failure"])) for entry in sets] == [
        ("vip", 12, False), ("best", 0, True),
    ]  # fmt: skip
    assert pulled.err.count("best.csv") == 0
    assert reconciler("pull", "--set", "vip").code == 0
    assert "best.csv" in reconciler("validate").out


def test_a_file_is_resolved_into_ids_without_the_addresses(
    reconciler: Command, people: Callable[..., None], project: Path
) -> None:
    people(range(6))
    command = ("resolve", "manifests/people.csv", "--by", "email,phone", "--column", "email=mail")
    command += ("--column", "phone=mobile", "--location", LOCATION, "--region", "GB", "--out", "ids.csv")

    resolved = reconciler(*command)

    assert resolved.code == 0, resolved.err
    rows = [f"{contact_id(number)},c-{number:04d}" for number in range(6)]
    assert (project / "ids.csv").read_text().splitlines() == ["contact_id,number", *rows]
    again = reconciler(*command)
    assert again.code == 64
    assert "--force" in again.err
    # neither a state nor a snapshot came of it
    assert not (project / ".reconciler").exists()


@pytest.mark.parametrize("by", ["", ",", " , ", "email,email", "fax"])
def test_kinds_that_are_none_are_refused(reconciler: Command, people: Callable[..., None], by: str) -> None:
    people(range(6))
    ended = reconciler("resolve", "manifests/people.csv", "--by", by, "--location", LOCATION, "--out", "ids.csv")
    assert ended.code == 64
    assert "error: --by " in ended.err


@pytest.mark.slow
def test_text_that_is_no_unicode_can_be_copied(reconciler: Command, people: Callable[..., None], project: Path) -> None:
    people(range(6))
    rows = [f'{{"mail": "person{number}@example.com", "note": "\\ud800"}}' for number in range(38, 48)]
    (project / "manifests" / "people.jsonl").write_text("\n".join(rows) + "\n")
    manifest = project / "manifests" / "acme.yaml"
    manifest.write_text(manifest.read_text().replace("people.csv", "people.jsonl"))
    assert reconciler("pull", "--unmatched", "left.csv").code == 5
    assert (project / "left.csv").read_text().splitlines()[:2] == ["mail,note", "person40@example.com,?"]
    command = ("resolve", "manifests/people.jsonl", "--by", "email", "--column", "email=mail")
    assert reconciler(*command, "--location", LOCATION, "--out", "ids.csv").code == 3
    assert (project / "ids.csv").read_text().splitlines()[1] == f"{contact_id(38)},?"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("people.csv", "is the file that the argument names"),
        ("link.csv", "is there already"),
        ("no/ids.csv", "no directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anybody_is_asked(
    reconciler: Command, people: Callable[..., None], project: Path, out: str, said: str
) -> None:
    people(range(6))
    before = (project / "manifests" / "people.csv").read_bytes()
    (project / "manifests" / "link.csv").symlink_to("people.csv")
    command = ("resolve", "manifests/people.csv", "--by", "email", "--column", "email=mail", "--location", LOCATION)
    refused = reconciler(*command, "--out", f"manifests/{out}", "--force")
    assert refused.code == 64
    assert said in refused.err
    assert "requests" not in refused.err
    assert (project / "manifests" / "people.csv").read_bytes() == before
    assert reconciler("pull", "--unmatched", "no/left.csv").code == 64


def test_a_country_without_phone_numbers_is_refused(
    reconciler: Command, people: Callable[..., None], project: Path
) -> None:
    people(range(6), match="{phone: mobile}", more=", region: UK")
    pulled = reconciler("pull")
    assert pulled.code == 1
    assert "manifests/acme.yaml:4:22: no country with phone numbers is called 'UK'" in pulled.out
    assert "hint: the United Kingdom is GB" in pulled.out
    command = ("resolve", "manifests/people.csv", "--by", "phone", "--column", "phone=mobile", "--location", LOCATION)
    refused = reconciler(*command, "--out", "ids.csv", "--region", "XX")
    assert refused.code == 1
    assert "manifests/people.csv: no country with phone numbers is called 'XX'\n" in refused.err
    assert reconciler(*command, "--out", "ids.csv", "--region", "gb").code == 0


def test_a_fault_of_a_file_to_be_resolved_is_told_line_by_line(
    reconciler: Command, people: Callable[..., None], project: Path
) -> None:
    people(range(2), extra="one,cell,too,many")
    command = ("resolve", "manifests/people.csv", "--by", "email", "--location", LOCATION, "--out", "ids.csv")
    refused = reconciler(*command)
    assert refused.code == 1
    assert "manifests/people.csv:1: no column 'email'" in refused.err
    assert "\\u{a}" not in refused.err


def test_a_file_with_a_row_of_no_contact_is_resolved_in_part(
    reconciler: Command, people: Callable[..., None], project: Path
) -> None:
    people(range(38, 42))
    resolved = reconciler(
        "resolve", "manifests/people.csv", "--by", "field:customer_no", "--column", "field:customer_no=number",
        "--location", LOCATION, "--out", "ids.csv", "--keep", "--format", "json",
    )  # fmt: skip
    assert resolved.code == 3, resolved.err
    assert json.loads(resolved.out)["resolved"]["aside"] == [{"row_class": "not_found", "lines": [4, 5]}]
    assert (project / "ids.csv").read_text().splitlines()[0] == "contact_id,mail,mobile,number"
