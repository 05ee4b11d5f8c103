"""Contacts shared out to sets that make up what they need, where every pair is sent exactly once.

A set then fits a pattern as long as all of its tags are open there, so what it gains is its size: the greedy of
`capped` takes the sets in one order for all patterns, and goes set by set, each over the patterns that hold its
rarest tag. No list of options is needed, and contacts that are sent the same sets are alike to every move.

Rules
1. Contacts leave a set whose last request is to be saved for others that make up the same tags; or, together with
   another set that they are sent, for those that make up the union of both.
2. A set that is joined has as many free places as its last request; they cost nothing.
3. All contacts of the last request move, or none. A pattern of which a part moves is split.
4. A new request for the union of two sets is made where it saves one of each. Free places of unions that are left are
   taken by contacts that are sent both: that saves nothing by itself, and leaves smaller last requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from reconciler.cover.grid import Block, Draft, Holders, make_draft
from reconciler.cover.problem import (
    Bits,
    Bools,
    CoverProblem,
    Ints,
    count_ones,
    distinct_values,
    find_ones,
    join_ranges,
    row_mask,
)

_QUICK = 8
"""How much less the choice takes for a row than a move."""
_ASIDE = 1_000
"""What a set takes to be looked at, in rows."""
_MOST_TOGETHER = 12

_PARTNERS = 12
"""Sets that the contacts of a request are most often sent besides; moves with each of them are tried."""

_SPARE = 4
"""Places that parts are given more of at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class _Move:
    """So many contacts of each part leave the set, and the partner (-1: none), for the joined ones."""

    parts: Ints
    amount: Ints
    partner: int
    joined: tuple[int, ...]


