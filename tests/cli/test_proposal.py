"""A plan file that somebody else wrote, or wrote over: every seal in it fits, and nothing in it is believed. What it
has in common with a plan made now is sent; all else is listed, and the exit code is 3.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.batch import Batch, Reason
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ContactState, ObservationOrigin
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import Change, Deferral, DeferralReason, Delta, Selection
from reconciler.core.planning.plan import combine_plans
from reconciler.planfile import load_plan, write_plan
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import READ_CONTACTS, SCOPES, Access, App
from reconciler.sandbox.world import World
from reconciler.store import open_reader, open_store
from reconciler.system import SystemClock
from tests.build import contact_state
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.cli.listening import Listening
from tests.fakes import a_holder

Manifest = Callable[..., None]
STATE = "sqlite:///.reconciler/state.db"
HOUR = 3_600_000


def ids(numbers: Iterable[int]) -> tuple[ContactId, ...]:
    return tuple(map(contact_id, numbers))


def delta(action: Action, tag: str, numbers: Iterable[int], reason: Reason = Reason.DECLARED) -> Delta:
    return Delta((Change(action, Tag(tag), reason),), ids(numbers))


def forged(path: Path, *more: Delta, manifests: str | None = None, **changes: Any) -> None:
    """The plan file as somebody writes it who knows the format: with more changes, and with other contents."""
    plan = load_plan(path)
    selection = changes.pop("selection", plan.selection)
    as_of = changes.pop("as_of", plan.as_of)
    (location,) = plan.locations
    deltas = (*changes.pop("deltas", location.deltas), *more)
    batches = changes.pop("batches", tuple(batch for each in deltas for batch in batches_of(each)))
    location = replace(location, deltas=deltas, batches=batches, **changes)
    where = plan.manifests if manifests is None else manifests
    write_plan(combine_plans([location], as_of=as_of, manifests=where, selection=selection), path)


def batches_of(delta: Delta) -> Iterator[Batch]:
    for action in Action:
        if tags := delta.tags(action):
            yield Batch(action, delta.contacts, tuple(sorted(tags)), ())


@pytest.fixture
def plan(reconciler: Command, manifest: Manifest, project: Path) -> Path:
    """A plan that makes 2 a customer, as 0 and 1 are."""
    manifest(customers=([0, 1], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=([0, 1, 2], ["customer"], []))
    return planned(reconciler, project)


def planned(reconciler: Command, project: Path, *options: str) -> Path:
    assert reconciler("plan", "--out", "plan.json", *options).code == 0
    return project / "plan.json"


def sent(world: World) -> list[tuple[str, str, str]]:
    return [(each.action.value, each.contact, each.tag) for each in world.transitions if each.by == "api"]


ONLY_THIS = [("add", contact_id(2), "customer")]


# extra pairs


def test_strangers_are_not_tagged(reconciler: Command, plan: Path, world: World) -> None:
    forged(plan, delta(Action.ADD, "customer", [5, 6]), delta(Action.ADD, "vip", [2, 7]))
    before = len(sent(world))
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert ended.code == 3
    assert sent(world)[before:] == ONLY_THIS
    assert "not in a plan made now, and not sent: +customer on 2 contacts" in ended.err
    assert "not in a plan made now, and not sent: +vip on 2 contacts" in ended.err


@pytest.mark.slow
def test_a_file_of_strangers_alone_sends_nothing(reconciler: Command, plan: Path, world: World) -> None:
    before = len(sent(world))
    forged(plan, deltas=(delta(Action.ADD, "customer", [5]),))
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, sent(world)[before:]) == (3, [])
    assert f"not in the plan, and not sent: +customer on 1 contact: {contact_id(2)}" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("reason", [Reason.ABSENT, Reason.PRUNED, Reason.OWNED, Reason.EXACT])
def test_no_tag_is_stripped(
    reconciler: Command, manifest: Manifest, project: Path, world: World, sandbox: Running, reason: Reason
) -> None:
    """A protected one, one that is desired, one that somebody set by hand: none is a removal by these manifests."""
    manifest(customers=(range(8), ["customer", "keep"], []))
    path = project / "manifests" / "acme.yaml"
    path.write_text(path.read_text() + "tags:\n  keep: {protected: true}\n")
    assert reconciler("apply", "--auto-approve").code == 0
    sandbox.do(lambda world, now: world.add(contact_id(3), ["by hand"], now=now, by="somebody"))
    path.write_text(path.read_text().replace("[customer, keep]", "[customer]"))
    planned(reconciler, project)
    before = len(sent(world))
    removals = (("keep", range(8)), ("customer", range(8)), ("by hand", [3]))
    deltas = [delta(Action.REMOVE, tag, who, reason) for tag, who in removals]
    one = Delta(tuple(each.changes[0] for each in deltas[:2]), deltas[0].contacts)
    forged(project / "plan.json", one)
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, sent(world)[before:]) == (3, [])
    assert "not sent: -keep on 8 contacts" in ended.err
    forged(project / "plan.json", deltas=(deltas[2],))
    assert reconciler("apply", "plan.json", "--auto-approve").code == 3
    assert sent(world)[before:] == []


def test_what_a_file_says_against_the_manifests_is_not_sent_the_other_way_round(
    reconciler: Command, plan: Path, world: World
) -> None:
    forged(plan, deltas=(delta(Action.REMOVE, "customer", [2], Reason.ABSENT),))
    before = len(sent(world))
    assert reconciler("apply", "plan.json", "--auto-approve").code == 3
    assert sent(world)[before:] == []


@pytest.mark.slow
def test_a_location_twice_is_no_plan(reconciler: Command, plan: Path, world: World) -> None:
    whole = load_plan(plan)
    twice = combine_plans(whole.locations * 2, as_of=whole.as_of, manifests=whole.manifests)
    write_plan(twice, plan)
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, "twice" in ended.err) == (1, True)


@pytest.mark.slow
def test_a_file_without_a_location_is_no_plan(reconciler: Command, plan: Path) -> None:
    """It proposes nothing, and would hide all that is needed behind an exit code of 0."""
    whole = load_plan(plan)
    write_plan(combine_plans([], as_of=whole.as_of, manifests=whole.manifests), plan)
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, "the plan has no location" in ended.err) == (1, True)


def test_requests_are_of_our_own_making(reconciler: Command, manifest: Manifest, project: Path, world: World) -> None:
    manifest(customers=(range(6), ["customer"], []))
    path = planned(reconciler, project)
    batches = tuple(Batch(Action.ADD, (contact_id(number),), (Tag("customer"),), ()) for number in range(6))
    forged(path, batches=batches)
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    (run,) = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"]
    assert (run["requests"], len(world.holders("customer"))) == (1, 6)


# guards


@pytest.mark.slow
def test_a_file_lifts_no_guard(reconciler: Command, plan: Path, project: Path, world: World) -> None:
    settings = project / "manifests" / "reconciler.yaml"
    settings.write_text("guards: {max_adds: 0}\n")
    assert reconciler("plan", "--out", "plan.json").code == 5
    (location,) = load_plan(plan).locations
    before = len(sent(world))
    forged(plan, guards=tuple(replace(each, refused=False, allowed="I say so") for each in location.guards))
    assert reconciler("apply", "plan.json", "--auto-approve").code == 5
    forged(plan, guards=())
    assert reconciler("apply", "plan.json", "--auto-approve").code == 5
    assert sent(world)[before:] == []
    assert reconciler("apply", "plan.json", "--auto-approve", "--allow", "max_adds", "--reason", "a person").code == 0
    assert sent(world)[before:] == ONLY_THIS
    run = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"][0]
    assert run["allowed"] == ["max_adds: a person"]


# whose manifests


@pytest.mark.slow
@pytest.mark.parametrize(
    "where", ["evil", "./evil/", "manifests/../evil", "/etc", "manifests/..", "manifests\0", "\ud800"]
)
def test_a_file_chooses_no_settings(reconciler: Command, plan: Path, project: Path, world: World, where: str) -> None:
    evil, ran = project / "evil", project / "ran"
    evil.mkdir()
    (evil / "acme.yaml").write_bytes((project / "manifests" / "acme.yaml").read_bytes())
    before = len(sent(world))
    with in_background(Listening(App(World(LOCATION, [])))) as other:
        program = f"open({str(ran)!r}, 'w')"
        command = json.dumps([sys.executable, "-c", program])
        (evil / "reconciler.yaml").write_text(
            f"api: {{base_url: '{other.url}'}}\nstate: sqlite:///evil.db\n"
            f"locations: {{{LOCATION}: {{token_command: {command}}}}}\n"
        )
        forged(plan, manifests=where)
        ended = reconciler("apply", "plan.json", "--auto-approve")
        assert ended.code == 64
        assert "name their directory: --manifests DIR" in ended.err
        assert (ran.exists(), other.network.heard) == (False, [])  # type: ignore[attr-defined]
        assert not (project / "evil.db").exists()
    assert sent(world)[before:] == []
    # who names the directory says whose settings are used
    assert reconciler("apply", "plan.json", "--auto-approve", "--manifests", "manifests").code == 0
    assert sent(world)[before:] == ONLY_THIS


@pytest.mark.slow
def test_manifests_elsewhere_are_named(reconciler: Command, plan: Path, project: Path, world: World) -> None:
    (project / "manifests").rename(project / "crm")
    assert reconciler("plan", "crm", "--out", "plan.json").code == 0
    before = len(sent(world))
    assert reconciler("apply", "plan.json", "--auto-approve").code == 64
    assert reconciler("apply", "plan.json", "--dry-run", "--manifests", "crm").code == 0
    assert sent(world)[before:] == []
    assert reconciler("apply", "plan.json", "--auto-approve", "--manifests", "crm").code == 0
    assert sent(world)[before:] == ONLY_THIS


@pytest.mark.slow
def test_without_a_plan_the_option_names_the_manifests_too(
    reconciler: Command, plan: Path, project: Path, world: World
) -> None:
    (project / "manifests").rename(project / "crm")
    before = len(sent(world))
    assert reconciler("apply", "other", "--manifests", "crm", "--auto-approve").code == 64
    assert reconciler("apply", "--manifests", "crm", "--auto-approve").code == 0
    assert sent(world)[before:] == ONLY_THIS


# what was observed


def observed(number: int) -> ContactState:
    with open_reader(STATE) as reader:
        return reader.at(LOCATION).load_state().observed[contact_id(number)]


def seen(*tags: str, at: int, number: int = 2) -> tuple[ObservedContacts, ...]:
    return (ObservedContacts(frozenset(map(Tag, tags)), Instant(at), ObservationOrigin.GET, (contact_id(number),)),)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [0, 10 * 365 * 24 * HOUR])
def test_what_a_file_says_to_be_there_already_is_looked_at(
    reconciler: Command, plan: Path, world: World, ahead: int
) -> None:
    at = SystemClock().now() + ahead
    forged(plan, deltas=(), observations=seen("customer", at=at))
    before = len(sent(world))
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, sent(world)[before:]) == (3, [])
    assert "not in the plan, and not sent: +customer" in ended.err
    known = observed(2)
    assert (known.observed or frozenset()) == frozenset()
    assert known.observed_at is None or known.observed_at <= SystemClock().now()
    assert "1 tag to add" in reconciler("plan").out


@pytest.mark.slow
def test_what_a_file_says_to_be_gone_is_looked_at(reconciler: Command, plan: Path, world: World) -> None:
    """Put back is what is gone, and only that."""
    at = SystemClock().now()
    forged(plan, delta(Action.ADD, "customer", [0], Reason.RESTORED), observations=seen(at=at, number=0))
    before = len(sent(world))
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    assert sent(world)[before:] == ONLY_THIS
    assert observed(0).observed == {"customer", "trial"}


@pytest.mark.slow
def test_what_a_refresh_showed_is_sent_from_a_file_once_it_is_seen_again(
    reconciler: Command, plan: Path, project: Path, world: World, sandbox: Running
) -> None:
    sandbox.do(lambda world, now: world.remove(contact_id(0), ["customer"], now=now, by="somebody"))
    sandbox.do(lambda world, now: world.remove(contact_id(1), ["customer"], now=now, by="somebody"))
    planned(reconciler, project, "--refresh", "get")
    sandbox.do(lambda world, now: world.add(contact_id(1), ["customer"], now=now, by="somebody"))
    before = len(sent(world))
    ended = reconciler("apply", "plan.json", "--auto-approve")
    # 1 is as the file wants it already
    assert (ended.code, sorted(sent(world)[before:])) == (0, [("add", contact_id(0), "customer"), *ONLY_THIS])


@pytest.mark.slow
def test_who_may_not_read_sends_what_the_state_alone_calls_for(
    reconciler: Command, plan: Path, project: Path, world: World, sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.do(lambda world, now: world.remove(contact_id(0), ["customer"], now=now, by="somebody"))
    planned(reconciler, project, "--refresh", "get")
    before = len(sent(world))
    with in_background(App(world, accesses=[Access(scopes=SCOPES - {READ_CONTACTS})])) as blind:
        monkeypatch.setenv("RECONCILER_API_BASE_URL", blind.url)
        ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, sent(world)[before:]) == (3, ONLY_THIS)
    assert "1 contact could not be read" in ended.err
    assert f"not in a plan made now, and not sent: +customer on 1 contact: {contact_id(0)}" in ended.err


@pytest.fixture
def doubtful(reconciler: Command, manifest: Manifest, project: Path) -> None:
    """Whether 2 was made a customer is in doubt, was looked at since, and is held; who is to be one besides: 3."""
    manifest(customers=([0, 1], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    now, tag = SystemClock().now(), frozenset({Tag("customer")})
    known = contact_state(
        observed=frozenset(),
        observed_at=Instant(now - HOUR),
        origin=ObservationOrigin.GET,
        ledger=tag,
        doubt=tag,
        doubt_at=Instant(now - 2 * HOUR),
        unconfirmed=tag,
    )
    with open_store(STATE) as state:
        store = state.at(LOCATION)
        lease = store.acquire_lease(a_holder("anna"), now)
        store.save_states(lease, {contact_id(2): known})
        store.release_lease(lease)
    manifest(customers=([0, 1, 2, 3], ["customer"], []))


ANOTHER = ("add", contact_id(3), "customer")


@pytest.mark.slow
@pytest.mark.usefixtures("doubtful")
@pytest.mark.parametrize("claims", [(), seen(at=SystemClock().now() + HOUR)])
def test_a_file_settles_no_doubt_and_retries_nothing(
    reconciler: Command, project: Path, world: World, claims: tuple[ObservedContacts, ...]
) -> None:
    path = planned(reconciler, project)
    everything = Selection(retry_held=True, retry_rejected=True, apply_deferrals=True)
    forged(path, delta(Action.ADD, "customer", [2]), held=(), observations=claims, selection=everything)
    before = len(sent(world))
    ended = reconciler("apply", "plan.json", "--auto-approve")
    assert (ended.code, sent(world)[before:]) == (3, [ANOTHER])
    assert "made with --retry-held, and a file gives no leave" in ended.err
    assert observed(2).doubtful == {"customer"}


@pytest.mark.slow
@pytest.mark.usefixtures("doubtful")
def test_a_person_retries_what_a_file_proposes(reconciler: Command, project: Path, world: World) -> None:
    planned(reconciler, project, "--retry-held")
    before = len(sent(world))
    assert reconciler("apply", "plan.json", "--auto-approve", "--retry-held").code == 0
    assert sorted(sent(world)[before:]) == [*ONLY_THIS, ANOTHER]


# ceilings

OPEN = ["--apply-deferrals"]


@pytest.mark.slow
@pytest.mark.parametrize("reason", [DeferralReason.UNTIL_OBSERVED, DeferralReason.OPEN, DeferralReason.NEEDS_REFRESH])
def test_no_ceiling_of_a_file_is_higher_than_ours(
    reconciler: Command, plan: Path, world: World, sandbox: Running, reason: DeferralReason
) -> None:
    """The answer to the add of 2 shows that it is on trial, and the manifests let it be."""
    sandbox.do(lambda world, now: world.add(contact_id(2), ["trial"], now=now, by="somebody"))
    forged(plan, deferrals=(Deferral(reason, (Tag("trial"),), ids([0, 2])),))
    before = len(sent(world))
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    assert sent(world)[before:] == ONLY_THIS


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "code", "left"), [([], 3, {"customer", "trial"}), (OPEN, 0, {"customer"})])
def test_an_open_end_is_opened_by_who_applies_it(
    reconciler: Command, manifest: Manifest, project: Path, world: World, flags: list[str], code: int, left: set[str]
) -> None:
    manifest(customers=([0, 1], ["customer"], []))
    path = project / "manifests" / "acme.yaml"
    path.write_text(path.read_text() + "    authority: exact\n")
    (project / "manifests" / "reconciler.yaml").write_text("guards: {empties_tag: false, max_removes_pct: 100}\n")
    planned(reconciler, project, *OPEN)
    assert reconciler("apply", "plan.json", "--auto-approve", *flags).code == code
    assert world.tags_of(contact_id(0)) == left


# its time, and what it prints


@pytest.mark.slow
@pytest.mark.parametrize("moved_by", [-365 * 24 * HOUR, 365 * 24 * HOUR])
def test_another_time_does_not_make_a_file_another_plan(
    reconciler: Command, plan: Path, world: World, moved_by: int
) -> None:
    forged(plan, as_of=Instant(load_plan(plan).as_of + moved_by))
    before = len(sent(world))
    assert reconciler("apply", "plan.json", "--auto-approve").code == 0
    reconciler("apply", "plan.json", "--auto-approve")
    assert sent(world)[before:] == ONLY_THIS


def test_a_dry_run_shows_what_would_be_sent(reconciler: Command, plan: Path, world: World) -> None:
    forged(plan, delta(Action.ADD, "vip", range(3, 8)))
    before = len(world.transitions)
    ended = reconciler("apply", "plan.json", "--dry-run")
    assert ended.code == 0
    assert "1 contact: 1 tag to add" in ended.out
    assert "not in a plan made now, and not sent: +vip on 5 contacts" in ended.out + ended.err
    assert len(world.transitions) == before
