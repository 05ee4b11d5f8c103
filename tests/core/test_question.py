"""The question that a person answers: all that is going to happen, in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.model.names import LocationId
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState, combine_plans
from reconciler.output.plan import question
from tests.build import HERE, NOW, a_rule, a_set, carries, declare, many, plan_options, state
from tests.core.scenes import a_busy_plan


def asked(*plans: LocationPlan, **names: str) -> str:
    called = {LocationId(location): name for location, name in names.items()}
    return question(combine_plans(plans, as_of=NOW, manifests="manifests"), called)


def a_plan(number: int = 0, tags: str = "vip", triggers: str = "", absent: str = "") -> LocationPlan:
    """Four contacts on trial are to carry `tags`."""
    desired = declare(
        a_set("s", many(4), tags, absent=absent), rule=[a_rule(each, triggers=True) for each in triggers.split()]
    )
    known = state(**{contact: carries("trial") for contact in many(4).split()})
    plan = plan_location(desired, LocationState(HERE, "6f1c", 1, known), plan_options())
    return replace(plan, location=LocationId(f"place{number}"))


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (a_plan(), "Send 4 adds in 1 request to place0?"),
        (a_plan(absent="trial"), "Send 4 adds and 4 removes in 2 requests to place0?"),
        (a_plan(triggers="vip"), "Send 4 adds (vip triggers automations) in 1 request to place0?"),
        (
            a_plan(absent="trial", triggers="trial"),
            "Send 4 adds and 4 removes (trial triggers automations) in 2 requests to place0?",
        ),
        (
            a_plan(tags="a b c d e", triggers="a b c d e"),
            "Send 20 adds (a, b, c and 2 more tags trigger automations) in 1 request to place0?",
        ),
    ],
)
def test_what_is_sent(plan: LocationPlan, sentence: str) -> None:
    assert asked(plan) == f"{sentence} Type yes: "


def test_locations_by_their_names() -> None:
    assert asked(a_plan(1), a_plan(2), place1="Acme Outdoor").startswith(
        "Send 8 adds in 2 requests to Acme Outdoor and place2?"
    )
    assert "to place0, place1, place10 and 27 more locations?" in asked(*map(a_plan, range(30)))


def test_locations_that_are_refused_are_named_as_those() -> None:
    plan = combine_plans([a_plan(1)], as_of=NOW, manifests="manifests")
    refused = [LocationId(f"place{number}") for number in (2, 3)]
    assert question(plan, {refused[0]: "Acme"}, refused=refused) == (
        "Send 4 adds in 1 request to place1, and nothing to Acme and place3? Type yes: "
    )


def test_what_may_follow_in_the_same_run() -> None:
    asked = question(a_busy_plan(), {})
    assert "and at most 2 removes that the answers call for?" in asked


def test_what_is_only_recorded() -> None:
    desired = declare(a_set("s", "anna bert", "vip"))
    known = state(anna=carries("vip"), bert=carries("vip"), cara=carries("", ledger="vip"))
    plan = plan_location(desired, LocationState(HERE, "6f1c", 1, known), plan_options())
    assert asked(plan) == f"Send nothing, and record 2 adopted and 1 released in {HERE}? Type yes: "
