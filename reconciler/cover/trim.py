"""Takes part-filled requests out of a capped plan, by moving their contacts into the free places of others.

Rules
1. A set with load n takes ceil(n / K) requests, so it has (-n) mod K free places; those cost nothing to use.
2. A request of a set is dissolved when as many of its contacts as do not fill a whole one can be served by the free
   places of other sets: by one other set each where there is one, else by two. All of them move, or none.
3. A pattern of which only a part moves is split; the parts are patterns of their own from then on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reconciler.cover.problem import Bits, Bools, CoverProblem, Ints, any_ones, count_ones, distinct_values, join_ranges


class Parts:
    """Patterns cut into parts."""

    def __init__(self, problem: CoverProblem, sets: Bits, options: Pairs, taken: Pairs) -> None:
        self.problem = problem
        self.sets = sets
        self.options = options.sets
        rows = len(problem.must)
        self.first = np.searchsorted(options.patterns, np.arange(rows + 1))
        # of each part
        self.pattern = np.arange(rows)
        self.count = problem.counts.copy()
        starts = np.searchsorted(taken.patterns, np.arange(rows + 1))
        most = int(np.diff(starts).max())
        # parts × places: the sets that a part is sent, -1 for none; two places are spare for moves
        self.picked = np.full((rows, most + 2), -1, np.int64)
        self.picked[taken.patterns, np.arange(len(taken.sets)) - starts[taken.patterns]] = taken.sets
        by_set = np.argsort(taken.sets, kind="stable")
        cuts = np.searchsorted(taken.sets[by_set], np.arange(1, len(sets)))
        self.seen = np.split(taken.patterns[by_set], cuts)
        self.load = np.bincount(taken.sets, problem.counts[taken.patterns], len(sets)).astype(np.int64)

    @property
    def free(self) -> Ints:
        return -self.load % self.problem.max_contacts

    def users(self, number: int) -> Ints:
        """The parts that are sent a set; `seen` also holds those that once were."""
        seen = distinct_values(self.seen[number])
        users: Ints = seen[(self.picked[seen] == number).any(axis=1)]
        return users

    def needs(self, users: Ints, number: int) -> Bits:
        """The tags that the users of a set need it for: those that none of their other sets holds."""
        needed = self.problem.must[self.pattern[users]].copy()
        for picked in self.picked[users].T:
            # most places are free: a look at them alone takes longer than the others
            others = ((picked >= 0) & (picked != number)).nonzero()[0]
            needed[others] &= ~self.sets[picked[others]]
        return needed


def dissolve_request(parts: Parts, number: int) -> bool:
    """Saves the last request of a set if its contacts find free places; says whether it did."""
    wanted = int(parts.load[number] % parts.problem.max_contacts)
    users = parts.users(number)
    needs = parts.needs(users, number)
    free = parts.free
    free[number] = 0
    # planned first and made last: all of the contacts move, or none (rule 2)
    moves: list[tuple[Ints, Ints, Ints]] = []
    # these users have each tag from another set, too: they leave without needing a place
    idle = ~any_ones(needs)
    if idle.any():
        moves.append((users[idle], np.full((int(idle.sum()), 2), -1), parts.count[users[idle]]))
        wanted -= int(parts.count[users[idle]].sum())
    users, needs = users[~idle], needs[~idle]
    if wanted > 0 and len(users):
        # listed once: what a step leaves over is a part of it, as places only become fewer
        entries = _list_entries(parts, users, needs, free)
        waiting = np.ones(len(users), np.bool_)
        # twice each: users that found their set full the first time may fit into another one
        for steps in (_serve_by_one, _serve_by_one, _serve_by_two, _serve_by_two):
            entries = entries.only(waiting[entries.owner] & (free[entries.sets] > 0))
            if wanted <= 0 or not len(entries.owner):
                break
            who, sets = steps(parts, needs, free, entries)
            if not len(who):
                continue
            amount = _admit_users(parts.count[users[who]], sets, free, wanted)
            served = amount > 0
            who, sets, amount = who[served], sets[served], amount[served]
            moves.append((users[who], sets, amount))
            wanted -= int(amount.sum())
            waiting[who] = False
    if wanted > 0:
        return False
    for who, sets, amount in moves:
        _move_users(parts, number, who, sets, amount)
    return True


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """Sets with free places that users could take instead, by user."""

    owner: Ints
    """The user's number, ascending."""
    sets: Ints
    gain: Ints
    """How many tags of the need the set holds; `serves`: whether it holds them all."""
    serves: Bools

    def only(self, keep: Bools) -> _Entries:
        return _Entries(self.owner[keep], self.sets[keep], self.gain[keep], self.serves[keep])


