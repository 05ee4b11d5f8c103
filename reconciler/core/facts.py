"""What a location taught us about itself, run by run: how its API answers, not what its contacts carry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.core.names import Instant, Tag

Alias = tuple[Tag, Tag]
"""The spelling that was sent, and the one that came back."""


@dataclass(frozen=True, slots=True)
class Facts:
    """None: not known so far.

    `moves_updated`: whether a write of tags moves a contact's `dateUpdated`. `max_contacts`, `max_tags`: how much a
    request may hold, as refusals told, the last one at `limits_at`. `aliases`: sorted, one a sent spelling.
    """

    moves_updated: bool | None = None
    max_contacts: int | None = None
    max_tags: int | None = None
    aliases: tuple[Alias, ...] = ()
    limits_at: Instant | None = None

    def with_aliases(self, found: Iterable[Alias]) -> Facts:
        """These facts and what just came back; the last answer about a spelling rules."""
        return replace(self, aliases=tuple(sorted((dict(self.aliases) | dict(found)).items())))


NO_FACTS = Facts()
