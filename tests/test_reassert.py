"""Which pairs may be sent again, and that the plan counts and lists every one of them."""

from __future__ import annotations

import pytest

from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.contact_state import ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.manifest import ContactSet, ListedContacts, Manifest, TagRule, TagUse
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState
from reconciler.core.planning.situation import Reassertion
from tests.build import plan_options

HERE = Source("m.yaml", 1, 1)
NOW = Instant(1_000_000)
A, B = Tag("a"), Tag("b")


def tags(text: str) -> TagSet:
    return frozenset(Tag(tag) for tag in text.split())


def desired(*, rules: dict[Tag, TagRule] | None = None, declare: str = "a b", absent: str = "") -> Desired:
    contacts = tuple(ContactId(f"c{number:02d}") for number in range(20))
    uses = tuple(TagUse(tag, tag, HERE) for tag in sorted(tags(declare)))
    nots = tuple(TagUse(tag, tag, HERE) for tag in sorted(tags(absent)))
    sets = (ContactSet(SetName("all"), HERE, ListedContacts(contacts, HERE), uses, nots),)
    return resolve([Manifest("m.yaml", LocationId("l"), HERE, sets, rules or {})], now=NOW)


def known(observed: str, **others: object) -> ContactState:
    return ContactState(observed=tags(observed), observed_at=NOW, origin=ObservationOrigin.WRITE, **others)  # type: ignore[arg-type]


def plan(wanted: Desired, halves: tuple[ContactState, ContactState], mode: Reassert, *, since: int = 0) -> LocationPlan:
    """Ten contacts are known as the first of `halves`, ten as the second."""
    observed = ContactStates()
    observed.update({contact: halves[number % 2] for number, contact in enumerate(sorted(wanted.contacts))})
    options = plan_options(caps=Caps(50, 5), reassertion=Reassertion(mode, Instant(since)))
    return plan_location(wanted, LocationState(LocationId("l"), "x", 1, observed), options)


HALF_DONE = (known("a", ledger=tags("a")), known("b", ledger=tags("b")))


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
    rules = {A: TagRule(A, HERE, inert=True)}
    found = plan(desired(rules=rules), (known("a", ledger=tags("a")), known("", ledger=NOTHING)), Reassert.INERT)
    assert found.summary.requests == 1
    assert [each.tags for each in found.reasserted] == [(A,)]


NOTHING: TagSet = frozenset()


@pytest.mark.parametrize("rule", [{"triggers": True}, {"once": True}, {"protected": True}])
def test_some_tags_are_never_sent_again(rule: dict[str, bool]) -> None:
    rules = {tag: TagRule(tag, HERE, inert=True, **rule) for tag in (A, B)}  # type: ignore[arg-type]
    found = plan(desired(rules=rules), HALF_DONE, Reassert.ALWAYS)
    assert found.summary.reasserted == 0


def test_an_old_observation_is_no_ground_to_add_again() -> None:
    assert plan(desired(), HALF_DONE, Reassert.ALWAYS, since=NOW + 1).summary.reasserted == 0
    assert plan(desired(), HALF_DONE, Reassert.ALWAYS, since=NOW).summary.reasserted == 20


def test_a_pair_in_doubt_is_never_sent_again() -> None:
    doubtful = tuple(known(text, ledger=tags(text), doubt=tags(text), doubt_at=NOW) for text in ("a", "b"))
    assert plan(desired(), doubtful, Reassert.ALWAYS).summary.reasserted == 0  # type: ignore[arg-type]


def test_removals_may_be_sent_again_unless_never() -> None:
    halves = (known("x"), known("y"))
    wanted = desired(declare="", absent="x y")
    again = plan(wanted, halves, Reassert.INERT)
    assert (again.summary.requests, again.summary.reasserted) == (1, 20)
    assert {each.action for each in again.reasserted} == {Action.REMOVE}
    assert plan(wanted, halves, Reassert.NEVER).summary.requests == 2
