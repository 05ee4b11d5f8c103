"""What earlier runs learnt of each contact: observed tags, ledger, doubts, quarantine.

Rules
1. The answer to a write is the next observation; a newer observation is never replaced by an older one.
2. A pair enters the ledger with the intent of an add, or when it is adopted; it leaves when it is not desired and
   known absent, when it was rejected, or when the request that would have added it is known to have had no effect.
   A pair in doubt does not leave: a request may have put it there, or may still.
3. A doubt ends with an observation made when its request could no longer take effect. The answer to another write that
   does not show an add which nobody ever saw leaves it in doubt: a workflow may have consumed it.
4. A pair of the ledger is unconfirmed from the intent of its first add until an answer or an observation shows that it
   came to be.
5. A pair of a tag that is `once` is remembered with the date it was given (`spent`), from its intent on and beyond the
   ledger. The memory goes only where its add was refused, or is proven never to have taken effect.
6. Contacts that share everything known share one `ContactState`: a million of them are a column of small integers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import Annotated, Protocol

from reconciler.core.model.alike import map_alike
from reconciler.core.model.contact_columns import ContactColumn
from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action, Rejection

NONE: TagSet = frozenset()
DatedTag = tuple[Tag, Instant]
DAY_MS = 86_400_000
RESTORE_MS = 7 * DAY_MS
"""A pair of ours that others removed is put back at most once in this time."""

QUARANTINE_MS = 30 * DAY_MS
"""After this time a contact that the API refused for good is tried once more."""

UNTIMED = Instant(0)
"""For `now` where nobody says: no quarantine ends, and nothing was put back lately."""

LATEST_MS = 10_000
"""So long after the date of its intent a request may leave, at most; less where requests take effect sooner."""

SETTLE_MS = 90_000 + LATEST_MS
"""How long after the date of its intent a request without an answer may take effect, where the settings do not say: the
date of a doubt is that of the intent where the process died before it could tell when the request left."""


class ObservationOrigin(StrEnum):
    """What told us the observed tags."""

    NEVER = ""
    WRITE = "write"
    GET = "get"
    SEARCH = "search"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Stored:
    """How columns and formats have a field of a part; `state_fields.py` derives their writers and readers from this."""

    name: str
    place: int
    """Its place among the members of a document. A new field takes the next: those before it keep their bytes."""
    about: str = ""
    """Its description in the published schema."""
    event: str = ""
    """The event that its time dates, for the message about a time that is yet to come; empty where none is told."""
    may_be_null: bool = False
    """Whether tags are null, and not an empty list, where the part is not there."""


DatedTags = tuple[DatedTag, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """The tags that a contact carried when the API last told them."""

    tags: Annotated[
        TagSet, Stored("observed", 1, "The tags when the API last told; null: it never did.", may_be_null=True)
    ]
    at: Annotated[Instant, Stored("observed_at", 2, event="observed")]
    # left out of the hash: that of an enum is a call in Python, and each contact's state is hashed when it is interned
    origin: Annotated[ObservationOrigin, Stored("origin", 3)] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The pairs of a contact that are under this repository's management."""

    tags: Annotated[TagSet, Stored("ledger", 4, "The tags under management.")] = NONE
    kept: Annotated[TagSet, Stored("kept", 5, "Of the ledger, what stays when nobody declares it any more.")] = NONE
    """Those that stay on the contact when no set declares them any more."""
    unconfirmed: Annotated[
        TagSet, Stored("unconfirmed", 13, "Tags under management whose adds nobody ever saw there.")
    ] = NONE
    """Those that were asked for, and that no answer or observation has shown since."""


@dataclass(frozen=True, slots=True)
class ContactReading:
    """A contact as it was read."""

    asked: Instant
    """When the reading was asked for, by our clock."""
    answered: Instant
    """When it was answered, by our clock."""
    served: Instant | None = None
    """When it was answered, by the server's clock; None where the answer did not say."""
    updated: Instant | None = None
    """The contact's `dateUpdated`."""
    tags: TagSet = NONE

    def there(self, ours: Instant) -> Instant | None:
        """The time that the server's clock showed at our instant, at the least."""
        return None if self.served is None else Instant(self.served - self.answered + ours)


