"""Why a change is planned, and how changes are sent: demands go into the solver, batches come out as a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.core.model.names import ContactId, Source, Tag, TagSet
from reconciler.core.model.outcome import Action

EFFORT = 8
"""How many rounds of search a plan gets unless told otherwise: about 10 s for a million contacts."""


class Reason(StrEnum):
    """Why a change is planned."""

    DECLARED = "declared"
    RESTORED = "restored"
    AGAIN = "again"
    ABSENT = "absent"
    GROUP = "group"
    RENAMED = "renamed"
    EXPIRED = "expired"
    PRUNED = "pruned"
    OWNED = "owned"
    EXACT = "exact"
    EXCLUSIVE = "exclusive"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason and the places that asked for it (none where no set declares the tag any more)."""

    reason: Reason
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """Contacts that are to be treated alike."""

    must: TagSet
    """The tags that they need."""
    may: TagSet
    """The tags that they may be sent, a superset."""
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """One API call: every tag for every contact."""

    action: Action
    contacts: tuple[ContactId, ...]
    tags: tuple[Tag, ...]
    after: tuple[int, ...] = ()
    """Indices of the batches that must have ended before this one starts."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How few requests an action needs, as far as it is proven."""

    action: Action
    requests: int
    lower_bound: int
    stage: str
    """The method that found the batches."""
    proven: bool
    """Whether fewer requests are known to be impossible."""
    certificate: tuple[tuple[ContactId, Tag], ...]
    """Needed pairs no two of which can share a request, as a reviewer can check; the bound may be higher than their
    number."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The batches in the order to send them, and for each action that needs any how few there can be."""

    batches: tuple[Batch, ...]
    proofs: tuple[Proof, ...]
