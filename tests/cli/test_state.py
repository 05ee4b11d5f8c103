"""The commands that look into a state, and those that mend it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.model.people import Fingerprint, IndexStatus, PeopleLot
from reconciler.sandbox.world import World
from reconciler.store import open_store
from reconciler.system import SystemClock
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.fakes import a_holder

Manifest = Callable[..., None]
STATE = "sqlite:///.reconciler/state.db"
HERE = ("--location", LOCATION)


@pytest.fixture
def applied(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([0, 1, 8], ["customer"], []), vip=([5], ["vip"], []))
    assert reconciler("apply", "--auto-approve").code == 3


def listed(reconciler: Command, *arguments: str) -> list[str]:
    (location,) = json.loads(reconciler("state", "list", "--format", "json", *arguments).out)["locations"]
    return [each["contact"] for each in location["contacts"]]


def pulled(reconciler: Command, *arguments: str) -> Any:
    return json.loads(reconciler("state", "pull", *arguments).out)


@pytest.mark.one_in(10)
@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ([], [0, 1, 5, 8]),
        (["--tag", "Trial "], [0, 1]),
        (["--tag", "trial", "--tag", "vip"], [0, 1, 5]),
        (["--status", "quarantined"], [8]),
        (["--status", "unobserved"], [8]),
        (["--status", "managed", "--tag", "vip"], [5]),
        (["--status", "in-doubt"], []),
        (["--older-than", "1h"], [8]),
        (["--older-than", "0s", "--status", "observed"], [0, 1, 5]),
    ],
)
@pytest.mark.usefixtures("applied")
def test_list_filters_by_tag_status_and_age(reconciler: Command, arguments: list[str], numbers: list[int]) -> None:
    assert listed(reconciler, *arguments) == [contact_id(number) for number in numbers]


@pytest.mark.slow
@pytest.mark.parametrize("age", ["tomorrow", "5", "-3d", "3 d"])
@pytest.mark.usefixtures("applied")
def test_an_age_that_is_none(reconciler: Command, age: str) -> None:
    assert reconciler("state", "list", f"--older-than={age}").code == 64


@pytest.mark.usefixtures("applied")
def test_show_tells_a_contacts_story(reconciler: Command) -> None:
    (run,) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    out = reconciler("state", "show", contact_id(0)).out
    for words in ("customer", "trial", f"run {run['id']}", "present: manifests/acme.yaml:", "+customer", "yes"):
        assert words in out
    (story,) = json.loads(reconciler("state", "show", contact_id(0), "--format", "json").out)["locations"]
    assert story["observed_by"] == run["id"]
    assert list(story["declared"]["present"]) == ["customer"]
    assert [step["run"] for step in story["trail"]] == [run["id"]]
    assert "quarantined since" in reconciler("state", "show", contact_id(8)).out


@pytest.mark.usefixtures("applied")
def test_show_without_a_contact_tells_what_the_location_taught_us(reconciler: Command) -> None:
    facts = LocationFacts(moves_updated=True, max_tags=20, aliases=((Tag("x  y"), Tag("x y")),))
    with open_store(STATE) as state:
        store = state.at(LocationId(LOCATION))
        store.save_facts(store.acquire_lease(a_holder(), SystemClock().now()), facts)
    out = reconciler("state", "show").out
    for words in (
        "4 contacts, serial",
        "moves dateUpdated",
        "may hold 20 tags, learnt nobody knows when",
        "'x  y' is kept there as 'x y'",
    ):
        assert words in out
    (shown,) = json.loads(reconciler("state", "show", "--format", "json").out)["locations"]
    assert shown["facts"] == {
        "moves_updated": True,
        "max_contacts": None,
        "max_tags": 20,
        "aliases": {"x  y": "x y"},
        "limits_at": None,
        "tried": [],
    }


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_show_of_a_contact_that_nobody_knows(reconciler: Command) -> None:
    ended = reconciler("state", "show", "nobody")
    assert ended.code == 64
    assert "state list" in ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_show_works_without_manifests(reconciler: Command, project: Path) -> None:
    (project / "manifests" / "acme.yaml").write_text("location: [")
    ended = reconciler("state", "show", contact_id(0))
    assert ended.code == 0
    assert "manifests cannot be asked" in ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_state_that_is_named_needs_no_manifests(
    reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any directory, by the flag or the variable; a directory that is named has to be there."""
    (project / "state.json").write_text(json.dumps(pulled(reconciler)))
    (project / "export.csv").write_text(f"id,tags\n{contact_id(0)},nothing\n")
    (project / "manifests").rename(project / "away")
    commands = [
        ["history"],
        ["show", "last"],
        ["state", "list"],
        ["state", "show", contact_id(0)],
        ["state", "pull"],
        ["state", "verify"],
        ["state", "unlock"],
        ["state", "push", "state.json"],
        ["state", "import", "export.csv", *HERE],
        ["state", "forget", contact_id(1), *HERE],
        ["state", "migrate", "sqlite:///moved.db"],
    ]
    assert {reconciler(*command, "--state", STATE).code for command in commands} == {0}
    assert "no such directory" in reconciler("state", "list").err
    monkeypatch.setenv("RECONCILER_STATE", STATE)
    assert reconciler("state", "list").code == 0
    assert "no such directory" in reconciler("state", "list", "--manifests", "manifest").err


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_what_is_pulled_can_be_pushed_into_an_empty_state(reconciler: Command, project: Path) -> None:
    before = pulled(reconciler)
    (project / "state.json").write_text(json.dumps(before))
    assert reconciler("state", "push", "state.json", "--state", "sqlite:///new.db").code == 0
    assert pulled(reconciler, "--state", "sqlite:///new.db") == before
    assert reconciler("plan", "--detailed-exitcode", "--state", "sqlite:///new.db").code == 0
    assert reconciler("state", "verify", "--state", "sqlite:///new.db").code == 0
    again = reconciler("state", "push", "state.json", "--state", "sqlite:///new.db")
    assert "already" in again.out
    assert pulled(reconciler, "--state", "sqlite:///new.db") == before


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_pulled_state_can_be_mended_and_pushed_back(reconciler: Command, project: Path) -> None:
    state = pulled(reconciler)
    serial = state["locations"][0]["serial"]
    for group in state["locations"][0]["known"]:
        group |= dict.fromkeys(("quarantine", "quarantined_at", "quarantined_since", "membership"))
    (project / "state.json").write_text(json.dumps(state))
    assert reconciler("state", "push", "state.json").code == 0
    assert pulled(reconciler)["locations"][0]["serial"] == serial + 1
    assert listed(reconciler, "--status", "quarantined") == []


