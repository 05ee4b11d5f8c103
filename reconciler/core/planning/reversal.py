"""The net changes of a run on each contact, read from the journal, and their fate since. Pure.

Rules
1. The rows of its answers (`tagsAdded`, `tagsRemoved`) tell the changes of a run, never its intent.
2. A tag that one run added and then removed again was not changed, and the other way round.
3. A tag is touched since where a later request had to do with it, or where its answer shows that others had.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.journal import Answer, BatchRecord, RunLog
from reconciler.core.model.names import ContactId, TagSet
from reconciler.core.model.outcome import Outcome
from reconciler.core.planning.tag_aliases import Spelling


@dataclass(frozen=True, slots=True)
class NetChange:
    """The changes of a run on a contact, all in all."""

    added: TagSet = NONE
    removed: TagSet = NONE
    # left the ledger
    released: TagSet = NONE
    # the run itself does not know whether it changed these
    unclear: TagSet = NONE
    # entered the ledger
    entered: TagSet = NONE

    def in_spelling(self, spelling: Spelling) -> NetChange:
        read = spelling.read
        return NetChange(*map(read, (self.added, self.removed, self.released, self.unclear, self.entered)))


@dataclass(frozen=True, slots=True)
class Reversal:
    """The changes of a run, and their fate since."""

    run: str
    changed: Mapping[ContactId, NetChange]
    # the tags that later runs, or others between them, touched again
    since: Mapping[ContactId, TagSet]
    # whether the journal tells which pairs the run put under management: older versions did not record it
    traced: bool = True

    @property
    def moved(self) -> list[ContactId]:
        """The contacts that it changed, or may have changed."""
        return sorted(contact for contact, net in self.changed.items() if net.added or net.removed or net.unclear)

    def managed(self, contact: ContactId, tags: TagSet, desired: Desired) -> TagSet:
        """Those of `tags`, given back to the contact, that are under management again."""
        net = self.changed.get(contact, NetChange())
        return tags & (net.released | frozenset(desired.want(contact).present))

    def in_spelling(self, spelling: Spelling) -> Reversal:
        # the journal has the spellings that were sent and answered, the state the one in use
        if not spelling.names:
            return self
        return replace(
            self,
            changed={contact: net.in_spelling(spelling) for contact, net in self.changed.items()},
            since={contact: spelling.read(tags) for contact, tags in self.since.items()},
        )


def read_reversal(log: RunLog, later: Iterable[RunLog]) -> Reversal:
    """The changes to undo of a run. `later`: the runs of its location after it, the next one first."""
    changed: dict[ContactId, NetChange] = {}
    for batch in log.batches:
        for answer, contacts in _group_by_answer(batch).items():
            for contact in contacts:
                changed[contact] = _add_answer(changed.get(contact, NetChange()), batch, answer)
    for contact, tags in log.adopted.items():
        net = changed.get(contact, NetChange())
        changed[contact] = replace(net, entered=net.entered | tags)
    since: dict[ContactId, TagSet] = {}
    for run in later:
        for contact, tags in _touched_by(run, changed):
            since[contact] = since.get(contact, NONE) | tags
    return Reversal(log.record.id, changed, since, log.record.traced)


def _touched_by(run: RunLog, changed: Mapping[ContactId, NetChange]) -> Iterator[tuple[ContactId, TagSet]]:
    """The tags that a later run had to do with, on each of the changed contacts."""
    for batch in run.batches:
        for answer, contacts in _group_by_answer(batch).items():
            for contact in contacts:
                if contact in changed:
                    yield contact, _touched_tags(changed[contact], batch, answer)
    yield from ((contact, tags) for contact, tags in run.adopted.items() if contact in changed)


def _group_by_answer(batch: BatchRecord) -> dict[Answer, list[ContactId]]:
    groups: defaultdict[Answer, list[ContactId]] = defaultdict(list)
    for contact, answer in batch.answers.items():
        groups[answer].append(contact)
    return groups


def _add_answer(before: NetChange, batch: BatchRecord, answer: Answer) -> NetChange:
    """A tag that one run added and then removed again was not changed, and the other way round."""
    verdict = answer.verdict
    if verdict is None or verdict.outcome in (Outcome.IN_DOUBT, Outcome.HELD):
        return replace(before, unclear=before.unclear | frozenset(batch.tags))
    # a rejected add put nothing under management, though its intent did
    counts = verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)
    return NetChange(
        added=(before.added | (verdict.added - before.removed)) - verdict.removed,
        removed=(before.removed | (verdict.removed - before.added)) - verdict.added,
        released=before.released | answer.released,
        unclear=before.unclear,
        entered=before.entered | answer.entered if counts else before.entered,
    )


def _touched_tags(net: NetChange, batch: BatchRecord, answer: Answer) -> TagSet:
    """The tags that moved after the run, as a later answer tells: by that request, or before it by others."""
    verdict = answer.verdict
    if verdict is None or verdict.outcome in (Outcome.IN_DOUBT, Outcome.HELD):
        return frozenset(batch.tags)
    # the tags before the later request differ from those after the run: others changed them in between
    by_others = NONE if verdict.old is None else (net.added - verdict.old) | (net.removed & verdict.old)
    return verdict.added | verdict.removed | by_others | ((answer.entered | answer.released) & net.entered)
