"""From manifests to the desired tags: checks, sets resolved, revisions compared, sets exported.

Here the manifests of each location as one, and the members of their sets: the algebra of checks and of `resolve`. A
location's members are worked out once, when first asked for: sets of ids, never an object per contact and tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.core.model.manifest import Authority, Combined, ContactSet, ListedContacts, Manifest, TagRule, TagUse
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag
from reconciler.core.model.settings import Allowed, ExpectedDrift

Members = frozenset[ContactId]

# Sets of sets may come to this many contacts in all, and this many for each listed one: enough for any real use, and
# little enough that a hostile manifest ends neither memory nor patience.
MEMBERS_FLOOR = 2_000_000
MEMBERS_FACTOR = 10


@dataclass(frozen=True, slots=True)
class Manifests:
    """All manifests that could be read."""

    files: tuple[Manifest, ...]
    shared: Mapping[Tag, TagRule] = field(default_factory=dict)
    """The rules of the settings."""
    authority: Authority = Authority.ADDITIVE
    """The settings' authority, for sets where neither they nor their manifest name one."""
    now: Instant | None = None
    broken: frozenset[tuple[LocationId, SetName]] = frozenset()
    """Sets that are written but could not be used."""
    complete: bool = True
    """False where a file could not be used: nothing follows then from the absence of a set or a tag."""
    settled: Mapping[LocationId, Source] = field(default_factory=dict)
    """The locations that the settings name, each with its place."""
    queries: Mapping[str, Source] = field(default_factory=dict)
    """The sources that the settings declare, each with its place."""
    exceptions: tuple[Allowed | ExpectedDrift, ...] = ()
    """The exceptions of the settings, to guards and of drift."""
    elsewhere: frozenset[LocationId] = frozenset()
    """Locations whose manifests were left out on purpose."""
    snapshots_known: bool = True
    """False where matched sets have none only because the state was not asked for their snapshots."""
    unread: frozenset[LocationId] = frozenset()
    """Locations whose snapshots were asked for, and could not be read."""
    locations: tuple[Location, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        grouped: dict[LocationId, list[Manifest]] = {}
        for manifest in sorted(self.files, key=lambda manifest: manifest.path):
            grouped.setdefault(manifest.location, []).append(manifest)
        locations = tuple(Location(self, location, tuple(grouped[location])) for location in sorted(grouped))
        object.__setattr__(self, "locations", locations)


class Location:
    """The manifests of one location, merged: where a name is used twice the first use holds, and a check reports it."""

    def __init__(self, manifests: Manifests, location: LocationId, files: tuple[Manifest, ...]) -> None:
        self.location = location
        self.files = files
        self._authority = {manifest.path: manifest.authority or manifests.authority for manifest in files}
        self.sets: dict[SetName, ContactSet] = {}
        own: dict[Tag, TagRule] = {}
        for contact_set in self.all_sets():
            self.sets.setdefault(contact_set.name, contact_set)
        for rule in self.own_rules():
            own.setdefault(rule.tag, rule)
        self.rules: dict[Tag, TagRule] = {**manifests.shared, **own}
        self.broken = frozenset(name for place, name in manifests.broken if place == location)
        self.complete = manifests.complete and not self.broken
        self.order, self.cycles = order_sets({name: contact_set.references for name, contact_set in self.sets.items()})
        listed_size = sum(len(listed.ids) for _, listed in self.listed())
        self.size_limit = MEMBERS_FLOOR + MEMBERS_FACTOR * listed_size
        self.combined_size = self._combined_size(listed_size)
        self.resolvable = self.combined_size <= self.size_limit
        self._members: dict[SetName, Members] = {}
        self._resolved = False

    def all_sets(self) -> Iterator[ContactSet]:
        """Every set as written, those with a name used twice included."""
        for manifest in self.files:
            yield from manifest.sets

    def authority_of(self, contact_set: ContactSet) -> Authority:
        return contact_set.authority or self._authority[contact_set.source.path]

    def own_rules(self) -> Iterator[TagRule]:
        for manifest in self.files:
            yield from manifest.rules.values()

    def tag_uses(self) -> Iterator[TagUse]:
        for contact_set in self.all_sets():
            yield from contact_set.tags
            yield from contact_set.absent

    def listed(self) -> Iterator[tuple[ContactSet, ListedContacts]]:
        for contact_set in self.all_sets():
            if isinstance(contact_set.contacts, ListedContacts):
                yield contact_set, contact_set.contacts

    def _combined_size(self, bound: int) -> int:
        """The most contacts that all combined sets together can come to, of `bound` in all."""
        sizes: dict[SetName, int] = {}
        total = 0
        for name in self.order:
            contacts = self.sets[name].contacts
            if isinstance(contacts, ListedContacts):
                sizes[name] = len(contacts.ids)
                continue
            sizes[name] = min(bound, sum(sizes.get(use.name, 0) for use in contacts.sets))
            total += sizes[name]
        return total

    def members(self, name: SetName) -> Members:
        """The members of a set; none of a set that is not there, lies in a cycle, or cannot be worked out."""
        if not self._resolved:
            self._resolved = True
            for combined in self.order if self.resolvable else ():
                self._resolve_members(combined)
        return self._known_members(name)

    def _resolve_members(self, name: SetName) -> None:
        contacts = self.sets[name].contacts
        if not isinstance(contacts, Combined):
            return
        if len(contacts.sets) == 1 and not contacts.only and not contacts.minus:
            # another name for a set shares its members: a chain of such names takes no memory
            self._members[name] = self._known_members(contacts.sets[0].name)
        else:
            self._members[name] = frozenset(contacts.combine_members(self._known_members))

    def _known_members(self, name: SetName) -> Members:
        """The members of a set that is listed, or was resolved before."""
        contacts = self.sets[name].contacts if name in self.sets else None
        if name not in self._members and isinstance(contacts, ListedContacts):
            self._members[name] = frozenset(contacts.ids)
        return self._members.get(name, frozenset())


def order_sets(graph: Mapping[SetName, tuple[SetName, ...]]) -> tuple[list[SetName], list[list[SetName]]]:
    """Names after those that they refer to, and the cycles (Tarjan's algorithm)."""
    # without recursion: a hostile manifest may chain thousands of sets
    index: dict[SetName, int] = {}
    low: dict[SetName, int] = {}
    open_names: list[SetName] = []
    is_open: set[SetName] = set()
    order: list[SetName] = []
    cycles: list[list[SetName]] = []
    for root in sorted(graph):
        work: list[tuple[SetName, Iterator[SetName]]] = [(root, iter(()))] if root not in index else []
        while work:
            name, below = work[-1]
            if name not in index:
                index[name] = low[name] = len(index)
                open_names.append(name)
                is_open.add(name)
                below = iter(graph[name])
                work[-1] = name, below
            step = next(
                (target for target in below if target in graph and _visit_set(target, name, index, low, is_open)),
                None,
            )
            if step is not None:
                work.append((step, iter(())))
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[name])
            if low[name] == index[name]:
                component = _cut_component(open_names, is_open, name)
                order += component
                if len(component) > 1 or name in graph[name]:
                    cycles.append(sorted(component))
    return order, cycles


def _visit_set(
    target: SetName, name: SetName, index: dict[SetName, int], low: dict[SetName, int], is_open: set[SetName]
) -> bool:
    """Whether `target` is still to be visited; if it is open, it lies in a cycle with `name`."""
    if target not in index:
        return True
    if target in is_open:
        low[name] = min(low[name], index[target])
    return False


def _cut_component(open_names: list[SetName], is_open: set[SetName], name: SetName) -> list[SetName]:
    start = len(open_names) - 1
    while open_names[start] != name:
        start -= 1
    component = open_names[start:]
    del open_names[start:]
    is_open.difference_update(component)
    return component


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One mistake: its place, a message, and the remedy where one can be given."""

    source: Source
    message: str
    hint: str = ""
