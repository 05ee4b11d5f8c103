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

from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet, folded
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection

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
        return taken_away(self, lately) if lately else NONE


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


def taken_away(known: Managed, tags: TagSet) -> TagSet:
    """Those of `tags` that are under management and that others removed; what nobody ever saw there nobody removed."""
    if known.observed is None:
        return NONE
    return (tags & known.ledger) - known.observed - known.doubt - known.unconfirmed


def intend(
    known: ContactState, action: Action, tags: TagSet, *, keep: TagSet, at: Instant, once: TagSet = NONE
) -> ContactState:
    """What is known once the intent to send is durable: added pairs are under management from here on.

    `at`: now; what is put back is remembered with it, and what is given of the tags that are `once`.
    """
    if action is Action.REMOVE:
        return known
    return replace(
        known,
        ledger=known.ledger | tags,
        kept=(known.kept - tags) | (keep & tags),
        restored=_put_back(known, taken_away(known, tags), at),
        unconfirmed=known.unconfirmed | (tags - known.ledger),
        attempted_at=at,
        # what is tried once more was given when it was tried first, for all anybody knows
        spent=_given(known, tags & once, at, anew=(tags & once) - known.ledger),
    )


def _given(known: ContactState, tags: TagSet, at: Instant, *, anew: TagSet = NONE) -> tuple[tuple[Tag, Instant], ...]:
    """The memory of what was given, with these tags. `anew`: whose date is `at`, whatever was remembered of them."""
    if not tags:
        return known.spent
    before = {tag: then for tag, then in known.spent if tag not in anew}
    return tuple(sorted((dict.fromkeys(tags, at) | before).items()))


def _put_back(known: ContactState, tags: TagSet, at: Instant) -> tuple[tuple[Tag, Instant], ...]:
    if not tags and not known.restored:
        return ()
    lately = {tag: then for tag, then in known.restored if at - then < RESTORE_MS}
    return tuple(sorted((lately | dict.fromkeys(tags, at)).items()))


def withdraw(known: ContactState, before: ContactState) -> ContactState:
    """Undoes `intend`: the request is known to have had no effect. `before` is what was known before it."""
    return replace(
        known,
        ledger=before.ledger,
        kept=before.kept,
        restored=before.restored,
        unconfirmed=before.unconfirmed,
        spent=before.spent,
        attempted_at=before.attempted_at,
    )


def absorb(
    known: ContactState,
    verdict: ContactOutcome,
    action: Action,
    tags: TagSet,
    *,
    sent: Instant,
    answered: Instant,
    settle_ms: int = SETTLE_MS,
    membership: frozenset[SetName] | None = None,
    once: TagSet = NONE,
) -> ContactState:
    """What is known after the answer: `verdict` on the contact, for a request sent and answered at those instants.

    `membership`: the sets that it belongs to now. `once`: the tags of that rule.
    """
    if verdict.outcome is Outcome.REJECTED:
        rejected = replace(
            known,
            quarantine=verdict.rejection,
            quarantined_at=answered,
            quarantined_since=known.quarantined_since or known.quarantined_at or answered,
            membership=membership,
        )
        return disown(rejected, tags - known.doubt, since=sent) if action is Action.ADD else rejected
    if verdict.observed is None:
        return known.in_doubt(tags, sent)
    seen = observe(known, verdict.observed, at=answered, origin=ObservationOrigin.WRITE, settle_ms=settle_ms)
    if action is Action.ADD:
        return confirm(seen, tags)
    return release(seen, tags - verdict.observed - seen.doubt, once=once, at=answered)


def observe(
    known: ContactState, tags: TagSet, *, at: Instant, origin: ObservationOrigin, settle_ms: int
) -> ContactState:
    """What is known after an observation of the contact's `tags` at `at`; an older one changes nothing.

    A doubt is settled when the observation was made `settle_ms` after the doubtful request was sent; what is there once
    it was sent is confirmed. Being seen after it began ends a quarantine.
    """
    if known.observed_at is not None and at < known.observed_at:
        return known
    settled = known.doubt_at is not None and at >= known.doubt_at + settle_ms
    back = known.quarantined_at is not None and at >= known.quarantined_at
    later = known.doubt_at is None or at >= known.doubt_at
    seen = replace(
        known,
        observed=tags,
        observed_at=at,
        origin=origin,
        doubt=frozenset() if settled else known.doubt,
        doubt_at=None if settled else known.doubt_at,
        quarantine=None if back else known.quarantine,
        quarantined_at=None if back else known.quarantined_at,
        quarantined_since=None if back else known.quarantined_since,
        membership=None if back else known.membership,
        unconfirmed=not_among(known.unconfirmed, tags) if later else known.unconfirmed,
        reading=None,
    )
    # what was in doubt and is not there may have been, and been consumed
    return _without_attempt(seen) if known.doubt <= tags else seen


def _without_attempt(known: ContactState) -> ContactState:
    """Where every addition that was tried is known to have come to be, or not to have, when that was says nothing."""
    if known.attempted_at is None or known.doubt or known.unconfirmed:
        return known
    return replace(known, attempted_at=None)


def not_among(some: TagSet, tags: TagSet) -> TagSet:
    """Those of `some` that are not there in any spelling: one that nobody learnt yet may stand for a tag, too."""
    if not some:
        return some
    there = set(map(folded, tags))
    return frozenset(tag for tag in some if folded(tag) not in there)


def confirm(known: ContactState, tags: TagSet) -> ContactState:
    """The adds of these tags came to be, whatever became of them since."""
    confirmed = replace(known, unconfirmed=known.unconfirmed - tags) if known.unconfirmed & tags else known
    return _without_attempt(confirmed)


def adopt(known: ContactState, tags: TagSet, *, keep: TagSet) -> ContactState:
    """Desired and observed there: under management without a request."""
    return replace(known, ledger=known.ledger | tags, kept=known.kept | (keep & tags))


def release(known: ContactState, tags: TagSet, *, once: TagSet = NONE, at: Instant = UNTIMED) -> ContactState:
    """No longer under management, now, which is `at`; that a tag of `once` was given is remembered."""
    return replace(
        known,
        ledger=known.ledger - tags,
        kept=known.kept - tags,
        restored=tuple(each for each in known.restored if each[0] not in tags),
        unconfirmed=known.unconfirmed - tags,
        spent=_given(known, tags & once & known.ledger, at),
    )


def disown(known: ContactState, tags: TagSet, *, since: Instant = UNTIMED) -> ContactState:
    """No longer under management: their adds, sent at `since` or later, are known never to have come to be."""
    never = tags & known.unconfirmed
    spent = tuple((tag, at) for tag, at in known.spent if tag not in never or at < since)
    return _without_attempt(replace(release(known, tags), spent=spent))


@dataclass(frozen=True, slots=True)
class ObservedContacts:
    """The same tags read on some contacts at one instant."""

    tags: TagSet
    at: Instant
    origin: ObservationOrigin
    contacts: tuple[ContactId, ...]

    def absorb(
        self, observed: ContactStates, *, settle_ms: int = SETTLE_MS
    ) -> Iterator[tuple[ContactId, ContactState]]:
        """What becomes known of each of the contacts."""
        for contact in self.contacts:
            yield contact, observe(observed[contact], self.tags, at=self.at, origin=self.origin, settle_ms=settle_ms)
