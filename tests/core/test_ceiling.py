"""The ceiling: nothing that was not approved passes, and what passes is what was needed."""

from __future__ import annotations

import pytest
from hypothesis import given

from reconciler.core.model.manifest import Authority
from reconciler.core.model.outcome import Action
from reconciler.core.planning.approved_scope import derive_ceiling, keep_approved
from reconciler.core.planning.changes import IN_DOUBT, DeferralReason, Delta, Selection
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState
from tests.build import HERE, a_rule, a_set, carries, declare, ids, plan_options, state, state_of, unseen
from tests.core.test_diff_laws import World, worlds

Pair = tuple[str, str, str]


def plan_of(world: World) -> LocationPlan:
    return plan_location(world.desired, LocationState(HERE, observed=state_of(world.observed)), plan_options())


def pairs(deltas: tuple[Delta, ...]) -> set[Pair]:
    return {
        (change.action, contact, change.tag)
        for delta in deltas
        for contact in delta.contacts
        for change in delta.changes
    }


def approved(plan: LocationPlan) -> set[Pair]:
    # a removal that needs a refresh, or waits for a tag that is left out, is listed for another plan
    other = (DeferralReason.NEEDS_REFRESH, DeferralReason.UNTIL_REPLACED)
    runs = [each for each in plan.deferrals if each.reason not in other]
    deferred = {("remove", contact, tag) for each in runs for contact in each.contacts for tag in each.tags}
    doubtful = [each for each in plan.held if each.why == IN_DOUBT]
    held = {(action, who, tag) for each in doubtful for who in each.contacts for tag in each.tags for action in Action}
    return pairs(plan.deltas) | deferred | held


@pytest.mark.slow
@given(worlds(), worlds())
def test_only_approved_pairs_pass(reviewed: World, needed: World) -> None:
    plan, later = plan_of(reviewed), plan_of(needed)
    kept, outside = keep_approved(later.deltas, derive_ceiling(plan))
    assert pairs(kept) <= approved(plan) & pairs(later.deltas)
    assert outside == len(pairs(later.deltas)) - len(pairs(kept))
    without_add = {contact for action, contact, _ in pairs(later.deltas) - pairs(kept) if action == Action.ADD}
    assert not {contact for action, contact, _ in pairs(kept) if action == Action.REMOVE} & without_add
    left = {
        pair for pair in pairs(later.deltas) & approved(plan) if pair[0] == Action.ADD or pair[1] not in without_add
    }
    assert pairs(kept) == left


@pytest.mark.slow
@given(worlds())
def test_a_plan_is_within_its_own_ceiling(world: World) -> None:
    plan = plan_of(world)
    assert keep_approved(plan.deltas, derive_ceiling(plan)) == (plan.deltas, 0)


def test_a_group_is_not_emptied_where_the_add_was_not_approved() -> None:
    group = [a_rule(tag, group="g") for tag in ("lead", "customer")]
    desired = declare(a_set("s", "anna", "customer"), rule=group)

    def plan(text: str) -> LocationPlan:
        return plan_location(desired, LocationState(HERE, observed=state(anna=carries(text))), plan_options())

    assert keep_approved(plan("lead").deltas, derive_ceiling(plan("lead customer"))) == ((), 2)


@pytest.mark.parametrize("opened", [True, False])
def test_an_open_ceiling_takes_what_exact_authority_removes_and_nothing_else(opened: bool) -> None:
    desired = declare(a_set("s", "anna", "x y", authority=Authority.EXACT), a_set("t", "bert", "x"))
    options = plan_options(selection=Selection(apply_deferrals=opened))
    reviewed = plan_location(desired, LocationState(HERE, observed=state(anna=unseen())), options)
    after = state(anna=carries("x y wild"), bert=carries("wild"))
    kept, outside = keep_approved(
        plan_location(desired, LocationState(HERE, observed=after), options).deltas, derive_ceiling(reviewed)
    )
    assert pairs(kept) == {("add", "bert", "x")} | ({("remove", "anna", "wild")} if opened else set())
    assert outside == (0 if opened else 1)
    failed, _ = keep_approved(
        plan_location(desired, LocationState(HERE, observed=after), options).deltas,
        derive_ceiling(reviewed),
        failed=ids("anna"),
    )
    assert pairs(failed) == {("add", "bert", "x")}


def test_a_deferral_is_approved_up_to_the_tags_that_it_names() -> None:
    desired = declare(a_set("s", "anna", "x", absent="w"))
    reviewed = plan_location(desired, LocationState(HERE, observed=state(anna=unseen())), plan_options())
    after = LocationState(HERE, observed=state(anna=carries("x w old", ledger="x old")))
    kept, outside = keep_approved(plan_location(desired, after, plan_options()).deltas, derive_ceiling(reviewed))
    assert (pairs(kept), outside) == ({("remove", "anna", "w")}, 1)
