"""A copy of contacts that follows behind: what somebody sees who looks at a replica or an index. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Generic, TypeVar

from reconciler.core.model.names import ContactId

T = TypeVar("T")


class LaggingCopy(Generic[T]):
    """`version` moves when what is seen does. Changes are told in the order of their instants."""

    def __init__(self, contacts: Mapping[ContactId, T]) -> None:
        self.version = 0
        self._seen = dict(contacts)
        self._coming: deque[tuple[int, ContactId, T]] = deque()

    def tell(self, at: int, contact: ContactId, found: T) -> None:
        self._coming.append((at, contact, found))

    def as_of(self, moment: int) -> Mapping[ContactId, T]:
        """Every contact as it was at `moment`, which never goes back; not to be changed."""
        while self._coming and self._coming[0][0] <= moment:
            _at, contact, found = self._coming.popleft()
            self._seen[contact] = found
            self.version += 1
        return self._seen
