"""The headline never says that all is well where something waits, is refused, or is not known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, combine_plans
from reconciler.output.plan import PlanDocument
from reconciler.output.text import render_text
from reconciler.sandbox import Running
from reconciler.sandbox.world import Contact, World
from tests.build import HERE, NOW, a_set, carries, declare, plan_options, state
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
ME = "somebody"
WELL = ("No changes: what was observed is as the manifests want it.", "No drift among", "Nothing to do.")


def write(project: Path, tags: str, *sets: str) -> None:
    """A manifest with rules for tags, and sets in one line each."""
    lines = [f"location: {LOCATION}", f"tags: {{{tags}}}", "contact_sets:", *(f"  {each}" for each in sets)]
    (project / "manifests" / "acme.yaml").write_text("\n".join(lines) + "\n")


def ids(number: int) -> str:
    return f"[{', '.join(contact_id(each) for each in range(2, 2 + number))}]"


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["gold: {renamed_from: top}", "gold: {group: level}, top: {group: level}"])
def test_a_removal_that_waits_for_a_tag_outside_the_selection_is_told(
    rules: str, reconciler: Command, manifest: Manifest, project: Path
) -> None:
    manifest(vip=(range(2, 5), ["top"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    write(project, rules, f"vip: {{contacts: {ids(3)}, tags: [gold]}}")
    planned = reconciler("plan", "--tag", "top", "--detailed-exitcode")
    assert planned.code == 2, "3 removals are known to be needed"
    assert "Nothing to send. Not decided: 3 contacts deferred." in planned.out
    waits = "at most 3 removals of top (waits for the tag that takes its place, which is left out or held)"
    assert waits in " ".join(planned.out.split())
    applied = reconciler("apply", "--tag", "top", "--auto-approve")
    assert applied.code == 0
    assert "Nothing sent." in applied.out
    drift = reconciler("drift", "--tag", "top").out
    assert "No drift, but 3 tags pending" in drift
    assert not [text for text in WELL if text in planned.out + applied.out + drift]
    lifted = ("--allow", "empties_tag:tag=top", "--reason", "one tag for another")
    assert reconciler("apply", "--auto-approve", *lifted).code == 0
    assert WELL[0] in reconciler("plan", "--tag", "top", "--detailed-exitcode").out


@pytest.mark.slow
def test_who_else_carries_an_exclusive_tag_is_not_known_without_a_search(
    reconciler: Command, project: Path, sandbox: Running
) -> None:
    write(project, "board: {exclusive: true}", f"board: {{contacts: {ids(2)}, tags: [board]}}")
    assert reconciler("apply", "--auto-approve").code == 0
    planned, drift = reconciler("plan", "--detailed-exitcode"), reconciler("drift").out
    assert (planned.code, "Nothing to send. Not decided: who else carries 'board'." in planned.out) == (0, True)
    assert "No drift among the 2 contacts observed. Besides: not looked for: who else carries 'board'." in drift


@pytest.mark.slow
def test_what_owned_authority_would_remove_of_somebody_never_observed_waits(reconciler: Command, project: Path) -> None:
    write(
        project,
        "",
        f"vip: {{contacts: {ids(1)}, tags: [vip]}}",
        f"none: {{contacts: [{contact_id(5)}], tags: [], authority: owned}}",
    )
    reconciler("apply", "--auto-approve")
    assert "Nothing to send. Not decided: 1 contact deferred." in reconciler("plan").out


def test_a_plan_with_nothing_to_send_that_a_guard_refuses_says_so(
    reconciler: Command, project: Path, world: World
) -> None:
    """The set lost most of its members, and each of them stands in the other set, too."""
    for number in range(10, 22):
        world.put(Contact(contact_id(number), LOCATION), now=Instant(0))
    many, few = (f"[{', '.join(map(contact_id, range(10, end)))}]" for end in (22, 13))
    every = f"every: {{contacts: {many}, tags: [vip]}}"
    write(project, "", every, f"some: {{contacts: {many}, tags: [vip]}}")
    assert reconciler("apply", "--auto-approve").code == 0
    write(project, "", every, f"some: {{contacts: {few}, tags: [vip]}}")
    planned = reconciler("plan")
    assert planned.code == 5
    assert "Nothing to send, and refused by shrink_pct." in planned.out
    assert not [text for text in WELL if text in planned.out]


def test_a_set_under_another_name_is_named(reconciler: Command, manifest: Manifest) -> None:
    """State has the size of a set, not its contacts: the set that is gone is refused, and what may be meant is said."""
    manifest(vip=(range(10), ["vip"], []))
    reconciler("apply", "--auto-approve")
    manifest(best=(range(10), ["vip"], []))
    refused = reconciler("apply", "--auto-approve")
    assert refused.code == 5
    said = "contact set 'best' gains as many contacts as 'vip' had: if they are the same contacts under another name"
    assert said in " ".join(refused.out.split())
    assert said in refused.err
    manifest(best=(range(9), ["vip"], []))
    assert "gains as many" not in reconciler("plan").out


@pytest.mark.slow
@pytest.mark.parametrize("reading", [(), ("--refresh", "search"), ("--refresh", "get")], ids=["none", "search", "get"])
@pytest.mark.parametrize("state", ["none", "empty", "refreshed", "other"])
def test_without_a_known_apply_nothing_tells_what_others_changed(
    state: str, reading: tuple[str, ...], reconciler: Command, manifest: Manifest, project: Path, sandbox: Running
) -> None:
    """The state was lost, or is another one: the tag that others took off looks as if it had never been given."""
    manifest(vip=(range(2, 6), ["vip"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    sandbox.do(lambda world, now: world.remove(contact_id(3), ["vip"], now=now, by=ME))
    (project / "other.db").touch() if state == "empty" else None
    if state == "refreshed":
        assert reconciler("refresh", "--state", "sqlite:///other.db").code == 0
    ended = reconciler("drift", "--fail-on", "missing", *reading, "--state", "sqlite:///other.db")
    assert "No drift" not in ended.out
    assert "never applied" in ended.out
    assert ("Nothing known: " if not reading and state != "refreshed" else "No statement on drift: ") in ended.out
    assert "between never and never" not in ended.out
    told = f"there is no state of location {LOCATION} at sqlite:///other.db (relative to the working directory): "
    assert (told in " ".join(ended.out.split())) is (state != "refreshed")
    found = json.loads(reconciler("drift", *reading, "--state", "sqlite:///other.db", "--format", "json").out)
    assert found["locations"][0]["applied"] is False


def test_where_all_is_as_declared_there_is_no_drift_before_the_first_apply(
    reconciler: Command, manifest: Manifest
) -> None:
    manifest(some=(range(2), ["trial"], []))
    ended = reconciler("drift", "--refresh", "get")
    assert "No drift among the 2 contacts observed." in ended.out
    assert f"there is no state of location {LOCATION} at " in ended.out


@pytest.mark.slow
def test_contacts_that_are_gone_do_not_hide_that_no_state_is_there(reconciler: Command, manifest: Manifest) -> None:
    manifest(some=([2, 3, 8, 9], ["vip"], []))
    assert reconciler("apply", "--auto-approve").code == 3
    reading = ("drift", "--refresh", "get", "--fail-on", "missing,unexpected")
    assert "Not as declared: 2 contacts unreachable." in reconciler(*reading).out
    elsewhere = reconciler(*reading, "--state", "sqlite:///other.db")
    assert "No statement on drift: no apply of this location is known" in elsewhere.out
    assert "2 tags pending, 2 contacts unreachable." not in reconciler(*reading).out
    assert f"there is no state of location {LOCATION} at sqlite:///other.db" in " ".join(elsewhere.out.split())


@pytest.mark.slow
def test_what_comes_and_goes_is_flapping(reconciler: Command, manifest: Manifest, sandbox: Running) -> None:
    manifest(vip=(range(2, 6), ["vip"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    for _ in range(2):
        sandbox.do(lambda world, now: world.remove(contact_id(3), ["vip"], now=now, by=ME))
        assert reconciler("refresh").code == 0
        assert reconciler("apply", "--auto-approve").code == 0
    ended = reconciler("drift", "--fail-on", "flapping")
    assert ended.code == 2
    assert "Not as declared: 1 tag flapping." in ended.out
    assert "does not count" not in ended.out
    # nobody is to take exit code 0 for a tag that is there: it is taken off every day
    for classes in ("missing", "missing,unexpected"):
        quiet = reconciler("drift", "--fail-on", classes)
        assert quiet.code == 0
        assert "1 tag flapping does not count for the exit code: --fail-on does not name flapping" in quiet.out
    assert "--fail-on" not in reconciler("drift").out


def test_a_revert_of_nothing_does_not_say_that_all_is_as_the_manifests_want_it() -> None:
    """Of a run that sent nothing, nothing is left to undo; what it was to send is as wanted as before."""
    converged = plan_location(
        declare(a_set("s", "anna", "x")),
        LocationState(HERE, "l", 1, state(anna=carries("x", ledger="x"))),
        plan_options(),
    )
    plan = combine_plans([converged], as_of=NOW, manifests="m")

    assert "No changes: what was observed" in render_text(PlanDocument(plan).view())
    shown = render_text(PlanDocument(plan, undoes="3f0c9e1b2a4d").view())
    assert "Nothing of run 3f0c9e1b2a4d is left to undo." in shown
    assert "as the manifests want it" not in shown
