"""A location's plan in numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.core.model.api_limits import Rate, duration
from reconciler.core.model.outcome import Action
from reconciler.core.planning.batches import Batches
from reconciler.core.planning.changes import Deferral, Delta, Diff, HeldContacts


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


def summarise(found: Diff, planned: Batches, rate: Rate) -> Summary:
    requests = len(planned.batches)
    return Summary(
        contacts=_contacts(found.deltas),
        unobserved=found.unobserved,
        adds=_pairs(found.deltas, Action.ADD),
        removes=_pairs(found.deltas, Action.REMOVE),
        adopted=sum(len(each.adopted) * len(each.contacts) for each in found.ledger),
        released=sum(len(each.released) * len(each.contacts) for each in found.ledger),
        reasserted=sum(len(each.tags) * len(each.contacts) for each in planned.reasserted),
        deferred=_contacts(found.deferrals),
        held=_contacts(found.held),
        quarantined=_contacts(found.quarantined),
        requests=requests,
        lower_bound=planned.lower_bound,
        eta_seconds=duration(requests, rate) / 1000,
        daily_quota_share=round(requests / rate.per_day, 6),
    )


def _contacts(groups: Iterable[Delta | Deferral | HeldContacts]) -> int:
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


def pairs_of(deltas: Iterable[Delta]) -> int:
    return sum(len(delta.changes) * len(delta.contacts) for delta in deltas)


def _pairs(deltas: Iterable[Delta], action: Action) -> int:
    return sum(len(delta.tags(action)) * len(delta.contacts) for delta in deltas)
