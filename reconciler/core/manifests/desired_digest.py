"""The digests of the desired tags: of rules and, for each distinct wish, its contacts; and of definitions alone."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache

from reconciler.core.manifests.wants import NOTHING, Want
from reconciler.core.model.contact_columns import ContactColumn
from reconciler.core.model.manifest import Authority, ContactSet, TagRule
from reconciler.core.model.names import LocationId, Tag

UNPLANNED = frozenset({"source", "description", "pace", "window"})
"""The fields of a tag's rule that planning does not read, or that stand in the digest where they are set only."""


def digest_desired(
    location: LocationId,
    wants: Sequence[Want],
    contacts: ContactColumn,
    rules: Mapping[Tag, TagRule],
) -> str:
    """SHA-256 over the rules and, for each distinct wish, its contacts in order."""
    members: defaultdict[str, list[int]] = defaultdict(list)
    describe, groups = _WantText(), contacts.numbered.group_ids(contacts.column, len(wants))
    for index, want in enumerate(wants):
        if groups.has(index):
            members[describe(want)].append(index)
    # a contact that leaves a set without tags changes no plan
    members.pop(describe(NOTHING), None)
    digest = hashlib.sha256(json.dumps([location, [_describe_rule(rules[tag]) for tag in sorted(rules)]]).encode())
    for text in sorted(members):
        digest.update(f"[{json.dumps(text)}, ".encode())
        digest.update(groups.write(members[text]))
        digest.update(b"]")
    return "sha256:" + digest.hexdigest()


def digest_definitions(
    location: LocationId,
    sets: Iterable[tuple[ContactSet, Authority, bool]],
    rules: Mapping[Tag, TagRule],
) -> str:
    """SHA-256 over rules and definitions: it moves when these are edited, and when a set becomes active or expires.

    `sets`: each with its authority, and whether it is active. The members of lists, files and snapshots do not move it.
    """
    described = sorted([entry.name, *_describe_set(entry, authority), active] for entry, authority, active in sets)
    text = json.dumps([location, [_describe_rule(rules[tag]) for tag in sorted(rules)], described])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _describe_set(entry: ContactSet, authority: Authority) -> list[object]:
    tags, absent = (sorted({use.tag for use in uses}) for uses in (entry.tags, entry.absent))
    limits = [entry.start, entry.until, sorted(entry.ignore), entry.on_leave]
    return [entry.definition, tags, absent, authority, limits]


_APART = ("present", "deciding")
"""The fields of a wish that stand apart, or are places alone."""


class _WantText:
    """Every field of a wish as JSON, without the places in files where it was written."""

    def __init__(self) -> None:
        self._json = cache(json.dumps)
        self._others: dict[tuple[Authority, tuple[str, ...]], str] = {}

    def __call__(self, want: Want) -> str:
        # in their order by now
        present = ", ".join(map(self._json, want.present))
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
    values = {entry.name: getattr(want, entry.name) for entry in fields(want) if entry.name not in _APART}
    reasons = {tag: cause.reason for tag, cause in want.absent.items()}
    values |= {"absent": reasons, "expired": sorted(want.expired), "keep": sorted(want.keep)}
    return json.dumps([*values.values()], sort_keys=True)[1:-1]


def _describe_rule(rule: TagRule) -> list[object]:
    """Every field of the rule but those that change no plan: a field that is new moves the digest."""
    described = [getattr(rule, entry.name) for entry in fields(rule) if entry.name not in UNPLANNED]
    # a rule without them has the digest that it had before there were any
    return described + [str(slow) for slow in (rule.pace, rule.window) if slow is not None]
