"""Changes to a location as a whole: contacts forgotten, everything replaced, and whether all of it hangs together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from reconciler.core.journal import Answer, RunLog
from reconciler.core.names import ContactId
from reconciler.core.observed import UNKNOWN
from reconciler.core.outcome import Outcome
from reconciler.core.plan import Snapshot
from reconciler.store.interning import Interning
from reconciler.store.schema import TABLES


def forget(connection: sqlite3.Connection, number: int, contacts: Iterable[ContactId]) -> None:
    """Contacts of location `number` leave, and so do their rows in the journal."""
    ids = [(number, contact) for contact in contacts]
    connection.executemany(
        "DELETE FROM rows WHERE contact = (SELECT n FROM contacts WHERE location = ? AND id = ?)", ids
    )
    before = connection.total_changes
    connection.executemany("DELETE FROM contacts WHERE location = ? AND id = ?", ids)
    if connection.total_changes > before:
        connection.execute("UPDATE locations SET serial = serial + 1 WHERE n = ?", (number,))


def replace_all(
    connection: sqlite3.Connection, interning: Interning, number: int, state: Snapshot, runs: Sequence[RunLog]
) -> None:
    """Location `number` becomes `state` with the journal `runs`; its lease stays."""
    for statement in _EMPTY:
        connection.execute(statement, (number,))
    interning.forget()
    connection.execute(
        "UPDATE locations SET lineage = ?, serial = ? WHERE n = ?", (state.lineage, state.serial, number)
    )
    contacts = ((number, contact, interning.known(number, known)) for contact, known in state.observed.items())
    connection.executemany("INSERT INTO contacts (location, id, known) VALUES (?, ?, ?)", contacts)
    sizes = ((number, name, size) for name, size in state.set_sizes.items())
    connection.executemany("INSERT INTO set_sizes (location, name, size) VALUES (?, ?, ?)", sizes)
    for log in runs:
        _put_run(connection, interning, number, log)


_BATCHES = "SELECT batches.n FROM batches JOIN runs ON batches.run = runs.n WHERE runs.location = ?"
_EMPTY = (
    f"DELETE FROM rows WHERE batch IN ({_BATCHES})",
    f"DELETE FROM batches WHERE n IN ({_BATCHES})",
    "DELETE FROM runs WHERE location = ?",
    "DELETE FROM contacts WHERE location = ?",
    "DELETE FROM known WHERE location = ?",
    "DELETE FROM set_sizes WHERE location = ?",
)


def _put_run(connection: sqlite3.Connection, interning: Interning, number: int, log: RunLog) -> None:
    header = log.record.header
    connection.execute(
        "INSERT INTO runs (id, location, operation, who, change_digest, commit_id, started, ended, status, allowed)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            log.record.id,
            number,
            header.operation,
            header.who,
            header.change_digest,
            header.commit,
            header.started,
            log.record.ended,
            log.record.status,
            json.dumps(header.allowed),
        ),
    )
    unknown = interning.known(number, UNKNOWN)
    for batch in log.batches:
        inserted = connection.execute(
            "INSERT INTO batches (run, action, tags, intended, ended, status)"
            " VALUES ((SELECT n FROM runs WHERE id = ?), ?, ?, ?, ?, ?)",
            (
                log.record.id,
                batch.action,
                interning.tagset(frozenset(batch.tags)),
                batch.intended,
                batch.ended,
                batch.status,
            ),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO contacts (location, id, known) VALUES (?, ?, ?)",
            ((number, contact, unknown) for contact in batch.answers),
        )
        connection.executemany(_PUT_ROW, _rows(interning, number, int(inserted.lastrowid or 0), batch.answers.items()))


_PUT_ROW = """
INSERT INTO rows (batch, contact, outcome, old, added, removed, message, released)
VALUES (?, (SELECT n FROM contacts WHERE location = ? AND id = ?), ?, ?, ?, ?, ?, ?)
"""


def _rows(
    interning: Interning, number: int, batch: int, answers: Iterable[tuple[ContactId, Answer]]
) -> Iterator[tuple[object, ...]]:
    for contact, answer in answers:
        verdict = answer.verdict
        if verdict is None or verdict.outcome is Outcome.NOT_SENT:
            outcome = None if verdict is None else verdict.outcome
            yield batch, number, contact, outcome, None, None, None, None, None
            continue
        yield (
            batch,
            number,
            contact,
            verdict.outcome,
            *(interning.optional(tags) for tags in (verdict.old, verdict.added, verdict.removed)),
            None if verdict.outcome in (Outcome.APPLIED, Outcome.NOOP) else verdict.message,
            interning.tagset(answer.released) if answer.released else None,
        )


_LOOSE = {
    "contacts whose knowledge is missing": (
        "SELECT count(*) FROM contacts LEFT JOIN known ON contacts.known = known.n"
        " WHERE known.n IS NULL OR known.location <> contacts.location"
    ),
    "rows of tags that are missing": (
        "SELECT count(*) FROM rows WHERE EXISTS (SELECT 1 FROM (SELECT rows.old AS n UNION SELECT rows.added"
        " UNION SELECT rows.removed UNION SELECT rows.released) AS used"
        " WHERE used.n IS NOT NULL AND used.n NOT IN (SELECT n FROM tagsets))"
    ),
    "rows of a contact of another location than their run's": (
        "SELECT count(*) FROM rows JOIN contacts ON rows.contact = contacts.n JOIN batches ON rows.batch = batches.n"
        " JOIN runs ON batches.run = runs.n WHERE contacts.location <> runs.location"
    ),
    "tag sets that are not in their one spelling": "SELECT count(*) FROM tagsets WHERE NOT json_valid(tags)",
}


def check(connection: sqlite3.Connection) -> Iterator[str]:
    """What is wrong with how things are stored, a line each."""
    for (found,) in connection.execute("PRAGMA integrity_check(20)"):
        if found != "ok":
            yield f"the file is damaged: {found}"
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"a row of the table {table} refers to one of {parent} that is missing"
    for what, query in _LOOSE.items():
        number = connection.execute(query).fetchone()[0]
        if number:
            yield f"{number} {what}"
    expected = sqlite3.connect(":memory:")
    expected.executescript(TABLES)
    if _shape(connection) != _shape(expected):
        yield "the tables are not those of this version"
    expected.close()


def _shape(connection: sqlite3.Connection) -> dict[str, list[tuple[str, ...]]]:
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {name: connection.execute(f"SELECT * FROM pragma_table_info('{name}')").fetchall() for (name,) in tables}
