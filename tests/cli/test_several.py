"""Several locations, of which one may not be sent: it is told why, and the others go on."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.errors import ExitCode, StateCorrupted
from reconciler.core.model.names import LocationId, Tag
from reconciler.operations.api import find_missing_tokens
from reconciler.operations.apply import ApplyRequest, apply_plan, judge_approval
from reconciler.operations.plan import make_plan
from reconciler.operations.plan_options import PlanRequest
from reconciler.operations.workspace import Workspace, open_session
from reconciler.sandbox.app import DEMO_TOKEN
from reconciler.sandbox.world import World
from reconciler.system import wall_clock
from tests.cli.conftest import LOCATION, Command, Running, contact_id
from tests.fakes import FakeClock

Manifest = Callable[..., None]
SECOND = LocationId("bsdrwHvLUxlfw5SqKVCN")


@pytest.fixture
def two(manifest: Manifest, project: Path) -> Callable[[str], None]:
    """Three customers here, and four contacts of a second location, whose settings are given."""

    def write(settings: str) -> None:
        manifest(customers=(range(3), ["customer"], []))
        members = ", ".join(map(contact_id, range(4, 8)))
        (project / "manifests" / "second.yaml").write_text(
            f"location: {SECOND}\ncontact_sets:\n  s: {{contacts: [{members}], tags: [vip]}}\n"
        )
        (project / "manifests" / "reconciler.yaml").write_text(settings)

    return write


NO_TOKEN = f"locations: {{{SECOND}: {{token_env: SECOND_TOKEN}}}}\n"
GUARDED = "guards: {max_adds: 3}\n"
"""Three adds in the first location, four in the second one."""


def told(text: str) -> dict[str, Any]:
    return {each["location"]: each for each in json.loads(text)["locations"]}


def digests(reconciler: Command, *more: str) -> dict[str, str]:
    planned = told(reconciler("plan", "--format", "json", *more).out)
    return {where: each["change_digest"] for where, each in planned.items()}


def test_one_without_a_token_is_reported_before_the_first_request_and_the_other_goes_on(
    two: Callable[[str], None], reconciler: Command, world: World
) -> None:
    two(NO_TOKEN)
    ended = reconciler("apply", "--auto-approve", "--format", "json")
    assert ended.code == 7
    reports = told(ended.out)
    assert list(reports) == sorted((LOCATION, SECOND))
    assert (reports[SECOND]["exit_code"], reports[LOCATION]["exit_code"]) == (7, 0)
    assert "SECOND_TOKEN" in reports[SECOND]["error"]
    assert "export SECOND_TOKEN" in reports[SECOND]["hint"]
    assert reports[SECOND]["pairs"] == {"not_sent": 4}
    assert reports[LOCATION]["pairs"] == {"applied": 3}
    # told before anything is sent, too
    assert ended.err.index("SECOND_TOKEN") < ended.err.index("round 1")
    assert world.holders(Tag("customer")) == {contact_id(number) for number in range(3)}


@pytest.mark.slow
def test_every_missing_token_is_told_at_once(two: Callable[[str], None], reconciler: Command, world: World) -> None:
    two(f"locations: {{{SECOND}: {{token_env: SECOND_TOKEN}}, {LOCATION}: {{token_env: FIRST_TOKEN}}}}\n")
    ended = reconciler("apply", "--auto-approve")
    assert ended.code == 7
    assert all(name in ended.err and name in ended.out for name in ("FIRST_TOKEN", "SECOND_TOKEN"))
    assert not world.transitions


def test_one_that_a_guard_refuses_is_reported_and_the_other_goes_on(
    two: Callable[[str], None], reconciler: Command, world: World
) -> None:
    two(GUARDED)
    previewed = reconciler("plan")
    assert previewed.code == 5
    assert "Refused by guards in 1 of 2 locations: apply would send nothing there." in previewed.out
    dry = reconciler("apply", "--dry-run")
    assert (dry.code, len(world.transitions)) == (5, 0)
    assert f"location {SECOND}: nothing will be sent: guard max_adds refuses location {SECOND}" in dry.err
    ended = reconciler("apply", "--auto-approve", "--format", "json")
    reports = told(ended.out)
    assert (ended.code, reports[SECOND]["exit_code"], reports[LOCATION]["exit_code"]) == (5, 5, 0)
    assert (reports[SECOND]["run"], reports[SECOND]["pairs"]) == ("", {"not_sent": 4})
    assert "--allow max_adds" in reports[SECOND]["hint"]
    assert len(world.holders(Tag("customer"))) == 3


@pytest.mark.slow
def test_one_that_does_not_fit_into_the_day_is_reported_and_the_other_goes_on(
    two: Callable[[str], None], reconciler: Command, world: World
) -> None:
    two("api: {max_contacts: 1, requests_per_day: 3, reserve_pct: 0}\n")
    ended = reconciler("apply", "--auto-approve", "--format", "json")
    reports = told(ended.out)
    assert (ended.code, reports[SECOND]["exit_code"], reports[LOCATION]["exit_code"]) == (8, 8, 0)
    assert "needs 4 requests, and today's quota of 3" in reports[SECOND]["error"]
    assert len(world.holders(Tag("customer"))) == 3


@pytest.mark.parametrize(("settings", "code"), [(NO_TOKEN, 7), (GUARDED, 5)])
def test_fail_fast_sends_nothing_where_one_is_refused(
    two: Callable[[str], None], reconciler: Command, world: World, settings: str, code: int
) -> None:
    two(settings)
    ended = reconciler("apply", "--auto-approve", "--fail-fast", "--format", "json")
    assert ended.code == code
    reports = told(ended.out)
    assert {each["requests"] for each in reports.values()} == {0}
    assert sorted(each["exit_code"] for each in reports.values()) == sorted((3, code))
    (other,) = (each["error"] for each in reports.values() if each["exit_code"] == 3)
    assert "is refused (--fail-fast)" in other
    assert not world.transitions


def test_fail_fast_stops_the_others_where_one_fails_while_it_sends(
    two: Callable[[str], None], reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    two(NO_TOKEN)
    monkeypatch.setenv("SECOND_TOKEN", "pit-of-nobody")
    # so small that the first location is not done when the second one is refused
    ended = reconciler("apply", "--auto-approve", "--fail-fast", "--format", "json", "--api-requests-per-10s", "2")
    reports = told(ended.out)
    assert (ended.code, reports[SECOND]["exit_code"]) == (7, 7)


def test_a_location_is_approved_by_its_own_digest(
    two: Callable[[str], None], reconciler: Command, world: World, project: Path
) -> None:
    two("")
    own = digests(reconciler)
    assert (
        own[LOCATION] == json.loads(reconciler("plan", "--location", LOCATION, "--format", "json").out)["change_digest"]
    )
    ended = reconciler("apply", "--approved", own[LOCATION], "--format", "json")
    reports = told(ended.out)
    assert (ended.code, reports[LOCATION]["exit_code"], reports[SECOND]["exit_code"]) == (4, 0, 4)
    assert f"has the change digest {own[SECOND]}, approved was {own[LOCATION]}" in reports[SECOND]["error"]
    assert world.holders(Tag("customer")) == {contact_id(number) for number in range(3)}
    # a run is known by what approved it
    (run,) = told(reconciler("history", "--format", "json").out)[LOCATION]["runs"]
    assert run["change_digest"] == own[LOCATION]


@pytest.mark.slow
def test_digests_of_locations_outlast_what_becomes_of_another_one(
    two: Callable[[str], None], reconciler: Command, manifest: Manifest, world: World
) -> None:
    two(NO_TOKEN)
    own = digests(reconciler)
    approved = [word for digest in own.values() for word in ("--approved", digest)]
    assert reconciler("apply", *approved).code == 7
    # the same job once more: what is done needs no approval, what is left has it still
    again = reconciler("apply", *approved, "--format", "json")
    assert {where: each["exit_code"] for where, each in told(again.out).items()} == {LOCATION: 0, SECOND: 7}
    manifest(customers=(range(4), ["customer"], []))
    moved = told(reconciler("apply", *approved, "--format", "json").out)
    assert moved[LOCATION]["exit_code"] == 4
    assert "carried it out: review what is left" in moved[LOCATION]["hint"]
    assert all(digest in moved[LOCATION]["error"] for digest in own.values())


def test_the_digest_of_the_whole_approves_all(two: Callable[[str], None], reconciler: Command, world: World) -> None:
    two(NO_TOKEN)
    whole = json.loads(reconciler("plan", "--format", "json").out)["change_digest"]
    ended = reconciler("apply", "--approved", whole, "--format", "json")
    assert {where: each["exit_code"] for where, each in told(ended.out).items()} == {LOCATION: 0, SECOND: 7}


def test_a_plan_file_that_is_stale_in_one_location_is_sent_in_the_other(
    two: Callable[[str], None], reconciler: Command, world: World, project: Path
) -> None:
    two("")
    assert reconciler("plan", "--out", "plan.json").code == 0
    (project / "manifests" / "second.yaml").write_text(f"location: {SECOND}\ncontact_sets: {{}}\n")
    ended = reconciler("apply", "plan.json", "--auto-approve", "--format", "json")
    reports = told(ended.out)
    assert (ended.code, reports[SECOND]["exit_code"], reports[LOCATION]["exit_code"]) == (4, 4, 0)
    assert f"the manifests of location {SECOND} have changed since" in reports[SECOND]["error"]
    assert reports[SECOND]["pairs"] == {"not_sent": 4}
    assert len(world.holders(Tag("customer"))) == 3


@pytest.mark.slow
def test_a_plan_file_with_a_location_that_no_manifest_has_any_more_is_sent_in_the_other(
    two: Callable[[str], None], reconciler: Command, world: World, project: Path
) -> None:
    two("")
    assert reconciler("plan", "--out", "plan.json").code == 0
    (project / "manifests" / "second.yaml").unlink()
    ended = reconciler("apply", "plan.json", "--auto-approve", "--format", "json")
    reports = told(ended.out)
    assert (ended.code, reports[SECOND]["exit_code"], reports[LOCATION]["exit_code"]) == (4, 4, 0)
    assert f"no manifest is of location {SECOND} any more" in reports[SECOND]["error"]
    (project / "manifests" / "acme.yaml").unlink()
    assert reconciler("apply", "plan.json", "--auto-approve").code != 0


@pytest.mark.slow
def test_commands_that_print_tokens_run_side_by_side_and_one_that_hangs_ends_alone(
    two: Callable[[str], None], project: Path
) -> None:
    slow = "sh -c 'sleep 0.6; echo token'"
    two(
        f"locations: {{{SECOND}: {{token_env: A, token_command: sleep 30}}, "
        f'{LOCATION}: {{token_env: B, token_command: "{slow}"}}}}\n'
    )
    session = open_session(Workspace())
    began = time.monotonic()
    missing = asyncio.run(find_missing_tokens(session, [LOCATION, SECOND], timeout_s=1))
    # one after the other they would take 1.6 s
    assert time.monotonic() - began < 1.5
    assert list(missing) == [SECOND]
    assert missing[SECOND].message == "token_command did not run: TimeoutExpired"
    assert session.tokens[LOCATION].token == "token"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "drift"])
def test_one_that_cannot_be_read_is_told_as_not_known_and_the_other_is_shown(
    two: Callable[[str], None], reconciler: Command, command: str
) -> None:
    two(NO_TOKEN)
    assert reconciler("apply", "--auto-approve").code == 7
    ended = reconciler(command, "--refresh", "get")
    assert ended.code == 7
    assert f"error: location {SECOND} is not known: no token for location {SECOND}" in ended.err
    assert re.search(rf"^{LOCATION} +no (changes|drift)\b", ended.out, re.M)
    assert f"Location {SECOND}\nNot known: no token for location {SECOND}" in ended.out
    assert re.search(rf"^{SECOND} .*not known|^not known .*{SECOND}", ended.out, re.M)
    document = json.loads(reconciler(command, "--refresh", "get", "--format", "json").out)
    (unknown,) = document["unknown"]
    assert (unknown["location"], unknown["exit_code"]) == (SECOND, 7)
    assert [each["location"] for each in document["locations"]] == [LOCATION]
    for form in ("markdown", "html", "csv"):
        assert reconciler(command, "--refresh", "get", "--format", form).code == 7
    rows = list(csv.DictReader(reconciler(command, "--refresh", "get", "--format", "csv").out.splitlines()))
    why = f"no token for location {SECOND}: environment variable SECOND_TOKEN is not set"
    assert [(row["location"], row["why"]) for row in rows] == [(SECOND, why)]
    assert "not known" in rows[0].values()


@pytest.mark.slow
def test_one_whose_state_is_another_is_told_as_not_known_and_the_other_is_sent(
    two: Callable[[str], None], reconciler: Command, world: World
) -> None:
    two(f"locations: {{{SECOND}: {{lineage: 11111111-2222-3333-4444-555555555555}}}}\n")
    planned = reconciler("plan")
    assert (planned.code, "is pinned to lineage" in planned.err) == (1, True)
    assert f"Location {SECOND}\nNot known: " in planned.out
    ended = reconciler("apply", "--auto-approve", "--format", "json")
    assert {where: each["exit_code"] for where, each in told(ended.out).items()} == {LOCATION: 0, SECOND: 1}
    assert len(world.holders(Tag("customer"))) == 3


def drop_leases(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("DROP TABLE leases")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "without leases": drop_leases,
    "no database": lambda file: file.write_bytes(b"no state at all" * 100),
    "a directory": lambda file: (file.unlink(), file.mkdir()),
    "of others": lambda file: file.chmod(0o666),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_one_whose_state_is_damaged_is_told_as_not_known_and_the_other_goes_on(
    two: Callable[[str], None], reconciler: Command, project: Path, world: World, damage: str
) -> None:
    """Each location has a file of its own, of which another program, or a bad disk, spoils one."""
    two(f"state: sqlite:///{project}/{{location}}.db\n")
    reconciler("apply", "--auto-approve")
    DAMAGES[damage](project / f"{SECOND}.db")
    (project / "manifests" / "first.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n  more: {{contacts: [{contact_id(0)}], tags: [more]}}\n"
    )
    for command in (["plan"], ["drift"], ["plan", "--create-state"]):
        ended = reconciler(*command, "--format", "json")
        document = json.loads(ended.out)
        assert [each["location"] for each in document["locations"]] == [LOCATION]
        assert [(each["location"], each["exit_code"]) for each in document["unknown"]] == [(SECOND, 1)]
    ended = reconciler("apply", "--auto-approve", "--format", "json")
    assert {where: each["exit_code"] for where, each in told(ended.out).items()} == {LOCATION: 0, SECOND: 1}
    assert world.holders(Tag("more")) == {contact_id(0)}


def test_a_state_that_cannot_be_read_is_no_proof_in_ci_that_there_is_one(
    two: Callable[[str], None], reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first run there is asked for, since a state that is missing may be lost: for each location by itself."""
    two(f"state: sqlite:///{project}/{{location}}.db\n")
    monkeypatch.setenv("CI", "true")
    assert reconciler("plan").code == 64
    (project / f"{SECOND}.db").write_bytes(b"no state at all" * 100)
    refused = reconciler("plan")
    assert (refused.code, "there is no state" in refused.err) == (64, True)


