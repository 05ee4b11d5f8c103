"""The findings of `doctor`: small judgements on answers about token, API, clock, limits, state and lock. Pure.

Rule: a remark states a fact, and in `remedy` the way out; no token is ever part of either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.errors import (
    ApiError,
    AuthRefused,
    ExitCode,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    worst_code,
)
from reconciler.core.model.lease import Lease, describe_lease
from reconciler.core.model.names import Instant, iso
from reconciler.core.model.outcome import Refusal, RefusalKind, called, read_refusal
from reconciler.core.model.settings import ApiSettings
from reconciler.core.planning.plan import LocationState

SKEW_MS = 5_000
"""A clock that is further off than this makes contacts look changed when they were not."""

PLENTY = 0.1
"""Less than this share of the daily quota left is worth a word."""


class CheckStatus(StrEnum):
    """UNKNOWN: nothing that was asked tells."""

    UNKNOWN = "?"
    GOOD = "ok"
    WATCH = "watch"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing looked at. `code`: how the process ends where it is bad."""

    subject: str
    verdict: CheckStatus
    told: str
    remedy: str = ""
    code: int = ExitCode.ERROR


@dataclass(frozen=True, slots=True)
class Answered:
    """The result of one reading request.

    `problem`: None where it was answered as a refresh needs it. `date`: the API's time, where it told.
    """

    problem: ApiError | None = None
    date: Instant | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """All that was looked at under one heading."""

    title: str
    remarks: tuple[Remark, ...]


def exit_code(examined: Iterable[Examined]) -> int:
    return worst_code(each.code for group in examined for each in group.remarks if each.verdict is CheckStatus.BAD)


def good(subject: str, told: str) -> Remark:
    return Remark(subject, CheckStatus.GOOD, told)


def watch(subject: str, told: str, remedy: str) -> Remark:
    return Remark(subject, CheckStatus.WATCH, told, remedy)


def bad(subject: str, told: str, remedy: str, code: int = ExitCode.ERROR) -> Remark:
    return Remark(subject, CheckStatus.BAD, told, remedy, code)


def unknown(subject: str, told: str) -> Remark:
    return Remark(subject, CheckStatus.UNKNOWN, told)


def api_remark(search: Answered, where: str, proxy: str) -> Remark:
    """Whether the API answers at all. `where`: its origin; `proxy`: through which it is asked, empty for none."""
    subject, problem = "API reachable", search.problem
    through = f", through {proxy}" if proxy and not (problem and proxy in problem.message) else ""
    if _answers(problem):
        return good(subject, f"{where} answered{through}")
    assert problem is not None
    remedy = problem.hint or "see api.base_url: what answers there is not HighLevel's API, or it is not well"
    if through:
        remedy += f"; and see whether {proxy} lets it pass"
    return bad(subject, problem.message + through, remedy)


def token_remark(search: Answered, held_in: str) -> Remark:
    """Whether the API knows the token that is held there."""
    refusal = _refusal(search.problem, held_in)
    if refusal is not None and refusal.kind is RefusalKind.TOKEN:
        said = "; ".join(search.problem.said) if search.problem else ""
        return bad("token", f"{refusal.meaning}: 401 {said}".strip(), refusal.remedy, ExitCode.AUTH)
    # a missing scope, or another location, is told of a token that the API knows
    if search.problem is None or (refusal is not None and refusal.kind in (RefusalKind.SCOPE, RefusalKind.PLACE)):
        return good("token", f"from {held_in}: the API knows it")
    return unknown("token", f"from {held_in}: nothing was answered that tells of it")


def version_remarks(search: Answered, version: str) -> list[Remark]:
    """Whether the API takes the version that is asked for; nothing where it does, or no answer tells."""
    refusal = _refusal(search.problem, "")
    if search.problem is None or refusal is None or refusal.kind is not RefusalKind.VERSION:
        return []
    return [bad("version of the API", f"Version {version}: {search.problem.message}", refusal.remedy, ExitCode.AUTH)]


def read_remark(scope: str, answered: Answered, held_in: str, *, needed: bool) -> Remark:
    """Whether the token may read; `scope` is HighLevel's name of that right. Not `needed`: nice to have."""
    subject, problem = f"scope {scope}", answered.problem
    if problem is None:
        return good(subject, "granted: a read was answered")
    refusal = _refusal(problem, held_in)
    if refusal is not None and refusal.kind in (RefusalKind.SCOPE, RefusalKind.PLACE):
        told = f"refused: {problem.message}"
        return bad(subject, told, refusal.remedy, ExitCode.AUTH) if needed else watch(subject, told, refusal.remedy)
    if refusal is not None or not _answers(problem):
        return unknown(subject, "cannot be told: see above")
    remedy = "see api.base_url and api.version, or try again later"
    return (bad if needed else watch)(subject, f"cannot be told: {problem.message}", remedy)


