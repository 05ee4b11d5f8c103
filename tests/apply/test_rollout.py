"""A change that reaches many locations in waves: what a wave waits for, seen by what each location was sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag, iso
from reconciler.core.model.people import MatchCounts, Snapshot
from reconciler.operations.apply import ApplyRequest, apply_judged, apply_plan, judge_plan
from reconciler.operations.plan import PlanResult, describe_errors, make_plan
from reconciler.operations.plan_options import PlanRequest, Scope
from reconciler.operations.rollout import find_waiting
from reconciler.operations.runs import make_revert_plan
from reconciler.operations.saved_plan import remake_plan
from reconciler.operations.workspace import Workspace, open_session
from reconciler.planfile import write_plan
from reconciler.sandbox.app import SCOPES, Access, App
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.world import Contact, World
from reconciler.store import open_reader, open_store
from tests.fakes import FakeClock, a_holder
from tests.sandbox.faults import Fault, FaultKind, FaultPlan, Network
from tests.sandbox.transport import SandboxTransport

HOUR = 3_600_000
EVERYTHING, PLAINLY = Scope(), ApplyRequest()
FIRST, *OTHERS = PLACES = [LocationId(f"location{nth:012d}") for nth in range(4)]


def contact_of(location: LocationId, which: int) -> ContactId:
    return ContactId(f"c{which}{location[-4:]:0>18}")


@dataclass
class Fleet:
    """Four locations behind one address, with one manifest: the first is a wave of its own."""

    directory: Path
    clock: FakeClock = field(default_factory=FakeClock)
    codes: dict[LocationId, int] = field(default_factory=dict)
    state: str = "state.db"

    def __post_init__(self) -> None:
        self.worlds = {
            location: World(location, [Contact(contact_of(location, which), location) for which in range(4)])
            for location in PLACES
        }
        self.serve({})
        places = "".join(f"  {location}: {{token_env: T{location[-1]}}}\n" for location in PLACES)
        (self.directory / "reconciler.yaml").write_text(
            f"guards: {{odd_ids: false, empties_tag: false}}\nlocations:\n{places}"
        )

    def serve(self, faults: dict[int, Fault], *, scopes: frozenset[str] = SCOPES) -> None:
        """`faults`: what the first location's answers to writes meet; `scopes`: its token's."""
        plans = {location: FaultPlan(faults if location == FIRST else {}, path="/contacts/bulk") for location in PLACES}
        apps = {
            location: App(world, accesses=[Access(f"token-{location}", scopes if location == FIRST else SCOPES)])
            for location, world in self.worlds.items()
        }
        networks = [Network(app, plans[location]) for location, app in apps.items()]
        self.transport = SandboxTransport(Locations(networks), now=self.clock.now)

    def write(
        self,
        tag: str,
        *,
        then: str = "2",
        soak: str = "",
        members: range = range(2),
        rules: str = "",
        contacts: str = "{file: 'lists/{location}.csv'}",
        more: str = "",
    ) -> None:
        """The manifest: it gives the tag to some contacts of each location."""
        soaks = f", soak: {soak}" if soak else ""
        for place in ("lists", "other"):
            (self.directory / place).mkdir(exist_ok=True)
            for location in PLACES:
                ids = "".join(f"{contact_of(location, which)},x\n" for which in members)
                (self.directory / place / f"{location}.csv").write_text(f"contact_id,kind\n{ids}")
        (self.directory / "many.yaml").write_text(
            f"locations: [{', '.join(PLACES)}]\nrollout: {{first: [{FIRST}], then: {then}{soaks}}}\n"
            f"{rules}contact_sets: {{s: {{contacts: {contacts}, tags: [{tag}]{more}}}}}\n"
        )

    def forget_definitions(self, location: LocationId) -> None:
        """Its runs have endings as versions wrote them that knew no digest of definitions."""
        database = sqlite3.connect(self.directory / "state.db")
        with closing(database), database:
            database.execute(
                "UPDATE runs SET ending = json_remove(ending, '$.definitions_digest') WHERE ending IS NOT NULL "
                "AND location = (SELECT n FROM locations WHERE id = ?)",
                (location,),
            )

    def last_run(self, location: LocationId) -> str:
        with open_reader(f"sqlite:///{self.directory}/state.db") as reader:
            return reader.at(location).read_runs()[-1].id

    @property
    def workspace(self) -> Workspace:
        tokens = {f"T{location[-1]}": f"token-{location}" for location in PLACES}
        flags = {"state": f"sqlite:///{self.directory}/{self.state}"}
        return Workspace(self.directory, flags, tokens, clock=self.clock, transport=self.transport)

    def plan(self, *locations: LocationId, scope: Scope = EVERYTHING, saved: Path | None = None) -> PlanResult:
        request = PlanRequest(scope, create_state=True)
        if saved is not None:
            return self.clock.run(remake_plan(self.workspace, saved, request))
        return self.clock.run(make_plan(open_session(self.workspace, locations), request))

    def apply(
        self,
        *locations: LocationId,
        scope: Scope = EVERYTHING,
        saved: Path | None = None,
        request: ApplyRequest = PLAINLY,
    ) -> dict[LocationId, str]:
        """The errors by location; `codes` has the exit codes."""
        planned = self.plan(*locations, scope=scope, saved=saved)

        async def send() -> dict[LocationId, str]:
            judged = await judge_plan(planned, request)
            try:
                result = await apply_judged(judged, request)
            except ReconcilerError as error:
                (only,) = judged.refused
                self.codes = {only: int(error.exit_code)}
                return {only: error.message}
            self.codes = {report.location: report.exit_code for report in result.reports}
            return {report.location: report.error for report in result.reports if report.error}

        return self.clock.run(send())

    def with_tag(self, tag: str) -> set[LocationId]:
        return {location for location, world in self.worlds.items() if world.holders(Tag(tag))}

    def waves(self, tag: str, *, at_most: int = 9) -> Iterator[set[LocationId]]:
        """The locations that have the tag after each apply, until all have it."""
        for _ in range(at_most):
            self.apply()
            yield self.with_tag(tag)
            if self.with_tag(tag) == set(PLACES):
                return


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_each_apply_reaches_one_wave_and_the_others_wait(fleet: Fleet) -> None:
    fleet.write("spring")
    errors = fleet.apply()
    assert fleet.with_tag("spring") == {FIRST}
    assert (fleet.codes[FIRST], {fleet.codes[other] for other in OTHERS}) == (0, {3})
    assert all("waits" in errors[other] and FIRST in errors[other] for other in OTHERS)
    sizes = [1, *(len(reached) for reached in fleet.waves("spring"))]
    assert sizes == [1, 3, 4]
    assert fleet.apply() == {}
    assert set(fleet.codes.values()) == {0}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("chosen", [(), OTHERS[:1], OTHERS[:2]], ids=["all", "one", "two"])
def test_a_wave_waits_where_the_state_of_the_one_before_cannot_be_read(
    fleet: Fleet, chosen: tuple[LocationId, ...]
) -> None:
    """Each location has a file of its own, of which a bad disk spoils that of the first one."""
    fleet.state = "{location}.db"
    fleet.write("spring")
    fleet.apply()
    (fleet.directory / f"{FIRST}.db").write_bytes(b"no state at all" * 100)
    errors = fleet.apply(*chosen)
    assert all("it is not known how far" in errors[other] and FIRST in errors[other] for other in chosen or OTHERS)
    assert fleet.with_tag("spring") == {FIRST}


@pytest.mark.slow
def test_a_wave_waits_for_the_one_before_whose_snapshots_cannot_be_read_and_blames_no_other(fleet: Fleet) -> None:
    """The first wave is done and sound; the second one's state is spoilt, and a location of the third is chosen."""
    fleet.state = "{location}.db"
    fleet.write("spring", then="1", contacts="{file: people.csv, match: {email: mail}}")
    (fleet.directory / "people.csv").write_text("mail\nann@example.com\n")
    with open_store(f"sqlite:///{fleet.directory}/{{location}}.db") as store:
        for place in PLACES:
            contacts = tuple(contact_of(place, which) for which in range(2))
            taken = Snapshot(contacts, fleet.clock.now(), "sha256:0", MatchCounts(2, 2))
            lease = store.at(place).acquire_lease(a_holder(), fleet.clock.now())
            store.at(place).save_snapshots(lease, {SetName("s"): taken})
            store.at(place).release_lease(lease)
    fleet.apply()
    fleet.apply()
    assert fleet.with_tag("spring") == {FIRST, OTHERS[0]}
    (fleet.directory / f"{OTHERS[0]}.db").write_bytes(b"no state at all" * 100)
    errors = fleet.apply(OTHERS[1])
    assert f"it is not known how far location {OTHERS[0]} of wave 2 is" in errors[OTHERS[1]]


