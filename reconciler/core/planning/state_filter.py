"""Which contacts of a state somebody wants to see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.names import Instant, TagSet
from reconciler.core.planning.plan import LocationState


class Status(StrEnum):
    OBSERVED = "observed"
    UNOBSERVED = "unobserved"
    MANAGED = "managed"
    IN_DOUBT = "in-doubt"
    UNCONFIRMED = "unconfirmed"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class StateFilter:
    """Contacts with any of the tags, of any of the statuses, not observed since `before`; empty: whatever."""

    tags: TagSet = frozenset()
    statuses: frozenset[Status] = frozenset()
    before: Instant | None = None

    def of(self, state: LocationState) -> LocationState:
        """The state with the contacts that are wanted."""
        if self == StateFilter():
            return state
        observed, wanted = state.observed, replace(self, tags=state.spelling.read(self.tags))
        taken = {index for index, known in enumerate(observed.patterns) if wanted._takes(known)}
        contacts = {contact: index for contact, index in observed.contacts.items() if index in taken}
        return replace(state, observed=ContactStates(contacts, observed.patterns))

    def _takes(self, known: ContactState) -> bool:
        if self.tags and self.tags.isdisjoint((known.observed or frozenset()) | known.ledger):
            return False
        if self.before is not None and known.observed_at is not None and known.observed_at >= self.before:
            return False
        return not self.statuses or not self.statuses.isdisjoint(find_statuses(known))


def find_statuses(known: ContactState) -> frozenset[Status]:
    """A contact may be of several."""
    found = {
        Status.OBSERVED: known.observed is not None,
        Status.UNOBSERVED: known.observed is None,
        Status.MANAGED: bool(known.ledger),
        Status.IN_DOUBT: bool(known.doubt),
        Status.UNCONFIRMED: bool(known.unconfirmed - known.doubt),
        Status.QUARANTINED: known.quarantine is not None,
    }
    return frozenset(status for status, holds in found.items() if holds)
