"""Why pairs of a plan were not sent or did not end well, and the commands that settle them. Pure.

Rule: a reason is a fact about that contact. That it waits for an observation is said only where an observation is
all that is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.core.model.contact_state import NONE, ContactState, ContactStates
from reconciler.core.model.journal import LocationReport, RunEnding, RunLog, RunStatus, Shortfall
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.settings import DriftClass
from reconciler.core.planning.changes import (
    FLAPPING,
    IN_DOUBT,
    UNCONFIRMED,
    WAITS_UNTIL,
    Deferral,
    DeferralReason,
    Delta,
    HeldContacts,
)
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.planning.slow_release import WaitingAdds
from reconciler.core.running.pair_outcomes import PairOutcomes

if TYPE_CHECKING:
    from reconciler.core.observing.drift import DriftReport

STOPPED = "the run stopped before it was sent"
BESIDES = "it is in the plan file, and not in a plan made now"
NOT_OBSERVED = "waits for an observation: no answer has told the contact's tags"
FOREIGN = "it is in the plan file, and no plan by these manifests would have it"
NEXT_PLAN = "left to the next plan"
LONGEST = 2_000
"""Characters that the journal keeps of a message."""
_Key = tuple[Outcome, Action, TagSet, str]
HELD = (
    "Held: nobody knows whether it came to be. A run that is under way settles its own, and `reconciler apply` what a "
    "killed one left. What stays held: `reconciler refresh` looks, `reconciler apply --retry-held` sends again."
)
FLAPS = "Put back lately and gone again: see what removes it; `reconciler apply --retry-held` puts it back at once."
UNREACHABLE = "Refused: `reconciler refresh` looks again, `reconciler apply --retry-rejected` tries once more."
UNOBSERVED = "Never observed: `reconciler refresh` reads it."
_ORDER = (Outcome.REJECTED, Outcome.IN_DOUBT, Outcome.HELD, Outcome.NOT_SENT, Outcome.DEFERRED)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The facts at the end of a run that reasons are read from.

    `present`: the tags that are to be on a contact. `is_stopped`: an error ended the run. `besides`: contacts of
    changes that only the plan file has. `waiting`: additions of slowly given tags that may not go yet.
    """

    observed: ContactStates
    present: Callable[[ContactId], TagSet]
    is_stopped: bool = False
    besides: Container[ContactId] = ()
    waiting: Mapping[Tag, WaitingAdds] = field(default_factory=dict)

    def waits_on(self, contact: ContactId) -> TagSet:
        """The additions to a contact that may not go yet."""
        return frozenset(tag for tag, each in self.waiting.items() if contact in each.contacts)


def explain_unsent(outcomes: PairOutcomes, deferrals: Iterable[Deferral], end: RunEnd) -> tuple[Shortfall, ...]:
    """The pairs that were not sent or stay deferred; those that a request was given up for are among the findings."""
    # a refusal is of the whole contact: it is the reason for each of its pairs
    refused = {each.contact: each.message for each in outcomes.findings() if each.outcome is Outcome.REJECTED}
    found: defaultdict[_Key, list[ContactId]] = defaultdict(list)
    for contact, tags in outcomes.not_sent():
        # the outcome of a pair does not hold its action: tags that are to be there are adds
        adds = tags & end.present(contact)
        waiting = adds & end.waits_on(contact)
        for tag in waiting:
            found[Outcome.NOT_SENT, Action.ADD, frozenset({tag}), end.waiting[tag].why].append(contact)
        for action, part in ((Action.ADD, adds - waiting), (Action.REMOVE, tags - adds)):
            if part:
                why = _why_not_sent(contact, action, outcomes, end, refused)
                found[Outcome.NOT_SENT, action, part, why].append(contact)
    undecided = dict(outcomes.undecided(end.observed))
    reasons = _reasons(deferrals, undecided)
    for contact, tags in undecided.items():
        why = _why_deferred(contact, reasons.get(contact), outcomes, end, refused)
        found[Outcome.DEFERRED, Action.REMOVE, tags, why].append(contact)
    return _sorted(found)


