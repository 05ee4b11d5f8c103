"""`drift` as a person has it: who had set it, since when, what is expected, and what was not looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.names import Instant
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import Access, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, Ended, contact_id
from tests.sandbox.faults import FaultKind, FaultPlan, Network

Manifest = Callable[..., None]
ME = "somebody"


def drifted(ended: Ended) -> dict[str, dict[str, Any]]:
    """By class and tag."""
    (location,) = json.loads(ended.out)["locations"]
    return {f"{each['drift']} {each['tag']}".strip(): each for each in location["drifted"]}


def look(reconciler: Command, *arguments: str) -> dict[str, dict[str, Any]]:
    ended = reconciler("drift", "--refresh", "get", "--format", "json", *arguments)
    assert ended.code == 0, ended.err
    return drifted(ended)


def meddle(world: World, now: Instant) -> None:
    world.remove(contact_id(2), ["vip"], now=now, by=ME)
    world.remove(contact_id(3), ["vip"], now=now, by=ME)
    world.add(contact_id(4), ["trial", "foreign tag"], now=now, by=ME)
    world.delete(contact_id(5), now=now)


def test_each_drift_names_who_had_set_it_and_since_when(
    reconciler: Command, manifest: Manifest, sandbox: Running
) -> None:
    manifest(vip=(range(2, 7), ["vip"], ["trial"]))
    run = json.loads(reconciler("apply", "--auto-approve", "--format", "json").out)["locations"][0]["run"]
    sandbox.do(meddle)
    found = look(reconciler, "--show", "foreign")

    missing = found["missing vip"]
    assert missing["contacts"] == [contact_id(2), contact_id(3)]
    assert missing["set_by"]["run"] == run
    assert missing["set_by"]["at"] <= missing["after"] <= missing["oldest"] <= missing["newest"]
    assert found["unexpected trial"]["contacts"] == [contact_id(4)]
    assert found["foreign foreign tag"]["contacts"] == [contact_id(4)]
    assert found["unreachable"]["contacts"] == [contact_id(5)]
    text = reconciler("drift", "--refresh", "get").out
    assert f"run {run[:8]}" in text
    assert "foreign tag" not in text


@pytest.mark.slow
def test_what_is_expected_is_told_and_does_not_fail(
    reconciler: Command, manifest: Manifest, sandbox: Running, project: Path
) -> None:
    manifest(vip=(range(2, 7), ["vip"], ["trial"]))
    reconciler("apply", "--auto-approve")
    sandbox.do(meddle)
    settings = project / "manifests" / "reconciler.yaml"
    failing = ["drift", "--refresh", "get", "--fail-on", "missing"]
    assert reconciler(*failing).code == 2
    entry = "{tag: v*, classes: [missing], set: vip, reason: the workflow takes it, until: %s}"
    settings.write_text(f"expected_drift:\n  - {entry % '2999-01-01'}\n")
    quiet = reconciler(*failing)
    assert (quiet.code, "Expected, as the settings say" in quiet.out) == (0, True)
    settings.write_text(f"expected_drift:\n  - {entry % '2020-01-01'}\n")
    assert reconciler(*failing).code == 2


def test_owned_tags_on_others_are_tolerated(reconciler: Command, manifest: Manifest, sandbox: Running) -> None:
    manifest(vip=([2], ["vip"], []), news=([3], ["news"], []))
    reconciler("apply", "--auto-approve")
    sandbox.do(lambda world, now: world.add(contact_id(2), ["news"], now=now, by=ME))
    assert look(reconciler)["tolerated news"]["contacts"] == [contact_id(2)]


@pytest.mark.slow
def test_without_a_refresh_it_says_since_when_nobody_looked(reconciler: Command, manifest: Manifest) -> None:
    manifest(vip=([2, 8], ["vip"], []))
    first = reconciler("drift")
    assert "none of 2 declared contacts was ever observed" in first.out
    reconciler("apply", "--auto-approve")
    ended = reconciler("drift")
    assert "nothing observed since" in ended.out
    assert "1 contact unreachable" in ended.out


def test_what_is_too_old_is_stale(reconciler: Command, manifest: Manifest, project: Path) -> None:
    (project / "old.csv").write_text(f"contact_id,tags\n{contact_id(2)},vip\n")
    reconciler("state", "import", "old.csv", "--location", LOCATION, "--observed-at", "2020-01-01")
    manifest(vip=([2], ["vip"], []))
    assert drifted(reconciler("drift", "--max-age", "24h", "--format", "json")).keys() == {"stale"}
    assert reconciler("drift", "--max-age", "24h", "--fail-on", "stale").code == 2
    # the search is behind, and still younger than what is known
    found = reconciler("drift", "--max-age", "24h", "--refresh", "search", "--format", "json")
    assert drifted(found).keys() == {"pending vip"}
    assert reconciler("drift", "--fail-on", "strange").code == 64


@pytest.mark.slow
def test_a_tag_that_the_location_keeps_otherwise_is_no_drift_and_can_be_named_either_way(
    reconciler: Command, manifest: Manifest, world: World
) -> None:
    world.assumptions = Assumptions(collapses_spaces=True)
    manifest(vip=(range(2, 5), ['"two  spaces"'], []))
    assert reconciler("apply", "--auto-approve").code == 0
    for _ in range(2):
        assert look(reconciler, "--show", "foreign") == {}
        planned = reconciler("plan", "--refresh", "get", "--detailed-exitcode")
        assert (planned.code, "keeps the tag 'two  spaces' as 'two spaces'" in planned.out) == (0, True)
    world.remove(contact_id(2), ["two spaces"], now=Instant(2_000_000_000_000), by=ME)
    assert look(reconciler)["missing two spaces"]["contacts"] == [contact_id(2)]
    for called in ("two  spaces", "two spaces"):
        assert "1 tag to add" in reconciler("plan", "--refresh", "get", "--tag", called).out
    # the location's spelling in the manifests is the same wish
    manifest(vip=(range(3, 5), ["two spaces"], []))
    assert reconciler("plan", "--set", "vip", "--detailed-exitcode").code == 0


def test_a_report_on_what_was_never_observed_is_no_statement(
    reconciler: Command, manifest: Manifest, sandbox: Running
) -> None:
    manifest(vip=(range(2, 4), ["vip"], []))
    ended = reconciler("drift", "--fail-on", "missing,unexpected")
    assert "Nothing known: none of 2 declared contacts was ever observed." in ended.out
    assert "No drift" not in ended.out
    assert reconciler("drift", "--fail-on", "unobserved").code == 2


@pytest.mark.slow
def test_what_is_held_is_never_told_as_converged(
    reconciler: Command, manifest: Manifest, project: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request is lost to a gateway, and nobody may read: nobody knows whether the tag is there."""
    manifest(vip=(range(2, 4), ["vip"], []))
    writes_only = Access(scopes=frozenset({"contacts.write"}))
    lost = FaultPlan(rate=1.0, kinds=(FaultKind.ERROR_BEFORE,), path="/contacts/bulk")
    with in_background(Network(App(world, accesses=[writes_only]), lost)) as running:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", running.url)
        assert reconciler("apply", "--auto-approve", "--api-settle-s", "0").code == 3
    again = reconciler("plan", "--detailed-exitcode")
    assert again.code == 2, "2 desired tags are not known to be there: that is a change that waits"
    assert "Nothing to send, and not as declared: 2 tags held." in again.out
    assert "`reconciler apply --retry-held`" in again.out
    found = reconciler("drift", "--fail-on", "held")
    assert found.code == 2
    assert "Nothing known: none of 2 declared contacts was ever observed. Besides: 2 tags held." in found.out
    assert "`reconciler refresh`" in found.out
    applied = reconciler("apply", "--auto-approve", "--api-settle-s", "0")
    assert "2 tags held" in applied.out


