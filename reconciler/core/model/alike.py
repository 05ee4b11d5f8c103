"""Work that many contacts share, done once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Key = TypeVar("Key", bound=Hashable)
First = TypeVar("First")
Second = TypeVar("Second")
T = TypeVar("T")


def once_per_object(work: Callable[[*Arguments], T]) -> Callable[[*Arguments], T]:
    """`work`, which must be pure, done once for the very same objects.

    To tell objects apart by identity takes no hash: that of a state of a contact takes longer than most work with it.
    Objects that are equal and not the same are worked on one by one, to equal ends.
    """
    # the objects are kept with the result: the identity of one that is gone may be another's
    done: dict[tuple[int, ...], tuple[tuple[object, ...], T]] = {}

    def work_once(*arguments: *Arguments) -> T:
        identity = tuple(map(id, arguments))
        entry = done.get(identity)
        if entry is None:
            entry = done[identity] = arguments, work(*arguments)
        return entry[1]

    return work_once


def group_alike(
    keys: Iterable[Key], first: Mapping[Key, First], second: Mapping[Key, Second]
) -> list[tuple[First, Second, list[Key]]]:
    """The keys, those together that have the very same objects in both mappings; in the order of the keys."""
    groups: dict[tuple[int, int], tuple[First, Second, list[Key]]] = {}
    for key in keys:
        one, other = first[key], second[key]
        identity = id(one), id(other)
        group = groups.get(identity)
        if group is None:
            group = groups[identity] = one, other, []
        group[2].append(key)
    return list(groups.values())
