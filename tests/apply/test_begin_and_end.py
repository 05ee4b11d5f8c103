"""Where an apply begins a run in a location, and how one ends.

None begins where there is nothing to send, to record or to settle; where the state fails at the end the report says so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply import fail_report
from reconciler.core.model.errors import (
    ExitCode,
    GuardRefused,
    Interrupted,
    QuotaExhausted,
    ReconcilerError,
    StateError,
)
from reconciler.core.model.journal import MOVED, LocationReport, RunHeader, RunStatus
from reconciler.core.model.measured import StateCalled
from reconciler.core.model.outcome import Outcome
from reconciler.core.model.settings import Guard
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.guards import Allowance
from reconciler.store import open_reader, open_store
from tests.apply.test_beside import HookedStore, once
from tests.apply.test_refusing import TEN, WRITES
from tests.apply.test_scenarios import FREE, faults, observed_by_hand, pairs, refreshed, status
from tests.build import HERE, a_set, contact, declare, only
from tests.fakes import START, a_holder
from tests.sandbox.faults import FaultKind, FaultPlan
from tests.scene import Scene


def applied(directory: Path, **more: object) -> Scene:
    """Anna and Bert were given a tag by a run."""
    scene = Scene(directory, contact("anna"), contact("bert"), options=FREE, **more)  # type: ignore[arg-type]
    scene.want(a_set("s", "anna bert", "vip"))
    scene.apply()
    scene.events.clear()
    return scene


def asked(scene: Scene) -> list[str]:
    """What the state was asked, in order."""
    return [event.operation for event in scene.events if isinstance(event, StateCalled)]


BEGUN = ["acquire_lease", "load_state", "read_runs", "begin_run", "end_run", "release_lease"]


def test_where_all_is_as_desired_nobody_takes_the_lease(tmp_path: Path) -> None:
    scene = applied(tmp_path)
    report = scene.apply()
    assert (report, asked(scene), len(scene.runs())) == (LocationReport(HERE, "", RunStatus.COMPLETE), [], 1)


def test_other_sizes_of_sets_alone_are_recorded_by_a_run(tmp_path: Path) -> None:
    scene = applied(tmp_path)
    scene.want(a_set("s", "anna", "vip"), a_set("t", "bert", "vip"))
    plan = scene.plan()
    assert plan.is_empty
    report = scene.apply(plan)
    assert (report.run, asked(scene)) == (scene.runs()[-1].id, BEGUN)
    with open_reader(scene.url) as reader:
        assert dict(reader.at(HERE).load_state().set_sizes) == {"s": 1, "t": 1}


@pytest.mark.slow
def test_to_undo_a_run_whose_changes_are_gone_takes_no_lease(tmp_path: Path) -> None:
    """The manifests say nothing any more, so that the sizes of the sets are others; to undo is not to apply them."""
    scene = applied(tmp_path)
    (run,) = scene.runs()
    scene.want(a_set("s", "anna bert", absent="vip"))
    scene.apply()
    scene.events.clear()
    report = scene.revert(run.id, declare())
    assert (report.run, asked(scene), len(scene.runs())) == ("", [], 2)


def leave_state(scene: Scene) -> None:
    """The state goes to another place."""
    with open_store(scene.url) as state:
        store, now = state.at(HERE), scene.clock.now()
        lease = store.acquire_lease(a_holder("state migrate"), now)
        run = store.begin_run(lease, RunHeader(HERE, f"{MOVED}sqlite:///new.db", "somebody", now))
        store.end_run(lease, run, RunStatus.COMPLETE, now, set_sizes=None)
        store.release_lease(lease)


def test_a_state_that_was_migrated_since_the_plan_was_made_takes_no_run(tmp_path: Path) -> None:
    """While a person was asked, or the run waited for the lease that the migration held."""
    scene = applied(tmp_path)
    scene.want(a_set("s", "anna bert", "vip other"))
    plan = scene.plan()
    leave_state(scene)
    report = scene.apply(plan)
    assert (report.error_code, report.requests, scene.tags("anna")) == (ExitCode.ERROR, 0, {"vip"})
    assert "was migrated to sqlite:///new.db since the plan was made" in report.error
    assert scene.runs()[-1].header.operation.startswith(MOVED)


def test_what_was_read_for_a_plan_is_recorded_by_a_run(tmp_path: Path) -> None:
    scene = applied(tmp_path)
    scene.clock.ms += 60_000
    plan = refreshed(scene, observed_by_hand(scene, "anna"))
    assert plan.is_empty
    report = scene.apply(plan)
    assert (report.run, scene.known("anna").observed_at) == (scene.runs()[-1].id, scene.clock.now())


def in_doubt(directory: Path, *, read: bool, **assumptions: object) -> Scene:
    """A run added a tag to Anna, of which no answer came; `read`: it could read her later, and she lacked the tag."""
    lost = faults(FaultKind.RESET_BEFORE)
    scene = Scene(directory, contact("anna"), options=FREE, faults=lost, may_read=read, **assumptions)  # type: ignore[arg-type]
    scene.want(a_set("s", "anna", "vip"))
    scene.apply()
    scene.events.clear()
    return scene


@pytest.mark.parametrize("may_read", [True, False])
def test_a_doubt_that_no_reading_proves_begins_no_run(tmp_path: Path, may_read: bool) -> None:
    scene = in_doubt(tmp_path, read=True, tag_write_moves_date=False)
    scene.may_read = may_read
    report = scene.apply()
    # the state tells that nothing can be settled: it is asked without the lease
    assert (report.run, pairs(report), asked(scene)) == ("", {}, ["load_state"])
    assert (len(report.notes), len(scene.runs())) == (2, 1)


@pytest.mark.slow
def test_a_doubt_that_was_not_read_begins_a_run_where_somebody_may_read(tmp_path: Path) -> None:
    scene = in_doubt(tmp_path, read=False)
    report = scene.apply()
    assert (report.run, asked(scene)) == ("", ["load_state"])
    scene.may_read = True
    report = scene.apply()
    assert (report.run, pairs(report)) == (scene.runs()[-1].id, {"held": 1})


def test_the_journal_tells_by_what_a_run_was_approved(tmp_path: Path) -> None:
    allowances = (Allowance(Guard.SHRINK_PCT, "s", "half of it left"), Allowance(Guard.MAX_ADDS))
    options = replace(FREE, allowances=allowances, exceptions=("again:tag=vip: asked for",))
    scene = Scene(tmp_path, contact("anna"), options=options)
    scene.want(a_set("s", "anna", "vip"))
    plan, holder = scene.plan(), a_holder("one", operation="apply")
    scene.apply(plan, holder=holder, commit="0123abc")
    (run,) = scene.runs()
    allowed = (*sorted(map(str, allowances)), "again:tag=vip: asked for")
    assert run.header == RunHeader(
        HERE, "apply", holder.who, START, plan.change_digest, "0123abc", tuple(sorted(allowed))
    )


def sizes(scene: Scene) -> dict[str, int]:
    with open_reader(scene.url) as reader:
        return dict(reader.at(HERE).load_state().set_sizes)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole", "part", "stopped", "undone"])
def test_the_sizes_of_the_sets_are_those_of_the_last_run_of_all_that_was_complete(tmp_path: Path, how: str) -> None:
    scene = applied(tmp_path)
    assert sizes(scene) == {"s": 2}
    scene.want(a_set("s", "anna", "vip"), a_set("t", "bert", "new"))
    if how == "undone":
        (run,) = scene.runs()
        scene.want(a_set("t", "bert", "new"))
        report = scene.revert(run.id, scene.wanted[HERE])
    else:
        part = only(sets="s t") if how == "part" else FREE.selection
        scene.here.app._accesses = {} if how == "stopped" else scene.here.app._accesses
        report = scene.apply(options=replace(FREE, selection=part))
    assert report.run == scene.runs()[-1].id
    assert sizes(scene) == ({"s": 1, "t": 1} if how == "whole" else {"s": 2})
    ending = scene.log(report.run).ending
    assert ending is not None
    wanted = scene.wanted[HERE]
    digests = (wanted.digest, wanted.definitions_digest) if how in ("whole", "stopped") else ("", "")
    assert (ending.manifests_digest, ending.definitions_digest) == digests


@pytest.mark.parametrize("answered", [True, False])
def test_a_first_run_of_all_counts_as_one_where_it_ended_early_and_was_answered(tmp_path: Path, answered: bool) -> None:
    """It was let pass as a first run: its rest needs no other word. One that was answered nothing began nothing."""
    scene = Scene(tmp_path, contact("anna"), options=replace(FREE, caps=Caps(1, 1)))
    scene.want(a_set("s", "anna", "new vip"))

    def refuse(nth: int) -> None:
        if nth == int(answered):
            scene.here.app._accesses = {}

    scene.here.before = refuse
    assert scene.apply().error
    assert sizes(scene) == ({"s": 1} if answered else {})


def refused_removals(directory: Path) -> Scene:
    """Two tags are to go from ten contacts; the API takes one of them no more, and nobody may read."""
    people = [contact(each, "a b c much-too-long") for each in TEN]
    scene = Scene(directory, *people, options=FREE, may_read=False)
    scene.want(a_set("s", TEN, "a b c much-too-long"))
    scene.apply()
    scene.here.crm.assumptions = replace(scene.here.crm.assumptions, longest_tag=5)
    scene.want(a_set("s", TEN, absent="a b c much-too-long"))
    return scene


def failing(scene: Scene, name: str, nth: int = 1) -> LocationReport:
    """The disk is full once such a call of the state was made."""

    def fail() -> None:
        raise StateError("the disk is full", hint="make room")

    with open_store(scene.url) as store:
        return scene.apply(store=HookedStore(store, once(name, nth, fail)))


@pytest.mark.slow
def test_a_state_that_fails_once_all_was_sent_leaves_the_run_open(tmp_path: Path) -> None:
    """What is held could not be written down: the next run settles by the journal."""
    scene = refused_removals(tmp_path)
    report = failing(scene, "save_states")
    assert (report.status, report.error, report.hint) == (RunStatus.STOPPED, "the disk is full", "make room")
    assert (pairs(report), status(scene)[-1]) == ({"applied": 30, "held": 10}, RunStatus.RUNNING)


@pytest.mark.slow
def test_the_error_that_ended_a_run_is_told_though_the_state_fails_after_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *(contact(each, "a") for each in TEN), options=FREE, may_read=False)
    scene.want(a_set("s", TEN, "a"))
    scene.apply()
    scene.here.network.plan = FaultPlan(rate=1.0, kinds=(FaultKind.REFUSED_AFTER,), path=WRITES)
    scene.want(a_set("s", TEN, absent="a"))
    report = failing(scene, "save_states")
    assert (report.error, pairs(report)) == ("https://api.example answered 409: Bad Request", {"held": 10})
    assert status(scene)[-1] is RunStatus.STOPPED


def test_a_state_that_fails_at_the_very_end_fails_the_run(tmp_path: Path) -> None:
    scene = applied(tmp_path)
    scene.want(a_set("s", "anna bert", "vip new"))
    report = failing(scene, "end_run")
    assert (report.status, report.error, report.hint) == (RunStatus.STOPPED, "the disk is full", "make room")
    assert (pairs(report), report.exit_code) == ({"applied": 2}, ExitCode.ERROR)


NOTHING_SENT = LocationReport(HERE, "", RunStatus.STOPPED, pairs={Outcome.NOT_SENT: 1_200})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StateError("full", hint="make room"), {"error": "full", "hint": "make room", "error_code": ExitCode.ERROR}),
        (
            QuotaExhausted("no quota", hint="later", resets=START),
            {"error": "no quota", "hint": "later", "error_code": ExitCode.QUOTA, "resets": START},
        ),
        (
            GuardRefused(("one refuses", "another does"), hints=("raise it", "look at it")),
            {
                "error": "one refuses; another does",
                "hint": "raise it; look at it",
                "error_code": ExitCode.GUARD,
            },
        ),
        (Interrupted(15), {"error": "stopped by SIGTERM; 1,200 not sent", "error_code": 143}),
    ],
    ids=["a state", "a quota", "guards", "a signal"],
)
def test_a_report_tells_the_error_that_ended_its_run(error: ReconcilerError, told: dict[str, Any]) -> None:
    assert fail_report(NOTHING_SENT, error) == replace(NOTHING_SENT, **told)
