"""What was run, and what a run changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.journal import RunHeader
from reconciler.core.model.names import Instant
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import App
from reconciler.sandbox.world import World
from reconciler.store import open_store
from reconciler.system import SystemClock
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.fakes import a_holder
from tests.sandbox.faults import Fault, FaultKind, FaultPlan, Network

Manifest = Callable[..., None]


def run_ids(reconciler: Command) -> list[str]:
    """The oldest first."""
    (location,) = json.loads(reconciler("history", "--format", "json").out)["locations"]
    return [run["id"] for run in reversed(location["runs"])]


@pytest.fixture
def applied(reconciler: Command, manifest: Manifest) -> list[str]:
    """Two runs: one adds and meets a deleted contact, one removes under a lifted guard. Their ids."""
    manifest(customers=([0, 1, 8], ["customer"], []), trial=([0, 1], ["trial"], []))
    assert reconciler("apply", "--auto-approve").code == 3
    manifest(customers=([0, 1, 8], ["customer"], []))
    lifting = ("--allow", "empties_tag:tag=trial", "--reason", "the trial is over")
    assert reconciler("apply", "--auto-approve", *lifting).code == 0
    return run_ids(reconciler)


def test_history_lists_the_runs_newest_first(reconciler: Command, applied: list[str]) -> None:
    out = reconciler("history").out
    assert out.index(applied[1]) < out.index(applied[0])
    assert "complete" in out
    assert "2 runs." in out


@pytest.mark.slow
def test_show_tells_what_a_run_changed_per_tag_and_contact(reconciler: Command, applied: list[str]) -> None:
    first = reconciler("show", applied[0])
    assert first.code == 0
    for words in ("apply by", "change digest sha256:", "2 requests", "+customer", "contact is deleted", contact_id(8)):
        assert words in first.out
    second = reconciler("show", applied[1][:6]).out
    assert "guard lifted: empties_tag:tag=trial: the trial is over" in second
    assert "-trial" in second


def test_show_as_json_has_every_row(reconciler: Command, applied: list[str]) -> None:
    shown = json.loads(reconciler("show", applied[0], "--format", "json").out)
    assert (shown["location"], shown["id"], shown["status"]) == (LOCATION, applied[0], "complete")
    rows = [row for batch in shown["batches"] for row in batch["rows"]]
    assert {contact: row["outcome"] for row in rows for contact in row["contacts"]} == {
        contact_id(0): "applied",
        contact_id(1): "applied",
        contact_id(8): "rejected",
    }
    (removed,) = json.loads(reconciler("show", applied[1], "--format", "json").out)["batches"][0]["rows"]
    assert (removed["removed"], removed["released"]) == (["trial"], ["trial"])


@pytest.mark.slow
def test_the_last_run_needs_no_id(reconciler: Command, applied: list[str], manifest: Manifest) -> None:
    assert f"run {applied[1]}" in reconciler("show", "last").out.lower()
    manifest(customers=([0, 1, 8], ["customer"], []), same=([0, 1], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0, "which sends nothing, and records the sizes of sets"
    newest = run_ids(reconciler)[-1]
    assert newest not in applied
    assert f"run {newest}" in reconciler("show", "last").out.lower()
    reverted = reconciler("revert", "last", "--dry-run")
    assert "trial" in reverted.out, "what is undone is the last that sent something"


@pytest.mark.slow
def test_a_run_that_only_adopted_is_the_last_to_undo(
    reconciler: Command, applied: list[str], manifest: Manifest, world: World, sandbox: Running
) -> None:
    # others give what is asked for only afterwards
    sandbox.do(lambda world, now: world.add(contact_id(0), ["spring"], now=now, by="somebody"))
    assert reconciler("refresh", "--method", "get").code == 0
    sent = len(world.transitions)
    manifest(customers=([0, 1, 8], ["customer"], []), spring=([0], ["spring"], []))
    reconciler("apply", "--auto-approve")
    adopting = run_ids(reconciler)[-1]
    # a run that neither sends nor adopts, and records the sizes of sets
    manifest(customers=([0, 1, 8], ["customer"], []), spring=([0], ["spring"], []), same=([0], ["customer"], []))
    reconciler("apply", "--auto-approve")
    assert run_ids(reconciler)[-1] not in (adopting, *applied)
    assert len(world.transitions) == sent

    manifest(customers=([0, 1, 8], ["customer"], []))
    assert reconciler("revert", "last", "--auto-approve").code == 0
    assert f"revert {adopting}" in reconciler("show", "last").out
    assert reconciler("plan", "--detailed-exitcode").code == 0, "spring is nobody's again, and stays"


def test_nothing_is_undone_where_no_run_did_anything(reconciler: Command, manifest: Manifest) -> None:
    manifest(trial=([0], [], ["customer"]))
    assert reconciler("refresh", "--method", "get").code == 0
    assert reconciler("apply", "--auto-approve").code == 0, "which records the sizes of sets"
    assert run_ids(reconciler)
    ended = reconciler("revert", "last")
    assert (ended.code, "or put anything under management, yet" in ended.err) == (64, True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FaultKind.ERROR_BEFORE, pytest.param(FaultKind.ERROR_AFTER, marks=pytest.mark.slow)])
def test_a_doubt_that_the_run_settled_is_no_doubt_in_what_became_of_each_tag(
    kind: FaultKind,
    reconciler: Command,
    manifest: Manifest,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    project: Path,
) -> None:
    """The second of two requests is lost: it is sent once more, or read to be as it should."""
    manifest(customers=(range(2, 6), ["customer"], []))
    lost = FaultPlan(listed={1: Fault(kind)}, path="/contacts/bulk")
    with in_background(Network(App(world), lost)) as running:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", running.url)
        applied = reconciler("apply", "--auto-approve", "--api-settle-s", "0", "--api-max-contacts", "2")
    assert applied.code == 0, applied.out
    out = reconciler("show", "last").out
    table = out[out.index("Tags, in contacts") :].splitlines()
    again = kind is FaultKind.ERROR_BEFORE
    assert [line.split() for line in table[1:3]] == [
        ["tag", "added"] if again else ["tag", "added", "seen"],
        ["customer", "4"] if again else ["customer", "2", "2"],
    ]
    assert "--retry-held" not in out, "nothing is held"


@pytest.mark.slow
def test_what_others_did_and_nobody_approved_is_told_of_the_run(
    reconciler: Command, manifest: Manifest, sandbox: Running
) -> None:
    manifest(customers=(range(2, 6), ["customer"], []))
    reconciler("apply", "--auto-approve")
    sandbox.do(lambda world, now: world.remove(contact_id(3), ["customer"], now=now, by="somebody"))
    manifest(customers=(range(2, 6), ["customer", "vip"], []))
    assert reconciler("apply", "--auto-approve").code == 3
    (newest, first) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    assert [(run["status"], run["partial"]) for run in (newest, first)] == [("complete", True), ("complete", False)]
    assert [word in reconciler("history").out for word in ("done in part", "complete")] == [True, True]
    assert "done in part" in reconciler("show", "last").out
    told = "1 pair turned out to be needed and nobody approved them: run plan again."
    assert told in " ".join(reconciler("show", "last").out.split())


def test_there_is_no_last_run_yet(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([0], ["customer"], []))
    for command in ("show", "revert"):
        ended = reconciler(command, "last")
        assert (ended.code, "there is no run yet" in ended.err) == (64, True)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("given", ["ffffffffffff", "abc", "nothing.json", "", "../x"])
@pytest.mark.usefixtures("applied")
def test_show_of_what_is_neither_plan_nor_run(reconciler: Command, given: str) -> None:
    ended = reconciler("show", given)
    assert ended.code in (1, 64)
    assert "hint" in ended.err


@pytest.mark.parametrize("command", ["history", "state list"])
def test_where_nothing_is_yet_the_password_of_the_state_is_not_shown(
    reconciler: Command, manifest: Manifest, command: str
) -> None:
    """A path of this form stands in for a database's URL: what hides a password looks at the text alone."""
    ended = reconciler(*command.split(), "--state", "sqlite:///postgresql://me:secret@host/state.db")
    assert (ended.code, "secret" in ended.out + ended.err) == (0, False)
    assert "postgresql://me:***@host" in ended.err