class Shares:
    """Patterns cut into parts, and the sets that each part is sent."""

    def __init__(self, problem: CoverProblem, sets: Bits, holders: Holders, *, work: int = 0) -> None:
        self.problem, self.sets = problem, sets
        # of each part
        self.pattern, self.count = np.arange(len(problem.must)), problem.counts.copy()
        # parts × places, -1 for none
        self.picked = np.full((len(problem.must), 4), -1, np.int32)
        # parts of each set
        self.users: list[Ints] = []
        # contacts of each set
        self.load = np.zeros(len(sets), np.int64)
        self.masks = list(map(row_mask, sets))
        self.number = {mask: number for number, mask in enumerate(self.masks)}
        # rows and sets looked at
        self.work = work
        self._choose(holders)

    def _choose(self, holders: Holders) -> None:
        """The greedy: the largest set first, of as large ones the first."""
        open_tags = self.problem.must.T.copy(order="C")
        self.users = [np.zeros(0, np.int32)] * len(self.sets)
        for number in np.argsort(-count_ones(self.sets), kind="stable").tolist():
            row, users = self.sets[number], holders.of(self.sets[number])
            self.work += len(users) // _QUICK
            words = np.flatnonzero(row).tolist()
            for word in words:
                users = users[open_tags[word, users] & row[word] == row[word]]
            # all of these are open there, so that they are struck off
            for word in words:
                open_tags[word, users] ^= row[word]
            self._give(users, number)
            self.users[number] = users
            self.load[number] = self.count[users].sum()

    def _give(self, parts: Ints, number: int) -> None:
        """Puts the set into a place of each part, with some places more where one has none left."""
        if (self.picked[parts, -1] >= 0).any():
            self.picked = np.pad(self.picked, ((0, 0), (0, _SPARE)), constant_values=-1)
        self.picked[parts, np.argmax(self.picked[parts] < 0, axis=1)] = number

    @property
    def cost(self) -> int:
        sizes = -(-count_ones(self.sets) // self.problem.max_tags)
        return int((-(-self.load // self.problem.max_contacts) * sizes).sum())

    def draft(self) -> Draft:
        """The plan, with a block for each set in use."""
        order = np.argsort(self.pattern, kind="stable")
        before = np.zeros(len(order), np.int64)
        before[order] = np.cumsum(self.count[order]) - self.count[order]
        blocks = (
            Block(find_ones(self.sets[number]), join_ranges(before[users], self.count[users]))
            for number in np.flatnonzero(self.load).tolist()
            for users in [np.sort(self.users[number])]
        )
        return make_draft(self.problem, "capped", blocks)

    def unions(self, least: float) -> Bits:
        """The unions of two sets that so many contacts are sent together."""
        keys, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        places = min(_MOST_TOGETHER, self.picked.shape[1])
        for first, second in combinations(range(places), 2):
            both = np.flatnonzero(self.picked[:, second] >= 0)
            keys.append(self.picked[both, first].astype(np.int64) * len(self.sets) + self.picked[both, second])
            weights.append(self.count[both])
        pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
        frequent = pairs[np.bincount(place, np.concatenate(weights), len(pairs)) >= least]
        return self.sets[frequent // len(self.sets)] | self.sets[frequent % len(self.sets)]

    def partners(self, number: int) -> list[int]:
        """The sets that the contacts of a set are most often sent besides."""
        return _most_frequent(self._together(number))

    def _together(self, number: int) -> Ints:
        """How many contacts of a set are sent each other one besides."""
        users = self.users[number]
        sent = self.picked[users]
        weights = np.repeat(self.count[users], sent.shape[1])
        together = np.bincount(sent.ravel() + 1, weights, len(self.sets) + 1).astype(np.int64)
        # the first place counts places that are free, and a set is no partner of its own
        together[number + 1] = 0
        return together[1:]

    def settle(self) -> None:
        """Moves contacts until it hardly saves a request."""
        self._trim()
        self._squeeze()
        self._trim()

    def _trim(self) -> None:
        """Saves the last requests of sets, those with the fewest contacts first."""
        cap = self.problem.max_contacts
        over = self.load % cap
        turn = np.argsort(over, kind="stable")
        for number in turn[over[turn] > 0].tolist():
            if self.load[number] % cap:
                self._dissolve(number)

    def _squeeze(self) -> None:
        """Contacts that are sent two sets take a free place of their union instead."""
        for number in np.argsort(-count_ones(self.sets), kind="stable").tolist():
            room = int(-self.load[number] % self.problem.max_contacts)
            # whatever place is left, a contact may always leave a set
            everywhere = np.arange(len(self.sets)) != number
            (inside,) = self._inside(self.sets[[number]])
            for first, *others in self._splits(self.masks[number], inside, everywhere, number) if room else ():
                for second in others:
                    parts = np.intersect1d(self.users[first], self.users[second], assume_unique=True)
                    move = _take_first(parts, self.count[parts], room, second, (number,))
                    room -= int(move.amount.sum())
                    self._apply(first, move)

    def _dissolve(self, number: int) -> None:
        """Moves the contacts of the last request of a set elsewhere, if all of them find places."""
        cap = self.problem.max_contacts
        wanted, free = int(self.load[number] % cap), -self.load % cap
        free[number] = 0
        users = self.users[number]
        left = self.count[users]
        self.work += self.picked.shape[1] * len(users) + len(self.sets) + _ASIDE
        moves: list[_Move] = []
        together = self._together(number)
        # every contact that leaves needs a place
        for able, partner, joined in self._ways(number, free, together) if int(free.sum()) >= wanted else ():
            room = min(wanted, *(int(free[place]) for place in joined))
            move = _take_first(able, left[able], room, partner, joined)
            left[move.parts] -= move.amount
            total = int(move.amount.sum())
            for place in joined:
                free[place] -= total
            wanted -= total
            moves.append(move)
            if wanted <= 0:
                for kept in moves:
                    self._apply(number, replace(kept, parts=users[kept.parts]))
                return
        self._unite(number, together)

    def _ways(self, number: int, free: Ints, together: Ints) -> Iterator[tuple[Ints, int, tuple[int, ...]]]:
        """Ways to leave a set: which of its users can, with which partner (-1: none), and what they join."""
        rows, partners = self.picked[self.users[number]], [number, *_most_frequent(together)]
        # of all partners at once: each call of numpy takes longer than what it does for one
        for partner, inside in zip(partners, self._inside(self.sets[partners] | self.sets[number]), strict=True):
            splits = list(self._splits(self.masks[number] | self.masks[partner], inside, free > 0, number))
            able = np.flatnonzero((rows == partner).any(axis=1)) if splits else rows
            yield from ((able, -1 if partner == number else partner, joined) for joined in splits)

    def _unite(self, number: int, together: Ints) -> None:
        """Makes a request for the union of the set and a partner, if it saves one of each."""
        over = self.load % self.problem.max_contacts
        enough = np.flatnonzero((together >= np.maximum(over, over[number])) & (over > 0))
        size = count_ones(self.sets[enough] | self.sets[number])
        for partner in enough[size <= self.problem.max_tags][:1].tolist():
            union = self._number_of(self.sets[number] | self.sets[partner])
            parts = np.intersect1d(self.users[number], self.users[partner], assume_unique=True)
            room = int(over[[number, partner]].max())
            self._apply(number, _take_first(parts, self.count[parts], room, partner, (union,)))

    def _number_of(self, row: Bits) -> int:
        """The number of a set, which is added where it is new."""
        mask = row_mask(row)
        if mask not in self.number:
            self.number[mask] = len(self.sets)
            self.masks.append(mask)
            self.sets = np.concatenate([self.sets, row[None]])
            self.load = np.append(self.load, 0)
            self.users.append(np.zeros(0, np.int64))
        return self.number[mask]

    def _inside(self, targets: Bits) -> list[Ints]:
        """For each target the sets that have no tag besides its own."""
        inside = np.ones((len(targets), len(self.sets)), np.bool_)
        for held, outside in zip(self.sets.T, ~targets.T, strict=True):
            inside &= held & outside[:, None] == 0
        return [row.nonzero()[0] for row in inside]

    def _splits(self, wanted: int, inside: Ints, usable: Bools, number: int) -> Iterator[tuple[int, ...]]:
        """The usable sets that make up the tags: one, then two of those inside. `number`: a set that is not usable."""
        whole = self.number.get(wanted, number)
        if usable[whole]:
            yield (whole,)
        for first in inside[usable[inside]].tolist():
            second = self.number.get(wanted ^ self.masks[first], number)
            # each pair once
            if second > first and usable[second]:
                yield (first, second)

    def _apply(self, number: int, move: _Move) -> None:
        parts, total = self._split(move), int(move.amount.sum())
        for leaving in (number, move.partner):
            if leaving >= 0:
                self.picked[parts] = np.where(self.picked[parts] == leaving, -1, self.picked[parts])
                self.users[leaving] = np.setdiff1d(self.users[leaving], parts, assume_unique=True)
                self.load[leaving] -= total
        for joined in move.joined:
            self._give(parts, joined)
            self.users[joined] = distinct_values(np.concatenate([self.users[joined], parts]))
            self.load[joined] += total

    def _split(self, move: _Move) -> Ints:
        """The parts that move: those that move whole, and new ones for those that do not."""
        partly = np.flatnonzero(move.amount < self.count[move.parts])
        if not len(partly):
            return move.parts
        old = move.parts[partly]
        fresh = len(self.count) + np.arange(len(old))
        # what stays keeps its number, so that moves planned before still hold
        self.count[old] -= move.amount[partly]
        self.pattern = np.concatenate([self.pattern, self.pattern[old]])
        self.count = np.concatenate([self.count, move.amount[partly]])
        self.picked = np.concatenate([self.picked, self.picked[old]])
        for sent in distinct_values(self.picked[old][self.picked[old] >= 0]).tolist():
            alike = fresh[(self.picked[old] == sent).any(axis=1)]
            self.users[sent] = np.concatenate([self.users[sent], alike])
        moved = move.parts.copy()
        moved[partly] = fresh
        return moved


def _most_frequent(together: Ints) -> list[int]:
    """The sets that most contacts are sent, as far as any are."""
    likely = np.argsort(-together, kind="stable")[:_PARTNERS]
    return [int(partner) for partner in likely[together[likely] > 0]]


def _take_first(parts: Ints, count: Ints, room: int, partner: int, joined: tuple[int, ...]) -> _Move:
    """The move of the first parts that find room, the last of them perhaps not whole."""
    ends = count.cumsum()
    amount = count[: int(ends.searchsorted(room)) + 1].copy()
    if len(amount):
        amount[-1] -= max(0, int(ends[len(amount) - 1]) - room)
    moving = amount.nonzero()[0]
    return _Move(parts[moving], amount[moving], partner, joined)
