"""From desired and observed to a `LocationPlan`, the guards held against it.

Law of the attempts (`find_tried`): two plans of the same changes have the same attempts where no request tried them
in between, and others where one did and may have had an effect.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.core.manifests.resolve import Desired
from reconciler.core.manifests.wants import old_names
from reconciler.core.model.batch import Demand
from reconciler.core.model.contact_changes import ObservedContacts, find_undated
from reconciler.core.model.contact_numbers import ABSENT
from reconciler.core.model.contact_state import NONE, UNTIMED, ContactState, ContactStates
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.planning.batches import Batches, make_batches, summarise_plan
from reconciler.core.planning.changes import Delta, Diff, Tried
from reconciler.core.planning.diff import diff, select_contacts
from reconciler.core.planning.guard_measures import measure_guards, repeats_over_limit
from reconciler.core.planning.guards import Before, Counts, Measured, count_holders, count_managed, count_pairs
from reconciler.core.planning.plan import LocationPlan, LocationState, PlanOptions
from reconciler.core.planning.slow_release import last_slice, list_release_rules, plan_releases

if TYPE_CHECKING:
    from reconciler.core.planning.revert import Reversal


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
    """The plan of one location, from the state of now.

    `observations`: those of a refresh, which `state` holds already, though its store does not. Within a run: `spent`
    are the tags per contact with an outcome already, `done` the changes of earlier rounds and `before` the state
    when the run began; the guards measure the run as a whole. `owned`: tags that were owned then, even where the pairs
    that made them so are gone.
    """
    desired, options = state.spelling.spell_desired(desired), options.in_spelling(state.spelling)
    difference = diff(
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
    settling_ms = _find_settling(state.observed, options)
    return plan_of(
        difference,
        desired,
        state,
        options,
        done=done,
        before=before,
        observations=observations,
        settling_ms=settling_ms,
    )


def _find_settling(observed: ContactStates, options: PlanOptions) -> int:
    """How long an apply waits, before its first request, until no request of an earlier run can take effect."""
    sent = [state.doubt.sent for state in observed.patterns if state.doubt is not None]
    # without a time nothing is known to be yet to come
    return max([at + options.settle_ms - options.now for at in sent], default=0) if options.now != UNTIMED else 0


def plan_revert(
    reversal: Reversal,
    desired: Desired,
    state: LocationState,
    options: PlanOptions,
    *,
    spent: Mapping[ContactId, TagSet] | None = None,
    done: Counts | None = None,
    before: Before | None = None,
    observations: tuple[ObservedContacts, ...] = (),
) -> LocationPlan:
    """The plan that undoes a run, from the state of now; the arguments are those of `plan_location`."""
    desired, options = state.spelling.spell_desired(desired), options.in_spelling(state.spelling)
    reversal = reversal.in_spelling(state.spelling)
    # few plans undo a run
    from reconciler.core.planning.revert import undo_changes

    difference = undo_changes(reversal, desired, state.observed, spent=spent or {}, gone=options.gone)
    return plan_of(difference, desired, state, options, done=done, before=before, observations=observations)


def plan_of(
    diff: Diff,
    desired: Desired,
    state: LocationState,
    options: PlanOptions,
    *,
    done: Counts | None = None,
    before: Before | None = None,
    observations: tuple[ObservedContacts, ...] = (),
    settling_ms: int = 0,
) -> LocationPlan:
    """The plan that makes the changes of `diff`, after a wait of `settling_ms`; the rest is as for `plan_location`."""
    within = replace(options, caps=options.caps.within(state.facts, options.now))
    then = before or before_run(state)
    changed = (done or Counts()) + count_pairs(diff.deltas, requests=0, observed=state.observed)

    def measure(batches: Batches) -> tuple[Measured, ...]:
        counts = changed + count_pairs((), batches.reasserted, requests=len(batches.batches), observed=state.observed)
        return measure_guards(counts, then, desired, limits=options.limits, allowances=options.allowances)

    batches = _make_batches_within_limits(diff, desired, within, measure)
    pacing = plan_releases(diff.deltas, list_release_rules(desired), options.sent, options.now)
    at_least_ms = last_slice(pacing, options.now) - options.now
    return LocationPlan(
        location=desired.location,
        lineage=state.lineage,
        serial=state.serial,
        manifests_digest=desired.digest,
        valid_until=desired.valid_until,
        summary=summarise_plan(diff, batches, options.rate, at_least_ms=at_least_ms, settling_ms=settling_ms),
        deltas=diff.deltas,
        batches=batches.batches,
        deferrals=diff.deferrals,
        ledger=diff.ledger,
        held=diff.held,
        quarantined=diff.quarantined,
        spared=diff.spared,
        given=diff.given,
        guards=measure(batches),
        observations=observations,
        triggers=tuple(sorted(tag for tag, rule in desired.rules.items() if rule.triggers)),
        reasserted=batches.reasserted,
        proofs=batches.proofs,
        searched=options.searched,
        gone=options.gone,
        tried=find_tried(diff.deltas, state.observed),
        oldest=_find_oldest(diff, desired, state.observed, options),
        pacing=pacing,
        new_names=_find_new_names(diff.deltas, then, desired),
        leaves_record=not options.selection.is_part and _leaves_record(state, desired),
    )


def _leaves_record(state: LocationState, desired: Desired) -> bool:
    return (
        dict(state.set_sizes) != desired.set_sizes
        or state.copied is not None
        or bool(find_undated(state.observed, desired.once))
    )


def _find_new_names(deltas: Iterable[Delta], before: Before, desired: Desired) -> tuple[Tag, ...]:
    """The tags to add that nobody had, and that may take the place of another one.

    A tag that does harm where it is added, or that is a new name already, is none to be guessed at.
    """
    added = frozenset(tag for delta in deltas for tag in delta.tags(Action.ADD))
    harmful = {tag for tag, rule in desired.rules.items() if rule.triggers or rule.once or rule.protected}
    return tuple(
        sorted(added - before.holders.keys() - before.ledger.keys() - harmful - old_names(desired.rules).keys())
    )


def count_given_anew(plan: LocationPlan, desired: Desired, observed: ContactStates) -> dict[tuple[Tag, Tag], int]:
    """The contacts that are given a `once` tag though they had it under its old name, by old and new name."""
    renamed = {tag: old for tag, old in old_names(desired.rules).items() if tag in desired.once}
    counts: Counter[tuple[Tag, Tag]] = Counter()
    for delta in plan.deltas if renamed else ():
        for tag in delta.tags(Action.ADD) & renamed.keys():
            # a contact that carries it has it from others, or its workflow did not take it yet
            old = renamed[tag]
            counts[old, tag] += sum(old in _list_had(observed[contact]) for contact in delta.contacts)
    return {names: contacts for names, contacts in sorted(counts.items()) if contacts}


def count_given_and_gone(tags: TagSet, desired: Desired, observed: ContactStates) -> dict[Tag, int]:
    """The contacts that were given one of these `once` tags, are to have it still, and were observed without it."""
    counts: Counter[Tag] = Counter()
    numbered, wants, states = desired.contacts.beside(observed.contacts)
    pairs = numbered.count_pairs(wants, states) if tags else {}
    for (want, index), contacts in pairs.items():
        state = observed.patterns[max(index, 0)]
        if want != ABSENT and state.observed is not None:
            given = state.ledger.tags - state.ledger.unconfirmed - state.doubtful - state.observed
            counts.update(dict.fromkeys(tags & given & desired.wants[want].present.keys(), contacts))
    return dict(sorted(counts.items()))


def _list_had(state: ContactState) -> TagSet:
    return (state.observed or NONE) | state.ledger.tags | {tag for tag, _ in state.past_adds.spent}


def _find_oldest(diff: Diff, desired: Desired, observed: ContactStates, options: PlanOptions) -> Instant | None:
    """The oldest observation of the declared contacts, and of those that are to change."""
    if not observed.contacts:
        return None
    if options.selection.sets:
        patterns = set(observed.contacts.find_all(select_contacts(desired, options.selection), 0))
    else:
        numbered, wants, states = desired.contacts.beside(observed.contacts)
        patterns = {index for want, index in numbered.count_pairs(wants, states) if want != ABSENT}
    changed = (contact for delta in diff.deltas for contact in delta.contacts)
    patterns.update(observed.contacts.find_all(changed, 0))
    times = (observed.patterns[max(index, 0)].observed_at for index in patterns)
    return min((at for at in times if at is not None), default=None)


def _make_batches_within_limits(
    diff: Diff, desired: Desired, options: PlanOptions, measure: Callable[[Batches], tuple[Measured, ...]]
) -> Batches:
    batches = _make_batches(diff, desired, options)
    # saving a request is no reason to be refused: tags with re-assertions beyond a limit lose them, one by one
    while dropped := repeats_over_limit(batches.reasserted, measure(batches)):
        options = replace(options, reassertion=options.reassertion.without(dropped))
        batches = _make_batches(diff, desired, options)
    return batches


def _make_batches(diff: Diff, desired: Desired, options: PlanOptions) -> Batches:
    def repeatable(action: Action, demands: Iterable[Demand]) -> TagSet:
        tags = frozenset(tag for demand in demands for tag in demand.may)
        return options.reassertion.repeatable_tags(action, tags, desired.rules)

    return make_batches(
        diff.demands,
        options.caps,
        repeatable_adds=repeatable(Action.ADD, diff.demands.adds),
        repeatable_removes=repeatable(Action.REMOVE, diff.demands.removes),
        solve=options.solve,
        effort=options.effort,
    )


def before_run(state: LocationState) -> Before:
    holders, managed = count_holders(state.observed), count_managed(state.observed)
    is_backup, exceptions = state.copied is not None, state.exceptions
    return Before(holders, state.set_sizes, managed, is_backup=is_backup, exceptions=exceptions)


def find_tried(deltas: Iterable[Delta], observed: ContactStates) -> tuple[Tried, ...]:
    """The pairs that earlier requests tried, sorted."""
    # most states carry no trace of an attempt: their contacts need not be looked at
    suspects = {
        index
        for index, state in enumerate(observed.patterns)
        if state.doubtful or state.past_adds.restored or state.past_adds.attempted_at
    }
    if not suspects:
        return ()
    attempts: defaultdict[tuple[Action, Instant, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    for delta in deltas:
        alike: defaultdict[int, list[ContactId]] = defaultdict(list)
        for contact in delta.contacts:
            if (index := observed.contacts.get(contact, 0)) in suspects:
                alike[index].append(contact)
        for index, contacts in alike.items():
            for key in _list_attempts(delta, observed.patterns[index]):
                attempts[key] += contacts
    return tuple(Tried(action, tags, at, tuple(sorted(who))) for (action, at, tags), who in sorted(attempts.items()))


def _list_attempts(delta: Delta, state: ContactState) -> Iterator[tuple[Action, Instant, tuple[Tag, ...]]]:
    times: defaultdict[tuple[Action, Instant], set[Tag]] = defaultdict(set)
    for change in delta.changes:
        if (at := state.last_tried(change.action, change.tag)) is not None:
            times[change.action, at].add(change.tag)
    return ((action, at, tuple(sorted(tags))) for (action, at), tags in times.items())
