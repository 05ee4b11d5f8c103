"""Holds the guards against the changes of a run: a function and a row of `_CHECKS` for each."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.names import SetName, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.model.people import MatchCounts, Snapshot
from reconciler.core.model.settings import PCT_FLOOR, Guard, GuardLimits
from reconciler.core.planning.batches import Reasserted
from reconciler.core.planning.guards import NO_REASON, SIZE_FLOOR, Allowance, Before, Counts, Measured, was_lifted


@dataclass(frozen=True, slots=True)
class _Case:
    """All that a guard may look at."""

    counts: Counts
    before: Before
    desired: Desired
    limits: GuardLimits


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull of a set came to."""

    set: SetName
    counts: MatchCounts
    contacts: int
    """The contacts that the set has by it."""
    rematched: int = 0
    """Rows whose value was of another contact at the last pull."""


def measure_guards(
    counts: Counts, before: Before, desired: Desired, *, limits: GuardLimits, allowances: Iterable[Allowance]
) -> tuple[Measured, ...]:
    """Every guard that has a limit and a measure, the refusing ones first."""
    case = _Case(counts, before, desired, limits)
    lifted = {(allowance.guard, allowance.scope): allowance.reason for allowance in allowances}
    guards = [
        _lift_refusal(guard, lifted)
        for check in _CHECKS
        for guard in check(case)
        # a guard that measured zero is no news, but for one that refuses at zero: no holder is left
        if guard.measure > 0 or guard.refused or guard.warned
    ]
    return tuple(sorted(guards, key=lambda guard: (not guard.refused, -guard.measure, guard.guard, guard.scope)))


def measure_pull(
    pulled: Pulled,
    before: Snapshot | None,
    *,
    limits: GuardLimits,
    allowances: Iterable[Allowance] = (),
) -> tuple[Measured, ...]:
    """Every guard of a set that is pulled which has a limit and a measure, the refusing ones first.

    `before`: the set's snapshot, None where it is pulled for the first time.
    """
    lifted = {(allowance.guard, allowance.scope): allowance.reason for allowance in allowances}
    guards = [_lift_refusal(guard, lifted) for guard in _measure_pulled(pulled, before, limits) if guard.measure > 0]
    return tuple(sorted(guards, key=lambda guard: (not guard.refused, -guard.measure, guard.guard)))


def _measure_pulled(pulled: Pulled, before: Snapshot | None, limits: GuardLimits) -> Iterator[Measured]:
    counts, size = pulled.counts, pulled.contacts
    unmatched = counts.not_found + counts.ambiguous + counts.malformed
    for guard, rows, total, limit in (
        (Guard.MAX_UNMATCHED_PCT, unmatched, counts.rows, limits.max_unmatched_pct),
        (Guard.MAX_REMATCHED_PCT, pulled.rematched, counts.matched, limits.max_rematched_pct),
    ):
        if limit is not None:
            yield _measure_percent(guard, pulled.set, rows, total, limit)
    if before is not None:
        yield from _measure_size(pulled.set, size - len(before.contacts), len(before.contacts), limits)


def _measure_size(name: SetName, moved: int, before: int, limits: GuardLimits) -> Iterator[Measured]:
    """The members that a set gained or lost, in percent of `before`."""
    guard = Guard.GROW_PCT if moved > 0 else Guard.SHRINK_PCT
    limit = limits.grow_pct if moved > 0 else limits.shrink_pct
    # of a few contacts any change is a large share
    if before >= SIZE_FLOOR and limit is not None and moved:
        yield _measure_percent(guard, name, abs(moved), before, limit, floor=0)


def _lift_refusal(measured: Measured, lifted: Mapping[tuple[Guard, str], str]) -> Measured:
    reason = lifted.get((measured.guard, measured.scope))
    # a guard that does not refuse needs no exception, and the report would name one
    if reason is None or not measured.refused:
        return measured
    return replace(measured, refused=False, allowed=reason or NO_REASON)


