"""What stops a run on its way: rates, surprises, canaries, signals; and what it leaves behind."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.errors import ExitCode
from reconciler.core.model.events import Waiting
from reconciler.core.model.journal import RunStatus
from reconciler.core.model.names import Instant, iso
from reconciler.core.running.pace import APPLY_LATER, DAY_MS, SHARED
from reconciler.core.running.stop_conditions import Canary, StopOn
from reconciler.sandbox.access import Limits
from reconciler.store import open_store
from tests.apply.test_scenarios import FREE, converged, pairs, status
from tests.build import HERE, a_set, contact, fields_of, name
from tests.fakes import START, a_holder
from tests.scene import THERE, Scene

LONE = replace(FREE, caps=replace(FREE.caps, contacts=1))
CROWD = [f"c{nth:03}" for nth in range(200)]


def strangers(number: int) -> list[str]:
    return [f"x{nth:03}" for nth in range(number)]


def with_strangers(tmp_path: Path, good: int, bad: int, **more: object) -> Scene:
    people = [contact(each) for each in CROWD[:good]]
    scene = Scene(tmp_path, *people, *(contact(each, location=THERE) for each in strangers(bad)), **more)  # type: ignore[arg-type]
    scene.want(a_set("s", [*CROWD[:good], *strangers(bad)], "vip"))
    return scene


def test_where_many_are_refused_nobody_is_quarantined(tmp_path: Path) -> None:
    scene = with_strangers(tmp_path, 100, 20, options=FREE)
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 100, "rejected": 20}, ExitCode.PARTIAL)
    assert "20 of 120 rows were refused" in report.error
    assert "probably wrong" in report.error
    known = [scene.known(each) for each in strangers(20)]
    assert {(each.quarantine, each.ledger.tags) for each in known} == {(None, frozenset())}  # type: ignore[attr-defined]
    # nothing was concluded: they are planned again
    assert scene.plan().locations[0].summary.adds == 20


@pytest.mark.slow
@pytest.mark.parametrize(("good", "bad"), [(100, 19), (200, 10)])
def test_few_that_are_refused_are_quarantined(tmp_path: Path, good: int, bad: int) -> None:
    scene = with_strangers(tmp_path, good, bad, options=FREE)
    report = scene.apply()

    assert (pairs(report), report.error) == ({"applied": good, "rejected": bad}, "")
    assert fields_of(scene.known("x000"))["quarantine"] == "other location"  # type: ignore[attr-defined]
    converged(scene)


@pytest.mark.slow
def test_deleted_contacts_are_no_sign_of_a_wrong_token(tmp_path: Path) -> None:
    gone = [contact(each, deleted=True) for each in strangers(50)]
    scene = Scene(tmp_path, contact("anna"), *gone, options=FREE)
    scene.want(a_set("s", ["anna", *strangers(50)], "vip"))

    assert (pairs(scene.apply()), fields_of(scene.known("x000"))["quarantine"]) == (  # type: ignore[attr-defined]
        {"applied": 1, "rejected": 50},
        "deleted",
    )
    # known ones alone are no news
    assert scene.apply().exit_code == ExitCode.DONE


@pytest.mark.slow
def test_a_run_killed_before_its_end_has_quarantined_nobody(tmp_path: Path) -> None:
    scene = with_strangers(tmp_path, 3, 3, options=LONE, in_flight=1)
    scene.apply_and_die(before=5)
    assert all(scene.known(each).quarantine is None for each in strangers(3))  # type: ignore[attr-defined]
    report = scene.apply()
    assert report.pairs["rejected"] >= 2
    assert fields_of(scene.known("x000"))["quarantine"] == "other location"  # type: ignore[attr-defined]


def surprised(tmp_path: Path, number: int, **more: object) -> Scene:
    """Everybody was observed, then `number` of them edited by hand; a new tag is wanted on all."""
    scene = Scene(tmp_path, *map(contact, CROWD[:40]), options=LONE, **more)  # type: ignore[arg-type]
    scene.want(a_set("s", CROWD[:40], "a"))
    scene.apply()
    for each in CROWD[:number]:
        scene.edit(each, add=["theirs"], remove=["a"])
    scene.want(a_set("s", CROWD[:40], "a b"))
    return scene


@pytest.mark.slow
def test_surprises_are_listed(tmp_path: Path) -> None:
    scene = surprised(tmp_path, 3)
    report = scene.apply()

    assert [(each.appeared, each.vanished, each.contacts) for each in report.surprises] == [
        (("theirs",), ("a",), tuple(map(name, CROWD[:3])))
    ]
    assert (pairs(report), report.outside) == ({"applied": 40}, 3)


@pytest.mark.slow
def test_too_many_surprises_stop_the_run(tmp_path: Path) -> None:
    scene = surprised(tmp_path, 40, in_flight=1)
    report = scene.apply(stop_on=StopOn(surprises=50))

    assert (pairs(report), report.exit_code) == ({"applied": 20, "not_sent": 20}, ExitCode.PARTIAL)
    assert report.error == "surprise_rate is 100.0 % (20 of 20), limit 50 %"
    assert "apply again to go on" in report.hint
    assert status(scene)[-1] is RunStatus.STOPPED


@pytest.mark.slow
def test_too_many_errors_stop_the_run(tmp_path: Path) -> None:
    gone = [contact(each, deleted=True) for each in strangers(50)]
    scene = Scene(tmp_path, *gone, options=LONE, in_flight=1)
    scene.want(a_set("s", strangers(50), "vip"))
    report = scene.apply(stop_on=StopOn(errors=10))

    assert (pairs(report), report.exit_code) == ({"rejected": 20, "not_sent": 30}, ExitCode.PARTIAL)
    assert "error_rate is 100.0 % (20 of 20)" in report.error


@pytest.mark.slow
def test_a_canary_that_falls_silent_stops_the_run(tmp_path: Path) -> None:
    gone = [contact(each, deleted=True) for each in CROWD[:3]]
    scene = Scene(tmp_path, *gone, *map(contact, CROWD[3:]), options=FREE)
    scene.want(a_set("s", CROWD, "vip"))
    report = scene.apply(canary=Canary(5), stop_on=StopOn(errors=20))

    assert [each.contacts for each in scene.here.sent] == [list(map(name, CROWD[:5]))]
    assert (pairs(report), report.exit_code) == ({"applied": 2, "rejected": 3, "not_sent": 195}, ExitCode.PARTIAL)
    assert "after the first 5 contacts: error_rate is 60.0 %" in report.error
    # the next one goes on
    assert pairs(scene.apply()) == {"applied": 195}


def test_a_canary_alone_has_limits_of_its_own(tmp_path: Path) -> None:
    gone = [contact(each, deleted=True) for each in CROWD[:5]]
    scene = Scene(tmp_path, *gone, *map(contact, CROWD[5:12]), options=FREE)
    scene.want(a_set("s", CROWD[:12], "vip"))
    report = scene.apply(canary=Canary(5))

    assert (pairs(report), report.exit_code) == ({"rejected": 5, "not_sent": 7}, ExitCode.PARTIAL)
    assert "after the first 5 contacts: error_rate is 100.0 % (5 of 5), limit 10 %" in report.error


def test_a_canary_alone_stops_where_the_contacts_are_not_as_observed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *(contact(each, "vip") for each in CROWD[:12]), options=FREE)
    scene.want(a_set("s", CROWD[:12], "vip"))
    scene.apply()
    for each in CROWD[:5]:
        scene.edit(each, add="odd")
    scene.want(a_set("s", CROWD[:12], "vip new"))
    report = scene.apply(canary=Canary(5))

    assert (pairs(report), report.exit_code) == ({"applied": 5, "not_sent": 7}, ExitCode.PARTIAL)
    assert "after the first 5 contacts: surprise_rate is 100.0 % (5 of 5), limit 20 %" in report.error


@pytest.mark.slow
def test_who_says_so_lets_a_canary_go_on_whatever_it_shows(tmp_path: Path) -> None:
    gone = [contact(each, deleted=True) for each in CROWD[:5]]
    scene = Scene(tmp_path, *gone, *map(contact, CROWD[5:12]), options=FREE)
    scene.want(a_set("s", CROWD[:12], "vip"))
    assert pairs(scene.apply(canary=Canary(5), stop_on=StopOn(errors=100))) == {"applied": 7, "rejected": 5}


@pytest.mark.slow
def test_steps_follow_a_canary_and_carry_the_whole_plan_out(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *(contact(each, "old") for each in CROWD), options=FREE)
    scene.want(a_set("s", CROWD, "new", absent="old"))
    report = scene.apply(canary=Canary(1, percent=True))

    assert (pairs(report), report.exit_code) == ({"applied": 400}, ExitCode.DONE)
    assert [(each.action, len(each.contacts)) for each in scene.here.sent] == [
        (action, size) for size in (2, 18, 180) for action in ("add", "remove")
    ]
    converged(scene)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_after_a_signal_what_is_under_way_ends_and_nothing_else_leaves(tmp_path: Path, signum: int) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD[:40]), options=LONE, in_flight=5, latency_ms=1_000)
    scene.want(a_set("s", CROWD[:40], "vip"))

    asked: list[int] = []

    def ask(nth: int) -> None:
        if nth == 8:
            asked.append(scene.clock.ms)
            scene.stop.ask(signum)

    scene.here.before = ask
    report = scene.apply()
    sent = len(scene.here.sent)

    assert report.exit_code == 128 + signum
    assert pairs(report) == {"applied": sent, "not_sent": 40 - sent}
    assert max(each.began for each in scene.here.sent) == asked[0]
    assert max(each.ended or 0 for each in scene.here.sent) == scene.clock.ms
    with open_store(scene.url) as state:
        store = state.at(scene.here.crm.location)
        store.release_lease(store.acquire_lease(a_holder("next"), scene.clock.now()))
    scene.here.before = lambda nth: None
    assert pairs(scene.apply()) == {"applied": 40 - sent}


def test_a_signal_ends_every_wait(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE, latency_ms=1_000)
    scene.want(a_set("s", "anna", "vip"))
    scene.here.app.limiter.spend(100, now=scene.clock.now())
    scene.here.after = lambda nth: scene.stop.ask(signal.SIGTERM)
    report = scene.apply()

    assert (pairs(report), report.exit_code, report.requests) == ({"not_sent": 1}, 143, 1)


def test_a_signal_ends_the_wait_for_the_lock(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    scene.hear = lambda event: scene.stop.ask(signal.SIGTERM) if isinstance(event, Waiting) else None
    with open_store(scene.url) as other:
        other.at(HERE).acquire_lease(a_holder("other"), START)
        report = scene.apply(lock_timeout_ms=60_000)

    assert (report.error, report.exit_code, pairs(report)) == ("stopped by SIGTERM; 1 not sent", 143, {"not_sent": 1})
    assert (report.run, scene.clock.ms) == ("", START)


def test_a_signal_ends_the_wait_for_a_doubt(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE, latency_ms=1_000)
    scene.want(a_set("s", "anna", "vip"))

    def lose(nth: int) -> None:
        scene.stop.ask(signal.SIGTERM)
        raise TimeoutError

    scene.here.after = lose
    began = scene.clock.ms
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"in_doubt": 1}, 143)
    assert scene.clock.ms - began < 5_000


def test_a_quota_that_shrinks_on_the_way_ends_the_run(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD[:40]), options=LONE, in_flight=4, limits=Limits(100, 10_000, 1_000))
    scene.want(a_set("s", CROWD[:40], "vip"))
    scene.here.after = lambda nth: scene.here.app.limiter.spend(100 if nth < 10 else 0, now=scene.clock.now())
    report = scene.apply()

    assert (report.exit_code, "quota" in report.error) == (ExitCode.QUOTA, True)
    assert set(pairs(report)) == {"applied", "not_sent"}


@pytest.mark.slow
@pytest.mark.parametrize("spill", [False, True])
def test_where_others_use_the_day_up_a_run_ends_or_waits_for_the_next_one(tmp_path: Path, spill: bool) -> None:
    limits = Limits(100, 10_000, 100)
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=LONE, in_flight=1, limits=limits, latency_ms=0)
    scene.want(a_set("s", "anna bert", "vip"))
    scene.here.app.limiter.spend(98, now=scene.clock.now())
    midnight = (scene.clock.ms // DAY_MS + 1) * DAY_MS
    report = scene.apply(spill=spill)

    if spill:
        assert (pairs(report), report.error, scene.clock.ms > midnight) == ({"applied": 2}, "", True)
        return
    assert (pairs(report), report.exit_code) == ({"applied": 1, "not_sent": 1}, ExitCode.QUOTA)
    assert (report.hint, report.resets) == (f"{APPLY_LATER}; {SHARED}", midnight)


def test_nothing_of_a_plan_that_ends_on_the_way_is_sent_after_its_end(tmp_path: Path) -> None:
    ends = Instant(START + 5_000)
    scene = Scene(tmp_path, *map(contact, CROWD[:5]), options=LONE, in_flight=1, latency_ms=2_000)
    scene.want(a_set("s", CROWD[:5], "vip", until=ends))
    report = scene.apply()

    sent = scene.adds().total()
    assert (report.exit_code, report.status, sent) == (ExitCode.STALE, RunStatus.STOPPED, 2)
    assert pairs(report) == {"applied": sent, "not_sent": 5 - sent}
    assert report.error.startswith(f"the plan is stale from {iso(ends)} on")
    # what was sent is recorded: the set has ended, and gives nothing to anybody any more
    assert [bool(scene.known(each).ledger.tags) for each in CROWD[:5]] == [True] * sent + [False] * (5 - sent)


def test_a_set_that_begins_on_the_way_ends_a_plan_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD[:5]), options=LONE, in_flight=1, latency_ms=3_000)
    begins = Instant(START + 5_000)
    scene.want(a_set("s", CROWD[:5], absent="vip"), a_set("t", CROWD[4:5], "gold", start=begins))
    assert (scene.apply().exit_code, len(scene.here.sent)) == (ExitCode.STALE, 2)


def test_a_run_waits_for_no_day_that_begins_after_the_end_of_its_plan(tmp_path: Path) -> None:
    limits = Limits(100, 10_000, 100)
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=LONE, in_flight=1, limits=limits, latency_ms=0)
    midnight = Instant((scene.clock.ms // DAY_MS + 1) * DAY_MS)
    scene.want(a_set("s", "anna bert", "vip", until=midnight))
    scene.here.app.limiter.spend(98, now=scene.clock.now())
    report = scene.apply(spill=True)

    assert (pairs(report), report.exit_code) == ({"applied": 1, "not_sent": 1}, ExitCode.STALE)
    # nor does it hold the lock until then
    assert scene.clock.ms < midnight


@pytest.mark.slow
def test_a_run_may_wait_for_the_next_day(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD[:40]), options=LONE, in_flight=4, limits=Limits(100, 10_000, 1_000))
    scene.want(a_set("s", CROWD[:40], "vip"))
    scene.here.after = lambda nth: scene.here.app.limiter.spend(100 if nth < 10 else 0, now=scene.clock.now())
    began = scene.clock.ms
    report = scene.apply(spill=True)

    assert (pairs(report), report.exit_code) == ({"applied": 40}, ExitCode.DONE)
    assert scene.clock.ms // 86_400_000 == began // 86_400_000 + 1
