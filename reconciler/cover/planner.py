"""Runs the stages, keeps the cheapest plan, verifies it, and orders its batches.

Rules of the last check (`find_faults`)
1. It goes cell by cell, from the demands and the batches alone, and shares nothing with the search, so that a fault
   there cannot hide itself: not its patterns, its order, or its counts.
2. The cells are looked at 64 tags at a time, one word a contact, which bounds the memory.

Rules of the order (`order_batches`)
3. Batches that share a contact never run at the same time: the later one names the earlier one in `after`, directly
   or through a chain of batches that share that contact.
4. All adds stand before all removes, so a contact's removes wait for its adds.
5. Batches are dealt into layers, each batch into the first layer that none of its contacts is in yet; the largest
   first. All of a layer can be under way at once, and layers are sent in turn, so that few batches wait for one that
   has only just started.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, repeat
from operator import attrgetter, lt

import numpy as np
import numpy.typing as npt

from reconciler.columns import LargeNumbers
from reconciler.core.model.batch import EFFORT, Batch, Demand, Proof, Schedule
from reconciler.core.model.contact_numbers import ABSENT
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.cover import capped, pack, partition, uncapped
from reconciler.cover.bounds import Cell
from reconciler.cover.capped_bounds import bound_by_growth, bound_in_turn
from reconciler.cover.grid import Draft, emit_batches, make_naive_draft
from reconciler.cover.problem import CoverProblem, Ints, count_ones, distinct_values, make_problem
from reconciler.second_core import Beside

_LOOSE = 1.05
"""Where the caps cut the boxes of a plan without caps into hardly more requests, a plan under caps has little
to gain."""
_MANY = 500
"""Where each action has so many demands, its search takes longer than to begin a process."""


def schedule_batches(
    adds: Sequence[Demand],
    removes: Sequence[Demand],
    *,
    repeatable_adds: TagSet,
    repeatable_removes: TagSet,
    max_contacts: int,
    max_tags: int,
    effort: int = EFFORT,
) -> Schedule:
    """The fewest batches found for both actions, in the order to send them."""
    cover = partial(find_cover, max_contacts=max_contacts, max_tags=max_tags, effort=effort)
    work = partial(cover, Action.REMOVE, removes, repeatable=repeatable_removes)
    # neither action sees the other
    find_removes = Beside(work) if min(len(adds), len(removes)) >= _MANY else work
    adding = cover(Action.ADD, adds, repeatable=repeatable_adds)
    removing = find_removes()
    proofs = tuple(planned.proof for planned, demands in ((adding, adds), (removing, removes)) if demands)
    # each action numbers its contacts by itself
    rows = None if adding.batches and removing.batches else adding.rows or removing.rows
    return Schedule(order_batches(adding.batches, removing.batches, rows), proofs)


@dataclass(frozen=True, slots=True)
class ActionCover:
    """The batches of an action, and how few there can be."""

    batches: tuple[Batch, ...]
    proof: Proof
    rows: Sequence[Ints] | None = field(default=None, compare=False)
    """The numbers of each batch's contacts in the order of the demands; None where the batches are not the search's."""


def find_cover(
    action: Action,
    demands: Sequence[Demand],
    *,
    repeatable: TagSet,
    max_contacts: int,
    max_tags: int,
    effort: int = EFFORT,
) -> ActionCover:
    """The fewest batches for these demands, at most `max_contacts` × `max_tags` each.

    `effort`: rounds of search, each of bounded work; 0 takes the best plan that needs no search, and more is never
    worse. Ctrl-C stops it at once: nothing is held or written.
    Raises ValueError for a must outside its may, a contact in two demands, a cap below 1.
    """
    if max_contacts < 1 or max_tags < 1 or effort < 0:
        raise ValueError(f"a request of {max_contacts} contacts and {max_tags} tags, effort {effort}")
    # most plans have no demand of one of the actions: to make a problem of none takes as long as half a small search
    if not any(demand.must and demand.contacts for demand in demands):
        return ActionCover((), Proof(action, 0, 0, "nothing to send", True, ()))
    problem = make_problem(demands, repeatable=repeatable, max_contacts=max_contacts, max_tags=max_tags)
    best, bound, certificate = _search_drafts(problem, effort)
    batches = emit_batches(action, problem, best)
    rows = _number_contacts(demands, batches)
    wrong = _check_plan(demands, batches, rows, repeatable=repeatable, max_contacts=max_contacts, max_tags=max_tags)
    # a fault of the search costs requests, and never a wrong pair
    if wrong:
        batches = cut_plainly(action, demands, max_contacts=max_contacts, max_tags=max_tags)
        why = f"{best.stage} failed the last check: {'; '.join(wrong)}"
        return ActionCover(
            batches, Proof(action, len(batches), 0, f"one per delta ({why}; please report this)", False, ())
        )
    pairs = tuple(sorted((problem.contacts[contact], problem.tags[tag]) for contact, tag in certificate))
    return ActionCover(batches, Proof(action, len(batches), bound, best.stage, bound == len(batches), pairs), rows)


def _search_drafts(problem: CoverProblem, effort: int) -> tuple[Draft, int, tuple[Cell, ...]]:
    """The cheapest plan, a lower bound, and a certificate of (contact, tag) numbers."""
    # the plan that needs no search: what is kept is never worse than a request a delta
    best, (bound, certificate) = make_naive_draft(problem), bound_in_turn(problem)
    tight = True
    if uncapped.is_small(problem):
        core = uncapped.reduce_grid(problem)
        bound = max(bound, core.bound, bound_by_growth(problem, core.certificate))
        certificate = max(core.certificate, certificate, key=len)
        drafts = uncapped.make_drafts(core, effort=effort)
        first = next(drafts)
        tight = first.cost > _LOOSE * len(first.blocks)
        best = _cheapest_draft(min(best, first, key=attrgetter("rank")), drafts, bound)
    best = _cheapest_draft(best, pack.make_drafts(problem, effort=effort), bound)
    # before the search, which a bound that is too low lets go on to its end
    if effort and best.cost > bound and capped.is_tiny(problem):
        best = capped.find_fewest(problem, bound, best.cost) or best
        bound = best.cost
    if tight:
        once = int(count_ones(problem.once[None])[0]) == len(problem.tags)
        # with nothing to repeat every pair is in one request, and a narrower search goes further
        stage = partition.make_drafts if once else capped.make_drafts
        best = _cheapest_draft(best, stage(problem, effort=effort), bound)
    return best, bound, certificate


def _cheapest_draft(best: Draft, drafts: Iterator[Draft], bound: int) -> Draft:
    """The first of the cheapest plans; none is made once the bound is reached."""
    while best.cost > bound and (draft := next(drafts, None)):
        best = min(best, draft, key=attrgetter("rank"))
    return best


def cut_plainly(action: Action, demands: Sequence[Demand], *, max_contacts: int, max_tags: int) -> tuple[Batch, ...]:
    """One batch a delta, cut to the caps: the plan to send when the search cannot be trusted."""
    groups: dict[TagSet, list[ContactId]] = {}
    for demand in demands:
        groups.setdefault(demand.must, []).extend(demand.contacts)
    batches = []
    for must, group in groups.items():
        tags, contacts = sorted(must), sorted(group)
        batches += [
            Batch(action, tuple(contacts[top : top + max_contacts]), tuple(tags[low : low + max_tags]))
            for top in range(0, len(contacts), max_contacts)
            for low in range(0, len(tags), max_tags)
        ]
    return tuple(sorted(batches, key=attrgetter("tags", "contacts")))


def order_batches(
    adds: Sequence[Batch], removes: Sequence[Batch] = (), rows: Sequence[Ints] | None = None
) -> tuple[Batch, ...]:
    """The batches in the order to send them, each with the earlier ones it waits for; a contact's adds before its
    removes. `rows`: numbers of each batch's contacts, where they have some already."""
    batches = (*adds, *removes)
    rows = _number_alike(batches) if rows is None else rows
    contacts = max((int(numbers.max()) + 1 for numbers in rows), default=0)
    first = _deal_layers(rows[: len(adds)], contacts)
    second = _deal_layers(rows[len(adds) :], contacts)
    turn = [*first, *(len(adds) + place for place in second)]
    waits = _list_waits([rows[place] for place in turn], contacts)
    return tuple(replace(batches[place], after=after) for place, after in zip(turn, waits, strict=True))


