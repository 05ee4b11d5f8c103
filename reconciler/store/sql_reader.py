"""The contents of the state's tables, as our values. Each function is part of the caller's view."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from reconciler.core.model.api_limits import NO_FACTS, LocationFacts, TrialVerdict, TriedRow
from reconciler.core.model.contact_columns import ContactColumn
from reconciler.core.model.contact_numbers import ABSENT, ContactNumbers
from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactState, ContactStates
from reconciler.core.model.journal import (
    COPY,
    MOVED,
    Answer,
    BatchRecord,
    BatchStatus,
    RunHeader,
    RunRecord,
    RunStatus,
    StateCopy,
    ends_partially,
)
from reconciler.core.model.names import ContactId, LocationId, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.state_fields import assume_unconfirmed
from reconciler.core.planning.plan import LocationState
from reconciler.core.planning.tag_aliases import Spelling, make_spelling
from reconciler.store.contact_blocks import BLOCK, ahead_of_time, ask_block, list_blocks
from reconciler.store.database import Database, Rows, decoding, first
from reconciler.store.pattern_table import (
    ask_patterns,
    ask_tagsets,
    decode_patterns,
    decode_tagsets,
    read_tagsets,
    tags_of,
)

_UNANSWERED = """
SELECT contacts.id, tagsets.tags, batches.intended, batches.action = 'add' AND known.unconfirmed IS NULL
FROM runs JOIN batches ON batches.run = runs.n JOIN tagsets ON batches.tags = tagsets.n
    JOIN rows ON rows.batch = batches.n JOIN contacts ON rows.contact = contacts.n
    JOIN known ON contacts.known = known.n
WHERE runs.location = ? AND batches.status = 'intended' ORDER BY batches.n
"""
_RUNS = """
SELECT runs.id, operation, who, started, change_digest, commit_id, allowed, runs.status, runs.ended,
    (SELECT count(*) FROM batches WHERE run = runs.n),
    (SELECT count(*) FROM rows JOIN batches ON rows.batch = batches.n WHERE run = runs.n), traced, runs.ending
FROM runs JOIN locations ON runs.location = locations.n WHERE locations.id = ? ORDER BY runs.n
"""
_SINCE_COPY = """
SELECT operation, started, status, ending FROM runs
WHERE location = ? AND n >= (SELECT max(n) FROM runs WHERE location = ? AND operation LIKE ?) ORDER BY n
"""
_MOVED = """
SELECT operation FROM runs
WHERE location = ? AND operation LIKE ? AND status = 'complete' ORDER BY n DESC LIMIT 1
"""
_CONTENTS = ("runs", "contacts", "snapshots", "people")
_EXISTS = "EXISTS (SELECT 1 FROM {} WHERE location = locations.n{})"
# one that was locked and never worked on, or forgotten as a whole, has a row and no more: its fencing number only grows
_LOCATIONS = f"""
SELECT id FROM locations WHERE {_EXISTS.format("leases", " AND expires > 0")}
    OR {" OR ".join(_EXISTS.format(table, "") for table in _CONTENTS)} ORDER BY id
"""
_BATCHES = """
SELECT batches.n, action, tagsets.tags, intended, batches.ended, batches.status
FROM batches JOIN runs ON batches.run = runs.n JOIN tagsets ON batches.tags = tagsets.n WHERE runs.id = ?
ORDER BY batches.n
"""
_ROWS = """
SELECT contacts.id, outcome, old, added, removed, message, released, rejection, entered
FROM rows JOIN contacts ON rows.contact = contacts.n
    LEFT JOIN answers ON answers.batch = rows.batch AND answers.n = rows.answer
WHERE rows.batch = ? ORDER BY contacts.id
"""
_FACTS = "SELECT moves_updated, max_contacts, max_tags, aliases, limits_at, tried FROM facts WHERE location = ?"
_TRAIL = """
SELECT runs.id, batches.action, tagsets.tags, intended, batches.ended, batches.status,
    outcome, old, added, removed, message, released, rejection, entered
FROM batches JOIN runs ON batches.run = runs.n JOIN tagsets ON batches.tags = tagsets.n
    JOIN rows ON rows.batch = batches.n JOIN contacts ON rows.contact = contacts.n
    JOIN locations ON contacts.location = locations.n
    LEFT JOIN answers ON answers.batch = rows.batch AND answers.n = rows.answer
