"""What a run does, scene by scene. `Scene.apply` checks the invariants of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.api_limits import Rate
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactState, ObservationOrigin
from reconciler.core.model.errors import ExitCode, LockHeld
from reconciler.core.model.events import BatchAnswered, Read, RoundStarted, Waiting
from reconciler.core.model.journal import (
    FailedChange,
    LocationReport,
    ReadFor,
    RunEnding,
    RunHeader,
    RunRecord,
    RunStatus,
    Shortfall,
    Surprises,
)
from reconciler.core.model.lease import TTL_MS
from reconciler.core.model.manifest import Authority
from reconciler.core.model.measured import HeldCounted, StateCalled, StateCounted
from reconciler.core.model.names import Instant, LocationId, Tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.changes import DeferralReason, Selection
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import Plan, combine_plans
from reconciler.highlevel.client import HighLevel
from reconciler.sandbox.access import Limits
from reconciler.store import open_reader, open_store
from tests.build import HERE, a_rule, a_set, contact, contact_state, name, plan_options
from tests.fakes import START, a_holder
from tests.sandbox.faults import LIES, Fault, FaultKind, FaultPlan
from tests.scene import THERE, Scene, without_limits

FREE = without_limits()


def faults(*kinds: FaultKind | None) -> FaultPlan:
    """The n-th write meets the n-th fault."""
    return FaultPlan({nth: Fault(kind) for nth, kind in enumerate(kinds) if kind is not None}, path="/contacts/bulk")


def status(scene: Scene) -> list[RunStatus]:
    with open_reader(scene.url) as reader:
        return [each.status for each in reader.at(HERE).read_runs()]


def pairs(report: LocationReport) -> dict[str, int]:
    return {outcome.value: number for outcome, number in report.pairs.items()}


def converged(scene: Scene) -> None:
    """Another run sends nothing."""
    before = len(scene.here.sent)
    plan = scene.plan(scene.options)
    assert plan.is_empty
    assert scene.apply(plan).exit_code == ExitCode.DONE
    assert len(scene.here.sent) == before


def test_a_first_run_adds_and_then_removes_what_it_found(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "trial"), contact("bert"), options=FREE)
    scene.want(a_set("vip", "anna bert", "vip", absent="trial"))
    report = scene.apply()

    assert (report.rounds, report.requests, pairs(report)) == (2, 2, {"applied": 3})
    assert (scene.tags("anna"), scene.tags("bert")) == ({"vip"}, {"vip"})
    assert [(each.action, each.contacts) for each in scene.here.sent] == [
        (Action.ADD, [name("anna"), name("bert")]),
        (Action.REMOVE, [name("anna")]),
    ]
    assert (report.exit_code, status(scene)) == (ExitCode.DONE, [RunStatus.COMPLETE])
    converged(scene)


def test_a_run_tells_each_of_its_steps_and_all_that_came_of_it(tmp_path: Path) -> None:
    """Of five pairs one is there already, one is of a contact that is gone, and the answer to two is lost."""
    scene = Scene(
        tmp_path,
        contact("anna"),
        contact("bert", "a"),
        contact("cara", deleted=True),
        contact("dora"),
        faults=faults(None, FaultKind.RESET_AFTER),
        options=FREE,
    )
    scene.want(a_set("s", "anna bert cara", "a"), a_set("t", "dora", "b x"))
    plan = scene.plan()
    report = scene.apply(plan, commit="0123abc")

    told = [event for event in scene.events if not isinstance(event, StateCalled)]
    assert told == [
        RoundStarted(HERE, 1, 2),
        BatchAnswered(HERE, Action.ADD, 1, 1, 2, applied=1, noop=1, rejected=1, unclear=0, quota_left=199_997),
        BatchAnswered(HERE, Action.ADD, 2, 2, 2, applied=0, noop=0, rejected=0, unclear=1, quota_left=199_996),
        Waiting(HERE, 99_800, "what is in doubt settles: then 1 contact is read"),
        Read(HERE, 1, 1),
        HeldCounted(HERE, 0),
        StateCounted(HERE, 1, 100_400),
    ]
    calls = [event.operation for event in scene.events if isinstance(event, StateCalled)]
    assert [each for each in calls if each != "renew_lease"] == [
        *("acquire_lease", "load_state", "read_runs", "begin_run"),
        # of the first answer it learns, by one read, that a write moves the date
        *("record_intent", "record_answer", "save_facts"),
        *("record_intent", "record_answer"),
        # what was read, then who is gone
        *("save_states", "save_states"),
        *("end_run", "release_lease"),
    ]
    (run,) = scene.runs()
    assert report == LocationReport(
        HERE,
        run.id,
        RunStatus.COMPLETE,
        rounds=1,
        requests=2,
        pairs={Outcome.APPLIED: 1, Outcome.NOOP: 1, Outcome.SEEN: 2, Outcome.REJECTED: 1},
        findings=(FailedChange(name("cara"), Outcome.REJECTED, Action.ADD, (Tag("a"),), "contact is deleted"),),
        reads=2,
        reads_for={ReadFor.DATES: 1, ReadFor.DOUBTS: 1},
    )
    ending = scene.log(run.id).ending
    assert ending == RunEnding(
        pairs=((Outcome.APPLIED, 1), (Outcome.NOOP, 1), (Outcome.SEEN, 2), (Outcome.REJECTED, 1)),
        rounds=1,
        reads=2,
        reads_for=(("dates", 1), ("doubts", 1)),
        shortfalls=(Shortfall(Outcome.REJECTED, Action.ADD, (Tag("a"),), "contact is deleted", (name("cara"),)),),
    )
    wanted = scene.wanted[HERE]
    assert (ending.manifests_digest, ending.definitions_digest) == (wanted.digest, wanted.definitions_digest)
    assert run == RunRecord(
        run.id,
        RunHeader(HERE, "apply", run.header.who, START, plan.change_digest, "0123abc"),
        RunStatus.COMPLETE,
        scene.clock.now(),
        requests=2,
        rows=4,
        is_partial=True,
    )


@pytest.mark.slow
def test_what_a_run_prunes_takes_no_approval_from_its_deferrals(tmp_path: Path) -> None:
    """The tag is owned through bert's pair alone, which the first round prunes; anna's removal was approved all the
    same."""
    scene = Scene(tmp_path, contact("anna", "old"), contact("bert"), options=FREE)
    scene.want(a_set("s", "bert", "old"))
    scene.apply()
    scene.want(a_set("s", "anna", "x", authority=Authority.OWNED))
    plan = scene.plan()
    assert [(each.reason, each.tags) for each in plan.locations[0].deferrals] == [
        (DeferralReason.UNTIL_OBSERVED, ("old",))
    ]
    report = scene.apply(plan)
    assert (scene.tags("anna"), scene.tags("bert"), report.exit_code) == ({"x"}, set(), ExitCode.DONE)
    assert pairs(report) == {"applied": 3}
    converged(scene)


@pytest.mark.slow
def test_what_a_run_prunes_is_owned_no_more_where_nothing_was_deferred(tmp_path: Path) -> None:
    """Bert's was the only pair of the tag; that others gave it to Anna meanwhile concerns no plan any more."""
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.want(a_set("o", "anna", "o"), a_set("s", "bert", "old"))
    scene.apply()
    scene.want(a_set("o", "anna", "o x", authority=Authority.OWNED))
    plan = scene.plan()
    scene.edit("anna", add="old")
    report = scene.apply(plan)
    assert (pairs(report), report.outside, report.exit_code) == ({"applied": 2}, 0, ExitCode.DONE)
    assert (scene.tags("anna"), scene.tags("bert")) == ({"o", "x", "old"}, set())
    converged(scene)


