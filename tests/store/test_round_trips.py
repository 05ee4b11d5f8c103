"""How often a request waits for PostgreSQL, counted on the way to a real server by a proxy that reads along; and how
long at most for one that says nothing any more.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pytest

from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_changes import record_answer, record_intent
from reconciler.core.model.contact_state import NEVER_OBSERVED
from reconciler.core.model.journal import RunHeader
from reconciler.core.model.lease import TTL_MS
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.ports import LocationStore
from reconciler.store import open_store
from tests.build import HERE, tags
from tests.fakes import START, a_holder
from tests.store.conftest import HOMES

pytestmark = pytest.mark.servers
MOST, MOST_NEW = 3, 5
"""Round trips that intent and answer of one request may take together, and those that bring tag sets never seen."""
CONTACTS = tuple(ContactId(f"contact{number:013}") for number in range(2_000))


class CountingProxy:
    """Hands on what client and server say; counts the messages after which a client can only wait.

    These are Sync, Flush and Query of PostgreSQL's protocol: until one of them a server keeps its answers back.
    """

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.round_trips = 0
        self._said, self._has_begun, self._waits = bytearray(), False, False
        self._thread = threading.Thread(target=self._hand_on)

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._server.close()
        self._thread.join()

    def _hand_on(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            with client, selectors.DefaultSelector() as ready:
                ready.register(client, selectors.EVENT_READ, self._server)
                ready.register(self._server, selectors.EVENT_READ, client)
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is client:
                            self._count(data)
                        key.data.sendall(data)

    def _count(self, data: bytes) -> None:
        self._said += data
        # the first message of a session has a length and no type
        head = 1 if self._has_begun else 0
        while len(self._said) >= head + 4:
            length = head + int.from_bytes(self._said[head : head + 4], "big")
            if len(self._said) < length:
                return
            waits = bytes(self._said[:head]) in (b"S", b"H", b"Q")
            # two such messages with none between them are waited for together
            self.round_trips += waits and not self._waits
            del self._said[:length]
            self._waits, self._has_begun, head = waits, True, 1


@contextmanager
def proxied(url: str) -> Iterator[tuple[str, CountingProxy]]:
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query))
    host = parameters.pop("host", "") or parts.hostname or "127.0.0.1"
    port = parts.port or 5432
    if host.startswith("/"):
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
    else:
        server = socket.create_connection((host, port))
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    with CountingProxy(server) as proxy:
        query = urlencode(parameters | {"sslmode": "disable", "gssencmode": "disable"})
        yield urlunsplit(("postgresql", f"{user}127.0.0.1:{proxy.port}", parts.path, query, "")), proxy


class Run:
    """One run in a location of 2,000 contacts."""

    def __init__(self, store: LocationStore, proxy: CountingProxy) -> None:
        self.store, self.proxy, self.now = store, proxy, START
        self.lease = store.acquire_lease(a_holder("one"), START)
        self.run = store.begin_run(self.lease, RunHeader(HERE, "apply", "anna@example", START))
        self.states = dict.fromkeys(CONTACTS, NEVER_OBSERVED)

    def send(self, action: Action, tag: str, contacts: tuple[ContactId, ...], before: str) -> int:
        """The round trips of a request, whose answer shows five different tag sets `before` it."""
        start, tagset = self.proxy.round_trips, tags(tag)
        intended = {
            contact: record_intent(self.states[contact], action, tagset, keep=tags(""), at=self.now)
            for contact in contacts
        }
        batch = Batch(action, contacts=contacts, tags=(Tag(tag),))
        number = self.store.record_intent(self.lease, self.run, batch, intended, self.now)
        verdicts = {contact: self.answer(action, tagset, before, nth % 5) for nth, contact in enumerate(contacts)}
        after = {
            contact: record_answer(intended[contact], verdict, action, tagset, sent=self.now, answered=self.now)
            for contact, verdict in verdicts.items()
        }
        self.store.record_answer(self.lease, number, verdicts, after, self.now)
        self.states |= after
        self.now = Instant(self.now + 100)
        return self.proxy.round_trips - start

    @staticmethod
    def answer(action: Action, tagset: TagSet, before: str, kind: int) -> ContactOutcome:
        old = tags(f"{before} {before}-{kind}")
        if action is Action.ADD:
            return ContactOutcome(Outcome.APPLIED, old=old, added=tagset)
        return ContactOutcome(Outcome.APPLIED, old=old | tagset, removed=tagset)


def test_a_request_waits_at_most_three_times_for_a_server(tmp_path: Path) -> None:
    with proxied(HOMES["postgres"](tmp_path)) as (url, proxy), open_store(url) as state:
        run = Run(state.at(HERE), proxy)
        lots = [CONTACTS[start : start + 500] for start in range(0, 2_000, 500)]
        # the first one reads what the location has so far
        run.send(Action.ADD, "first", lots[0], "old")
        known = [run.send(Action.ADD, tag, lot, "old") for tag in ("first", "second") for lot in lots]
        new = [run.send(Action.ADD, f"third-{nth}", lot, f"never-seen-{nth}") for nth, lot in enumerate(lots)]
        removed = [run.send(Action.REMOVE, f"third-{nth}", lot, "old") for nth, lot in enumerate(lots)]
        again = [run.send(Action.ADD, "first", lot, f"third-{nth}") for nth, lot in enumerate(lots)]
        assert max(new + removed + again) <= MOST_NEW, (new, removed, again)
        # each tag is a new one in the first request that has it
        assert sorted(known)[:-1] == [MOST] * (len(known) - 1), known


@pytest.mark.parametrize(("more", "idle_s"), [("", 30), ("&keepalives_idle=7", 7)])
def test_a_server_that_falls_silent_is_given_up_within_the_time_of_a_lease(
    tmp_path: Path, more: str, idle_s: int
) -> None:
    """What a system does by itself: it asks a peer that says nothing for the first time after two hours."""
    from reconciler.store.postgres_session import address, open_postgres_session

    asked = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    with proxied(HOMES["postgres"](tmp_path)) as (url, _):
        connection = open_postgres_session(address(url + more), writes=True).connection
        with connection, socket.socket(fileno=os.dup(connection.pgconn.socket)) as its:
            said = [its.getsockopt(socket.IPPROTO_TCP, option) for option in asked]
    assert said == [idle_s, 10, 3, 60_000]
    _, between_s, tries, unsent_ms = said
    assert max((30 + between_s * tries) * 1000, unsent_ms) <= TTL_MS
