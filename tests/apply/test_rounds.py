"""Rounds and steps of a run, until nothing is left to do: which requests they send, and in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.errors import ExitCode
from reconciler.core.model.manifest import Authority, OnLeave
from reconciler.core.model.names import Tag
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.situation import Reassertion
from reconciler.core.running.stop_conditions import Canary, StopOn
from reconciler.cover import solve
from tests.apply.test_scenarios import FREE, faults, pairs
from tests.apply.test_stopping import CROWD, LONE
from tests.build import a_rule, a_set, changed_state, contact, name, tags
from tests.sandbox.faults import FaultKind
from tests.scene import Scene

AGAIN = replace(FREE, reassertion=Reassertion(Reassert.ALWAYS))
TWENTY = [f"c{nth:02}" for nth in range(20)]


def sent(scene: Scene, since: int = 0) -> list[tuple[str, int, int]]:
    """Each request: the action, and how many contacts and tags it had."""
    return [(each.action, len(each.contacts), len(each.tags)) for each in scene.here.sent[since:]]


def test_what_the_plan_sends_again_to_save_a_request_is_sent_as_it_was_planned(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, TWENTY), options=AGAIN)
    scene.want(a_set("s", TWENTY[:10], "a"), a_set("t", TWENTY[10:], "b"))
    scene.apply()
    scene.want(a_set("s", TWENTY, "a b"))
    report = scene.apply()
    assert sent(scene, 2) == [("add", 20, 2)]
    assert (report.rounds, pairs(report)) == (1, {"applied": 20, "noop": 20})


def test_no_later_round_sends_anything_again(tmp_path: Path) -> None:
    """To take both tags from both contacts would save a request, and was not approved."""
    scene = Scene(tmp_path, contact("anna", "old"), contact("bert", "older"), options=AGAIN)
    rules = [a_rule("old"), a_rule("older")]
    scene.want(a_set("s", "anna bert", "new", authority=Authority.OWNED), rule=rules)
    report = scene.apply()
    assert sent(scene) == [("add", 2, 1), ("remove", 1, 1), ("remove", 1, 1)]
    assert (report.rounds, pairs(report)) == (2, {"applied": 4})


@pytest.mark.slow
def test_a_run_that_others_keep_from_its_end_stops_after_ten_rounds(tmp_path: Path) -> None:
    """Somebody adds another tag whenever one was taken away."""
    options = replace(FREE, selection=Selection(apply_deferrals=True))
    scene = Scene(tmp_path, contact("anna", "theirs"), options=options)
    scene.want(a_set("s", "anna", "vip", authority=Authority.EXACT))
    scene.here.before = lambda nth: scene.edit("anna", add=f"x{nth}")
    report = scene.apply()
    assert (report.rounds, report.requests, report.exit_code) == (10, 10, ExitCode.PARTIAL)
    assert (report.error, report.hint) == ("not converged after 10 rounds", "run plan to see what is left")


@pytest.mark.slow
def test_a_run_of_ten_rounds_that_is_done_then_ends_well(tmp_path: Path) -> None:
    options = replace(FREE, selection=Selection(apply_deferrals=True))
    scene = Scene(tmp_path, contact("anna", "theirs"), options=options)
    scene.want(a_set("s", "anna", "vip", authority=Authority.EXACT))
    scene.here.before = lambda nth: scene.edit("anna", add=f"x{nth}") if nth < 9 else None
    report = scene.apply()
    assert (report.rounds, report.error, scene.tags("anna")) == (10, "", {"vip"})


@pytest.mark.slow
def test_a_doubt_of_a_step_is_settled_before_the_next_one(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD), options=FREE, faults=faults(None, FaultKind.RESET_BEFORE))
    scene.want(a_set("s", CROWD, "old"))
    scene.apply()
    scene.clock.ms += 600_000
    scene.want(a_set("s", CROWD, "old new"))
    # a doubt is no good end, so that a canary would stop at it
    report = scene.apply(canary=Canary(1, percent=True), stop_on=StopOn(errors=100))
    assert [size for _, size, _ in sent(scene, 1)] == [2, 2, 18, 180]
    assert pairs(report) == {"applied": 200}


@pytest.mark.slow
def test_each_step_is_solved_with_the_effort_of_the_plan(tmp_path: Path) -> None:
    efforts: list[object] = []

    def solving(*problem: Any, **more: Any) -> Any:
        efforts.append(more.get("effort"))
        return solve(*problem, **more)

    scene = Scene(tmp_path, *map(contact, TWENTY), options=replace(FREE, solve=solving, effort=7))
    scene.want(a_set("s", TWENTY, "a"))
    scene.apply(canary=Canary(5))
    assert set(efforts) == {7}


def test_a_request_leaves_as_soon_as_another_one_has_ended(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, ("anna", "bert", "cara", "dora")), options=LONE, in_flight=2)
    scene.want(a_set("s", "anna bert cara dora", "a"))
    # of the two that leave together once the first was answered, one takes long
    scene.before = lambda nth: setattr(scene, "takes_ms", 30_000 if nth == 2 else 0)
    scene.apply()
    assert [each.contacts for each in scene.here.sent] == [[name(each)] for each in ("anna", "cara", "dora", "bert")]


@pytest.mark.slow
def test_what_enters_and_leaves_management_without_a_request_is_recorded_whole(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "gift"), contact("bert"), options=FREE)
    first, rules = a_set("o", "anna bert", "o"), [a_rule("gift", once=True)]
    scene.want(first, rule=rules)
    scene.apply()
    before = {each: scene.known(each) for each in ("anna", "bert")}
    scene.want(first, a_set("s", "anna", "gift", on_leave=OnLeave.KEEP), rule=rules)
    # that it was given once is remembered, from now on
    spent = ((Tag("gift"), scene.clock.now()),)
    report = scene.apply()
    assert (report.requests, report.adopted, report.released) == (0, 1, 0)
    kept = changed_state(before["anna"], ledger=tags("gift o"), kept=tags("gift"), spent=spent)
    assert scene.known("anna") == kept
    scene.clock.ms += 60_000
    scene.want(replace(first, on_leave=OnLeave.KEEP), rule=rules)
    report = scene.apply()
    assert (report.requests, report.adopted, report.released) == (0, 0, 1)
    assert scene.known("anna") == changed_state(before["anna"], kept=tags("o"), spent=spent)
    assert scene.known("bert") == changed_state(before["bert"], kept=tags("o"))


def test_a_guard_of_a_later_round_goes_by_the_holders_before_the_run(tmp_path: Path) -> None:
    """Those who get the tag meanwhile are no reason to take it from others: fifteen of 35 holders would lose it."""
    new, losing = [f"n{nth:03}" for nth in range(120)], [f"x{nth:02}" for nth in range(15)]
    options = replace(FREE, limits=replace(FREE.limits, max_removes_pct=10))
    people = [*map(contact, (*TWENTY, *new)), *(contact(each, "vip") for each in losing)]
    scene = Scene(tmp_path, *people, options=options)
    scene.want(a_set("t", TWENTY, "vip"))
    scene.apply()
    scene.want(a_set("t", [*TWENTY, *new], "vip"), a_set("s", losing, "new", authority=Authority.OWNED))
    report = scene.apply()
    assert pairs(report) == {"applied": 135, "not_sent": 15}
    assert "would remove 'vip' from 15 contacts, of 35 known to carry it: 42.9 % (limit: 10 %)" in report.error


def test_no_other_request_names_a_contact_that_was_refused(tmp_path: Path) -> None:
    options = replace(FREE, caps=Caps(tags=1))
    scene = Scene(tmp_path, contact("anna", deleted=True), contact("bert"), options=options)
    scene.want(a_set("s", "anna bert", "a"), a_set("t", "anna", "b"))
    report = scene.apply()
    assert [(each.contacts, each.tags) for each in scene.here.sent] == [([name("anna"), name("bert")], ["a"])]
    assert pairs(report) == {"applied": 1, "rejected": 1, "not_sent": 1}


@pytest.mark.slow
def test_what_goes_is_planned_in_no_round_once_what_comes_was_given_up(tmp_path: Path) -> None:
    """The API takes the new tag from nobody: the old one stays, and the run is done."""
    scene = Scene(tmp_path, *(contact(each, "old") for each in TWENTY[:3]), options=FREE, longest_tag=5)
    scene.want(a_set("s", TWENTY[:3], "old"))
    scene.apply()
    scene.want(a_set("s", TWENTY[:3], "a much-too-long"))
    report = scene.apply()
    assert (pairs(report), report.error) == ({"applied": 3, "not_sent": 6}, "")
    assert (report.rounds, scene.tags("c00")) == (1, {"old", "a"})
