"""From deltas to batches: which requests send the changes, in which order they may leave.

Rules
1. A batch is a rectangle contacts x tags of one action, within the API's caps.
2. Adds come first; a contact's removes wait for the batches that hold its adds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reconciler.core.diff import Delta
from reconciler.core.names import ContactId, Tag, TagSet
from reconciler.core.outcome import Action

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caps:
    """How much one request may hold."""

    contacts: int = 500
    tags: int = 50


@dataclass(frozen=True, slots=True)
class Batch:
    """One API call. `after`: the indices of the batches that must have ended before it starts."""

    action: Action
    contacts: tuple[ContactId, ...]
    tags: tuple[Tag, ...]
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of a plan, and how few any plan could do with."""

    batches: tuple[Batch, ...]
    lower_bound: int


def make_batches(deltas: Sequence[Delta], caps: Caps) -> Batches:
    """One rectangle per group of contacts with equal tags to add (or remove), cut to the caps."""
    adds, removes = (_rectangles(action, deltas, caps) for action in (Action.ADD, Action.REMOVE))
    bound = sum(_lower_bound(action, deltas, caps) for action in (Action.ADD, Action.REMOVE))
    return Batches((*adds, *_scheduled(adds, removes)), bound)


def _rectangles(action: Action, deltas: Iterable[Delta], caps: Caps) -> tuple[Batch, ...]:
    groups: defaultdict[tuple[Tag, ...], list[ContactId]] = defaultdict(list)
    for delta in deltas:
        if tags := tuple(sorted(delta.tags(action))):
            groups[tags].extend(delta.contacts)
    return tuple(
        Batch(action, some_contacts, some_tags)
        for tags, contacts in sorted(groups.items())
        for some_tags in _chunks(tags, caps.tags)
        for some_contacts in _chunks(tuple(sorted(contacts)), caps.contacts)
    )


def _chunks(items: tuple[T, ...], size: int) -> Iterable[tuple[T, ...]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _lower_bound(action: Action, deltas: Iterable[Delta], caps: Caps) -> int:
    """No request holds more than the caps, so these many contacts, or tags, need at least that many requests."""
    contacts, tags = 0, set[Tag]()
    for delta in deltas:
        needed: TagSet = delta.tags(action)
        contacts += len(delta.contacts) if needed else 0
        tags |= needed
    return max(-(-contacts // caps.contacts), -(-len(tags) // caps.tags))


def _scheduled(adds: Sequence[Batch], removes: Sequence[Batch]) -> Iterable[Batch]:
    """The removes, each after the adds that share a contact with it."""
    adding: defaultdict[ContactId, list[int]] = defaultdict(list)
    wanted = {contact for batch in removes for contact in batch.contacts}
    for index, batch in enumerate(adds):
        for contact in wanted.intersection(batch.contacts):
            adding[contact].append(index)
    for batch in removes:
        after = {index for contact in batch.contacts for index in adding.get(contact, ())}
        yield Batch(batch.action, batch.contacts, batch.tags, tuple(sorted(after)))
