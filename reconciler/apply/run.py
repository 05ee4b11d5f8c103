"""One run in one location: what it was given, what it has done so far, and when its next request may leave."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import random
from typing import TypeVar

from reconciler.core.formats.recovery_file import UnrecordedAnswers
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import Alias, Facts
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import InDoubt, NotApplied, QuotaExhausted, ReconcilerError, Unfinished
from reconciler.core.model.events import Event, Waiting
from reconciler.core.model.lease import Holder
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, TagSet
from reconciler.core.model.outcome import THE_TOKEN, Action, ContactOutcome
from reconciler.core.planning.approved_scope import NO_DIFFERENCE, Ceiling, Proposal, ProposalDifference
from reconciler.core.planning.batches import Batch, Caps
from reconciler.core.planning.guards import Counts
from reconciler.core.planning.plan import LocationPlan, LocationState, PlanOptions
from reconciler.core.planning.revert import Reversal
from reconciler.core.running.pace import Pace
from reconciler.core.running.pair_outcomes import PairOutcomes
from reconciler.core.running.quota import Tries, quota_wait_ms
from reconciler.core.running.stop_conditions import Canary, Rates, StopOn
from reconciler.journalled_run import HeldLease
from reconciler.ports import Clock, RecoveryFiles, Reporter, StateStore, TagReader, TagWriter
from reconciler.request_gate import Halted, Stop, until

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KnownWrite:
    """A request of this run that changed the contact's tags, sent and answered at these instants; the tags it left."""

    contact: ContactId
    sent: Instant
    answered: Instant
    left: TagSet


@dataclass(frozen=True, slots=True)
class Doubt:
    """What requests of this run tried on a contact, nobody knows with which effect."""

    adds: TagSet = frozenset()
    removes: TagSet = frozenset()


@dataclass(frozen=True, slots=True)
class Unseen:
    """Removals that left at `sent` and were refused as a whole; nobody saw, late enough, whether they took effect."""

    batch: Batch
    sent: Instant
    message: str


