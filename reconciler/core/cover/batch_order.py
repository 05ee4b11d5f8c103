"""In which order batches go, and which have to wait for which.

Rules
1. Batches that share a contact never run at the same time: the later one names the earlier one in `after`, directly
   or through a chain of batches that share that contact.
2. All adds stand before all removes, so a contact's removes wait for its adds.
3. Batches are dealt into waves, each batch into the first wave that none of its contacts is in yet; the largest
   first. A wave can be in flight at once, and waves are sent in turn, so that few batches wait for one that has only
   just started.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reconciler.core.cover.bits import Ints
from reconciler.core.cover.model import Rectangle, Step
from reconciler.core.model.names import ContactId
from reconciler.core.model.outcome import Action


def order(adds: Sequence[Rectangle], removes: Sequence[Rectangle]) -> tuple[Step, ...]:
    """The batches in the order to send them, each with the earlier ones it waits for."""
    number: dict[ContactId, int] = {}
    rows = [
        np.array([number.setdefault(contact, len(number)) for contact in one.contacts], np.int64)
        for one in (*adds, *removes)
    ]
    first = _waves(rows[: len(adds)], len(number))
    second = _waves(rows[len(adds) :], len(number))
    turn = [*first, *(len(adds) + place for place in second)]
    batches = [(Action.ADD, one) for one in adds] + [(Action.REMOVE, one) for one in removes]
    waits = _waits([rows[place] for place in turn], len(number))
    return tuple(Step(*batches[place], after) for place, after in zip(turn, waits, strict=True))


def _waves(rows: Sequence[Ints], contacts: int) -> list[int]:
    """The batches by wave, then by place."""
    taken = np.zeros((1, contacts), np.uint64)
    wave = [0] * len(rows)
    for place in sorted(range(len(rows)), key=lambda place: (-len(rows[place]), place)):
        used = np.bitwise_or.reduce(taken[:, rows[place]], axis=1)
        wave[place] = _first_free(used.tolist())
        word, bit = divmod(wave[place], 64)
        if word == len(taken):
            taken = np.concatenate([taken, np.zeros((1, contacts), np.uint64)])
        taken[word, rows[place]] |= np.uint64(1 << bit)
    return sorted(range(len(rows)), key=lambda place: (wave[place], place))


def _first_free(used: list[int]) -> int:
    for word, value in enumerate(used):
        free = ~value & 0xFFFF_FFFF_FFFF_FFFF
        if free:
            return 64 * word + (free & -free).bit_length() - 1
    return 64 * len(used)


def _waits(rows: Sequence[Ints], contacts: int) -> list[tuple[int, ...]]:
    """For each batch the latest earlier batch of each of its contacts."""
    last = np.full(contacts, -1, np.int64)
    found = []
    for place, mine in enumerate(rows):
        earlier = np.unique(last[mine])
        found.append(tuple(earlier[earlier >= 0].tolist()))
        last[mine] = place
    return found
