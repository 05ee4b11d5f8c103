"""What a location taught us about itself, run by run: how its API answers, not what its contacts carry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.core.model.names import Instant, Tag

Alias = tuple[Tag, Tag]
"""The spelling that was sent, and the one that came back."""

LIMITS_MS = 7 * 86_400_000
"""So long a size is believed that a refusal told."""

TRIAL_MS = 86_400_000
"""After this time one request of a run tries whether a larger size is taken."""


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

    def believes_limits(self, now: Instant) -> bool:
        """Whether the limits are to be heeded: not where they are old, or of an age that nobody knows."""
        return self.limits_at is not None and now < self.limits_at + LIMITS_MS

    def doubts_limits(self, now: Instant) -> bool:
        """Whether it is time to try out whether the limits still hold."""
        return self.limits_at is not None and now >= self.limits_at + TRIAL_MS

    def limited(self, contacts: int | None, tags: int | None, now: Instant) -> Facts:
        """These facts and what a refusal told now; None: nothing of that. What was not heeded any more is given up."""
        kept = self if self.believes_limits(now) else self.without_limits()
        most = contacts or kept.max_contacts, tags or kept.max_tags
        return replace(kept, max_contacts=most[0], max_tags=most[1], limits_at=now if any(most) else None)

    def without_limits(self) -> Facts:
        return replace(self, max_contacts=None, max_tags=None, limits_at=None)

    def with_aliases(self, found: Iterable[Alias]) -> Facts:
        """These facts and what just came back; the last answer about a spelling rules, and about what came back."""
        new = dict(found)
        kept = {sent: back for sent, back in self.aliases if sent not in new.values()}
        return replace(self, aliases=tuple(sorted((kept | new).items())))


NO_FACTS = Facts()
