"""Work that many contacts share, done once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, TypeVar, overload

First = TypeVar("First")
Second = TypeVar("Second")
Third = TypeVar("Third")
T = TypeVar("T")


@overload
def map_alike(work: Callable[[First], T], first: Collection[First], /) -> list[T]: ...
@overload
def map_alike(
    work: Callable[[First, Second], T], first: Collection[First], second: Collection[Second], /
) -> list[T]: ...
@overload
def map_alike(
    work: Callable[[First, Second, Third], T],
    first: Collection[First],
    second: Collection[Second],
    third: Collection[Third],
    /,
) -> list[T]: ...
def map_alike(work: Callable[..., T], /, *columns: Collection[Any]) -> list[T]:
    """`list(map(work, *columns))`, with `work`, which must be pure, done once for the very same objects.

    To tell objects apart by identity takes no hash: that of a state of a contact takes longer than most work with it.
    Objects that are equal and not the same are worked on one by one, to equal ends.
    """
    # collections, not iterators: the identity of an object that is gone may be another's
    identities: list[Any]
    varying = columns if len(columns) == 1 else [column for column in columns if len(set(map(id, column))) > 1]
    if len(varying) < 2:
        # a tuple for each object would take as long as all the rest
        identities = list(map(id, (varying or columns)[0]))
    else:
        identities = list(zip(*(map(id, column) for column in varying), strict=True))
    distinct = dict(zip(identities, zip(*columns, strict=True), strict=True))
    done = {identity: work(*arguments) for identity, arguments in distinct.items()}
    return list(map(done.__getitem__, identities))


def distinct_objects(column: Collection[T]) -> Collection[T]:
    """Each of the objects once, however many contacts share it."""
    return dict(zip(map(id, column), column, strict=True)).values()


def count_alike(first: Collection[First], second: Collection[Second]) -> list[tuple[First, Second, int]]:
    """The pairs of the very same objects, each once, and how often they are there."""
    identities = list(zip(map(id, first), map(id, second), strict=True))
    distinct = dict(zip(identities, zip(first, second, strict=True), strict=True))
    return [(*distinct[identity], number) for identity, number in Counter(identities).items()]
