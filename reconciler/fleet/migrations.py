"""The fleet's tables, made and brought up to date: the engine's by its own steps, and ours."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from procrastinate.schema import SchemaManager

from reconciler.fleet.table import TABLES
from reconciler.store.postgres_async import Connection, select
from reconciler.store.postgres_session import in_quotes


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


async def find_lacking(connection: Connection) -> str:
    """Why the tables are not those of this version; empty where they are."""
    if not await _has_table(connection, "reconciler_fleet_migrations"):
        return "has no tables of a fleet"
    steps = _find_steps(await _find_taken(connection))
    return f"lacks {len(steps)} steps of this version" if steps else ""


def _find_steps(taken: Collection[str]) -> list[Path]:
    """The engine's steps that the tables were not taken through yet."""
    scripts = Path(SchemaManager.get_migrations_path()).glob("*.sql")
    return sorted(script for script in scripts if script.name not in taken)


async def _find_taken(connection: Connection) -> set[str]:
    return {row["name"] for row in await select(connection, "SELECT name FROM reconciler_fleet_migrations", {})}


async def _has_table(connection: Connection, name: str) -> bool:
    found = await select(connection, "SELECT to_regclass(%(name)s) AS place", {"name": name})
    return found[0]["place"] is not None
