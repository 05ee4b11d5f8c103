"""Many contacts in doubt at once: settled without a person, in few requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import DAY_MS, ContactStates, ObservationOrigin
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.journal import RunHeader
from reconciler.core.model.names import ContactId, Tag
from reconciler.core.model.outcome import Outcome
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS
from reconciler.sandbox.world import Contact
from reconciler.store import open_store
from tests.apply.test_resolve_doubts import facts
from tests.apply.test_scenarios import FREE, converged, pairs
from tests.build import HERE, a_set, contact, fields_of, name
from tests.fakes import a_holder
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import Scene


def crowd(number: int) -> list[str]:
    return [f"c{nth:05}" for nth in range(number)]


def converged_crowd(directory: Path, number: int, *, may_read: bool = True, **assumptions: object) -> Scene:
    """A location whose contacts carry the one tag that is declared, since a day."""
    scene = Scene(directory, *map(contact, crowd(number)), options=FREE, may_read=may_read, **assumptions)
    scene.want(a_set("s", crowd(number), "one"))
    scene.apply()
    scene.may_read = True
    scene.clock.ms += DAY_MS
    return scene


@pytest.mark.parametrize("number", [1_000, pytest.param(5_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("may_read", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_second_tag_killed_before_any_answer_is_finished_by_the_next_run_without_a_person(
    tmp_path: Path, may_read: bool, number: int
) -> None:
    """`may_read`: in the first run already, which learns that a tag write moves the date; else its journal tells."""
    scene = converged_crowd(tmp_path, number, may_read=may_read)
    assert facts(scene) is (True if may_read else None)
    scene.want(a_set("s", crowd(number), "one two"))
    scene.apply_and_die(before=0)
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": number}, ExitCode.DONE)
    assert max(scene.adds().values()) == 1
    converged(scene)


@pytest.mark.parametrize("moves", [True, False])
def test_a_doubt_keeps_the_reading_which_is_judged_again_in_the_run_that_learns(tmp_path: Path, moves: bool) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE, tag_write_moves_date=moves)
    scene.want(a_set("s", "anna", "a"))
    scene.apply_and_die(before=0)
    scene.apply()
    # nothing was ever surely written here
    assert (facts(scene), scene.known("anna").doubtful) == (None, {"a"})
    assert fields_of(scene.known("anna"))["reading"] is not None

    reads = len(scene.here.reads)
    scene.clock.ms += DAY_MS
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply()
    assert facts(scene) is moves
    assert [who for _, who in scene.here.reads[reads:]] == [name("bert")]
    assert scene.tags("anna") == ({"a"} if moves else set())
    assert pairs(report) == ({"applied": 2} if moves else {"applied": 1})
    assert scene.adds()[name("anna"), Tag("a")] == int(moves)
    assert scene.known("anna").doubtful == (set() if moves else {"a"})


def test_a_kept_reading_is_judged_by_a_later_run_even_one_that_cannot_read(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "a"))
    scene.apply_and_die(before=0)
    assert pairs(scene.apply()) == {"held": 1}
    scene.may_read = False
    assert pairs(scene.apply()) == {}

    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("another"), scene.clock.now())
        store.save_facts(lease, LocationFacts(moves_updated=True))
        store.release_lease(lease)
    report = scene.apply()
    assert (pairs(report), scene.tags("anna"), report.exit_code) == ({"applied": 1}, {"a"}, ExitCode.DONE)
    converged(scene)


def test_what_was_touched_since_keeps_no_reading(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "a"))
    scene.apply_and_die(after=0)
    scene.edit("anna", remove=["a"])
    report = scene.apply()

    assert (pairs(report), fields_of(scene.known("anna"))["reading"]) == ({"held": 1}, None)


def test_a_location_where_earlier_writes_moved_nothing_proves_nothing(tmp_path: Path) -> None:
    scene = converged_crowd(tmp_path, 3, may_read=False, tag_write_moves_date=False)
    scene.want(a_set("s", crowd(3), "one two"))
    scene.apply_and_die(before=0)
    report = scene.apply()

    assert (pairs(report), facts(scene)) == ({"held": 3}, False)
    # a reading is kept for what is not known yet: here it is
    assert [fields_of(scene.known(each))["reading"] for each in crowd(3)] == [None] * 3


def observed_crowd(directory: Path, number: int, **more: object) -> Scene:
    """A location whose contacts carry one tag, as is known since a day; nothing was ever written there."""
    scene = Scene(directory, *(contact(each, "one") for each in crowd(number)), options=FREE, **more)  # type: ignore[arg-type]
    seen = ObservedContacts(
        frozenset({Tag("one")}), scene.clock.now(), ObservationOrigin.IMPORT, tuple(map(name, crowd(number)))
    )
    with open_store(scene.url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(a_holder("another"), scene.clock.now())
        store.begin_run(lease, RunHeader(HERE, "import", "anna", scene.clock.now()))
        store.save_states(lease, dict(seen.apply_to(ContactStates())))
        store.release_lease(lease)
    scene.clock.ms += DAY_MS
    return scene


def killed_in_flight(scene: Scene, requests: int, *, landed: bool = True) -> None:
    """A second tag for everybody, 500 contacts a request: one is answered, `requests` are under way at the kill."""
    number = (1 + requests) * 500
    scene.want(a_set("s", crowd(number), "one two"))
    scene.apply_and_die(**({"after": 1} if landed else {"before": 1}))
    assert len(scene.here.sent) == (1 + requests if landed else 2)
    assert sum(scene.adds().values()) == (number if landed else 500)


@pytest.mark.slow
def test_a_kill_with_twenty_requests_in_flight_costs_few_requests_where_all_landed(tmp_path: Path) -> None:
    scene = observed_crowd(tmp_path, 10_500)
    killed_in_flight(scene, 20)
    began = scene.clock.ms
    report = scene.apply()

    assert (pairs(report), report.exit_code, report.requests) == ({"seen": 10_000}, ExitCode.DONE, 0)
    # to read them one by one takes 17 minutes and 5 % of a day's quota
    assert report.reads == len(scene.here.searches) <= 100
    assert scene.clock.ms - began < 60_000
    converged(scene)


@pytest.mark.slow
def test_an_index_that_is_far_behind_is_waited_for_where_that_is_cheaper(tmp_path: Path) -> None:
    scene = observed_crowd(tmp_path, 3_000, search_lag_ms=250_000)
    killed_in_flight(scene, 5)
    assert pairs(scene.apply()) == {"seen": 2_500}
    # at once, and again once it shows what was sent five minutes ago
    assert 0 < len(scene.here.searches) <= 20
    assert scene.clock.ms - scene.here.sent[-1].began > INDEX_LAG_MS
    converged(scene)


@pytest.mark.slow
def test_an_index_that_is_far_behind_is_not_waited_for_where_reading_is_cheaper(tmp_path: Path) -> None:
    scene = observed_crowd(tmp_path, 1_000, search_lag_ms=250_000)
    killed_in_flight(scene, 1)
    report = scene.apply()

    assert (pairs(report), report.reads - len(scene.here.searches)) == ({"seen": 500}, 500)
    assert scene.clock.ms - scene.here.sent[-1].began < INDEX_LAG_MS
    converged(scene)


@pytest.mark.slow
def test_what_a_flickering_search_hides_is_read(tmp_path: Path) -> None:
    scene = observed_crowd(tmp_path, 1_500, search_flickers_ms=3_600_000)
    killed_in_flight(scene, 2)
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"seen": 1_000}, ExitCode.DONE)
    # one in four is out of sight
    assert 100 < report.reads < 400
    converged(scene)


@pytest.mark.slow
def test_what_a_search_does_not_show_is_not_sent_again_before_it_was_read(tmp_path: Path) -> None:
    """An index that never comes up to date hides all that landed."""
    scene = observed_crowd(tmp_path, 1_500, search_lag_ms=DAY_MS)
    killed_in_flight(scene, 2)
    scene.die()
    scene.clock.ms += 600_000
    report = scene.apply()

    assert (pairs(report), max(scene.adds().values())) == ({"seen": 1_000}, 1)


@pytest.mark.slow
def test_what_never_landed_is_read_and_sent_once_more(tmp_path: Path) -> None:
    scene = observed_crowd(tmp_path, 1_000)
    killed_in_flight(scene, 1, landed=False)
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 500}, ExitCode.DONE)
    assert report.reads - len(scene.here.searches) == 500
    assert max(scene.adds().values()) == 1
    converged(scene)


def test_a_tag_that_may_have_been_there_before_is_not_seen_by_an_index_that_may_be_behind(tmp_path: Path) -> None:
    """Nobody ever observed the contacts: they had the tag, lost it minutes ago, and the request never left."""
    people = crowd(600)
    scene = Scene(tmp_path, *map(contact, people), options=FREE, search_lag_ms=250_000)
    scene.want(a_set("s", people, "one"))
    for each in people:
        scene.edit(each, add=["one"])
    scene.clock.ms += 260_000
    for each in people:
        scene.edit(each, remove=["one"])
    scene.apply_and_die(before=1)
    report = scene.apply()

    assert (scene.here.searches, report.pairs.get(Outcome.SEEN)) == ([], None)


@pytest.mark.slow
def test_removals_in_doubt_are_read_whatever_a_search_would_show(tmp_path: Path) -> None:
    scene = observed_crowd(tmp_path, 1_000)
    scene.want(a_set("s", crowd(1_000), "two", absent="one"))
    scene.apply()
    scene.here.searches.clear()
    scene.want(a_set("s", crowd(1_000), "three", absent="two"))
    scene.apply_and_die(before=3)
    report = scene.apply()

    assert (scene.here.searches, report.exit_code) == ([], ExitCode.DONE)
    assert scene.tags("c00000") == scene.tags("c00999") == {"three"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FaultKind.ERROR_BEFORE, FaultKind.GATEWAY, FaultKind.TRUNCATED])
def test_a_search_that_fails_hurts_nothing(tmp_path: Path, kind: FaultKind) -> None:
    broken = FaultPlan({nth: Fault(kind) for nth in range(10)}, path="/contacts/search")
    scene = observed_crowd(tmp_path, 1_000, faults=broken)
    killed_in_flight(scene, 1)
    report = scene.apply()

    assert (pairs(report), report.exit_code, report.notes) == ({"seen": 500}, ExitCode.DONE, ())
    assert len([who for _, who in scene.here.reads if who != name("c00000")]) >= 500


@pytest.mark.slow
def test_a_search_that_never_ends_is_left(tmp_path: Path) -> None:
    scene = observed_crowd(tmp_path, 1_500, search_ignores_cursor=True)
    killed_in_flight(scene, 2)

    assert pairs(scene.apply()) == {"seen": 1_000}
    assert len(scene.here.searches) < 10


@pytest.mark.slow
def test_a_larger_location_than_was_known_is_not_searched_to_its_end(tmp_path: Path) -> None:
    """Others carry the tag by the thousand, so that a search for it would take longer than reading."""
    scene = observed_crowd(tmp_path, 1_000)
    killed_in_flight(scene, 1)
    others = Contact(name("x"), HERE, frozenset({Tag("two")}))
    for nth in range(30_000):
        scene.here.crm.put(replace(others, id=ContactId(f"a{nth:019}")), now=scene.clock.now())
    scene.clock.ms += 120_000
    report = scene.apply()

    assert (pairs(report), len(scene.here.searches)) == ({"seen": 500}, 1)


def test_a_doubt_of_this_run_is_searched_for_too(tmp_path: Path) -> None:
    lost = FaultPlan({nth: Fault(FaultKind.RESET_AFTER) for nth in (1, 2)}, path="/contacts/bulk")
    scene = observed_crowd(tmp_path, 1_500, faults=lost)
    scene.want(a_set("s", crowd(1_500), "one two", absent="three"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 500, "seen": 1_000}, ExitCode.DONE)
    assert report.reads < 20
    converged(scene)


@pytest.mark.slow
def test_a_row_from_before_a_removal_makes_no_lost_add_seen(tmp_path: Path) -> None:
    """The tag was taken off and is wanted again, and the request for it never arrived: the index still shows it."""
    people = crowd(300)
    carrying = (contact(each, "a") for each in people)
    scene = Scene(tmp_path, *carrying, options=FREE, search_lag_ms=240_000)
    scene.want(a_set("s", people, "a"))
    scene.apply()
    scene.clock.ms += 600_000
    scene.want(a_set("s", people, absent="a"))
    scene.apply()
    scene.clock.ms += 120_000
    scene.want(a_set("s", people, "a"))
    scene.apply_and_die(before=0)
    report = scene.apply()
    assert (pairs(report), report.exit_code) == ({"applied": 300}, ExitCode.DONE)
    assert all(scene.tags(each) == {"a"} for each in people)
