"""How many contacts a run tries first, how it goes in shares of its rows, and when that is reason to stop it. Pure.

Rules
1. More than `WRONG_PCT` of the answers, and at least `FEW`, reject a contact for a reason other than deletion, or do
   not find it when it is read: the token or the location is probably wrong.
2. A limit on errors or surprises is judged from `FEW` rows on; at the end of a step on the rows there are, and by
   `STEP_LIMITS` where nobody set one: a step that stopped nothing would be no trial.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.names import ContactId, TagSet
from reconciler.core.model.outcome import ContactOutcome, Outcome, Rejection
from reconciler.core.planning.changes import Deferral, Delta

WRONG_PCT = 5.0
FEW = 20
_GOOD = (Outcome.APPLIED, Outcome.NOOP)
GROWTH = 10
"""How many times as many contacts each step has as all before it."""


@dataclass(frozen=True, slots=True)
class StopOn:
    """The shares, in percent, over which a run stops; None: never."""

    errors: float | None = None
    """Of the rows: those that did not end well."""
    surprises: float | None = None
    """Of the contacts: those that carried other tags than were last observed."""

    def of_steps(self) -> StopOn:
        """The shares by which the steps of a canary are judged."""
        errors = STEP_LIMITS.errors if self.errors is None else self.errors
        return StopOn(errors, STEP_LIMITS.surprises if self.surprises is None else self.surprises)


STEP_LIMITS = StopOn(errors=10.0, surprises=20.0)


@dataclass(frozen=True, slots=True)
class Surprise:
    """Tags that came to a contact, or left it, since it was last observed."""

    appeared: TagSet
    vanished: TagSet


def find_surprise(known: ContactState, verdict: ContactOutcome) -> Surprise | None:
    """The tags by which the answer differs from the last observation. `known`: the state before the request."""
    if known.observed is None or verdict.old is None:
        return None
    # of a tag in doubt no observation told: it cannot surprise
    appeared = verdict.old - known.observed - known.doubtful
    vanished = known.observed - verdict.old - known.doubtful
    return Surprise(appeared, vanished) if appeared or vanished else None


@dataclass(slots=True)
class Rates:
    """The counts of a run's rows and readings."""

    rows: int = 0
    misplaced: int = 0
    """The rows rejected for a reason other than deletion."""
    looked: int = 0
    """The contacts that were read; `missed`: those of them that were not there."""
    missed: int = 0
    errors: int = 0
    """The rows that did not end well."""
    compared: int = 0
    """The rows of contacts with an earlier observation; `surprised`: those that differed from it."""
    surprised: int = 0

    def count_rows(self, alike: Iterable[tuple[ContactState, ContactOutcome, int]]) -> None:
        """`alike`: how many contacts had a state before the request and were answered so, once for each such pair."""
        for state, verdict, number in alike:
            self.rows += number
            # held and in doubt count too: nothing tells that they ended well
            self.errors += number * (verdict.outcome not in _GOOD)
            # contacts that were deleted in the CRM are everyday; invalid and foreign ids hint at a wrong location
            self.misplaced += number * (verdict.rejection not in (None, Rejection.DELETED))
            # without an observation there is no share of surprises to count in
            if verdict.old is not None and state.observed is not None:
                self.compared += number
                self.surprised += number * (find_surprise(state, verdict) is not None)

    def count_readings(self, contacts: int, missed: int) -> None:
        """Counts contacts that were read, and those of them that are said not to be there."""
        self.looked += contacts
        self.missed += missed

    @property
    def looks_wrong(self) -> bool:
        """Whether the token or the location is probably wrong."""
        wrong = self.misplaced + self.missed
        return wrong >= FEW and 100 * wrong > WRONG_PCT * (self.rows + self.looked)

    @property
    def wrong(self) -> str:
        """The counts that look wrong, in words."""
        refused = f"{self.misplaced} of {self.rows} rows were refused, and not as deleted"
        missed = f"{self.missed} of {self.looked} contacts that were read are said not to be there"
        return "; ".join(([refused] if self.misplaced else []) + ([missed] if self.missed else []))

    def over(self, limits: StopOn, *, few: int = FEW) -> str:
        """The limit that is passed, in words; empty where none is."""
        for name, part, whole, limit in (
            ("error_rate", self.errors, self.rows, limits.errors),
            ("surprise_rate", self.surprised, self.compared, limits.surprises),
        ):
            # a share of a few rows is chance
            if limit is not None and whole >= max(1, few) and 100 * part > limit * whole:
                return f"{name} is {100 * part / whole:.1f} % ({part} of {whole}), limit {limit:g} %"
        return ""


@dataclass(frozen=True, slots=True)
class Canary:
    """The first contacts: so many, or so many percent of them."""

    size: float
    percent: bool = False

    def size_of(self, contacts: int) -> int:
        """At least one."""
        return max(1, int(self.size * contacts / 100) if self.percent else int(self.size))


def plan_canary_steps(changes: Iterable[Delta | Deferral], canary: Canary) -> Iterator[frozenset[ContactId] | None]:
    """The contacts of each step, those of the steps before it included; None, for the last one: all contacts."""
    contacts = sorted({contact for each in changes for contact in each.contacts})
    size = canary.size_of(len(contacts))
    # sorted ids: a canary of the same plan has the same contacts each time
    while size < len(contacts):
        yield frozenset(contacts[:size])
        size *= GROWTH
    yield None


def restrict_to_step(deltas: Iterable[Delta], step: Collection[ContactId]) -> tuple[Delta, ...]:
    """The part of the deltas that concerns these contacts."""
    parts = (replace(each, contacts=tuple(who for who in each.contacts if who in step)) for each in deltas)
    return tuple(each for each in parts if each.contacts)
