"""The changes that one situation of contacts needs: the formulas of contract 5.2 (`docs/contract.md`), once per
situation.

Rules: those of `diff`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from reconciler.core.manifests.resolve import Desired, Want
from reconciler.core.model.contact_state import NONE, removed_by_others
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import Instant, Tag, TagSet, iso
from reconciler.core.model.outcome import Action, Cause, Reason
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
)
from reconciler.core.planning.situation import Reassertion, Searched, Situation, leaving_pairs

Deferred = tuple[tuple[DeferralReason, tuple[Tag, ...]], ...]


@dataclass(frozen=True, slots=True)
class PatternChanges:
    """What one pattern of contacts needs. `may_add`, `may_remove`: what may be sent again besides.

    `held`, `spared`, `given`: why, and which tags. `ledger`: adopted, released, kept; None where it stays as it is.
    """

    changes: tuple[Change, ...] = ()
    may_add: TagSet = NONE
    may_remove: TagSet = NONE
    deferred: Deferred = ()
    ledger: tuple[tuple[Tag, ...], tuple[Tag, ...], tuple[Tag, ...]] | None = None
    held: tuple[tuple[str, tuple[Tag, ...]], ...] = ()
    spared: tuple[tuple[str, tuple[Tag, ...]], ...] = ()
    quarantine: str = ""
    given: tuple[tuple[str, tuple[Tag, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """One situation: what is wanted of its contacts, and what this run has done to them already.

    `barred`: the API refused the contacts for good, and nothing has changed since. `gone`: why they are not there, as
    was read just now.
    """

    desired: Desired
    owned: TagSet
    want: Want
    situation: Situation
    selection: Selection
    reassertion: Reassertion
    spent: TagSet
    searched: Searched
    barred: bool
    gone: str = ""

    def verdict(self) -> PatternChanges:
        needed, held = self._adds(), self._held()
        removals, withheld = self._removals()
        if self.gone or (self.barred and (self.spent or not self.selection.retry_rejected)):
            wrong = needed or self._present(removals) or held
            return PatternChanges(
                ledger=self._ledger(),
                # what stays on purpose stays on a contact that is refused, too, and is told
                spared=tuple((why, tuple(sorted(tags))) for why, tags in self._spared() if tags),
                quarantine=(self.gone or self.situation.refusal) if wrong else "",
            )
        flapping, unconfirmed = self._flapping(), self._unconfirmed()
        idle = flapping | unconfirmed
        adds = {tag: change for tag, change in needed.items() if tag not in idle} if idle else needed
        sent = [change for tag, change in adds.items() if tag not in held and tag not in self.spent]
        removes, deferred = self._split(removals, adding=bool(sent), waits=not held.isdisjoint(adds), held=held)
        changes = [*sent, *removes]
        # asked to retry what is held, a plan has no use for all of it
        doubtful = self._chosen(self.situation.doubt) - {change.tag for change in changes}
        listed = ((FLAPPING, flapping), (IN_DOUBT, doubtful), (UNCONFIRMED, unconfirmed))
        return PatternChanges(
            changes=tuple(sorted(changes)),
            may_add=self._repeatable_adds(),
            may_remove=self.reassertion.repeatable_removes(removals.keys(), self.situation, self.desired.rules),
            deferred=(*deferred, *self._replaced_later(withheld, held)),
            ledger=self._ledger(),
            held=tuple((why, tuple(sorted(tags))) for why, tags in listed if tags),
            spared=tuple((why, tuple(sorted(tags))) for why, tags in self._spared() if tags),
            given=tuple((f"{GIVEN}, on {iso(at)[:10]}", (tag,)) for tag, at in self._given_before()),
        )

    def _repeatable_adds(self) -> TagSet:
        if not self.situation.is_fresh:
            return NONE
        return self.reassertion.repeatable_adds(self._chosen(self.want.present), self.situation, self.desired.rules)

    def _given_before(self) -> Iterator[tuple[Tag, Instant]]:
        """What is desired once, was given before, and is not there: it is not given again."""
        there = self.situation.observed or NONE
        for tag, at in self.situation.given_before:
            if tag in self.want.present and tag not in there and self._satisfied(tag) and self.selection.takes(tag):
                yield tag, at

    def _spared(self) -> Iterator[tuple[str, TagSet]]:
        """What stays on purpose, and why."""
        yield SAFE, frozenset(filter(self._spares, self.situation.ledger | self.want.absent.keys()))
        there = (
            self.situation.ledger
            if self.situation.observed is None
            else self.situation.ledger & self.situation.observed
        )
        stays = self._kept_though_owned() & there
        yield KEPT, self._chosen(stays - self.want.present.keys() - self.want.absent.keys())

    def _spares(self, tag: Tag) -> bool:
        """Whether the tag would be removed, were it not protected or ignored: kept on purpose, and told."""
        there = self.situation.observed is None or tag in self.situation.observed
        asked = tag in self.want.absent or (tag in self.situation.ledger and not self._kept(tag))
        return asked and there and tag not in self.want.present and self.selection.takes(tag) and self._safe(tag)

    def _held(self) -> TagSet:
        """The pairs in doubt; asked to retry them, those that this run brought into doubt once more."""
        doubt = self.situation.doubt & self.spent if self.selection.retry_held else self.situation.doubt
        return self._chosen(doubt)

    def _unconfirmed(self) -> TagSet:
        """What is to be added once, was asked for, and is not there: whether it ever was is for a person to say."""
        if not self.situation.unconfirmed or self.selection.retry_held:
            return NONE
        return (
            self._chosen(tag for tag in self._missing() if self._is_once(tag))
            & self.situation.unconfirmed - self.situation.doubt
        )

    def _flapping(self) -> TagSet:
        """Put back already, and gone again: held, unless asked for once more; what this run sent is neither."""
        if not self.situation.flapping or self.selection.retry_held:
            return NONE
        return self.situation.flapping & self._chosen(self._missing()) - self.spent - self._unconfirmed()

    def _adds(self) -> dict[Tag, Change]:
        return {tag: self._add(tag) for tag in self._missing() if self.selection.takes(tag)}

    def _missing(self) -> list[Tag]:
        """Desired, and not known to be there."""
        there = (self.situation.observed or NONE) - self.situation.doubt
        return [tag for tag in self.want.present if tag not in there and not self._satisfied(tag)]

    def _add(self, tag: Tag) -> Change:
        restored = removed_by_others(self.situation, frozenset({tag}))
        reason = Reason.RESTORED if restored else Reason.AGAIN if self._was_given(tag) else Reason.DECLARED
        return Change(Action.ADD, tag, reason, self.want.present[tag])

    def _satisfied(self, tag: Tag) -> bool:
        """One add is enough for it, and it came to be, or was given before; what may have come to be is held."""
        if not self._is_once(tag):
            return False
        given = self._was_given(tag) and tag not in self.selection.again
        return tag in self.situation.ledger - self.situation.unconfirmed or given

    def _was_given(self, tag: Tag) -> bool:
        return self._is_once(tag) and any(tag == each for each, _ in self.situation.given_before)

    def _is_once(self, tag: Tag) -> bool:
        rule = self.desired.rules.get(tag)
        return rule is not None and rule.once

    def _removals(self) -> tuple[dict[Tag, Change], dict[Tag, Change]]:
        """The removals that can be named for this contact, and those that wait for what takes the tag's place."""
        idle = self._flapping() | self._unconfirmed()
        bare = frozenset(tag for tag in self._missing() if tag in idle or not self.selection.takes(tag))
        named = self._named_removals()
        waiting = {
            tag: change
            for tag, change in named.items()
            if bare and change.reason in (Reason.GROUP, Reason.RENAMED) and self._stands_for(tag, bare)
        }
        return {tag: change for tag, change in named.items() if tag not in waiting}, waiting

    def _replaced_later(self, withheld: Mapping[Tag, Change], held: TagSet) -> Deferred:
        tags = tuple(sorted(self._present(withheld).keys() - held))
        return ((DeferralReason.UNTIL_REPLACED, tags),) if tags else ()

    def _named_removals(self) -> dict[Tag, Change]:
        """Every removal by tag: what is asked for plainly rules over the rest."""
        want, situation = self.want, self.situation
        causes: dict[Tag, Cause] = {}
        if want.authority is Authority.EXACT:
            causes |= dict.fromkeys(situation.observed or NONE, Cause(Reason.EXACT))
        if want.authority is not Authority.ADDITIVE:
            causes |= dict.fromkeys(self.owned - self._kept_though_owned(), Cause(Reason.OWNED))
        if situation.is_searched:
            causes |= {tag: self._exclusive(tag) for tag in self.searched.held_by(situation.observed)}
        causes |= {tag: self._pruned(tag) for tag in situation.ledger if not self._kept(tag)}
        causes |= want.absent
        return {
            tag: Change(Action.REMOVE, tag, cause.reason, cause.sources)
            for tag, cause in causes.items()
            if tag not in want.present and tag not in self.spent and self.selection.takes(tag) and not self._safe(tag)
        }

    def _stands_for(self, tag: Tag, missing: TagSet) -> bool:
        """Whether one of the missing tags is what takes the place of `tag`."""
        rules = self.desired.rules
        group = rules[tag].group if tag in rules else ""
        coming = [rules[each] for each in missing if each in rules]
        return any((group and each.group == group) or each.renamed_from == tag for each in coming)

    def _exclusive(self, tag: Tag) -> Cause:
        return Cause(Reason.EXCLUSIVE, (self.desired.rules[tag].source,))

    def _pruned(self, tag: Tag) -> Cause:
        expired = self.want.expired.get(tag)
        return Cause(Reason.PRUNED) if expired is None else Cause(Reason.EXPIRED, expired)

    def _kept(self, tag: Tag) -> bool:
        return tag in self.situation.kept

    def _kept_though_owned(self) -> TagSet:
        """What stays on leaving, though the contact is of a set that owns its tags."""
        return self.situation.kept & self.owned if self.want.authority is Authority.OWNED else NONE

    def _safe(self, tag: Tag) -> bool:
        rule = self.desired.rules.get(tag)
        return (rule is not None and rule.protected) or any(fnmatchcase(tag, each) for each in self.want.ignore)

    def _present(self, removals: Mapping[Tag, Change]) -> dict[Tag, Change]:
        """The removals whose tag the contact carries, or may carry as far as anyone knows."""
        observed = self.situation.observed
        if observed is None:
            return {tag: change for tag, change in removals.items() if self._blind(change)}
        return {tag: change for tag, change in removals.items() if tag in observed or tag in self.situation.doubt}

    def _blind(self, change: Change) -> bool:
        return change.reason not in (Reason.OWNED, Reason.EXACT, Reason.EXCLUSIVE)

    def _split(
        self, removals: Mapping[Tag, Change], *, adding: bool, waits: bool, held: TagSet
    ) -> tuple[list[Change], Deferred]:
        """The removals of this plan, and those that wait: for an add in doubt, or for the first answer to tell."""
        present = self._present(removals)
        if self.situation.observed is not None:
            withheld = tuple(sorted(present))
            if waits:
                return [], (((DeferralReason.UNTIL_SETTLED, withheld),) if withheld else ())
            return [change for change in present.values() if change.tag not in held], ()
        blind = [] if adding or waits else [change for change in present.values() if change.tag not in held]
        unseen = tuple(sorted(removals.keys() - held - {change.tag for change in blind}))
        return blind, self._unseen(unseen, told=adding or bool(blind), settling=waits or not held.isdisjoint(present))

    def _unseen(self, tags: tuple[Tag, ...], *, told: bool, settling: bool) -> Deferred:
        """What a contact that was never observed may carry too. `told`: an answer about it is to come; `settling`: it
        is read first, since something of it is in doubt."""
        exact = self.want.authority is Authority.EXACT
        if not told and not settling:
            return ((DeferralReason.NEEDS_REFRESH, tags),) if tags or exact else ()
        named = (DeferralReason.UNTIL_SETTLED if settling else DeferralReason.UNTIL_OBSERVED, tags)
        open_ended = (DeferralReason.OPEN if self.selection.apply_deferrals else DeferralReason.EXACT, ())
        return (*([named] if tags else []), *([open_ended] if exact else []))

    def _ledger(self) -> tuple[tuple[Tag, ...], tuple[Tag, ...], tuple[Tag, ...]] | None:
        situation, present = self.situation, frozenset(self.want.present)
        there, wanted = situation.observed or NONE, self._chosen(present)
        settled = self._chosen(situation.ledger | present) - situation.doubt
        adopted = (present & there & settled) - situation.ledger
        unseen = situation.ledger if situation.observed is None else there
        released = self._chosen(leaving_pairs(situation, present)) - (self._kept_though_owned() & unseen)
        ledger = (situation.ledger | adopted) - released
        kept = frozenset(tag for tag in ledger if tag in (self.want.keep if tag in wanted else situation.kept))
        if not adopted and not released and kept == situation.kept:
            return None
        return tuple(sorted(adopted)), tuple(sorted(released)), tuple(sorted(kept))

    def _chosen(self, tags: Iterable[Tag]) -> TagSet:
        return frozenset(tag for tag in tags if self.selection.takes(tag))
