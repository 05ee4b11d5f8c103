"""What a network does to requests, decided beforehand: a frozen plan says which request meets which fault. Pure.

Rules
1. The n-th matching request (from 0) always meets the same fault: a plan is a list, or follows from a seed.
2. A fault comes before the effect (the API never saw the request), after it (only the answer is lost), in the middle
   of it (half of the contacts), or long before it: the effect lands when the client has given up.
3. What a fault answers with a status of its own says nothing of the effect: 4xx may stand before it, after it and in
   the middle of it or long before it, and may come from a gateway that the API knows nothing of. Nor is a contact gone
   because it is said to be. Rows that arrive whole are true.
4. `TOO_MANY` is a 429 whose headers say that much is left. Before `USED_UP` others use up the rest of the window.
"""

from __future__ import annotations

import json
import zlib
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from random import Random

from reconciler.core.model.names import Instant
from reconciler.sandbox.app import App
from reconciler.sandbox.messages import Delivery, Loss, Request, Response, error_response


class FaultKind(StrEnum):
    """The faults; where a name ends in before or after, it is the effect that it comes before or after."""

    REFUSED = "refused"
    TIMEOUT_BEFORE = "timeout-before"
    TIMEOUT_AFTER = "timeout-after"
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    ERROR_BEFORE = "error-before"
    ERROR_AFTER = "error-after"
    ERROR_HALFWAY = "error-halfway"
    TRUNCATED = "truncated"
    UNREADABLE = "unreadable"
    TOO_MANY = "too-many"
    LATE = "late"
    REFUSED_AFTER = "refused-after"
    REFUSED_HALFWAY = "refused-halfway"
    REFUSED_LATE = "refused-late"
    UNFOUND = "unfound"
    GATEWAY = "gateway"
    TRY_LATER = "try-later"
    TOKEN_ECHOED = "token-echoed"
    BOMB = "bomb"
    USED_UP = "used-up"


EVERYDAY = tuple(kind for kind in FaultKind if kind not in (FaultKind.BOMB, FaultKind.USED_UP, FaultKind.UNFOUND))
"""What a random plan draws from: a bomb takes its time to unpack, others who use up the limit take a window, and that a
contact is not there is a lie that nobody can tell from the truth."""

LIES = (
    FaultKind.REFUSED_AFTER,
    FaultKind.REFUSED_HALFWAY,
    FaultKind.REFUSED_LATE,
    FaultKind.UNFOUND,
    FaultKind.GATEWAY,
    FaultKind.TRY_LATER,
    FaultKind.TOKEN_ECHOED,
    FaultKind.BOMB,
)
"""Answers that seem to tell of the effect or the contact and do not, or that are not fit to be kept."""

