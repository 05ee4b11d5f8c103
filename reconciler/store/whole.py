"""How runs, batches and rows are put into the tables; and changes to a location as a whole.

Each function is part of the caller's transaction. `number` is the location's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.core.facts import Facts
from reconciler.core.journal import Answer, BatchStatus, RunLog, RunRecord
from reconciler.core.names import ContactId, TagSet
from reconciler.core.observed import UNKNOWN, Known
from reconciler.core.outcome import Outcome, Verdict
from reconciler.core.plan import Snapshot
from reconciler.store.database import Database, Given, decoding, first
from reconciler.store.interning import Interning, tags_of

NONE: TagSet = frozenset()

ADD_CONTACTS = f"""
INSERT INTO contacts (location, id, known) SELECT ?, id, known FROM {Given.CONTACTS} WHERE true
ON CONFLICT (location, id) """
_PUT_RUN = """
INSERT INTO runs (id, location, operation, who, change_digest, commit_id, started, ended, status, allowed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_BATCH = """
INSERT INTO batches (run, action, tags, intended, ended, status)
VALUES ((SELECT n FROM runs WHERE id = ?), ?, ?, ?, ?, ?) RETURNING n
"""
_PUT_ROWS = f"""
INSERT INTO rows (batch, contact)
SELECT ?, contacts.n FROM {Given.CONTACTS} AS given JOIN contacts ON contacts.id = given.id
WHERE contacts.location = ? ORDER BY contacts.n
"""
# written anew and not changed: rows that grow where they are leave pages half empty
_UNANSWER = f"""
DELETE FROM rows WHERE batch = ? AND contact IN (
    SELECT contacts.n FROM {Given.ANSWERS} AS given JOIN contacts ON contacts.id = given.id
    WHERE contacts.location = ?)
"""
_ANSWER = f"""
INSERT INTO rows (batch, contact, outcome, old, added, removed, message, released)
SELECT ?, contacts.n, given.outcome, given.old, given.added, given.removed, given.message, given.released
FROM {Given.ANSWERS} AS given JOIN contacts ON contacts.id = given.id
WHERE contacts.location = ? ORDER BY contacts.n
"""
_LEDGERS = """
SELECT contacts.id, tagsets.tags FROM rows JOIN contacts ON rows.contact = contacts.n
    JOIN known ON contacts.known = known.n JOIN tagsets ON known.ledger = tagsets.n
WHERE rows.batch = ? AND tagsets.tags <> '[]'
"""
_BATCHES = "SELECT batches.n FROM batches JOIN runs ON batches.run = runs.n WHERE runs.location = ?"
_PRUNE = f"""
DELETE FROM rows WHERE batch IN ({_BATCHES} AND runs.n NOT IN (
    SELECT runs.n FROM runs WHERE runs.location = ? AND EXISTS (SELECT 1 FROM batches WHERE run = runs.n)
    ORDER BY runs.n DESC LIMIT ?))
"""
_PUT_FACTS = """
INSERT INTO facts (location, moves_updated, max_contacts, max_tags, aliases) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (location) DO UPDATE SET moves_updated = excluded.moves_updated, max_contacts = excluded.max_contacts,
    max_tags = excluded.max_tags, aliases = excluded.aliases
"""
_GIVEN = f"SELECT contacts.n FROM {Given.CONTACTS} AS given JOIN contacts ON contacts.id = given.id WHERE location = ?"
_EMPTY = (
    f"DELETE FROM rows WHERE batch IN ({_BATCHES})",
    f"DELETE FROM batches WHERE n IN ({_BATCHES})",
    "DELETE FROM runs WHERE location = ?",
    "DELETE FROM contacts WHERE location = ?",
    "DELETE FROM known WHERE location = ?",
    "DELETE FROM set_sizes WHERE location = ?",
    "DELETE FROM facts WHERE location = ?",
)
_LOOSE = {
    "contacts whose knowledge is missing": (
        "SELECT count(*) FROM contacts LEFT JOIN known ON contacts.known = known.n"
        " WHERE known.n IS NULL OR known.location <> contacts.location"
    ),
    "rows of tags that are missing": "SELECT count(*) FROM rows WHERE "
    + " OR ".join(f"{column} NOT IN (SELECT n FROM tagsets)" for column in ("old", "added", "removed", "released")),
    "rows of a contact of another location than their run's": (
        "SELECT count(*) FROM rows JOIN contacts ON rows.contact = contacts.n JOIN batches ON rows.batch = batches.n"
        " JOIN runs ON batches.run = runs.n WHERE contacts.location <> runs.location"
    ),
}


def put_run(database: Database, number: int, run: RunRecord) -> None:
    header = run.header
    why = (header.operation, header.who, header.change_digest, header.commit)
    row = (run.id, number, *why, header.started, run.ended, run.status, json.dumps(header.allowed))
    database.execute(_PUT_RUN, row)


def put_batch(database: Database, run: str, row: tuple[object, ...]) -> int:
    """The new batch's number. `row`: action, number of its tags, intended, ended, status."""
    return int(first(database.execute(_PUT_BATCH, (run, *row)))[0])


def put_rows(database: Database, interning: Interning, batch: int, number: int, contacts: Iterable[ContactId]) -> None:
    """A row, not answered so far, for each contact; those never heard of are unknown ones."""
    unknown = interning.known(number, UNKNOWN)
    database.give(Given.CONTACTS, ((contact, unknown) for contact in contacts))
    database.execute(ADD_CONTACTS + "DO NOTHING", (number,))
    database.execute(_PUT_ROWS, (batch, number))


def put_answers(
    database: Database, interning: Interning, batch: int, number: int, answers: Mapping[ContactId, Answer]
) -> None:
    # made before they are given: new tag sets may have to be stored on the way
    rows = [(contact, *row) for contact, answer in answers.items() if (row := _row(interning, answer))]
    database.give(Given.ANSWERS, rows)
    database.execute(_UNANSWER, (batch, number))
    database.execute(_ANSWER, (batch, number))


def _row(interning: Interning, answer: Answer) -> tuple[object, ...]:
    verdict = answer.verdict
    if verdict is None:
        return ()
    given = (verdict.old, verdict.added or None, verdict.removed or None)
    tags = (interning.optional(each) for each in given)
    as_expected = verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)
    released = interning.tagset(answer.released) if answer.released else None
    return (verdict.outcome, *tags, None if as_expected else verdict.message, released)


