"""Invariant 18: a run gives a tag no faster than its pace, and at its hours only, whatever happens on the way."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.formats.journal_json import listed_document
from reconciler.core.formats.plan_json import plan_document, read_plan, seal
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.errors import ExitCode, LockHeld
from reconciler.core.model.events import Waiting
from reconciler.core.model.journal import LocationReport, RunStatus
from reconciler.core.model.manifest import TagRule
from reconciler.core.model.names import ContactId, Tag, iso
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.release_rules import TagPace, TagWindow, local_time
from reconciler.core.model.settings import Guard
from reconciler.core.planning.batches import Caps
from reconciler.core.running.stop_conditions import Canary, StopOn
from reconciler.output.history import ending_cell
from reconciler.store import open_reader, open_store
from tests.build import HERE, a_rule, a_set, contact, declare, who
from tests.fakes import START, a_holder
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import DEFAULT, THERE, Killed, Scene, without_limits

HOUR = 3_600_000
NAMES = [f"c{number:02d}" for number in range(12)]
PACE = TagPace(5, HOUR)
NO_LIMITS = replace(DEFAULT.limits, max_removes_pct=None, empties_tag=False, shrink_pct=None)


def rule(pace: TagPace | None = PACE, window: TagWindow | None = None, **more: object) -> TagRule:
    return replace(a_rule("welcome", **more), pace=pace, window=window)  # type: ignore[arg-type]


def wanted(*rules: TagRule, tags: str = "welcome", names: str = " ".join(NAMES), **more: object) -> Desired:
    return declare(a_set("s", who(names), tags, **more), rule=rules or [rule()])  # type: ignore[arg-type]


def make(directory: Path, **more: object) -> Scene:
    return Scene(directory, *(contact(each, "trial") for each in NAMES), **more)  # type: ignore[arg-type]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make(tmp_path)


def given_at(scene: Scene, tag: str = "welcome") -> list[int]:
    log = scene.here.crm.transitions
    return [each.at for each in log if each.action is Action.ADD and each.tag == tag and each.by == "api"]


def most_in_a_period(scene: Scene, per_ms: int = HOUR, tag: str = "welcome") -> int:
    """By the location's own log."""
    times = given_at(scene, tag)
    return max((sum(begins <= at < begins + per_ms for at in times) for begins in times), default=0)


def count(report: LocationReport, outcome: Outcome) -> int:
    return report.pairs.get(outcome, 0)


def later(scene: Scene, milliseconds: int = HOUR) -> None:
    scene.clock.ms += milliseconds
    scene.options = replace(scene.options, now=scene.clock.now())


def sizes(scene: Scene) -> dict[str, int]:
    with open_reader(scene.url) as reader:
        return dict(reader.at(HERE).load_state().set_sizes)


def judged(scene: Scene, desired: Desired) -> list[Guard]:
    """The guards that refuse a plan under the limits that hold by default."""
    scene.wanted[HERE] = desired
    (plan,) = scene.plan(replace(scene.options, limits=DEFAULT.limits)).locations
    return [guard.guard for guard in plan.guards if guard.refused]


@pytest.mark.slow
def test_the_slices_are_judged_by_the_sizes_that_the_first_one_recorded(tmp_path: Path) -> None:
    """A set that grew on purpose is refused once, and one that shrinks in the midst of its release is, too."""
    crowd = [f"x{number:02d}" for number in range(40)]
    scene = Scene(tmp_path, *map(contact, crowd), options=without_limits())
    small, large = (wanted(names=" ".join(crowd[:number])) for number in (10, 40))
    scene.run(small)
    assert (sizes(scene), judged(scene, large)) == ({"s": 10}, [Guard.GROW_PCT])
    later(scene)
    scene.run(large)
    assert (sizes(scene), judged(scene, large)) == ({"s": 40}, [])
    assert Guard.SHRINK_PCT in judged(scene, small)


@pytest.mark.slow
def test_a_canary_that_left_contacts_out_records_no_sizes(scene: Scene) -> None:
    scene.run(wanted(names=NAMES[0]))
    later(scene)
    report = scene.run(wanted(), canary=Canary(8))
    assert (report.status, sizes(scene)) == (RunStatus.STOPPED, {"s": 1})


def test_what_fits_is_sent_and_the_others_wait(scene: Scene) -> None:
    report = scene.run(wanted())
    assert len(given_at(scene)) == 5
    assert (count(report, Outcome.APPLIED), count(report, Outcome.NOT_SENT)) == (5, 7)
    assert report.exit_code == ExitCode.PARTIAL
    assert not report.error
    (waiting,) = report.unsent
    assert waiting.why.startswith("waits until ")
    assert waiting.why.endswith("Z (pace of welcome: 5 in 1h)")
    assert report.notes == ("7 wait" + waiting.why.removeprefix("waits"),)


