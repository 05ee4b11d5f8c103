"""Plans without caps while they are made, and the problem behind them as a grid of bit masks in Python integers.

Rules
1. Patterns that may be sent the same are one row, which needs what any of them needs; unless some of it may be sent
   once only, since then it matters to each which tags go with it: those have to need the same, too.
2. Tags that may be sent to the same are one column, needed where any of them is; it is a tag that is not repeatable
   if any of them is.
3. Row masks hold columns, column masks hold rows. All work is on whole rows and columns.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from reconciler.core.model.batch import Batch
from reconciler.core.model.outcome import Action
from reconciler.cover.problem import (
    Bits,
    CoverProblem,
    Ints,
    any_ones,
    count_ones,
    count_words,
    distinct_rows,
    find_ones,
    join_ranges,
    little_endian,
    pack_bools,
    rows_with,
    unpack_cells,
)

Box = tuple[int, int]
"""A rectangle: mask of rows, mask of columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Masks by row and by column of the needed and the allowed cells."""

    need_rows: tuple[int, ...]
    need_columns: tuple[int, ...]
    allow_rows: tuple[int, ...]
    allow_columns: tuple[int, ...]
    once: int
    """The columns that are not repeatable."""


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """Which row a pattern went into, which column a tag."""

    row: Ints
    column: Ints


def ones_of(mask: int) -> Iterator[int]:
    """The places of the ones of a mask, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def mask_of(places: Iterable[int]) -> int:
    """The mask with ones at the given places."""
    mask = 0
    for place in places:
        mask |= 1 << place
    return mask


def reduce_problem(problem: CoverProblem) -> tuple[Grid, Classes]:
    """The grid of a problem, and where its patterns and tags are in it."""
    width = len(problem.tags)
    # rule 1: where a tag may be sent once only, patterns of one row have to need the same
    strict = np.where(any_ones(problem.may & problem.once)[:, None], problem.must, np.uint64(0))
    first, row = distinct_rows(np.concatenate([problem.may, strict], axis=1))
    rows = len(first)
    need = np.zeros((rows, width), np.bool_)
    np.logical_or.at(need, row, unpack_cells(problem.must, width))
    allow = unpack_cells(problem.may[first], width)
    first_column, column = distinct_rows(pack_bools(allow.T))
    needed = np.zeros((len(first_column), rows), np.bool_)
    np.logical_or.at(needed, column, need.T)
    once = np.zeros(len(first_column), np.bool_)
    np.logical_or.at(once, column, unpack_cells(problem.once[None], width)[0])
    allowed = allow[:, first_column]
    # in a column that is not repeatable every allowed cell is a needed one (may is must)
    needed |= once[:, None] & allowed.T
    grid = Grid(
        need_rows=_masks_of(pack_bools(needed.T)),
        need_columns=_masks_of(pack_bools(needed)),
        allow_rows=_masks_of(pack_bools(allowed)),
        allow_columns=_masks_of(pack_bools(allowed.T)),
        once=mask_of(np.flatnonzero(once).tolist()),
    )
    return grid, Classes(row, column)


def _masks_of(packed: Bits) -> tuple[int, ...]:
    """The rows as Python integers."""
    return tuple(int.from_bytes(row.tobytes(), "little") for row in little_endian(packed))


def expand_boxes(problem: CoverProblem, classes: Classes, boxes: Iterable[Box]) -> tuple[Block, ...]:
    """The blocks of contacts and tags that the boxes stand for, without the tags that none of their members needs."""
    by_row, by_column = _members_by_class(classes.row), [mask_of(group) for group in _members_by_class(classes.column)]
    musts = _masks_of(problem.must)
    masks: list[int] = []
    users: list[list[int]] = [[] for _ in musts]
    for number, (rows, columns) in enumerate(boxes):
        masks.append(union_of(by_column[column] for column in ones_of(columns)))
        for pattern in (pattern for row in ones_of(rows) for pattern in by_row[row]):
            users[pattern].append(number)
    kept: list[list[int]] = [[] for _ in masks]
    for pattern, numbers in enumerate(users):
        for number in _needed_boxes(musts[pattern], numbers, masks):
            kept[number].append(pattern)
    return tuple(
        _make_block(problem, mask & union_of(musts[pattern] for pattern in patterns), patterns)
        for mask, patterns in zip(masks, kept, strict=True)
        if patterns
    )


def union_of(masks: Iterable[int]) -> int:
    """The ones of any of the masks."""
    return functools.reduce(operator.or_, masks, 0)


def intersection_of(masks: Iterable[int]) -> int:
    """The ones of all of the masks, of which there is at least one."""
    return functools.reduce(operator.and_, masks)


def _members_by_class(kind: Ints) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(int(kind.max()) + 1)]
    for member, number in enumerate(kind.tolist()):
        groups[number].append(member)
    return groups


