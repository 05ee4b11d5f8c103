"""The spans of a command: the run, the rounds of each location in it, the requests in them. A job is a run, too."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from reconciler.core.model.errors import ExitCode
from reconciler.core.model.events import RoundStarted
from reconciler.core.model.measured import RequestEnded
from reconciler.core.model.names import Instant, LocationId

LOCATION = "reconciler.location"


class Spans:
    """The spans of a command: the run, the rounds of each location in it, the requests in them."""

    def __init__(self, start: Callable[..., Span], command: str, began: Instant) -> None:
        self._start = start
        attributes = {"reconciler.operation": command}
        self._run = start(f"reconciler {command}", attributes=attributes, start_time=_nanoseconds(began))
        self._jobs: dict[LocationId, Span] = {}
        self._rounds: dict[LocationId, Span] = {}

    def begin_job(self, location: LocationId, operation: str, now: Instant) -> None:
        # without a parent: a worker lasts for weeks, and its span would be told when it ends
        attributes = {"reconciler.operation": operation, LOCATION: location}
        self._jobs[location] = self._start(
            f"reconciler {operation}", context=Context(), attributes=attributes, start_time=_nanoseconds(now)
        )

    def end_job(self, location: LocationId, exit_code: int, now: Instant) -> None:
        self.end_round(location, now)
        if (span := self._jobs.pop(location, None)) is not None:
            _end_run(span, exit_code, now)

    def begin_round(self, event: RoundStarted, now: Instant) -> None:
        self.end_round(event.location, now)
        self._rounds[event.location] = self._start(
            "round",
            context=set_span_in_context(self._jobs.get(event.location, self._run)),
            attributes={
                LOCATION: event.location,
                "reconciler.round": event.round,
                "reconciler.requests": event.requests,
            },
            start_time=_nanoseconds(now),
        )

    def end_round(self, location: LocationId, now: Instant) -> None:
        if (span := self._rounds.pop(location, None)) is not None:
            span.end(_nanoseconds(now))

    def add_request(self, event: RequestEnded) -> None:
        # a request that only reads belongs to no round
        parent = self._rounds.get(event.location) or self._jobs.get(event.location, self._run)
        span = self._start(
            f"{event.method} {event.template}",
            context=set_span_in_context(parent),
            kind=SpanKind.CLIENT,
            attributes={LOCATION: event.location, **describe_request(event)},
            start_time=_nanoseconds(event.began),
        )
        if "error.type" in describe_request(event):
            span.set_status(Status(StatusCode.ERROR))
        # told when it was over: the span has the time that it took, not the time of this call
        span.end(_nanoseconds(Instant(event.began + event.milliseconds)))

    def end_run(self, exit_code: int, now: Instant) -> None:
        # a round that a signal cut short has no end of its own
        for location in tuple(self._rounds):
            self.end_round(location, now)
        for location in tuple(self._jobs):
            self.end_job(location, exit_code, now)
        _end_run(self._run, exit_code, now)


def _end_run(span: Span, exit_code: int, now: Instant) -> None:
    span.set_attribute("reconciler.exit_code", exit_code)
    if exit_code not in (ExitCode.DONE, ExitCode.CHANGES):
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(now))


def describe_request(event: RequestEnded) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "http.request.method": event.method,
        "server.address": event.server,
        "url.template": event.template,
    }
    if event.status:
        attributes["http.response.status_code"] = event.status
    if not event.status or event.status >= 400:
        attributes["error.type"] = str(event.status) if event.status else "no_answer"
    return attributes


def _nanoseconds(instant: Instant) -> int:
    return instant * 1_000_000
