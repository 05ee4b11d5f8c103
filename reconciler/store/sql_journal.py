"""How runs, batches, rows and answers are put into the tables. Each function is part of the caller's transaction.

Rules
1. A row is a contact of a batch, written with the intent, and a number: that of its answer among the batch's.
2. Rows are put with their answers over those of the intent, in order: to delete them first takes as long again, and
   leaves more room in the pages.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any

from reconciler.core.model.alike import distinct_objects, map_alike
from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactState
from reconciler.core.model.journal import Answer, RunEnding, RunHeader, RunRecord, Shortfall
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
INSERT INTO runs (
    id, location, operation, who, change_digest, commit_id, started, ended, status, allowed, traced, ending
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
_STORED = f"""
SELECT given.id, contacts.n, contacts.known FROM {Given.CONTACTS} AS given
    LEFT JOIN contacts ON contacts.location = ? AND contacts.id = given.id
"""
_INTEND = f"INSERT INTO rows (batch, contact, entered) SELECT ?, contact, entered FROM {Given.ROWS} ORDER BY contact"
_ASKED = """
SELECT contacts.id, contacts.n, tagsets.tags, entered FROM rows JOIN contacts ON rows.contact = contacts.n
    JOIN known ON contacts.known = known.n JOIN tagsets ON known.ledger = tagsets.n
WHERE rows.batch = ? ORDER BY contacts.n
"""
_PUT_ANSWERS = f"""
INSERT INTO answers (batch, n, outcome, old, added, removed, message, released, rejection)
SELECT ?, n, outcome, old, added, removed, message, released, rejection FROM {Given.ANSWERS}
"""
_NEXT_ANSWER = "SELECT coalesce(max(n) + 1, 0) FROM answers WHERE batch = ?"
_ANSWER = f"""
INSERT INTO rows (batch, contact, answer, entered)
SELECT ?, contact, answer, entered FROM {Given.ROWS} WHERE true ORDER BY contact
ON CONFLICT (batch, contact) DO UPDATE SET answer = excluded.answer
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


FoundContacts = tuple[Sequence[ContactId], Sequence[int], Sequence[int | None]]
"""Contacts, their numbers and those of their states, None for one that is new; in the order of their numbers."""

MOST_REMEMBERED = 100_000
"""So many contacts at most: about 20 MB."""


@dataclass(frozen=True, slots=True)
class StoredContacts:
    """What is asked of contacts before they are given other states: a row each, with its number and its state's."""

    added: Rows | None
    """Those that were not in the tables."""
    rows: Rows


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """The rows of a batch before it is answered, in the order of their numbers."""

    contacts: Sequence[ContactId]
    numbers: Sequence[int]
    """Those of the contacts."""
    ledgers: Sequence[TagSet]
    """The tags under management before the answer."""
    entered: Sequence[int | None]
    """The numbers of the tags that the intent put under management."""
    next_answer: int = 0


class Remembered:
    """What the tables hold while a lease is held: batches as their intents left them, contacts as they were written."""

    def __init__(self) -> None:
        self._batches: dict[int, StoredBatch] = {}
        self._intended: set[ContactId] = set()
        # of a contact: its number, and that of its state
        self._numbers: dict[ContactId, int] = {}
        self._patterns: dict[ContactId, int | None] = {}

    def find(self, contacts: Sequence[ContactId]) -> FoundContacts | None:
        """None where one of them is not remembered."""
        try:
            numbers = list(map(self._numbers.__getitem__, contacts))
            patterns = list(map(self._patterns.__getitem__, contacts))
        except KeyError:
            return None
        if None in patterns:
            return None
        if numbers == sorted(numbers):
            return contacts, numbers, patterns
        return _in_order(zip(contacts, numbers, patterns, strict=True))

    def learn(self, contacts: Iterable[ContactId], patterns: Iterable[int | None]) -> None:
        """The numbers of the states that were written, None where one is not known."""
        self._patterns.update(zip(contacts, patterns, strict=True))

    def add(self, number: int, batch: StoredBatch) -> None:
        if len(self._numbers) > MOST_REMEMBERED:
            self._numbers.clear()
            self._patterns.clear()
        self._batches[number] = batch
        self._intended.update(batch.contacts)
        self._numbers.update(zip(batch.contacts, batch.numbers, strict=True))

    def take(self, number: int) -> StoredBatch | None:
        """The batch, which is about to change."""
        batch = self._batches.pop(number, None)
        # batches under way share no contact
        self._intended.difference_update(batch.contacts if batch else ())
        return batch

    def forget(self, contacts: Iterable[ContactId]) -> None:
        """These contacts are about to change."""
        if not self._intended.isdisjoint(contacts):
            self.clear()

    def clear(self) -> None:
        self._batches.clear()
        self._intended.clear()
        self._numbers.clear()
        self._patterns.clear()