def test_one_whose_state_breaks_after_it_was_planned_is_refused_and_the_other_may_be_sent(
    two: Callable[[str], None], reconciler: Command, project: Path
) -> None:
    two(f"state: sqlite:///{project}/{{location}}.db\n")
    approved = digests(reconciler)[LOCATION]
    session = open_session(Workspace(project / "manifests", {}, {}))
    planned = asyncio.run(make_plan(session, PlanRequest()))
    (project / f"{SECOND}.db").write_bytes(b"no state at all" * 100)
    judged = judge_approval(planned, ApplyRequest(approved=(approved,)))
    assert {location: type(error) for location, error in judged.refused.items()} == {SECOND: StateCorrupted}


class Vault(dict[str, str]):
    """An environment whose second token takes minutes to come, and is gone when it is asked for a third time."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(HIGHLEVEL_TOKEN=DEMO_TOKEN, SECOND_TOKEN=DEMO_TOKEN)
        self.asked, self._clock = 0, clock

    def get(self, name: str, default: Any = None) -> Any:
        if name != "SECOND_TOKEN":
            return super().get(name, default)
        self.asked += 1
        self._clock.ms += 360_000
        return DEMO_TOKEN if self.asked < 3 else ""


@pytest.mark.parametrize(("fail_fast", "code", "holders"), [(False, ExitCode.DONE, 3), (True, 3, 0)])
def test_a_token_that_is_too_old_once_all_were_judged_ends_its_own_location_alone(
    two: Callable[[str], None],
    project: Path,
    sandbox: Running,
    world: World,
    fail_fast: bool,
    code: int,
    holders: int,
) -> None:
    """Hundreds of commands that print tokens take minutes: the first token is fetched again, and may be gone.

    With --fail-fast the other is not sent either.
    """
    two(NO_TOKEN)
    clock = FakeClock(wall_clock())
    vault = Vault(clock)
    workspace = Workspace(project / "manifests", {"api.base_url": sandbox.url}, vault, clock=clock)
    planned = asyncio.run(make_plan(open_session(workspace), PlanRequest(create_state=True)))
    result = asyncio.run(apply_plan(planned, ApplyRequest(fail_fast=fail_fast)))
    assert {report.location: report.exit_code for report in result.reports} == {LOCATION: code, SECOND: ExitCode.AUTH}
    assert (vault.asked, len(world.holders(Tag("customer")))) == (3, holders)


@pytest.mark.slow
def test_a_saved_plan_tells_whom_it_does_not_know(
    two: Callable[[str], None], reconciler: Command, world: World
) -> None:
    two(NO_TOKEN)
    assert reconciler("plan", "--refresh", "get", "--out", "plan.json").code == 7
    shown = reconciler("show", "plan.json")
    assert (shown.code, f"Location {SECOND}\nNot known: " in shown.out) == (0, True)
    ended = reconciler("apply", "plan.json", "--auto-approve", "--format", "json")
    applied = told(ended.out)
    assert (ended.code, applied[LOCATION]["exit_code"], applied[SECOND]["exit_code"]) == (3, 0, 3)
    assert "was not known when the plan file was made" in applied[SECOND]["error"]
    assert len(world.holders(Tag("customer"))) == 3


def test_a_plan_file_in_which_nothing_is_known_opens_no_other_location(
    two: Callable[[str], None], reconciler: Command, world: World
) -> None:
    two(f"locations: {{{LOCATION}: {{token_env: FIRST_TOKEN}}, {SECOND}: {{token_env: SECOND_TOKEN}}}}\n")
    assert reconciler("plan", "--refresh", "get", "--out", "plan.json").code == 7
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, "the plan has no location" in ended.err) == (1, True)
    assert not world.holders(Tag("customer"))
