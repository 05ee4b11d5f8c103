"""The files for Prometheus and Grafana, and the table of the page, against the metrics that the product emits.

`tests/telemetry` shows on the wire that it emits those of the table, and no others.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.core.model.outcome import Outcome
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.metrics import METRICS, Metric, MetricKind

DOCS = Path(__file__).parents[2] / "docs"
ALERTS = DOCS / "monitoring" / "alerts.yaml"
DASHBOARD = DOCS / "monitoring" / "dashboard.json"
WORDS = frozenset(
    {
        "sum",
        "by",
        "last_over_time",
        "max_over_time",
        "min",
        "increase",
        "absent_over_time",
        "histogram_quantile",
        "offset",
        "or",
    }
)
RANGES = r"\[[^\]]*\]|\boffset \w+|\"[^\"]*\"|\$\w+|\b\d[\d.]*\w*"


def series(metric: Metric) -> Iterator[str]:
    """The names of a metric in Prometheus, as its translation of OTLP makes them."""
    name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
    match metric.kind:
        case MetricKind.COUNTER:
            yield f"{name}_total"
        case MetricKind.GAUGE:
            yield name
        case MetricKind.HISTOGRAM:
            yield from (f"{name}_{part}" for part in ("bucket", "sum", "count"))


SERIES = {name: metric for metric in METRICS for name in series(metric)}


def labels_of(metric: Metric) -> set[str]:
    return {"job", "instance", "le", *(attribute.replace(".", "_") for attribute in metric.attributes)}


def faults(expression: str) -> list[str]:
    """The names of an expression that no metric has: of series, and of labels that its series lack."""
    bare = re.sub(RANGES, " ", expression)
    names = set(re.findall(r"[a-zA-Z_]\w*", bare)) - WORDS
    used = names & SERIES.keys()
    known = {"job", "instance", "le"}.union(*(labels_of(SERIES[name]) for name in used))
    return sorted(names - used - known) + ([] if used else ["no series"])


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def targets() -> list[dict[str, Any]]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target for panel in panels for target in panel["targets"]]


def test_every_name_in_the_files_is_one_that_is_emitted() -> None:
    expressions = [rule["expr"] for rule in rules()] + [target["expr"] for target in targets()]
    assert {expression: faults(expression) for expression in expressions if faults(expression)} == {}
    query = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"][1]["query"]
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()  # type: ignore[union-attr]
    assert label in labels_of(SERIES[name])


def test_a_name_that_is_not_emitted_is_found() -> None:
    assert faults("sum by (job) (last_over_time(reconciler_heldd[1h])) > 0") == ["reconciler_heldd", "no series"]
    assert faults('reconciler_held{reconciler_tag="a"} > 0') == ["reconciler_tag"]


def test_values_of_labels_are_those_of_the_product() -> None:
    text = ALERTS.read_text(encoding="utf-8") + DASHBOARD.read_text(encoding="utf-8")
    for label, values in (("reconciler_outcome", Outcome), ("reconciler_drift_class", DriftClass)):
        named = [name for found in re.findall(rf'{label}=~"([^"$]+)"', text) for name in found.split("|")]
        assert named
        assert set(named) <= set(values)


def test_the_dashboard_shows_every_metric_and_a_legend_its_own_labels() -> None:
    shown = {name for target in targets() for name in SERIES if re.search(rf"\b{name}\b", target["expr"])}
    assert {SERIES[name].name for name in shown} == {metric.name for metric in METRICS}
    for target in targets():
        (metric,) = {SERIES[name].name: SERIES[name] for name in SERIES if name in target["expr"]}.values()
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels_of(metric)


def test_every_alert_has_what_a_person_needs() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
        metric = next(SERIES[name] for name in SERIES if name in rule["expr"])
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels_of(metric)


@pytest.mark.servers
def test_the_alerts_fire_on_what_commands_and_workers_tell_and_fall_silent_again(tmp_path: Path) -> None:
    """Played by Prometheus' own tool."""
    promtool = shutil.which("promtool") or pytest.skip("promtool, which comes with Prometheus, is not installed")
    for file in (ALERTS, Path(__file__).with_name("alerts_test.yaml")):
        shutil.copy(file, tmp_path)
    played = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert played.stdout.count("SUCCESS") == 1


def test_the_table_of_the_page_has_every_metric_with_its_attributes() -> None:
    page = (DOCS / "how-to" / "seen-from-outside.md").read_text(encoding="utf-8")
    rows = [
        f"| `{metric.name}` | {metric.kind} | `{metric.unit}` | "
        f"{', '.join(f'`{attribute}`' for attribute in metric.attributes)} | {metric.about} |"
        for metric in METRICS
    ]
    assert [line for line in page.splitlines() if re.match(r"\| `(reconciler|http|db)\.", line)] == rows
