"""The journal of a run (its requests, their answers, its ending) and its report: every pair of the plan ends once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.model.errors import ExitCode, ReconcilerError, worst_code
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, TagSet, iso
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome


class RunStatus(StrEnum):
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


class BatchStatus(StrEnum):
    """INTENDED: may have been sent, no answer so far. WITHDRAWN: known to have had no effect."""

    INTENDED = "intended"
    ANSWERED = "answered"
    WITHDRAWN = "withdrawn"
    IN_DOUBT = "in_doubt"


class ReadFor(StrEnum):
    """DOUBTS: whether requests of unknown effect had one. REFUSALS: whether a request that was refused as a whole had
    one. DATES: whether a write of tags moves `dateUpdated`."""

    DOUBTS = "doubts"
    REFUSALS = "refusals"
    DATES = "dates"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Pairs that did not end well, or were not sent, for one reason: the tags on each of the contacts."""

    outcome: Outcome
    action: Action
    tags: tuple[Tag, ...]
    why: str
    """The message of the API, or the reason that kept them back."""
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class RunEnding:
    """The numbers of a run's report, as the journal keeps them."""

    pairs: tuple[tuple[Outcome, int], ...] = ()
    """The number of planned pairs by their outcome, none of them 0."""
    rounds: int = 0
    reads: int = 0
    adopted: int = 0
    released: int = 0
    outside: int = 0
    """The pairs that turned out to be needed, and were not approved."""
    error: str = ""
    """The error that ended the run early."""
    shortfalls: tuple[Shortfall, ...] = ()
    manifests_digest: str = field(default="", compare=False)
    """The manifests that it carried out as a whole; empty for a part of them, and for the undoing of a run."""
    definitions_digest: str = field(default="", compare=False)
    """Their definitions, without members of sets; empty where `manifests_digest` is, and where an older version ran."""
    waits_until: Instant | None = field(default=None, compare=False)
    """When the first of the additions may go that wait for a pace or a window."""
    reads_for: tuple[tuple[str, int], ...] = ()
    """The reads by their purpose, the value of a `ReadFor`, none of them 0; empty where an older version ran."""

    def is_by(self, definitions_digest: str, manifests_digest: str) -> bool:
        """Whether the run carried out these definitions as a whole; one of an older version: these manifests."""
        if self.definitions_digest:
            return self.definitions_digest == definitions_digest
        return self.manifests_digest == manifests_digest

    @property
    def is_partial(self) -> bool:
        """Whether a pair was newly rejected, is held, in doubt, or was not sent."""
        return ends_partially(dict(self.pairs), self.outside)


COPY = "backup before "
MOVE = "state migrate"
MOVED = f"{MOVE} to "
"""The operation of the entry in a state that was copied to the place behind it. The copy has it as `MOVE` alone: it is
used from then on, and not the state that it was made of."""


@dataclass(frozen=True, slots=True)
class StateCopy:
    """A copy of a state, made before a run or another change: it lacks that, and all that followed.

    It is marked by an entry of its own history, which the state itself does not have.
    """

    made: Instant
    before: str
    """The change that was about to begin, in words."""

    @property
    def operation(self) -> str:
        """That of its entry."""
        return f"{COPY}{self.before}"

    @staticmethod
    def read(operation: str, started: Instant) -> StateCopy | None:
        """The copy that an entry of a history marks, None where it is a run."""
        return StateCopy(started, operation.removeprefix(COPY)) if operation.startswith(COPY) else None

    def describe(self, location: LocationId) -> str:
        """A line for a person where such a copy is the state."""
        return (
            f"the state of location {location} is a backup that was put back: it was made {iso(self.made)} before "
            f"{self.before}, and does not know what that and later runs did; until an apply of all manifests is "
            "complete, the guard max_backup_adds refuses to add what starts automations or is given once"
        )