def test_history_before_the_first_run(reconciler: Command, manifest: Manifest, project: Path) -> None:
    ended = reconciler("history")
    assert ended.code == 0
    assert "no run yet" in ended.err
    assert not (project / ".reconciler").exists()


@pytest.mark.slow
def test_older_runs_give_up_their_rows(reconciler: Command, manifest: Manifest, project: Path) -> None:
    (project / "manifests" / "reconciler.yaml").write_text("history_keep: 1\n")
    for number in range(3):
        manifest(customers=(range(number + 1), ["customer"], []))
        assert reconciler("apply", "--auto-approve").code == 0
    (location,) = json.loads(reconciler("history", "--format", "json").out)["locations"]
    assert [run["kept_rows"] for run in location["runs"]] == [1, 0, 0]
    assert "given up" in reconciler("history").out
    assert "history_keep" in reconciler("show", location["runs"][-1]["id"]).out


@contextmanager
def a_run_under_way() -> Iterator[None]:
    """A run that began, whose holder is alive as far as anybody can tell."""
    now = SystemClock().now()
    with open_store("sqlite:///.reconciler/state.db") as state:
        store = state.at(LOCATION)
        lease = store.acquire_lease(replace(a_holder("anna"), created=now), now)
        store.begin_run(lease, RunHeader(LOCATION, "apply", "anna", now))
        yield
        store.unlock_lease(lease.holder.id)


def status_of_last(reconciler: Command) -> str:
    (location,) = json.loads(reconciler("history", "--format", "json").out)["locations"]
    status = location["runs"][0]["status"]
    assert isinstance(status, str)
    return status


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_run_whose_holder_lives_is_running_and_one_without_holder_was_killed(reconciler: Command) -> None:
    with a_run_under_way():
        assert (status_of_last(reconciler), "killed" in reconciler("history").out) == ("running", False)
        assert "running" in reconciler("show", "last").out
    assert (status_of_last(reconciler), "running" in reconciler("history").out) == ("interrupted", False)
    assert "killed" in reconciler("history").out
    assert "killed" in reconciler("show", "last").out


@pytest.mark.slow
@pytest.mark.usefixtures("applied")
def test_a_killed_run_is_not_taken_for_that_of_the_next_holder(reconciler: Command) -> None:
    with a_run_under_way():
        pass
    now = SystemClock().now()
    with open_store("sqlite:///.reconciler/state.db") as store:
        store.at(LOCATION).acquire_lease(replace(a_holder("bert"), created=Instant(now + 1)), now)
        assert status_of_last(reconciler) == "interrupted"
