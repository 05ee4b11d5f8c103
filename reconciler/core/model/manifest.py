"""The manifests as they are written: one value a concept, each with its place in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import TypeVar

from reconciler.core.model.contact_numbers import ContactNumbers
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag
from reconciler.core.model.people import Match
from reconciler.core.model.release_rules import ReleaseRule, TagPace, TagWindow

Contact = TypeVar("Contact", ContactId, int)
"""A contact by its id, or by its number."""


class Authority(StrEnum):
    """How much of a contact's tags a set decides; the strongest of a contact's active sets holds."""

    ADDITIVE = "additive"
    OWNED = "owned"
    EXACT = "exact"


class OnLeave(StrEnum):
    """The fate of a set's tags on a contact that leaves it."""

    REMOVE = "remove"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class TagUse:
    """A tag where a manifest names it; `written` is the spelling found there.

    `commented`: a blank and a `#` follow it unquoted, so that part of the tag may have become a comment.
    """

    tag: Tag
    written: str
    source: Source
    commented: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class SetUse:
    """A contact set where another one names it."""

    name: SetName
    source: Source


@dataclass(frozen=True, slots=True)
class ListedContacts:
    """Contacts listed inline or in a file, without duplicates, in the order written.

    `path` is the file's, empty for an inline list. `lines` and, inline, `columns` tell where each id was written; they
    are no part of the value, and empty where that is not known (Parquet has no lines).
    """

    ids: Sequence[ContactId]
    source: Source
    path: str = ""
    lines: Sequence[int] = field(default=(), compare=False, repr=False)
    columns: Sequence[int] = field(default=(), compare=False, repr=False)
    match: Match | None = None
    """Where people are matched by the file's rows: the ids are those of its snapshot, none where there is none yet."""

    def place(self, index: int) -> Source:
        """Where the id at `index` was written, as exactly as is known."""
        # Parquet has no lines; the ids of another file are known by their path alone
        if index >= len(self.lines):
            return Source(self.path) if self.path else self.source
        column = self.columns[index] if index < len(self.columns) else 0
        return Source(self.path or self.source.path, self.lines[index], column)


@dataclass(frozen=True, slots=True)
class Combined:
    """Contacts of other sets: the union of `sets`, within the union of `only` (where given), without `minus`."""

    sets: tuple[SetUse, ...]
    minus: tuple[SetUse, ...]
    only: tuple[SetUse, ...]
    source: Source

    @property
    def uses(self) -> tuple[SetUse, ...]:
        return (*self.sets, *self.minus, *self.only)

    def combine_members(self, members: Callable[[SetName], Iterable[Contact]]) -> Iterable[Contact]:
        """The contacts in the order written, as a plan's order follows from it; `members`: those of a set.

        By their ids, or by their numbers.
        """
        combined = dict.fromkeys(chain.from_iterable(members(use.name) for use in self.sets))
        if self.only:
            within = set[Contact]().union(*(members(use.name) for use in self.only))
            combined = dict.fromkeys(filter(within.__contains__, combined))
        for use in self.minus:
            # of two sets the smaller one is walked: many small sets without a large one stay cheap
            for contact in combined.keys() & members(use.name):
                del combined[contact]
        return combined


@dataclass(frozen=True, slots=True)
class ContactSet:
    """Some contacts and the tags declared for them.

    `start` and `until` (exclusive) bound the time in which the set declares; its membership does not depend on them.
    `authority` is None where the set leaves it to the manifest.
    """

    name: SetName
    source: Source
    contacts: ListedContacts | Combined
    tags: tuple[TagUse, ...] = ()
    absent: tuple[TagUse, ...] = ()
    authority: Authority | None = None
    ignore: tuple[str, ...] = ()
    on_leave: OnLeave = OnLeave.REMOVE
    start: Instant | None = None
    until: Instant | None = None
    allow_empty: bool = False
    definition: str = field(default="", compare=False, repr=False)
    """How its contacts are chosen, as the manifest writes it: a list's ids are no part of that, nor a file's rows."""

    @property
    def references(self) -> tuple[SetName, ...]:
        """The names of the sets that it is combined of."""
        return tuple(use.name for use in self.contacts.uses) if isinstance(self.contacts, Combined) else ()


@dataclass(frozen=True, slots=True)
class TagRule:
    """The rules of one tag in a location (or, from the settings, in all)."""

    tag: Tag
    source: Source
    description: str = ""
    group: str = ""
    max_adds: int | None = None
    max_removes: int | None = None
    min_holders: int | None = None
    protected: bool = False
    triggers: bool = False
    once: bool = False
    inert: bool = False
    exclusive: bool = False
    renamed_from: Tag | None = None
    pace: TagPace | None = None
    window: TagWindow | None = None

    @property
    def release(self) -> ReleaseRule | None:
        """How slowly the tag is given; None: at once."""
        return None if self.pace is None and self.window is None else ReleaseRule(self.pace, self.window)


@dataclass(frozen=True, slots=True)
class Rollout:
    """The order in which the locations of one manifest are sent a change: a wave after the other."""

    waves: tuple[tuple[LocationId, ...], ...]
    soak_ms: int
    """How long after it ended a wave is watched before the next one may begin."""
    source: Source

    def wave_of(self, location: LocationId) -> int:
        """Its place among the waves; raises ValueError for a location of another manifest."""
        return next(place for place, wave in enumerate(self.waves) if location in wave)

    def locations_before(self, location: LocationId) -> tuple[LocationId, ...]:
        """The locations of all waves before that of this one."""
        return tuple(chain.from_iterable(self.waves[: self.wave_of(location)]))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of one location. A file with many locations is a manifest of each.

    `authority` is the default of its sets, None where the settings decide.
    """

    path: str
    location: LocationId
    source: Source
    sets: tuple[ContactSet, ...]
    rules: Mapping[Tag, TagRule] = field(default_factory=dict)
    authority: Authority | None = None
    rollout: Rollout | None = None
    contacts: ContactNumbers = field(default_factory=ContactNumbers, compare=False, repr=False)
    """Contacts of the location, numbered as they were read; they may be more than those of the sets."""
