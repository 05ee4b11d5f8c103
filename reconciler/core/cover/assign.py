"""Which tag sets each pattern is sent, when requests are capped: every pattern chooses from one dictionary.

Rules
1. A set fits a pattern that may be sent all of it. A tag that is not repeatable must still be open when a set with it
   is chosen.
2. Patterns choose greedily: the set with most open tags first. The dictionary holds every single tag, so they always
   end.

All patterns choose at once, on packed rows; blocks of patterns keep memory small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reconciler.core.cover.bits import Bits, Ints, column, members, sizes, some
from reconciler.core.cover.problem import CoverProblem

_BLOCK = 1 << 19


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """(pattern, set) pairs, sorted by pattern, then set."""

    patterns: Ints
    sets: Ints

    def only(self, keep: Ints) -> Pairs:
        return Pairs(self.patterns[keep], self.sets[keep])


def sorted_pairs(patterns: Ints, sets: Ints) -> Pairs:
    """The pairs in their order, given in the order of their sets."""
    order = np.argsort(patterns, kind="stable")
    return Pairs(patterns[order], sets[order])


def fits(problem: CoverProblem, sets: Bits) -> Pairs:
    """Every pair of a pattern and a set that it may be sent and that holds something it needs."""
    may, must = np.ascontiguousarray(problem.may.T), np.ascontiguousarray(problem.must.T)
    usage = np.array([np.count_nonzero(column(problem.may, tag)) for tag in range(len(problem.tags))])
    rarest = [int(tags[np.argmin(usage[tags])]) for tags in map(members, sets)]
    holders = {tag: np.flatnonzero(column(problem.may, tag)).astype(np.int32) for tag in set(rarest)}
    found = []
    for one, tag in zip(sets, rarest, strict=True):
        rows = holders[tag]
        for word in np.flatnonzero(one).tolist():
            rows = rows[may[word, rows] & one[word] == one[word]]
        needed = np.zeros(len(rows), np.bool_)
        for word in np.flatnonzero(one).tolist():
            needed |= must[word, rows] & one[word] != 0
        found.append(rows[needed])
    numbers = np.repeat(np.arange(len(sets), dtype=np.int32), [len(rows) for rows in found])
    return sorted_pairs(np.concatenate(found), numbers)


def choose(problem: CoverProblem, sets: Bits, options: Pairs) -> Pairs:
    """The sets each pattern takes, by the greedy, from its options."""
    cuts = np.searchsorted(options.patterns, options.patterns[np.arange(0, len(options.patterns), _BLOCK)], side="left")
    blocks = [
        _choose(problem, sets, options.only(np.arange(top, bottom)))
        for top, bottom in zip(cuts, [*cuts[1:], len(options.patterns)], strict=True)
        if top < bottom
    ]
    patterns = np.concatenate([block.patterns for block in blocks])
    numbers = np.concatenate([block.sets for block in blocks])
    order = np.lexsort((numbers, patterns))
    return Pairs(patterns[order], numbers[order])


def _choose(problem: CoverProblem, sets: Bits, options: Pairs) -> Pairs:
    first = int(options.patterns[0])
    left = problem.must[first : int(options.patterns[-1]) + 1].copy()
    taken_patterns, taken_sets = [], []
    while len(options.patterns):
        mine, theirs = left[options.patterns - first], sets[options.sets]
        gain = sizes(mine & theirs)
        usable = (gain > 0) & ~some(theirs & ~mine & problem.once)
        options, gain = options.only(np.flatnonzero(usable)), gain[usable]
        if not len(gain):
            break
        best = _best(options.patterns, gain)
        patterns, chosen = options.patterns[best], options.sets[best]
        left[patterns - first] &= ~sets[chosen]
        taken_patterns.append(patterns)
        taken_sets.append(chosen)
        options = options.only(np.flatnonzero(some(left)[options.patterns - first]))
    return Pairs(np.concatenate(taken_patterns), np.concatenate(taken_sets))


def _best(patterns: Ints, score: Ints) -> Ints:
    """For each pattern the first of its highest scores; the patterns are sorted."""
    fresh = np.flatnonzero(np.concatenate([[True], patterns[1:] != patterns[:-1]]))
    lengths = np.diff(np.append(fresh, len(patterns)))
    highest = np.flatnonzero(score == np.repeat(np.maximum.reduceat(score, fresh), lengths))
    owners = patterns[highest]
    found: Ints = highest[np.concatenate([[True], owners[1:] != owners[:-1]])]
    return found
