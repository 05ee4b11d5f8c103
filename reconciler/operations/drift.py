"""Drift: `find_drift(session, request) -> DriftResult`. Law: holds no writer, stores nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.lease import Lease, judge_by_lease
from reconciler.core.model.measured import DriftCounted
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing import drift
from reconciler.core.observing.attribution import attribute_drift, mark_expected
from reconciler.core.observing.drift import DriftReport, Evidence
from reconciler.core.running.pending_causes import History, explain_pending
from reconciler.operations.current_state import CurrentState, find_current, find_leases, work_each
from reconciler.operations.plan_options import STORED_ONLY, Reading, Scope, make_selection
from reconciler.operations.state_place import describe_place
from reconciler.operations.stored_state import refuse_missing_state
from reconciler.operations.workspace import Session
from reconciler.ports import LocationReader
from reconciler.store import open_reader


@dataclass(frozen=True, slots=True)
class DriftRequest:
    """A request for the changes that others made."""

    scope: Scope = Scope()
    reading: Reading = STORED_ONLY
    """Its age says from when on an observation is stale, too."""
    foreign: bool = False
    """Whether tags that no manifest names are reported."""
    create_state: bool = False
    """Whether this is meant to be the first run of all."""


@dataclass(frozen=True, slots=True, repr=False)
class DriftResult:
    """The drift of each location."""

    reports: tuple[DriftReport, ...]
    notes: tuple[str, ...] = ()
    """Lines for a person: locations that were left out, contacts that could not be read."""
    leases: tuple[Lease, ...] = ()
    """Runs that were under way."""
    unknown: Mapping[LocationId, ReconcilerError] = field(default_factory=dict)
    """Locations of which nothing is known, and why; of one location alone it is raised."""

    def has_any(self, classes: Iterable[DriftClass]) -> bool:
        """Whether there is drift of one of these classes."""
        return any(report.count(drift_class) for report in self.reports for drift_class in classes)

    def explain_uncounted(self, classes: Collection[DriftClass]) -> list[str]:
        """A line for each class of pairs that no plan mends and `classes` leaves out."""
        # to fail on nothing is no statement on any class
        left_out = [drift_class for drift_class in _NOT_MENDED if classes and drift_class not in classes]
        counts = {drift_class: sum(report.count(drift_class) for report in self.reports) for drift_class in left_out}
        return [
            f"{count:,} {'tag' if count == 1 else 'tags'} {drift_class} {'does' if count == 1 else 'do'} not count for "
            f"the exit code: --fail-on does not name {drift_class}"
            for drift_class, count in counts.items()
            if count
        ]


_NOT_MENDED = (DriftClass.FLAPPING, DriftClass.HELD)


async def find_drift(session: Session, request: DriftRequest) -> DriftResult:
    """The drift of a session's locations, with contacts read first where the request asks for that.

    Raises UsageError for a scope that nothing has. A location whose reading or state fails has no report, and
    `unknown` of the result tells why; of the only location AuthRefused, another ApiError or StateError is raised.
    """
    refuse_missing_state(session, create_state=request.create_state)
    with open_reader(session.settings.state) as reader:
        current, unknown = await find_current(session, reader, request.scope, request.reading)
        known = {each.state.location: each for each in current}
        reports, unusable = work_each(
            session, known, lambda location: _report_drift(session, known[location], reader.at(location), request)
        )
        leases, unleased = find_leases(session, reader, reports)
        strays = session.list_strays(reader)
    told = [location for location in reports if location not in unleased]
    unread = [note for place in told for note in (*known[place].explain_copy(), *known[place].list_unread())]
    stateless = [location for location in told if known[location].state.lineage is None]
    return DriftResult(
        tuple(reports[location] for location in told),
        (*_describe_stateless(session, stateless), *strays, *unread),
        leases,
        {**unknown, **unusable, **unleased},
    )


def _describe_stateless(session: Session, locations: Sequence[LocationId]) -> Iterator[str]:
    """A line on the locations that have no state, whatever was observed of them."""
    if locations:
        more = f" and {len(locations) - 3:,} more" if len(locations) > 3 else ""
        # each is named beside its id where the word stands before it
        lacking = ", location ".join(locations[:3])
        yield (
            f"there is no state of location {lacking}{more} at {describe_place(session.settings)}: "
            "what others changed is told by an apply, and none is known here"
        )


def _report_drift(
    session: Session, current: CurrentState, reader: LocationReader, request: DriftRequest
) -> DriftReport:
    state, desired = current.state, session.desired[current.state.location]
    age = request.reading.max_age_ms
    deviations = drift.find_drift(
        desired,
        state,
        earlier=current.earlier,
        evidence=Evidence(current.searched, current.gone, current.incomplete),
        selection=make_selection(session, request.scope),
        now=session.now,
        stale_before=None if age is None else Instant(session.now - age),
        foreign=request.foreign,
    )
    runs = reader.read_runs()
    report = attribute_drift(
        deviations,
        state.observed,
        current.earlier or {},
        runs,
        # in the spelling of the state, so that a pair is found by either name
        lambda run: tuple(map(state.spelling.spell_record, reader.read_batches(run))),
    )
    lease = reader.read_lease(session.workspace.clock.now())
    judged = [judge_by_lease(run, lease) for run in runs]
    history = History(judged, reader.read_ending, reader.read_adopted, current.sent)
    report = explain_pending(report, desired, history, state.observed, now=session.now, spelling=state.spelling)
    report = mark_expected(report, session.settings.expected_drift, desired, now=session.now, spelling=state.spelling)
    for drift_class in DriftClass:
        session.workspace.listener(DriftCounted(state.location, drift_class, report.count(drift_class)))
    return report
