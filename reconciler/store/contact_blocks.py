"""The contacts of a location in blocks, of which a thread asks the database for some while others are worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, NamedTuple, TypeAlias, TypeVar

from reconciler.core.model.names import ContactId, are_plain
from reconciler.store.database import Database, Rows, first

T = TypeVar("T")
_Taken: TypeAlias = tuple[T] | BaseException | None
"""An item, the error of the item after the last one, or None at the end."""
_CONTACTS = "SELECT id, known FROM contacts WHERE location = ?"
BLOCK = 1 << 16
"""So many contacts are read as one row: a row for each takes three times as long."""


class ContactBlock(NamedTuple):
    """Some contacts of a location, with the numbers of their patterns."""

    joined: tuple[str, int, str] | None
    """Ids of letters and digits alone, one after another; the length of each; the numbers, with commas between."""
    rows: Sequence[tuple[ContactId, int]] = ()
    """The contacts where they are not joined."""


def list_blocks(database: Database, location: int, size: int, answer: Sequence[Any]) -> Iterator[ContactBlock]:
    """The contacts of a location in blocks, of which the first is the answer to `ask_block`."""
    while True:
        rows, last, ids, found = answer
        if rows and (joined := _join_ids(ids, rows)):
            yield ContactBlock((*joined, found))
        elif rows:
            odd = f"{_CONTACTS} AND id <= ? ORDER BY id DESC LIMIT {rows}"
            yield ContactBlock(None, database.execute(odd, (location, last)).fetchall())
        if rows < size:
            return
        answer = first(ask_block(database, location, size, last))


def _join_ids(ids: str, rows: int) -> tuple[str, int] | None:
    """Ids with commas between them as one text without, and their length; None unless they are of a block's kind."""
    joined, length = ids.replace(",", ""), len(ids.partition(",")[0])
    # the database would take half as long again to tell the lengths
    is_even = len(joined) == rows * length and ids[length :: length + 1] == "," * (rows - 1)
    return (joined, length) if is_even and length and are_plain(joined) else None


def ask_block(database: Database, location: int, size: int, after: str | None = None) -> Rows:
    """Some contacts: how many, the last of them, and the texts of their ids and numbers, with commas between."""
    beyond, parameters = ("", ()) if after is None else (" AND id > ?", (after,))
    return database.execute(
        "SELECT count(*), max(id),"
        f" {database.joining}(id, ','), {database.joining}(CAST(known AS TEXT), ',')"
        f" FROM ({_CONTACTS}{beyond} ORDER BY id LIMIT {size}) AS block",
        (location, *parameters),
    )


@contextmanager
def ahead_of_time(items: Iterable[T]) -> Iterator[Iterator[T]]:
    """The items, which a thread makes within the context; their error is raised where its item would come.

    Meanwhile the connection that they come from belongs to that thread. At the end the thread makes no further item.
    """
    taken: SimpleQueue[_Taken[T]] = SimpleQueue()
    has_ended = Event()
    thread = Thread(target=_make, args=(items, taken, has_ended), name="ahead")
    thread.start()
    try:
        yield _take(taken)
    finally:
        has_ended.set()
        thread.join()


def _make(items: Iterable[T], taken: SimpleQueue[_Taken[T]], has_ended: Event) -> None:
    end: _Taken[T] = None
    try:
        for item in items:
            taken.put((item,))
            if has_ended.is_set():
                return
    except BaseException as error:  # noqa: BLE001 (it is raised where the items are taken)
        end = error
    taken.put(end)


def _take(taken: SimpleQueue[_Taken[T]]) -> Iterator[T]:
    while (item := taken.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item[0]
