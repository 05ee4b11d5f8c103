"""Undoing a run, through the real shell: the exact inverse of what it changed, as far as that still stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Reason
from reconciler.core.model.errors import ExitCode, GuardRefused
from reconciler.core.model.manifest import Authority, OnLeave
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.revert import CHANGED_SINCE, DEMANDED, UNCLEAR_THEN
from reconciler.store import open_store
from tests.apply.test_daily import look_again
from tests.build import a_rule, a_set, declare, tags, who
from tests.scene import Scene, one_by_one

NOTHING = declare()
NO_GUARDS = GuardLimits(
    max_removes_pct=None,
    max_restored_pct=None,
    max_first_adds=None,
    empties_tag=False,
    odd_ids=False,
    shrink_pct=None,
    grow_pct=None,
)
PEOPLE = {"anna": "old", "bert": "vip", "cara": ""}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    found = one_by_one(tmp_path, PEOPLE)
    found.options = replace(found.options, limits=NO_GUARDS)
    return found


def carried(scene: Scene) -> dict[str, set[str]]:
    return {name: scene.tags(name) for name in PEOPLE}


def left_out(scene: Scene, run: str, desired: Desired) -> dict[str, tuple[str, ...]]:
    return {each.why: each.tags for each in scene.plan_revert(run, desired).held}


def of(names: str, text: str, **more: object) -> Desired:
    return declare(a_set("s", who(names), text, **more))  # type: ignore[arg-type]


def test_what_a_run_added_is_taken_away_and_nothing_else(scene: Scene) -> None:
    run = scene.run(of("anna bert cara", "vip")).run
    assert scene.revert(run, NOTHING).exit_code == ExitCode.DONE
    # bert had it before the run
    assert carried(scene) == {"anna": {"old"}, "bert": {"vip"}, "cara": set()}
    assert scene.known("anna").ledger.tags == scene.known("cara").ledger.tags == frozenset()


def test_what_a_run_removed_is_given_back(scene: Scene) -> None:
    run = scene.run(of("anna bert", "new", absent="old vip")).run
    assert carried(scene)["anna"] == {"new"}
    assert scene.revert(run, NOTHING).exit_code == ExitCode.DONE
    assert carried(scene) == {"anna": {"old"}, "bert": {"vip"}, "cara": set()}


@pytest.mark.slow
def test_a_tag_that_never_was_ours_comes_back_as_foreign(scene: Scene) -> None:
    run = scene.run(of("anna", "new", absent="old")).run
    scene.revert(run, NOTHING)
    assert scene.known("anna").ledger.tags == frozenset()
    assert scene.plan_for(NOTHING).is_empty
    assert scene.tags("anna") == {"old"}


@pytest.mark.slow
def test_a_tag_that_was_ours_is_under_management_again(scene: Scene) -> None:
    before = of("anna cara", "vip")
    scene.run(before)
    run = scene.run(NOTHING).run
    assert scene.known("anna").ledger.tags == frozenset()
    assert scene.revert(run, before).exit_code == ExitCode.DONE
    assert scene.known("anna").ledger.tags == tags("vip")
    assert scene.plan_for(before).is_empty
    assert carried(scene)["anna"] == {"old", "vip"}


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("first", "then", "demanded"),
    [
        (NOTHING, of("anna", "vip"), ("vip",)),
        (NOTHING, of("anna", "new", absent="old"), ("new", "old")),
        (of("anna", "vip"), NOTHING, ("vip",)),
    ],
    ids=["declared", "absent", "pruned"],
)
def test_what_the_manifests_still_demand_is_left_out(
    scene: Scene, first: Desired, then: Desired, demanded: tuple[str, ...]
) -> None:
    scene.run(first)
    run = scene.run(then).run
    assert left_out(scene, run, then) == {DEMANDED: demanded}
    assert scene.plan_revert(run, then).is_empty


@pytest.mark.slow
def test_what_exact_authority_would_remove_again_is_left_out(scene: Scene) -> None:
    exact = of("anna", "new", authority=Authority.EXACT)
    scene.run(exact)
    # what it removes is known once the add was answered
    run = scene.run(exact).run
    assert scene.tags("anna") == {"new"}
    assert left_out(scene, run, exact) == {DEMANDED: ("old",)}
    ignoring = of("anna", "new", authority=Authority.EXACT, ignore="ol*")
    assert left_out(scene, run, ignoring) == {}
    assert scene.revert(run, ignoring).exit_code == ExitCode.DONE
    assert scene.tags("anna") == {"new", "old"}


def test_what_others_changed_since_is_left_alone(scene: Scene) -> None:
    run = scene.run(of("anna cara", "vip", absent="old")).run
    scene.edit("anna", add="old", remove="vip")
    # the next answer tells
    scene.run(of("anna cara", "vip other"))
    assert left_out(scene, run, NOTHING) == {CHANGED_SINCE: ("old", "vip")}
    # it is as others want it, and waits for nobody
    assert scene.revert(run, NOTHING).notes == ()
    assert carried(scene)["cara"] == {"other"}
    assert scene.tags("anna") == {"old", "other"}


def test_what_a_later_run_changed_again_is_left_alone(scene: Scene) -> None:
    run = scene.run(of("anna", "vip")).run
    scene.run(NOTHING)
    scene.run(of("anna", "vip"))
    assert left_out(scene, run, NOTHING) == {CHANGED_SINCE: ("vip",)}


@pytest.mark.slow
def test_a_tag_added_and_taken_away_in_one_run_was_not_changed(scene: Scene) -> None:
    desired = declare(a_set("s", who("anna"), "gold"), rule=[a_rule("gold", group="g"), a_rule("old", group="g")])
    run = scene.run(desired).run
    assert scene.tags("anna") == {"gold"}
    scene.revert(run, NOTHING)
    assert scene.tags("anna") == {"old"}


def test_a_revert_can_be_reverted(scene: Scene) -> None:
    run = scene.run(of("anna cara", "vip", absent="old")).run
    after = carried(scene)
    again = scene.revert(run, NOTHING).run
    assert carried(scene)["anna"] == {"old"}
    assert scene.revert(again, of("anna cara", "vip")).exit_code == ExitCode.DONE
    assert carried(scene) == after


def test_guards_hold_for_a_revert(scene: Scene) -> None:
    run = scene.run(of("anna cara", "vip new")).run
    scene.options = replace(scene.options, limits=GuardLimits())
    with pytest.raises(GuardRefused) as caught:
        scene.revert(run, NOTHING)
    assert "empties_tag" in caught.value.message
    assert scene.tags("anna") == {"old", "vip", "new"}


@pytest.mark.slow
def test_a_revert_leaves_the_sizes_of_the_sets_alone(scene: Scene) -> None:
    run = scene.run(of("anna cara", "vip")).run
    scene.revert(run, NOTHING)
    with open_store(scene.url) as store:
        assert dict(store.at(next(iter(store.list_locations()))).load_state().set_sizes) == {"s": 2}


@pytest.mark.slow
def test_what_the_run_itself_left_in_doubt_is_listed(scene: Scene) -> None:
    def die(nth: int) -> None:
        raise KeyboardInterrupt

    scene.after = die
    with pytest.raises(KeyboardInterrupt):
        scene.run(of("anna", "vip"))
    scene.after = lambda nth: None
    killed = scene.run(of("cara", "x"))
    with open_store(scene.url) as store:
        first = store.at(next(iter(store.list_locations()))).read_runs()[0].id
    assert left_out(scene, first, NOTHING) == {UNCLEAR_THEN: ("vip",)}
    assert killed.exit_code == ExitCode.DONE


def test_what_is_in_doubt_now_is_left_out(scene: Scene) -> None:
    run = scene.run(of("anna", "vip")).run

    def die(nth: int) -> None:
        raise KeyboardInterrupt

    scene.after = die
    with pytest.raises(KeyboardInterrupt):
        scene.run(NOTHING)
    assert left_out(scene, run, NOTHING) == {CHANGED_SINCE: ("vip",)}
    assert scene.plan_revert(run, NOTHING).is_empty


@pytest.mark.slow
def test_the_doubts_of_other_runs_are_left_to_the_next_apply(scene: Scene) -> None:
    run = scene.run(of("anna", "new")).run
    scene.want(a_set("s", "anna", "new"), a_set("t", "cara", "late"))
    scene.apply_and_die(before=0)
    scene.clock.ms += 600_000
    scene.may_read = True
    before = scene.known("cara")
    assert scene.revert(run, NOTHING).exit_code == ExitCode.DONE
    assert scene.known("cara") == before
    assert who("cara") not in {contact for _, contact in scene.here.reads}


def test_a_revert_that_was_killed_is_taken_up_again(scene: Scene) -> None:
    run = scene.run(of("anna bert cara", "new")).run

    def die(nth: int) -> None:
        if nth == 2:
            raise KeyboardInterrupt

    scene.before = die
    with pytest.raises(KeyboardInterrupt):
        scene.revert(run, NOTHING)
    scene.before = lambda nth: None
    scene.clock.ms += 600_000
    assert scene.revert(run, NOTHING).exit_code == ExitCode.DONE
    # one was taken away before, one is in doubt, one is taken away now
    assert sorted(len(scene.tags(name) & {"new"}) for name in PEOPLE) == [0, 0, 1]
    assert left_out(scene, run, NOTHING) == {CHANGED_SINCE: ("new",)}


def test_every_change_of_a_revert_says_that_it_is_one(scene: Scene) -> None:
    run = scene.run(of("anna", "vip", absent="old")).run
    changes = [change for delta in scene.plan_revert(run, NOTHING).deltas for change in delta.changes]
    assert {change.reason for change in changes} == {Reason.REVERTED}


@pytest.mark.slow
def test_what_a_run_adopted_is_nobodys_again(scene: Scene) -> None:
    """The rollback of a mistaken commit: tags that people set by hand are not pruned by the next plan."""
    scene.run(of("anna bert cara", "x"))
    for name in PEOPLE:
        scene.edit(name, add="vip")
    look_again(scene)
    run = scene.run(of("anna bert cara", "x vip")).run
    assert (scene.updates, scene.known("anna").ledger.tags) == ([], tags("x vip"))
    now = of("anna bert cara", "x")
    report = scene.revert(run, now)
    assert (report.exit_code, report.released, scene.updates) == (ExitCode.DONE, 3, [])
    assert scene.known("anna").ledger.tags == tags("x")
    assert scene.plan_for(now).is_empty
    scene.run(now)
    assert all("vip" in scene.tags(name) for name in PEOPLE)


@pytest.mark.slow
def test_what_a_run_asked_for_and_found_there_is_nobodys_again(scene: Scene) -> None:
    run = scene.run(of("anna bert cara", "vip")).run
    assert scene.known("bert").ledger.tags == tags("vip")
    scene.revert(run, NOTHING)
    assert scene.known("bert").ledger.tags == frozenset()
    scene.run(NOTHING)
    assert carried(scene) == {"anna": {"old"}, "bert": {"vip"}, "cara": set()}


def test_what_is_still_desired_stays_under_management_and_is_listed(scene: Scene) -> None:
    run = scene.run(of("bert", "vip")).run
    assert left_out(scene, run, of("bert", "vip")) == {DEMANDED: ("vip",)}
    assert scene.plan_revert(run, of("bert", "vip")).is_empty


@pytest.mark.slow
def test_what_was_under_management_before_stays_so(scene: Scene) -> None:
    """bert's tag was adopted by the run before; taken by others and added by none, the next plan prunes it."""
    scene.run(of("bert", "vip"))
    run = scene.run(of("bert cara", "vip new")).run
    scene.revert(run, NOTHING)
    assert scene.known("bert").ledger.tags == tags("vip")
    scene.run(NOTHING)
    assert scene.tags("bert") == set()


