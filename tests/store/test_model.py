"""Law: whatever is done to a store, in whatever order, it shows what a few dictionaries would."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from reconciler.core.model.api_limits import NO_FACTS, LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactReading, ContactState, ObservationOrigin
from reconciler.core.model.errors import LeaseLost, LockHeld
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.lease import HEARTBEAT_MS, TTL_MS, Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.people import Fingerprint, IndexStatus, MatchCounts, PeopleIndex, PeopleLot, Snapshot
from reconciler.ports import LocationStore
from reconciler.store import open_reader, open_store
from tests.build import contact_state
from tests.fakes import START, a_holder
from tests.sizes import how_many
from tests.store.conftest import HOMES, IN_PROCESS

LOCATIONS = [LocationId("asdrwHvLUxlfw5SqKVCN"), LocationId("zzzzzzzzzzzzzzzzzzzz")]
CONTACTS = [ContactId(f"contact-{nth}") for nth in range(6)]
T = TypeVar("T")
TAGS = [Tag(text) for text in ("a", "b", "grün", "x,y")]

SETS = [SetName(text) for text in ("vip", "grün", "fans")]
VALUES = [Fingerprint(bytes([nth]) * 16) for nth in range(4)]


def _by_fingerprint(values: Mapping[ContactId, Iterable[Fingerprint]]) -> dict[Fingerprint, tuple[ContactId, ...]]:
    found: dict[Fingerprint, tuple[ContactId, ...]] = {}
    for who in sorted(values):
        for each in values[who]:
            found[each] = (*found.get(each, ()), who)
    return found


@dataclass
class Place:
    """A location as the model has it."""

    contacts: dict[ContactId, ContactState] = field(default_factory=dict)
    sizes: dict[SetName, int] = field(default_factory=dict)
    facts: LocationFacts = NO_FACTS
    snapshots: dict[SetName, Snapshot] = field(default_factory=dict)
    people: dict[ContactId, tuple[frozenset[Fingerprint], frozenset[Fingerprint]]] = field(default_factory=dict)
    """The fingerprints that a contact has, and those that it had."""
    status: IndexStatus = IndexStatus()
    runs: dict[str, tuple[RunStatus, int, int]] = field(default_factory=dict)
    unanswered: dict[int, tuple[Batch, Instant]] = field(default_factory=dict)
    lease: Lease | None = None
    expires: int = 0
    by: int = 0
    run: str = ""

    def shown(self) -> dict[ContactId, ContactState]:
        found = dict(self.contacts)
        for batch, at in self.unanswered.values():
            for contact in batch.contacts:
                found[contact] = found.get(contact, NEVER_OBSERVED).with_doubt(frozenset(batch.tags), at)
        return found

    def content(self) -> tuple[object, ...]:
        pulled = {name: each.contacts for name, each in self.snapshots.items()}
        return dict(self.contacts), dict(self.sizes), self.facts, pulled

    def index(self) -> PeopleIndex:
        present, past = ({who: each[nth] for who, each in self.people.items()} for nth in (0, 1))
        return PeopleIndex(self.status, _by_fingerprint(present), _by_fingerprint(past))


class Play:
    """One random sequence of operations on two stores of the same home, and on the model."""

    def __init__(self, url: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.url = url
        self.opened = [open_store(url), open_store(url)]
        self.stores = [state.__enter__() for state in self.opened]
        self.places = {location: Place() for location in LOCATIONS}
        self.now = int(START)
        self.taken = 0

    def close(self) -> None:
        for state in self.opened:
            state.__exit__(None, None, None)

    def step(self) -> None:
        self.now += self.chance.choice((1, 1_000, 40_000))
        location = self.chance.choice(LOCATIONS)
        place = self.places[location]
        # a lease is used by the one who took it
        nth = self.chance.randrange(2) if place.lease is None or place.expires <= self.now else place.by
        if self.chance.random() < 0.1:
            self.reopen(nth)
        operations: list[Callable[[LocationStore, LocationId, Place], None]] = [
            self.acquire, self.renew, self.release, self.begin, self.end, self.learn, self.intend, self.answer,
            self.learn, self.intend, self.answer, self.answer, self.note, self.stale,
            self.pull, self.drop, self.index, self.index, self.forget,
        ]  # fmt: skip
        before, serial, held = place.content(), self._serial(location), place.lease
        operation = self.acquire if nth != place.by else self.chance.choice(operations)
        operation(self.stores[nth].at(location), location, place)
        if operation == self.acquire and place.lease != held:
            place.by = nth
        assert (self._serial(location) > serial) == (place.content() != before)

    def reopen(self, nth: int) -> None:
        self.opened[nth].__exit__(None, None, None)
        self.opened[nth] = open_store(self.url)
        self.stores[nth] = self.opened[nth].__enter__()
        if self.url.startswith("postgres"):
            # the session that took the leases has ended
            for place in self.places.values():
                if place.by == nth and place.lease is not None:
                    place.expires = place.lease.expires - TTL_MS + HEARTBEAT_MS

    def _serial(self, location: LocationId) -> int:
        return self.stores[0].at(location).load_state().serial

    def acquire(self, store: LocationStore, location: LocationId, place: Place) -> None:
        self.taken += 1
        holder = a_holder(str(self.taken))
        if place.lease is not None and place.expires > self.now:
            with pytest.raises(LockHeld):
                store.acquire_lease(holder, Instant(self.now))
            return
        lease = store.acquire_lease(holder, Instant(self.now))
        assert place.lease is None or lease.fence > place.lease.fence
        place.lease, place.expires, place.run = lease, self.now + TTL_MS, ""

    def renew(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is not None:
            place.lease = store.renew_lease(place.lease, Instant(self.now))
            place.expires = self.now + TTL_MS

    def release(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is not None:
            store.release_lease(place.lease)
            place.lease, place.run = None, ""

    def stale(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is not None:
            older = Lease(location, place.lease.holder, place.lease.fence - 1, place.lease.expires)
            with pytest.raises(LeaseLost):
                store.save_states(older, {CONTACTS[0]: self.known()})

    def begin(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is None:
            return
        run = store.begin_run(place.lease, RunHeader(location, "apply", "anna", Instant(self.now)))
        place.contacts, place.unanswered = place.shown(), {}
        for name, (status, requests, rows) in place.runs.items():
            if status is RunStatus.RUNNING:
                place.runs[name] = (RunStatus.INTERRUPTED, requests, rows)
        place.runs[run], place.run = (RunStatus.RUNNING, 0, 0), run

    def end(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is None or not place.run:
            return
        complete = self.chance.random() < 0.5
        sizes = {SetName(name): self.chance.randrange(3) for name in self.chance.sample(["s", "t"], 1)}
        status = RunStatus.COMPLETE if complete else RunStatus.STOPPED
        store.end_run(place.lease, place.run, status, Instant(self.now), set_sizes=sizes if complete else None)
        place.runs[place.run] = (status, *place.runs[place.run][1:])
        place.sizes = sizes if complete else place.sizes
        place.run = ""

    def learn(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is not None:
            changed = {contact: self.known() for contact in self.some(CONTACTS)}
            store.save_states(place.lease, changed)
            place.contacts |= changed

    def note(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is not None:
            place.facts = LocationFacts(self.chance.choice((None, True, False)), max_tags=self.chance.choice((None, 3)))
            store.save_facts(place.lease, place.facts)

    def pull(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is not None:
            pulled = {
                name: Snapshot(tuple(sorted(self.some(CONTACTS))), Instant(self.now), "digest", MatchCounts(9, 9))
                for name in self.some(SETS)
            }
            store.save_snapshots(place.lease, pulled)
            place.snapshots |= pulled

    def drop(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is not None:
            names = self.some(SETS)
            store.drop_snapshots(place.lease, names)
            place.snapshots = {name: each for name, each in place.snapshots.items() if name not in names}

    def index(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is None:
            return
        gone = frozenset(self.some(CONTACTS)) if self.chance.random() < 0.3 else frozenset()
        people = {who: frozenset(self.some(VALUES)) for who in self.some(CONTACTS)}
        anew, status = self.chance.random() < 0.2, IndexStatus(str(self.now), secret=bytes([self.chance.randrange(9)]))
        store.save_people(place.lease, PeopleLot(status, people, gone, anew))
        kept = {who: each for who, each in place.people.items() if who not in gone and not anew}
        for who, values in people.items():
            before, past = kept.get(who, (frozenset(), frozenset()))
            kept[who] = values, (before | past) - values
        place.people, place.status = kept, status

    def forget(self, store: LocationStore, location: LocationId, place: Place) -> None:
        # rows of the journal would go as well
        if place.lease is None or place.runs:
            return
        gone = frozenset(self.some(CONTACTS))
        listed = {who for each in place.snapshots.values() for who in each.contacts}
        assert store.forget_contacts(place.lease, gone) == gone & (listed | place.people.keys())
        place.contacts = {who: each for who, each in place.contacts.items() if who not in gone}
        place.people = {who: each for who, each in place.people.items() if who not in gone}
        place.snapshots = {
            name: replace(each, contacts=tuple(who for who in each.contacts if who not in gone))
            for name, each in place.snapshots.items()
        }

    def intend(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is None or not place.run:
            return
        contacts, tags = tuple(self.some(CONTACTS)), tuple(self.some(TAGS))
        batch = Batch(self.chance.choice(list(Action)), contacts, tags)
        changed = {contact: self.known() for contact in contacts}
        number = store.record_intent(place.lease, place.run, batch, changed, Instant(self.now))
        place.contacts |= changed
        place.unanswered[number] = batch, Instant(self.now)
        status, requests, rows = place.runs[place.run]
        place.runs[place.run] = status, requests + 1, rows + len(contacts)

    def answer(self, store: LocationStore, location: LocationId, place: Place) -> None:
        if place.lease is None or not place.unanswered:
            return
        number = self.chance.choice(sorted(place.unanswered))
        batch, _ = place.unanswered.pop(number)
        changed = {contact: self.known() for contact in batch.contacts}
        if self.chance.random() < 0.3:
            store.withdraw_batch(place.lease, number, changed, Instant(self.now))
        else:
            verdict = ContactOutcome(Outcome.APPLIED, "", None, frozenset(), frozenset(batch.tags))
            store.record_answer(place.lease, number, dict.fromkeys(batch.contacts, verdict), changed, Instant(self.now))
        place.contacts |= changed

    def known(self) -> ContactState:
        """One of not too many values, so that some come again."""
        kind, tags = self.chance.randrange(8), frozenset(self.some(TAGS))
        at = Instant(START + self.chance.randrange(2))
        return (
            NEVER_OBSERVED,
            contact_state(tags, at, ObservationOrigin.WRITE),
            contact_state(ledger=tags, kept=tags & {TAGS[0]}),
            contact_state(tags, at, ObservationOrigin.SEARCH, doubt=tags, doubt_at=at),
            contact_state(
                quarantine=self.chance.choice(list(Rejection)),
                quarantined_at=at,
                membership=self.chance.choice((None, frozenset({SetName("s")}))),
            ),
            contact_state(ledger=tags, restored=tuple((tag, at) for tag in sorted(tags)), unconfirmed=tags & {TAGS[0]}),
            contact_state(spent=tuple((tag, at) for tag in sorted(tags)), attempted_at=at),
            contact_state(
                doubt=tags, doubt_at=at, reading=ContactReading(at, at, self.chance.choice((None, at)), at, tags)
            ),
        )[kind]

    def some(self, items: Sequence[T]) -> list[T]:
        return self.chance.sample(items, self.chance.randrange(1, len(items)))

    def check(self) -> None:
        with open_reader(self.url) as reader:
            for state in (reader, *self.stores):
                for location, place in self.places.items():
                    loaded = state.at(location).load_state()
                    assert dict(loaded.observed.items()) == place.shown()
                    assert dict(loaded.set_sizes) == place.sizes
                    assert loaded.facts == place.facts
                    assert state.at(location).read_snapshots() == place.snapshots
                    assert state.at(location).read_people() == place.index()
                    runs = {each.id: (each.status, each.requests, each.rows) for each in state.at(location).read_runs()}
                    assert list(runs.items()) == list(place.runs.items())


@pytest.mark.parametrize("home", sorted(HOMES | IN_PROCESS))
@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, how_many(8, 22)), marks=pytest.mark.slow)], ids=str)
def test_any_sequence_of_operations_equals_the_model(home: str, seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        (tmp_path / str(seed)).mkdir()
        play = Play((HOMES | IN_PROCESS)[home](tmp_path / str(seed)), seed)
        try:
            for _ in range(60):
                play.step()
            play.check()
        finally:
            play.close()