def older(state: Any) -> None:
    state["locations"][0]["serial"] -= 1


def foreign(state: Any) -> None:
    state["locations"][0]["lineage"] = "00000000-0000-4000-8000-000000000000"


def without_a_run(state: Any) -> None:
    state["locations"][0]["runs"] = []


def contradictory(state: Any) -> None:
    state["locations"][0]["known"][0]["observed_at"] = None


def from_the_future(state: Any) -> None:
    state["format_version"] = "2.0"


def cut(state: Any) -> None:
    del state["locations"][0]["runs"][0]["who"]


@pytest.mark.slow
@pytest.mark.parametrize("harm", [older, foreign, without_a_run, contradictory, from_the_future, cut])
@pytest.mark.usefixtures("applied")
def test_a_push_that_would_lose_something_is_refused(
    reconciler: Command, project: Path, harm: Callable[[Any], None]
) -> None:
    before = pulled(reconciler)
    state = pulled(reconciler)
    harm(state)
    (project / "state.json").write_text(json.dumps(state))
    ended = reconciler("state", "push", "state.json")
    assert ended.code == 1
    assert ended.err
    assert pulled(reconciler) == before


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "no", '{"format_version": 1}', "[" * 100_000])
def test_a_push_of_what_is_no_state(reconciler: Command, project: Path, content: str | None) -> None:
    if content is not None:
        (project / "state.json").write_text(content)
    ended = reconciler("state", "push", "state.json")
    assert ended.code == 1
    assert "state.json" in ended.err


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_forget_of_the_limits_leaves_the_contacts_alone(reconciler: Command) -> None:
    facts = LocationFacts(moves_updated=True, max_contacts=6, max_tags=20, limits_at=SystemClock().now())
    with open_store(STATE) as state:
        store = state.at(LocationId(LOCATION))
        lease = store.acquire_lease(a_holder(), SystemClock().now())
        store.save_facts(lease, facts)
        store.release_lease(lease)
    assert "may hold 6 contacts, learnt" in reconciler("state", "show").out
    ended = reconciler("state", "forget", "--limits", *HERE)
    assert (ended.code, ended.out) == (0, f"forgot how much a request to location {LOCATION} may hold\n")
    out = reconciler("state", "show").out
    assert ("4 contacts" in out, "may hold" in out, "moves dateUpdated" in out) == (True, False, True)


