"""The outcome of each pair of a run so far, and the pairs that must not be sent again.

Rules
1. Every pair of the plan has exactly one fate from the beginning: not sent, or deferred.
2. A pair that was applied stays so when it is sent again; one that an answer told to be as it should is not counted as
   seen too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat

from reconciler.core.model.alike import distinct_objects, map_alike
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NONE, ContactStates
from reconciler.core.model.journal import FailedChange, Surprises
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.planning.batches import Reasserted
from reconciler.core.planning.changes import Deferral, Delta
from reconciler.core.running.stop_conditions import Surprise

_OPEN = (Outcome.NOT_SENT, Outcome.DEFERRED)
_AS_ASKED = (Outcome.APPLIED, Outcome.NOOP)
_WELL = (*_AS_ASKED, Outcome.SEEN)
_WORST_FIRST = (Outcome.REJECTED, Outcome.IN_DOUBT, Outcome.HELD, Outcome.NOT_SENT, *_WELL)
Fates = frozenset[tuple[Tag, Outcome]]
_NO_FATES: Fates = frozenset()


@dataclass(slots=True)
class PairOutcomes:
    """`fates`: of the pairs of each contact; contacts with the same share them. `failed`: the adds of a contact that
    did not end well; its removes are held back. `given_up`: pairs that no request may hold."""

    fates: dict[ContactId, Fates] = field(default_factory=dict)
    failed: dict[ContactId, TagSet] = field(default_factory=dict)
    given_up: dict[ContactId, TagSet] = field(default_factory=dict)
    rejected: set[ContactId] = field(default_factory=set)
    _findings: list[FailedChange] = field(default_factory=list)
    _surprises: defaultdict[Surprise, list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    _put: dict[tuple[Fates, TagSet, Outcome], Fates] = field(default_factory=dict)

    def add_planned(self, deltas: Iterable[Delta | Reasserted]) -> None:
        """These pairs are to be sent."""
        for each in deltas:
            tags = frozenset(each.tags if isinstance(each, Reasserted) else (change.tag for change in each.changes))
            self._begin(each.contacts, tags, Outcome.NOT_SENT)

    def add_deferred(self, deferrals: Iterable[Deferral]) -> None:
        """These pairs may turn out to be needed."""
        for each in deferrals:
            self._begin(each.contacts, frozenset(each.tags), Outcome.DEFERRED)

    def record_batch(self, batch: Batch, verdicts: Mapping[ContactId, ContactOutcome]) -> None:
        tags, well = frozenset(batch.tags), verdicts
        if any(verdict.outcome not in _AS_ASKED for verdict in distinct_objects(verdicts.values())):
            well = {contact: verdict for contact, verdict in verdicts.items() if verdict.outcome in _AS_ASKED}
        fates = map_alike(partial(self._follow_answer, tags), self._fates_of(well), well.values())
        self.fates.update(zip(well, fates, strict=True))
        for contact in self.failed.keys() & well.keys():
            self._mend(contact, tags)
        for contact, verdict in verdicts.items() if well is not verdicts else ():
            if verdict.outcome not in _AS_ASKED:
                self.record_failure(contact, batch.action, tags, verdict.outcome, verdict.message)

    def _follow_answer(self, tags: TagSet, before: Fates, verdict: ContactOutcome) -> Fates:
        """The fates once the API answered that these tags are as they should be."""
        changed = tags & (verdict.added | verdict.removed)
        return self._follow(self._follow(before, changed, Outcome.APPLIED), tags - changed, Outcome.NOOP)

    def set_outcome(self, contact: ContactId, tags: TagSet, outcome: Outcome) -> None:
        """The pairs ended so."""
        if not tags:
            return
        self.fates[contact] = self._follow(self._of(contact), tags, outcome)
        if outcome in _WELL:
            self._mend(contact, tags)

    def _follow(self, before: Fates, tags: TagSet, outcome: Outcome) -> Fates:
        """The fates once these pairs ended so."""
        if not tags:
            return before
        key = (before, tags, outcome)
        # a million contacts share a few fates: each step from one to the next is worked out once
        after = self._put.get(key)
        if after is None:
            # an answer is a stronger proof than a reading: seen does not replace it
            firm = (Outcome.APPLIED, Outcome.NOOP) if outcome is Outcome.SEEN else (Outcome.APPLIED,)
            told = frozenset(tag for tag, fate in before if fate in firm)
            kept = frozenset(each for each in before if each[0] not in tags or each[0] in told)
            after = self._put[key] = kept | {(tag, outcome) for tag in tags - told}
        return after

    def record_failure(
        self,
        contact: ContactId,
        action: Action,
        tags: TagSet,
        outcome: Outcome,
        message: str,
        *,
        awaited: bool | None = None,
    ) -> None:
        """The pairs did not end well. `awaited`: whether the contact's removals wait for these tags; None: for adds."""
        self.set_outcome(contact, tags, outcome)
        self._findings.append(FailedChange(contact, outcome, action, tuple(sorted(tags)), message))
        if outcome is Outcome.REJECTED:
            self.rejected.add(contact)
        # no request may hold these pairs: later rounds of this run leave them out
        if outcome is Outcome.NOT_SENT:
            self.given_up[contact] = self.given_up.get(contact, NONE) | tags
        if awaited if awaited is not None else action is Action.ADD:
            self.failed[contact] = self.failed.get(contact, NONE) | tags

    def count_worst(self, contacts: Collection[ContactId], tags: TagSet) -> Counter[Outcome]:
        """How many of the contacts have which worst outcome of these tags."""
        worst: Counter[Outcome] = Counter()
        for fates, number in Counter(self._fates_of(contacts)).items():
            worst[_worst_of(fates, tags)] += number
        return worst

    def add_surprise(self, contact: ContactId, surprise: Surprise) -> None:
        self._surprises[surprise].append(contact)

    def tags_with(self, contact: ContactId, *outcomes: Outcome) -> TagSet:
        return frozenset(tag for tag, fate in self._of(contact) if fate in outcomes)

    def list_unclear(self, contacts: Collection[ContactId], tags: TagSet) -> set[ContactId]:
        """Those of the contacts of which it is unknown how one of these pairs ended."""
        unclear = {fates for fates in set(self._fates_of(contacts)) if _is_unclear(fates, tags)}
        return {contact for contact in contacts if self._of(contact) in unclear} if unclear else set()

    @property
    def spent(self) -> dict[ContactId, TagSet]:
        """The tags per contact that were sent, or given up, and are not to be sent again."""
        sent = {each: frozenset(tag for tag, fate in each if fate not in _OPEN) for each in set(self.fates.values())}
        spent = {contact: tags for contact, fates in self.fates.items() if (tags := sent[fates])}
        for contact, tags in self.given_up.items():
            spent[contact] = spent.get(contact, NONE) | tags
        return spent

    def close_unsent(self, present: Callable[[ContactId], TagSet], observed: ContactStates) -> None:
        """Counts as noop the unsent pairs that are as desired. `present`: the tags that are to be on a contact."""
        for contact in list(self._with(Outcome.NOT_SENT)):
            known = observed[contact]
            if known.observed is not None:
                # of a tag in doubt the observation may be older than the request
                unsent = self.tags_with(contact, Outcome.NOT_SENT) - known.doubtful
                to_add = unsent & present(contact)
                self.set_outcome(contact, (to_add & known.observed) | (unsent - to_add - known.observed), Outcome.NOOP)

    def pairs(self, observed: ContactStates) -> dict[Outcome, int]:
        """How every pair of the plan ended."""
        found: Counter[Outcome] = Counter()
        for fates, number in Counter(self.fates.values()).items():
            for _, fate in fates:
                found[fate] += number
        found[Outcome.DEFERRED] = sum(len(tags) for _, tags in self.undecided(observed))
        return {outcome: found[outcome] for outcome in Outcome if found[outcome]}

    def findings(self) -> tuple[FailedChange, ...]:
        """The changes that did not end well, and were not settled since; each pair once, with its last message."""
        kept: list[FailedChange] = []
        told: defaultdict[ContactId, set[Tag]] = defaultdict(set)
        # the last message about a pair is the one that holds
        for each in reversed(self._findings):
            still = self.tags_with(each.contact, each.outcome).intersection(each.tags) - told[each.contact]
            told[each.contact] |= still
            if still:
                kept.append(replace(each, tags=tuple(sorted(still))))
        return tuple(reversed(kept))

    def surprises(self) -> tuple[Surprises, ...]:
        found = (
            Surprises(tuple(sorted(each.appeared)), tuple(sorted(each.vanished)), tuple(sorted(set(contacts))))
            for each, contacts in self._surprises.items()
        )
        return tuple(sorted(found, key=lambda each: (each.appeared, each.vanished)))

    def not_sent(self) -> Iterator[tuple[ContactId, TagSet]]:
        """Pairs that were not sent, but for those that no request may hold: these are among the findings."""
        for contact in self._with(Outcome.NOT_SENT):
            if tags := self.tags_with(contact, Outcome.NOT_SENT) - self.given_up.get(contact, NONE):
                yield contact, tags

    def undecided(self, observed: ContactStates) -> Iterator[tuple[ContactId, TagSet]]:
        """Deferred pairs of contacts of which no answer has told, or that wait for an add that did not end well."""
        for contact in self._with(Outcome.DEFERRED):
            known, deferred = observed[contact], self.tags_with(contact, Outcome.DEFERRED)
            # once observed, its deferred pairs are planned, but for removals that wait for an add that failed
            if known.observed is not None and known.doubt is None:
                deferred = deferred & known.observed if contact in self.failed else NONE
            if deferred:
                yield contact, deferred

    def _with(self, outcome: Outcome) -> Iterable[ContactId]:
        """The contacts with pairs of that fate; looked for once per pattern."""
        # a million contacts share a few fates: each is looked at once
        alike = {fates for fates in set(self.fates.values()) if any(fate is outcome for _, fate in fates)}
        return (contact for contact, fates in self.fates.items() if fates in alike) if alike else ()

    def _begin(self, contacts: Iterable[ContactId], tags: TagSet, outcome: Outcome) -> None:
        for contact in contacts:
            before = self._of(contact)
            known = frozenset(tag for tag, fate in before if fate is not Outcome.DEFERRED) if before else NONE
            self.set_outcome(contact, tags - known if known else tags, outcome)

    def _mend(self, contact: ContactId, tags: TagSet) -> None:
        if remaining := self.failed.pop(contact, NONE) - tags:
            self.failed[contact] = remaining

    def _fates_of(self, contacts: Collection[ContactId]) -> list[Fates]:
        return list(map(self.fates.get, contacts, repeat(_NO_FATES)))

    def _of(self, contact: ContactId) -> Fates:
        return self.fates.get(contact, _NO_FATES)


def _worst_of(fates: Fates, tags: TagSet) -> Outcome:
    ended = {fate for tag, fate in fates if tag in tags}
    return next((outcome for outcome in _WORST_FIRST if outcome in ended), Outcome.NOT_SENT)


def _is_unclear(fates: Fates, tags: TagSet) -> bool:
    return any(fate in (Outcome.IN_DOUBT, Outcome.HELD) and tag in tags for tag, fate in fates)