def _number_alike(batches: Sequence[Batch]) -> list[Ints]:
    number: dict[ContactId, int] = {}
    return [
        np.array([number.setdefault(contact, len(number)) for contact in batch.contacts], np.int64) for batch in batches
    ]


def _deal_layers(rows: Sequence[Ints], contacts: int) -> list[int]:
    """The batches by layer, then by place."""
    taken = np.zeros((1, contacts), np.uint64)
    layer = [0] * len(rows)
    # the largest batch first: it shares contacts with most others, and finds a free layer only while few are dealt
    for place in sorted(range(len(rows)), key=lambda place: (-len(rows[place]), place)):
        used = np.bitwise_or.reduce(taken[:, rows[place]], axis=1)
        layer[place] = _first_free(used.tolist())
        word, bit = divmod(layer[place], 64)
        if word == len(taken):
            taken = np.concatenate([taken, np.zeros((1, contacts), np.uint64)])
        taken[word, rows[place]] |= np.uint64(1 << bit)
    return sorted(range(len(rows)), key=lambda place: (layer[place], place))


def _first_free(used: list[int]) -> int:
    for word, value in enumerate(used):
        free = ~value & 0xFFFF_FFFF_FFFF_FFFF
        if free:
            return 64 * word + (free & -free).bit_length() - 1
    return 64 * len(used)


def _list_waits(rows: Sequence[Ints], contacts: int) -> list[tuple[int, ...]]:
    """For each batch the latest earlier batch of each of its contacts."""
    last = np.full(contacts, -1, np.int64)
    waits = []
    for place, contacts_here in enumerate(rows):
        earlier = distinct_values(last[contacts_here])
        waits.append(tuple(earlier[earlier >= 0].tolist()))
        # the latest alone: it waits in turn for those before it (rule 3)
        last[contacts_here] = place
    return waits