def _measure_pairs(case: _Case) -> Iterator[Measured]:
    for guard, pairs, limit in (
        (Guard.MAX_ADDS, case.counts.adds, case.limits.max_adds),
        (Guard.MAX_REMOVES, case.counts.removes, case.limits.max_removes),
    ):
        yield from _measure_number(guard, "", pairs.total(), limit)
        for tag in sorted(pairs):
            rule = case.desired.rules.get(tag)
            # the location as a whole has the limit of the settings, a tag only that of its own rule
            own = None if rule is None else (rule.max_adds if guard is Guard.MAX_ADDS else rule.max_removes)
            yield from _measure_number(guard, tag, pairs[tag], own)


def _measure_number(guard: Guard, scope: str, number: int, limit: int | None) -> Iterator[Measured]:
    if limit is not None:
        yield Measured(guard, scope, limit, number, number > limit, number)


def _measure_percentages(case: _Case) -> Iterator[Measured]:
    counts, limits = case.counts, case.limits
    yield from _measure_shares(case, Guard.MAX_ADDS_PCT, counts.adds, limits.max_adds_pct)
    yield from _measure_shares(case, Guard.MAX_REMOVES_PCT, counts.unnamed, limits.max_removes_pct)
    if (limit := limits.max_restored_pct) is not None:
        for tag in sorted(counts.restored):
            yield _measure_percent(Guard.MAX_RESTORED_PCT, tag, counts.restored[tag], case.before.ledger[tag], limit)


def _measure_shares(case: _Case, guard: Guard, pairs: Counter[Tag], limit: float | None) -> Iterator[Measured]:
    if limit is None:
        return
    yield _measure_percent(guard, "", pairs.total(), case.before.pairs, limit)
    for tag in sorted(pairs):
        yield _measure_percent(guard, tag, pairs[tag], case.before.holders[tag], limit)


def _measure_percent(
    guard: Guard, scope: str, part: int, total: int, limit: float, *, floor: int = PCT_FLOOR
) -> Measured:
    share = _percent_of(part, total)
    # judged exactly and shown rounded: 30.04 % exceeds a limit of 30
    return Measured(guard, scope, limit, round(share, 1), part > floor and share > limit, part, total)


def _percent_of(part: int, total: int) -> float:
    # a share of nothing is 100 %: of a tag that no contact was known to carry, all pairs are unforeseen
    return 100.0 * part / total if total else (100.0 if part else 0.0)


def _measure_first_adds(case: _Case) -> Iterator[Measured]:
    """The tags that a second add does harm with, where no apply of everything is known, or the last runs are not."""
    harmful = {tag for tag, rule in case.desired.rules.items() if rule.triggers or rule.once}
    limit = case.limits.max_first_adds
    for tag in sorted(case.counts.adds.keys() & harmful):
        adds, managed = case.counts.adds[tag], case.before.ledger[tag]
        if limit is not None and case.before.is_first and not _was_let_pass(case, tag, limit):
            # applies of parts may have given a few unasked; where more are managed, they adopted them
            given = managed if managed <= limit else 0
            yield Measured(Guard.MAX_FIRST_ADDS, tag, limit, adds + given, adds + given > limit, adds, given)
        if case.before.is_backup:
            yield from _measure_number(Guard.MAX_BACKUP_ADDS, tag, adds, case.limits.max_backup_adds)


def _was_let_pass(case: _Case, tag: Tag, limit: int) -> bool:
    """Whether a person let more pass than may be given unasked, and it was given."""
    managed, exceptions = case.before.ledger[tag], case.before.exceptions
    return managed > limit and was_lifted(Guard.MAX_FIRST_ADDS, tag, exceptions)


def _measure_holders(case: _Case) -> Iterator[Measured]:
    for tag in sorted(case.counts.lost):
        # by name or not, what is removed is gone; a pair added again was there before
        lost, added = case.counts.lost[tag], case.counts.adds[tag] - case.counts.again[tag]
        # an answer may show that a holder was lost which no state knew of
        before = max(case.before.holders[tag], lost)
        after = before - lost + added
        by_name = not case.counts.unnamed[tag]
        rule = case.desired.rules.get(tag)
        floor = rule.min_holders if rule and rule.min_holders is not None else case.limits.min_holders
        if floor is not None and not by_name:
            yield Measured(Guard.MIN_HOLDERS, tag, floor, after, after < floor, after, before)
        if case.limits.empties_tag:
            refused, warned = after == 0 and not by_name, after == 0 and by_name
            yield Measured(Guard.EMPTIES_TAG, tag, 0, after, refused, lost, before, warned=warned)


