"""The plan: same inputs, same bytes; a digest of what a reviewer sees; approval that only the guards give."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hypothesis import given

from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import GuardRefused
from reconciler.core.model.names import ContactId, Instant, LocationId, Source
from reconciler.core.model.settings import Guard, GuardLimits
from reconciler.core.planning.guard_sentences import ApprovedPlan, approve
from reconciler.core.planning.guards import Allowance
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, combine_plans
from reconciler.planfile import plan_text
from tests.build import (
    DAY,
    HERE,
    NOW,
    a_rule,
    a_set,
    carries,
    declare,
    many,
    only,
    plan_options,
    state,
    state_of,
    unseen,
)
from tests.core.scenes import ELSEWHERE, a_busy_plan, a_location
from tests.core.test_diff_laws import World, worlds

ROOT = Path(__file__).parents[2]
SEEDS = ("0", "1", "2", "77", "4294967295")


@pytest.mark.slow
def test_the_same_inputs_make_the_same_bytes_in_any_process() -> None:
    code = "import sys; from tests.core.scenes import a_busy_plan; from reconciler.planfile import plan_text\n"
    code += "sys.stdout.write(plan_text(a_busy_plan()))"
    for seed in SEEDS:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
        assert made.stdout.decode() == plan_text(a_busy_plan())


@pytest.mark.slow
@given(worlds())
def test_the_order_in_which_contacts_became_known_makes_no_other_bytes(world: World) -> None:
    def plan(known: dict[ContactId, ContactState]) -> str:
        location = plan_location(world.desired, LocationState(HERE, observed=state_of(known)), plan_options())
        return plan_text(combine_plans([location], as_of=NOW, manifests="manifests"))

    assert plan(dict(reversed(world.observed.items()))) == plan(dict(world.observed))


def test_locations_are_sorted_and_the_nearest_boundary_holds() -> None:
    here = a_location(valid_until=NOW + DAY)
    there = replace(a_location(valid_until=None), location=ELSEWHERE)
    plan = combine_plans([there, here], as_of=NOW, manifests="")
    assert plan == combine_plans([here, there], as_of=NOW, manifests="")
    assert [each.location for each in plan.locations] == sorted((HERE, ELSEWHERE))
    assert plan.valid_until == NOW + DAY


def digest(*locations: LocationPlan, as_of: int = NOW) -> str:
    return combine_plans(locations, as_of=Instant(as_of), manifests="").change_digest


def planned(
    text: str = "x", known: str = "", *, absent: str = "", contacts: str = "anna bert", place: Source | None = None
) -> LocationPlan:
    """Two sets ask for the same, so that the places which ask can differ among contacts."""
    first, *others = contacts.split()
    sets = (
        a_set("one", first, text, absent=absent, place=place or Source("a.yaml", 1, 1)),
        a_set("two", " ".join(others), text, absent=absent),
    )
    observed = state(**{each: carries(known) for each in contacts.split()})
    return plan_location(declare(*sets), LocationState(HERE, "lineage", 7, observed), plan_options())


def test_the_change_digest_stays_where_a_reviewer_sees_the_same() -> None:
    base = planned()
    for same in (
        planned(place=Source("z.yaml", 99, 9)),
        planned(contacts="bert anna"),
        replace(base, serial=8, manifests_digest="other", lineage=None),
        replace(base, guards=(), batches=base.batches[::-1], observations=()),
    ):
        assert digest(same) == digest(base)
    assert digest(base, as_of=NOW + 1) == digest(base)


def test_the_change_digest_moves_with_every_change() -> None:
    plans = [
        planned(),
        planned("x y"),
        planned("y"),
        planned(contacts="anna cara"),
        planned(contacts="anna bert cara"),
        planned("", "x", absent="x"),
        planned("x", "y", absent="y"),
        planned("x", "x"),
        planned("x", "x", contacts="anna"),
        replace(planned(), location=LocationId("elsewhere")),
        replace(planned(), deltas=()),
    ]
    assert len({digest(each) for each in plans}) == len(plans)
    assert digest(planned(), replace(planned(), location=ELSEWHERE)) != digest(planned())


@pytest.mark.slow
@given(worlds(), worlds())
def test_a_location_has_the_digest_of_a_plan_of_it_alone_whatever_else_is_planned(one: World, other: World) -> None:
    here, elsewhere = (
        plan_location(
            replace(world.desired, location=place),
            LocationState(place, observed=state_of(world.observed)),
            plan_options(),
        )
        for world, place in ((one, HERE), (other, ELSEWHERE))
    )
    both = combine_plans([elsewhere, here], as_of=NOW, manifests="")
    assert {each.location: each.change_digest for each in both.locations} == {
        HERE: digest(here),
        ELSEWHERE: digest(elsewhere),
    }
    assert both.change_digest not in {digest(here), digest(elsewhere)}
    (alone,) = combine_plans([here], as_of=NOW, manifests="").locations
    assert alone.change_digest == digest(here)


def test_the_change_digest_moves_with_a_reason_and_with_a_ceiling() -> None:
    group = [a_rule(tag, group="g") for tag in ("x", "w")]
    by_name, by_group = declare(a_set("s", "anna", "x", absent="w")), declare(a_set("s", "anna", "x"), rule=group)
    alone = declare(a_set("s", "anna", "x"))
    for known in (carries("w"), unseen()):
        observed = LocationState(HERE, observed=state(anna=known))
        plans = [plan_location(each, observed, plan_options()) for each in (by_name, by_group, alone)]
        assert len({digest(each) for each in plans}) == (3 if known.observed is not None else 2)


def test_the_summary_counts_pairs_contacts_and_requests() -> None:
    summary = a_location().summary
    assert (summary.contacts, summary.adds, summary.removes) == (4, 2, 3)
    assert (summary.unobserved, summary.deferred, summary.held, summary.quarantined) == (1, 1, 1, 1)
    assert (summary.adopted, summary.released, summary.reasserted) == (1, 1, 0)
    assert summary.requests == len(a_location().batches)
    assert summary.daily_quota_share == round(summary.requests / 200_000, 6)


def test_a_plan_is_empty_where_nothing_is_sent_and_nothing_recorded() -> None:
    def plan(known: str, ledger: str) -> LocationPlan:
        observed = state(anna=carries(known, ledger=ledger))
        return plan_location(declare(a_set("s", "anna", "x")), LocationState(HERE, observed=observed), plan_options())

    assert plan("x", "x").is_empty
    assert not plan("x", "").is_empty
    assert not plan("", "x").is_empty


def test_a_selection_limits_a_plan() -> None:
    desired = declare(a_set("a", "anna", "x y"), a_set("b", "bert", "x"))
    options = plan_options(selection=only(sets="a", tag="x"))
    (delta,) = plan_location(desired, LocationState(HERE), options).deltas
    assert ([change.tag for change in delta.changes], delta.contacts) == (["x"], ("anna",))


# approval


def refused_plan() -> Plan:
    options = plan_options(limits=GuardLimits(max_adds=1))
    desired = declare(a_set("s", many(3), "x"))
    return combine_plans([plan_location(desired, LocationState(HERE), options)], as_of=NOW, manifests="")


def test_what_no_guard_refuses_is_approved_as_it_is() -> None:
    plan = a_busy_plan()
    assert approve(plan).plan is plan


def test_what_a_guard_refuses_is_not_approved() -> None:
    with pytest.raises(GuardRefused, match="max_adds refuses location"):
        approve(refused_plan())


def test_one_refused_location_refuses_them_all() -> None:
    plan = combine_plans([*a_busy_plan().locations, *refused_plan().locations], as_of=NOW, manifests="")
    with pytest.raises(GuardRefused):
        approve(plan)


def test_what_was_lifted_is_approved() -> None:
    options = plan_options(limits=GuardLimits(max_adds=1), allowances=(Allowance(Guard.MAX_ADDS, "", "meant"),))
    location = plan_location(declare(a_set("s", many(3), "x")), LocationState(HERE), options)
    assert approve(combine_plans([location], as_of=NOW, manifests="")).plan.locations == (location,)


def test_an_approved_plan_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        ApprovedPlan(refused_plan())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="approve"):
        ApprovedPlan(refused_plan(), object())


def test_an_approved_plan_cannot_become_another() -> None:
    approved = approve(a_busy_plan())
    with pytest.raises(FrozenInstanceError):
        approved.plan = refused_plan()  # type: ignore[misc]
    with pytest.raises((TypeError, ValueError)):
        replace(approved, plan=refused_plan())  # type: ignore[call-arg]


def test_a_request_may_land_for_90_seconds_where_nothing_else_is_said() -> None:
    # and it leaves up to ten seconds after the date of its intent
    assert plan_options().settle_ms == 90_000 + 10_000
