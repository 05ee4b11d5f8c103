"""People instead of ids: what a manifest says of them, and their snapshots, as files or from a state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.core.model.errors import InvalidInput, StateError
from reconciler.core.model.manifest import ListedContacts
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, parse_instant
from reconciler.core.model.people import Match, MatchCounts, MatchKey, RowFilter, Snapshot, ValueKind
from reconciler.core.model.settings import Settings
from reconciler.loading import FileTree, load
from reconciler.loading.file_tree import CannotRead
from reconciler.loading.snapshot_files import find_folder, locate_folder, write_snapshot

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
VIP = SetName("vip")
ANN, BERT = ContactId("qFSqySFkVvNzOSqgGqFi"), ContactId("3ualbhnV7j3n3a9r2moD")
NOW = parse_instant("2026-06-01T00:00:00Z")
PEOPLE = "mail,mobile,number,plan,Tags\nann@example.com,0170 1,7,gold,vip\n"
EMAIL = "match: {email: mail}"


def manifest(keys: str = EMAIL, name: str = "vip", file: str = "people.csv") -> str:
    return f"location: {HERE}\ncontact_sets:\n  {name}: {{contacts: {{file: {file}, {keys}}}, tags: [vip]}}\n"


def tree(keys: str = EMAIL, people: str = PEOPLE, **more: str) -> FileTree:
    texts = {"a.yaml": manifest(keys), "people.csv": people, **more}
    return FileTree({name.replace("__", "/"): text.encode() for name, text in texts.items()})


def contacts_of(files: FileTree | Path, **options: object) -> ListedContacts:
    loaded = load(files, now=NOW, **options)  # type: ignore[arg-type]
    contacts = loaded.manifests[0].sets[0].contacts
    assert isinstance(contacts, ListedContacts)
    return contacts


def match_of(files: FileTree | Path, **options: object) -> Match:
    match = contacts_of(files, **options).match
    assert match is not None
    return match


def pulled(*contacts: ContactId, at: Instant = NOW, digest: str = "") -> Snapshot:
    counts = MatchCounts(rows=len(contacts) + 1, matched=len(contacts), not_found=1)
    return Snapshot(tuple(sorted(contacts)), at, digest, counts)


def test_keys_are_in_the_order_written() -> None:
    keys = "match: {phone: mobile, field: customer_no, column: number, email: mail}, region: de"
    match = match_of(tree(keys + ", where: {plan: gold, Tags: {contains: vip}}, max_age: 90m"))
    assert match.keys == (
        MatchKey(ValueKind.PHONE, "mobile"),
        MatchKey(ValueKind.FIELD, "number", "customer_no"),
        MatchKey(ValueKind.EMAIL, "mail"),
    )
    assert (match.file, match.region, match.max_age_ms) == ("people.csv", "DE", 90 * 60_000)
    assert match.where == (RowFilter("plan", "gold", False), RowFilter("Tags", "vip", True))


def test_the_digest_tells_whether_a_pull_would_match_otherwise() -> None:
    first = match_of(tree()).source_digest
    assert match_of(tree(f"{EMAIL}, max_age: 1h")).source_digest == first
    others = [
        tree(people=PEOPLE + "bert@example.com,0170 2,8,gold,vip\n"),
        tree("match: {email: number}"),
        tree("match: {phone: mail}"),
        tree("match: {field: f, column: mail}"),
        tree("match: {field: g, column: mail}"),
        tree("match: {email: mail, phone: mobile}"),
        tree("match: {phone: mobile, email: mail}"),
        tree("match: {phone: mobile, email: mail}, region: DE"),
        tree("match: {phone: mobile, email: mail}, region: AT"),
        tree(f"{EMAIL}, where: {{plan: gold}}"),
        tree(f"{EMAIL}, where: {{plan: {{contains: gold}}}}"),
    ]
    digests = {match_of(files).source_digest for files in others}
    assert first not in digests
    assert len(digests) == len(others)


@pytest.mark.parametrize("file", ["people.jsonl", "people.parquet"])
def test_files_without_a_header_are_left_to_the_pull(file: str) -> None:
    files = FileTree({"a.yaml": manifest(file=file).encode(), file: b"anything"})
    assert load(files, now=NOW).problems == ()


def test_a_git_lfs_pointer_is_no_file_of_people() -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    for file in ("people.csv", "people.jsonl"):
        files = FileTree({"a.yaml": manifest(file=file).encode(), file: pointer.encode()})
        with pytest.raises(Exception, match="Git LFS"):
            load(files, now=NOW)


def test_a_state_that_is_not_asked_says_nothing() -> None:
    contacts = contacts_of(tree())
    assert contacts.ids == ()
    assert load(tree(), now=NOW).problems == ()
    assert [each.check for each in load(tree(), now=NOW, find_snapshots=lambda *_: {}).problems] == ["snapshot-missing"]


def test_a_state_is_asked_once_for_each_location_that_has_matched_sets() -> None:
    asked = []

    def find(_: Settings, location: LocationId) -> Mapping[SetName, Snapshot]:
        asked.append(location)
        return {VIP: pulled(ANN)}

    other = manifest().replace("asdr", "bsdr")
    ids = f"location: csdrwHvLUxlfw5SqKVCN\ncontact_sets: {{x: {{contacts: [{ANN}], tags: [x]}}}}\n"
    files = tree(**{"b.yaml": manifest(name="b"), "c.yaml": other, "d.yaml": ids})
    loaded = load(files, now=NOW, find_snapshots=find)
    assert asked == [HERE, "bsdrwHvLUxlfw5SqKVCN"]
    assert [each.name for each in loaded.manifests[1].sets] == ["b"]
    assert contacts_of(files, find_snapshots=find).ids == (ANN,)


def in_files(directory: Path, snapshot: Snapshot, name: SetName = VIP) -> Path:
    """A directory of manifests with the snapshot among its files."""
    home = directory / "manifests"
    home.mkdir(exist_ok=True)
    (home / "a.yaml").write_text(manifest(name=json.dumps(name, ensure_ascii=False)))
    (home / "people.csv").write_text(PEOPLE)
    (home / "reconciler.yaml").write_text(f"snapshots: {home / '.resolved'}\n")
    write_snapshot(home / ".resolved", HERE, name, snapshot)
    return home


@pytest.mark.parametrize("name", ["vip", "vip/../..", "..", "Größe 🙂", "a" * 200, "🙂" * 200])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    snapshot = pulled(ANN, BERT, digest="sha256:1")
    home = in_files(tmp_path, snapshot, SetName(name))
    assert match_of(home).snapshot == snapshot
    assert contacts_of(home).ids == (BERT, ANN)
    assert {path.parent for path in tmp_path.rglob("*.json")} == {home / ".resolved" / HERE}


def test_a_snapshot_is_a_file_of_sorted_ids_and_one_of_facts(tmp_path: Path) -> None:
    ids, facts = write_snapshot(tmp_path, HERE, VIP, pulled(ANN, BERT, digest="sha256:1"))
    assert (ids, facts) == (tmp_path / HERE / "vip.txt", tmp_path / HERE / "vip.json")
    assert ids.read_bytes() == f"{BERT}\n{ANN}\n".encode()
    first = facts.read_bytes()
    assert list(json.loads(first)) == [
        *("format_version", "location", "set", "as_of", "source_digest", "counts", "contacts_digest")
    ]
    write_snapshot(tmp_path, HERE, VIP, pulled(ANN, BERT, digest="sha256:1"))
    assert facts.read_bytes() == first
    write_snapshot(tmp_path, HERE, VIP, pulled(ANN))
    assert ids.read_bytes() == f"{ANN}\n".encode()
    assert {path.name for path in (tmp_path / HERE).iterdir()} == {"vip.txt", "vip.json"}


def test_other_line_ends_of_a_checkout_are_no_change(tmp_path: Path) -> None:
    home = in_files(tmp_path, pulled(ANN, BERT))
    ids = home / ".resolved" / HERE / "vip.txt"
    ids.write_bytes(ids.read_bytes().replace(b"\n", b"\r\n"))
    assert contacts_of(home).ids == (BERT, ANN)


def test_the_files_of_another_revision_are_read(tmp_path: Path) -> None:
    home = in_files(tmp_path, pulled(ANN))
    content = {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    there = FileTree(content, label="main:manifests", place=str(home))
    assert contacts_of(there).ids == (ANN,)


@pytest.mark.parametrize(
    ("setting", "folder"),
    [
        ("repo/manifests/.resolved/", ".resolved"),
        ("manifests/.resolved", ".resolved"),
        ("./manifests/a/../.resolved", ".resolved"),
        ("manifests", ""),
        (".resolved", ".resolved"),
        ("./kept/ids", "kept/ids"),
        ("../manifests/.resolved", ".resolved"),
        ("{top}/repo/manifests/.resolved", ".resolved"),
    ],
)
@pytest.mark.parametrize(
    ("working", "typed"),
    [("repo", "manifests"), ("repo/manifests", "."), ("/", "{top}/repo/manifests"), (".", "repo/../repo/manifests")],
)
def test_the_directory_of_snapshots_is_the_same_wherever_a_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, folder: str, working: str, typed: str
) -> None:
    (tmp_path / "repo" / "manifests").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / working)
    directory = Path(typed.format(top=tmp_path))
    assert locate_folder(setting.format(top=tmp_path), str(directory)) == folder
    # as a person types it
    assert find_folder(Settings(snapshots=setting.format(top=tmp_path)), directory) == directory / folder


@pytest.mark.parametrize("setting", ["../.resolved", "/elsewhere", "elsewhere/", "manifests/../../.resolved"])
@pytest.mark.parametrize("working", [".", "manifests"])
def test_a_directory_of_snapshots_outside_is_refused_with_a_path_of_no_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, working: str
) -> None:
    home = in_files(tmp_path, pulled(ANN))
    (home / "reconciler.yaml").write_text(f"snapshots: {setting}\n")
    monkeypatch.chdir(tmp_path / working)
    with pytest.raises(InvalidInput) as refused:
        load(home, now=NOW)
    assert [each.hint for each in refused.value.problems] == ["such as manifests/.resolved"]


def test_snapshots_of_manifests_that_are_a_checkout_or_have_another_name_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "checkout" / ".git").mkdir(parents=True)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "manifests")
    assert locate_folder("kept/ids", str(tmp_path / "checkout")) == "kept/ids"
    assert locate_folder("manifests/.resolved", str(tmp_path / "linked")) == ".resolved"
    with pytest.raises(CannotRead):
        locate_folder("kept/ids", str(tmp_path / "manifests"))


@pytest.mark.parametrize("ids", [(ANN, BERT), (BERT, BERT)], ids=["not sorted", "twice"])
def test_files_that_no_pull_wrote_are_no_snapshot(tmp_path: Path, ids: tuple[ContactId, ...]) -> None:
    home = in_files(tmp_path, Snapshot(ids, NOW, ""))
    assert contacts_of(home).ids == ()
    assert "snapshot-damaged" in {problem.check for problem in load(home, now=NOW).problems}


@pytest.mark.parametrize(
    "snapshot",
    [
        pulled(ANN, digest="x" * 10_001),
        Snapshot((ANN,), NOW, "", MatchCounts(rows=-1)),
        pulled(ContactId("x" * 10_001)),
        pulled(ContactId("\x1b[2J")),
    ],
    ids=["a long digest", "a negative count", "a long id", "an id that a terminal would obey"],
)
def test_files_that_a_state_would_not_give_back_are_no_snapshot(tmp_path: Path, snapshot: Snapshot) -> None:
    home = in_files(tmp_path, snapshot)
    assert contacts_of(home).ids == ()
    assert "snapshot-damaged" in {problem.check for problem in load(home, now=NOW).problems}


def test_files_win_over_a_state(tmp_path: Path) -> None:
    home = in_files(tmp_path, pulled(ANN))
    assert contacts_of(home, find_snapshots=lambda *_: {VIP: pulled(BERT)}).ids == (ANN,)


def test_a_link_that_leaves_is_not_read(tmp_path: Path) -> None:
    home = in_files(tmp_path, pulled(ANN))
    (home / ".resolved").rename(tmp_path / "elsewhere")
    (home / ".resolved").symlink_to(tmp_path / "elsewhere")
    problems = load(home, now=NOW).problems
    assert [each.check for each in problems] == ["snapshot-damaged", "snapshot-missing"]
    assert "leaves the manifests directory" in problems[0].message


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / HERE).symlink_to(tmp_path / "elsewhere")
    for directory in ("linked", "real"):
        with pytest.raises(StateError, match="through a link"):
            write_snapshot(tmp_path / directory, HERE, VIP, pulled(ANN))
    assert not [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]


def test_a_snapshot_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written: "):
        write_snapshot(tmp_path / "file", HERE, VIP, pulled(ANN))
