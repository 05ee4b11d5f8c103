"""Checks of the exceptions in the settings (`allow`, `expected_drift`): the sets and tags that they name are there, and
their time is not past."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.manifests import CheckFinding, Location, Manifests
from reconciler.core.model.names import did_you_mean, iso
from reconciler.core.model.settings import Allowed, ExpectedDrift


def unused_exceptions(manifests: Manifests) -> Iterator[CheckFinding]:
    """Exceptions for a location or a set that is not there; says nothing where not all manifests were read."""
    if not manifests.complete or manifests.elsewhere:
        return
    for entry in manifests.exceptions:
        held = [place for place in manifests.locations if entry.location in (None, place.location)]
        if held:
            yield from _find_strange(entry, held)
        elif manifests.locations:
            hint = did_you_mean(entry.location or "", [place.location for place in manifests.locations])
            message = f"an exception for location {entry.location}, which no manifest has: it holds nowhere"
            yield CheckFinding(entry.source, message, hint)


def _find_strange(entry: Allowed | ExpectedDrift, held: Sequence[Location]) -> Iterator[CheckFinding]:
    names = frozenset[str]().union(*(place.sets.keys() | place.broken for place in held))
    if entry.set is not None and entry.set not in names:
        message = f"an exception for contact set {entry.set!r}, which no manifest has: it holds nowhere"
        yield CheckFinding(entry.source, message, did_you_mean(entry.set, names))
    # what no manifest names any more may still be taken from those who carry it; a misspelt tag is near another
    if isinstance(entry, Allowed) and entry.tag is not None:
        tags = {use.tag for place in held for use in place.tag_uses()} | {tag for place in held for tag in place.rules}
        if entry.tag not in tags and (hint := did_you_mean(entry.tag, tags)):
            yield CheckFinding(entry.source, f"an exception for tag {entry.tag!r}, which no manifest names", hint)


def past_exceptions(manifests: Manifests) -> Iterator[CheckFinding]:
    for entry in manifests.exceptions:
        if manifests.now is not None and entry.until is not None and entry.until <= manifests.now:
            yield CheckFinding(entry.source, f"an exception that ended at {iso(entry.until)}, and holds no more")
