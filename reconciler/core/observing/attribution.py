"""The rows of several runs beside one another: the run that last set a pair, the changes of others, holders of a tag;
and drift by its cause, as they tell it and as the settings expect it.

Rules
1. Others changed a tag where an answer's `oldTags` differ from what the answer before it, of the same contact, left.
2. Holders are counted among the contacts of answers: a contact that was never in one is not "no tags".
3. Runs that were answered nothing, or whose rows were given up, have no point in a trend.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.journal import BatchRecord, RunLog, RunRecord
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.settings import DriftClass, ExpectedDrift
from reconciler.core.observing.drift import Drifted, DriftReport, Groups, Setter, group_drifted, observations_of
from reconciler.core.planning.tag_aliases import AS_SENT, Spelling

SETTLED = (Outcome.APPLIED, Outcome.NOOP, Outcome.SEEN)

Pair = tuple[ContactId, Tag]


def find_setters(
    pairs: Iterable[Pair],
    action: Action,
    runs: Sequence[RunRecord],
    batches: Callable[[str], Sequence[BatchRecord]],
) -> dict[Pair, Setter]:
    """Of each pair the last run that added (removed) it, or found it so; the runs come with the oldest first."""
    found: dict[Pair, Setter] = {}
    wanted = _by_contact(pairs)
    for run, batch in _backwards(runs, batches, wanted):
        if batch.action is action:
            _take(batch, run, wanted, found)
    return found


def _by_contact(pairs: Iterable[Pair]) -> dict[ContactId, set[Tag]]:
    wanted: dict[ContactId, set[Tag]] = {}
    for contact, tag in pairs:
        wanted.setdefault(contact, set()).add(tag)
    return wanted


def _backwards(
    runs: Sequence[RunRecord], batches: Callable[[str], Sequence[BatchRecord]], wanted: Collection[ContactId]
) -> Iterator[tuple[RunRecord, BatchRecord]]:
    """The batches of the runs, the last one first, while pairs are wanted."""
    for run in reversed(runs):
        if not wanted:
            return
        # the rows of older runs are given up: their batches tell nothing any more
        if run.rows:
            yield from ((run, batch) for batch in reversed(batches(run.id)))


def _take(batch: BatchRecord, run: RunRecord, wanted: dict[ContactId, set[Tag]], found: dict[Pair, Setter]) -> None:
    setter = Setter(run.id, run.header.who, batch.ended if batch.ended is not None else batch.intended)
    tags = frozenset(batch.tags)
    for contact in batch.answers.keys() & wanted.keys():
        verdict = batch.answers[contact].verdict
        # a row in doubt does not show that the pair was ever as it should be
        if verdict is None or verdict.outcome not in SETTLED:
            continue
        for tag in wanted[contact] & tags:
            found[contact, tag] = setter
        # the walk goes backwards: the first batch found is the last that set the pair
        wanted[contact] -= tags
        if not wanted[contact]:
            del wanted[contact]


def added_by_others(
    pairs: Iterable[Pair], runs: Sequence[RunRecord], batches: Callable[[str], Sequence[BatchRecord]]
) -> set[Pair]:
    """The pairs that were absent when an answer last told so, and that no request of ours added since.

    They are known to be there now. The origin of a pair that every answer showed, or none told of, is unknown. The runs
    come with the oldest first.
    """
    found: set[Pair] = set()
    wanted = _by_contact(pairs)
    for _, batch in _backwards(runs, batches, wanted):
        _take_absent(batch, wanted, found)
    return found


def _take_absent(batch: BatchRecord, wanted: dict[ContactId, set[Tag]], found: set[Pair]) -> None:
    for contact in batch.answers.keys() & wanted.keys():
        verdict, tags = batch.answers[contact].verdict, wanted[contact]
        if verdict is None or verdict.observed is None:
            # a tag that a request of ours may have added is not the doing of others
            decided = tags.intersection(batch.tags) if batch.action is Action.ADD else set()
        else:
            absent = tags - verdict.observed
            found |= {(contact, tag) for tag in absent}
            # absent: others added it since; added by us then: it is ours
            decided = absent | (tags & verdict.added)
        tags -= decided
        if not tags:
            del wanted[contact]


Points = tuple[tuple[Instant, int], ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """A point a run, at its beginning. `changed` and `drifted` count pairs, `holders` contacts."""

    changed: Points
    drifted: Points
    holders: Mapping[Tag, Points]


def compute_trend(logs: Iterable[RunLog]) -> Trend:
    """`logs`: the runs of one location, the oldest first."""
    last: dict[ContactId, TagSet] = {}
    holders: Counter[Tag] = Counter()
    changed: list[tuple[Instant, int]] = []
    drifted: list[tuple[Instant, int]] = []
    held: dict[Tag, list[tuple[Instant, int]]] = {}
    for log in logs:
        at, ours, theirs = log.record.header.started, 0, 0
        told = list(_told(log))
        if not told:
            continue
        for contact, verdict in told:
            now = verdict.observed or frozenset()
            ours += len(verdict.added) + len(verdict.removed)
            before = last.get(contact)
            # the first answer of a contact has no earlier one to differ from: it shows no change by others
            theirs += len(before ^ (verdict.old or frozenset())) if before is not None else 0
            _move(holders, before or frozenset(), now)
            last[contact] = now
        changed.append((at, ours))
        drifted.append((at, theirs))
        for tag in holders:
            held.setdefault(tag, []).append((at, holders[tag]))
    return Trend(tuple(changed), tuple(drifted), {tag: tuple(points) for tag, points in held.items()})


def _told(log: RunLog) -> Iterator[tuple[ContactId, ContactOutcome]]:
    for batch in log.batches:
        for contact, answer in batch.answers.items():
            if answer.verdict is not None and answer.verdict.observed is not None:
                yield contact, answer.verdict


def _move(holders: Counter[Tag], before: TagSet, now: TagSet) -> None:
    holders.update(now - before)
    holders.subtract(before - now)


_SET_BY = {DriftClass.MISSING: Action.ADD, DriftClass.FLAPPING: Action.ADD, DriftClass.UNEXPECTED: Action.REMOVE}
ADDING = (Reason.DECLARED, Reason.RESTORED, Reason.AGAIN)
_NOBODY = Setter("", "", Instant(0))


def attribute_drift(
    report: DriftReport,
    observed: ContactStates,
    earlier: Mapping[ContactId, ContactState],
    runs: Sequence[RunRecord],
    batches: Callable[[str], Sequence[BatchRecord]],
) -> DriftReport:
    """Each class of others' doing by the run that last set the pair. `earlier`: the states before a refresh."""
    report = _attributed(report, observed, runs, batches)
    setters: dict[Action, dict[Pair, Setter]] = {}
    for action in Action:
        pairs = [
            (contact, each.tag)
            for each in report.drifted
            if _SET_BY.get(each.drift) is action
            for contact in each.contacts
        ]
        setters[action] = find_setters(pairs, action, runs, batches) if pairs else {}
    parts = [part for each in report.drifted for part in _by_setter(each, observed, earlier, setters)]
    return replace(report, drifted=tuple(parts))


