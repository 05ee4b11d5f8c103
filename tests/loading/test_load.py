"""The door: which files are read, that nothing outside is, and what a load makes of them."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path

import pytest

from reconciler.core.model.errors import InvalidInput, Severity
from reconciler.core.model.manifest import Authority, Combined, ListedContacts, OnLeave
from reconciler.core.model.names import parse_instant
from reconciler.loading import FileTree, Loaded, load
from reconciler.loading.file_tree import CannotRead
from reconciler.loading.files import name_inside

LOCATION = "location: asdrwHvLUxlfw5SqKVCN\n"
A, B = "qFSqySFkVvNzOSqgGqFi", "3ualbhnV7j3n3a9r2moD"


def problems(directory: Path, **options: object) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load(directory, **options)  # type: ignore[arg-type]
    return [str(problem).replace(f"{directory.as_posix()}/", "") for problem in caught.value.problems]


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def listing(ids: str) -> str:
    return f"{LOCATION}contact_sets:\n  a: {{contacts: {ids}, tags: [x]}}\n"


WHOLE = f"""\
location: asdrwHvLUxlfw5SqKVCN
authority: owned
tags:
  VIP: {{group: rank, max_adds: 200, renamed_from: Top, triggers: true}}
contact_sets:
  vip:
    contacts: [{A}, {B}]
    tags: [' VIP', no]
    absent: [012]
    on_leave: keep
    from: 2026-03-29
    until: 2026-12-31T18:00:00+01:00
    ignore: [" WF-*", imported]
    allow_empty: true
  all:
    contacts: {{sets: [vip], except: [out], only: [vip]}}
    authority: exact
  out:
    contacts: []
    allow_empty: true
    absent: [null]
