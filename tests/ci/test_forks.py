"""What a pull request's job needs, and what a hostile one gets: nothing runs, nothing is asked, nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant
from reconciler.operations.identity import find_commit
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import READ_CONTACTS, Access, App
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.world import World
from tests.ci.hostile import COMMIT, git, plant_repository
from tests.cli.conftest import LOCATION, Command

READER = "pit-may-only-read"


class Watched(App):
    """Keeps which requests came; has a token that may read and nothing else."""

    def __init__(self, world: World) -> None:
        super().__init__(world, accesses=(Access(), Access(READER, frozenset({READ_CONTACTS}), "reader")))
        self.asked: list[str] = []

    def perform(self, request: Request, now: Instant) -> Response:
        self.asked.append(request.method + " " + request.path)
        return super().perform(request, now)


@pytest.fixture
def app(world: World) -> Watched:
    return Watched(world)


@pytest.fixture
def sandbox(app: Watched) -> Iterator[Running]:
    with in_background(app) as running:
        yield running


@pytest.fixture
def hostile(project: Path, manifest: Callable[..., None], sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pull request whose settings want a command run and the token sent to a host of its own; its loot."""
    loot = project / "loot"
    monkeypatch.delenv("RECONCILER_API_BASE_URL")
    manifest(customers=(range(2), ["customer"], []))
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "base")
    manifest(customers=(range(3), ["customer"], []))
    token = f"{{token_env: NO_SUCH_TOKEN, token_command: touch {loot}}}"
    settings = f"api: {{base_url: '{sandbox.url}'}}\nlocations: {{{LOCATION}: {token}}}\n"
    (project / "manifests" / "reconciler.yaml").write_text(settings)
    return loot


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        ["validate", "--format", "github"],
        ["validate", "--show-settings"],
        ["diff", "--base", "main", "--format", "markdown"],
        ["plan", "--detailed-exitcode"],
        ["plan", "--out", "plan.json"],
    ],
    ids=" ".join,
)
def test_a_pull_request_runs_nothing_asks_nobody_and_makes_no_state(
    line: list[str], hostile: Path, app: Watched, reconciler: Command, project: Path
) -> None:
    assert reconciler(*line).code in (0, 2)
    assert not hostile.exists()
    assert app.asked == []
    assert not (project / ".reconciler").exists()


def _bare_repository(project: Path, loot: Path) -> None:
    plant_repository(project / "manifests", loot)


def _bare_repository_in_a_subdirectory(project: Path, loot: Path) -> None:
    plant_repository(project / "manifests" / "team", loot)
    (project / "manifests" / "acme.yaml").rename(project / "manifests" / "team" / "acme.yaml")


def _bare_repository_at_the_top(project: Path, loot: Path) -> None:
    plant_repository(project, loot)


def _git_file_to_files_below_it(project: Path, loot: Path) -> None:
    plant_repository(project / "manifests" / "planted", loot)
    (project / "manifests" / ".git").write_text("gitdir: planted\n")


def _git_file_to_files_beside_it(project: Path, loot: Path) -> None:
    plant_repository(project / "planted", loot)
    (project / "manifests" / ".git").write_text("gitdir: ../planted\n")


def _attributes(project: Path, loot: Path) -> None:
    plant_repository(project / "manifests", loot)
    (project / "manifests" / ".gitattributes").write_text("* filter=yaml diff=yaml export-subst\n")
    git("add", "-A")
    git("commit", "-qm", "attributes")


def _submodule(project: Path, loot: Path) -> None:
    url = f"ext::touch {loot}"
    (project / ".gitmodules").write_text(f'[submodule "team"]\n\tpath = manifests/team\n\turl = "{url}"\n')
    git("update-index", "--add", "--cacheinfo", f"160000,{COMMIT},manifests/team")
    (project / "manifests" / "team").mkdir()


PLANTED = (
    _bare_repository,
    _bare_repository_in_a_subdirectory,
    _bare_repository_at_the_top,
    _git_file_to_files_below_it,
    _git_file_to_files_beside_it,
    _attributes,
    _submodule,
)


