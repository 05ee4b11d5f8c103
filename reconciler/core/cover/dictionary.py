"""The tag sets that a capped plan may use.

Rules
1. Every tag is in, with its twins, so that every need can be met; so are the roles of the commonest patterns.
2. What many contacts need, or may be sent, is in: one request then serves such a contact whole. Many is a share of a
   full request.
3. The union of two sets that many contacts use together is in.
4. No set is larger than a request may be.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import numpy as np

from reconciler.core.cover.assign import Pairs
from reconciler.core.cover.bits import Bits, Ints, column, distinct_rows, pack, pack_bools, sizes
from reconciler.core.cover.grid import ones, reduce
from reconciler.core.cover.kernel import kernel, lift
from reconciler.core.cover.problem import CoverProblem
from reconciler.core.cover.search import fill

_ROLE_PATTERNS = 1_500
_ROLE_CELLS = 400_000
_MOST_TOGETHER = 12


def twins(problem: CoverProblem) -> Bits:
    """Tags that every pattern treats alike, as one set, or several where a request cannot hold them all."""
    groups: dict[bytes, list[int]] = {}
    for tag in range(len(problem.tags)):
        cells = np.packbits([column(problem.must, tag), column(problem.may, tag)])
        groups.setdefault(blake2b(cells.tobytes()).digest(), []).append(tag)
    cap = problem.max_tags
    found = [group[left : left + cap] for group in groups.values() for left in range(0, len(group), cap)]
    rows = np.repeat(np.arange(len(found)), [len(group) for group in found])
    return pack(rows, np.concatenate(found), shape=(len(found), len(problem.tags)))


def roles(problem: CoverProblem) -> Bits:
    """The column sets of a cover of the commonest needs."""
    weighed, weight = _weigh(problem.must, problem.counts)
    common = np.argsort(-weight, kind="stable")[:_ROLE_PATTERNS]
    common = common[np.cumsum(sizes(weighed[common])) <= _ROLE_CELLS]
    must = weighed[common]
    start = np.arange(len(must) + 1)
    free = np.zeros_like(problem.once)
    grid, classes = reduce(replace(problem, contacts=(), start=start, must=must, may=must, once=free))
    core = kernel(grid)
    boxes = lift(grid, core, fill(grid, core.need_rows))
    cells = [np.isin(classes.column, list(ones(columns))) for _, columns in boxes]
    return pack_bools(np.array(cells, np.bool_).reshape(-1, len(problem.tags)))


def common(problem: CoverProblem, rows: Bits, *, least: float) -> Bits:
    """The sets that so many contacts have in common; `rows`: one set a pattern."""
    weighed, weight = _weigh(rows, problem.counts)
    return weighed[weight >= least]


def unions(problem: CoverProblem, sets: Bits, taken: Pairs, *, least: float) -> Bits:
    """The unions of two sets that so many contacts take together."""
    keys, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for gap in range(1, _MOST_TOGETHER):
        both = np.flatnonzero(taken.patterns[gap:] == taken.patterns[:-gap])
        if not len(both):
            break
        keys.append(taken.sets[both] * len(sets) + taken.sets[both + gap])
        weights.append(problem.counts[taken.patterns[both]])
    pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
    frequent = pairs[np.bincount(place, np.concatenate(weights), len(pairs)) >= least]
    return sets[frequent // len(sets)] | sets[frequent % len(sets)]


def fresh(problem: CoverProblem, known: Bits, more: Bits) -> Bits:
    """Those of `more` that are new, each once, not empty, and no larger than a request may be."""
    every = np.concatenate([known, more])
    first = np.sort(distinct_rows(every)[0])
    new = every[first[first >= len(known)]]
    size = sizes(new)
    return new[(size > 0) & (size <= problem.max_tags)]


def _weigh(rows: Bits, counts: Ints) -> tuple[Bits, Ints]:
    """The distinct rows and the contacts of each."""
    first, kind = distinct_rows(rows)
    return rows[first], np.bincount(kind, counts, len(first)).astype(np.int64)
