"""What `doctor` found, as JSON for monitoring."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.diagnosis import Examined, Remark
from reconciler.core.printable import json_line


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
