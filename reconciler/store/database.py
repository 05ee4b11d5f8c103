"""The database behind the state's tables, as a Protocol. The SQL of all modules is that of SQLite and of PostgreSQL.

Rules
1. `?` marks a parameter, and stands nowhere else in a statement; nor does `%`.
2. Rows in bulk are given first (`give`); from there one statement takes them over.
3. A server is asked at the first look at what a statement answers: all statements until then are one round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from threading import Lock
from typing import Any, Protocol

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.journal import StateCopy
from reconciler.core.model.names import Instant, LocationId, TagSet
from reconciler.core.model.state_fields import FIELDS


class Given(StrEnum):
    """The rows that are given; there are none at the start of a transaction."""

    CONTACTS = "given_contacts"
    ANSWERS = "given_answers"
    ROWS = "given_rows"
    MANAGED = "given_managed"
    PEOPLE = "given_people"
    TAGSETS = "given_tagsets"
    PATTERNS = "given_patterns"


COLUMNS = {
    Given.CONTACTS: "id TEXT NOT NULL, known INTEGER NOT NULL",
    Given.ANSWERS: (
        "n INTEGER NOT NULL, outcome TEXT NOT NULL, old INTEGER, added INTEGER, removed INTEGER,"
        " message TEXT, released INTEGER, rejection TEXT"
    ),
    Given.ROWS: "contact INTEGER NOT NULL, known INTEGER, answer INTEGER, entered INTEGER",
    Given.MANAGED: "id TEXT NOT NULL, tags INTEGER",
    Given.PEOPLE: "contact TEXT NOT NULL, present BLOB NOT NULL, past BLOB NOT NULL",
    Given.TAGSETS: "tags TEXT NOT NULL",
    Given.PATTERNS: "n INTEGER NOT NULL, location INTEGER NOT NULL, "
    + ", ".join(f"{field.name} {'INTEGER' if field.kind in (TagSet, Instant) else 'TEXT'}" for field in FIELDS),
}


class Rows(Protocol):
    """What a statement answers."""

    @property
    def rowcount(self) -> int: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """One connection."""

    @property
    def for_update(self) -> str:
        """The end of a SELECT that keeps other transactions from changing the row until this one ends."""

    @property
    def joining(self) -> str:
        """The function that joins the texts of rows, with its second argument between them."""

    @property
    def reads_ahead(self) -> bool:
        """Whether another thread may ask while this one asks nothing, and gains time by it."""

    def number_pattern(self) -> int:
        """A number for a new row of `known`."""

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> Rows: ...

    def ask(self, statement: str, parameters: Sequence[object] = ()) -> Rows:
        """As `execute`, for a question: its answer is that of now, also where it is looked at after later changes."""

    def require(self, statement: str, parameters: Sequence[object], error: ReconcilerError) -> None:
        """Refuses the transaction with `error` where the question has no answer: now, or before it would commit."""

    def reading(self) -> AbstractContextManager[None]:
        """One consistent view for several queries; errors are told as ours."""

    def writing(self) -> AbstractContextManager[None]:
        """All or nothing, durable at its end; errors are told as ours."""

    def give(self, table: Given, rows: Iterable[Sequence[object]]) -> None:
        """Replaces the rows that statements read in the table of that name."""

    def add_shared(self) -> None:
        """Keeps others, until the transaction ends, from adding to the tables that the locations share."""

    def hold(self, location: LocationId, fence: int) -> None:
        """This connection's session holds the lease from here on, where sessions can."""

    def let_go(self, location: LocationId, fence: int) -> None: ...

    def has_ended(self, location: LocationId, fence: int) -> bool:
        """Whether the session that took the lease is known to have ended."""

    def back_up(self, mark: StateCopy) -> None:
        """Puts a copy beside the state, which says that it is one, unless a server has backups of its own."""

    def find_faults(self) -> Iterator[str]:
        """Faults of how the database stores the state, a line each."""

    def close(self) -> None: ...


class BackUps:
    """The copies before runs: one for all locations whose runs begin beside one another, of before all of them.

    With a copy a run each location would wait for as many copies of the whole as there are locations.
    """

    def __init__(self) -> None:
        self._begun: set[LocationId] = set()
        self._lock = Lock()

    def copy_before_run(self, location: LocationId, copy: Callable[[], None]) -> None:
        """Makes a copy, unless a run of another location began since the last one, and none of this location."""
        # held while the copy is made: another location may begin only once the copy of before it is there
        with self._lock:
            if not self._begun or location in self._begun:
                copy()
                self._begun.clear()
            self._begun.add(location)


# not one of our errors: the adapters tell it of their file or server
class Undecodable(Exception):
    """Stored content that this program cannot have written."""


@contextmanager
def decoding() -> Iterator[None]:
    """Around code that turns stored values into ours: each value that it cannot turn is damage."""
    try:
        yield
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise Undecodable(f"{type(error).__name__} {error}") from error


def first(rows: Rows) -> Any:
    """The first row, None where there is none; the statement is at its end."""
    fetched = rows.fetchall()
    return fetched[0] if fetched else None
