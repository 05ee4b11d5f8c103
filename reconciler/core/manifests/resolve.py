"""resolve(manifests) -> Desired: which tags each contact shall carry, and which it must not.

Rules
1. Membership ignores `from` and `until`; only declaring obeys them.
2. A contact's present and absent tags are unions over its active sets; the strongest authority of those sets holds.
3. The other tags of a declared tag's group are absent, and so is the tag that a declared one was renamed from.
4. Contacts that belong to the same sets share one `Want`: there is never an object per contact and tag.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from reconciler.core.manifests import combine_members, list_references, order_sets
from reconciler.core.model.manifest import Authority, ContactSet, ListedContacts, Manifest, OnLeave, TagRule, TagUse
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag, TagSet
from reconciler.core.model.outcome import Cause, Reason
from reconciler.core.model.people import Match


@dataclass(frozen=True, slots=True)
class Want:
    """The declarations for the contacts that belong to the same sets."""

    present: Mapping[Tag, tuple[Source, ...]] = field(default_factory=dict)
    # tags declared absent, those that a group excludes, and old names
    absent: Mapping[Tag, Cause] = field(default_factory=dict)
    # tags that a set of the contact would declare, were it active now
    expired: Mapping[Tag, tuple[Source, ...]] = field(default_factory=dict)
    # present tags that stay when a contact leaves its sets
    keep: TagSet = frozenset()
    authority: Authority = Authority.ADDITIVE
    ignore: tuple[str, ...] = ()


UNPLANNED = frozenset({"source", "description"})
"""The fields of a tag's rule that planning does not read."""

NOTHING = Want()
"""The declarations for a contact of no set."""


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


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired tags of one location."""

    location: LocationId
    wants: tuple[Want, ...]
    # a contact's index in `wants` and in `memberships`
    contacts: Mapping[ContactId, int]
    sets: tuple[ResolvedSet, ...]
    rules: Mapping[Tag, TagRule]
    # tags named in the location's manifests, their groups and their old names
    owned: TagSet
    # the next `from` or `until`, when all this may change, or the end of a `max_age`, when it is too old
    valid_until: Instant | None
    # identifies tags and rules: comments, order, file names and contacts without a wish do not move it
    digest: str
    # the names of the sets that a contact belongs to
    memberships: tuple[frozenset[SetName], ...]

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

    def membership(self, contact: ContactId) -> frozenset[SetName]:
        index = self.contacts.get(contact)
        return frozenset() if index is None else self.memberships[index]


_STRENGTH = {Authority.ADDITIVE: 0, Authority.OWNED: 1, Authority.EXACT: 2}


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
    members = members_of([contact_set for contact_set, _ in sets])
    patterns, contacts = _group_contacts([members[contact_set.name] for contact_set, _ in sets])
    groups, renamed = _tags_by_group(rules), _old_names(rules)
    wants = tuple(_resolve_want([sets[index] for index in pattern], groups, renamed, now=now) for pattern in patterns)
    return Desired(
        location=manifests[0].location,
        wants=wants,
        contacts=contacts,
        sets=tuple(_resolve_set(contact_set, members[contact_set.name], now) for contact_set, _ in sets),
        rules=rules,
        owned=_owned_tags(manifests, groups, renamed),
        valid_until=_next_boundary([contact_set for contact_set, _ in sets], now),
        digest=_digest_desired(manifests[0].location, wants, contacts, rules),
        memberships=tuple(frozenset(sets[index][0].name for index in pattern) for pattern in patterns),
    )


def is_active(contact_set: ContactSet, now: Instant) -> bool:
    start, until = contact_set.start, contact_set.until
    return (start is None or start <= now) and (until is None or now < until)


def _resolve_set(contact_set: ContactSet, members: Sequence[ContactId], now: Instant) -> ResolvedSet:
    active = is_active(contact_set, now)
    match = _match_of(contact_set)
    pulled_at = None if match is None or match.snapshot is None else match.snapshot.as_of
    return ResolvedSet(
        contact_set.name, contact_set.source, members, active, contact_set.start, contact_set.until, pulled_at
    )


def _match_of(contact_set: ContactSet) -> Match | None:
    return contact_set.contacts.match if isinstance(contact_set.contacts, ListedContacts) else None


def members_of(sets: Iterable[ContactSet]) -> dict[SetName, Sequence[ContactId]]:
    """The members of every set, those of combined sets worked out; raises KeyError for an unknown set."""
    by_name = {contact_set.name: contact_set for contact_set in sets}
    order, _ = order_sets({name: list_references(contact_set) for name, contact_set in by_name.items()})
    members: dict[SetName, Sequence[ContactId]] = {}
    for name in order:
        contacts = by_name[name].contacts
        if isinstance(contacts, ListedContacts):
            members[name] = contacts.ids
        else:
            members[name] = tuple(combine_members(contacts, members.__getitem__))
    return members


def _group_contacts(members: Sequence[Sequence[ContactId]]) -> tuple[list[tuple[int, ...]], dict[ContactId, int]]:
    """The distinct combinations of sets, and the index of the one that each contact has."""
    # walks the sets once; a contact moves from combination to combination, so the cost is one look-up a member
    patterns: list[tuple[int, ...]] = [()]
    contacts: dict[ContactId, int] = {}
    for index, ids in enumerate(members):
        step: dict[int, int] = {}
        for contact in ids:
            before = contacts.get(contact, 0)
            after = step.get(before)
            if after is None:
                after = step[before] = len(patterns)
                patterns.append((*patterns[before], index))
            contacts[contact] = after
    return patterns, contacts


def _tags_by_group(rules: Mapping[Tag, TagRule]) -> dict[Tag, TagSet]:
    """For each tag of a group, the group's other tags."""
    tags_of: defaultdict[str, set[Tag]] = defaultdict(set)
    for tag, rule in rules.items():
        if rule.group:
            tags_of[rule.group].add(tag)
    return {tag: frozenset(tags - {tag}) for tags in tags_of.values() for tag in tags}


