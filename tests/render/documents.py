"""One of each document, with something of everything in it, as the command line answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.core.formats.json_forms import Count
from reconciler.core.manifests.compare_revisions import SettingMove, compare_revisions
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import LocationFacts, TrialVerdict, TriedRow
from reconciler.core.model.journal import Answer as Answered
from reconciler.core.model.journal import (
    BatchRecord,
    BatchStatus,
    FailedChange,
    LocationReport,
    RunEnding,
    RunHeader,
    RunLog,
    RunRecord,
    RunStatus,
    Shortfall,
)
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.people import MatchCounts
from reconciler.core.model.safe_text import Provenance, command_line
from reconciler.core.model.settings import DriftClass, Guard, GuardLimits
from reconciler.core.observing.attribution import Trend, compute_trend
from reconciler.core.observing.drift import Drifted, DriftReport, Setter, find_drift
from reconciler.core.observing.pull_report import PulledLocation, PulledSet
from reconciler.core.observing.refresh_rules import Refreshed, UnreachableReason
from reconciler.core.planning.guards import Measured
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, Plan, combine_plans
from reconciler.core.planning.situation import OlderRows
from reconciler.core.running.shortfalls import NEXT_PLAN, STOPPED
from reconciler.output.contact import ContactDocument, ContactStory
from reconciler.output.diff import DiffDocument
from reconciler.output.document import CommandOutput
from reconciler.output.drift import DriftDocument
from reconciler.output.fleet import FleetDocument, FleetJob, JobStatus
from reconciler.output.history import HistoryDocument
from reconciler.output.locations import ChangedPart, ListedLocation, LocationsDocument
from reconciler.output.log import LogDocument
from reconciler.output.plan import PlanDocument
from reconciler.output.pull import PullDocument
from reconciler.output.refresh import RefreshDocument
from reconciler.output.run import RunDocument
from reconciler.output.state import FactsDocument, StateDocument
from tests.build import DAY, HERE, NOW, a_rule, a_set, carries, declare, ids, many, plan_options, state, tags, unseen
from tests.core.scenes import ELSEWHERE, a_busy_plan

REFUSING = GuardLimits(max_adds=1, max_removes_pct=1.0)


def a_desired() -> Desired:
    sets = a_set("s", "anna bert cara dora emil", "vip", absent="trial")
    return declare(sets, rule=[a_rule("vip", triggers=True)])


def a_state() -> LocationState:
    known = state(
        anna=carries("vip trial", ledger="vip"),
        bert=carries("", ledger="vip"),
        cara=carries("", ledger="vip", doubt="vip"),
        dora=carries("", quarantine=Rejection.DELETED),
        emil=unseen(),
    )
    return LocationState(HERE, "6f1c8c4e-0000-4000-8000-000000000000", 41, known)


def some_drift() -> list[DriftReport]:
    earlier = {ContactId("anna"): carries("vip", ledger="vip")}
    here = find_drift(a_desired(), replace(a_state(), serial=41), earlier=earlier)
    return [here, replace(here, drifted=(), refreshed=False)]


WHOLE = (DriftClass.UNREACHABLE, DriftClass.STALE, DriftClass.UNOBSERVED)


def a_drift_of_all_classes() -> DriftReport:
    """One of each class, with who had set it, since when, and what is expected."""
    set_by = Setter("5f0c1a2b3c4d", "ci@example", Instant(NOW - 3 * DAY))
    return DriftReport(
        location=HERE,
        serial=41,
        drifted=tuple(
            Drifted(
                drift,
                Tag("" if drift in WHOLE else f"tag of {drift}"),
                "deleted",
                ids(many(2 + nth)),
                set_by=set_by if drift in (DriftClass.MISSING, DriftClass.FLAPPING) else None,
                after=Instant(NOW - 2 * DAY) if drift in (DriftClass.MISSING, DriftClass.UNEXPECTED) else None,
                oldest=None if drift is DriftClass.UNOBSERVED else Instant(NOW - DAY),
                newest=None if drift is DriftClass.UNOBSERVED else NOW,
                expected="a workflow consumes it" if drift is DriftClass.UNEXPECTED else None,
            )
            for nth, drift in enumerate(DriftClass)
        ),
        observed=1_200,
        oldest=Instant(NOW - 9 * DAY),
        newest=NOW,
        refreshed=True,
        incomplete="1,198 contacts came, and 1,200 were counted",
        waiting=(Tag("board"),),
        older_rows=OlderRows(1_198, 30, 30),
    )


def some_refreshes() -> list[Refreshed]:
    gone = {
        ContactId("dora"): UnreachableReason.UNSHOWN,
        ContactId("emil"): UnreachableReason.ELSEWHERE,
        ContactId("fred"): UnreachableReason.UNSHOWN,
    }
    read = Refreshed(HERE, "5f0c1a2b3c4d", 1_200, 17, Instant(NOW - 300_000), gone, "")
    unread = {ContactId("gina"): "contact gina was answered as hugo: merged?"}
    return [
        replace(read, unread=unread, older_rows=OlderRows(1_200, 30, 0)),
        replace(read, gone={}, incomplete="a contact came twice"),
        Refreshed(HERE, "", 0, 0, None, {}, ""),
    ]


def some_facts() -> CommandOutput:
    tried = (TriedRow("case", TrialVerdict.OTHERWISE, "'A' is kept as 'A'", Instant(NOW - DAY)),)
    learnt = replace(a_state(), facts=LocationFacts(True, 400, None, ((Tag("vip"), Tag("v.i.p.")),), NOW, tried))
    return CommandOutput(FactsDocument([learnt]))


WAITING = "waits for the add of vip, which did not end well"
REFUSED = "the API refuses the contact: contact is deleted"


def some_runs() -> tuple[LocationReport, ...]:
    """One that ended well in part, one that was stopped, one with nothing to do."""
    vip, old = (Tag("vip"),), (Tag("old"), Tag("trial"))
    findings = (
        FailedChange(ContactId("dora"), Outcome.REJECTED, Action.ADD, vip, "contact is deleted"),
        FailedChange(ContactId("emil"), Outcome.IN_DOUBT, Action.ADD, vip, "no row in the answer"),
        FailedChange(ContactId("fred"), Outcome.IN_DOUBT, Action.ADD, vip, "no row in the answer"),
    )
    pairs = {
        Outcome.APPLIED: 1_200,
        Outcome.NOOP: 3,
        Outcome.REJECTED: 1,
        Outcome.IN_DOUBT: 2,
        Outcome.DEFERRED: 5,
        Outcome.NOT_SENT: 4,
    }
    unsent = (
        Shortfall(Outcome.NOT_SENT, Action.ADD, vip, STOPPED, ids("gina hugo ida")),
        Shortfall(Outcome.NOT_SENT, Action.REMOVE, (Tag("old"),), NEXT_PLAN, ids("karl")),
        Shortfall(Outcome.DEFERRED, Action.REMOVE, old, WAITING, ids("emil fred")),
        Shortfall(Outcome.DEFERRED, Action.REMOVE, old[:1], REFUSED, ids("dora")),
    )
    run = LocationReport(
        HERE,
        "5f0c1a2b3c4d",
        RunStatus.COMPLETE,
        rounds=2,
        requests=14,
        adopted=5,
        released=1,
        pairs=pairs,
        findings=findings,
        outside=2,
        unsent=unsent,
    )
    stopped = replace(run, error="the token was refused", hint="check HIGHLEVEL_TOKEN", error_code=7, outside=0)
    return run, stopped, LocationReport(HERE, "", RunStatus.COMPLETE)


def _record(number: int, *, requests: int, rows: int, status: RunStatus = RunStatus.COMPLETE) -> RunRecord:
    began = Instant(NOW - (9 - number) * DAY)
    header = RunHeader(HERE, "apply", "anna@example.com", began, f"sha256:{number:064x}", f"{number:040x}")
    ended = None if status is RunStatus.RUNNING else Instant(began + 42_000)
    return RunRecord(f"{number:012x}", header, status, ended, requests, rows)


def _batch(log: RunRecord, action: Action, text: str, verdicts: Mapping[str, ContactOutcome | None]) -> BatchRecord:
    at = log.header.started
    answers = {ContactId(contact): Answered(verdict) for contact, verdict in verdicts.items()}
    return BatchRecord(action, _tags(text), at, Instant(at + 900), BatchStatus.ANSWERED, answers)


def _tags(text: str) -> tuple[Tag, ...]:
    return tuple(sorted(tags(text)))


def _added(text: str, *, old: str = "") -> ContactOutcome:
    return ContactOutcome(Outcome.APPLIED, "", None, tags(old), tags(text))


def some_logs() -> list[RunLog]:
    """Four runs, between which somebody else changed a tag; the rows of the first are given up."""
    first = _record(1, requests=7, rows=0)
    second = _record(2, requests=2, rows=3, status=RunStatus.STOPPED)
    third = replace(_record(3, requests=1, rows=2, status=RunStatus.STOPPED), waits_until=Instant(NOW - 5 * DAY))
    last = _record(4, requests=1, rows=1, status=RunStatus.RUNNING)
    gone = ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)
    adding = {"anna": _added("vip"), "bert": _added("vip", old="gold"), "dora": gone}
    adopted = frozenset(map(Tag, ("gold", "vip")))
    again = {"anna": _added("vip", old="trial"), "cara": _added("gold vip")}
    return [
        RunLog(first, ()),
        RunLog(second, (_batch(second, Action.ADD, "vip", adding),), {ContactId("emil"): adopted}, _ending()),
        RunLog(third, (_batch(third, Action.ADD, "gold vip", again),)),
        RunLog(last, (_batch(last, Action.REMOVE, "trial", {"anna": None}),)),
    ]


def _ending() -> RunEnding:
    """The token was refused in the midst of the run."""
    vip = (Tag("vip"),)
    refused = Shortfall(Outcome.REJECTED, Action.ADD, vip, "contact is deleted", ids("dora"))
    unsent = Shortfall(Outcome.NOT_SENT, Action.ADD, vip, STOPPED, ids("gina hugo"))
    deferred = Shortfall(Outcome.DEFERRED, Action.REMOVE, (Tag("old"),), REFUSED, ids("dora"))
    return RunEnding(
        pairs=((Outcome.APPLIED, 2), (Outcome.REJECTED, 1), (Outcome.DEFERRED, 1), (Outcome.NOT_SENT, 2)),
        rounds=1,
        adopted=2,
        error="the token was refused",
        shortfalls=(refused, unsent, deferred),
    )


def some_stories() -> list[ContactStory]:
    log = some_logs()[1]
    want = a_desired().want(ContactId("anna"))
    here = ContactStory(HERE, ContactId("anna"), carries("vip trial", ledger="vip", doubt="x"), want, (), (log.record,))
    (batch,) = log.batches
    trail = ((log.record.id, replace(batch, answers={ContactId("anna"): batch.answers[ContactId("anna")]})),)
    gone = carries("", quarantine=Rejection.DELETED)
    return [replace(here, trail=trail), replace(here, location=ELSEWHERE, known=gone, want=None)]


def a_comparison() -> CommandOutput:
    before = declare(a_set("vip", "anna bert", "vip"), a_set("old", "cara", "old"))
    after = declare(a_set("vip", "anna dora", "vip gold", absent="trial", place=Source("acme.yaml", 9, 3)))
    moves = [SettingMove("api.max_tags", "50", "20"), SettingMove("tags.vip", None, "{'triggers': True}")]
    both = [compare_revisions(HERE, before, after), compare_revisions(ELSEWHERE, before, None)]
    return CommandOutput(DiffDocument([*both, compare_revisions(HERE, after, after)], moves, "origin/main"))


def a_history() -> CommandOutput:
    logs = some_logs()
    return CommandOutput(HistoryDocument({HERE: [log.record for log in logs], ELSEWHERE: []}, _trends(logs)))


def _trends(logs: list[RunLog]) -> dict[LocationId, Trend]:
    return {HERE: compute_trend(logs), ELSEWHERE: compute_trend([])}


ACME, BETA, GAMMA, DELTA, ZETA = (LocationId(f"{letter}oc{'0' * 17}") for letter in "lmnop")
FLEET = {BETA: "Beta Bikes", GAMMA: "acme Outdoor", ZETA: "Übersee *Reisen*"}
"""Names of some of five locations, by which their rows are sorted."""


def a_fleet_plan() -> Plan:
    """Ready, refused, without changes, without any observation, and one in which a reading is needed."""
    vip, observed = a_set("vip", "anna bert", "vip"), state(anna=carries("vip", ledger="vip"), bert=carries(""))
    settled = state(anna=carries("vip", ledger="vip"), bert=carries("vip", ledger="vip"))
    waiting = a_set("churned", "emil", absent="vip")
    scenes = (
        (ACME, declare(vip), observed, GuardLimits()),
        (BETA, declare(vip, a_set("all", "anna bert cara", "newsletter")), observed, REFUSING),
        (GAMMA, declare(vip), settled, GuardLimits()),
        (DELTA, declare(vip, waiting), state(), GuardLimits()),
        (ZETA, declare(waiting), state(emil=unseen(ledger="vip", doubt="vip")), GuardLimits()),
    )
    plans = [
        plan_location(
            replace(desired, location=location), LocationState(location, "l", 7, known), plan_options(limits=limits)
        )
        for location, desired, known, limits in scenes
    ]
    return combine_plans(plans, as_of=NOW, manifests="manifests")


def a_fleet_of_runs() -> tuple[LocationReport, ...]:
    done, stopped, idle = some_runs()
    well = replace(done, findings=(), unsent=(), outside=0, pairs={Outcome.APPLIED: 40, Outcome.NOOP: 2}, requests=1)
    return (
        replace(done, location=ACME),
        replace(stopped, location=BETA),
        replace(idle, location=GAMMA),
        LocationReport(DELTA, "", RunStatus.STOPPED, error="no token for location " + DELTA, error_code=7),
        replace(well, location=ZETA),
    )


def a_fleet_of_drift() -> list[DriftReport]:
    every, nothing = a_drift_of_all_classes(), some_drift()[1]
    missing = Drifted(DriftClass.MISSING, Tag("vip"), "restored", ids(many(1_234)), oldest=NOW, newest=NOW)
    unobserved = Drifted(DriftClass.UNOBSERVED, Tag(""), "", ids(many(30)))
    return [
        replace(every, location=ACME),
        replace(nothing, location=BETA),
        replace(nothing, location=GAMMA, drifted=(missing,), oldest=Instant(NOW - 40 * DAY)),
        DriftReport(DELTA, 0, (unobserved,), 0, None, None, refreshed=False),
        replace(nothing, location=ZETA),
    ]


def a_fleet_of_refreshes() -> list[Refreshed]:
    read, incomplete, idle = some_refreshes()
    return [replace(read, location=ACME), replace(incomplete, location=BETA), replace(idle, location=GAMMA)]


def a_fleet_of_pulls() -> list[PulledLocation]:
    """One in which contacts joined, one that a guard refuses, one that fails, one without news."""
    before = Instant(NOW - DAY)
    kept = PulledSet(SetName("buyers"), "buyers.csv", 2, 2, before, MatchCounts(2, 2))
    joined = replace(kept, size=3, counts=MatchCounts(3, 3), joined=ids("cara"))
    guard = Measured(Guard.SHRINK_PCT, "buyers", 50, 100, refused=True, numerator=2, denominator=2)
    refused = replace(kept, counts=MatchCounts(0, 0), left=ids("anna bert"), guards=(guard,))
    failed = replace(kept, failure=("buyers.csv: no such file",))
    sets = {ACME: joined, BETA: refused, GAMMA: failed, DELTA: kept}
    return [PulledLocation(location, NOW, "5f0c1a2b3c4d", (entry,), 4) for location, entry in sets.items()]


def some_locations() -> CommandOutput:
    """Changed for reasons of their own, one without a manifest any more."""
    listed = (
        ListedLocation(
            Count(0), ACME, "Acme", ("manifests/acme.yaml",), True, changed=(ChangedPart.MANIFESTS, ChangedPart.FILES)
        ),
        ListedLocation(
            Count(1), BETA, "", ("manifests/b.yaml", "manifests/c.yaml"), None, changed=(ChangedPart.PULLED,)
        ),
    )
    gone = ListedLocation(None, GAMMA, "", (), has_state=False, deleted=True, changed=(ChangedPart.MANIFESTS,))
    return CommandOutput(LocationsDocument("origin/main", listed, (gone,)))


def made(answer: CommandOutput) -> CommandOutput:
    """The document as a command makes it that hid a password of its own, and knows where the CRM shows contacts."""
    line = command_line(["drift", "manifests", "--state", "postgresql://crm:s3cret@db/tags", "--tag", "v|p `x`"])
    url = "https://crm.example.com/{location_id}/contacts/{contact_id}"
    return replace(answer, made=lambda: Provenance(NOW, f"{7:040x}", "1.0.0", line), contact_url=url)


def some_jobs() -> CommandOutput:
    """One of each status, with a report and an error."""
    shared: dict[str, Any] = {"batch": "3f0c9e1b2a4d", "commit": f"{7:040x}", "worker": "vm:7:0c1d2e3f", "queued": NOW}
    ended = {"started": NOW, "ended": Instant(NOW + 4_000), "tries": Count(1)}
    digest = "sha256:" + "5f" * 32
    jobs = [
        FleetJob(
            1,
            location=ACME,
            operation="apply",
            approved=digest,
            status=JobStatus.ENDED,
            exit_code=Count(0),
            note="",
            result_text='{"report": "run"}',
            **shared,
            **ended,
        ),
        FleetJob(
            2,
            location=BETA,
            operation="apply",
            approved=digest,
            status=JobStatus.HELD,
            exit_code=Count(1),
            note="held for a person: 3 workers died or lost it while they ran it",
            **shared,
            **ended,
        ),
        FleetJob(
            3,
            location=GAMMA,
            operation="apply",
            approved="",
            status=JobStatus.PLANNED,
            exit_code=Count(2),
            note=f"approve it with --approved LOCATION={digest}",
            **shared,
            **ended,
        ),
        FleetJob(
            4,
            location=DELTA,
            operation="drift",
            approved="",
            status=JobStatus.QUEUED,
            exit_code=None,
            note="try 1 of 3: the state is away",
            tries=Count(1),
            started=NOW,
            ended=None,
            not_before=Instant(NOW + 10_000),
            **shared,
        ),
        FleetJob(
            5,
            location=DELTA,
            operation="pull",
            approved="",
            status=JobStatus.DROPPED,
            exit_code=Count(6),
            note="job 4 (drift, commit 000000000000) has not ended",
            tries=Count(0),
            started=None,
            ended=NOW,
            **shared,
        ),
    ]
    return CommandOutput(FleetDocument(jobs), {ACME: "Acme Outdoor"})


ANSWERS: Mapping[str, Callable[[], CommandOutput]] = {
    "plan": lambda: made(
        CommandOutput(PlanDocument(a_busy_plan(), notes=["winback is active soon"]), {HERE: "Acme Outdoor"})
    ),
    "plan-refused": lambda: CommandOutput(PlanDocument(a_busy_plan(limits=REFUSING), explain=True)),
    "plan-empty": lambda: CommandOutput(PlanDocument(combine_plans([], as_of=NOW, manifests=""))),
    "run": lambda: made(CommandOutput(RunDocument(some_runs()))),
    "drift": lambda: made(CommandOutput(DriftDocument(some_drift()))),
    "drift-classes": lambda: CommandOutput(
        DriftDocument([a_drift_of_all_classes()], notes=["location X has state but no manifest: left untouched"])
    ),
    "refresh": lambda: made(CommandOutput(RefreshDocument(some_refreshes()))),
    "facts": some_facts,
    "history": a_history,
    "log": lambda: made(CommandOutput(LogDocument(some_logs()[1]))),
    "diff": lambda: made(a_comparison()),
    "state": lambda: made(CommandOutput(StateDocument([a_state()]))),
    "contact": lambda: CommandOutput(ContactDocument(some_stories())),
    "locations": some_locations,
    "fleet": some_jobs,
    "plan-many": lambda: made(CommandOutput(PlanDocument(a_fleet_plan()), FLEET)),
    "run-many": lambda: made(CommandOutput(RunDocument(a_fleet_of_runs()), FLEET)),
    "drift-many": lambda: made(CommandOutput(DriftDocument(a_fleet_of_drift(), now=NOW), FLEET)),
    "refresh-many": lambda: CommandOutput(RefreshDocument(a_fleet_of_refreshes()), FLEET),
    "pull-many": lambda: CommandOutput(PullDocument(a_fleet_of_pulls()), FLEET),
}
