"""What manifests that nobody reviewed make each command touch: the table of the documentation, cell by cell."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest

from tests.ci.hostile import git, plant_repository
from tests.cli.conftest import LOCATION, Command, Ended

DOCS = Path(__file__).parents[2]
WITHOUT_PSYCOPG = find_spec("psycopg") is None
REASON = "the extra tagreconciler[postgres] is not installed"
PLACE = "manifests/reconciler.yaml:1:"

Manifest = Callable[..., None]


def asks_postgres(test: Callable[..., None]) -> Callable[..., None]:
    """A test in which a host is really asked for state; .ci/run has what it takes."""
    return pytest.mark.servers(pytest.mark.skipif(WITHOUT_PSYCOPG, reason=REASON)(test))


def _table(page: str) -> list[list[str]]:
    """The rows of the table, without its head; cells without marks."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| command | `state` on another host"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


ROWS = _table("SECURITY.md")


class Host:
    """A host on loopback that lets nobody in, whatever they ask for, and counts them."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.address = f"127.0.0.1:{server.getsockname()[1]}"
        self.asked = 0

    def listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.asked += 1
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")


@contextmanager
def _host() -> Iterator[Host]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = Host(server)
        thread = Thread(target=host.listen)
        thread.start()
        yield host
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def host() -> Iterator[Host]:
    with _host() as host:
        yield host


@pytest.fixture
def job(project: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job of a pull request on a repository with a reviewed first commit; where a command would leave its loot."""
    for name in ("RECONCILER_API_BASE_URL", "RECONCILER_STATE", "GITHUB_EVENT_PATH"):
        monkeypatch.delenv(name, raising=False)
    manifest(customers=(range(2), ["customer"], []))
    git("init", "-q", "-b", "main", ".")
    git("add", "-A")
    git("commit", "-qm", "base")
    manifest(customers=(range(3), ["customer"], []))
    monkeypatch.setenv("GITHUB_EVENT_NAME", "pull_request")
    return project.parent / f"{project.name}-loot"


def settings(text: str) -> None:
    Path("manifests/reconciler.yaml").write_text(text + "\n", encoding="utf-8")


def files_of(project: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".git" not in path.parts}


def test_both_pages_have_the_same_table() -> None:
    assert _table("docs/ci/index.md") == ROWS
    assert {row[0].split()[0] for row in ROWS} >= {"validate", "diff", "plan", "drift"}


def check(cell: str, ended: Ended, touched: bool) -> None:
    assert touched == (cell in ("asked", "run")), ended.err
    assert ("stands only here" in ended.err) == (cell == "refused"), ended.err
    if cell == "refused":
        assert ended.code == 1
        assert PLACE in ended.err
    elif not touched:
        assert ended.code in (0, 2), ended.err


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@asks_postgres
def test_state(row: list[str], job: Path, host: Host, reconciler: Command) -> None:
    settings(f"state: postgresql://reader:secret@{host.address}/crm?connect_timeout=5")
    ended = reconciler(*row[0].split())
    check(row[1], ended, host.asked > 0)
    assert "secret" not in ended.out + ended.err


