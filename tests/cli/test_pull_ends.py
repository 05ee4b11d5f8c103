"""How a pull ends where something comes between: other files, other runs, signals, a disk that takes no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.core.model.errors import ExitCode
from reconciler.core.model.journal import RunStatus
from reconciler.core.model.names import Instant, SetName
from reconciler.operations.apply import ApplyRequest, apply_plan
from reconciler.operations.plan import make_plan
from reconciler.operations.plan_options import PlanRequest
from reconciler.operations.pull import PullRequest, PullResult, pull_people
from reconciler.operations.workspace import Workspace, open_session
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.messages import Request, Response, error_response
from reconciler.sandbox.people import Person
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_reader, open_store
from reconciler.system import wall_clock
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.fakes import a_holder

STATE = "sqlite:///.reconciler/state.db"
PEOPLE = 3_000
VIP = SetName("vip")


@pytest.fixture
def world() -> World:
    contacts = [
        Contact(contact_id(number), LOCATION, person=Person(email=f"person{number}@example.com"))
        for number in range(PEOPLE)
    ]
    return World(LOCATION, contacts, assumptions=Assumptions(search_lag_ms=0))


@dataclass
class Between:
    """What happens before the request of a number, from 0, and what answers in place of the location."""

    before: Callable[[int], None] = lambda nth: None
    answers: Callable[[Request], Response | None] = lambda request: None
    seen: list[Request] = field(default_factory=list)


@pytest.fixture
def between() -> Between:
    return Between()


@pytest.fixture
def sandbox(world: World, between: Between) -> Iterator[Running]:
    class Hooked(App):
        def handle(self, request: Request, now: Instant) -> Response:
            between.before(len(between.seen))
            between.seen.append(request)
            return between.answers(request) or super().handle(request, now)

    with in_background(Hooked(world)) as running:
        yield running


@pytest.fixture
def people(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[range], None]:
    """Writes manifests/people.csv, and a manifest that matches it."""
    monkeypatch.setenv("RECONCILER_KEY", "a key of the tests, long enough")

    def write(numbers: range) -> None:
        rows = "\n".join(["mail", *(f"person{number}@example.com" for number in numbers)])
        (project / "manifests" / "people.csv").write_text(rows + "\n")
        (project / "manifests" / "acme.yaml").write_text(
            f"location: {LOCATION}\ncontact_sets:\n  vip:\n"
            "    contacts: {file: people.csv, match: {email: mail}}\n    tags: [vip]\n"
        )

    return write


People = Callable[[range], None]


def kept() -> tuple[str, ...] | None:
    with open_reader(STATE) as reader:
        snapshots = reader.at(LOCATION).read_snapshots()
    return snapshots[VIP].contacts if VIP in snapshots else None


def runs() -> list[RunStatus]:
    with open_reader(STATE) as reader:
        return [run.status for run in reader.at(LOCATION).read_runs()]


@pytest.mark.slow
def test_a_location_that_another_run_holds_is_not_pulled(
    reconciler: Command, people: People, between: Between, project: Path
) -> None:
    people(range(5))
    (project / ".reconciler").mkdir()
    with open_store(STATE) as store:
        store.at(LOCATION).acquire_lease(a_holder("anna"), wall_clock())
    ended = reconciler("pull")
    assert ended.code == ExitCode.LOCKED
    assert "anna@elsewhere" in ended.out + ended.err
    assert between.seen == []
    # to look takes no lease
    assert reconciler("pull", "--dry-run").code == 0


@pytest.mark.slow
def test_a_file_that_changes_meanwhile_is_refused(
    reconciler: Command, people: People, between: Between, project: Path
) -> None:
    # few of many: looked up one by one, for which the file is read again
    people(range(3))
    between.before = lambda nth: people(range(2, 9)) if nth == 0 else None
    ended = reconciler("pull")
    assert ended.code == ExitCode.ERROR
    assert "changed while people were read" in ended.err
    assert "hint: run it again" in ended.err
    assert kept() is None
    assert reconciler("pull").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("later", [range(2), range(9), range(1, 6)])
def test_a_file_that_changes_before_its_rows_are_copied_is_refused(
    reconciler: Command, people: People, between: Between, project: Path, later: range
) -> None:
    people(range(5))
    between.before = lambda nth: people(later) if nth == 0 else None
    full = ("--full",)
    ended = reconciler("pull", "--set", "vip", "--unmatched", "left.csv", *full)
    assert ended.code == ExitCode.ERROR
    assert "changed while people were read" in ended.err
    between.seen.clear()
    people(range(5))
    ended = reconciler(
        "resolve", "manifests/people.csv", "--by", "email", "--column", "email=mail", "--location", LOCATION,
        "--out", "ids.csv", *full,
    )  # fmt: skip
    assert ended.code == ExitCode.ERROR
    assert "changed while people were read" in ended.err
    assert not (project / "ids.csv").exists()


def test_a_copy_is_refused_before_anybody_is_asked(
    reconciler: Command, people: People, between: Between, project: Path
) -> None:
    people(range(5))
    (project / "left.csv").write_text("mine\n")
    ended = reconciler("pull", "--set", "vip", "--unmatched", "left.csv")
    assert ended.code == ExitCode.USAGE
    assert between.seen == []
    assert (project / "left.csv").read_text() == "mine\n"


@pytest.mark.slow
@pytest.mark.parametrize(("status", "code"), [(400, ExitCode.DONE), (422, ExitCode.DONE), (401, ExitCode.AUTH)])
def test_no_form_of_an_error_repeats_the_address(
    reconciler: Command, people: People, between: Between, status: int, code: ExitCode
) -> None:
    """A refused look-up is about its value, and all contacts are read in its place; a refused token ends the pull."""
    people(range(1))
    probed: list[Request] = []

    def answer(request: Request) -> Response | None:
        if b"filters" not in request.body:
            return None
        probed.append(request)
        message = f"nobody is called Person0@Example.com {'x' * 150} person0@example.com"
        return error_response(status, [message, message]) if len(probed) > 1 else None

    between.answers = answer
    for form in ("text", "json"):
        ended = reconciler("pull", "--format", form, "--log-level", "debug", "--log-format", "json")
        assert ended.code == code
        assert code == ExitCode.DONE or f"answered {status}" in ended.err
        assert "person0" not in (ended.out + ended.err).lower()


@pytest.mark.slow
def test_who_is_kept_stays_though_the_pull_that_began_the_index_anew_was_ended(
    reconciler: Command, people: People, world: World, between: Between, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(range(12))
    assert reconciler("pull").code == 0
    world.change_person(contact_id(2), Person(email="new2@example.com"), now=Instant(1))
    assert reconciler("pull", "--full").code == 0
    monkeypatch.setenv("RECONCILER_KEY", "another key of the tests, long enough")
    manifest = project / "manifests" / "acme.yaml"
    mine = manifest.read_text()
    manifest.write_text(f"{mine}  some: {{contacts: {{filter: {{email: {{eq: a@example.com}}}}}}, tags: [some]}}\n")
    # all people are read by then
    between.answers = lambda request: error_response(401, "no") if b"filters" in request.body else None
    assert reconciler("pull").code == ExitCode.AUTH
    between.answers = lambda request: None

    manifest.write_text(mine)
    assert reconciler("pull").code == 0
    assert kept() == tuple(map(contact_id, range(12)))


@pytest.mark.slow
def test_what_cannot_be_kept_is_told_after_the_report(
    reconciler: Command, people: People, between: Between, project: Path
) -> None:
    people(range(12))
    (project / "manifests" / "reconciler.yaml").write_text("snapshots: manifests/.resolved/\n")

    def stand_in_the_way(_: int) -> None:
        (project / "manifests" / ".resolved").write_text("in the way\n")

    between.before = stand_in_the_way
    ended = reconciler("pull")
    assert "12 contacts joined" in ended.out
    assert "cannot be written" in ended.err
    assert ended.code == ExitCode.ERROR
    assert runs() == [RunStatus.STOPPED]


def pull_as_library(workspace: Workspace, request: PullRequest) -> PullResult:
    shown: list[PullResult] = []
    result = asyncio.run(pull_people(open_session(workspace, unpulled=True), request, shown.append))
    assert len(shown) == 1
    return result


@pytest.mark.slow
@pytest.mark.parametrize("snapshots", ["", "manifests/.resolved/"], ids=["state", "files"])
def test_an_apply_that_was_planned_before_a_pull_sends_nothing(
    reconciler: Command, people: People, world: World, project: Path, snapshots: str
) -> None:
    people(range(12))
    (project / "manifests" / "reconciler.yaml").write_text(f"snapshots: {snapshots!r}\n")
    assert reconciler("pull").code == 0
    workspace = Workspace()
    session = open_session(workspace)
    planned = asyncio.run(make_plan(session, PlanRequest()))
    # a pull comes between the reading of the manifests and the lease
    people(range(14))
    assert pull_as_library(workspace, PullRequest()).exit_code == 0
    result = asyncio.run(apply_plan(planned, ApplyRequest()))
    assert result.exit_code == ExitCode.STALE
    assert not world.transitions


@pytest.mark.slow
def test_a_pull_that_is_ended_keeps_no_half_of_a_set(reconciler: Command, people: People, between: Between) -> None:
    people(range(1_000))

    async def end() -> None:
        work = asyncio.create_task(pull_people(open_session(Workspace(), unpulled=True), PullRequest(), _not_shown))
        loop = asyncio.get_running_loop()

        def cancel(nth: int) -> None:
            # as a signal does, while the fifth page is asked for
            if nth == 4:
                loop.call_soon_threadsafe(work.cancel)

        between.before = cancel
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(end())
    assert kept() is None
    assert runs() == [RunStatus.INTERRUPTED]
    # the lease is given up, and the next one does it all
    assert reconciler("pull").code == 0
    assert len(kept() or ()) == 1_000


def _not_shown(result: PullResult) -> None:
    raise AssertionError(result)


@pytest.mark.slow
def test_files_and_state_are_of_the_same_contacts_and_plan_alike(
    reconciler: Command, people: People, project: Path
) -> None:
    people(range(4, 40))
    assert reconciler("pull").code == 0
    by_state = json.loads(reconciler("plan", "--format", "json").out)
    (project / "manifests" / "reconciler.yaml").write_text("snapshots: manifests/.resolved/\n")
    assert reconciler("pull").code == 0
    by_files = json.loads(reconciler("plan", "--format", "json").out)
    assert by_files["change_digest"] == by_state["change_digest"]
    assert (project / "manifests" / ".resolved" / LOCATION / "vip.txt").read_text().split() == list(kept() or ())
