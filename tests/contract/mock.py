"""The mock that a vendor's OpenAPI document gives, and what each request to it and each answer of it differ in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.contract.vendor_api import USED

VIOLATIONS = "sl-violations"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Mock:
    """A mock behind a listener. `differences`: operation and what differs, as the mock judges it."""

    url: str
    port: int
    asked: set[str] = field(default_factory=set)
    """The operations, such as `GET /contacts/{contactId}`."""
    differences: set[tuple[str, str]] = field(default_factory=set)

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            content = answer.read()
        finally:
            connection.close()
        self._note(f"{method} {template_of(path)}", answer.status, found)
        return answer.status, {name: found[name] for name in found.keys() - HOP_BY_HOP - {VIOLATIONS}}, content

    def _note(self, operation: str, status: int, headers: dict[str, str]) -> None:
        self.asked.add(operation)
        if status >= 300:
            self.differences.add((operation, f"answer {status}"))
        for violation in json.loads(headers.get(VIOLATIONS, "[]")):
            place = ".".join("*" if part.isdigit() else part for part in violation["location"])
            self.differences.add((operation, f"{place}: {violation['code']}"))


def template_of(path: str) -> str:
    """The documented path; the path itself where none of those that reconciler asks fits."""
    bare = path.partition("?")[0]
    # a path without parameters is meant by itself, though one with a parameter would fit it too
    return next((each for each in sorted(USED, key=lambda each: "{" in each) if _fits(each, bare)), bare)


def _fits(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) is not None


@contextmanager
def mocking(document: dict[str, Any], directory: Path) -> Iterator[Mock]:
    """Prism with the document, on loopback, and a listener before it."""
    prism = shutil.which("prism")
    if prism is None:
        pytest.skip("prism mocks the vendor: npm install @stoplight/prism-cli")
    file = directory / "vendor.json"
    file.write_text(json.dumps(document))
    command = [prism, "mock", str(file), "--port", "0", "--verboseLevel", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            with _listening(_port_of(process)) as mock:
                yield mock
        finally:
            process.kill()


def _port_of(process: subprocess.Popen[str]) -> int:
    """The port that the mock chose; fails with what it said where it ends instead."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
            # what it goes on to say must be taken from it, or it waits
            Thread(target=process.stdout.read, daemon=True).start()
            return int(found[1])
    raise AssertionError("".join(said))


@contextmanager
def _listening(port: int) -> Iterator[Mock]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            sent = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            status, headers, content = mock.forward(self.command, self.path, sent, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 (the names that the library looks for)

        def log_message(self, *arguments: object) -> None:
            """A test's output is no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mock = Mock(f"http://127.0.0.1:{server.server_address[1]}", port)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield mock
    finally:
        server.shutdown()
        server.server_close()