@pytest.mark.slow
def test_a_wave_is_watched_before_the_next_one(fleet: Fleet) -> None:
    fleet.write("spring", then="100%", soak="24h")
    fleet.apply()
    for _ in range(23):
        fleet.clock.run(fleet.clock.sleep(HOUR))
        errors = fleet.apply()
        assert fleet.with_tag("spring") == {FIRST}
        assert all("waits until" in errors[other] for other in OTHERS)
        assert {fleet.codes[other] for other in OTHERS} == {3}
    fleet.clock.run(fleet.clock.sleep(HOUR))
    assert fleet.apply() == {}
    assert fleet.with_tag("spring") == set(PLACES)


@pytest.mark.slow
@pytest.mark.parametrize("rejected", [range(1), range(2)], ids=["one contact", "every contact"])
def test_a_wave_in_which_contacts_were_rejected_refuses_the_next_one(fleet: Fleet, rejected: range) -> None:
    """Nothing is left to send there, since they are quarantined by now; and yet that wave did not end with 0."""
    for which in rejected:
        fleet.worlds[FIRST].delete(contact_of(FIRST, which), now=fleet.clock.now())
    fleet.write("spring", then="100%")
    fleet.apply()
    assert fleet.codes[FIRST] == 3
    for _ in range(2):
        errors = fleet.apply()
        assert {fleet.codes[other] for other in OTHERS} == {5}
        assert all(f"of location {FIRST} of wave 1 did not end with exit code 0" in errors[other] for other in OTHERS)
    assert fleet.with_tag("spring") <= {FIRST}
    # who takes them out of the list has settled it
    fleet.write("spring", then="100%", members=range(len(rejected), 4))
    fleet.apply()
    assert fleet.apply() == {}
    assert fleet.with_tag("spring") == set(PLACES)


