"""Changes to a location as a whole. Each function is part of the caller's transaction; `number` is the location's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import repeat

from reconciler.core.formats.state_json import Portable
from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.journal import RunLog
from reconciler.core.model.names import ContactId
from reconciler.store import people_tables, sql_journal
from reconciler.store.database import Database, Given, first
from reconciler.store.pattern_table import Interning, find_contradictions
from reconciler.store.sql_journal import put_ending

_BATCHES = "SELECT batches.n FROM batches JOIN runs ON batches.run = runs.n WHERE runs.location = ?"
# what a run sent may have had an effect where it has no answer yet, or one that is neither of these
_EFFECTIVE = """
(EXISTS (SELECT 1 FROM adopted WHERE run = runs.n) OR EXISTS (
    SELECT 1 FROM batches LEFT JOIN answers ON answers.batch = batches.n
    WHERE run = runs.n AND (batches.status = 'intended' OR outcome NOT IN ('rejected', 'not_sent'))))
"""
_ASKED = "(EXISTS (SELECT 1 FROM batches WHERE run = runs.n) OR EXISTS (SELECT 1 FROM adopted WHERE run = runs.n))"
_LAST = "SELECT n FROM (SELECT n FROM runs WHERE location = ? AND {} ORDER BY n DESC LIMIT ?) AS last"
# as many of all runs that asked for something, besides: what was refused every night is to be seen in the morning, and
# is not to take the place of a run that can be reverted
_KEPT = f"{_LAST.format(_EFFECTIVE)} UNION {_LAST.format(_ASKED)}"
_OLD_BATCHES = f"{_BATCHES} AND runs.n NOT IN ({_KEPT})"
_OLD_RUNS = f"SELECT n FROM runs WHERE location = ? AND n < (SELECT min(n) FROM ({_KEPT}) AS kept)"
# a run that stops before it sends anything counts for nothing above, and may leave a row a contact all the same
_OLD_SHORT = f"""
SELECT n FROM runs WHERE location = ? AND n NOT IN ({_KEPT}) AND n NOT IN (
    {_LAST.format("EXISTS (SELECT 1 FROM shortfalls WHERE run = runs.n)")})
"""
_PUT_FACTS = """
INSERT INTO facts (location, moves_updated, max_contacts, max_tags, aliases, limits_at, tried)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (location) DO UPDATE SET moves_updated = excluded.moves_updated, max_contacts = excluded.max_contacts,
    max_tags = excluded.max_tags, aliases = excluded.aliases, limits_at = excluded.limits_at,
    tried = excluded.tried
"""
_GIVEN = f"SELECT contacts.n FROM {Given.CONTACTS} AS given JOIN contacts ON contacts.id = given.id WHERE location = ?"
_FORGET_SHORTFALLS = f"""
DELETE FROM shortfall_contacts
WHERE run IN (SELECT n FROM runs WHERE location = ?) AND contact IN (SELECT id FROM {Given.CONTACTS})
"""
_UNUSED_ANSWERS = f"""
DELETE FROM answers WHERE batch IN ({_BATCHES}) AND NOT EXISTS (
    SELECT 1 FROM rows WHERE rows.batch = answers.batch AND rows.answer = answers.n)
