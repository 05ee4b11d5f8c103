"""The fleet's tables, made and brought up to date: the engine's by its own steps, and ours."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

from procrastinate.schema import SchemaManager

from reconciler.fleet.table import TABLES
from reconciler.store.postgres_async import Connection, select
from reconciler.store.postgres_session import in_quotes

_NEEDED = (
    "reconciler_fleet_jobs",
    "reconciler_fleet_schedules",
    "procrastinate_jobs",
    "procrastinate_events",
    "procrastinate_workers",
)


async def migrate(connection: Connection, schema: str) -> None:
    """In one transaction: all steps, or none."""
    # two at once: the second finds the tables
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('reconciler fleet migrate'))")
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {in_quotes(schema)}".encode())
    await connection.execute(TABLES)
    steps = _find_steps(await _find_taken(connection))
    # a schema that is made anew has all steps in it
    scripts = [step.read_text(encoding="utf-8") for step in steps]
    for script in scripts if await _has_table(connection, "procrastinate_jobs") else [SchemaManager.get_schema()]:
        await connection.execute(script.encode())
    for step in steps:
        await connection.execute("INSERT INTO reconciler_fleet_migrations VALUES (%s)", (step.name,))


@dataclass(frozen=True, slots=True)
class Lacking:
    """What the tables of a schema lack, as the end of a sentence, and the remedy."""

    what: str
    remedy: str = "reconciler fleet migrate makes them, with the same --database"


async def find_lacking(connection: Connection) -> Lacking | None:
    """Why the tables are not those of this version; None where they are."""
    if not await _has_table(connection, "reconciler_fleet_migrations"):
        return Lacking("has no tables of a fleet")
    if steps := _find_steps(await _find_taken(connection)):
        return Lacking(f"lacks {len(steps)} steps of this version")
    query: LiteralString = "SELECT name FROM unnest(%(all)s::text[]) AS name WHERE to_regclass(name) IS NULL"
    if gone := await select(connection, query, {"all": list(_NEEDED)}):
        return Lacking(
            f"is damaged: it lacks its table {gone[0]['name']}",
            "restore it from a backup; or name a schema that is new, make its tables (fleet migrate), and queue anew",
        )
    return None


def _find_steps(taken: Collection[str]) -> list[Path]:
    """The engine's steps that the tables were not taken through yet."""
    scripts = Path(SchemaManager.get_migrations_path()).glob("*.sql")
    return sorted(script for script in scripts if script.name not in taken)


async def _find_taken(connection: Connection) -> set[str]:
    return {row["name"] for row in await select(connection, "SELECT name FROM reconciler_fleet_migrations", {})}


async def _has_table(connection: Connection, name: str) -> bool:
    found = await select(connection, "SELECT to_regclass(%(name)s) AS place", {"name": name})
    return found[0]["place"] is not None
