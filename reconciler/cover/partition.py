"""The plan under caps where every needed pair is sent exactly once: a plan for each start, then variations.

Rules
1. Starts are those of `capped`. Then the dictionary of the cheapest plan is varied: sets that serve few are left out,
   the union of two that serve many contacts together comes in. A variation that is no worse is varied next. Random
   numbers are drawn from a fixed seed.
2. Work is counted in rows and sets looked at, until the allowance of the effort is used up, or too little is left of
   it for half of what the last plan took.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from operator import attrgetter

import numpy as np

from reconciler.cover.capped import STARTS, find_roles, group_twins, keep_new, make_dictionary
from reconciler.cover.grid import Draft, Holders
from reconciler.cover.problem import Bits, CoverProblem
from reconciler.cover.shares import Shares

_WORK = 800_000
"""Rows and sets that a round of effort may look at."""

_UNIONS = 3
_RARE = 0.25
"""A variation leaves out sets from about so large a share of those that serve the fewest."""


def make_drafts(problem: CoverProblem, *, effort: int) -> Iterator[Draft]:
    """A plan for each start and variation that the effort allows and that takes no more requests than those before."""
    allowance, fewest = effort * _WORK, None
    for shares in _settle_starts(problem) if effort else ():
        allowance -= shares.work
        if fewest is None or shares.cost <= fewest:
            fewest = shares.cost
            yield shares.draft()
        if 2 * allowance < shares.work:
            return


def _settle_starts(problem: CoverProblem) -> Iterator[Shares]:
    """A plan for each start, then variations of the best without end."""
    twins, holders = group_twins(problem), Holders(problem)
    always = np.concatenate([twins, find_roles(problem)])
    found: list[Shares] = []
    for least, together in STARTS:
        sets = make_dictionary(problem, always, least * problem.max_contacts)
        found = [*found[-1:], _settle(_join_sets(problem, sets, holders, together * problem.max_contacts))]
        yield found[-1]
        found.sort(key=attrgetter("cost"), reverse=True)
    draw, best = random.Random(0), found[-1]  # noqa: S311 - repeatable on purpose, and no secret
    # the caller stops where its allowance ends
    while True:
        shares = _settle(Shares(problem, _vary_sets(best, twins, draw), holders))
        yield shares
        best = min(shares, best, key=attrgetter("cost"))


def _settle(shares: Shares) -> Shares:
    shares.settle()
    return shares


def _join_sets(problem: CoverProblem, sets: Bits, holders: Holders, least: float) -> Shares:
    """The choice from the dictionary with unions of sets that so many contacts are sent together."""
    shares = Shares(problem, sets, holders)
    for _ in range(_UNIONS):
        more = keep_new(problem, sets, shares.unions(least))
        if not len(more):
            break
        sets = np.concatenate([sets, more])
        shares = Shares(problem, sets, holders, work=shares.work)
    return shares


def _vary_sets(best: Shares, twins: Bits, draw: random.Random) -> Bits:
    """The sets that the plan uses but for a few, the tags one by one, and perhaps a union."""
    used = np.flatnonzero(best.load)
    rare = used[np.argsort(best.load[used], kind="stable")].tolist()
    dropped = {rare[int(draw.expovariate(1 / (_RARE * len(rare)))) % len(rare)] for _ in range(draw.randint(1, 3))}
    sets = [best.sets[[number for number in used.tolist() if number not in dropped]], twins]
    if draw.getrandbits(1):
        first = draw.choice(used.tolist())
        partners = best.partners(first)
        if partners:
            sets.append((best.sets[first] | best.sets[draw.choice(partners)])[None])
    return keep_new(best.problem, twins[:0], np.concatenate(sets))
