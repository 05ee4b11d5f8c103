"""manifests -> plan -> apply -> observed state -> drift, through the command line."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant, Tag
from reconciler.sandbox import Running
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]


def test_the_main_job(reconciler: Command, manifest: Manifest, world: World) -> None:
    manifest(customers=(range(8), ["customer"], []), vip=([0, 5], ["vip"], ["trial"]))

    planned = reconciler("plan", "--detailed-exitcode")
    assert planned.code == 2
    assert "8 contacts: 10 tags to add." in planned.out
    assert not world.transitions

    applied = reconciler("apply", "--auto-approve")
    assert applied.code == 0
    assert world.holders("customer") == {contact_id(number) for number in range(8)}
    assert world.tags_of(contact_id(0)) == {"customer", "vip"}
    assert world.tags_of(contact_id(1)) == {"customer", "trial"}

    again = reconciler("plan", "--detailed-exitcode")
    assert again.code == 0
    assert "No changes" in again.out
    before = len(world.transitions)
    assert reconciler("apply", "--auto-approve").code == 0
    assert len(world.transitions) == before


def test_leaving_a_set_prunes_what_it_gave_and_nothing_else(
    reconciler: Command, manifest: Manifest, world: World, sandbox: Running
) -> None:
    manifest(customers=(range(8), ["customer", "news"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    sandbox.do(lambda world, now: world.add(contact_id(7), ["hand made"], now=now, by="somebody"))
    manifest(customers=(range(7), ["customer", "news"], []))
    planned = reconciler("plan")
    assert "pruned" in planned.out
    assert reconciler("apply", "--auto-approve").code == 0
    assert world.tags_of(contact_id(7)) == {"hand made"}
    assert world.tags_of(contact_id(6)) == {"customer", "news"}


@pytest.mark.slow
def test_an_apply_with_nothing_to_send_records_the_sizes_of_the_sets(
    reconciler: Command, manifest: Manifest, world: World, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that shrinks later is measured against the size that nobody had to send anything for."""
    manifest(first=(range(7), ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    monkeypatch.delenv("HIGHLEVEL_TOKEN")

    def sizes() -> dict[str, int]:
        document = json.loads(reconciler("state", "pull").out)
        return dict(document["locations"][0]["set_sizes"])

    assert sizes() == {"first": 7}
    manifest(first=(range(7), ["customer"], []), second=(range(5), ["customer"], []))
    assert "No changes" in reconciler("plan").out
    assert reconciler("apply", "--auto-approve").code == 0, "and needs no token"
    assert sizes() == {"first": 7, "second": 5}
    before = reconciler("state", "pull").out
    assert reconciler("apply", "--auto-approve").code == 0
    assert reconciler("state", "pull").out == before, "nothing moved: nothing is written"


def test_a_saved_plan_is_shown_and_applied_as_it_is(
    reconciler: Command, manifest: Manifest, world: World, project: Path
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    assert reconciler("plan", "--out", "plan.json").code == 0
    assert stat.S_IMODE((project / "plan.json").stat().st_mode) == 0o600
    shown, printed = reconciler("show", "plan.json", "--format", "json"), (project / "plan.json").read_text()
    assert shown.out == printed
    assert "3 tags to add" in reconciler("show", "plan.json").out
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    assert world.holders("customer") == {contact_id(0), contact_id(1), contact_id(2)}


def test_a_plan_is_stale_once_its_manifests_say_something_else(
    reconciler: Command, manifest: Manifest, world: World, project: Path
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    reconciler("plan", "--out", "plan.json")
    path = project / "manifests" / "acme.yaml"
    path.write_text("# a comment changes nothing\n" + path.read_text())
    assert reconciler("apply", "plan.json", "--dry-run").code == 0
    manifest(customers=(range(4), ["customer"], []))
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert ended.code == 4
    assert "stale" in ended.err
    assert "plan again" in ended.err
    assert not world.transitions


def test_a_rejected_contact_makes_the_run_partial_once(reconciler: Command, manifest: Manifest, world: World) -> None:
    manifest(customers=([1, 2, 8, 9], ["customer"], []))
    applied = reconciler("apply", "--auto-approve")
    assert applied.code == 3
    assert "contact is deleted" in applied.out
    assert "contact does not belong to location" in applied.out
    assert world.holders("customer") == {contact_id(1), contact_id(2)}
    planned = reconciler("plan", "--detailed-exitcode")
    assert planned.code == 0
    assert "Quarantined" in planned.out


def test_adoption_is_a_change_without_a_request(
    reconciler: Command, manifest: Manifest, world: World, sandbox: Running
) -> None:
    manifest(trial=([0, 1], ["trial"], []), customers=([0, 1], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=([0, 1], ["customer"], []))
    # both carried the tag before we came: it was declared, so it is ours, and leaves with the declaration
    ended = reconciler("apply", "--auto-approve", "--allow", "empties_tag:tag=trial", "--reason", "the trial is over")
    assert ended.code == 0
    assert world.holders("trial") == frozenset()


@pytest.mark.slow
def test_observed_and_desired_alike_are_adopted_for_nothing(
    reconciler: Command, manifest: Manifest, world: World
) -> None:
    manifest(customers=([0, 1, 2], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=([0, 1, 2], ["customer"], []), trial=([0, 1], ["trial"], []))
    planned = reconciler("plan", "--detailed-exitcode")
    assert planned.code == 2
    assert "Nothing to send. To record: 2 adopted." in planned.out
    before = len(world.transitions)
    assert reconciler("apply", "--auto-approve").code == 0
    assert len(world.transitions) == before
    assert reconciler("plan", "--detailed-exitcode").code == 0


def test_dry_run_prints_the_preview_and_sends_nothing(
    reconciler: Command, manifest: Manifest, world: World, project: Path
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    ended = reconciler("apply", "--dry-run")
    assert ended.code == 0
    assert "3 tags to add" in ended.out
    assert not world.transitions
    assert not (project / ".reconciler").exists()


def test_without_a_terminal_apply_refuses_to_guess(reconciler: Command, manifest: Manifest, world: World) -> None:
    manifest(customers=(range(3), ["customer"], []))
    ended = reconciler("apply")
    assert ended.code == 64
    assert "--auto-approve" in ended.err
    assert not world.transitions


@pytest.mark.slow
def test_drift_is_found_and_repaired(reconciler: Command, manifest: Manifest, world: World, sandbox: Running) -> None:
    manifest(vip=([2, 3, 4], ["vip"], ["trial"]))
    assert reconciler("apply", "--auto-approve").code == 0
    assert reconciler("drift", "--fail-on", "missing,unexpected").code == 0

    def meddle(world: World, now: int) -> None:
        world.remove(contact_id(2), ["vip"], now=now, by="somebody")
        world.add(contact_id(3), ["trial"], now=now, by="somebody")

    sandbox.do(meddle)
    unaware = reconciler("drift", "--fail-on", "missing,unexpected")
    assert unaware.code == 0
    assert "nothing observed since" in unaware.out
    found = reconciler("drift", "--refresh", "get", "--fail-on", "missing", "--format", "json")
    assert found.code == 2
    classes = {(each["drift"], each["tag"]) for each in json.loads(found.out)["locations"][0]["drifted"]}
    assert classes == {("missing", "vip"), ("unexpected", "trial")}
    assert reconciler("apply", "--refresh", "get", "--auto-approve").code == 0
    assert world.holders("vip") == {contact_id(2), contact_id(3), contact_id(4)}
    assert Tag("trial") not in world.tags_of(contact_id(3))


def test_a_guard_refuses_and_is_lifted_by_name(reconciler: Command, manifest: Manifest, world: World) -> None:
    manifest(customers=(range(8), ["customer"], []))
    reconciler("apply", "--auto-approve")
    manifest()
    refused = reconciler("plan")
    assert refused.code == 5
    assert "guard max_removes_pct refuses" in refused.out
    assert "--allow empties_tag:tag=customer" in refused.out
    blocked = reconciler("apply", "--auto-approve")
    assert blocked.code == 5
    assert len(world.holders("customer")) == 8
    lift = ["max_removes_pct", "max_removes_pct:tag=customer", "empties_tag:tag=customer"]
    flags = [part for guard in lift for part in ("--allow", guard)]
    assert reconciler("apply", "--auto-approve", *flags).code == 64
    assert reconciler("apply", "--auto-approve", *flags, "--reason", "we close down").code == 0
    assert world.holders("customer") == frozenset()


def test_state_list_tells_what_is_known(reconciler: Command, manifest: Manifest) -> None:
    assert "no state yet" in reconciler("state", "list").err
    manifest(customers=([0, 8], ["customer"], []))
    reconciler("apply", "--auto-approve")
    listed = json.loads(reconciler("state", "list", "--format", "json").out)["locations"][0]
    assert listed["location"] == LOCATION
    by_contact = {each["contact"]: each for each in listed["contacts"]}
    assert by_contact[contact_id(0)]["observed"] == ["customer", "trial"]
    assert by_contact[contact_id(0)]["ledger"] == ["customer"]
    assert by_contact[contact_id(8)]["quarantine"] == "deleted"
    assert "quarantined: deleted" in reconciler("state", "list").out


def test_state_is_private(reconciler: Command, manifest: Manifest, project: Path) -> None:
    manifest(customers=([0], ["customer"], []))
    reconciler("apply", "--auto-approve")
    assert stat.S_IMODE((project / ".reconciler").stat().st_mode) == 0o700
    assert stat.S_IMODE((project / ".reconciler" / "state.db").stat().st_mode) == 0o600


@pytest.mark.one_in(7)
@pytest.mark.parametrize("tag", ["no", "012", "null", "1:30", "~", "0x1f"])
def test_text_stays_text(reconciler: Command, manifest: Manifest, world: World, tag: str) -> None:
    manifest(customers=([0], [tag], []))
    assert reconciler("apply", "--auto-approve").code == 0
    assert Tag(tag) in world.tags_of(contact_id(0))


def test_a_part_is_planned_when_asked_for(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=(range(3), ["customer"], []), vip=([0, 5], ["vip"], []))
    assert "2 contacts: 3 tags to add" in reconciler("plan", "--set", "vip").out
    assert "3 contacts: 3 tags to add" in reconciler("plan", "--tag", "Customer").out
    assert reconciler("plan", "--set", "vips").code == 64
    assert reconciler("plan", "--location", "nowhere").code == 64


@pytest.mark.slow
def test_a_tag_that_only_removals_name_can_be_asked_for(
    reconciler: Command, project: Path, manifest: Manifest, world: World
) -> None:
    manifest(customers=([0], ["customer"], []))
    text = (project / "manifests" / "acme.yaml").read_text()
    (project / "manifests" / "acme.yaml").write_text(text + "    authority: exact\n")
    world.add(contact_id(0), ["wild"], now=Instant(0), by="human")
    # nobody has seen it yet: whoever names it mistypes, as far as is known
    assert reconciler("plan", "--tag", "wild").code == 64
    assert "1 tag to remove" in reconciler("plan", "--refresh", "get", "--tag", "wild").out
    reconciler("refresh", "--method", "get")
    assert "1 tag to remove" in reconciler("plan", "--tag", "wild").out
    refused = reconciler("plan", "--tag", "wilde")
    assert (refused.code, "did you mean 'wild'?" in refused.err) == (64, True)


@pytest.mark.slow
def test_a_pattern_leaves_a_tag_alone_however_it_is_spelt(
    reconciler: Command, project: Path, manifest: Manifest, world: World
) -> None:
    """The API has tags lower-cased, whatever a person writes: the tags of workflows went from whoever carried them."""
    manifest(customers=([0], ["customer"], []))
    path = project / "manifests" / "acme.yaml"
    path.write_text(path.read_text() + '    authority: exact\n    ignore: ["WF-*", " Imported "]\n')
    world.add(contact_id(0), ["wf-done", "imported", "wild"], now=Instant(0), by="human")
    lifted = ("--allow", "empties_tag:tag=trial", "--allow", "empties_tag:tag=wild", "--reason", "meant")
    assert reconciler("apply", "--refresh", "get", "--auto-approve", *lifted).code == 0
    assert world.tags_of(contact_id(0)) == {"customer", "wf-done", "imported"}


def test_output_is_the_same_words_with_and_without_colour(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=(range(3), ["customer"], []))
    plain, coloured = reconciler("plan", "--color", "never").out, reconciler("plan", "--color", "always").out
    assert "\x1b[" in coloured
    assert "\x1b" not in plain


def test_in_ci_the_default_state_is_not_made_unasked(
    reconciler: Command, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(customers=([0], ["customer"], []))
    monkeypatch.setenv("CI", "true")
    refused = reconciler("apply", "--auto-approve")
    assert refused.code == 64
    assert "--create-state" in refused.err
    assert reconciler("apply", "--auto-approve", "--create-state").code == 0
    assert reconciler("apply", "--auto-approve").code == 0


def test_a_narrowed_plan_stays_narrow_when_it_is_applied(reconciler: Command, manifest: Manifest, world: World) -> None:
    manifest(customers=(range(3), ["customer"], []), vip=([0, 5], ["vip"], ["trial"]))
    assert reconciler("plan", "--set", "vip", "--tag", "vip", "--tag", "trial", "--out", "plan.json").code == 0
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    assert world.holders("vip") == {contact_id(0), contact_id(5)}
    assert world.holders("customer") == frozenset()
    assert world.tags_of(contact_id(0)) == {"vip"}


@pytest.mark.slow
def test_guards_lifted_in_a_plan_are_lifted_for_its_run_by_who_applies_it(
    reconciler: Command, manifest: Manifest, world: World
) -> None:
    manifest(customers=(range(8), ["customer"], []))
    reconciler("apply", "--auto-approve")
    manifest()
    lift = ["max_removes_pct", "max_removes_pct:tag=customer", "empties_tag:tag=customer"]
    flags = [part for guard in lift for part in ("--allow", guard)]
    flags += ["--reason", "we close down"]
    assert reconciler("plan", "--out", "plan.json", *flags).code == 0
    assert reconciler("apply", "plan.json", "--auto-approve").code == 5
    assert len(world.holders("customer")) == 8
    assert reconciler("apply", "plan.json", "--auto-approve", *flags).code == 0
    assert world.holders("customer") == frozenset()


def test_a_location_without_manifest_is_listed_and_left_untouched(
    reconciler: Command, manifest: Manifest, world: World, project: Path
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    reconciler("apply", "--auto-approve")
    text = (project / "manifests" / "acme.yaml").read_text()
    (project / "manifests" / "acme.yaml").write_text(text.replace(LOCATION, "another0000000000000"))
    planned = reconciler("plan")
    assert f"location {LOCATION} has state but no manifest: left untouched" in planned.out
    assert len(world.holders("customer")) == 3


@pytest.mark.slow
def test_a_saved_plan_is_used_up_by_its_run(reconciler: Command, manifest: Manifest, world: World) -> None:
    manifest(customers=(range(3), ["customer"], []))
    reconciler("plan", "--out", "plan.json")
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    before = len(world.transitions)
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert ended.code == 4
    assert "used up" in ended.out
    assert len(world.transitions) == before
