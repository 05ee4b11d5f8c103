"""Tags that only declared contacts carry, in the whole location.

Rules
1. Nobody is taken an exclusive tag away without a search for its holders, made for this very plan.
2. A holder that was found is a fact, whether or not the search was complete; that there is no other is one only if it
   was.
3. Only a tag that the location's manifests name is exclusive in it: a shared rule alone empties nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.desired import Desired
from reconciler.core.names import Instant, Tag, TagSet
from reconciler.core.observed import Known

NONE: TagSet = frozenset()


@dataclass(frozen=True, slots=True)
class Searched:
    """The exclusive tags whose holders were looked for.

    `complete`: those of which every holder was shown. `since`: who was observed from then on and carries one is a
    holder of now; None where nobody looked.
    """

    tags: TagSet = NONE
    complete: TagSet = NONE
    since: Instant | None = None

    def shows(self, known: Known) -> bool:
        """Whether what is known of a contact is of the search, or newer."""
        return self.since is not None and known.observed_at is not None and known.observed_at >= self.since

    def holds(self, known: Known, tag: Tag) -> bool:
        return tag in self.tags and tag in (known.observed or NONE) and self.shows(known)


NOT_SEARCHED = Searched()


def exclusive_tags(desired: Desired) -> TagSet:
    return frozenset(tag for tag, rule in desired.rules.items() if rule.exclusive and tag in desired.owned)
