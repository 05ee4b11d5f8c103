"""Many locations are told as many: a table of all, and sections of those that have something to tell."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from reconciler.core.model.journal import LocationReport, RunStatus, UnknownLocation
from reconciler.core.model.names import LocationId
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, combine_plans
from reconciler.output.blocks import Cell, Column, Table, View, describe_age, name_in_view
from reconciler.output.document import CommandOutput, spell
from reconciler.output.drift import DriftDocument
from reconciler.output.markdown import LIMIT, render_markdown
from reconciler.output.overview import LocationRow, make_overview
from reconciler.output.plan import PlanDocument
from reconciler.output.run import RunDocument
from reconciler.output.text import render_text
from tests.build import NOW, a_set, carries, declare, many, plan_options, state
from tests.render.documents import ACME, ANSWERS, BETA, FLEET, a_fleet_of_drift, a_fleet_of_runs, a_fleet_plan
from tests.render.test_sinks import HERE

LOCATIONS = 1_000
REFUSED = (700, 999)


def a_plan_of(location: LocationId, *, limits: GuardLimits, contacts: int = 3) -> LocationPlan:
    desired = replace(declare(a_set("all", many(contacts), "customer")), location=location)
    return plan_location(desired, LocationState(location, "l", 1), plan_options(limits=limits))


@pytest.fixture(scope="module")
def a_thousand() -> Plan:
    """Of a thousand locations, two that are refused."""
    refused, ready = (a_plan_of(HERE, limits=GuardLimits(max_adds=limit)) for limit in (1, None))
    plans = [
        replace(refused if number in REFUSED else ready, location=LocationId(f"l{number:019}"))
        for number in range(LOCATIONS)
    ]
    return combine_plans(plans, as_of=NOW, manifests="m")


def the_table(view: View) -> Table:
    assert view.overview is not None
    table = view.overview.blocks[0]
    assert isinstance(table, Table)
    return table


def cells(view: View, column: str) -> dict[str, str]:
    """The texts of a column by location."""
    table = the_table(view)
    at = [each.name for each in table.columns].index(column)
    return {row[0].text: row[at].text for row in table.rows}


def test_one_location_is_told_as_ever() -> None:
    fleet = a_fleet_plan()
    alone = combine_plans(fleet.locations[:1], as_of=NOW, manifests="m")
    assert PlanDocument(alone).view().overview is None
    assert "Location " in render_text(PlanDocument(alone).view()).splitlines()[0]
    run = a_fleet_of_runs()[0]
    # two reports of one location, as of a file that was applied twice, are not two locations
    assert RunDocument([run, run]).view().overview is None


def test_a_location_without_changes_has_a_row_and_no_section() -> None:
    view = PlanDocument(a_fleet_plan()).view()
    quiet = a_fleet_plan().locations[2].location
    assert cells(view, "verdict")[quiet] == "no changes"
    assert [section.location for section in view.sections] == [
        plan.location for plan in a_fleet_plan().locations if plan.location != quiet
    ]


@pytest.mark.parametrize("name", ["plan-many", "run-many", "drift-many"])
def test_a_page_draws_the_charts_of_the_sections_that_it_has(name: str) -> None:
    document = ANSWERS[name]().document
    assert len(document.charts()) == len(document.view(None).sections)


def test_rows_are_sorted_as_people_call_the_locations() -> None:
    view = name_in_view(PlanDocument(a_fleet_plan()).view(), FLEET)
    assert [label.split(" (")[0] for label in cells(view, "verdict")] == [
        "acme Outdoor",
        "Beta Bikes",
        ACME,
        a_fleet_plan().locations[3].location,
        "Übersee *Reisen*",
    ]


def test_the_same_change_is_told_once_with_its_locations_and_named_in_their_sections() -> None:
    text = render_text(PlanDocument(a_fleet_plan()).view())
    _, _, shared = text.partition("The same change in several locations")
    assert re.search(r"^\+vip +2 +3 +l", shared, re.MULTILINE)
    assert text.count("+vip (in 2 locations)") == 2
    assert "+newsletter (in" not in text


def test_the_age_is_that_of_the_oldest_observation_and_never_where_there_is_none() -> None:
    ages = cells(PlanDocument(a_fleet_plan()).view(), "oldest")
    assert ages[ACME] == "24 h"
    assert ages[a_fleet_plan().locations[3].location] == "never"
    drift = DriftDocument(a_fleet_of_drift(), now=NOW)
    assert list(cells(drift.view(), "oldest").values()) == ["9 d", "24 h", "40 d", "never", "24 h"]
    assert "oldest" not in [column.name for column in the_table(DriftDocument(a_fleet_of_drift()).view()).columns]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (3_600, "1 h"), (172_799, "47 h"), (172_800, "2 d")],
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert describe_age(seconds) == text


@pytest.mark.slow
def test_of_a_thousand_locations_text_shows_the_worst_and_how_many_are_left_out(a_thousand: Plan) -> None:
    view = PlanDocument(a_thousand).view(40)
    text = render_text(view).split("\n\n")[1]
    assert "… and 960 more rows (--all shows them)" in text
    assert text.count(" refused ") == len(REFUSED)
    assert view.overview is not None
    assert view.overview.verdict.text == "2 refused, 998 ready."
    names = [row[0].text for row in the_table(view).rows]
    assert names == sorted(names)


@pytest.mark.slow
def test_a_comment_on_a_thousand_locations_keeps_the_table_and_the_worst_sections(a_thousand: Plan) -> None:
    text = render_markdown(PlanDocument(a_thousand).view(None))
    assert len(text.encode()) <= LIMIT
    shown = text.count("| <code>l0")
    assert f"{shown:,} of 1,000 rows shown" in text
    assert shown > 150
    for number in REFUSED:
        assert f"<code>l{number:019}</code> | <code>refused</code>" in text
        assert f"### Location l{number:019}" in text
    assert re.search(r"\d+ of 1,000 sections shown", text)
    assert text.rstrip().splitlines()[-1].startswith("Change digest")


@pytest.mark.slow
def test_a_page_has_a_row_for_the_worst_two_hundred(a_thousand: Plan) -> None:
    page = "".join(spell(CommandOutput(PlanDocument(a_thousand)), "html", whole=False))
    assert "200 of 1,000 rows shown." in page
    assert page.count('<section id="location-') == LOCATIONS


def test_of_rows_alike_the_larger_stays() -> None:
    rows = [LocationRow(LocationId(f"l{size}"), Cell("ready"), (Cell(str(size)),), size) for size in (1, 3, 2)]
    overview = make_overview(rows, [Column("size")], 2, totals=())
    assert overview is not None
    table = overview.blocks[0]
    assert isinstance(table, Table)
    assert ([row[0].text for row in table.rows], table.hidden) == (["l2", "l3"], 1)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (1, "failed"),
        (3, "nothing sent"),
        (4, "stale"),
        (5, "refused"),
        (6, "locked"),
        (7, "no token"),
        (8, "over quota"),
    ],
)
def test_a_location_that_was_not_begun_is_told_by_its_error(code: int, word: str) -> None:
    report = LocationReport(HERE, "", RunStatus.STOPPED, error="so", error_code=code)
    idle = LocationReport(BETA, "", RunStatus.COMPLETE)
    assert cells(RunDocument([report, idle]).view(), "verdict") == {HERE: word, BETA: "nothing to do"}


def test_an_adoption_is_no_request_and_is_told() -> None:
    known = state(anna=carries("vip"))
    desired = replace(declare(a_set("vip", "anna", "vip")), location=BETA)
    adopting = plan_location(desired, LocationState(BETA, "l", 1, known), plan_options())
    plan = combine_plans([adopting, a_fleet_plan().locations[2]], as_of=NOW, manifests="m")
    assert cells(PlanDocument(plan).view(), "verdict")[BETA] == "to record"


def test_a_location_of_which_nothing_is_known_is_not_left_out() -> None:
    """One that is planned, and another one whose state or reading failed: two are told, by name."""
    plan = combine_plans(a_fleet_plan().locations[2:3], as_of=NOW, manifests="m")
    unknown = (UnknownLocation(BETA, "no answer", "", 1),)
    view = PlanDocument(replace(plan, unknown=unknown)).view()
    assert list(cells(view, "verdict").values()) == ["not known", "no changes"]
    assert [section.verdict.text for section in view.sections] == ["Not known: no answer."]
    drift = DriftDocument(a_fleet_of_drift()[4:], unknown, now=NOW)
    assert list(cells(drift.view(), "verdict").values()) == ["not known", "no drift"]
    assert "Not known: no answer" in "".join(spell(CommandOutput(drift), "html", whole=False))
