"""`reconciler locations`: which there are, and which of them differ from a revision: too many rather than too few."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ci.hostile import git
from tests.cli.conftest import LOCATION, Command

A, B, C = "aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccc"
SETTINGS = """state: sqlite:///state.db
locations:
  {a}: {{name: Acme}}
  {b}: {{name: 'Beta "quoted", <b>'}}
guards: {{max_adds: 100}}
"""

MATCHING = (
    f"location: {C}\ncontact_sets: {{s: {{contacts: {{file: people.csv, match: {{email: mail}}}}, tags: [x]}}}}\n"
)

Listing = Callable[..., Any]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three locations in a repository: ids inline, in a file, and people that are matched."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RECONCILER_") or name == "CI"]:
        monkeypatch.delenv(name)
    files = {
        "reconciler.yaml": SETTINGS.format(a=A, b=B),
        "acme.yaml": f"location: {A}\ncontact_sets: {{s: {{contacts: [contact0000000000001], tags: [x]}}}}\n",
        "more/beta.yaml": f"location: {B}\ncontact_sets: {{s: {{contacts: {{file: ids.csv}}, tags: [x]}}}}\n",
        "more/ids.csv": "contact_id\ncontact0000000000002\n",
        "gamma.yaml": MATCHING,
        "people.csv": "mail\nanna@example.com\n",
    }
    for name, text in files.items():
        path = tmp_path / "manifests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "a fleet")
    return tmp_path / "manifests"


@pytest.fixture
def listing(reconciler: Command) -> Listing:
    """What the command says as JSON."""

    def ask(*arguments: str) -> Any:
        ended = reconciler("locations", "--format", "json", *arguments)
        assert ended.code == 0, ended.err
        assert ended.out.count("\n") == 1
        return json.loads(ended.out)

    return ask


def changed(document: Any) -> dict[str, list[str]]:
    return {each["id"]: each["changed"] for each in (*document["locations"], *document["others"])}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def with_snapshots(fleet: Path) -> None:
    """Snapshots are files: what a pull found has a revision too."""
    edit(fleet / "reconciler.yaml", "state:", "snapshots: manifests/.resolved\nstate:")
    folder = fleet / ".resolved" / C
    folder.mkdir(parents=True)
    (folder / "s.txt").write_text("contact0000000000003\n")
    (folder / "s.json").write_text("{}\n")
    git("add", "-Af")
    git("commit", "-qm", "snapshots")


def test_each_location_is_listed_in_a_stable_order(fleet: Path, listing: Listing) -> None:
    document = listing()
    assert (document["report"], document["format_version"].partition(".")[0]) == ("locations", "1")
    assert [each["index"] for each in document["locations"]] == [0, 1, 2]
    assert [each["id"] for each in document["locations"]] == [A, B, C]
    assert [each["name"] for each in document["locations"]] == ["Acme", 'Beta "quoted", <b>', ""]
    assert [each["manifests"] for each in document["locations"]] == [
        ["manifests/acme.yaml"],
        ["manifests/more/beta.yaml"],
        ["manifests/gamma.yaml"],
    ]
    assert {each["has_state"] for each in document["locations"]} == {False}
    assert document["others"] == []
    assert changed(document) == {A: [], B: [], C: []}


def test_text_and_csv_say_the_same(fleet: Path, reconciler: Command) -> None:
    text = reconciler("locations").out
    assert "3 locations with manifests." in text
    assert "manifests/more/beta.yaml" in text
    rows = list(csv.DictReader(io.StringIO(reconciler("locations", "--format", "csv").out)))
    assert [(row["index"], row["id"], row["state"]) for row in rows] == [("0", A, "no"), ("1", B, "no"), ("2", C, "no")]


def test_nothing_is_made_and_nothing_asked(fleet: Path, reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(Path().rglob("*"))
    monkeypatch.setenv("RECONCILER_API_BASE_URL", "http://127.0.0.1:1")
    assert reconciler("locations", "--changed-since", "HEAD").code == 0
    assert sorted(Path().rglob("*")) == before


def test_who_has_state_is_told_also_without_a_manifest(
    project: Path, manifest: Callable[..., None], reconciler: Command, listing: Listing
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    assert [each["has_state"] for each in listing()["locations"]] == [True]
    (project / "manifests" / "acme.yaml").write_text(f"location: {A}\ncontact_sets: {{}}\n")
    document = listing()
    assert [(each["id"], each["has_state"]) for each in document["locations"]] == [(A, False)]
    assert [(each["id"], each["index"], each["has_state"]) for each in document["others"]] == [(LOCATION, None, True)]


def test_a_state_that_cannot_be_listed_is_not_known(fleet: Path, reconciler: Command, listing: Listing) -> None:
    state = "nowhere://somewhere"
    assert {each["has_state"] for each in listing("--state", state)["locations"]} == {None}
    assert "which locations have state is not known: " in reconciler("locations", "--state", state).err


def test_a_remote_state_that_only_a_pull_request_names_is_not_asked(
    fleet: Path, reconciler: Command, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(fleet / "reconciler.yaml", "sqlite:///state.db", "postgresql://db.invalid/crm")
    monkeypatch.setenv("GITHUB_EVENT_NAME", "pull_request")
    event = fleet.parent / "event.json"
    event.write_text(json.dumps({"pull_request": {"base": {"sha": git("rev-parse", "HEAD").decode().strip()}}}))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(event))
    assert {each["has_state"] for each in listing()["locations"]} == {None}
    assert "only the pull request names postgresql://db.invalid/crm, it is not asked" in reconciler("locations").err


def test_nothing_changed_names_those_whose_people_a_revision_cannot_tell(fleet: Path, listing: Listing) -> None:
    assert changed(listing("--changed-since", "HEAD")) == {C: ["pulled into the state"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("acme.yaml", "tags: [x]", "tags: [y]", {A: ["manifests"]}),
        ("more/ids.csv", "00002", "00009", {B: ["contact files"]}),
        ("people.csv", "anna", "bert", {C: ["contact files"]}),
        (".resolved/" + C + "/s.txt", "00003", "00004", {C: ["snapshots"]}),
        ("reconciler.yaml", "name: Acme", "name: Acme, token_env: ACME", {A: ["settings"]}),
        ("reconciler.yaml", "guards: {max_adds: 100}", "guards: {max_adds: 100} # so", {}),
        (
            "reconciler.yaml",
            "max_adds: 100",
            "max_adds: 200",
            {A: ["settings of all"], B: ["settings of all"], C: ["settings of all"]},
        ),
        (
            "reconciler.yaml",
            "guards:",
            "tags: {x: {triggers: true}}\nguards:",
            {A: ["settings of all"], B: ["settings of all"], C: ["settings of all"]},
        ),
        (
            "reconciler.yaml",
            "guards:",
            f"allow: [{{guard: max_adds, location: {B}, until: 2099-01-01, reason: so}}]\nguards:",
            {B: ["settings"]},
        ),
    ],
)
def test_a_change_names_whom_it_concerns(
    fleet: Path, listing: Listing, name: str, old: str, new: str, expected: dict[str, list[str]]
) -> None:
    with_snapshots(fleet)
    assert changed(listing("--changed-since", "HEAD")) == {}
    edit(fleet / name, old, new)
    document = listing("--changed-since", "HEAD")
    assert changed(document) == expected
    assert [each["index"] for each in document["locations"]] == list(range(len(expected)))
    # committed or not, it differs from the revision before
    git("commit", "-qam", "a change")
    assert changed(listing("--changed-since", "HEAD~1")) == expected
    assert changed(listing("--changed-since", "HEAD")) == {}


def test_a_deleted_manifest_names_its_location_with_a_mark(fleet: Path, reconciler: Command, listing: Listing) -> None:
    (fleet / "acme.yaml").unlink()
    edit(fleet / "reconciler.yaml", f"  {A}: {{name: Acme}}\n", "")
    document = listing("--changed-since", "HEAD")
    (gone,) = document["others"]
    assert (gone["id"], gone["index"], gone["deleted"], gone["manifests"]) == (A, None, True, [])
    assert "deleted, manifests" in reconciler("locations", "--changed-since", "HEAD").out


def test_a_manifest_that_moves_to_another_location_names_both(fleet: Path, listing: Listing) -> None:
    edit(fleet / "acme.yaml", A, B)
    assert changed(listing("--changed-since", "HEAD")).keys() == {A, B, C}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("broken", ["location: [", "contact_sets: {}\n", "location: '../x'\ncontact_sets: {}\n"])
def test_what_a_revision_cannot_tell_names_all(fleet: Path, reconciler: Command, listing: Listing, broken: str) -> None:
    (fleet / "broken.yaml").write_text(broken)
    git("add", "-A")
    git("commit", "-qm", "broken")
    (fleet / "broken.yaml").unlink()
    assert changed(listing("--changed-since", "HEAD")) == {location: ["not known"] for location in (A, B, C)}
    assert (
        "all locations with manifests are named: what HEAD had cannot be told"
        in reconciler("locations", "--changed-since", "HEAD").err
    )
    # now it is an error: nobody knows whose manifest it is
    (fleet / "broken.yaml").write_text(broken)
    assert reconciler("locations").code == 1


def test_the_revision_before_the_first_one_names_all(fleet: Path, listing: Listing) -> None:
    assert changed(listing("--changed-since", "0" * 40)) == {location: ["not known"] for location in (A, B, C)}


def test_a_revision_before_the_directory_names_all(fleet: Path, listing: Listing) -> None:
    git("mv", "manifests", "clients")
    git("commit", "-qm", "moved")
    document = listing("clients", "--changed-since", "HEAD~1")
    assert [each["id"] for each in document["locations"]] == [A, B, C]
    assert all("manifests" in each["changed"] for each in document["locations"])


def test_an_unknown_revision_is_an_error(fleet: Path, reconciler: Command) -> None:
    ended = reconciler("locations", "--changed-since", "nowhere", "--format", "json")
    assert ended.code == 64
    assert "names no commit" in ended.err


@pytest.mark.slow
def test_a_file_that_cannot_be_read_then_names_its_location(fleet: Path, listing: Listing) -> None:
    """Ids that Git does not have are told from no revision."""
    (fleet / "more" / "ids.csv").rename(fleet / "more" / "kept.csv")
    git("commit", "-qam", "not in Git")
    (fleet / "more" / "kept.csv").rename(fleet / "more" / "ids.csv")
    assert changed(listing("--changed-since", "HEAD"))[B] == ["contact files"]
