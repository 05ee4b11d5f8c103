"""How far a run is in one location, in words: for a line of a log, or beside a bar."""

from __future__ import annotations

from reconciler.core.model.events import LocationProgress
from reconciler.core.model.names import Instant
from reconciler.output.blocks import duration


def facts(standing: LocationProgress, now: Instant) -> list[str]:
    """The state of one location in short parts, the most important first."""
    parts = [f"{standing.done:,} of {standing.total:,} {standing.what}"]
    if standing.contacts:
        parts.append(f"{standing.contacts:,} contacts")
    if rate := standing.rate(now):
        parts.append(f"{rate:.1f}/s")
    if standing.rejected:
        parts.append(f"{standing.rejected:,} rejected")
    if standing.unclear:
        parts.append(f"{standing.unclear:,} in doubt")
    if standing.quota_left is not None:
        parts.append(f"{standing.quota_left:,} left today")
    if (remaining := standing.left_ms(now)) is not None and not standing.is_done:
        parts.append(f"about {duration(remaining / 1000)} left")
    if standing.why and standing.resumes > now:
        parts.append(f"waiting {duration((standing.resumes - now) / 1000)}: {standing.why}")
    return parts