_SERVER_ERRORS = (503, 500, 502, 504)
_REFUSALS = (400, 422, 404, 409, 413)
_STATUSES = {
    FaultKind.REFUSED_AFTER: _REFUSALS,
    FaultKind.REFUSED_HALFWAY: _REFUSALS,
    FaultKind.REFUSED_LATE: _REFUSALS,
    FaultKind.UNFOUND: (400, 404, 422),
    FaultKind.GATEWAY: (404, 400, 422, 200),
    FaultKind.TRY_LATER: (400, 422, 409, 423),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`status`: of the kinds that answer with one; 0: the usual one. `delay_ms`: when an effect lands that is late."""

    kind: FaultKind
    status: int = 0
    delay_ms: int = 30_000

    @property
    def answered(self) -> int:
        return self.status or _STATUSES.get(self.kind, _SERVER_ERRORS)[0]


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """`listed` faults by the number of the request; all others meet one of `kinds` with the chance `rate`.

    Only requests whose path starts with `path` are counted and meet faults.
    """

    listed: Mapping[int, Fault] = field(default_factory=dict)
    seed: int = 0
    rate: float = 0.0
    kinds: tuple[FaultKind, ...] = EVERYDAY
    path: str = "/"

    def at(self, nth: int) -> Fault | None:
        if nth in self.listed or not self.rate:
            return self.listed.get(nth)
        chance = Random(f"{self.seed}:{nth}")
        if chance.random() >= self.rate:
            return None
        delay = chance.randrange(1_000, 80_000)
        kind = chance.choice(self.kinds)
        return Fault(kind, status=chance.choice(_STATUSES.get(kind, _SERVER_ERRORS)), delay_ms=delay)


_LOSSES = {
    FaultKind.REFUSED: Loss.REFUSED,
    FaultKind.TIMEOUT_BEFORE: Loss.TIMEOUT,
    FaultKind.TIMEOUT_AFTER: Loss.TIMEOUT,
    FaultKind.RESET_BEFORE: Loss.RESET,
    FaultKind.RESET_AFTER: Loss.RESET,
}
_ANSWERED_BEFORE = frozenset({FaultKind.ERROR_BEFORE, FaultKind.GATEWAY, FaultKind.TRY_LATER, FaultKind.UNFOUND})
_BEFORE = _ANSWERED_BEFORE | {FaultKind.REFUSED, FaultKind.TIMEOUT_BEFORE, FaultKind.RESET_BEFORE}
_HALFWAY = frozenset({FaultKind.ERROR_HALFWAY, FaultKind.REFUSED_HALFWAY})

_LATE = frozenset({FaultKind.LATE, FaultKind.REFUSED_LATE})

BAD = "Bad Request"
TRY_LATER = "Please try again later"
NOT_FOUND = "Contact not found"
"""The vendor's words for a contact that is not there, said of one that is."""

PAGE = b"<!DOCTYPE html><html><head><title>%d</title></head><body>The gateway has no answer.</body></html>"
UNPACKED_BYTES = 65 * 1024 * 1024
"""What a bomb unpacks to, at least."""

_GZIP = 31
"""zlib's word for a gzip header and trailer."""


class Network:
    """An app behind a network with these faults. Its state: how many requests came, and what is still to land.

    `met` lists the faults in the order in which they happened, each with the number of its request.
    """

    def __init__(self, app: App, plan: FaultPlan | None = None) -> None:
        self.app = app
        self.plan = plan or FaultPlan()
        self.met: list[tuple[int, Fault]] = []
        self._count = 0
        self._late: list[tuple[Instant, int, Request]] = []

    def handle(self, request: Request, now: Instant) -> Delivery:
        self.land(now)
        fault = self._next_fault(request)
        if fault is None:
            return Delivery(self.app.handle(request, now))
        if fault.kind is FaultKind.TOO_MANY:
            return Delivery(self.app.too_many(now))
        if fault.kind is FaultKind.USED_UP:
            self.app.limiter.spend(self.app.limiter.limits.requests, now=now)
            return Delivery(self.app.handle(request, now))
        if fault.kind in _BEFORE:
            return _without_effect(fault)
        refusal = self.app.admit(request, now)
        if refusal is not None:
            return Delivery(refusal)
        if fault.kind in _LATE:
            insort(self._late, (Instant(now + fault.delay_ms), self._count, request), key=lambda late: late[:2])
            refused = fault.kind is FaultKind.REFUSED_LATE
            return Delivery(_refusal(fault.answered, BAD)) if refused else Delivery(None, Loss.TIMEOUT)
        performed = _first_half(request) if fault.kind in _HALFWAY else request
        return _after_effect(fault, request, self.app.perform(performed, now))

    def land(self, now: Instant) -> None:
        """Let every effect happen that is due by now; `handle` does it too."""
        while self._late and self._late[0][0] <= now:
            due, _nth, request = self._late.pop(0)
            self.app.perform(request, due)

    def _next_fault(self, request: Request) -> Fault | None:
        if not request.path.startswith(self.plan.path):
            return None
        nth, self._count = self._count, self._count + 1
        fault = self.plan.at(nth)
        if fault is not None:
            self.met.append((nth, fault))
        return fault


def _without_effect(fault: Fault) -> Delivery:
    match fault.kind:
        case FaultKind.ERROR_BEFORE:
            return Delivery(error_response(fault.answered, "Internal server error"))
        case FaultKind.TRY_LATER:
            return Delivery(_refusal(fault.answered, TRY_LATER))
        case FaultKind.UNFOUND:
            return Delivery(_refusal(fault.answered, NOT_FOUND))
        case FaultKind.GATEWAY:
            return Delivery(Response(fault.answered, PAGE % fault.answered, kind="text/html"))
    return Delivery(None, _LOSSES[fault.kind])


def _after_effect(fault: Fault, request: Request, response: Response) -> Delivery:
    match fault.kind:
        case FaultKind.ERROR_AFTER | FaultKind.ERROR_HALFWAY:
            return Delivery(error_response(fault.answered, "Internal server error"))
        case FaultKind.REFUSED_AFTER | FaultKind.REFUSED_HALFWAY:
            return Delivery(_refusal(fault.answered, BAD))
        case FaultKind.UNREADABLE:
            return Delivery(replace(response, body=b"<html>" + response.body[: len(response.body) // 2]))
        case FaultKind.TRUNCATED:
            return Delivery(response, Loss.TRUNCATED)
        case FaultKind.TOKEN_ECHOED:
            return Delivery(replace(response, body=_echoing(response.body, request)))
        case FaultKind.BOMB:
            return Delivery(_bomb(response))
    return Delivery(None, _LOSSES[fault.kind])


def _refusal(status: int, message: str) -> Response:
    """As the vendor words it: 422 has a list of messages."""
    return error_response(status, [message] if status == 422 else message)


def _echoing(body: bytes, request: Request) -> bytes:
    """The body with every message followed by what the request authorised itself with."""
    said = request.headers.get("authorization", "")
    document = json.loads(body)
    rows = [json.loads(row) if isinstance(row, str) else row for row in document.get("responses", [])]
    told = [row | {"message": f"{row['message']} ({said})"} for row in rows]
    if told:
        document["responses"] = told
    if isinstance(document.get("message"), str):
        document["message"] += f" ({said})"
    return json.dumps(document).encode()


def _bomb(response: Response) -> Response:
    """The same answer, packed small, with more blanks before it than anybody can want to unpack."""
    start, packer = _blanks()
    packer = packer.copy()
    packed = start + packer.compress(response.body) + packer.flush()
    return replace(response, body=packed, headers=(*response.headers, ("Content-Encoding", "gzip")))


@cache
def _blanks() -> tuple[bytes, zlib._Compress]:
    """The beginning of every bomb, and what packs the rest: to pack so much takes a while."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return packer.compress(b" " * UNPACKED_BYTES), packer


def _first_half(request: Request) -> Request:
    """The request as a server carried it out that fell over in the middle."""
    try:
        document = json.loads(request.body)
        contacts = document["contacts"]
        document["contacts"] = contacts[: (len(contacts) + 1) // 2]
    except (ValueError, TypeError, LookupError, RecursionError):
        return request
    return replace(request, body=json.dumps(document).encode())
