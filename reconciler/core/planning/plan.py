"""The plan: frozen, sorted, complete data. Same inputs, same plan.

`plan_location` goes from desired and observed to a `LocationPlan`; `combine` puts the locations together and seals
the result with its digest; `approval.py` makes of it what apply accepts.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.core.cover import EFFORT, Demand
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.api_limits import NO_FACTS, Facts, Rate
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import SETTLE_MS, UNTIMED, ContactStates
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.attempts import tried_before
from reconciler.core.planning.batches import Batch, Batches, Caps, Proof, Reasserted, make_batches
from reconciler.core.planning.changes import (
    EVERYTHING,
    IN_DOUBT,
    Deferral,
    DeferralReason,
    Delta,
    Diff,
    HeldContacts,
    LedgerChange,
    Selection,
    Tried,
)
from reconciler.core.planning.diff import diff
from reconciler.core.planning.exclusive_tags import NOT_SEARCHED, Searched
from reconciler.core.planning.guard_measures import measure, repeats_over_limit
from reconciler.core.planning.guards import Allowance, Before, Counts, Measured, count, holders, managed
from reconciler.core.planning.repeats import NO_REASSERTION, Reassertion
from reconciler.core.planning.summary import Summary, explain_aside, explain_waiting, summarise
from reconciler.core.planning.tag_aliases import AS_SENT, Spelling


@dataclass(frozen=True, slots=True)
class LocationState:
    """The state of one location as loaded. `lineage` is None and `serial` 0 while there is no state.

    `observed` is in the one spelling of each tag that `spelling` tells, and so is all that is held against it.
    """

    location: LocationId
    lineage: str | None = None
    serial: int = 0
    observed: ContactStates = field(default_factory=ContactStates)
    set_sizes: Mapping[SetName, int] = field(default_factory=dict)
    facts: Facts = NO_FACTS
    spelling: Spelling = AS_SENT


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What bears on a plan, and on a run of it, other than manifests and state.

    `settle_ms`: how long a request of unknown effect may still land. `searched`: exclusive tags whose holders were
    looked for. `gone`: contacts that are not there, as was read for this very plan, and why. `now`: for what time
    heals, a quarantine or a pair put back lately. `exceptions`: what a person allowed besides `allowances`, each in
    words with its reason.
    """

    caps: Caps = Caps()
    rate: Rate = Rate()
    limits: GuardLimits = GuardLimits()
    allowances: tuple[Allowance, ...] = ()
    selection: Selection = EVERYTHING
    reassertion: Reassertion = NO_REASSERTION
    effort: int = EFFORT
    settle_ms: int = SETTLE_MS
    searched: Searched = NOT_SEARCHED
    gone: tuple[HeldContacts, ...] = ()
    now: Instant = UNTIMED
    exceptions: tuple[str, ...] = ()

    def spelt(self, spelling: Spelling) -> PlanOptions:
        """What a person named, as the state has it."""
        if not spelling.names:
            return self
        return replace(
            self,
            allowances=tuple(
                replace(each, scope=spelling.of(Tag(each.scope))) if "tag" in each.guard.scopes else each
                for each in self.allowances
            ),
            selection=spelling.selection(self.selection),
            searched=spelling.searched(self.searched),
        )


