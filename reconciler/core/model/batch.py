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

    # the tags that they need
    must: TagSet
    # the tags that they may be sent, a superset
    may: TagSet
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """One API call: every tag for every contact."""

    action: Action
    contacts: tuple[ContactId, ...]
    tags: tuple[Tag, ...]
    # indices of the batches that must have ended before this one starts
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """How few requests an action needs, as far as it is proven."""

    action: Action
    requests: int
    lower_bound: int
    # the method that found the batches
    stage: str
    # fewer requests are not possible
    proven: bool
    # needed pairs no two of which can share a request: a reviewer can check the bound by them
    certificate: tuple[tuple[ContactId, Tag], ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The batches in the order to send them, and for each action that needs any how few there can be."""

    batches: tuple[Batch, ...]
    proofs: tuple[Proof, ...]
