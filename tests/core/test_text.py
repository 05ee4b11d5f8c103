"""Views as text: the law that no text from outside changes the structure of what is shown."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.errors import Problem
from reconciler.core.model.journal import FailedChange
from reconciler.core.model.manifest import ListedContacts
from reconciler.core.model.names import ContactId, LocationId, Source, Tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.safe_text import json_line, visible
from reconciler.core.model.settings import GuardLimits
from reconciler.core.observing.drift import find_drift
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, Plan, combine_plans
from reconciler.output.blocks import ROWS, Cell, Lines, Section, Style, View, name_in_view
from reconciler.output.drift import DriftDocument
from reconciler.output.findings import ProblemList
from reconciler.output.plan import PlanDocument
from reconciler.output.run import RunDocument
from reconciler.output.state import StateDocument
from reconciler.output.text import render_text
from tests.build import NOW, a_manifest, a_set, carries, declare, loaded, plan_options, state
from tests.render.documents import ANSWERS, some_runs

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


VIEWS = {name: answer().view(ROWS) for name, answer in ANSWERS.items()}


@pytest.mark.one_in(27)
@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("width", [20, 80, 120, 200])
def test_colour_adds_nothing_but_colour(name: str, width: int) -> None:
    plain = render_text(VIEWS[name], width=width)
    coloured = render_text(VIEWS[name], width=width, colour=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured or not plain.strip()
    assert ESCAPES.sub("", coloured) == plain


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", VIEWS)
def test_no_line_ends_in_blanks(name: str) -> None:
    assert all(line == line.rstrip() for line in render_text(VIEWS[name]).split("\n"))


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
    contacts = ListedContacts((contact,), place)
    use = replace(manifest.sets[0].tags[0], tag=tag, source=place)
    one = replace(manifest.sets[0], contacts=contacts, tags=(use,), source=place)
    desired = declare(one)
    limits = GuardLimits(max_adds=0)
    location = plan_location(desired, LocationState(LocationId(text), "l", 1), plan_options(limits=limits))
    return combine_plans([replace(location, location=LocationId(text))], as_of=NOW, manifests=text)


def is_harmless(text: str) -> bool:
    return all(_is_harmless_line(line) for line in text.split("\n"))


def _is_harmless_line(line: str) -> bool:
    return line == visible(line).replace("\\\\", "\\") and "::" not in line and "##" not in line


@pytest.mark.one_in(3)
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("width", [40, 120])
def test_no_text_from_outside_acts_on_a_terminal_or_a_runner(text: str, width: int) -> None:
    view = name_in_view(PlanDocument(hostile_plan(text), notes=[text]).view(), {LocationId(text): text})
    shown = render_text(view, width=width)
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
    report = replace(
        some_runs()[0], findings=(FailedChange(ContactId(text), Outcome.HELD, Action.ADD, (Tag(text),), text),)
    )
    observed = LocationState(LocationId(text), text, 1, state(**{text: carries("x")}))
    drift = find_drift(declare(a_set("s", "anna", "x")), loaded(state(anna=carries("", ledger="x"))))
    drift = replace(drift, drifted=tuple(replace(each, reason=text, tag=Tag(text)) for each in drift.drifted))
    problem = Problem(Source(text, 1, 2), text, "check", hint=text)
    documents = {
        "plan": json_line(PlanDocument(plan).json()),
        "run": json_line(RunDocument([report]).json()),
        "drift": json_line(DriftDocument([drift]).json()),
        "state": json_line(StateDocument([observed]).json()),
        "problems": json_line(ProblemList([problem]).json()),
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