def foreign_changes(deltas: Iterable[Delta]) -> tuple[Shortfall, ...]:
    """Changes that only a plan file has, and that no plan by these manifests would have."""
    found: defaultdict[_Key, list[ContactId]] = defaultdict(list)
    for delta in deltas:
        for action in Action:
            if tags := delta.tags(action):
                found[Outcome.NOT_SENT, action, tags, FOREIGN] += delta.contacts
    return _sorted(found)


def ending_of(report: LocationReport) -> RunEnding:
    """The part of a report that the journal keeps: its numbers, and the pairs that did not end well, worst first."""
    found: defaultdict[_Key, list[ContactId]] = defaultdict(list)
    for each in report.findings:
        found[each.outcome, each.action, frozenset(each.tags), each.message[:LONGEST]].append(each.contact)
    return RunEnding(
        pairs=tuple(report.pairs.items()),
        rounds=report.rounds,
        reads=report.reads,
        reads_for=tuple(sorted((purpose.value, reads) for purpose, reads in report.reads_for.items())),
        adopted=report.adopted,
        released=report.released,
        outside=report.outside,
        error=report.error[:LONGEST],
        shortfalls=(*_sorted(found), *report.unsent),
    )


def adds_of(deltas: Iterable[Delta]) -> Mapping[ContactId, TagSet]:
    found: defaultdict[ContactId, TagSet] = defaultdict(frozenset)
    for delta in deltas:
        tags = delta.tags(Action.ADD)
        for contact in delta.contacts if tags else ():
            found[contact] |= tags
    return found


def _sorted(found: Mapping[_Key, list[ContactId]]) -> tuple[Shortfall, ...]:
    groups = (
        Shortfall(outcome, action, tuple(sorted(tags)), why, tuple(sorted(set(contacts))))
        for (outcome, action, tags, why), contacts in found.items()
    )
    return tuple(sorted(groups, key=_worst_first))


def _worst_first(each: Shortfall) -> tuple[int, int, tuple[Tag, ...], str]:
    return _ORDER.index(each.outcome), -len(each.contacts), each.tags, each.why


def _why_not_sent(
    contact: ContactId, action: Action, outcomes: PairOutcomes, end: RunEnd, refused: Mapping[ContactId, str]
) -> str:
    known = end.observed[contact]
    if reason := _refused(contact, known, refused):
        return reason
    # removals go only after the contact's adds ended well: a group must not be emptied
    if action is Action.REMOVE and contact in outcomes.failed:
        return _waits_for(outcomes.failed[contact], "did not end well")
    if action is Action.REMOVE and (waiting := end.waits_on(contact)):
        return _waits_for(waiting, "was not sent")
    if end.is_stopped:
        return STOPPED
    if contact in end.besides:
        return BESIDES
    return DeferralReason.UNTIL_SETTLED if known.doubtful else NEXT_PLAN


def _why_deferred(
    contact: ContactId,
    reason: DeferralReason | None,
    outcomes: PairOutcomes,
    end: RunEnd,
    refused: Mapping[ContactId, str],
) -> str:
    known = end.observed[contact]
    if told := _refused(contact, known, refused):
        return told
    if contact in outcomes.failed:
        return _waits_for(outcomes.failed[contact], "did not end well")
    if known.doubt is not None:
        return DeferralReason.UNTIL_SETTLED
    if unsent := outcomes.tags_with(contact, Outcome.NOT_SENT) & end.present(contact):
        return _waits_for(unsent, "was not sent")
    return NOT_OBSERVED if reason in (None, DeferralReason.UNTIL_OBSERVED) else str(reason)


def _refused(contact: ContactId, known: ContactState, refused: Mapping[ContactId, str]) -> str:
    said = refused.get(contact) or (known.quarantine and known.quarantine.reason)
    return f"the API refuses the contact: {said}" if said else ""


def _waits_for(tags: Iterable[Tag], what: str) -> str:
    return f"waits for the add of {', '.join(sorted(tags))}, which {what}"


def _reasons(deferrals: Iterable[Deferral], contacts: Container[ContactId]) -> dict[ContactId, DeferralReason]:
    named = (deferral for deferral in deferrals if deferral.tags)
    return {contact: deferral.reason for deferral in named for contact in deferral.contacts if contact in contacts}