def test_who_leaves_a_set_loses_its_tags_and_nothing_else(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert", "own"), options=FREE)
    scene.want(a_set("vip", "anna bert", "vip"))
    scene.apply()
    scene.want(a_set("vip", "anna", "vip"))
    report = scene.apply()

    assert (report.requests, pairs(report)) == (1, {"applied": 1})
    assert (scene.tags("anna"), scene.tags("bert")) == ({"vip"}, {"own"})
    converged(scene)


def test_what_is_there_already_is_adopted_without_a_request(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "vip"), options=FREE)
    scene.want(a_set("others", "anna", "other"))
    scene.apply()
    scene.want(a_set("others", "anna", "other"), a_set("vip", "anna", "vip"))
    report = scene.apply()

    assert (report.requests, report.adopted, report.exit_code) == (0, 1, ExitCode.DONE)
    converged(scene)
    scene.want(a_set("others", "anna", "other"))
    scene.apply()
    assert scene.tags("anna") == {"other"}


def test_rejected_contacts_are_quarantined_and_the_run_is_partial(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path, contact("anna"), contact("gone", deleted=True), contact("away", location=THERE), options=FREE
    )
    scene.want(a_set("odd", "anna gone away no-id", "vip"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 1, "rejected": 3}, ExitCode.PARTIAL)
    assert sorted((each.contact, each.message) for each in report.findings) == [
        (name("away"), "contact does not belong to location"),
        (name("gone"), "contact is deleted"),
        (name("no-id"), "contact id is not a valid firebase id"),
    ]
    plan = scene.plan()
    assert sorted((each.why, len(each.contacts)) for each in plan.locations[0].quarantined) == [
        ("deleted", 1),
        ("invalid", 1),
        ("other location", 1),
    ]
    converged(scene)


