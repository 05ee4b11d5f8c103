"""Each document in every format: what a command answers, and how it is spelt. No format changes an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reconciler.cli.command_record import contact_url, location_names, provenance
from reconciler.cli.console import Console, rows
from reconciler.core.manifests.compare_revisions import Comparison, SettingMove
from reconciler.core.model.journal import LocationReport, RunLog, RunRecord
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import Provenance
from reconciler.core.observing.attribution import Trend
from reconciler.core.observing.drift_report import DriftReport
from reconciler.core.observing.refresh_rules import Refreshed
from reconciler.core.planning.plan import LocationState, Plan
from reconciler.output import charts
from reconciler.output.blocks import View, link_contacts, name_in_view
from reconciler.output.charts import Chart
from reconciler.output.contact import ContactStory, contact_view
from reconciler.output.csv import csv_chunks
from reconciler.output.diff import compare_view
from reconciler.output.drift import drift_view
from reconciler.output.history import history_view, log_view
from reconciler.output.json import (
    add_provenance,
    compare_json,
    contact_json,
    drift_json,
    history_json,
    log_json,
    plan_json,
    refresh_json,
    run_json,
    state_json,
)
from reconciler.output.markdown import render_markdown
from reconciler.output.plan_view import plan_view
from reconciler.output.records import (
    Records,
    compare_records,
    contact_records,
    drift_records,
    history_records,
    log_records,
    plan_records,
    refresh_records,
    run_records,
    state_records,
    view_records,
)
from reconciler.output.refresh import refresh_view
from reconciler.output.run import run_view
from reconciler.output.state import state_view
from reconciler.output.text import render_text

HTML_ROWS = 10_000
BLOCK_ROWS = 200
"""Of a web page: its one long table, which has all rows under --all, and the tables before it."""


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """A document; each part of it is made when a format asks. `view` takes how many rows a table may have (None: all).

    `charts`: those of each section of the view, in its order. `made`: how it came to be, None where no command made it.
    `contact_url`: where the CRM shows a contact.
    `is_report`: whether JSON may say that, too; a plan is a file that `apply` takes, and stays as it is.
    """

    view: Callable[[int | None], View]
    records: Records
    json: Callable[[], str]
    charts: Callable[[], Sequence[tuple[Chart, ...]]] = tuple
    made: Callable[[], Provenance | None] = provenance
    contact_url: Callable[[], str] = contact_url
    is_report: bool = True

    def page(self, most: int | None) -> View:
        """The view of a document that leaves the terminal."""
        return link_contacts(replace(self.view(most), made=self.made()), self.contact_url())


def tell(answer: CommandOutput, console: Console, options: Mapping[str, Any]) -> None:
    """Answers on stdout, in the format of `--format`, and in the file of `--report`."""
    answer = named(answer, location_names())
    if (report := options.get("report")) is not None:
        report.take(answer)
    whole = options.get("whole", False)
    if options["output"] == "text":
        console.show(answer.view(rows(whole)))
        return
    for chunk in spell(answer, options["output"], whole=whole):
        console.answer(chunk)


def named(answer: CommandOutput, names: Mapping[LocationId, str]) -> CommandOutput:
    """The document with the names of locations beside their ids, where it is for a person: JSON and CSV have ids."""
    return replace(answer, view=lambda most: name_in_view(answer.view(most), names))


def spell(answer: CommandOutput, kind: str, *, whole: bool) -> Iterable[str]:
    """The document in one of FORMATS, in pieces; text without colour."""
    return _SPELLED[kind](answer, whole)


def _text(answer: CommandOutput, whole: bool) -> Iterable[str]:
    return [render_text(answer.view(rows(whole)))]


def _markdown(answer: CommandOutput, whole: bool) -> Iterable[str]:
    return [render_markdown(answer.page(rows(whole)))]


def _json(answer: CommandOutput, whole: bool) -> Iterable[str]:
    text = answer.json()
    return [add_provenance(text, answer.made()) if answer.is_report else text]


def _csv(answer: CommandOutput, whole: bool) -> Iterable[str]:
    return csv_chunks(answer.records)


def _html(answer: CommandOutput, whole: bool) -> Iterable[str]:
    # Jinja2 is loaded for those who ask for a page
    from reconciler.output.html import render_html

    most = None if whole else HTML_ROWS
    return [render_html(answer.page(BLOCK_ROWS), records=answer.records, charts=answer.charts(), most=most)]


_SPELLED: Mapping[str, Callable[[CommandOutput, bool], Iterable[str]]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
    "csv": _csv,
    "html": _html,
}


def plan_answer(plan: Plan, *, notes: Sequence[str] = (), explain: bool = False) -> CommandOutput:
    """The arguments are those of `plan_view`."""
    return CommandOutput(
        view=lambda most: plan_view(plan, notes=notes, most=most, explain=explain),
        records=plan_records(plan),
        json=lambda: plan_json(plan),
        charts=lambda: list(map(charts.plan_charts, plan.locations)),
        is_report=False,
    )


def run_answer(reports: Sequence[LocationReport]) -> CommandOutput:
    return CommandOutput(
        view=lambda most: run_view(reports, most=most),
        records=run_records(reports),
        json=lambda: run_json(reports),
        charts=lambda: list(map(charts.run_charts, reports)),
    )


def drift_answer(reports: Sequence[DriftReport], *, notes: Sequence[str] = ()) -> CommandOutput:
    return CommandOutput(
        view=lambda most: drift_view(reports, notes=notes, most=most),
        records=drift_records(reports),
        json=lambda: drift_json(reports),
        charts=lambda: list(map(charts.drift_charts, reports)),
    )


def refresh_answer(reports: Sequence[Refreshed]) -> CommandOutput:
    return CommandOutput(
        view=lambda most: refresh_view(reports, most=most),
        records=refresh_records(reports),
        json=lambda: refresh_json(reports),
    )


def short_answer(view: View, json: Callable[[], str]) -> CommandOutput:
    """A document that nobody folds."""
    return CommandOutput(lambda _most: view, view_records(view), json)


def history_answer(runs: Mapping[LocationId, Sequence[RunRecord]], trends: Mapping[LocationId, Trend]) -> CommandOutput:
    """`trends`: what the kept rows tell, for a format that draws."""
    return CommandOutput(
        view=lambda most: history_view(runs, most=most),
        records=history_records(runs),
        json=lambda: history_json(runs),
        charts=lambda: [charts.history_charts(found, trends[place]) for place, found in runs.items()],
    )


def log_answer(log: RunLog) -> CommandOutput:
    return CommandOutput(
        view=lambda most: log_view(log, most=most),
        records=log_records(log),
        json=lambda: log_json(log),
        charts=lambda: [charts.log_charts(log)],
    )


def compare_answer(comparisons: Sequence[Comparison], settings: Sequence[SettingMove], *, base: str) -> CommandOutput:
    return CommandOutput(
        view=lambda most: compare_view(comparisons, settings, base=base, most=most),
        records=compare_records(comparisons, settings),
        json=lambda: compare_json(comparisons, settings),
        charts=lambda: list(map(charts.compare_charts, comparisons)),
    )


def state_answer(snapshots: Sequence[LocationState]) -> CommandOutput:
    return CommandOutput(
        view=lambda most: state_view(snapshots, most=most),
        records=state_records(snapshots),
        json=lambda: state_json(snapshots),
        charts=lambda: list(map(charts.state_charts, snapshots)),
    )


def contact_answer(stories: Sequence[ContactStory]) -> CommandOutput:
    return CommandOutput(
        lambda most: contact_view(stories, most=most), contact_records(stories), lambda: contact_json(stories)
    )
