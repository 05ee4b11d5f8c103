"""From demands to batches: which requests send the changes, in which order they may leave.

Rules
1. A batch is a rectangle contacts x tags of one action, within the API's caps; the solver that is handed in finds the
   fewest.
2. Adds come first; a contact's removes wait for the batches that hold its adds.
3. A pair that a batch sends beyond the needed ones is a re-assertion, and listed as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.core.model.api_limits import LocationFacts, Rate, duration
from reconciler.core.model.batch import EFFORT, Batch, Demand, Proof, Schedule
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import Deferral, Delta, Demands, Diff, HeldContacts


@dataclass(frozen=True, slots=True)
class Caps:
    """How much one request may hold."""

    contacts: int = 500
    tags: int = 50

    def within(self, facts: LocationFacts, now: Instant) -> Caps:
        """No more than the location was found to take lately."""
        if not facts.believes_limits(now):
            return self
        contacts, tags = facts.max_contacts or self.contacts, facts.max_tags or self.tags
        return Caps(min(self.contacts, contacts), min(self.tags, tags))


@dataclass(frozen=True, slots=True)
class Reasserted:
    """Pairs that are sent although they are as desired already, since that saves a request."""

    action: Action
    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of a plan, the pairs that they send again, and how few any plan could do with."""

    batches: tuple[Batch, ...] = ()
    reasserted: tuple[Reasserted, ...] = ()
    proofs: tuple[Proof, ...] = ()

    @property
    def lower_bound(self) -> int:
        return sum(proof.lower_bound for proof in self.proofs)


class Solver(Protocol):
    """Finds the fewest rectangles for the demands of both actions, and their order. The shell hands it in
    (`reconciler.cover.solve`): the search needs numpy, and the core sees the standard library only."""

    def __call__(
        self,
        adds: Sequence[Demand],
        removes: Sequence[Demand],
        *,
        repeatable_adds: TagSet,
        repeatable_removes: TagSet,
        max_contacts: int,
        max_tags: int,
        effort: int = EFFORT,
    ) -> Schedule: ...


def make_batches(
    demands: Demands,
    caps: Caps,
    *,
    solve: Solver,
    repeatable_adds: TagSet = NONE,
    repeatable_removes: TagSet = NONE,
    effort: int = EFFORT,
) -> Batches:
    """The fewest batches found. The repeatable tags may be sent more than once, where a demand's `may` has them."""
    if not demands.adds and not demands.removes:
        return Batches()
    schedule = solve(
        demands.adds,
        demands.removes,
        repeatable_adds=repeatable_adds,
        repeatable_removes=repeatable_removes,
        max_contacts=caps.contacts,
        max_tags=caps.tags,
        effort=effort,
    )
    needs = ((Action.ADD, demands.adds), (Action.REMOVE, demands.removes))
    again = tuple(pairs for action, needed in needs for pairs in _list_reasserted(action, needed, schedule.batches))
    return Batches(schedule.batches, again, schedule.proofs)


def _list_reasserted(action: Action, demands: Iterable[Demand], batches: Iterable[Batch]) -> list[Reasserted]:
    """The pairs that the batches send beyond one sending of each needed pair."""
    batches = [batch for batch in batches if batch.action is action]
    # the common case is decided by one sum: a plan of a million contacts sends nothing again
    needed = sum(len(demand.must) * len(demand.contacts) for demand in demands)
    if sum(len(batch.tags) * len(batch.contacts) for batch in batches) == needed:
        return []
    open_pairs = {contact: demand.must for demand in demands for contact in demand.contacts}
    again: defaultdict[tuple[Tag, ...], list[ContactId]] = defaultdict(list)
    for batch in batches:
        tags = frozenset(batch.tags)
        for contact in batch.contacts:
            if extra := tags - open_pairs[contact]:
                again[tuple(sorted(extra))].append(contact)
            # of two batches with the pair the first one serves it, the second sends it again
            open_pairs[contact] -= tags
    return [Reasserted(action, tags, tuple(sorted(contacts))) for tags, contacts in sorted(again.items())]


@dataclass(frozen=True, slots=True)
class Summary:
    """A location's plan in numbers."""

    contacts: int
    """Contacts with a change."""
    unobserved: int
    adds: int
    """Pairs, as are removes, adopted, released and reasserted."""
    removes: int
    adopted: int
    released: int
    reasserted: int
    deferred: int
    """Contacts, as are held and quarantined."""
    held: int
    quarantined: int
    requests: int
    lower_bound: int
    eta_seconds: float
    """At the rate limit, with the wait for what is in doubt, and until the last slice."""
    daily_quota_share: float


def summarise_plan(diff: Diff, planned: Batches, rate: Rate, *, at_least_ms: int = 0, settling_ms: int = 0) -> Summary:
    """`settling_ms`: how long the run waits before its first request."""
    requests = len(planned.batches)
    return Summary(
        contacts=_count_contacts(diff.deltas),
        unobserved=diff.unobserved,
        adds=_count_action_pairs(diff.deltas, Action.ADD),
        removes=_count_action_pairs(diff.deltas, Action.REMOVE),
        adopted=sum(len(change.adopted) * len(change.contacts) for change in diff.ledger),
        released=sum(len(change.released) * len(change.contacts) for change in diff.ledger),
        reasserted=sum(len(again.tags) * len(again.contacts) for again in planned.reasserted),
        deferred=_count_contacts(diff.deferrals),
        held=_count_contacts(diff.held),
        quarantined=_count_contacts(diff.quarantined),
        requests=requests,
        lower_bound=planned.lower_bound,
        # a run that waits for its slices ends with the last of them
        eta_seconds=max(duration(requests, rate) + max(settling_ms, 0), at_least_ms) / 1000,
        daily_quota_share=round(requests / rate.per_day, 6),
    )


def _count_contacts(groups: Iterable[Delta | Deferral | HeldContacts]) -> int:
    return len({contact for group in groups for contact in group.contacts})


def explain_aside(held: Iterable[HeldContacts], quarantined: int) -> str:
    """The desired tags that a plan leaves aside, in words. `quarantined`: how many contacts."""
    pairs = sum(len(listed.tags) * len(listed.contacts) for listed in held)
    parts = ((pairs, "tag", "held"), (quarantined, "contact", "quarantined"))
    return ", ".join(f"{number:,} {unit}{'s' * (number != 1)} {why}" for number, unit, why in parts if number)


def explain_waiting(deferrals: Iterable[Deferral], contacts: int) -> str:
    """The deferrals in words: `contacts` in all, and the exclusive tags with holders that no search has shown."""
    deferred = [f"{contacts:,} contact{'s' * (contacts != 1)} deferred"] if contacts else []
    # a deferral without contacts is one of an exclusive tag: its contacts are yet to be searched for
    unsearched = {tag for deferral in deferrals if not deferral.contacts for tag in deferral.tags}
    return ", ".join([*deferred, *(f"who else carries {tag!r}" for tag in sorted(unsearched))])


def count_change_pairs(deltas: Iterable[Delta]) -> int:
    return sum(len(delta.changes) * len(delta.contacts) for delta in deltas)


def _count_action_pairs(deltas: Iterable[Delta], action: Action) -> int:
    return sum(len(delta.tags(action)) * len(delta.contacts) for delta in deltas)