def test_a_rejected_pair_leaves_the_ledger(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("gone", deleted=True), options=FREE)
    scene.want(a_set("vip", "gone", "vip"))
    scene.apply()
    scene.want()

    assert scene.plan().is_empty


def test_a_contact_is_never_without_a_tag_of_its_group(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    rules = [a_rule("lead", group="cycle"), a_rule("customer", group="cycle")]
    scene.want(a_set("s", "anna", "lead"), rule=rules)
    scene.apply()
    scene.want(a_set("s", "anna", "customer"), rule=rules)
    report = scene.apply()

    assert [(each.action, each.tags) for each in scene.here.sent[1:]] == [
        (Action.ADD, ["customer"]),
        (Action.REMOVE, ["lead"]),
    ]
    assert report.rounds == 1
    converged(scene)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (FaultKind.TIMEOUT_AFTER, "in_doubt"),
        (FaultKind.TIMEOUT_BEFORE, "in_doubt"),
        (FaultKind.ERROR_AFTER, "in_doubt"),
        (FaultKind.UNREADABLE, "in_doubt"),
    ],
)
def test_what_goes_waits_for_what_comes(tmp_path: Path, kind: FaultKind, outcome: str) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=faults(None, kind), options=FREE, may_read=False)
    rules = [a_rule("lead", group="cycle"), a_rule("customer", group="cycle")]
    scene.want(a_set("s", "anna bert", "lead"), rule=rules)
    scene.apply()
    scene.want(a_set("s", "anna", "customer"), a_set("t", "bert", "lead"), rule=rules)
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({outcome: 1, "not_sent": 1}, ExitCode.PARTIAL)
    assert (report.rounds, report.error, status(scene)[-1]) == (1, "", RunStatus.COMPLETE)
    assert "lead" in scene.tags("anna")
    (held,) = scene.plan().locations[0].deferrals
    assert held.reason is DeferralReason.UNTIL_SETTLED


@pytest.mark.slow
def test_what_goes_stays_where_what_comes_is_rejected(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "old"), contact("bert", "old"), options=FREE)
    scene.want(a_set("s", "anna bert", "old"))
    scene.apply()
    scene.here.crm.delete(name("bert"), now=scene.clock.now())
    scene.want(a_set("s", "anna bert", "new"))
    report = scene.apply()

    assert pairs(report) == {"applied": 2, "rejected": 1, "not_sent": 1}
    assert [each.contacts for each in scene.here.sent[1:]] == [[name("anna"), name("bert")], [name("anna")]]
    converged(scene)


def test_a_deferral_of_a_contact_in_doubt_is_told_as_deferred(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path, contact("anna", "trial"), faults=faults(FaultKind.RESET_AFTER), options=FREE, may_read=False
    )
    scene.want(a_set("s", "anna", "vip", absent="trial"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"in_doubt": 1, "deferred": 1}, ExitCode.PARTIAL)
    assert len(scene.here.sent) == 1


@pytest.mark.parametrize("retry_after", [True, False])
def test_too_many_requests_are_waited_for(tmp_path: Path, retry_after: bool) -> None:
    scene = Scene(
        tmp_path,
        contact("anna"),
        faults=faults(FaultKind.TOO_MANY, FaultKind.TOO_MANY),
        options=FREE,
        retry_after=retry_after,
    )
    scene.want(a_set("s", "anna", "vip"))
    report = scene.apply()

    assert (report.requests, pairs(report), report.exit_code) == (3, {"applied": 1}, ExitCode.DONE)
    waits = [each for each in scene.events if isinstance(each, Waiting)]
    # half of the pause that may be drawn, behind what the API asked for, or a window of the rate limit
    assert [each.milliseconds for each in waits] == [1_500 if retry_after else 10_500, 10_500]
    assert all(("; Retry-After: 1" in each.why) is retry_after for each in waits)
    converged(scene)


