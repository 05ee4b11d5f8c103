"""What is in doubt is read once it has settled: seen, sent once more where that harms nobody, or held."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.contact_state import DAY_MS
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.events import Read, Waiting
from reconciler.core.model.journal import FailedChange
from reconciler.core.model.manifest import Authority
from reconciler.core.model.measured import HeldCounted
from reconciler.core.model.names import Instant, Tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.planning.changes import UNCONFIRMED, Selection
from reconciler.core.running.shortfalls import HELD
from reconciler.sandbox.app import DEMO_TOKEN, WRITE_CONTACTS, Access
from reconciler.store import open_reader
from tests.apply.test_daily import look_again
from tests.apply.test_scenarios import DOUBTFUL, FREE, converged, faults, pairs
from tests.build import HERE, a_rule, a_set, contact, fields_of, name
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import THERE, Scene

LANDED = (
    FaultKind.TIMEOUT_AFTER,
    FaultKind.RESET_AFTER,
    FaultKind.ERROR_AFTER,
    FaultKind.TRUNCATED,
    FaultKind.UNREADABLE,
    FaultKind.LATE,
)
LOST = (FaultKind.TIMEOUT_BEFORE, FaultKind.RESET_BEFORE, FaultKind.ERROR_BEFORE)


def facts(scene: Scene) -> object:
    with open_reader(scene.url) as reader:
        return reader.at(HERE).load_state().facts.moves_updated


@pytest.mark.one_in(7)
@pytest.mark.parametrize("kind", LANDED)
def test_an_addition_that_landed_is_seen(tmp_path: Path, kind: FaultKind) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=faults(kind), options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    report = scene.apply()

    assert (pairs(report), report.reads, report.exit_code) == ({"seen": 1}, 1, ExitCode.DONE)
    assert report.findings == ()
    assert (len(scene.here.sent), scene.known("anna").doubtful) == (1, set())
    converged(scene)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("kind", LOST)
def test_an_addition_that_did_not_land_is_sent_once_more_where_the_date_proves_it(
    tmp_path: Path, kind: FaultKind
) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=faults(None, kind), options=FREE)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply()

    assert (pairs(report), report.requests, report.exit_code) == ({"applied": 2}, 3, ExitCode.DONE)
    # one read of whoever is in doubt, one of a contact that was surely written
    assert (report.reads, facts(scene)) == (2, True)
    converged(scene)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOST)
def test_nothing_is_proven_where_a_tag_write_does_not_move_the_date(tmp_path: Path, kind: FaultKind) -> None:
    scene = Scene(
        tmp_path, contact("anna"), contact("bert"), faults=faults(None, kind), options=FREE, tag_write_moves_date=False
    )
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply()

    assert (pairs(report), report.requests, report.exit_code) == ({"applied": 1, "held": 1}, 2, ExitCode.PARTIAL)
    assert facts(scene) is False
    assert "nothing proves" in report.findings[0].message
    assert scene.known("bert").doubtful == {"b"}
    converged(scene)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("killed", "seconds", "ended"),
    [(False, 1, "held"), (False, 10, "applied"), (True, 30, "held"), (True, 90, "applied")],
)
def test_a_change_by_others_is_told_from_a_request_that_left_well_after_it(
    tmp_path: Path, killed: bool, seconds: int, ended: str
) -> None:
    """A request of this run is dated by this clock, one of an earlier run maybe by that of another machine."""
    lost = faults(None, FaultKind.RESET_BEFORE, None, None if killed else FaultKind.RESET_BEFORE)
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=lost, options=FREE)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    scene.apply()
    assert facts(scene) is True
    scene.clock.ms += DAY_MS
    scene.want(a_set("s", "anna", "a hello"), a_set("t", "bert", "b"))
    scene.edit("anna", add=["note"])
    scene.clock.ms += seconds * 1000
    plan = scene.plan()
    if killed:
        scene.apply_and_die(plan, before=0)
    assert pairs(scene.apply(plan)) == {ended: 1}


def test_an_addition_that_a_workflow_may_have_consumed_is_held(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path, contact("anna"), contact("bert"), faults=faults(None, FaultKind.TIMEOUT_AFTER), options=FREE
    )
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))

    def consume(nth: int) -> None:
        scene.here.crm.remove(name("bert"), ["b"], now=scene.clock.now(), by="workflow")

    scene.here.read = consume
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 1, "held": 1}, ExitCode.PARTIAL)
    assert scene.adds()[name("bert"), Tag("b")] == 1
    reads = len(scene.here.reads)
    # what was read and stayed held is not read again at every run
    converged(scene)
    assert len(scene.here.reads) == reads


def test_an_addition_once_that_nobody_saw_is_held_until_a_person_says(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=faults(FaultKind.TIMEOUT_BEFORE), options=FREE)
    rules = [a_rule("hello", once=True)]
    scene.want(a_set("s", "anna", "hello"), rule=rules)
    assert pairs(scene.apply()) == {"held": 1}
    scene.clock.ms += DAY_MS
    # a look ends the doubt, and does not show the tag
    look_again(scene)
    scene.want(a_set("s", "anna", "hello vip"), rule=rules)
    assert pairs(scene.apply())["applied"] == 1
    (plan,) = scene.plan().locations
    assert (scene.known("anna").doubtful, [(each.why, each.tags) for each in plan.held]) == (
        set(),
        [(UNCONFIRMED, ("hello",))],
    )
    converged(scene)

    scene.apply(options=replace(FREE, selection=Selection(retry_held=True)))
    assert scene.tags("anna") == {"hello", "vip"}
    scene.edit("anna", remove=["hello"])
    assert scene.plan().locations[0].held == ()
    converged(scene)
    assert scene.adds()[name("anna"), Tag("hello")] == 1


@pytest.mark.slow
def test_the_pairs_that_wait_are_counted_once_whichever_run_left_them(tmp_path: Path) -> None:
    """What a run leaves is what a plan made then holds; of two earlier tags of one contact one is settled meanwhile."""
    lost = faults(FaultKind.RESET_AFTER)
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=lost, options=FREE, may_read=False)
    scene.want(a_set("s", "anna bert", "a b"))
    report = scene.apply()
    assert (pairs(report), counted_held(scene)) == ({"in_doubt": 4}, [4])
    scene.clock.ms += 600_000
    scene.edit("anna", remove="b")
    scene.may_read = True
    scene.here.network.plan = FaultPlan(rate=1.0, kinds=(FaultKind.ERROR_BEFORE,), path=f"/contacts/{name('bert')}")
    report = scene.apply()
    assert (pairs(report), counted_held(scene)) == ({"seen": 1, "held": 3}, [4, 3])
    assert report.notes[1:] == ("Not as declared: 3 tags held.", HELD)
    held = sum(len(each.tags) * len(each.contacts) for each in scene.plan().locations[0].held)
    assert held == 3


def counted_held(scene: Scene) -> list[int]:
    return [event.number for event in scene.events if isinstance(event, HeldCounted)]


@pytest.mark.one_in(11)
@pytest.mark.parametrize("kind", DOUBTFUL)
def test_a_removal_in_doubt_is_seen_or_sent_once_more(tmp_path: Path, kind: FaultKind) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=faults(None, kind), options=FREE)
    scene.want(a_set("s", "anna bert", "one vip"))
    scene.apply()
    scene.want(a_set("s", "anna bert", "one"))
    report = scene.apply()

    assert report.exit_code == ExitCode.DONE
    assert (scene.tags("anna"), scene.tags("bert")) == ({"one"}, {"one"})
    assert sum(report.pairs.values()) == 2
    converged(scene)


def test_a_removal_that_is_lost_twice_is_held(tmp_path: Path) -> None:
    lost = faults(None, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_BEFORE)
    scene = Scene(tmp_path, contact("anna"), faults=lost, options=FREE)
    scene.want(a_set("s", "anna", "one vip"))
    scene.apply()
    scene.want(a_set("s", "anna", "one"))
    report = scene.apply()

    assert (pairs(report), report.rounds, report.requests, report.reads) == ({"held": 1}, 2, 2, 2)
    scene.apply()
    assert scene.tags("anna") == {"one", "vip"}


@pytest.mark.parametrize(("when", "told"), [("before", ({"applied": 1}, 1)), ("after", ({"seen": 1}, 0))])
def test_a_removal_of_a_killed_run_is_settled_by_what_is_there(
    tmp_path: Path, when: str, told: tuple[dict[str, int], int]
) -> None:
    """A tag that is gone is what was asked for; one that is there is taken away once more."""
    scene = Scene(tmp_path, contact("anna", "a"), options=FREE)
    scene.want(a_set("s", "anna", absent="a"))
    scene.apply_and_die(**{when: 0})
    report = scene.apply()
    assert ((pairs(report), report.requests), report.notes) == (told, ())
    assert (scene.tags("anna"), scene.known("anna").doubtful) == (set(), frozenset())
    converged(scene)


@pytest.mark.slow
def test_a_removal_in_doubt_is_told_beside_what_is_sent(tmp_path: Path) -> None:
    lost = faults(None, FaultKind.RESET_BEFORE)
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=lost, options=FREE, may_read=False)
    scene.want(a_set("s", "anna", "one vip"))
    scene.apply()
    scene.want(a_set("s", "anna", "one"))
    scene.apply()
    scene.want(a_set("s", "anna", "one"), a_set("t", "bert", "new"))
    report = scene.apply()
    assert (pairs(report), report.notes) == ({"applied": 1}, ("Not as declared: 1 tag held.", HELD))


def test_what_goes_follows_once_what_comes_was_seen(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "trial"), faults=faults(FaultKind.RESET_AFTER), options=FREE)
    scene.want(a_set("s", "anna", "vip", absent="trial"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 1, "seen": 1}, ExitCode.DONE)
    assert [each.action for each in scene.here.sent] == [Action.ADD, Action.REMOVE]
    assert scene.tags("anna") == {"vip"}
    converged(scene)


def test_what_goes_stays_while_what_comes_is_held(tmp_path: Path) -> None:
    lost = faults(FaultKind.RESET_BEFORE)
    scene = Scene(tmp_path, contact("anna", "old"), faults=lost, options=FREE, tag_write_moves_date=False)
    scene.want(a_set("s", "anna", "new", absent="old"))
    report = scene.apply()

    assert (pairs(report), scene.tags("anna")) == ({"held": 1, "deferred": 1}, {"old"})
    assert [each.action for each in scene.here.sent] == [Action.ADD]


def test_the_rest_is_sent_before_a_doubt_is_waited_for(tmp_path: Path) -> None:
    crowd = [f"c{nth}" for nth in range(6)]
    scene = Scene(tmp_path, *map(contact, crowd), faults=faults(None, FaultKind.RESET_AFTER), options=FREE)
    scene.want(*(a_set(f"s{each}", [each], (each,)) for each in crowd))
    report = scene.apply()

    assert pairs(report) == {"applied": 5, "seen": 1}
    settling = [each for each in scene.events if isinstance(each, Waiting) and "settles" in each.why]
    assert len(settling) == 1
    # the first read is of what was surely written
    assert max(each.began for each in scene.here.sent) < scene.here.reads[1][0]


@pytest.mark.parametrize("scopes", [frozenset({WRITE_CONTACTS})])
def test_without_the_scope_to_read_doubts_are_held_and_the_run_goes_on(tmp_path: Path, scopes: frozenset[str]) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=faults(FaultKind.RESET_AFTER), options=FREE)
    scene.here.app._accesses = {DEMO_TOKEN: Access(scopes=scopes)}
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 1, "in_doubt": 1}, ExitCode.PARTIAL)
    assert "may not read contacts" in report.notes[0]


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_killed_run_left_in_doubt_settles_first(tmp_path: Path, when: str) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", "vip gold"), a_set("t", "bert", "late"))
    plan = scene.plan()
    scene.apply_and_die(plan, **{when: 1})
    report = scene.apply()

    # the first write told that the date moves: what was lost is proven to be
    assert pairs(report) == {"seen" if when == "after" else "applied": len(scene.here.sent[1].pairs())}
    assert report.exit_code == ExitCode.DONE


def test_a_killed_run_is_resumed_without_a_person_where_the_date_tells(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=faults(None, FaultKind.RESET_BEFORE), options=FREE)
    scene.want(a_set("s", "anna", "vip"), a_set("t", "bert", "late"))
    scene.apply()
    assert facts(scene) is True
    scene.clock.ms += 600_000
    scene.want(a_set("s", "anna", "vip more"), a_set("t", "bert", "late"))
    plan = scene.plan()
    scene.apply_and_die(plan, before=0)
    report = scene.apply(plan)

    assert (pairs(report), report.exit_code) == ({"applied": 1}, ExitCode.DONE)
    assert scene.adds()[name("anna"), Tag("more")] == 1
    converged(scene)


@pytest.mark.slow
@pytest.mark.parametrize("same_plan", [True, False])
def test_what_an_earlier_run_lost_is_sent_once_more_where_this_one_loses_it(tmp_path: Path, same_plan: bool) -> None:
    """The one repetition that a run has is for its own request: that of the killed one does not use it up."""
    scene = Scene(tmp_path, contact("anna"), faults=faults(None, FaultKind.RESET_BEFORE), options=FREE)
    scene.want(a_set("s", "anna", "first"))
    scene.apply()
    assert facts(scene) is True
    scene.clock.ms += DAY_MS
    scene.want(a_set("s", "anna", "first more"))
    plan = scene.plan()
    scene.apply_and_die(plan, before=0)
    report = scene.apply(plan if same_plan else None)

    assert (pairs(report), report.requests, report.exit_code) == ({"applied": 1}, 2, ExitCode.DONE)


@pytest.mark.parametrize("adding", [True, False])
def test_removals_wait_for_a_tag_that_an_earlier_run_left_in_doubt_whatever_is_selected(
    tmp_path: Path, adding: bool
) -> None:
    """Whether that run sent the tag, or took it away: it is to be there now, and nothing shows that it is."""
    scene = Scene(tmp_path, contact("anna", "old" if adding else "old new"), options=FREE, tag_write_moves_date=False)
    scene.want(a_set("s", "anna", *(["new"] if adding else []), absent="" if adding else "new"))
    scene.apply_and_die(**({"before": 0} if adding else {"after": 0}))
    scene.want(a_set("s", "anna", "new", absent="old"))
    report = scene.apply(options=replace(FREE, selection=Selection(tags=frozenset({Tag("old")}))))

    assert (report.requests, scene.tags("anna")) == (0, {"old"})
    assert [(each.action, each.tags, each.outcome) for each in report.findings] == [
        (Action.ADD if adding else Action.REMOVE, ("new",), Outcome.HELD)
    ]


@pytest.mark.slow
def test_a_removal_that_is_held_holds_up_no_other_one(tmp_path: Path) -> None:
    """Somebody gives the contact another tag that may not stay, while it is read what came of the first removal."""
    lost = faults(None, *[FaultKind.RESET_BEFORE] * 3)
    scene = Scene(tmp_path, contact("anna", "y"), faults=lost, options=FREE)
    scene.want(a_set("s", "anna", "one", absent="y", authority=Authority.EXACT))
    scene.here.read = lambda nth: scene.edit("anna", add="x") if len(scene.here.sent) == 2 else None
    report = scene.apply(options=replace(FREE, selection=Selection(apply_deferrals=True)))

    assert [(each.tags, each.status) for each in scene.here.sent] == [
        (["one"], 201),
        (["y"], None),
        (["y"], None),
        (["x"], None),
        (["x"], 201),
    ]
    assert (pairs(report), scene.tags("anna")) == ({"held": 1, "applied": 2}, {"one", "y"})


def test_a_contact_that_is_gone_is_rejected_when_it_is_read(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=faults(FaultKind.RESET_BEFORE), options=FREE)
    scene.want(a_set("s", "anna bert", "a"))

    def delete(nth: int) -> None:
        scene.here.crm.delete(name("anna"), now=scene.clock.now())

    scene.here.before = delete
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"rejected": 1, "held": 1}, ExitCode.PARTIAL)
    anna = fields_of(scene.known("anna"))
    # she comes back once she belongs to other sets
    assert (anna["quarantine"], anna["membership"]) == ("deleted", {"s"})
    converged(scene)


@pytest.mark.slow
def test_a_reading_that_fails_leaves_the_doubt_and_the_run_goes_on(tmp_path: Path) -> None:
    broken = {nth: Fault(FaultKind.RESET_BEFORE) for nth in range(6)}
    scene = Scene(tmp_path, contact("anna"), faults=FaultPlan(broken), options=FREE)
    scene.want(a_set("s", "anna", "a"))
    report = scene.apply()

    assert (pairs(report), report.reads, report.exit_code) == ({"in_doubt": 1}, 5, ExitCode.PARTIAL)
    assert "stays in doubt" in report.notes[0]
    scene.clock.ms += 90_000
    # the next run reads it
    assert (pairs(scene.apply()), scene.known("anna").doubtful) == ({"held": 1}, {"a"})


def test_ten_requests_in_a_row_without_an_answer_stop_the_run(tmp_path: Path) -> None:
    crowd = [f"c{nth:02}" for nth in range(30)]
    scene = Scene(
        tmp_path, *map(contact, crowd), faults=FaultPlan(rate=1.0, kinds=(FaultKind.ERROR_BEFORE,)), options=FREE
    )
    scene.want(*(a_set(f"s{each}", [each], (each,)) for each in crowd))
    report = scene.apply()

    assert (report.requests, pairs(report)) == (10, {"in_doubt": 10, "not_sent": 20})
    assert (report.exit_code, "in a row are of unknown effect" in report.error) == (ExitCode.PARTIAL, True)


@pytest.mark.slow
def test_reads_take_their_turn_within_the_rate_limit(tmp_path: Path) -> None:
    crowd = [f"c{nth:03}" for nth in range(210)]
    scene = Scene(tmp_path, *map(contact, crowd), faults=faults(FaultKind.ERROR_AFTER), options=FREE)
    scene.want(a_set("s", crowd, "a"))
    report = scene.apply()

    assert (pairs(report), report.reads) == ({"seen": 210}, 210)
    assert scene.here.reads[-1][0] - scene.here.reads[0][0] >= 20_000
    assert Instant(scene.here.reads[0][0]) >= scene.here.sent[0].began + 90_000
    told = [(each.done, each.total) for each in scene.events if isinstance(each, Read)]
    assert told == [(done, 210) for done in range(1, 211)]


def test_a_shorter_time_to_settle_is_waited_for(tmp_path: Path) -> None:
    options = replace(FREE, settle_ms=5_000)
    scene = Scene(tmp_path, contact("anna"), faults=faults(FaultKind.RESET_AFTER), options=options)
    scene.want(a_set("s", "anna", "a"))
    report = scene.apply()

    assert pairs(report) == {"seen": 1}
    assert scene.here.reads[0][0] - scene.here.sent[0].began == 5_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("most", "told", "refused"), [(2, {"applied": 1, "not_sent": 1}, True), (3, {"applied": 2}, False)]
)
def test_requests_after_a_doubt_count_for_the_guard(
    tmp_path: Path, most: int, told: dict[str, int], refused: bool
) -> None:
    options = replace(FREE, limits=replace(FREE.limits, max_requests=most))
    scene = Scene(
        tmp_path, contact("anna"), contact("bert"), faults=faults(None, FaultKind.RESET_BEFORE), options=options
    )
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply()

    assert (pairs(report), report.requests) == (told, most)
    assert ("guard max_requests refuses" in report.error) is refused
    assert report.exit_code == (ExitCode.PARTIAL if refused else ExitCode.DONE)


def test_a_contact_of_another_location_is_told_by_its_reading(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path, contact("anna"), contact("away", location=THERE), faults=faults(FaultKind.RESET_AFTER), options=FREE
    )
    scene.want(a_set("s", "anna away", "a"))
    report = scene.apply()

    assert (pairs(report), fields_of(scene.known("away"))["quarantine"]) == (
        {"seen": 1, "rejected": 1},
        "other location",
    )
    converged(scene)


def test_a_respelt_tag_is_seen_by_the_spelling_that_is_there(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path,
        contact("anna"),
        contact("bert"),
        faults=faults(None, FaultKind.RESET_AFTER),
        options=replace(FREE, caps=replace(FREE.caps, contacts=1)),
        collapses_spaces=True,
    )
    scene.want(a_set("s", "anna bert", ("two  spaces",)))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 1, "seen": 1}, ExitCode.DONE)
    assert scene.tags("bert") == {"two spaces"}
    converged(scene)


@pytest.mark.slow
def test_what_a_run_killed_at_its_first_request_left_is_proven_by_a_write_to_somebody_else(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    scene.apply_and_die(before=0)
    scene.clock.ms += 120_000
    report = scene.apply()

    assert (report.exit_code, facts(scene)) == (ExitCode.DONE, True)
    assert scene.tags("anna") == {"a"}
    assert scene.tags("bert") == {"b"}
    assert max(scene.adds().values()) == 1
    converged(scene)


@pytest.mark.parametrize("moves", [True, False])
def test_one_read_after_the_first_known_write_tells_whether_the_date_moves(tmp_path: Path, moves: bool) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE, tag_write_moves_date=moves)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    assert (pairs(scene.apply()), len(scene.here.reads), facts(scene)) == ({"applied": 2}, 1, moves)

    scene.want(a_set("s", "anna bert", "a b"))
    assert (pairs(scene.apply()), len(scene.here.reads)) == ({"applied": 2}, 1)


def test_a_write_that_changed_nothing_does_not_tell_whether_the_date_moves(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "a"), options=FREE)
    scene.want(a_set("s", "anna", "a"))

    assert (pairs(scene.apply()), scene.here.reads, facts(scene)) == ({"noop": 1}, [], None)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    "kind", [FaultKind.TIMEOUT_BEFORE, FaultKind.ERROR_BEFORE, FaultKind.TRUNCATED, FaultKind.TOO_MANY]
)
def test_a_first_read_that_fails_hurts_nothing_and_the_next_run_reads(tmp_path: Path, kind: FaultKind) -> None:
    broken = FaultPlan({0: Fault(kind)}, path=f"/contacts/{name('anna')}")
    scene = Scene(tmp_path, contact("anna"), faults=broken, options=FREE)
    scene.want(a_set("s", "anna", "a"))
    report = scene.apply()
    assert (pairs(report), report.reads, report.notes, report.exit_code) == ({"applied": 1}, 1, (), ExitCode.DONE)
    assert facts(scene) is None

    scene.want(a_set("s", "anna", "a b"))
    assert (pairs(scene.apply()), facts(scene)) == ({"applied": 1}, True)


def test_a_first_read_that_fails_is_not_repeated_for_a_doubt_that_needs_no_proof(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    scene.here.network.plan = FaultPlan(
        {1: Fault(FaultKind.ERROR_BEFORE), 2: Fault(FaultKind.RESET_AFTER)}, path="/contacts"
    )
    report = scene.apply()

    assert (pairs(report), facts(scene)) == ({"applied": 1, "seen": 1}, None)
    assert [who for _, who in scene.here.reads] == [name("anna"), name("bert")]


@pytest.mark.parametrize("moves", [True, False])
def test_that_one_date_moved_proves_no_habit_and_that_one_did_not_proves_it(tmp_path: Path, moves: bool) -> None:
    """Another cause may have moved it: the other contact that was written has to show it too, and cannot be read."""
    broken = {1: Fault(FaultKind.ERROR_BEFORE), 3: Fault(FaultKind.RESET_BEFORE), 5: Fault(FaultKind.ERROR_BEFORE)}
    people = [contact("anna"), contact("bert"), contact("cara")]
    scene = Scene(tmp_path, *people, faults=FaultPlan(broken), options=FREE, in_flight=1, tag_write_moves_date=moves)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"), a_set("u", "cara", "c"))
    report = scene.apply()

    # the first write is read at once, and both once what was lost needs it
    assert [who for _, who in scene.here.reads] == [name("anna"), name("cara"), name("anna"), name("bert")]
    assert (pairs(report), facts(scene)) == ({"applied": 2, "held": 1}, None if moves else False)


def test_a_token_that_may_not_read_writes_as_before(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE)
    scene.here.app._accesses = {DEMO_TOKEN: Access(scopes=frozenset({WRITE_CONTACTS}))}
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply()

    assert (pairs(report), report.notes, report.exit_code) == ({"applied": 2}, (), ExitCode.DONE)


def test_a_contact_that_a_workflow_changed_at_once_teaches_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", "anna", "a"))
    scene.here.after = lambda nth: scene.edit("anna", add=["mailed"])
    assert (pairs(scene.apply()), facts(scene)) == ({"applied": 1}, None)


def test_a_limit_that_others_use_up_is_waited_out_while_doubts_are_read(tmp_path: Path) -> None:
    plan = FaultPlan({0: Fault(FaultKind.TIMEOUT_AFTER)} | dict.fromkeys(range(1, 7), Fault(FaultKind.USED_UP)))
    scene = Scene(tmp_path, contact("anna"), faults=plan, options=FREE)
    scene.want(a_set("s", "anna", "vip"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"seen": 1}, ExitCode.DONE)


@pytest.mark.slow
def test_a_limit_that_stays_used_up_ends_the_settling_with_what_was_read(tmp_path: Path) -> None:
    """Two are in doubt and one of them can be read; what it told is kept, the other one is the next run's."""
    plan = FaultPlan({0: Fault(FaultKind.TIMEOUT_AFTER)} | dict.fromkeys(range(2, 1_000), Fault(FaultKind.USED_UP)))
    scene = Scene(tmp_path, contact("anna"), contact("bert"), faults=plan, options=FREE, in_flight=1)
    scene.want(a_set("s", "anna bert", "vip"))
    report = scene.apply()

    assert report.exit_code == ExitCode.QUOTA
    assert "let no request through for" in report.error
    assert pairs(report) == {"seen": 1, "in_doubt": 1}
    assert sorted(map(len, (scene.known("anna").doubtful, scene.known("bert").doubtful))) == [0, 1]
    scene.here.network.plan = FaultPlan()
    assert scene.apply().exit_code == ExitCode.DONE
    converged(scene)


UNPROVEN = "not there when it was read; it may have been, and nothing proves that it was not"
UNREAD = "an earlier run sent it, and it could not be read"


@pytest.mark.slow
@pytest.mark.parametrize(("unread", "why"), [(False, UNPROVEN), (True, UNREAD)])
def test_a_doubt_of_an_earlier_run_is_told_once_and_as_the_addition_that_it_was(
    tmp_path: Path, unread: bool, why: str
) -> None:
    """Also where the rows of that run were given up: then it was sent as it is desired."""
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE, tag_write_moves_date=False)
    scene.want(a_set("s", "anna", "a"))
    scene.apply_and_die(before=0)
    scene.may_read = False
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    scene.apply(history_keep=1)
    scene.may_read = True
    if unread:
        failing = {"rate": 1.0, "kinds": (FaultKind.ERROR_BEFORE,), "path": f"/contacts/{name('anna')}"}
        scene.here.network.plan = FaultPlan(**failing)  # type: ignore[arg-type]
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b more"))
    report = scene.apply()
    assert report.findings == (FailedChange(name("anna"), Outcome.HELD, Action.ADD, (Tag("a"),), why),)
