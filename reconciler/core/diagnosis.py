"""What `doctor` finds out: small judgements on what was asked of token, API, clock, limits, state and lock. Pure.

Rule: a remark says what was found, and in `remedy` what to do about it; no token is ever part of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.errors import ExitCode, worst
from reconciler.core.lease import Lease, describe
from reconciler.core.names import Instant
from reconciler.core.plan import Snapshot
from reconciler.core.settings import ApiSettings

SKEW_MS = 5_000
"""A clock that is further off than this makes contacts look changed when they were not."""

PLENTY = 0.1
"""Less than this share of the daily quota left is worth a word."""

LIMIT = "x-ratelimit-max"
INTERVAL = "x-ratelimit-interval-milliseconds"
DAILY = "x-ratelimit-limit-daily"
DAILY_LEFT = "x-ratelimit-daily-remaining"
HEADERS = (LIMIT, INTERVAL, DAILY, DAILY_LEFT)


class Verdict(StrEnum):
    GOOD = "ok"
    WATCH = "watch"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing looked at. `code`: how the process ends where it is bad."""

    subject: str
    verdict: Verdict
    told: str
    remedy: str = ""
    code: int = ExitCode.ERROR


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one reading request. `status` 0: there was none, `said` tells why."""

    status: int
    said: str = ""
    date: Instant | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Examined:
    """All that was looked at under one heading."""

    title: str
    remarks: tuple[Remark, ...]


def exit_code(examined: Iterable[Examined]) -> int:
    return worst(each.code for group in examined for each in group.remarks if each.verdict is Verdict.BAD)


def good(subject: str, told: str) -> Remark:
    return Remark(subject, Verdict.GOOD, told)


def watch(subject: str, told: str, remedy: str) -> Remark:
    return Remark(subject, Verdict.WATCH, told, remedy)


def bad(subject: str, told: str, remedy: str, code: int = ExitCode.ERROR) -> Remark:
    return Remark(subject, Verdict.BAD, told, remedy, code)


def read_remark(scope: str, answered: Answered, *, needed: bool) -> Remark:
    """Whether the token may read; `scope` is what HighLevel calls the right to. Not `needed`: nice to have."""
    subject = f"scope {scope}"
    if 200 <= answered.status < 300:
        return good(subject, "granted: a read was answered")
    if answered.status in (401, 403):
        told, remedy = f"refused: {answered.status} {answered.said}".strip(), "see the token's location and scopes"
        return bad(subject, told, remedy, ExitCode.AUTH) if needed else watch(subject, told, remedy)
    if answered.status == 0:
        return bad(subject, f"no answer: {answered.said}", "see api.base_url and the network")
    told = f"cannot be told: {answered.status} {answered.said}".strip()
    return (bad if needed else watch)(subject, told, "see api.base_url and api.version, or try again later")


def write_remark() -> Remark:
    return good(
        "scope contacts.write", "only a write can tell, and doctor writes nothing; apply needs it, plan does not"
    )


def clock_remark(server: Instant | None, before: Instant, after: Instant) -> Remark:
    """The machine's clock against the server's. `before`, `after`: when the request left, and its answer came."""
    if server is None:
        return watch("clock", "the API told no time", "see that this machine's clock is kept by NTP")
    # the Date header has whole seconds: it may be up to one behind
    early, late = before - server - 1000, server - after
    off = max(early, late, 0)
    if off <= SKEW_MS:
        return good("clock", f"within {SKEW_MS // 1000} s of the API's")
    side = "ahead of" if early > late else "behind"
    told = f"{off / 1000:,.0f} s {side} the API's (at most {SKEW_MS // 1000} s is good)"
    return bad("clock", told, "set this machine's clock: ages of observations and `from`, `until` depend on it")


def limit_remarks(limits: Mapping[str, int], api: ApiSettings) -> list[Remark]:
    """What the headers of an answer tell of the rate limit, against the settings."""
    if LIMIT not in limits and DAILY not in limits:
        return [watch("limits", "the API told none", "the settings api.requests_per_10s and …_per_day hold")]
    return [*_pace(limits, api), *_daily(limits, api)]


def _pace(limits: Mapping[str, int], api: ApiSettings) -> list[Remark]:
    if LIMIT not in limits:
        return []
    most, seconds = limits[LIMIT], limits.get(INTERVAL, 10_000) / 1000
    told = f"{most:,} requests in {seconds:g} s"
    if seconds and most / seconds < api.requests_per_10s / 10:
        remedy = f"set api.requests_per_10s to {int(10 * most / seconds)}; it is {api.requests_per_10s}"
        return [watch("rate limit", told, remedy)]
    return [good("rate limit", told)]


def _daily(limits: Mapping[str, int], api: ApiSettings) -> list[Remark]:
    if DAILY not in limits:
        return []
    most, left = limits[DAILY], limits.get(DAILY_LEFT)
    told = f"{most:,} requests a day" + ("" if left is None else f", {left:,} of them left today")
    if most < api.requests_per_day:
        return [watch("daily quota", told, f"set api.requests_per_day to {most}; it is {api.requests_per_day}")]
    if left is not None and left < PLENTY * most:
        return [watch("daily quota", told, "other integrations of the location share it; wait for the next day")]
    return [good("daily quota", told)]


def state_remark(state: Snapshot) -> Remark:
    if state.lineage is None:
        return watch("state", "there is none yet", "the first apply makes it; `state import` adopts what is there")
    known = len(state.observed)
    return good("state", f"lineage {state.lineage}, serial {state.serial}, {known:,} contacts known")


def lock_remark(lease: Lease | None) -> Remark:
    if lease is None:
        return good("lock", "free")
    return watch("lock", describe(lease), "wait for it, or look at the job; `state unlock` ends one left behind")