def write_remark(told_at: Instant | None, token: Remark) -> Remark:
    """`told_at`: when a write was last answered, as far as the state knows; `token`: the remark on the token."""
    subject = "scope contacts.write"
    if told_at is None:
        return unknown(subject, "only a write can tell, and doctor writes nothing; apply needs it, plan does not")
    at = f"a write was last answered {iso(told_at)[:19].replace('T', ' ')}Z"
    # nothing of a token is kept: the answer may have been to another one, whose scopes may be others
    if token.verdict is CheckStatus.GOOD:
        return unknown(subject, f"{at}, to the token of then; of this one only a write can tell")
    return unknown(subject, f"{at}; of the token as it is: see above")


def last_write(state: LocationState) -> Instant | None:
    """When a write was last answered, as far as the state knows."""
    written = (known.observed_at for known in state.observed.patterns if known.origin is ObservationOrigin.WRITE)
    return max((at for at in written if at is not None), default=None)


def _answers(problem: ApiError | None) -> bool:
    """Whether the API itself answered, be it with a refusal."""
    if isinstance(problem, AuthRefused):
        return not problem.page
    return problem is None or isinstance(problem, RequestRefused | RateLimited | QuotaExhausted)


def _refusal(problem: ApiError | None, held_in: str) -> Refusal | None:
    if not isinstance(problem, AuthRefused):
        return None
    return read_refusal(problem.status, problem.said, called(held_in), page=problem.page)


def clock_remark(server: Instant | None, before: Instant, after: Instant) -> Remark:
    """The machine's clock against the server's. `before`, `after`: when the request left, and its answer came."""
    if server is None:
        return watch("clock", "the API told no time", "see that this machine's clock is kept by NTP")
    # the Date header has whole seconds: it may be up to one behind
    early, late = before - server - 1000, server - after
    # between leaving and answer the server's clock may be anywhere: only what is beyond both counts
    off = max(early, late, 0)
    if off <= SKEW_MS:
        return good("clock", f"within {SKEW_MS // 1000} s of the API's")
    side = "ahead of" if early > late else "behind"
    told = f"{off / 1000:,.0f} s {side} the API's (at most {SKEW_MS // 1000} s is good)"
    return bad("clock", told, "set this machine's clock: ages of observations and `from`, `until` depend on it")


def limit_remarks(told: Quota, api: ApiSettings) -> list[Remark]:
    """The rate limit by the headers of an answer, against the settings."""
    # no header at all: a proxy may have dropped them, so it is worth a look and no failure
    if told.limit is None and told.daily_limit is None:
        return [watch("limits", "the API told none", "the settings api.requests_per_10s and …_per_day hold")]
    return [*_pace(told, api), *_daily(told, api)]


def _pace(quota: Quota, api: ApiSettings) -> list[Remark]:
    if quota.limit is None:
        return []
    most, seconds = quota.limit, (quota.window_ms or 10_000) / 1000
    told = f"{most:,} requests in {seconds:g} s"
    if most / seconds < api.requests_per_10s / 10:
        remedy = f"set api.requests_per_10s to {int(10 * most / seconds)}; it is {api.requests_per_10s}"
        return [watch("rate limit", told, remedy)]
    return [good("rate limit", told)]


def _daily(quota: Quota, api: ApiSettings) -> list[Remark]:
    if quota.daily_limit is None:
        return []
    most, left = quota.daily_limit, quota.daily_remaining
    told = f"{most:,} requests a day" + ("" if left is None else f", {left:,} of them left today")
    if most < api.requests_per_day:
        return [watch("daily quota", told, f"set api.requests_per_day to {most}; it is {api.requests_per_day}")]
    if left is not None and left < PLENTY * most:
        return [watch("daily quota", told, "other integrations of the location share it; wait for the next day")]
    return [good("daily quota", told)]


def state_remark(state: LocationState) -> Remark:
    if state.lineage is None:
        return watch("state", "there is none yet", "the first apply makes it; `state import` adopts what is there")
    if state.copied is not None:
        return watch("state", state.copied.describe(state.location), "look what the last run gave, then apply")
    known = len(state.observed)
    return good("state", f"lineage {state.lineage}, serial {state.serial}, {known:,} contacts known")


def lock_remark(lease: Lease | None) -> Remark:
    if lease is None:
        return good("lock", "free")
    return watch("lock", describe_lease(lease), "wait for it, or look at the job; `state unlock` ends one left behind")