def _old_names(rules: Mapping[Tag, TagRule]) -> dict[Tag, Tag]:
    """For each renamed tag, its old name."""
    return {tag: rule.renamed_from for tag, rule in rules.items() if rule.renamed_from is not None}


def _resolve_want(
    sets: Sequence[tuple[ContactSet, Authority]],
    groups: Mapping[Tag, TagSet],
    renamed: Mapping[Tag, Tag],
    *,
    now: Instant,
) -> Want:
    active = [(contact_set, authority) for contact_set, authority in sets if is_active(contact_set, now)]
    present = _sources_by_tag([use for contact_set, _ in active for use in contact_set.tags])
    asked_absent = _sources_by_tag([use for contact_set, _ in active for use in contact_set.absent])
    absent = {
        excluded: Cause(Reason.GROUP, sources)
        for tag, sources in present.items()
        for excluded in groups.get(tag, frozenset())
        if excluded not in present
    }
    absent |= {
        renamed[tag]: Cause(Reason.RENAMED, sources)
        for tag, sources in present.items()
        if tag in renamed and renamed[tag] not in present
    }
    # a tag that is named absent has that reason, also where a group excludes it
    absent |= {tag: Cause(Reason.ABSENT, sources) for tag, sources in asked_absent.items()}
    expired = [
        use
        for contact_set, _ in sets
        if not is_active(contact_set, now)
        for use in contact_set.tags
        if use.tag not in present
    ]
    # a tag stays on leaving only where every active set that declares it keeps it
    firm = {use.tag for contact_set, _ in active if contact_set.on_leave is OnLeave.REMOVE for use in contact_set.tags}
    return Want(
        present=present,
        absent=absent,
        expired=_sources_by_tag(expired),
        keep=frozenset(present) - firm,
        authority=max((authority for _, authority in active), key=_STRENGTH.__getitem__, default=Authority.ADDITIVE),
        ignore=tuple(sorted({pattern for contact_set, _ in active for pattern in contact_set.ignore})),
    )


def _sources_by_tag(uses: Iterable[TagUse]) -> dict[Tag, tuple[Source, ...]]:
    sources: defaultdict[Tag, list[Source]] = defaultdict(list)
    for use in uses:
        sources[use.tag].append(use.source)
    return {tag: tuple(sorted(set(sources[tag]))) for tag in sorted(sources)}


def _owned_tags(manifests: Iterable[Manifest], groups: Mapping[Tag, TagSet], renamed: Mapping[Tag, Tag]) -> TagSet:
    named = {
        use.tag
        for manifest in manifests
        for contact_set in manifest.sets
        for use in contact_set.tags + contact_set.absent
    }
    named |= {tag for manifest in manifests for tag in manifest.rules}
    # a shared rule may group a named tag, or name its old name: these tags are owned too
    old_names = {renamed[tag] for tag in named if tag in renamed}
    return frozenset(named | old_names).union(*(groups[tag] for tag in named if tag in groups))


def _next_boundary(sets: Iterable[ContactSet], now: Instant) -> Instant | None:
    edges = (edge for entry in sets for edge in (entry.start, entry.until, _end_of_snapshot(entry)))
    return min((edge for edge in edges if edge is not None and edge > now), default=None)


def _end_of_snapshot(contact_set: ContactSet) -> Instant | None:
    match = _match_of(contact_set)
    return None if match is None else match.expires_at


def _digest_desired(
    location: LocationId,
    wants: Sequence[Want],
    contacts: Mapping[ContactId, int],
    rules: Mapping[Tag, TagRule],
) -> str:
    """SHA-256 over the rules and, for each distinct wish, its contacts in order."""
    texts = [_describe_want(want) for want in wants]
    members: defaultdict[str, list[ContactId]] = defaultdict(list)
    for contact, index in contacts.items():
        members[texts[index]].append(contact)
    # a contact that leaves a set without tags changes no plan
    members.pop(_describe_want(NOTHING), None)
    digest = hashlib.sha256(json.dumps([location, [_describe_rule(rules[tag]) for tag in sorted(rules)]]).encode())
    for text in sorted(members):
        digest.update(json.dumps([text, sorted(members[text])]).encode())
    return "sha256:" + digest.hexdigest()


def _describe_want(want: Want) -> str:
    """Every field of the wish, without the places in files where it was written."""
    values = {entry.name: getattr(want, entry.name) for entry in fields(want)}
    reasons = {tag: cause.reason for tag, cause in want.absent.items()}
    values |= {"present": sorted(want.present), "absent": reasons, "expired": sorted(want.expired)}
    return json.dumps([*(values | {"keep": sorted(want.keep)}).values()], sort_keys=True)


def _describe_rule(rule: TagRule) -> list[object]:
    """Every field of the rule but those that change no plan: a field that is new moves the digest."""
    return [getattr(rule, entry.name) for entry in fields(rule) if entry.name not in UNPLANNED]