@decoding()
def answered(
    database: Database, batch: int, verdicts: Mapping[ContactId, Verdict], changed: Mapping[ContactId, Known]
) -> dict[ContactId, Answer]:
    """The answers to a batch, with what was under management and is gone, before its contacts become `changed`."""
    ledgers = {ContactId(contact): tags_of(tags) for contact, tags in database.execute(_LEDGERS, (batch,))}
    answers = {}
    for contact, verdict in verdicts.items():
        ledger, after = ledgers.get(contact, NONE), changed.get(contact)
        # taken away by the answer, though a doubt may keep it in the ledger a while longer
        gone = ledger & verdict.removed
        answers[contact] = Answer(verdict, gone if after is None else gone | (ledger - after.ledger))
    return answers


def put_facts(database: Database, number: int, facts: Facts) -> None:
    moves = None if facts.moves_updated is None else int(facts.moves_updated)
    row = (number, moves, facts.max_contacts, facts.max_tags, json.dumps(facts.aliases))
    database.execute(_PUT_FACTS, row)


def prune(database: Database, number: int, keep: int) -> None:
    """Gives up the rows of all but the last `keep` runs with batches."""
    database.execute(_PRUNE, (number, number, keep))


def forget(database: Database, number: int, contacts: Iterable[ContactId]) -> None:
    """Contacts leave, and so do their rows in the journal."""
    database.give(Given.CONTACTS, ((contact, 0) for contact in sorted(set(contacts))))
    database.execute(f"DELETE FROM rows WHERE contact IN ({_GIVEN})", (number,))
    if database.execute(f"DELETE FROM contacts WHERE n IN ({_GIVEN})", (number,)).rowcount:
        database.execute("UPDATE locations SET serial = serial + 1 WHERE n = ?", (number,))


def replace_all(database: Database, interning: Interning, number: int, state: Snapshot, runs: Sequence[RunLog]) -> None:
    """The location becomes `state` with the journal `runs`; its lease stays."""
    for statement in _EMPTY:
        database.execute(statement, (number,))
    interning.forget()
    row = (state.lineage, state.serial, number)
    database.execute("UPDATE locations SET lineage = ?, serial = ? WHERE n = ?", row)
    contacts = [(contact, interning.known(number, known)) for contact, known in sorted(state.observed.items())]
    database.give(Given.CONTACTS, contacts)
    database.execute(ADD_CONTACTS + "DO NOTHING", (number,))
    for name, size in state.set_sizes.items():
        database.execute("INSERT INTO set_sizes (location, name, size) VALUES (?, ?, ?)", (number, name, size))
    put_facts(database, number, state.facts)
    for log in runs:
        put_run(database, number, log.record)
        _put_batches(database, interning, number, log)


def _put_batches(database: Database, interning: Interning, number: int, log: RunLog) -> None:
    for batch in log.batches:
        tags = interning.tagset(frozenset(batch.tags))
        row = (batch.action, tags, batch.intended, batch.ended, batch.status)
        key = put_batch(database, log.record.id, row)
        put_rows(database, interning, key, number, batch.answers)
        if batch.status is not BatchStatus.INTENDED:
            put_answers(database, interning, key, number, batch.answers)


def check(database: Database) -> Iterator[str]:
    """What is wrong with how things are stored, a line each."""
    yield from database.faults()
    for what, query in _LOOSE.items():
        found = first(database.execute(query))[0]
        if found:
            yield f"{found} {what}"
