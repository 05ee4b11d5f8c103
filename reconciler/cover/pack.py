"""The plan for needs that leave much room: one request a contact, filled like a truck.

Where a contact may be sent far more than it needs, as when tags are removed that it does not carry anyway, contacts
that need different things fit into one request, and nearly each of them needs one request only.

Rules
1. Contacts that need the same fill whole requests first, those with least room before the others.
2. The remaining contacts are packed a request at a time: a seed, then the need that lets the most contacts in, until it
   is full.
3. A request takes the contacts with least room; the others find another one. In the end part-filled requests are
   dissolved, as in every plan under caps.
4. Work is counted in rows looked at; where the allowance ends, there is no plan of this kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reconciler.cover.capped import group_twins, keep_new, list_options, trim_draft
from reconciler.cover.grid import Draft
from reconciler.cover.problem import Bits, Bools, CoverProblem, Ints, any_ones, count_ones, distinct_rows
from reconciler.cover.trim import Pairs

_ROOM = 4
"""How many times their needs contacts have to be allowed, for packing to be worth a try."""

_TRIED = 24
"""Needs that are tried for each step of a request."""

_ROWS = 25_000_000
"""Rows that a round of effort may look at."""


@dataclass(frozen=True, slots=True, eq=False)
class _Taken:
    """So many contacts of a pattern in the request with this number."""

    pattern: Ints
    request: Ints
    count: Ints


def make_drafts(problem: CoverProblem, *, effort: int) -> Iterator[Draft]:
    """The plan, where there is room for one and effort to make it."""
    needed, allowed = (int((count_ones(rows) * problem.counts).sum()) for rows in (problem.must, problem.may))
    if not effort or any_ones(problem.once[None])[0] or allowed < _ROOM * needed:
        return
    # each contact gets one request: a need beyond its cap cannot be packed
    if int(count_ones(problem.must).max()) > problem.max_tags:
        return
    load = _Load(problem, effort * _ROWS)
    load.fill()
    if load.pack():
        yield _trim_load(problem, load)


class _Load:
    """Contacts of each pattern that wait for a request, and the requests so far."""

    def __init__(self, problem: CoverProblem, allowance: int) -> None:
        self.problem, self.allowance = problem, allowance
        first, self.kind = distinct_rows(problem.must)
        self.needs = problem.must[first]
        self.room = count_ones(problem.may)
        self.left = problem.counts.copy()
        self.sets: list[Bits] = []
        self.taken: list[_Taken] = []

    def fill(self) -> None:
        """Whole requests of contacts that need the same."""
        # the others fit into more of the requests that are still to come
        order = np.lexsort((self.room, self.kind))
        weight = np.bincount(self.kind, self.left, len(self.needs)).astype(np.int64)
        for kind in np.flatnonzero(weight >= self.problem.max_contacts).tolist():
            alike = order[np.searchsorted(self.kind[order], kind) : np.searchsorted(self.kind[order], kind, "right")]
            for _ in range(int(weight[kind]) // self.problem.max_contacts):
                self._send(self.needs[kind], alike)

    def pack(self) -> bool:
        """Requests for all that is left; False where the allowance does not suffice."""
        while (live := np.flatnonzero(self.left)).size:
            # half a plan cannot be compared with those of the other stages
            if self.allowance <= 0:
                return False
            weight = np.bincount(self.kind[live], self.left[live], len(self.needs))
            tags, users = self._grown(self.needs[int(np.argmax(weight))], live)
            self._send(tags, users[np.argsort(self.room[users], kind="stable")])
        return True

    def _grown(self, tags: Bits, live: Ints) -> tuple[Bits, Ints]:
        """The tags of a request that starts with these, and the patterns that may be sent them and need no others."""
        able = self._able(tags, live)
        while int(self.left[self._served(tags, able)].sum()) < self.problem.max_contacts:
            wider = self._wider(tags, able)
            if wider is None:
                break
            tags, able = wider, self._able(wider, able)
        return tags, self._served(tags, able)

    def _wider(self, tags: Bits, able: Ints) -> Bits | None:
        """With the one more need that lets the most contacts in; None where none lets in more."""
        waiting = able[any_ones(self.problem.must[able] & ~tags)]
        weight = np.bincount(self.kind[waiting], self.left[waiting], len(self.needs))
        # each try looks at all rows: only the needs of the most contacts are worth one
        likely = np.argsort(-weight, kind="stable")[:_TRIED]
        best, most = None, int(self.left[self._served(tags, able)].sum())
        for kind in likely[weight[likely] > 0].tolist():
            wider = tags | self.needs[kind]
            if int(count_ones(wider[None])[0]) > self.problem.max_tags:
                continue
            served = int(self.left[self._served(wider, self._able(wider, able))].sum())
            if served > most:
                best, most = wider, served
        return best

    def _able(self, tags: Bits, among: Ints) -> Ints:
        self.allowance -= len(among)
        return among[self._none_missing(tags, among)]

    def _none_missing(self, tags: Bits, among: Ints) -> Bools:
        fit = np.ones(len(among), np.bool_)
        # word by word: the tags of a request stand in few words of a row
        for word in np.flatnonzero(tags).tolist():
            fit &= tags[word] & ~self.problem.may[among, word] == 0
        return fit

    def _served(self, tags: Bits, able: Ints) -> Ints:
        self.allowance -= len(able)
        return able[~any_ones(self.problem.must[able] & ~tags)]

    def _send(self, tags: Bits, users: Ints) -> None:
        """One request of these tags, with the first of the users that it holds."""
        before = np.cumsum(self.left[users]) - self.left[users]
        count = np.clip(self.problem.max_contacts - before, 0, self.left[users])
        chosen = np.flatnonzero(count)
        self.taken.append(_Taken(users[chosen], np.full(len(chosen), len(self.sets)), count[chosen]))
        self.sets.append(tags)
        self.left[users] -= count


def _trim_load(problem: CoverProblem, load: _Load) -> Draft:
    """The plan of a load, part-filled requests dissolved: patterns are split to be in one request each."""
    pattern, request, count = (
        np.concatenate([getattr(taken_by, name) for taken_by in load.taken]) for name in ("pattern", "request", "count")
    )
    order = np.lexsort((request, pattern))
    pattern, request, count = pattern[order], request[order], count[order]
    split = replace(
        problem,
        must=problem.must[pattern],
        may=problem.may[pattern],
        start=np.concatenate([np.zeros(1, np.int64), np.cumsum(count)]),
    )
    # requests of the same tags become one set, whose part-filled requests are joined
    first, number = distinct_rows(np.stack(load.sets))
    packed = np.stack(load.sets)[first]
    sets = np.concatenate([packed, keep_new(split, packed, group_twins(problem))])
    taken = Pairs(np.arange(len(pattern)), number[request])
    return trim_draft(split, sets, list_options(split, sets), taken, stage="packed")