@dataclass(frozen=True, slots=True)
class Doubt:
    """The tags that requests of unknown effect tried to change."""

    tags: Annotated[TagSet, Stored("doubt", 6, "Tags for which the effect of a request is unknown.")]
    sent: Annotated[Instant, Stored("doubt_at", 7, event="sent")]
    """When the last of these requests was sent."""
    reading: Annotated[ContactReading | None, Stored("reading", 15, event="read")] = None
    """The last reading that could not decide the doubt, to be judged again once more is known."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A contact that the API refuses for good."""

    reason: Annotated[Rejection, Stored("quarantine", 8)]
    at: Annotated[Instant, Stored("quarantined_at", 9, event="refused")]
    """When the API last refused the contact."""
    since: Annotated[Instant | None, Stored("quarantined_since", 10)] = None
    """When it first did; None where only the last time is known."""
    membership: Annotated[
        frozenset[SetName] | None,
        Stored("membership", 11, "The sets it belonged to when it was quarantined; null: not known."),
    ] = None
    """The sets that the contact belonged to then; None where they are not known."""

    def holds(self, membership: frozenset[SetName], sets: frozenset[SetName], now: Instant) -> bool:
        """Whether it is still refused: it was lately, and belongs to the same sets. `sets`: all that there are now."""
        return now < self.at + QUARANTINE_MS and not self._has_moved(membership, sets)

    def _has_moved(self, membership: frozenset[SetName], sets: frozenset[SetName]) -> bool:
        if self.membership is None:
            return False
        left, joined = (self.membership & sets) - membership, membership - self.membership
        # where a set of then is no more, the one that the contact joined may be that set under another name
        return bool(left) or (bool(joined) and self.membership <= sets)


@dataclass(frozen=True, slots=True)
class PastAdds:
    """The dates of additions that later plans must remember, each sorted by tag."""

    restored: Annotated[
        DatedTags,
        Stored(
            "restored", 12, "Tags that we put back after others had removed them, and when we last did.", "restored"
        ),
    ] = ()
    spent: Annotated[
        DatedTags,
        Stored(
            "spent", 14, "Tags of the rule `once` that were given, and when; not forgotten with the ledger.", "given"
        ),
    ] = ()
    attempted_at: Annotated[
        Instant | None, Stored("attempted_at", 16, "When a request last tried pairs in doubt or never seen.", "tried")
    ] = None
    """When a request last tried additions, as long as one of them is not known to have come to be."""


EMPTY_LEDGER, NO_PAST_ADDS = Ledger(), PastAdds()


@dataclass(frozen=True, slots=True)
class ContactState:
    """The state of a contact, in parts that each have their own times. `state_fields.py` writes and reads them."""

    observation: Observation | None = None
    """None while no answer and no reading ever told the tags, which is not "no tags"."""
    ledger: Ledger = EMPTY_LEDGER
    doubt: Doubt | None = None
    quarantine: Quarantine | None = None
    past_adds: PastAdds = NO_PAST_ADDS

    @property
    def observed(self) -> TagSet | None:
        return None if self.observation is None else self.observation.tags

    @property
    def observed_at(self) -> Instant | None:
        return None if self.observation is None else self.observation.at

    @property
    def origin(self) -> ObservationOrigin:
        return ObservationOrigin.NEVER if self.observation is None else self.observation.origin

    @property
    def doubtful(self) -> TagSet:
        return NONE if self.doubt is None else self.doubt.tags

    def with_doubt(self, tags: TagSet, sent: Instant) -> ContactState:
        """The state after a request about `tags`, sent at `sent`, whose effect is unknown."""
        if not tags and self.doubt is None:
            return self
        # a reading that did not decide the older doubt tells nothing of this request
        last = sent if self.doubt is None else max(sent, self.doubt.sent)
        return replace(self, doubt=Doubt(self.doubtful | tags, last))

    def is_barred(self, membership: frozenset[SetName], sets: frozenset[SetName], now: Instant) -> bool:
        return self.quarantine is not None and self.quarantine.holds(membership, sets, now)

    def last_tried(self, action: Action, tag: Tag) -> Instant | None:
        """When an earlier request, which may have to do with this one, tried the same."""
        times = [self.doubt.sent] if self.doubt is not None and tag in self.doubt.tags else []
        if action is Action.ADD:
            times += [at for restored, at in self.past_adds.restored if restored == tag]
            times += [] if self.past_adds.attempted_at is None else [self.past_adds.attempted_at]
        return max(times, default=None)

    @property
    def given_before(self) -> tuple[DatedTag, ...]:
        """The pairs of `once` tags that left the ledger, and when they were given."""
        return tuple(given for given in self.past_adds.spent if given[0] not in self.ledger.tags)

    def flapping(self, now: Instant) -> TagSet:
        """Tags of ours that others removed although they were put back lately."""
        if not self.past_adds.restored:
            return NONE
        # the clock of the machine that put them back may be ahead
        lately = frozenset(tag for tag, at in self.past_adds.restored if abs(now - at) < RESTORE_MS)
        return removed_by_others(self, lately) if lately else NONE