def put_run(database: Database, number: int, run: RunRecord) -> None:
    """Of the location of that number."""
    header = run.header
    why = (header.operation, header.who, header.change_digest, header.commit)
    ended = (run.ended, run.status, json.dumps(header.allowed), int(run.traced), _begin_ending(header))
    database.execute(_PUT_RUN, (run.id, number, *why, header.started, *ended))


def _begin_ending(header: RunHeader) -> str | None:
    """All that is known of a run's ending when it begins: a run that is killed has no more."""
    return json.dumps({"manifests_digest": header.manifests_digest}) if header.manifests_digest else None


def put_batch(database: Database, run: str, row: tuple[object, ...]) -> Rows:
    """The new batch's number, in one row. `row`: action, number of its tags, intended, ended, status."""
    return database.execute(_PUT_BATCH, (run, *row))


def put_rows(
    database: Database, interning: Interning, batch: int, number: int, entered: Mapping[ContactId, TagSet]
) -> None:
    """A row without an answer for each contact, with the tags that its intent put under management.

    A contact that is not in the tables enters them as one that was never observed.
    """
    unknown = interning.known(number, NEVER_OBSERVED)
    database.give(Given.CONTACTS, ((contact, unknown) for contact in sorted(entered)))
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


def ask_contacts(database: Database, location: int, patterns: Mapping[ContactId, int], *, add: bool) -> StoredContacts:
    """Asks for the contacts; `add`: some may be new, and enter with these patterns."""
    database.give(Given.CONTACTS, sorted(patterns.items()))
    added = database.ask(ADD_CONTACTS + "DO NOTHING RETURNING id", (location,)) if add else None
    return StoredContacts(added, database.ask(_STORED, (location,)))


def read_contacts(database: Database, location: int, stored: StoredContacts | FoundContacts) -> FoundContacts:
    if not isinstance(stored, StoredContacts):
        return stored
    rows, new = stored.rows.fetchall(), {contact for (contact,) in (stored.added.fetchall() if stored.added else ())}
    if missing := {contact for contact, number, _ in rows if number is None}:
        new |= missing
        database.execute(ADD_CONTACTS + "DO NOTHING", (location,))
        rows = database.ask(_STORED, (location,)).fetchall()
    contacts, numbers, known = _in_order(rows)
    if new:
        known = tuple(None if contact in new else pattern for contact, pattern in zip(contacts, known, strict=True))
    return contacts, numbers, known


def _in_order(rows: Iterable[Any]) -> FoundContacts:
    ordered = sorted(rows, key=itemgetter(1))
    contacts, numbers, known = zip(*ordered, strict=True) if ordered else ((), (), ())
    return contacts, numbers, known


def follow_ledgers(
    before: Collection[TagSet], after: Collection[ContactState | None], spelling: Spelling
) -> tuple[Sequence[TagSet], Sequence[TagSet]]:
    """The tags under management of each contact after its change, and those that enter by it.

    None enters by its spelling alone.
    """

    def follow(ledger: TagSet, known: ContactState | None) -> tuple[TagSet, TagSet]:
        tags = ledger if known is None else known.ledger.tags
        return tags, spelling.missing_from(tags, ledger)

    ledgers, entered = zip(*map_alike(follow, before, after), strict=True) if before else ((), ())
    return ledgers, entered


def put_intended(database: Database, batch: int, stored: StoredBatch, known: Iterable[int | None]) -> None:
    """A row without an answer for each contact of a batch, and its new state, where it has one."""
    nothing = repeat(None, len(stored.numbers))
    database.give(Given.ROWS, zip(stored.numbers, known, nothing, stored.entered, strict=True))
    database.execute(_INTEND, (batch,))
    database.execute(_LEARN)


def learn(database: Database, contacts: Collection[int], patterns: Iterable[int]) -> None:
    """The contacts of these numbers are known so from here on."""
    nothing = [None] * len(contacts)
    database.give(Given.ROWS, zip(contacts, patterns, nothing, nothing, strict=True))
    database.execute(_LEARN)


@decoding()
def read_batch(database: Database, number: int) -> StoredBatch:
    asked, next_answer = database.ask(_ASKED, (number,)), database.ask(_NEXT_ANSWER, (number,))
    rows = asked.fetchall()
    contacts, numbers, texts, entered = zip(*rows, strict=True) if rows else ((), (), (), ())
    ledgers = {text: tags_of(text) for text in set(texts)}
    return StoredBatch(contacts, numbers, [ledgers[text] for text in texts], entered, int(first(next_answer)[0]))


