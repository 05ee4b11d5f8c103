"""`refresh` reads, stores and changes nobody; so does every command that only looks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.clock import SystemClock
from reconciler.sandbox.app import App
from reconciler.sandbox.server import Running, in_background
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_store
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.cli.listening import Listening
from tests.fakes import a_holder

Manifest = Callable[..., None]
GET, SEARCH = "GET /contacts/id", "POST /contacts/search"


@pytest.fixture
def network(world: World) -> Listening:
    return Listening(App(world))


@pytest.fixture
def sandbox(network: Listening) -> Iterator[Running]:
    with in_background(network) as running:
        yield running


def known(reconciler: Command) -> dict[str, dict[str, object]]:
    listed = json.loads(reconciler("state", "list", "--format", "json").out)["locations"]
    return {each["contact"]: each for location in listed for each in location["contacts"]}


def test_get_reads_those_that_are_declared(reconciler: Command, manifest: Manifest, network: Listening) -> None:
    manifest(customers=(range(3), ["customer"], []))
    ended = reconciler("refresh", "--method", "get")
    assert ended.code == 0, ended.err
    assert "3 contacts read" in ended.out
    assert "reading by get: 3 requests" in ended.err
    assert network.since() == {GET: 3}
    assert known(reconciler)[contact_id(0)]["observed"] == ["trial"]
    assert known(reconciler)[contact_id(0)]["origin"] == "get"


def test_search_reads_everybody(reconciler: Command, manifest: Manifest, network: Listening) -> None:
    manifest(customers=(range(3), ["customer"], []))
    ended = reconciler("refresh", "--method", "search", "--format", "json")
    (found,) = json.loads(ended.out)["locations"]
    assert (found["read"], found["incomplete"], found["gone"]) == (8, "", {})
    assert network.since() == {SEARCH: 2}
    assert len(known(reconciler)) == 8


def test_auto_takes_what_is_cheaper(reconciler: Command, manifest: Manifest, network: Listening) -> None:
    manifest(customers=(range(1), ["customer"], []))
    assert reconciler("refresh").code == 0
    assert network.since() == {GET: 1}
    manifest(customers=(range(6), ["customer"], []))
    assert reconciler("refresh").code == 0
    assert network.since() == {SEARCH: 2}
    # an index that lags cannot promise a minute
    assert reconciler("refresh", "--max-age", "1m").code == 0
    assert network.since()[GET] > 0


def test_max_age_reads_what_is_older(reconciler: Command, manifest: Manifest, network: Listening) -> None:
    manifest(customers=(range(2), ["customer"], []))
    reconciler("refresh", "--method", "get")
    manifest(customers=(range(4), ["customer"], []))
    network.since()
    assert "2 contacts read" in reconciler("refresh", "--method", "get", "--max-age", "24h").out
    assert network.since() == {GET: 2}
    assert "Nothing had to be read" in reconciler("refresh", "--method", "search", "--max-age", "24h").out
    assert network.since() == {}
    assert reconciler("refresh", "--max-age", "soon").code == 64


def test_who_is_not_there_is_told_and_not_quarantined(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=(range(10), ["customer"], []))
    for method in ("get", "search"):
        ended = reconciler("refresh", "--method", method, "--format", "json")
        (found,) = json.loads(ended.out)["locations"]
        assert found["gone"].keys() == {contact_id(8), contact_id(9)}
    assert known(reconciler)[contact_id(0)]["quarantine"] is None
    assert contact_id(8) not in known(reconciler)
    assert "Not there" in reconciler("refresh", "--method", "get").out


def test_a_refresh_is_in_the_history(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=(range(2), ["customer"], []))
    reconciler("refresh")
    assert "refresh" in reconciler("history").out


def test_a_location_that_somebody_works_on_is_not_refreshed(
    reconciler: Command, manifest: Manifest, network: Listening, project: Path
) -> None:
    manifest(customers=(range(2), ["customer"], []))
    reconciler("refresh", "--method", "get")
    network.since()
    with open_store("sqlite:///.reconciler/state.db") as store:
        store.acquire(LOCATION, a_holder("else"), SystemClock().now())
        assert reconciler("refresh").code == 6
    assert network.since() == {}


LOOKING = [
    ["plan"],
    ["plan", "--refresh", "get"],
    ["plan", "--refresh", "search", "--out", "plan.json"],
    ["drift"],
    ["drift", "--refresh", "auto", "--show", "foreign"],
    ["drift", "--refresh", "get", "--max-age", "24h"],
]


@pytest.mark.parametrize("arguments", LOOKING, ids=" ".join)
def test_who_only_looks_writes_nothing(
    reconciler: Command, manifest: Manifest, network: Listening, project: Path, arguments: list[str]
) -> None:
    manifest(vip=([2, 3, 8], ["vip"], ["trial"]))
    reconciler("apply", "--auto-approve")
    network.since()
    state = (project / ".reconciler" / "state.db").read_bytes()
    before = len(network.app.world.transitions)
    ended = reconciler(*arguments)
    assert ended.code == 0, ended.err
    assert network.since().keys() <= {GET, SEARCH}
    assert (project / ".reconciler" / "state.db").read_bytes() == state
    assert len(network.app.world.transitions) == before


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_read_before_an_interruption_is_kept(
    reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch, by: int, code: int
) -> None:
    ids = [contact_id(number) for number in range(90)]
    network, later = (Listening(App(World(LOCATION, [Contact(each, LOCATION) for each in ids]))) for _ in range(2))
    network.after = 45
    listed = "".join(f"      - {each}\n" for each in ids)
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n  all:\n    contacts:\n{listed}    tags: [customer]\n"
    )
    with in_background(network, latency_ms=400) as running:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "refresh", "--method", "get"],
            env=os.environ | {"RECONCILER_API_BASE_URL": running.url},
            stderr=subprocess.PIPE,
        )
        assert network.busy.wait(30)
        process.send_signal(by)
        process.communicate(timeout=30)
    assert process.returncode == code
    stored = len(known(reconciler))
    assert 20 <= stored < 90
    assert "interrupted" in reconciler("history").out
    # the lease was given back, and the next one goes on from there
    with in_background(later) as running:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", running.url)
        assert reconciler("refresh", "--method", "get", "--max-age", "24h").code == 0
    assert later.since() == {GET: 90 - stored}
    assert len(known(reconciler)) == 90
