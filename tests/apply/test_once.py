"""A tag that is `once` is given once: its pair may leave the ledger in any way, and what was given is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.formats.integrity import verify
from reconciler.core.formats.state_json import Portable, read_state, state_document
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_changes import record_answer, record_intent, withdraw_intent
from reconciler.core.model.contact_state import NEVER_OBSERVED, NONE, ContactReading
from reconciler.core.model.manifest import OnLeave
from reconciler.core.model.names import Instant, Tag, iso
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.changes import GIVEN, Selection
from reconciler.core.running.doubt import settle_doubt
from reconciler.store import open_store
from tests.apply.test_daily import look_again
from tests.build import DAY, HERE, a_rule, a_set, changed_state, declare, fields_of, tags, who
from tests.fakes import START, a_holder
from tests.scene import Scene, one_by_one

NO_GUARDS = GuardLimits(
    max_removes_pct=None,
    max_restored_pct=None,
    max_first_adds=None,
    empties_tag=False,
    odd_ids=False,
    shrink_pct=None,
    grow_pct=None,
)
AGAIN = Selection(again=frozenset({Tag("welcome")}))


def of(names: str, text: str = "welcome", *, once: bool = True, **more: object) -> Desired:
    rule = [a_rule("welcome", once=once, triggers=True)]
    return declare(a_set("s", who(names), text, **more), rule=rule)  # type: ignore[arg-type]


WELCOME = tags("welcome")
TODAY = of("anna bert")
WITHOUT = of("bert")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Both were welcomed on the first day, and a workflow took anna's tag."""
    found = one_by_one(tmp_path, {"anna": "", "bert": ""})
    found.options = replace(found.options, limits=NO_GUARDS)
    found.run(TODAY)
    found.edit("anna", remove="welcome")
    tomorrow(found)
    return found


def tomorrow(scene: Scene) -> None:
    scene.clock.ms += DAY
    look_again(scene)
    scene.options = replace(scene.options, now=scene.clock.now())


def at(seconds: int) -> Instant:
    return Instant(START + 1_000 * seconds)


def welcomes(scene: Scene, name: str = "anna") -> int:
    log = scene.here.crm.transitions
    return sum(
        each.contact == who(name) and each.tag == "welcome" and each.action is Action.ADD and each.by == "api"
        for each in log
    )


def given(scene: Scene, desired: Desired) -> dict[str, str]:
    """Whom a plan lists as given before, and why."""
    (plan,) = scene.plan_for(desired).locations
    assert not any("welcome" in delta.tags(Action.ADD) for delta in plan.deltas)
    return {contact[:4]: each.why for each in plan.given for contact in each.contacts if each.tags == ("welcome",)}


def test_a_contact_that_is_missing_from_one_days_file_gets_no_second_welcome(scene: Scene) -> None:
    scene.run(WITHOUT)
    assert scene.known("anna").ledger.tags == frozenset()
    tomorrow(scene)
    assert given(scene, TODAY) == {"anna": f"{GIVEN}, on {iso(START)[:10]}"}
    report = scene.run(TODAY)
    assert (report.exit_code, welcomes(scene)) == (0, 1)
    assert scene.plan_for(TODAY).is_empty


def pruned(scene: Scene) -> None:
    scene.edit("anna", add="welcome")
    look_again(scene)
    scene.run(WITHOUT)


def unwanted(scene: Scene) -> None:
    scene.edit("anna", add="welcome")
    look_again(scene)
    scene.run(of("anna bert", "other", absent="welcome"))


def reverted(scene: Scene) -> None:
    scene.edit("anna", add="welcome")
    look_again(scene)
    scene.revert(scene.runs()[0].id, declare())


def kept(scene: Scene) -> None:
    scene.run(of("anna bert", on_leave=OnLeave.KEEP))
    scene.run(WITHOUT)


def for_a_day_not_once(scene: Scene) -> None:
    scene.run(of("bert", once=False))


def blind(scene: Scene) -> None:
    """Removed without anybody having looked since."""
    scene.run(of("bert", "other"))


@pytest.mark.slow
@pytest.mark.parametrize("leave", [pruned, unwanted, reverted, kept, for_a_day_not_once, blind])
def test_however_its_pair_left_the_ledger_it_is_not_given_again(scene: Scene, leave: Callable[[Scene], None]) -> None:
    leave(scene)
    assert scene.known("anna").ledger.tags & tags("welcome") == frozenset()
    if "welcome" in scene.tags("anna"):
        scene.edit("anna", remove="welcome")
    tomorrow(scene)
    assert "anna" in given(scene, TODAY)
    scene.run(TODAY)
    assert welcomes(scene) == 1


