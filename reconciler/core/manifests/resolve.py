"""resolve(manifests) -> Desired: which tags each contact shall carry, and which it must not.

Rules
1. Membership ignores `from` and `until`; only declaring obeys them.
2. Contacts that belong to the same sets share one `Want`: there is never an object per contact and tag.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

from reconciler.core.manifests.desired_digest import digest_definitions, digest_desired
from reconciler.core.manifests.set_members import Combination, combine_sets, members_of
from reconciler.core.manifests.wants import (
    NOTHING,
    Want,
    is_active,
    old_names,
    owned_tags,
    resolve_wants,
    tags_by_group,
)
from reconciler.core.model.contact_columns import ContactColumn
from reconciler.core.model.contact_numbers import ABSENT
from reconciler.core.model.manifest import Authority, ContactSet, ListedContacts, Manifest, TagRule
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag, TagSet
from reconciler.core.model.people import Match

_NO_SETS: frozenset[SetName] = frozenset()


@dataclass(frozen=True, slots=True)
class ResolvedSet:
    """A contact set with its members; `active` now or not."""

    name: SetName
    source: Source
    members: Sequence[ContactId]
    active: bool
    start: Instant | None
    until: Instant | None
    pulled_at: Instant | None = None
    """When the snapshot was made that a matched set has its members by; None for other sets."""
    tags: TagSet = frozenset()
    """The tags that it declares while it is active, as they are written."""


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired tags of one location."""

    location: LocationId
    wants: tuple[Want, ...]
    contacts: ContactColumn
    """A contact's index in `wants` and in `combinations`."""
    sets: tuple[ResolvedSet, ...]
    rules: Mapping[Tag, TagRule]
    owned: TagSet
    """Tags named in the location's manifests, their groups and their old names."""
    valid_until: Instant | None
    """The next `from` or `until`, when all this may change, or the end of a `max_age`, when it is too old."""
    find_digest: Callable[[], str] = field(compare=False, repr=False)
    """Works `digest` out when it is first asked for: a plan names it, and a report without pending tags does not."""
    definitions_digest: str
    """Identifies rules and definitions of sets: their members do not move it."""
    combinations: tuple[Combination, ...]
    """The sets that a contact belongs to, by their places in `sets`."""

    @property
    def digest(self) -> str:
        """Identifies tags and rules: comments, order, file names and contacts without a wish do not move it."""
        return self.find_digest()

    @property
    def once(self) -> TagSet:
        """The tags that one add satisfies for good."""
        return frozenset(tag for tag, rule in self.rules.items() if rule.once)

    @property
    def set_names(self) -> frozenset[SetName]:
        return frozenset(contact_set.name for contact_set in self.sets)

    @property
    def set_sizes(self) -> dict[SetName, int]:
        """How many contacts each set has."""
        return {contact_set.name: len(contact_set.members) for contact_set in self.sets}

    def want(self, contact: ContactId) -> Want:
        index = self.contacts.get(contact)
        return NOTHING if index is None else self.wants[index]

    def wants_of(self, contacts: Collection[ContactId]) -> list[Want]:
        indexes, wants = self.contacts.find_all(contacts, ABSENT), self.wants
        return [NOTHING if index == ABSENT else wants[index] for index in indexes]

    def memberships_of(self, contacts: Collection[ContactId]) -> list[frozenset[SetName]]:
        # contacts of one combination share the value
        membership, indexes = cache(self.membership_of), self.contacts.find_all(contacts, ABSENT)
        return [_NO_SETS if index == ABSENT else membership(index) for index in indexes]

    def membership(self, contact: ContactId) -> frozenset[SetName]:
        return self.memberships_of((contact,))[0]

    def membership_of(self, index: int) -> frozenset[SetName]:
        """The names of the sets of one of the combinations."""
        return frozenset(self.sets[place].name for place in self.combinations[index])


def resolve(
    manifests: Sequence[Manifest],
    *,
    now: Instant,
    shared_rules: Mapping[Tag, TagRule] | None = None,
    authority: Authority = Authority.ADDITIVE,
) -> Desired:
    """The desired tags of the one location that all `manifests` name.

    The manifests have passed the checks (`checks`): no unknown set, no cycle, no conflict. `shared_rules` and
    `authority` are the settings' and give way to the manifest's own.
    """
    sets = tuple(
        (contact_set, contact_set.authority or manifest.authority or authority)
        for manifest in manifests
        for contact_set in manifest.sets
    )
    rules = dict(shared_rules or {}) | {tag: rule for manifest in manifests for tag, rule in manifest.rules.items()}
    members = members_of([contact_set for contact_set, _ in sets], manifests[0].contacts)
    combinations, contacts = combine_sets(
        manifests[0].contacts, [members[contact_set.name].numbers for contact_set, _ in sets]
    )
    groups, renamed = tags_by_group(rules), old_names(rules)
    wants = resolve_wants(sets, combinations, groups, renamed, now=now)
    return Desired(
        location=manifests[0].location,
        wants=wants,
        contacts=contacts,
        sets=tuple(_resolve_set(contact_set, members[contact_set.name], now) for contact_set, _ in sets),
        rules=rules,
        owned=owned_tags(manifests, groups, renamed),
        valid_until=_next_boundary([contact_set for contact_set, _ in sets], now),
        find_digest=cache(partial(digest_desired, manifests[0].location, wants, contacts, rules)),
        definitions_digest=digest_definitions(
            manifests[0].location, [(entry, strongest, is_active(entry, now)) for entry, strongest in sets], rules
        ),
        combinations=tuple(combinations),
    )


def _resolve_set(contact_set: ContactSet, members: Sequence[ContactId], now: Instant) -> ResolvedSet:
    active = is_active(contact_set, now)
    match = _match_of(contact_set)
    pulled_at = None if match is None or match.snapshot is None else match.snapshot.as_of
    return ResolvedSet(
        contact_set.name,
        contact_set.source,
        members,
        active,
        contact_set.start,
        contact_set.until,
        pulled_at,
        frozenset(use.tag for use in contact_set.tags),
    )


def _match_of(contact_set: ContactSet) -> Match | None:
    return contact_set.contacts.match if isinstance(contact_set.contacts, ListedContacts) else None


def _next_boundary(sets: Iterable[ContactSet], now: Instant) -> Instant | None:
    edges = (edge for entry in sets for edge in (entry.start, entry.until, _end_of_snapshot(entry)))
    return min((edge for edge in edges if edge is not None and edge > now), default=None)


def _end_of_snapshot(contact_set: ContactSet) -> Instant | None:
    match = _match_of(contact_set)
    return None if match is None else match.expires_at
