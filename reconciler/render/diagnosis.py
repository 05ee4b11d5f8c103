"""What `doctor` found, as JSON for monitoring."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.model.safe_text import json_line
from reconciler.core.observing.diagnosis import Examined, Remark


def doctor_json(examined: Iterable[Examined]) -> str:
    groups = [{"title": each.title, "remarks": [_remark(remark) for remark in each.remarks]} for each in examined]
    return json_line({"format_version": "1.0", "report": "doctor", "examined": groups})


def _remark(remark: Remark) -> dict[str, str]:
    return {
        "subject": remark.subject,
        "verdict": remark.verdict.value,
        "found": remark.told,
        "remedy": remark.remedy,
    }
