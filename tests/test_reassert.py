"""Which pairs may be sent again, and that the plan counts and lists every one of them."""

from __future__ import annotations

import pytest

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.names import Instant, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.planning.situation import Reassertion
from tests.build import NOW, a_rule, a_set, carries, declare, loaded, many, plan_options, state_of

A, B = Tag("a"), Tag("b")
CROWD = many(20, "c-")


def desired(text: str = "a b", *, absent: str = "", **properties: bool) -> Desired:
    """Twenty contacts; what is said of one tag is said of both."""
    rule = [a_rule(tag, **properties) for tag in (A, B)] if properties else []
    return declare(a_set("all", CROWD, text, absent=absent), rule=rule)


def plan(wanted: Desired, halves: tuple[ContactState, ContactState], mode: Reassert, *, since: int = 0) -> LocationPlan:
    """Ten contacts are known as the first of `halves`, ten as the second."""
    observed = state_of({contact: halves[number % 2] for number, contact in enumerate(sorted(wanted.contacts))})
    options = plan_options(caps=Caps(50, 5), reassertion=Reassertion(mode, Instant(since)))
    return plan_location(wanted, loaded(observed), options)


HALF_DONE = (carries("a", ledger="a", at=NOW), carries("b", ledger="b", at=NOW))


def test_always_saves_a_request_and_says_how() -> None:
    found = plan(desired(), HALF_DONE, Reassert.ALWAYS)
    assert found.summary.requests == 1
    assert found.summary.reasserted == 20
    assert {(each.tags, len(each.contacts)) for each in found.reasserted} == {((A,), 10), ((B,), 10)}


@pytest.mark.parametrize("mode", [Reassert.INERT, Reassert.NEVER])
def test_by_default_each_pair_is_sent_once(mode: Reassert) -> None:
    found = plan(desired(), HALF_DONE, mode)
    assert found.summary.requests == 2
    assert found.summary.reasserted == 0


def test_inert_tags_may_be_sent_again_by_default() -> None:
    wanted = declare(a_set("all", CROWD, "a b"), rule=[a_rule("a", inert=True)])
    found = plan(wanted, (carries("a", ledger="a", at=NOW), carries(at=NOW)), Reassert.INERT)
    assert found.summary.requests == 1
    assert [each.tags for each in found.reasserted] == [(A,)]


@pytest.mark.parametrize("rule", [{"triggers": True}, {"once": True}, {"protected": True}])
def test_some_tags_are_never_sent_again(rule: dict[str, bool]) -> None:
    found = plan(desired(inert=True, **rule), HALF_DONE, Reassert.ALWAYS)
    assert found.summary.reasserted == 0


def test_an_old_observation_is_no_ground_to_add_again() -> None:
    assert plan(desired(), HALF_DONE, Reassert.ALWAYS, since=NOW + 1).summary.reasserted == 0
    assert plan(desired(), HALF_DONE, Reassert.ALWAYS, since=NOW).summary.reasserted == 20


def test_a_pair_in_doubt_is_never_sent_again() -> None:
    doubtful = carries("a", ledger="a", doubt="a", at=NOW), carries("b", ledger="b", doubt="b", at=NOW)
    assert plan(desired(), doubtful, Reassert.ALWAYS).summary.reasserted == 0


def test_removals_may_be_sent_again_unless_never() -> None:
    halves = (carries("x", at=NOW), carries("y", at=NOW))
    wanted = desired("", absent="x y")
    again = plan(wanted, halves, Reassert.INERT)
    assert (again.summary.requests, again.summary.reasserted) == (1, 20)
    assert {each.action for each in again.reasserted} == {Action.REMOVE}
    assert plan(wanted, halves, Reassert.NEVER).summary.requests == 2
