"""What the sets of a contact declare for it together.

Rules
1. A contact's present and absent tags are unions over its active sets; the strongest authority of those sets holds.
2. The other tags of a declared tag's group are absent, and so is the tag that a declared one was renamed from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from reconciler.core.manifests.set_members import Combination
from reconciler.core.model.batch import Cause, Reason
from reconciler.core.model.manifest import Authority, ContactSet, Manifest, OnLeave, TagRule, TagUse
from reconciler.core.model.names import Instant, Source, Tag, TagSet


@dataclass(frozen=True, slots=True)
class Want:
    """The declarations for the contacts that belong to the same sets."""

    present: Mapping[Tag, tuple[Source, ...]] = field(default_factory=dict)
    absent: Mapping[Tag, Cause] = field(default_factory=dict)
    """Tags declared absent, those that a group excludes, and old names."""
    expired: Mapping[Tag, tuple[Source, ...]] = field(default_factory=dict)
    """Tags that a set of the contact would declare, were it active now."""
    keep: TagSet = frozenset()
    """Present tags that stay when a contact leaves its sets."""
    authority: Authority = Authority.ADDITIVE
    ignore: tuple[str, ...] = ()
    deciding: tuple[Source, ...] = ()
    """The places of the active sets that have this authority, where it is more than additive."""


NOTHING = Want()
"""The declarations for a contact of no set."""


WEAKEST = Authority.ADDITIVE
_STRENGTH = {Authority.ADDITIVE: 0, Authority.OWNED: 1, Authority.EXACT: 2}


def is_active(contact_set: ContactSet, now: Instant) -> bool:
    start, until = contact_set.start, contact_set.until
    return (start is None or start <= now) and (until is None or now < until)


def tags_by_group(rules: Mapping[Tag, TagRule]) -> dict[Tag, TagSet]:
    """For each tag of a group, the group's other tags."""
    return {tag: tags - {tag} for tag, tags in whole_groups(rules).items()}


def whole_groups(rules: Mapping[Tag, TagRule]) -> dict[Tag, TagSet]:
    """For each tag of a group, all tags of the group, as one set that they share."""
    tags_of: defaultdict[str, set[Tag]] = defaultdict(set)
    for tag, rule in rules.items():
        if rule.group:
            tags_of[rule.group].add(tag)
    return {tag: shared for tags in tags_of.values() for shared in (frozenset(tags),) for tag in tags}


def old_names(rules: Mapping[Tag, TagRule]) -> dict[Tag, Tag]:
    """For each renamed tag, its old name."""
    return {tag: rule.renamed_from for tag, rule in rules.items() if rule.renamed_from is not None}


Sources = tuple[Source, ...]


def owned_tags(manifests: Iterable[Manifest], groups: Mapping[Tag, TagSet], renamed: Mapping[Tag, Tag]) -> TagSet:
    """The tags that the manifests of a location give or take: named ones, others of their groups, and old names."""
    named = {
        use.tag
        for manifest in manifests
        for contact_set in manifest.sets
        for use in contact_set.tags + contact_set.absent
    }
    named |= {tag for manifest in manifests for tag in manifest.rules}
    # a shared rule may group a named tag, or name its old name: these tags are owned too
    before = {renamed[tag] for tag in named if tag in renamed}
    # a set: what tags of one group share is taken in once, also where the group is of thousands
    return frozenset(named | before).union(*{groups[tag] for tag in named if tag in groups})


@dataclass(frozen=True, slots=True)
class _Declaration:
    """The declarations of one set at a time: the parts of its contacts' wants."""

    is_active: bool
    tags: Mapping[Tag, Sources]
    """The tags that it declares, or would declare if it were active, in their order."""
    absent: Mapping[Tag, Sources]
    authority: Authority
    ignore: tuple[str, ...]
    keeps: bool
    """Whether its tags stay on leaving."""
    source: Source

    @property
    def only_adds(self) -> bool:
        """Whether all that it says of its contacts is that they carry some tags."""
        return self.is_active and not self.absent and not self.keeps and not self.ignore

    def deciding(self, authority: Authority) -> Sources:
        """Its place, where this authority is its own, and removes."""
        return (self.source,) if self.authority is authority is not WEAKEST else ()


def _read_declaration(contact_set: ContactSet, authority: Authority, now: Instant) -> _Declaration:
    return _Declaration(
        is_active(contact_set, now),
        _sources_by_tag(contact_set.tags),
        _sources_by_tag(contact_set.absent),
        authority,
        contact_set.ignore,
        contact_set.on_leave is OnLeave.KEEP,
        contact_set.source,
    )


