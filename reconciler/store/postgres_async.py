"""PostgreSQL asked by an event loop, for tables that are not a state; `postgres_session.errors` tells its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row

from reconciler.store.postgres_session import StateAddress

Connection = psycopg.AsyncConnection[Any]
Record = DictRow
"""A row, by the names of its columns."""


async def try_to_connect(place: StateAddress) -> None:
    """Raises the server's error where it lets nobody in."""
    # a pool would try a wrong password, or a server that is not there, again and again
    await (await psycopg.AsyncConnection.connect(place.url)).close()


async def select(connection: Connection, query: LiteralString, values: Mapping[str, object]) -> list[Record]:
    """The rows of a query, or those that a change returns."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, values)
        # a change that returns nothing has no columns
        return await cursor.fetchall() if cursor.description else []
