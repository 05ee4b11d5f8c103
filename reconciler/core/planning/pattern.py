"""The changes that one situation of contacts needs: the formulas of contract 5.2 (`docs/contract.md`), once per
situation.

Rules: those of `diff`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import starmap

from reconciler.core.manifests.resolve import Desired
from reconciler.core.manifests.wants import Want
from reconciler.core.model.batch import Cause, Reason
from reconciler.core.model.contact_state import EMPTY_LEDGER, NONE, Managed, removed_by_others
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import Instant, Source, Tag, TagSet, iso
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import (
    FLAPPING,
    GIVEN,
    IN_DOUBT,
    KEPT,
    SAFE,
    UNCONFIRMED,
    Change,
    DeferralReason,
    Selection,
    sort_reasons,
)
from reconciler.core.planning.situation import Reassertion, Searched, Situation, leaving_pairs

Deferred = tuple[tuple[DeferralReason, tuple[Tag, ...]], ...]


@dataclass(frozen=True, slots=True)
class PatternChanges:
    """The needs of one situation of contacts."""

    changes: tuple[Change, ...] = ()
    may_add: TagSet = NONE
    """Pairs that may be sent again where that saves a request."""
    may_remove: TagSet = NONE
    deferred: Deferred = ()
    ledger: tuple[tuple[Tag, ...], tuple[Tag, ...], tuple[Tag, ...]] | None = None
    """The tags adopted, released and kept; None where the ledger stays as it is."""
    held: tuple[tuple[str, tuple[Tag, ...]], ...] = ()
    """The tags that are left aside, by reason; `spared` and `given` have theirs in the same way."""
    spared: tuple[tuple[str, tuple[Tag, ...]], ...] = ()
    quarantine: str = ""
    given: tuple[tuple[str, tuple[Tag, ...]], ...] = ()


NO_CHANGES = PatternChanges()


def is_settled(want: Want, contact: Managed) -> bool:
    """Whether contacts carry the desired tags, and the ledger holds these alone: where none was searched for, they need
    nothing."""
    ledger, present = contact.ledger, want.present.keys()
    return (
        contact.observed is not None
        and ledger.tags == present
        and contact.observed >= present
        and ledger.kept == want.keep
        and not contact.doubtful
        and not want.absent
        and want.authority is Authority.ADDITIVE
    )


def declare_tag(tag: Tag, sources: tuple[Source, ...]) -> Change:
    return Change(Action.ADD, tag, Reason.DECLARED, sources)


def prune_tag(tag: Tag) -> Change:
    return Change(Action.REMOVE, tag, Reason.PRUNED)


class DeclareOnce(dict[tuple[Tag, int], Change]):
    """`declare_tag`, for each tag and the very same places once: a hash of many places takes longer than the rest.

    The places are to outlive it: the identity of an object that is gone may be another's.
    """

    def __call__(self, tag: Tag, sources: tuple[Source, ...]) -> Change:
        key = tag, id(sources)
        made = self.get(key)
        if made is None:
            made = self[key] = declare_tag(tag, sources)
        return made


@dataclass(frozen=True, slots=True)
class Decision:
    """One situation: the wish for its contacts, and the outcomes that this run has for them already."""

    desired: Desired
    owned: TagSet
    want: Want
    situation: Situation
    selection: Selection
    reassertion: Reassertion
    spent: TagSet
    searched: Searched
    barred: bool
    """Whether the API refused the contacts for good, and nothing has changed since."""
    gone: str = ""
    """Why the contacts are not there, as was read just now."""
    declare: Callable[[Tag, tuple[Source, ...]], Change] = declare_tag
    """Makes the addition of a declared tag, and `prune` the removal of a pruned one: once for many contacts."""
    prune: Callable[[Tag], Change] = prune_tag

    def decide_changes(self) -> PatternChanges:
        """The changes, in full or, for the commonest situations, by a look at them: the two are equal."""
        if is_settled(self.want, self.situation) and not self.situation.is_searched:
            return NO_CHANGES
        if self._is_ordinary():
            if self.situation.observed is not None:
                return self._list_ordinary(self.situation.observed) or self.derive_changes()
            if self.situation.ledger == EMPTY_LEDGER:
                return PatternChanges(changes=tuple(starmap(self.declare, self.want.present.items())))
        return self.derive_changes()

    def _is_ordinary(self) -> bool:
        """Whether nothing but tags that are missing, or desired no more, can call for a change."""
        situation = self.situation
        return not (
            self.gone
            or self.barred
            or self.spent
            or self.selection.tags
            or self.want.absent
            or self.want.authority is not Authority.ADDITIVE
            or situation.doubtful
            or situation.given_before
            or situation.flapping
            or situation.is_searched
        )

    def _list_ordinary(self, there: TagSet) -> PatternChanges | None:
        """The desired tags that are not there, and those of the ledger that are and are not desired any more.

        None where more than that is to be done, or a rule has a say.
        """
        want, ledger = self.want, self.situation.ledger
        missing = sorted(tag for tag in want.present if tag not in there)
        leaving = sorted(tag for tag in ledger.tags if tag not in want.present)
        if (
            want.ignore
            or want.keep
            or ledger.kept
            or ledger.unconfirmed
            or not there.issuperset(leaving)
            or any(tag in there and tag not in ledger.tags for tag in want.present)
            or any(rule.once or rule.protected for tag in (*missing, *leaving) if (rule := self.desired.rules.get(tag)))
        ):
            return None
        adds = [
            Change(Action.ADD, tag, Reason.RESTORED, want.present[tag])
            if tag in ledger.tags
            else self.declare(tag, want.present[tag])
            for tag in missing
        ]
        removes = [
            Change(Action.REMOVE, tag, Reason.EXPIRED, want.expired[tag]) if tag in want.expired else self.prune(tag)
            for tag in leaving
        ]
        # all that leaves is there: of no such tag the removal may be sent again
        return PatternChanges(changes=(*adds, *removes), may_add=self._repeatable_adds() if adds else NONE)

    def derive_changes(self) -> PatternChanges:
        """The changes by the formulas, for any situation."""
        needed, held = self._needed_adds(), self._held_tags()
        removals, withheld = self._split_removals()
        if self.gone or (self.barred and (self.spent or not self.selection.retry_rejected)):
            # a contact that is as desired is no trouble, though the API refuses it
            wrong = needed or self._present_removals(removals) or held
            return PatternChanges(
                ledger=self._ledger_change(),
                # a tag that stays on purpose stays on a refused contact too, and is listed
                spared=sort_reasons(self._spared_tags()),
                quarantine=(self.gone or self.situation.refusal) if wrong else "",
            )
        flapping, unconfirmed = self._flapping_tags(), self._unconfirmed_tags()
        idle = flapping | unconfirmed
        adds = {tag: change for tag, change in needed.items() if tag not in idle} if idle else needed
        sent = [change for tag, change in adds.items() if tag not in held and tag not in self.spent]
        # a removal waits while an add of the contact is in doubt: of a group it might take the only tag away
        removes, deferred = self._defer_removals(
            removals, adding=bool(sent), waits=not held.isdisjoint(adds), held=held
        )
        changes = [*sent, *removes]
        # a plan that retries held pairs lists those that it does not send
        doubtful = self._select(self.situation.doubtful) - {change.tag for change in changes}
        listed = ((FLAPPING, flapping), (IN_DOUBT, doubtful), (UNCONFIRMED, unconfirmed))
        return PatternChanges(
            changes=tuple(sorted(changes)),
            may_add=self._repeatable_adds() if sent else NONE,
            may_remove=self._repeatable_removes(removals.keys()) if removes else NONE,
            deferred=(*deferred, *self._replaced_later(withheld, held)),
            ledger=self._ledger_change(),
            held=sort_reasons(listed),
            spared=sort_reasons(self._spared_tags()),
            given=tuple((f"{GIVEN}, on {iso(at)[:10]}", (tag,)) for tag, at in self._given_before()),
        )

    def _repeatable_adds(self) -> TagSet:
        if not self.situation.is_fresh:
            return NONE
        return self.reassertion.repeatable_adds(self._select(self.want.present), self.situation, self.desired.rules)

    def _repeatable_removes(self, removals: Collection[Tag]) -> TagSet:
        return self.reassertion.repeatable_removes(removals, self.situation, self.desired.rules)

    def _given_before(self) -> Iterator[tuple[Tag, Instant]]:
        """The desired `once` tags that were given before and are not there: they are not given again."""
        there = self.situation.observed or NONE
        for tag, at in self.situation.given_before:
            if tag in self.want.present and tag not in there and self._is_satisfied(tag) and self.selection.takes(tag):
                yield tag, at

    def _spared_tags(self) -> Iterator[tuple[str, TagSet]]:
        """The tags that stay on purpose, and why."""
        yield SAFE, frozenset(filter(self._is_spared, self.situation.ledger.tags | self.want.absent.keys()))
        there = (
            self.situation.ledger.tags
            if self.situation.observed is None
            else self.situation.ledger.tags & self.situation.observed
        )
        stays = self._kept_though_owned() & there
        yield KEPT, self._select(stays - self.want.present.keys() - self.want.absent.keys())

    def _is_spared(self, tag: Tag) -> bool:
        """Whether the tag would be removed, were it not protected or ignored."""
        there = self.situation.observed is None or tag in self.situation.observed
        asked = tag in self.want.absent or (tag in self.situation.ledger.tags and tag not in self.situation.ledger.kept)
        return asked and there and tag not in self.want.present and self.selection.takes(tag) and self._is_safe(tag)

    def _held_tags(self) -> TagSet:
        """The pairs in doubt; asked to retry them, those that this run brought into doubt once more."""
        doubt = self.situation.doubtful & self.spent if self.selection.retry_held else self.situation.doubtful
        return self._select(doubt)

    def _unconfirmed_tags(self) -> TagSet:
        """The `once` tags that were asked for and are not there: whether they ever were is for a person to say."""
        if not self.situation.ledger.unconfirmed or self.selection.retry_held:
            return NONE
        return (
            self._select(tag for tag in self._missing_tags() if self._is_once(tag))
            & self.situation.ledger.unconfirmed - self.situation.doubtful
        )

    def _flapping_tags(self) -> TagSet:
        """The tags that were put back already and are gone again: held, unless a person retries them."""
        if not self.situation.flapping or self.selection.retry_held:
            return NONE
        # a tag that this run sent is not flapping: its own answer brought the state in which it looks so
        return self.situation.flapping & self._select(self._missing_tags()) - self.spent - self._unconfirmed_tags()

    def _needed_adds(self) -> dict[Tag, Change]:
        return {tag: self._make_add(tag) for tag in self._missing_tags() if self.selection.takes(tag)}

    def _missing_tags(self) -> list[Tag]:
        """The desired tags that are not observed there."""
        # a tag in doubt counts as missing although it was observed: the doubtful request may have removed it
        there = (self.situation.observed or NONE) - self.situation.doubtful
        return [tag for tag in self.want.present if tag not in there and not self._is_satisfied(tag)]

    def _make_add(self, tag: Tag) -> Change:
        restored = removed_by_others(self.situation, frozenset({tag}))
        reason = Reason.RESTORED if restored else Reason.AGAIN if self._was_given(tag) else Reason.DECLARED
        return Change(Action.ADD, tag, reason, self.want.present[tag])

    def _is_satisfied(self, tag: Tag) -> bool:
        """Whether the tag is one to be added once, and was: a workflow may consume it."""
        if not self._is_once(tag):
            return False
        given = self._was_given(tag) and tag not in self.selection.again
        # an add in doubt does not satisfy: such a pair is held, and not forgotten
        return tag in self.situation.ledger.tags - self.situation.ledger.unconfirmed or given

    def _was_given(self, tag: Tag) -> bool:
        return self._is_once(tag) and any(tag == given for given, _ in self.situation.given_before)

    def _is_once(self, tag: Tag) -> bool:
        rule = self.desired.rules.get(tag)
        return rule is not None and rule.once

    def _split_removals(self) -> tuple[dict[Tag, Change], dict[Tag, Change]]:
        """The removals that can be named for this contact, and those that wait for the tag that takes the place."""
        idle = self._flapping_tags() | self._unconfirmed_tags()
        # these tags are desired and not sent: to remove their predecessors would leave the contact without either
        bare = frozenset(tag for tag in self._missing_tags() if tag in idle or not self.selection.takes(tag))
        named = self._named_removals()
        waiting = {
            tag: change
            for tag, change in named.items()
            if bare and change.reason in (Reason.GROUP, Reason.RENAMED) and self._stands_for(tag, bare)
        }
        return {tag: change for tag, change in named.items() if tag not in waiting}, waiting

    def _replaced_later(self, withheld: Mapping[Tag, Change], held: TagSet) -> Deferred:
        tags = tuple(sorted(self._present_removals(withheld).keys() - held))
        return ((DeferralReason.UNTIL_REPLACED, tags),) if tags else ()

    def _named_removals(self) -> dict[Tag, Change]:
        """Every removal by tag, with its strongest reason."""
        # later reasons replace earlier ones: a tag that a manifest names absent is not reported as merely owned
        want, situation = self.want, self.situation
        causes: dict[Tag, Cause] = {}
        if want.authority is Authority.EXACT:
            causes |= dict.fromkeys(situation.observed or NONE, Cause(Reason.EXACT, want.deciding))
        if want.authority is not Authority.ADDITIVE:
            causes |= dict.fromkeys(self.owned - self._kept_though_owned(), Cause(Reason.OWNED, want.deciding))
        if situation.is_searched:
            causes |= {tag: self._exclusive_cause(tag) for tag in self.searched.held_by(situation.observed)}
        causes |= {tag: self._pruned_cause(tag) for tag in situation.ledger.tags if tag not in situation.ledger.kept}
        causes |= want.absent
        return {
            tag: Change(Action.REMOVE, tag, cause.reason, cause.sources)
            for tag, cause in causes.items()
            if tag not in want.present
            and tag not in self.spent
            and self.selection.takes(tag)
            and not self._is_safe(tag)
        }

    def _stands_for(self, tag: Tag, missing: TagSet) -> bool:
        """Whether one of the missing tags takes the place of `tag`."""
        rules = self.desired.rules
        group = rules[tag].group if tag in rules else ""
        coming = [rules[successor] for successor in missing if successor in rules]
        return any((group and rule.group == group) or rule.renamed_from == tag for rule in coming)

    def _exclusive_cause(self, tag: Tag) -> Cause:
        return Cause(Reason.EXCLUSIVE, (self.desired.rules[tag].source,))

    def _pruned_cause(self, tag: Tag) -> Cause:
        expired = self.want.expired.get(tag)
        return Cause(Reason.PRUNED) if expired is None else Cause(Reason.EXPIRED, expired)

    def _kept_though_owned(self) -> TagSet:
        """The tags that stay on leaving, though the contact is of a set that owns its tags."""
        return self.situation.ledger.kept & self.owned if self.want.authority is Authority.OWNED else NONE

    def _is_safe(self, tag: Tag) -> bool:
        rule = self.desired.rules.get(tag)
        return (rule is not None and rule.protected) or any(fnmatchcase(tag, pattern) for pattern in self.want.ignore)

    def _present_removals(self, removals: Mapping[Tag, Change]) -> dict[Tag, Change]:
        """The removals of tags that the contact carries, or may carry."""
        observed = self.situation.observed
        if observed is None:
            return {tag: change for tag, change in removals.items() if self._is_blind(change)}
        return {tag: change for tag, change in removals.items() if tag in observed or tag in self.situation.doubtful}

    def _is_blind(self, change: Change) -> bool:
        """Whether the removal is sent though the contact was never observed."""
        # these reasons take tags that no manifest names for removal: only an observation tells which ones
        return change.reason not in (Reason.OWNED, Reason.EXACT, Reason.EXCLUSIVE)

    def _defer_removals(
        self, removals: Mapping[Tag, Change], *, adding: bool, waits: bool, held: TagSet
    ) -> tuple[list[Change], Deferred]:
        """The removals of this plan, and those that wait: for an add in doubt, or for the first answer."""
        present = self._present_removals(removals)
        if self.situation.observed is not None:
            withheld = tuple(sorted(present))
            if waits:
                return [], (((DeferralReason.UNTIL_SETTLED, withheld),) if withheld else ())
            return [change for change in present.values() if change.tag not in held], ()
        blind = [] if adding or waits else [change for change in present.values() if change.tag not in held]
        unseen = tuple(sorted(removals.keys() - held - {change.tag for change in blind}))
        return blind, self._defer_unseen(
            unseen, answered=adding or bool(blind), settling=waits or not held.isdisjoint(present)
        )

    def _defer_unseen(self, tags: tuple[Tag, ...], *, answered: bool, settling: bool) -> Deferred:
        """The removals on a contact that was never observed. `answered`: a request of this plan will show its tags;
        `settling`: it is read first, since a pair of it is in doubt."""
        exact = self.want.authority is Authority.EXACT
        if not answered and not settling:
            return ((DeferralReason.NEEDS_REFRESH, tags),) if tags or exact else ()
        named = (DeferralReason.UNTIL_SETTLED if settling else DeferralReason.UNTIL_OBSERVED, tags)
        open_ended = (DeferralReason.OPEN if self.selection.apply_deferrals else DeferralReason.EXACT, ())
        return (*([named] if tags else []), *([open_ended] if exact else []))

    def _ledger_change(self) -> tuple[tuple[Tag, ...], tuple[Tag, ...], tuple[Tag, ...]] | None:
        situation, present = self.situation, frozenset(self.want.present)
        there, selected = situation.observed or NONE, self._select(present)
        settled = self._select(situation.ledger.tags | present) - situation.doubtful
        adopted = (present & there & settled) - situation.ledger.tags
        unseen = situation.ledger.tags if situation.observed is None else there
        # a kept pair of a set that owns its tags leaves the ledger only once the contact lost it: else it would be
        # removed as owned (rule 1 of `diff`)
        released = self._select(leaving_pairs(situation, present)) - (self._kept_though_owned() & unseen)
        ledger = (situation.ledger.tags | adopted) - released
        kept = frozenset(tag for tag in ledger if tag in (self.want.keep if tag in selected else situation.ledger.kept))
        if not adopted and not released and kept == situation.ledger.kept:
            return None
        return tuple(sorted(adopted)), tuple(sorted(released)), tuple(sorted(kept))

    def _select(self, tags: Iterable[Tag]) -> TagSet:
        return frozenset(tag for tag in tags if self.selection.takes(tag))
