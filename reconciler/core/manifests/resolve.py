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
import string
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import TypeAlias

from reconciler.core.manifests import order_sets
from reconciler.core.model.batch import Cause, Reason
from reconciler.core.model.contact_columns import ABSENT, ContactColumn, ContactNumbers, NumberedContacts, Numbers
from reconciler.core.model.dataclass import dataclass, field, fields
from reconciler.core.model.manifest import Authority, ContactSet, ListedContacts, Manifest, OnLeave, TagRule, TagUse
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag, TagSet
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
_NO_SETS: frozenset[SetName] = frozenset()
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


Combination: TypeAlias = tuple[int, ...]
"""Sets that contacts share, by their places."""


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired tags of one location."""

    location: LocationId
    wants: tuple[Want, ...]
    # a contact's index in `wants` and in `combinations`
    contacts: ContactColumn
    sets: tuple[ResolvedSet, ...]
    rules: Mapping[Tag, TagRule]
    # tags named in the location's manifests, their groups and their old names
    owned: TagSet
    # the next `from` or `until`, when all this may change, or the end of a `max_age`, when it is too old
    valid_until: Instant | None
    # identifies tags and rules: comments, order, file names and contacts without a wish do not move it
    digest: str
    # the sets that a contact belongs to, by their places in `sets`
    combinations: tuple[Combination, ...]

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
        indexes, wants = map(self.contacts.get, contacts), self.wants
        return [NOTHING if index is None else wants[index] for index in indexes]

    def memberships_of(self, contacts: Collection[ContactId]) -> list[frozenset[SetName]]:
        # contacts of one combination share the value
        membership = cache(self._names_of_sets)
        return [membership(index) for index in map(self.contacts.get, contacts)]

    def membership(self, contact: ContactId) -> frozenset[SetName]:
        return self._names_of_sets(self.contacts.get(contact))

    def _names_of_sets(self, index: int | None) -> frozenset[SetName]:
        return _NO_SETS if index is None else self.membership_of(index)

    def membership_of(self, index: int) -> frozenset[SetName]:
        """The names of the sets of one of the combinations."""
        return frozenset(self.sets[place].name for place in self.combinations[index])


WEAKEST = Authority.ADDITIVE
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
    members = members_of([contact_set for contact_set, _ in sets], manifests[0].contacts)
    combinations, contacts = _combine_sets(
        manifests[0].contacts, [members[contact_set.name].numbers for contact_set, _ in sets]
    )
    groups, renamed = _tags_by_group(rules), _old_names(rules)
    wants = _resolve_wants(sets, combinations, groups, renamed, now=now)
    return Desired(
        location=manifests[0].location,
        wants=wants,
        contacts=contacts,
        sets=tuple(_resolve_set(contact_set, members[contact_set.name], now) for contact_set, _ in sets),
        rules=rules,
        owned=_owned_tags(manifests, groups, renamed),
        valid_until=_next_boundary([contact_set for contact_set, _ in sets], now),
        digest=_digest_desired(manifests[0].location, wants, contacts, rules),
        combinations=tuple(combinations),
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


def members_of(sets: Iterable[ContactSet], numbered: ContactNumbers | None = None) -> dict[SetName, NumberedContacts]:
    """The members of every set, those of combined sets worked out; raises KeyError for an unknown set.

    `numbered`: the contacts of the location, which those of most sets are numbered among already.
    """
    by_name = {contact_set.name: contact_set for contact_set in sets}
    numbered = ContactNumbers() if numbered is None else numbered
    order, _ = order_sets({name: contact_set.references for name, contact_set in by_name.items()})
    members: dict[SetName, Numbers] = {}
    for name in order:
        contacts = by_name[name].contacts
        if isinstance(contacts, ListedContacts):
            members[name] = _number_ids(contacts.ids, numbered)
        else:
            members[name] = array("i", contacts.combine_members(members.__getitem__))
    return {name: NumberedContacts(numbered, numbers) for name, numbers in members.items()}


def _number_ids(ids: Sequence[ContactId], numbered: ContactNumbers) -> Numbers:
    if isinstance(ids, NumberedContacts) and ids.numbered is numbered:
        return ids.numbers
    return array("i", numbered.number(ids))


class _Steps(dict[int, int]):
    """By the combination that a contact had before a set was looked at, the one that it has with it."""

    def __init__(self, combinations: list[Combination], place: int) -> None:
        super().__init__()
        self._combinations, self._place = combinations, place

    def __missing__(self, before: int) -> int:
        self[before] = after = len(self._combinations)
        self._combinations.append((*(() if before == ABSENT else self._combinations[before]), self._place))
        return after


def _combine_sets(numbered: ContactNumbers, members: Iterable[Numbers]) -> tuple[list[Combination], ContactColumn]:
    """The distinct combinations of sets, and the index of the one that each contact has."""
    # walks the sets once, each as a whole; a contact moves from combination to combination
    combinations: list[Combination] = []
    column = array("i", [ABSENT]) * len(numbered)
    for place, numbers in enumerate(members):
        steps = _Steps(combinations, place)
        for number in numbers:
            column[number] = steps[column[number]]
    return combinations, ContactColumn(numbered, column)


def _list_alike(contacts: ContactColumn, combinations: int) -> list[list[ContactId]]:
    """The contacts of each combination, sorted."""
    alike: list[list[ContactId]] = [[] for _ in range(combinations)]
    for contact, index in contacts.items():
        alike[index].append(contact)
    for ids in alike:
        ids.sort()
    return alike


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


Sources = tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class _Declaration:
    """The declarations of one set at a time: the parts of its contacts' wants."""

    is_active: bool
    # the tags that it declares, or would declare if it were active, in their order
    tags: Mapping[Tag, Sources]
    absent: Mapping[Tag, Sources]
    authority: Authority
    ignore: tuple[str, ...]
    # whether its tags stay on leaving
    keeps: bool


