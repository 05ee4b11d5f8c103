"""The drift of a location as a report, told apart by cause: the last run that set a pair, and the drift expected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.journal import BatchRecord, RunRecord
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.model.outcome import Action, Reason
from reconciler.core.model.settings import DriftClass, ExpectedDrift
from reconciler.core.observing.attribution import Pair, Setter, added_by_others, find_setters
from reconciler.core.planning.situation import NOT_SEARCHED, OlderRows, Searched
from reconciler.core.planning.tag_aliases import AS_SENT, Spelling

OF_CONTACTS = (DriftClass.UNREACHABLE, DriftClass.STALE, DriftClass.UNOBSERVED)
"""Classes of whole contacts; the others are of pairs."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """Contacts that drifted alike. `tag` is empty where the whole contact is meant.

    `set_by`: the last run that made it as it should be, as far as the history reaches. `after`: when it was still so,
    on the one of the contacts that drifted longest ago at the latest; `oldest` and `newest`: their observations.
    `expected`: why this is expected, None where it is not.
    """

    drift: DriftClass
    tag: Tag
    reason: str
    contacts: tuple[ContactId, ...]
    set_by: Setter | None = None
    after: Instant | None = None
    oldest: Instant | None = None
    newest: Instant | None = None
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The drift of one location."""

    location: LocationId
    serial: int
    drifted: tuple[Drifted, ...]
    observed: int
    oldest: Instant | None
    newest: Instant | None
    refreshed: bool

    incomplete: str = ""
    """Why a search proves nothing of the contacts that it did not show."""

    waiting: tuple[Tag, ...] = ()
    """The exclusive tags without a search for their other holders."""

    older_rows: OlderRows | None = None
    """The rows of a search that were set aside."""

    applied: bool = True
    """Whether an apply of the location is known: without one no change can be told to be of others."""

    def count(self, drift: DriftClass) -> int:
        """Pairs, or contacts where the class is of whole contacts; without expected drift."""
        return sum(len(each.contacts) for each in self.drifted if each.drift is drift and each.expected is None)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The results of a refresh other than tags. `gone`: declared contacts that are not there, and why."""

    searched: Searched = NOT_SEARCHED
    gone: Mapping[ContactId, str] = field(default_factory=dict)
    incomplete: str = ""


NO_REFRESH = Evidence()


def observations_of(contacts: Iterable[ContactId], observed: ContactStates) -> tuple[Instant | None, Instant | None]:
    """The oldest and the newest observation of these contacts."""
    patterns = {observed.contacts.get(contact, 0) for contact in contacts}
    ages = [at for index in patterns if (at := observed.patterns[index].observed_at) is not None]
    return min(ages, default=None), max(ages, default=None)


_SET_BY = {DriftClass.MISSING: Action.ADD, DriftClass.FLAPPING: Action.ADD, DriftClass.UNEXPECTED: Action.REMOVE}
_CLASSES = tuple(DriftClass)
_ADDING = (Reason.DECLARED, Reason.RESTORED, Reason.AGAIN)
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
        if drifted.tag not in observed[contact].ledger
    ]
    others = added_by_others(pairs, runs, batches) if pairs else set()
    if not others:
        return report
    groups: defaultdict[tuple[int, Tag, str], list[ContactId]] = defaultdict(list)
    for drifted in report.drifted:
        for contact in drifted.contacts:
            # a removal that the manifests call for is pending, but for a tag that others brought meanwhile
            theirs = _is_pending_removal(drifted) and (contact, drifted.tag) in others
            drift = DriftClass.UNEXPECTED if theirs else drifted.drift
            groups[_CLASSES.index(drift), drifted.tag, drifted.reason].append(contact)
    return replace(report, drifted=tuple(_regrouped(*item, observed) for item in sorted(groups.items())))


def _is_pending_removal(drifted: Drifted) -> bool:
    return drifted.drift is DriftClass.PENDING and drifted.reason not in _ADDING


def _regrouped(key: tuple[int, Tag, str], contacts: Iterable[ContactId], observed: ContactStates) -> Drifted:
    rank, tag, reason = key
    ordered = tuple(sorted(contacts))
    oldest, newest = observations_of(ordered, observed)
    return Drifted(_CLASSES[rank], tag, reason, ordered, oldest=oldest, newest=newest)


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