@dataclass(frozen=True, slots=True)
class RunHeader:
    """A run as it begins. `commit` is the manifests' Git commit, empty where there is none.

    `allowed`: the guards that were lifted for it, each with the reason given.
    """

    location: LocationId
    operation: str
    who: str
    started: Instant
    change_digest: str = ""
    commit: str = ""
    allowed: tuple[str, ...] = ()
    manifests_digest: str = field(default="", compare=False)
    """The manifests that it is to carry out as a whole; empty for a part of them, and where an older version ran."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the journal shows it. `rows` counts its response rows that are kept.

    `traced`: whether the journal tells which pairs it put under management.
    """

    id: str
    header: RunHeader
    status: RunStatus
    ended: Instant | None
    requests: int
    rows: int
    traced: bool = True
    waits_until: Instant | None = None
    """When the additions may go that it left to wait for a pace or a window; None where it left none."""
    is_partial: bool = False
    """Whether its ending tells that a pair was rejected, held, in doubt, not sent, or needed and not approved."""

    @property
    def is_pruned(self) -> bool:
        """Whether its rows were given up, as those of older runs are."""
        # a run without a request never had rows
        return self.requests > 0 and self.rows == 0

    @property
    def was_killed(self) -> bool:
        """Whether its process was gone before it wrote down how it ended."""
        return self.status is RunStatus.INTERRUPTED and self.ended is None


def list_moves(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """The entries that tell where a state went that was copied to another place, in their order."""
    return [run for run in runs if run.header.operation.startswith(MOVED) and run.status is RunStatus.COMPLETE]


@dataclass(frozen=True, slots=True)
class Answer:
    """How one contact of a batch ended."""

    verdict: ContactOutcome | None
    """None: not known so far."""
    released: TagSet = frozenset()
    """The tags that were under management and are gone."""
    entered: TagSet = frozenset()
    """The tags that the batch's intent put under management."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One request, as the journal shows it; `answers` is empty where its rows are no longer kept."""

    action: Action
    tags: tuple[Tag, ...]
    intended: Instant
    ended: Instant | None
    status: BatchStatus
    answers: Mapping[ContactId, Answer]


@dataclass(frozen=True, slots=True)
class RunLog:
    """A run with all of its batches, in the order in which they were sent."""

    record: RunRecord
    batches: tuple[BatchRecord, ...]
    adopted: Mapping[ContactId, TagSet] = field(default_factory=dict)
    """The tags that it put under management without a request."""
    ending: RunEnding | None = None
    """None for a run that was killed, or that is older than the journal's endings."""


@dataclass(frozen=True, slots=True)
class FailedChange:
    """A contact of a batch that did not end well, with the message of the API."""

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
class UnknownLocation:
    """A location of which nothing can be told, and why: it is none without changes, and none without drift."""

    location: LocationId
    error: str
    hint: str
    exit_code: int

    @staticmethod
    def list_from(errors: Mapping[LocationId, ReconcilerError]) -> tuple[UnknownLocation, ...]:
        """Those with these errors, sorted."""
        return tuple(
            UnknownLocation(location, "; ".join(error.lines), "; ".join(error.hints), int(error.exit_code))
            for location, error in sorted(errors.items())
        )


@dataclass(frozen=True, slots=True)
class LocationReport:
    location: LocationId
    run: str
    status: RunStatus
    rounds: int = 0
    requests: int = 0
    """Writes; `reads` counts the requests that read, `reads_for` these by their purpose."""
    adopted: int = 0
    released: int = 0
    pairs: Mapping[Outcome, int] = field(default_factory=dict)
    """The number of planned pairs by their outcome."""
    findings: tuple[FailedChange, ...] = ()
    surprises: tuple[Surprises, ...] = ()
    reads: int = 0
    notes: tuple[str, ...] = ()
    """Remarks for a person."""
    outside: int = 0
    """The pairs that turned out to be needed and were not approved: they are the next plan's."""
    unsent: tuple[Shortfall, ...] = ()
    """The pairs that were not sent or stay deferred, with the reason."""
    error: str = ""
    hint: str = ""
    error_code: int = ExitCode.DONE
    """The exit code of `error`, which ended the run early."""
    resets: Instant | None = None
    """When the day's quota starts anew, where it ended the run."""
    reads_for: Mapping[ReadFor, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        if self.error_code:
            return self.error_code
        return ExitCode.PARTIAL if ends_partially(self.pairs, self.outside) else ExitCode.DONE


def ends_partially(pairs: Mapping[Outcome, int], outside: int) -> bool:
    """Whether a run without an error left pairs undone."""
    # a deferral is no reason for exit code 3: the plan said that it needs an observation first
    unfinished = (Outcome.REJECTED, Outcome.HELD, Outcome.IN_DOUBT, Outcome.NOT_SENT)
    return bool(outside or any(pairs.get(outcome, 0) for outcome in unfinished))


def exit_code(reports: Iterable[LocationReport]) -> int:
    return worst_code(report.exit_code for report in reports)