def answered(
    batch: StoredBatch,
    outcomes: Mapping[ContactId, ContactOutcome],
    changed: Mapping[ContactId, ContactState],
    spelling: Spelling,
) -> list[Answer | None]:
    """The answer to each row, with the tags that leave management once the contacts are `changed`."""
    told, after = list(map(outcomes.get, batch.contacts)), list(map(changed.get, batch.contacts))
    return map_alike(partial(_make_answer, spelling), batch.ledgers, told, after)


def _make_answer(
    spelling: Spelling, ledger: TagSet, verdict: ContactOutcome | None, after: ContactState | None
) -> Answer | None:
    if verdict is None:
        return None
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
    database: Database, interning: Interning, number: int, batch: StoredBatch, answers: Collection[Answer | None]
) -> list[int | None]:
    """The number that each row's answer has from here on, None for a row without one."""
    numbers: dict[Answer, int] = {}

    def number_of(answer: Answer | None) -> int | None:
        if answer is None or answer.verdict is None:
            return None
        return numbers.setdefault(answer, batch.next_answer + len(numbers))

    by_row = map_alike(number_of, answers)
    # made before they are given: new tag sets may have to be stored on the way
    rows = [(nth, *_row(interning, answer, answer.verdict)) for answer, nth in numbers.items() if answer.verdict]
    database.give(Given.ANSWERS, rows)
    database.execute(_PUT_ANSWERS, (number,))
    return by_row


def _row(interning: Interning, answer: Answer, verdict: ContactOutcome) -> tuple[object, ...]:
    old, added, removed, released = map(interning.optional, _tagsets_of(answer, verdict))
    as_expected = verdict.outcome in (Outcome.APPLIED, Outcome.NOOP)
    # the vendor's sentence for a success says nothing, and would part answers that are alike
    message = None if as_expected else verdict.message
    return (verdict.outcome, old, added, removed, message, released, verdict.rejection)


def list_tagsets(answers: Collection[Answer | None]) -> Iterator[TagSet | None]:
    """The tag sets that rows of answers name by number."""
    for answer in distinct_objects(answers):
        if answer is not None and answer.verdict is not None:
            yield from _tagsets_of(answer, answer.verdict)


def _tagsets_of(answer: Answer, verdict: ContactOutcome) -> tuple[TagSet | None, ...]:
    # the empty set as NULL, which takes no room, but for the tags before: these may be unknown
    return verdict.old, verdict.added or None, verdict.removed or None, answer.released or None


def settle(
    database: Database,
    location: int,
    number: int,
    batch: StoredBatch,
    answers: Iterable[int | None],
    known: Iterable[int | None],
) -> None:
    """Rows become answered, and contacts known; the serial of the location grows where one of these changes.

    `answers`, `known`: the numbers of the answer to each row, and of the state of its contact, where it has one.
    """
    database.give(Given.ROWS, zip(batch.numbers, known, answers, batch.entered, strict=True))
    database.execute(_ANSWER, (number,))
    database.execute(_COUNT_LEARNT, (location,))
    database.execute(_LEARN)


def settle_alike(database: Database, batch: int, outcome: Outcome) -> None:
    """All rows of a batch without an answer so far end the same way."""
    # one answer for all of them, as they share all that it says
    number = int(first(database.execute(_NEXT_ANSWER, (batch,)))[0])
    database.execute("INSERT INTO answers (batch, n, outcome) VALUES (?, ?, ?)", (batch, number, outcome))
    database.execute("UPDATE rows SET answer = ? WHERE batch = ? AND answer IS NULL", (number, batch))


def put_ending(database: Database, run: str, ending: RunEnding) -> None:
    tables = {"pairs": dict(ending.pairs), "reads_for": dict(ending.reads_for)}
    names = (member.name for member in fields(ending) if member.name not in (*tables, "shortfalls"))
    numbers = {**tables, **{name: getattr(ending, name) for name in names}}
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
    # a run that has not ended tells its manifests alone
    if "pairs" not in numbers:
        return None
    pairs = tuple((Outcome(outcome), int(count)) for outcome, count in numbers.pop("pairs").items())
    # an older version did not write down what it read for
    reads_for = tuple(numbers.pop("reads_for", {}).items())
    return RunEnding(pairs=pairs, reads_for=reads_for, shortfalls=_read_shortfalls(database, run), **numbers)


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
