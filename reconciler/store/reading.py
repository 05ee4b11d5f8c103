"""What is read from a SQLite state: a location's content, its runs and their rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from reconciler.core.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunRecord, RunStatus
from reconciler.core.names import ContactId, LocationId, SetName, TagSet
from reconciler.core.observed import Known, Observed
from reconciler.core.outcome import REJECTIONS, Action, Outcome, Verdict
from reconciler.core.plan import Snapshot
from reconciler.store.connection import decoding
from reconciler.store.interning import Interning, tags_of


@decoding()
def load(connection: sqlite3.Connection, location: LocationId) -> Snapshot:
    with _snapshot(connection):
        found = connection.execute("SELECT n, lineage, serial FROM locations WHERE id = ?", (location,)).fetchone()
        if found is None:
            return Snapshot(location)
        number, lineage, serial = found
        observed = observed_in(connection, number)
        observed.update(doubts_in(connection, number, observed))
        sizes = connection.execute("SELECT name, size FROM set_sizes WHERE location = ?", (number,))
        set_sizes = {SetName(name): size for name, size in sizes}
        return Snapshot(location, lineage, serial, observed, set_sizes)


@decoding()
def observed_in(connection: sqlite3.Connection, location: int) -> Observed:
    indices, patterns = Interning(connection).read(location)
    stored = connection.execute("SELECT id, known FROM contacts WHERE location = ?", (location,))
    return Observed({ContactId(contact): indices[known] for contact, known in stored}, patterns)


_UNANSWERED = """
SELECT contacts.id, tagsets.tags, batches.intended
FROM runs JOIN batches ON batches.run = runs.n JOIN tagsets ON batches.tags = tagsets.n
    JOIN rows ON rows.batch = batches.n JOIN contacts ON rows.contact = contacts.n
WHERE runs.location = ? AND batches.status = 'intended' ORDER BY batches.n
"""


@decoding()
def doubts_in(connection: sqlite3.Connection, location: int, observed: Observed) -> dict[ContactId, Known]:
    """Whatever was intended and never seen answered may have had its effect."""
    found: dict[ContactId, Known] = {}
    for contact, tags, intended in connection.execute(_UNANSWERED, (location,)):
        known = found.get(contact) or observed[contact]
        found[contact] = known.in_doubt(tags_of(tags), intended)
    return found


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One consistent view for several queries."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


_RUNS = """
SELECT runs.id, operation, who, started, change_digest, commit_id, allowed, runs.status, runs.ended,
    (SELECT count(*) FROM batches WHERE run = runs.n),
    (SELECT count(*) FROM rows JOIN batches ON rows.batch = batches.n WHERE run = runs.n)
FROM runs JOIN locations ON runs.location = locations.n WHERE locations.id = ? ORDER BY runs.n
"""


@decoding()
def runs_of(connection: sqlite3.Connection, location: LocationId) -> Sequence[RunRecord]:
    return tuple(
        RunRecord(
            id=run,
            header=RunHeader(location, operation, who, started, digest, commit, tuple(json.loads(allowed))),
            status=RunStatus(status),
            ended=ended,
            requests=requests,
            rows=rows,
        )
        for run, operation, who, started, digest, commit, allowed, status, ended, requests, rows in connection.execute(
            _RUNS, (location,)
        )
    )


_BATCHES = """
SELECT batches.n, action, tagsets.tags, intended, batches.ended, batches.status
FROM batches JOIN runs ON batches.run = runs.n JOIN tagsets ON batches.tags = tagsets.n WHERE runs.id = ?
ORDER BY batches.n
"""
_ROWS = """
SELECT contacts.id, outcome, old, added, removed, message, released
FROM rows JOIN contacts ON rows.contact = contacts.n WHERE batch = ? ORDER BY contacts.id
"""


_TRAIL = """
SELECT runs.id, batches.action, tagsets.tags, intended, batches.ended, batches.status,
    outcome, old, added, removed, message, released
FROM batches JOIN runs ON batches.run = runs.n JOIN tagsets ON batches.tags = tagsets.n
    JOIN rows ON rows.batch = batches.n AND rows.contact = (SELECT n FROM contacts WHERE location = ?1 AND id = ?2)
WHERE runs.location = ?1 ORDER BY batches.n
"""


@decoding()
def batches_of(connection: sqlite3.Connection, run: str) -> Sequence[BatchRecord]:
    """The batches of a run; contacts that were answered alike share one Answer."""
    with _snapshot(connection):
        tagsets = {number: tags_of(text) for number, text in connection.execute("SELECT n, tags FROM tagsets")}
        alike: dict[tuple[Any, ...], Answer] = {}

        def answer(row: tuple[Any, ...]) -> Answer:
            return alike.get(row) or alike.setdefault(row, _answer(row, tagsets))

        return tuple(
            _batch(
                asked,
                {ContactId(contact): answer(tuple(row)) for contact, *row in connection.execute(_ROWS, (number,))},
            )
            for number, *asked in connection.execute(_BATCHES, (run,)).fetchall()
        )


@decoding()
def trail_of(
    connection: sqlite3.Connection, location: LocationId, contact: ContactId
) -> Sequence[tuple[str, BatchRecord]]:
    """The batches with a row of the contact, each with that row alone, and the id of its run."""
    with _snapshot(connection):
        found = connection.execute("SELECT n FROM locations WHERE id = ?", (location,)).fetchone()
        rows = connection.execute(_TRAIL, (found[0], contact)).fetchall() if found else []
        tagsets = {number: tags_of(text) for number, text in connection.execute("SELECT n, tags FROM tagsets")}
        return tuple((run, _batch(rest[:5], {contact: _answer(tuple(rest[5:]), tagsets)})) for run, *rest in rows)


def _batch(asked: Sequence[Any], answers: dict[ContactId, Answer]) -> BatchRecord:
    action, tags, intended, ended, status = asked
    return BatchRecord(Action(action), tuple(sorted(tags_of(tags))), intended, ended, BatchStatus(status), answers)


def _answer(row: tuple[Any, ...], tagsets: dict[int, TagSet]) -> Answer:
    outcome, old, added, removed, message, released = row
    if outcome is None:
        return Answer(None)
    verdict = Verdict(
        outcome=Outcome(outcome),
        message=message or "",
        rejection=REJECTIONS.get(message) if outcome == Outcome.REJECTED else None,
        old=None if old is None else tagsets[old],
        added=frozenset() if added is None else tagsets[added],
        removed=frozenset() if removed is None else tagsets[removed],
    )
    return Answer(verdict, frozenset() if released is None else tagsets[released])
