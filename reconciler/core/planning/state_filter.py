"""Which contacts of a state to show."""

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
    """Contacts with any of the tags, of any of the statuses, not observed since `before`; an empty field takes all."""

    tags: TagSet = frozenset()
    statuses: frozenset[Status] = frozenset()
    before: Instant | None = None

    def filter_state(self, state: LocationState) -> LocationState:
        """The state with the contacts that the filter takes."""
        if self == StateFilter():
            return state
        observed, spelt = state.observed, replace(self, tags=state.spelling.read(self.tags))
        taken = {index for index, contact in enumerate(observed.patterns) if spelt._takes_state(contact)}
        contacts = {contact: index for contact, index in observed.contacts.items() if index in taken}
        return replace(state, observed=ContactStates(contacts, observed.patterns))

    def _takes_state(self, contact: ContactState) -> bool:
        if self.tags and self.tags.isdisjoint((contact.observed or frozenset()) | contact.ledger):
            return False
        if self.before is not None and contact.observed_at is not None and contact.observed_at >= self.before:
            return False
        return not self.statuses or not self.statuses.isdisjoint(find_statuses(contact))


def find_statuses(contact: ContactState) -> frozenset[Status]:
    """The statuses of a contact, which may be several."""
    holding = {
        Status.OBSERVED: contact.observed is not None,
        Status.UNOBSERVED: contact.observed is None,
        Status.MANAGED: bool(contact.ledger),
        Status.IN_DOUBT: bool(contact.doubt),
        Status.UNCONFIRMED: bool(contact.unconfirmed - contact.doubt),
        Status.QUARANTINED: contact.quarantine is not None,
    }
    return frozenset(status for status, holds in holding.items() if holds)
