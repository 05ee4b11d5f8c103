"""Today's quota: what is refused, what waits, and how what was sent before counts."""

from __future__ import annotations

import pytest

from reconciler.core.model.api_limits import DAY_MS, Quota, Rate
from reconciler.core.model.errors import QuotaExhausted
from reconciler.core.model.journal import RunHeader, RunRecord, RunStatus
from reconciler.core.model.names import Instant
from reconciler.core.running.pace import SLACK_MS, Pace, quota_wait_ms, refuse_overrun, sent_today
from tests.build import HERE, NOW

MIDNIGHT = Instant(NOW // DAY_MS * DAY_MS)


def run(requests: int, *, started: int, ended: int | None) -> RunRecord:
    header = RunHeader(HERE, "apply", "anna", Instant(started))
    return RunRecord("r", header, RunStatus.COMPLETE, None if ended is None else Instant(ended), requests, requests)


def test_runs_of_today_count() -> None:
    runs = [
        run(1, started=MIDNIGHT - 9_000, ended=MIDNIGHT - 1),
        run(10, started=MIDNIGHT - 9_000, ended=MIDNIGHT),
        run(100, started=MIDNIGHT + 1, ended=NOW),
        run(1_000, started=MIDNIGHT + 1, ended=None),
    ]
    assert sent_today(runs, NOW) == 1_110
    assert sent_today([], NOW) == 0


@pytest.mark.parametrize("reserve", [0, 10])
def test_a_plan_fits_exactly_or_is_refused(reserve: int) -> None:
    pace = Pace(Rate(per_day=1_000, reserve_pct=reserve))
    pace.assume(200, NOW)
    fits = 800 - 10 * reserve
    refuse_overrun(HERE, fits, pace, NOW)
    with pytest.raises(QuotaExhausted) as caught:
        refuse_overrun(HERE, fits + 1, pace, NOW)
    assert caught.value.exit_code == 8
    assert f"needs {fits + 1} requests" in caught.value.message
    assert f"has {fits} left" in caught.value.message
    assert "--quota-spill" in caught.value.hint
    assert caught.value.resets == MIDNIGHT + DAY_MS


def test_what_the_api_says_of_today_rules() -> None:
    pace = Pace(Rate(per_day=1_000))
    pace.assume(0, NOW)
    pace.heed_quota(Quota(daily_limit=50, daily_remaining=7, daily_reset=60_000), NOW)
    refuse_overrun(HERE, 7, pace, NOW)
    with pytest.raises(QuotaExhausted) as caught:
        refuse_overrun(HERE, 8, pace, NOW)
    assert caught.value.resets == NOW + 60_000


def test_where_nobody_said_anything_nothing_is_refused() -> None:
    refuse_overrun(HERE, 10**9, Pace(Rate()), NOW)
    assert quota_wait_ms(HERE, Pace(Rate()), NOW, spill=False) == 0


def test_a_quota_that_shrinks_in_the_midst_of_a_run() -> None:
    pace = Pace(Rate(per_day=1_000))
    pace.heed_quota(Quota(daily_remaining=2, daily_reset=5_000), NOW)
    assert quota_wait_ms(HERE, pace, NOW, spill=False) == 0
    pace.end(pace.leave(NOW), NOW)
    pace.heed_quota(Quota(daily_remaining=0, daily_reset=5_000), NOW)
    with pytest.raises(QuotaExhausted):
        quota_wait_ms(HERE, pace, NOW, spill=False)
    wait = quota_wait_ms(HERE, pace, NOW, spill=True)
    assert wait == 5_000 + SLACK_MS
    # the new day has everything
    assert quota_wait_ms(HERE, pace, Instant(NOW + wait), spill=True) == 0
    assert pace.left_today(Instant(NOW + wait)) == 1_000
