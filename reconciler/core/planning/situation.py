"""All that planning may see of a contact. Contacts of one situation get the same plan, so that planning a million of
them is planning a few thousand situations.

Rules
1. A situation is the key that contacts are grouped by and the value that `pattern.py` reads: planning cannot depend on
   a fact that the grouping forgot.
2. Dates are not part of a situation, but for the date that a plan prints: times are compared before, in
   `Context.situation_of`.
3. Foreign tags are part of a situation only under `exact` authority, which removes them, or where a tag of the ledger
   may be theirs in another spelling.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.contact_state import NONE, ContactState
from reconciler.core.model.names import Instant, Tag, TagSet, folded
from reconciler.core.planning.exclusive_tags import Searched
from reconciler.core.planning.repeats import Reassertion


@dataclass(frozen=True, slots=True)
class Situation:
    """What planning sees of a contact."""

    observed: TagSet | None = None
    """The tags that it carries, as far as they matter to the plan; None where no answer ever told them."""

    ledger: TagSet = NONE
    """The tags that are under our management."""

    kept: TagSet = NONE
    """That part of the ledger that stays when no set declares it any more."""

    doubt: TagSet = NONE
    """The tags that a request of unknown effect tried to change."""

    unconfirmed: TagSet = NONE
    """That part of the ledger that was asked for, and that no answer or observation has shown since."""

    given_before: tuple[tuple[Tag, Instant], ...] = ()
    """The `once` tags that left the ledger, with the date when they were given, which the plan prints."""

    flapping: TagSet = NONE
    """Tags of ours that others removed although a run had put them back within a week."""

    refusal: str = ""
    """Why the API refused the contact for good; empty where it did not."""

    is_fresh: bool = False
    """Whether it was observed recently enough to add to it again."""

    is_searched: bool = False
    """Whether its observation is that of the search for holders of exclusive tags, or newer."""


@dataclass(frozen=True, slots=True)
class Context:
    """What turns the facts about a contact into its situation."""

    relevant: TagSet
    """The tags that the plan may name, besides those of the contact's own ledger."""

    exact: bool
    """Whether a set of the plan removes foreign tags."""

    reassertion: Reassertion
    searched: Searched
    now: Instant

    def situation_of(self, known: ContactState) -> Situation:
        return Situation(
            observed=known.observed if self.exact else self._relevant(known),
            ledger=known.ledger,
            kept=known.kept,
            doubt=known.doubt,
            unconfirmed=known.unconfirmed,
            given_before=known.given_before,
            flapping=known.flapping(self.now),
            refusal=known.quarantine.value if known.quarantine else "",
            is_fresh=self.reassertion.is_fresh(known),
            is_searched=self.searched.shows(known),
        )

    def _relevant(self, known: ContactState) -> TagSet | None:
        if known.observed is None:
            return None
        relevant = known.observed & (self.relevant | known.ledger)
        # a tag of the ledger that is not there may be there in a spelling that no answer has told yet
        if missing := set(map(folded, known.ledger - known.observed)):
            relevant |= {tag for tag in known.observed if folded(tag) in missing}
        return relevant