WHERE locations.id = ? AND contacts.id = ? ORDER BY batches.n
"""


@decoding()
def load_state(database: Database, location: LocationId, contacts: ContactNumbers | None = None) -> LocationState:
    row = first(database.execute("SELECT n, lineage, serial FROM locations WHERE id = ?", (location,)))
    if row is None:
        return LocationState(location)
    number, lineage, serial = row
    since_copy = database.execute(_SINCE_COPY, (number, number, f"{COPY}%"))
    observed = read_observed(database, number, contacts)
    # computed, not stored, until the next run begins: a reader writes nothing
    observed.update(read_doubts(database, number, observed))
    sizes, facts = read_sizes(database, number), read_facts(database, number)
    spelt, copied, moved_to = make_spelling(facts.aliases), read_copy(since_copy), read_move(database, number)
    observed = spelt.spell_states(observed)
    exceptions = frozenset[str]() if sizes else _read_exceptions(database, number)
    return LocationState(
        location, lineage, serial, observed, sizes, facts, spelt, copied, moved_to, exceptions=exceptions
    )


def _read_exceptions(database: Database, location: int) -> frozenset[str]:
    rows = database.execute("SELECT DISTINCT allowed FROM runs WHERE location = ?", (location,))
    return frozenset(exception for row in rows for exception in json.loads(row[0]))


def read_move(database: Database, location: int) -> str:
    """The place that the state was copied to, empty where it is used itself."""
    row = first(database.execute(_MOVED, (location, f"{MOVED}%")))
    return "" if row is None else row[0].removeprefix(MOVED)


@decoding()
def read_copy(entries: Rows) -> StateCopy | None:
    """The backup that a state is, unless an apply of all manifests was complete since, with nothing left undone.

    `entries`: the answer to `_SINCE_COPY`.
    """
    copied: StateCopy | None = None
    for operation, started, status, ending in entries.fetchall():
        copy, numbers = StateCopy.read(operation, started), json.loads(ending or "{}")
        is_whole = status == RunStatus.COMPLETE and numbers.get("manifests_digest", "") != ""
        if copy is not None:
            copied = copy
        elif is_whole and not ends_partially(numbers.get("pairs", {}), numbers.get("outside", 0)):
            copied = None
    return copied


@decoding()
def list_locations(database: Database) -> Sequence[LocationId]:
    return tuple(LocationId(row[0]) for row in database.execute(_LOCATIONS))


@decoding()
def read_runs(database: Database, location: LocationId) -> Sequence[RunRecord]:
    return tuple(_run(location, tuple(row)) for row in database.execute(_RUNS, (location,)))


def _run(location: LocationId, row: tuple[Any, ...]) -> RunRecord:
    run, operation, who, started, digest, commit, allowed, status, ended, requests, rows, traced, ending = row
    # of the whole ending a list of runs needs no more than these numbers
    numbers = json.loads(ending or "{}")
    return RunRecord(
        id=run,
        header=RunHeader(
            location,
            operation,
            who,
            started,
            digest,
            commit,
            tuple(json.loads(allowed)),
            numbers.get("manifests_digest", ""),
        ),
        status=RunStatus(status),
        ended=ended,
        requests=requests,
        rows=rows,
        traced=bool(traced),
        waits_until=numbers.get("waits_until"),
        is_partial=ends_partially(numbers.get("pairs", {}), numbers.get("outside", 0)),
    )


@decoding()
def read_observed(
    database: Database, location: int, contacts: ContactNumbers | None = None, *, block: int = BLOCK
) -> ContactStates:
    """The states of the contacts of the location of that number; `block`: how many are read as one row."""
    places = {NEVER_OBSERVED: 0}
    # asked first: a server answers it together with what is read before it
    asked = ask_block(database, location, block)
    tagsets, patterns = ask_tagsets(database).fetchall(), ask_patterns(database, location)
    numbered = ContactNumbers() if contacts is None else contacts
    column = array("i", [ABSENT]) * len(numbered)
    blocks = list_blocks(database, location, block, first(asked))
    with ahead_of_time(blocks) if database.reads_ahead else nullcontext(blocks) as blocks:
        stored = decode_patterns(patterns, decode_tagsets(tagsets))
        indices = {number: places.setdefault(known, len(places)) for number, known in stored}
        for joined, rows in blocks:
            if joined is not None:
                numbered.put_joined(column, *joined, indices)
            else:
                numbered.put_rows(column, rows, indices)
    return ContactStates(ContactColumn(numbered, column), places)


@decoding()
def read_doubts(database: Database, location: int, observed: ContactStates) -> dict[ContactId, ContactState]:
    """The contacts of batches with an intent and without an answer: each of these may have had its effect."""
    doubted: dict[ContactId, ContactState] = {}
    for contact, text, intended, unwritten in database.execute(_UNANSWERED, (location,)):
        tags, known = tags_of(text), doubted.get(contact) or observed[contact]
        # an intent of before schema version 4 did not store them
        if unwritten:
            known = assume_unconfirmed(known, tags)
        doubted[contact] = known.with_doubt(tags, intended)
    return doubted


@decoding()
def read_sizes(database: Database, location: int) -> Mapping[SetName, int]:
    stored = database.execute("SELECT name, size FROM set_sizes WHERE location = ?", (location,))
    return {SetName(name): size for name, size in stored}


def read_spelling(database: Database, location: int) -> Spelling:
    """Every tag in the spelling that the location keeps."""
    return make_spelling(read_facts(database, location).aliases)


@decoding()
def read_facts(database: Database, location: int) -> LocationFacts:
    row = first(database.execute(_FACTS, (location,)))
    if row is None:
        return NO_FACTS
    moves_updated, max_contacts, max_tags, aliases, limits_at, tried = row
    return LocationFacts(
        moves_updated=None if moves_updated is None else bool(moves_updated),
        max_contacts=max_contacts,
        max_tags=max_tags,
        aliases=tuple((Tag(sent), Tag(back)) for sent, back in json.loads(aliases)),
        limits_at=limits_at,
        tried=tuple(TriedRow(name, TrialVerdict(verdict), found, at) for name, verdict, found, at in json.loads(tried)),
    )


@decoding()
def read_batches(database: Database, run: str) -> Sequence[BatchRecord]:
    """The batches of a run; contacts that were answered alike share one Answer."""
    tagsets = read_tagsets(database)
    # a run of a million rows has a few hundred different answers
    alike: dict[tuple[Any, ...], Answer] = {}

    def answer(row: tuple[Any, ...]) -> Answer:
        return alike.get(row) or alike.setdefault(row, _answer(row, tagsets))

    return tuple(
        _batch(asked, {ContactId(who): answer(tuple(row)) for who, *row in database.execute(_ROWS, (number,))})
        for number, *asked in database.execute(_BATCHES, (run,)).fetchall()
    )


@decoding()
def read_trail(database: Database, location: LocationId, contact: ContactId) -> Sequence[tuple[str, BatchRecord]]:
    """The batches with a row of the contact, each with that row alone, and the id of its run."""
    rows = database.execute(_TRAIL, (location, contact)).fetchall()
    tagsets = read_tagsets(database)
    return tuple((run, _batch(row[:5], {contact: _answer(tuple(row[5:]), tagsets)})) for run, *row in rows)


def _batch(asked: Sequence[Any], answers: dict[ContactId, Answer]) -> BatchRecord:
    action, tags, intended, ended, status = asked
    return BatchRecord(Action(action), tuple(sorted(tags_of(tags))), intended, ended, BatchStatus(status), answers)


def _answer(row: tuple[Any, ...], tagsets: dict[int, TagSet]) -> Answer:
    outcome, old, added, removed, message, released, rejection, entered = row
    managed = frozenset() if entered is None else tagsets[entered]
    if outcome is None:
        return Answer(None, entered=managed)
    verdict = ContactOutcome(
        outcome=Outcome(outcome),
        message=message or "",
        rejection=None if rejection is None else Rejection(rejection),
        old=None if old is None else tagsets[old],
        added=frozenset() if added is None else tagsets[added],
        removed=frozenset() if removed is None else tagsets[removed],
    )
    return Answer(verdict, frozenset() if released is None else tagsets[released], managed)
