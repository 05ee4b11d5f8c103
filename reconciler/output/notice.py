"""A notice in the shape that its receiver takes: plain JSON, a message of Slack, or an adaptive card of Teams.

Rule: a body holds counts, ids of locations and runs, and words of this module; ids are checked letters and digits.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from reconciler.core.model import JsonObject
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.journal import LocationReport, UnknownLocation
from reconciler.core.model.names import Instant, iso
from reconciler.core.model.notice import LocationNotice, Notice, NoticeShape
from reconciler.core.model.outcome import Outcome
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import DriftReport
from reconciler.output.blocks import counted

NOTICE_VERSION = "1.0"
MOST_LISTED = 200
"""So many locations are in a body, those that ended worst first; their number is there anyway."""
MOST_LINES = 15
"""So many of them are in a message for people."""
ADAPTIVE_CARD = "application/vnd.microsoft.card.adaptive"
INTERRUPTED = "interrupted"
"""The verdict of a command that a signal ended."""
CHANGED_BY_OTHERS = (DriftClass.MISSING, DriftClass.UNEXPECTED, DriftClass.UNREACHABLE, DriftClass.FLAPPING)


def make_run_notice(command: str, reports: Collection[LocationReport]) -> Notice:
    locations = [LocationNotice(each.location, each.exit_code, each.run, _count_pairs(each)) for each in reports]
    changed = any(report.pairs.get(Outcome.APPLIED, 0) for report in reports)
    return Notice(command, tuple(locations), changed=changed)


def _count_pairs(report: LocationReport) -> dict[str, int]:
    pairs = {str(outcome): count for outcome, count in report.pairs.items() if count}
    return pairs | {"requests": report.requests}


def make_drift_notice(
    reports: Iterable[DriftReport], unknown: Iterable[UnknownLocation], failing: Collection[DriftClass] = ()
) -> Notice:
    """`failing`: the classes of drift that fail the command."""
    counts = {report.location: _count_drift(report) for report in reports}
    seen = [
        LocationNotice(location, ExitCode.CHANGES if by_class.keys() & set(failing) else ExitCode.DONE, counts=by_class)
        for location, by_class in counts.items()
    ]
    lost = [LocationNotice(each.location, each.exit_code) for each in unknown]
    changed = any(by_class.keys() & set(CHANGED_BY_OTHERS) for by_class in counts.values())
    return Notice("drift", (*seen, *lost), changed=changed)


def _count_drift(report: DriftReport) -> dict[str, int]:
    return {str(drift): count for drift in DriftClass if (count := report.count(drift))}


@dataclass(frozen=True, slots=True)
class SentNotice:
    """A notice as it leaves: `id` is the same in each try, so that a receiver can tell a repetition."""

    notice: Notice
    exit_code: int
    id: str
    at: Instant

    def spell(self, shape: NoticeShape) -> bytes:
        """The body, in UTF-8."""
        spell = {NoticeShape.JSON: _make_json, NoticeShape.SLACK: _make_slack, NoticeShape.TEAMS: _make_teams}[shape]
        return json.dumps(spell(self), separators=(",", ":")).encode()

    @property
    def verdict(self) -> str:
        return name_verdict(self.exit_code)

    def list_locations(self, most: int) -> list[LocationNotice]:
        """Those that did not end well first, then those with counts."""
        # where not all have room, failures are not among those that are left out
        ranked = sorted(self.notice.locations, key=lambda each: (not each.exit_code, not each.counts, each.location))
        return ranked[:most]

    @property
    def headline(self) -> str:
        where = counted(len(self.notice.locations), "location")
        return f"reconciler {self.notice.command}: {self.verdict} (exit code {self.exit_code}), {where}"


def name_verdict(exit_code: int) -> str:
    """The name of an exit code; codes of signals share one."""
    return ExitCode(exit_code).name.lower() if exit_code in list(ExitCode) else INTERRUPTED


def _make_json(sent: SentNotice) -> JsonObject:
    listed = sent.list_locations(MOST_LISTED)
    return {
        "format_version": NOTICE_VERSION,
        "id": sent.id,
        "at": iso(sent.at),
        "command": sent.notice.command,
        "verdict": sent.verdict,
        "exit_code": sent.exit_code,
        "changed": sent.notice.changed,
        "location_count": len(sent.notice.locations),
        "locations": [
            {"location": each.location, "run": each.run, "exit_code": each.exit_code, "counts": dict(each.counts)}
            for each in listed
        ],
    }


def _make_slack(sent: SentNotice) -> JsonObject:
    lines = [sent.headline, *(f"• `{each.location}`: {_describe_end(each)}" for each in _shown(sent)), *_omission(sent)]
    return {"text": "\n".join(lines)}


def _make_teams(sent: SentNotice) -> JsonObject:
    # an underscore would begin italics
    facts: list[JsonObject] = [
        {"title": each.location.replace("_", r"\_"), "value": _describe_end(each).replace("_", r"\_")}
        for each in _shown(sent)
    ]
    blocks: list[JsonObject] = [
        {"type": "TextBlock", "text": line, "wrap": True} for line in (sent.headline, *_omission(sent))
    ]
    card: JsonObject = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [blocks[0], {"type": "FactSet", "facts": facts}, *blocks[1:]],
    }
    attachment: JsonObject = {
        "contentType": ADAPTIVE_CARD,
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _shown(sent: SentNotice) -> list[LocationNotice]:
    return sent.list_locations(MOST_LINES)


def _omission(sent: SentNotice) -> Iterator[str]:
    if (more := len(sent.notice.locations) - MOST_LINES) > 0:
        yield f"and {counted(more, 'location')} more"


def _describe_end(location: LocationNotice) -> str:
    end = "its end is not known" if location.exit_code is None else name_verdict(location.exit_code)
    counts = [f"{count:,} {name}" for name, count in location.counts.items()]
    return ", ".join([end, *counts, *([f"run {location.run}"] if location.run else [])])