def _read_declaration(contact_set: ContactSet, authority: Authority, now: Instant) -> _Declaration:
    return _Declaration(
        is_active(contact_set, now),
        _sources_by_tag(contact_set.tags),
        _sources_by_tag(contact_set.absent),
        authority,
        contact_set.ignore,
        contact_set.on_leave is OnLeave.KEEP,
    )


def _resolve_wants(
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
    return tuple(
        _resolve_want([declarations[place] for place in places], groups, renamed, join) for places in combinations
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
    return Want(
        present=present,
        absent=absent,
        expired={tag: sources for tag, sources in expired.items() if tag not in present},
        keep=_kept_tags(active, present),
        authority=max((declaration.authority for declaration in active), key=_STRENGTH.__getitem__, default=WEAKEST),
        ignore=tuple(sorted({pattern for declaration in active for pattern in declaration.ignore})),
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
    return dict(sorted(joined.items())) if len(parts) > 1 else joined


def _kept_tags(active: Iterable[_Declaration], present: Iterable[Tag]) -> TagSet:
    """The tags that stay on leaving: those that every active set that declares them keeps."""
    firm = [declaration.tags for declaration in active if not declaration.keeps]
    return frozenset(present).difference(*firm)


def _sources_by_tag(uses: Iterable[TagUse]) -> dict[Tag, Sources]:
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
    contacts: ContactColumn,
    rules: Mapping[Tag, TagRule],
) -> str:
    """SHA-256 over the rules and, for each distinct wish, its contacts in order."""
    members: defaultdict[str, list[ContactId]] = defaultdict(list)
    describe = _WantText()
    for want, ids in zip(wants, _list_alike(contacts, len(wants)), strict=True):
        if ids:
            members[describe(want)] += ids
    # a contact that leaves a set without tags changes no plan
    members.pop(describe(NOTHING), None)
    digest = hashlib.sha256(json.dumps([location, [_describe_rule(rules[tag]) for tag in sorted(rules)]]).encode())
    for text in sorted(members):
        digest.update(f"[{json.dumps(text)}, ".encode())
        digest.update(_write_ids(sorted(members[text])))
        digest.update(b"]")
    return "sha256:" + digest.hexdigest()


def _write_ids(ids: Sequence[ContactId]) -> bytes:
    """The JSON of a list of ids; where all are letters and digits, it is that of their text."""
    text = '", "'.join(ids).encode(errors="surrogatepass")
    if text.translate(None, _LETTERS_AND_DIGITS) == b'", "' * (len(ids) - 1):
        return b'["' + text + b'"]'
    return json.dumps(ids).encode()


_LETTERS_AND_DIGITS = (string.ascii_letters + string.digits).encode()


class _WantText:
    """Every field of a wish as JSON, without the places in files where it was written."""

    def __init__(self) -> None:
        self._json = cache(json.dumps)
        self._others: dict[tuple[Authority, tuple[str, ...]], str] = {}

    def __call__(self, want: Want) -> str:
        present = ", ".join(map(self._json, sorted(want.present)))
        return f"[[{present}], {self._other_fields(want)}]"

    def _other_fields(self, want: Want) -> str:
        """Most wishes have the same of these, and hardly any."""
        if want.absent or want.expired or want.keep:
            return _describe_others(want)
        key = want.authority, want.ignore
        if key not in self._others:
            self._others[key] = _describe_others(want)
        return self._others[key]


def _describe_others(want: Want) -> str:
    values = {entry.name: getattr(want, entry.name) for entry in fields(want) if entry.name != "present"}
    reasons = {tag: cause.reason for tag, cause in want.absent.items()}
    values |= {"absent": reasons, "expired": sorted(want.expired), "keep": sorted(want.keep)}
    return json.dumps([*values.values()], sort_keys=True)[1:-1]


def _describe_rule(rule: TagRule) -> list[object]:
    """Every field of the rule but those that change no plan: a field that is new moves the digest."""
    return [getattr(rule, entry.name) for entry in fields(rule) if entry.name not in UNPLANNED]
