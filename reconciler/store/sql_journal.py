"""How runs, batches, rows and answers are put into the tables. Each function is part of the caller's transaction.

Rules
1. A row is a contact of a batch, written with the intent, and a number: that of its answer among the batch's.
2. Rows are put anew when they are answered, and not changed: rows that grow where they are leave pages half empty.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

from reconciler.core.model.alike import distinct_objects, map_alike
from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactState
from reconciler.core.model.journal import Answer, RunEnding, RunRecord, Shortfall
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.planning.tag_aliases import Spelling
from reconciler.store.database import Database, Given, Rows, decoding, first
from reconciler.store.pattern_table import Interning, tags_of

NONE: TagSet = frozenset()

ADD_CONTACTS = f"""
INSERT INTO contacts (location, id, known) SELECT ?, id, known FROM {Given.CONTACTS} WHERE true
ON CONFLICT (location, id) """
_PUT_RUN = """
INSERT INTO runs (id, location, operation, who, change_digest, commit_id, started, ended, status, allowed, traced)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_BATCH = """
INSERT INTO batches (run, action, tags, intended, ended, status)
VALUES ((SELECT n FROM runs WHERE id = ?), ?, ?, ?, ?, ?) RETURNING n
"""
_PUT_ROWS = f"""
INSERT INTO rows (batch, contact, entered)
SELECT ?, contacts.n, given.tags FROM {Given.MANAGED} AS given JOIN contacts ON contacts.id = given.id
WHERE contacts.location = ? ORDER BY contacts.n
"""
_PUT_ADOPTED = f"""
INSERT INTO adopted (run, contact, tags)
SELECT (SELECT n FROM runs WHERE id = ?), contacts.n, given.tags
FROM {Given.MANAGED} AS given JOIN contacts ON contacts.id = given.id
WHERE contacts.location = ? ORDER BY contacts.n
"""
_ADOPTED = """
SELECT contacts.id, tagsets.tags FROM adopted JOIN contacts ON adopted.contact = contacts.n
    JOIN tagsets ON adopted.tags = tagsets.n
WHERE run = (SELECT n FROM runs WHERE id = ?) ORDER BY contacts.id
"""
_UNADOPT = "DELETE FROM adopted WHERE run = (SELECT n FROM runs WHERE id = ?)"
_LEDGERS = f"""
SELECT given.id, (
    SELECT tagsets.tags FROM contacts JOIN known ON contacts.known = known.n JOIN tagsets ON known.ledger = tagsets.n
    WHERE contacts.location = ? AND contacts.id = given.id)
FROM {Given.CONTACTS} AS given
"""
_ASKED = """
SELECT contacts.id, contacts.n, tagsets.tags, entered FROM rows JOIN contacts ON rows.contact = contacts.n
    JOIN known ON contacts.known = known.n JOIN tagsets ON known.ledger = tagsets.n
WHERE rows.batch = ?
"""
_PUT_ANSWERS = f"""
INSERT INTO answers (batch, n, outcome, old, added, removed, message, released, rejection)
SELECT ?, n, outcome, old, added, removed, message, released, rejection FROM {Given.ANSWERS}
"""
_NEXT_ANSWER = "SELECT coalesce(max(n) + 1, 0) FROM answers WHERE batch = ?"
_UNANSWER = f"DELETE FROM rows WHERE batch = ? AND contact IN (SELECT contact FROM {Given.ROWS})"
_ANSWER = f"""
INSERT INTO rows (batch, contact, answer, entered)
SELECT ?, contact, answer, entered FROM {Given.ROWS} ORDER BY contact
"""
_LEARNT = f"{Given.ROWS} AS given WHERE contacts.n = given.contact AND contacts.known <> given.known"
_LEARN = f"UPDATE contacts SET known = given.known FROM {_LEARNT}"
COUNT = "UPDATE locations SET serial = serial + 1 WHERE n = ?"
"""The content of the location has changed."""
_COUNT_LEARNT = f"{COUNT} AND EXISTS (SELECT 1 FROM contacts, {_LEARNT})"
_RUN = "(SELECT n FROM runs WHERE id = ?)"
_PUT = f"INSERT INTO shortfalls (run, n, outcome, action, tags, why) VALUES ({_RUN}, ?, ?, ?, ?, ?)"
_PUT_CONTACTS = f"""
INSERT INTO shortfall_contacts (run, n, contact) SELECT {_RUN}, known, id FROM {Given.CONTACTS} ORDER BY known, id
"""
_GROUPS = f"SELECT n, outcome, action, tags, why FROM shortfalls WHERE run = {_RUN} ORDER BY n"
_CONTACTS = f"SELECT n, contact FROM shortfall_contacts WHERE run = {_RUN} ORDER BY n, contact"


class Asked(NamedTuple):
    """A contact of a batch, as the rows hold it."""

    number: int
    ledger: TagSet
    """The tags under management before the answer."""
    entered: int | None
    """The number of the tags that the intent put under management."""


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """What is asked of a batch before it is answered."""

    number: int
    contacts: frozenset[ContactId]
    rows: Rows
    next_answer: Rows