@pytest.mark.slow
def test_what_a_later_run_put_under_management_anew_stays_so(scene: Scene) -> None:
    run = scene.run(of("bert", "vip", on_leave=OnLeave.KEEP)).run
    scene.run(NOTHING)
    assert scene.known("bert").ledger.tags == frozenset()
    scene.run(of("bert", "vip"))
    assert scene.plan_revert(run, NOTHING).is_empty
    assert scene.known("bert").ledger.tags == tags("vip")


@pytest.mark.slow
def test_what_leaves_the_ledger_by_a_revert_makes_no_tag_owned(scene: Scene) -> None:
    """The commit gave `vip` to cara, adopted bert's, and took anna's, who is of a set that owns its tags."""
    scene.edit("anna", add="vip")
    owning = a_set("owning", who("anna"), "x", authority=Authority.OWNED)
    before = declare(owning)
    scene.run(before)
    assert "vip" in scene.tags("anna")
    run = scene.run(declare(owning, a_set("mistake", who("bert cara"), "vip"))).run
    assert "vip" not in scene.tags("anna")
    scene.revert(run, before)
    assert carried(scene) == {"anna": {"old", "vip", "x"}, "bert": {"vip"}, "cara": set()}
    assert scene.plan_for(before).is_empty


@pytest.mark.slow
def test_a_run_of_an_older_version_says_that_its_management_is_unknown(scene: Scene) -> None:
    run = scene.run(of("bert", "vip")).run
    assert scene.reversal(run).traced
    scene.run(of("bert", "vip x"), history_keep=1)
    assert not scene.reversal(run).traced
    assert scene.plan_revert(run, NOTHING).is_empty


