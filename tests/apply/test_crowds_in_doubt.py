"""Many contacts in doubt at once: settled without a person, in few requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.api_limits import LocationFacts, Rate
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import DAY_MS, ContactStates, ObservationOrigin
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.events import Read, Waiting
from reconciler.core.model.journal import RunHeader
from reconciler.core.model.names import ContactId, Tag
from reconciler.core.model.outcome import Outcome
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS
from reconciler.sandbox.access import Limits
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


@pytest.mark.slow
@pytest.mark.parametrize("number", [300, 1_000, 5_000])
@pytest.mark.parametrize("may_read", [True, False])
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    more = {"options": FREE} | more
    scene = Scene(directory, *(contact(each, "one") for each in crowd(number)), **more)  # type: ignore[arg-type]
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


def slow_crowd(directory: Path, number: int, **more: object) -> Scene:
    """Four requests a minute: to search takes less time than to read, for as few contacts as a test has."""
    options = replace(FREE, rate=Rate(per_window=4, window_ms=60_000))
    return observed_crowd(directory, number, options=options, limits=Limits(4, 60_000), **more)


def killed(scene: Scene, tag: str = "two") -> None:
    """A run is killed once the tag came to everybody, before it had the answer."""
    number = len(scene.here.crm.contacts)
    scene.want(a_set("s", crowd(number), ["one", tag]))
    scene.apply_and_die(after=0)
    scene.events.clear()


def put_others(scene: Scene, number: int, tag: str) -> None:
    """So many contacts of nobody's concern carry the tag; a search shows them before the others."""
    one = Contact(name("x"), HERE, frozenset({Tag(tag)}))
    for nth in range(number):
        scene.here.crm.put(replace(one, id=ContactId(f"a{nth:019}")), now=scene.clock.now())


def looked(scene: Scene) -> tuple[list[str], list[str]]:
    """The tags that were searched for, a page each, a further page with a plus sign; and who was read since."""
    began = scene.here.searches[0][0] if scene.here.searches else scene.here.sent[-1].began
    return [page_sought(body) for _, body in scene.here.searches], [
        who[:6] for at, who in scene.here.reads if at >= began
    ]


def page_sought(body: Mapping[str, Any]) -> str:
    tag = body["filters"][0]["value"][0] if "filters" in body else "everybody"
    return tag + "+" * ("searchAfter" in body)


def told(scene: Scene) -> list[tuple[int, int]]:
    """How far the run said that it is with what is in doubt."""
    return [(each.done, each.total) for each in scene.events if isinstance(each, Read)]


def test_one_search_settles_all_that_its_rows_show(tmp_path: Path) -> None:
    scene = slow_crowd(tmp_path, 9)
    killed(scene)
    report = scene.apply()

    assert (looked(scene), told(scene)) == ((["two"], []), [(9, 9)])
    assert (pairs(report), report.reads, report.exit_code) == ({"seen": 9}, 1, ExitCode.DONE)
    assert not any(scene.known(each).doubtful for each in crowd(9))


@pytest.mark.slow
def test_each_tag_in_doubt_is_searched_for_that_of_most_contacts_first(tmp_path: Path) -> None:
    # to search for everybody takes six pages
    scene = slow_crowd(tmp_path, 2_100)
    people = crowd(23)
    # the first request is answered, the other two are under way at the kill
    groups = {"first": people[:9], "two": people[9:15], "three": people[15:]}
    scene.want(*(a_set(tag, who, ["one", tag]) for tag, who in groups.items()))
    scene.apply_and_die(after=1)
    scene.events.clear()
    report = scene.apply()

    assert (looked(scene), told(scene)) == ((["three", "two"], []), [(8, 14), (14, 14)])
    assert (pairs(report), report.exit_code) == ({"seen": 14}, ExitCode.DONE)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "searched"), [(75, True), (76, False)])
