"""What was approved by its change digest, or in a saved plan, and what there is to do by now."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.names import Instant, LocationId, Tag
from reconciler.core.planning.plan import Plan
from reconciler.planfile import load_plan, write_plan
from reconciler.sandbox.world import World
from reconciler.store import open_store
from reconciler.system import SystemClock
from tests.build import contact_state
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.fakes import a_holder

Manifest = Callable[..., None]


def digest_of(reconciler: Command) -> str:
    found: str = json.loads(reconciler("plan", "--format", "json").out)["change_digest"]
    return found


@pytest.fixture
def approved(reconciler: Command, manifest: Manifest) -> str:
    """The digest of two contacts that become customers."""
    manifest(customers=([0, 1], ["customer"], []))
    return digest_of(reconciler)


def test_the_very_changes_that_were_approved_are_sent_unasked(reconciler: Command, world: World, approved: str) -> None:
    ended = reconciler("apply", "--approved", approved)
    assert ended.code == 0, ended.err
    assert world.holders("customer") == {contact_id(0), contact_id(1)}
    (run,) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    assert run["change_digest"] == approved


@pytest.mark.slow
def test_once_it_is_done_the_same_job_has_nothing_to_do(reconciler: Command, world: World, approved: str) -> None:
    assert reconciler("apply", "--approved", approved).code == 0
    before = len(world.transitions)
    assert reconciler("apply", "--approved", approved).code == 0
    assert len(world.transitions) == before


def test_other_changes_than_those_approved_are_not_sent(
    reconciler: Command, manifest: Manifest, world: World, approved: str
) -> None:
    manifest(customers=([0, 1, 2], ["customer"], []))
    ended = reconciler("apply", "--approved", approved, "--auto-approve")
    assert ended.code == 4
    assert approved in ended.err
    assert digest_of(reconciler) in ended.err
    assert "have moved since" in ended.err
    # what there is to do now is shown
    assert "3 contacts: 3 tags to add" in ended.out
    assert not world.transitions


@pytest.mark.slow
def test_what_is_left_of_an_approved_run_needs_another_approval(
    reconciler: Command, manifest: Manifest, world: World, approved: str
) -> None:
    assert reconciler("apply", "--approved", approved).code == 0
    (run,) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    manifest(customers=([0, 1, 2], ["customer"], []))
    ended = reconciler("apply", "--approved", approved)
    assert ended.code == 4
    assert f"run {run['id']} carried it out" in ended.err
    assert reconciler("apply", "--approved", digest_of(reconciler)).code == 0
    assert len(world.holders("customer")) == 3


@pytest.mark.slow
def test_a_dry_run_holds_to_it_too(reconciler: Command, manifest: Manifest, world: World, approved: str) -> None:
    assert reconciler("apply", "--approved", approved, "--dry-run").code == 0
    manifest(customers=([0], ["customer"], []))
    assert reconciler("apply", "--approved", approved, "--dry-run").code == 4
    assert not world.transitions


def test_what_is_approved_is_under_the_guards(reconciler: Command, world: World, approved: str) -> None:
    ended = reconciler("apply", "--approved", approved, "--guards-max-adds", "1")
    assert ended.code == 5
    assert not world.transitions


def test_a_part_is_approved_as_a_part(reconciler: Command, manifest: Manifest, world: World) -> None:
    manifest(customers=([0, 1], ["customer"], []), others=([2], ["vip"], []))
    part = json.loads(reconciler("plan", "--set", "others", "--format", "json").out)["change_digest"]
    assert reconciler("apply", "--approved", part).code == 4
    assert reconciler("apply", "--approved", part, "--set", "others").code == 0
    assert {each.tag for each in world.transitions} == {"vip"}


@pytest.mark.parametrize("digest", ["x", "sha256:abc", "SHA256:" + "0" * 64, "0" * 64])
def test_what_is_no_change_digest_approves_nothing(reconciler: Command, approved: str, digest: str) -> None:
    assert reconciler("apply", "--approved", digest).code == 64


def test_a_plan_file_is_no_witness_of_an_approval(reconciler: Command, world: World, approved: str) -> None:
    assert reconciler("plan", "--out", "plan.json").code == 0
    ended = reconciler("apply", "plan.json", "--approved", approved)
    assert ended.code == 64
    assert not world.transitions


def held(tried: int) -> None:
    """What a run leaves that was killed before the answer to its add of 0 came, and a reading that told nothing."""
    tags, now = frozenset({Tag("customer")}), SystemClock().now()
    known = contact_state(
        observed=frozenset(),
        observed_at=Instant(now - 1_000),
        origin=ObservationOrigin.GET,
        ledger=tags,
        doubt=tags,
        doubt_at=Instant(now - tried),
        unconfirmed=tags,
        attempted_at=Instant(now - tried),
    )
    with open_store("sqlite:///.reconciler/state.db") as state:
        store = state.at(LOCATION)
        lease = store.acquire_lease(a_holder("anna"), now)
        store.save_states(lease, {contact_id(0): known})
        store.release_lease(lease)


@pytest.mark.slow
def test_an_approval_covers_one_attempt(reconciler: Command, manifest: Manifest, world: World) -> None:
    manifest(customers=([1], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=([0, 1], ["customer"], []))
    held(7_200_000)
    digest = json.loads(reconciler("plan", "--retry-held", "--format", "json").out)["change_digest"]
    assert json.loads(reconciler("plan", "--retry-held", "--format", "json").out)["change_digest"] == digest
    # the job sends, and is killed; the next one is started with the same approval
    held(3_600_000)
    before = len(world.transitions)
    ended = reconciler("apply", "--approved", digest, "--retry-held")
    assert (ended.code, len(world.transitions)) == (4, before)
    anew = json.loads(reconciler("plan", "--retry-held", "--format", "json").out)["change_digest"]
    assert reconciler("apply", "--approved", anew, "--retry-held").code == 0
    assert contact_id(0) in world.holders("customer")


# saved plans


@pytest.fixture
def saved(reconciler: Command, manifest: Manifest, project: Path) -> Path:
    """A state that knows 0 and 1 as customers, and a plan that makes 2 one."""
    manifest(customers=([0, 1], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=([0, 1, 2], ["customer"], []))
    assert reconciler("plan", "--out", "plan.json").code == 0
    return project / "plan.json"


@pytest.mark.slow
def test_what_a_saved_plan_does_not_cover_is_listed_and_not_sent(
    reconciler: Command, world: World, saved: Path, project: Path
) -> None:
    (project / "export.csv").write_text(f"id,tags\n{contact_id(0)},other\n")
    assert reconciler("state", "import", "export.csv", "--location", LOCATION).code == 0
    before = len(world.transitions)
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert ended.code == 3
    assert "the state moved from serial" in ended.err
    assert f"not in the plan, and not sent: +customer on 1 contact: {contact_id(0)}" in ended.err
    assert [(each.contact, each.tag) for each in world.transitions[before:]] == [(contact_id(2), "customer")]
    # the next plan has it
    assert "1 contact: 1 tag to add" in reconciler("plan").out


@pytest.mark.slow
def test_a_plan_that_nothing_moved_under_says_nothing_of_it(reconciler: Command, saved: Path) -> None:
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, "moved" in ended.err) == (0, False)


def rewritten(path: Path, **changes: Any) -> None:
    plan: Plan = replace(load_plan(path), **changes)
    write_plan(plan, path)


def test_a_plan_is_stale_once_a_set_has_become_active_or_expired(
    reconciler: Command, world: World, saved: Path
) -> None:
    before = len(world.transitions)
    rewritten(saved, valid_until=Instant(SystemClock().now() - 1))
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, "become active or expired" in ended.err) == (4, True)
    assert len(world.transitions) == before


def test_a_plan_serves_once(reconciler: Command, world: World, saved: Path) -> None:
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    before = len(world.transitions)
    world.remove(contact_id(2), ["customer"], now=Instant(SystemClock().now()), by="somebody")
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert ended.code == 4
    assert "used up" in ended.out
    assert len(world.transitions) == before + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "option", [["--tag", "customer"], ["--set", "customers"], ["--location", LOCATION], ["--refresh", "get"]]
)
def test_what_would_make_another_plan_of_it_is_refused(reconciler: Command, saved: Path, option: list[str]) -> None:
    ended = reconciler("apply", "plan.json", "--auto-approve", *option)
    assert ended.code == 64
    assert f"{option[0]} does not go with a saved plan" in ended.err


# allowances


ALLOW = "guards: {{max_adds: 1}}\nallow:\n  - {{guard: max_adds, reason: the launch, until: {0}{1}}}\n"


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("until", "more", "code"),
    [
        ("2999-01-01", "", 0),
        ("2020-01-01", "", 5),
        ("2999-01-01", f", location: {LOCATION}", 0),
        ("2999-01-01", f", location: {LocationId('zzzrwHvLUxlfw5SqKVCN')}", 5),
        ("2999-01-01", ", tag: customer", 5),
    ],
)
def test_a_reviewed_exception_lifts_a_guard_until_it_ends(
    reconciler: Command, manifest: Manifest, project: Path, until: str, more: str, code: int
) -> None:
    manifest(customers=([0, 1], ["customer"], []))
    (project / "manifests" / "reconciler.yaml").write_text(ALLOW.format(until, more))
    assert reconciler("apply", "--auto-approve").code == code
    if not code:
        (run,) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
        assert run["allowed"] == ["max_adds: the launch"]


@pytest.mark.slow
def test_a_guard_that_a_later_round_may_pass_is_journalled_too(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([0], ["customer"], []))
    lift = ("--allow", "max_removes", "--allow", "empties_tag:tag=trial", "--reason", "it ended")
    assert reconciler("apply", "--auto-approve", *lift).code == 0
    (run,) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    assert run["allowed"] == ["empties_tag:tag=trial: it ended", "max_removes: it ended"]


@pytest.mark.parametrize(
    ("lift", "hint"),
    [
        ("empties_tag", "empties_tag:tag=T"),
        ("shrink_pct:tag=x", "shrink_pct:set=S"),
        ("max_requests:tag=x", "max_requests"),
        ("max_adds:set=x", "max_adds, max_adds:tag=T"),
    ],
)
def test_a_guard_is_lifted_where_it_holds(reconciler: Command, manifest: Manifest, lift: str, hint: str) -> None:
    manifest(customers=([0], ["customer"], []))
    ended = reconciler("plan", "--allow", lift, "--reason", "x")
    assert ended.code == 64
    assert f"write {hint}" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", ["gold: {renamed_from: top}, top: {protected: true}", "gold: {group: g}, top: {group: g, protected: true}"]
)
def test_a_protected_tag_that_stays_though_its_guard_is_lifted_is_told(
    reconciler: Command, manifest: Manifest, project: Path, rule: str
) -> None:
    manifest(best=([0, 1], ["top"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(best=([0, 1], ["gold"], []))
    (project / "manifests" / "reconciler.yaml").write_text(f"tags: {{{rule}}}\n")
    told = "2 contacts would lose 'top', which is protected, and no plan of manifests removes it"
    lift = ("--allow", "protected:tag=top", "--reason", "renamed")
    assert told not in " ".join(reconciler("plan").out.split())
    assert told in " ".join(reconciler("plan", *lift, "--out", "plan.json").out.split())
    ended = reconciler("apply", "plan.json", "--auto-approve", *lift)
    assert told in " ".join((ended.out + ended.err).split())


@pytest.mark.slow
def test_the_next_slice_of_what_was_approved_needs_no_other_approval(
    reconciler: Command, manifest: Manifest, project: Path, world: World
) -> None:
    manifest(customers=([0, 1, 2], ["customer"], []))
    (project / "manifests" / "reconciler.yaml").write_text("tags: {customer: {pace: {adds: 1, per: 1h}}}\n")
    digest = digest_of(reconciler)
    assert reconciler("apply", "--approved", digest).code == 3
    again = reconciler("apply", "--approved", digest)
    assert again.code == 3, again.err
    assert len(world.holders("customer")) == 1
    # what waits for nobody is approved by nobody
    manifest(customers=([0, 1, 2], ["customer"], []), further=([0], ["vip"], []))
    assert reconciler("apply", "--approved", digest).code == 4
    assert len(world.holders("customer")) == 1


@pytest.mark.slow
def test_what_was_sent_since_and_is_gone_again_is_no_next_slice(
    reconciler: Command, manifest: Manifest, project: Path, world: World
) -> None:
    settings = project / "manifests" / "reconciler.yaml"
    slowly = "tags: {customer: {pace: {adds: 1, per: 1h}}}\n"
    manifest(customers=([0, 1, 2], ["customer"], []))
    settings.write_text(slowly)
    digest = digest_of(reconciler)
    assert reconciler("apply", "--approved", digest).code == 3
    waited = {contact_id(number) for number in range(3)} - world.holders("customer")
    settings.write_text("")
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=([0, 1, 2], [], ["customer"]))
    lifted = ("--allow", "empties_tag:tag=customer", "--reason", "over")
    assert reconciler("apply", "--auto-approve", *lifted).code == 0
    assert not world.holders("customer")
    numbers = [number for number in range(3) if contact_id(number) in waited]
    manifest(customers=(numbers, ["customer"], []))
    settings.write_text(slowly)
    assert reconciler("apply", "--approved", digest).code == 4
    assert not world.holders("customer")
