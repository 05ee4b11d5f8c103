"""A location of a world behind its API: what it is asked, what comes of it, who else is at work there."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import httpx

from reconciler.core.model.names import Instant, LocationId, Tag
from reconciler.core.model.outcome import Action
from reconciler.highlevel.tokens import LOCATION_TOKEN_PATH
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import NO_SCOPE, Access, App
from reconciler.sandbox.messages import NO_ACCESS
from reconciler.sandbox.world import World as Crm
from tests.sandbox.faults import FaultKind, FaultPlan, Network
from tests.sandbox.transport import SandboxTransport
from tests.simulation.process import AFTER, BEFORE, Process
from tests.simulation.virtual import VirtualClock

ORIGIN = "https://localhost:8443"
BULK = "/contacts/bulk/tags/update/"
SEARCH = "/contacts/search"
RUNS = [f"run-{nth}" for nth in range(200)]
CONSUMED = Tag("welcome")
RARELY = 0.5
BOMBS = 0.2
"""To unpack a bomb takes as long as to play a world."""
AGENCIES = 0.2
"""So many locations are asked by tokens that an agency's are exchanged for."""
RARE = (FaultKind.BOMB, FaultKind.USED_UP, FaultKind.UNFOUND)
"""What only so much of all trouble has besides what is drawn: to unpack a bomb takes a while."""


def token_of(run: str) -> str:
    return f"pit-secret-of-{run}"


def location_token_of(run: str) -> str:
    """What the token of a run is exchanged for, where it is an agency's."""
    return f"location-secret-of-{run}"


class Exchanged(StrEnum):
    """How a server may answer the exchange of a token: the vendor's documents spell it in two ways, with two codes."""

    SNAKE_200 = "access_token-200"
    SNAKE_201 = "access_token-201"
    CAMEL_200 = "accessToken-200"
    CAMEL_201 = "accessToken-201"
    GATEWAY = "token-gateway"
    UNREADABLE = "token-unreadable"


COMPANY = "agency0000000000000x"


class Mischief(StrEnum):
    """What a server may answer besides the faults of the network. Rows are spoilt after the effect."""

    REDIRECT = "redirect"
    REDIRECT_AFTER = "redirect-after"
    UNAUTHORISED = "unauthorised"
    FORBIDDEN = "forbidden"
    ROW_MISSING = "row-missing"
    ROW_DOUBLED = "row-doubled"
    ROW_UNKNOWN = "row-unknown"
    ROW_CONTRADICTS = "row-contradicts"
    ROWS_SHUFFLED = "rows-shuffled"


MOVED = {"Location": "https://elsewhere.example/contacts"}
REFUSALS = (Mischief.REDIRECT, Mischief.UNAUTHORISED, Mischief.FORBIDDEN)
# that one contact is forbidden says that it lives elsewhere, and no answer of the API is untrue
MISCHIEF = {(False, True): tuple(Mischief), (False, False): REFUSALS, (True, False): REFUSALS[:2]}


@dataclass
class Exchange:
    """One request as it left, and what its sender was told. `ended`: when the sender was told, or gave up.

    `raised`: what it was told instead of an answer.
    """

    run: str
    at: Instant
    method: str
    url: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    fault: FaultKind | Mischief | Exchanged | None = None
    ended: Instant | None = None
    raised: str = ""
    status: int | None = None
    answer: bytes | None = None

    @property
    def contact(self) -> str:
        """Of a read of one contact, whom it asked for."""
        return self.path.rpartition("/")[2]


@dataclass
class Trouble:
    """What a location does to requests for a while."""

    faults: FaultPlan = field(default_factory=FaultPlan)
    mischief: float = 0.0
    latency_ms: tuple[int, int] = (100, 100)
    consumes_after_ms: int | None = None


