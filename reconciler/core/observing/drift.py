"""The doing of others: how the observed tags of a location differ from the tags that the last apply left.

Rules
1. Drift is the changes of a plan, told by cause: `pending`: no one else did; `missing` and `unexpected`: others
   did; and differences that a plan leaves: `tolerated` and `foreign` tags, `flapping` pairs, `unreachable` contacts.
2. A pair in the ledger that is observed gone is `missing`. A tag to remove that is not in the ledger, and was not
   there when it was last observed before, is `unexpected`; so is an exclusive tag that the contact never got from us.
3. A contact never observed is `unobserved`, one observed too long ago `stale`: never "no drift". A pair that a request
   of unknown effect was about is `held` until a reading.
4. A contact that is not there has no other drift.
5. The cause is told by the journal too (`attribute_drift`): a change by others stays theirs after an apply saw it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.core.manifests.resolve import Desired
from reconciler.core.manifests.wants import NOTHING, Want
from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_state import NONE, UNTIMED, ContactState, ContactStates
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, TagSet
from reconciler.core.model.outcome import Action, PendingCause
from reconciler.core.model.settings import DriftClass
from reconciler.core.planning.changes import EVERYTHING, FLAPPING, Change, DeferralReason, Diff, Selection
from reconciler.core.planning.diff import WantAndState, diff, find_planned, owned_in
from reconciler.core.planning.plan import LocationState
from reconciler.core.planning.situation import NOT_SEARCHED, OlderRows, Searched

OF_CONTACTS = (DriftClass.UNREACHABLE, DriftClass.STALE, DriftClass.UNOBSERVED)
"""Classes of whole contacts; the others are of pairs."""


@dataclass(frozen=True, slots=True, order=True)
class Setter:
    """A run that last set a pair: its id, its user, and when the request was answered."""

    run: str
    who: str
    at: Instant


@dataclass(frozen=True, slots=True)
class Drifted:
    """Contacts that drifted alike. `tag` is empty where the whole contact is meant.

    `set_by`: the last run that made it as it should be, as far as the history reaches. `after`: when it was still so,
    on the one of the contacts that drifted longest ago at the latest; `oldest` and `newest`: their observations.
    `expected`: why this is expected, None where it is not. `cause`, `why_pending`: of pending pairs alone.
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
    cause: PendingCause | None = None
    why_pending: str = ""


@dataclass(frozen=True, slots=True)
class DriftReport:
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
    # a million contacts have a few thousand states, and each state one time
    patterns = set(observed.contacts.find_all(contacts, 0))
    ages = [at for index in patterns if (at := observed.patterns[index].observed_at) is not None]
    return min(ages, default=None), max(ages, default=None)


Groups = defaultdict[tuple[DriftClass, Tag, str], list[ContactId]]


def find_drift(
    desired: Desired,
    state: LocationState,
    *,
    earlier: Mapping[ContactId, ContactState] | None = None,
    evidence: Evidence = NO_REFRESH,
    selection: Selection = EVERYTHING,
    now: Instant = UNTIMED,
    stale_before: Instant | None = None,
    foreign: bool = False,
) -> DriftReport:
    """The drift of a location.

    `earlier`: the states, before a refresh, of the contacts that it read; None without a refresh. `now`: without it no
    pair is flapping. `stale_before`: a contact not observed since is stale. `foreign`: report unmanaged tags, too.
    """
    spelling, observed = state.spelling, state.observed
    desired, selection = spelling.spell_desired(desired), spelling.spell_selection(selection)
    found = diff(desired, observed, selection=selection, now=now, searched=evidence.searched)
    groups: Groups = defaultdict(list)
    _moved(found, observed, earlier or {}, groups)
    for listed in found.quarantined:
        groups[DriftClass.UNREACHABLE, Tag(""), listed.why].extend(listed.contacts)
    for listed in found.held:
        drift = DriftClass.FLAPPING if listed.why == FLAPPING else DriftClass.HELD
        for tag in listed.tags:
            groups[drift, tag, listed.why].extend(listed.contacts)
    scene = _Scene(desired, observed, selection, evidence.searched)
    planned = find_planned(desired, observed, selection)
    cases = planned.count_pairs()
    told = _list_left_alone(scene, cases, foreign=foreign)
    observations = _ages(scene, cases, stale_before, told)
    for case, contacts in planned.contacts_of(told).items():
        for key in told[case]:
            groups[key] += contacts
    # a contact that is not there has no other drift (rule 4)
    for key, contacts in groups.items() if evidence.gone else ():
        groups[key] = [contact for contact in contacts if contact not in evidence.gone]
    for contact, why in evidence.gone.items():
        groups[DriftClass.UNREACHABLE, Tag(""), why].append(contact)
    return DriftReport(
        location=desired.location,
        serial=state.serial,
        drifted=group_drifted(groups, observed),
        observed=observations[0],
        oldest=observations[1],
        newest=observations[2],
        refreshed=earlier is not None,
        incomplete=evidence.incomplete,
        older_rows=evidence.searched.older_rows,
        applied=bool(state.set_sizes) or _has_ledger(observed),
        waiting=tuple(sorted({tag for each in found.deferrals if not each.contacts for tag in each.tags})),
    )


_RANK = {drift: rank for rank, drift in enumerate(DriftClass)}


def group_drifted(groups: Groups, observed: ContactStates) -> tuple[Drifted, ...]:
    """The groups that have contacts, sorted, each with the age of its observations."""
    ordered = sorted(groups.items(), key=lambda item: (_RANK[item[0][0]], *item[0][1:]))
    return tuple(_make_drifted(key, sorted(contacts), observed) for key, contacts in ordered if contacts)


