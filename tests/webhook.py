"""A webhook on loopback that answers as a test says, and keeps what it got."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

SILENT = 0
"""No answer until the webhook closes."""


@dataclass
class Webhook:
    """`answers`: the status of each answer, the last one for all that follow."""

    answers: Sequence[int]
    url: str = ""
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    closing: Event = field(default_factory=Event)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        status = self.answers[min(len(self.bodies), len(self.answers) - 1)]
        self.paths.append(path)
        self.headers.append(headers)
        self.bodies.append(body)
        return status


@contextmanager
def open_webhook(*answers: int) -> Iterator[Webhook]:
    webhook = Webhook(answers or (200,))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = webhook.take(self.path, {name.lower(): text for name, text in self.headers.items()}, body)
            if status == SILENT:
                webhook.closing.wait()
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{webhook.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        webhook.url = f"http://127.0.0.1:{server.server_port}/hook/geheim?sig=a%2Fb"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield webhook
        finally:
            webhook.closing.set()
            server.shutdown()
            thread.join()