@pytest.mark.slow
def test_runs_whose_token_was_refused_leave_a_run_to_be_reverted(scene: Scene) -> None:
    run = scene.run(of("anna bert", "vip")).run
    scene.here.app._accesses.clear()
    codes = [scene.run(of("anna bert cara", "vip"), history_keep=1).exit_code for _ in range(2)]
    assert codes == [ExitCode.AUTH] * 2
    assert [each.is_pruned for each in scene.runs()] == [False, True, False]
    assert [delta.contacts for delta in scene.plan_revert(run, NOTHING).deltas] == [(who("anna"),)]


def some_desired(chance: Random) -> Desired:
    names = [name for name in PEOPLE if chance.random() < 0.7]
    present = [tag for tag in ("old", "vip", "new", "x") if chance.random() < 0.4]
    absent = [tag for tag in ("old", "vip", "y") if tag not in present and chance.random() < 0.4]
    if not names or not present + absent:
        return NOTHING
    authority = chance.choice([Authority.ADDITIVE, Authority.ADDITIVE, Authority.OWNED])
    leaving = chance.choice([OnLeave.REMOVE, OnLeave.REMOVE, OnLeave.KEEP])
    return of(" ".join(names), " ".join(present), absent=" ".join(absent), authority=authority, on_leave=leaving)