@pytest.mark.slow
def test_what_is_held_beside_what_was_observed_is_the_headline(
    reconciler: Command, manifest: Manifest, world: World, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(vip=(range(2, 4), ["vip"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(vip=(range(2, 4), ["vip", "gold"], []))
    writes_only = Access(scopes=frozenset({"contacts.write"}))
    lost = FaultPlan(rate=1.0, kinds=(FaultKind.ERROR_BEFORE,), path="/contacts/bulk")
    with in_background(Network(App(world, accesses=[writes_only]), lost)) as running:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", running.url)
        reconciler("apply", "--auto-approve", "--api-settle-s", "0")
    assert "Not as declared: 2 tags held." in reconciler("drift").out


@pytest.mark.slow
def test_what_others_added_is_theirs_after_an_apply_saw_it_in_passing(
    reconciler: Command, manifest: Manifest, sandbox: Running
) -> None:
    manifest(vip=(range(2, 5), ["vip"], ["trial"]))
    assert reconciler("apply", "--auto-approve").code == 0
    sandbox.do(lambda world, now: world.add(contact_id(3), ["trial"], now=now, by=ME))
    manifest(vip=(range(2, 5), ["vip", "gold"], ["trial"]))
    reconciler("apply", "--auto-approve")
    ended = reconciler("drift", "--format", "json")
    assert drifted(ended)["unexpected trial"]["contacts"] == [contact_id(3)]
    assert "pending trial" not in drifted(ended)


@pytest.mark.slow
def test_what_the_manifests_want_gone_and_was_there_before_is_pending(
    reconciler: Command, manifest: Manifest, sandbox: Running
) -> None:
    """Contacts 0 and 1 carried trial before anybody here looked."""
    manifest(vip=([0, 2], ["vip"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(vip=([0, 2], ["vip"], ["trial"]))
    assert drifted(reconciler("drift", "--format", "json"))["pending trial"]["contacts"] == [contact_id(0)]
    text = reconciler("drift").out
    assert "No drift, but 1 tag pending: the manifests moved since the last apply." in text


def test_rows_are_grouped_by_what_they_show(reconciler: Command, manifest: Manifest, sandbox: Running) -> None:
    """Three requests set the tag in one run: that is one row."""
    manifest(vip=(range(2, 8), ["vip"], []))
    assert reconciler("apply", "--auto-approve", "--api-max-contacts", "2").code == 0
    sandbox.do(lambda world, now: [world.remove(contact_id(each), ["vip"], now=now, by=ME) for each in range(2, 8)])
    (location,) = json.loads(reconciler("drift", "--refresh", "get", "--format", "json").out)["locations"]
    rows = [each for each in location["drifted"] if each["drift"] == "missing"]
    assert [len(each["contacts"]) for each in rows] == [6]


@pytest.mark.slow
def test_what_waits_for_its_pace_is_told_so_in_every_format(
    reconciler: Command, manifest: Manifest, project: Path
) -> None:
    manifest(vip=(range(2, 6), ["vip"], []))
    (project / "manifests" / "reconciler.yaml").write_text("tags: {vip: {pace: {adds: 1, per: 1h}}}\n")
    assert reconciler("apply", "--auto-approve").code == 3
    text = " ".join(reconciler("drift").out.split())
    assert "3 tags pending" in text
    assert "the manifests moved" not in text
    (waiting,) = [each for each in drifted(reconciler("drift", "--format", "json")).values() if each["cause"] == "pace"]
    assert (waiting["reason"], waiting["meaning"][:12]) == ("declared", "waits until ")
    for kind in ("csv", "markdown", "html"):
        out = reconciler("drift", "--format", kind).out
        assert ("(pace of vip: 1 in 1h)" in out, "the manifests moved" in out) == (True, False)
