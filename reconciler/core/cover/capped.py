"""The plan under caps: a dictionary of tag sets, a choice for every pattern, part-filled requests dissolved.

Rules
1. Starts differ in how common a set has to be for the dictionary; they are made in a fixed order, and the cheapest
   plan of all is kept, so more of them are never worse.
2. A start's work is counted in (pattern, set) options, and in sets; starts are made until the allowance of the effort
   is used up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reconciler.core.cover.assign import Pairs, choose, fits, sorted_pairs
from reconciler.core.cover.bits import Bits, members, ranges
from reconciler.core.cover.dictionary import common, fresh, roles, twins, unions
from reconciler.core.cover.draft import Block, Draft, draft
from reconciler.core.cover.problem import CoverProblem
from reconciler.core.cover.trim import Parts, dissolve

OPTIONS = 250_000
"""Options a round of effort allows."""

_STARTS = ((0.3, 0.8), (0.8, 0.8), (0.5, 0.5), (0.3, 0.5), (1.0, 0.6), (0.8, 1.0), (0.15, 0.8), (0.3, 0.3))
"""For each start how common a must or may, and a union of two sets, have to be, in full requests."""

_SET = 1_000
"""What a set of the dictionary counts for, in options."""

_UNIONS = 3
_PASSES = 2


def plans(problem: CoverProblem, *, effort: int) -> Iterator[Draft]:
    """A plan for each start that the effort allows."""
    always = np.concatenate([twins(problem), roles(problem)])
    left = effort * OPTIONS
    for least, together in _STARTS:
        if left <= 0:
            return
        sets = _dictionary(problem, always, least * problem.max_contacts)
        options = fits(problem, sets)
        left -= len(options.sets) + _SET * len(sets)
        sets, options, taken = _joined(problem, sets, options, together * problem.max_contacts)
        yield trimmed(problem, sets, options, taken, stage="capped")


def _dictionary(problem: CoverProblem, always: Bits, least: float) -> Bits:
    often = [common(problem, rows, least=least) for rows in (problem.must, problem.may)]
    return fresh(problem, always[:0], np.concatenate([always, *often]))


def _joined(problem: CoverProblem, sets: Bits, options: Pairs, least: float) -> tuple[Bits, Pairs, Pairs]:
    """The dictionary with unions of what is used together, and the choice from it."""
    taken = choose(problem, sets, options)
    for _ in range(_UNIONS):
        more = fresh(problem, sets, unions(problem, sets, taken, least=least))
        if not len(more):
            break
        new = fits(problem, more)
        options = sorted_pairs(
            np.concatenate([options.patterns, new.patterns]),
            np.concatenate([options.sets, new.sets + np.int32(len(sets))]),
        )
        sets = np.concatenate([sets, more])
        taken = choose(problem, sets, options)
    return sets, options, taken


def trimmed(problem: CoverProblem, sets: Bits, options: Pairs, taken: Pairs, *, stage: str) -> Draft:
    """The plan of a choice, with as many part-filled requests dissolved as can be."""
    parts = Parts(problem, sets, options, taken)
    for _ in range(_PASSES):
        over = parts.load % problem.max_contacts
        turn = np.argsort(over, kind="stable")
        for number in turn[over[turn] > 0].tolist():
            if parts.load[number] % problem.max_contacts:
                dissolve(parts, number)
    return draft(problem, stage, blocks(parts))


def blocks(parts: Parts) -> Iterator[Block]:
    """A block for each set in use, with the contacts that its parts stand for."""
    order = np.argsort(parts.pattern, kind="stable")
    before = np.zeros(len(order), np.int64)
    before[order] = np.cumsum(parts.count[order]) - parts.count[order]
    for number in np.flatnonzero(parts.load).tolist():
        users = parts.users(number)
        yield Block(members(parts.sets[number]), ranges(before[users], parts.count[users]))
