"""The metrics that the product emits, one row each, and the numbers of a location that are measured for them.

Law: a metric, its attributes and their values name no contact, no tag and no value of a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.core.model.contact_state import ContactStates
from reconciler.core.model.measured import StateCounted
from reconciler.core.model.names import Instant, LocationId

SHORT_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds of a histogram for one request or one operation, in seconds, as OpenTelemetry advises them."""
LONG_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
"""Bounds of a histogram for a run or a wait, in seconds."""


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricName(StrEnum):
    """The names, as OpenTelemetry has them."""

    REQUEST = "http.client.request.duration"
    STATE = "db.client.operation.duration"
    RUN = "reconciler.run.duration"
    PLAN = "reconciler.plan.duration"
    PACE = "reconciler.pace.wait.duration"
    PAIRS = "reconciler.pairs"
    QUOTA = "reconciler.quota.remaining"
    HELD = "reconciler.held"
    QUARANTINED = "reconciler.quarantined"
    DRIFT = "reconciler.drift"
    LAST_SUCCESS = "reconciler.last_success.age"
    OBSERVATION = "reconciler.observation.age"
    LOOP_LAG = "reconciler.event_loop.lag"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `bounds`: those of a histogram."""

    name: MetricName
    kind: MetricKind
    unit: str
    attributes: tuple[str, ...]
    about: str
    bounds: tuple[float, ...] = ()


_HTTP = ("http.request.method", "http.response.status_code", "error.type", "server.address", "url.template")
_HERE = "reconciler.location"
METRICS = (
    Metric(MetricName.REQUEST, MetricKind.HISTOGRAM, "s", _HTTP, "Time of one request to the HighLevel API.", SHORT_S),
    Metric(
        MetricName.STATE,
        MetricKind.HISTOGRAM,
        "s",
        ("db.system.name", "db.operation.name", "error.type"),
        "Time of one operation of the state.",
        SHORT_S,
    ),
    Metric(
        MetricName.RUN,
        MetricKind.HISTOGRAM,
        "s",
        ("reconciler.operation", "reconciler.exit_code"),
        "Time of one command, from its start to its answer.",
        LONG_S,
    ),
    Metric(MetricName.PLAN, MetricKind.HISTOGRAM, "s", (_HERE,), "Time to make the plan of a location.", LONG_S),
    Metric(
        MetricName.PACE,
        MetricKind.HISTOGRAM,
        "s",
        (_HERE, "reconciler.cause"),
        "Time for which nothing was sent: the rate limit, the day's quota, a pause before another try.",
        LONG_S,
    ),
    Metric(
        MetricName.PAIRS,
        MetricKind.COUNTER,
        "{pair}",
        (_HERE, "reconciler.outcome"),
        "Planned pairs of contact and tag, by how they ended.",
    ),
    Metric(
        MetricName.QUOTA,
        MetricKind.GAUGE,
        "{request}",
        (_HERE,),
        "Requests that a run may still send today.",
    ),
    Metric(MetricName.HELD, MetricKind.GAUGE, "{pair}", (_HERE,), "Pairs that wait for a person or a reading."),
    Metric(MetricName.QUARANTINED, MetricKind.GAUGE, "{contact}", (_HERE,), "Contacts that the API refuses for good."),
    Metric(
        MetricName.DRIFT,
        MetricKind.GAUGE,
        "{pair}",
        (_HERE, "reconciler.drift.class"),
        "Drift by its class, in pairs or contacts, without expected drift.",
    ),
    Metric(
        MetricName.LAST_SUCCESS,
        MetricKind.GAUGE,
        "s",
        (_HERE,),
        "Time since an apply last ended with exit code 0, told by each apply.",
    ),
    Metric(
        MetricName.OBSERVATION,
        MetricKind.GAUGE,
        "s",
        (_HERE,),
        "Age of the oldest observation in the state.",
    ),
    Metric(
        MetricName.LOOP_LAG,
        MetricKind.HISTOGRAM,
        "s",
        (),
        "Delay of a timer of the event loop, four times a second.",
        SHORT_S,
    ),
)


def count_state(location: LocationId, observed: ContactStates, now: Instant) -> StateCounted:
    """The numbers of a location's state, by a look at what contacts share."""
    quarantined, times = 0, set[Instant]()
    # a million contacts share some thousand states
    for index, contacts in observed.contacts.count_integers().items():
        pattern = observed.patterns[index]
        quarantined += contacts if pattern.quarantine is not None else 0
        times |= set() if pattern.observed_at is None else {pattern.observed_at}
    return StateCounted(location, quarantined, max(0, now - min(times)) if times else None)