_Word = npt.NDArray[np.uint64]


def find_faults(
    demands: Sequence[Demand],
    batches: Sequence[Batch],
    *,
    repeatable: TagSet,
    max_contacts: int,
    max_tags: int,
) -> tuple[str, ...]:
    """The faults of the plan, in words; empty when every needed pair is sent, no other one is, and the caps hold."""
    rows = _number_contacts(demands, batches)
    return _check_plan(demands, batches, rows, repeatable=repeatable, max_contacts=max_contacts, max_tags=max_tags)


def _number_contacts(demands: Sequence[Demand], batches: Sequence[Batch]) -> list[Ints] | None:
    """For each batch the places of its contacts among those of the demands; None where one is not among them."""
    numbered = LargeNumbers()
    # no two demands have a contact: numbers are places
    numbered.number_all(list(chain.from_iterable(demand.contacts for demand in demands)))
    sizes = [len(batch.contacts) for batch in batches]
    contacts = chain.from_iterable(batch.contacts for batch in batches)
    numbers = np.fromiter(numbered.find_all(contacts), np.int64, sum(sizes))
    if (numbers == ABSENT).any():
        return None
    return list(np.split(numbers, np.cumsum(sizes)[:-1])) if batches else []


def _check_plan(
    demands: Sequence[Demand],
    batches: Sequence[Batch],
    rows: Sequence[Ints] | None,
    *,
    repeatable: TagSet,
    max_contacts: int,
    max_tags: int,
) -> tuple[str, ...]:
    faults = [fault for batch in batches for fault in _check_shape(batch, max_contacts, max_tags)]
    if rows is None:
        return (*faults, "a contact that nobody asked for")
    # a tag that may be sent and is not needs no column: nothing can be wrong with it
    tags = frozenset[Tag]().union(*{demand.must for demand in demands}, *{batch.tags for batch in batches})
    index = {tag: number for number, tag in enumerate(sorted(tags))}
    lengths = np.array([len(demand.contacts) for demand in demands], np.int64)
    musts = _Sets.of([demand.must for demand in demands], index, lengths)
    mays = _Sets.of([demand.may for demand in demands], index, lengths)
    sent = _Sets.of([batch.tags for batch in batches], index, np.ones(len(rows), np.int64))
    once = _Sets.of([tags - repeatable], index, np.ones(1, np.int64))
    for word in range(musts.packed.shape[1]):
        faults += _check_word(musts.word(word), mays.word(word), once.word(word)[0], sent.word(word), rows)
    return tuple(dict.fromkeys(faults))


@dataclass(frozen=True, slots=True, eq=False)
class _Sets:
    """A set of tags for each of many, `packed` 64 tags a word, once for all those that have the same set (`kind`)."""

    packed: _Word
    kind: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sets: Sequence[Collection[Tag]], index: dict[Tag, int], repeats: npt.NDArray[np.int64]) -> _Sets:
        number: dict[Collection[Tag], int] = {}
        kind = [number.setdefault(tags_of, len(number)) for tags_of in sets]
        lengths = np.fromiter(map(len, number), np.int64, len(number))
        columns = np.fromiter(map(index.get, chain.from_iterable(number), repeat(-1)), np.int64, int(lengths.sum()))
        rows, columns = np.repeat(np.arange(len(number)), lengths)[columns >= 0], columns[columns >= 0]
        packed = np.zeros((len(number), max(1, -(-len(index) // 64))), np.uint64)
        np.bitwise_or.at(packed, (rows, columns // 64), np.uint64(1) << (columns % 64).astype(np.uint64))
        return cls(packed, np.repeat(np.array(kind, np.int64), repeats))

    def word(self, number: int) -> _Word:
        column: _Word = self.packed[self.kind, number]
        return column


def _check_shape(batch: Batch, max_contacts: int, max_tags: int) -> list[str]:
    faults = []
    if not 0 < len(batch.contacts) <= max_contacts or not 0 < len(batch.tags) <= max_tags:
        faults.append(f"a request of {len(batch.contacts)} contacts and {len(batch.tags)} tags")
    if not _is_rising(batch.contacts) or not _is_rising(batch.tags):
        faults.append("a request that is not sorted, or names something twice")
    return faults


def _is_rising(names: Sequence[ContactId] | Sequence[Tag]) -> bool:
    return all(map(lt, names, names[1:]))


def _check_word(must: _Word, may: _Word, once: np.uint64, masks: _Word, rows: Sequence[Ints]) -> list[str]:
    """The faults in 64 tags: `must` and `may` a contact, `masks` and `rows` a batch."""
    allowed = may & (must | ~once)
    sent = np.zeros(len(must), np.uint64)
    twice = False
    for number in np.flatnonzero(masks).tolist():
        where, mask = rows[number], masks[number]
        twice = twice or bool((sent[where] & (mask & once)).any())
        sent[where] |= mask
    faults = []
    if (must & ~sent).any():
        faults.append("a needed pair that is not sent")
    if (sent & ~allowed).any():
        faults.append("a pair that may not be sent")
    return [*faults, "a pair sent twice that may be sent once"] if twice else faults