def resolve_wants(
    sets: Iterable[tuple[ContactSet, Authority]],
    combinations: Iterable[Combination],
    groups: Mapping[Tag, TagSet],
    renamed: Mapping[Tag, Tag],
    *,
    now: Instant,
) -> tuple[Want, ...]:
    """The want of each combination of sets."""
    declarations = [_read_declaration(contact_set, authority, now) for contact_set, authority in sets]
    # a hundred thousand combinations share a few places that ask for a tag together
    join = cache(lambda first, second: tuple(sorted({*first, *second})))
    # what can only add tags, a set at a time: with a rule about other tags nothing can
    plain = [not groups and not renamed and declaration.only_adds for declaration in declarations]
    wants: dict[Combination, Want] = {}
    adding: set[Combination] = {()}
    for places in combinations:
        before, last = places[:-1], places[-1]
        if plain[last] and before in adding:
            wants[places] = _add_set(wants.get(before, NOTHING), declarations[last], join)
            adding.add(places)
        else:
            wants[places] = _resolve_want([declarations[place] for place in places], groups, renamed, join)
    return tuple(wants.values())


def _add_set(want: Want, declaration: _Declaration, join: Callable[[Sources, Sources], Sources]) -> Want:
    """The want of contacts that belong to one more set, which only adds tags."""
    authority = max(want.authority, declaration.authority, key=_STRENGTH.__getitem__)
    return Want(
        present=_join_tags([want.present, declaration.tags], join) if want.present else declaration.tags,
        absent=NOTHING.absent,
        expired=NOTHING.expired,
        authority=authority,
        deciding=join(want.deciding if want.authority is authority else (), declaration.deciding(authority)),
    )


def _resolve_want(
    declarations: Iterable[_Declaration],
    groups: Mapping[Tag, TagSet],
    renamed: Mapping[Tag, Tag],
    join: Callable[[Sources, Sources], Sources],
) -> Want:
    active: list[_Declaration] = []
    inactive: list[_Declaration] = []
    for declaration in declarations:
        (active if declaration.is_active else inactive).append(declaration)
    present = _join_tags([declaration.tags for declaration in active], join)
    absent: dict[Tag, Cause] = {}
    if groups:
        absent |= {
            excluded: Cause(Reason.GROUP, sources)
            for tag, sources in present.items()
            for excluded in groups.get(tag, frozenset())
            if excluded not in present
        }
    if renamed:
        absent |= {
            renamed[tag]: Cause(Reason.RENAMED, sources)
            for tag, sources in present.items()
            if tag in renamed and renamed[tag] not in present
        }
    # a tag that is named absent has that reason, also where a group excludes it
    asked_absent = _join_tags([declaration.absent for declaration in active if declaration.absent], join)
    absent |= {tag: Cause(Reason.ABSENT, sources) for tag, sources in asked_absent.items()}
    expired = _join_tags([declaration.tags for declaration in inactive], join)
    authority = max((declaration.authority for declaration in active), key=_STRENGTH.__getitem__, default=WEAKEST)
    deciding = {source for declaration in active for source in declaration.deciding(authority)}
    return Want(
        present=present,
        absent=absent,
        expired={tag: sources for tag, sources in expired.items() if tag not in present},
        keep=_kept_tags(active, present),
        authority=authority,
        ignore=tuple(sorted({pattern for declaration in active for pattern in declaration.ignore})),
        deciding=tuple(sorted(deciding)),
    )


def _join_tags(
    parts: Sequence[Mapping[Tag, Sources]], join: Callable[[Sources, Sources], Sources]
) -> dict[Tag, Sources]:
    """The tags of all parts in their order, each with the places of all."""
    joined: dict[Tag, Sources] = {}
    for part in parts:
        shared = {tag: join(joined[tag], part[tag]) for tag in joined.keys() & part.keys()} if joined else {}
        joined |= part
        joined |= shared
    return {tag: joined[tag] for tag in sorted(joined)} if len(parts) > 1 else joined


def _kept_tags(active: Iterable[_Declaration], present: Iterable[Tag]) -> TagSet:
    """The tags that stay on leaving: those that every active set that declares them keeps."""
    firm = [declaration.tags for declaration in active if not declaration.keeps]
    return frozenset(present).difference(*firm)


def _sources_by_tag(uses: Iterable[TagUse]) -> dict[Tag, Sources]:
    sources: defaultdict[Tag, list[Source]] = defaultdict(list)
    for use in uses:
        sources[use.tag].append(use.source)
    return {tag: tuple(sorted(set(sources[tag]))) for tag in sorted(sources)}
