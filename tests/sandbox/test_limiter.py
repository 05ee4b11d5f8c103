"""The rate limit lets through what it promises, tells what is left, and never more."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.names import Instant
from reconciler.sandbox.access import DAY_MS, Limiter, Limits
from reconciler.sandbox.app import App
from reconciler.sandbox.assumptions import Assumptions
from tests.build import NOW
from tests.sandbox.builders import ANNA, a_world, bulk, call, document

gaps = st.lists(st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 5_000)), max_size=60)


@given(gaps, st.integers(1, 6), st.integers(1, 200))
def test_no_window_holds_more_than_the_limit(waits: list[int], most: int, length: int) -> None:
    limiter = Limiter(Limits(requests=most, interval_ms=length), Assumptions())
    instants = accumulate(waits, initial=int(NOW))
    passed = [at for at in instants if limiter.admit(Instant(at))]

    assert all(sum(start <= at < start + length for at in passed) <= most for start in passed)


@given(gaps, st.booleans(), st.booleans())
def test_a_refused_request_passes_after_the_wait_that_it_was_told(
    waits: list[int], slides: bool, refused_count: bool
) -> None:
    rules = Assumptions(interval_slides=slides, refused_requests_count=refused_count)
    limiter = Limiter(Limits(requests=3, interval_ms=100, requests_per_day=25), rules)
    for at in accumulate(waits, initial=int(NOW)):
        if not limiter.admit(Instant(at)):
            wait = limiter.wait_ms(Instant(at))
            assert wait > 0
            assert dict(limiter.headers(Instant(at + wait)))["X-RateLimit-Remaining"] != "0"
            assert limiter.wait_ms(Instant(at + wait)) == 0


def test_a_fixed_interval_lets_two_limits_through_at_its_border() -> None:
    limiter = Limiter(Limits(requests=5, interval_ms=10_000), Assumptions(interval_slides=False))
    passed = [at for at in (9_999, 10_000) for _ in range(9) if limiter.admit(Instant(at))]

    assert passed == [9_999] * 5 + [10_000] * 5


def test_the_daily_quota_starts_anew_with_the_day() -> None:
    limiter = Limiter(Limits(requests_per_day=2), Assumptions())
    evening = NOW // DAY_MS * DAY_MS + DAY_MS - 1
    passed = [limiter.admit(Instant(at)) for at in (evening, evening, evening, evening + 1)]

    assert passed == [True, True, False, True]


def test_every_answer_tells_what_is_left() -> None:
    app = App(a_world(), limits=Limits(requests=2, requests_per_day=10))
    expected = {
        "X-RateLimit-Limit-Daily": "10",
        "X-RateLimit-Daily-Remaining": "9",
        "X-RateLimit-Interval-Milliseconds": "10000",
        "X-RateLimit-Max": "2",
        "X-RateLimit-Remaining": "1",
        "X-RateLimit-Daily-Reset": str(DAY_MS - NOW % DAY_MS),
    }

    assert dict(call(app, "GET", f"/contacts/{ANNA}").headers) == expected
    assert dict(call(app, "GET", "/nowhere").headers)["X-RateLimit-Remaining"] == "0"


def test_a_request_beyond_the_limit_is_answered_429_and_has_no_effect() -> None:
    app = App(a_world(), limits=Limits(requests=1))
    bulk(app, "add", [ANNA], ["x"])
    refused = bulk(app, "add", [ANNA], ["y"], now=NOW + 2_500)

    assert (refused.status, dict(refused.headers)["Retry-After"]) == (429, "8")
    assert document(refused)["message"] == "Too Many Requests"
    assert app.world.tags_of(ANNA) == {"a", "x"}
    assert bulk(app, "add", [ANNA], ["y"], now=NOW + 10_000).status == 201


def test_retry_after_and_the_daily_reset_may_be_missing() -> None:
    app = App(a_world(retry_after=False, daily_reset_header=False), limits=Limits(requests=1))
    bulk(app, "add", [ANNA], ["x"])
    names = {name for name, _value in bulk(app, "add", [ANNA], ["y"]).headers}

    assert names.isdisjoint({"Retry-After", "X-RateLimit-Daily-Reset"})


def test_a_request_without_a_good_token_does_not_count() -> None:
    app = App(a_world(), limits=Limits(requests=1))
    for _ in range(3):
        assert call(app, "GET", f"/contacts/{ANNA}", headers={"authorization": "Bearer no"}).status == 401

    assert call(app, "GET", f"/contacts/{ANNA}").status == 200


def test_other_integrations_share_the_limit() -> None:
    app = App(a_world(), limits=Limits(requests=5))
    app.limiter.spend(5, now=NOW)

    assert call(app, "GET", f"/contacts/{ANNA}").status == 429