def test_a_limit_that_others_use_up_for_some_windows_ends_no_run(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=faults(*[FaultKind.USED_UP] * 6), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 1}, ExitCode.DONE)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("spill", [False, True])
def test_a_limit_that_stays_used_up_ends_the_run(tmp_path: Path, spill: bool) -> None:
    """Waiting for the next day helps nobody whose window is used up."""
    used_up = FaultPlan(dict.fromkeys(range(1, 10_000), Fault(FaultKind.USED_UP)))
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=used_up, options=FREE, in_flight=1)
    scene.here.app.limiter.limits = Limits(requests_per_day=1_000_000)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply(spill=spill)

    assert (pairs(report), report.exit_code) == ({"applied": 1, "not_sent": 1}, ExitCode.QUOTA)
    assert "let no request through for" in report.error
    assert "Zapier" in report.hint


def test_an_unreachable_api_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=faults(*[FaultKind.REFUSED] * 5), options=FREE)
    scene.want(a_set("s", "anna", "vip"), a_set("t", "bert", "b"))
    report = scene.apply()

    assert (report.requests, pairs(report), report.exit_code) == (5, {"not_sent": 2}, ExitCode.ERROR)
    assert "cannot reach https://api.example" in report.error
    assert scene.known("anna") == ContactState()
    assert status(scene) == [RunStatus.STOPPED]
    assert pairs(scene.apply()) == {"applied": 1, "rejected": 1}


@pytest.mark.slow
def test_the_ledger_of_a_contact_is_as_before_when_nothing_was_sent(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=faults(None, *[FaultKind.REFUSED] * 5), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    scene.apply()
    before = scene.known("anna")
    scene.want(a_set("s", "anna", "vip new"))
    scene.apply()

    assert scene.known("anna") == before


DOUBTFUL = [kind for kind in FaultKind if kind not in (FaultKind.REFUSED, FaultKind.TOO_MANY, FaultKind.USED_UP, *LIES)]


@pytest.mark.one_in(21)
@pytest.mark.parametrize("kind", DOUBTFUL)
@pytest.mark.parametrize("action", list(Action))
def test_an_unknown_effect_is_held_where_nothing_may_be_read(tmp_path: Path, kind: FaultKind, action: Action) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=faults(None, kind), options=FREE, may_read=False)
    scene.want(a_set("s", "anna bert", ("one", *(["vip"] if action is Action.REMOVE else []))))
    scene.apply()
    scene.want(a_set("s", "anna bert", ("one", *(["vip"] if action is Action.ADD else []))))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"in_doubt": 2}, ExitCode.PARTIAL)
    assert status(scene)[-1] is RunStatus.COMPLETE
    (held,) = scene.plan().locations[0].held
    assert (held.tags, held.contacts) == (("vip",), (name("anna"), name("bert")))
    converged(scene)


@pytest.mark.slow
def test_a_doubt_is_not_settled_by_an_answer_about_something_else(tmp_path: Path) -> None:
    plan = FaultPlan({1: Fault(FaultKind.LATE, delay_ms=80_000)})
    scene = Scene(tmp_path, contact("anna"), faults=plan, options=FREE, may_read=False)
    scene.want(a_set("s", "anna", "one"))
    scene.apply()
    scene.want(a_set("s", "anna", "one late"))
    scene.apply()
    scene.want(a_set("s", "anna", "one late another"))
    scene.apply()

    assert [each.tags for each in scene.plan().locations[0].held] == [("late",)]
    scene.clock.ms += 90_000
    scene.here.network.land(scene.clock.now())
    assert scene.adds()[name("anna"), Tag("late")] == 1


def observed_by_hand(scene: Scene, *contacts: str) -> tuple[ObservedContacts, ...]:
    return tuple(
        ObservedContacts(
            frozenset(scene.here.crm.tags_of(name(each))), scene.clock.now(), ObservationOrigin.GET, (name(each),)
        )
        for each in contacts
    )


def refreshed(scene: Scene, seen: tuple[ObservedContacts, ...]) -> Plan:
    """A plan on what was just read, as the command line makes it."""
    with open_reader(scene.url) as reader:
        state = reader.at(HERE).load_state()
    for each in seen:
        state.observed.update(dict(each.apply_to(state.observed)))
    located = plan_location(scene.wanted[HERE], state, scene.options, observations=seen)
    return combine_plans([located], as_of=scene.clock.now(), manifests="")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER])