NEVER_OBSERVED = ContactState()
NOBODY: Mapping[ContactId, int] = {}


class ContactStates:
    """What is known of every contact of a location; the run that holds the lease is the only one to change it."""

    __slots__ = ("_index", "contacts", "patterns")

    def __init__(self, contacts: Mapping[ContactId, int] = NOBODY, patterns: Iterable[ContactState] = ()) -> None:
        """`contacts` maps a contact to an index of `patterns`; index 0 is always NEVER_OBSERVED."""
        self.contacts = ContactColumn.of(contacts)
        self.patterns: list[ContactState] = list(patterns) or [NEVER_OBSERVED]
        self._index: dict[ContactState, int] = {}

    def __len__(self) -> int:
        return len(self.contacts)

    def __contains__(self, contact: object) -> bool:
        # without it Python would look for the contact by numbers, of which each finds a state
        return contact in self.contacts

    def __getitem__(self, contact: ContactId) -> ContactState:
        return self.patterns[self.contacts.get(contact, 0)]

    def states_of(self, contacts: Collection[ContactId]) -> dict[ContactId, ContactState]:
        return dict(zip(contacts, map(self.patterns.__getitem__, self.contacts.find_all(contacts, 0)), strict=True))

    def items(self) -> Iterator[tuple[ContactId, ContactState]]:
        return ((contact, self.patterns[index]) for contact, index in self.contacts.items())

    def update(self, changed: Mapping[ContactId, ContactState]) -> None:
        self.contacts.put_all(changed, map_alike(self._intern, changed.values()))

    def count_tags(self, tags_of: Callable[[ContactState], TagSet]) -> Counter[Tag]:
        """How many contacts have each of the tags, by a look at what contacts share."""
        # a million contacts share ten thousand patterns, most of which have as few contacts as others
        alike: defaultdict[int, list[TagSet]] = defaultdict(list)
        for index, contacts in self.contacts.count_integers().items():
            alike[contacts].append(tags_of(self.patterns[index]))
        counted: Counter[Tag] = Counter()
        for contacts, tagsets in alike.items():
            for tag, times in Counter(chain(*tagsets)).items():
                counted[tag] += contacts * times
        return counted

    def _intern(self, known: ContactState) -> int:
        if not self._index:
            # a plan of what is stored needs none
            self._index |= {known: index for index, known in enumerate(self.patterns)}
        index = self._index.get(known)
        if index is None:
            index = self._index[known] = len(self.patterns)
            self.patterns.append(known)
        return index


class Managed(Protocol):
    """The tags of a contact that are under management, and those of them that are there."""

    @property
    def observed(self) -> TagSet | None: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def doubtful(self) -> TagSet: ...


def removed_by_others(contact: Managed, tags: TagSet) -> TagSet:
    """Those of `tags` that are under management and that others removed."""
    if contact.observed is None:
        return NONE
    # a tag that no answer ever showed there was removed by no one
    return (tags & contact.ledger.tags) - contact.observed - contact.doubtful - contact.ledger.unconfirmed
