"""A saved plan that is applied again after its run was killed: what that run added, or may have added, is not added
twice, whatever became of it since, and whoever asks to retry what is held.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import DAY_MS, ObservationOrigin
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.journal import RunHeader
from reconciler.core.model.names import Instant, SetName, Tag
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.approved_scope import Proposal, narrow_plan
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.plan import combine_plans
from reconciler.core.planning.situation import Reassertion
from reconciler.planfile import parse_plan, plan_text
from reconciler.store import open_store
from tests.apply.test_resolve_doubts import facts
from tests.apply.test_scenarios import FREE, faults, pairs
from tests.build import HERE, a_rule, a_set, contact, name
from tests.fakes import a_holder
from tests.sandbox.faults import FaultKind
from tests.scene import Scene


def looked_at(scene: Scene, who: str) -> None:
    """A refresh, long after."""
    scene.clock.ms += DAY_MS
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("refresh"), scene.clock.now())
        store.begin_run(lease, RunHeader(HERE, "refresh", "anna", scene.clock.now()))
        tags = frozenset(map(Tag, scene.tags(who)))
        seen = ObservedContacts(tags, scene.clock.now(), ObservationOrigin.GET, (name(who),))
        store.save_states(lease, dict(seen.apply_to(store.load_state().observed)))
        store.release_lease(lease)


@pytest.mark.slow
def test_a_plan_file_that_is_planned_anew_adds_nothing_again_that_its_run_added(tmp_path: Path) -> None:
    """The plan made now is of the state as it is now, and needs again what others took away since."""
    options = replace(FREE, caps=Caps(contacts=1))
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=options, in_flight=1)
    scene.want(a_set("s", "anna bert", "hello"))
    file = scene.plan()
    scene.here.after = lambda nth: scene.stop.ask(signal.SIGTERM)
    assert pairs(scene.apply(file)) == {"applied": 1, "not_sent": 1}
    scene.here.after = lambda nth: None
    scene.edit("anna", remove=["hello"])
    looked_at(scene, "anna")
    fresh, proposed = scene.plan().locations[0], file.locations[0]
    with open_store(scene.url) as store:
        both = narrow_plan(fresh, proposed, scene.wanted[HERE], store.at(HERE).load_state(), options)
    plan = combine_plans([both], as_of=scene.clock.now(), manifests="manifests")
    assert {contact for delta in both.deltas for contact in delta.contacts} == {name("anna"), name("bert")}
    scene.apply(plan, proposal=Proposal(file))

    assert (scene.tags("anna"), scene.tags("bert")) == (set(), {"hello"})
    assert max(scene.adds().values()) == 1


@pytest.mark.one_in(9)
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("may_read", [False, True])
def test_law_a_plan_adds_a_pair_once_whatever_a_workflow_consumes_meanwhile(
    tmp_path: Path, once: bool, retry: bool, look: bool, may_read: bool
) -> None:
    options = replace(FREE, selection=Selection(retry_held=retry))
    scene = Scene(tmp_path, contact("anna"), options=options, may_read=may_read)
    scene.want(a_set("s", "anna", "hello"), rule=[a_rule("hello", once=once)])
    plan = scene.plan()
    scene.apply_and_die(plan, after=0, options=options)
    scene.edit("anna", remove=["hello"])
    if look:
        looked_at(scene, "anna")
    report = scene.apply(plan, options=options)

    assert (pairs(report), report.exit_code) == ({"held": 1}, ExitCode.PARTIAL)
    assert scene.adds()[name("anna"), Tag("hello")] == 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize("retry", [False, True])
def test_a_plan_that_is_resumed_adds_what_is_proven_never_to_have_landed(tmp_path: Path, retry: bool) -> None:
    options = replace(FREE, selection=Selection(retry_held=retry))
    scene = Scene(
        tmp_path, contact("anna"), contact("bert"), faults=faults(None, FaultKind.TIMEOUT_BEFORE), options=options
    )
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    scene.apply()
    # a tag write moves the date here: nothing else could prove anything
    assert facts(scene) is True
    scene.want(a_set("s", "anna", "a hello"), a_set("t", "bert", "b"), rule=[a_rule("hello", once=True)])
    scene.clock.ms += DAY_MS
    plan = scene.plan()
    scene.apply_and_die(plan, before=0, options=options)
    report = scene.apply(plan, options=options)

    assert (pairs(report), report.exit_code) == ({"applied": 1}, ExitCode.DONE)
    assert scene.adds()[name("anna"), Tag("hello")] == 1


def test_what_was_rejected_before_a_run_was_killed_is_planned_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", deleted=True), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", "hello"), a_set("t", "bert", "vip"), rule=[a_rule("hello", once=True)])

    scene.apply_and_die(before=1)
    assert (scene.known("anna").ledger.tags, scene.known("anna").ledger.unconfirmed) == (set(), set())
    (plan,) = scene.plan().locations
    assert {contact for delta in plan.deltas for contact in delta.contacts} == {name("anna")}


def test_what_an_unfinished_run_of_the_plan_added_is_not_added_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "d"), options=FREE)
    scene.want(a_set("s", "anna", "welcome", absent="d"))
    plan = scene.plan()

    scene.apply_and_die(plan, before=1)
    assert scene.tags("anna") == {"welcome", "d"}
    # the removal is in doubt, so she is read, and what a workflow consumed in the meantime is seen to be gone
    scene.edit("anna", remove=["welcome"])
    scene.clock.ms += 120_000
    scene.apply(plan)

    assert scene.tags("anna") == set()
    assert scene.adds() == {(name("anna"), Tag("welcome")): 1}


def teaching(directory: Path) -> Scene:
    """A location known to move the date of a contact with a tag write."""
    scene = Scene(
        directory, contact("anna"), contact("bert"), faults=faults(None, FaultKind.TIMEOUT_BEFORE), options=FREE
    )
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    scene.apply()
    assert facts(scene) is True
    scene.clock.ms += DAY_MS
    return scene


@pytest.mark.slow
@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("answered", [False, True])
def test_what_a_plan_listed_as_in_doubt_is_added_once_by_it(tmp_path: Path, answered: bool, look: bool) -> None:
    scene = teaching(tmp_path)
    scene.want(a_set("s", "anna", "a hello"), a_set("t", "bert", "b"))
    scene.apply_and_die(scene.plan(), before=0)
    scene.want(a_set("s", "anna", "a hello"), a_set("t", "bert", "b vip"))
    plan = scene.plan()
    assert plan.locations[0].held

    # it proves that the addition never landed, adds, and dies: with its next request, or then
    scene.apply_and_die(plan, **({"before": 1} if answered else {"after": 0}))
    assert "hello" in scene.tags("anna")
    scene.edit("anna", remove=["hello"])
    if look:
        looked_at(scene, "anna")
    scene.apply(plan)
    assert scene.adds()[name("anna"), Tag("hello")] == 1


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("consumed", [False, True])
def test_what_another_plan_released_in_between_is_not_added_again(tmp_path: Path, once: bool, consumed: bool) -> None:
    rules = [a_rule("hello", once=once)]
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "hello"), rule=rules)
    wanted, plan = dict(scene.wanted), scene.plan()
    scene.apply_and_die(plan, after=0)
    if consumed:
        scene.edit("anna", remove=["hello"])
    scene.want(a_set("s", "anna", "other"), rule=rules)
    scene.apply()
    assert "hello" not in scene.known("anna").ledger.tags
    scene.wanted = wanted
    report = scene.apply(plan)
    assert (pairs(report), report.exit_code) == ({"held": 1}, ExitCode.PARTIAL)
    assert scene.adds()[name("anna"), Tag("hello")] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "refused"), [(None, False), (1, True)])
def test_a_plan_whose_run_gave_up_its_rows_is_stale(tmp_path: Path, keep: int | None, refused: bool) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.want(a_set("t", "bert", "b"))
    scene.apply()
    scene.want(a_set("s", "anna", "hello"), a_set("t", "bert", "b"))
    plan = scene.plan()
    scene.apply_and_die(plan, after=0)
    scene.edit("anna", remove=["hello"])
    scene.edit("bert", remove=["b"])
    looked_at(scene, "anna")
    looked_at(scene, "bert")
    other = replace(FREE, selection=Selection(sets=frozenset({SetName("t")})))
    scene.apply(scene.plan(other), options=other, history_keep=keep)
    report = scene.apply(plan, history_keep=keep)
    assert (report.exit_code is ExitCode.STALE) is refused
    assert ("no longer known" in report.error, "history_keep" in report.hint) == (refused, refused)
    assert scene.adds()[name("anna"), Tag("hello")] == 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize("once", [False, True])
def test_what_the_earlier_run_saw_is_done_and_what_waited_for_it_goes_on(tmp_path: Path, once: bool) -> None:
    scene = Scene(tmp_path, contact("anna", "trial"), options=FREE, faults=faults(FaultKind.TIMEOUT_AFTER))
    scene.want(a_set("s", "anna", "hello", absent="trial"), rule=[a_rule("hello", once=once)])
    plan = scene.plan()

    scene.apply_and_die(plan, before=1)
    scene.edit("anna", remove=["hello"])
    report = scene.apply(plan)
    assert (pairs(report), report.exit_code) == ({"applied": 1, "noop": 1}, ExitCode.DONE)
    assert scene.tags("anna") == set()


def test_what_waits_for_an_addition_that_is_held_is_counted(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "trial"), options=FREE)
    scene.want(a_set("s", "anna", "hello", absent="trial"))
    plan = scene.plan()
    scene.apply_and_die(plan, after=0)
    scene.edit("anna", remove=["hello"])
    looked_at(scene, "anna")
    report = scene.apply(plan)
    assert (sum(pairs(report).values()), pairs(report)["held"]) == (2, 1)
    assert scene.tags("anna") == {"trial"}


@pytest.mark.slow
def test_what_was_seen_in_another_spelling_is_there(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE, collapses_spaces=True)
    scene.want(a_set("s", "bert", ("a  b",)))
    scene.apply()
    scene.want(a_set("s", "bert anna", ("a  b",)))
    plan = scene.plan()
    scene.apply_and_die(plan, after=0)
    looked_at(scene, "anna")
    report = scene.apply(plan)
    assert (pairs(report), report.exit_code) == ({"noop": 1}, ExitCode.DONE)


def test_a_new_plan_after_a_doubt_has_another_change_digest(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "hello"))
    plan = scene.plan()
    scene.apply_and_die(plan, after=0)
    scene.edit("anna", remove=["hello"])
    looked_at(scene, "anna")
    # who approved the one approved one add
    assert scene.plan().change_digest != plan.change_digest


@pytest.mark.slow
def test_what_was_sent_again_beside_it_is_done_too(tmp_path: Path) -> None:
    rules = [a_rule("i", inert=True), a_rule("y", inert=True)]
    options = replace(FREE, reassertion=Reassertion(Reassert.INERT, Instant(0)))
    scene = Scene(tmp_path, contact("anna"), contact("bert", "trial"), options=options)
    scene.want(a_set("s", "bert", "i"), rule=rules)
    scene.apply()
    scene.want(a_set("s", "anna bert", "i y", absent="trial"), rule=rules)
    plan = scene.plan()
    assert plan.locations[0].reasserted
    scene.apply_and_die(plan, before=1)
    scene.edit("bert", remove=["i"])
    looked_at(scene, "bert")
    report = scene.apply(plan)
    assert report.exit_code is ExitCode.DONE
    assert scene.tags("bert") == {"y"}


RETRY = replace(FREE, selection=Selection(retry_held=True))


def tried_and_consumed(scene: Scene, look: bool) -> None:
    """The addition lands, the process dies before it hears of it, a workflow consumes the tag; somebody looks, or the
    next run reads the contact and holds the pair."""
    scene.apply_and_die(scene.plan(RETRY), after=0, options=RETRY)
    scene.edit("anna", remove=["hello"])
    if look:
        looked_at(scene, "anna")
    else:
        scene.apply()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("look", [False, True])
def test_law_an_approval_covers_one_attempt(tmp_path: Path, once: bool, look: bool) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "hello"), rule=[a_rule("hello", once=once)])
    digests = [scene.plan(RETRY).change_digest]
    for attempt in range(3):
        tried_and_consumed(scene, look)
        digests.append(scene.plan(RETRY).change_digest)
        # nothing was tried in between: who looks, waits, or is killed before a request leaves changes nothing
        scene.clock.ms += DAY_MS
        assert scene.plan(RETRY).change_digest == digests[-1]
        assert scene.adds()[name("anna"), Tag("hello")] == attempt + 1
    assert len(set(digests)) == 4


def test_an_attempt_that_is_known_to_have_come_to_nothing_is_none(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE, faults=faults(*[FaultKind.TOO_MANY] * 20))
    scene.want(a_set("s", "anna", "hello"))
    before = scene.plan(RETRY).change_digest
    scene.apply()
    assert scene.adds() == {}
    assert scene.known("anna").past_adds.attempted_at is None
    assert scene.plan(RETRY).change_digest == before


def test_what_came_to_be_is_no_attempt_any_more(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "hello"))
    scene.apply()
    assert scene.known("anna").past_adds.attempted_at is None
    assert scene.plan(RETRY).locations[0].tried == ()


@pytest.mark.slow
def test_a_removal_in_doubt_is_approved_for_one_attempt_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "hello old"), options=FREE)
    scene.want(a_set("s", "anna", "hello", absent="old"))
    scene.apply_and_die(after=0)
    first = scene.plan(RETRY).change_digest
    scene.edit("anna", add=["old"])
    scene.apply_and_die(scene.plan(RETRY), after=0, options=RETRY)
    assert scene.plan(RETRY).change_digest != first


@pytest.mark.slow
@pytest.mark.parametrize("flapping", [False, True])
def test_what_others_take_away_again_is_another_attempt(tmp_path: Path, flapping: bool) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "hello"))
    scene.apply()
    digests = set()
    for _ in range(3):
        scene.edit("anna", remove=["hello"])
        looked_at(scene, "anna")
        digests.add(scene.plan(RETRY).change_digest)
        scene.apply(scene.plan(RETRY), options=RETRY)
        scene.clock.ms += 0 if flapping else 8 * DAY_MS
    assert len(digests) == 3


def test_a_plan_file_keeps_when_it_was_tried_before(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "hello"))
    tried_and_consumed(scene, look=False)
    plan = scene.plan(RETRY)
    assert [each.tags for each in plan.locations[0].tried] == [("hello",)]
    assert parse_plan(plan_text(plan).encode()) == plan


def test_what_a_refresh_saw_since_the_plan_was_made_is_not_sent(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna bert", "vip"))
    plan = scene.plan()
    scene.edit("bert", add=["vip"])
    looked_at(scene, "bert")
    scene.apply(plan)
    assert [each.contacts for each in scene.here.sent] == [[name("anna")]]
