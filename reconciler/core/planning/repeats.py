"""Which pairs may be sent again where that saves a request.

Rules
1. An added pair may be sent again when it is desired, was observed there not too long ago, and its tag is inert
   (`inert`) or any tag (`always`): a workflow may have consumed another tag meanwhile.
2. A removed pair may be sent again when the tag was observed absent and the manifests would call for its removal,
   were it there; `never` forbids it.
3. Tags that trigger automations, tags that are `once` and protected tags are never sent again; nor is a pair in
   doubt, a contact quarantined, or one never observed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from reconciler.core.model.contact_state import ContactState, Managed
from reconciler.core.model.manifest import TagRule
from reconciler.core.model.names import Instant, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Reassert

NONE: TagSet = frozenset()


@dataclass(frozen=True, slots=True)
class Reassertion:
    """`fresh_since`: an observation before it is too old to add again on. `excepted`: tags not to be sent again."""

    mode: Reassert = Reassert.INERT
    fresh_since: Instant = Instant(0)
    excepted: frozenset[tuple[Action, Tag]] = frozenset()

    def without(self, excepted: frozenset[tuple[Action, Tag]]) -> Reassertion:
        return replace(self, excepted=self.excepted | excepted)

    def repeatable(self, action: Action, tags: Collection[Tag], rules: Mapping[Tag, TagRule]) -> TagSet:
        """Those of `tags` that may be sent more than once."""
        if self.mode is Reassert.NEVER:
            return NONE
        return frozenset(
            tag for tag in tags if (action, tag) not in self.excepted and self._may_repeat(action, rules.get(tag))
        )

    def _may_repeat(self, action: Action, rule: TagRule | None) -> bool:
        if rule is not None and (rule.triggers or rule.once or rule.protected):
            return False
        return action is Action.REMOVE or self.mode is Reassert.ALWAYS or (rule is not None and rule.inert)

    def is_fresh(self, known: ContactState) -> bool:
        """Whether a contact was observed recently enough to add to it again."""
        return (
            self.mode is not Reassert.NEVER and known.observed_at is not None and known.observed_at >= self.fresh_since
        )

    def adds(self, present: Collection[Tag], contact: Managed, rules: Mapping[Tag, TagRule]) -> TagSet:
        """What may be added again to a contact that was observed recently enough: `present` is desired."""
        if contact.observed is None:
            return NONE
        return self.repeatable(Action.ADD, contact.observed.intersection(present) - contact.doubt, rules)

    def removes(self, removable: Collection[Tag], contact: Managed, rules: Mapping[Tag, TagRule]) -> TagSet:
        """What may be removed again from a contact: `removable` would be removed, were it there."""
        if contact.observed is None:
            return NONE
        return self.repeatable(Action.REMOVE, frozenset(removable) - contact.observed - contact.doubt, rules)


NO_REASSERTION = Reassertion(Reassert.NEVER)
