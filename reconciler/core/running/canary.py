"""Few contacts first: a canary, and then waves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from reconciler.core.model.names import ContactId
from reconciler.core.planning.changes import Deferral, Delta

GROWTH = 10
"""How many times as many contacts each wave has as all before it."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The first contacts: so many, or so many percent of them."""

    size: float
    percent: bool = False

    def of(self, contacts: int) -> int:
        """At least one."""
        return max(1, int(self.size * contacts / 100) if self.percent else int(self.size))


def waves(changes: Iterable[Delta | Deferral], canary: Canary) -> Iterator[frozenset[ContactId] | None]:
    """Whom each wave may touch, those of the waves before it included; None, the last one: everybody."""
    contacts = sorted({contact for each in changes for contact in each.contacts})
    size = canary.of(len(contacts))
    while size < len(contacts):
        yield frozenset(contacts[:size])
        size *= GROWTH
    yield None


def of_wave(deltas: Iterable[Delta], wave: Collection[ContactId]) -> tuple[Delta, ...]:
    """The part of the deltas that concerns these contacts."""
    parts = (replace(each, contacts=tuple(who for who in each.contacts if who in wave)) for each in deltas)
    return tuple(each for each in parts if each.contacts)