def put_run(database: Database, number: int, run: RunRecord) -> None:
    """Of the location of that number."""
    header = run.header
    why = (header.operation, header.who, header.change_digest, header.commit)
    ended = (run.ended, run.status, json.dumps(header.allowed), int(run.traced))
    database.execute(_PUT_RUN, (run.id, number, *why, header.started, *ended))


def put_batch(database: Database, run: str, row: tuple[object, ...]) -> Rows:
    """The new batch's number, in one row. `row`: action, number of its tags, intended, ended, status."""
    return database.execute(_PUT_BATCH, (run, *row))


def put_rows(
    database: Database,
    interning: Interning,
    batch: int,
    number: int,
    entered: Mapping[ContactId, TagSet],
    stored: AbstractSet[ContactId] = frozenset(),
) -> None:
    """A row without an answer for each contact, with the tags that its intent put under management.

    A contact that is not in the tables enters them as one that was never observed; `stored`: contacts that are there.
    """
    if strange := sorted(entered.keys() - stored):
        unknown = interning.known(number, NEVER_OBSERVED)
        database.give(Given.CONTACTS, ((contact, unknown) for contact in strange))
        database.execute(ADD_CONTACTS + "DO NOTHING", (number,))
    # the empty set as NULL, which takes no room: most intents put nothing under management
    rows = [(contact, interning.optional(entered[contact] or None)) for contact in sorted(entered)]
    database.give(Given.MANAGED, rows)
    database.execute(_PUT_ROWS, (batch, number))


def put_adopted(
    database: Database, interning: Interning, run: str, number: int, adopted: Mapping[ContactId, TagSet]
) -> None:
    """Adds to the tags that the run put under management without a request."""
    before = read_adopted(database, run)
    adoptions = before | {contact: tags | before.get(contact, NONE) for contact, tags in adopted.items() if tags}
    # written anew: a run that adopts twice has one row a contact
    database.execute(_UNADOPT, (run,))
    database.give(Given.MANAGED, [(contact, interning.tagset(adoptions[contact])) for contact in sorted(adoptions)])
    database.execute(_PUT_ADOPTED, (run, number))


@decoding()
def read_adopted(database: Database, run: str) -> dict[ContactId, TagSet]:
    return {ContactId(contact): tags_of(text) for contact, text in database.execute(_ADOPTED, (run,)).fetchall()}


def ask_ledgers(database: Database, number: int) -> Rows:
    """The ledgers of the contacts that are given, before these are taken over: for `entering`."""
    return database.ask(_LEDGERS, (number,))


@decoding()
def entering(ledgers: Rows, changed: Mapping[ContactId, ContactState], spelling: Spelling) -> dict[ContactId, TagSet]:
    """The tags that enter the ledger of each contact by its change; none enters by its spelling alone."""
    stored = ledgers.fetchall()
    texts = {text: tags_of(text) for text in {text for _, text in stored if text is not None}}
    before = {ContactId(contact): texts[text] for contact, text in stored if text is not None}
    ledgers_before = [before.get(contact, NONE) for contact in changed]

    def enter(known: ContactState, ledger: TagSet) -> TagSet:
        return spelling.missing_from(known.ledger.tags, ledger)

    return dict(zip(changed, map_alike(enter, changed.values(), ledgers_before), strict=True))


def ask_batch(database: Database, number: int, contacts: Iterable[ContactId]) -> StoredBatch:
    rows, next_answer = database.ask(_ASKED, (number,)), database.ask(_NEXT_ANSWER, (number,))
    return StoredBatch(number, frozenset(contacts), rows, next_answer)


@decoding()
def read_asked(batch: StoredBatch) -> dict[ContactId, Asked]:
    """The contacts of a batch."""
    ledgers: dict[str, TagSet] = {}
    rows = {}
    for contact, number, text, entered in batch.rows.fetchall():
        ledger = ledgers[text] if text in ledgers else ledgers.setdefault(text, tags_of(text))
        rows[ContactId(contact)] = Asked(number, ledger, entered)
    return rows


def answered(
    rows: Mapping[ContactId, Asked],
    verdicts: Mapping[ContactId, ContactOutcome],
    changed: Mapping[ContactId, ContactState],
    spelling: Spelling,
) -> dict[ContactId, Answer]:
    """The answers to a batch, each with the tags that leave management once its contacts are `changed`."""
    contacts = [contact for contact in rows if contact in verdicts]
    ledgers = [rows[contact].ledger for contact in contacts]
    told, after = list(map(verdicts.__getitem__, contacts)), list(map(changed.get, contacts))
    return dict(zip(contacts, map_alike(partial(_make_answer, spelling), ledgers, told, after), strict=True))


def _make_answer(spelling: Spelling, ledger: TagSet, verdict: ContactOutcome, after: ContactState | None) -> Answer:
    # taken away by the answer, though a doubt may keep it in the ledger a while longer
    gone = ledger - spelling.missing_from(ledger, verdict.removed)
    # a refused tag was under management by the intent alone: it is not released
    lost = (
        NONE
        if after is None or verdict.outcome is Outcome.REJECTED
        else spelling.missing_from(ledger, after.ledger.tags)
    )
    return Answer(verdict, gone | lost)


