"""The plan that was approved with a job, as far as it is still called for when the job runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.core.model.errors import UsageError
from reconciler.fleet.rows import Claim
from reconciler.operations.plan import PlanResult
from reconciler.operations.saved_plan import remake_plan
from reconciler.operations.workspace import Workspace
from reconciler.planfile import load_plan
from reconciler.system import replace_file


async def remake_approved(claim: Claim, workspace: Workspace, file: Path) -> PlanResult:
    """The plan that a job is to send. `file`: where its text stands while it is read."""
    with _written(file, claim.plan):
        return await _remake_file(claim, workspace, file)


@contextmanager
def _written(file: Path, plan: str) -> Iterator[None]:
    """The plan file, for as long as it is read: it holds contacts."""
    try:
        replace_file(file, plan.encode("ascii"))
        yield
    finally:
        file.unlink(missing_ok=True)


async def _remake_file(claim: Claim, workspace: Workspace, file: Path) -> PlanResult:
    proposed, job = load_plan(file), claim.job
    if ([each.location for each in proposed.locations], proposed.change_digest) != ([job.location], job.approved):
        raise UsageError(
            f"the plan of job {job.id} has the change digest {proposed.change_digest}: that is not the one that was "
            f"approved for location {job.location}, {job.approved}"
        )
    return await remake_plan(workspace, file, claim.request.make_remake_request())
