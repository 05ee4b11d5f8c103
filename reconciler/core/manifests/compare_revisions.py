"""compare(before, after) -> Comparison: the effect of a change to manifests, without state and API.

Rules
1. A contact gains a tag that is desired after and was not before, and loses one the other way round.
2. It is told per tag and per set; contacts that gain and lose the same are grouped.
3. Both sides are resolved at the same instant, so that time makes no difference.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core.manifests.resolve import Desired, ResolvedSet
from reconciler.core.manifests.wants import NOTHING, Want
from reconciler.core.model.names import ContactId, LocationId, SetName, Tag


@dataclass(frozen=True, slots=True)
class TagMove:
    """How many contacts gain and lose the tag, and for how many it becomes, or no longer is, forbidden."""

    tag: Tag
    gained: int
    lost: int
    forbidden: int
    allowed: int


@dataclass(frozen=True, slots=True)
class SetMove:
    """A contact set's size before and after (None: it is not there), and the contacts that came and went."""

    name: SetName
    before: int | None
    after: int | None
    joined: tuple[ContactId, ...]
    left: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class MovedContacts:
    """Contacts that gain and lose the same tags."""

    gained: tuple[Tag, ...]
    lost: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The changes in one location, sorted."""

    location: LocationId
    gone: bool
    """Whether no manifest names the location any more, so that it is left untouched."""
    tags: tuple[TagMove, ...]
    sets: tuple[SetMove, ...]
    moved: tuple[MovedContacts, ...]

    @property
    def is_empty(self) -> bool:
        return not self.tags and not self.sets and not self.gone


@dataclass(frozen=True, slots=True)
class SettingMove:
    """One setting that changed; None where it is not there. `key`: dotted, such as `api.base_url`."""

    key: str
    before: str | None
    after: str | None


def compare_revisions(location: LocationId, before: Desired | None, after: Desired | None) -> Comparison:
    """None: the location has no manifest on that side."""
    if after is None:
        # nothing is pruned from a location that no manifest names any more
        return Comparison(location, gone=True, tags=(), sets=(), moved=())
    groups = _group_contacts(before, after)
    moves: defaultdict[Tag, Counter[str]] = defaultdict(Counter)
    moved: defaultdict[tuple[tuple[Tag, ...], tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    for (was, now), contacts in groups.items():
        old, new = _want_at(before, was), _want_at(after, now)
        gained, lost = new.present.keys() - old.present.keys(), old.present.keys() - new.present.keys()
        forbidden, allowed = new.absent.keys() - old.absent.keys(), old.absent.keys() - new.absent.keys()
        for name, tags in (("gained", gained), ("lost", lost), ("forbidden", forbidden), ("allowed", allowed)):
            for tag in tags:
                moves[tag][name] += len(contacts)
        if gained or lost:
            moved[tuple(sorted(gained)), tuple(sorted(lost))].extend(contacts)
    ordered = sorted(moved.items(), key=lambda item: (-len(item[1]), item[0]))
    return Comparison(
        location=location,
        gone=False,
        tags=tuple(TagMove(tag, *(moves[tag][name] for name in _NAMES)) for tag in sorted(moves)),
        sets=tuple(_set_moves(before, after)),
        moved=tuple(MovedContacts(*tags, tuple(sorted(contacts))) for tags, contacts in ordered),
    )


_NAMES = ("gained", "lost", "forbidden", "allowed")


def _group_contacts(before: Desired | None, after: Desired | None) -> dict[tuple[int, int], list[ContactId]]:
    """The contacts by the indices of their wants before and after; -1: no set has them."""
    groups: defaultdict[tuple[int, int], list[ContactId]] = defaultdict(list)
    old_of = before.contacts if before else {}
    new_of = after.contacts if after else {}
    for contact, index in new_of.items():
        groups[old_of.get(contact, -1), index].append(contact)
    for contact, index in old_of.items():
        if contact not in new_of:
            groups[index, -1].append(contact)
    return groups


def _want_at(desired: Desired | None, index: int) -> Want:
    return NOTHING if desired is None or index < 0 else desired.wants[index]


def _set_moves(before: Desired | None, after: Desired | None) -> list[SetMove]:
    old, new = _sets_by_name(before), _sets_by_name(after)
    moves = []
    for name in sorted(old.keys() | new.keys()):
        was, now = set(old[name].members if name in old else ()), set(new[name].members if name in new else ())
        move = SetMove(
            name=name,
            before=len(was) if name in old else None,
            after=len(now) if name in new else None,
            joined=tuple(sorted(now - was)),
            left=tuple(sorted(was - now)),
        )
        if move.joined or move.left or move.before != move.after:
            moves.append(move)
    return moves


def _sets_by_name(desired: Desired | None) -> Mapping[SetName, ResolvedSet]:
    return {contact_set.name: contact_set for contact_set in desired.sets} if desired else {}
