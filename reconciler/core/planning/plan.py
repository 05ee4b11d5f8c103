"""The plan: frozen, sorted, complete data. Same inputs, same plan.

`make_plan.py` goes from desired and observed to a `LocationPlan`; `combine_plans` puts the locations together and
seals the result with its digest; `approve` (`guard_sentences.py`) makes of it the `ApprovedPlan` that apply accepts.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.core.model.api_limits import NO_FACTS, LocationFacts, Rate
from reconciler.core.model.batch import EFFORT, Batch, Proof
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import LATEST_MS, SETTLE_MS, UNTIMED, ContactStates
from reconciler.core.model.journal import StateCopy, UnknownLocation
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag
from reconciler.core.model.safe_text import list_text
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.batches import Caps, Reasserted, Solver, Summary, explain_aside, explain_waiting
from reconciler.core.planning.changes import (
    EVERYTHING,
    IN_DOUBT,
    Deferral,
    DeferralReason,
    Delta,
    HeldContacts,
    LedgerChange,
    Selection,
    Tried,
    find_distinct,
)
from reconciler.core.planning.guards import Allowance, Measured
from reconciler.core.planning.situation import NO_REASSERTION, NOT_SEARCHED, Reassertion, Searched
from reconciler.core.planning.slow_release import SentAdds, TagRelease
from reconciler.core.planning.tag_aliases import AS_SENT, Spelling


@dataclass(frozen=True, slots=True)
class LocationState:
    """The state of one location as loaded."""

    location: LocationId
    lineage: str | None = None
    """None and 0 while there is no state."""
    serial: int = 0
    observed: ContactStates = field(default_factory=ContactStates)
    """In the one spelling of each tag that `spelling` tells, and so is all that is held against it."""
    set_sizes: Mapping[SetName, int] = field(default_factory=dict)
    facts: LocationFacts = NO_FACTS
    spelling: Spelling = AS_SENT
    copied: StateCopy | None = None
    """The backup that it is, where no apply of all manifests was complete since that was put back."""
    moved_to: str = ""
    """The place that it was copied to by `state migrate`, after which the copy is used and not this one; else empty."""
    exceptions: frozenset[str] = frozenset()
    """The guards that were lifted for its runs, as the journal has them; none where an apply of everything is known."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """All that bears on a plan, and on a run of it, other than manifests and state."""

    solve: Solver
    caps: Caps = Caps()
    rate: Rate = Rate()
    limits: GuardLimits = GuardLimits()
    allowances: tuple[Allowance, ...] = ()
    selection: Selection = EVERYTHING
    reassertion: Reassertion = NO_REASSERTION
    effort: int = EFFORT
    latest_ms: int = LATEST_MS
    """How long after the date of its intent a request may leave, and one of unknown effect may still have one."""
    settle_ms: int = SETTLE_MS
    searched: Searched = NOT_SEARCHED
    gone: tuple[HeldContacts, ...] = ()
    """Contacts that are not there, as was read for this very plan, and why."""
    sent: SentAdds = field(default_factory=dict)
    """Additions of slowly given tags that count still."""
    now: Instant = UNTIMED
    """The time by which a quarantine ends, and a pair counts as put back lately."""
    exceptions: tuple[str, ...] = ()
    """Further exceptions that a person made, each in words with its reason."""

    def in_spelling(self, spelling: Spelling) -> PlanOptions:
        # a person may name a tag in a spelling that the state does not use
        if not spelling.names:
            return self
        return replace(
            self,
            allowances=tuple(
                replace(allowance, scope=spelling.of(Tag(allowance.scope)))
                if "tag" in allowance.guard.scopes
                else allowance
                for allowance in self.allowances
            ),
            selection=spelling.spell_selection(self.selection),
            searched=spelling.spell_searched(self.searched),
        )


@dataclass(frozen=True, slots=True)
class LocationPlan:
    """The plan of a run in one location."""

    location: LocationId
    lineage: str | None
    """That of the state that it was made from; None where there was none."""
    serial: int
    """The number of the state's content then."""
    manifests_digest: str
    """Identifies the desired tags and the rules."""
    valid_until: Instant | None
    """When other tags are desired, or a pull is too old; None: never."""
    summary: Summary
    deltas: tuple[Delta, ...]
    """The changes, by the contacts that share them."""
    batches: tuple[Batch, ...]
    """The requests that make these changes, in the order to send them."""
    deferrals: tuple[Deferral, ...]
    """Removals that wait for an observation or an answer."""
    ledger: tuple[LedgerChange, ...]
    """Pairs that enter or leave management without a request."""
    held: tuple[HeldContacts, ...]
    """Pairs that are needed and left out, by reason: in doubt, flapping; in a revert: changed since."""
    quarantined: tuple[HeldContacts, ...]
    """Contacts with a need that the API refused for good."""
    guards: tuple[Measured, ...]
    """What each limit measured, the refusing ones first."""
    spared: tuple[HeldContacts, ...] = ()
    """Tags that would be removed, were they not protected, ignored, or kept on leaving."""
    given: tuple[HeldContacts, ...] = ()
    """Tags that are `once` and were given before: they are not given again."""
    observations: tuple[ObservedContacts, ...] = ()
    """What a refresh for this plan read, which the state is yet to be told."""
    triggers: tuple[Tag, ...] = ()
    """The tags whose rules say that they start automations."""
    reasserted: tuple[Reasserted, ...] = ()
    """Pairs in the batches that are as desired already: to send them again saves requests."""
    proofs: tuple[Proof, ...] = ()
    """How few requests each action needs."""
    searched: Searched = NOT_SEARCHED
    """The search for holders of exclusive tags that it stands on."""
    gone: tuple[HeldContacts, ...] = ()
    """Contacts that are not there, as was read for this plan, and why."""
    tried: tuple[Tried, ...] = ()
    """Pairs in the deltas that an earlier request tried, with its date: an approval is of one attempt."""
    oldest: Instant | None = None
    """The oldest observation of the contacts that it is about; None where none of them was ever observed."""
    pacing: tuple[TagRelease, ...] = ()
    """How its slowly given tags are given."""
    leaves_record: bool = field(default=False, compare=False)
    """Whether an apply is written down though it has nothing to send: the sets have other sizes than at the last apply,
    none is known since a backup was put back, or a tag became `once`. It stays with the plan that was made: a file is
    planned anew."""
    new_names: tuple[Tag, ...] = field(default=(), compare=False)
    """The tags to add that another tag may be called by now: nobody had them. It stays with the plan, too."""
    change_digest: str = field(default="", compare=False)
    """That of a plan of this location alone; `combine_plans` says it."""

    @property
    def is_empty(self) -> bool:
        """Converged: nothing to send and nothing to put under management."""
        return not self.batches and not self.ledger

    @property
    def aside(self) -> str:
        """The desired tags that the plan leaves aside, in words: held pairs, quarantined contacts."""
        return explain_aside(self.held, self.summary.quarantined)

    @property
    def waiting(self) -> str:
        """The open decisions in words: contacts with a deferral, exclusive tags that need a search."""
        return explain_waiting(self.deferrals, self.summary.deferred)

    @property
    def is_settled(self) -> bool:
        """Nothing to do, and nothing known to be needed that waits: no pair is held, no tag to be replaced."""
        replaced_later = any(deferral.reason is DeferralReason.UNTIL_REPLACED for deferral in self.deferrals)
        return self.is_empty and not self.held and not replaced_later

    @property
    def may_have_work(self) -> bool:
        """Whether there are changes to send or record, or doubts to settle."""
        return not self.is_empty or bool(self.observations) or any(held.why == IN_DOUBT for held in self.held)

    @property
    def refused(self) -> tuple[Measured, ...]:
        return tuple(guard for guard in self.guards if guard.refused)


