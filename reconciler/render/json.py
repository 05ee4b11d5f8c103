"""The public JSON documents: one line of ASCII each, versioned; nothing from outside can leave its string."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from reconciler.core.compare import Comparison, SettingMove
from reconciler.core.document import FORMAT_VERSION, plan_document
from reconciler.core.drift import DriftReport
from reconciler.core.errors import Problem
from reconciler.core.names import Instant, iso
from reconciler.core.observed import Known
from reconciler.core.plan import Plan, Snapshot
from reconciler.core.report import LocationReport


def plan_json(plan: Plan) -> str:
    return _text(plan_document(plan))


def run_json(reports: Sequence[LocationReport]) -> str:
    """`locations`: a run each, with `pairs` per outcome and `findings` per contact that did not end well."""
    locations = [asdict(report) | {"exit_code": int(report.exit_code)} for report in reports]
    return _document(locations=locations)


def drift_json(reports: Sequence[DriftReport]) -> str:
    locations = [asdict(each) | {"oldest": _iso(each.oldest), "newest": _iso(each.newest)} for each in reports]
    return _document(locations=locations)


def state_json(snapshots: Sequence[Snapshot]) -> str:
    locations = [
        {
            "location": each.location,
            "lineage": each.lineage,
            "serial": each.serial,
            "contacts": [{"contact": contact} | _known(known) for contact, known in sorted(each.observed.items())],
        }
        for each in snapshots
    ]
    return _document(locations=locations)


def compare_json(comparisons: Sequence[Comparison], settings: Sequence[SettingMove]) -> str:
    """What a change to manifests means: per location tags, sets and contacts; and the settings that changed."""
    return _document(locations=[asdict(each) for each in comparisons], settings=[asdict(each) for each in settings])


def problems_json(problems: Iterable[Problem]) -> str:
    found = [
        {
            "path": each.source.path,
            "line": each.source.line,
            "column": each.source.column,
            "severity": each.severity,
            "check": each.check,
            "message": each.message,
            "hint": each.hint,
        }
        for each in problems
    ]
    return _document(problems=found)


def _known(known: Known) -> dict[str, Any]:
    return {
        "observed": None if known.observed is None else sorted(known.observed),
        "observed_at": _iso(known.observed_at),
        "origin": known.origin,
        "ledger": sorted(known.ledger),
        "kept": sorted(known.kept),
        "doubt": sorted(known.doubt),
        "quarantine": known.quarantine,
    }


def _iso(moment: Instant | None) -> str | None:
    return None if moment is None else iso(moment)


def _document(**fields: Any) -> str:
    return _text({"format_version": FORMAT_VERSION, **fields})


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n"