def _needed_boxes(must: int, numbers: list[int], masks: list[int]) -> list[int]:
    """The boxes that a pattern cannot do without, when the smallest are given up first."""
    kept = sorted(numbers, key=lambda number: ((masks[number] & must).bit_count(), number))
    for number in tuple(kept):
        covered = union_of(masks[box] for box in kept if box != number)
        if not must & ~covered:
            kept.remove(number)
    return kept


def _make_block(problem: CoverProblem, mask: int, patterns: list[int]) -> Block:
    rows = np.array(patterns, np.int64)
    packed = np.frombuffer(mask.to_bytes(8 * count_words(len(problem.tags)), "little"), "<u8")
    return Block(find_ones(packed), join_ranges(problem.start[rows], problem.counts[rows]))


IN_FLIGHT = 20
"""Requests at a time that keep a rate limit of ten a second busy where each takes two seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Every one of `tags` for every one of `contacts` (numbers in the problem), of any size."""

    tags: Ints
    contacts: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A plan that a stage made."""

    stage: str
    blocks: tuple[Block, ...]
    cost: int
    """The requests of the plan once it is cut to the caps."""
    depth: int
    """The most requests that a single contact is in, which have to go one after the other."""

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller is better: the requests, then how far they are from keeping `IN_FLIGHT` of them in flight."""
        return self.cost, -min(IN_FLIGHT, self.cost // max(1, self.depth))


def make_draft(problem: CoverProblem, stage: str, blocks: Iterable[Block]) -> Draft:
    """A draft with its cost and depth."""
    made = tuple(blocks)
    cost = sum(problem.cost(len(block.contacts), len(block.tags)) for block in made)
    requests = np.zeros(len(problem.contacts), np.int64)
    for block in made:
        requests[block.contacts] += -(-len(block.tags) // problem.max_tags)
    return Draft(stage, made, cost, int(requests.max(initial=0)))


class Holders:
    """Which patterns hold each tag."""

    def __init__(self, problem: CoverProblem) -> None:
        tags = range(len(problem.tags))
        self.patterns = [np.flatnonzero(rows_with(problem.must, tag)).astype(np.int32) for tag in tags]
        self.usage = np.array([len(patterns) for patterns in self.patterns])

    def of(self, row: Bits) -> Ints:
        """The patterns that hold the rarest tag of a set."""
        tags = find_ones(row)
        return self.patterns[int(tags[np.argmin(self.usage[tags])])]


def one_per_delta(problem: CoverProblem) -> Draft:
    """The contacts that need the same, together."""
    first, kind = distinct_rows(problem.must)
    contacts = join_ranges(problem.start[:-1], problem.counts)
    owner = np.repeat(kind, problem.counts)
    order = np.argsort(owner, kind="stable")
    cuts = np.flatnonzero(np.diff(owner[order])) + 1
    groups = np.split(contacts[order], cuts)
    return make_draft(
        problem,
        "one per delta",
        (Block(find_ones(row), group) for row, group in zip(problem.must[first], groups, strict=True)),
    )


def cost_per_delta(problem: CoverProblem) -> int:
    """The requests of `one_per_delta`, without making it."""
    first, kind = distinct_rows(problem.must)
    contacts = np.bincount(kind, problem.counts, len(first)).astype(np.int64)
    return int((-(-contacts // problem.max_contacts) * -(-count_ones(problem.must[first]) // problem.max_tags)).sum())


def cost_per_tag(problem: CoverProblem) -> int:
    """The requests of `one_per_tag`, without making it."""
    needed = (int(problem.counts[rows_with(problem.must, tag)].sum()) for tag in range(len(problem.tags)))
    return sum(problem.cost(count, 1) for count in needed)


def one_per_tag(problem: CoverProblem) -> Draft:
    """The contacts that need a tag, for each tag."""
    blocks = []
    for tag in range(len(problem.tags)):
        rows = np.flatnonzero(rows_with(problem.must, tag))
        blocks.append(Block(np.array([tag]), join_ranges(problem.start[rows], problem.counts[rows])))
    return make_draft(problem, "one per tag", blocks)


def make_naive_draft(problem: CoverProblem) -> Draft:
    """The better of the two plans that need no search."""
    if cost_per_tag(problem) < cost_per_delta(problem):
        return one_per_tag(problem)
    return one_per_delta(problem)


def emit_batches(action: Action, problem: CoverProblem, plan: Draft) -> tuple[Batch, ...]:
    """The plan's rectangles as batches, cut to the caps and sorted."""
    batches: list[Batch] = []
    for block in plan.blocks:
        tags = sorted(problem.tags[tag] for tag in block.tags.tolist())
        contacts = sorted(map(problem.contacts.__getitem__, block.contacts.tolist()))
        batches += [
            Batch(action, tuple(contacts[top : top + problem.max_contacts]), tuple(tags[low : low + problem.max_tags]))
            for top in range(0, len(contacts), problem.max_contacts)
            for low in range(0, len(tags), problem.max_tags)
        ]
    return tuple(sorted(batches, key=operator.attrgetter("tags", "contacts")))
