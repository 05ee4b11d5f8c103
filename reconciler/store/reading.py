"""What the state's tables hold, as our values. Each function is one or several queries inside the caller's view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.core.journal import RunHeader, RunRecord, RunStatus
from reconciler.core.names import ContactId, LocationId, SetName
from reconciler.core.observed import Known, Observed
from reconciler.core.plan import Snapshot
from reconciler.store.database import Database, decoding, first
from reconciler.store.interning import Interning, tags_of

_UNANSWERED = """
SELECT contacts.id, tagsets.tags, batches.intended
FROM runs JOIN batches ON batches.run = runs.n JOIN tagsets ON batches.tags = tagsets.n
    JOIN rows ON rows.batch = batches.n JOIN contacts ON rows.contact = contacts.n
WHERE runs.location = ? AND batches.status = 'intended' ORDER BY batches.n
"""
_RUNS = """
SELECT runs.id, operation, who, started, change_digest, commit_id, runs.status, runs.ended,
    (SELECT count(*) FROM batches WHERE run = runs.n),
    (SELECT count(*) FROM rows JOIN batches ON rows.batch = batches.n WHERE run = runs.n)
FROM runs JOIN locations ON runs.location = locations.n WHERE locations.id = ? ORDER BY runs.n
"""


@decoding()
def load(database: Database, location: LocationId) -> Snapshot:
    found = first(database.execute("SELECT n, lineage, serial FROM locations WHERE id = ?", (location,)))
    if found is None:
        return Snapshot(location)
    number, lineage, serial = found
    observed = read_observed(database, number)
    observed.update(doubts(database, number, observed))
    return Snapshot(location, lineage, serial, observed, read_sizes(database, number))


@decoding()
def locations(database: Database) -> Sequence[LocationId]:
    return tuple(LocationId(row[0]) for row in database.execute("SELECT id FROM locations ORDER BY id"))


@decoding()
def runs(database: Database, location: LocationId) -> Sequence[RunRecord]:
    return tuple(
        RunRecord(
            id=run,
            header=RunHeader(location, operation, who, started, digest, commit),
            status=RunStatus(status),
            ended=ended,
            requests=requests,
            rows=rows,
        )
        for run, operation, who, started, digest, commit, status, ended, requests, rows in database.execute(
            _RUNS, (location,)
        )
    )


@decoding()
def read_observed(database: Database, location: int) -> Observed:
    indices, patterns = Interning(database).read(location)
    stored = database.execute("SELECT id, known FROM contacts WHERE location = ?", (location,))
    return Observed({contact: indices[known] for contact, known in stored}, patterns)


@decoding()
def doubts(database: Database, location: int, observed: Observed) -> dict[ContactId, Known]:
    """Whatever was intended and never seen answered may have had its effect."""
    found: dict[ContactId, Known] = {}
    for contact, tags, intended in database.execute(_UNANSWERED, (location,)):
        known = found.get(contact) or observed[contact]
        found[contact] = known.in_doubt(tags_of(tags), intended)
    return found


@decoding()
def read_sizes(database: Database, location: int) -> Mapping[SetName, int]:
    stored = database.execute("SELECT name, size FROM set_sizes WHERE location = ?", (location,))
    return {SetName(name): size for name, size in stored}