def test_a_later_observation_settles_a_doubt_and_an_early_one_does_not(tmp_path: Path, kind: FaultKind) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=faults(kind), options=FREE, may_read=False)
    scene.want(a_set("s", "anna", "vip"))
    scene.apply()
    early = refreshed(scene, observed_by_hand(scene, "anna"))
    assert early.is_empty
    scene.apply(early)
    assert scene.known("anna").doubtful == {"vip"}  # type: ignore[attr-defined]
    scene.clock.ms += 90_000
    report = scene.apply(refreshed(scene, observed_by_hand(scene, "anna")))

    assert report.exit_code == ExitCode.DONE
    assert (scene.tags("anna"), sum(scene.adds().values())) == ({"vip"}, 1)
    converged(scene)


@pytest.mark.parametrize(("settle_ms", "doubt"), [(90_000, set()), (200_000, {"vip"})])
def test_an_observation_settles_a_doubt_after_the_time_that_the_plan_goes_by(
    tmp_path: Path, settle_ms: int, doubt: set[str]
) -> None:
    options = replace(FREE, settle_ms=settle_ms)
    scene = Scene(tmp_path, contact("anna"), faults=faults(FaultKind.TIMEOUT_AFTER), options=options, may_read=False)
    scene.want(a_set("s", "anna", "vip"))
    scene.apply()
    scene.clock.ms += 100_000
    scene.apply(refreshed(scene, observed_by_hand(scene, "anna")))
    assert scene.known("anna").doubtful == doubt  # type: ignore[attr-defined]


@pytest.mark.parametrize("newest_first", [True, False])
def test_of_what_a_refresh_observed_the_newest_wins(tmp_path: Path, newest_first: bool) -> None:
    scene = Scene(tmp_path, contact("anna", "vip"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", "vip"), a_set("t", "bert", "b"))
    by_id = observed_by_hand(scene, "anna")
    # the search shows her as she was five minutes ago
    by_search = ObservedContacts(
        frozenset(), Instant(scene.clock.now() - 300_000), ObservationOrigin.SEARCH, (name("anna"),)
    )
    plan = refreshed(scene, (*by_id, by_search) if newest_first else (by_search, *by_id))
    assert pairs(scene.apply(plan)) == {"applied": 1}

    assert (scene.known("anna").observed, scene.known("anna").origin) == ({"vip"}, ObservationOrigin.GET)
    assert scene.adds()[name("anna"), Tag("vip")] == 0
    converged(scene)


@pytest.mark.slow
def test_guards_in_later_rounds_know_what_a_refresh_brought(tmp_path: Path) -> None:
    crowd = [f"c{nth:03}" for nth in range(40)]
    scene = Scene(tmp_path, *(contact(each, "old") for each in crowd))
    scene.want(a_set("s", crowd[:10], "new", authority=Authority.OWNED), rule=[a_rule("old")])
    plan = refreshed(scene, observed_by_hand(scene, *crowd))
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("other"), START)
        store.save_states(lease, {name("zzz"): contact_state(observed=frozenset())})
        store.release_lease(lease)
    report = scene.apply(plan)

    assert (pairs(report), report.exit_code, report.error) == ({"applied": 20}, ExitCode.DONE, "")


def test_what_the_answer_to_a_blind_removal_decides_is_told_beforehand(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "trial vip"), contact("bert", "vip"), options=FREE)
    # the contact of the first set gets a request, that of the second none
    scene.want(
        a_set("s", "anna", absent="trial", authority=Authority.OWNED),
        a_set("t", "bert", authority=Authority.OWNED),
        rule=[a_rule("vip")],
    )
    plan = scene.plan()
    told = {each.contacts: (each.reason, each.tags) for each in plan.locations[0].deferrals}
    report = scene.apply(plan)

    assert told == {
        (name("anna"),): (DeferralReason.UNTIL_OBSERVED, ("vip",)),
        (name("bert"),): (DeferralReason.NEEDS_REFRESH, ("trial", "vip")),
    }
    assert (pairs(report), report.requests) == ({"applied": 2, "deferred": 2}, 2)
    assert (scene.tags("anna"), scene.tags("bert")) == (set(), {"vip"})


