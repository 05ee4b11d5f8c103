"""A plan file that is carried out: the part of it that is needed now is sent, and the report accounts for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.journal import LocationReport, RunStatus
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import LocationId
from reconciler.core.planning.approved_scope import Proposal, ProposalDifference, narrow_plan
from reconciler.core.planning.plan import Plan, combine_plans
from reconciler.core.running.shortfalls import BESIDES, FOREIGN
from reconciler.store import open_store
from tests.apply.test_resuming import looked_at
from tests.apply.test_scenarios import FREE, pairs
from tests.apply.test_unsent import reasons
from tests.build import HERE, a_rule, a_set, contact, name, unseen
from tests.fakes import START, a_holder
from tests.scene import THERE, Scene


def make(directory: Path, **more: object) -> Scene:
    """A run gave Anna a tag."""
    scene = Scene(directory, contact("anna", "old"), contact("bert", "old"), options=FREE, **more)  # type: ignore[arg-type]
    scene.want(a_set("s", "anna", "vip"))
    scene.apply()
    return scene


def carry_out(scene: Scene, file: Plan, **difference: object) -> LocationReport:
    """Applies the part of the file that is needed now; `difference`: of file and plan, as was found before."""
    (fresh,), (proposed,) = scene.plan().locations, file.locations
    with open_store(scene.url) as store:
        both = narrow_plan(fresh, proposed, scene.wanted[HERE], store.at(HERE).load_state(), scene.options)
    plan = combine_plans([both], as_of=scene.clock.now(), manifests="manifests")
    rest = ProposalDifference(**difference)  # type: ignore[arg-type]
    return scene.apply(plan, proposal=Proposal(file, {HERE: rest}))


def save(scene: Scene, who: str, known: ContactState) -> None:
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("other"), START)
        store.save_states(lease, {name(who): known})
        store.release_lease(lease)


@pytest.mark.slow
def test_a_file_that_was_carried_out_by_others_is_used_up_by_the_run_that_accounts_for_it(tmp_path: Path) -> None:
    scene = make(tmp_path)
    scene.want(a_set("s", "anna", "vip", absent="old"))
    file = scene.plan()
    scene.edit("anna", remove="old")
    looked_at(scene, "anna")
    report = carry_out(scene, file, besides=file.locations[0].deltas)
    run = scene.runs()[-1]
    assert (report.run, run.header.change_digest, run.status) == (run.id, file.change_digest, RunStatus.COMPLETE)
    assert (report.requests, pairs(report)) == (0, {"noop": 1})
    scene.edit("anna", add="old")
    looked_at(scene, "anna")
    report = carry_out(scene, file)
    assert (report.error, report.exit_code) == (f"the plan is used up: run {run.id} carried it out", ExitCode.STALE)
    assert scene.tags("anna") == {"vip", "old"}


@pytest.mark.slow
def test_what_an_empty_file_lacks_is_told_though_no_run_begins(tmp_path: Path) -> None:
    scene = make(tmp_path)
    file = scene.plan()
    scene.edit("anna", remove="vip")
    looked_at(scene, "anna")
    report = carry_out(scene, file, lacking=1)
    assert report == LocationReport(HERE, "", RunStatus.COMPLETE, outside=1)
    assert report.exit_code == ExitCode.PARTIAL


def test_what_only_the_file_has_is_listed_beside_what_was_sent(tmp_path: Path) -> None:
    scene = make(tmp_path, may_read=False)
    scene.want(a_set("s", "anna", "vip new"), a_set("t", "bert", "b"), a_set("u", "cara", "x"))
    file = scene.plan()
    deltas = {each.contacts: each for each in file.locations[0].deltas}
    # since then Bert's tag is in doubt, nothing declares Cara's any more, and Anna is to have another one
    scene.want(a_set("s", "anna", "vip new more"), a_set("t", "bert", "b"))
    save(scene, "bert", unseen(doubt="b"))
    report = carry_out(scene, file, besides=(deltas[name("bert"),],), foreign=(deltas[name("cara"),],), lacking=1)
    assert (pairs(report), report.outside) == ({"applied": 1, "not_sent": 2}, 1)
    assert reasons(report) == {("bert", "not_sent", "add b"): BESIDES, ("cara", "not_sent", "add x"): FOREIGN}
    assert scene.tags("anna") == {"vip", "old", "new"}


@pytest.mark.slow
def test_a_removal_that_the_file_does_not_have_is_not_sent_once_it_is_decided(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "old"), options=FREE)
    scene.want(a_set("s", "anna", "new"), rule=[a_rule("old")])
    file = scene.plan()
    scene.want(a_set("s", "anna", "new", authority=Authority.OWNED), rule=[a_rule("old")])
    assert [each.tags for each in scene.plan().locations[0].deferrals] == [("old",)]
    report = carry_out(scene, file)
    assert (scene.tags("anna"), report.outside) == ({"new", "old"}, 1)


def digests(scene: Scene) -> Mapping[LocationId, str]:
    """That which the last run of each location began with."""
    with open_store(scene.url) as store:
        return {each: store.at(each).read_runs()[-1].header.change_digest for each in (HERE, THERE)}


@pytest.mark.parametrize("of_a_file", [False, True])
def test_a_run_is_known_by_the_digest_that_was_approved(tmp_path: Path, of_a_file: bool) -> None:
    """That of all locations, or where one was approved by its own, by that."""
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.add_place(THERE, contact("bert", location=THERE))
    scene.want(a_set("s", "anna", "vip"))
    scene.want(a_set("s", "bert", "vip"), location=THERE)
    file = plan = scene.plan()
    more: dict[str, object] = {}
    if of_a_file:
        # of the other location nothing is needed any more
        scene.want(location=THERE)
        plan, more = scene.plan(), {"proposal": Proposal(file)}
        scene.want(a_set("s", "bert", "vip"), location=THERE)
    here = file.locations[0].change_digest
    assert plan.change_digest != here
    scene.apply_all(plan, digests=frozenset({here}), **more)
    assert digests(scene) == {HERE: here, THERE: file.change_digest}
