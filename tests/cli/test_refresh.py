"""`refresh` reads, stores and changes nobody; so does every command that only looks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.model.errors import UsageError
from reconciler.operations.current_state import run_side_by_side
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_store
from reconciler.system import SystemClock
from tests.cli.conftest import ELSEWHERE, LOCATION, Command, contact_id
from tests.cli.listening import Listening
from tests.fakes import a_holder

Manifest = Callable[..., None]
MERGED = Assumptions(merged_reads_as_survivor=True)
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


@pytest.mark.one_in(3)
@pytest.mark.parametrize("told", [[], ["--quiet"]])
def test_a_location_that_fails_does_not_stop_the_others(
    reconciler: Command, manifest: Manifest, project: Path, network: Listening, told: list[str]
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    (project / "manifests" / "else.yaml").write_text(
        f"location: {ELSEWHERE}\ncontact_sets: {{there: {{contacts: [{contact_id(9)}], tags: [customer]}}}}\n"
    )
    settings = f"locations: {{{ELSEWHERE}: {{token_env: THEIR_TOKEN}}}}\n"
    (project / "manifests" / "reconciler.yaml").write_text(settings)
    ended = reconciler("refresh", "--method", "get", "--format", "json", *told)

    assert ended.code == 7
    assert f"error: location {ELSEWHERE}: " in ended.err
    assert "THEIR_TOKEN" in ended.err
    assert [(each["location"], each["read"]) for each in json.loads(ended.out)["locations"]] == [(LOCATION, 3)]
    assert network.since() == {GET: 3}
    assert known(reconciler)[contact_id(0)]["observed"] == ["trial"]
    # of a part of the locations no plan is made
    assert reconciler("plan", "--refresh", "get").code == 7


def test_locations_are_looked_at_run_side_by_side() -> None:
    async def both() -> list[int]:
        first, second = asyncio.Event(), asyncio.Event()

        async def meet(mine: asyncio.Event, other: asyncio.Event, result: int) -> int:
            mine.set()
            await other.wait()
            return result

        return await run_side_by_side([meet(first, second, 1), meet(second, first, 2)])

    assert asyncio.run(both()) == [1, 2]


def test_the_first_error_ends_the_others() -> None:
    ended = []

    async def both() -> None:
        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("the other")

        async def fail() -> None:
            raise UsageError("no")

        await run_side_by_side([wait(), fail()])

    with pytest.raises(UsageError, match="no"):
        asyncio.run(both())
    assert ended == ["the other"]


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


@pytest.mark.parametrize("command", [["plan"], ["apply", "--dry-run"], ["revert", "last", "--dry-run"]])
def test_an_age_without_a_reading_is_refused(reconciler: Command, manifest: Manifest, command: list[str]) -> None:
    """It did nothing, and whatever it was, nothing was said."""
    manifest()
    refused = reconciler(*command, "--max-age", "24h")
    assert (refused.code, "--max-age says what is read again, and nothing is read" in refused.err) == (64, True)
    assert "'banana' is no age" in reconciler(*command, "--max-age", "banana").err


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


@pytest.mark.slow
def test_who_is_not_there_is_told_and_not_quarantined(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=(range(10), ["customer"], []))
    for method in ("get", "search"):
        ended = reconciler("refresh", "--method", method, "--format", "json")
        (found,) = json.loads(ended.out)["locations"]
        assert found["gone"].keys() == {contact_id(8), contact_id(9)}
    assert known(reconciler)[contact_id(0)]["quarantine"] is None
    assert contact_id(8) not in known(reconciler)
    assert "Not there" in reconciler("refresh", "--method", "get").out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["get", "search"])
def test_who_was_read_as_gone_for_a_plan_gets_nothing_by_it(
    reconciler: Command, manifest: Manifest, world: World, method: str
) -> None:
    manifest(customers=(range(10), ["customer"], []))
    planned = reconciler("plan", "--refresh", method, "--format", "json", "--out", "plan.json")
    (location,) = json.loads(planned.out)["locations"]
    sent = {contact for delta in location["deltas"] for contact in delta["contacts"]}
    told = {contact: each["why"] for each in location["gone"] for contact in each["contacts"]}
    assert sent == {contact_id(nth) for nth in range(8)}
    assert told.keys() == {contact_id(8), contact_id(9)}
    assert {contact for each in location["quarantined"] for contact in each["contacts"]} == told.keys()
    assert "Not there, as was read for this plan" in reconciler("show", "plan.json").out
    applied = reconciler("apply", "plan.json", "--auto-approve")
    assert (applied.code, world.holders("customer")) == (0, frozenset(sent))
    assert "not in the plan" not in applied.err
    # nothing was made of it: who plans without a look asks the API, which refuses for good
    assert reconciler("apply", "--auto-approve").code == 3


@pytest.mark.slow
def test_who_was_read_as_gone_gets_nothing_by_an_apply_that_looked(
    reconciler: Command, manifest: Manifest, world: World
) -> None:
    manifest(customers=(range(10), ["customer"], []))
    applied = reconciler("apply", "--refresh", "get", "--auto-approve", "--format", "json")
    assert applied.code == 0
    assert json.loads(applied.out)["locations"][0]["pairs"] == {"applied": 8}
    assert world.holders("customer") == {contact_id(nth) for nth in range(8)}


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
        store.at(LOCATION).acquire_lease(a_holder("else"), SystemClock().now())
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


@pytest.mark.one_in(7)
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


@pytest.mark.slow
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
    assert reconciler("state", "verify").code == 0
    # the lease was given back, and the next one goes on from there
    with in_background(later) as running:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", running.url)
        assert reconciler("refresh", "--method", "get", "--max-age", "24h").code == 0
    assert later.since() == {GET: 90 - stored}
    assert len(known(reconciler)) == 90


@pytest.mark.slow
def test_who_is_answered_as_another_one_is_not_read(
    reconciler: Command, manifest: Manifest, network: Listening, world: World
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    network.app.world = merged = World(LOCATION, world.contacts.values(), assumptions=MERGED)
    merged.merge(contact_id(0), contact_id(1), now=merged.contacts[contact_id(0)].updated)
    ended = reconciler("refresh", "--method", "get", "--format", "json")
    (found,) = json.loads(ended.out)["locations"]

    assert (ended.code, found["read"], found["gone"]) == (3, 2, {})
    assert found["unread"] == {contact_id(0): f"contact {contact_id(0)} was answered as {contact_id(1)}: merged?"}
    assert contact_id(0) not in known(reconciler)
    for command in ("plan", "drift"):
        ended = reconciler(command, "--refresh", "get")
        assert (ended.code, "1 contact could not be read" in ended.out + ended.err) == (0, True)