def _attributed(
    report: DriftReport,
    observed: ContactStates,
    runs: Sequence[RunRecord],
    batches: Callable[[str], Sequence[BatchRecord]],
) -> DriftReport:
    """The report where a tag to remove that came after an answer had shown it absent counts as others' doing."""
    pairs = [
        (contact, drifted.tag)
        for drifted in report.drifted
        if _is_pending_removal(drifted)
        for contact in drifted.contacts
        if drifted.tag not in observed[contact].ledger.tags
    ]
    others = added_by_others(pairs, runs, batches) if pairs else set()
    if not others:
        return report
    groups: Groups = defaultdict(list)
    for drifted in report.drifted:
        for contact in drifted.contacts:
            # a removal that the manifests call for is pending, but for a tag that others brought meanwhile
            theirs = _is_pending_removal(drifted) and (contact, drifted.tag) in others
            drift = DriftClass.UNEXPECTED if theirs else drifted.drift
            groups[drift, drifted.tag, drifted.reason].append(contact)
    return replace(report, drifted=group_drifted(groups, observed))


def _is_pending_removal(drifted: Drifted) -> bool:
    return drifted.drift is DriftClass.PENDING and drifted.reason not in ADDING


def _by_setter(
    each: Drifted,
    observed: ContactStates,
    earlier: Mapping[ContactId, ContactState],
    setters: Mapping[Action, Mapping[Pair, Setter]],
) -> Iterator[Drifted]:
    action = _SET_BY.get(each.drift)
    if action is None:
        yield each
        return
    groups: defaultdict[str, list[ContactId]] = defaultdict(list)
    first: dict[str, Setter] = {}
    for contact in each.contacts:
        found = setters[action].get((contact, each.tag))
        run = "" if found is None else found.run
        groups[run].append(contact)
        if found is not None:
            first[run] = min(found, first.get(run, found))
    for run, contacts in sorted(groups.items(), key=lambda item: (not item[0], first.get(item[0], _NOBODY))):
        setter = first.get(run)
        proofs = [_still(each, earlier.get(contact), setter, action) for contact in contacts]
        after = min((at for at in proofs if at is not None), default=None)
        oldest, newest = observations_of(contacts, observed)
        yield replace(each, contacts=tuple(contacts), set_by=setter, after=after, oldest=oldest, newest=newest)


def _still(each: Drifted, before: ContactState | None, setter: Setter | None, action: Action) -> Instant | None:
    """When the pair was last known to be as it should."""
    # the later of both proofs: our write, and an observation before the refresh
    proofs = [] if setter is None else [setter.at]
    there = action is Action.ADD
    if before is not None and before.observed is not None and before.observed_at is not None:
        proofs += [before.observed_at] if (each.tag in before.observed) is there else []
    return max(proofs, default=None)


def mark_expected(
    report: DriftReport,
    expected: Iterable[ExpectedDrift],
    desired: Desired,
    *,
    now: Instant,
    spelling: Spelling = AS_SENT,
) -> DriftReport:
    """The report with the drift that the settings expect marked by their reason; an expired entry expects none."""
    entries = [
        (each, _members(each, desired))
        for each in expected
        if each.location in (None, report.location) and (each.until is None or now < each.until)
    ]
    return replace(report, drifted=tuple(part for each in report.drifted for part in _parts(each, entries, spelling)))


Entry = tuple[ExpectedDrift, frozenset[ContactId] | None]


def _members(entry: ExpectedDrift, desired: Desired) -> frozenset[ContactId] | None:
    """The contacts that an entry is about; None: all contacts."""
    if entry.set is None:
        return None
    return frozenset(contact for each in desired.sets if each.name == entry.set for contact in each.members)


def _parts(each: Drifted, entries: Sequence[Entry], spelling: Spelling) -> Iterator[Drifted]:
    left = each.contacts
    for entry, members in entries:
        named = any(fnmatchcase(tag, entry.tag) for tag in spelling.all_spellings(each.tag))
        if not named or (entry.classes and each.drift not in entry.classes):
            continue
        known = left if members is None else tuple(contact for contact in left if contact in members)
        # an entry without a set takes all: no later entry can expect the rest
        left = () if members is None else tuple(contact for contact in left if contact not in members)
        if known:
            yield replace(each, contacts=known, expected=entry.reason or str(entry.source))
    if left:
        yield replace(each, contacts=left)
