"""The instruments: one for each metric of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from reconciler.core.observing.metrics import METRICS, Metric, MetricKind, MetricName

Attributes = Mapping[str, str | int]


class Instruments:
    """Takes the values of metrics; `gauges` makes the gauges, `meter` the others."""

    def __init__(self, meter: Meter, gauges: Meter) -> None:
        self._records = {metric.name: _make_instrument(meter, gauges, metric) for metric in METRICS}

    def record(self, name: MetricName, value: float, attributes: Attributes) -> None:
        self._records[name](value, dict(attributes))


def _make_instrument(meter: Meter, gauges: Meter, metric: Metric) -> Callable[[float, dict[str, str | int]], None]:
    match metric.kind:
        case MetricKind.COUNTER:
            return meter.create_counter(metric.name, metric.unit, metric.about).add
        case MetricKind.GAUGE:
            values = _NewValues()
            gauges.create_observable_gauge(metric.name, [values.take], metric.unit, metric.about)
            return values.record
        case MetricKind.HISTOGRAM:
            record = meter.create_histogram
            bounds = list(metric.bounds)
            return record(metric.name, metric.unit, metric.about, explicit_bucket_boundaries_advisory=bounds).record


class _NewValues:
    """The values of a gauge that were not told yet: each is told once.

    The worker that ran a location last knows how it is. One that repeated what it knew would contradict it for ever.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[tuple[str, str | int], ...], float] = {}

    def record(self, value: float, attributes: dict[str, str | int]) -> None:
        self._values[tuple(attributes.items())] = value

    def take(self, _: CallbackOptions) -> Iterable[Observation]:
        # by its key each: another thread may add one meanwhile
        return [Observation(self._values.pop(attributes), dict(attributes)) for attributes in [*self._values]]
