"""Many requests at once: the rate limit is the bottleneck, and nothing else is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.events import Waiting
from reconciler.core.model.names import LocationId
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import DEMO_TOKEN, Access
from tests.apply.test_scenarios import FREE, pairs
from tests.build import HERE, a_set, contact, name
from tests.fakes import START
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import THERE, Scene

LONE = replace(FREE, caps=replace(FREE.caps, contacts=1))


def crowd(number: int) -> list[str]:
    return [f"c{nth:04}" for nth in range(number)]


def most_at_once(scene: Scene) -> int:
    return max(len(each.alongside) + 1 for each in scene.here.sent)


@pytest.mark.slow
@pytest.mark.parametrize(("requests", "share"), [(400, 0.75), (2_000, 0.95)])
def test_the_rate_limit_is_kept_busy_at_two_seconds_a_request(tmp_path: Path, requests: int, share: float) -> None:
    """At 100 requests in 10 s, on 20 contacts each of which is in one request at a time."""
    people = [f"p{nth:02}" for nth in range(20)]
    options = replace(FREE, caps=replace(FREE.caps, contacts=1, tags=1), rate=Rate(100, 10_000))
    scene = Scene(tmp_path, *map(contact, people), options=options, latency_ms=2_000, limits=Limits(100, 10_000))
    scene.want(a_set("s", people[:1], "before"))
    # what a location teaches but once is known by now
    scene.apply()
    scene.here.sent.clear()
    scene.clock.ms += 60_000
    scene.want(a_set("s", people[:1], "before"), a_set("t", people, (f"t{nth:03}" for nth in range(requests // 20))))
    report = scene.apply()

    assert (report.requests, pairs(report), report.exit_code) == (requests, {"applied": requests}, ExitCode.DONE)
    assert {each.status for each in scene.here.sent} == {201}
    assert most_at_once(scene) == 20
    # the first window is free
    took = scene.here.sent[-1].began - scene.here.sent[0].began
    assert (requests - 100) / (took / 10_000) >= share * 100


def test_as_many_leave_as_may_and_no_more(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, crowd(40)), options=LONE, latency_ms=1_000, in_flight=7)
    scene.want(a_set("s", crowd(40), "vip"))

    assert pairs(scene.apply()) == {"applied": 40}
    assert most_at_once(scene) == 7
    # alone, until it is known that token and location are right
    assert [len(each.alongside) for each in scene.here.sent[:3]] == [0, 0, 1]


def test_a_wrong_token_is_found_out_by_one_request(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, crowd(40)), options=LONE)
    scene.here.app._accesses = {DEMO_TOKEN: Access(scopes=frozenset())}
    scene.want(a_set("s", crowd(40), "vip"))
    report = scene.apply()

    assert (report.requests, pairs(report), report.exit_code) == (1, {"not_sent": 40}, ExitCode.AUTH)
    assert "not authorized for this scope" in report.error
    assert f"location {HERE}" in report.error


def test_what_is_under_way_when_a_run_must_stop_is_recorded(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, crowd(10)), options=LONE, in_flight=4)
    scene.want(a_set("s", crowd(10), "vip"))

    def revoke(nth: int) -> None:
        if nth == 3:
            scene.here.app._accesses.clear()

    scene.here.after = revoke
    report = scene.apply()

    assert report.exit_code == ExitCode.AUTH
    answered = sum(each.status == 201 for each in scene.here.sent)
    assert pairs(report) == {"applied": answered, "not_sent": 10 - answered}
    assert len(scene.here.sent) <= answered + 4


@pytest.mark.slow
def test_too_many_requests_make_everybody_wait(tmp_path: Path) -> None:
    plan = FaultPlan({nth: Fault(FaultKind.TOO_MANY) for nth in (1, 3, 4)}, path="/contacts/bulk")
    scene = Scene(tmp_path, *map(contact, crowd(30)), options=LONE, faults=plan)
    scene.want(a_set("s", crowd(30), "vip"))
    report = scene.apply()

    assert (pairs(report), report.requests) == ({"applied": 30}, 33)
    assert any(isinstance(each, Waiting) and "429" in each.why for each in scene.events)


@pytest.mark.slow
def test_killed_in_the_midst_of_many_nothing_is_sent_twice(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, crowd(30)), options=LONE, in_flight=8, latency_ms=1_000)
    scene.want(a_set("s", crowd(30), "vip"))
    plan = scene.plan()
    scene.apply_and_die(plan, after=12)
    report = scene.apply(plan)

    assert all(number == 1 for number in scene.adds().values())
    assert report.pairs.keys() <= {"applied", "seen", "noop", "held"}
    assert sum(report.pairs.values()) == 30


@pytest.mark.one_in(3)
@pytest.mark.parametrize("fail_fast", [True, False])
def test_where_it_is_asked_for_one_that_fails_stops_the_others(tmp_path: Path, fail_fast: bool) -> None:
    scene = Scene(tmp_path, *map(contact, crowd(40)), options=LONE, latency_ms=1_000, in_flight=2)
    scene.add_place(THERE, contact("dora", location=THERE))
    scene.places[THERE].app._accesses.clear()
    scene.want(a_set("s", crowd(40), "a"))
    scene.want(a_set("s", "dora", "c"), location=THERE)
    here, there = scene.apply_all(fail_fast=fail_fast)
    assert (here.location, there.exit_code) == (HERE, ExitCode.AUTH)
    if not fail_fast:
        assert (pairs(here), here.exit_code) == ({"applied": 40}, ExitCode.DONE)
        return
    assert (here.error, here.exit_code) == (
        f"stopped, since location {THERE} failed (--fail-fast)",
        ExitCode.PARTIAL,
    )
    # what was under way ended, and is recorded
    assert 0 < here.pairs["applied"] < 40
    assert here.pairs["applied"] + here.pairs["not_sent"] == 40


@pytest.mark.slow
def test_locations_run_side_by_side_and_fail_alone(tmp_path: Path) -> None:
    other = LocationId("third")
    scene = Scene(tmp_path, *map(contact, crowd(20)), options=LONE, latency_ms=1_000)
    scene.add_place(THERE, *(contact(each, location=THERE) for each in crowd(20)))
    scene.add_place(other, contact("dora", location=other))
    scene.places[other].app._accesses.clear()
    scene.want(a_set("s", crowd(20), "a"))
    scene.want(a_set("s", crowd(20), "b"), location=THERE)
    scene.want(a_set("s", "dora", "c"), location=other)
    reports = scene.apply_all()

    assert {each.location: (pairs(each), each.exit_code) for each in reports} == {
        HERE: ({"applied": 20}, ExitCode.DONE),
        THERE: ({"applied": 20}, ExitCode.DONE),
        other: ({"not_sent": 1}, ExitCode.AUTH),
    }
    assert scene.places[THERE].sent[0].began == scene.here.sent[0].began == START
    assert scene.tags("c0003", THERE) == {"b"}
    assert scene.known("c0003").ledger.tags == {"a"}  # type: ignore[attr-defined]
    assert name("dora") not in scene.here.crm.contacts
