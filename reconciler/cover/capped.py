"""The plan under caps: a dictionary of tag sets, a choice for every pattern, part-filled requests dissolved.

Rules of the dictionary
1. Every tag is in, with its twins, so that every need can be met; so are the roles of the commonest patterns.
2. A set that many contacts need, or may be sent, is in: one request then serves such a contact whole. Many is a share
   of a full request. The union of two sets that many contacts use together is in, too.
3. No set is larger than a request may be.

Rules of the choice
4. A set fits a pattern that may be sent all of it. A tag that is not repeatable must still be open when a set with it
   is chosen.
5. Patterns choose greedily: the set with most open tags first. The dictionary holds every single tag, so they always
   end. All patterns choose at once, on packed rows; blocks of patterns keep memory small.

Rules of the starts
6. Starts differ in how common a set has to be for the dictionary; they are made in a fixed order, and the cheapest
   plan of all is kept, so more of them are never worse.
7. A start's work is counted in (pattern, set) options, and in sets; starts are made until the allowance of the effort
   is used up.

Rules of tiny problems
8. Where contacts × tags are a handful of cells, every plan with fewer requests is tried: a request for the first cell
   that is left, then for the first of the rest. What was found not to suffice for some cells is not tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from reconciler.cover.bounds import find_kernel, lift_boxes
from reconciler.cover.grid import Block, Draft, make_draft, ones_of, reduce_problem
from reconciler.cover.problem import (
    Bits,
    CoverProblem,
    Ints,
    any_ones,
    count_ones,
    distinct_rows,
    find_ones,
    join_ranges,
    pack_bools,
    pack_cells,
    rows_with,
)
from reconciler.cover.trim import Pairs, Parts, dissolve_request, sorted_pairs
from reconciler.cover.uncapped import fill_boxes

OPTIONS = 250_000
"""Options a round of effort allows."""

STARTS = ((0.3, 0.8), (0.8, 0.8), (0.5, 0.5), (0.3, 0.5), (1.0, 0.6), (0.8, 1.0), (0.15, 0.8), (0.3, 0.3))
"""For each start how common a must or may, and a union of two sets, have to be, in full requests."""

_SET = 1_000
"""The work of a set of the dictionary, in options."""

# a union may itself be used together with a third set: each pass joins what the last one made
_UNIONS = 3
_PASSES = 2


def make_drafts(problem: CoverProblem, *, effort: int) -> Iterator[Draft]:
    """A plan for each start that the effort allows."""
    always = np.concatenate([group_twins(problem), find_roles(problem)])
    allowance = effort * OPTIONS
    for least, together in STARTS:
        if allowance <= 0:
            return
        sets = make_dictionary(problem, always, least * problem.max_contacts)
        options = list_options(problem, sets)
        allowance -= len(options.sets) + _SET * len(sets)
        sets, options, taken = _join_sets(problem, sets, options, together * problem.max_contacts)
        yield trim_draft(problem, sets, options, taken, stage="capped")


def make_dictionary(problem: CoverProblem, always: Bits, least: float) -> Bits:
    """The sets of rules 1 and 2 but for unions, where `least` contacts are many."""
    often = [find_common(problem, rows, least=least) for rows in (problem.must, problem.may)]
    return keep_new(problem, always[:0], np.concatenate([always, *often]))


def _join_sets(problem: CoverProblem, sets: Bits, options: Pairs, least: float) -> tuple[Bits, Pairs, Pairs]:
    """The dictionary with unions of sets that are used together, and the choice from it."""
    taken = choose_sets(problem, sets, options)
    for _ in range(_UNIONS):
        more = keep_new(problem, sets, find_unions(problem, sets, taken, least=least))
        if not len(more):
            break
        new = list_options(problem, more)
        options = sorted_pairs(
            np.concatenate([options.patterns, new.patterns]),
            np.concatenate([options.sets, new.sets + np.int32(len(sets))]),
        )
        sets = np.concatenate([sets, more])
        taken = choose_sets(problem, sets, options)
    return sets, options, taken


def trim_draft(problem: CoverProblem, sets: Bits, options: Pairs, taken: Pairs, *, stage: str) -> Draft:
    """The plan of a choice, with as many part-filled requests dissolved as can be."""
    parts = Parts(problem, sets, options, taken)
    for _ in range(_PASSES):
        over = parts.load % problem.max_contacts
        # the emptiest first: its few contacts find room in the others most easily
        turn = np.argsort(over, kind="stable")
        for number in turn[over[turn] > 0].tolist():
            # dissolving an earlier one may have filled this one, or emptied it
            if parts.load[number] % problem.max_contacts:
                dissolve_request(parts, number)
    return make_draft(problem, stage, make_blocks(parts))


def make_blocks(parts: Parts) -> Iterator[Block]:
    """A block for each set in use, with the contacts that its parts stand for."""
    order = np.argsort(parts.pattern, kind="stable")
    before = np.zeros(len(order), np.int64)
    before[order] = np.cumsum(parts.count[order]) - parts.count[order]
    for number in np.flatnonzero(parts.load).tolist():
        users = parts.users(number)
        yield Block(find_ones(parts.sets[number]), join_ranges(before[users], parts.count[users]))


_BLOCK = 1 << 19


def list_options(problem: CoverProblem, sets: Bits) -> Pairs:
    """Every pair of a pattern and a set that it may be sent and that holds a tag that it needs."""
    may, must = np.ascontiguousarray(problem.may.T), np.ascontiguousarray(problem.must.T)
    usage = np.array([np.count_nonzero(rows_with(problem.may, tag)) for tag in range(len(problem.tags))])
    # a set's users all hold its rarest tag: the fewest patterns to look at
    rarest = [int(tags[np.argmin(usage[tags])]) for tags in map(find_ones, sets)]
    holders = {tag: np.flatnonzero(rows_with(problem.may, tag)).astype(np.int32) for tag in set(rarest)}
    users = []
    for row, tag in zip(sets, rarest, strict=True):
        rows = holders[tag]
        for word in np.flatnonzero(row).tolist():
            rows = rows[may[word, rows] & row[word] == row[word]]
        needed = np.zeros(len(rows), np.bool_)
        for word in np.flatnonzero(row).tolist():
            needed |= must[word, rows] & row[word] != 0
        users.append(rows[needed])
    numbers = np.repeat(np.arange(len(sets), dtype=np.int32), [len(rows) for rows in users])
    return sorted_pairs(np.concatenate(users), numbers)


def choose_sets(problem: CoverProblem, sets: Bits, options: Pairs) -> Pairs:
    """The sets each pattern takes, by the greedy, from its options."""
    # between patterns, never within one: a pattern chooses from all of its options
    cuts = np.searchsorted(options.patterns, options.patterns[np.arange(0, len(options.patterns), _BLOCK)], side="left")
    blocks = [
        _choose_in_block(problem, sets, options.only(np.arange(top, bottom)))
        for top, bottom in zip(cuts, [*cuts[1:], len(options.patterns)], strict=True)
        if top < bottom
    ]
    patterns = np.concatenate([block.patterns for block in blocks])
    numbers = np.concatenate([block.sets for block in blocks])
    order = np.lexsort((numbers, patterns))
    return Pairs(patterns[order], numbers[order])


def _choose_in_block(problem: CoverProblem, sets: Bits, options: Pairs) -> Pairs:
    first = int(options.patterns[0])
    needed = problem.must[first : int(options.patterns[-1]) + 1].copy()
    taken_patterns, taken_sets = [], []
    while len(options.patterns):
        open_tags, offered = needed[options.patterns - first], sets[options.sets]
        gain = count_ones(open_tags & offered)
        # a set fits only where all of its tags that go once are still open (rule 4)
        usable = (gain > 0) & ~any_ones(offered & ~open_tags & problem.once)
        options, gain = options.only(np.flatnonzero(usable)), gain[usable]
        if not len(gain):
            break
        best = _best_options(options.patterns, gain)
        patterns, chosen = options.patterns[best], options.sets[best]
        needed[patterns - first] &= ~sets[chosen]
        taken_patterns.append(patterns)
        taken_sets.append(chosen)
        options = options.only(np.flatnonzero(any_ones(needed)[options.patterns - first]))
    return Pairs(np.concatenate(taken_patterns), np.concatenate(taken_sets))


def _best_options(patterns: Ints, score: Ints) -> Ints:
    """For each pattern the first of its highest scores; the patterns are sorted."""
    fresh = np.flatnonzero(np.concatenate([[True], patterns[1:] != patterns[:-1]]))
    lengths = np.diff(np.append(fresh, len(patterns)))
    highest = np.flatnonzero(score == np.repeat(np.maximum.reduceat(score, fresh), lengths))
    # of equal scores the first in the dictionary, so that the same demands give the same plan
    owners = patterns[highest]
    best: Ints = highest[np.concatenate([[True], owners[1:] != owners[:-1]])]
    return best


_ROLE_PATTERNS = 1_500
_ROLE_CELLS = 400_000
_MOST_TOGETHER = 12


def group_twins(problem: CoverProblem) -> Bits:
    """Tags that every pattern treats alike, as one set, or several where a request cannot hold them all."""
    groups: dict[bytes, list[int]] = {}
    for tag in range(len(problem.tags)):
        # hashed: the column of a tag has a bit for each of up to a million patterns
        cells = np.packbits([rows_with(problem.must, tag), rows_with(problem.may, tag)])
        groups.setdefault(blake2b(cells.tobytes()).digest(), []).append(tag)
    cap = problem.max_tags
    sets = [group[low : low + cap] for group in groups.values() for low in range(0, len(group), cap)]
    rows = np.repeat(np.arange(len(sets)), [len(group) for group in sets])
    return pack_cells(rows, np.concatenate(sets), shape=(len(sets), len(problem.tags)))


def find_roles(problem: CoverProblem) -> Bits:
    """The column sets of a cover of the commonest needs."""
    weighed, weight = _weigh_rows(problem.must, problem.counts)
    common = np.argsort(-weight, kind="stable")[:_ROLE_PATTERNS]
    # the cover below takes time by its cells: rare needs have no say in the roles
    common = common[np.cumsum(count_ones(weighed[common])) <= _ROLE_CELLS]
    must = weighed[common]
    start = np.arange(len(must) + 1)
    free = np.zeros_like(problem.once)
    # only which tags belong together is asked: one contact a row, nothing beyond its needs, all repeatable
    grid, classes = reduce_problem(replace(problem, contacts=(), start=start, must=must, may=must, once=free))
    core = find_kernel(grid)
    boxes = lift_boxes(grid, core, fill_boxes(grid, core.need_rows))
    cells = [np.isin(classes.column, list(ones_of(columns))) for _, columns in boxes]
    return pack_bools(np.array(cells, np.bool_).reshape(-1, len(problem.tags)))


def find_common(problem: CoverProblem, rows: Bits, *, least: float) -> Bits:
    """The sets that so many contacts have in common; `rows`: one set a pattern."""
    weighed, weight = _weigh_rows(rows, problem.counts)
    return weighed[weight >= least]


def find_unions(problem: CoverProblem, sets: Bits, taken: Pairs, *, least: float) -> Bits:
    """The unions of two sets that so many contacts take together."""
    keys, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for gap in range(1, _MOST_TOGETHER):
        # the sets of a pattern stand side by side: at this distance are two of one pattern
        both = np.flatnonzero(taken.patterns[gap:] == taken.patterns[:-gap])
        if not len(both):
            break
        keys.append(taken.sets[both] * len(sets) + taken.sets[both + gap])
        weights.append(problem.counts[taken.patterns[both]])
    pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
    frequent = pairs[np.bincount(place, np.concatenate(weights), len(pairs)) >= least]
    return sets[frequent // len(sets)] | sets[frequent % len(sets)]


def keep_new(problem: CoverProblem, sets: Bits, more: Bits) -> Bits:
    """Those of `more` that are new, each once, not empty, and no larger than a request may be."""
    every = np.concatenate([sets, more])
    first = np.sort(distinct_rows(every)[0])
    new = every[first[first >= len(sets)]]
    size = count_ones(new)
    return new[(size > 0) & (size <= problem.max_tags)]


def _weigh_rows(rows: Bits, counts: Ints) -> tuple[Bits, Ints]:
    """The distinct rows and the contacts of each."""
    first, kind = distinct_rows(rows)
    return rows[first], np.bincount(kind, counts, len(first)).astype(np.int64)


_TINY = 16
"""Cells, contacts × tags, up to which a problem is solved exactly."""


_TinyBox = tuple[int, int, int]
"""The cells of a request, its contacts, its tags: a mask each."""


def is_tiny(problem: CoverProblem) -> bool:
    """Whether every plan can be tried; with one contact or one tag the plain plans are the best."""
    sides = len(problem.contacts), len(problem.tags)
    return sides[0] * sides[1] <= _TINY and min(sides) > 1


def find_fewest(problem: CoverProblem, least: int, most: int) -> Draft | None:
    """A plan with the fewest requests, if it takes at least `least` and fewer than `most`."""
    tiny = _Tiny(problem)
    for requests in range(least, most):
        taken = tiny.find(tiny.needed, requests)
        if taken is not None:
            return make_draft(problem, "exact", map(_block_of, taken))
    return None


def _block_of(box: _TinyBox) -> Block:
    _, contacts, tags = box
    return Block(np.array(list(ones_of(tags)), np.int64), np.array(list(ones_of(contacts)), np.int64))


class _Tiny:
    """The requests that are allowed, as masks of cells, contacts and tags; the cell of a contact and a tag is a bit."""

    def __init__(self, problem: CoverProblem) -> None:
        width = len(problem.tags)
        musts, mays = (np.repeat(rows[:, 0], problem.counts).tolist() for rows in (problem.must, problem.may))
        self.needed = sum(must << width * contact for contact, must in enumerate(musts))
        self.once = sum(int(problem.once[0]) << width * contact for contact in range(len(musts)))
        allowed = sum(may << width * contact for contact, may in enumerate(mays))
        self.boxes = [
            (cells, contacts, tags)
            for contacts in range(1, 1 << len(musts))
            if contacts.bit_count() <= problem.max_contacts
            for tags in range(1, 1 << width)
            if tags.bit_count() <= problem.max_tags
            for cells in [tags * sum(1 << width * contact for contact in ones_of(contacts))]
            if not cells & ~allowed
        ]
        # the largest first: they leave least to those that follow
        self.boxes.sort(key=lambda box: -(box[0] & self.needed).bit_count())
        self.largest = max((cells & self.needed).bit_count() for cells, _, _ in self.boxes)
        # for cells that are left, how many requests are known not to suffice
        self.short: dict[int, int] = {}

    def find(self, left: int, requests: int) -> list[_TinyBox] | None:
        """So many requests, or fewer, for the cells that are left."""
        if not left:
            return []
        if left.bit_count() > requests * self.largest or self.short.get(left, 0) >= requests:
            return None
        # some request has to hold it: trying the others first would only repeat the same plans in another order
        first = left & -left
        for box in self.boxes:
            if box[0] & first and not box[0] & self.once & ~left:
                others = self.find(left & ~box[0], requests - 1)
                if others is not None:
                    return [box, *others]
        self.short[left] = requests
        return None
