"""Day after day: workflows that consume their trigger, contacts that the API refuses, tags that come back respelt."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.contact_changes import record_observation
from reconciler.core.model.contact_state import QUARANTINE_MS, ObservationOrigin
from reconciler.core.model.journal import LocationReport
from reconciler.core.model.manifest import TagUse
from reconciler.core.model.measured import HeldCounted
from reconciler.core.model.names import ContactId, Tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.planning.plan import Plan
from reconciler.core.planning.revert import DEMANDED
from reconciler.core.running.shortfalls import FLAPS
from reconciler.sandbox.assumptions import Assumptions
from reconciler.store import open_reader, open_store
from tests.build import DAY, HERE, PLACE, a_rule, a_set, declare, who
from tests.fakes import a_holder
from tests.scene import Scene, one_by_one

DAYS = 30
PEOPLE = "anna bert cara"
ANNA = ContactId(who("anna"))


def wanted(*, once: bool = False) -> Desired:
    rule = [a_rule("hello", triggers=True, once=once)]
    return declare(a_set("s", who(PEOPLE), "hello newsletter"), rule=rule)


def consume(scene: Scene, tag: str) -> None:
    """The workflow that the tag starts: it mails, and takes its trigger away."""
    for contact in scene.here.crm.holders(tag):
        scene.here.crm.remove(contact, [tag], now=scene.clock.now(), by="workflow")


def look_again(scene: Scene) -> None:
    """A refresh: what everybody carries now."""
    now = scene.clock.now()
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("refresh", operation="refresh"), now)
        observed = store.load_state().observed
        read = {each: scene.here.crm.find(each) for each in observed.contacts}
        seen = {
            each: record_observation(observed[each], found.tags, at=now, origin=ObservationOrigin.GET, settle_ms=0)
            for each, found in read.items()
            if found is not None
        }
        store.save_states(lease, seen)
        store.release_lease(lease)


def today(scene: Scene, desired: Desired) -> tuple[Plan, LocationReport]:
    """The nightly job: look, plan, apply."""
    look_again(scene)
    scene.options = replace(scene.options, now=scene.clock.now())
    plan = scene.plan_for(desired)
    return plan, scene.run(desired, plan=plan)


def mails(scene: Scene) -> Counter[ContactId]:
    log = scene.here.crm.transitions
    return Counter(each.contact for each in log if each.tag == "hello" and each.action is Action.ADD)


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True])
def test_a_workflow_that_consumes_its_trigger_mails_at_most_once_a_week(tmp_path: Path, once: bool) -> None:
    scene = one_by_one(tmp_path, dict.fromkeys(PEOPLE.split(), ""))
    scene.after = lambda nth: consume(scene, "hello")
    days: list[int] = []
    for day in range(DAYS):
        before = mails(scene).total()
        today(scene, wanted(once=once))
        days += [day] if mails(scene).total() > before else []
        scene.clock.ms += DAY - (scene.clock.ms % 1_000)

    # a mail when it is declared; without `once` it is put back, and not again within a week
    assert days == ([0] if once else [0, 1, 8, 15, 22, 29])
    assert set(mails(scene).values()) == {len(days)}


@pytest.mark.slow
def test_what_flaps_is_told_and_changes_nothing(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, dict.fromkeys(PEOPLE.split(), ""))
    scene.after = lambda nth: consume(scene, "hello")
    for _ in range(2):
        today(scene, wanted())
        scene.clock.ms += DAY // 2
    plan, report = today(scene, wanted())
    (location,) = plan.locations
    assert plan.is_empty
    assert [(each.why, each.tags, len(each.contacts)) for each in location.held] == [
        ("flapping: put back less than 7 days ago", ("hello",), 3)
    ]
    assert report.exit_code == 0


def test_what_flaps_is_told_beside_what_is_sent(tmp_path: Path) -> None:
    """Until it is seen there: the headline is never better than what is so of the desired pairs."""
    scene = one_by_one(tmp_path, dict.fromkeys(PEOPLE.split(), ""))
    scene.after = lambda nth: consume(scene, "hello")
    for _ in range(2):
        today(scene, wanted())
        scene.clock.ms += DAY // 2
    more = declare(a_set("s", who(PEOPLE), "hello newsletter"), a_set("t", who("anna"), "new"), rule=[a_rule("hello")])
    scene.edit("bert", add="hello")
    scene.events.clear()
    _, report = today(scene, more)
    assert report.pairs == {Outcome.APPLIED: 1}
    assert report.notes == ("Not as declared: 2 tags held.", FLAPS)
    assert [event.number for event in scene.events if isinstance(event, HeldCounted)] == [2]


@pytest.mark.slow
def test_whom_the_api_refuses_is_tried_again_a_month_later(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, {"anna": "", "bert": ""})
    scene.here.crm.delete(ANNA, now=scene.clock.now())
    desired = declare(a_set("s", who("anna bert"), "x"))
    _, report = today(scene, desired)
    assert report.exit_code == 3
    first = scene.known("anna")
    assert first.quarantine is not None
    assert (first.quarantine.since, first.quarantine.membership) == (first.quarantine.at, {"s"})
    sent = []
    for _ in range(32):
        scene.clock.ms += DAY
        _, report = today(scene, desired)
        sent.append(report.requests)
        assert report.exit_code == (3 if report.requests else 0)
    assert sent == [0] * 29 + [1, 0, 0]
    last = scene.known("anna")
    assert last.quarantine is not None
    assert last.quarantine.since == first.quarantine.since
    assert last.quarantine.at - first.quarantine.at >= QUARANTINE_MS


@pytest.mark.slow
def test_whom_the_api_refuses_is_tried_again_where_it_now_belongs(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, {"anna": ""})
    scene.here.crm.delete(ANNA, now=scene.clock.now())
    today(scene, declare(a_set("s", who("anna"), "x"), a_set("t", "", "x")))
    moved = declare(a_set("s", "", "x"), a_set("t", who("anna"), "x"))
    _, report = today(scene, moved)
    assert report.requests == 1
    _, report = today(scene, moved)
    assert report.requests == 0


def test_whom_the_api_refuses_is_not_tried_again_because_a_set_has_another_name(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, {"anna": ""})
    scene.here.crm.delete(ANNA, now=scene.clock.now())
    today(scene, declare(a_set("s", who("anna"), "x"), a_set("t", "", "x")))
    for _ in range(2):
        _, report = today(scene, declare(a_set("renamed", who("anna"), "x"), a_set("t", "", "x")))
        assert (report.requests, report.exit_code) == (0, 0)


APART = "cafe\u0301  bar"
THERE = "caf\u00e9 bar"


@pytest.mark.slow
def test_a_tag_that_comes_back_respelt_is_added_once_and_removed_as_it_is_there(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, dict.fromkeys(PEOPLE.split(), "x"))
    scene.here.crm.assumptions = Assumptions(composes_unicode=True, collapses_spaces=True)
    desired = declare(replace(a_set("s", who(PEOPLE)), tags=(TagUse(Tag(APART), APART, PLACE),)))
    _, report = today(scene, desired)
    assert (report.exit_code, report.requests) == (0, 3)
    assert scene.tags("anna") == {"x", THERE}
    with open_reader(scene.url) as reader:
        assert reader.at(HERE).load_state().facts == LocationFacts(aliases=((Tag(APART), Tag(THERE)),))
    for _ in range(3):
        plan, report = today(scene, desired)
        assert plan.is_empty

    first = min(scene.runs(), key=lambda run: run.header.started)
    assert [(each.why, each.tags) for each in scene.plan_revert(first.id, desired).held] == [(DEMANDED, (Tag(THERE),))]

    gone = declare(a_set("s", "", "x"))
    scene.options = replace(
        scene.options, limits=replace(scene.options.limits, max_removes_pct=None, empties_tag=False)
    )
    _, report = today(scene, gone)
    assert {tag for update in scene.updates for tag in update.tags} == {THERE}
    assert scene.tags("anna") == {"x"}
    plan, report = today(scene, gone)
    assert plan.is_empty
    assert scene.known("anna").ledger.tags == frozenset()