def _make_drifted(key: tuple[DriftClass, Tag, str], contacts: Sequence[ContactId], observed: ContactStates) -> Drifted:
    oldest, newest = observations_of(contacts, observed)
    return Drifted(*key, tuple(contacts), oldest=oldest, newest=newest)


def _moved(found: Diff, observed: ContactStates, earlier: Mapping[ContactId, ContactState], groups: Groups) -> None:
    for delta in found.deltas:
        for change in delta.changes:
            for drift, contacts in _classified(change, delta.contacts, observed, earlier):
                groups[drift, change.tag, change.reason].extend(contacts)
    for deferral in found.deferrals:
        # other deferrals wait for an observation: which of the tags the contacts carry is not known
        if deferral.reason in REMOVED_LATER:
            for tag in deferral.tags:
                carriers = [each for each in deferral.contacts if tag in (observed[each].observed or ())]
                groups[DriftClass.PENDING, tag, deferral.reason].extend(carriers)


REMOVED_LATER = (DeferralReason.UNTIL_SETTLED, DeferralReason.UNTIL_REPLACED)
"""Removals that wait for an add; of contacts that were observed it is known which tags these are."""


def _classified(
    change: Change, contacts: Sequence[ContactId], observed: ContactStates, earlier: Mapping[ContactId, ContactState]
) -> Iterator[tuple[DriftClass, Sequence[ContactId]]]:
    """The contacts that need a change, by cause."""
    if change.action is Action.ADD:
        # the ledger remembers that we once added it: only others can have removed it
        yield DriftClass.MISSING if change.reason is Reason.RESTORED else DriftClass.PENDING, contacts
        return
    # that the pair is not in the ledger is proof enough: we never gave the tag to the contact
    if change.reason is Reason.EXCLUSIVE:
        others = {each for each in contacts if change.tag not in observed[each].ledger.tags}
    else:
        others = {each for each in earlier.keys() & contacts if _came_since(change.tag, earlier[each], observed[each])}
    yield DriftClass.UNEXPECTED, [each for each in contacts if each in others]
    yield DriftClass.PENDING, [each for each in contacts if each not in others]


def _came_since(tag: Tag, before: ContactState, now: ContactState) -> bool:
    return before.observed is not None and tag not in before.observed and tag not in now.ledger.tags


Told = defaultdict[WantAndState, list[tuple[DriftClass, Tag, str]]]
"""What is told of the contacts of a case; it is looked for case by case: a million contacts are a few thousand."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a report goes by."""

    desired: Desired
    observed: ContactStates
    selection: Selection
    searched: Searched

    def want_and_state(self, case: WantAndState) -> tuple[Want, ContactState]:
        want, state = case
        return self.desired.wants[want] if want >= 0 else NOTHING, self.observed.patterns[max(state, 0)]


def _ages(
    scene: _Scene, cases: Mapping[WantAndState, int], stale_before: Instant | None, told: Told
) -> tuple[int, Instant | None, Instant | None]:
    """How many declared contacts are observed, and the oldest and newest of these observations."""
    seen: list[tuple[Instant, int]] = []
    for case, contacts in cases.items():
        _, known = scene.want_and_state(case)
        if case[0] < 0 and not scene.selection.sets:
            continue
        if known.observed_at is None or known.observed is None:
            # a contact that the API refuses is unreachable already, and listed once
            if known.quarantine is None:
                told[case].append((DriftClass.UNOBSERVED, Tag(""), ""))
            continue
        seen.append((known.observed_at, contacts))
        if stale_before is not None and known.observed_at < stale_before:
            told[case].append((DriftClass.STALE, Tag(""), ""))
    ages = [at for at, _ in seen]
    return sum(number for _, number in seen), min(ages, default=None), max(ages, default=None)


def _list_left_alone(scene: _Scene, cases: Iterable[WantAndState], *, foreign: bool) -> Told:
    """The tags that a plan leaves: those that are owned, and with `foreign` the others too."""
    told: Told = defaultdict(list)
    further = list(_list_further(scene, cases))
    # to find what is owned is to look at every contact
    owned = owned_in(scene.desired, scene.observed, scene.selection) if further else NONE
    for case, want, tags in further:
        for tag in filter(scene.selection.takes, tags):
            is_left = want.authority is Authority.ADDITIVE or (tag not in owned and want.authority is Authority.OWNED)
            if is_left and (tag in owned or foreign):
                told[case].append((DriftClass.TOLERATED if tag in owned else DriftClass.FOREIGN, tag, ""))
    return told


def _list_further(scene: _Scene, cases: Iterable[WantAndState]) -> Iterator[tuple[WantAndState, Want, TagSet]]:
    """The cases whose contacts carry further tags, which no set asks for and no run has given."""
    for case in cases:
        want, known = scene.want_and_state(case)
        if tags := _left(want, known, scene.searched):
            yield case, want, tags


def _has_ledger(observed: ContactStates) -> bool:
    # an apply of a part of the plan leaves pairs here, and no sizes of sets
    return any(observed.patterns[index].ledger.tags for index in observed.contacts.distinct_integers())


def _left(want: Want, known: ContactState, searched: Searched) -> TagSet:
    others = (known.observed or NONE) - want.present.keys() - want.absent.keys() - known.ledger.tags - known.doubtful
    return others - searched.held_by(known.observed) if searched.is_newer_on(known) else others
