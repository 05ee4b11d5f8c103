"""Guards: each at, below and above its limit, with its floor, its scope, its exemptions and what lifts it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from reconciler.core.approval import approve
from reconciler.core.desired import Desired
from reconciler.core.errors import ExitCode, GuardRefused
from reconciler.core.guard import Allowance, Before, Counts, Guard, GuardLimits, Measured
from reconciler.core.measure import measure
from reconciler.core.names import SetName, Tag
from reconciler.core.plan import LocationPlan, PlanOptions, Snapshot, combine, plan_location
from tests.build import HERE, NOW, a_rule, a_set, carries, declare, many, state, state_of, unseen

NO_LIMITS = GuardLimits(max_removes_pct=None, empties_tag=False, shrink_pct=None, grow_pct=None)
X, Y = Tag("x"), Tag("y")


def refusals(
    limits: GuardLimits,
    *,
    adds: dict[str, int] | None = None,
    removes: dict[str, int] | None = None,
    named: dict[str, int] | None = None,
    holders: dict[str, int] | None = None,
    sizes: dict[str, int] | None = None,
    requests: int = 0,
    desired: Desired | None = None,
    allow: tuple[Allowance, ...] = (),
) -> set[str]:
    """The guards that refuse, such as {"max_adds", "max_adds of x"}. `named`: removals asked for by name."""
    unnamed = Counter[Tag](removes or {})  # type: ignore[arg-type]
    counts = Counts(Counter(adds or {}), unnamed + Counter(named or {}), unnamed, requests=requests)  # type: ignore[arg-type]
    before = Before(Counter(holders or {}), {SetName(name): size for name, size in (sizes or {}).items()})  # type: ignore[arg-type]
    found = measure(counts, before, desired or declare(), limits=limits, allowances=allow)
    return {f"{each.guard} of {each.scope}" if each.scope else str(each.guard) for each in found if each.refused}


@pytest.mark.parametrize(("number", "refused"), [(9, False), (10, False), (11, True)])
@pytest.mark.parametrize("guard", ["max_adds", "max_removes"])
def test_pairs_of_a_location(guard: str, number: int, refused: bool) -> None:
    pairs = {"adds" if guard == "max_adds" else "removes": {"x": number - 4, "y": 4}}
    assert refusals(replace(NO_LIMITS, **{guard: 10}), **pairs) == ({guard} if refused else set())  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "refused"), [(9, False), (10, False), (11, True)])
@pytest.mark.parametrize("guard", ["max_adds", "max_removes"])
def test_pairs_of_a_tag(guard: str, number: int, refused: bool) -> None:
    pairs = {"adds" if guard == "max_adds" else "removes": {"x": number, "y": 99}}
    desired = declare(rule=[a_rule("x", **{guard: 10})])
    assert refusals(NO_LIMITS, desired=desired, **pairs) == ({f"{guard} of x"} if refused else set())  # type: ignore[arg-type]


def test_a_limit_of_zero_allows_nothing() -> None:
    assert refusals(replace(NO_LIMITS, max_adds=0), adds={"x": 1}) == {"max_adds"}
    assert refusals(replace(NO_LIMITS, max_adds=0)) == set()


@pytest.mark.parametrize(("removed", "refused"), [(29, False), (30, False), (31, True)])
def test_a_share_of_the_pairs_of_a_location(removed: int, refused: bool) -> None:
    found = refusals(replace(NO_LIMITS, max_removes_pct=30.0), removes={"x": removed}, holders={"y": 1, "z": 99})
    assert ("max_removes_pct" in found) is refused


@pytest.mark.parametrize(("removed", "refused"), [(29, False), (30, False), (31, True)])
def test_a_share_of_the_holders_of_a_tag(removed: int, refused: bool) -> None:
    found = refusals(replace(NO_LIMITS, max_removes_pct=30.0), removes={"x": removed}, holders={"x": 100, "y": 900})
    assert found == ({"max_removes_pct of x"} if refused else set())


@pytest.mark.parametrize(("removed", "refused"), [(5, False), (6, True)])
def test_a_share_is_judged_once_more_than_five_removals_are_planned(removed: int, refused: bool) -> None:
    found = refusals(replace(NO_LIMITS, max_removes_pct=30.0), removes={"x": removed}, holders={"x": 6, "y": 900})
    assert found == ({"max_removes_pct of x"} if refused else set())


def test_a_share_a_little_over_its_limit_is_over_it() -> None:
    found = refusals(replace(NO_LIMITS, max_removes_pct=30.0), removes={"x": 3_001}, holders={"x": 10_000})
    assert found == {"max_removes_pct", "max_removes_pct of x"}


def test_a_share_of_nothing_is_everything() -> None:
    found = refusals(replace(NO_LIMITS, max_removes_pct=99.0), removes={"x": 6}, holders={})
    assert found == {"max_removes_pct", "max_removes_pct of x"}


@pytest.mark.parametrize(("added", "refused"), [(50, False), (51, True)])
def test_a_share_of_adds(added: int, refused: bool) -> None:
    found = refusals(replace(NO_LIMITS, max_adds_pct=50.0), adds={"x": added}, holders={"x": 100})
    assert found == ({"max_adds_pct", "max_adds_pct of x"} if refused else set())


@pytest.mark.parametrize(
    ("removed", "added", "refused"), [(1, 0, True), (2, 0, True), (1, 1, False), (2, 1, False), (2, 5, False)]
)
def test_a_tag_that_would_have_no_holder_left(removed: int, added: int, refused: bool) -> None:
    found = refusals(
        replace(NO_LIMITS, empties_tag=True), removes={"x": removed}, adds={"x": added}, holders={"x": removed}
    )
    assert found == ({"empties_tag of x"} if refused else set())


def test_a_tag_with_a_holder_left_is_not_empty() -> None:
    assert refusals(replace(NO_LIMITS, empties_tag=True), removes={"x": 1}, holders={"x": 2}) == set()


@pytest.mark.parametrize(("removed", "refused"), [(4, False), (5, False), (6, True)])
def test_the_least_number_of_holders(removed: int, refused: bool) -> None:
    own = declare(rule=[a_rule("x", min_holders=5)])
    for limits, desired in ((replace(NO_LIMITS, min_holders=5), declare()), (NO_LIMITS, own)):
        found = refusals(limits, removes={"x": removed}, holders={"x": 10}, desired=desired)
        assert found == ({"min_holders of x"} if refused else set())


def test_a_tags_own_least_number_of_holders_stands_in_place_of_the_locations() -> None:
    own = declare(rule=[a_rule("x", min_holders=0)])
    assert refusals(replace(NO_LIMITS, min_holders=5), removes={"x": 1}, holders={"x": 1}, desired=own) == set()


@pytest.mark.parametrize(("requests", "refused"), [(9, False), (10, False), (11, True)])
def test_requests(requests: int, refused: bool) -> None:
    found = refusals(replace(NO_LIMITS, max_requests=10), requests=requests)
    assert found == ({"max_requests"} if refused else set())


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        (10, 5, set()),
        (10, 4, {"shrink_pct of s"}),
        (10, 0, {"shrink_pct of s"}),
        (9, 0, set()),
        (10, 20, set()),
        (10, 21, {"grow_pct of s"}),
        (9, 90, set()),
        (0, 90, set()),
        (10, 10, set()),
    ],
)
def test_the_size_of_a_set_against_the_last_apply(before: int, now: int, refused: set[str]) -> None:
    desired = declare(a_set("s", many(now), "x"))
    assert (
        refusals(replace(NO_LIMITS, shrink_pct=50.0, grow_pct=100.0), sizes={"s": before}, desired=desired) == refused
    )


def test_an_expired_set_has_not_shrunk() -> None:
    desired = declare(a_set("s", many(20), "x", until=NOW))
    assert refusals(replace(NO_LIMITS, shrink_pct=50.0), sizes={"s": 20}, desired=desired) == set()


def test_a_removal_of_a_protected_tag_is_refused_should_one_ever_be_planned() -> None:
    desired = declare(rule=[a_rule("x", protected=True)])
    assert refusals(NO_LIMITS, removes={"x": 1}, named={"y": 1}, desired=desired) == {"protected of x"}
    assert refusals(NO_LIMITS, named={"x": 1}, desired=desired) == {"protected of x"}


def test_removals_asked_for_by_name_count_for_max_removes_only() -> None:
    strict = GuardLimits(max_removes=9, max_removes_pct=1.0, min_holders=1)
    assert refusals(strict, named={"x": 10}, holders={"x": 10}) == {"max_removes"}


def test_an_allowance_lifts_one_guard_of_one_scope() -> None:
    limits = replace(NO_LIMITS, empties_tag=True, max_removes=1)
    everything = {"max_removes", "empties_tag of x", "empties_tag of y"}

    def left(*allow: Allowance) -> set[str]:
        return refusals(limits, removes={"x": 2, "y": 2}, holders={"x": 2, "y": 2}, allow=allow)

    assert left() == everything
    assert left(Allowance(Guard.EMPTIES_TAG, "x", "why")) == everything - {"empties_tag of x"}
    assert left(Allowance(Guard.EMPTIES_TAG, "", "why")) == everything
    assert left(Allowance(Guard.MAX_REMOVES, "", "why")) == everything - {"max_removes"}
    assert left(Allowance(Guard.MAX_REMOVES, "x", "why")) == everything


def test_what_was_lifted_says_why() -> None:
    counts = Counts(Counter({X: 2}))
    (found,) = measure(
        counts,
        Before(Counter(), {}),
        declare(),
        limits=replace(NO_LIMITS, max_adds=1),
        allowances=[Allowance(Guard.MAX_ADDS, "", "the launch")],
    )
    assert (found.refused, found.allowed, found.measure) == (False, "the launch", 2)


@pytest.mark.parametrize(
    ("guard", "scope", "flag"),
    [
        (Guard.MAX_ADDS, "", "max_adds"),
        (Guard.EMPTIES_TAG, "vip", "empties_tag:tag=vip"),
        (Guard.SHRINK_PCT, "people", "shrink_pct:set=people"),
        (Guard.EMPTIES_TAG, "gold support", "'empties_tag:tag=gold support'"),
        (Guard.EMPTIES_TAG, "it's; rm", "'empties_tag:tag=it'\"'\"'s; rm'"),
    ],
)
def test_the_flag_that_lifts_it_can_be_typed(guard: Guard, scope: str, flag: str) -> None:
    assert Measured(guard, scope, 0, 0, True).flag == flag


# in a plan


def a_plan(limits: GuardLimits = NO_LIMITS, **more: object) -> LocationPlan:
    """Anna and bert lose x by prune, w by name; ten others hold both."""
    holding = {f"c{number}": carries("x w", ledger="x") for number in range(10)}
    desired = declare(a_set("s", many(10), "x"), a_set("gone", "anna bert", "", absent="w"))
    known = state(anna=carries("x w", ledger="x"), bert=carries("x w", ledger="x"), **holding)
    return plan_location(desired, Snapshot(HERE, observed=known), PlanOptions(limits=limits), **more)  # type: ignore[arg-type]


def explained(plan: LocationPlan) -> str:
    with pytest.raises(GuardRefused) as refused:
        approve(combine([plan], as_of=NOW, manifests=""))
    assert refused.value.exit_code == ExitCode.GUARD
    return f"{refused.value.message}\n{refused.value.hint}"


def test_a_refusal_says_guard_place_measure_limit_and_the_worst_tags() -> None:
    text = explained(a_plan(replace(NO_LIMITS, max_removes=3)))
    assert f"guard max_removes refuses location {HERE}: measured 4, limit 3; most of 'w' (2), 'x' (2)" in text
    assert '--allow max_removes --reason "…"' in text


def test_a_refusal_of_a_share_says_numerator_and_denominator() -> None:
    removed = {f"c{number}": carries("x", ledger="x") for number in range(6)}
    desired = declare(a_set("s", many(10, "d"), "y"))
    known = state(**removed, **{f"d{number}": carries("y x", ledger="y") for number in range(10)})
    plan = plan_location(desired, Snapshot(HERE, observed=known), PlanOptions())
    assert "guard max_removes_pct refuses location" in explained(plan)
    assert "of 'x': measured 37.5 (6 of 16), limit 30" in explained(plan)
    assert "--allow max_removes_pct:tag=x" in explained(plan)


def test_a_refusal_of_a_share_of_nothing_says_so_too() -> None:
    desired = declare(a_set("s", "anna", "y"))
    known = state_of({each: unseen(ledger="x") for each in declare(a_set("s", many(6), "x")).contacts})
    plan = plan_location(desired, Snapshot(HERE, observed=known), PlanOptions())
    assert "measured 100 (6 of 0), limit 30" in explained(plan)


def test_a_share_is_most_of_what_nobody_asked_for_by_name() -> None:
    holding = {f"c{number}": carries("x w", ledger="x") for number in range(6)}
    plan = plan_location(
        declare(a_set("gone", many(6), "", absent="w")),
        Snapshot(HERE, observed=state(**holding)),
        PlanOptions(limits=replace(NO_LIMITS, max_removes_pct=1.0)),
    )
    assert "measured 50 (6 of 12), limit 1; most of 'x' (6)\n" in explained(plan)


def test_every_refusal_is_told_at_once() -> None:
    text = explained(a_plan(GuardLimits(max_removes=1, max_requests=0, max_removes_pct=1.0)))
    assert {line.split()[1] for line in text.splitlines()[:-1]} == {"max_removes", "max_requests"}


def test_what_is_deferred_is_not_counted() -> None:
    desired = declare(a_set("s", "anna", "y", absent="x"))
    plan = plan_location(desired, Snapshot(HERE), PlanOptions(limits=replace(NO_LIMITS, max_removes=0)))
    assert plan.deferrals
    assert plan.refused == ()


def test_a_removal_on_a_contact_never_observed_counts_as_real() -> None:
    known = state(**{f"c{number}": unseen(ledger="x") for number in range(2)})
    plan = plan_location(declare(), Snapshot(HERE, observed=known), PlanOptions(limits=GuardLimits()))
    assert [each.flag for each in plan.refused] == ["empties_tag:tag=x"]


def test_what_earlier_rounds_did_counts() -> None:
    limits = replace(NO_LIMITS, max_removes=5, max_requests=3)
    assert a_plan(limits).refused == ()
    done = Counts(removes=Counter({X: 2}), unnamed=Counter({X: 2}), requests=3)
    assert {each.guard for each in a_plan(limits, done=done).refused} == {"max_removes", "max_requests"}


def test_a_share_is_of_what_was_there_before_the_run() -> None:
    before = Before(Counter({X: 2}), {})
    refused = a_plan(replace(NO_LIMITS, empties_tag=True), before=before).refused
    assert [each.flag for each in refused] == ["empties_tag:tag=x"]


def test_refusals_come_first() -> None:
    found = a_plan(GuardLimits(max_removes=1, max_requests=100)).guards
    assert [each.refused for each in found] == sorted((each.refused for each in found), reverse=True)
