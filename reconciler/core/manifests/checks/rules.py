"""Checks of tag rules: equal where given twice, used, and not at odds with themselves or the sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from reconciler.core.manifests.checks.check_finding import CheckFinding
from reconciler.core.manifests.checks.merged import Location, Manifests
from reconciler.core.model.manifest import TagRule, TagUse
from reconciler.core.model.names import Tag


def equal_rules(manifests: Manifests) -> Iterator[CheckFinding]:
    """A tag's rules in several files of a location must say the same."""
    for location in manifests.locations:
        for rule in location.own_rules():
            other = location.rules[rule.tag]
            if not _same(rule, other):
                message = f"the rule for tag {rule.tag!r} differs from the one at {other.source}"
                yield CheckFinding(rule.source, message, "a rule is given once, or the same everywhere")


def replaced_rules(manifests: Manifests) -> Iterator[CheckFinding]:
    """A manifest's rule that stands in place of a different one of the settings, as a whole."""
    for location in manifests.locations:
        for rule in location.own_rules():
            other = manifests.shared.get(rule.tag)
            if other is not None and not _same(rule, other):
                yield CheckFinding(
                    rule.source, f"this rule for tag {rule.tag!r} replaces the shared one at {other.source}"
                )


def _same(one: TagRule, other: TagRule) -> bool:
    return replace(one, source=other.source) == other


def contradictions(manifests: Manifests) -> Iterator[CheckFinding]:
    """Properties of one rule that cannot both be meant."""
    for rule in _all_rules(manifests):
        if rule.inert and (rule.triggers or rule.once):
            other = "triggers" if rule.triggers else "once"
            yield CheckFinding(
                rule.source, f"tag {rule.tag!r} cannot be both inert and {other}: inert tags start nothing"
            )
        if rule.renamed_from == rule.tag:
            yield CheckFinding(rule.source, f"tag {rule.tag!r} is renamed from itself")
        if rule.protected and rule.exclusive:
            message = f"tag {rule.tag!r} cannot be both protected and exclusive: one never removes it, the other does"
            yield CheckFinding(rule.source, message)
    yield from _unremovable(manifests)


def _unremovable(manifests: Manifests) -> Iterator[CheckFinding]:
    """A tag that a set wants absent, and that nothing may remove."""
    for location in manifests.locations:
        rules = dict(manifests.shared) | location.rules
        for contact_set in location.all_sets():
            for use in contact_set.absent:
                rule = rules.get(use.tag)
                if rule is not None and rule.protected:
                    yield CheckFinding(use.source, f"tag {use.tag!r} is absent here, but protected at {rule.source}")
                if any(fnmatchcase(use.tag, pattern) for pattern in contact_set.ignore):
                    yield CheckFinding(use.source, f"tag {use.tag!r} is absent here, but ignored by the same set")


def _all_rules(manifests: Manifests) -> Iterator[TagRule]:
    for location in manifests.locations:
        yield from location.own_rules()
    yield from manifests.shared.values()


def renamed_tags(manifests: Manifests) -> Iterator[CheckFinding]:
    """A tag that was renamed must not be declared under its old name too."""
    for location in manifests.locations:
        declared = {use.tag: use for contact_set in location.all_sets() for use in contact_set.tags}
        for rule in location.rules.values():
            if rule.renamed_from in declared and rule.renamed_from != rule.tag and rule.tag in declared:
                old: TagUse = declared[rule.renamed_from]
                message = f"tag {old.tag!r} is declared here, but renamed to {rule.tag!r} at {rule.source}"
                yield CheckFinding(old.source, message, "declare the new name only")


def unused_rules(manifests: Manifests) -> Iterator[CheckFinding]:
    """Rules for tags that no set names; says nothing where something could not be read."""
    if not manifests.complete or any(not location.complete for location in manifests.locations):
        return
    used_shared: set[Tag] = set()
    for location in manifests.locations:
        used = _used(location)
        used_shared |= used
        for rule in location.own_rules():
            if rule.tag not in used:
                yield CheckFinding(
                    rule.source, f"the rule for tag {rule.tag!r} is not used: no contact set names the tag"
                )
    for rule in manifests.shared.values():
        if rule.tag not in used_shared and manifests.locations:
            yield CheckFinding(rule.source, f"the rule for tag {rule.tag!r} is not used: no contact set names the tag")


def _used(location: Location) -> set[Tag]:
    """Tags that a rule does something for: named ones, others of their groups, those kept or cleared anyway."""
    named = {use.tag for use in location.tag_uses()}
    groups = {location.rules[tag].group for tag in named if tag in location.rules} - {""}
    alone = {tag for tag, rule in location.rules.items() if rule.protected or rule.exclusive or rule.group in groups}
    return named | alone