class Place:
    """`exchanges` is the log of what was asked, the `crm` has the log of what happened."""

    def __init__(self, crm: Crm, clock: VirtualClock, chance: random.Random, limits: Limits) -> None:
        self.crm, self.clock, self.chance = crm, clock, chance
        own = [Access(token=token_of(run), name=run) for run in RUNS]
        exchanged = [Access(token=location_token_of(run), name=run) for run in RUNS]
        self._whim = random.Random(chance.random())
        self.agency = self._whim.random() < AGENCIES
        self.app = App(crm, accesses=exchanged if self.agency else own, limits=limits)
        self.network = Network(self.app)
        self.trouble = Trouble()
        self.exchanges: list[Exchange] = []
        self._seen = 0

    @property
    def location(self) -> LocationId:
        return self.crm.location

    def befall(self, trouble: Trouble) -> None:
        """The trouble begins; in some of it answers may unpack to more than anybody can want."""
        self.trouble = trouble
        rare = RARE if self._whim.random() < BOMBS else RARE[1:]
        more = rare if self._whim.random() < RARELY else ()
        self.network.plan = replace(trouble.faults, kinds=(*trouble.faults.kinds, *more))

    def settle(self) -> None:
        """Whatever is due lands, and the workflows get to know."""
        self.network.land(self.clock.now())
        self._tell_workflows()

    async def answer(self, request: httpx.Request, exchange: Exchange) -> httpx.Response:
        await self._pass()
        if self.agency and exchange.path == LOCATION_TOKEN_PATH:
            return self._exchanged(exchange)
        if self.chance.random() < self.trouble.mischief:
            exchange.fault = self.chance.choice(MISCHIEF[exchange.method == "GET", BULK in exchange.path])
        if exchange.fault in REFUSALS:
            await self._pass()
            return _refusal(exchange.fault)
        met = len(self.network.met)
        transport = SandboxTransport(self.network, now=self.clock.now, sleep=self._sleep)
        try:
            response = await transport.handle_async_request(request)
        finally:
            for _, fault in self.network.met[met : met + 1]:
                exchange.fault = fault.kind
                self.clock.loop.call_later((fault.delay_ms + 1) / 1000, self.settle)
            self._tell_workflows()
        await self._pass()
        return _spoilt(response, exchange.fault) if isinstance(exchange.fault, Mischief) else response

    def _exchanged(self, exchange: Exchange) -> httpx.Response:
        """The location's token, which may end within a run."""
        good = [each for each in Exchanged if each not in (Exchanged.GATEWAY, Exchanged.UNREADABLE)]
        fails = self._whim.random() < self.trouble.mischief
        how = exchange.fault = self._whim.choice([Exchanged.GATEWAY, Exchanged.UNREADABLE] if fails else good)
        if how is Exchanged.GATEWAY:
            return httpx.Response(502, text="<html>Bad Gateway</html>")
        if how is Exchanged.UNREADABLE:
            return httpx.Response(200, text=f"<html>{location_token_of(exchange.run)}")
        key, _, status = how.partition("-")
        ends = {"expiresIn" if key == "accessToken" else "expires_in": self._whim.choice([30, 86_399])}
        told = {key: location_token_of(exchange.run)} | self._whim.choice([ends, {}])
        return httpx.Response(int(status), json=told)

    async def _sleep(self, seconds: float) -> None:
        await self.clock.sleep(round(seconds * 1000))

    async def _pass(self) -> None:
        await self.clock.sleep(self.chance.randint(*self.trouble.latency_ms))

    def _tell_workflows(self) -> None:
        log, delay = self.crm.transitions, self.trouble.consumes_after_ms
        new, self._seen = log[self._seen :], len(log)
        if delay is None:
            return
        for each in new:
            if each.tag == CONSUMED and each.action is Action.ADD:
                self.clock.loop.call_later(delay / 1000, self._consume, each.contact)

    def _consume(self, contact: str) -> None:
        self.crm.remove(contact, [CONSUMED], now=self.clock.now(), by="workflow")


class Wire(httpx.AsyncBaseTransport):
    """The network as a process sees it; keeps the log of its place."""

    def __init__(self, place: Place, process: Process) -> None:
        self._place, self._process = place, process

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._process.at("send", BEFORE)
        clock, body = self._process.clock, await request.aread()
        headers = {name: ", ".join(request.headers.get_list(name)) for name in request.headers}
        url = request.url
        exchange = Exchange(self._process.name, clock.now(), request.method, str(url), url.path, headers, body)
        self._place.exchanges.append(exchange)
        try:
            return await self._told(request, exchange)
        except BaseException as error:
            exchange.raised = type(error).__name__
            raise

    async def _told(self, request: httpx.Request, exchange: Exchange) -> httpx.Response:
        try:
            response = await self._place.answer(request, exchange)
        finally:
            exchange.ended = self._process.clock.now()
            await self._process.thaw()
            self._process.at("send", AFTER)
        exchange.status = response.status_code
        # what is packed is a bomb, which nobody unpacks to look what is in it
        exchange.answer = None if "content-encoding" in response.headers else await response.aread()
        return response


def _refusal(which: FaultKind | Mischief | Exchanged | None) -> httpx.Response:
    if which is Mischief.REDIRECT:
        return httpx.Response(307, headers=MOVED)
    status, message = (401, NO_SCOPE) if which is Mischief.UNAUTHORISED else (403, NO_ACCESS)
    return httpx.Response(status, json={"statusCode": status, "message": message})


def _spoilt(response: httpx.Response, how: Mischief) -> httpx.Response:
    """The answer of a bulk request with its first row spoilt."""
    if not response.is_success:
        return response
    if how is Mischief.REDIRECT_AFTER:
        return httpx.Response(307, headers=MOVED)
    document = json.loads(response.content)
    rows: list[dict[str, Any]] = [json.loads(row) if isinstance(row, str) else row for row in document["responses"]]
    match how:
        case Mischief.ROW_MISSING:
            rows = rows[1:]
        case Mischief.ROW_DOUBLED:
            rows = [*rows, rows[0]]
        case Mischief.ROW_UNKNOWN:
            rows = [{"contactId": rows[0]["contactId"], "type": "error", "message": "something odd"}, *rows[1:]]
        case Mischief.ROW_CONTRADICTS:
            rows = [rows[0] | {"tagsAdded": ["odd"], "tagsRemoved": ["odd"]}, *rows[1:]]
        case Mischief.ROWS_SHUFFLED:
            rows = rows[::-1]
    return httpx.Response(response.status_code, json=document | {"responses": rows, "errorCount": 0})
