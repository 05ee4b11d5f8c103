"""Why pairs are pending, as drift tells it: by the journals of real runs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.lease import judge_by_lease
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import Instant
from reconciler.core.model.release_rules import TagPace
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import DriftReport, find_drift
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.slow_release import find_sent, list_release_rules
from reconciler.core.running.pending_causes import History, explain_pending
from reconciler.store import open_reader, open_store
from tests.apply.test_scenarios import observed_by_hand, refreshed
from tests.build import HERE, a_rule, a_set, contact, declare, name, who
from tests.fakes import START, a_holder
from tests.scene import DEFAULT, Scene

HOUR = 3_600_000
NAMES = "anna bert cara dora"
PACED = replace(a_rule("vip"), pace=TagPace(1, HOUR))
NO_LIMITS = replace(DEFAULT.limits, max_removes_pct=None, empties_tag=False)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    options = replace(DEFAULT, limits=NO_LIMITS, caps=Caps(contacts=1), now=Instant(START))
    return Scene(tmp_path, *(contact(name, "old") for name in NAMES.split()), options=options, in_flight=1)


def vip(text: str = "vip", **more: object) -> Desired:
    return declare(a_set("best", who(NAMES), text, **more), now=START)  # type: ignore[arg-type]


def pending(scene: Scene, desired: Desired) -> dict[str, int]:
    """The pending pairs by cause and its sentence, the run's id left out."""
    report = look(scene, desired)
    rows = [each for each in report.drifted if each.drift is DriftClass.PENDING]
    ids = [run.id for run in scene.runs()]
    found = {}
    for row in rows:
        why = row.why_pending
        for run in ids:
            why = why.replace(run, "RUN")
        found[f"{row.cause}: {why}"] = len(row.contacts)
    return found


def look(scene: Scene, desired: Desired, *, seen: tuple[ObservedContacts, ...] = ()) -> DriftReport:
    now = scene.clock.now()
    with open_reader(scene.url) as reader:
        here = reader.at(HERE)
        runs, rules = here.read_runs(), list_release_rules(desired)
        sent = find_sent(runs, here.read_batches, rules, now, settle_ms=0)
        state = here.load_state()
        for each in seen:
            state.observed.update(dict(each.apply_to(state.observed)))
        report = find_drift(desired, state, now=now)
        over = [judge_by_lease(run, here.read_lease(now)) for run in runs]
        history = History(over, here.read_ending, here.read_adopted, sent)
        return explain_pending(report, desired, history, state.observed, now=now)


def test_what_a_run_left_to_wait_waits_for_its_pace(scene: Scene) -> None:
    desired = declare(a_set("best", who(NAMES), "vip"), rule=[PACED], now=START)
    scene.run(desired)
    until = "2026-11-18 12:07Z"
    assert pending(scene, desired) == {f"pace: waits until {until} (pace of vip: 1 in 1h)": 3}
    scene.clock.ms += HOUR + 60_000
    found = pending(scene, desired)
    assert found.pop("pace: waited when run RUN ended, and may go now") == 1
    assert [(why[:17], number) for why, number in found.items()] == [("pace: waits until", 2)]


def test_a_set_that_ended_is_named(scene: Scene) -> None:
    scene.run(vip(until=START + HOUR))
    scene.clock.ms = START + HOUR
    after = declare(a_set("best", who(NAMES), "vip", until=START + HOUR), now=scene.clock.ms)
    assert pending(scene, after) == {"ended: the set ended (best: 2026-11-18T12:06:40.000Z)": 4}
    # what another set, which is not over, would declare too is not explained by the end of one
    later = a_set("later", who(NAMES), "vip", start=START + 9 * HOUR)
    both = declare(a_set("best", who(NAMES), "vip", until=START + HOUR), later, now=scene.clock.ms)
    assert pending(scene, both) == {"moved: the manifests moved": 4}


def test_a_set_that_began_is_named(scene: Scene) -> None:
    sets = a_set("all", who(NAMES), "old"), a_set("best", who("anna"), "vip", start=START + HOUR)
    scene.run(declare(*sets, now=START))
    scene.clock.ms = START + HOUR
    assert pending(scene, declare(*sets, now=scene.clock.ms)) == {
        "began: the set began (best: 2026-11-18T12:06:40.000Z)": 1
    }


