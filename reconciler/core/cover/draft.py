"""Plans while they are made: blocks of contacts × tags without caps, and the plans that need no search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reconciler.core.cover.bits import Ints, column, distinct_rows, members, ranges, sizes
from reconciler.core.cover.model import Rectangle
from reconciler.core.cover.problem import CoverProblem

IN_FLIGHT = 20
"""Requests at a time that keep a rate limit of ten a second busy where each takes two seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Every one of `tags` for every one of `contacts` (numbers in the problem), of any size."""

    tags: Ints
    contacts: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A plan that a stage made. `cost`: its requests once cut to the caps. `depth`: the most requests that a single
    contact is in, which have to go one after the other."""

    stage: str
    blocks: tuple[Block, ...]
    cost: int
    depth: int

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller is better: the requests, then how far they are from keeping `IN_FLIGHT` of them in flight."""
        return self.cost, -min(IN_FLIGHT, self.cost // max(1, self.depth))


def draft(problem: CoverProblem, stage: str, blocks: Iterable[Block]) -> Draft:
    """A draft with its cost and depth."""
    made = tuple(blocks)
    cost = sum(problem.cost(len(block.contacts), len(block.tags)) for block in made)
    requests = np.zeros(len(problem.contacts), np.int64)
    for block in made:
        requests[block.contacts] += -(-len(block.tags) // problem.max_tags)
    return Draft(stage, made, cost, int(requests.max(initial=0)))


def one_per_delta(problem: CoverProblem) -> Draft:
    """The contacts that need the same, together."""
    first, kind = distinct_rows(problem.must)
    contacts = ranges(problem.start[:-1], problem.counts)
    owner = np.repeat(kind, problem.counts)
    order = np.argsort(owner, kind="stable")
    cuts = np.flatnonzero(np.diff(owner[order])) + 1
    groups = np.split(contacts[order], cuts)
    return draft(
        problem,
        "one per delta",
        (Block(members(row), group) for row, group in zip(problem.must[first], groups, strict=True)),
    )


def cost_per_delta(problem: CoverProblem) -> int:
    """The requests of `one_per_delta`, without making it."""
    first, kind = distinct_rows(problem.must)
    contacts = np.bincount(kind, problem.counts, len(first)).astype(np.int64)
    return int((-(-contacts // problem.max_contacts) * -(-sizes(problem.must[first]) // problem.max_tags)).sum())


def cost_per_tag(problem: CoverProblem) -> int:
    """The requests of `one_per_tag`, without making it."""
    needed = (int(problem.counts[column(problem.must, tag)].sum()) for tag in range(len(problem.tags)))
    return sum(problem.cost(count, 1) for count in needed)


def one_per_tag(problem: CoverProblem) -> Draft:
    """The contacts that need a tag, for each tag."""
    blocks = []
    for tag in range(len(problem.tags)):
        rows = np.flatnonzero(column(problem.must, tag))
        blocks.append(Block(np.array([tag]), ranges(problem.start[rows], problem.counts[rows])))
    return draft(problem, "one per tag", blocks)


def naive(problem: CoverProblem) -> Draft:
    """The better of the two plans that need no search."""
    if cost_per_tag(problem) < cost_per_delta(problem):
        return one_per_tag(problem)
    return one_per_delta(problem)


def emit(problem: CoverProblem, plan: Draft) -> tuple[Rectangle, ...]:
    """The plan's rectangles, cut to the caps and sorted."""
    found: list[Rectangle] = []
    for block in plan.blocks:
        tags = sorted(problem.tags[tag] for tag in block.tags.tolist())
        contacts = sorted(problem.contacts[contact] for contact in block.contacts.tolist())
        found += [
            Rectangle(tuple(tags[left : left + problem.max_tags]), tuple(contacts[top : top + problem.max_contacts]))
            for top in range(0, len(contacts), problem.max_contacts)
            for left in range(0, len(tags), problem.max_tags)
        ]
    return tuple(sorted(found))