@pytest.mark.slow
def test_law_a_run_and_its_revert_under_the_old_manifests_change_nothing(tmp_path: Path) -> None:
    """And under any manifests, the next plan undoes nothing of what the revert did."""
    for seed in range(60):
        chance = Random(seed)
        (tmp_path / str(seed)).mkdir()
        scene = one_by_one(tmp_path / str(seed), PEOPLE)
        scene.options = replace(scene.options, limits=NO_GUARDS)
        first, second, third = (some_desired(chance) for _ in range(3))
        for _ in range(3):
            scene.run(first)
        before = carried(scene)
        run = scene.run(second).run
        if not run:
            continue
        now = first if chance.random() < 0.5 else third
        report = scene.revert(run, now)
        assert report.exit_code == ExitCode.DONE, seed
        if now is first:
            demanded = {name: set(first.want(scene.here.crm.find(who(name)).id).present) for name in PEOPLE}
            assert {name: scene.tags(name) | demanded[name] for name in PEOPLE} == {
                name: before[name] | demanded[name] for name in PEOPLE
            }, seed
            # nor does the revert leave anything under management that was not
            after = carried(scene)
            scene.run(first)
            assert carried(scene) == after, seed
        if report.run:
            done = {
                (contact, tag)
                for batch in scene.log(report.run).batches
                for contact, answer in batch.answers.items()
                if answer.verdict
                for tag in answer.verdict.added | answer.verdict.removed
            }
            planned = {
                (contact, change.tag)
                for delta in scene.plan_for(now).locations[0].deltas
                for change in delta.changes
                for contact in delta.contacts
            }
            assert not done & planned, seed