@dataclass(frozen=True, slots=True)
class LocationPlan:
    """What a run would do in one location."""

    location: LocationId
    lineage: str | None
    serial: int
    manifests_digest: str
    valid_until: Instant | None
    summary: Summary
    deltas: tuple[Delta, ...]
    batches: tuple[Batch, ...]
    deferrals: tuple[Deferral, ...]
    ledger: tuple[LedgerChange, ...]
    held: tuple[HeldContacts, ...]
    quarantined: tuple[HeldContacts, ...]
    guards: tuple[Measured, ...]
    spared: tuple[HeldContacts, ...] = ()
    given: tuple[HeldContacts, ...] = ()
    observations: tuple[ObservedContacts, ...] = ()
    triggers: tuple[Tag, ...] = ()
    reasserted: tuple[Reasserted, ...] = ()
    proofs: tuple[Proof, ...] = ()
    searched: Searched = NOT_SEARCHED
    gone: tuple[HeldContacts, ...] = ()
    tried: tuple[Tried, ...] = ()
    sizes_moved: bool = field(default=False, compare=False)
    """Whether the sets have other sizes than at the last apply: recorded by one that has nothing to send, too. It stays
    with the plan that was made: a file of it is planned anew."""

    @property
    def is_empty(self) -> bool:
        """Converged: nothing to send and nothing to put under management."""
        return not self.batches and not self.ledger

    @property
    def aside(self) -> str:
        """What is desired and not in the plan, in words: held pairs, quarantined contacts."""
        return explain_aside(self.held, self.summary.quarantined)

    @property
    def waiting(self) -> str:
        """What is not decided, in words: contacts with a deferral, exclusive tags whose other holders nobody showed."""
        return explain_waiting(self.deferrals, self.summary.deferred)

    @property
    def is_settled(self) -> bool:
        """Nothing to do, and nothing known to be needed that waits: no pair is held, no tag to be replaced."""
        replaced_later = any(each.reason is DeferralReason.UNTIL_REPLACED for each in self.deferrals)
        return self.is_empty and not self.held and not replaced_later

    @property
    def refused(self) -> tuple[Measured, ...]:
        return tuple(each for each in self.guards if each.refused)


@dataclass(frozen=True, slots=True)
class Plan:
    """All locations of a run. `change_digest`: what a reviewer approves.

    `manifests`: where they were read. `selection`: the part of the whole that was asked for.
    """

    as_of: Instant
    valid_until: Instant | None
    locations: tuple[LocationPlan, ...]
    change_digest: str
    manifests: str = ""
    selection: Selection = EVERYTHING

    @property
    def is_empty(self) -> bool:
        return all(location.is_empty for location in self.locations)

    @property
    def is_settled(self) -> bool:
        return all(location.is_settled for location in self.locations)

    @property
    def refused(self) -> tuple[Measured, ...]:
        return tuple(each for location in self.locations for each in location.refused)


def plan_location(
    desired: Desired,
    state: LocationState,
    options: PlanOptions,
    *,
    spent: Mapping[ContactId, TagSet] | None = None,
    done: Counts | None = None,
    before: Before | None = None,
    observations: tuple[ObservedContacts, ...] = (),
    owned: TagSet = frozenset(),
) -> LocationPlan:
    """What has to be done in one location, from what is known now.

    `observations`: what a refresh read and `state` holds already, though its store does not. Within a run: `spent`
    are the tags per contact whose outcome is known already, `done` what earlier rounds did and `before` what was
    there when the run began; the guards measure the whole run. `owned`: tags that were owned then, whatever became of
    the pairs that made them so.
    """
    desired, options = state.spelling.desired(desired), options.spelt(state.spelling)
    found = diff(
        desired,
        state.observed,
        selection=options.selection,
        reassertion=options.reassertion,
        spent=spent,
        searched=options.searched,
        now=options.now,
        gone=options.gone,
        owned=state.spelling.read(owned),
    )
    return plan_of(found, desired, state, options, done=done, before=before, observations=observations)