@pytest.mark.usefixtures("applied")
def test_forget_needs_something_to_forget(reconciler: Command) -> None:
    ended = reconciler("state", "forget", *HERE)
    assert (ended.code, "--limits" in ended.err) == (64, True)


@pytest.mark.usefixtures("applied")
def test_forget_leaves_nothing_behind(reconciler: Command, project: Path) -> None:
    ended = reconciler("state", "forget", contact_id(0), "nobody", *HERE)
    assert ended.code == 0
    assert "keeps customer, which nobody manages" in ended.err
    assert "nothing was known of nobody" in ended.err
    assert contact_id(0) not in listed(reconciler)
    assert contact_id(0) not in json.dumps(pulled(reconciler))
    assert reconciler("state", "verify").code == 0
    history = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    assert [run["operation"] for run in history] == ["state forget", "apply"]


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_forget_tells_of_whom_people_were_erased(reconciler: Command) -> None:
    known, matched = contact_id(0), ContactId("known to the index alone")
    with open_store(STATE) as state:
        store = state.at(LocationId(LOCATION))
        lease = store.acquire_lease(a_holder(), SystemClock().now())
        readings = {contact: frozenset({Fingerprint(bytes(16))}) for contact in (ContactId(known), matched)}
        store.save_people(lease, PeopleLot(IndexStatus(), readings))
        store.release_lease(lease)
    ended = reconciler("state", "forget", known, matched, "nobody", *HERE)
    assert "erased 2 contacts from the index of people and from snapshots of matched sets" in ended.out + ended.err
    assert [line for line in ended.err.splitlines() if "nothing was known" in line] == ["nothing was known of nobody"]
    with open_store(STATE) as state:
        assert dict(state.at(LocationId(LOCATION)).read_people().current) == {}


def test_a_location_is_adopted_without_a_write(
    reconciler: Command, manifest: Manifest, project: Path, world: World
) -> None:
    manifest(customers=([2, 3], ["customer"], []), trial=([0, 1], ["trial"], []))
    (project / "export.csv").write_text(
        f'\ufeffContact Id,First Name,Tags\n{contact_id(0)},Anna,"Trial, hot lead"\n{contact_id(1)},Bert,trial\n'
        f"{contact_id(2)},Cara,customer\n{contact_id(3)},Dora,customer\n"
    )
    ended = reconciler("state", "import", "export.csv", *HERE)
    assert ended.code == 0
    assert "learnt the tags of 4 contacts" in ended.out
    assert "Nothing to send. To record: 4 adopted." in reconciler("plan").out
    assert reconciler("apply", "--auto-approve").code == 0
    assert not world.transitions
    assert reconciler("plan", "--detailed-exitcode").code == 0
    assert listed(reconciler, "--status", "managed") == [contact_id(number) for number in range(4)]
    # no name is ever stored
    assert b"Anna" not in (project / ".reconciler" / "state.db").read_bytes()


