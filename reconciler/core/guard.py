"""Guards: limits on what a run may do to a location, a tag or a contact set.

Rules
1. Everything a run does counts, earlier rounds included; a removal on a contact never observed counts as real.
2. Removals asked for by name (reasons absent, renamed) count for `max_removes` only.
3. A percentage is of the pairs observed before; it is judged once more than `PCT_FLOOR` removals are planned.
4. A guard is lifted for one guard and, where it has one, one tag or set, with a reason: never as a whole.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.batching import Reasserted
from reconciler.core.change import Delta
from reconciler.core.desired import Reason
from reconciler.core.names import SetName, Tag
from reconciler.core.observed import Observed
from reconciler.core.outcome import Action

NO_REASON = "no reason given"
PCT_FLOOR = 5
SIZE_FLOOR = 10
BY_NAME = (Reason.ABSENT, Reason.RENAMED)


class Guard(StrEnum):
    MAX_ADDS = "max_adds"
    MAX_REMOVES = "max_removes"
    MAX_ADDS_PCT = "max_adds_pct"
    MAX_REMOVES_PCT = "max_removes_pct"
    EMPTIES_TAG = "empties_tag"
    MIN_HOLDERS = "min_holders"
    MAX_REQUESTS = "max_requests"
    SHRINK_PCT = "shrink_pct"
    GROW_PCT = "grow_pct"
    PROTECTED = "protected"

    @property
    def scopes(self) -> tuple[str, ...]:
        """What it holds for, and may be lifted on: the location as a whole (empty), a tag, a set."""
        return _SCOPES.get(self, ("", "tag"))


_SCOPES = {
    Guard.MAX_REQUESTS: ("",),
    Guard.EMPTIES_TAG: ("tag",),
    Guard.MIN_HOLDERS: ("tag",),
    Guard.PROTECTED: ("tag",),
    Guard.SHRINK_PCT: ("set",),
    Guard.GROW_PCT: ("set",),
}


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The limits of a location; None: no limit. Limits on a single tag are in its rule."""

    max_adds: int | None = None
    max_removes: int | None = None
    max_adds_pct: float | None = None
    max_removes_pct: float | None = 30.0
    empties_tag: bool = True
    min_holders: int | None = None
    max_requests: int | None = None
    shrink_pct: float | None = 50.0
    grow_pct: float | None = 100.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """A reviewed exception: this guard does not refuse (on this tag or set; empty: on the location as a whole)."""

    guard: Guard
    scope: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{_flag(self.guard, self.scope)}: {self.reason or NO_REASON}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One guard held against a plan. `scope`: a tag, a set's name, or empty for the location as a whole.

    `limit` and `measure` are in the guard's unit (pairs, percent, holders, requests), a percentage being
    `numerator` / `denominator`. `allowed`: the reason with which a person lifted it.
    """

    guard: Guard
    scope: str
    limit: float
    measure: float
    refused: bool
    numerator: int = 0
    denominator: int = 0
    allowed: str = ""

    @property
    def flag(self) -> str:
        """The option that lifts it, as typed in a shell."""
        return _flag(self.guard, self.scope)

    @property
    def is_share(self) -> bool:
        return self.guard.endswith("_pct")


def _flag(guard: Guard, scope: str) -> str:
    return shlex.quote(f"{guard}:{guard.scopes[-1]}={scope}" if scope else guard.value)


@dataclass(frozen=True, slots=True)
class Counts:
    """Pairs per tag: added, removed; of the removed those that nobody asked for by name, of the added those that are
    added again."""

    adds: Counter[Tag] = field(default_factory=Counter)
    removes: Counter[Tag] = field(default_factory=Counter)
    unnamed: Counter[Tag] = field(default_factory=Counter)
    again: Counter[Tag] = field(default_factory=Counter)
    requests: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.adds + other.adds,
            self.removes + other.removes,
            self.unnamed + other.unnamed,
            self.again + other.again,
            self.requests + other.requests,
        )


@dataclass(frozen=True, slots=True)
class Before:
    """What was there before the run: observed holders per tag, set sizes at the last apply."""

    holders: Counter[Tag]
    sizes: Mapping[SetName, int]

    @property
    def pairs(self) -> int:
        return self.holders.total()


def count(deltas: Iterable[Delta], reasserted: Iterable[Reasserted] = (), *, requests: int) -> Counts:
    """The pairs of the deltas, and those that are sent again: a re-assertion may turn out to be a change."""
    counts = Counts(requests=requests)
    for again in reasserted:
        for tag in again.tags:
            adding = again.action is Action.ADD
            (counts.adds if adding else counts.removes)[tag] += len(again.contacts)
            counts.again[tag] += len(again.contacts) if adding else 0
    for delta in deltas:
        for change in delta.changes:
            adding = change.action is Action.ADD
            (counts.adds if adding else counts.removes)[change.tag] += len(delta.contacts)
            if not adding and change.reason not in BY_NAME:
                counts.unnamed[change.tag] += len(delta.contacts)
    return counts


def holders(observed: Observed) -> Counter[Tag]:
    """Observed holders of every tag; counted per pattern."""
    contacts = Counter(observed.contacts.values())
    held: Counter[Tag] = Counter()
    for index, number in contacts.items():
        for tag in observed.patterns[index].observed or ():
            held[tag] += number
    return held
