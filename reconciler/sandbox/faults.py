"""What a network does to requests, decided beforehand: a frozen plan says which request meets which fault. Pure.

Rules
1. The n-th matching request (from 0) always meets the same fault: a plan is a list, or follows from a seed.
2. A fault comes before the effect (the API never saw the request), after it (only the answer is lost), in the middle
   of it (half of the contacts), or long before it: the effect lands when the client has given up.
3. No fault changes what the API says of an effect: an answer that arrives whole is true.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from reconciler.core.names import Instant
from reconciler.sandbox.app import App
from reconciler.sandbox.message import Request, Response, error


class Kind(StrEnum):
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


@dataclass(frozen=True, slots=True)
class Fault:
    """`status`: of the error kinds. `delay_ms`: after how long the effect of `LATE` lands."""

    kind: Kind
    status: int = 503
    delay_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """`listed` faults by the number of the request; all others meet one of `kinds` with the chance `rate`.

    Only requests whose path starts with `path` are counted and meet faults.
    """

    listed: Mapping[int, Fault] = field(default_factory=dict)
    seed: int = 0
    rate: float = 0.0
    kinds: tuple[Kind, ...] = tuple(Kind)
    path: str = "/"

    def at(self, nth: int) -> Fault | None:
        if nth in self.listed or not self.rate:
            return self.listed.get(nth)
        chance = Random(f"{self.seed}:{nth}")  # noqa: S311  the same for ever, not secret
        if chance.random() >= self.rate:
            return None
        delay = chance.randrange(1_000, 80_000)
        return Fault(chance.choice(self.kinds), status=chance.choice((500, 502, 503, 504)), delay_ms=delay)


class Loss(StrEnum):
    """How a client learns that it gets no answer."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESET = "reset"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What reaches the client: an answer; nothing; or the beginning of an answer (`TRUNCATED`)."""

    response: Response | None
    loss: Loss | None = None


_LOSSES = {
    Kind.REFUSED: Loss.REFUSED,
    Kind.TIMEOUT_BEFORE: Loss.TIMEOUT,
    Kind.TIMEOUT_AFTER: Loss.TIMEOUT,
    Kind.RESET_BEFORE: Loss.RESET,
    Kind.RESET_AFTER: Loss.RESET,
}
_BEFORE = frozenset({Kind.REFUSED, Kind.TIMEOUT_BEFORE, Kind.RESET_BEFORE, Kind.ERROR_BEFORE})


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
        if fault.kind is Kind.TOO_MANY:
            return Delivery(self.app.too_many(now))
        if fault.kind in _BEFORE:
            return _without_effect(fault)
        refusal = self.app.admit(request, now)
        if refusal is not None:
            return Delivery(refusal)
        if fault.kind is Kind.LATE:
            insort(self._late, (Instant(now + fault.delay_ms), self._count, request), key=lambda late: late[:2])
            return Delivery(None, Loss.TIMEOUT)
        performed = _first_half(request) if fault.kind is Kind.ERROR_HALFWAY else request
        return _after_effect(fault, self.app.perform(performed, now))

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
    if fault.kind is Kind.ERROR_BEFORE:
        return Delivery(error(fault.status, "Internal server error"))
    return Delivery(None, _LOSSES[fault.kind])


def _after_effect(fault: Fault, response: Response) -> Delivery:
    match fault.kind:
        case Kind.ERROR_AFTER | Kind.ERROR_HALFWAY:
            return Delivery(error(fault.status, "Internal server error"))
        case Kind.UNREADABLE:
            return Delivery(replace(response, body=b"<html>" + response.body[: len(response.body) // 2]))
        case Kind.TRUNCATED:
            return Delivery(response, Loss.TRUNCATED)
    return Delivery(None, _LOSSES[fault.kind])


def _first_half(request: Request) -> Request:
    """The request as a server carried it out that fell over in the middle."""
    try:
        document = json.loads(request.body)
        contacts = document["contacts"]
        document["contacts"] = contacts[: (len(contacts) + 1) // 2]
    except (ValueError, TypeError, LookupError, RecursionError):
        return request
    return replace(request, body=json.dumps(document).encode())
