"""Metrics and spans of one command: the only package that knows OpenTelemetry. Law: sees ports and core.

Rules
1. The names and attributes of `core/observing/metrics.py` and of `spans.py` leave, and no other text: no message of an
   error, no argument of the command line.
2. No error of it reaches the run: `close` returns the reasons why numbers were not delivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4
from weakref import WeakSet

from reconciler.core.model.errors import ExitCode
from reconciler.core.model.events import Event, RoundStarted, WaitCause, Waiting
from reconciler.core.model.journal import RunStatus
from reconciler.core.model.measured import (
    DriftCounted,
    HeldCounted,
    JobEnded,
    JobStarted,
    LocationEnded,
    LocationPlanned,
    QuotaCounted,
    RequestEnded,
    StateCalled,
    StateCounted,
)
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.observing.metrics import MetricName, count_state
from reconciler.core.planning.plan import LocationState
from reconciler.ports import LocationReader
from reconciler.telemetry.export import Exporters
from reconciler.telemetry.instruments import Attributes, Instruments
from reconciler.telemetry.spans import LOCATION, Spans, describe_request

LAG_EVERY_S = 0.25
LASTING = "fleet worker"
"""The command that lasts, and runs others."""
SERVICE = "reconciler"
_SYSTEMS = {"postgres": "postgresql"}


class Telemetry:
    """A Reporter that measures. `command`: the words of the command; `now` replaces the clock."""

    def __init__(self, command: str, version: str, now: Callable[[], Instant], *, metrics: bool, traces: bool) -> None:
        self._command, self._now, self._began = command, now, now()
        self._system = "unknown"
        self._successes: dict[LocationId, int] = {}
        self._jobs: dict[LocationId, tuple[str, Instant]] = {}
        """The jobs that a worker runs, each with its operation and its start."""
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._faults: set[str] = set()
        resource = {"service.name": SERVICE, "service.version": version}
        # side by side, each with counters of its own; of a short command the next one goes on with the same row
        instance = {"service.instance.id": str(uuid4())} if command == LASTING else None
        self._exporters = Exporters(resource, instance, metrics=metrics, traces=traces)
        meters, gauges = self._exporters.meters, self._exporters.gauges
        self._instruments = Instruments(meters.get_meter(SERVICE, version), gauges.get_meter(SERVICE, version))
        tracer = self._exporters.tracers.get_tracer(SERVICE, version)
        self._spans = Spans(tracer.start_span, command, self._began)

    def __call__(self, event: Event, /) -> None:
        self._guard(self._measure, event)

    def set_state(self, url: str) -> None:
        """The URL of the state, of which the scheme is told."""
        scheme = url.partition(":")[0]
        self._system = _SYSTEMS.get(scheme, scheme)

    def on_state(self, state: LocationState, reader: LocationReader) -> None:
        self._guard(self._measure_state, state, reader)

    def close(self, exit_code: int) -> str:
        """Ends the spans, and sends all that waits; why some was not delivered, empty where all was."""
        self._guard(self._end, exit_code)
        return ", ".join(sorted(self._exporters.end() | self._faults))

    def _guard(self, measure: Callable[..., None], *arguments: object) -> None:
        try:
            measure(*arguments)
        except Exception as error:  # noqa: BLE001  a fault in measuring is told at the end, and ends no run
            self._faults.add(type(error).__name__)

    def _measure(self, event: Event) -> None:
        # a state works in threads, which have no loop
        if not isinstance(event, StateCalled):
            self._watch_loop()
        match event:
            case RoundStarted():
                self._spans.begin_round(event, self._now())
            case RequestEnded():
                self._spans.add_request(event)
                self._record_request(event)
            case LocationEnded():
                self._spans.end_round(event.location, self._now())
                self._record_ended(event)
            # a wait for a lease or a release says nothing of the API's limits
            case Waiting() if event.cause is not WaitCause.OTHER:
                attributes: Attributes = {LOCATION: event.location, "reconciler.cause": event.cause.value}
                self._instruments.record(MetricName.PACE, event.milliseconds / 1000, attributes)
            case StateCalled():
                self._record_call(event)
            case JobStarted():
                self._jobs[event.location] = (event.operation, self._now())
                self._spans.begin_job(event.location, event.operation, self._now())
            case JobEnded():
                self._record_job(event)
            case _:
                self._record_number(event)

    def _record_number(self, event: Event) -> None:
        here: dict[str, str | int] = {LOCATION: event.location}
        record = self._instruments.record
        match event:
            case LocationPlanned():
                record(MetricName.PLAN, event.milliseconds / 1000, here)
            case HeldCounted():
                record(MetricName.HELD, event.number, here)
            case QuotaCounted():
                record(MetricName.QUOTA, event.remaining, here)
            case DriftCounted():
                record(MetricName.DRIFT, event.number, {**here, "reconciler.drift.class": event.drift_class.value})
            case StateCounted():
                record(MetricName.QUARANTINED, event.quarantined, here)
                if event.observed_ms is not None:
                    record(MetricName.OBSERVATION, event.observed_ms / 1000, here)

    def _record_request(self, event: RequestEnded) -> None:
        self._instruments.record(MetricName.REQUEST, event.milliseconds / 1000, describe_request(event))

    def _record_call(self, event: StateCalled) -> None:
        attributes: Attributes = {"db.system.name": self._system, "db.operation.name": event.operation}
        failed: Attributes = {"error.type": event.error} if event.error else {}
        self._instruments.record(MetricName.STATE, event.milliseconds / 1000, {**attributes, **failed})

    def _record_ended(self, event: LocationEnded) -> None:
        # a location that was refused has no pairs, and an exit code of its own
        for outcome, number in event.pairs:
            self._instruments.record(
                MetricName.PAIRS, number, {LOCATION: event.location, "reconciler.outcome": outcome.value}
            )
        # a run with nothing to send is no run of the history: only an apply itself knows that it succeeded
        if not self._is_apply(event.location):
            return
        age = 0 if event.exit_code == ExitCode.DONE else self._successes.get(event.location)
        if age is not None:
            self._instruments.record(MetricName.LAST_SUCCESS, age / 1000, {LOCATION: event.location})

    def _measure_state(self, state: LocationState, reader: LocationReader) -> None:
        now = self._now()
        self._measure(count_state(state.location, state.observed, now))
        age = find_success_ms(reader, now) if self._is_apply(state.location) else None
        if age is not None:
            self._successes[state.location] = age

    def _is_apply(self, location: LocationId) -> bool:
        operation, _ = self._jobs.get(location, (self._command, None))
        return operation == "apply"

    def _record_job(self, event: JobEnded) -> None:
        now = self._now()
        self._spans.end_job(event.location, event.exit_code, now)
        # a job that was taken over may come back to this worker while its first try ends: that one told of it
        if job := self._jobs.pop(event.location, None):
            operation, began = job
            self._record_run(operation, event.exit_code, now - began)

    def _record_run(self, operation: str, exit_code: int, milliseconds: int) -> None:
        attributes: Attributes = {"reconciler.operation": operation, "reconciler.exit_code": exit_code}
        self._instruments.record(MetricName.RUN, milliseconds / 1000, attributes)

    def _end(self, exit_code: int) -> None:
        now = self._now()
        self._spans.end_run(exit_code, now)
        self._record_run(self._command, exit_code, now - self._began)

    def _watch_loop(self) -> None:
        """Measures from now on how late a timer of the running event loop is."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        # each command part, and each job, runs a loop of its own
        if loop in self._loops:
            return
        self._loops.add(loop)

        def look(due: float) -> None:
            self._instruments.record(MetricName.LOOP_LAG, max(0.0, loop.time() - due), {})
            loop.call_later(LAG_EVERY_S, look, loop.time() + LAG_EVERY_S)

        # it ends with the loop, which forgets its timers
        loop.call_soon(look, loop.time())


def find_success_ms(reader: LocationReader, now: Instant) -> int | None:
    """Milliseconds since the last apply of a location's history that left nothing undone; None without one."""
    for run in reversed(reader.read_runs()):
        is_complete = run.header.operation == "apply" and run.status is RunStatus.COMPLETE
        # complete is not whole: some pairs may have been rejected or held
        if is_complete and not run.is_partial and run.ended is not None:
            return max(0, now - run.ended)
    return None