@pytest.mark.slow
def test_a_contact_that_was_rejected_before_a_change_holds_up_none_of_its_waves(fleet: Fleet) -> None:
    fleet.worlds[FIRST].delete(contact_of(FIRST, 0), now=fleet.clock.now())
    fleet.write("spring", then="100%")
    fleet.apply()
    fleet.write("summer", then="100%")
    fleet.apply()
    assert fleet.codes[FIRST] == 0
    assert fleet.apply() == {}
    assert fleet.with_tag("summer") == set(PLACES)


@pytest.mark.slow
def test_a_wave_with_pairs_that_are_held_refuses_the_next_one(fleet: Fleet) -> None:
    """The answer is lost, and the token may not read: nobody knows what became of the request."""
    fleet.serve({0: Fault(FaultKind.TIMEOUT_AFTER)}, scopes=frozenset({"contacts.write"}))
    fleet.write("spring", then="100%")
    fleet.apply()
    assert fleet.codes[FIRST] == 3
    errors = fleet.apply()
    assert {fleet.codes[other] for other in OTHERS} == {5}
    assert all(f"of location {FIRST} of wave 1 did not end with exit code 0" in errors[other] for other in OTHERS)
    assert fleet.with_tag("spring") == {FIRST}
    # once it can be read, the doubt is settled, and the way is free
    fleet.serve({})
    fleet.apply(FIRST)
    fleet.apply()
    assert fleet.with_tag("spring") == set(PLACES)


