"""The doctor: whether all is in place to plan and apply. Law: holds no writer, changes nothing."""

from __future__ import annotations

import asyncio
import platform
import sqlite3
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from reconciler import __version__
from reconciler.core.model.api_limits import Quota
from reconciler.core.model.errors import ApiError, AuthRefused, ExitCode, InvalidInput, NoWay, ReconcilerError
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.core.observing.diagnosis import (
    Answered,
    Examined,
    Remark,
    api_remark,
    bad,
    clock_remark,
    exit_code,
    good,
    last_write,
    limit_remarks,
    lock_remark,
    read_remark,
    state_remark,
    token_remark,
    version_remarks,
    watch,
    write_remark,
)
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.pace import Pace
from reconciler.highlevel import ApiArguments, connect_reader, describe_proxy
from reconciler.operations.api import LocationApi
from reconciler.operations.local_snapshots import LocalSnapshots
from reconciler.operations.state_place import refuse_other_state, warn_of_other_state
from reconciler.operations.stored_state import MOVED_HINT, explain_moved
from reconciler.operations.workspace import SilentListener, Tokens, Workspace, rate_from
from reconciler.output.blocks import counted
from reconciler.request_gate import NoLease, RequestGate
from reconciler.store import open_reader

LIBRARIES = ("httpx", "pydantic", "numpy", "click")


@dataclass(frozen=True, slots=True)
class DoctorRequest:
    """A request to examine a workspace."""

    locations: tuple[str, ...] = ()
    """The ids or names of the locations; empty: all of manifests and settings."""
    offline: bool = False
    """Whether the API is left alone."""


@dataclass(frozen=True, slots=True, repr=False)
class DoctorResult:
    """The machine, the manifests and each location, examined."""

    examined: tuple[Examined, ...]

    @property
    def exit_code(self) -> int:
        """0 where nothing is bad, 7 where a token is refused, else 1."""
        return exit_code(self.examined)


async def examine(workspace: Workspace, request: DoctorRequest) -> DoctorResult:
    """Examines versions, manifests, state and lock, and each location's API by two requests that only read.

    Raises InvalidInput and UsageError where not even the settings can be read.
    """
    settings = workspace.load_settings()
    remark, declared = _examine_manifests(workspace)
    locations = [settings.find_location(name) for name in request.locations]
    machine = Examined("This machine", (*_list_versions(), _examine_state_home(workspace, settings)))
    tokens: Tokens = {}
    apis = [
        LocationApi(workspace, settings, location, Pace(rate_from(settings)), tokens)
        for location in locations or sorted(declared | settings.locations.keys())
    ]
    # side by side: a command that prints a token may take long
    await asyncio.gather(*(api.fetch_token() for api in apis))
    examined = [await _examine_location(api, offline=request.offline) for api in apis]
    return DoctorResult((machine, Examined("Manifests", (remark,)), *examined))


def _list_versions() -> list[Remark]:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    where = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {sys.platform}"
    return [good("version", f"reconciler {__version__}, {where}"), good("libraries", libraries)]


def _examine_state_home(workspace: Workspace, settings: Settings) -> Remark:
    place = f"{redacted(settings.state)} (from {settings.origin('state')})"
    if problems := warn_of_other_state(settings, workspace.directory):
        return watch("state", problems[0].message, problems[0].hint)
    # a job's disk is gone when the job ends
    if workspace.in_ci and settings.origin("state").kind is OriginKind.DEFAULT:
        remedy = "name a state that outlives the job: --state, RECONCILER_STATE or `state` in reconciler.yaml"
        return watch("state", f"{place}: the default, in CI", remedy)
    return good("state", place)


