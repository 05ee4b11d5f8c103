"""Links below the manifests directory: read inside it, refused with their place otherwise, now and at a revision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.errors import InvalidInput, Severity
from reconciler.loading import Directory, Files, load
from reconciler.operations.git import read_files_at
from tests.ci.hostile import git
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
Links = dict[str, str]

OUTSIDE = "a link that leaves the manifests directory"
CIRCLE = "a link that leads in a circle"
NOTHING = "a link that leads to nothing"


def declares(name: str) -> str:
    """A manifest with one set of that name."""
    lines = [f"location: {LOCATION}", "contact_sets:", f"  {name}:"]
    return "\n".join([*lines, "    contacts: {file: team.csv}", f"    tags: [{name}]\n"])


@pytest.fixture
def tree(project: Path) -> Callable[[Links], Path]:
    """Manifests below manifests/a, manifests/b/deep and manifests/.shared; outside, a directory and a file; links."""

    def make(links: Links) -> Path:
        manifests = project / "manifests"
        for folder, name in (("a", "one"), ("b/deep", "two"), (".shared/team", "three"), ("../outside", "four")):
            (manifests / folder).mkdir(parents=True)
            (manifests / folder / f"{name}.yaml").write_text(declares(name))
            (manifests / folder / "team.csv").write_text(f"contact_id\n{contact_id(1)}\n")
        (project / "README.md").write_text("read me\n")
        for link, text in links.items():
            (manifests / link).symlink_to(text)
        git("init", "-q", "-b", "main", ".")
        git("add", "-A")
        git("commit", "-qm", "links")
        return manifests

    return make


def told(files: Files) -> tuple[list[str], list[str]]:
    """The sets that are declared, each with the file it is in, or what is wrong; without the label."""
    try:
        manifests = load(files).manifests
    except InvalidInput as error:
        errors = [problem for problem in error.problems if problem.severity is Severity.ERROR]
        return [], [str(problem).removeprefix(f"{files.label}/") for problem in errors]
    return [f"{each.path.removeprefix(f'{files.label}/')}: {each.sets[0].name}" for each in manifests], []


OWN = ["a/one.yaml: one", "b/deep/two.yaml: two"]


@pytest.mark.one_in(13)
@pytest.mark.parametrize(
    ("links", "declared", "wrong"),
    [
        ({}, OWN, []),
        ({"team": ".shared/team"}, [*OWN, "team/three.yaml: three"], []),
        ({"teams": ".shared"}, [*OWN, "teams/team/three.yaml: three"], []),
        ({"b/team": "../.shared/team"}, ["a/one.yaml: one", "b/deep/two.yaml: two", "b/team/three.yaml: three"], []),
        ({"team": "x", "x": ".shared/team"}, [*OWN, "team/three.yaml: three"], []),
        ({"team": "../manifests/.shared/team"}, [*OWN, "team/three.yaml: three"], []),
        ({"three.yaml": ".shared/team/three.yaml", "team.csv": "a/team.csv"}, [*OWN, "three.yaml: three"], []),
        ({"c": "b", "d": "b/deep", "e": "a"}, OWN, []),
        ({"one.yaml": "a/one.yaml"}, OWN, []),
        ({"README.md": "../README.md", "x.csv": "../x.csv"}, OWN, []),
        ({"team": "../outside"}, [], [f"team: {OUTSIDE}"]),
        ({"team.csv": "../outside"}, [], [f"team.csv: {OUTSIDE}"]),
        (
            {"b/team": "../../outside", "four.yaml": "../outside/four.yaml"},
            [],
            [f"b/team: {OUTSIDE}", f"four.yaml: {OUTSIDE}"],
        ),
        ({"team": "/nowhere/at/all"}, [], [f"team: {OUTSIDE}"]),
        ({"team": "../nowhere"}, [], [f"team: {OUTSIDE}"]),
        ({"team": "nowhere"}, [], [f"team: {NOTHING}"]),
        ({"loop": "."}, [], [f"loop: {CIRCLE}"]),
        ({"b/deep/loop": "../../b"}, [], [f"b/deep/loop: {CIRCLE}"]),
        ({"b/loop": "../../manifests"}, [], [f"b/loop: {CIRCLE}"]),
        ({"loop": "loop"}, [], [f"loop: {CIRCLE}"]),
        ({"x": "y", "y": "x"}, [], [f"x: {CIRCLE}", f"y: {CIRCLE}"]),
        ({"teams": ".shared", ".shared/up": ".."}, [], [f"teams/up: {CIRCLE}"]),
    ],
    ids=str,
)
def test_a_link_is_read_inside_and_refused_with_its_place_elsewhere(
    links: Links, declared: list[str], wrong: list[str], tree: Callable[[Links], Path]
) -> None:
    manifests = tree(links)
    assert told(Directory(manifests)) == (sorted(declared), wrong)
    assert told(read_files_at("HEAD", manifests)) == (sorted(declared), wrong)


@pytest.mark.slow
def test_each_file_is_read_once_where_directories_link_to_each_other(tree: Callable[[Links], Path]) -> None:
    """A hundred links to hidden directories that link to one another have more names than anybody can list."""
    links = {f".shared/x{number}": f"x{number + 1}" for number in range(30)}
    folders = {f".shared/team/l{number}": "../team2" for number in range(100)}
    manifests = tree({"teams": ".shared", **folders} | links | {".shared/team2": "team"})
    assert f"teams/team/l0: {CIRCLE}" in told(Directory(manifests))[1]
    assert told(Directory(manifests)) == told(read_files_at("HEAD", manifests))


@pytest.mark.slow
def test_what_a_linked_directory_declared_is_not_pruned(manifest: Manifest, reconciler: Command, project: Path) -> None:
    manifest()
    (project / "manifests" / "team").mkdir()
    (project / "manifests" / "team" / "one.yaml").write_text(declares("one"))
    (project / "manifests" / "team" / "team.csv").write_text(f"contact_id\n{contact_id(1)}\n{contact_id(2)}\n")
    assert reconciler("apply", "--auto-approve").code == 0
    (project / "manifests" / "team").rename(project / "manifests" / ".team")
    (project / "manifests" / "team").symlink_to(".team")
    assert reconciler("plan", "--detailed-exitcode").code == 0
    (project / "manifests" / ".team").rename(project / "elsewhere")
    (project / "manifests" / "team").unlink()
    (project / "manifests" / "team").symlink_to("../elsewhere")
    for command in ("validate", "plan", "drift", "diff"):
        ended = reconciler(command, *(["--base", "HEAD"] if command == "diff" else []))
        assert (ended.code, command) in ((1, command), (64, "diff"))
    assert f"manifests/team: {OUTSIDE}" in reconciler("plan").err


def test_a_submodule_is_not_taken_for_nothing(tree: Callable[[Links], Path], reconciler: Command) -> None:
    manifests = tree({})
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},manifests/vendor")
    git("commit", "-qm", "submodule")
    assert told(read_files_at("HEAD", manifests))[1] == [
        "vendor: a submodule: its files at this revision are not in this repository"
    ]


@pytest.mark.slow
def test_a_submodule_that_is_not_checked_out_is_not_taken_for_nothing(
    manifest: Manifest, reconciler: Command, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A clone without --recurse-submodules has an empty directory: what it declares was pruned."""
    manifest(customers=(range(2), ["customer"], []))
    vendor = tmp_path_factory.mktemp("vendor")
    (vendor / "one.yaml").write_text(declares("one"))
    (vendor / "team.csv").write_text(f"contact_id\n{contact_id(1)}\n{contact_id(2)}\n")
    for line in ("init -q -b main", "add -A", "commit -qm vendor"):
        git("-C", str(vendor), *line.split())
    git("init", "-q", "-b", "main", ".")
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", vendor.as_uri(), "manifests/ven dor")
    assert reconciler("apply", "--auto-approve").code == 0
    git("submodule", "deinit", "-q", "--force", "--all")
    for command in ("validate", "plan", "drift"):
        ended = reconciler(command)
        assert ended.code == 1
        told = "manifests/ven dor: a submodule that is not checked out: git submodule update --init"
        assert told in ended.out + ended.err


def test_an_empty_directory_is_nothing(manifest: Manifest, reconciler: Command, project: Path) -> None:
    manifest(customers=(range(2), ["customer"], []))
    git("init", "-q", "-b", "main", ".")
    (project / ".gitmodules").write_text('[submodule "x"]\n\tpath = manifests/other\n\turl = file:///nowhere\n')
    (project / "manifests" / "later").mkdir()
    assert reconciler("plan").code == 0


@pytest.mark.slow
def test_a_link_at_the_base_is_compared_like_one_in_the_checkout(
    tree: Callable[[Links], Path], reconciler: Command, project: Path
) -> None:
    manifests = tree({"team": ".shared/team"})
    assert "Says the same as at HEAD" in reconciler("diff", "--detailed-exitcode").out
    (manifests / "team").unlink()
    assert "1 lost" in reconciler("diff").out
    (manifests / "team").symlink_to("../outside")
    ended = reconciler("diff")
    assert (ended.code, f"manifests/team: {OUTSIDE}" in ended.err) == (1, True)