AN_ID = contact_id(0).encode()
ROWS = [
    {"id": contact_id(0), "locationId": LOCATION, "tags": ["Trial"], "email": "anna@example.com"},
    {"id": contact_id(1), "locationId": LOCATION, "tags": []},
    {"id": contact_id(2), "locationId": LOCATION},
    {"id": contact_id(9), "locationId": "zzzrwHvLUxlfw5SqKVCN", "tags": ["x"]},
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps({"contacts": ROWS, "total": 4}),
        "\n".join(map(json.dumps, ROWS)),
        json.dumps({"contacts": ROWS[:2]}) + "\n\n" + json.dumps({"contacts": ROWS[2:]}) + "\n",
    ],
    ids=["list", "page", "rows", "pages"],
)
def test_a_dump_of_search_rows_is_taken_in(reconciler: Command, project: Path, text: str) -> None:
    (project / "dump.json").write_text(text)
    ended = reconciler("state", "import", "dump.json", *HERE, "--observed-at", "2026-01-02T03:04:05Z")
    assert ended.code == 0
    assert "2026-01-02 03:04:05Z" in ended.out
    assert "left out 1 contact of other locations" in ended.err
    assert "left out 1 row" in ended.err
    assert listed(reconciler) == [contact_id(0), contact_id(1)]
    assert listed(reconciler, "--tag", "trial") == [contact_id(0)]


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_what_is_known_from_later_is_kept(reconciler: Command, project: Path) -> None:
    (project / "export.csv").write_text(f"id,tags\n{contact_id(0)},nothing\n{contact_id(3)},new\n")
    ended = reconciler("state", "import", "export.csv", *HERE, "--observed-at", "2026-01-02")
    assert "learnt the tags of 1 contact" in ended.out
    assert listed(reconciler, "--tag", "nothing") == []


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read"),
        (b"", "columns contact_id and tags"),
        (b"name,tags\na,b\n", "columns contact_id and tags"),
        (b"id,tags\na\n", ":2: 1 cells"),
        (b"id,tags\n%(id)s,b\n%(id)s,c\n" % {b"id": AN_ID}, f":3: contact {AN_ID.decode()} has other tags"),
        (b"id;tags\n%s;b\n" % AN_ID, "the file looks separated by ';'"),
        (b"id,tags\n,c\n", ":2: a row without"),
        (b'id,tags\n"a,b\n', "no CSV"),
        (b"\xff\xfe", "UTF-8"),
        (b'[{"tags": []}]', "no search row"),
        (b"[1]", "no search row"),
        (b'{"id": "a"', "is not JSON"),
        (b"[" * 100_000, "nested"),
        (b"id,tags\nanna@example.com,b\n", ":2: an e-mail address where a contact id is needed"),
        (b"id,tags\n+49 30 901820,b\n", ":2: a phone number where a contact id is needed"),
        (b"id,tags\n1.2E+19,b\n", ":2: a number such as 1.2E+19, which a spreadsheet made"),
        (b"id,tags\n%s,b\nzzz,c\n" % AN_ID, ":3: 'zzz' cannot be a HighLevel contact id"),
        (b"id,tags\nAnna Muster,b\n4930901820,b\n", ":2: this text cannot be a HighLevel contact id"),
        (b'[{"id": "anna@example.com", "tags": []}]', ":1: an e-mail address where a contact id is needed"),
        (b"anna@example.com,tags\n", ":1: the first line has an e-mail address or a number, and names no columns"),
        (b"id,tags\n%s,a;b\n" % AN_ID, ":2: tags that ';' or '|' seems to part"),
        (b"id,tags\n%s,a | b\n" % AN_ID, ":2: tags that ';' or '|' seems to part"),
    ],
)
def test_an_export_with_a_mistake_is_refused_whole(
    reconciler: Command, project: Path, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (project / "export").write_bytes(content)
    ended = reconciler("state", "import", "export", *HERE)
    assert ended.code == 1
    assert expected in ended.err
    assert not any(person in ended.err for person in ("anna@example.com", "Anna", "901820"))
    assert not (project / ".reconciler").exists()


def test_ids_of_test_data_are_taken_where_the_settings_say_so(
    reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_GUARDS_ODD_IDS", "false")
    (project / "export.csv").write_text("id,tags\nzzz,a\n")
    assert reconciler("state", "import", "export.csv", *HERE).code == 0
    assert listed(reconciler) == ["zzz"]
    for person in ("anna@example.com", "4930901820", "Anna Muster"):
        (project / "export.csv").write_text(f"id,tags\n{person},a\n")
        assert reconciler("state", "import", "export.csv", *HERE).code == 1


def test_a_tag_with_another_separator_is_one_tag_beside_commas(reconciler: Command, project: Path) -> None:
    (project / "export.csv").write_text(f'id,tags\n{contact_id(0)},"lead | fb,vip"\n{contact_id(1)},a;b\n')
    ended = reconciler("state", "import", "export.csv", *HERE)
    assert ended.code == 0
    assert "2 rows with a tag that has ';' or '|' in it: it is one tag, as commas part them" in ended.err
    assert listed(reconciler, "--tag", "lead | fb") == [contact_id(0)]


MISTYPED = "B" + LOCATION[1:]


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_location_that_was_mistyped_can_be_forgotten_as_a_whole(reconciler: Command, project: Path) -> None:
    """The run that its API refused left it in the state, and each plan told of it for ever."""
    wrong = project / "wrong"
    wrong.mkdir()
    (wrong / "a.yaml").write_text(
        f"location: {MISTYPED}\ncontact_sets:\n  s: {{contacts: [{contact_id(0)}], tags: [vip]}}\n"
    )
    assert reconciler("apply", "wrong", "--auto-approve").code == 7
    forget = ("state", "forget", "--whole", "--location", MISTYPED)
    assert f"`{' '.join(('reconciler', *forget))}`" in " ".join(reconciler("plan").out.split())
    assert reconciler(*forget).code == 64
    ended = reconciler(*forget, "--yes")
    assert (ended.code, f"forgot location {MISTYPED}: " in ended.out) == (0, True)
    assert MISTYPED not in reconciler("plan").out + reconciler("history").out
    assert reconciler("state", "verify").code == 0
    assert reconciler(*forget, "--yes").code == 64


@pytest.mark.parametrize("what", [["--whole", "--yes"], [contact_id(0)], ["--limits"]])
def test_what_has_no_state_is_not_forgotten_and_gets_none(reconciler: Command, project: Path, what: list[str]) -> None:
    """The settings name the location: its state may be another one than that which was meant."""
    (project / "manifests" / "reconciler.yaml").write_text(f"locations: {{{LOCATION}: {{name: acme}}}}\n")
    ended = reconciler("state", "forget", *what, "--location", "acme")
    assert (ended.code, f"there is no state of location acme ({LOCATION}) at {STATE}" in ended.err) == (64, True)
    assert not (project / ".reconciler").exists()


@pytest.mark.usefixtures("applied")
def test_the_copy_beside_a_state_says_what_was_about_to_be_done(reconciler: Command, project: Path) -> None:
    assert reconciler("state", "forget", "--whole", *HERE, "--yes").code == 0
    (project / ".reconciler" / "state.db.backup").replace(project / "copy.db")
    said = " ".join(reconciler("plan", "--state", "sqlite:///copy.db").out.split())
    assert "before state forget, and does not know" in said


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_location_with_a_request_in_doubt_is_not_forgotten(reconciler: Command) -> None:
    now, batch = SystemClock().now(), Batch(Action.ADD, (ContactId(contact_id(0)),), (Tag("vip"),))
    with open_store(STATE) as store:
        place = store.at(LOCATION)
        lease = place.acquire_lease(a_holder("anna"), now)
        run = place.begin_run(lease, RunHeader(LOCATION, "apply", "anna", now))
        place.record_intent(lease, run, batch, {}, now)
        place.release_lease(lease)
    before = pulled(reconciler)
    ended = reconciler("state", "forget", "--whole", *HERE, "--yes")
    assert (ended.code, "it is not known what a request did to 1 contact" in ended.err) == (64, True)
    assert pulled(reconciler) == before


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("more", [[contact_id(0), "--whole"], ["--limits", "--whole"], [contact_id(0), "--yes"]])
def test_a_location_is_not_forgotten_beside_contacts(reconciler: Command, more: list[str]) -> None:
    assert reconciler("state", "forget", *HERE, *more).code == 64


@pytest.mark.parametrize("time", ["yesterday", "2126-01-01", "2026-13-01"])
def test_a_time_that_an_export_cannot_be_of(reconciler: Command, project: Path, time: str) -> None:
    (project / "export.csv").write_text("id,tags\n")
    assert reconciler("state", "import", "export.csv", *HERE, "--observed-at", time).code == 64


@pytest.mark.usefixtures("applied")
def test_a_state_moves_to_another_place(reconciler: Command, manifest: Manifest, project: Path) -> None:
    before = pulled(reconciler)
    ended = reconciler("state", "migrate", "sqlite:///moved/state.db")
    assert ended.code == 0
    assert "state: sqlite:///moved/state.db" in ended.out
    (project / "manifests" / "reconciler.yaml").write_text("state: sqlite:///moved/state.db\n")
    after = pulled(reconciler)
    (entry,) = [run for run in after["locations"][0]["runs"] if run not in before["locations"][0]["runs"]]
    assert entry["operation"] == "state migrate"
    after["locations"][0]["runs"].remove(entry)
    assert after == before
    assert reconciler("state", "verify").code == 0
    manifest(customers=([0], ["customer"], []), vip=([5], ["vip"], []))
    assert reconciler("apply", "--auto-approve").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_state_that_was_migrated_away_is_refused_with_the_place_where_it_went(reconciler: Command) -> None:
    """A clone that was not pulled, or a job with the old variable, would plan as if nothing had happened since."""
    moved = ("--state", "sqlite:///moved.db")
    assert reconciler("state", "migrate", "sqlite:///moved.db").code == 0
    refusal = f"the state of location {LOCATION} at {STATE} was migrated to sqlite:///moved.db: later runs are there"
    for command in (["plan"], ["apply", "--auto-approve"], ["drift"]):
        ended = reconciler(*command)
        assert (ended.code, refusal in ended.err) == (1, True)
        assert reconciler(*command, *moved).code == 0
    assert "was migrated to" in reconciler("doctor", "--offline").out
    # what only looks at it does not go by it
    assert "state migrate to sqlite:///moved.db" in reconciler("history", "--format", "json").out
    assert reconciler("state", "verify").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_state_comes_back_and_goes_on_to_a_third_place(reconciler: Command) -> None:
    for place in ("two", "three"):
        # the second one is made of the old state, since the first copy was given up
        assert reconciler("state", "migrate", f"sqlite:///{place}.db").code == 0
    assert reconciler("plan", "--state", "sqlite:///three.db").code == 0
    assert reconciler("plan").code == 1
    assert reconciler("state", "migrate", STATE, "--state", "sqlite:///three.db").code == 0
    assert reconciler("plan").code == 0
    assert reconciler("plan", "--state", "sqlite:///three.db").code == 1


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_move_that_is_asked_for_again_leaves_the_copy_as_it_is(reconciler: Command, manifest: Manifest) -> None:
    """It was ended by the lock of another location, or a job repeats it; nor does it bar the way back."""
    new = ("--state", "sqlite:///new.db")
    assert reconciler("state", "migrate", "sqlite:///new.db").code == 0
    manifest(customers=([0, 1, 3], ["customer"], []), vip=([5], ["vip"], []))
    assert reconciler("apply", "--auto-approve", *new).code == 0
    before = pulled(reconciler, *new)
    assert reconciler("state", "migrate", "sqlite:///new.db").code == 0
    assert pulled(reconciler, *new) == before
    assert reconciler("state", "migrate", STATE, *new).code == 0
    assert reconciler("plan", "--detailed-exitcode").code == 0


@pytest.mark.usefixtures("applied")
def test_what_an_older_reconciler_did_in_a_state_that_was_left_moves_too(reconciler: Command) -> None:
    """It knows no entries of moves, and runs as before."""
    assert reconciler("state", "migrate", "sqlite:///new.db").code == 0
    now = SystemClock().now()
    with open_store(STATE) as store:
        place = store.at(LOCATION)
        lease = place.acquire_lease(a_holder("anna"), now)
        run = place.begin_run(lease, RunHeader(LOCATION, "apply", "anna", now))
        place.end_run(lease, run, RunStatus.COMPLETE, now, set_sizes=None)
        place.release_lease(lease)
    assert reconciler("state", "migrate", "sqlite:///new.db").code == 0
    assert run in reconciler("history", "--state", "sqlite:///new.db").out


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_state_comes_back_though_another_move_of_the_old_one_failed(reconciler: Command) -> None:
    """A move that failed is in the history of the old state alone."""
    new, other = ("--state", "sqlite:///new.db"), ("--state", "sqlite:///other.db")
    assert reconciler("apply", "--auto-approve", "--create-state", *other).code == 3
    assert reconciler("state", "migrate", "sqlite:///new.db").code == 0
    assert reconciler("state", "migrate", "sqlite:///other.db").code == 1
    assert reconciler("state", "migrate", STATE, *new).code == 0
    assert reconciler("plan").code == 0


@pytest.mark.usefixtures("applied")
def test_nothing_is_imported_into_a_state_that_was_migrated_away(reconciler: Command, project: Path) -> None:
    (project / "export.csv").write_text(f"id,tags\n{contact_id(0)},nothing\n")
    assert reconciler("state", "migrate", "sqlite:///moved.db").code == 0
    ended = reconciler("state", "import", "export.csv", *HERE)
    assert (ended.code, "was migrated to sqlite:///moved.db: later runs are there" in ended.err) == (1, True)


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_state_does_not_move_onto_another_one(reconciler: Command, project: Path) -> None:
    for state in ("sqlite:///one.db", "sqlite:///two.db"):
        reconciler("apply", "--auto-approve", "--state", state)
    before = (project / "two.db").read_bytes()
    ended = reconciler("state", "migrate", "sqlite:///two.db", "--state", "sqlite:///one.db")
    assert ended.code == 1
    assert "lineage" in ended.err
    assert pulled(reconciler, "--state", "sqlite:///two.db")
    assert len((project / "two.db").read_bytes()) == len(before)
    assert reconciler("state", "migrate", STATE).code == 64


@pytest.mark.usefixtures("applied")
def test_verify_finds_what_does_not_hang_together(reconciler: Command, project: Path) -> None:
    assert "is whole: 1 location" in reconciler("state", "verify").out
    for harm, found in (
        ("UPDATE known SET observed_at = NULL WHERE observed IS NOT NULL", "without a time"),
        ("DELETE FROM known", "knowledge is missing"),
        ("ALTER TABLE runs ADD COLUMN more TEXT", "the tables are not those"),
    ):
        with sqlite3.connect(project / ".reconciler" / "state.db") as connection:
            connection.execute(harm)
        connection.close()
        ended = reconciler("state", "verify")
        assert ended.code == 1
        assert found in ended.out


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["forget", contact_id(0), *HERE],
        ["import", "export.csv", *HERE],
        ["push", "state.json"],
        ["migrate", "sqlite:///moved.db"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.usefixtures("applied")
def test_whatever_changes_a_state_takes_the_lease(reconciler: Command, project: Path, arguments: list[str]) -> None:
    (project / "export.csv").write_text(f"id,tags\n{contact_id(0)},nothing\n")
    (project / "state.json").write_text(json.dumps(pulled(reconciler)))
    with open_store(STATE) as store:
        store.at(LOCATION).acquire_lease(a_holder("anna"), SystemClock().now())
    before = pulled(reconciler)
    ended = reconciler("state", *arguments)
    assert ended.code == 6
    assert "state unlock lease-anna" in ended.err
    assert pulled(reconciler) == before
