"""Views as text: goldens, and the law that no text from outside changes the structure of what is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.blame import Setter
from reconciler.core.desired import Desired
from reconciler.core.drift import DriftClass, Drifted, DriftReport, find_drift
from reconciler.core.errors import Problem
from reconciler.core.guard import GuardLimits
from reconciler.core.journal import RunStatus
from reconciler.core.manifest import Listed
from reconciler.core.names import ContactId, Instant, LocationId, Tag
from reconciler.core.outcome import Action, Outcome, Rejection
from reconciler.core.plan import Plan, PlanOptions, Snapshot, combine, plan_location
from reconciler.core.printable import visible
from reconciler.core.refreshing import Gone, Refreshed
from reconciler.core.report import Finding, LocationReport
from reconciler.core.source import Source
from reconciler.core.view.blocks import Cell, Lines, Section, Style, View
from reconciler.core.view.drift import drift_view
from reconciler.core.view.plan import plan_view
from reconciler.core.view.refresh import refresh_view
from reconciler.core.view.run import run_view
from reconciler.core.view.state import state_view
from reconciler.render.json import drift_json, plan_json, problems_json, run_json, state_json
from reconciler.render.text import render_text
from tests.build import DAY, HERE, NOW, a_manifest, a_rule, a_set, carries, declare, ids, many, state, unseen
from tests.core.scenes import a_busy_plan

GOLDEN = Path(__file__).parents[1] / "golden"
WHOLE = (DriftClass.UNREACHABLE, DriftClass.STALE, DriftClass.UNOBSERVED)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def a_desired() -> Desired:
    return declare(a_set("s", "anna bert cara dora emil", "vip", absent="trial"), rule=[a_rule("vip", triggers=True)])


def a_state() -> Snapshot:
    known = state(
        anna=carries("vip trial", ledger="vip"),
        bert=carries("", ledger="vip"),
        cara=carries("", ledger="vip", doubt="vip"),
        dora=carries("", quarantine=Rejection.DELETED),
        emil=unseen(),
    )
    return Snapshot(HERE, "6f1c8c4e-0000-4000-8000-000000000000", 41, known)


def a_drift() -> View:
    earlier = {ContactId("anna"): carries("vip", ledger="vip")}
    here = find_drift(a_desired(), a_state().observed, serial=41, earlier=earlier)
    return drift_view([here, replace(here, drifted=(), refreshed=False)])


def a_drift_of_all_classes() -> View:
    """One of each class, with who had set it, since when, and what is expected."""
    set_by = Setter("5f0c1a2b3c4d", "ci@example", Instant(NOW - 3 * DAY))
    report = DriftReport(
        location=HERE,
        serial=41,
        drifted=tuple(
            Drifted(
                drift,
                Tag("" if drift in WHOLE else f"tag of {drift}"),
                "deleted",
                ids(many(2 + nth)),
                set_by=set_by if drift in (DriftClass.MISSING, DriftClass.FLAPPING) else None,
                after=Instant(NOW - 2 * DAY) if drift in (DriftClass.MISSING, DriftClass.UNEXPECTED) else None,
                oldest=None if drift is DriftClass.UNOBSERVED else Instant(NOW - DAY),
                newest=None if drift is DriftClass.UNOBSERVED else NOW,
                expected="a workflow consumes it" if drift is DriftClass.UNEXPECTED else None,
            )
            for nth, drift in enumerate(DriftClass)
        ),
        observed=1_200,
        oldest=Instant(NOW - 9 * DAY),
        newest=NOW,
        refreshed=True,
        incomplete="1,198 contacts came, and 1,200 were counted",
        waiting=(Tag("board"),),
    )
    return drift_view([report], notes=["location X has state but no manifest: left untouched"])


def some_refreshes() -> View:
    gone = {ContactId("dora"): Gone.UNSHOWN, ContactId("emil"): Gone.ELSEWHERE, ContactId("fred"): Gone.UNSHOWN}
    read = Refreshed(HERE, "5f0c1a2b3c4d", 1_200, 17, Instant(NOW - 300_000), gone, "")
    return refresh_view(
        [read, replace(read, gone={}, incomplete="a contact came twice"), Refreshed(HERE, "", 0, 0, None, {}, "")]
    )


def some_runs() -> tuple[LocationReport, ...]:
    finding = Finding(ContactId("dora"), Outcome.REJECTED, Action.ADD, (Tag("vip"),), "contact is deleted")
    pairs = {Outcome.APPLIED: 1_200, Outcome.NOOP: 3, Outcome.REJECTED: 1, Outcome.IN_DOUBT: 2, Outcome.NOT_SENT: 4}
    run = LocationReport(
        HERE,
        "5f0c1a2b3c4d",
        RunStatus.COMPLETE,
        rounds=2,
        requests=14,
        adopted=5,
        released=1,
        pairs=pairs,
        findings=(finding,),
        outside=2,
    )
    stopped = replace(run, error="the token was refused", hint="check HIGHLEVEL_TOKEN", error_code=7, outside=0)
    return run, stopped, LocationReport(HERE, "", RunStatus.COMPLETE)


VIEWS: dict[str, Callable[[], View]] = {
    "plan": lambda: plan_view(a_busy_plan(), names={HERE: "Acme Outdoor"}, notes=["set 'winback' becomes active soon"]),
    "plan-refused": lambda: plan_view(a_busy_plan(limits=GuardLimits(max_adds=1, max_removes_pct=1.0))),
    "plan-folded": lambda: plan_view(a_busy_plan(), most=1),
    "plan-empty": lambda: plan_view(combine([], as_of=NOW, manifests="")),
    "drift": a_drift,
    "drift-classes": a_drift_of_all_classes,
    "refresh": some_refreshes,
    "run": lambda: run_view(some_runs()),
    "state": lambda: state_view([a_state()]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_looks_as_it_did(name: str, bless: bool) -> None:
    path, text = GOLDEN / f"{name}.txt", render_text(VIEWS[name]())
    if bless:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "if this is meant: pytest --bless, and review the difference"


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("width", [20, 80, 120, 200])
def test_colour_adds_nothing_but_colour(name: str, width: int) -> None:
    plain = render_text(VIEWS[name](), width=width)
    coloured = render_text(VIEWS[name](), width=width, colour=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured or not plain.strip()
    assert ESCAPES.sub("", coloured) == plain


@pytest.mark.parametrize("name", VIEWS)
def test_no_line_ends_in_blanks(name: str) -> None:
    assert all(line == line.rstrip() for line in render_text(VIEWS[name]()).split("\n"))


HOSTILE = [
    "\x1b[2J\x1b[31mred",
    "one\ntwo",
    "one\r\ntwo",
    "\u202egnp.exe",
    "a\u2028b\u2029c\x85d",
    "::set-output name=x::y",
    "  ::error::gone",
    "\t::add-mask::x",
    "##[command]x",
    "##vso[task.setvariable variable=x]y",
    "\u200b\ufeff::notice::x",
    "\x9b31m",
    "\x08\x7f\x00",
    "\ud800",
    "[bold red]x[/bold red]",
    ":smile:",
    "x" * 119 + "::error::folded",
    "\\u{1b}",
]


def hostile_plan(text: str) -> Plan:
    """The text in every place that outside text can come from."""
    contact, tag, place = ContactId(text), Tag(text), Source(text, 1, 1)
    manifest = a_manifest(a_set("s", "anna", "x", absent="y"))
    contacts = Listed((contact,), place)
    use = replace(manifest.sets[0].tags[0], tag=tag, source=place)
    one = replace(manifest.sets[0], contacts=contacts, tags=(use,), source=place)
    desired = declare(one)
    limits = GuardLimits(max_adds=0)
    location = plan_location(desired, Snapshot(LocationId(text), "l", 1), PlanOptions(limits=limits))
    return combine([replace(location, location=LocationId(text))], as_of=NOW, manifests=text)


def is_harmless(text: str) -> bool:
    return all(_is_harmless_line(line) for line in text.split("\n"))


def _is_harmless_line(line: str) -> bool:
    return line == visible(line).replace("\\\\", "\\") and "::" not in line and "##" not in line


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("width", [40, 120])
def test_no_text_from_outside_acts_on_a_terminal_or_a_runner(text: str, width: int) -> None:
    shown = render_text(plan_view(hostile_plan(text), names={LocationId(text): text}, notes=[text]), width=width)
    assert is_harmless(shown)


@given(st.text() | st.lists(st.sampled_from(HOSTILE)).map("".join), st.sampled_from((30, 120)))
def test_any_text_stays_in_its_place(text: str, width: int) -> None:
    section = Section(text, Cell(text), (Lines("", (Cell(text, Style.BAD), Cell("after"))),))
    shown = render_text(View("", (section,), (Cell(text),)), width=width)
    assert is_harmless(shown)
    assert len(shown) < 50 * (len(text) + 10)
    assert "  after" in shown.split("\n")


@given(st.text(), st.text())
def test_two_texts_do_not_look_the_same(one: str, other: str) -> None:
    assert (visible(one) == visible(other)) == (one == other)


@pytest.mark.parametrize("text", HOSTILE)
def test_documents_are_one_line_of_ascii_and_parse_back(text: str) -> None:
    plan = hostile_plan(text)
    report = replace(some_runs()[0], findings=(Finding(ContactId(text), Outcome.HELD, Action.ADD, (Tag(text),), text),))
    observed = Snapshot(LocationId(text), text, 1, state(**{text: carries("x")}))
    drift = find_drift(declare(a_set("s", "anna", "x")), state(anna=carries("", ledger="x")), serial=1)
    drift = replace(drift, drifted=tuple(replace(each, reason=text, tag=Tag(text)) for each in drift.drifted))
    problem = Problem(Source(text, 1, 2), text, "check", hint=text)
    documents = {
        "plan": plan_json(plan),
        "run": run_json([report]),
        "drift": drift_json([drift]),
        "state": state_json([observed]),
        "problems": problems_json([problem]),
    }
    for document in documents.values():
        assert document.isascii()
        assert document.count("\n") == 1
        assert document.isprintable() or document[:-1].isprintable()
    parsed = {name: json.loads(document) for name, document in documents.items()}
    assert parsed["plan"]["locations"][0]["location"] == text
    assert parsed["run"]["locations"][0]["findings"][0]["message"] == text
    assert parsed["drift"]["locations"][0]["drifted"][0]["tag"] == text
    assert parsed["state"]["locations"][0]["contacts"][0]["contact"] == text
    assert parsed["problems"]["problems"][0]["message"] == text