"""
_EMPTY = (
    "DELETE FROM shortfall_contacts WHERE run IN (SELECT n FROM runs WHERE location = ?)",
    "DELETE FROM shortfalls WHERE run IN (SELECT n FROM runs WHERE location = ?)",
    "DELETE FROM adopted WHERE run IN (SELECT n FROM runs WHERE location = ?)",
    f"DELETE FROM rows WHERE batch IN ({_BATCHES})",
    f"DELETE FROM answers WHERE batch IN ({_BATCHES})",
    f"DELETE FROM batches WHERE n IN ({_BATCHES})",
    "DELETE FROM runs WHERE location = ?",
    "DELETE FROM contacts WHERE location = ?",
    "DELETE FROM known WHERE location = ?",
    "DELETE FROM set_sizes WHERE location = ?",
    "DELETE FROM facts WHERE location = ?",
    "DELETE FROM snapshots WHERE location = ?",
)
_LOOSE = {
    "contacts whose knowledge is missing": (
        "SELECT count(*) FROM contacts LEFT JOIN known ON contacts.known = known.n"
        " WHERE known.n IS NULL OR known.location <> contacts.location"
    ),
    "rows of an answer that is missing": (
        "SELECT count(*) FROM rows LEFT JOIN answers ON answers.batch = rows.batch AND answers.n = rows.answer"
        " WHERE rows.answer IS NOT NULL AND answers.n IS NULL"
    ),
    "answers of tags that are missing": "SELECT count(*) FROM answers WHERE "
    + " OR ".join(f"{column} NOT IN (SELECT n FROM tagsets)" for column in ("old", "added", "removed", "released")),
    "rows of what entered, which is missing": (
        "SELECT count(*) FROM rows WHERE entered NOT IN (SELECT n FROM tagsets)"
    ),
    "contacts of the index of people whose fingerprints are cut off": (
        "SELECT count(*) FROM people WHERE length(present) / 16 * 16 <> length(present)"
        " OR length(past) / 16 * 16 <> length(past)"
    ),
    "rows of a contact of another location than their run's": (
        "SELECT count(*) FROM rows JOIN contacts ON rows.contact = contacts.n JOIN batches ON rows.batch = batches.n"
        " JOIN runs ON batches.run = runs.n WHERE contacts.location <> runs.location"
    ),
}


def put_facts(database: Database, number: int, facts: LocationFacts) -> None:
    moves = None if facts.moves_updated is None else int(facts.moves_updated)
    tried = json.dumps([(row.name, row.verdict, row.found, row.at) for row in facts.tried])
    row = (number, moves, facts.max_contacts, facts.max_tags, json.dumps(facts.aliases), facts.limits_at, tried)
    database.execute(_PUT_FACTS, row)


def prune(database: Database, number: int, keep: int) -> None:
    """Gives up the rows of all but the last `keep` runs with an effect, and as many with batches or adoptions."""
    kept = (number, keep)
    old = (number, *kept, *kept)
    for table in ("rows", "answers"):
        database.execute(f"DELETE FROM {table} WHERE batch IN ({_OLD_BATCHES})", old)
    database.execute(f"DELETE FROM adopted WHERE run IN ({_OLD_RUNS})", old)
    for table in ("shortfall_contacts", "shortfalls"):
        database.execute(f"DELETE FROM {table} WHERE run IN ({_OLD_RUNS})", old)
        database.execute(f"DELETE FROM {table} WHERE run IN ({_OLD_SHORT})", (*old, *kept))
    # such a run no longer says which pairs it put under management: revert must know
    database.execute(f"UPDATE runs SET traced = 0 WHERE n IN ({_OLD_RUNS})", old)


def forget(database: Database, number: int, contacts: Iterable[ContactId]) -> frozenset[ContactId]:
    """Contacts leave, and so do their rows in the journal; those that the index of people or a snapshot had."""
    leaving = frozenset(contacts)
    database.give(Given.CONTACTS, ((contact, 0) for contact in sorted(leaving)))
    for table in ("rows", "adopted"):
        database.execute(f"DELETE FROM {table} WHERE contact IN ({_GIVEN})", (number,))
    # an answer that was given to these contacts alone holds their tags
    database.execute(_UNUSED_ANSWERS, (number,))
    database.execute(_FORGET_SHORTFALLS, (number,))
    left = bool(database.execute(f"DELETE FROM contacts WHERE n IN ({_GIVEN})", (number,)).rowcount)
    indexed = people_tables.forget(database, number)
    pulled = people_tables.forget_in_snapshots(database, number, leaving)
    if left or pulled:
        # journal rows and the index are no content: the serial grows only where a contact left the state or a set
        database.execute("UPDATE locations SET serial = serial + 1 WHERE n = ?", (number,))
    return indexed | pulled


def replace_all(database: Database, interning: Interning, number: int, portable: Portable) -> None:
    """The location becomes that of `portable`; its lease and its index of people stay."""
    state = portable.state
    # rows go before the rows that they refer to
    for statement in _EMPTY:
        database.execute(statement, (number,))
    interning.outdate(number)
    row = (state.lineage, state.serial, number)
    database.execute("UPDATE locations SET lineage = ?, serial = ? WHERE n = ?", row)
    observed = dict(sorted(state.observed.items()))
    patterns = interning.numbers_of(number, observed.values())
    database.give(Given.CONTACTS, zip(observed, patterns, strict=True))
    database.execute(sql_journal.ADD_CONTACTS + "DO NOTHING", (number,))
    for name, size in state.set_sizes.items():
        database.execute("INSERT INTO set_sizes (location, name, size) VALUES (?, ?, ?)", (number, name, size))
    put_facts(database, number, state.facts)
    people_tables.put_snapshots(database, number, portable.snapshots)
    for log in portable.runs:
        sql_journal.put_run(database, number, log.record)
        sql_journal.put_adopted(database, interning, log.record.id, number, log.adopted)
        if log.ending is not None:
            put_ending(database, log.record.id, log.ending)
        _put_batches(database, interning, number, log)


def _put_batches(database: Database, interning: Interning, number: int, log: RunLog) -> None:
    for batch in log.batches:
        tags = interning.tagset(frozenset(batch.tags))
        row = (batch.action, tags, batch.intended, batch.ended, batch.status)
        key = int(first(sql_journal.put_batch(database, log.record.id, row))[0])
        # an intent first, as every batch had one: rows enter without an answer, and are answered below
        entered = {contact: answer.entered for contact, answer in batch.answers.items()}
        sql_journal.put_rows(database, interning, key, number, entered)
        stored = sql_journal.read_batch(database, key)
        answers = [batch.answers.get(contact) for contact in stored.contacts]
        numbers = sql_journal.put_answers(database, interning, key, stored, answers)
        sql_journal.settle(database, number, key, stored, numbers, repeat(None, len(numbers)))


def find_faults(database: Database) -> Iterator[str]:
    """Faults of the database, and rows that refer to rows that are missing, a line each."""
    yield from database.find_faults()
    for fault, query in _LOOSE.items():
        count = first(database.execute(query))[0]
        if count:
            yield f"{count} {fault}"
    yield from people_tables.find_faults(database)
    yield from find_contradictions(database)