@pytest.mark.slow
def test_a_second_change_begins_with_the_first_wave_again(fleet: Fleet) -> None:
    fleet.write("spring", then="100%")
    assert [len(reached) for reached in fleet.waves("spring")] == [1, 4]
    fleet.write("spring, autumn", then="100%")
    assert [len(reached) for reached in fleet.waves("autumn")] == [1, 4]


@pytest.mark.slow
def test_what_was_there_before_begins_with_the_first_wave_when_it_comes_back(fleet: Fleet) -> None:
    for tags, there in (("spring", 0), ("spring, summer", 4), ("spring", 0)):
        fleet.write(tags, then="100%")
        errors = fleet.apply()
        assert (errors.keys(), {fleet.codes[other] for other in OTHERS}) == ({*OTHERS}, {3})
        assert (fleet.apply(), set(fleet.codes.values())) == ({}, {0})
        assert len(fleet.with_tag("summer")) == there


@pytest.mark.slow
def test_lists_that_change_between_all_applies_hold_up_no_wave(fleet: Fleet) -> None:
    """The first wave has more to do each time: its change was carried out all the same."""
    reached = []
    for members in (1, 2, 3, 4):
        fleet.write("spring", then="1", members=range(members))
        fleet.apply()
        reached.append(len(fleet.with_tag("spring")))
    assert reached == [1, 2, 3, 4]
    assert {len(world.holders(Tag("spring"))) for world in fleet.worlds.values()} == {4}


@pytest.mark.slow
@pytest.mark.parametrize("every", [3, 1])
def test_a_wave_is_watched_though_its_lists_change(fleet: Fleet, every: int) -> None:
    for hours in range(0, 24, every):
        fleet.write("spring", then="100%", soak="24h", members=range(1 + hours % 4))
        fleet.apply()
        assert fleet.with_tag("spring") == {FIRST}
        fleet.clock.run(fleet.clock.sleep(every * HOUR))
    fleet.write("spring", then="100%", soak="24h", members=range(4))
    assert fleet.apply() == {}
    assert fleet.with_tag("spring") == set(PLACES)


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    "changed",
    [
        {"tag": "spring", "rules": "tags: {spring: {inert: true}}\n"},
        {"tag": "spring", "contacts": "{file: 'lists/{location}.csv', where: {kind: x}}"},
        {"tag": "spring", "contacts": "{file: 'other/{location}.csv'}"},
        {"tag": "spring", "more": ", until: 2099-01-01"},
        {"tag": "spring, summer"},
    ],
    ids=["a rule", "where", "another file", "until", "a tag"],
)
def test_a_definition_that_changes_begins_with_the_first_wave(fleet: Fleet, changed: dict[str, str]) -> None:
    fleet.write("spring", then="100%")
    fleet.apply()
    fleet.write(**changed, then="100%", members=range(4))  # type: ignore[arg-type]
    fleet.apply()
    before = {len(world.holders(Tag("spring"))) for place, world in fleet.worlds.items() if place in OTHERS}
    assert before == {0}


def test_a_set_that_becomes_active_begins_with_the_first_wave(fleet: Fleet) -> None:
    """That the day has come changes what is declared, as an edit does."""
    fleet.write("spring", then="100%", more=f", from: '{iso(Instant(fleet.clock.now() + HOUR))}'")
    fleet.apply()
    fleet.clock.run(fleet.clock.sleep(2 * HOUR))
    fleet.apply()
    assert fleet.with_tag("spring") == {FIRST}


@pytest.mark.slow
def test_a_run_of_an_older_version_counts_by_its_digest_of_all(fleet: Fleet) -> None:
    """It wrote down no digest of the definitions: what was under way goes on, and lists that changed begin anew."""
    fleet.write("spring", then="100%")
    fleet.apply()
    fleet.forget_definitions(FIRST)
    fleet.write("spring", then="100%", members=range(3))
    fleet.apply()
    assert fleet.with_tag("spring") == {FIRST}
    fleet.forget_definitions(FIRST)
    assert fleet.apply() == {}
    assert fleet.with_tag("spring") == set(PLACES)


