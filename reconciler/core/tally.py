"""What a run has done so far, pair by pair: how each ended, and what must not be sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.core.batching import Batch
from reconciler.core.change import Deferral
from reconciler.core.names import ContactId, Tag, TagSet
from reconciler.core.observed import Observed
from reconciler.core.outcome import Action, Outcome, Verdict
from reconciler.core.report import Finding

NONE: TagSet = frozenset()


@dataclass(slots=True)
class Tally:
    """`planned`: pairs that were to be sent. `spent`: the tags per contact whose outcome is known, or in doubt.
    `failed`: contacts whose adds did not all end well; their removes are held back.
    """

    planned: int = 0
    ended: Counter[Outcome] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    spent: dict[ContactId, TagSet] = field(default_factory=dict)
    failed: set[ContactId] = field(default_factory=set)
    unions: dict[tuple[TagSet, TagSet], TagSet] = field(default_factory=dict)

    def take(self, batch: Batch, verdicts: Mapping[ContactId, Verdict]) -> None:
        tags = frozenset(batch.tags)
        for contact, verdict in verdicts.items():
            self._spend(contact, tags)
            changed = len(verdict.added | verdict.removed)
            if verdict.outcome in (Outcome.APPLIED, Outcome.NOOP):
                self.ended[Outcome.APPLIED] += changed
                self.ended[Outcome.NOOP] += len(tags) - changed
                continue
            self.ended[verdict.outcome] += len(tags)
            self.findings.append(Finding(contact, verdict.outcome, batch.action, batch.tags, verdict.message))
            if batch.action is Action.ADD:
                self.failed.add(contact)

    def pairs(self, deferrals: Iterable[Deferral], observed: Observed) -> dict[Outcome, int]:
        """How every pair of the plan ended, `deferrals` being the plan's own."""
        pairs = self.ended + Counter(
            {
                Outcome.NOT_SENT: self.planned - self.ended.total(),
                Outcome.DEFERRED: sum(self._still(each, observed) for each in deferrals),
            }
        )
        return {outcome: pairs[outcome] for outcome in Outcome if pairs[outcome]}

    def _still(self, deferral: Deferral, observed: Observed) -> int:
        """Pairs of the deferral that no answer has decided."""
        undecided = (each for each in deferral.contacts if observed[each].observed is None or observed[each].doubt)
        return sum(self._unspent(each, deferral.tags) for each in undecided)

    def _unspent(self, contact: ContactId, tags: Iterable[Tag]) -> int:
        spent = self.spent.get(contact, NONE)
        return sum(tag not in spent for tag in tags)

    def _spend(self, contact: ContactId, tags: TagSet) -> None:
        before = self.spent.get(contact, NONE)
        key = (before, tags)
        union = self.unions.get(key)
        if union is None:
            union = self.unions[key] = before | tags
        self.spent[contact] = union
