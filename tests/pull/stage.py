"""A stage for pulls: the real client, an emulated location behind a transport, and time that a test moves.

The index and the snapshot are kept from one pull to the next, as the state keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import httpx

from reconciler.core.manifests.match import MatchResult, match_rows
from reconciler.core.model.events import Event, Priced
from reconciler.core.model.names import ContactId, Instant, Source
from reconciler.core.model.people import (
    Match,
    MatchKey,
    PeopleBook,
    PeopleIndex,
    PeopleLot,
    RowClass,
    Snapshot,
    ValueKind,
)
from reconciler.core.model.settings import Settings
from reconciler.core.running.pace import Pace
from reconciler.highlevel import ApiArguments
from reconciler.operations.api import LocationApi
from reconciler.operations.people_index import PeopleReading, PeopleSource, ReadPeople
from reconciler.operations.workspace import SilentListener, Workspace, rate_from
from reconciler.sandbox.app import DEMO_TOKEN, Access, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact, World
from tests.build import CUSTOMER_FIELD, HERE, NOW, name
from tests.fakes import FakeClock
from tests.sandbox.faults import FaultPlan, Network
from tests.sandbox.transport import SandboxTransport

KEY = "a key of the tests, long enough"
EMAIL = (MatchKey(ValueKind.EMAIL, "mail"),)
PHONE = (MatchKey(ValueKind.PHONE, "phone"),)
NUMBER = (MatchKey(ValueKind.FIELD, "number", "customer_no"),)


@dataclass(frozen=True)
class Asked:
    """One request as it left."""

    method: str
    path: str
    body: str

    @property
    def is_page(self) -> bool:
        """Whether it is a page of all contacts."""
        return self.path.endswith("/search") and "filters" not in self.body

    @property
    def is_change(self) -> bool:
        return "dateUpdated" in self.body

    @property
    def is_look_up(self) -> bool:
        return "duplicate" in self.path or ("filters" in self.body and not self.is_change)

    @property
    def is_by_id(self) -> bool:
        return self.method == "GET" and "duplicate" not in self.path and "customFields" not in self.path


class Killed(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Pulled:
    """How a pull ended."""

    result: MatchResult
    read: ReadPeople
    asked: tuple[Asked, ...]
    costs: tuple[Priced, ...]
    """In the order in which they were told."""

    @property
    def contacts(self) -> tuple[ContactId, ...]:
        return self.result.contacts

    @property
    def classes(self) -> list[RowClass]:
        return [self.result.class_of(row) for row in range(len(self.result.lines))]

    def count(self, kind: str) -> int:
        """The requests that are pages, changes, look_ups, or by_id."""
        return sum(getattr(request, f"is_{kind}") for request in self.asked)


class Transport(httpx.AsyncBaseTransport):
    """The location behind its API; `before` is called with the number of each request of a pull, from 0, as it leaves.

    `answers`: may answer in place of the location.
    """

    def __init__(self, network: Network, clock: FakeClock) -> None:
        self.asked: list[Asked] = []
        self.before: Callable[[int], None] = lambda nth: None
        self.answers: Callable[[Asked], httpx.Response | None] = lambda asked: None
        self._inner = SandboxTransport(network, now=clock.now, sleep=clock.sleep_seconds, latency_ms=100)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.before(len(self.asked))
        asked = Asked(request.method, path, (await request.aread()).decode())
        self.asked.append(asked)
        return self.answers(asked) or await self._inner.handle_async_request(request)


@dataclass(frozen=True, slots=True, repr=False)
class StagedApi(LocationApi):
    transport: Transport = field(kw_only=True)

    def make_arguments(self, on_quota: object = None) -> ApiArguments:
        clock = self.workspace.clock
        return ApiArguments(
            token=DEMO_TOKEN, held_in="$TOKEN", transport=self.transport, on_quota=self.heed_quota, now=clock.now
        )


class Hearing(SilentListener):
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, /) -> None:
        self.events.append(event)


class Stage:
    """A location, its people by short names, and what was pulled of it so far."""

    def __init__(
        self, *contacts: Contact, faults: FaultPlan | None = None, access: Access | None = None, **assumptions: object
    ) -> None:
        self.clock = FakeClock(NOW)
        rules = Assumptions(**assumptions)  # type: ignore[arg-type]
        self.world = World(HERE, contacts, custom_fields=[CUSTOMER_FIELD], assumptions=rules)
        app = App(self.world, accesses=(access,) if access else (Access(),))
        self.network = Network(app, faults)
        self.transport = Transport(self.network, self.clock)
        self.index = PeopleIndex()
        self.before: Snapshot | None = None
        self.key = KEY
        self.listener = Hearing()

    def wait(self, *, minutes: float = 0, days: float = 0) -> None:
        self.clock.ms += round(minutes * 60_000 + days * 86_400_000)

    def give(self, short: str, person: object) -> None:
        """Another person from now on."""
        self.world.change_person(name(short), person, now=self.clock.now())  # type: ignore[arg-type]

    def pull(self, *rows: str, keys: tuple[MatchKey, ...] = EMAIL, full: bool = False, region: str = "") -> Pulled:
        """Pulls one set of these rows; the index has what was read even where it raises."""
        self.transport.asked, self.listener.events = [], []
        workspace = Workspace(
            Path("manifests"), {}, {"RECONCILER_KEY": self.key} if self.key else {}, self.listener, self.clock
        )
        settings = Settings()
        api = StagedApi(workspace, settings, HERE, Pace(rate_from(settings)), transport=self.transport)
        kept = PeopleBook(self.index)

        async def keep(lot: PeopleLot) -> None:
            kept.apply_lot(lot)
            self.index = kept.index

        source = make_source(rows, keys, region)
        contacts = frozenset(self.before.contacts if self.before else ())
        reading = PeopleReading(api, (source,), contacts, full=full, keep=keep)
        read = self.clock.run(reading.read(self.index))
        for failure in read.failures.values():
            raise failure
        result = match_rows(read.rows["vip"], read.book.index, self.before, read.update.unread)
        self.before = Snapshot(result.contacts, self.clock.now(), "sha256:0", result.counts)
        return Pulled(
            result,
            read,
            tuple(self.transport.asked),
            tuple(event for event in self.listener.events if isinstance(event, Priced)),
        )


def make_source(rows: Iterable[str], keys: Sequence[MatchKey], region: str = "") -> PeopleSource:
    """A file with a column for each key; its rows are lines of it."""
    text = "\n".join([",".join(key.column for key in keys), *rows]) + "\n"
    match = Match("people.csv", tuple(keys), region=region)
    return PeopleSource(
        "vip", "manifests/people.csv", Source("manifests/acme.yaml", 4, 5), match, lambda: BytesIO(text.encode())
    )


def refuse(status: int, message: str) -> httpx.Response:
    """As the vendor refuses."""
    return httpx.Response(status, content=json.dumps({"statusCode": status, "message": message}).encode())


def dated(contact: Contact, at: Instant) -> Contact:
    return replace(contact, added=at, updated=at)
