"""The runs of the journal, with their dates, their authors and their endings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.formats.journal_json import listed_document, listed_members
from reconciler.core.formats.json_forms import Schema, object_schema
from reconciler.core.model import JsonObject
from reconciler.core.model.journal import RunRecord, RunStatus
from reconciler.core.model.names import LocationId, iso
from reconciler.core.model.release_rules import local_time
from reconciler.core.observing.attribution import Trend
from reconciler.output.blocks import (
    Cell,
    Records,
    Row,
    Section,
    Style,
    View,
    counted,
    duration,
    iso_or_empty,
    make_records,
    make_section,
    moment,
    number,
    table,
)
from reconciler.output.charts import CURVES, Chart, Curve, draw_over_time
from reconciler.output.document import report_document


@dataclass(frozen=True, slots=True)
class HistoryDocument:
    runs: Mapping[LocationId, Sequence[RunRecord]]
    trends: Mapping[LocationId, Trend]
    """Changes and holders over time, as far as rows are kept; only HTML draws them."""

    def view(self, most: int | None) -> View:
        """The newest run first."""
        return View("History", tuple(_location_section(location, runs, most) for location, runs in self.runs.items()))

    def records(self) -> Records:
        """The newest first."""
        columns = (
            "location run operation who started ended status #requests #rows change_digest commit waits_until partial"
        )
        rows = lambda: (_run_row(run) for runs in self.runs.values() for run in reversed(runs))  # noqa: E731
        return make_records("Every run", columns, rows)

    def json(self) -> JsonObject:
        locations: list[JsonObject] = [
            {"location": location, "runs": [listed_document(run) for run in reversed(runs)]}
            for location, runs in self.runs.items()
        ]
        return report_document("history", {"locations": locations})

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return [_history_charts(runs, self.trends[location]) for location, runs in self.runs.items()]

    @staticmethod
    def schema() -> Schema:
        runs: Schema = {"type": "array", "items": object_schema("", listed_members())}
        location = object_schema("", {"location": {"type": "string"}, "runs": runs})
        return {"locations": {"type": "array", "items": location}}


def _location_section(location: LocationId, runs: Sequence[RunRecord], most: int | None) -> Section:
    columns = "run began #took what who #requests #rows ended commit"
    verdict = Cell(f"{counted(len(runs), 'run')}.", Style.STRONG)
    rows = [_run_cells(run) for run in reversed(runs)]
    return make_section(f"Location {location}", verdict, table("", columns, rows, most=most))


def _run_cells(run: RunRecord) -> tuple[Cell, ...]:
    header = run.header
    return (
        Cell(run.id, Style.STRONG),
        Cell(moment(header.started)),
        Cell("" if run.ended is None else duration((run.ended - header.started) / 1000)),
        Cell(header.operation),
        Cell(header.who),
        number(run.requests),
        Cell("given up", Style.FAINT) if run.is_pruned else number(run.rows),
        ending_cell(run),
        Cell(header.commit[:12], Style.FAINT),
    )


_STATUS = {
    RunStatus.RUNNING: Cell("running", Style.STRONG),
    RunStatus.COMPLETE: Cell("complete", Style.GOOD),
    RunStatus.STOPPED: Cell("stopped", Style.WARN),
    RunStatus.INTERRUPTED: Cell("interrupted", Style.WARN),
}


_KILLED = Cell("killed", Style.BAD)
_IN_PART = Cell("done in part", Style.WARN)


def ending_cell(run: RunRecord) -> Cell:
    if run.waits_until is not None:
        return Cell(f"rest waits until {local_time(run.waits_until, 'UTC')}", Style.WARN)
    # complete is not whole: the report told it as done in part, with exit code 3
    if run.status is RunStatus.COMPLETE and run.is_partial:
        return _IN_PART
    # a run that was killed wrote down no end: its lease tells that it is over
    return _KILLED if run.was_killed else _STATUS[run.status]


def _run_row(run: RunRecord) -> Row:
    header = run.header
    return (
        header.location,
        run.id,
        header.operation,
        header.who,
        iso(header.started),
        iso_or_empty(run.ended),
        run.status,
        str(run.requests),
        "" if run.is_pruned else str(run.rows),
        header.change_digest,
        header.commit,
        iso_or_empty(run.waits_until),
        "yes" if run.is_partial else "no",
    )


def _history_charts(runs: Sequence[RunRecord], trend: Trend) -> tuple[Chart, ...]:
    """`trend`: changes and holders over time, from the kept rows of these runs."""
    requests = [(run.header.started, run.requests) for run in runs]
    counted = (Curve("tags changed by us", trend.changed), Curve("tags changed by others since", trend.drifted))
    # lines beyond a handful cannot be told apart by colour
    ranked = sorted(trend.holders.items(), key=lambda item: (-item[1][-1][1], item[0]))
    held = tuple(Curve(tag, points) for tag, points in ranked[:CURVES])
    return (
        *draw_over_time("Requests of each run", (Curve("requests", tuple(requests)),)),
        *draw_over_time("Tags changed, by run", counted),
        *draw_over_time("Holders of a tag, among contacts that runs were told of", held, max(0, len(ranked) - CURVES)),
    )