def test_for_a_tag_that_is_too_long_to_be_searched_for_everybody_is(
    tmp_path: Path, length: int, searched: bool
) -> None:
    scene = slow_crowd(tmp_path, 9)
    tag = "t" * length
    killed(scene, tag)
    # a row of everybody shows, too, who does not have it
    scene.here.crm.remove(name("c00002"), [Tag(tag)], now=scene.clock.now(), by="human")

    assert pairs(scene.apply()) == {"seen": 8, "held": 1}
    assert looked(scene) == ([tag if searched else "everybody"], ["c00002"])


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("others", "pages"), [(480, 1), (600, 2), (1_100, 3)])
def test_a_search_ends_with_its_last_page_that_has_a_row(tmp_path: Path, others: int, pages: int) -> None:
    """Those in doubt are on the last one, behind contacts of nobody's concern."""
    scene = slow_crowd(tmp_path, 9)
    killed(scene)
    put_others(scene, others, "two")

    assert pairs(scene.apply()) == {"seen": 9}
    assert looked(scene) == (["two", "two+", "two+"][:pages], [])
    assert told(scene) == [*[(0, 9)] * (pages - 1), (9, 9)]


@pytest.mark.slow
def test_a_search_is_left_as_soon_as_reading_takes_less_time_than_its_pages_ahead(tmp_path: Path) -> None:
    scene = slow_crowd(tmp_path, 9)
    killed(scene)
    # nine are read in two minutes, twelve pages in as many; one more takes three
    put_others(scene, 13 * 500, "two")

    assert pairs(scene.apply()) == {"seen": 9}
    assert looked(scene) == (["two"], crowd(9))


def test_whom_no_row_shows_as_desired_is_read(tmp_path: Path) -> None:
    """Somebody took the tag from one again, and of three the rows tell no tags."""
    scene = slow_crowd(tmp_path, 9, search_row_without_tags=4)
    killed(scene)
    scene.here.crm.remove(name("c00002"), [Tag("two")], now=scene.clock.now(), by="human")
    report = scene.apply()

    assert looked(scene) == (["two"], ["c00000", "c00002", "c00004", "c00008"])
    assert (pairs(report), report.exit_code) == ({"seen": 8, "held": 1}, ExitCode.PARTIAL)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "waits"), [(30, True), (12, False)])
def test_an_index_that_may_be_behind_is_waited_for_where_reading_takes_longer(
    tmp_path: Path, number: int, waits: bool
) -> None:
    """Thirty take seven minutes to be read, and a dozen two; the index shows the request five minutes after it."""
    scene = slow_crowd(tmp_path, number, search_lag_ms=250_000)
    killed(scene)
    assert pairs(scene.apply()) == {"seen": number}

    assert looked(scene) == ((["two", "two"], []) if waits else (["two"], crowd(number)))
    why = f"the search shows what is in doubt on {number} contacts"
    waited = [each.milliseconds for each in scene.events if isinstance(each, Waiting) and each.why == why]
    assert len(waited) == waits
    if waits:
        assert told(scene) == [(0, number), (number, number)]
        assert scene.here.searches[1][0] == scene.here.sent[-1].began + INDEX_LAG_MS


@pytest.mark.slow
@pytest.mark.parametrize(("number", "waits"), [(24, True), (18, False)])
def test_the_pages_of_a_search_count_for_whether_it_is_waited_for(tmp_path: Path, number: int, waits: bool) -> None:
    """Others have the tag: its six pages take a minute after a wait of 200 s. 24 are read in 300 s, and 18 in 240."""
    scene = slow_crowd(tmp_path, 2_100)
    people = [f"d{nth:05}" for nth in range(number)]
    for each in people:
        scene.here.crm.put(contact(each), now=scene.clock.now())
    scene.want(a_set("s", people, "one"))
    scene.apply_and_die(after=0)

    assert pairs(scene.apply()) == {"seen": number}
    assert looked(scene) == ((["one"] + ["one+"] * 4, []) if waits else ([], people))


def test_removals_in_doubt_are_not_searched_for(tmp_path: Path) -> None:
    scene = slow_crowd(tmp_path, 10)
    scene.want(a_set("s", crowd(10), "zero", absent="one"))
    scene.apply_and_die(after=1)
    report = scene.apply()

    assert looked(scene) == ([], crowd(10))
    assert (pairs(report), report.exit_code) == ({"seen": 10}, ExitCode.DONE)


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


@pytest.mark.slow
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


@pytest.mark.slow
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
