"""`reconciler doctor`"""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from reconciler import __version__
from reconciler.cli.answers import tell
from reconciler.cli.connecting import token_held_in, token_of
from reconciler.cli.console import Console
from reconciler.cli.options import FORMATS, answered, common, manifests
from reconciler.cli.session import rate_of
from reconciler.cli.whose import load_named, settings_of
from reconciler.clock import SystemClock
from reconciler.core.model.api_limits import Quota
from reconciler.core.model.errors import ApiError, AuthRefused, ExitCode, InvalidInput, NoWay, ReconcilerError
from reconciler.core.model.events import Event
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
    watch,
    write_remark,
)
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.pace import Pace
from reconciler.highlevel import Agency, connect_reader, describe_proxy
from reconciler.output.blocks import counted
from reconciler.output.doctor import DoctorDocument
from reconciler.request_gate import NoLease, RequestGate
from reconciler.store import open_reader

LIBRARIES = ("httpx", "pydantic", "numpy", "click")


@click.command(epilog="Example: reconciler doctor manifests/ --location asdrwHvLUxlfw5SqKVCN")
@manifests
@click.option(
    "--location", "locations", multiple=True, metavar="L", help="Only this location, by id or name; repeatable."
)
@click.option("--offline", is_flag=True, help="Ask the API nothing.")
@click.option(
    "--format", "output", type=click.Choice(FORMATS), default="text", show_default=True, help="How to answer."
)
@answered
@common
def command(manifests: Path, locations: tuple[str, ...], offline: bool, **options: Any) -> int:
    """Look whether everything is in place to plan and apply: changes nothing.

    Versions, manifests, state and lock; and for each location the API, the token, what it may read, the clock and the
    limits, from two requests that only read, and are read as a refresh reads them. Exit code 0 where nothing is bad, 7
    where a token is refused, else 1.
    """
    console = Console.of(options)
    settings = settings_of(manifests, options)
    remarks, found = _manifests(manifests, options)
    chosen = [settings.find_location(each) for each in locations] or sorted(found | settings.locations.keys())
    examined = [Examined("This machine", (*_versions(), *_state_home(settings))), Examined("Manifests", remarks)]
    examined += [_location(each, settings, offline=offline) for each in chosen]
    tell(DoctorDocument(examined), console, options)
    return exit_code(examined)


def _versions() -> list[Remark]:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    where = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {sys.platform}"
    return [good("version", f"reconciler {__version__}, {where}"), good("libraries", libraries)]


def _state_home(settings: Settings) -> list[Remark]:
    place = f"{redacted(settings.state)} (from {settings.origin('state')})"
    if os.environ.get("CI") and settings.origin("state").kind is OriginKind.DEFAULT:
        remedy = "name a state that outlives the job: --state, RECONCILER_STATE or `state` in reconciler.yaml"
        return [watch("state", f"{place}: the default, in CI", remedy)]
    return [good("state", place)]


def _manifests(directory: Path, options: Mapping[str, Any]) -> tuple[tuple[Remark, ...], set[LocationId]]:
    """What is to be said of the manifests, and the locations they name."""
    try:
        loaded = load_named(directory, options, now=SystemClock().now())
    except InvalidInput as error:
        told = f"{directory}: {counted(len(error.problems), 'problem')}, first: {error.problems[0].message}"
        return (bad("manifests", told, "reconciler validate shows all of them"),), set()
    found = {each.location for each in loaded.manifests}
    told = f"{directory}: {counted(len(loaded.manifests), 'manifest')}, {counted(len(found), 'location')}"
    return (good("manifests", told),), found


def _location(location: LocationId, settings: Settings, *, offline: bool) -> Examined:
    state, remarks = _state(location, settings)
    told_at = None if state is None else last_write(state)
    return Examined(f"Location {location}", (*remarks, *_token(location, settings, told_at, offline=offline)))


def _state(location: LocationId, settings: Settings) -> tuple[LocationState | None, list[Remark]]:
    try:
        with open_reader(settings.state) as reader:
            state = reader.at(location).load_state()
            lease = reader.at(location).read_lease(SystemClock().now())
    except ReconcilerError as error:
        return None, [bad("state", error.message, error.hint or "reconciler state verify", error.exit_code)]
    pin = settings.pin(location)
    if pin not in (None, state.lineage):
        told = f"pinned to lineage {pin}, found {state.lineage or 'none'}"
        return None, [bad("state", told, "see that `state` names the right one"), lock_remark(lease)]
    return state, [state_remark(state), lock_remark(lease)]


def _token(location: LocationId, settings: Settings, told_at: Instant | None, *, offline: bool) -> Iterable[Remark]:
    """`told_at`: when a write was last answered."""
    try:
        token = token_of(settings, location)
    except AuthRefused as error:
        return [bad("token", error.message, error.hint, ExitCode.AUTH)]
    if offline:
        return [good("token", f"from {token_held_in(settings, location)}")]
    try:
        return asyncio.run(_ask(location, settings, token, told_at))
    except NoWay as error:
        return [bad("API reachable", error.message, error.hint, error.exit_code)]


async def _ask(location: LocationId, settings: Settings, token: str, told_at: Instant | None) -> list[Remark]:
    api, clock, company, quotas = settings.api, SystemClock(), settings.company(location), [Quota()]
    held, before, pace = token_held_in(settings, location), clock.now(), Pace(rate_of(settings))

    def on_quota(quota: Quota) -> None:
        quotas.append(quota)
        pace.heed_quota(quota, clock.now())

    async with connect_reader(
        api.base_url,
        token=token,
        held_in=held,
        agency=Agency(company, location) if company else None,
        version=api.version,
        timeout_s=api.timeout_s,
        on_quota=on_quota,
    ) as reader:
        try:
            await reader.ready()
        except ApiError as error:
            return [bad("agency", error.message, error.hint or "try again", error.exit_code)]
        search, tags = await reader.probe(RequestGate(location, pace, clock, _report_nothing, NoLease(clock)))
    known = token_remark(search, held)
    return [
        api_remark(search, api.base_url, describe_proxy(api.base_url, os.environ)),
        known,
        read_remark("contacts.readonly", search, held, needed=True),
        read_remark("locations/tags.readonly", tags, held, needed=False),
        write_remark(told_at, known),
        *_measured((search, tags), quotas[-1], settings, before, clock.now()),
    ]


def _report_nothing(event: Event) -> None:
    """Two requests are soon over: their waits are not worth a line."""


def _measured(
    answers: Iterable[Answered], quota: Quota, settings: Settings, before: Instant, after: Instant
) -> list[Remark]:
    """Clock and limits, where anything was answered as it should be."""
    read = [each for each in answers if each.problem is None]
    return [clock_remark(read[0].date, before, after), *limit_remarks(quota, settings.api)] if read else []