@dataclass(slots=True)
class Run:
    """`limit`: what was approved. `earlier`: the runs of the same plan that did not end it. `error`: what lets no
    further request leave. `sought`: contacts that earlier runs left in doubt, and this one set out to settle.

    `rejected`: whom the API refused, durable at the end of the run, and what was known of them before; `wrong`: that
    is not believed. `doubtful`: the doubts of this run; `tried`: what was sent once more after one; `proven`: adds
    that a reading proved never to have landed. `refused`: tags that no request may hold, and what the API said of them.
    `unseen`: removals that were refused, with an effect that nobody knows. `trial`: the batch that is larger than was
    learnt. `learnt`: holders that the answers told of, on contacts never observed before. `silent`: requests of unknown
    effect in a row. `extra`: requests spent on taking apart what was refused. `answered`: whether any answer came so
    far. `known_writes`: the last ones to two contacts; `read_written`: whether one was read, to learn of its date.
    `kept`: the emergency journals, one an answer that the state did not take; empty where no place took it either.
    """

    plan: LocationPlan
    limit: Ceiling
    desired: Desired
    options: PlanOptions
    reversal: Reversal | None
    state: LocationState
    tenure: HeldLease
    mission: ApplyOptions
    number: str
    earlier: tuple[str, ...]
    began: Instant
    world: Services
    pace: Pace
    rounds: int = 0
    requests: int = 0
    reads: int = 0
    outside: int = 0
    adopted: int = 0
    released: int = 0
    extra: int = 0
    silent: int = 0
    answered: bool = False
    wrong: bool = False
    error: ReconcilerError | None = None
    done: Counts = field(default_factory=Counts)
    tally: PairOutcomes = field(default_factory=PairOutcomes)
    rates: Rates = field(default_factory=Rates)
    learnt: Counter[Tag] = field(default_factory=Counter)
    sought: frozenset[ContactId] = frozenset()
    rejected: dict[ContactId, ContactState] = field(default_factory=dict)
    doubtful: dict[ContactId, Doubt] = field(default_factory=dict)
    tried: dict[ContactId, TagSet] = field(default_factory=dict)
    proven: dict[ContactId, TagSet] = field(default_factory=dict)
    unseen: list[Unseen] = field(default_factory=list)
    refused: dict[Tag, str] = field(default_factory=dict)
    trial: Batch | None = None
    known_writes: tuple[KnownWrite, ...] = ()
    read_written: bool = False
    kept: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    _halted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def location(self) -> LocationId:
        return self.plan.location

    @property
    def facts(self) -> Facts:
        return self.state.facts

    @property
    def caps(self) -> Caps:
        """How much a request may hold, as far as is known."""
        return self.options.caps.within(self.facts, self.now())

    @property
    def room(self) -> int:
        """How many requests may be under way: one, until the first answer shows that token and location are right."""
        return self.mission.in_flight if self.answered else 1

    def now(self) -> Instant:
        return self.world.clock.now()

    def tell(self, event: Event) -> None:
        self.world.report(event)

    def note(self, text: str) -> None:
        """What the report shall tell, once."""
        if text not in self.notes:
            self.notes.append(text)

    def halt(self, error: ReconcilerError) -> None:
        """Nothing more leaves; the first error is the run's."""
        if self.error is None:
            self.error = error
            self._halted.set()

    def check(self) -> None:
        if self.error is not None:
            raise Halted

    async def turn(self, *, writes: bool = False) -> int:
        """Waits until a request may leave, within rate limit and quota and under a lease that is alive; its ticket.

        Raises Halted, LeaseLost or QuotaExhausted, and where it `writes` the ApiError that no token could be had by.
        """
        async with self._gate:
            self.check()
            while wait := self._wait():
                await self.pause(*wait)
            if writes:
                # a doubt is dated from its intent: nothing may take time between that and the request
                await self._ready()
                self.check()
            self.tenure.renew()
            return self.pace.leave(self.now())

    async def _ready(self) -> None:
        tries, writer = Tries(), self.world.writer(self.location)
        while True:
            try:
                return await self.tenure.during(writer.ready())
            except NotApplied as error:
                if not await self.once_more(tries, error):
                    raise

    def _wait(self) -> tuple[int, str] | None:
        """How long nothing may leave, and why."""
        now = self.now()
        if quota := quota_wait_ms(self.location, self.pace, now, spill=self.mission.spill):
            return quota, self.pace.why_today()
        wait = self.pace.wait(now)
        return (wait, self.pace.why(now)) if wait else None

    async def once_more(self, tries: Tries, error: NotApplied | InDoubt | QuotaExhausted) -> bool:
        """Whether a request that may be sent again may; the pause before it is over then."""
        if isinstance(error, QuotaExhausted):
            return self.mission.spill
        pause = tries.pause(self.location, self.pace, error, self.now(), chance=self.world.chance())
        if pause:
            await self.pause(pause, error.message)
        return pause is not None

    async def asked(self, ticket: int, request: Awaitable[T]) -> T:
        """The answer to a request that had its turn, with heartbeats while it lasts."""
        answered = False
        try:
            found = await self.tenure.during(request)
            answered = True
        finally:
            self.pace.end(ticket, self.now(), answered=answered)
        # all answers that are here are dated before one of them is recorded: to write takes its time
        await asyncio.sleep(0)
        return found

    async def pause(self, milliseconds: int, why: str) -> None:
        """A wait, with heartbeats; raises Halted as soon as nothing more may leave."""
        self.tell(Waiting(self.location, milliseconds, why))
        await until(self._halted.wait, self.tenure.sleep(milliseconds))
        self.check()

    def remember(self, write: KnownWrite) -> None:
        """Keeps the write, with the last one to another contact: one alone may have been edited by others."""
        others = [each for each in self.known_writes if each.contact != write.contact]
        self.known_writes = (*others[-1:], write)

    def doubt(self, contact: ContactId, action: Action, tags: TagSet) -> None:
        """The contact is in doubt by a request of this run."""
        known = self.doubtful.get(contact, Doubt())
        adding = action is Action.ADD
        more = (known.adds | tags, known.removes) if adding else (known.adds, known.removes | tags)
        self.doubtful[contact] = Doubt(*more)

    def present(self, contact: ContactId) -> TagSet:
        """The tags that are to be on a contact when all is done."""
        if self.reversal is None:
            return frozenset(self.desired.want(contact).present)
        net = self.reversal.changed.get(contact)
        return frozenset() if net is None else net.removed

    def adds_in_doubt(self, contact: ContactId, doubt: TagSet) -> TagSet:
        """The tags in doubt that are to be there: as this run sent them, else as is desired."""
        ours = self.doubtful.get(contact, Doubt())
        return (doubt & ours.adds) | ((doubt - ours.removes) & frozenset(self.desired.want(contact).present))

    def learn(self, facts: Facts) -> None:
        """What the location taught us, durable, and heeded from here on."""
        if facts != self.facts:
            self.world.store.save_facts(self.tenure.lease, facts)
            self.state = replace(self.state, facts=facts)

    def learn_aliases(self, found: Iterable[Alias]) -> None:
        """What a location spells otherwise, durable; this run reads it as it was sent from here on."""
        for sent, back in found:
            self.learn(self.facts.with_aliases([(sent, back)]))
            spelling = self.state.spelling.with_learnt([(sent, back)])
            self.state = replace(self.state, spelling=spelling, observed=spelling.spell_states(self.state.observed))
            self.desired = spelling.spell_desired(self.desired)
            self.note(f"the location keeps the tag {sent!r} as {back!r}: one tag from here on")

    def unwanted(self, batch: Batch) -> set[ContactId]:
        """Whom the batch must leave out: whoever the API refused, whoever is in doubt with one of its tags (a pair may
        be in two batches), and for removes whose adds did not end well, or for whom one turned out to be desired."""
        tags, removing, tally = frozenset(batch.tags), batch.action is Action.REMOVE, self.tally
        named = self.state.spelling.read(tags)
        return {
            each
            for each in batch.contacts
            if each in tally.rejected
            or (removing and each in tally.failed)
            or (removing and not named.isdisjoint(self.desired.want(each).present))
            or tally.is_unclear(each, tags)
            or self._is_doubtful(each, tags)
        }

    def _is_doubtful(self, contact: ContactId, tags: TagSet) -> bool:
        """Whether a request of this run left one of these pairs in doubt, be it one that an earlier request applied."""
        doubt = self.doubtful.get(contact)
        return doubt is not None and not tags.isdisjoint(doubt.adds | doubt.removes)


