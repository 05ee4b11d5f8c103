"""From desired and observed to a `LocationPlan`, the guards held against it.

Law of the attempts (`find_tried`): two plans of the same changes have the same attempts where no request tried them
in between, and others where one did and may have had an effect.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.names import ContactId, Instant, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.model.rectangles import Demand
from reconciler.core.planning.batches import Batches, make_batches, summarise_plan
from reconciler.core.planning.changes import Delta, Diff, Tried
from reconciler.core.planning.diff import diff
from reconciler.core.planning.guard_measures import measure_guards, repeats_over_limit
from reconciler.core.planning.guards import Before, Counts, Measured, count_holders, count_managed, count_pairs
from reconciler.core.planning.plan import LocationPlan, LocationState, PlanOptions


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
    desired, options = state.spelling.spell_desired(desired), options.in_spelling(state.spelling)
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
    changed = (done or Counts()) + count_pairs(found.deltas, requests=0, observed=state.observed)

    def judge(batches: Batches) -> tuple[Measured, ...]:
        counts = changed + count_pairs((), batches.reasserted, requests=len(batches.batches), observed=state.observed)
        return measure_guards(counts, then, desired, limits=options.limits, allowances=options.allowances)

    batches = _make_batches(found, desired, within)
    while dropped := repeats_over_limit(batches.reasserted, judge(batches)):
        within = replace(within, reassertion=within.reassertion.without(dropped))
        batches = _make_batches(found, desired, within)
    return LocationPlan(
        location=desired.location,
        lineage=state.lineage,
        serial=state.serial,
        manifests_digest=desired.digest,
        valid_until=desired.valid_until,
        summary=summarise_plan(found, batches, options.rate),
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
        tried=find_tried(found.deltas, state.observed),
        sizes_moved=not options.selection.is_part and dict(state.set_sizes) != set_sizes(desired),
    )


def set_sizes(desired: Desired) -> dict[SetName, int]:
    """How many contacts each set has."""
    return {each.name: len(each.members) for each in desired.sets}


def _make_batches(found: Diff, desired: Desired, options: PlanOptions) -> Batches:
    repeatable = {
        action: options.reassertion.repeatable_tags(action, _tags_of(demands), desired.rules)
        for action, demands in ((Action.ADD, found.demands.adds), (Action.REMOVE, found.demands.removes))
    }
    return make_batches(
        found.demands,
        options.caps,
        repeatable_adds=repeatable[Action.ADD],
        repeatable_removes=repeatable[Action.REMOVE],
        solve=options.solve,
        effort=options.effort,
    )


def _tags_of(demands: Iterable[Demand]) -> TagSet:
    return frozenset(tag for demand in demands for tag in demand.may)


def before_run(state: LocationState) -> Before:
    return Before(count_holders(state.observed), state.set_sizes, count_managed(state.observed))


def find_tried(deltas: Iterable[Delta], observed: ContactStates) -> tuple[Tried, ...]:
    """The pairs that earlier requests tried, sorted."""
    known = [index for index, each in enumerate(observed.patterns) if each.doubt or each.restored or each.attempted_at]
    suspects = dict.fromkeys(known)
    if not suspects:
        return ()
    found: defaultdict[tuple[Action, Instant, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    for delta in deltas:
        alike: defaultdict[int, list[ContactId]] = defaultdict(list)
        for contact in delta.contacts:
            if (index := observed.contacts.get(contact, 0)) in suspects:
                alike[index].append(contact)
        for index, contacts in alike.items():
            for key in _list_attempts(delta, observed.patterns[index]):
                found[key] += contacts
    return tuple(Tried(action, tags, at, tuple(sorted(who))) for (action, at, tags), who in sorted(found.items()))


def _list_attempts(delta: Delta, known: ContactState) -> Iterator[tuple[Action, Instant, tuple[Tag, ...]]]:
    times: defaultdict[tuple[Action, Instant], set[Tag]] = defaultdict(set)
    for change in delta.changes:
        if (at := known.last_tried(change.action, change.tag)) is not None:
            times[change.action, at].add(change.tag)
    return ((action, at, tuple(sorted(tags))) for (action, at), tags in times.items())