@pytest.mark.one_in(12)
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
@pytest.mark.parametrize(
    "line",
    [
        ["validate"],
        ["diff", "--base", "main"],
        ["diff", "manifests/team", "--base", "main"],
        ["plan"],
        ["drift"],
    ],
    ids=" ".join,
)
def test_files_that_look_like_a_repository_run_nothing(
    plant: Callable[[Path, Path], None], line: list[str], hostile: Path, reconciler: Command, project: Path
) -> None:
    (project / "manifests" / "reconciler.yaml").unlink()
    plant(project, hostile)
    ended = reconciler(*line)
    assert not hostile.exists()
    # a submodule that is not checked out is an error of its own
    assert ended.code in ((1, 64) if plant is _submodule else (0, 64)), ended.err


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED[:3], ids=lambda plant: plant.__name__.strip("_"))
def test_what_is_compared_with_is_the_checkouts_own_commit(
    plant: Callable[[Path, Path], None], hostile: Path, reconciler: Command, project: Path
) -> None:
    (project / "manifests" / "reconciler.yaml").unlink()
    plant(project, hostile)
    ended = reconciler("diff", "--base", "main")
    assert (ended.code, ended.err) == (0, "")
    assert "1 tag gained, 0 lost" in ended.out
    assert find_commit(project / "manifests") == git("-C", ".", "rev-parse", "main").decode().strip()


def test_files_that_the_repositorys_own_settings_include_run_nothing(
    hostile: Path, reconciler: Command, project: Path
) -> None:
    """A team may keep settings of Git in its repository, and include them: a pull request writes these."""
    (project / "manifests" / "reconciler.yaml").unlink()
    git("add", "-A")
    git("commit", "-qm", "three")
    blob = git("rev-parse", "HEAD~1:manifests/acme.yaml").decode().strip()
    plant_repository(project / "planted", hostile)
    shared = (project / "planted" / "config").read_text().replace("\tworktree = .\n", "")
    (project / ".gitconfig").write_text(shared)
    (project / ".gitattributes").write_text("* filter=yaml diff=yaml export-subst\n")
    with (project / ".git" / "config").open("a") as settings:
        settings.write("[include]\n\tpath = ../.gitconfig\n")
    assert "Says the same" in reconciler("diff").out
    (project / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert reconciler("diff", "--base", "HEAD~1").code == 64
    assert reconciler("diff", "--base", "nowhere").code == 64
    assert not hostile.exists()


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_a_link_of_a_pull_request_is_not_written_through(
    option: str, hostile: Path, reconciler: Command, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A shell reads its profile, and runs what a tag in it says: `$(touch loot)` between quotes is a command."""
    profile = tmp_path_factory.mktemp("home") / ".profile"
    profile.write_text("# mine\n")
    (project / "plan.json").symlink_to(profile)
    ended = reconciler("plan", option, "plan.json")
    assert ended.code in (1, 64)
    assert f"plan.json is a link to {profile}" in ended.err
    assert profile.read_text() == "# mine\n"


@pytest.mark.slow
def test_the_workflows_base_url_stands_above_the_manifests(
    hostile: Path,
    app: Watched,
    sandbox: Running,
    reconciler: Command,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The actions give it: the token goes nowhere else, though the pull request asks for it."""
    (project / "manifests" / "reconciler.yaml").write_text(f"api: {{base_url: '{sandbox.url}'}}\n")
    monkeypatch.setenv("HIGHLEVEL_TOKEN", READER)
    assert reconciler("doctor", "--api-base-url", "http://127.0.0.1:9").code == 1
    assert app.asked == []


@pytest.mark.slow
def test_a_token_that_may_only_read_and_a_state_that_may_only_be_read_suffice(
    project: Path,
    manifest: Callable[..., None],
    reconciler: Command,
    app: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    state = project / ".reconciler" / "state.db"
    before = {path.name: path.read_bytes() for path in state.parent.iterdir()}
    state.chmod(0o400)
    state.parent.chmod(0o500)
    app.asked.clear()
    monkeypatch.setenv("HIGHLEVEL_TOKEN", READER)
    manifest(customers=(range(4), ["customer"], []))
    ended = reconciler("plan", "--refresh", "get", "--detailed-exitcode", "--format", "json")
    assert ended.code == 2
    assert json.loads(ended.out)["locations"][0]["summary"]["adds"] == 1
    assert reconciler("drift", "--refresh", "search").code == 0
    assert {line.partition(" ")[0] for line in app.asked} == {"GET", "POST"}
    assert {line for line in app.asked if line.startswith("POST")} == {"POST /contacts/search"}
    state.parent.chmod(0o700)
    assert {path.name: path.read_bytes() for path in state.parent.iterdir()} == before
    assert reconciler("apply", "--auto-approve").code == 7