@pytest.mark.slow
@pytest.mark.parametrize("leaves", [WITHOUT, declare(a_set("s", who("bert"), "other"))], ids=["set", "set and rule"])
def test_a_tag_that_was_adopted_is_not_given_after_it_was_consumed(tmp_path: Path, leaves: Desired) -> None:
    """Anna was welcomed before this repository knew of her; her set leaves, alone or in one commit with the rule."""
    scene = one_by_one(tmp_path, {"anna": "welcome", "bert": "welcome"})
    scene.options = replace(scene.options, limits=NO_GUARDS)
    scene.run(of("anna bert", "other"))
    tomorrow(scene)
    assert scene.run(of("anna bert", "other welcome")).adopted == 2
    scene.edit("anna", remove="welcome")
    tomorrow(scene)
    scene.run(leaves)
    assert scene.known("anna").ledger.tags == frozenset()
    assert "anna" in given(scene, TODAY)


def test_what_was_given_before_the_rule_is_not_given_again(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, {"anna": "", "bert": ""})
    scene.options = replace(scene.options, limits=NO_GUARDS)
    scene.run(of("anna bert", once=False))
    scene.edit("anna", remove="welcome")
    tomorrow(scene)
    scene.run(WITHOUT)
    assert set(given(scene, TODAY)) == {"anna"}


@pytest.mark.slow
@pytest.mark.parametrize("comes_by", ["add", "adoption"])
def test_what_was_given_before_the_rule_is_not_given_again_after_both_left_in_one_commit(
    tmp_path: Path, comes_by: str
) -> None:
    """The rule came with nothing to send: the apply of it is written down all the same."""
    scene = one_by_one(tmp_path, {"anna": "welcome" if comes_by == "adoption" else "", "bert": ""})
    scene.options = replace(scene.options, limits=NO_GUARDS)
    scene.run(of("anna bert", once=False))
    first = scene.clock.now()
    scene.edit("anna", remove="welcome")
    assert scene.run(TODAY).requests == 0
    assert scene.known("anna").past_adds.spent == ((Tag("welcome"), first),)
    assert not scene.plan_for(TODAY).locations[0].leaves_record
    tomorrow(scene)
    scene.run(declare(a_set("s", who("bert"), "other")))
    assert scene.known("anna").ledger.tags == frozenset()
    assert "anna" in given(scene, TODAY)


def test_what_may_have_been_given_before_the_rule_is_not_given_again_after_both_left(tmp_path: Path) -> None:
    """A run was killed that gave anna her tag, and a workflow took it, all before the rule came."""
    scene, without = one_by_one(tmp_path, {"anna": "", "bert": ""}), declare(a_set("s", who("bert"), "other"))
    scene.options = replace(scene.options, limits=NO_GUARDS)
    scene.wanted[HERE] = of("anna", once=False)
    scene.apply_and_die(after=0)
    scene.edit("anna", remove="welcome")
    scene.run(TODAY)
    scene.run(without)
    tomorrow(scene)
    scene.run(without)
    assert scene.known("anna").ledger.tags == frozenset()
    scene.run(TODAY)
    assert ("anna" in given(scene, TODAY), welcomes(scene)) == (True, 1)


def test_what_may_have_been_given_is_not_given_again(tmp_path: Path) -> None:
    """A killed run, a workflow that consumes, a day's file without the contact."""
    scene = one_by_one(tmp_path, {"anna": "", "bert": ""})
    scene.options = replace(scene.options, limits=NO_GUARDS)

    def die(nth: int) -> None:
        raise KeyboardInterrupt

    scene.after = die
    with pytest.raises(KeyboardInterrupt):
        scene.run(of("anna"))
    scene.after = lambda nth: None
    scene.edit("anna", remove="welcome")
    scene.run(WITHOUT)
    tomorrow(scene)
    scene.run(WITHOUT)
    assert scene.known("anna").ledger.tags == frozenset()
    scene.run(TODAY)
    assert (set(given(scene, TODAY)), welcomes(scene)) == ({"anna"}, 1)