@pytest.mark.slow
def test_nothing_is_sent_of_what_needs_a_refresh_though_it_was_observed_since(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert", "vip"), options=FREE)
    scene.want(a_set("s", "anna", "new"), a_set("t", "bert", authority=Authority.OWNED), rule=[a_rule("vip")])
    plan = scene.plan()
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("other"), START)
        known = contact_state(frozenset({Tag("vip")}), Instant(START - 1), ObservationOrigin.GET)
        store.save_states(lease, {name("bert"): known})
        store.release_lease(lease)
    report = scene.apply(plan)

    assert (report.requests, report.outside, report.exit_code) == (1, 1, ExitCode.PARTIAL)
    assert scene.tags("bert") == {"vip"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_between_intent_and_answer(tmp_path: Path, when: str) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE, may_read=False)
    scene.want(a_set("s", "anna", "vip"), a_set("t", "bert", "late"))
    scene.apply_and_die(**{when: 0})
    # as its machine left it: the next run ends it
    assert status(scene) == [RunStatus.RUNNING]
    (first,) = scene.plan().locations
    assert [(each.tags, each.contacts) for each in first.held] == [(("late",), (name("bert"),))]
    report = scene.apply()

    assert pairs(report) == {"applied": 1}
    assert status(scene) == [RunStatus.INTERRUPTED, RunStatus.COMPLETE]
    assert [(each.tags, each.contacts) for each in scene.plan().locations[0].held] == [(("late",), (name("bert"),))]
    assert sum(each.tags == ["late"] for each in scene.here.sent) == 1
    converged(scene)


def test_a_plan_from_before_the_crash_does_not_send_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    plan = scene.plan()
    scene.apply_and_die(plan, after=0)
    report = scene.apply(plan)

    assert (report.requests, sum(scene.adds().values())) == (0, 1)


@pytest.mark.parametrize("fatal", [401, 403])
def test_a_token_that_is_refused_ends_the_run(tmp_path: Path, fatal: int) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))

    def revoke(nth: int) -> None:
        if nth == 1 and fatal == 401:
            scene.here.app._accesses.clear()
        elif nth == 1:
            scene.here.crm.location = LocationId("elsewhere")

    scene.here.before = revoke
    report = scene.apply()

    assert (report.requests, pairs(report), report.exit_code) == (2, {"applied": 1, "not_sent": 1}, ExitCode.AUTH)
    assert scene.known("bert") == ContactState()
    assert status(scene) == [RunStatus.STOPPED]


def test_a_refused_request_ends_the_run_and_is_withdrawn(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE, longest_tag=3)
    scene.want(a_set("s", "anna", ("too long",)))
    report = scene.apply()

    assert (report.requests, pairs(report), report.exit_code) == (1, {"not_sent": 1}, ExitCode.ERROR)
    assert scene.known("anna") == ContactState()


def test_a_lease_held_by_another_sends_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    with open_store(scene.url) as store:
        store.at(HERE).acquire_lease(a_holder("other"), START)
    report = scene.apply()

    assert (report.requests, pairs(report), report.exit_code) == (0, {"not_sent": 1}, ExitCode.LOCKED)
    assert "other@elsewhere" in report.error


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_lease_ends_the_run_without_another_request(tmp_path: Path, when: str) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), contact("cara"), options=FREE, in_flight=1)
    scene.want(*(a_set(each, [each], (each[0],)) for each in ("anna", "bert", "cara")))

    def pause(nth: int) -> None:
        """The process is stopped for longer than its lease lives, while its request is on its way."""
        if nth == 1:
            scene.clock.ms += TTL_MS
            with open_store(scene.url) as other:
                other.at(HERE).acquire_lease(a_holder("other"), scene.clock.now())

    setattr(scene.here, when, pause)
    report = scene.apply()

    assert (report.requests, report.exit_code) == (2, ExitCode.ERROR)
    assert "taken over" in report.error
    assert pairs(report) == {"applied": 1, "in_doubt": 1, "not_sent": 1}
    assert [each.contacts for each in scene.plan().locations[0].held] == [(name("bert"),)]


def test_a_run_stopped_before_its_first_request_sends_none_under_a_lost_lease(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=replace(FREE, rate=Rate(1, 120_000)))
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))

    def steal(nth: int) -> None:
        with open_store(scene.url) as other:
            other.at(HERE).acquire_lease(a_holder("other"), Instant(scene.clock.ms + TTL_MS))

    scene.here.after = steal
    report = scene.apply()

    assert (report.requests, pairs(report)) == (1, {"in_doubt": 1, "not_sent": 1})


