"""The plan: frozen, sorted, complete data. Same inputs, same plan.

`make_plan.py` goes from desired and observed to a `LocationPlan`; `combine_plans` puts the locations together and
seals the result with its digest; `approve` (`guard_sentences.py`) makes of it what apply accepts.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.core.model.api_limits import NO_FACTS, Facts, Rate
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import SETTLE_MS, UNTIMED, ContactStates
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag
from reconciler.core.model.rectangles import EFFORT
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.batches import (
    Batch,
    Caps,
    Proof,
    Reasserted,
    Solver,
    Summary,
    explain_aside,
    explain_waiting,
)
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
)
from reconciler.core.planning.guards import Allowance, Measured
from reconciler.core.planning.situation import NO_REASSERTION, NOT_SEARCHED, Reassertion, Searched
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

    solve: Solver
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

    def in_spelling(self, spelling: Spelling) -> PlanOptions:
        """What a person named, as the state has it."""
        if not spelling.names:
            return self
        return replace(
            self,
            allowances=tuple(
                replace(each, scope=spelling.of(Tag(each.scope))) if "tag" in each.guard.scopes else each
                for each in self.allowances
            ),
            selection=spelling.spell_selection(self.selection),
            searched=spelling.spell_searched(self.searched),
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


def combine_plans(
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
