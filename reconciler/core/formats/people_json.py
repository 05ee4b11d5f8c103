"""Snapshots of matched sets and the status of an index of people as JSON. Pure.

Rules
1. A snapshot is contact ids, times, digests and counts; it goes wherever the state goes.
2. The status holds the key of the fingerprints where the environment has none: it is stored, and no document shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, NewType

from reconciler.core.formats.json_forms import Count, Form, read_text
from reconciler.core.formats.shapes import Forms, JsonSpelling
from reconciler.core.model import Json
from reconciler.core.model.names import Instant, SetName
from reconciler.core.model.people import IndexStatus, MatchCounts, Snapshot

_Secret = NewType("_Secret", bytes)

PEOPLE_FORMS = Forms(
    {
        Snapshot: JsonSpelling(
            about="The contacts of a matched set as they were pulled.",
            types={"as_of": Annotated[Instant, "When the set was pulled."]},
        ),
        MatchCounts: JsonSpelling(
            about="Rows of the file by the class that they ended in.",
            types=dict.fromkeys(["rows", "matched", "not_found", "ambiguous", "duplicate", "malformed", "kept"], Count),
        ),
        IndexStatus: JsonSpelling(
            types={"secret": _Secret}, later="key_check secret covers scanned_at read_until look_ups"
        ),
    },
    {_Secret: Form(bytes.hex, lambda text: bytes.fromhex(read_text(text)), {"type": "string"})},
)
_SNAPSHOTS = PEOPLE_FORMS.form_of(Mapping[SetName, Snapshot])
_COUNTS = PEOPLE_FORMS.form(MatchCounts)
_STATUS = PEOPLE_FORMS.form(IndexStatus)


def snapshots_document(snapshots: Mapping[SetName, Snapshot]) -> Json:
    return _SNAPSHOTS.write(dict(sorted(snapshots.items())))


def read_snapshots(item: object) -> Mapping[SetName, Snapshot]:
    """The inverse; raises KeyError, TypeError, ValueError or OverflowError for anything else."""
    snapshots: Mapping[SetName, Snapshot] = _SNAPSHOTS.read(item)
    return snapshots


def counts_text(counts: MatchCounts) -> str:
    return json.dumps(_COUNTS.write(counts))


def read_counts(text: str) -> MatchCounts:
    return _COUNTS.read(json.loads(text))


def status_text(status: IndexStatus) -> str:
    return json.dumps(_STATUS.write(status))


def read_status(text: str) -> IndexStatus:
    return _STATUS.read(json.loads(text))