def test_a_plan_that_the_state_has_outrun_sends_what_was_approved(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), contact("cara", "x"), options=FREE)
    scene.want(a_set("s", "anna bert", "vip"))
    plan = scene.plan()
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("other"), START)
        seen = contact_state(frozenset({Tag("vip")}), START, ObservationOrigin.GET)
        pruned = contact_state(frozenset({Tag("x")}), START, ObservationOrigin.GET, ledger=frozenset({Tag("x")}))
        store.save_states(lease, {name("anna"): seen, name("cara"): pruned})
        store.release_lease(lease)
    scene.here.crm.add(name("anna"), ["vip"], now=START, by="human")
    report = scene.apply(plan)

    assert [each.contacts for each in scene.here.sent] == [[name("bert")]]
    assert (pairs(report), report.outside) == ({"applied": 1, "noop": 1}, 1)
    assert report.exit_code == ExitCode.PARTIAL
    assert scene.tags("cara") == {"x"}


def test_guards_look_at_what_is_sent_not_at_what_is_left_out(tmp_path: Path) -> None:
    crowd = [f"c{nth:03}" for nth in range(20)]
    scene = Scene(tmp_path, contact("anna"), *(contact(each, "x") for each in crowd))
    scene.want(a_set("s", "anna", "vip"))
    plan = scene.plan()
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("other"), START)
        pruned = contact_state(frozenset({Tag("x")}), START, ObservationOrigin.GET, ledger=frozenset({Tag("x")}))
        store.save_states(lease, dict.fromkeys(map(name, crowd), pruned))
        store.release_lease(lease)
    report = scene.apply(plan)

    assert (pairs(report), report.outside, report.error) == ({"applied": 1}, 20, "")


def test_another_lineage_is_stale(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    scene.apply()
    scene.want(a_set("s", "anna", "vip more"))
    plan = scene.plan()
    scene.path.unlink()
    report = scene.apply(plan)

    assert (report.requests, pairs(report), report.exit_code) == (0, {"not_sent": 1}, ExitCode.STALE)


def test_a_guard_that_refuses_a_later_round_leaves_its_pairs_not_sent(tmp_path: Path) -> None:
    crowd = [f"c{nth:03}" for nth in range(20)]
    scene = Scene(tmp_path, *(contact(each, "old") for each in crowd))
    scene.want(a_set("s", crowd, "new", authority=Authority.OWNED), rule=[a_rule("old")])
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 20, "not_sent": 20}, ExitCode.PARTIAL)
    assert "guard max_removes_pct refuses" in report.error
    assert all(scene.tags(each) == {"old", "new"} for each in crowd)
    assert status(scene) == [RunStatus.STOPPED]


def test_a_guard_measures_the_whole_run(tmp_path: Path) -> None:
    options = replace(FREE, limits=replace(FREE.limits, max_requests=1))
    scene = Scene(tmp_path, contact("anna", "old"), options=options)
    scene.want(a_set("s", "anna", "new", absent="old"))
    report = scene.apply()

    assert (report.requests, pairs(report)) == (1, {"applied": 1, "not_sent": 1})
    assert "max_requests" in report.error


def test_tags_that_others_changed_are_taken_as_found(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "a"))
    scene.apply()
    scene.edit("anna", add=["theirs", "b"], remove=["a"])
    scene.want(a_set("s", "anna", "a b"))
    report = scene.apply()

    assert (pairs(report), report.outside, report.exit_code) == ({"noop": 1}, 1, ExitCode.PARTIAL)
    assert report.surprises == (Surprises((Tag("b"), Tag("theirs")), (Tag("a"),), (name("anna"),)),)
    assert scene.known("anna").observed == {"b", "theirs"}  # type: ignore[attr-defined]
    scene.apply()
    assert scene.tags("anna") == {"a", "b", "theirs"}
    converged(scene)


def test_a_location_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=faults(*[FaultKind.REFUSED] * 5), options=FREE)
    scene.add_place(THERE, contact("bert", location=THERE))
    scene.want(a_set("s", "anna", "a"))
    scene.want(a_set("s", "bert", "b"), location=THERE)
    first, second = scene.apply_all()

    assert (first.location, first.exit_code, pairs(first)) == (HERE, ExitCode.ERROR, {"not_sent": 1})
    assert (second.location, second.exit_code, pairs(second)) == (THERE, ExitCode.DONE, {"applied": 1})
    assert scene.tags("bert", THERE) == {"b"}