def test_what_a_killed_run_did_not_send_was_planned_by_it(scene: Scene) -> None:
    scene.wanted[HERE] = vip()
    scene.apply_and_die(after=1)
    found = pending(scene, vip())
    assert list(found) == ["left: planned by run RUN, which was killed"]
    assert 2 <= found["left: planned by run RUN, which was killed"] <= 3
    # other manifests were not its plan
    assert list(pending(scene, vip("vip gold"))) == ["moved: the manifests moved"]


@pytest.mark.slow
def test_what_a_killed_run_would_have_left_to_wait_waits_for_its_pace(scene: Scene) -> None:
    """It had sent one of the four, and one an hour may go: it was not the kill that kept the others."""
    desired = declare(a_set("best", who(NAMES), "vip"), rule=[PACED], now=START)
    scene.wanted[HERE] = desired
    scene.apply_and_die(after=0)
    found = pending(scene, desired)
    assert [why[:17] for why in found] == ["pace: waits until"]
    assert sum(found.values()) == 3


def test_what_a_run_that_stopped_did_not_send_was_planned_by_it(scene: Scene) -> None:
    scene.run(vip("old"))
    scene.before = lambda nth: scene.stop.ask(signal.SIGTERM)
    scene.run(vip("old vip"))
    why = "left: planned by run RUN, and not sent: the run stopped before it was sent"
    assert pending(scene, vip("old vip")) == {why: 3}


def test_what_the_last_apply_did_not_know_was_observed(scene: Scene) -> None:
    """Exact authority: the answer shows a tag that no plan of then could name."""
    scene.run(vip(authority=Authority.EXACT))
    why = "found: an observation showed it, after run RUN was planned"
    assert pending(scene, vip(authority=Authority.EXACT)) == {why: 4}


def test_no_observation_showed_what_is_pending_on_a_contact_that_was_forgotten(scene: Scene) -> None:
    scene.run(vip())
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("anna"), scene.clock.now())
        store.forget_contacts(lease, [name("anna")])
    assert pending(scene, vip()) == {"never: never applied there, as far as is known": 1}


def adopted_by(scene: Scene) -> Desired:
    """Owned authority over contacts that carry what is declared: no answer of a write ever told of them."""
    # of the tag that nobody has another contact may make it owned
    desired = declare(
        a_set("all", who(NAMES), "old", authority=Authority.OWNED), a_set("some", who("emil"), "vip"), now=START
    )
    scene.wanted[HERE] = desired
    scene.run(desired, refreshed(scene, observed_by_hand(scene, *NAMES.split())))
    scene.clock.ms += HOUR
    scene.edit("anna", add="vip")
    return desired


def classes(report: DriftReport) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(each.drift.value, each.tag): each.contacts for each in report.drifted if each.tag}


def test_what_others_brought_to_an_adopted_contact_is_theirs_after_a_refresh_stored_it(scene: Scene) -> None:
    desired = adopted_by(scene)
    report = look(scene, desired, seen=observed_by_hand(scene, "anna"))
    assert classes(report)["unexpected", "vip"] == (name("anna"),)
    assert ("pending", "vip") not in classes(report)


def test_where_the_manifests_moved_nobody_can_tell_who_brought_it(scene: Scene) -> None:
    adopted_by(scene)
    moved = declare(
        a_set("all", who(NAMES), "old new", authority=Authority.OWNED), a_set("some", who("emil"), "vip"), now=START
    )
    report = look(scene, moved, seen=observed_by_hand(scene, "anna"))
    assert classes(report)["pending", "vip"] == (name("anna"),)


@pytest.mark.slow
@pytest.mark.parametrize("change", [lambda: vip("vip gold"), lambda: vip("vip gold", start=START)])
def test_what_the_manifests_moved_is_told_as_that(scene: Scene, change: Callable[[], Desired]) -> None:
    scene.run(vip())
    assert pending(scene, change()) == {"moved: the manifests moved": 4}


def test_before_the_first_apply_nothing_moved(scene: Scene) -> None:
    scene.run(declare(now=START))
    assert pending(scene, vip()) == {"never: never applied": 4}
