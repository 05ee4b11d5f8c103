"""Which tag sets each pattern is sent, when requests are capped: every pattern chooses from one dictionary.

Rules
1. A set fits a pattern that may be sent all of it. A tag that is not repeatable must still be open when a set
   with it is chosen.
2. Patterns choose greedily: the set with most open tags first. The dictionary holds every single tag, so they
   always end.
All patterns choose at once, on packed rows; blocks of patterns keep memory small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reconciler.core.cover.bits import Bits, Ints, column, members, sizes
from reconciler.core.cover.problem import Problem

_BLOCK = 1 << 19


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """(pattern, set) pairs, sorted by pattern, then set."""

    patterns: Ints
    sets: Ints

    def only(self, keep: Ints) -> Pairs:
        return Pairs(self.patterns[keep], self.sets[keep])


def sorted_pairs(patterns: Ints, sets: Ints) -> Pairs:
    """The pairs in their order."""
    order = np.lexsort((sets, patterns))
    return Pairs(patterns[order], sets[order])


def fits(problem: Problem, sets: Bits) -> Pairs:
    """Every pair of a pattern and a set that it may be sent and that holds something it needs."""
    holders: dict[int, Ints] = {}
    found_patterns, found_sets = [], []
    usage = np.array([np.count_nonzero(column(problem.may, tag)) for tag in range(len(problem.tags))])
    for number, one in enumerate(sets):
        tags = members(one)
        rarest = int(tags[np.argmin(usage[tags])])
        if rarest not in holders:
            holders[rarest] = np.flatnonzero(column(problem.may, rarest))
        rows = holders[rarest]
        inside = ~(one & ~problem.may[rows]).any(axis=1)
        rows = rows[inside]
        rows = rows[(one & problem.must[rows]).any(axis=1)]
        found_patterns.append(rows)
        found_sets.append(np.full(len(rows), number))
    return sorted_pairs(np.concatenate(found_patterns), np.concatenate(found_sets))


def choose(problem: Problem, sets: Bits, options: Pairs) -> Pairs:
    """The sets each pattern takes, by the greedy, from its options."""
    cuts = np.searchsorted(options.patterns, options.patterns[np.arange(0, len(options.patterns), _BLOCK)], side="left")
    blocks = [
        _choose(problem, sets, options.only(np.arange(top, bottom)))
        for top, bottom in zip(cuts, [*cuts[1:], len(options.patterns)], strict=True)
        if top < bottom
    ]
    return sorted_pairs(
        np.concatenate([block.patterns for block in blocks]), np.concatenate([block.sets for block in blocks])
    )


def _choose(problem: Problem, sets: Bits, options: Pairs) -> Pairs:
    first = int(options.patterns[0])
    left = problem.must[first : int(options.patterns[-1]) + 1].copy()
    taken_patterns, taken_sets = [], []
    while len(options.patterns):
        mine, theirs = left[options.patterns - first], sets[options.sets]
        gain = sizes(mine & theirs)
        usable = (gain > 0) & ~(theirs & ~mine & problem.once).any(axis=1)
        options, gain = options.only(np.flatnonzero(usable)), gain[usable]
        if not len(gain):
            break
        best = _best(options.patterns, gain)
        patterns, chosen = options.patterns[best], options.sets[best]
        left[patterns - first] &= ~sets[chosen]
        taken_patterns.append(patterns)
        taken_sets.append(chosen)
        options = options.only(np.flatnonzero(left[options.patterns - first].any(axis=1)))
    return Pairs(np.concatenate(taken_patterns), np.concatenate(taken_sets))


def _best(patterns: Ints, score: Ints) -> Ints:
    """For each pattern the first of its highest scores; the patterns are sorted."""
    fresh = np.flatnonzero(np.concatenate([[True], patterns[1:] != patterns[:-1]]))
    lengths = np.diff(np.append(fresh, len(patterns)))
    highest = np.flatnonzero(score == np.repeat(np.maximum.reduceat(score, fresh), lengths))
    owners = patterns[highest]
    found: Ints = highest[np.concatenate([[True], owners[1:] != owners[:-1]])]
    return found