def _list_entries(parts: Parts, users: Ints, needs: Bits, free: Ints) -> _Entries:
    """Every user with every set with free places that it could take instead."""
    pattern = parts.pattern[users]
    first, last = parts.first[pattern], parts.first[pattern + 1]
    owner = np.repeat(np.arange(len(users)), last - first)
    sets = parts.options[join_ranges(first, last - first)]
    keep = free[sets] > 0
    owner, sets = owner[keep], sets[keep]
    need, offered = needs[owner], parts.sets[sets]
    gain = count_ones(need & offered)
    keep = gain > 0
    if parts.problem.once.any():
        keep &= ~any_ones(offered & ~need & parts.problem.once)
    return _Entries(owner[keep], sets[keep], gain[keep], (gain == count_ones(needs)[owner])[keep])


def _serve_by_one(_parts: Parts, _needs: Bits, free: Ints, entries: _Entries) -> tuple[Ints, Ints]:
    """Users that one other set serves, and that set: the one with most free places."""
    owner, sets = entries.owner[entries.serves], entries.sets[entries.serves]
    best = _first_best(owner, free[sets])
    return owner[best], np.stack([sets[best], np.full(len(best), -1)], axis=1)


def _serve_by_two(parts: Parts, needs: Bits, free: Ints, entries: _Entries) -> tuple[Ints, Ints]:
    """Users that two other sets serve: the one that holds most of the need, and one that holds the rest."""
    owner, sets = entries.owner, entries.sets
    best = _first_best(owner, entries.gain)
    chosen = np.zeros(len(needs), np.int64)
    chosen[owner[best]] = sets[best]
    needed = needs & ~parts.sets[chosen]
    # of a smaller need less may be sent again: a set that serves it is among those that could take a part of the whole
    need, offered = needed[owner], parts.sets[sets]
    enough = any_ones(need) & ~any_ones(need & ~offered)
    if parts.problem.once.any():
        enough &= ~any_ones(offered & ~need & parts.problem.once)
    owner, sets = owner[enough], sets[enough]
    best = _first_best(owner, free[sets])
    return owner[best], np.stack([chosen[owner[best]], sets[best]], axis=1)


def _first_best(owner: Ints, score: Ints) -> Ints:
    """For each owner (sorted) where its first highest score is."""
    if not len(owner):
        return owner
    order = np.lexsort((-score, owner))
    places: Ints = order[np.concatenate([[True], owner[order][1:] != owner[order][:-1]])]
    return places


def _admit_users(count: Ints, sets: Ints, free: Ints, wanted: int) -> Ints:
    """How many of each user's contacts find places: in turn, as long as all their sets have some, `wanted` in all."""
    amount = np.zeros(len(count), np.int64)
    for user, (size, first, second) in enumerate(zip(count.tolist(), *sets.T.tolist(), strict=True)):
        room = min(size, wanted, int(free[first]), size if second < 0 else int(free[second]))
        if room > 0:
            amount[user] = room
            free[first] -= room
            if second >= 0:
                free[second] -= room
            wanted -= room
    return amount


def _move_users(parts: Parts, number: int, who: Ints, sets: Ints, amount: Ints) -> None:
    """Sends so many contacts of each part the given sets (-1: none) instead of the numbered one."""
    who = _split_parts(parts, who, amount)
    rows = parts.picked[who]
    rows[rows == number] = -1
    parts.load[number] -= amount.sum()
    for place in (0, 1):
        taking = np.flatnonzero(sets[:, place] >= 0)
        empty = np.argmax(rows[taking] < 0, axis=1)
        rows[taking, empty] = sets[taking, place]
        np.add.at(parts.load, sets[taking, place], amount[taking])
        _note_users(parts, who[taking], sets[taking, place])
    parts.picked[who] = rows
    if (rows >= 0).sum(axis=1).max() > rows.shape[1] - 2:
        parts.picked = np.pad(parts.picked, ((0, 0), (0, 2)), constant_values=-1)


def _split_parts(parts: Parts, who: Ints, amount: Ints) -> Ints:
    """The parts to move: those that move whole, and new ones for those that do not."""
    partly = np.flatnonzero(amount < parts.count[who])
    if not len(partly):
        return who
    old = who[partly]
    parts.count[old] -= amount[partly]
    fresh = len(parts.count) + np.arange(len(old))
    parts.pattern = np.concatenate([parts.pattern, parts.pattern[old]])
    parts.count = np.concatenate([parts.count, amount[partly]])
    parts.picked = np.concatenate([parts.picked, parts.picked[old]])
    for place in range(parts.picked.shape[1]):
        held = parts.picked[old, place] >= 0
        _note_users(parts, fresh[held], parts.picked[old[held], place])
    moved = who.copy()
    moved[partly] = fresh
    return moved


def _note_users(parts: Parts, who: Ints, sets: Ints) -> None:
    for number in distinct_values(sets).tolist():
        parts.seen[number] = np.concatenate([parts.seen[number], who[sets == number]])


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
