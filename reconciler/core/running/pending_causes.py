"""Why pairs are pending: manifests or sets that moved since the last apply, or a run that planned them and did not send
them; and which of them are the doing of others. Pure.

Rules
1. A run's ending tells the pairs that it left. A run without an ending (it was killed, or is under way) left all that
   is pending, if its plan was of the same manifests as a whole.
2. The newest run of manifests as a whole is the last apply. Older runs tell no more.
3. A pair waits for its pace if a run left it to wait, or would have. A pair that no run has planned yet is pending
   since the manifests moved.
4. Where the manifests are those of the last apply, they did not move: an observation showed the pair since. Of a
   contact that was forgotten there is none. A tag to remove that is not in the ledger is then `unexpected` on a contact
   that was observed by that apply, as an adoption proves: it would have removed the tag, had it been there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from reconciler.core.manifests.resolve import Desired, ResolvedSet
from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_numbers import ABSENT
from reconciler.core.model.contact_state import ContactStates
from reconciler.core.model.journal import RunEnding, RunRecord, RunStatus, Shortfall
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet, iso
from reconciler.core.model.outcome import Action, Outcome, PendingCause
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.attribution import ADDING
from reconciler.core.observing.drift import REMOVED_LATER, Drifted, DriftReport
from reconciler.core.planning.changes import Change, Delta
from reconciler.core.planning.slow_release import SentAdds, WaitingAdds, list_release_rules, release_changes
from reconciler.core.planning.tag_aliases import AS_SENT, Spelling
from reconciler.core.running.shortfalls import waits_for_release

_Reason = tuple[PendingCause, str]
"""Why a pair is pending: its cause, and a sentence on it."""
_Pair = tuple[Action, ContactId, Tag]
_LEFT = (Outcome.NOT_SENT, Outcome.DEFERRED)
_RANK = {drift: rank for rank, drift in enumerate(DriftClass)}
MOVED = "the manifests moved"
NEVER = "never applied"
NEVER_THERE = "never applied there, as far as is known"
"""Of a contact that was forgotten, for one."""


@dataclass(frozen=True, slots=True)
class History:
    """The journal of a location, the oldest run first, and the additions of slowly given tags that count by it."""

    runs: Sequence[RunRecord]
    read_ending: Callable[[str], RunEnding | None]
    read_adopted: Callable[[str], Mapping[ContactId, TagSet]]
    sent: SentAdds

    def find_observed(self, last: RunRecord) -> frozenset[ContactId]:
        """The contacts with pairs that this run or an earlier one adopted: the run knew their tags when it began."""
        adopted = {run.id: self.read_adopted(run.id) for run in self.runs[: self.runs.index(last) + 1]}
        return frozenset(contact for pairs in adopted.values() for contact in pairs)


def explain_pending(
    report: DriftReport,
    desired: Desired,
    history: History,
    observed: ContactStates,
    *,
    now: Instant,
    spelling: Spelling = AS_SENT,
) -> DriftReport:
    """The report with the cause of each pending pair; contacts of different causes stand apart."""
    pending = [drifted for drifted in report.drifted if drifted.drift is DriftClass.PENDING]
    if not pending:
        return report
    if report.applied:
        desired = spelling.spell_desired(desired)
        left = _find_left(history, desired, {drifted.tag for drifted in pending}, spelling)
        sets = tuple(replace(entry, tags=spelling.read(entry.tags)) for entry in desired.sets)
        case = _Case(desired, sets, observed, left, _find_waiting(report, desired, history.sent, now), now)
        parts = tuple(part for drifted in report.drifted for part in case.split(drifted))
        parts = _tell_brought(parts, observed, history, left)
    else:
        # before the first apply there is nothing that the manifests moved from
        parts = tuple(_never_applied(drifted) for drifted in report.drifted)
    return replace(report, drifted=parts)


def _tell_brought(
    parts: tuple[Drifted, ...], observed: ContactStates, history: History, left: _Left
) -> tuple[Drifted, ...]:
    """The tags that others brought after the last apply are their doing, whatever showed them."""
    if left.whole is None or not any(map(_is_found_removal, parts)):
        return parts
    known = history.find_observed(left.whole)

    def split(part: Drifted) -> list[Drifted]:
        theirs = [each for each in part.contacts if each in known and part.tag not in observed[each].ledger.tags]
        return _split_brought(part, frozenset(theirs)) if _is_found_removal(part) else [part]

    return tuple(sorted((each for part in parts for each in split(part)), key=lambda part: _RANK[part.drift]))


def _is_found_removal(part: Drifted) -> bool:
    return part.cause is PendingCause.FOUND and _action_of(part) is Action.REMOVE


def _split_brought(part: Drifted, theirs: frozenset[ContactId]) -> list[Drifted]:
    ours = tuple(contact for contact in part.contacts if contact not in theirs)
    brought = tuple(contact for contact in part.contacts if contact in theirs)
    unexpected = replace(part, drift=DriftClass.UNEXPECTED, contacts=brought, cause=None, why_pending="")
    return [each for each in (unexpected, replace(part, contacts=ours)) if each.contacts]


def _never_applied(drifted: Drifted) -> Drifted:
    if drifted.drift is not DriftClass.PENDING:
        return drifted
    return replace(drifted, cause=PendingCause.NEVER, why_pending=NEVER)


def _action_of(drifted: Drifted) -> Action:
    return Action.ADD if drifted.reason in ADDING else Action.REMOVE


def _find_waiting(report: DriftReport, desired: Desired, sent: SentAdds, now: Instant) -> Mapping[Tag, WaitingAdds]:
    """The additions that may not go yet, if an apply began now."""
    # what others removed is put back at the same pace
    adding = [drifted for drifted in report.drifted if drifted.drift in (DriftClass.PENDING, DriftClass.MISSING)]
    deltas = tuple(
        Delta((Change(Action.ADD, drifted.tag, Reason(drifted.reason)),), drifted.contacts)
        for drifted in adding
        if _action_of(drifted) is Action.ADD
    )
    return release_changes(deltas, list_release_rules(desired), sent, now).waiting


@dataclass(frozen=True, slots=True)
class _Left:
    """The pairs that runs left, from the last apply of manifests as a whole on."""

    unsent: Mapping[_Pair, tuple[RunRecord, Shortfall]]
    broken: RunRecord | None = None
    """A run by these manifests, as a whole, without an ending."""
    whole: RunRecord | None = None
    """The last apply of manifests as a whole."""
    is_same: bool = False
    """Whether that was of these manifests."""


def _find_left(history: History, desired: Desired, tags: set[Tag], spelling: Spelling) -> _Left:
    unsent: dict[_Pair, tuple[RunRecord, Shortfall]] = {}
    for run in reversed(history.runs):
        if run.header.operation != "apply":
            continue
        ending = history.read_ending(run.id)
        whole = run.header.manifests_digest if ending is None else ending.manifests_digest
        if ending is not None:
            for short in ending.shortfalls:
                for pair in _list_pairs(short, tags, spelling):
                    unsent.setdefault(pair, (run, short))
        # one that ended tells what it left; one that did not left what is pending, if it was of these manifests
        if whole and (ending is not None or whole == desired.digest):
            return _Left(unsent, run if ending is None else None, run, whole == desired.digest)
    return _Left(unsent)


def _list_pairs(short: Shortfall, tags: set[Tag], spelling: Spelling) -> Iterator[_Pair]:
    if short.outcome in _LEFT:
        for tag in map(spelling.of, short.tags):
            if tag in tags:
                yield from ((short.action, contact, tag) for contact in short.contacts)


@dataclass(frozen=True, slots=True)
class _Case:
    """The facts that tell the cause of a pending pair."""

    desired: Desired
    sets: Sequence[ResolvedSet]
    observed: ContactStates
    left: _Left
    waiting: Mapping[Tag, WaitingAdds]
    now: Instant

    def split(self, drifted: Drifted) -> Iterator[Drifted]:
        if drifted.drift is not DriftClass.PENDING:
            yield drifted
        elif drifted.reason in REMOVED_LATER:
            yield replace(drifted, cause=PendingCause.WAITS, why_pending=drifted.reason)
        else:
            for (cause, why), contacts in self._group(drifted).items():
                yield replace(drifted, contacts=tuple(contacts), cause=cause, why_pending=why)

    def _group(self, drifted: Drifted) -> Mapping[_Reason, list[ContactId]]:
        """Its contacts by the reason why they are pending."""
        groups: defaultdict[_Reason, list[ContactId]] = defaultdict(list)
        # no run left it: a million contacts belong to few combinations of sets
        explain_moved = cache(partial(self._explain_moved, drifted))
        indexes = self.desired.contacts.find_all(drifted.contacts, ABSENT)
        patterns = self.observed.contacts.find_all(drifted.contacts, 0)
        for contact, index, pattern in zip(drifted.contacts, indexes, patterns, strict=True):
            groups[self._explain_left(contact, drifted) or explain_moved(index, pattern)].append(contact)
        return groups

    def _explain_left(self, contact: ContactId, drifted: Drifted) -> _Reason | None:
        """A run planned the pair, and did not send it."""
        action, broken = _action_of(drifted), self.left.broken
        waits = self.waiting.get(drifted.tag) if action is Action.ADD else None
        if waits is not None and contact not in waits.contacts:
            waits = None
        if found := self.left.unsent.get((action, contact, drifted.tag)):
            run, short = found
            if not waits_for_release(short):
                return PendingCause.LEFT, f"planned by run {run.id}, and not sent: {short.why}"
            return PendingCause.PACE, waits.why if waits else f"waited when run {run.id} ended, and may go now"
        if broken is None:
            return None
        if waits is not None:
            return PendingCause.PACE, waits.why
        is_going = broken.status is RunStatus.RUNNING
        return PendingCause.LEFT, f"planned by run {broken.id}, which {'is under way' if is_going else 'was killed'}"

    def _explain_moved(self, drifted: Drifted, index: int, pattern: int) -> _Reason:
        """The desired tags have moved, or an observation showed it.

        `index`: of the combination of sets. `pattern`: of what is known of the contact.
        """
        if drifted.reason == Reason.EXPIRED and (ends := self._find_ends(index, drifted.tag)):
            return PendingCause.ENDED, f"the set ended ({', '.join(ends)})"
        if drifted.reason == Reason.DECLARED and (begins := self._find_begins(index, drifted.tag)):
            return PendingCause.BEGAN, f"the set began ({', '.join(begins)})"
        if self.left.is_same and self.left.whole is not None:
            if self.observed.patterns[pattern].observation is None:
                return PendingCause.NEVER, NEVER_THERE
            return PendingCause.FOUND, f"an observation showed it, after run {self.left.whole.id} was planned"
        return PendingCause.MOVED, MOVED

    def _find_ends(self, index: int, tag: Tag) -> list[str]:
        """The sets that would declare the tag, where each of them is over."""
        sets = [entry for entry in self._sets_of(index, tag) if not entry.active]
        ended = [f"{entry.name}: {iso(entry.until)}" for entry in sets if entry.until and entry.until <= self.now]
        return ended if len(ended) == len(sets) else []

    def _find_begins(self, index: int, tag: Tag) -> list[str]:
        """The sets that declare the tag, where each of them began after the last apply."""
        since = None if self.left.whole is None else self.left.whole.header.started
        sets = [entry for entry in self._sets_of(index, tag) if entry.active]
        began = [f"{entry.name}: {iso(entry.start)}" for entry in sets if entry.start and since and entry.start > since]
        return began if len(began) == len(sets) else []

    def _sets_of(self, index: int, tag: Tag) -> Iterable[ResolvedSet]:
        places = () if index == ABSENT else self.desired.combinations[index]
        return (self.sets[place] for place in places if tag in self.sets[place].tags)