@dataclass(frozen=True, slots=True)
class Plan:
    """All locations of a run."""

    as_of: Instant
    valid_until: Instant | None
    """The next `from` or `until` of a set, at which other tags are desired."""
    locations: tuple[LocationPlan, ...]
    change_digest: str
    """Identifies the changes that a reviewer approves."""
    manifests: str = ""
    """The directory that they were read from."""
    selection: Selection = EVERYTHING
    unknown: tuple[UnknownLocation, ...] = ()
    """Locations that could not be planned. No change digest is over them."""

    @property
    def is_empty(self) -> bool:
        return all(location.is_empty for location in self.locations)

    @property
    def is_settled(self) -> bool:
        return all(location.is_settled for location in self.locations)

    @property
    def refused(self) -> tuple[Measured, ...]:
        return tuple(guard for location in self.locations for guard in location.refused)


def combine_plans(
    locations: Iterable[LocationPlan], *, as_of: Instant, manifests: str, selection: Selection = EVERYTHING
) -> Plan:
    """One plan of all locations, sorted by location."""
    ordered = sorted(locations, key=lambda plan: plan.location)
    ends = [plan.valid_until for plan in ordered if plan.valid_until is not None]
    digest, *own = change_digests(ordered)
    sealed = tuple(replace(plan, change_digest=each) for plan, each in zip(ordered, own, strict=True))
    return Plan(as_of, min(ends, default=None), sealed, digest, manifests, selection)


