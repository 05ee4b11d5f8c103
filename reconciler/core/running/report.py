"""What a run did, as a value: every pair of the plan ends as exactly one outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.core.model.errors import ExitCode, worst
from reconciler.core.model.journal import RunStatus, Shortfall
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.model.outcome import Action, Outcome


@dataclass(frozen=True, slots=True)
class FailedChange:
    """A contact of a batch that did not end well, and what the API said of it."""

    contact: ContactId
    outcome: Outcome
    action: Action
    tags: tuple[Tag, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Surprises:
    """Contacts that were found with tags more, or tags less, than were last observed."""

    appeared: tuple[Tag, ...]
    vanished: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class LocationReport:
    """A run in one location.

    `pairs`: how many of the planned pairs ended how. `requests` are writes, `reads` those that settled doubts.
    `outside`: pairs that turned out to be needed and that nobody approved: the next plan's. `notes`: what a person
    should know besides. `unsent`: what was not sent or stays deferred, and why. `error` and `hint`: what ended the run
    early, with `error_code` as its exit code.
    """

    location: LocationId
    run: str
    status: RunStatus
    rounds: int = 0
    requests: int = 0
    adopted: int = 0
    released: int = 0
    pairs: Mapping[Outcome, int] = field(default_factory=dict)
    findings: tuple[FailedChange, ...] = ()
    surprises: tuple[Surprises, ...] = ()
    reads: int = 0
    notes: tuple[str, ...] = ()
    outside: int = 0
    unsent: tuple[Shortfall, ...] = ()
    error: str = ""
    hint: str = ""
    error_code: int = ExitCode.DONE

    @property
    def exit_code(self) -> int:
        if self.error_code:
            return self.error_code
        unfinished = (Outcome.REJECTED, Outcome.HELD, Outcome.IN_DOUBT, Outcome.NOT_SENT)
        partial = self.outside or any(self.pairs.get(outcome, 0) for outcome in unfinished)
        return ExitCode.PARTIAL if partial else ExitCode.DONE


def exit_code(reports: Iterable[LocationReport]) -> int:
    return worst(report.exit_code for report in reports)
