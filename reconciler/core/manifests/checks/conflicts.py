"""Demands on one contact that cannot both hold, while both are in force.

Demands carry a label; two demands clash where their labels differ, their sets share a contact and their times overlap.
For a tag the labels are present and absent, for a group they are its tags.

How, for a million contacts: demands that no time or label lets clash are dropped first; then contacts under more than
one label are found by set operations; only those are sorted into patterns (which demands hold for a contact), each an
integer; and only patterns are looked into.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reconciler.core.manifests import CheckFinding, Location, Manifests
from reconciler.core.model.manifest import ContactSet, TagUse
from reconciler.core.model.names import ContactId, Instant, Tag

_PRESENT, _ABSENT = "present", "absent"
_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class DatedUse:
    """One line of one set. `start` and `until` are milliseconds, open ends far away."""

    set: ContactSet
    label: str
    use: TagUse

    @property
    def start(self) -> int:
        return -_FOREVER if self.set.start is None else self.set.start

    @property
    def until(self) -> int:
        return _FOREVER if self.set.until is None else self.set.until


@dataclass(frozen=True, slots=True)
class Clash:
    """Two demands, the earlier written first, with the number of contacts and the first of them."""

    first: DatedUse
    second: DatedUse
    contacts: int
    example: ContactId


def present_and_absent(manifests: Manifests) -> Iterator[CheckFinding]:
    """A tag that one contact must and must not carry."""
    for location in manifests.locations:
        demands: defaultdict[Tag, list[DatedUse]] = defaultdict(list)
        for contact_set in location.sets.values():
            present = {use.tag for use in contact_set.tags}
            for use in contact_set.tags:
                demands[use.tag].append(DatedUse(contact_set, _PRESENT, use))
            for use in contact_set.absent:
                # the set contradicts itself: told once, and not again for each contact of it
                if use.tag in present:
                    declared = next(twin for twin in contact_set.tags if twin.tag == use.tag)
                    yield CheckFinding(
                        use.source, f"tag {use.tag!r} is both under tags ({declared.source}) and under absent"
                    )
                else:
                    demands[use.tag].append(DatedUse(contact_set, _ABSENT, use))
        for tag in sorted(demands):
            for early, late, contacts in _describe_clashes(location, demands[tag], manifests.now):
                message = f"tag {tag!r} must be {late.label} here and {early.label} at {early.use.source}, {contacts}"
                yield CheckFinding(late.use.source, message, _REMEDY)


def two_of_a_group(manifests: Manifests) -> Iterator[CheckFinding]:
    """Two tags of one group on one contact."""
    for location in manifests.locations:
        group_of = {tag: rule.group for tag, rule in location.rules.items() if rule.group}
        demands: defaultdict[str, list[DatedUse]] = defaultdict(list)
        for contact_set in location.sets.values():
            first: dict[str, TagUse] = {}
            for use in contact_set.tags:
                group = group_of.get(use.tag, "")
                if not group:
                    continue
                before = first.setdefault(group, use)
                if before.tag != use.tag:
                    message = f"tags {use.tag!r} and {before.tag!r} ({before.source}) are both of the group {group!r}"
                    yield CheckFinding(use.source, message, "a contact carries at most one tag of a group")
                else:
                    demands[group].append(DatedUse(contact_set, use.tag, use))
        for group in sorted(demands):
            for early, late, contacts in _describe_clashes(location, demands[group], manifests.now):
                tags = f"tag {late.label!r} and tag {early.label!r} at {early.use.source}"
                message = f"{tags} are both of the group {group!r}, {contacts}"
                yield CheckFinding(late.use.source, message, _REMEDY)


_REMEDY = "take the contacts out of one set (`except`), or bound the sets in time (`from`, `until`)"


def _describe_clashes(
    location: Location, demands: Iterable[DatedUse], now: Instant | None
) -> Iterator[tuple[DatedUse, DatedUse, str]]:
    """Each clash: the earlier demand, the later one, and the contacts in words."""
    for clash in find_clashes(location, demands, now):
        many = "" if clash.contacts == 1 else f"{clash.contacts:,} contacts, for example "
        yield clash.first, clash.second, f"for {many or 'contact '}{clash.example!r}"


def find_clashes(location: Location, demands: Iterable[DatedUse], now: Instant | None) -> list[Clash]:
    """The clashes among demands, sorted by place; demands of a time that is over are left out."""
    # a set that ends before it starts is never in force, and has a check of its own
    alive = [demand for demand in demands if demand.start < demand.until and (now is None or demand.until > now)]
    alive.sort(key=lambda demand: demand.use.source)
    # most tags have no demands that could clash: their contacts need not be looked at
    if next(find_rivals(alive), None) is None:
        return []
    counted: dict[tuple[int, int], tuple[int, ContactId]] = {}
    for numbers, contacts, example in _contacts_by_demands(
        location, alive, _contacts_under_many_labels(location, alive)
    ):
        places = {id(alive[number]): number for number in numbers}
        for first, second in find_rivals([alive[number] for number in numbers]):
            pair = tuple(sorted((places[id(first)], places[id(second)])))
            count, lowest = counted.get((pair[0], pair[1]), (0, example))
            counted[pair[0], pair[1]] = (count + contacts, min(lowest, example))
    return [
        Clash(alive[first], alive[second], count, example)
        for (first, second), (count, example) in sorted(counted.items())
    ]


def find_rivals(demands: Iterable[DatedUse]) -> Iterator[tuple[DatedUse, DatedUse]]:
    """Demands of different labels with times that overlap: for each demand one that starts earlier, if there is any."""
    # the demands that last longest, of two different labels: if none of these two clashes, no earlier one does
    best: DatedUse | None = None
    second: DatedUse | None = None
    for demand in sorted(demands, key=lambda demand: demand.start):
        rival = second if best is not None and best.label == demand.label else best
        if rival is not None and rival.until > demand.start:
            yield rival, demand
        if best is None or demand.until > best.until:
            second = second if best is None or best.label == demand.label else best
            best = demand
        elif demand.label != best.label and (second is None or demand.until > second.until):
            second = demand


def _contacts_under_many_labels(location: Location, demands: list[DatedUse]) -> set[ContactId]:
    """The contacts that are under more than one label."""
    labels: defaultdict[str, list[DatedUse]] = defaultdict(list)
    for demand in demands:
        labels[demand.label].append(demand)
    unions = [
        frozenset[ContactId]().union(*(location.members(demand.set.name) for demand in group))
        if len(group) > 1
        else location.members(group[0].set.name)
        for group in labels.values()
    ]
    # present and absent, the usual case: one intersection does for it
    if len(unions) == 2:
        return set(unions[0] & unions[1])
    seen: set[ContactId] = set()
    suspects: set[ContactId] = set()
    for union in unions:
        suspects |= seen & union
        seen |= union
    return suspects


def _contacts_by_demands(
    location: Location, demands: list[DatedUse], suspects: set[ContactId]
) -> Iterator[tuple[list[int], int, ContactId]]:
    """For each pattern its demands (by number), how many suspects have it, and the first of them.

    A pattern is an integer; `came_from` tells which demand was added to which pattern to make it.
    """
    pattern_of = dict.fromkeys(suspects, 0)
    came_from: list[tuple[int, int]] = [(0, -1)]
    for number, demand in enumerate(demands):
        grown: dict[int, int] = {}
        for contact in location.members(demand.set.name) & suspects:
            before = pattern_of[contact]
            after = grown.get(before)
            if after is None:
                after = grown[before] = len(came_from)
                came_from.append((before, number))
            pattern_of[contact] = after
    sizes: dict[int, tuple[int, ContactId]] = {}
    for contact, pattern in pattern_of.items():
        count, first = sizes.get(pattern, (0, contact))
        sizes[pattern] = (count + 1, min(first, contact))
    for pattern, (count, first) in sorted(sizes.items()):
        numbers = []
        step = pattern
        while step:
            step, number = came_from[step]
            numbers.append(number)
        yield numbers[::-1], count, first