def change_digest(locations: Sequence[LocationPlan]) -> str:
    """The digest of a plan of these locations."""
    return change_digests(locations)[0]


def change_digests(locations: Sequence[LocationPlan]) -> list[str]:
    """The digest of a plan of these locations, then of each what a plan of it alone has.

    SHA-256 over location, changes, ceilings, doubts, re-assertions and earlier attempts: equal where a reviewer sees
    the same.
    """
    digest, own = hashlib.sha256(), [hashlib.sha256() for _ in locations]
    for plan, alone in zip(locations, own, strict=True):
        for text in map(str.encode, _list_reviewed(plan)):
            digest.update(text)
            alone.update(text)
    return ["sha256:" + each.hexdigest() for each in (digest, *own)]


def _list_reviewed(plan: LocationPlan) -> Iterator[str]:
    """What an approval covers, entry by entry, in JSON."""
    yield json.dumps(["location", plan.location])
    yield from _list_changes(plan.deltas)
    yield from map(json.dumps, _list_others(plan))


def _list_changes(deltas: Sequence[Delta]) -> Iterator[str]:
    # without the places that asked for the change: they move with every comment
    told = {
        key: (change.action.value, change.tag, change.reason.value)
        for key, change in find_distinct(delta.changes for delta in deltas).items()
    }
    # compared by their places, which are numbers
    ordered = sorted(set(told.values()))
    places = {each: place for place, each in enumerate(ordered)}
    place_of = {key: places[each] for key, each in told.items()}
    alike: defaultdict[tuple[int, ...], list[ContactId]] = defaultdict(list)
    for delta in deltas:
        alike[tuple(map(place_of.__getitem__, map(id, delta.changes)))] += delta.contacts
    texts = list(map(json.dumps, ordered))
    for numbers, contacts in sorted(alike.items()):
        changes = ", ".join(map(texts.__getitem__, numbers))
        yield f'["delta", [{changes}], {list_text(sorted(contacts), ", ")}]'


def _list_others(plan: LocationPlan) -> Iterator[list[object]]:
    for deferral in plan.deferrals:
        yield ["ceiling", deferral.reason.name, deferral.tags, deferral.contacts]
    for held in plan.held:
        # a reading may settle it, and let it be sent: an approval has to cover that
        if held.why == IN_DOUBT:
            yield ["in doubt", held.tags, held.contacts]
    for again in plan.reasserted:
        yield ["again", again.action, again.tags, again.contacts]
    for tried in plan.tried:
        yield ["tried", tried.action, tried.tags, tried.at, tried.contacts]
    for change in plan.ledger:
        yield ["ledger", change.adopted, change.released, change.kept, change.contacts]
