"""What settles the contacts that an answer leaves aside: the commands, in words, a line for each kind that is there."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import RunLog
from reconciler.core.model.outcome import Outcome
from reconciler.core.model.policy import DriftClass
from reconciler.core.observing.drift import DriftReport
from reconciler.core.planning.changes import FLAPPING, IN_DOUBT, UNCONFIRMED
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.running.report import LocationReport

HELD = (
    "Held: nobody knows whether it came to be. `reconciler refresh` looks, `reconciler apply --retry-held` sends again."
)
FLAPS = "Put back lately and gone again: see what removes it; `reconciler apply --retry-held` puts it back at once."
UNREACHABLE = "Refused: `reconciler refresh` looks again, `reconciler apply --retry-rejected` tries once more."
UNOBSERVED = "Never observed: `reconciler refresh` reads it."


def remedies(
    *, held: bool = False, flapping: bool = False, unreachable: bool = False, unobserved: bool = False
) -> list[str]:
    """A line for each kind of contacts that is there."""
    told = ((held, HELD), (flapping, FLAPS), (unreachable, UNREACHABLE), (unobserved, UNOBSERVED))
    return [text for there, text in told if there]


def plan_remedies(plan: LocationPlan) -> list[str]:
    whys = {each.why for each in plan.held}
    return remedies(
        held=not whys.isdisjoint((IN_DOUBT, UNCONFIRMED)),
        flapping=FLAPPING in whys,
        unreachable=bool(plan.quarantined),
    )


def drift_remedies(report: DriftReport) -> list[str]:
    return remedies(
        held=report.count(DriftClass.HELD) > 0,
        flapping=report.count(DriftClass.FLAPPING) > 0,
        unreachable=report.count(DriftClass.UNREACHABLE) > 0,
        unobserved=report.count(DriftClass.UNOBSERVED) > 0,
    )


def run_remedies(report: LocationReport) -> list[str]:
    """For how its pairs ended, and for what its notes tell that it left aside."""
    told = {*_after(report.pairs), *report.notes}
    return [text for text in (HELD, FLAPS, UNREACHABLE) if text in told]


def log_remedies(log: RunLog) -> list[str]:
    """As the run wrote down how it ended; of one that did not, what no answer told of is in doubt as well."""
    if log.ending is not None:
        return _after([outcome for outcome, _ in log.ending.pairs])
    verdicts = [answer.verdict for batch in log.batches for answer in batch.answers.values()]
    return _after({Outcome.IN_DOUBT if verdict is None else verdict.outcome for verdict in verdicts})


def known_remedies(contacts: Iterable[ContactState]) -> list[str]:
    every = list(contacts)
    return remedies(
        held=any(known.doubt or known.unconfirmed for known in every),
        unreachable=any(known.quarantine is not None for known in every),
    )


def _after(outcomes: Collection[Outcome]) -> list[str]:
    held = Outcome.HELD in outcomes or Outcome.IN_DOUBT in outcomes
    return remedies(held=held, unreachable=Outcome.REJECTED in outcomes)
