"""Undoing a run: the exact inverse of what it really changed, as far as that still stands. Pure.

Rules
1. What a run changed is told by the rows of its answers (`tagsAdded`, `tagsRemoved`), never by what it meant to do.
2. What anybody changed since is left alone: a later run, or others, as far as answers and observations tell.
3. What the manifests still demand is left out, and listed: the next plan would only do it again. Revert the commit
   first.
4. What is given back is under management again where it was before; a tag that never was ours comes back as foreign.
5. What is in doubt, and a contact that the API refuses, is left out and listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from reconciler.core.alias import spelling
from reconciler.core.change import IN_DOUBT, Change, Delta, Diff, Listed, demands_of
from reconciler.core.desired import Desired, Reason, Want
from reconciler.core.facts import Alias
from reconciler.core.guard import Before, Counts
from reconciler.core.journal import Answer, BatchRecord, RunLog
from reconciler.core.manifest import Authority
from reconciler.core.names import ContactId, Tag, TagSet
from reconciler.core.observed import Known, Observed, Seen
from reconciler.core.outcome import Action, Outcome
from reconciler.core.plan import LocationPlan, PlanOptions, Snapshot, plan_of

NONE: TagSet = frozenset()

DEMANDED = "still demanded: revert the commit first"
CHANGED_SINCE = "changed since by a later run, or by others"
UNCLEAR_THEN = "the run does not know whether it changed it"
UNKNOWN_NOW = "nothing is known of the contact any more"


@dataclass(frozen=True, slots=True)
class Net:
    """What a run changed on a contact, all in all. `released`: what left the ledger; `unclear`: nobody knows."""

    added: TagSet = NONE
    removed: TagSet = NONE
    released: TagSet = NONE
    unclear: TagSet = NONE


@dataclass(frozen=True, slots=True)
class Reversal:
    """What a run changed, and `since`: which of those tags later runs, or others between them, touched again."""

    run: str
    changed: Mapping[ContactId, Net]
    since: Mapping[ContactId, TagSet]

    def managed(self, contact: ContactId, tags: TagSet, desired: Desired) -> TagSet:
        """Which of `tags`, given back to the contact, are under management again."""
        net = self.changed.get(contact, Net())
        return tags & (net.released | frozenset(desired.want(contact).present))


def reverse(log: RunLog, later: Iterable[RunLog]) -> Reversal:
    """What there is to undo of a run. `later`: the runs of its location after it, the next one first."""
    changed: dict[ContactId, Net] = {}
    for batch in log.batches:
        for answer, contacts in _alike(batch).items():
            for contact in contacts:
                changed[contact] = _net(changed.get(contact, Net()), batch, answer)
    since: dict[ContactId, TagSet] = {}
    for run in later:
        for batch in run.batches:
            for answer, contacts in _alike(batch).items():
                for contact in contacts:
                    net = changed.get(contact)
                    if net is not None:
                        since[contact] = since.get(contact, NONE) | _touched(net, batch, answer)
    return Reversal(log.record.id, changed, since)


def _alike(batch: BatchRecord) -> dict[Answer, list[ContactId]]:
    found: defaultdict[Answer, list[ContactId]] = defaultdict(list)
    for contact, answer in batch.answers.items():
        found[answer].append(contact)
    return found


def _net(before: Net, batch: BatchRecord, answer: Answer) -> Net:
    """What was added and then removed again in one run was not changed, and the other way round."""
    verdict = answer.verdict
    if verdict is None or verdict.outcome in (Outcome.IN_DOUBT, Outcome.HELD):
        return Net(before.added, before.removed, before.released, before.unclear | frozenset(batch.tags))
    return Net(
        added=(before.added | (verdict.added - before.removed)) - verdict.removed,
        removed=(before.removed | (verdict.removed - before.added)) - verdict.added,
        released=before.released | answer.released,
        unclear=before.unclear,
    )


def _touched(net: Net, batch: BatchRecord, answer: Answer) -> TagSet:
    """What a later answer tells to have moved after the run: by that request, or before it by others."""
    verdict = answer.verdict
    if verdict is None or verdict.outcome in (Outcome.IN_DOUBT, Outcome.HELD):
        return frozenset(batch.tags)
    by_others = NONE if verdict.old is None else (net.added - verdict.old) | (net.removed & verdict.old)
    return verdict.added | verdict.removed | by_others


def plan_revert(
    reversal: Reversal,
    desired: Desired,
    state: Snapshot,
    options: PlanOptions,
    *,
    spent: Mapping[ContactId, TagSet] | None = None,
    done: Counts | None = None,
    before: Before | None = None,
    observations: tuple[Seen, ...] = (),
) -> LocationPlan:
    """What has to be done to undo a run, from what is known now; the arguments are those of `plan_location`."""
    found = undo(reversal, desired, state.observed, spent=spent or {}, aliases=state.facts.aliases)
    return plan_of(found, desired, state, options, done=done, before=before, observations=observations)


def undo(
    reversal: Reversal,
    desired: Desired,
    observed: Observed,
    *,
    spent: Mapping[ContactId, TagSet],
    aliases: Sequence[Alias] = (),
) -> Diff:
    """The changes that undo a run, and what is left out of them. `aliases`: what the location spells otherwise."""
    owned = desired.owned.union(*(observed.patterns[known].ledger for known in set(observed.contacts.values())))
    deltas: defaultdict[tuple[Change, ...], list[ContactId]] = defaultdict(list)
    left: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    refused: defaultdict[str, list[ContactId]] = defaultdict(list)
    verdicts: dict[tuple[object, ...], _Verdict] = {}
    for contact, net in reversal.changed.items():
        done, since = spent.get(contact, NONE), reversal.since.get(contact, NONE)
        key = (desired.contacts.get(contact, -1), observed.contacts.get(contact, 0), net, done, since)
        verdict = verdicts.get(key)
        if verdict is None:
            want = desired.want(contact)
            case = _Case(want, observed[contact], net, since, done, owned, spelling(aliases, want.present).desired)
            verdict = verdicts[key] = case.verdict()
        if verdict.changes and observed[contact].quarantine is not None:
            refused[str(observed[contact].quarantine)].append(contact)
        elif verdict.changes:
            deltas[verdict.changes].append(contact)
        for why, tags in verdict.left_out:
            left[why, tags].append(contact)
    return _diff(deltas, left, refused)


def _diff(
    deltas: Mapping[tuple[Change, ...], list[ContactId]],
    left: Mapping[tuple[str, tuple[Tag, ...]], list[ContactId]],
    refused: Mapping[str, list[ContactId]],
) -> Diff:
    ordered = tuple(Delta(changes, tuple(sorted(contacts))) for changes, contacts in sorted(deltas.items()))
    return Diff(
        deltas=ordered,
        demands=demands_of(ordered),
        deferrals=(),
        ledger=(),
        held=tuple(Listed(why, tags, tuple(sorted(contacts))) for (why, tags), contacts in sorted(left.items())),
        quarantined=tuple(Listed(why, (), tuple(sorted(contacts))) for why, contacts in sorted(refused.items())),
        spared=(),
        unobserved=0,
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    changes: tuple[Change, ...]
    left_out: tuple[tuple[str, tuple[Tag, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Case:
    """A contact that a run changed: what is wanted of it, what is known of it now."""

    want: Want
    known: Known
    net: Net
    since: TagSet
    spent: TagSet
    owned: TagSet
    respelt: TagSet
    """What is there under another spelling, and desired."""

    def verdict(self) -> _Verdict:
        take, give = self.net.added - self.spent, self.net.removed - self.spent
        unclear = self.net.unclear - self.spent
        there = self.known.observed
        if there is None:
            return _Verdict((), _reasons({UNKNOWN_NOW: take | give, UNCLEAR_THEN: unclear}))
        moved = ((take - there) | (give & there) | self.since) & (take | give)
        take, give = take - moved, give - moved
        doubt = (take | give) & self.known.doubt
        take, give = take - doubt, give - doubt
        wanted = self.respelt.union(self.want.present)
        demanded = (take & wanted) | frozenset(filter(self._forbidden, give))
        changes = (
            *(Change(Action.ADD, tag, Reason.REVERTED) for tag in give - demanded),
            *(Change(Action.REMOVE, tag, Reason.REVERTED) for tag in take - demanded),
        )
        left_out = {DEMANDED: demanded, CHANGED_SINCE: moved, IN_DOUBT: doubt, UNCLEAR_THEN: unclear}
        return _Verdict(tuple(sorted(changes)), _reasons(left_out))

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