@pytest.mark.slow
def test_what_others_do_in_the_first_wave_does_not_hold_up_a_change_that_was_carried_out(fleet: Fleet) -> None:
    fleet.write("spring", then="100%")
    fleet.apply()
    contact = contact_of(FIRST, 0)
    fleet.worlds[FIRST].remove(contact, ["spring"], now=fleet.clock.now(), by="somebody")
    fleet.apply()
    assert fleet.with_tag("spring") == set(PLACES)


@pytest.mark.slow
def test_a_location_that_is_chosen_alone_waits_all_the_same(fleet: Fleet) -> None:
    fleet.write("spring", then="100%")
    last = OTHERS[-1]
    errors = fleet.apply(last)
    assert (fleet.codes, fleet.with_tag("spring")) == ({last: 3}, set())
    assert f"location {FIRST} of wave 1 has changes that are not applied" in errors[last]
    fleet.apply(FIRST)
    fleet.apply(last)
    assert fleet.with_tag("spring") == {FIRST, last}


@pytest.mark.slow
def test_a_part_of_the_manifests_is_no_wave(fleet: Fleet) -> None:
    """Applying one tag of two says nothing of the other."""
    fleet.write("spring, summer", then="100%")
    spring = Scope(tags=("spring",))
    fleet.apply(scope=spring)
    assert fleet.with_tag("spring") == {FIRST}
    fleet.apply(scope=spring)
    assert fleet.with_tag("spring") == {FIRST}
    fleet.apply()
    fleet.apply()
    assert fleet.with_tag("summer") == set(PLACES)


def test_a_plan_tells_who_waits(fleet: Fleet) -> None:
    fleet.write("spring", then="2")
    waiting = find_waiting(fleet.plan())
    assert waiting.keys() == {*OTHERS}
    lines = describe_errors(waiting)
    assert len(lines) == 2
    assert all(f"waits: location {FIRST} of wave 1 has changes that are not applied" in line for line in lines)
    assert sum(line.count(other) for other in OTHERS for line in lines) == len(OTHERS)


@pytest.mark.slow
def test_one_that_waits_does_not_stop_the_others_for_good(fleet: Fleet) -> None:
    """--fail-fast is about what is wrong."""
    fleet.write("spring", then="100%")
    fleet.apply(request=ApplyRequest(fail_fast=True))
    assert fleet.with_tag("spring") == {FIRST}
    fleet.apply(request=ApplyRequest(fail_fast=True))
    assert fleet.with_tag("spring") == set(PLACES)


@pytest.mark.slow
def test_a_plan_file_is_good_for_all_waves(fleet: Fleet) -> None:
    fleet.write("spring", then="2")
    saved = fleet.directory / "plan.json"
    write_plan(fleet.plan().plan, saved)
    for reached in (1, 3, 4):
        fleet.apply(saved=saved)
        assert len(fleet.with_tag("spring")) == reached
    assert all("is used up" in error for error in fleet.apply(saved=saved).values())


@pytest.mark.slow
def test_a_wave_is_watched_though_a_later_change_leaves_it_nothing_to_do(fleet: Fleet) -> None:
    fleet.write("spring", then="100%", soak="24h")
    fleet.apply()
    fleet.write("spring", then="100%", soak="24h", rules="tags: {spring: {max_adds: 5000}}\n")
    errors = fleet.apply()
    assert fleet.with_tag("spring") == {FIRST}
    assert all("waits until" in errors[other] for other in OTHERS)


@pytest.mark.slow
def test_a_wave_that_was_undone_is_sent_again_before_the_next_one(fleet: Fleet) -> None:
    fleet.write("spring", then="100%")
    fleet.apply()
    fleet.write("spring", then="100%", members=range(4))
    fleet.apply(FIRST)
    run = fleet.last_run(FIRST)
    fleet.write("spring", then="100%")
    undoing = fleet.clock.run(make_revert_plan(fleet.workspace, run))
    fleet.clock.run(apply_plan(undoing, ApplyRequest(operation=f"revert {run}")))
    fleet.write("spring", then="100%", members=range(4))
    errors = fleet.apply()
    assert errors.keys() == {*OTHERS}
    assert {fleet.codes[other] for other in OTHERS} == {3}
