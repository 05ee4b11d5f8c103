"""What earlier runs learnt of each contact: observed tags, ledger, doubts, quarantine.

Rules
1. The answer to a write is the next observation; a newer observation is never replaced by an older one.
2. A pair enters the ledger with the intent of an add, or when it is adopted; it leaves when it is not desired and
   known absent, when it was rejected, or when the request that would have added it is known to have had no effect.
   A pair in doubt does not leave: a request may have put it there, or may still.
3. A doubt ends with an observation made after the doubtful request could still land, be it the answer to a write.
4. A pair of the ledger is unconfirmed from the intent of its first add until an answer or an observation shows that it
   came to be.
5. A pair of a tag that is `once` is remembered with the date it was given (`spent`), from its intent on and beyond the
   ledger. The memory goes only where its add was refused, or is proven never to have landed.
6. Contacts that share everything known share one `ContactState`: a million of them are a dict of small integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action, Rejection

NONE: TagSet = frozenset()
DAY_MS = 86_400_000
RESTORE_MS = 7 * DAY_MS
"""A pair of ours that others removed is put back at most once in this time."""

QUARANTINE_MS = 30 * DAY_MS
"""After this time a contact that the API refused for good is tried once more."""

UNTIMED = Instant(0)
"""For `now` where nobody says: no quarantine ends, and nothing was put back lately."""

SETTLE_MS = 90_000
"""How long after it was sent a request of unknown effect may still land, where the settings do not say."""


class ObservationOrigin(StrEnum):
    """What told us the observed tags."""

    NEVER = ""
    WRITE = "write"
    GET = "get"
    SEARCH = "search"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class UndecidedReading:
    """The last reading of a contact that could not decide its doubt, to be judged again once more is known.

    `asked`, `answered`: when, by our clock. `served`: by the server's, None where the answer did not say. `updated`:
    the contact's `dateUpdated`. `tags`: the tags that it carried.
    """

    asked: Instant
    answered: Instant
    served: Instant | None = None
    updated: Instant | None = None
    tags: TagSet = frozenset()


@dataclass(frozen=True, slots=True)
class ContactState:
    """All that is known of a contact. `observed` is None while nothing ever told (which is not "no tags").

    `kept`: part of the ledger that stays on the contact when nobody declares it any more. `doubt`: tags that a
    request of unknown effect tried to change, the last one sent at `doubt_at`. `quarantined_at`: when the API last
    refused the contact for good; `quarantined_since`: when it first did, None where only the last is known;
    `membership`: the sets that the contact belonged to then, None where that is not known. `restored`: the tags that
    we put back after others had removed them, and when we last did, sorted. `unconfirmed`: that part of the ledger that
    was asked for, and which neither an answer nor an observation has shown since. `spent`: the tags of
    the rule `once` that were given, and when, sorted; they stay when the pair leaves the ledger. `reading`: the last
    one that could not decide the doubt. `attempted_at`: when a request last tried additions, as long as
    one of them is not known to have come to be.
    """

    observed: TagSet | None = None
    observed_at: Instant | None = None
    origin: ObservationOrigin = ObservationOrigin.NEVER
    ledger: TagSet = frozenset()
    kept: TagSet = frozenset()
    doubt: TagSet = frozenset()
    doubt_at: Instant | None = None
    quarantine: Rejection | None = None
    quarantined_at: Instant | None = None
    quarantined_since: Instant | None = None
    membership: frozenset[SetName] | None = None
    restored: tuple[tuple[Tag, Instant], ...] = ()
    unconfirmed: TagSet = frozenset()
    spent: tuple[tuple[Tag, Instant], ...] = ()
    reading: UndecidedReading | None = None
    attempted_at: Instant | None = None

    def in_doubt(self, tags: TagSet, sent: Instant) -> ContactState:
        """A request about `tags`, sent at `sent`, whose effect is unknown."""
        return replace(self, doubt=self.doubt | tags, doubt_at=max(sent, self.doubt_at or sent), reading=None)

    def is_barred(self, membership: frozenset[SetName], sets: frozenset[SetName], now: Instant) -> bool:
        """Refused for good, and still so as far as anybody knows: the contact belongs to the same sets as then.

        `sets`: all that there are now.
        """
        if self.quarantined_at is None:
            return False
        return now < self.quarantined_at + QUARANTINE_MS and not self._has_moved(membership, sets)

    def _has_moved(self, membership: frozenset[SetName], sets: frozenset[SetName]) -> bool:
        """Whether the contact left a set that is still there, or joined one.

        Where a set that it belonged to is no more, the one that it belongs to now may be that set under another name.
        """
        if self.membership is None:
            return False
        left, joined = (self.membership & sets) - membership, membership - self.membership
        return bool(left) or (bool(joined) and self.membership <= sets)

    def last_tried(self, action: Action, tag: Tag) -> Instant | None:
        """When an earlier request, of which nobody knows that it has nothing to do with this one, tried the same."""
        times = [self.doubt_at] if tag in self.doubt else []
        if action is Action.ADD:
            times += [self.attempted_at, *(at for each, at in self.restored if each == tag)]
        return max((at for at in times if at is not None), default=None)

    @property
    def given_before(self) -> tuple[tuple[Tag, Instant], ...]:
        """The pairs of `once` tags that left the ledger, and when they were given."""
        return tuple(each for each in self.spent if each[0] not in self.ledger) if self.spent else ()

    def flapping(self, now: Instant) -> TagSet:
        """Tags of ours that others removed although they were put back lately."""
        lately = frozenset(tag for tag, at in self.restored if abs(now - at) < RESTORE_MS)
        return removed_by_others(self, lately) if lately else NONE


NEVER_OBSERVED = ContactState()


class ContactStates:
    """What is known of every contact of a location; the run that holds the lease is the only one to change it."""

    __slots__ = ("_index", "contacts", "patterns")

    def __init__(self, contacts: dict[ContactId, int] | None = None, patterns: Iterable[ContactState] = ()) -> None:
        """`contacts` maps a contact to an index of `patterns`; index 0 is always UNKNOWN."""
        self.contacts: dict[ContactId, int] = contacts if contacts is not None else {}
        self.patterns: list[ContactState] = list(patterns) or [NEVER_OBSERVED]
        self._index = {known: index for index, known in enumerate(self.patterns)}

    def __len__(self) -> int:
        return len(self.contacts)

    def __contains__(self, contact: object) -> bool:
        return contact in self.contacts

    def __getitem__(self, contact: ContactId) -> ContactState:
        return self.patterns[self.contacts.get(contact, 0)]

    def items(self) -> Iterator[tuple[ContactId, ContactState]]:
        return ((contact, self.patterns[index]) for contact, index in self.contacts.items())

    def update(self, changed: Mapping[ContactId, ContactState]) -> None:
        for contact, known in changed.items():
            self.contacts[contact] = self._intern(known)

    def _intern(self, known: ContactState) -> int:
        index = self._index.get(known)
        if index is None:
            index = self._index[known] = len(self.patterns)
            self.patterns.append(known)
        return index


class Managed(Protocol):
    """What tells which tags of a contact are under management, and which of them are there."""

    @property
    def observed(self) -> TagSet | None: ...
    @property
    def ledger(self) -> TagSet: ...
    @property
    def kept(self) -> TagSet: ...
    @property
    def doubt(self) -> TagSet: ...
    @property
    def unconfirmed(self) -> TagSet: ...


def removed_by_others(known: Managed, tags: TagSet) -> TagSet:
    """Those of `tags` that are under management and that others removed; what nobody ever saw there nobody removed."""
    if known.observed is None:
        return NONE
    return (tags & known.ledger) - known.observed - known.doubt - known.unconfirmed