def waits_for_release(short: Shortfall) -> bool:
    """Whether these are additions that wait for their pace or their window alone."""
    # a date follows; what waits until something is settled is another matter
    is_dated = short.why.startswith(WAITS_UNTIL) and short.why[len(WAITS_UNTIL) :][:1].isdigit()
    return is_dated and (short.action, short.outcome) == (Action.ADD, Outcome.NOT_SENT)


def report_nothing_sent(plan: LocationPlan, status: RunStatus = RunStatus.COMPLETE) -> LocationReport:
    """The report of a location without a request; it lists the pairs that are desired and left aside."""
    outcomes, adds = PairOutcomes(), adds_of(plan.deltas)
    outcomes.add_planned(plan.deltas)
    outcomes.add_deferred(plan.deferrals)
    # no run, so nothing was learnt: the plan alone tells the reasons
    end = RunEnd(ContactStates(), lambda contact: adds.get(contact, NONE), is_stopped=status is RunStatus.STOPPED)
    return LocationReport(
        plan.location,
        "",
        status,
        pairs=outcomes.pairs(end.observed),
        notes=note_left_aside(plan, plan.held),
        unsent=explain_unsent(outcomes, plan.deferrals, end),
    )


def note_left_aside(plan: LocationPlan, held: Sequence[HeldContacts]) -> tuple[str, ...]:
    """The pairs that are desired and not sent, and the commands that settle them. `held`: those held still."""
    still = replace(plan, held=tuple(held))
    told = (f"Not as declared: {still.aside}.", *plan_remedies(still)) if still.aside else ()
    return (*told, f"Not decided: {plan.waiting}.") if plan.is_empty and plan.waiting else told


def list_remedies(*, held: bool, unreachable: bool, flapping: bool = False, unobserved: bool = False) -> list[str]:
    """A line for each kind of contacts that is there."""
    told = ((held, HELD), (flapping, FLAPS), (unreachable, UNREACHABLE), (unobserved, UNOBSERVED))
    return [text for there, text in told if there]


def plan_remedies(plan: LocationPlan) -> list[str]:
    whys = {each.why for each in plan.held}
    return list_remedies(
        held=not whys.isdisjoint((IN_DOUBT, UNCONFIRMED)),
        flapping=FLAPPING in whys,
        unreachable=bool(plan.quarantined),
    )


def drift_remedies(report: DriftReport) -> list[str]:
    return list_remedies(
        held=report.count(DriftClass.HELD) > 0,
        flapping=report.count(DriftClass.FLAPPING) > 0,
        unreachable=report.count(DriftClass.UNREACHABLE) > 0,
        unobserved=report.count(DriftClass.UNOBSERVED) > 0,
    )


def run_remedies(report: LocationReport) -> list[str]:
    """The remedies for the outcomes of its pairs, and those that its notes name."""
    told = {*_after(report.pairs), *report.notes}
    return [text for text in (HELD, FLAPS, UNREACHABLE) if text in told]


def log_remedies(log: RunLog) -> list[str]:
    """The remedies by the run's ending; of a run without one, the pairs without an answer are in doubt as well."""
    if log.ending is not None:
        return _after([outcome for outcome, _ in log.ending.pairs])
    # a killed run wrote no ending: its rows tell as much as is known
    verdicts = [answer.verdict for batch in log.batches for answer in batch.answers.values()]
    return _after({Outcome.IN_DOUBT if verdict is None else verdict.outcome for verdict in verdicts})


def known_remedies(contacts: Iterable[ContactState]) -> list[str]:
    every = list(contacts)
    return list_remedies(
        held=any(known.doubtful or known.ledger.unconfirmed for known in every),
        unreachable=any(known.quarantine is not None for known in every),
    )


def _after(outcomes: Collection[Outcome]) -> list[str]:
    held = Outcome.HELD in outcomes or Outcome.IN_DOUBT in outcomes
    return list_remedies(held=held, unreachable=Outcome.REJECTED in outcomes)
