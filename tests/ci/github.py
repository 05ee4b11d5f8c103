"""A small fake of what the actions use of GitHub's REST API: comments and issues of one repository."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

REPOSITORY = "acme/crm"
BOT = "github-actions[bot]"
TOKEN = "ghs_fake"


@dataclass(slots=True)
class FakeGitHub:
    """`writes`: whether the token may write. `asked`: method and path of every request."""

    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    issues: list[dict[str, Any]] = field(default_factory=list)
    writes: bool = True
    asked: list[str] = field(default_factory=list)
    next_id: int = 100

    def answer(self, method: str, target: str, token: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(f"{method} {urlsplit(target).path}")
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Bad credentials"}
        if method != "GET" and not self.writes:
            return 403, {"message": "Resource not accessible by integration"}
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        parts = path.removeprefix(f"/repos/{REPOSITORY}/").split("/")
        return self._route(method, parts, query, json.loads(body or b"{}"))

    def _route(self, method: str, parts: list[str], query: dict[str, list[str]], given: Any) -> tuple[int, Any]:
        match method, parts:
            case "GET", ["issues", number, "comments"]:
                return 200, _page(self.comments.get(int(number), []), query)
            case "POST", ["issues", number, "comments"]:
                return 201, self._add(self.comments.setdefault(int(number), []), given)
            case "PATCH", ["issues", "comments", number]:
                every = [each for found in self.comments.values() for each in found]
                return 200, _change(every, "id", int(number), given)
            case "GET", ["issues"]:
                open_ = [each for each in self.issues if each["state"] == query["state"][0]]
                mine = [each for each in open_ if each["user"]["login"] == query["creator"][0]]
                return 200, _page(mine, query)
            case "POST", ["issues"]:
                return 201, self._add(self.issues, given | {"number": len(self.issues) + 1, "state": "open"})
            case "PATCH", ["issues", number]:
                return 200, _change(self.issues, "number", int(number), given)
        return 404, {"message": "Not Found"}

    def _add(self, to: list[dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
        self.next_id += 1
        to.append(given | {"id": self.next_id, "user": {"login": BOT}})
        return to[-1]

    def transport(self) -> httpx.MockTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            target = request.url.raw_path.decode()
            status, body = self.answer(
                request.method, target, request.headers.get("Authorization", ""), request.content
            )
            return httpx.Response(status, json=body)

        return httpx.MockTransport(handle)


def _page(items: list[dict[str, Any]], query: dict[str, list[str]]) -> list[dict[str, Any]]:
    size, page = int(query["per_page"][0]), int(query["page"][0])
    return items[size * (page - 1) : size * page]


def _change(items: list[dict[str, Any]], key: str, value: int, given: dict[str, Any]) -> dict[str, Any]:
    (found,) = [each for each in items if each[key] == value]
    found.update(given)
    return found


@contextmanager
def served(fake: FakeGitHub) -> Iterator[str]:
    """The fake over HTTP on loopback; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = fake.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _any  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
