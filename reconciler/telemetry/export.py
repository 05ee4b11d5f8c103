"""The way out of telemetry: exporters over OTLP/HTTP, each with the requests that it makes, and their end.

Rules
1. The library sends in threads of its own, which end with the process: a run never waits for them. At the end a command
   waits for the last of them at most `FLUSH_S`, and no longer once an attempt has failed.
2. The answer of an endpoint is not read beyond its head, and a redirect is not followed.
3. The log of the library is silent: its words would repeat headers and addresses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, cast

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

FLUSH_S = 3.0
"""So long the end of a command waits for the last requests, at most."""


class ExportRequests:
    """The requests of one exporter, in place of its session: counts them, and leaves the bodies of answers unread."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self.verify: bool | str = True
        self.cert: str | tuple[str, str] | None = None
        self.reason = ""
        """Why the last request that failed did."""
        self.is_over = Event()
        """Set when all was sent, or when an attempt failed at the end."""
        self._is_closing = False

    def request(self, **arguments: Any) -> requests.Response:
        try:
            response = self._session.request(**arguments, stream=True, verify=self.verify, cert=self.cert)
        except Exception as error:
            self._fail(type(error).__name__)
            raise
        # the body may be endless
        response.close()
        if not 200 <= response.status_code < 300:
            self._fail(f"status {response.status_code}")
        else:
            self.reason = ""
        return response

    def close(self) -> None:
        self._session.close()

    def begin_end(self, shutdown: Callable[[], None]) -> None:
        """Sends all that waits, in a thread of its own."""

        def end() -> None:
            try:
                shutdown()
            except Exception as error:  # noqa: BLE001  whatever it is, the run is not affected
                self._fail(type(error).__name__)
            self.is_over.set()

        # an attempt that fails while the command works may succeed later
        self._is_closing = True
        Thread(target=end, name="telemetry", daemon=True).start()

    def _fail(self, reason: str) -> None:
        self.reason = reason
        if self._is_closing:
            self.is_over.set()


class Exporters:
    """The providers of instruments and spans; `resource` names the service, unless a variable does.

    `instance`: what tells apart processes that last. Gauges go without it: they tell of a location, whoever served it.
    """

    def __init__(
        self, resource: dict[str, str], instance: dict[str, str] | None = None, *, metrics: bool, traces: bool
    ) -> None:
        # a level above all others
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._ways: list[tuple[ExportRequests, Callable[[], None]]] = []
        # no other detector: one of them would send the arguments of the command line
        shared = Resource(dict(resource)).merge(OTELResourceDetector().detect())
        self._resource = Resource(dict(instance or {})).merge(shared)
        self.meters = self._open_meters(self._resource, on=metrics)
        self.gauges = self._open_meters(shared, on=metrics) if instance else self.meters
        self.tracers = self._open_tracers(on=traces)

    def _open_meters(self, resource: Resource, *, on: bool) -> MeterProvider:
        if not on:
            return MeterProvider(shutdown_on_exit=False)
        way = ExportRequests()
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(session=cast(Any, way)))
        provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._ways.append((way, provider.shutdown))
        return provider

    def _open_tracers(self, *, on: bool) -> TracerProvider:
        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        if on:
            way = ExportRequests()
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=cast(Any, way))))
            self._ways.append((way, provider.shutdown))
        return provider

    def end(self) -> set[str]:
        """Sends all that waits; the reasons why some was not delivered, empty where all was."""
        for way, shutdown in self._ways:
            way.begin_end(shutdown)
        until = time.monotonic() + FLUSH_S
        # all of them: each has its part of the same time
        late = [way for way, _ in self._ways if not way.is_over.wait(max(0.0, until - time.monotonic()))]
        reasons = {way.reason for way, _ in self._ways if way.reason}
        return reasons | ({f"it was not taken within {FLUSH_S:g} s"} if late else set())
