"""Undoing a run: the exact inverse of what it really changed, as far as that still stands. Pure.

Rules
1. What a run changed is told by the rows of its answers (`tagsAdded`, `tagsRemoved`), never by what it meant to do.
2. What anybody changed since is left alone: a later run, or others, as far as answers and observations tell.
3. What the manifests still demand is left out, and listed: the next plan would only do it again. Revert the commit
   first.
4. What is given back is under management again where it was before; a tag that never was ours comes back as foreign.
5. What it put under management without a change (adopted, or asked for and there already) leaves the ledger, unless it
   is still desired, or a later run had to do with it. What leaves the ledger by this makes no tag owned.
6. What is in doubt, and a contact that the API refuses, is left out and listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from reconciler.core.manifests.resolve import Desired, Want
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import NONE, ContactState, ContactStates
from reconciler.core.model.journal import Answer, BatchRecord, RunLog
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Tag, TagSet, fold_spelling
from reconciler.core.model.outcome import Action, Outcome, Reason
from reconciler.core.planning.changes import (
    IN_DOUBT,
    Change,
    Diff,
    HeldContacts,
    LedgerChange,
    demands_from_deltas,
    sorted_deltas,
)
from reconciler.core.planning.guards import Before, Counts
from reconciler.core.planning.make_plan import plan_of
from reconciler.core.planning.plan import LocationPlan, LocationState, PlanOptions
from reconciler.core.planning.tag_aliases import Spelling

DEMANDED = "still demanded: revert the commit first"
CHANGED_SINCE = "changed since by a later run, or by others"
UNCLEAR_THEN = "the run does not know whether it changed it"
UNKNOWN_NOW = "nothing is known of the contact any more"


@dataclass(frozen=True, slots=True)
class NetChange:
    """What a run changed on a contact, all in all. `released`: what left the ledger; `unclear`: nobody knows.

    `entered`: what it put under management.
    """

    added: TagSet = NONE
    removed: TagSet = NONE
    released: TagSet = NONE
    unclear: TagSet = NONE
    entered: TagSet = NONE

    def in_spelling(self, spelling: Spelling) -> NetChange:
        read = spelling.read
        return NetChange(*map(read, (self.added, self.removed, self.released, self.unclear, self.entered)))


@dataclass(frozen=True, slots=True)
class Reversal:
    """What a run changed, and `since`: which of those tags later runs, or others between them, touched again.

    `traced`: whether the journal tells what it put under management.
    """

    run: str
    changed: Mapping[ContactId, NetChange]
    since: Mapping[ContactId, TagSet]
    traced: bool = True

    @property
    def moved(self) -> list[ContactId]:
        """The contacts on which it changed something, or may have."""
        return sorted(each for each, net in self.changed.items() if net.added or net.removed or net.unclear)

    def managed(self, contact: ContactId, tags: TagSet, desired: Desired) -> TagSet:
        """Which of `tags`, given back to the contact, are under management again."""
        net = self.changed.get(contact, NetChange())
        return tags & (net.released | frozenset(desired.want(contact).present))

    def in_spelling(self, spelling: Spelling) -> Reversal:
        """The journal has the spellings that were sent and answered."""
        if not spelling.names:
            return self
        return replace(
            self,
            changed={contact: net.in_spelling(spelling) for contact, net in self.changed.items()},
            since={contact: spelling.read(tags) for contact, tags in self.since.items()},
        )


def read_reversal(log: RunLog, later: Iterable[RunLog]) -> Reversal:
    """What there is to undo of a run. `later`: the runs of its location after it, the next one first."""
    changed: dict[ContactId, NetChange] = {}
    for batch in log.batches:
        for answer, contacts in _alike(batch).items():
            for contact in contacts:
                changed[contact] = _net(changed.get(contact, NetChange()), batch, answer)
    for contact, tags in log.adopted.items():
        net = changed.get(contact, NetChange())
        changed[contact] = replace(net, entered=net.entered | tags)
    since: dict[ContactId, TagSet] = {}
    for run in later:
        for contact, tags in _touched_by(run, changed):
            since[contact] = since.get(contact, NONE) | tags
    return Reversal(log.record.id, changed, since, log.record.traced)


def _touched_by(run: RunLog, changed: Mapping[ContactId, NetChange]) -> Iterator[tuple[ContactId, TagSet]]:
    """What a later run had to do with, of the contacts that were changed."""
    for batch in run.batches:
        for answer, contacts in _alike(batch).items():
            yield from ((each, _touched(changed[each], batch, answer)) for each in contacts if each in changed)
    yield from ((contact, tags) for contact, tags in run.adopted.items() if contact in changed)


def _alike(batch: BatchRecord) -> dict[Answer, list[ContactId]]:
    found: defaultdict[Answer, list[ContactId]] = defaultdict(list)
    for contact, answer in batch.answers.items():
        found[answer].append(contact)
    return found


def _net(before: NetChange, batch: BatchRecord, answer: Answer) -> NetChange:
    """What was added and then removed again in one run was not changed, and the other way round."""
    verdict = answer.verdict
    if verdict is None or verdict.outcome in (Outcome.IN_DOUBT, Outcome.HELD):
        return replace(before, unclear=before.unclear | frozenset(batch.tags))
    counts = verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)
    return NetChange(
        added=(before.added | (verdict.added - before.removed)) - verdict.removed,
        removed=(before.removed | (verdict.removed - before.added)) - verdict.added,
        released=before.released | answer.released,
        unclear=before.unclear,
        entered=before.entered | answer.entered if counts else before.entered,
    )


def _touched(net: NetChange, batch: BatchRecord, answer: Answer) -> TagSet:
    """What a later answer tells to have moved after the run: by that request, or before it by others."""
    verdict = answer.verdict
    if verdict is None or verdict.outcome in (Outcome.IN_DOUBT, Outcome.HELD):
        return frozenset(batch.tags)
    by_others = NONE if verdict.old is None else (net.added - verdict.old) | (net.removed & verdict.old)
    return verdict.added | verdict.removed | by_others | ((answer.entered | answer.released) & net.entered)


def plan_revert(
    reversal: Reversal,
    desired: Desired,
    state: LocationState,
    options: PlanOptions,
    *,
    spent: Mapping[ContactId, TagSet] | None = None,
    done: Counts | None = None,
    before: Before | None = None,
    observations: tuple[ObservedContacts, ...] = (),
) -> LocationPlan:
    """What has to be done to undo a run, from what is known now; the arguments are those of `plan_location`."""
    desired, options = state.spelling.spell_desired(desired), options.in_spelling(state.spelling)
    found = undo(reversal.in_spelling(state.spelling), desired, state.observed, spent=spent or {}, gone=options.gone)
    return plan_of(found, desired, state, options, done=done, before=before, observations=observations)


def undo(
    reversal: Reversal,
    desired: Desired,
    observed: ContactStates,
    *,
    spent: Mapping[ContactId, TagSet],
    gone: Iterable[HeldContacts] = (),
) -> Diff:
    """The changes that undo a run, and what is left out of them; all in one spelling of each tag. `gone`: contacts that
    are not there, and why."""
    away = {contact: each.why for each in gone for contact in each.contacts}
    owned = _owned(reversal, desired, observed)
    deltas: defaultdict[tuple[Change, ...], list[ContactId]] = defaultdict(list)
    left: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    refused: defaultdict[str, list[ContactId]] = defaultdict(list)
    released: defaultdict[tuple[tuple[Tag, ...], tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    verdicts: dict[tuple[object, ...], _Verdict] = {}
    for contact, net in reversal.changed.items():
        done, since = spent.get(contact, NONE), reversal.since.get(contact, NONE)
        key = (desired.contacts.get(contact, -1), observed.contacts.get(contact, 0), net, done, since)
        verdict = verdicts.get(key)
        if verdict is None:
            want = desired.want(contact)
            case = _Case(want, observed[contact], net, since, done, owned)
            verdict = verdicts[key] = case.verdict()
        if verdict.released:
            kept = observed[contact].kept.difference(verdict.released)
            released[verdict.released, tuple(sorted(kept))].append(contact)
        if verdict.changes and (why := away.get(contact) or observed[contact].quarantine) is not None:
            refused[str(why)].append(contact)
        elif verdict.changes:
            deltas[verdict.changes].append(contact)
        for why, tags in verdict.left_out:
            left[why, tags].append(contact)
    ledger = [LedgerChange((), gone, kept, tuple(sorted(contacts))) for (gone, kept), contacts in released.items()]
    return _diff(deltas, ledger, left, refused)


def _owned(reversal: Reversal, desired: Desired, observed: ContactStates) -> TagSet:
    """What the manifests name, and the ledger without what leaves it by this revert."""
    leaving: dict[ContactId, TagSet] = {}
    for contact, net in reversal.changed.items():
        want, known, since = desired.want(contact), observed[contact], reversal.since.get(contact, NONE)
        case = _Case(want, known, net, since, NONE, NONE)
        if known.ledger and (gone := case.released() | case.taken()):
            leaving[contact] = gone
    staying = {known for contact, known in observed.contacts.items() if contact not in leaving}
    owned = desired.owned.union(*(observed.patterns[known].ledger for known in staying))
    return owned.union(*(observed[contact].ledger - gone for contact, gone in leaving.items()))


def _diff(
    deltas: Mapping[tuple[Change, ...], list[ContactId]],
    ledger: Iterable[LedgerChange],
    left: Mapping[tuple[str, tuple[Tag, ...]], list[ContactId]],
    refused: Mapping[str, list[ContactId]],
) -> Diff:
    ordered = sorted_deltas(deltas)
    return Diff(
        deltas=ordered,
        demands=demands_from_deltas(ordered),
        deferrals=(),
        ledger=tuple(sorted(ledger, key=lambda each: (each.released, each.kept))),
        held=tuple(HeldContacts(why, tags, tuple(sorted(contacts))) for (why, tags), contacts in sorted(left.items())),
        quarantined=tuple(HeldContacts(why, (), tuple(sorted(contacts))) for why, contacts in sorted(refused.items())),
        spared=(),
        unobserved=0,
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    changes: tuple[Change, ...]
    left_out: tuple[tuple[str, tuple[Tag, ...]], ...]
    released: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """A contact that a run changed: what is wanted of it, what is known of it now."""

    want: Want
    known: ContactState
    net: NetChange
    since: TagSet
    spent: TagSet
    owned: TagSet

    def verdict(self) -> _Verdict:
        take, give = self.net.added - self.spent, self.net.removed - self.spent
        unclear = self.net.unclear - self.spent
        there = self.known.observed
        if there is None:
            left_out = {UNKNOWN_NOW: take | give, UNCLEAR_THEN: unclear}
            return _Verdict((), _reasons(left_out), tuple(sorted(self.released())))
        moved = ((take - there) | (give & there) | self.since) & (take | give)
        take, give = take - moved, give - moved
        doubt = (take | give) & self.known.doubt
        take, give = take - doubt, give - doubt
        demanded = (take & self._wanted) | frozenset(filter(self._forbidden, give))
        changes = (
            *(Change(Action.ADD, tag, Reason.REVERTED) for tag in give - demanded),
            *(Change(Action.REMOVE, tag, Reason.REVERTED) for tag in take - demanded),
        )
        still = demanded | (self._unchanged & self._wanted)
        left_out = {DEMANDED: still, CHANGED_SINCE: moved, IN_DOUBT: doubt, UNCLEAR_THEN: unclear}
        return _Verdict(tuple(sorted(changes)), _reasons(left_out), tuple(sorted(self.released())))

    @property
    def _wanted(self) -> TagSet:
        return frozenset(self.want.present)

    def released(self) -> TagSet:
        """What the run put under management and did not change, and nobody wants or had to do with since."""
        return self._unchanged - self._wanted

    @property
    def _unchanged(self) -> TagSet:
        # what came back in another spelling was changed too
        changed = set(map(fold_spelling, self.net.added))
        mine = frozenset(tag for tag in self.net.entered - self.net.unclear if fold_spelling(tag) not in changed)
        return (mine & self.known.ledger) - self.since - self.known.doubt

    def taken(self) -> TagSet:
        """What the run added, and is taken away."""
        there = (self.known.observed or NONE) - self.known.doubt
        return (self.net.added & there) - self._wanted - self.since

    def _forbidden(self, tag: Tag) -> bool:
        """Whether the manifests, as they are, would have the next plan remove the tag again."""
        want = self.want
        if tag in want.present:
            return False
        if tag in want.absent:
            return True
        if any(fnmatchcase(tag, each) for each in want.ignore):
            return False
        if want.authority is Authority.EXACT or (want.authority is Authority.OWNED and tag in self.owned):
            return True
        ours = self.net.released | self.known.ledger
        return tag in ours and tag not in self.known.kept


def _reasons(tags: Mapping[str, TagSet]) -> tuple[tuple[str, tuple[Tag, ...]], ...]:
    return tuple((why, tuple(sorted(found))) for why, found in tags.items() if found)