def _measure_odd_ids(case: _Case) -> Iterator[Measured]:
    """The tags that odd ids gain while other contacts lose them: odd ids alone are a warning of `validate`."""
    for tag in sorted(case.counts.odd) if case.limits.odd_ids else ():
        number, leaving = case.counts.odd[tag], case.counts.unnamed[tag]
        if number and leaving:
            yield Measured(Guard.ODD_IDS, tag, 0, number, True, number, leaving)


def _measure_requests(case: _Case) -> Iterator[Measured]:
    return _measure_number(Guard.MAX_REQUESTS, "", case.counts.requests, case.limits.max_requests)


def _measure_sizes(case: _Case) -> Iterator[Measured]:
    """Each set against its size at the last apply; a new one against all sets of then, as nothing else is known."""
    sizes = case.before.sizes
    now = case.desired.set_sizes
    for name in sorted(now.keys() | sizes.keys()):
        before = sizes.get(name, sum(sizes.values()))
        moved = now.get(name, 0) - (before if name in sizes else 0)
        yield from _measure_size(name, moved, before, case.limits)


def _measure_protected(case: _Case) -> Iterator[Measured]:
    protected = {tag for tag, rule in case.desired.rules.items() if rule.protected}
    for tag in sorted(case.counts.removes.keys() & protected):
        number = case.counts.removes[tag]
        yield Measured(Guard.PROTECTED, tag, 0, number, True, number)


_CHECKS: tuple[Callable[[_Case], Iterator[Measured]], ...] = (
    _measure_pairs,
    _measure_percentages,
    _measure_first_adds,
    _measure_holders,
    _measure_odd_ids,
    _measure_requests,
    _measure_sizes,
    _measure_protected,
)


_OF_PAIRS = {
    Guard.MAX_ADDS: Action.ADD,
    Guard.MAX_ADDS_PCT: Action.ADD,
    Guard.MAX_REMOVES: Action.REMOVE,
}


def repeats_over_limit(reasserted: Collection[Reasserted], guards: Iterable[Measured]) -> frozenset[tuple[Action, Tag]]:
    """The tags that must not be sent again, as a limit on pairs is exceeded by these re-assertions alone.

    The tags with the most of them go first, until the remaining ones fit; a percentage lets all of them go.
    """
    repeats: defaultdict[Action, Counter[Tag]] = defaultdict(Counter)
    for again in reasserted:
        repeats[again.action].update(dict.fromkeys(again.tags, len(again.contacts)))
    dropped: set[tuple[Action, Tag]] = set()
    for measured in guards:
        action = _OF_PAIRS.get(measured.guard)
        if action is None or not measured.refused:
            continue
        pairs = {tag: number for tag, number in repeats[action].items() if measured.scope in ("", tag)}
        # where the limit is exceeded without any re-assertion, too, dropping them would not help
        if not _is_exceeded(measured, measured.numerator - sum(pairs.values())):
            dropped |= {(action, tag) for tag in _fewest_tags(pairs, measured)}
    return frozenset(dropped)


def _is_exceeded(measured: Measured, pairs: int) -> bool:
    """Whether the guard would refuse so many pairs."""
    if not measured.is_share:
        return pairs > measured.limit
    return pairs > PCT_FLOOR and _percent_of(pairs, measured.denominator) > measured.limit


def _fewest_tags(pairs: Mapping[Tag, int], measured: Measured) -> Iterator[Tag]:
    excess = measured.numerator - measured.limit if not measured.is_share else math.inf
    for tag in sorted(pairs, key=lambda tag: (-pairs[tag], tag)):
        if excess <= 0:
            return
        excess -= pairs[tag]
        yield tag