@pytest.mark.slow
@pytest.mark.parametrize("latency_ms", [10, 900])
def test_a_long_run_keeps_its_lease_and_the_rate_limit(tmp_path: Path, latency_ms: int) -> None:
    crowd = [f"c{nth:04}" for nth in range(1_000)]
    options = replace(FREE, caps=replace(FREE.caps, contacts=1))
    scene = Scene(tmp_path, *map(contact, crowd), options=options, latency_ms=latency_ms, limits=Limits(100, 10_000))
    scene.want(a_set("s", crowd, "vip"))
    refused: list[int] = []

    def try_to_steal(nth: int) -> None:
        if nth % 200 == 199:
            refused.append(intruder(scene))

    scene.here.before = try_to_steal
    report = scene.apply()

    assert (report.requests, pairs(report), report.exit_code) == (1_000, {"applied": 1_000}, ExitCode.DONE)
    assert refused == [ExitCode.LOCKED] * 5
    assert {each.status for each in scene.here.sent} == {201}
    assert scene.clock.ms - START >= 90_000


def intruder(scene: Scene) -> int:
    """Another process that would apply at this very moment."""
    with open_store(scene.url) as store:
        try:
            store.at(HERE).acquire_lease(a_holder("intruder"), scene.clock.now())
        except LockHeld as error:
            return error.exit_code
    return ExitCode.DONE


def test_a_quota_shared_with_others_is_waited_for(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    scene.here.app.limiter.spend(100, now=scene.clock.now())
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 1}, ExitCode.DONE)


def test_a_run_that_cannot_record_its_answer_says_so(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    scene.here.after = lambda nth: scene.path.write_bytes(b"gone" * 10_000)
    plan = scene.plan()
    with open_store(scene.url):
        pass
    report = scene.apply(plan)

    assert (report.requests, report.exit_code) == (1, ExitCode.ERROR)
    assert pairs(report) == {"in_doubt": 1, "not_sent": 1}
    assert str(scene.path) in report.error
    assert "1 answer could be written nowhere" in report.error


def test_a_dry_plan_takes_no_lease_and_writes_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    scene.plan()

    assert not scene.path.exists()
    assert scene.here.sent == []


def test_only_an_approved_plan_is_applied(tmp_path: Path) -> None:
    options = plan_options(limits=GuardLimits(max_adds=0))
    scene = Scene(tmp_path, contact("anna"), options=options)
    scene.want(a_set("s", "anna", "vip"))
    with pytest.raises(Exception, match="guard max_adds refuses"):
        scene.apply()

    assert scene.here.sent == []


@pytest.mark.slow
def test_an_exact_set_waits_for_the_next_plan_with_what_it_found(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "theirs"), options=FREE)
    scene.want(a_set("s", "anna", "vip", authority=Authority.EXACT))
    report = scene.apply()

    assert (pairs(report), report.outside, scene.tags("anna")) == ({"applied": 1}, 1, {"theirs", "vip"})
    scene.apply()
    assert scene.tags("anna") == {"vip"}
    converged(scene)


@pytest.mark.slow
def test_an_exact_set_is_finished_in_one_run_where_that_was_asked_for(tmp_path: Path) -> None:
    options = replace(FREE, selection=Selection(apply_deferrals=True))
    rule = [a_rule("safe", protected=True)]
    scene = Scene(tmp_path, contact("anna", "theirs safe"), contact("bert", "theirs"), options=options)
    scene.want(a_set("s", "anna", "vip", authority=Authority.EXACT), a_set("t", "bert", "vip"), rule=rule)
    plan = scene.plan()
    assert [each.reason for each in plan.locations[0].deferrals] == [DeferralReason.OPEN]
    assert plan.change_digest != scene.plan(FREE).change_digest
    report = scene.apply(plan)

    assert (pairs(report), report.outside) == ({"applied": 3}, 0)
    assert (scene.tags("anna"), scene.tags("bert")) == ({"safe", "vip"}, {"theirs", "vip"})
    converged(scene)


def test_an_open_ceiling_is_under_the_guards(tmp_path: Path) -> None:
    limits = replace(FREE.limits, max_removes=0)
    options = replace(FREE, selection=Selection(apply_deferrals=True), limits=limits)
    scene = Scene(tmp_path, contact("anna", "theirs"), options=options)
    scene.want(a_set("s", "anna", "vip", authority=Authority.EXACT))
    report = scene.apply()

    assert report.exit_code == 3
    assert "max_removes" in report.error
    assert scene.tags("anna") == {"theirs", "vip"}


def test_the_client_of_a_scene_is_the_real_one(tmp_path: Path) -> None:
    assert isinstance(Scene(tmp_path).api(HERE), HighLevel)
