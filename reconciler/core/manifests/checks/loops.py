"""Checks of filters by tag: a set must not depend on the tags that the manifests of its location give or take.

Rules
1. The tags of a location's manifests are those that they name; under `exact` any tag but ignored ones. One that only
   the ledger owns no file shows: where a plan changes it, `find_changed_filters` tells.
2. A filter may leave out the contacts with such a tag: then a tag that is given takes no contact in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from reconciler.core.manifests import CheckFinding, Location, Manifests
from reconciler.core.manifests.checks.snapshots import matched_sets
from reconciler.core.manifests.wants import old_names, owned_tags, whole_groups
from reconciler.core.model.contact_filter import Condition, FilterOperator, list_conditions
from reconciler.core.model.manifest import Authority, Combined, ContactSet, OnLeave
from reconciler.core.model.names import SetName, Tag, TagSet, normalise_tag

TAGS = "tags"
MOST_STEPS = 1_000_000
"""So many sets and conditions are looked at for a warning."""


def filters_on_owned_tags(manifests: Manifests) -> Iterator[CheckFinding]:
    """Filters that take in the contacts with a tag which the manifests give or take."""
    for location in manifests.locations:
        filtered = list(_tag_conditions(location))
        if not filtered:
            continue
        owned, takers = _SearchedTags(_owned_tags(location)), _list_takers(location)
        for contact_set, condition in filtered:
            # a filter has no `not` by now: it was turned around, and not twice is once
            if condition.is_negative:
                continue
            reason = _find_reason(condition, owned) or _find_taker(condition, takers)
            if reason:
                asked = f"tag {condition.value!r}" if condition.value else "having a tag"
                message = f"contact set {contact_set.name!r} is filtered by {asked}, a loop: {reason}"
                hint = f"filter by something else; to leave contacts out: not: {{tags: {{{_spell(condition)}}}}}"
                yield CheckFinding(condition.source, message, hint)


def find_changed_filters(
    contact_sets: Iterable[ContactSet], changed: Iterable[Tag]
) -> Iterator[tuple[ContactSet, Condition, Tag]]:
    """The sets that take in the contacts with a tag which is about to change; by condition, with the first such tag."""
    tags = _SearchedTags(changed)
    for contact_set, condition in _conditions_by_tag(contact_sets):
        if not condition.is_negative and (tag := tags.find_first(condition)) is not None:
            yield contact_set, condition, tag


def filters_that_flip(manifests: Manifests) -> Iterator[CheckFinding]:
    """Sets that leave out the contacts with the tag that they give, and take it back from those that leave.

    A set that is made of others leaves out whom these leave out.
    """
    for location in manifests.locations:
        filtered, steps = _list_leaving_out(location), 0
        for contact_set in location.all_sets() if filtered else ():
            if not contact_set.tags or contact_set.on_leave is not OnLeave.REMOVE:
                continue
            given = _SearchedTags(use.tag for use in contact_set.tags)
            bases, walked = _list_bases(location, contact_set)
            found = [(base, condition) for base in bases for condition in filtered.get(base.name, ())]
            steps += walked + len(found)
            if steps > MOST_STEPS:
                message = "the sets are made of one another in too many ways to tell which take back a tag by a filter"
                yield CheckFinding(contact_set.source, message)
                return
            for base, condition in found:
                if tag := given.find_first(condition):
                    yield _describe_flip(contact_set, base, condition, tag)


def _describe_flip(contact_set: ContactSet, base: ContactSet, condition: Condition, tag: Tag) -> CheckFinding:
    if base is contact_set:
        message = f"contact set {contact_set.name!r} gives tag {tag!r}, and leaves out the contacts that have it"
    else:
        message = (
            f"contact set {contact_set.name!r} ({contact_set.source}) gives tag {tag!r} to contacts of {base.name!r}, "
            "which leaves out the contacts that have it"
        )
    hint = "each pull would take out those whom an apply gave it, and it be removed: say on_leave: keep"
    return CheckFinding(
        condition.source, message, f"{hint}, in {contact_set.name!r}" if base is not contact_set else hint
    )


def _list_bases(location: Location, contact_set: ContactSet) -> tuple[list[ContactSet], int]:
    """The set, or those that its contacts are taken from, whose loss of a contact is its loss too; each once.

    And how many sets were looked at.
    """
    waiting, seen, bases = [(contact_set, True)], set[tuple[SetName, bool]](), list[ContactSet]()
    while waiting:
        entry, takes_in = waiting.pop()
        if (entry.name, takes_in) in seen:
            continue
        seen.add((entry.name, takes_in))
        if isinstance(entry.contacts, Combined):
            # whom an excepted set loses is gained
            taken = [(use, takes_in) for use in (*entry.contacts.sets, *entry.contacts.only)]
            excepted = [(use, not takes_in) for use in entry.contacts.minus]
            waiting += [(location.sets[use.name], way) for use, way in (*taken, *excepted) if use.name in location.sets]
        elif takes_in:
            bases.append(entry)
    return bases, len(seen)


def _list_leaving_out(location: Location) -> dict[SetName, list[Condition]]:
    """The conditions by which sets leave contacts out for a tag."""
    found: dict[SetName, list[Condition]] = {}
    for contact_set, condition in _tag_conditions(location):
        if condition.is_negative:
            found.setdefault(contact_set.name, []).append(condition)
    return found


def _owned_tags(location: Location) -> TagSet:
    return owned_tags(location.files, whole_groups(location.rules), old_names(location.rules))


def _tag_conditions(location: Location) -> Iterator[tuple[ContactSet, Condition]]:
    return _conditions_by_tag(location.all_sets())


def _conditions_by_tag(contact_sets: Iterable[ContactSet]) -> Iterator[tuple[ContactSet, Condition]]:
    for contact_set, match in matched_sets(contact_sets):
        for condition in () if match.filter is None else list_conditions(match.filter):
            if condition.name == TAGS and not condition.is_custom:
                yield contact_set, condition


class _SearchedTags:
    """Some tags, in which conditions look for theirs: manifests at their size limit have tens of thousands of each."""

    def __init__(self, tags: Iterable[Tag]) -> None:
        self._tags = frozenset(tags)
        self._sorted = sorted(self._tags)
        # a tag has no line end: what is found in the text lies within one of them
        self._text = "\n".join(["", *self._sorted, ""])

    def find_first(self, condition: Condition) -> Tag | None:
        """The first of the tags that a condition looks for."""
        if condition.operator in (FilterOperator.EXISTS, FilterOperator.NOT_EXISTS):
            return self._sorted[0] if self._sorted else None
        # as a tag is compared everywhere: `VIP` asks for `vip`
        sought = normalise_tag(str(condition.value))
        if condition.operator not in (FilterOperator.CONTAINS, FilterOperator.NOT_CONTAINS):
            return sought if sought in self._tags else None
        at = -1 if "\n" in sought else self._text.find(sought)
        return None if at < 0 else Tag(self._text[self._text.rfind("\n", 0, at) + 1 : self._text.index("\n", at)])


def _find_reason(condition: Condition, owned: _SearchedTags) -> str:
    tag = owned.find_first(condition)
    return "" if tag is None else f"these manifests give or take {tag!r}"


def _list_takers(location: Location) -> list[ContactSet]:
    """The sets that take tags which no manifest names."""
    return [entry for entry in location.all_sets() if location.authority_of(entry) is Authority.EXACT]


def _find_taker(condition: Condition, takers: Iterable[ContactSet]) -> str:
    is_one = condition.operator is FilterOperator.EQ
    tag = normalise_tag(str(condition.value))
    for taker in takers:
        # of a part of a tag, or of any tag, no pattern tells that all of them are ignored
        if not is_one or not any(fnmatchcase(tag, pattern) for pattern in taker.ignore):
            return f"contact set {taker.name!r} has authority exact, which takes any tag that it does not ignore"
    return ""


def _spell(condition: Condition) -> str:
    if condition.operator is FilterOperator.EXISTS:
        return "exists: true"
    return f"{condition.operator}: {condition.value}"
