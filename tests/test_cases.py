"""Golden folders: manifests, what was observed and the location in; plans and reports out (`tests/golden_case.py`).

`pytest --bless` rewrites what comes out; review the diff. `cases/plan`: what is planned. `cases/apply`: how a run of it
ends, and what the contacts carry then. `cases/drift`: what others changed; read by id where there is a `server.json`.
`cases/revert`: the run of the manifests in `mistake/` is undone, with `manifests/` as they are now.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.core.formats.plan_json import plan_document
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import LocationReport
from reconciler.core.model.names import ContactId
from reconciler.core.observing.drift import NO_REFRESH, Evidence, find_drift
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, Plan, combine_plans
from reconciler.core.running.pending_causes import History, explain_pending
from reconciler.output.drift import DriftDocument
from reconciler.output.plan import PlanDocument
from reconciler.output.run import RunDocument
from reconciler.output.text import render_text
from reconciler.refresh import ReadServices
from reconciler.request_gate import NoLease, RequestGate
from tests.build import HERE
from tests.fakes import read_contacts
from tests.golden_case import Case, as_json, carried, cases_of
from tests.scene import Scene


def named(path: Path) -> str:
    return path.name


@pytest.fixture
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.chdir(request.param)
    return Case.read(request.param)


def each(command: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases_of(command), ids=named, indirect=True)


@pytest.mark.one_in(2)
@each("plan")
def test_plan(case: Case, bless: bool) -> None:
    plans = [plan_location(want, case.state(here), case.options()) for here, want in case.desired().items()]
    case.expect(bless, planned(combine_plans(plans, as_of=case.now, manifests="manifests")))


@pytest.mark.one_in(9)
@each("apply")
def test_apply(case: Case, bless: bool, tmp_path: Path) -> None:
    scene = case.scene(tmp_path)
    report = scene.apply()
    case.expect(bless, reported(scene, report))


@each("drift")
def test_drift(case: Case, bless: bool, tmp_path: Path) -> None:
    desired, state = case.desired()[HERE], case.state(HERE)
    earlier, evidence = look(case, tmp_path, state) if (case.path / "server.json").exists() else (None, NO_REFRESH)
    report = find_drift(desired, state, earlier=earlier, evidence=evidence, now=case.now)
    history = History((), lambda run: None, lambda run: {}, {})
    report = explain_pending(report, desired, history, state.observed, now=case.now, spelling=state.spelling)
    found = {
        "drift.json": as_json(DriftDocument([report]).json()),
        "drift.txt": render_text(DriftDocument([report]).view()),
    }
    case.expect(bless, found)


@pytest.mark.one_in(5)
@each("revert")
def test_revert(case: Case, bless: bool, tmp_path: Path) -> None:
    scene = case.scene(tmp_path)
    run = scene.run(case.desired("mistake")[HERE]).run
    for who, edit in case.server().get("edits", {}).items():
        scene.edit(who, add=edit.get("add", ""), remove=edit.get("remove", ""))
    desired = case.desired()[HERE]
    plan = combine_plans([scene.plan_revert(run, desired)], as_of=case.now, manifests="manifests")
    found = planned(plan) | reported(scene, scene.revert(run, desired))
    case.expect(bless, {name: text.replace(run, "MISTAKE") for name, text in found.items()})


def planned(plan: Plan) -> dict[str, str]:
    return {"plan.json": as_json(plan_document(plan)), "plan.txt": render_text(PlanDocument(plan).view())}


def reported(scene: Scene, report: LocationReport) -> dict[str, str]:
    """How a run ended, under a name that is the same each time, and what the contacts carry since."""
    document, text = as_json(RunDocument([report]).json()), render_text(RunDocument([report]).view())
    found = {"report.json": document, "report.txt": text}
    found = {name: text.replace(report.run, "RUN") if report.run else text for name, text in found.items()}
    return found | {"after.json": as_json(carried(scene))}


def look(case: Case, directory: Path, state: LocationState) -> tuple[Mapping[ContactId, ContactState], Evidence]:
    """Reads every contact by id into the state; what was known of those that were read, and who is gone."""
    scene = case.scene(directory)
    gate = RequestGate(HERE, scene.pace(HERE), scene.clock, scene.listen, NoLease(scene.clock), chance=lambda: 0.5)
    contacts = sorted({*state.observed.contacts, *case.desired()[HERE].contacts})
    found = scene.clock.run(read_contacts(contacts, ReadServices(scene.api(HERE), gate)))
    earlier = {who: state.observed[who] for seen in found.seen for who in seen.contacts}
    for seen in found.seen:
        state.observed.update(dict(seen.apply_to(state.observed)))
    return earlier, Evidence(gone={who: str(why) for who, why in found.gone.items()})
