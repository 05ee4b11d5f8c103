"""From demands to batches: which requests send the changes, in which order they may leave.

Rules
1. A batch is a rectangle contacts x tags of one action, within the API's caps; the solver that is handed in finds the
   fewest.
2. Adds come first; a contact's removes wait for the batches that hold its adds.
3. Whatever a batch sends beyond what is needed is a re-assertion, and listed as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.core.model.api_limits import Facts, Rate, duration
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.model.rectangles import EFFORT, Cover, Demand, Schedule
from reconciler.core.planning.changes import Deferral, Delta, Demands, Diff, HeldContacts


@dataclass(frozen=True, slots=True)
class Caps:
    """How much one request may hold."""

    contacts: int = 500
    tags: int = 50

    def within(self, facts: Facts, now: Instant) -> Caps:
        """No more than the location was found to take lately."""
        if not facts.believes_limits(now):
            return self
        contacts, tags = facts.max_contacts or self.contacts, facts.max_tags or self.tags
        return Caps(min(self.contacts, contacts), min(self.tags, tags))


@dataclass(frozen=True, slots=True)
class Batch:
    """One API call. `after`: the indices of the batches that must have ended before it starts."""

    action: Action
    contacts: tuple[ContactId, ...]
    tags: tuple[Tag, ...]
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Reasserted:
    """Pairs that are sent although nobody needs them, since that saves a request."""

    action: Action
    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of how few requests an action needs.

    `stage`: the method that found the batches. `proven`: fewer are not possible. `certificate`: needed pairs no two
    of which can share a request.
    """

    action: Action
    requests: int
    lower_bound: int
    stage: str
    proven: bool
    certificate: tuple[tuple[ContactId, Tag], ...]


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of a plan, what they send again, and how few any plan could do with."""

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
    batches = tuple(
        Batch(step.action, step.rectangle.contacts, step.rectangle.tags, step.after) for step in schedule.steps
    )
    covers = ((Action.ADD, demands.adds, schedule.adds), (Action.REMOVE, demands.removes, schedule.removes))
    return Batches(
        batches=batches,
        reasserted=tuple(again for action, needed, _ in covers for again in _list_reasserted(action, needed, batches)),
        proofs=tuple(_make_proof(action, cover) for action, needed, cover in covers if needed),
    )


def _make_proof(action: Action, found: Cover) -> Proof:
    requests = len(found.rectangles)
    return Proof(action, requests, found.lower_bound, found.stage, found.proven, found.certificate)


def _list_reasserted(action: Action, demands: Iterable[Demand], batches: Iterable[Batch]) -> list[Reasserted]:
    """What the batches send beyond one sending of each needed pair."""
    mine = [batch for batch in batches if batch.action is action]
    needed = sum(len(demand.must) * len(demand.contacts) for demand in demands)
    if sum(len(batch.tags) * len(batch.contacts) for batch in mine) == needed:
        return []
    open_pairs = {contact: demand.must for demand in demands for contact in demand.contacts}
    again: defaultdict[tuple[Tag, ...], list[ContactId]] = defaultdict(list)
    for batch in mine:
        tags = frozenset(batch.tags)
        for contact in batch.contacts:
            if extra := tags - open_pairs[contact]:
                again[tuple(sorted(extra))].append(contact)
            open_pairs[contact] -= tags
    return [Reasserted(action, tags, tuple(sorted(contacts))) for tags, contacts in sorted(again.items())]


@dataclass(frozen=True, slots=True)
class Summary:
    """adds, removes, adopted, released, reasserted count pairs; the others contacts, requests, seconds, a share."""

    contacts: int
    unobserved: int
    adds: int
    removes: int
    adopted: int
    released: int
    reasserted: int
    deferred: int
    held: int
    quarantined: int
    requests: int
    lower_bound: int
    eta_seconds: float
    daily_quota_share: float


def summarise_plan(found: Diff, planned: Batches, rate: Rate) -> Summary:
    requests = len(planned.batches)
    return Summary(
        contacts=_count_contacts(found.deltas),
        unobserved=found.unobserved,
        adds=_count_action_pairs(found.deltas, Action.ADD),
        removes=_count_action_pairs(found.deltas, Action.REMOVE),
        adopted=sum(len(each.adopted) * len(each.contacts) for each in found.ledger),
        released=sum(len(each.released) * len(each.contacts) for each in found.ledger),
        reasserted=sum(len(each.tags) * len(each.contacts) for each in planned.reasserted),
        deferred=_count_contacts(found.deferrals),
        held=_count_contacts(found.held),
        quarantined=_count_contacts(found.quarantined),
        requests=requests,
        lower_bound=planned.lower_bound,
        eta_seconds=duration(requests, rate) / 1000,
        daily_quota_share=round(requests / rate.per_day, 6),
    )


def _count_contacts(groups: Iterable[Delta | Deferral | HeldContacts]) -> int:
    return len({contact for group in groups for contact in group.contacts})


def explain_aside(held: Iterable[HeldContacts], quarantined: int) -> str:
    """What is desired and left aside, in words. `quarantined`: how many contacts."""
    pairs = sum(len(listed.tags) * len(listed.contacts) for listed in held)
    parts = ((pairs, "tag", "held"), (quarantined, "contact", "quarantined"))
    return ", ".join(f"{number:,} {what}{'s' * (number != 1)} {why}" for number, what, why in parts if number)


def explain_waiting(deferrals: Iterable[Deferral], contacts: int) -> str:
    """What is deferred, in words: `contacts` in all, and the exclusive tags whose other holders nobody showed."""
    deferred = [f"{contacts:,} contact{'s' * (contacts != 1)} deferred"] if contacts else []
    others = {tag for deferral in deferrals if not deferral.contacts for tag in deferral.tags}
    return ", ".join([*deferred, *(f"who else carries {tag!r}" for tag in sorted(others))])


def count_change_pairs(deltas: Iterable[Delta]) -> int:
    return sum(len(delta.changes) * len(delta.contacts) for delta in deltas)


def _count_action_pairs(deltas: Iterable[Delta], action: Action) -> int:
    return sum(len(delta.tags(action)) * len(delta.contacts) for delta in deltas)
