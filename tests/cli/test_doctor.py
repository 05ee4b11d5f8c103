"""`doctor` tells what is in place and changes nothing; `completion` prints what a shell can run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from reconciler.core.model.api_limits import Quota
from reconciler.core.model.errors import AuthRefused, InDoubt, RequestRefused
from reconciler.core.model.names import Instant, LocationId
from reconciler.core.model.outcome import RefusalKind, read_refusal
from reconciler.core.model.settings import ApiSettings
from reconciler.core.observing.diagnosis import (
    Answered,
    CheckStatus,
    api_remark,
    clock_remark,
    limit_remarks,
    read_remark,
    token_remark,
)
from reconciler.highlevel import connect_reader
from reconciler.operations.identity import find_holder
from reconciler.operations.workspace import Workspace
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import DEMO_TOKEN, READ_CONTACTS, Access, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.world import World
from reconciler.store import open_store
from tests.cli.conftest import LOCATION, Command
from tests.fakes import a_gate

WEAK = "pit-sandbox-weak"
BLIND = "pit-sandbox-blind"
URL = "sqlite:///.reconciler/state.db"


class Watched(App):
    """Keeps which requests came."""

    def __init__(self, world: World) -> None:
        super().__init__(
            world, accesses=(Access(), Access(WEAK, frozenset({READ_CONTACTS})), Access(BLIND, frozenset()))
        )
        self.asked: list[str] = []

    def perform(self, request: Request, now: Instant) -> Response:
        self.asked.append(f"{request.method} {request.path}")
        return super().perform(request, now)


@pytest.fixture
def app(world: World) -> Watched:
    return Watched(world)


@pytest.fixture
def sandbox(app: Watched) -> Iterator[Running]:
    with in_background(app) as running:
        yield running


@pytest.fixture
def applied(reconciler: Command, manifest: Callable[..., None], project: Path, app: Watched) -> Path:
    """The state of a first run; what was asked for it is forgotten."""
    manifest(customers=(range(3), ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    app.asked.clear()
    return project / ".reconciler" / "state.db"


def _remarks(reconciler: Command, *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    ended = reconciler("doctor", "--format", "json", *arguments)
    document = json.loads(ended.out)
    found = [remark for group in document["examined"] for remark in group["remarks"]]
    assert DEMO_TOKEN not in ended.out + ended.err
    return ended.code, {each["subject"]: (each["verdict"], each["found"]) for each in found}


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_all_is_well_and_nothing_is_changed(reconciler: Command, applied: Path, app: Watched) -> None:
    before, tags = _files(applied.parent), dict(app.world.contacts)
    code, found = _remarks(reconciler)
    assert code == 0
    assert {subject: verdict for subject, (verdict, _) in found.items() if verdict != "ok"} == {
        "scope contacts.write": "?"
    }
    assert found["API reachable"] == ("ok", f"{os.environ['RECONCILER_API_BASE_URL']} answered")
    assert found["token"] == ("ok", "from environment variable HIGHLEVEL_TOKEN: the API knows it")
    assert found["daily quota"][1].startswith("200,000 requests a day, 199,9")
    assert app.asked == ["POST /contacts/search", f"GET /locations/{LOCATION}/tags"]
    assert _files(applied.parent) == before
    assert dict(app.world.contacts) == tags


def test_offline_asks_nothing(reconciler: Command, applied: Path, app: Watched) -> None:
    code, found = _remarks(reconciler, "--offline")
    assert (code, app.asked) == (0, [])
    assert "clock" not in found


@pytest.mark.slow
def test_a_weak_token(reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch, app: Watched) -> None:
    monkeypatch.setenv("HIGHLEVEL_TOKEN", WEAK)
    code, found = _remarks(reconciler)
    assert code == 0
    assert found["scope locations/tags.readonly"][0] == "watch"
    assert (
        "the token from environment variable HIGHLEVEL_TOKEN lacks a scope" in found["scope locations/tags.readonly"][1]
    )


def test_a_token_that_is_no_good_any_more(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch, app: Watched
) -> None:
    monkeypatch.setenv("HIGHLEVEL_TOKEN", "pit-wrong")
    code, found = _remarks(reconciler)
    assert code == 7
    assert found["API reachable"][0] == "ok"
    assert found["token"] == (
        "bad",
        "the token from environment variable HIGHLEVEL_TOKEN is expired, revoked or rotated, or is no token of this "
        "API: 401 Invalid token: access token is invalid",
    )
    assert {found[f"scope {scope}"][0] for scope in ("contacts.readonly", "locations/tags.readonly")} == {"?"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("status", [400, 401])
def test_a_version_that_is_refused_is_named(reconciler: Command, applied: Path, world: World, status: int) -> None:
    world.assume(Assumptions(unknown_version_status=status))
    code, found = _remarks(reconciler, "--api-version", "1999-01-01")
    assert code == 7
    verdict, told = found["version of the API"]
    assert (verdict, "1999-01-01" in told, str(status) in told) == ("bad", True, True)
    assert {found[subject][0] for subject in ("token", "scope contacts.readonly")} == {"?"}


@pytest.mark.slow
def test_a_token_without_the_scope_is_known_all_the_same(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch, app: Watched
) -> None:
    monkeypatch.setenv("HIGHLEVEL_TOKEN", BLIND)
    code, found = _remarks(reconciler)
    assert code == 7
    assert found["token"][0] == "ok"
    assert found["scope contacts.readonly"][0] == "bad"
    assert "lacks a scope" in found["scope contacts.readonly"][1]


def test_before_the_first_write_its_scope_is_not_known(reconciler: Command, manifest: Callable[..., None]) -> None:
    manifest(customers=(range(3), ["customer"], []))
    code, found = _remarks(reconciler)
    assert (code, found["scope contacts.write"][0]) == (0, "?")


PAGE = b"<!DOCTYPE html><html><title>Sign in to the network</title></html>"


class Portal(App):
    """A page of the network answers instead of the API, with 200."""

    def handle(self, request: Request, now: Instant) -> Response:
        return Response(200, PAGE, kind="text/html")


@pytest.mark.slow
def test_a_page_for_an_answer_grants_nothing(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    with in_background(Portal(world)) as portal:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", portal.url)
        code, found = _remarks(reconciler)
        refreshed = reconciler("refresh", "--method", "search")
    assert (code, found["API reachable"][0]) == (1, "bad")
    assert "cannot be read: the body is not JSON" in found["API reachable"][1]
    assert {found[row][0] for row in ("token", "scope contacts.readonly", "scope locations/tags.readonly")} == {"?"}
    assert found["API reachable"][1] in refreshed.err


class Wall(App):
    """A firewall answers instead of the API, by a page."""

    status = 403

    def handle(self, request: Request, now: Instant) -> Response:
        return Response(self.status, PAGE, kind="text/html")


class Gate(Wall):
    """As `Wall`, and wants somebody to sign in."""

    status = 401


@pytest.mark.slow
@pytest.mark.parametrize("between", [Wall, Gate])
def test_a_page_of_refusal_is_not_the_apis_and_tells_nothing_of_the_token(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch, world: World, between: type[Wall]
) -> None:
    with in_background(between(world)) as wall:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", wall.url)
        code, found = _remarks(reconciler)
        refreshed = reconciler("refresh", "--method", "search")
    told = f"{wall.url} answered {between.status}; this is a web page and no answer of the API: a firewall"
    assert (code, found["API reachable"][0]) == (1, "bad")
    assert found["API reachable"][1].startswith(told)
    unknown = {"token", "scope contacts.readonly", "scope locations/tags.readonly", "scope contacts.write"}
    assert {found[row][0] for row in unknown} == {"?"}
    assert told in refreshed.err
    assert "expired" not in refreshed.err


@pytest.mark.slow
def test_a_token_that_is_refused_now_has_no_scope_for_sure(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIGHLEVEL_TOKEN", "pit-another-00000000-0000-4000-8000-000000000000")
    code, found = _remarks(reconciler)
    verdict, told = found["scope contacts.write"]
    assert (code, verdict) == (7, "?")
    assert re.fullmatch(r"a write was last answered 20..-..-.. ..:..:..Z; of the token as it is: see above", told)


@pytest.mark.slow
@pytest.mark.parametrize("token", [DEMO_TOKEN, WEAK])
def test_a_write_tells_nothing_of_another_token(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    # nothing of a token is kept: the one that wrote and one that may only read are told alike
    monkeypatch.setenv("HIGHLEVEL_TOKEN", token)
    verdict, told = _remarks(reconciler)[1]["scope contacts.write"]
    assert verdict == "?"
    assert re.fullmatch(
        r"a write was last answered 20..-..-.. ..:..:..Z, to the token of then; of this one only a write can tell", told
    )


def test_without_a_token(reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIGHLEVEL_TOKEN")
    code, found = _remarks(reconciler)
    assert code == 7
    assert found["token"][0] == "bad"


def test_no_api_there(reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_API_BASE_URL", "http://127.0.0.1:9")
    code, found = _remarks(reconciler)
    assert code == 1
    told = "cannot reach http://127.0.0.1:9: nothing listens there: the connection was refused"
    assert found["API reachable"] == ("bad", told)
    assert {found[row][0] for row in ("token", "scope contacts.readonly", "scope locations/tags.readonly")} == {"?"}


@pytest.mark.slow
def test_a_proxy_is_named(reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_API_BASE_URL", "https://services.example")
    for name in ("HTTPS_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://me:secret@127.0.0.1:9")
    code, found = _remarks(reconciler)
    assert code == 1
    assert "through the proxy http://127.0.0.1:9 (https_proxy)" in found["API reachable"][1]
    assert "the connection was refused" in found["API reachable"][1]


@pytest.mark.slow
def test_broken_manifests_and_state(reconciler: Command, applied: Path, project: Path) -> None:
    (project / "manifests" / "broken.yaml").write_text("location: [\n")
    applied.write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    code, found = _remarks(reconciler, "--location", LOCATION, "--offline")
    assert code == 1
    assert found["manifests"][0] == found["state"][0] == "bad"


def test_a_held_lock_is_told_and_left(reconciler: Command, applied: Path) -> None:
    with open_store(URL) as state:
        store = state.at(LOCATION)
        held = find_holder("apply", Workspace())
        lease = store.acquire_lease(held, held.created)
        code, found = _remarks(reconciler, "--offline")
        assert (code, found["lock"][0]) == (0, "watch")
        assert store.read_lease(held.created) == lease
        store.release_lease(lease)


@pytest.mark.slow
def test_another_lineage_than_the_pinned_one(reconciler: Command, applied: Path, project: Path) -> None:
    pinned = "6f1c1f0e-8a43-4a57-9b0c-0a3a2f1f5d11"
    (project / "manifests" / "reconciler.yaml").write_text(f"lineage: {pinned}\n")
    code, found = _remarks(reconciler, "--offline")
    assert code == 1
    assert found["state"][1].startswith(f"pinned to lineage {pinned}, found ")


@pytest.mark.slow
def test_the_default_state_in_ci_is_worth_a_word(
    reconciler: Command, applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    assert "worth" not in reconciler("doctor", "--offline").err
    assert "the default, in CI" in reconciler("doctor", "--offline").out


@pytest.mark.parametrize(
    ("off_ms", "verdict"),
    [
        (0, CheckStatus.GOOD),
        (4_000, CheckStatus.GOOD),
        (-5_900, CheckStatus.GOOD),
        (7_000, CheckStatus.BAD),
        (-7_000, CheckStatus.BAD),
    ],
)
def test_the_clock(off_ms: int, verdict: CheckStatus) -> None:
    now = Instant(1_800_000_000_000)
    assert clock_remark(Instant(now + off_ms), now, now).verdict is verdict


def test_a_slow_answer_is_no_wrong_clock() -> None:
    assert clock_remark(Instant(1_000_000), Instant(1_000_000), Instant(1_050_000)).verdict is CheckStatus.GOOD
    assert clock_remark(None, Instant(0), Instant(0)).verdict is CheckStatus.WATCH


def test_lower_limits_than_the_settings_are_told() -> None:
    limits = Quota(limit=25, window_ms=10_000, daily_limit=10_000, daily_remaining=9_000)
    told = limit_remarks(limits, ApiSettings())
    assert [each.remedy for each in told] == [
        "set api.requests_per_10s to 25; it is 100",
        "set api.requests_per_day to 10000; it is 200000",
    ]
    used_up = replace(limits, daily_remaining=3)
    own = ApiSettings(requests_per_10s=25, requests_per_day=10_000)
    assert [each.verdict for each in limit_remarks(used_up, own)] == [CheckStatus.GOOD, CheckStatus.WATCH]
    assert [each.verdict for each in limit_remarks(Quota(), own)] == [CheckStatus.WATCH]


def test_a_limit_that_the_api_does_not_tell_is_not_judged() -> None:
    assert [each.subject for each in limit_remarks(Quota(limit=100), ApiSettings())] == ["rate limit"]
    assert [each.subject for each in limit_remarks(Quota(daily_limit=200_000), ApiSettings())] == ["daily quota"]


def test_a_proxy_is_named_once_and_suspected_where_no_api_answers() -> None:
    down, proxy = Answered(InDoubt("answered 503")), "http://proxy:3128"
    remark = api_remark(down, "https://api.example", proxy)
    assert remark.told == "answered 503, through http://proxy:3128"
    assert remark.remedy.endswith("; and see whether http://proxy:3128 lets it pass")
    named = api_remark(Answered(InDoubt("http://proxy:3128 answered 503")), "https://api.example", proxy)
    assert (named.told, "lets it pass" in named.remedy) == ("http://proxy:3128 answered 503", False)


def test_an_answer_that_says_nothing_of_the_scope() -> None:
    refused = Answered(RequestRefused("answered 404", status=404))
    assert read_remark("contacts.readonly", refused, "", needed=True).verdict is CheckStatus.BAD
    assert read_remark("contacts.readonly", refused, "", needed=False).verdict is CheckStatus.WATCH
    down = Answered(InDoubt("answered 503"))
    assert read_remark("contacts.readonly", down, "", needed=True).verdict is CheckStatus.UNKNOWN
    assert (api_remark(down, "https://api.example", "").verdict, token_remark(down, "").verdict) == ("bad", "?")


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (401, "Invalid JWT", RefusalKind.TOKEN),
        (401, "The token is not authorized for this scope.", RefusalKind.SCOPE),
        (401, "version header was not found.", RefusalKind.VERSION),
        (403, "The token does not have access to this location.", RefusalKind.PLACE),
        (403, "", RefusalKind.PLACE),
        (401, "", RefusalKind.TOKEN),
    ],
)
def test_what_a_refusal_is_about(status: int, said: str, kind: RefusalKind) -> None:
    assert read_refusal(status, [said], "the token").kind is kind


def test_the_token_goes_to_the_origin_only_and_into_no_message() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.method == "GET":
            return httpx.Response(302, headers={"Location": "https://evil.example/"})
        return httpx.Response(403, json={"message": "pit-secret may not\n::error::"}, headers={"Date": "yesterday"})

    reader = connect_reader("https://api.example", token="pit-secret", transport=httpx.MockTransport(handle))
    search, tags = asyncio.run(reader.probe(a_gate(LOCATION)))
    assert {request.url.host for request in seen} == {"api.example"}
    assert isinstance(search.problem, AuthRefused)
    assert (search.problem.status, search.problem.said, search.date) == (403, ("*** may not ::error::",), None)
    assert isinstance(tags.problem, RequestRefused)
    assert tags.problem.status == 302


def test_a_location_that_no_path_can_carry_is_told() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"contacts": [], "total": 0}))
    reader = connect_reader("https://api.example", token="pit-secret", transport=transport)
    search, tags = asyncio.run(reader.probe(a_gate(LocationId("a/b"))))
    assert search.problem is None
    assert isinstance(tags.problem, RequestRefused)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(reconciler: Command, shell: str) -> None:
    ended = reconciler("completion", shell)
    assert ended.code == 0
    assert "_RECONCILER_COMPLETE" in ended.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=ended.out, text=True, check=True)


@pytest.mark.slow
def test_completion_knows_commands_and_options() -> None:
    def completed(*words: str) -> list[str]:
        environment = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        environment |= os.environ | {"_RECONCILER_COMPLETE": "bash_complete"}
        program = [sys.executable, "-m", "reconciler"]
        return subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout.split()

    assert completed("reconciler", "dr") == ["plain,drift"]
    assert completed("reconciler", "plan", "--det") == ["plain,--detailed-exitcode"]