def put_answers(
    database: Database, interning: Interning, batch: StoredBatch, answers: Mapping[ContactId, Answer]
) -> dict[ContactId, int]:
    """The number that each contact's answer has from here on."""
    start = int(first(batch.next_answer)[0])
    numbers: dict[Answer, int] = {}
    told = {contact: answer for contact, answer in answers.items() if answer.verdict is not None}
    by_contact = map_alike(lambda answer: numbers.setdefault(answer, start + len(numbers)), told.values())
    # made before they are given: new tag sets may have to be stored on the way
    rows = [(number, *_row(interning, answer, answer.verdict)) for answer, number in numbers.items() if answer.verdict]
    database.give(Given.ANSWERS, rows)
    database.execute(_PUT_ANSWERS, (batch.number,))
    return dict(zip(told, by_contact, strict=True))


def _row(interning: Interning, answer: Answer, verdict: ContactOutcome) -> tuple[object, ...]:
    old, added, removed, released = map(interning.optional, _tagsets_of(answer, verdict))
    as_expected = verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)
    # the vendor's sentence for a success says nothing, and would part answers that are alike
    message = None if as_expected else verdict.message
    return (verdict.outcome, old, added, removed, message, released, verdict.rejection)


def list_tagsets(answers: Collection[Answer]) -> Iterator[TagSet | None]:
    """The tag sets that rows of answers name by number."""
    for answer in distinct_objects(answers):
        if answer.verdict is not None:
            yield from _tagsets_of(answer, answer.verdict)


def _tagsets_of(answer: Answer, verdict: ContactOutcome) -> tuple[TagSet | None, ...]:
    # the empty set as NULL, which takes no room, but for the tags before: these may be unknown
    return verdict.old, verdict.added or None, verdict.removed or None, answer.released or None


def settle(
    database: Database, location: int, batch: int, rows: Iterable[tuple[int, int | None, int | None, int | None]]
) -> None:
    """Rows become answered, and contacts known; the serial of the location grows where one of these changes.

    `rows`: the numbers of a contact, of its state, of its answer, and of the tags that its intent put under management.
    """
    database.give(Given.ROWS, sorted(rows))
    database.execute(_UNANSWER, (batch,))
    database.execute(_ANSWER, (batch,))
    database.execute(_COUNT_LEARNT, (location,))
    database.execute(_LEARN)


def settle_alike(database: Database, batch: int, outcome: Outcome) -> None:
    """All rows of a batch without an answer so far end the same way."""
    # one answer for all of them, as they share all that it says
    number = int(first(database.execute(_NEXT_ANSWER, (batch,)))[0])
    database.execute("INSERT INTO answers (batch, n, outcome) VALUES (?, ?, ?)", (batch, number, outcome))
    database.execute("UPDATE rows SET answer = ? WHERE batch = ? AND answer IS NULL", (number, batch))


def put_ending(database: Database, run: str, ending: RunEnding) -> None:
    names = (member.name for member in fields(ending) if member.name not in ("pairs", "shortfalls"))
    numbers = {"pairs": dict(ending.pairs), **{name: getattr(ending, name) for name in names}}
    database.execute("UPDATE runs SET ending = ? WHERE id = ?", (json.dumps(numbers), run))
    for number, short in enumerate(ending.shortfalls):
        database.execute(_PUT, (run, number, short.outcome, short.action, json.dumps(short.tags), short.why))
    database.give(Given.CONTACTS, _numbered(ending.shortfalls))
    database.execute(_PUT_CONTACTS, (run,))


def _numbered(shortfalls: Iterable[Shortfall]) -> Iterator[tuple[ContactId, int]]:
    return ((contact, number) for number, short in enumerate(shortfalls) for contact in short.contacts)


@decoding()
def read_ending(database: Database, run: str) -> RunEnding | None:
    """Without the contacts that were given up or forgotten since."""
    row = first(database.execute("SELECT ending FROM runs WHERE id = ?", (run,)))
    if row is None or row[0] is None:
        return None
    numbers = json.loads(row[0])
    pairs = tuple((Outcome(outcome), int(count)) for outcome, count in numbers.pop("pairs").items())
    return RunEnding(pairs=pairs, shortfalls=_read_shortfalls(database, run), **numbers)


def _read_shortfalls(database: Database, run: str) -> tuple[Shortfall, ...]:
    contacts: dict[int, list[ContactId]] = {}
    for number, contact in database.execute(_CONTACTS, (run,)).fetchall():
        contacts.setdefault(number, []).append(ContactId(contact))
    return tuple(
        Shortfall(Outcome(outcome), Action(action), tuple(map(Tag, json.loads(tags))), why, tuple(contacts[number]))
        for number, outcome, action, tags, why in database.execute(_GROUPS, (run,)).fetchall()
        # a group all of whose contacts were forgotten is none any more
        if number in contacts
    )
