"""diff(desired, observed) -> Diff: what has to change, per group of contacts that need the same.

Per contact: P present, A absent, O observed, D ledger, as `docs/design.md` defines them.

Rules
1. Observed: add P - O; remove O & (A | (D - P)), under `owned` also O & (owned - P), under `exact` O - P. Owned is
   what the location's manifests name, and what its ledger names.
2. Unobserved: add P. With an add, removals are deferred: the add's answer brings O first. Without one, A | (D - P)
   is removed blind, and what `owned` or `exact` would remove needs a refresh.
3. Protected and ignored tags are never removed; a desired tag never is.
4. A pair in doubt is held, whatever was last observed of it; a contact rejected for good is quarantined: listed, not
   planned. A contact's removals wait while an add of it is in doubt.
5. A pair whose outcome this run knows already (`spent`) is not planned again.
6. A tag that is `once` is satisfied while its pair is in the ledger.
7. What a group excludes is not removed while the selection leaves out the tag that takes its place.
8. An exclusive tag is taken from whoever a search for its holders showed, and from nobody without one.
9. The work is done once per pattern of contacts, never per contact and tag.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from reconciler.core.cover import Demand
from reconciler.core.desired import NOTHING, Cause, Desired, Reason, Want
from reconciler.core.exclusive import NOT_SEARCHED, Searched, exclusive_tags
from reconciler.core.manifest import Authority
from reconciler.core.names import ContactId, SetName, Tag, TagSet
from reconciler.core.observed import Known, Observed
from reconciler.core.outcome import Action
from reconciler.core.reassert import NO_REASSERTION, Reassertion
from reconciler.core.source import Source

NONE: TagSet = frozenset()
IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One tag to add or remove, why, and where that was asked for."""

    action: Action
    tag: Tag
    reason: Reason
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes that a group of contacts shares, sorted; the contacts sorted too."""

    changes: tuple[Change, ...]
    contacts: tuple[ContactId, ...]

    def tags(self, action: Action) -> TagSet:
        return frozenset(change.tag for change in self.changes if change.action is action)


@dataclass(frozen=True, slots=True)
class Demands:
    """Per action, the contacts by what they need and what they may be sent."""

    adds: tuple[Demand, ...] = ()
    removes: tuple[Demand, ...] = ()


class Postponed(StrEnum):
    """Why a removal is known to be needed, or to be possible, and is not in this plan."""

    UNTIL_OBSERVED = "runs once the add's answer tells the contact's tags"
    EXACT = "exact authority: its tags are not known before the add's answer"
    NEEDS_REFRESH = "needs a refresh: the contact was never observed"
    UNTIL_SETTLED = "waits until the contact's adds in doubt are settled"
    EXCLUSIVE = "exclusive: needs a refresh, which searches who else carries it"
    INCOMPLETE = "exclusive: the search was not complete, others may carry it"


@dataclass(frozen=True, slots=True)
class Deferral:
    """What may follow an observation: at most `tags` on `contacts` (empty tags: no ceiling can be named)."""

    reason: Postponed
    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class LedgerChange:
    """What enters and leaves the ledger of these contacts without a request.

    `kept`: the part of the ledger that is to stay on leaving, afterwards.
    """

    adopted: tuple[Tag, ...]
    released: tuple[Tag, ...]
    kept: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """Contacts that need something which is not planned: tags in doubt, or the reason of a quarantine."""

    why: str
    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """Everything that sets desired and observed apart, sorted. `demands`: what the batch planner has to send."""

    deltas: tuple[Delta, ...]
    demands: Demands
    deferrals: tuple[Deferral, ...]
    ledger: tuple[LedgerChange, ...]
    held: tuple[Listed, ...]
    quarantined: tuple[Listed, ...]
    spared: tuple[Listed, ...]
    unobserved: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person asked to see of it: some sets, some tags (empty: all), held or quarantined contacts once more."""

    sets: frozenset[SetName] = frozenset()
    tags: TagSet = frozenset()
    retry_held: bool = False
    retry_rejected: bool = False

    def takes(self, tag: Tag) -> bool:
        return not self.tags or tag in self.tags


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one pattern of contacts needs. `may_add`, `may_remove`: what may be sent again besides."""

    changes: tuple[Change, ...] = ()
    may_add: TagSet = NONE
    may_remove: TagSet = NONE
    deferred: tuple[tuple[Postponed, tuple[Tag, ...]], ...] = ()
    ledger: tuple[tuple[Tag, ...], tuple[Tag, ...], tuple[Tag, ...]] | None = None
    held: tuple[Tag, ...] = ()
    spared: tuple[Tag, ...] = ()
    quarantine: str = ""


@dataclass(slots=True)
class _Collected:
    """Contacts per thing they need, while the patterns are walked."""

    changes: defaultdict[tuple[Change, ...], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    demands: defaultdict[tuple[Action, TagSet, TagSet], list[ContactId]] = field(
        default_factory=lambda: defaultdict(list)
    )
    deferred: defaultdict[tuple[Postponed, tuple[Tag, ...]], list[ContactId]] = field(
        default_factory=lambda: defaultdict(list)
    )
    ledger: defaultdict[tuple[tuple[Tag, ...], ...], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    held: defaultdict[tuple[Tag, ...], list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    quarantined: defaultdict[str, list[ContactId]] = field(default_factory=lambda: defaultdict(list))
    spared: defaultdict[tuple[Tag, ...], list[ContactId]] = field(default_factory=lambda: defaultdict(list))

    def put(self, verdict: _Verdict, contacts: list[ContactId]) -> None:
        if verdict.changes:
            self.changes[verdict.changes].extend(contacts)
        for action, again in ((Action.ADD, verdict.may_add), (Action.REMOVE, verdict.may_remove)):
            if must := frozenset(change.tag for change in verdict.changes if change.action is action):
                self.demands[action, must, must | again].extend(contacts)
        for deferral in verdict.deferred:
            self.deferred[deferral].extend(contacts)
        if verdict.ledger is not None:
            self.ledger[verdict.ledger].extend(contacts)
        if verdict.held:
            self.held[verdict.held].extend(contacts)
        if verdict.spared:
            self.spared[verdict.spared].extend(contacts)
        if verdict.quarantine:
            self.quarantined[verdict.quarantine].extend(contacts)


def diff(
    desired: Desired,
    observed: Observed,
    *,
    selection: Selection = EVERYTHING,
    reassertion: Reassertion = NO_REASSERTION,
    spent: Mapping[ContactId, TagSet] | None = None,
    searched: Searched = NOT_SEARCHED,
) -> Diff:
    """What has to change. `spent`: the tags per contact whose outcome the present run knows already."""
    collected = _Collected()
    unobserved = 0
    owned = desired.owned.union(*(observed.patterns[known].ledger for known in set(observed.contacts.values())))
    alike = _alike(desired, observed, owned, reassertion, searched)
    for (want, known, done), contacts in _patterns(desired, observed, selection, spent or {}, alike).items():
        pattern = observed.patterns[known]
        decision = _Decision(desired, owned, _want(desired, want), pattern, selection, reassertion, done, searched)
        collected.put(decision.verdict(), contacts)
        if want >= 0 and observed.patterns[known].observed is None:
            unobserved += len(contacts)
    collected.deferred.update({waits: [] for waits in _others(desired, selection, searched)})
    return _sorted(collected, unobserved)


def _others(desired: Desired, selection: Selection, searched: Searched) -> Iterator[tuple[Postponed, tuple[Tag, ...]]]:
    """The exclusive tags that others may carry for all we know; a chosen set has no others."""
    tags = NONE if selection.sets else frozenset(filter(selection.takes, exclusive_tags(desired)))
    for why, found in (
        (Postponed.EXCLUSIVE, tags - searched.tags),
        (Postponed.INCOMPLETE, (tags & searched.tags) - searched.complete),
    ):
        if found:
            yield why, tuple(sorted(found))


def _want(desired: Desired, index: int) -> Want:
    return desired.wants[index] if index >= 0 else NOTHING


def _alike(
    desired: Desired, observed: Observed, owned: TagSet, reassertion: Reassertion, searched: Searched
) -> list[int]:
    """For each pattern of what is known, the first one that comes to the same.

    When it was learnt matters only for sending it again, and foreign tags only where a set is exact.
    """
    first: dict[tuple[object, ...], int] = {}
    exact = any(want.authority is Authority.EXACT for want in desired.wants)
    return [
        first.setdefault(
            (
                known.observed if exact or known.observed is None else known.observed & owned,
                known.ledger,
                known.kept,
                known.doubt,
                known.quarantine,
                reassertion.is_fresh(known),
                searched.shows(known),
            ),
            index,
        )
        for index, known in enumerate(observed.patterns)
    ]


def _patterns(
    desired: Desired,
    observed: Observed,
    selection: Selection,
    spent: Mapping[ContactId, TagSet],
    alike: Sequence[int],
) -> dict[tuple[int, int, TagSet], list[ContactId]]:
    """The contacts by what is wanted of them, what is known of them and what was already done; -1: nothing wanted."""
    wanted, known = desired.contacts, observed.contacts
    groups: defaultdict[tuple[int, int, TagSet], list[ContactId]] = defaultdict(list)
    for contact in selected(desired, selection):
        groups[wanted.get(contact, -1), alike[known.get(contact, 0)], spent.get(contact, NONE)].append(contact)
    if selection.sets:
        return groups
    for contact, index in known.items():
        if contact not in wanted:
            groups[-1, alike[index], spent.get(contact, NONE)].append(contact)
    return groups


def selected(desired: Desired, selection: Selection) -> Collection[ContactId]:
    """The declared contacts that a selection takes."""
    if not selection.sets:
        return desired.contacts.keys()
    chosen = (each for each in desired.sets if each.name in selection.sets)
    return dict.fromkeys(contact for each in chosen for contact in each.members).keys()


@dataclass(frozen=True, slots=True)
class _Decision:
    """One pattern: what is wanted, what is known, what this run has done already."""

    desired: Desired
    owned: TagSet
    want: Want
    known: Known
    selection: Selection
    reassertion: Reassertion
    spent: TagSet
    searched: Searched

    def verdict(self) -> _Verdict:
        adds, removals, held = self._adds(), self._removals(), self._held()
        if self.known.quarantine and (self.spent or not self.selection.retry_rejected):
            needed = adds or self._present(removals) or held
            return _Verdict(ledger=self._ledger(), quarantine=self.known.quarantine.value if needed else "")
        sent = [change for tag, change in adds.items() if tag not in held and tag not in self.spent]
        removes, deferred = self._split(removals, adding=bool(sent), waits=not held.isdisjoint(adds))
        changes = sent + [change for change in removes if change.tag not in held]
        return _Verdict(
            changes=tuple(sorted(changes)),
            may_add=self.reassertion.adds(self._chosen(self.want.present), self.known, self.desired.rules),
            may_remove=self.reassertion.removes(removals.keys(), self.known, self.desired.rules),
            deferred=deferred,
            ledger=self._ledger(),
            held=tuple(sorted(held)),
            spared=tuple(sorted(filter(self._spares, self.known.ledger | self.want.absent.keys()))),
        )

    def _spares(self, tag: Tag) -> bool:
        """Whether the tag would be removed, were it not protected or ignored: kept on purpose, and told."""
        there = self.known.observed is None or tag in self.known.observed
        asked = tag in self.want.absent or (tag in self.known.ledger and not self._kept(tag))
        return asked and there and tag not in self.want.present and self.selection.takes(tag) and self._safe(tag)

    def _held(self) -> TagSet:
        """The pairs in doubt; asked to retry them, those that this run brought into doubt once more."""
        doubt = self.known.doubt & self.spent if self.selection.retry_held else self.known.doubt
        return self._chosen(doubt)

    def _adds(self) -> dict[Tag, Change]:
        return {tag: self._add(tag) for tag in self._missing() if self.selection.takes(tag)}

    def _missing(self) -> list[Tag]:
        """Desired, and not known to be there."""
        there = (self.known.observed or NONE) - self.known.doubt
        return [tag for tag in self.want.present if tag not in there and not self._satisfied(tag)]

    def _add(self, tag: Tag) -> Change:
        known = self.known
        restored = known.observed is not None and tag in known.ledger and tag not in known.doubt
        return Change(Action.ADD, tag, Reason.RESTORED if restored else Reason.DECLARED, self.want.present[tag])

    def _satisfied(self, tag: Tag) -> bool:
        rule = self.desired.rules.get(tag)
        return rule is not None and rule.once and tag in self.known.ledger

    def _removals(self) -> dict[Tag, Change]:
        """Every removal that can be named for this contact, by tag: what is asked for plainly rules over the rest."""
        want, known = self.want, self.known
        causes: dict[Tag, Cause] = {}
        if want.authority is Authority.EXACT:
            causes |= dict.fromkeys(known.observed or NONE, Cause(Reason.EXACT))
        if want.authority is not Authority.ADDITIVE:
            causes |= dict.fromkeys(self.owned, Cause(Reason.OWNED))
        causes |= {tag: self._exclusive(tag) for tag in self.searched.tags if self.searched.holds(known, tag)}
        causes |= {tag: self._pruned(tag) for tag in known.ledger if not self._kept(tag)}
        causes |= want.absent
        bare = not all(map(self.selection.takes, self._missing()))
        return {
            tag: Change(Action.REMOVE, tag, cause.reason, cause.sources)
            for tag, cause in causes.items()
            if tag not in want.present
            and tag not in self.spent
            and self.selection.takes(tag)
            and not self._safe(tag)
            and not (bare and cause.reason in (Reason.GROUP, Reason.RENAMED))
        }

    def _exclusive(self, tag: Tag) -> Cause:
        return Cause(Reason.EXCLUSIVE, (self.desired.rules[tag].source,))

    def _pruned(self, tag: Tag) -> Cause:
        expired = self.want.expired.get(tag)
        return Cause(Reason.PRUNED) if expired is None else Cause(Reason.EXPIRED, expired)

    def _kept(self, tag: Tag) -> bool:
        return tag in self.known.kept

    def _safe(self, tag: Tag) -> bool:
        rule = self.desired.rules.get(tag)
        return (rule is not None and rule.protected) or any(fnmatchcase(tag, each) for each in self.want.ignore)

    def _present(self, removals: Mapping[Tag, Change]) -> dict[Tag, Change]:
        """The removals whose tag the contact carries, or may carry as far as anyone knows."""
        observed = self.known.observed
        if observed is None:
            return {tag: change for tag, change in removals.items() if self._blind(change)}
        return {tag: change for tag, change in removals.items() if tag in observed or tag in self.known.doubt}

    def _blind(self, change: Change) -> bool:
        return change.reason not in (Reason.OWNED, Reason.EXACT, Reason.EXCLUSIVE)

    def _split(
        self, removals: Mapping[Tag, Change], *, adding: bool, waits: bool
    ) -> tuple[list[Change], tuple[tuple[Postponed, tuple[Tag, ...]], ...]]:
        """The removals of this plan, and those that wait for an observation."""
        if waits:
            withheld = tuple(sorted(self._present(removals)))
            return [], (((Postponed.UNTIL_SETTLED, withheld),) if withheld else ())
        if self.known.observed is not None:
            return list(self._present(removals).values()), ()
        exact = self.want.authority is Authority.EXACT
        if adding:
            deferred = [(Postponed.UNTIL_OBSERVED, tuple(sorted(removals)))] if removals else []
            return [], (*deferred, *([(Postponed.EXACT, ())] if exact else []))
        blind = self._present(removals)
        unseen = tuple(sorted(tag for tag in removals if tag not in blind))
        needs = bool(unseen) or exact
        return list(blind.values()), (((Postponed.NEEDS_REFRESH, unseen),) if needs else ())

    def _ledger(self) -> tuple[tuple[Tag, ...], tuple[Tag, ...], tuple[Tag, ...]] | None:
        known, present = self.known, frozenset(self.want.present)
        there, wanted = known.observed or NONE, self._chosen(present)
        settled = self._chosen(known.ledger | present) - known.doubt
        adopted = (present & there & settled) - known.ledger
        undesired = (known.ledger & settled) - present
        gone = undesired - there if known.observed is not None else NONE
        released = gone | frozenset(tag for tag in undesired if self._kept(tag))
        ledger = (known.ledger | adopted) - released
        kept = frozenset(tag for tag in ledger if tag in (self.want.keep if tag in wanted else known.kept))
        if not adopted and not released and kept == known.kept:
            return None
        return tuple(sorted(adopted)), tuple(sorted(released)), tuple(sorted(kept))

    def _chosen(self, tags: Iterable[Tag]) -> TagSet:
        return frozenset(tag for tag in tags if self.selection.takes(tag))


def _sorted(collected: _Collected, unobserved: int) -> Diff:
    deltas = [Delta(changes, tuple(sorted(contacts))) for changes, contacts in collected.changes.items()]
    deferrals = [Deferral(why, tags, tuple(sorted(ids))) for (why, tags), ids in collected.deferred.items()]
    ledger = [
        LedgerChange(adopted, released, kept, tuple(sorted(contacts)))
        for (adopted, released, kept), contacts in collected.ledger.items()
    ]
    held = [Listed(IN_DOUBT, tags, tuple(sorted(contacts))) for tags, contacts in collected.held.items()]
    quarantined = [Listed(why, (), tuple(sorted(contacts))) for why, contacts in collected.quarantined.items()]
    spared = [Listed("protected or ignored", tags, tuple(sorted(ids))) for tags, ids in collected.spared.items()]
    return Diff(
        deltas=tuple(sorted(deltas, key=lambda delta: (delta.changes, delta.contacts))),
        demands=Demands(_demands(Action.ADD, collected), _demands(Action.REMOVE, collected)),
        deferrals=tuple(sorted(deferrals, key=lambda each: (each.reason, each.tags, each.contacts))),
        ledger=tuple(sorted(ledger, key=lambda each: (each.adopted, each.released, each.kept, each.contacts))),
        held=tuple(sorted(held, key=lambda each: each.tags)),
        quarantined=tuple(sorted(quarantined, key=lambda each: each.why)),
        spared=tuple(sorted(spared, key=lambda each: each.tags)),
        unobserved=unobserved,
    )


def _demands(action: Action, collected: _Collected) -> tuple[Demand, ...]:
    found = (
        Demand(must, may, tuple(sorted(contacts)))
        for (kind, must, may), contacts in collected.demands.items()
        if kind is action
    )
    return tuple(sorted(found, key=lambda each: each.contacts))


def demands_of(deltas: Collection[Delta]) -> Demands:
    """What these deltas need, and nothing that may be sent again."""
    found = {
        action: tuple(Demand(tags, tags, delta.contacts) for delta in deltas if (tags := delta.tags(action)))
        for action in Action
    }
    return Demands(found[Action.ADD], found[Action.REMOVE])
