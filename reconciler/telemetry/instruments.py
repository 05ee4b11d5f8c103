"""The instruments: one for each metric of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from reconciler.core.model.names import Instant
from reconciler.core.observing.metrics import METRICS, Metric, MetricKind, MetricName

Attributes = Mapping[str, str | int]


class Instruments:
    """Takes the values of metrics; `now`: the clock by which an age goes on."""

    def __init__(self, meter: Meter, now: Callable[[], Instant]) -> None:
        self._records = {metric.name: _make_instrument(meter, metric, now) for metric in METRICS}

    def record(self, name: MetricName, value: float, attributes: Attributes) -> None:
        self._records[name](value, dict(attributes))


def _make_instrument(
    meter: Meter, metric: Metric, now: Callable[[], Instant]
) -> Callable[[float, dict[str, str | int]], None]:
    match metric.kind:
        case MetricKind.COUNTER:
            return meter.create_counter(metric.name, metric.unit, metric.about).add
        case MetricKind.GAUGE if metric.grows:
            ages = _Ages(now)
            meter.create_observable_gauge(metric.name, [ages.observe], metric.unit, metric.about)
            return ages.record
        case MetricKind.GAUGE:
            return meter.create_gauge(metric.name, metric.unit, metric.about).set
        case MetricKind.HISTOGRAM:
            record = meter.create_histogram
            bounds = list(metric.bounds)
            return record(metric.name, metric.unit, metric.about, explicit_bucket_boundaries_advisory=bounds).record


class _Ages:
    """Times since something, each with its attributes, as they are when they are sent."""

    def __init__(self, now: Callable[[], Instant]) -> None:
        self._now = now
        self._since: dict[tuple[tuple[str, str | int], ...], float] = {}

    def record(self, seconds: float, attributes: dict[str, str | int]) -> None:
        self._since[tuple(attributes.items())] = self._now() / 1000 - seconds

    def observe(self, _: CallbackOptions) -> Iterable[Observation]:
        now = self._now() / 1000
        # a copy: another thread may add one
        return [Observation(max(0.0, now - since), dict(attributes)) for attributes, since in [*self._since.items()]]
