"""Guards: each at, below and above its limit, with its floor, its scope, its exemptions and what lifts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import pytest

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactState
from reconciler.core.model.errors import ExitCode, GuardRefused
from reconciler.core.model.manifest import ContactSet
from reconciler.core.model.names import SetName, Source, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Guard, GuardLimits, Reassert
from reconciler.core.planning.batches import Reasserted
from reconciler.core.planning.changes import Change, Delta
from reconciler.core.planning.guard_measures import measure_guards, repeats_over_limit
from reconciler.core.planning.guard_sentences import approve, explain_warnings, guess_renames
from reconciler.core.planning.guards import Allowance, Before, Counts, Measured, count_pairs
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState, combine_plans
from reconciler.core.planning.situation import Reassertion
from tests.build import (
    HERE,
    NOW,
    a_rule,
    a_set,
    carries,
    declare,
    ids,
    many,
    name,
    plan_options,
    state,
    state_of,
    unseen,
)

NO_LIMITS = GuardLimits(
    max_removes_pct=None,
    max_restored_pct=None,
    max_first_adds=None,
    empties_tag=False,
    odd_ids=False,
    shrink_pct=None,
    grow_pct=None,
)
X, Y = Tag("x"), Tag("y")


def refusals(
    limits: GuardLimits,
    *,
    adds: dict[str, int] | None = None,
    removes: dict[str, int] | None = None,
    named: dict[str, int] | None = None,
    blind: dict[str, int] | None = None,
    restored: dict[str, int] | None = None,
    holders: dict[str, int] | None = None,
    ledger: dict[str, int] | None = None,
    lifted: Collection[str] = (),
    sizes: dict[str, int] | None = None,
    requests: int = 0,
    desired: Desired | None = None,
    allow: tuple[Allowance, ...] = (),
) -> set[str]:
    """The guards that refuse, such as {"max_adds", "max_adds of x"}.

    `named`: removals asked for by name; `blind`: removals from contacts that were not observed with the tag; `lifted`:
    the tags for which earlier runs had max_first_adds lifted.
    """
    lost = _pairs(removes) + _pairs(named)
    counts = Counts(
        adds=_pairs(adds),
        removes=lost + _pairs(blind),
        unnamed=_pairs(removes) + _pairs(blind),
        restored=_pairs(restored),
        lost=lost,
        requests=requests,
    )
    then = {SetName(name): size for name, size in (sizes or {}).items()}
    exceptions = frozenset(str(Allowance(Guard.MAX_FIRST_ADDS, tag, "it is new")) for tag in lifted)
    before = Before(_pairs(holders), then, _pairs(ledger), exceptions=exceptions)
    found = measure_guards(counts, before, desired or declare(), limits=limits, allowances=allow)
    return {f"{each.guard} of {each.scope}" if each.scope else str(each.guard) for each in found if each.refused}


def _pairs(numbers: dict[str, int] | None) -> Counter[Tag]:
    return Counter({Tag(tag): number for tag, number in (numbers or {}).items()})


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


def test_a_blind_removal_takes_the_tag_from_nobody_known() -> None:
    """Nobody was seen with it, so that nobody is known to lose it: three of the ten holders go, and seven stay."""
    limits = replace(NO_LIMITS, empties_tag=True, min_holders=5)
    assert refusals(limits, removes={"x": 3}, blind={"x": 40}, holders={"x": 10}) == set()
    assert refusals(limits, blind={"x": 40}) == set()
    assert refusals(limits, removes={"x": 10}, blind={"x": 40}, holders={"x": 10}) == {
        "empties_tag of x",
        "min_holders of x",
    }


@pytest.mark.parametrize(("number", "refused"), [(5, False), (6, False), (30, False), (31, True)])
def test_tags_that_others_took_off_are_not_put_back_on_many(number: int, refused: bool) -> None:
    found = refusals(
        replace(NO_LIMITS, max_restored_pct=30.0), adds={"x": number}, restored={"x": number}, ledger={"x": 100}
    )
    assert found == ({"max_restored_pct of x"} if refused else set())


@pytest.mark.parametrize(("number", "refused"), [(5, False), (6, True)])
def test_a_few_are_put_back(number: int, refused: bool) -> None:
    found = refusals(GuardLimits(), restored={"x": number}, ledger={"x": 6})
    assert found == ({"max_restored_pct of x"} if refused else set())


PHONES = "+491705550101 +491705550102"


def another_column(*sets: ContactSet, seen: ContactState = NEVER_OBSERVED) -> set[str]:
    """The guards that refuse where c0 has `customer` from here, and the phones are known as `seen` says."""
    known = state(c0=carries("customer", ledger="customer"), c1=carries("vip"), **dict.fromkeys(PHONES.split(), seen))
    options = plan_options(limits=replace(NO_LIMITS, odd_ids=True))
    plan = plan_location(declare(*sets), LocationState(HERE, observed=known), options)
    return {f"{each.guard} of {each.scope}" for each in plan.refused}


def test_ids_of_another_column_in_the_place_of_those_that_leave() -> None:
    assert another_column(a_set("s", PHONES, "customer")) == {"odd_ids of customer"}


def test_odd_ids_alone_come_back_rejected_and_harm_nobody() -> None:
    assert another_column(a_set("s", f"c0 {PHONES}", "customer")) == set(), "nobody leaves"
    assert another_column(a_set("s", PHONES, "lead")) == set(), "nobody leaves who has that tag"
    assert another_column(a_set("s", "1" * 20, "customer")) == set(), "an id that could be one"


def test_an_id_that_the_crm_answered_for_is_not_odd() -> None:
    assert another_column(a_set("s", PHONES, "customer"), seen=carries("")) == set()


def test_a_removal_by_name_makes_no_id_odd() -> None:
    sets = (a_set("s", PHONES, "customer"), a_set("gone", "c0", "", absent="customer"))
    assert another_column(*sets) == set()


def test_odd_ids_of_an_earlier_round_count() -> None:
    known = state(c0=carries("x", ledger="x"))
    options = plan_options(limits=replace(NO_LIMITS, odd_ids=True))
    done = Counts(adds=Counter({X: 3}), odd=Counter({X: 3}))
    plan = plan_location(declare(), LocationState(HERE, observed=known), options, done=done)
    assert "is the column of the ids the right one?" in explained(plan)


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


@pytest.mark.parametrize(
    ("limits", "now", "refused"),
    [
        ({"shrink_pct": 9.0}, 9, {"shrink_pct of s"}),
        ({"shrink_pct": 9.0}, 11, set()),
        ({"grow_pct": 9.0}, 11, {"grow_pct of s"}),
        ({"grow_pct": 9.0}, 9, set()),
        ({"shrink_pct": 9.0, "grow_pct": 9.0}, 10, set()),
    ],
)
def test_a_single_contact_may_be_too_many(limits: dict[str, float], now: int, refused: set[str]) -> None:
    desired = declare(a_set("s", many(now), "x"))
    assert refusals(replace(NO_LIMITS, **limits), sizes={"s": 10}, desired=desired) == refused  # type: ignore[arg-type]


def test_a_set_that_is_gone_has_shrunk_by_everything() -> None:
    limits = replace(NO_LIMITS, shrink_pct=50.0)
    desired = declare(a_set("other", many(20), "x"))
    assert refusals(limits, sizes={"s": 10, "other": 20}, desired=desired) == {"shrink_pct of s"}
    assert refusals(limits, sizes={"s": 9, "other": 20}, desired=desired) == set()


def test_a_new_set_is_measured_against_all_that_there_was() -> None:
    limits = replace(NO_LIMITS, grow_pct=100.0)
    for number, refused in ((30, set()), (31, {"grow_pct of new"})):
        desired = declare(a_set("s", many(30), "x"), a_set("new", many(number, "n"), "y"))
        assert refusals(limits, sizes={"s": 30}, desired=desired) == refused
        assert refusals(limits, desired=desired) == set(), "a first apply has nothing to be measured against"


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
    (found,) = measure_guards(
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


def _told(measured: Measured) -> str:
    """Such as `max_adds of x: 20, limit 10, 20 of 0, refused`."""
    scope = f" of {measured.scope}" if measured.scope else ""
    end = "refused" if measured.refused else measured.allowed or ("warned" if measured.warned else "passed")
    share = f"{measured.numerator} of {measured.denominator}"
    return f"{measured.guard}{scope}: {measured.measure}, limit {measured.limit}, {share}, {end}"


EVERY_LIMIT = GuardLimits(
    max_adds=30,
    max_removes=10,
    max_adds_pct=50.0,
    max_removes_pct=20.0,
    max_first_adds=5,
    min_holders=2,
    max_requests=3,
)
OF_A_LATER_RUN = [
    "grow_pct of new: 233.3, limit 100.0, 70 of 30, refused",
    "max_removes_pct of z: 120.0, limit 20.0, 6 of 5, refused",
    "max_adds_pct of v: 100.0, limit 50.0, 6 of 0, refused",
    "max_adds_pct of y: 100.0, limit 50.0, 12 of 0, refused",
    "shrink_pct of old: 100.0, limit 50.0, 10 of 10, refused",
    "max_adds_pct: 97.4, limit 50.0, 38 of 39, refused",
    "shrink_pct of s: 75.0, limit 50.0, 15 of 20, refused",
    "max_adds_pct of x: 66.7, limit 50.0, 20 of 30, refused",
    "max_adds: 38, limit 30, 38 of 0, refused",
    "max_restored_pct of x: 35.0, limit 30.0, 7 of 20, refused",
    "max_removes_pct: 23.1, limit 20.0, 9 of 39, refused",
    "max_adds of x: 20, limit 10, 20 of 0, refused",
    "max_removes: 13, limit 10, 13 of 0, refused",
    "protected of z: 6, limit 0, 6 of 0, refused",
    "max_requests: 5, limit 3, 5 of 0, refused",
    "max_removes of x: 3, limit 2, 3 of 0, refused",
    "empties_tag of z: 0, limit 0, 6 of 6, refused",
    "min_holders of z: 0, limit 2, 0 of 6, refused",
    "empties_tag of x: 46, limit 0, 3 of 30, passed",
    "min_holders of x: 46, limit 40, 46 of 30, passed",
    "max_adds of y: 12, limit 12, 12 of 0, passed",
    "max_removes_pct of x: 10.0, limit 20.0, 3 of 30, passed",
    "odd_ids of x: 4, limit 0, 4 of 3, no reason given",
    "empties_tag of w: 0, limit 0, 4 of 4, warned",
]
OF_A_FIRST_RUN = [
    "max_adds_pct: 100.0, limit 50.0, 38 of 0, refused",
    "max_adds_pct of v: 100.0, limit 50.0, 6 of 0, refused",
    "max_adds_pct of x: 100.0, limit 50.0, 20 of 0, refused",
    "max_adds_pct of y: 100.0, limit 50.0, 12 of 0, refused",
    "max_removes_pct: 100.0, limit 20.0, 9 of 0, refused",
    "max_removes_pct of z: 100.0, limit 20.0, 6 of 0, refused",
    "max_restored_pct of x: 100.0, limit 30.0, 7 of 0, refused",
    "max_adds: 38, limit 30, 38 of 0, refused",
    "max_adds of x: 20, limit 10, 20 of 0, refused",
    "min_holders of x: 19, limit 40, 19 of 3, refused",
    "max_removes: 13, limit 10, 13 of 0, refused",
    "max_first_adds of y: 12, limit 5, 12 of 0, refused",
    "max_first_adds of v: 6, limit 5, 6 of 0, refused",
    "protected of z: 6, limit 0, 6 of 0, refused",
    "max_requests: 5, limit 3, 5 of 0, refused",
    "max_removes of x: 3, limit 2, 3 of 0, refused",
    "empties_tag of z: 0, limit 0, 6 of 6, refused",
    "min_holders of z: 0, limit 2, 0 of 6, refused",
    "max_removes_pct of x: 100.0, limit 20.0, 3 of 0, passed",
    "empties_tag of x: 19, limit 0, 3 of 3, passed",
    "max_adds of y: 12, limit 12, 12 of 0, passed",
    "odd_ids of x: 4, limit 0, 4 of 3, no reason given",
    "empties_tag of w: 0, limit 0, 4 of 4, warned",
]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (
            Before(_pairs({"x": 30, "w": 4, "z": 5}), {SetName("s"): 20, SetName("old"): 10}, _pairs({"x": 20})),
            OF_A_LATER_RUN,
        ),
        (Before(Counter(), {}), OF_A_FIRST_RUN),
    ],
    ids=["later", "first"],
)
def test_each_guard_tells_its_measure_its_limit_and_the_share_the_worst_refusals_first(
    before: Before, expected: list[str]
) -> None:
    desired = declare(
        a_set("s", many(5), "x"),
        a_set("new", many(70, "n"), "y"),
        rule=[
            a_rule("x", max_adds=10, max_removes=2, min_holders=40),
            a_rule("y", triggers=True, max_adds=12),
            a_rule("v", once=True),
            a_rule("z", protected=True),
        ],
    )
    counts = Counts(
        adds=_pairs({"x": 20, "y": 12, "v": 6}),
        removes=_pairs({"x": 3, "w": 4, "z": 6}),
        unnamed=_pairs({"x": 3, "z": 6}),
        again=_pairs({"x": 1}),
        restored=_pairs({"x": 7}),
        lost=_pairs({"x": 3, "w": 4, "z": 6}),
        odd=_pairs({"x": 4, "y": 2}),
        requests=5,
    )
    allowed = [Allowance(Guard.ODD_IDS, "x")]
    found = measure_guards(counts, before, desired, limits=EVERY_LIMIT, allowances=allowed)
    assert list(map(_told, found)) == expected


@pytest.mark.parametrize(
    ("managed", "lifted", "sizes", "refused"),
    [
        ({}, {}, {}, {"max_first_adds of y"}),
        ({"w": 9, "x": 5}, {"x"}, {}, {"max_first_adds of x", "max_first_adds of y"}),
        ({"x": 4}, {}, {}, {"max_first_adds of x", "max_first_adds of y"}),
        ({"x": 6, "y": 6}, {"x", "y"}, {}, set()),
        ({"x": 6, "y": 6}, {"x"}, {}, {"max_first_adds of y"}),
        ({}, {}, {"s": 0}, set()),
    ],
    ids=["nothing", "as many as pass unasked", "fewer", "more: it was meant", "more: adopted", "all was applied"],
)
def test_a_tag_is_new_to_a_location_until_all_was_applied_or_it_was_let_pass(
    managed: dict[str, int], lifted: Collection[str], sizes: dict[str, int], refused: set[str]
) -> None:
    limits, desired = (
        replace(NO_LIMITS, max_first_adds=5),
        declare(rule=[a_rule("x", once=True), a_rule("y", once=True)]),
    )
    found = refusals(limits, adds={"w": 6, "x": 2, "y": 6}, ledger=managed, lifted=lifted, sizes=sizes, desired=desired)
    assert found == refused


def test_a_guard_that_measured_nothing_is_no_news() -> None:
    def found(**counts: Counter[Tag]) -> list[str]:
        before = Before(Counter(), {})
        measured = measure_guards(Counts(**counts), before, declare(), limits=EVERY_LIMIT, allowances=())  # type: ignore[arg-type]
        return [_told(each) for each in measured if not each.is_share]

    assert found() == []
    assert found(adds=_pairs({"x": 1})) == ["max_adds: 1, limit 30, 1 of 0, passed"]


def test_a_run_is_counted_by_pairs_of_each_tag() -> None:
    """What is sent again counts, too; what a contact is not known to carry is no holder lost."""

    def change(action: Action, tag: str, reason: Reason, line: int = 1) -> Change:
        return Change(action, Tag(tag), reason, (Source("acme.yaml", line, 1),))

    known = state(anna=carries("x w"), bert=carries("x"), emil=carries("w"), cara=unseen(ledger="x"))
    add, put_back = change(Action.ADD, "new", Reason.DECLARED), change(Action.ADD, "y", Reason.RESTORED)
    prune, expire = change(Action.REMOVE, "x", Reason.PRUNED), change(Action.REMOVE, "x", Reason.EXPIRED)
    deltas = [
        Delta((add, prune), ids("anna bert cara stranger")),
        Delta((add, put_back), ids(["+49 170", name("a")])),
        Delta((change(Action.ADD, "new", Reason.DECLARED, 2),), ids(["column", "dora", name("b")])),
        Delta((change(Action.ADD, "y", Reason.RESTORED, 2),), ids("emil")),
        Delta((expire, change(Action.REMOVE, "w", Reason.ABSENT)), ids("emil anna")),
        Delta((change(Action.REMOVE, "w", Reason.RENAMED),), ids("bert")),
    ]
    again = [
        Reasserted(Action.ADD, (Tag("new"), Y), ids("gina hans")),
        Reasserted(Action.ADD, (Y,), ids("ines")),
        Reasserted(Action.REMOVE, (X,), ids("gina hans")),
        Reasserted(Action.REMOVE, (X,), ids("ines")),
    ]
    of_deltas = Counts(
        adds=_pairs({"new": 9, "y": 3}),
        removes=_pairs({"x": 6, "w": 3}),
        unnamed=_pairs({"x": 6}),
        restored=_pairs({"y": 3}),
        lost=_pairs({"x": 3, "w": 2}),
        odd=_pairs({"new": 5, "y": 1}),
        requests=4,
    )
    of_repeats = Counts(
        adds=_pairs({"new": 2, "y": 3}), removes=_pairs({"x": 3}), again=_pairs({"new": 2, "y": 3}), requests=3
    )
    assert count_pairs(deltas, requests=4, observed=known) == of_deltas
    assert count_pairs((), again, requests=3, observed=known) == of_repeats
    assert count_pairs(deltas, again, requests=7, observed=known) == of_deltas + of_repeats
    assert of_deltas + of_repeats == Counts(
        adds=_pairs({"new": 11, "y": 6}),
        removes=_pairs({"x": 9, "w": 3}),
        unnamed=_pairs({"x": 6}),
        again=_pairs({"new": 2, "y": 3}),
        restored=_pairs({"y": 3}),
        lost=_pairs({"x": 3, "w": 2}),
        odd=_pairs({"new": 5, "y": 1}),
        requests=7,
    )


@pytest.mark.parametrize(
    ("allowance", "words"),
    [
        (Allowance(Guard.MAX_ADDS, "", "the launch"), "max_adds: the launch"),
        (Allowance(Guard.MAX_ADDS, "vip"), "max_adds:tag=vip: no reason given"),
        (Allowance(Guard.SHRINK_PCT, "the people"), "'shrink_pct:set=the people': no reason given"),
    ],
)
def test_an_exception_is_told_by_what_lifts_it_and_why(allowance: Allowance, words: str) -> None:
    assert str(allowance) == words


@pytest.mark.parametrize(
    ("guard", "option", "lift"),
    [
        (Guard.MAX_ADDS, "--allow max_adds:tag=x", '--allow max_adds:tag=x --reason "…"'),
        (Guard.MAX_FIRST_ADDS, "--create-state", "--create-state"),
    ],
)
def test_the_option_that_lifts_a_guard_needs_a_reason_but_for_a_first_run(guard: Guard, option: str, lift: str) -> None:
    refused = Measured(guard, "x", 1, 2, True)
    assert (refused.option, refused.lift) == (option, lift)


# in a plan


def a_plan(limits: GuardLimits = NO_LIMITS, **more: object) -> LocationPlan:
    """Anna and bert lose x by prune, w by name; ten others hold both."""
    holding = {f"c{number}": carries("x w", ledger="x") for number in range(10)}
    desired = declare(a_set("s", many(10), "x"), a_set("gone", "anna bert", "", absent="w"))
    known = state(anna=carries("x w", ledger="x"), bert=carries("x w", ledger="x"), **holding)
    return plan_location(desired, LocationState(HERE, observed=known), plan_options(limits=limits), **more)  # type: ignore[arg-type]


def explained(plan: LocationPlan) -> str:
    with pytest.raises(GuardRefused) as refused:
        approve(combine_plans([plan], as_of=NOW, manifests=""))
    assert refused.value.exit_code == ExitCode.GUARD
    return f"{refused.value.message}\n{refused.value.hint}"


def test_a_refusal_says_guard_place_measure_limit_and_the_worst_tags() -> None:
    text = explained(a_plan(replace(NO_LIMITS, max_removes=3)))
    assert (
        f"guard max_removes refuses location {HERE}: it would remove 4 tags (limit: 3); most of 'w' (2), 'x' (2)"
        in text
    )
    assert '--allow max_removes --reason "…"' in text


def test_a_refusal_of_a_share_says_numerator_and_denominator() -> None:
    removed = {f"c{number}": carries("x", ledger="x") for number in range(6)}
    desired = declare(a_set("s", many(10, "d"), "y"))
    known = state(**removed, **{f"d{number}": carries("y x", ledger="y") for number in range(10)})
    plan = plan_location(desired, LocationState(HERE, observed=known), plan_options())
    assert "guard max_removes_pct refuses location" in explained(plan)
    assert "it would remove 'x' from 6 contacts, of 16 known to carry it: 37.5 % (limit: 30 %)" in explained(plan)
    assert "--allow max_removes_pct:tag=x" in explained(plan)


def test_a_refusal_of_a_share_of_nothing_says_so_too() -> None:
    desired = declare(a_set("s", "anna", "y"))
    known = state_of({each: unseen(ledger="x") for each in declare(a_set("s", many(6), "x")).contacts})
    plan = plan_location(desired, LocationState(HERE, observed=known), plan_options())
    assert "it would remove 'x' from 6 contacts, of whom nobody is known to carry it: 100 % (limit: 30 %)" in explained(
        plan
    )


def test_a_share_is_most_of_what_nobody_asked_for_by_name() -> None:
    holding = {f"c{number}": carries("x w", ledger="x") for number in range(6)}
    plan = plan_location(
        declare(a_set("gone", many(6), "", absent="w")),
        LocationState(HERE, observed=state(**holding)),
        plan_options(limits=replace(NO_LIMITS, max_removes_pct=1.0)),
    )
    text = explained(plan)
    assert (
        "it would remove 6 tags, of 12 that contacts are known to carry: 50 % (limit: 1 %); most of 'x' (6)\n" in text
    )


def test_every_refusal_is_told_at_once() -> None:
    text = explained(a_plan(GuardLimits(max_removes=1, max_requests=0, max_removes_pct=1.0)))
    assert {line.split()[1] for line in text.splitlines()[:-1]} == {"max_removes", "max_requests"}


def test_what_is_deferred_is_not_counted() -> None:
    desired = declare(a_set("s", "anna", "y", absent="x"))
    plan = plan_location(desired, LocationState(HERE), plan_options(limits=replace(NO_LIMITS, max_removes=0)))
    assert plan.deferrals
    assert plan.refused == ()


def test_a_removal_on_a_contact_never_observed_counts_as_a_pair_and_as_no_holder() -> None:
    known = state(**{f"c{number}": unseen(ledger="x") for number in range(6)})
    plan = plan_location(declare(), LocationState(HERE, observed=known), plan_options(limits=GuardLimits()))
    assert [each.flag for each in plan.refused] == ["max_removes_pct", "max_removes_pct:tag=x"]


OF_ADDS = Measured(Guard.MAX_ADDS, "", limit=10, measure=13, refused=True, numerator=13)
OF_REMOVES = replace(OF_ADDS, guard=Guard.MAX_REMOVES)
OF_SHARES = Measured(Guard.MAX_ADDS_PCT, "", limit=50, measure=60, refused=True, numerator=18, denominator=30)


def counted(measured: Measured, number: int) -> Measured:
    return replace(measured, measure=number, numerator=number)


@pytest.mark.parametrize(
    ("guards", "dropped"),
    [
        ([counted(OF_ADDS, 11)], "+x"),
        ([counted(OF_ADDS, 13)], "+x"),
        ([counted(OF_ADDS, 14)], "+x +y"),
        ([counted(OF_ADDS, 16)], "+x +y"),
        ([counted(OF_ADDS, 17)], "+a +x +y"),
        ([counted(OF_ADDS, 18)], ""),
        ([counted(replace(OF_ADDS, limit=3), 10)], "+a +x +y"),
        ([counted(replace(OF_ADDS, limit=15), 22)], "+a +x +y"),
        ([counted(replace(OF_ADDS, scope="y"), 13)], "+y"),
        ([counted(replace(OF_ADDS, scope="y"), 14)], ""),
        ([counted(OF_REMOVES, 12)], "-x"),
        ([OF_SHARES], "+a +x +y"),
        ([replace(OF_SHARES, scope="a")], ""),
        ([replace(OF_SHARES, scope="a", limit=57)], "+a"),
        ([replace(OF_SHARES, limit=36)], ""),
        ([replace(OF_SHARES, limit=40, measure=63.3, numerator=19)], "+a +x +y"),
        ([replace(OF_SHARES, limit=30, measure=30.0, numerator=30_040, denominator=100_000)], ""),
        ([replace(OF_SHARES, measure=100.0, numerator=12, denominator=0)], "+a +x +y"),
        ([replace(OF_SHARES, measure=100.0, numerator=13, denominator=0)], ""),
        ([replace(OF_SHARES, guard=Guard.MAX_REMOVES_PCT)], ""),
        ([replace(OF_ADDS, refused=False)], ""),
        (
            [
                replace(OF_ADDS, guard=Guard.MAX_REQUESTS),
                replace(OF_ADDS, refused=False),
                counted(OF_ADDS, 18),
                replace(OF_SHARES, scope="a", limit=57),
                counted(OF_REMOVES, 12),
            ],
            "+a -x",
        ),
    ],
)
def test_only_so_many_tags_are_repeated_less_as_the_limit_asks_for(guards: list[Measured], dropped: str) -> None:
    """Three adds each of y and of x are sent again, one of a, and two removals of x: the most go first."""
    again = [
        Reasserted(Action.ADD, (Y,), ids("a b c")),
        Reasserted(Action.ADD, (Tag("a"), X), ids("a")),
        Reasserted(Action.ADD, (X,), ids("b c")),
        Reasserted(Action.REMOVE, (X,), ids("d e")),
    ]
    found = repeats_over_limit(again, guards)
    signs = {Action.ADD: "+", Action.REMOVE: "-"}
    assert " ".join(sorted(f"{signs[action]}{tag}" for action, tag in found)) == dropped


REPEATED = Reassertion(Reassert.ALWAYS)


def a_plan_that_repeats(limits: GuardLimits) -> LocationPlan:
    """Two contacts need x and y, two have x and need y: one request adds all, and x twice more than is needed."""
    known = state(anna=carries(), bert=carries(), cara=carries("x", ledger="x"), dora=carries("x", ledger="x"))
    desired = declare(a_set("s", "anna bert cara dora", "x y"))
    return plan_location(
        desired, LocationState(HERE, observed=known), plan_options(limits=limits, reassertion=REPEATED, now=NOW)
    )


def test_a_limit_on_pairs_that_only_repeats_exceed_makes_the_planner_repeat_less() -> None:
    free = a_plan_that_repeats(NO_LIMITS)
    assert (len(free.batches), sum(len(again.contacts) for again in free.reasserted)) == (1, 2)
    assert a_plan_that_repeats(replace(NO_LIMITS, max_adds=8)).batches == free.batches
    for limits in (replace(NO_LIMITS, max_adds=6), replace(NO_LIMITS, max_adds=7)):
        plan = a_plan_that_repeats(limits)
        assert (len(plan.batches), plan.reasserted, plan.refused) == (2, (), ())
    refused = a_plan_that_repeats(replace(NO_LIMITS, max_adds=5))
    assert [each.guard for each in refused.refused] == ["max_adds"]


def test_a_pair_that_is_removed_again_is_no_holder_lost() -> None:
    """Three carry x and y and lose y, one of them lost x before: one request takes both, and x from whom it is gone."""
    known = state(
        anna=carries("x y", ledger="x y"),
        bert=carries("x y", ledger="x y"),
        cara=carries("y", ledger="x y"),
        dora=carries("x y"),
    )
    desired = declare(a_set("s", "dora", "z"), rule=[a_rule("x", min_holders=1)])
    plan = plan_location(
        desired,
        LocationState(HERE, observed=known),
        plan_options(limits=replace(NO_LIMITS, empties_tag=True), reassertion=REPEATED, now=NOW),
    )
    assert plan.refused == ()


def test_what_is_asked_for_by_name_and_empties_a_tag_is_warned_about() -> None:
    known = state(**{f"c{number}": carries("w") for number in range(3)})
    plan = plan_location(
        declare(a_set("s", many(3), absent="w")),
        LocationState(HERE, observed=known),
        plan_options(limits=GuardLimits()),
    )
    assert plan.refused == ()
    assert explain_warnings(plan) == (
        "nobody will carry 'w' any more: 3 of 3 lose it, as `absent` or `renamed_from` asks",
    )
    other = state(**{f"c{number}": carries("w") for number in range(4)})
    left = plan_location(
        declare(a_set("s", many(3), absent="w")),
        LocationState(HERE, observed=other),
        plan_options(limits=GuardLimits()),
    )
    assert explain_warnings(left) == ()


def test_one_tag_out_and_one_in_on_the_same_contacts_looks_like_a_new_name() -> None:
    known = state(**{f"c{number}": carries("top", ledger="top") for number in range(3)})
    plan = plan_location(
        declare(a_set("s", many(3), "gold")), LocationState(HERE, observed=known), plan_options(limits=GuardLimits())
    )
    text = explained(plan)
    assert "it would leave nobody with 'top': 3 of 3 lose it (limit: at least 1)" in text
    assert "if 'gold' is the new name of 'top', say so in the manifest: tags: {gold: {renamed_from: top}}" in text


@pytest.mark.parametrize("rule", ["triggers", "once", "protected", "renamed_from"])
def test_a_tag_that_does_harm_where_it_is_added_is_never_guessed_to_be_a_new_name(rule: str) -> None:
    known = state(**{f"c{number}": carries("top", ledger="top") for number in range(3)})
    rules = [a_rule("gold", **{rule: Tag("other") if rule == "renamed_from" else True})]
    desired = declare(a_set("s", many(3), "gold"), rule=rules)
    plan = plan_location(desired, LocationState(HERE, observed=known), plan_options(limits=GuardLimits()))
    assert plan.refused
    assert guess_renames(plan) == ()


@pytest.mark.parametrize("before", [carries("gold"), unseen(ledger="gold")], ids=["observed", "managed"])
def test_a_tag_that_somebody_had_before_is_no_new_name(before: ContactState) -> None:
    holders = {f"c{number}": carries("top", ledger="top") for number in range(3)}
    known = state(**holders, other=before)
    desired = declare(a_set("s", many(3), "gold"))
    plan = plan_location(desired, LocationState(HERE, observed=known), plan_options(limits=GuardLimits()))
    assert plan.refused
    assert guess_renames(plan) == ()


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
