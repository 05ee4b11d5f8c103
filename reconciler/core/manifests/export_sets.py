"""The tags that contacts carry, as contact sets that declare just these. Pure.

Rules
1. Each contact is declared to carry the tags that it was observed with: the plan that follows adopts, and sends none.
2. A tag that no manifest can name is left out and listed: it is not managed, so it stays as it is.
3. Names of sets and files are lower-case letters, digits and hyphens, however the tags are spelt; no two are alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from reconciler.core.manifests.checks.tags import can_be_declared
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.names import ContactId, Tag, TagSet

LONGEST_SLUG = 40
RESERVED = frozenset({"reconciler", "con", "prn", "aux", "nul"})
"""Names of files with another meaning: the settings, and devices of Windows."""


class GroupBy(StrEnum):
    """`TAG`: a manifest and a set for each tag. `ONE_SET_PER_TAG`: one manifest with these sets. `COMBINATION`: one
    manifest with a set for each combination of tags, a contact being in one of them."""

    TAG = "tag"
    COMBINATION = "combination"
    ONE_SET_PER_TAG = "one-set-per-tag"


@dataclass(frozen=True, slots=True)
class ExportedSet:
    """A set to be declared; `name` names its file of contacts too."""

    name: str
    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """The sets by the name of their manifest; tags that cannot be declared, and contacts that are left out."""

    manifests: dict[str, tuple[ExportedSet, ...]]
    contacts: int
    pairs: int
    undeclarable: tuple[Tag, ...]
    odd: int


def export_sets(
    observed: ContactStates,
    *,
    group_by: GroupBy,
    called: str,
    patterns: Iterable[str] = (),
    present: Set[ContactId] | None = None,
) -> Export:
    """`called`: the name of a manifest for all sets. `patterns`: of the tags to take, all of them where there is none.
    `present`: the contacts that are there, where that is known."""
    chosen = tuple(patterns)
    contacts_of: defaultdict[TagSet, list[ContactId]] = defaultdict(list)
    carried: set[Tag] = set()
    odd = 0
    for contact, state in observed.items():
        tags = frozenset(tag for tag in _settled_tags(state) if _matches_any(tag, chosen))
        if not tags or (present is not None and contact not in present):
            continue
        carried |= tags
        declared = frozenset(filter(can_be_declared, tags))
        odd += not _can_be_listed(contact)
        if declared and _can_be_listed(contact):
            contacts_of[declared].append(contact)
    sets = _sets_by_combination(contacts_of) if group_by is GroupBy.COMBINATION else _sets_by_tag(contacts_of)
    return Export(
        manifests={exported.name: (exported,) for exported in sets}
        if group_by is GroupBy.TAG
        else {called: sets}
        if sets
        else {},
        contacts=sum(map(len, contacts_of.values())),
        pairs=sum(len(tags) * len(contacts) for tags, contacts in contacts_of.items()),
        undeclarable=tuple(sorted(tag for tag in carried if not can_be_declared(tag))),
        odd=odd,
    )


def _settled_tags(state: ContactState) -> TagSet:
    """The tags that it carries for sure; none of a contact that the API refuses."""
    return frozenset() if state.quarantine is not None else (state.observed or frozenset()) - state.doubtful


def _matches_any(tag: Tag, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(tag, pattern) for pattern in patterns)


def _can_be_listed(contact: ContactId) -> bool:
    return bool(contact) and contact.isascii() and contact.isprintable() and contact == contact.strip()


def _sets_by_combination(contacts_of: dict[TagSet, list[ContactId]]) -> tuple[ExportedSet, ...]:
    # the largest first: it takes the name that two combinations may share
    ordered = sorted(contacts_of.items(), key=lambda item: (-len(item[1]), sorted(item[0])))
    name = _make_namer()
    return tuple(
        ExportedSet(name(" ".join(sorted(tags))), tuple(sorted(tags)), tuple(sorted(contacts)))
        for tags, contacts in ordered
    )


def _sets_by_tag(contacts_of: dict[TagSet, list[ContactId]]) -> tuple[ExportedSet, ...]:
    holders: defaultdict[Tag, list[ContactId]] = defaultdict(list)
    for tags, contacts in contacts_of.items():
        for tag in tags:
            holders[tag] += contacts
    name = _make_namer()
    return tuple(ExportedSet(name(tag), (tag,), tuple(sorted(holders[tag]))) for tag in sorted(holders))


def _make_namer() -> Callable[[str], str]:
    """Gives each text a name of its own."""
    taken = set(RESERVED)

    def name(text: str) -> str:
        base = make_slug(text)
        chosen, number = base, 1
        while chosen in taken:
            number += 1
            chosen = f"{base}-{number}"
        taken.add(chosen)
        return chosen

    return name


def make_slug(text: str) -> str:
    """Letters, digits and hyphens of a text; `tag` where there is none."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_SLUG].strip("-") or "tag"
