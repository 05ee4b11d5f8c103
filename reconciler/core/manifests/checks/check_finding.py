"""What a check answers; the table adds the check's name and severity."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.names import Source


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One mistake: where it is, what it is, and what to do about it where that can be said."""

    source: Source
    message: str
    hint: str = ""