@pytest.mark.slow
def test_a_person_may_have_it_given_again_and_then_it_was(scene: Scene) -> None:
    scene.run(WITHOUT)
    tomorrow(scene)
    usual = scene.options
    scene.options = replace(usual, selection=AGAIN, exceptions=("again:tag=welcome: they moved house",))
    (plan,) = scene.plan_for(TODAY).locations
    assert [(change.tag, change.reason) for delta in plan.deltas for change in delta.changes] == [
        ("welcome", Reason.AGAIN)
    ]
    scene.after = lambda nth: scene.edit("anna", remove="welcome")
    scene.run(TODAY)
    assert scene.runs()[-1].header.allowed == ("again:tag=welcome: they moved house",)
    assert (welcomes(scene), welcomes(scene, "bert")) == (2, 1)
    # the word is for once, too
    scene.run(TODAY)
    scene.options = usual
    scene.run(WITHOUT)
    tomorrow(scene)
    assert given(scene, TODAY) == {"anna": f"{GIVEN}, on {iso(Instant(scene.clock.now() - DAY))[:10]}"}
    assert welcomes(scene) == 2


@pytest.mark.slow
def test_what_is_there_after_all_is_adopted(scene: Scene) -> None:
    scene.run(WITHOUT)
    scene.edit("anna", add="welcome")
    tomorrow(scene)
    assert given(scene, TODAY) == {}
    scene.run(TODAY)
    assert (scene.known("anna").ledger.tags, welcomes(scene)) == (tags("welcome"), 1)


def test_a_state_pulled_and_pushed_remembers_it(scene: Scene, tmp_path: Path) -> None:
    scene.run(WITHOUT)
    with open_store(scene.url) as store:
        document = state_document([Portable(store.at(HERE).load_state(), ())])
    (found,) = read_state(document, path="x")
    assert verify(found, now=scene.clock.now()) == ()
    (tmp_path / "other").mkdir()
    other = one_by_one(tmp_path / "other", {"anna": "", "bert": "welcome"}, clock=scene.clock, options=scene.options)
    with open_store(other.url) as state:
        there = state.at(HERE)
        lease = there.acquire_lease(a_holder(), scene.clock.now())
        there.replace_state(lease, found.state, (), {})
        there.release_lease(lease)
    other.run(TODAY)
    assert welcomes(other) == 0


@pytest.mark.slow
def test_a_contact_that_was_forgotten_was_given_nothing(scene: Scene) -> None:
    scene.run(WITHOUT)
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder(), scene.clock.now())
        store.forget_contacts(
            lease, [next(each for each in store.load_state().observed.contacts if each.startswith("anna"))]
        )
        store.release_lease(lease)
    scene.run(TODAY)
    assert welcomes(scene) == 2


def test_a_refused_add_gave_nothing(tmp_path: Path) -> None:
    scene = one_by_one(tmp_path, {"anna": ""})
    scene.here.crm.delete(who("anna"), now=scene.clock.now())
    scene.run(of("anna"))
    assert (scene.known("anna").past_adds.spent, fields_of(scene.known("anna"))["quarantine"]) == (
        (),
        Rejection.DELETED,
    )


def test_what_was_tried_before_and_is_refused_now_may_have_been_given() -> None:
    """Held, since its add was in doubt; tried once more; refused: the first one may have landed all the same."""
    first = record_intent(NEVER_OBSERVED, Action.ADD, WELCOME, keep=NONE, at=at(0), once=WELCOME)
    retried = record_intent(first, Action.ADD, WELCOME, keep=NONE, at=at(1), once=WELCOME)
    refused = ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)
    told = [
        record_answer(known, refused, Action.ADD, WELCOME, sent=sent, answered=at(2), once=WELCOME)
        for known, sent in ((first, at(0)), (retried, at(1)))
    ]
    assert [(known.ledger.tags, known.given_before) for known in told] == [
        (NONE, ()),
        (NONE, ((Tag("welcome"), at(0)),)),
    ]


def test_an_add_that_is_proven_never_to_have_landed_gave_nothing() -> None:
    lost = record_intent(NEVER_OBSERVED, Action.ADD, WELCOME, keep=NONE, at=at(0), once=WELCOME).with_doubt(
        WELCOME, at(0)
    )
    reading = ContactReading(at(100), at(100), at(100), at(-9), NONE)
    for proven, spent in ((WELCOME, ()), (NONE, ((Tag("welcome"), at(0)),))):
        found = settle_doubt(lost, reading, WELCOME, proven=proven, tried=NONE, undecided=NONE, settle_ms=90_000)
        assert found.known.past_adds.spent == spent


def test_an_intent_that_was_withdrawn_gave_nothing() -> None:
    before = changed_state(NEVER_OBSERVED, spent=((Tag("welcome"), at(-9)),))
    intended = record_intent(before, Action.ADD, WELCOME, keep=NONE, at=at(0), once=WELCOME)
    assert intended.past_adds.spent == ((Tag("welcome"), at(0)),)
    assert withdraw_intent(intended, before) == before
