"""Which tags are owned: those that the location's manifests name, and those of its ledger.

Rules
1. A pair that leaves the ledger by a plan makes no tag owned in it: it is not there any more, or stays on purpose.
2. A pair that is pruned does: the tag is taken from whom the plan takes it.
"""

from __future__ import annotations

from collections.abc import Container

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_changes import not_among
from reconciler.core.model.contact_state import ContactStates, Managed
from reconciler.core.model.names import ContactId, TagSet

NONE: TagSet = frozenset()


def leaving(known: Managed, present: TagSet) -> TagSet:
    """The pairs of a contact that leave the ledger where `present` is desired: known to be gone, or to be kept."""
    undesired = known.ledger - present - known.doubt
    gone = NONE if known.observed is None else not_among(undesired - known.observed, known.observed)
    return gone | (undesired & known.kept)


def owned_tags(
    desired: Desired, observed: ContactStates, *, tags: TagSet = NONE, contacts: Container[ContactId] | None = None
) -> TagSet:
    """`tags`, `contacts`: what a plan is narrowed to; no tags are all, and so is None."""
    used = set(observed.contacts.values())
    # most patterns lose nothing, whatever is desired: their contacts need not be looked at
    losing = {index for index in used if leaving(observed.patterns[index], NONE)}
    owned = set(desired.owned).union(*(observed.patterns[index].ledger for index in used - losing))
    cases = {
        (desired.contacts.get(contact, -1) if contacts is None or contact in contacts else None, index)
        for contact, index in observed.contacts.items()
        if index in losing
    }
    for wanted, index in cases:
        known = observed.patterns[index]
        present = frozenset(desired.wants[wanted].present) if wanted is not None and wanted >= 0 else NONE
        gone = NONE if wanted is None else leaving(known, present)
        owned |= known.ledger - (gone & tags if tags else gone)
    return frozenset(owned)