"""


def test_a_manifest_becomes_values_with_places(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, m_yaml=WHOLE, reconciler_yaml="timezone: Europe/Berlin\n"))
    manifest = loaded.manifests[0]
    vip, everyone, out = manifest.sets
    assert (manifest.location, manifest.authority) == ("asdrwHvLUxlfw5SqKVCN", Authority.OWNED)
    assert isinstance(vip.contacts, ListedContacts)
    assert vip.contacts.ids == (A, B)
    assert str(vip.contacts.place(1)).endswith("m.yaml:7:38")
    assert [(use.tag, use.written, use.source.line) for use in vip.tags] == [("vip", " VIP", 8), ("no", "no", 8)]
    assert [use.tag for use in (*vip.absent, *out.absent)] == ["012", "null"]
    assert (vip.start, vip.until) == (parse_instant("2026-03-28T23:00:00Z"), parse_instant("2026-12-31T17:00:00Z"))
    assert (vip.on_leave, vip.ignore, vip.authority, vip.allow_empty) == (
        OnLeave.KEEP,
        ("wf-*", "imported"),
        None,
        True,
    )
    assert isinstance(everyone.contacts, Combined)
    assert [use.name for use in (*everyone.contacts.sets, *everyone.contacts.minus)] == ["vip", "out"]
    assert everyone.authority is Authority.EXACT
    rule = manifest.rules[vip.tags[0].tag]
    assert (rule.group, rule.max_adds, rule.renamed_from, rule.triggers) == ("rank", 200, "top", True)
    assert str(rule.source).endswith("m.yaml:4:3")


def test_which_files_are_manifests(tmp_path: Path) -> None:
    directory = write(
        tmp_path,
        b_yaml=listing(f"[{A}]"),
        a_yml=LOCATION + "contact_sets: {}\n",
        sub__deep__c_yaml=LOCATION + "contact_sets: {}\n",
        notes_txt="hello",
    )
    write(tmp_path / ".hidden", d_yaml="nonsense")
    (tmp_path / ".pre-commit-config.yaml").write_text("nonsense")
    paths = [Path(manifest.path).relative_to(directory).as_posix() for manifest in load(directory).manifests]
    assert paths == ["a.yml", "b.yaml", "sub/deep/c.yaml"]


def test_paths_are_shown_as_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "crm", m_yaml=listing(f"[{A}]"))
    monkeypatch.chdir(tmp_path)
    assert load("crm").manifests[0].path == "crm/m.yaml"
    assert load("./crm/").manifests[0].path == "crm/m.yaml"
    monkeypatch.chdir(tmp_path / "crm")
    assert load(".").manifests[0].path == "m.yaml"


def test_a_directory_that_is_none_or_holds_none(tmp_path: Path) -> None:
    assert "no such directory" in problems(tmp_path / "missing")[0]
    (tmp_path / "file").write_text("")
    assert "not a directory" in problems(tmp_path / "file")[0]
    (tmp_path / "empty").mkdir()
    assert "no manifest in this directory" in problems(tmp_path / "empty")[0]


def test_contact_files_are_relative_to_their_manifest(tmp_path: Path) -> None:
    write(tmp_path, acme__m_yaml=listing("{file: ../shared/c.txt}"), shared__c_txt=A)
    contacts = load(tmp_path).manifests[0].sets[0].contacts
    assert isinstance(contacts, ListedContacts)
    assert contacts.ids == (A,)
    assert contacts.path == (tmp_path / "shared/c.txt").as_posix()


def test_a_link_is_followed_inside_and_refused_outside(tmp_path: Path) -> None:
    directory = write(tmp_path / "crm", real_txt=A, m_yaml=listing("{file: link.txt}"))
    (directory / "link.txt").symlink_to("real.txt")
    assert load(directory).manifests
    (tmp_path / "secret.txt").write_text(B)
    (directory / "link.txt").unlink()
    (directory / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert problems(directory) == ["m.yaml:3:24: contact file 'link.txt': a link that leaves the manifests directory"]
    (directory / "up").symlink_to(tmp_path)
    write(directory, m_yaml=listing("{file: up/secret.txt}"))
    assert "a link that leaves the manifests directory" in problems(directory)[0]
    (directory / "m.yaml").unlink()
    (directory / "m.yaml").symlink_to(tmp_path / "secret.txt")
    outside = "a link that leaves the manifests directory"
    assert problems(directory) == [f"m.yaml: {outside}", f"up: {outside}"]


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "folder.yaml").mkdir()
    for name, told in {"pipe.txt": "not a regular file", "folder.yaml": "not a regular file", "loop.txt": ""}.items():
        write(tmp_path, m_yaml=listing(f"{{file: {name}}}"))
        assert told in problems(tmp_path)[0]


def test_a_file_name_that_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m.yaml").write_text(listing(f"[{A}]"))
    assert "\\x1b[31m.yaml: a file name with characters that cannot be shown" in problems(tmp_path)[0]


@pytest.mark.parametrize(
    "path",
    ["../x.csv", "/x.csv", "a/../../x.csv", "..", "~/x.csv", "C:/x.csv", "a\\..\\x.csv", "a\0.csv", " ", "a\n.csv"],
)
def test_paths_that_mean_no_file_inside(path: str) -> None:
    with pytest.raises(CannotRead):
        name_inside("m.yaml", path)


def test_traversal_paths_open_nothing_outside(corpora: Path, tmp_path: Path) -> None:
    """Whatever the path, what is opened lies inside: 22,582 of them, from a manifest at the top and from one below."""
    tried = 0
    for written in json.loads((corpora / "traversal-paths.json").read_text()):
        for manifest in ("m.yaml", "a/b/m.yaml"):
            tried += 1
            try:
                name = name_inside(manifest, written.replace("{FILE}", "etc/passwd"))
            except CannotRead:
                continue
            assert (tmp_path / name).resolve().is_relative_to(tmp_path.resolve())
    assert tried == 2 * 22_582


def test_strict_makes_warnings_errors(tmp_path: Path) -> None:
    directory = write(tmp_path, m_yaml=listing("[short]"))
    assert [problem.severity for problem in load(directory).problems] == [Severity.WARNING]
    assert "'short' cannot be a HighLevel contact id" in problems(directory, strict=True)[0]


def test_infos_stay_infos_when_strict(tmp_path: Path) -> None:
    directory = write(tmp_path, m_yaml=listing(f"[{A}, {A}]"))
    assert [problem.severity for problem in load(directory, strict=True).problems] == [Severity.INFO]


def test_a_snapshot_reads_like_a_directory(tmp_path: Path) -> None:
    files = {"m.yaml": listing("{file: c/c.csv}"), "c/c.csv": f"id\n{A}\n", ".x/y.yaml": "nonsense"}
    write(tmp_path, m_yaml=files["m.yaml"], c__c_csv=files["c/c.csv"])
    held = load(FileTree({name: text.encode() for name, text in files.items()}, tmp_path.as_posix()))
    assert held == load(tmp_path)


def test_the_collector_is_left_as_it_was(tmp_path: Path) -> None:
    directory = write(tmp_path, m_yaml=listing(f"[{A}]"))
    assert gc.isenabled()
    load(directory)
    assert gc.isenabled()
    gc.disable()
    try:
        load(directory)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.slow
def test_very_many_problems_of_a_kind_are_counted(tmp_path: Path) -> None:
    sets = "".join(f"  s{number}: {{contacts: {{sets: [z{number}]}}, tags: [x]}}\n" for number in range(500))
    found = problems(write(tmp_path, m_yaml=f"{LOCATION}contact_sets:\n{sets}"))
    assert len(found) == 101
    assert found[-1] == "m.yaml:502:28: and 400 more problems of this kind up to here"


def test_loaded_is_a_value(tmp_path: Path) -> None:
    assert isinstance(load(write(tmp_path, m_yaml=listing(f"[{A}]"))), Loaded)


def test_a_wrong_tag_hides_nothing_else_of_its_set(tmp_path: Path) -> None:
    text = f"{LOCATION}contact_sets:\n  a:\n    contacts: {{sets: [nosuch]}}\n    tags: ['', x, ' ']\n    absent: [x]\n"
    found = problems(write(tmp_path, m_yaml=text))
    assert [each.split(":")[1] for each in found] == ["4", "5", "5", "6"]
    assert any("nosuch" in each for each in found)
    assert any("both under tags" in each for each in found)
