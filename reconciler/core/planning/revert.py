"""Undoing a run: its net changes on each contact, read from the journal, and their exact inverse, as far as they still
stand. Pure.

Rules
1. The rows of its answers (`tagsAdded`, `tagsRemoved`) tell the changes of a run, never its intent. A tag that one run
   added and then removed again was not changed, and the other way round.
2. A tag that changed since is left alone: by a later run that had to do with it, or by others, as far as answers and
   observations tell.
3. A change that the manifests still demand is left out, and listed: the next plan would only make it again. Revert the
   commit first.
4. A tag that is given back is under management again where it was before; one that never was ours comes back as
   foreign.
5. A pair that the run put under management without a change (adopted, or asked for and there already) leaves the
   ledger, unless it is still desired, or a later run had to do with it. A pair that leaves so makes no tag owned.
6. A pair in doubt, and a contact that the API refuses, is left out and listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from reconciler.core.manifests.resolve import Desired
from reconciler.core.manifests.wants import Want
from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_state import NONE, ContactState, ContactStates
from reconciler.core.model.journal import Answer, BatchRecord, RunLog
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Tag, TagSet, fold_spelling
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.planning.changes import (
    IN_DOUBT,
    Change,
    Diff,
    HeldContacts,
    LedgerChange,
    demands_from_deltas,
    sort_reasons,
    sorted_deltas,
)
from reconciler.core.planning.diff import list_held
from reconciler.core.planning.tag_aliases import Spelling

DEMANDED = "still demanded: revert the commit first"
CHANGED_SINCE = "changed since by a later run, or by others"
UNCLEAR_THEN = "the run does not know whether it changed it"
UNKNOWN_NOW = "nothing is known of the contact any more"


@dataclass(frozen=True, slots=True)
class NetChange:
    """The changes of a run on a contact, all in all."""

    added: TagSet = NONE
    removed: TagSet = NONE
    released: TagSet = NONE
    """The pairs that left the ledger."""
    unclear: TagSet = NONE
    """The pairs of which the run itself does not know whether it changed them."""
    entered: TagSet = NONE
    """The pairs that entered the ledger."""

    def in_spelling(self, spelling: Spelling) -> NetChange:
        read = spelling.read
        return NetChange(*map(read, (self.added, self.removed, self.released, self.unclear, self.entered)))


@dataclass(frozen=True, slots=True)
class Reversal:
    """The changes of a run, and their fate since."""

    run: str
    changed: Mapping[ContactId, NetChange]
    since: Mapping[ContactId, TagSet]
    """The tags that later runs, or others between them, touched again."""
    traced: bool = True
    """Whether the journal tells which pairs the run put under management: older versions did not record it."""

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
        for contact, answer in batch.answers.items():
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
        for contact, answer in batch.answers.items():
            if contact in changed:
                yield contact, _touched_tags(changed[contact], batch, answer)
    yield from ((contact, tags) for contact, tags in run.adopted.items() if contact in changed)


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


def undo_changes(
    reversal: Reversal,
    desired: Desired,
    observed: ContactStates,
    *,
    spent: Mapping[ContactId, TagSet],
    gone: Iterable[HeldContacts] = (),
) -> Diff:
    """The changes that undo a run, and those that are left out, with the reason; all in one spelling of each tag.

    `gone`: contacts that are not there, and why.
    """
    away = {contact: held.why for held in gone for contact in held.contacts}
    owned = _owned_tags(reversal, desired, observed)
    deltas: defaultdict[tuple[Change, ...], list[ContactId]] = defaultdict(list)
    omitted: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    refused: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    released: defaultdict[tuple[tuple[Tag, ...], tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    # contacts of one key get the same changes: a run of a million contacts has few keys
    reversals: dict[tuple[object, ...], _ContactReversal] = {}
    for contact, net in reversal.changed.items():
        done, since = spent.get(contact, NONE), reversal.since.get(contact, NONE)
        key = (desired.contacts.get(contact), observed.contacts.get(contact), net, done, since)
        undone = reversals.get(key)
        if undone is None:
            case = _Case(desired.want(contact), observed[contact], net, since, done, owned)
            undone = reversals[key] = case.reverse_changes()
        if undone.released:
            kept = observed[contact].ledger.kept.difference(undone.released)
            released[undone.released, tuple(sorted(kept))].append(contact)
        if undone.changes and (why := away.get(contact) or _refusal(observed[contact])):
            refused[why, ()].append(contact)
        elif undone.changes:
            deltas[undone.changes].append(contact)
        for why, tags in undone.omitted:
            omitted[why, tags].append(contact)
    ledger = [LedgerChange((), gone, kept, tuple(sorted(contacts))) for (gone, kept), contacts in released.items()]
    return _make_diff(deltas, ledger, omitted, refused)


def _refusal(state: ContactState) -> str:
    return "" if state.quarantine is None else state.quarantine.reason


def _owned_tags(reversal: Reversal, desired: Desired, observed: ContactStates) -> TagSet:
    """The tags that the manifests name, and those of the ledger without the pairs that leave it by this revert."""
    leaving: dict[ContactId, TagSet] = {}
    for contact, net in reversal.changed.items():
        want, state, since = desired.want(contact), observed[contact], reversal.since.get(contact, NONE)
        case = _Case(want, state, net, since, NONE, NONE)
        if state.ledger.tags and (gone := case.released | case.taken_away):
            leaving[contact] = gone
    staying = {index for contact, index in observed.contacts.items() if contact not in leaving}
    owned = desired.owned.union(*(observed.patterns[index].ledger.tags for index in staying))
    return owned.union(*(observed[contact].ledger.tags - gone for contact, gone in leaving.items()))


def _make_diff(
    deltas: Mapping[tuple[Change, ...], list[ContactId]],
    ledger: Iterable[LedgerChange],
    omitted: Mapping[tuple[str, tuple[Tag, ...]], list[ContactId]],
    refused: Mapping[tuple[str, tuple[Tag, ...]], list[ContactId]],
) -> Diff:
    ordered = sorted_deltas(deltas)
    return Diff(
        deltas=ordered,
        demands=demands_from_deltas(ordered),
        ledger=tuple(sorted(ledger, key=lambda change: (change.released, change.kept))),
        held=list_held(omitted, "why", "tags"),
        quarantined=list_held(refused, "why"),
    )


@dataclass(frozen=True, slots=True)
class _ContactReversal:
    """The changes that undo a run on a contact; the tags left out, by reason; the pairs that leave the ledger."""

    changes: tuple[Change, ...]
    omitted: tuple[tuple[str, tuple[Tag, ...]], ...]
    released: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """A contact that a run changed, as it is desired and known now."""

    want: Want
    state: ContactState
    net: NetChange
    since: TagSet
    spent: TagSet
    """The tags with an outcome in the present run."""
    owned: TagSet

    def reverse_changes(self) -> _ContactReversal:
        take, give = self.net.added - self.spent, self.net.removed - self.spent
        unclear, released = self.net.unclear - self.spent, tuple(sorted(self.released))
        there = self.state.observed
        if there is None:
            return _ContactReversal((), sort_reasons(((UNKNOWN_NOW, take | give), (UNCLEAR_THEN, unclear))), released)
        # a tag that is not as the run left it was changed since, be it by a hand that no answer showed
        moved = ((take - there) | (give & there) | self.since) & (take | give)
        take, give = take - moved, give - moved
        doubt = (take | give) & self.state.doubtful
        take, give = take - doubt, give - doubt
        demanded = (take & self._present) | frozenset(filter(self._is_forbidden, give))
        turned = ((Action.ADD, give - demanded), (Action.REMOVE, take - demanded))
        changes = [Change(action, tag, Reason.REVERTED) for action, tags in turned for tag in tags]
        still = demanded | (self._entered_unchanged & self._present)
        omitted = (DEMANDED, still), (CHANGED_SINCE, moved), (IN_DOUBT, doubt), (UNCLEAR_THEN, unclear)
        return _ContactReversal(tuple(sorted(changes)), sort_reasons(omitted), released)

    @property
    def _present(self) -> TagSet:
        return frozenset(self.want.present)

    @property
    def released(self) -> TagSet:
        """The pairs that the run put under management without a change, neither desired nor touched since."""
        return self._entered_unchanged - self._present

    @property
    def _entered_unchanged(self) -> TagSet:
        # a tag that came back in another spelling was changed too
        changed = set(map(fold_spelling, self.net.added))
        entered = frozenset(tag for tag in self.net.entered - self.net.unclear if fold_spelling(tag) not in changed)
        return (entered & self.state.ledger.tags) - self.since - self.state.doubtful

    @property
    def taken_away(self) -> TagSet:
        """The tags that the run added, and that its revert removes."""
        there = (self.state.observed or NONE) - self.state.doubtful
        return (self.net.added & there) - self._present - self.since

    def _is_forbidden(self, tag: Tag) -> bool:
        """Whether the manifests, as they are, would have the next plan remove the tag again."""
        want = self.want
        if tag in want.present:
            return False
        if tag in want.absent:
            return True
        if any(fnmatchcase(tag, pattern) for pattern in want.ignore):
            return False
        if want.authority is Authority.EXACT or (want.authority is Authority.OWNED and tag in self.owned):
            return True
        # given back, it enters the ledger again (rule 4), and the next plan would prune it
        ours = self.net.released | self.state.ledger.tags
        return tag in ours and tag not in self.state.ledger.kept
