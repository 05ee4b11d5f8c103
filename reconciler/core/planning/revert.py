"""Undoing a run: the exact inverse of its changes, as far as they still stand. Pure.

Rules
1. The changes of a run are those of its `Reversal` (`reversal.py`).
2. A tag that changed since is left alone: by a later run, or by others, as far as answers and observations tell.
3. A change that the manifests still demand is left out, and listed: the next plan would only make it again. Revert the
   commit first.
4. A tag that is given back is under management again where it was before; one that never was ours comes back as
   foreign.
5. A pair that the run put under management without a change (adopted, or asked for and there already) leaves the
   ledger, unless it is still desired, or a later run had to do with it. A pair that leaves so makes no tag owned.
6. A pair in doubt, and a contact that the API refuses, is left out and listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from reconciler.core.manifests.resolve import Desired, Want
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import NONE, ContactState, ContactStates
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Tag, TagSet, fold_spelling
from reconciler.core.model.outcome import Action, Reason
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
from reconciler.core.planning.reversal import NetChange, Reversal

DEMANDED = "still demanded: revert the commit first"
CHANGED_SINCE = "changed since by a later run, or by others"
UNCLEAR_THEN = "the run does not know whether it changed it"
UNKNOWN_NOW = "nothing is known of the contact any more"


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
    """The plan that undoes a run, from the state of now; the arguments are those of `plan_location`."""
    desired, options = state.spelling.spell_desired(desired), options.in_spelling(state.spelling)
    reversal = reversal.in_spelling(state.spelling)
    diff = undo_changes(reversal, desired, state.observed, spent=spent or {}, gone=options.gone)
    return plan_of(diff, desired, state, options, done=done, before=before, observations=observations)


def undo_changes(
    reversal: Reversal,
    desired: Desired,
    observed: ContactStates,
    *,
    spent: Mapping[ContactId, TagSet],
    gone: Iterable[HeldContacts] = (),
) -> Diff:
    """The changes that undo a run, and those that are left out, with the reason; all in one spelling of each tag.

    `gone`: contacts that are not there, and why.
    """
    away = {contact: held.why for held in gone for contact in held.contacts}
    owned = _owned_tags(reversal, desired, observed)
    deltas: defaultdict[tuple[Change, ...], list[ContactId]] = defaultdict(list)
    omitted: defaultdict[tuple[str, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    refused: defaultdict[str, list[ContactId]] = defaultdict(list)
    released: defaultdict[tuple[tuple[Tag, ...], tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    # contacts of one key get the same changes: a run of a million contacts has few keys
    reversals: dict[tuple[object, ...], _ContactReversal] = {}
    for contact, net in reversal.changed.items():
        done, since = spent.get(contact, NONE), reversal.since.get(contact, NONE)
        key = (desired.contacts.get(contact, -1), observed.contacts.get(contact, 0), net, done, since)
        undone = reversals.get(key)
        if undone is None:
            case = _Case(desired.want(contact), observed[contact], net, since, done, owned)
            undone = reversals[key] = case.reverse_changes()
        if undone.released:
            kept = observed[contact].kept.difference(undone.released)
            released[undone.released, tuple(sorted(kept))].append(contact)
        if undone.changes and (why := away.get(contact) or observed[contact].quarantine) is not None:
            refused[str(why)].append(contact)
        elif undone.changes:
            deltas[undone.changes].append(contact)
        for why, tags in undone.omitted:
            omitted[why, tags].append(contact)
    ledger = [LedgerChange((), gone, kept, tuple(sorted(contacts))) for (gone, kept), contacts in released.items()]
    return _make_diff(deltas, ledger, omitted, refused)


def _owned_tags(reversal: Reversal, desired: Desired, observed: ContactStates) -> TagSet:
    """The tags that the manifests name, and those of the ledger without the pairs that leave it by this revert."""
    leaving: dict[ContactId, TagSet] = {}
    for contact, net in reversal.changed.items():
        want, state, since = desired.want(contact), observed[contact], reversal.since.get(contact, NONE)
        case = _Case(want, state, net, since, NONE, NONE)
        if state.ledger and (gone := case.released | case.taken_away):
            leaving[contact] = gone
    staying = {index for contact, index in observed.contacts.items() if contact not in leaving}
    owned = desired.owned.union(*(observed.patterns[index].ledger for index in staying))
    return owned.union(*(observed[contact].ledger - gone for contact, gone in leaving.items()))


def _make_diff(
    deltas: Mapping[tuple[Change, ...], list[ContactId]],
    ledger: Iterable[LedgerChange],
    omitted: Mapping[tuple[str, tuple[Tag, ...]], list[ContactId]],
    refused: Mapping[str, list[ContactId]],
) -> Diff:
    ordered = sorted_deltas(deltas)
    return Diff(
        deltas=ordered,
        demands=demands_from_deltas(ordered),
        deferrals=(),
        ledger=tuple(sorted(ledger, key=lambda change: (change.released, change.kept))),
        held=tuple(
            HeldContacts(why, tags, tuple(sorted(contacts))) for (why, tags), contacts in sorted(omitted.items())
        ),
        quarantined=tuple(HeldContacts(why, (), tuple(sorted(contacts))) for why, contacts in sorted(refused.items())),
        spared=(),
        unobserved=0,
    )


@dataclass(frozen=True, slots=True)
class _ContactReversal:
    """The changes that undo a run on a contact; the tags left out, by reason; the pairs that leave the ledger."""

    changes: tuple[Change, ...]
    omitted: tuple[tuple[str, tuple[Tag, ...]], ...]
    released: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """A contact that a run changed, as it is desired and known now."""

    want: Want
    state: ContactState
    net: NetChange
    since: TagSet
    # the tags with an outcome in the present run
    spent: TagSet
    owned: TagSet

    def reverse_changes(self) -> _ContactReversal:
        take, give = self.net.added - self.spent, self.net.removed - self.spent
        unclear, released = self.net.unclear - self.spent, tuple(sorted(self.released))
        there = self.state.observed
        if there is None:
            return _ContactReversal((), _sort_reasons({UNKNOWN_NOW: take | give, UNCLEAR_THEN: unclear}), released)
        # a tag that is not as the run left it was changed since, be it by a hand that no answer showed
        moved = ((take - there) | (give & there) | self.since) & (take | give)
        take, give = take - moved, give - moved
        doubt = (take | give) & self.state.doubt
        take, give = take - doubt, give - doubt
        demanded = (take & self._present) | frozenset(filter(self._is_forbidden, give))
        changes = (
            *(Change(Action.ADD, tag, Reason.REVERTED) for tag in give - demanded),
            *(Change(Action.REMOVE, tag, Reason.REVERTED) for tag in take - demanded),
        )
        still = demanded | (self._entered_unchanged & self._present)
        omitted = {DEMANDED: still, CHANGED_SINCE: moved, IN_DOUBT: doubt, UNCLEAR_THEN: unclear}
        return _ContactReversal(tuple(sorted(changes)), _sort_reasons(omitted), released)

    @property
    def _present(self) -> TagSet:
        return frozenset(self.want.present)

    @property
    def released(self) -> TagSet:
        """The pairs that the run put under management without a change, and that are neither desired nor touched
        since."""
        return self._entered_unchanged - self._present

    @property
    def _entered_unchanged(self) -> TagSet:
        # a tag that came back in another spelling was changed too
        changed = set(map(fold_spelling, self.net.added))
        entered = frozenset(tag for tag in self.net.entered - self.net.unclear if fold_spelling(tag) not in changed)
        return (entered & self.state.ledger) - self.since - self.state.doubt

    @property
    def taken_away(self) -> TagSet:
        """The tags that the run added, and that its revert removes."""
        there = (self.state.observed or NONE) - self.state.doubt
        return (self.net.added & there) - self._present - self.since

    def _is_forbidden(self, tag: Tag) -> bool:
        """Whether the manifests, as they are, would have the next plan remove the tag again."""
        want = self.want
        if tag in want.present:
            return False
        if tag in want.absent:
            return True
        if any(fnmatchcase(tag, pattern) for pattern in want.ignore):
            return False
        if want.authority is Authority.EXACT or (want.authority is Authority.OWNED and tag in self.owned):
            return True
        # given back, it enters the ledger again (rule 4), and the next plan would prune it
        ours = self.net.released | self.state.ledger
        return tag in ours and tag not in self.state.kept


def _sort_reasons(tags_by_reason: Mapping[str, TagSet]) -> tuple[tuple[str, tuple[Tag, ...]], ...]:
    return tuple((why, tuple(sorted(tags))) for why, tags in tags_by_reason.items() if tags)
