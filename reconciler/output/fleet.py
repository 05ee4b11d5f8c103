"""The jobs of a fleet: which location each works on, how far it is, how it ended.

Rules
1. An exit code is our verdict on a job, as of the command that it stands for; the engine's opinion is not shown.
2. Jobs that wait for a person are listed first, then those that ended badly, that run, that wait, that ended well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.json_forms import Count, Form
from reconciler.core.model.errors import WORST_FIRST, ExitCode, worst_code
from reconciler.core.model.names import Instant, LocationId
from reconciler.output.blocks import (
    COMMIT,
    Cell,
    Records,
    Row,
    Style,
    View,
    counted,
    iso_or_empty,
    lines,
    make_records,
    make_section,
    moment,
    number,
    table,
)
from reconciler.output.document import DerivedDocument, Document


class JobStatus(StrEnum):
    """How far a job is."""

    HELD = "held"
    """Tried as often as a job is tried: a person has to look."""
    RUNNING = "running"
    QUEUED = "queued"
    PLANNED = "planned"
    """Ended with a plan that is not approved: nothing was sent."""
    ENDED = "ended"
    CANCELLED = "cancelled"
    DROPPED = "dropped"
    """Not queued, as another job of the location had not ended."""


OPEN = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class FleetJob:
    """A job as the fleet's table has it."""

    id: int
    batch: str
    """The id of the command or schedule that queued it together with others."""
    location: LocationId
    operation: str
    commit: str
    """The commit that a worker's checkout must be at."""
    approved: str
    """The change digest that was approved for this location; empty: none."""
    status: JobStatus
    tries: Count
    exit_code: Count | None
    """None until it has ended."""
    note: str
    """The reason for its status, for a person."""
    worker: str
    queued: Instant
    started: Instant | None
    ended: Instant | None
    not_before: Instant | None = None
    """The moment until which it waits."""
    result_text: str = ""
    """The JSON of its report; empty until it has ended, and where it was not asked for."""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


class _Report:
    """The report of a job, in the JSON of a document."""


def _read_report(job: FleetJob) -> object:
    return json.loads(job.result_text) if job.result_text else None


_JOB_MEMBERS = (
    "id batch location operation commit approved status tries exit_code note worker queued started ended not_before"
)
_REPORT_FORM: Form[Any] = Form(lambda report: report, lambda report: report, {"type": ["object", "null"]})
_FORMS = Forms(
    {
        FleetJob: JsonSpelling(
            about="A job. `exit_code`: null until it has ended; `result`: the report of its command, where that was "
            "asked for.",
            members=_JOB_MEMBERS,
            derived={"result": (_Report, _read_report)},
        )
    },
    {_Report: _REPORT_FORM},
)


@dataclass(frozen=True, slots=True)
class FleetDocument(DerivedDocument, Document):
    report: ClassVar = "fleet"
    forms: ClassVar = _FORMS

    jobs: Sequence[FleetJob]

    def view(self, most: int | None) -> View:
        verdict = Cell(f"{counted(len(self.jobs), 'job')}{_count_statuses(self.jobs)}.", Style.STRONG)
        columns = "#job location operation status #exit #tries queued commit"
        jobs = table("Jobs", columns, [_job_cells(job) for job in sort_jobs(self.jobs)], most=most)
        # a sentence of its own each: an error is longer than a column
        notes = [Cell(f"job {job.id}, location {job.location}: {job.note}") for job in sort_jobs(self.jobs) if job.note]
        return View("Fleet", (make_section("Fleet", verdict, jobs, lines("Notes", notes, most=most)),))

    def records(self) -> Records:
        columns = "#job batch location operation status #exit_code #tries queued started ended commit approved note"
        return make_records("Jobs", columns, lambda: map(_job_row, sort_jobs(self.jobs)))


def judge_jobs(jobs: Iterable[FleetJob]) -> int:
    return worst_code([ExitCode.DONE, *(job.exit_code for job in jobs if job.exit_code is not None)])


def sort_jobs(jobs: Iterable[FleetJob]) -> list[FleetJob]:
    """Those that a person has to look at first, first."""
    return sorted(jobs, key=_rank)


def _rank(job: FleetJob) -> tuple[int, int, LocationId, int]:
    # unfinished ones have none
    badly = int(bool(job.exit_code))
    places = {JobStatus.HELD: 0, JobStatus.RUNNING: 2, JobStatus.QUEUED: 3}
    # what ended badly stands before what goes on by itself
    place = places.get(job.status, 1 if badly else 4)
    # a code that is in no table is that of a signal or of a wrong command: it ranks before all
    severity = _SEVERITY.get(job.exit_code or 0, -1)
    return place, severity, job.location, job.id


_SEVERITY = {int(code): place for place, code in enumerate(WORST_FIRST)}


def _count_statuses(jobs: Sequence[FleetJob]) -> str:
    counts = Counter(job.status for job in jobs)
    named = [f"{counts[status]:,} {status}" for status in JobStatus if counts[status]]
    return f": {', '.join(named)}" if named else ""


_STYLES = {JobStatus.HELD: Style.BAD, JobStatus.DROPPED: Style.WARN, JobStatus.PLANNED: Style.WARN}


def _job_cells(job: FleetJob) -> tuple[Cell, ...]:
    return (
        Cell(str(job.id)),
        Cell(job.location, locations=(job.location,)),
        Cell(job.operation),
        Cell(job.status, Style.BAD if job.exit_code else _STYLES.get(job.status, Style.PLAIN)),
        # nothing, rather than a zero that would look like an end
        Cell("") if job.exit_code is None else number(job.exit_code, Style.BAD if job.exit_code else Style.GOOD),
        number(job.tries),
        Cell(moment(job.queued)),
        Cell(job.commit[:COMMIT], Style.FAINT),
    )


def _job_row(job: FleetJob) -> Row:
    return (
        str(job.id),
        job.batch,
        job.location,
        job.operation,
        job.status,
        "" if job.exit_code is None else str(job.exit_code),
        str(job.tries),
        iso_or_empty(job.queued),
        iso_or_empty(job.started),
        iso_or_empty(job.ended),
        job.commit,
        job.approved,
        job.note,
    )