def test_what_an_error_kept_back_does_not_wait_for_its_pace(scene: Scene) -> None:
    """The token is refused with the first slice: nothing was given that the others would have to wait for."""
    scene.token = "no-such-token"
    report = scene.run(wanted())
    assert (report.exit_code, count(report, Outcome.NOT_SENT), report.notes) == (ExitCode.AUTH, 12, ())
    assert [each.why for each in report.unsent] == ["the run stopped before it was sent"]


def test_what_is_interrupted_while_it_waits_still_waits(scene: Scene) -> None:
    scene.hear = lambda event: scene.stop.ask(signal.SIGTERM) if isinstance(event, Waiting) else None
    report = scene.run(wanted(), wait=True)
    assert (report.exit_code, count(report, Outcome.APPLIED)) == (128 + signal.SIGTERM, 5)
    assert [each.why[:11] for each in report.unsent] == ["waits until"]


def test_the_same_plan_sends_slice_after_slice(scene: Scene) -> None:
    plan = scene.plan_for(wanted())
    scene.apply(plan)
    assert scene.apply(plan).requests == 0
    later(scene)
    scene.apply(plan)
    assert len(given_at(scene)) == 10
    later(scene)
    last = scene.apply(plan)
    assert last.exit_code == ExitCode.DONE
    assert last.status is RunStatus.COMPLETE
    assert len(given_at(scene)) == 12
    assert set(scene.adds().values()) == {1}
    assert most_in_a_period(scene) == 5


@pytest.mark.slow
def test_a_run_that_waits_sends_all(scene: Scene) -> None:
    report = scene.run(wanted(), wait=True)
    assert (report.exit_code, report.status) == (ExitCode.DONE, RunStatus.COMPLETE)
    assert count(report, Outcome.APPLIED) == 12
    assert most_in_a_period(scene) == 5
    assert next(each.why for each in scene.events if isinstance(each, Waiting)).startswith("7 wait until ")
    # as soon as it may
    assert max(given_at(scene)) - min(given_at(scene)) < 2 * HOUR + 60_000


