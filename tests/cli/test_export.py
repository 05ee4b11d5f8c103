"""`export`: a location that exists becomes manifests, and the plan that follows has nothing to send."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import normalise_tag
from reconciler.sandbox import in_background
from reconciler.sandbox.app import App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact, World
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
HOSTILE = (
    "no",
    "012",
    "null",
    "1:30",
    "~",
    "- dash",
    "# hash",
    "a: b",
    "a #b",
    "{x}",
    "[x]",
    "&anchor",
    "*alias",
    "!tag",
    "'single'",
    '"double"',
    "back\\slash",
    "comma, comma",
    "|",
    ">",
    "%percent",
    "@at",
    "`tick`",
    "ünïcödé",
    "日本語",
    "🎉 party",
    "no\u00a0break",
    "=1+1",
    "con",
    "reconciler",
    "../../etc/passwd",
    "a/b",
    "vip",
    "v i p",
    "v-i-p",
    "x" * 75,
)
UNDECLARABLE = ("bell\x07", "right\u202eleft", "two\nlines")
GROUPINGS = ["tag", "combination", "one-set-per-tag"]


@pytest.fixture
def world() -> World:
    """Each hostile tag on three of 39 contacts, several on each; the last one carries none."""
    carried: dict[int, set[str]] = {number: set() for number in range(40)}
    for nth, tag in enumerate((*HOSTILE, *UNDECLARABLE)):
        for number in (nth % 40, (nth * 7 + 1) % 40, (nth * 3 + 2) % 40):
            carried[number].add(tag)
    carried[39] = set()
    return World(LOCATION, [_contact(number, tags) for number, tags in carried.items()])


def _contact(number: int, tags: set[str]) -> Contact:
    return Contact(contact_id(number), LOCATION, frozenset(map(normalise_tag, tags)))


def summary(reconciler: Command, *arguments: str) -> dict[str, int]:
    planned = reconciler("plan", "--format", "json", *arguments)
    assert planned.code == 0, planned.err
    (location,) = json.loads(planned.out)["locations"]
    found: dict[str, int] = location["summary"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_the_plan_that_follows_sends_nothing(reconciler: Command, project: Path, world: World, grouping: str) -> None:
    (project / "manifests").rmdir()
    ended = reconciler("export", "--location", LOCATION, "--refresh", "search", "--group-by", grouping)
    assert ended.code == 0, ended.err
    assert "3 tags" in ended.err
    validated = reconciler("validate", "--format", "json")
    assert validated.code == 0, validated.out
    told = {each["check"] for each in json.loads(validated.out)["problems"] if each["severity"] == "warning"}
    assert told <= {"tag-comma", "tag-invisible", "tag-lookalike"}
    planned = summary(reconciler)
    pairs = sum(len(set(each.tags) - set(map(normalise_tag, UNDECLARABLE))) for each in world.contacts.values())
    assert (planned["requests"], planned["adds"], planned["removes"]) == (0, 0, 0)
    assert planned["adopted"] == pairs
    before = list(world.transitions)
    assert reconciler("apply", "--auto-approve").code == 0
    assert world.transitions == before
    assert "No changes" in reconciler("plan", "--detailed-exitcode").out


@pytest.mark.one_in(4)
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_what_was_observed_is_exported_without_asking_anybody(
    reconciler: Command, project: Path, manifest: Manifest, grouping: str
) -> None:
    manifest(board=([0, 1], ["board"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    ended = reconciler("export", "--out", "adopted", "--tag", "boar*", "--group-by", grouping)
    assert ended.code == 0, ended.err
    (written,) = sorted((project / "adopted").rglob("*.yaml"))
    assert "tags:\n      - board" in written.read_text()
    (contacts,) = (project / "adopted").rglob("*.csv")
    assert contacts.read_text().split() == ["contact_id", contact_id(0), contact_id(1)]
    assert reconciler("plan", "adopted", "--detailed-exitcode").code == 0


def test_a_contact_is_in_one_set_of_its_combination(reconciler: Command, project: Path) -> None:
    assert (
        reconciler(
            "export", "--location", LOCATION, "--refresh", "search", "--group-by", "combination", "--out", "out"
        ).code
        == 0
    )
    listed = [line for path in (project / "out").rglob("*.csv") for line in path.read_text().split()[1:]]
    assert len(listed) == len(set(listed)) == 39


@pytest.mark.slow
def test_the_plan_that_it_names_looks_at_the_same_state(reconciler: Command, project: Path, world: World) -> None:
    """The settings that name the state stay in the directory of the manifests: elsewhere all would be new."""
    (project / "manifests" / "reconciler.yaml").write_text("state: sqlite:///kept.db\n")
    ended = reconciler("export", "--location", LOCATION, "--refresh", "search", "--out", "exported")
    told = ended.err.splitlines()[-1]
    assert told == "next: `reconciler plan exported --state sqlite:///kept.db`, which adopts what is there"
    planned = summary(reconciler, *told.partition(" plan ")[2].partition("`")[0].split())
    assert (planned["requests"], planned["adds"]) == (0, 0)
    assert planned["adopted"] > 0


@pytest.mark.slow
def test_nothing_is_overwritten(reconciler: Command, project: Path) -> None:
    once = ["export", "--location", LOCATION, "--refresh", "search", "--out", "out"]
    assert reconciler(*once).code == 0
    before = {path: path.read_bytes() for path in (project / "out").rglob("*") if path.is_file()}
    again = reconciler(*once)
    assert again.code == 64
    assert "nothing is overwritten" in again.err
    assert {path: path.read_bytes() for path in (project / "out").rglob("*") if path.is_file()} == before


def test_without_anything_observed_it_says_what_to_do(reconciler: Command, project: Path) -> None:
    assert "--refresh search" in reconciler("export").err
    ended = reconciler("export", "--location", LOCATION)
    assert (ended.code, "--refresh search" in ended.err) == (64, True)


def test_a_row_without_tags_is_read_by_id(reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contacts = [_contact(number, {"vip"}) for number in range(9)]
    world = World(LOCATION, contacts, assumptions=Assumptions(search_row_without_tags=2))
    with in_background(App(world)) as running:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", running.url)
        assert reconciler("export", "--location", LOCATION, "--refresh", "search", "--out", "out").code == 0
    (contacts_file,) = (project / "out").rglob("vip.csv")
    assert len(contacts_file.read_text().split()) == 10