def plan_of(
    found: Diff,
    desired: Desired,
    state: LocationState,
    options: PlanOptions,
    *,
    done: Counts | None = None,
    before: Before | None = None,
    observations: tuple[ObservedContacts, ...] = (),
) -> LocationPlan:
    """The plan that makes the changes of `found`; the other arguments are those of `plan_location`."""
    within = replace(options, caps=options.caps.within(state.facts, options.now))
    then = before or before_run(state)
    changed = (done or Counts()) + count(found.deltas, requests=0, observed=state.observed)

    def judge(batches: Batches) -> tuple[Measured, ...]:
        counts = changed + count((), batches.reasserted, requests=len(batches.batches), observed=state.observed)
        return measure(counts, then, desired, limits=options.limits, allowances=options.allowances)

    batches = _batches(found, desired, within)
    while dropped := repeats_over_limit(batches.reasserted, judge(batches)):
        within = replace(within, reassertion=within.reassertion.without(dropped))
        batches = _batches(found, desired, within)
    return LocationPlan(
        location=desired.location,
        lineage=state.lineage,
        serial=state.serial,
        manifests_digest=desired.digest,
        valid_until=desired.valid_until,
        summary=summarise(found, batches, options.rate),
        deltas=found.deltas,
        batches=batches.batches,
        deferrals=found.deferrals,
        ledger=found.ledger,
        held=found.held,
        quarantined=found.quarantined,
        spared=found.spared,
        given=found.given,
        guards=judge(batches),
        observations=observations,
        triggers=tuple(sorted(tag for tag, rule in desired.rules.items() if rule.triggers)),
        reasserted=batches.reasserted,
        proofs=batches.proofs,
        searched=options.searched,
        gone=options.gone,
        tried=tried_before(found.deltas, state.observed),
        sizes_moved=not options.selection.is_part and dict(state.set_sizes) != set_sizes(desired),
    )


def set_sizes(desired: Desired) -> dict[SetName, int]:
    """How many contacts each set has."""
    return {each.name: len(each.members) for each in desired.sets}


def _batches(found: Diff, desired: Desired, options: PlanOptions) -> Batches:
    repeatable = {
        action: options.reassertion.repeatable(action, _tags_of(demands), desired.rules)
        for action, demands in ((Action.ADD, found.demands.adds), (Action.REMOVE, found.demands.removes))
    }
    return make_batches(
        found.demands,
        options.caps,
        repeatable_adds=repeatable[Action.ADD],
        repeatable_removes=repeatable[Action.REMOVE],
        effort=options.effort,
    )


def _tags_of(demands: Iterable[Demand]) -> TagSet:
    return frozenset(tag for demand in demands for tag in demand.may)


def before_run(state: LocationState) -> Before:
    return Before(holders(state.observed), state.set_sizes, managed(state.observed))


def combine(
    locations: Iterable[LocationPlan], *, as_of: Instant, manifests: str, selection: Selection = EVERYTHING
) -> Plan:
    """One plan of all locations, sorted by location."""
    ordered = tuple(sorted(locations, key=lambda each: each.location))
    ends = [each.valid_until for each in ordered if each.valid_until is not None]
    return Plan(as_of, min(ends, default=None), ordered, change_digest(ordered), manifests, selection)


def change_digest(locations: Sequence[LocationPlan]) -> str:
    """SHA-256 over location, changes, ceilings, doubts, what is sent again, and when it was tried before: equal where a
    reviewer sees the same.

    The places that asked for a change are no part of it: they move with every comment.
    """
    digest = hashlib.sha256()
    for each in locations:
        digest.update(json.dumps(["location", each.location]).encode())
        alike: defaultdict[tuple[tuple[str, str, str], ...], list[ContactId]] = defaultdict(list)
        for delta in each.deltas:
            alike[tuple((change.action, change.tag, change.reason) for change in delta.changes)] += delta.contacts
        for changes, contacts in sorted(alike.items()):
            digest.update(json.dumps(["delta", changes, sorted(contacts)]).encode())
        for deferral in each.deferrals:
            digest.update(json.dumps(["ceiling", deferral.reason.name, deferral.tags, deferral.contacts]).encode())
        for held in each.held:
            # a reading may settle it, and let it be sent
            if held.why == IN_DOUBT:
                digest.update(json.dumps(["in doubt", held.tags, held.contacts]).encode())
        for again in each.reasserted:
            digest.update(json.dumps(["again", again.action, again.tags, again.contacts]).encode())
        for tried in each.tried:
            entry = ["tried", tried.action, tried.tags, tried.at, tried.contacts]
            digest.update(json.dumps(entry).encode())
        for change in each.ledger:
            entry = ["ledger", change.adopted, change.released, change.kept, change.contacts]
            digest.update(json.dumps(entry).encode())
    return "sha256:" + digest.hexdigest()
