"""One run in one location: its services, its options and the books that it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import methodcaller
from random import random
from typing import Any, TypeVar, TypeVarTuple

from reconciler.apply.books import DoubtBook, LocationBook, RunProgress
from reconciler.beside import Places, ThreadWorker
from reconciler.core.formats.state_json import UnrecordedAnswers
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import Alias, LocationFacts
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NONE, ContactState, ContactStates
from reconciler.core.model.errors import ApiError, Unfinished
from reconciler.core.model.events import Event
from reconciler.core.model.journal import BatchRecord
from reconciler.core.model.lease import Holder, Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag, TagSet
from reconciler.core.model.outcome import THE_TOKEN, Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.people import Snapshot
from reconciler.core.planning.approved_scope import NO_DIFFERENCE, Ceiling, Proposal, ProposalDifference
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.plan import LocationPlan, PlanOptions
from reconciler.core.planning.revert import Reversal
from reconciler.core.planning.tag_aliases import Spelling
from reconciler.core.running.pace import Pace
from reconciler.core.running.pair_outcomes import PairOutcomes
from reconciler.core.running.stop_conditions import Canary, Rates, StopOn
from reconciler.journalled_run import JournalledRun
from reconciler.ports import (
    Clock,
    LocationStore,
    RecoveryFiles,
    Reporter,
    StartWorker,
    StateStore,
    TagReader,
    TagWriter,
)
from reconciler.request_gate import RequestGate, Stop
from reconciler.wire import ContactRead, Page

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")
IN_FLIGHT = 50
MOST_SILENT = 10
"""So many requests in a row may end in doubt: then the API is not well, and nothing more is sent."""
ContactOutcomes = dict[ContactId, ContactOutcome]


def _keep_nothing(answers: UnrecordedAnswers, /) -> str:  # noqa: ARG001 (nothing is kept)
    return ""


def _the_token(location: LocationId) -> str:  # noqa: ARG001 (the same for all)
    return THE_TOKEN


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the outside world that a run uses."""

    writer: Callable[[LocationId], TagWriter]
    store: StateStore
    clock: Clock
    report: Reporter
    recovery_files: RecoveryFiles = _keep_nothing
    """Keeps the answers that `store` cannot."""
    reader: Callable[[LocationId], TagReader] | None = None
    """The means to settle doubts, without which they are held."""
    pace: Callable[[LocationId], Pace] | None = None
    """Shared by all that ask the location."""
    stop: Stop = field(default_factory=Stop)
    chance: Callable[[], float] = random
    """Drawn evenly from 0 to 1, for the pauses."""
    token: Callable[[LocationId], str] = _the_token
    """The name of a location's token in messages, with where it is held."""
    read_snapshots: Callable[[LocationId, Iterable[SetName]], Mapping[SetName, Snapshot]] | None = None
    """Reads those of these sets from files as they are now, where files and not the state have them."""
    start_worker: StartWorker = ThreadWorker
    """A location's calls of the state are made by a worker of its own."""


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """How a plan is carried out."""

    desired: Mapping[LocationId, Desired]
    options: Mapping[LocationId, PlanOptions]
    holder: Holder
    commit: str = ""
    reversals: Mapping[LocationId, Reversal] = field(default_factory=dict)
    """The runs that this one undoes, where it does not carry out the desired tags."""
    lock_timeout_ms: int = 0
    history_keep: int | None = None
    """So many runs keep their rows, None: all of them."""
    in_flight: int = IN_FLIGHT
    """So many requests of a location may be under way at once."""
    places: Places | None = None
    """For locations that work at once, None: for all of them."""
    order: Sequence[LocationId] = ()
    """The order in which they come."""
    stop_on: StopOn = StopOn()
    canary: Canary | None = None
    """The contacts to begin with, None: all at once."""
    spill: bool = False
    """Whether the run may wait for the next day's quota."""
    wait: bool = False
    """Whether the run waits until additions of slowly given tags may go."""
    fail_fast: bool = False
    """Whether the error of one location stops the others."""
    digests: frozenset[str] = frozenset()
    """The change digests that were approved; a run in a location that was approved by its own is known by that."""
    proposal: Proposal | None = None
    """The plan file; the plan is the part of it that is needed now."""
    snapshots: Mapping[LocationId, Mapping[SetName, Snapshot]] = field(default_factory=dict)
    """Those that `desired` goes by."""

    def proposed(self, location: LocationId) -> LocationPlan | None:
        """The plan file's part of a location."""
        return self.proposal.of(location) if self.proposal else None

    def difference(self, location: LocationId) -> ProposalDifference:
        """How plan file and plan differ in a location."""
        return self.proposal.rests.get(location, NO_DIFFERENCE) if self.proposal else NO_DIFFERENCE