def test_a_run_waits_for_no_slice_beyond_the_end_of_a_set(scene: Scene) -> None:
    report = scene.run(wanted(until=START + HOUR // 2), wait=True)
    assert (count(report, Outcome.APPLIED), count(report, Outcome.NOT_SENT)) == (5, 7)
    assert "not waited for: a set becomes active or expires before that, and the plan ends with it" in report.notes
    assert scene.clock.now() < START + HOUR // 2


@pytest.mark.slow
def test_a_run_waits_for_no_window_that_opens_as_a_set_ends(scene: Scene) -> None:
    noon = START - START % (24 * HOUR) + 12 * HOUR
    opens = TagWindow((0, 1, 2, 3, 4, 5, 6), 12 * 60, 13 * 60, "UTC")
    report = scene.run(wanted(rule(None, opens), until=noon), wait=True)

    assert (count(report, Outcome.NOT_SENT), given_at(scene)) == (12, [])
    assert "not waited for: a set becomes active or expires before that, and the plan ends with it" in report.notes
    later(scene, 24 * HOUR)
    report = scene.run(wanted(rule(None, opens), until=noon + 24 * HOUR + 1), wait=True)
    assert (count(report, Outcome.APPLIED), min(given_at(scene)) >= noon + 24 * HOUR) == (12, True)


@pytest.mark.slow
def test_additions_that_were_lost_are_sent_once_more_at_the_pace(scene: Scene) -> None:
    scene.here.network.plan = FaultPlan({1: Fault(FaultKind.RESET_BEFORE)}, path="/contacts/bulk")
    scene.run(wanted(names="c11"))
    later(scene)
    report = scene.run(wanted(), wait=True)
    assert (report.exit_code, len(given_at(scene)), most_in_a_period(scene)) == (ExitCode.DONE, 12, 5)
    assert set(scene.adds().values()) == {1}
    # those that were lost count, too: nobody can tell when they might have come to be
    tried = [(each.began, len(each.contacts)) for each in scene.here.sent]
    assert all(sum(adds for at, adds in tried if begins <= at < begins + HOUR) <= 5 for begins, _ in tried)


@pytest.mark.slow
def test_removals_are_not_paced(scene: Scene) -> None:
    scene.options = replace(scene.options, limits=NO_LIMITS)
    scene.run(wanted(rule(TagPace(20, HOUR))))
    later(scene)
    assert scene.run(wanted(rule(), names="c00")).exit_code == ExitCode.DONE
    assert [each for each in NAMES if "welcome" in scene.tags(each)] == ["c00"]


def test_other_tags_of_a_contact_do_not_wait(scene: Scene) -> None:
    report = scene.run(wanted(tags="welcome customer"))
    assert len(given_at(scene, "customer")) == 12
    assert len(given_at(scene)) == 5
    assert count(report, Outcome.NOT_SENT) == 7


@pytest.mark.slow
def test_a_removal_leaves_after_the_addition_that_waits(scene: Scene) -> None:
    scene.options = replace(scene.options, limits=NO_LIMITS)
    report = scene.run(wanted(absent="trial"))
    for each in NAMES:
        assert len(scene.tags(each) & {"welcome", "trial"}) == 1
    assert {each.why for each in report.unsent if each.action is Action.REMOVE} == {
        "waits for the add of welcome, which was not sent"
    }
    later(scene, 3 * HOUR)
    scene.run(wanted(absent="trial"), wait=True)
    assert all(scene.tags(each) == {"welcome"} for each in NAMES)


def test_a_group_is_never_empty(scene: Scene) -> None:
    scene.options = replace(scene.options, limits=NO_LIMITS)
    rules = rule(group="stage"), a_rule("trial", group="stage")
    scene.run(wanted(*rules))
    assert all(scene.tags(each) & {"welcome", "trial"} for each in NAMES)
    assert sum(scene.tags(each) == {"welcome"} for each in NAMES) == 5


@pytest.mark.slow
def test_nothing_is_given_while_the_window_is_closed(scene: Scene) -> None:
    # the clock of a scene begins at 11:06 UTC
    opens = TagWindow((0, 1, 2, 3, 4, 5, 6), 12 * 60, 13 * 60, "UTC")
    report = scene.run(wanted(rule(None, opens), tags="welcome customer"))
    assert not given_at(scene)
    assert len(given_at(scene, "customer")) == 12
    assert "(window of welcome: mon-sun 12:00-13:00 UTC)" in report.unsent[0].why
    report = scene.run(wanted(rule(None, opens), tags="welcome customer"), wait=True)
    assert report.exit_code == ExitCode.DONE
    assert all((at // HOUR) % 24 == 12 for at in given_at(scene))


@pytest.mark.slow
def test_a_request_that_waits_past_the_end_of_a_window_is_not_sent(scene: Scene) -> None:
    begins = START % (24 * HOUR)
    minute = begins // 60_000
    window = TagWindow((0, 1, 2, 3, 4, 5, 6), minute, (minute + 1) % 1440, "UTC")
    scene.options = replace(scene.options, caps=Caps(contacts=1))
    scene.takes_ms = 20_000
    scene.in_flight = 1
    report = scene.run(wanted(rule(None, window)))
    closes = START - START % 60_000 + 60_000
    assert 0 < len(given_at(scene)) < 12
    # a request that left in time may land a moment later
    assert all(at < closes + 25_000 for at in given_at(scene))
    assert all(each.began < closes + 20_000 for each in scene.here.sent)
    assert report.exit_code == ExitCode.PARTIAL


@pytest.mark.slow
def test_a_killed_run_counts_with_its_intents(scene: Scene) -> None:
    scene.wanted[HERE] = wanted()
    scene.apply_and_die(after=0)
    scene.options = replace(scene.options, now=scene.clock.now())
    scene.apply()
    assert len(given_at(scene)) == 5
    later(scene, HOUR + 200_000)
    scene.apply()
    assert most_in_a_period(scene) == 5


def kill(scene: Scene, *, after: bool) -> None:
    """The process dies at the first request of a run, if there is one."""

    def die(_: int) -> None:
        raise Killed

    setattr(scene.here, "after" if after else "before", die)
    with suppress(Killed):
        scene.apply()
    setattr(scene.here, "after" if after else "before", lambda _: None)
    scene.die()


LOST = Fault(FaultKind.RESET_AFTER)
UNSENT = Fault(FaultKind.RESET_BEFORE)


@pytest.mark.slow
@given(
    faults=st.dictionaries(st.integers(0, 12), st.sampled_from([LOST, UNSENT, Fault(FaultKind.TIMEOUT_AFTER)])),
    steps=st.lists(
        st.tuples(st.sampled_from(["run", "wait", "kill before", "kill after"]), st.integers(0, 70)), max_size=6
    ),
    size=st.integers(1, 5),
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_in_no_period_are_more_given_than_the_pace_allows(
    tmp_path_factory: pytest.TempPathFactory,
    faults: dict[int, Fault],
    steps: list[tuple[str, int]],
    size: int,
) -> None:
    """By the location's own log, whatever is lost, killed in between, sent again or waited for."""
    options = replace(DEFAULT, caps=Caps(contacts=size))
    scene = make(tmp_path_factory.mktemp("pace"), faults=FaultPlan(faults, path="/contacts/bulk"), options=options)
    scene.wanted[HERE] = wanted()
    for step, minutes in steps:
        if step.startswith("kill"):
            kill(scene, after=step.endswith("after"))
        else:
            scene.apply(wait=step == "wait")
        later(scene, minutes * 60_000)
        assert most_in_a_period(scene) <= PACE.adds


@pytest.mark.slow
def test_rows_that_a_pace_counts_are_kept(scene: Scene) -> None:
    for _ in range(5):
        scene.run(wanted(), history_keep=1)
        later(scene, HOUR // 5)
    assert most_in_a_period(scene) == 5


@pytest.mark.slow
def test_a_canary_waits_for_its_first_contacts(scene: Scene) -> None:
    report = scene.run(wanted(), canary=Canary(8))
    assert len(given_at(scene)) == 5
    assert any(note.startswith("the other contacts wait") for note in report.notes)
    # of the seven that are left six go first, the last of them an hour later; then they are judged
    scene.here.crm.delete(ContactId(who("c10")), now=scene.clock.now())
    report = scene.run(wanted(), canary=Canary(6), wait=True, stop_on=StopOn(errors=10))
    assert [len(each.contacts) for each in scene.here.sent] == [5, 5, 1]
    assert report.pairs == {Outcome.APPLIED: 5, Outcome.REJECTED: 1, Outcome.NOT_SENT: 1}
    assert report.error == "after the first 6 contacts: error_rate is 16.7 % (1 of 6), limit 10 %"
    assert most_in_a_period(scene) == 5


def test_each_location_has_its_own_pace(scene: Scene) -> None:
    scene.add_place(THERE, *(contact(each, "trial", location=THERE) for each in NAMES))
    scene.wanted[THERE] = declare(a_set("s", who(" ".join(NAMES)), "welcome"), rule=[rule()], location=THERE)
    scene.wanted[HERE] = wanted()
    scene.apply_all()
    assert sum(scene.adds(THERE).values()) == sum(scene.adds(HERE).values()) == 5


@pytest.mark.slow
def test_a_clock_that_is_put_back_lets_nothing_more_go(scene: Scene) -> None:
    scene.run(wanted())
    later(scene, -20 * 60_000)
    report = scene.run(wanted())
    assert len(given_at(scene)) == 5
    assert report.exit_code == ExitCode.PARTIAL


def test_what_a_revert_gives_back_waits_too(scene: Scene) -> None:
    scene.options = replace(scene.options, limits=NO_LIMITS)
    everyone = who(" ".join(NAMES))
    gone = scene.run(declare(a_set("s", everyone, "other", absent="trial")))
    assert not any("trial" in scene.tags(each) for each in NAMES)
    silent = declare(a_set("s", everyone, "other"), rule=[replace(a_rule("trial"), pace=PACE)])
    report = scene.revert(gone.run, silent)
    assert len(given_at(scene, "trial")) == 5
    assert report.exit_code == ExitCode.PARTIAL


@pytest.mark.slow
def test_a_second_applier_sends_nothing_while_the_first_one_waits(scene: Scene) -> None:
    refused: list[int] = []

    def hear(event: object) -> None:
        if isinstance(event, Waiting) and not refused:
            with open_store(scene.url) as store, pytest.raises(LockHeld):
                store.at(HERE).acquire_lease(a_holder("another"), scene.clock.now())
            refused.append(1)

    scene.hear = hear
    assert scene.run(wanted(), wait=True).exit_code == ExitCode.DONE
    assert refused
    assert most_in_a_period(scene) == 5


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
def test_a_window_that_closes_within_a_round_takes_no_tag_whose_replacement_was_not_given(
    scene: Scene, grouped: bool
) -> None:
    """Requests take their time, one after the other: the window is over before the last addition leaves."""
    scene.options = replace(scene.options, limits=NO_LIMITS)
    trial = a_rule("trial", group="stage") if grouped else a_rule("trial")
    scene.run(wanted(trial, tags="trial"))
    later(scene, 24 * HOUR)
    minute = scene.clock.ms % (24 * HOUR) // 60_000
    window = TagWindow(tuple(range(7)), minute, (minute + 1) % 1440, "UTC")
    scene.options = replace(scene.options, caps=Caps(contacts=1))
    scene.takes_ms, scene.in_flight = 12_000, 1
    if grouped:
        scene.run(wanted(rule(None, window, group="stage"), trial))
    else:
        scene.run(wanted(rule(None, window), trial, absent="trial"))
    assert 0 < len(given_at(scene)) < len(NAMES)
    assert all(scene.tags(each) & {"welcome", "trial"} for each in NAMES)


@pytest.mark.slow
def test_a_renamed_tag_is_replaced_slowly_and_nobody_is_without_either_name(scene: Scene) -> None:
    """The old name leaves a contact only after the new one came to it, however long that waits."""
    scene.options = replace(scene.options, limits=NO_LIMITS)
    scene.run(declare(a_set("s", who(" ".join(NAMES)), "hello")))
    later(scene, 24 * HOUR)
    plan = scene.plan_for(wanted(rule(renamed_from="hello")))
    reached = []
    for _ in range(3):
        report = scene.apply(plan)
        tags = [scene.tags(each) & {"welcome", "hello"} for each in NAMES]
        assert set(map(len, tags)) == {1}
        reached.append(tags.count({"welcome"}))
        later(scene)
    assert reached == [5, 10, 12]
    assert report.exit_code == ExitCode.DONE
    assert most_in_a_period(scene) == 5


@pytest.mark.slow
def test_a_plan_file_of_a_version_that_knew_no_slices_is_read_and_sent_slowly(scene: Scene) -> None:
    scene.wanted[HERE] = wanted()
    document = plan_document(scene.plan())
    (location,) = document["locations"]  # type: ignore[misc]
    assert location.pop("pacing")  # type: ignore[union-attr, call-overload]
    document["digest"] = seal(document)
    plan = read_plan(json.loads(json.dumps(document)))
    assert plan.locations[0].pacing == ()
    assert scene.apply(plan).exit_code == ExitCode.PARTIAL
    assert len(given_at(scene)) == 5
    later(scene)
    scene.apply(plan)
    assert (len(given_at(scene)), most_in_a_period(scene)) == (10, 5)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_that_waits_in_order(scene: Scene, signum: int) -> None:
    scene.hear = lambda event: scene.stop.ask(signum) if isinstance(event, Waiting) else None
    began = scene.clock.ms
    report = scene.run(wanted(), wait=True)
    assert scene.clock.ms - began < 60_000
    assert report.exit_code == 128 + signum
    assert (count(report, Outcome.APPLIED), count(report, Outcome.NOT_SENT)) == (5, 7)
    assert [(run.status, run.waits_until) for run in scene.runs()] == [(RunStatus.STOPPED, None)]
    with open_store(scene.url) as store:
        here = store.at(HERE)
        here.release_lease(here.acquire_lease(a_holder("next"), scene.clock.now()))
    # nothing is lost, and nothing of it sent twice
    scene.hear = lambda event: None
    assert scene.run(wanted(), wait=True).exit_code == ExitCode.DONE
    assert set(scene.adds().values()) == {1}
    assert (len(given_at(scene)), most_in_a_period(scene)) == (12, 5)


@pytest.mark.slow
def test_max_requests_judges_the_plan_as_a_whole_and_no_slice_is_more(scene: Scene) -> None:
    """Twelve contacts are one request, and three slices of them three: what the plan passed with, each slice does."""
    scene.options = replace(scene.options, limits=replace(NO_LIMITS, max_requests=1))
    assert scene.run(wanted(), wait=True).exit_code == ExitCode.DONE
    assert len(scene.updates) == 3
    # a slice is no way around the guard: it is the whole that was reviewed
    scene.options = replace(scene.options, caps=Caps(contacts=4))
    (planned,) = scene.plan_for(wanted(rule(), replace(rule(), tag=Tag("second")), tags="welcome second")).locations
    assert [(guard.guard, guard.measure) for guard in planned.refused] == [(Guard.MAX_REQUESTS, 3)]


@pytest.mark.slow
def test_the_journal_tells_until_when_the_rest_waits(scene: Scene) -> None:
    report = scene.run(wanted())
    (run,) = scene.runs()
    assert run.waits_until is not None
    assert local_time(run.waits_until, "UTC") in report.notes[0]
    assert ending_cell(run).text == f"rest waits until {local_time(run.waits_until, 'UTC')}"
    assert listed_document(run)["waits_until"] == iso(run.waits_until)
    later(scene, 3 * HOUR)
    scene.run(wanted(), wait=True)
    assert [ending_cell(each).text for each in scene.runs()][1:] == ["complete"]
    assert [listed_document(each)["waits_until"] for each in scene.runs()][1:] == [None]
