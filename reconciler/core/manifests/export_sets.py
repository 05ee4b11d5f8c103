"""What contacts carry, as contact sets that declare just that. Pure.

Rules
1. Each contact is declared to carry what it was observed with: the plan that follows adopts, and sends nothing.
2. A tag that no manifest can name is left out and told: nobody manages it, so it stays as it is.
3. Names of sets and files are lower-case letters, digits and hyphens, whatever the tags are; no two are alike.
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
"""Names of files that mean something else."""


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
    `present`: who is there, where that is known."""
    chosen = tuple(patterns)
    found: defaultdict[TagSet, list[ContactId]] = defaultdict(list)
    carried: set[Tag] = set()
    odd = 0
    for contact, known in observed.items():
        tags = frozenset(tag for tag in _settled_tags(known) if _matches_any(tag, chosen))
        if not tags or (present is not None and contact not in present):
            continue
        carried |= tags
        declared = frozenset(filter(can_be_declared, tags))
        odd += not _can_be_listed(contact)
        if declared and _can_be_listed(contact):
            found[declared].append(contact)
    sets = _sets_by_combination(found) if group_by is GroupBy.COMBINATION else _sets_by_tag(found)
    return Export(
        manifests={each.name: (each,) for each in sets} if group_by is GroupBy.TAG else {called: sets} if sets else {},
        contacts=sum(map(len, found.values())),
        pairs=sum(len(tags) * len(contacts) for tags, contacts in found.items()),
        undeclarable=tuple(sorted(tag for tag in carried if not can_be_declared(tag))),
        odd=odd,
    )


def _settled_tags(known: ContactState) -> TagSet:
    """What it carries for sure; nothing of a contact that the API refuses."""
    return frozenset() if known.quarantine is not None else (known.observed or frozenset()) - known.doubt


def _matches_any(tag: Tag, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(tag, each) for each in patterns)


def _can_be_listed(contact: ContactId) -> bool:
    return (
        bool(contact)
        and contact.isascii()
        and contact.isprintable()
        and not contact.isspace()
        and contact == contact.strip()
    )


def _sets_by_combination(found: dict[TagSet, list[ContactId]]) -> tuple[ExportedSet, ...]:
    """The largest first."""
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), sorted(item[0])))
    name = _make_namer()
    return tuple(
        ExportedSet(name(" ".join(sorted(tags))), tuple(sorted(tags)), tuple(sorted(contacts)))
        for tags, contacts in ordered
    )


def _sets_by_tag(found: dict[TagSet, list[ContactId]]) -> tuple[ExportedSet, ...]:
    holders: defaultdict[Tag, list[ContactId]] = defaultdict(list)
    for tags, contacts in found.items():
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
