"""A request that the API refuses as a whole, in smaller parts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from reconciler.core.batching import Batch, Caps
from reconciler.core.facts import Facts

T = TypeVar("T")


def pieces(batch: Batch, caps: Caps) -> tuple[Batch, ...]:
    """The batch in rectangles that the caps allow: itself where it is one."""
    return tuple(
        replace(batch, contacts=contacts, tags=tags)
        for tags in _runs(batch.tags, caps.tags)
        for contacts in _runs(batch.contacts, caps.contacts)
    )


def cuts(batch: Batch) -> Iterator[tuple[Batch, Batch]]:
    """The batch in halves: by its tags first, then by its contacts; nothing where it is a single pair."""
    if len(batch.tags) > 1:
        first, second = _halves(batch.tags)
        yield replace(batch, tags=first), replace(batch, tags=second)
    if len(batch.contacts) > 1:
        ours, theirs = _halves(batch.contacts)
        yield replace(batch, contacts=ours), replace(batch, contacts=theirs)


def fits(batch: Batch, caps: Caps) -> bool:
    return len(batch.contacts) <= caps.contacts and len(batch.tags) <= caps.tags


def narrowed(facts: Facts, refused: Batch, half: Batch) -> Facts:
    """What is known once both halves of a refused batch were taken: its size was at fault. `half`: the larger one."""
    if len(half.tags) < len(refused.tags):
        return replace(facts, max_tags=len(half.tags))
    return replace(facts, max_contacts=len(half.contacts))


def _halves(items: tuple[T, ...]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _runs(items: Sequence[T], most: int) -> Iterator[tuple[T, ...]]:
    for start in range(0, len(items), most):
        yield tuple(items[start : start + most])