@dataclass(frozen=True, slots=True)
class SpeltReader:
    """Reads by `reader`, and calls tags as `spelling` says at the time of the answer."""

    reader: TagReader
    spelling: Callable[[], Spelling]

    async def get_contact(self, contact: ContactId) -> ContactRead | Rejection:
        answer = await self.reader.get_contact(contact)
        return self._spelt(answer) if isinstance(answer, ContactRead) else answer

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        page = await self.reader.search(location, cursor, tag=self.spelling().kept_as(Tag(tag)))
        return replace(page, contacts=tuple(map(self._spelt, page.contacts)))

    def _spelt(self, contact: ContactRead) -> ContactRead:
        return contact if contact.tags is None else replace(contact, tags=self.spelling().read(contact.tags))


@dataclass(frozen=True, slots=True)
class Run:
    """One run in one location, and its books."""

    plan: LocationPlan
    limit: Ceiling
    """The most that was approved."""
    options: PlanOptions
    reversal: Reversal | None
    apply_options: ApplyOptions
    services: Services
    journal: JournalledRun
    gate: RequestGate
    earlier: tuple[str, ...]
    """The runs of the same plan that did not end it."""
    began: Instant
    location_book: LocationBook
    progress: RunProgress
    doubts: DoubtBook = field(default_factory=DoubtBook)
    outcomes: PairOutcomes = field(default_factory=PairOutcomes)
    rates: Rates = field(default_factory=Rates)
    splitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a refused batch is taken apart."""
    learning: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a fact is saved: each is derived from the one before."""

    @property
    def location(self) -> LocationId:
        return self.plan.location

    @property
    def store(self) -> LocationStore:
        """Its methods are called by `call` alone."""
        return self.journal.held.store

    @property
    def lease(self) -> Lease:
        return self.journal.held.lease

    @property
    def desired(self) -> Desired:
        return self.location_book.desired

    @property
    def facts(self) -> LocationFacts:
        return self.location_book.state.facts

    @property
    def spelling(self) -> Spelling:
        return self.location_book.state.spelling

    @property
    def observed(self) -> ContactStates:
        return self.location_book.state.observed

    @property
    def caps(self) -> Caps:
        """How much a request may hold, as far as is known."""
        return self.options.caps.within(self.facts, self.now())

    @property
    def room(self) -> int:
        """How many requests may be under way: one, until the first answer shows that token and location are right."""
        return self.apply_options.in_flight if self.progress.answered else 1

    @property
    def reader(self) -> TagReader:
        """Reads contacts in the run's spelling of tags; only where `can_read`."""
        assert self.services.reader is not None
        # asked for at the answer: an alias may be learnt while the request is under way
        return SpeltReader(self.services.reader(self.location), lambda: self.spelling)

    @property
    def can_read(self) -> bool:
        return self.services.reader is not None

    @property
    def token(self) -> str:
        """The token's name in messages."""
        return self.services.token(self.location)

    def now(self) -> Instant:
        return self.services.clock.now()

    def report(self, event: Event) -> None:
        self.services.report(event)

    def states_of(self, contacts: Collection[ContactId]) -> dict[ContactId, ContactState]:
        return self.observed.states_of(contacts)

    def state_of(self, contact: ContactId) -> ContactState:
        return self.observed[contact]

    async def call(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """The result of a method of `store`, or of other work that takes its time, made beside the event loop."""
        return await self.journal.held.call(work, *arguments)

    async def save_states(self, changed: Mapping[ContactId, ContactState]) -> None:
        """States that became known without a request, durable before they are used."""
        if changed:
            # the store first: no request may leave because of a state that a kill would lose
            await self.call(self.store.save_states, self.lease, changed)
            self.observed.update(changed)

    async def learn(self, teach: Callable[[LocationFacts], LocationFacts]) -> None:
        """Facts that the location taught, durable, and heeded from here on; `teach` makes them from those of now."""
        async with self.learning:
            facts = teach(self.facts)
            if facts != self.facts:
                await self.call(self.store.save_facts, self.lease, facts)
                self.location_book.set_facts(facts)

    async def learn_aliases(self, aliases: Iterable[Alias]) -> None:
        """Other spellings that the location keeps, durable; the run reads them as they were sent from here on."""
        for sent, back in aliases:
            await self.learn(methodcaller("with_aliases", [(sent, back)]))
            self.location_book.learn_alias((sent, back))
            self.progress.add_note(f"the location keeps the tag {sent!r} as {back!r}: one tag from here on")

    async def batches_of(self, earlier: str) -> list[BatchRecord]:
        """The batches of a run of the journal, in the run's spelling of tags."""
        batches = await self.call(self.store.read_batches, earlier)
        return list(map(self.spelling.spell_record, batches))

    async def trail_of(self, contact: ContactId) -> list[BatchRecord]:
        """The batches of the journal that had the contact, in the run's spelling of tags."""
        trail = await self.call(self.store.read_trail, contact)
        return [self.spelling.spell_record(batch) for _, batch in trail]

    def present(self, contact: ContactId) -> TagSet:
        """The tags that are to be on a contact when all is done."""
        if self.reversal is None:
            return frozenset(self.desired.want(contact).present)
        # to undo a run is to put back the tags that it removed
        net = self.reversal.changed.get(contact)
        return NONE if net is None else net.removed

    def adds_in_doubt(self, contact: ContactId, doubt: TagSet) -> TagSet:
        """The tags in doubt that are to be there."""
        # of its own requests the run knows the action; an earlier run is taken to have wanted the tags desired now
        sent = self.doubts.sent_to(contact)
        return (doubt & sent.adds) | ((doubt - sent.removes) & frozenset(self.desired.want(contact).present))

    def unwanted(self, batch: Batch) -> set[ContactId]:
        """The contacts that the batch must leave out.

        Those that the API refused, those in doubt with one of its tags (a pair may be in two batches), and for removals
        those with an add that did not end well or was not sent, or with a tag that turned out to be desired.
        """
        tags, removing, outcomes = frozenset(batch.tags), batch.action is Action.REMOVE, self.outcomes
        # a batch may name a tag as the location keeps it; the desired tags are in the run's spelling
        named = self.spelling.read(tags)
        unwanted = outcomes.rejected.intersection(batch.contacts)
        unwanted |= outcomes.list_unclear(batch.contacts, tags) | self.doubts.contacts_with(batch.contacts, tags)
        if removing:
            for contact, want in zip(batch.contacts, self.desired.wants_of(batch.contacts), strict=True):
                # a window may have closed before the add that takes a tag's place left
                unsent = outcomes.tags_with(contact, Outcome.NOT_SENT)
                if not named.isdisjoint(want.present) or not unsent.isdisjoint(want.present):
                    unwanted.add(contact)
            unwanted |= outcomes.failed.keys() & set(batch.contacts)
        return unwanted

    def halt_if_silent(self, error: ApiError) -> None:
        """Ends a run where too many requests in a row are of unknown effect; `error`: of the last one."""
        if self.progress.count_silent() >= MOST_SILENT:
            self.gate.halt(
                Unfinished(
                    f"{MOST_SILENT} requests in a row are of unknown effect, the last one: {error.message}",
                    hint="apply again when the API is well: what is in doubt is settled first",
                )
            )

    def halt_if_wrong(self) -> None:
        """Ends a run that goes badly: too many rows show a wrong token or location, or a rate is over its limit."""
        if self.rates.looks_wrong:
            self.progress.disbelieve_absences()
            self.gate.halt(
                Unfinished(
                    f"{self.rates.wrong}: {self.token} or the location {self.location} is probably wrong; "
                    "nobody was quarantined",
                    hint="see that the token is of this location and the manifests name its contacts, then apply "
                    "again; `reconciler state forget` gives up contacts that are really gone",
                )
            )
        elif passed := self.rates.over(self.apply_options.stop_on):
            self.gate.halt(over_limit(passed))


def over_limit(passed: str) -> Unfinished:
    return Unfinished(passed, hint="what was sent is told above; look at it, then plan and apply again to go on")
