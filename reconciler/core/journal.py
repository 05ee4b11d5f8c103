"""What the journal holds of a run: who, why, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.core.names import Instant, LocationId


class RunStatus(StrEnum):
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class RunHeader:
    """A run as it begins. `commit` is the manifests' Git commit, empty where there is none."""

    location: LocationId
    operation: str
    who: str
    started: Instant
    change_digest: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the journal shows it. `rows` counts its response rows."""

    id: str
    header: RunHeader
    status: RunStatus
    ended: Instant | None
    requests: int
    rows: int
