"""Which batch may leave next. Pure.

Rules
1. A batch starts when every batch of its `after` has ended, and none that is under way shares a contact with it.
2. Of those that may start, the first in the plan's order does; one that may not holds up nobody else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from reconciler.core.model.names import ContactId
from reconciler.core.planning.batches import Batch


class Schedule:
    """Batches, and how far they are: `start` one, `end` it. Work is per contact of a batch, however many wait."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._waits = [len(set(batch.after)) for batch in batches]
        self._followers: defaultdict[int, list[int]] = defaultdict(list)
        for index, batch in enumerate(batches):
            for before in set(batch.after):
                self._followers[before].append(index)
        self._ready = [index for index, waits in enumerate(self._waits) if not waits]
        heapify(self._ready)
        self._busy: set[ContactId] = set()
        self._parked: defaultdict[ContactId, list[int]] = defaultdict(list)

    def start(self) -> int | None:
        """The batch that starts now; None while there is none that may."""
        while self._ready:
            index = heappop(self._ready)
            taken = self._taken(index)
            if taken is None:
                self._busy.update(self._batches[index].contacts)
                return index
            self._parked[taken].append(index)
        return None

    def end(self, index: int) -> None:
        contacts = self._batches[index].contacts
        self._busy.difference_update(contacts)
        if self._parked:
            for contact in contacts:
                for waiting in self._parked.pop(contact, ()):
                    heappush(self._ready, waiting)
        for follower in self._followers.pop(index, ()):
            self._waits[follower] -= 1
            if not self._waits[follower]:
                heappush(self._ready, follower)

    def _taken(self, index: int) -> ContactId | None:
        """A contact of the batch that another batch under way has."""
        return next((each for each in self._batches[index].contacts if each in self._busy), None)
