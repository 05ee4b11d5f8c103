"""Jobs to queue: one for each location that is named, planned or has manifests, at the commit of the checkout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.core.model.errors import UsageError
from reconciler.core.planning.plan import Plan, combine_plans
from reconciler.fleet import FleetRequest, JobSchedule, NewJob, Operation
from reconciler.operations.identity import find_commit
from reconciler.operations.locations import list_locations
from reconciler.operations.workspace import Workspace
from reconciler.output.blocks import counted
from reconciler.output.fleet import FleetJob, JobStatus
from reconciler.planfile import plan_text


def find_known_commit(workspace: Workspace) -> str:
    """The commit of the checkout; raises UsageError where Git names none."""
    if commit := find_commit(workspace.directory):
        return commit
    raise UsageError(
        f"{workspace.directory} is in no Git checkout with a commit: a job names the commit that it is of",
        hint="commit the manifests, and run it in the checkout",
    )


def make_jobs(
    workspace: Workspace,
    names: Sequence[str],
    operation: Operation,
    request: FleetRequest,
    approved: Mapping[str, str] | None = None,
) -> list[NewJob]:
    """A job for each location that is named, by id or name; without names for each that has manifests.

    `approved`: the change digest of each location, by id or name. Raises UsageError for a location without manifests.
    """
    settings = workspace.load_settings()
    # the first lines of manifests tell their locations: a job reads those of its own as a whole
    there = {listed.id for listed in list_locations(workspace).locations}
    digests = {settings.find_location(name): digest for name, digest in (approved or {}).items()}
    chosen = [settings.find_location(name) for name in names] or sorted(there)
    if strange := sorted({*chosen, *digests} - there):
        raise UsageError(f"no manifest is of location {strange[0]!r}", hint="`reconciler locations` lists them")
    if unchosen := sorted(digests.keys() - set(chosen)):
        raise UsageError(f"location {unchosen[0]} is approved, and --location leaves it out", hint="name it too")
    commit = find_known_commit(workspace)
    return [NewJob(location, operation, commit, request, digests.get(location, "")) for location in chosen]


def make_scheduled_jobs(workspace: Workspace, commit: str, schedule: JobSchedule) -> list[NewJob]:
    """The jobs of a schedule, at a worker's commit: one for each of its locations that has manifests there."""
    # a location that left the manifests has no job that could be planned
    there = sorted(listed.id for listed in list_locations(workspace).locations)
    chosen = [location for location in there if location in schedule.locations or not schedule.locations]
    return [NewJob(location, schedule.operation, commit, schedule.request) for location in chosen]


def split_plan(workspace: Workspace, plan: Plan, request: FleetRequest) -> list[NewJob]:
    """A job for each location of a plan that has changes, with its part of the plan, which is approved."""
    for unknown in plan.unknown:
        raise UsageError(f"location {unknown.location} was not known when the plan file was made", hint="plan again")
    commit, jobs = find_known_commit(workspace), []
    for location in plan.locations:
        # one without anything to do would only fill the queue
        if location.may_have_work or location.leaves_record:
            part = combine_plans([location], as_of=plan.as_of, manifests=plan.manifests, selection=plan.selection)
            text = plan_text(part)
            jobs.append(NewJob(location.location, Operation.APPLY, commit, request, part.change_digest, text))
    return jobs


def describe_queued(jobs: Sequence[FleetJob]) -> list[str]:
    """A line for the jobs that were queued, and for each that was dropped."""
    queued = [job for job in jobs if job.status is JobStatus.QUEUED]
    lines = [f"{counted(len(queued), 'job')} queued as batch {queued[0].batch}"] if queued else []
    dropped = (job for job in jobs if job.status is JobStatus.DROPPED)
    return [*lines, *(f"location {job.location}: not queued, since {job.note}" for job in dropped)]


def read_approvals(approved: Sequence[str]) -> dict[str, str]:
    """The change digest of each location, from texts LOCATION=DIGEST."""
    digests: dict[str, str] = {}
    # a location's name may hold the sign, a digest does not
    for text in approved:
        location, _, digest = text.rpartition("=")
        if not location:
            raise UsageError(f"--approved {text[:80]!r} names no location", hint="--approved LOCATION=sha256:…")
        if digests.get(location, digest) != digest:
            raise UsageError(f"--approved names two digests of {location!r}", hint="approve the one that was reviewed")
        digests[location] = digest
    return digests