Verdicts = dict[ContactId, ContactOutcome]


def halt_if_wrong(run: Run) -> None:
    """Whether to go on, as the run goes so far."""
    if run.rates.looks_wrong:
        run.wrong = True
        run.halt(
            Unfinished(
                f"{run.rates.wrong}: {run.world.token(run.location)} or the location {run.location} is probably wrong; "
                "nobody was quarantined",
                hint="see that the token is of this location and the manifests name its contacts, then apply again; "
                "`reconciler state forget` gives up contacts that are really gone",
            )
        )
    elif passed := run.rates.over(run.mission.stop_on):
        run.halt(_passed_over(passed))


def check_wave(run: Run, wave: Collection[ContactId] | None) -> None:
    """Raises Unfinished where a wave shows a share over its limit, however few contacts it has; None: the last one,
    after which nothing is left to stop."""
    if wave is not None and (passed := run.rates.over(run.mission.stop_on, few=1)):
        raise _passed_over(f"after the first {len(wave):,} contact{'s' * (len(wave) > 1)}: {passed}")


def _passed_over(passed: str) -> Unfinished:
    return Unfinished(passed, hint="what was sent is told above; look at it, then plan and apply again to go on")


IN_FLIGHT = 50


def _nowhere(lost: UnrecordedAnswers, /) -> str:  # noqa: ARG001 (nothing is kept)
    return ""


def _the_token(location: LocationId) -> str:  # noqa: ARG001 (the same for all)
    return THE_TOKEN


@dataclass(frozen=True, slots=True)
class Services:
    """What a run needs of the world. `writer` gives the API of a location, and `reader` the means to settle doubts,
    without which they are held; `pace`: shared by all that ask the location. `emergency` keeps what `store` cannot.
    `chance`: drawn evenly from 0 to 1, for the pauses. `token`: what a location's is called, with where it is held.
    """

    writer: Callable[[LocationId], TagWriter]
    store: StateStore
    clock: Clock
    report: Reporter
    emergency: RecoveryFiles = _nowhere
    reader: Callable[[LocationId], TagReader] | None = None
    pace: Callable[[LocationId], Pace] | None = None
    stop: Stop = field(default_factory=Stop)
    chance: Callable[[], float] = random
    token: Callable[[LocationId], str] = _the_token


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """What a run is given besides its plan. `reversals`: the runs that it undoes, where it does not carry out what
    is desired. `history_keep`: so many runs keep their rows, None: all of them. `in_flight`: so many requests of a
    location may be under way at once. `canary`: whom to begin with, None: everybody at once. `spill`: it may wait
    for the next day's quota. `proposal`: the plan file; the plan is what of it is needed now.
    """

    desired: Mapping[LocationId, Desired]
    options: Mapping[LocationId, PlanOptions]
    holder: Holder
    commit: str = ""
    reversals: Mapping[LocationId, Reversal] = field(default_factory=dict)
    lock_timeout_ms: int = 0
    history_keep: int | None = None
    in_flight: int = IN_FLIGHT
    stop_on: StopOn = StopOn()
    canary: Canary | None = None
    spill: bool = False
    proposal: Proposal | None = None

    def proposed(self, location: LocationId) -> LocationPlan | None:
        """What the plan file has for a location."""
        return self.proposal.of(location) if self.proposal else None

    def rest(self, location: LocationId) -> ProposalDifference:
        """How plan file and plan differ in a location."""
        return self.proposal.rests.get(location, NO_DIFFERENCE) if self.proposal else NO_DIFFERENCE
