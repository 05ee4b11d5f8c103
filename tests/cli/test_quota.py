"""A day's quota, through the command line: what does not fit is not begun."""

from __future__ import annotations

import pytest

from reconciler.sandbox import Running
from reconciler.sandbox.access import Limits
from tests.cli.conftest import Command


@pytest.fixture
def two_requests(manifest) -> None:  # type: ignore[no-untyped-def]
    manifest(customers=([0, 1, 2], ["customer"], []), vip=([0, 3], ["vip"], []))


def test_a_plan_beyond_the_configured_day_is_not_begun(
    reconciler: Command, two_requests: None, sandbox: Running
) -> None:
    small = ("--api-requests-per-day", "1", "--api-reserve-pct", "0")
    shown = reconciler("plan", *small)
    assert shown.code == 0
    assert "apply would be refused, or wait under --quota-spill" in " ".join(shown.out.split())
    ended = reconciler("apply", "--auto-approve", *small)
    assert ended.code == 8
    assert "needs 2 requests" in ended.err
    assert "--quota-spill" in ended.err
    assert sandbox.world.transitions == []


@pytest.mark.slow
def test_what_earlier_runs_sent_today_counts(reconciler: Command, two_requests: None, manifest) -> None:  # type: ignore[no-untyped-def]
    three = ("--api-requests-per-day", "3", "--api-reserve-pct", "0")
    assert reconciler("apply", "--auto-approve", *three).code == 0
    manifest(customers=([0, 1, 2], ["customer", "paid"], []), vip=([0, 3], ["vip", "gold"], []))
    ended = reconciler("apply", "--auto-approve", *three)
    assert ended.code == 8
    assert "has 1 left" in ended.err


def test_spilling_over_lets_it_begin(reconciler: Command, two_requests: None, sandbox: Running) -> None:
    """The API allows more than was configured, and says so."""
    small = ("--api-requests-per-day", "1", "--api-reserve-pct", "0", "--quota-spill")
    assert reconciler("apply", "--auto-approve", *small).code == 0


def test_what_a_refresh_hears_of_the_quota_holds(reconciler: Command, two_requests: None, sandbox: Running) -> None:
    sandbox.network.app.limiter.limits = Limits(requests_per_day=20)
    sandbox.do(lambda world, now: sandbox.network.app.limiter.spend(14, now=now))
    ended = reconciler("apply", "--auto-approve", "--refresh", "get", "--api-reserve-pct", "0")
    assert ended.code == 8
    assert "today's quota of 20 has 1 left" in ended.err


def left_today(sandbox: Running) -> int:
    headers = sandbox.do(lambda world, now: dict(sandbox.network.app.limiter.headers(now)))
    return int(headers["X-RateLimit-Daily-Remaining"])


READING = {
    "refresh": ("refresh", "--method", "get"),
    "drift": ("drift", "--refresh", "get"),
    "plan": ("plan", "--refresh", "get"),
    "apply": ("apply", "--auto-approve", "--refresh", "get"),
}


@pytest.mark.parametrize("command", READING)
def test_a_reading_leaves_the_reserve_to_others(
    reconciler: Command,
    sandbox: Running,
    manifest,
    command: str,  # type: ignore[no-untyped-def]
) -> None:
    """The location takes 8 requests today, of which half are others': of 8 contacts 4 at most are asked for."""
    manifest(customers=(range(8), ["customer"], []))
    sandbox.network.app.limiter.limits = Limits(requests_per_day=8)
    ended = reconciler(*READING[command], "--api-reserve-pct", "50")

    assert ended.code == 8
    assert "8 requests, of which 4 are left to others" in ended.err
    assert "Zapier" in ended.err
    assert left_today(sandbox) in (4, 5)


@pytest.mark.slow
@pytest.mark.parametrize("command", READING)
def test_a_reading_reckons_with_what_was_configured(
    reconciler: Command,
    sandbox: Running,
    manifest,
    command: str,  # type: ignore[no-untyped-def]
) -> None:
    """Before the first answer nothing but the settings says what is left: nothing, where runs of today sent it all."""
    manifest(customers=(range(3), ["customer"], []))
    small = ("--api-requests-per-day", "1", "--api-reserve-pct", "0")
    assert reconciler("apply", "--auto-approve", *small).code == 0
    before = left_today(sandbox)
    ended = reconciler(*READING[command], *small)

    assert ended.code == 8
    assert left_today(sandbox) == before


def test_a_refresh_that_ends_for_want_of_quota_keeps_what_it_read(
    reconciler: Command,
    sandbox: Running,
    manifest,  # type: ignore[no-untyped-def]
) -> None:
    manifest(customers=(range(8), ["customer"], []))
    sandbox.network.app.limiter.limits = Limits(requests_per_day=5)
    ended = reconciler("refresh", "--method", "get", "--api-reserve-pct", "0")
    listed = reconciler("state", "list", "--format", "json").out

    assert ended.code == 8
    read = listed.count('"observed":')
    assert read in (4, 5)
    assert f"what was read of {read} contacts until then is kept" in ended.err
