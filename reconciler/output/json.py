"""The public JSON documents: one line of ASCII each, versioned; nothing from outside can leave its string.

`report` says what a document is. `schema.py` describes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reconciler.core.formats.journal_json import FORMS, adopted_document, run_document
from reconciler.core.formats.plan_json import FORMAT_VERSION, plan_document
from reconciler.core.formats.state_json import (
    Portable,
    facts_document,
    known_document,
    state_document,
)
from reconciler.core.manifests.compare_revisions import Comparison, SettingMove
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import Problem
from reconciler.core.model.journal import LocationReport, RunLog, RunRecord
from reconciler.core.model.names import Instant, LocationId, Source, iso
from reconciler.core.model.safe_text import Provenance, json_line
from reconciler.core.observing.drift_report import Drifted, DriftReport
from reconciler.core.observing.refresh_rules import Refreshed
from reconciler.core.planning.plan import LocationState, Plan
from reconciler.core.running.shortfalls import drift_remedies, known_remedies, log_remedies, run_remedies
from reconciler.output.contact import ContactStory

_END = "}\n"


def add_provenance(text: str, made: Provenance | None) -> str:
    """The report, with `made` as the last of its fields."""
    told = None if made is None else asdict(made) | {"at": iso(made.at)}
    return f'{text.removesuffix(_END)},"made":{json_line(told).rstrip()}{_END}'


def plan_json(plan: Plan) -> str:
    return _text(plan_document(plan))


def run_json(reports: Sequence[LocationReport]) -> str:
    """`locations`: a run each, with `pairs` per outcome and `findings` per contact that did not end well."""
    locations = [
        asdict(report) | {"exit_code": int(report.exit_code), "remedies": run_remedies(report)} for report in reports
    ]
    return _document(report="run", locations=locations)


def drift_json(reports: Sequence[DriftReport]) -> str:
    """`locations`, each with `drifted`: what drifted alike, since when, who set it before, what is expected."""
    locations = [
        asdict(each)
        | {"oldest": _iso(each.oldest), "newest": _iso(each.newest), "drifted": [_drifted(one) for one in each.drifted]}
        | {"remedies": drift_remedies(each)}
        for each in reports
    ]
    return _document(report="drift", locations=locations)


def _drifted(each: Drifted) -> dict[str, Any]:
    setter = each.set_by
    moments = {name: _iso(getattr(each, name)) for name in ("after", "oldest", "newest")}
    set_by = None if setter is None else {"run": setter.run, "who": setter.who, "at": iso(setter.at)}
    return asdict(each) | moments | {"set_by": set_by}


def refresh_json(reports: Sequence[Refreshed]) -> str:
    """`locations`: what was read, what of it was news, and who is not there."""
    return _document(report="refresh", locations=[asdict(each) | {"since": _iso(each.since)} for each in reports])


def state_json(snapshots: Sequence[LocationState]) -> str:
    locations = [
        {
            "location": each.location,
            "lineage": each.lineage,
            "serial": each.serial,
            "facts": facts_document(each.facts),
            "contacts": [{"contact": contact} | _known(known) for contact, known in sorted(each.observed.items())],
            "remedies": known_remedies(known for _, known in each.observed.items()),
        }
        for each in snapshots
    ]
    return _document(report="state", locations=locations)


def facts_json(snapshots: Sequence[LocationState]) -> str:
    """`locations`: each as a whole, and what it taught us."""
    return _document(
        report="facts",
        locations=[
            {
                "location": each.location,
                "lineage": each.lineage,
                "serial": each.serial,
                "contacts": len(each.observed),
                "facts": facts_document(each.facts),
            }
            for each in snapshots
        ],
    )


def history_json(runs: Mapping[LocationId, Sequence[RunRecord]]) -> str:
    """`locations`, each with its `runs`, the newest first."""
    return _document(
        report="history",
        locations=[
            {"location": location, "runs": [run_document(run) for run in reversed(found)]}
            for location, found in runs.items()
        ],
    )


def log_json(log: RunLog) -> str:
    """One run with its `batches`: per batch what was asked, and `rows`, each for the contacts that ended alike."""
    location = log.record.header.location
    return _document(
        report="log",
        location=location,
        **run_document(log.record),
        ending=None if log.ending is None else FORMS.write(log.ending),
        adopted=adopted_document(log.adopted),
        batches=[FORMS.write(batch) for batch in log.batches],
        remedies=log_remedies(log),
    )


def portable_json(locations: Iterable[Portable]) -> str:
    return _text(state_document(locations))


def contact_json(stories: Sequence[ContactStory]) -> str:
    """`locations`: the contact as known in each, what the manifests declare, and its `trail`, the latest first."""
    return _document(report="contact", locations=[_story(each) for each in stories])


def _story(story: ContactStory) -> dict[str, Any]:
    want = story.want
    declared = None
    if want is not None:
        absent = {
            tag: {"reason": cause.reason, "sources": _places(cause.sources)} for tag, cause in want.absent.items()
        }
        declared = {"present": {tag: _places(found) for tag, found in want.present.items()}, "absent": absent}
    return {
        "location": story.location,
        "contact": story.contact,
        **known_document(story.known),
        "observed_by": story.observed_by or None,
        "declared": declared,
        "remedies": known_remedies([story.known]),
        "trail": [{"run": run} | FORMS.write(batch) for run, batch in reversed(story.trail)],
    }


def _places(sources: Iterable[Source]) -> list[str]:
    return [str(source) for source in sources]


def compare_json(comparisons: Sequence[Comparison], settings: Sequence[SettingMove]) -> str:
    """What a change to manifests means: per location tags, sets and contacts; and the settings that changed."""
    return _document(
        report="diff", locations=[asdict(each) for each in comparisons], settings=[asdict(each) for each in settings]
    )


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
    return _document(report="problems", problems=found)


def _known(known: ContactState) -> dict[str, Any]:
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
    return json_line(document)