def _examine_manifests(workspace: Workspace) -> tuple[Remark, set[LocationId]]:
    """A remark on the manifests, and the locations that they name."""
    directory = workspace.directory
    try:
        loaded = workspace.load_manifests(now=workspace.clock.now(), find_snapshots=LocalSnapshots(workspace))
    except InvalidInput as error:
        summary = f"{directory}: {counted(len(error.problems), 'problem')}, first: {error.problems[0].message}"
        return bad("manifests", summary, "`reconciler validate` shows all of them"), set()
    locations = {manifest.location for manifest in loaded.manifests}
    summary = f"{directory}: {counted(len(loaded.manifests), 'manifest')}, {counted(len(locations), 'location')}"
    return good("manifests", summary), locations


async def _examine_location(api: LocationApi, *, offline: bool) -> Examined:
    state, remarks = _examine_state(api.workspace, api.settings, api.location)
    written_at = None if state is None else last_write(state)
    return Examined(f"Location {api.location}", (*remarks, *await _examine_token(api, written_at, offline=offline)))


def _examine_state(
    workspace: Workspace, settings: Settings, location: LocationId
) -> tuple[LocationState | None, list[Remark]]:
    try:
        refuse_other_state(settings, workspace.directory)
        with open_reader(settings.state) as reader:
            state = reader.at(location).load_state()
            lease = reader.at(location).read_lease(workspace.clock.now())
    except ReconcilerError as error:
        # a state that cannot be read is a finding: the API is examined all the same
        return None, [bad("state", error.message, error.hint or "reconciler state verify", error.exit_code)]
    if state.moved_to:
        moved = explain_moved(location, redacted(settings.state), state.moved_to)
        return None, [bad("state", moved, MOVED_HINT), lock_remark(lease)]
    pin = settings.pin(location)
    if pin not in (None, state.lineage):
        mismatch = f"pinned to lineage {pin}, found {state.lineage or 'none'}"
        return None, [bad("state", mismatch, "see that `state` names the right one"), lock_remark(lease)]
    return state, [state_remark(state), lock_remark(lease)]


async def _examine_token(api: LocationApi, written_at: Instant | None, *, offline: bool) -> list[Remark]:
    """`written_at`: when a write was last answered."""
    # the first quota stands for no answer at all
    quotas = [Quota()]

    def on_quota(quota: Quota) -> None:
        quotas.append(quota)
        api.heed_quota(quota)

    try:
        arguments = api.make_arguments(on_quota)
    except AuthRefused as error:
        return [bad("token", error.message, error.hint, ExitCode.AUTH)]
    if offline:
        return [good("token", f"from {api.token_place}")]
    try:
        return await _ask_api(api, arguments, quotas, written_at)
    except NoWay as error:
        return [bad("API reachable", error.message, error.hint, error.exit_code)]


async def _ask_api(
    api: LocationApi, arguments: ApiArguments, quotas: list[Quota], written_at: Instant | None
) -> list[Remark]:
    """`quotas`: the limits that the answers state, the last one last."""
    base_url, held, clock = api.settings.api.base_url, api.token_place, api.workspace.clock
    # two requests are soon over: their waits are not worth a line
    gate = RequestGate(api.location, api.pace, clock, SilentListener(), NoLease(clock))
    before = clock.now()
    async with connect_reader(base_url, **arguments) as reader:
        try:
            await reader.ready()
        except ApiError as error:
            return [bad("agency", error.message, error.hint or "try again", error.exit_code)]
        search, tags = await reader.probe(gate)
    verdict = token_remark(search, held)
    return [
        api_remark(search, base_url, describe_proxy(base_url, api.workspace.environment)),
        *version_remarks(search, api.settings.api.version),
        verdict,
        read_remark("contacts.readonly", search, held, needed=True),
        read_remark("locations/tags.readonly", tags, held, needed=False),
        write_remark(written_at, verdict),
        *_measure((search, tags), quotas[-1], api.settings, before, clock.now()),
    ]


def _measure(
    answers: Iterable[Answered], quota: Quota, settings: Settings, before: Instant, after: Instant
) -> list[Remark]:
    """Remarks on clock and limits, by an answer without a problem."""
    sound = [answer for answer in answers if answer.problem is None]
    return [clock_remark(sound[0].date, before, after), *limit_remarks(quota, settings.api)] if sound else []
