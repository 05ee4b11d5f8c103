"""How runs, batches, rows and answers are put into the tables. Each function is part of the caller's transaction.

Rules
1. A row is a contact of a batch, written with the intent, and a number: that of its answer among the batch's.
2. Rows are put anew when they are answered, and not changed: rows that grow where they are leave pages half empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from reconciler.core.journal import Answer, RunRecord
from reconciler.core.names import ContactId, TagSet
from reconciler.core.observed import UNKNOWN, Known
from reconciler.core.outcome import Outcome, Verdict
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
_ASKED = """
SELECT contacts.id, contacts.n, tagsets.tags FROM rows JOIN contacts ON rows.contact = contacts.n
    JOIN known ON contacts.known = known.n JOIN tagsets ON known.ledger = tagsets.n
WHERE rows.batch = ?
"""
_PUT_ANSWERS = f"""
INSERT INTO answers (batch, n, outcome, old, added, removed, message, released, rejection)
SELECT ?, n, outcome, old, added, removed, message, released, rejection FROM {Given.ANSWERS}
"""
_NEXT_ANSWER = "SELECT coalesce(max(n) + 1, 0) FROM answers WHERE batch = ?"
_UNANSWER = f"DELETE FROM rows WHERE batch = ? AND contact IN (SELECT contact FROM {Given.ROWS})"
_ANSWER = f"INSERT INTO rows (batch, contact, answer) SELECT ?, contact, answer FROM {Given.ROWS} ORDER BY contact"
_LEARN = f"""
UPDATE contacts SET known = given.known FROM {Given.ROWS} AS given
WHERE contacts.n = given.contact AND contacts.known <> given.known
"""


class Asked(NamedTuple):
    """A contact of a batch: its number, and what was under management before the answer."""

    number: int
    ledger: TagSet


def put_run(database: Database, number: int, run: RunRecord) -> None:
    """Of the location of that number."""
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
    database.give(Given.CONTACTS, ((contact, unknown) for contact in sorted(contacts)))
    database.execute(ADD_CONTACTS + "DO NOTHING", (number,))
    database.execute(_PUT_ROWS, (batch, number))


@decoding()
def asked(database: Database, batch: int) -> dict[ContactId, Asked]:
    """The contacts of a batch."""
    ledgers: dict[str, TagSet] = {}
    found = {}
    for contact, number, text in database.execute(_ASKED, (batch,)):
        ledger = ledgers[text] if text in ledgers else ledgers.setdefault(text, tags_of(text))
        found[ContactId(contact)] = Asked(number, ledger)
    return found


def answered(
    rows: Mapping[ContactId, Asked], verdicts: Mapping[ContactId, Verdict], changed: Mapping[ContactId, Known]
) -> Iterator[tuple[ContactId, Answer]]:
    """The answers to a batch, with what was under management and is gone once its contacts are `changed`."""
    for contact, row in rows.items():
        if (verdict := verdicts.get(contact)) is None:
            continue
        ledger, after = row.ledger, changed.get(contact)
        # taken away by the answer, though a doubt may keep it in the ledger a while longer
        gone = ledger & verdict.removed
        # what was refused was never under management, but for the intent
        lost = NONE if after is None or verdict.outcome is Outcome.REJECTED else ledger - after.ledger
        yield contact, Answer(verdict, gone | lost)


def put_answers(
    database: Database, interning: Interning, batch: int, answers: Iterable[tuple[ContactId, Answer]]
) -> dict[ContactId, int]:
    """The number that each contact's answer has from here on."""
    start = int(first(database.execute(_NEXT_ANSWER, (batch,)))[0])
    numbers: dict[Answer, int] = {}
    found = {
        contact: numbers.setdefault(answer, start + len(numbers))
        for contact, answer in answers
        if answer.verdict is not None
    }
    # made before they are given: new tag sets may have to be stored on the way
    rows = [(number, *_row(interning, answer, answer.verdict)) for answer, number in numbers.items() if answer.verdict]
    database.give(Given.ANSWERS, rows)
    database.execute(_PUT_ANSWERS, (batch,))
    return found


def _row(interning: Interning, answer: Answer, verdict: Verdict) -> tuple[object, ...]:
    given = (verdict.old, verdict.added or None, verdict.removed or None, answer.released or None)
    old, added, removed, released = map(interning.optional, given)
    as_expected = verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)
    message = None if as_expected else verdict.message
    return (verdict.outcome, old, added, removed, message, released, verdict.rejection)


def settle(database: Database, batch: int, rows: Iterable[tuple[int, int | None, int | None]]) -> int:
    """Rows become answered, and contacts known; how many of these changed. `rows`: number of contact, known, answer."""
    database.give(Given.ROWS, sorted(rows))
    database.execute(_UNANSWER, (batch,))
    database.execute(_ANSWER, (batch,))
    return database.execute(_LEARN).rowcount


def settle_alike(database: Database, batch: int, outcome: Outcome) -> None:
    """All rows of a batch without an answer so far end the same way."""
    number = int(first(database.execute(_NEXT_ANSWER, (batch,)))[0])
    database.execute("INSERT INTO answers (batch, n, outcome) VALUES (?, ?, ?)", (batch, number, outcome))
    database.execute("UPDATE rows SET answer = ? WHERE batch = ? AND answer IS NULL", (number, batch))
