"""A listener that speaks OTLP over HTTP, on loopback, and keeps all bytes that come; and what it may do instead."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from typing import Any


@dataclass
class Listener:
    """`mode`: ok, 500, 302, silent (takes all, answers nothing), endless (a body without an end)."""

    mode: str = "ok"
    url: str = ""
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """The paths that were asked with another method: a client that follows a redirect asks so."""
    ended: Event = field(default_factory=Event)
    more: Condition = field(default_factory=Condition)

    @property
    def wire(self) -> bytes:
        """All that came, heads and bodies, each also unpacked."""
        parts = [f"{path} {head}".encode() + body for path, head, body in self.posts]
        parts += [gzip.decompress(body) for _, _, body in self.posts if body[:2] == b"\x1f\x8b"]
        return b"\n".join(parts)

    def metrics(self) -> dict[str, list[Any]]:
        """The points of each metric, as they were sent last."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        points: dict[str, list[Any]] = {}
        for path, _, body in self.posts:
            if path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in resource.scope_metrics:
                        points |= {
                            each.name: list(getattr(each, each.WhichOneof("data")).data_points)
                            for each in scope.metrics
                        }
        return points

    def wait_for(self, metric: str, count: int) -> bool:
        """Whether a metric was sent so often before long."""
        with self.more:
            return self.more.wait_for(lambda: self.count(metric) >= count, 30)

    def count(self, metric: str) -> int:
        """How often a metric was sent."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        bodies = [body for path, _, body in self.posts if path == "/v1/metrics"]
        return sum(
            sent.name == metric
            for body in bodies
            for each in ExportMetricsServiceRequest.FromString(body).resource_metrics
            for scope in each.scope_metrics
            for sent in scope.metrics
        )

    def spans(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        bodies = [body for path, _, body in self.posts if path == "/v1/traces"]
        resources = [each for body in bodies for each in ExportTraceServiceRequest.FromString(body).resource_spans]
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]

    def resource(self, metric: str = "reconciler.run.duration") -> dict[str, Any]:
        """What tells of the process that sent a metric."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        bodies = [body for path, _, body in self.posts if path == "/v1/metrics"]
        resources = [each for body in bodies for each in ExportMetricsServiceRequest.FromString(body).resource_metrics]
        return next(
            attributes(each.resource)
            for each in resources
            if any(sent.name == metric for scope in each.scope_metrics for sent in scope.metrics)
        )


def attributes(holder: Any) -> dict[str, Any]:
    """Those of a point, a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in holder.attributes}


@contextmanager
def listening(mode: str = "ok") -> Iterator[Listener]:
    listener = Listener(mode)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with listener.more:
                listener.posts.append((self.path, dict(self.headers), body))
                listener.more.notify_all()
            _answer(self, listener)

        def do_GET(self) -> None:
            listener.others.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    listener.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield listener
    finally:
        listener.ended.set()
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, listener: Listener) -> None:
    if listener.mode == "silent":
        listener.ended.wait(30)
        return
    handler.send_response({"500": 500, "302": 302}.get(listener.mode, 200))
    if listener.mode == "302":
        handler.send_header("Location", f"{listener.url}/elsewhere")
    if listener.mode == "endless":
        handler.end_headers()
        try:
            while not listener.ended.is_set():
                handler.wfile.write(b"x" * 65_536)
        except OSError:
            return
    handler.send_header("Content-Length", "0")
    handler.end_headers()