@pytest.mark.one_in(3)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_base_url(row: list[str], job: Path, host: Host, reconciler: Command) -> None:
    settings(f"api: {{base_url: 'http://{host.address}', timeout_s: 5}}")
    check(row[2], reconciler(*row[0].split()), host.asked > 0)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_token_command(row: list[str], job: Path, reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    settings(f"locations: {{{LOCATION}: {{token_command: touch {job}}}}}")
    check(row[3], reconciler(*row[0].split()), job.exists())


@pytest.mark.one_in(5)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_git_settings(
    row: list[str], job: Path, host: Host, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_API_BASE_URL", f"http://{host.address}")
    plant_repository(Path("manifests"), job)
    reconciler(*row[0].split())
    assert (row[4], job.exists()) == ("not run", False)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_reads_and_writes(
    row: list[str], job: Path, reconciler: Command, project: Path, sandbox: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_API_BASE_URL", sandbox.url)  # type: ignore[attr-defined]
    before = files_of(project)
    assert reconciler(*row[0].split()).code == 0
    new = {path.relative_to(project).parts[0] for path, text in files_of(project).items() if before.get(path) != text}
    assert new == ({".reconciler"} if row[6] == "the state" else set())
    if "Git" in row[5]:
        (project / ".git").rename(project / "hidden")
        assert reconciler(*row[0].split()).code == 64


def allowed(ended: Ended) -> bool:
    assert "Traceback" not in ended.err
    return "stands only here" not in ended.err


@pytest.mark.parametrize("how", ["flag", "variable", "base"])
@pytest.mark.parametrize("command", ["plan", "drift"])
@asks_postgres
def test_a_state_that_a_person_or_the_base_names_is_asked(
    command: str, how: str, job: Path, host: Host, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://reader@{host.address}/crm"
    settings(f"state: {url}")
    assert not allowed(reconciler(command))
    assert host.asked == 0
    if how == "variable":
        monkeypatch.setenv("RECONCILER_STATE", url)
    if how == "base":
        git("add", "manifests/reconciler.yaml")
        git("commit", "-qm", "state")
        event(monkeypatch, git("rev-parse", "HEAD").decode().strip())
    assert allowed(reconciler(command, *(["--state", url] if how == "flag" else [])))
    assert host.asked == 1


def event(monkeypatch: pytest.MonkeyPatch, commit: str) -> None:
    """GitHub says which commit of the target the pull request was made for."""
    Path("event.json").write_text(json.dumps({"pull_request": {"base": {"sha": commit}}}), encoding="utf-8")
    monkeypatch.setenv("GITHUB_EVENT_PATH", "event.json")


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("key", "there", "here"),
    [
        ("state", "state: postgresql://reader@127.0.0.1:9/crm", "state: postgresql://reader@127.0.0.1:9/other"),
        ("state", "timezone: UTC", "state: 's3://bucket/crm?endpoint=http://127.0.0.1:9'"),
        ("state", "state: [", "state: az://container/crm"),
        ("api.base_url", "api: {base_url: 'http://127.0.0.1:9'}", "api: {base_url: 'http://127.0.0.1:10'}"),
        (
            "token_command",
            f"locations: {{{LOCATION}: {{token_command: one}}}}",
            f"locations: {{{LOCATION}: {{token_command: two}}}}",
        ),
    ],
)
def test_another_value_at_the_base_does_not_do(
    key: str, there: str, here: str, job: Path, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    settings(there)
    git("add", "-A")
    git("commit", "-qm", "settings")
    event(monkeypatch, git("rev-parse", "HEAD").decode().strip())
    settings(here)
    ended = reconciler("plan", "--refresh", "get")
    assert ended.code == 1
    assert f"`{key}: " in ended.err
    assert "stands only here" in ended.err


def test_what_the_base_says_of_api_and_token_is_done(
    job: Path, host: Host, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    locations = f"locations: {{{LOCATION}: {{token_command: echo token}}}}"
    settings(f"api: {{base_url: 'http://{host.address}', timeout_s: 5}}\n{locations}")
    git("add", "-A")
    git("commit", "-qm", "settings")
    event(monkeypatch, git("rev-parse", "HEAD").decode().strip())
    assert allowed(reconciler("plan", "--refresh", "get"))
    assert host.asked > 0


def test_a_base_that_cannot_be_read_does_not_do_and_why_is_told(
    job: Path, host: Host, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(f"state: postgresql://reader@{host.address}/crm")
    told = reconciler("plan").err
    assert "give it by --state or the variable RECONCILER_STATE" in told
    assert "this CI does not tell which it is" in told
    event(monkeypatch, "2" * 40)
    assert "names no commit in the Git repository" in reconciler("plan").err
    assert host.asked == 0


@pytest.mark.slow
def test_branches_of_the_heads_repository_say_nothing(
    job: Path, host: Host, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a workflow checks out the fork, `origin` is the fork, and so is its main."""
    commit = git("rev-parse", "HEAD").decode().strip()
    settings(f"state: postgresql://reader@{host.address}/crm")
    git("add", "-A")
    git("commit", "-qm", "the fork's main")
    for name in ("refs/remotes/origin/main", "refs/heads/origin/main", "refs/tags/refs/remotes/origin/main"):
        git("update-ref", name, "HEAD")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    event(monkeypatch, commit)
    assert not allowed(reconciler("plan"))
    assert host.asked == 0


@pytest.mark.slow
@pytest.mark.parametrize("where", ["manifests", "vendor"], ids=["a submodule", "a link into a submodule"])
def test_branches_of_a_submodule_say_nothing(
    where: str,
    job: Path,
    host: Host,
    reconciler: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A pull request may put a repository of its author's in place of the manifests: that has a main, too."""
    evil = tmp_path_factory.mktemp("evil")
    shutil.move("manifests", evil / "manifests")
    (evil / "manifests" / "reconciler.yaml").write_text(f"state: postgresql://reader@{host.address}/crm\n")
    top = evil / "manifests" if where == "manifests" else evil
    git("-C", str(top), "init", "-q", "-b", "main")
    git("-C", str(top), "add", "-A")
    git("-C", str(top), "commit", "-qm", "evil")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    git("rm", "-rqf", "--ignore-unmatch", "manifests")
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", top.as_uri(), where)
    if where == "vendor":
        Path("manifests").symlink_to("vendor/manifests")
    git("add", "-A")
    git("commit", "-qm", "the pull request")
    monkeypatch.delenv("GITHUB_EVENT_NAME")
    monkeypatch.setenv("SYSTEM_PULLREQUEST_PULLREQUESTID", "7")
    monkeypatch.setenv("SYSTEM_PULLREQUEST_TARGETBRANCH", "refs/heads/main")
    ended = reconciler("plan")
    assert (ended.code, host.asked) == (1, 0), ended.err
    assert not allowed(ended)
    assert "lie in a submodule" in ended.err


CI = [
    {"GITHUB_EVENT_NAME": "pull_request_target", "GITHUB_BASE_REF": "main"},
    {"CI_MERGE_REQUEST_IID": "7", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"},
    {"CI_MERGE_REQUEST_IID": "7", "CI_MERGE_REQUEST_DIFF_BASE_SHA": "COMMIT"},
    {"CI_EXTERNAL_PULL_REQUEST_IID": "7", "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME": "main"},
    {"SYSTEM_PULLREQUEST_PULLREQUESTID": "7", "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main"},
    {"BITBUCKET_PR_ID": "7", "BITBUCKET_PR_DESTINATION_BRANCH": "main"},
    {"CHANGE_ID": "7", "CHANGE_TARGET": "main"},
    {"BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "main"},
    {"TRAVIS_PULL_REQUEST": "7", "TRAVIS_BRANCH": "main"},
    {"DRONE_PULL_REQUEST": "7", "DRONE_TARGET_BRANCH": "main"},
    {"CI_COMMIT_PULL_REQUEST": "7", "CI_COMMIT_TARGET_BRANCH": "main"},
    {"APPVEYOR_PULL_REQUEST_NUMBER": "7", "APPVEYOR_REPO_BRANCH": "main"},
]


@pytest.mark.parametrize("variables", CI, ids=lambda variables: next(iter(variables)))
@asks_postgres
def test_each_ci_tells_of_a_pull_request_and_its_target(
    variables: dict[str, str], job: Path, host: Host, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_EVENT_NAME")
    settings(f"state: postgresql://reader@{host.address}/crm")
    for name, value in variables.items():
        commit = git("rev-parse", "HEAD").decode().strip() if value == "COMMIT" else value
        monkeypatch.setenv(name, commit)
    assert not allowed(reconciler("plan"))
    assert host.asked == 0
    git("add", "-A")
    git("commit", "-qm", "state")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    if "COMMIT" in variables.values():
        monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", git("rev-parse", "HEAD").decode().strip())
    assert allowed(reconciler("plan"))
    assert host.asked == 1


@pytest.mark.parametrize(
    "variables",
    [
        {"GITHUB_EVENT_NAME": "push"},
        {"GITHUB_EVENT_NAME": "schedule"},
        {"BUILDKITE_PULL_REQUEST": "false"},
        {"TRAVIS_PULL_REQUEST": "false"},
        {"CI_MERGE_REQUEST_IID": ""},
        {"CIRCLE_PULL_REQUEST": ""},
        {},
    ],
    ids=str,
)
@asks_postgres
def test_elsewhere_the_files_say_where_state_is(
    variables: dict[str, str], job: Path, host: Host, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_EVENT_NAME")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings(f"state: postgresql://reader@{host.address}/crm")
    assert allowed(reconciler("plan"))
    assert host.asked == 1


def test_a_command_that_would_not_run_is_not_refused(
    job: Path, reconciler: Command, sandbox: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The location's variable holds its token."""
    monkeypatch.setenv("RECONCILER_API_BASE_URL", sandbox.url)  # type: ignore[attr-defined]
    settings(f"locations: {{{LOCATION}: {{token_command: touch {job}}}}}")
    assert reconciler("plan", "--refresh", "get").code == 0
    assert not job.exists()
