"""Tags that only declared contacts carry, in the whole location; what a search for their holders told.

Rules
1. Nobody is taken an exclusive tag away without a search for its holders, made for this very plan.
2. A holder that was found is a fact, whether or not the search was complete; that there is no other is one only if it
   was.
3. Only a tag that the location's manifests name is exclusive in it: a shared rule alone empties nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.names import Instant, TagSet

NONE: TagSet = frozenset()


@dataclass(frozen=True, slots=True)
class OlderRows:
    """What a search told that is older than known, and contradicts it: it was set aside.

    `rows`: all that the search showed; `contradicting`: those of them that said otherwise; `read_again`: how many of
    the contacts were then read by id.
    """

    rows: int
    contradicting: int
    read_again: int

    def __str__(self) -> str:
        told = (
            f"{self.contradicting:,} of {self.rows:,} rows of the search were older than what earlier runs were told, "
            "and said otherwise: set aside"
        )
        if self.read_again:
            return f"{told}; {self.read_again:,} of these contacts were read by id"
        return f"{told}; the index lags: read by id (get), or search again some minutes later"


@dataclass(frozen=True, slots=True)
class Searched:
    """The exclusive tags whose holders were looked for, and what a search told that was set aside.

    `complete`: those of which every holder was shown. `since`: who was observed from then on and carries one is a
    holder of now; None where nobody looked.
    """

    tags: TagSet = NONE
    complete: TagSet = NONE
    since: Instant | None = None
    older_rows: OlderRows | None = None

    def shows(self, known: ContactState) -> bool:
        """Whether what is known of a contact is of the search, or newer."""
        return self.since is not None and known.observed_at is not None and known.observed_at >= self.since

    def held_by(self, observed: TagSet | None) -> TagSet:
        """The tags whose holder a contact is, that was observed by the search or since."""
        return self.tags & observed if observed else NONE


NOT_SEARCHED = Searched()


def exclusive_tags(desired: Desired) -> TagSet:
    return frozenset(tag for tag, rule in desired.rules.items() if rule.exclusive and tag in desired.owned)
