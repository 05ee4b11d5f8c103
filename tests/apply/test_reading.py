"""A reading counts for its own contact only, and absence must be said; what the outside says else is no proof."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.read_contacts import Readings
from reconciler.core.model.contact_state import ContactReading, ContactState
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.events import Read
from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.outcome import Action, Rejection
from reconciler.sandbox.app import App
from reconciler.sandbox.assumptions import Merged
from reconciler.sandbox.messages import Request, Response
from reconciler.sandbox.world import World
from tests.apply.test_scenarios import FREE, converged, faults, pairs
from tests.build import HERE, NOW, a_set, contact, fields_of, name
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import THERE, Scene

CROWD = [f"c{nth:02}" for nth in range(40)]


def after_a_lost_write(
    kind: FaultKind, reads: range, *, status: int = 0, lost: FaultKind = FaultKind.RESET_AFTER
) -> FaultPlan:
    """The first request is the write, of unknown effect; those that follow read."""
    return FaultPlan({0: Fault(lost), **dict.fromkeys(reads, Fault(kind, status))})


def quarantined(scene: Scene, crowd: list[str]) -> list[str]:
    return [each for each in crowd if fields_of(scene.known(each))["quarantine"]]


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_gateway_that_answers_for_the_api_makes_nobody_gone(tmp_path: Path, status: int) -> None:
    plan = after_a_lost_write(FaultKind.GATEWAY, range(1, 500), status=status)
    scene = Scene(tmp_path, *map(contact, CROWD), faults=plan, options=FREE, in_flight=5)
    scene.want(a_set("s", CROWD, "a"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"in_doubt": 40}, ExitCode.PARTIAL)
    assert quarantined(scene, CROWD) == []
    page = "; this is a web page and no answer of the API: a firewall, a proxy or a sign-in refuses"
    refused = f"https://api.example answered {status}{page * (status == 403)}"
    assert report.notes == (
        f"what could not be read stays in doubt: {refused}",
        f"what is in doubt stays held: contacts cannot be read ({refused})",
    )
    # ten contacts in a row end the reading: each was tried five times where that may help, those under way once
    assert len(scene.here.reads) == 10 * (1 if status == 403 else 5) + 4
    scene.here.network.plan = FaultPlan()
    assert pairs(scene.apply()) == {"seen": 40}
    converged(scene)


@pytest.mark.parametrize("kind", [FaultKind.GATEWAY, FaultKind.TRY_LATER])
def test_a_4xx_that_passes_is_waited_out(tmp_path: Path, kind: FaultKind) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=after_a_lost_write(kind, range(1, 4)), options=FREE)
    scene.want(a_set("s", "anna", "a"))
    report = scene.apply()

    assert (pairs(report), report.reads, report.notes) == ({"seen": 1}, 4, ())


def test_one_contact_that_cannot_be_read_holds_up_nobody_else(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path,
        contact("anna"),
        contact("bert"),
        faults=after_a_lost_write(FaultKind.GATEWAY, range(1, 6)),
        options=FREE,
        in_flight=1,
    )
    scene.want(a_set("s", "anna bert", "a"))
    report = scene.apply()

    assert (pairs(report), scene.known("anna").doubtful, scene.known("bert").doubtful) == (
        {"seen": 1, "in_doubt": 1},
        {"a"},
        set(),
    )


@pytest.mark.slow
def test_a_signal_ends_the_reading_and_keeps_what_was_read_until_then(tmp_path: Path) -> None:
    # one of the reads is waiting to be sent again when the signal comes
    plan = after_a_lost_write(FaultKind.GATEWAY, range(1, 2))
    scene = Scene(tmp_path, *map(contact, CROWD), faults=plan, options=FREE, in_flight=5)
    scene.want(a_set("s", CROWD, "a"))
    scene.here.read = lambda nth: scene.stop.ask(signal.SIGTERM) if nth == 9 else None
    report = scene.apply()

    assert report.exit_code == 128 + signal.SIGTERM
    assert 10 <= len(scene.here.reads) < 20
    settled = [each for each in CROWD if not scene.known(each).doubtful]
    assert 9 <= len(settled) < 20
    assert max(event.done for event in scene.events if isinstance(event, Read)) == len(settled)
    scene.here.read = lambda nth: None
    assert (pairs(scene.apply()), sum(scene.adds().values())) == ({"seen": 40 - len(settled)}, 40)
    converged(scene)


def gone_after_the_write(scene: Scene, who: list[str]) -> None:
    def delete(nth: int) -> None:
        for each in who:
            scene.here.crm.delete(name(each), now=scene.clock.now())

    scene.here.before = delete


def test_ten_in_a_row_that_are_said_to_be_gone_are_not_believed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD), faults=faults(FaultKind.RESET_BEFORE), options=FREE, in_flight=5)
    scene.want(a_set("s", CROWD, "a"))
    gone_after_the_write(scene, CROWD)
    report = scene.apply()

    assert (pairs(report), report.exit_code, quarantined(scene, CROWD)) == ({"in_doubt": 40}, ExitCode.PARTIAL, [])
    assert report.notes == (
        "what is in doubt stays held: 10 contacts in a row are said not to be there, which is not believed: the token, "
        "the location or the API is probably wrong; `reconciler state forget` gives up contacts that are really gone",
    )
    assert len(scene.here.reads) < 16
    (plan,) = scene.plan().locations
    assert sum(len(each.contacts) for each in plan.held) == 40


@pytest.mark.slow
def test_ten_in_a_row_that_are_gone_are_gone_where_others_are_shown(tmp_path: Path) -> None:
    """Somebody deleted a dozen in the CRM: what is in doubt on them would be in doubt for ever."""
    gone, there = CROWD[:12], CROWD[12:]
    scene = Scene(tmp_path, *map(contact, CROWD), faults=faults(FaultKind.RESET_AFTER), options=FREE, in_flight=5)
    scene.want(a_set("s", CROWD, "a"))
    gone_after_the_write(scene, gone)
    scene.here.after = scene.here.before
    report = scene.apply()

    assert pairs(report) == {"seen": len(there), "rejected": len(gone)}
    assert quarantined(scene, CROWD) == gone
    (plan,) = scene.plan().locations
    assert (plan.batches, plan.held) == ((), ())


@pytest.mark.slow
def test_ten_in_a_row_that_are_not_believed_stay_so_where_a_later_answer_finds_a_contact(tmp_path: Path) -> None:
    """The search shows contacts that reading does not, and an answer that was under way meanwhile breaks the row."""
    scene = Scene(
        tmp_path,
        *map(contact, CROWD),
        faults=faults(FaultKind.RESET_AFTER),
        options=FREE,
        in_flight=5,
        search_lag_ms=86_400_000,
    )
    scene.want(a_set("s", CROWD, "a"))
    gone_after_the_write(scene, CROWD[:10])
    report = scene.apply()

    assert any("not believed" in note for note in report.notes)
    assert (pairs(report)["seen"], quarantined(scene, CROWD)) == (4, [])


@pytest.mark.slow
def test_a_limit_that_is_used_up_while_it_is_asked_whether_others_are_there_ends_the_run(tmp_path: Path) -> None:
    plan = after_a_lost_write(FaultKind.TOO_MANY, range(11, 5_000))
    scene = Scene(tmp_path, *map(contact, CROWD), faults=plan, options=FREE, in_flight=1)
    scene.want(a_set("s", CROWD, "a"))
    gone_after_the_write(scene, CROWD[:12])
    report = scene.apply()

    assert (pairs(report), report.exit_code, quarantined(scene, CROWD)) == ({"in_doubt": 40}, ExitCode.QUOTA, [])
    assert not any("not believed" in note for note in report.notes)


@pytest.mark.slow
def test_many_that_are_gone_stop_the_run_and_nobody_is_quarantined(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD), faults=faults(FaultKind.RESET_AFTER), options=FREE)
    scene.want(a_set("s", CROWD, "a"))
    gone = CROWD[::2]

    def delete(nth: int) -> None:
        for each in gone:
            scene.here.crm.delete(name(each), now=scene.clock.now())

    scene.here.after = scene.here.read = delete
    report = scene.apply()

    assert (report.exit_code, quarantined(scene, CROWD)) == (ExitCode.PARTIAL, [])
    assert "20 of 40 contacts that were read are said not to be there" in report.error
    # nobody is rejected whom the same report does not believe to be gone
    assert pairs(report) == {"seen": 20, "in_doubt": 20}
    assert {each.message for each in report.findings} == {"the contact is said not to be there, which is not believed"}
    assert [each for each in CROWD if scene.known(each).doubtful] == gone


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_doubts_of_a_killed_run_that_cannot_be_read_are_told_by_the_run_that_tried(tmp_path: Path, when: str) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD), options=FREE)
    scene.want(a_set("s", CROWD, "a"))
    scene.apply_and_die(**{when: 0})
    # a gateway answers for the API
    scene.here.network.plan = FaultPlan(rate=1.0, kinds=(FaultKind.GATEWAY,), path="/contacts/")
    report = scene.apply()

    assert (pairs(report), report.requests, report.exit_code) == ({"held": 40}, 0, ExitCode.PARTIAL)
    assert "could not be read" in report.findings[0].message
    assert all(scene.known(each).doubtful == {"a"} for each in CROWD)
    scene.here.network.plan = FaultPlan()
    assert pairs(scene.apply()) == {"seen" if when == "after" else "held": 40}
    # what was read and stays held is told once by the exit code, and by every plan
    assert scene.apply().exit_code == ExitCode.DONE


@pytest.mark.slow
def test_a_removal_of_a_killed_run_that_cannot_be_read_is_told_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna", "a"), contact("bert"), options=FREE)
    scene.want(a_set("s", "anna", absent="a"))
    scene.apply_and_die(before=0)
    scene.want(a_set("s", "anna", absent="a"), a_set("t", "bert", "b"))
    scene.here.network.plan = FaultPlan(rate=1.0, kinds=(FaultKind.GATEWAY,), path=f"/contacts/{name('anna')}")
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"held": 1, "applied": 1}, ExitCode.PARTIAL)
    assert [(each.contact, each.action) for each in report.findings] == [(name("anna"), Action.REMOVE)]


def test_who_may_not_read_at_all_does_not_try(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE, may_read=False)
    scene.want(a_set("s", "anna", "a"))
    scene.apply_and_die(before=0)
    scene.want(a_set("s", "anna", "a"), a_set("t", "bert", "b"))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 1}, ExitCode.DONE)


@pytest.mark.slow
def test_a_few_that_are_gone_are_believed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD), faults=faults(FaultKind.RESET_BEFORE), options=FREE)
    scene.want(a_set("s", CROWD, "a"))
    gone_after_the_write(scene, CROWD[5:8])
    report = scene.apply()

    assert (pairs(report), quarantined(scene, CROWD)) == ({"rejected": 3, "held": 37}, CROWD[5:8])


def merged(scene: Scene, lost: str, survivor: str) -> None:
    def merge(nth: int) -> None:
        scene.here.crm.merge(name(lost), name(survivor), now=scene.clock.now())

    scene.here.after = scene.here.before = merge


def test_a_contact_that_is_answered_as_another_one_is_unread(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path,
        contact("anna"),
        contact("bert", "own"),
        faults=faults(FaultKind.RESET_BEFORE),
        options=FREE,
        merged_reads_as_survivor=True,
    )
    scene.want(a_set("s", "anna", "own"))
    merged(scene, "anna", "bert")
    report = scene.apply()

    assert (pairs(report), report.reads, scene.known("anna").doubtful) == ({"in_doubt": 1}, 1, {"own"})
    assert f"answered as {name('bert')}: merged?" in " ".join(report.notes)
    assert scene.known("bert") == ContactState()


def test_a_contact_that_is_shown_without_its_location_is_ours(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path, contact("anna"), faults=faults(FaultKind.RESET_AFTER), options=FREE, read_without_location=True
    )
    scene.want(a_set("s", "anna", "a"))

    assert pairs(scene.apply()) == {"seen": 1}


class Odd(App):
    """Shows each contact otherwise than it is."""

    def __init__(self, world: World, change: Callable[[dict[str, Any]], object]) -> None:
        super().__init__(world)
        self.change = change

    def perform(self, request: Request, now: Instant) -> Response:
        response = super().perform(request, now)
        if request.method != "GET":
            return response
        document = json.loads(response.body)
        self.change(document["contact"])
        return replace(response, body=json.dumps(document).encode())


def after_a_write_that_never_arrived(
    directory: Path, people: list[str], change: Callable[[dict[str, Any]], object]
) -> Scene:
    scene = Scene(directory, *map(contact, people), options=FREE, in_flight=1)
    scene.here.network.app = Odd(scene.here.crm, change)
    scene.here.network.plan = faults(FaultKind.RESET_BEFORE)
    scene.want(a_set("s", people, "a"))
    return scene


def test_a_contact_that_is_shown_without_its_tags_stays_in_doubt(tmp_path: Path) -> None:
    scene = after_a_write_that_never_arrived(tmp_path, ["anna"], lambda shown: shown.pop("tags"))
    report = scene.apply()

    assert (pairs(report), scene.known("anna").doubtful) == ({"in_doubt": 1}, {"a"})
    assert "what was read without its tags stays in doubt" in report.notes


def elsewhere(shown: dict[str, Any]) -> None:
    shown["locationId"] = THERE


def test_a_contact_that_is_shown_in_another_location_is_none_of_ours(tmp_path: Path) -> None:
    scene = after_a_write_that_never_arrived(tmp_path, ["anna"], elsewhere)

    assert pairs(scene.apply()) == {"rejected": 1}
    assert fields_of(scene.known("anna"))["quarantine"] == "other location"


def test_where_everybody_is_said_to_be_another_locations_the_token_is_doubted(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, CROWD), faults=faults(FaultKind.RESET_BEFORE), options=FREE, in_flight=1)
    scene.want(a_set("s", CROWD, "a"))

    def move(nth: int) -> None:
        for each in CROWD:
            scene.here.crm.put(contact(each, location=THERE), now=scene.clock.now())

    scene.here.before = move
    report = scene.apply()

    assert (pairs(report), quarantined(scene, CROWD), len(scene.here.reads)) == ({"in_doubt": 40}, [], 10)
    assert report.notes == (
        f"what is in doubt stays held: the token may not read contacts of location {HERE} "
        "(every contact is said to be another location's)",
    )


def test_what_could_not_be_read_is_listed_by_what_was_sent(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path, contact("anna", "old"), contact("bert"), faults=faults(None, FaultKind.RESET_BEFORE), options=FREE
    )
    scene.want(a_set("s", "anna", "old"))
    scene.apply()
    scene.here.network.plan = FaultPlan(
        {0: Fault(FaultKind.RESET_BEFORE), 1: Fault(FaultKind.RESET_BEFORE)}, path="/contacts/bulk"
    )
    scene.want(a_set("s", "anna", absent="old"), a_set("t", "bert", "a"))
    gone_after_the_write(scene, ["anna", "bert"])
    report = scene.apply()

    assert {(each.contact, each.action, each.tags) for each in report.findings} == {
        (name("anna"), Action.REMOVE, ("old",)),
        (name("bert"), Action.ADD, ("a",)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("action", list(Action))
def test_what_a_killed_run_sent_is_listed_as_that_whatever_is_desired_since(
    tmp_path: Path, action: Action, gone: bool
) -> None:
    """The manifests were turned round before the next run, which cannot read the contact, or reads that it is gone."""
    adding = action is Action.ADD
    scene = Scene(tmp_path, contact("anna", [] if adding else ["a"]), contact("bert"), options=FREE)
    to_add, to_remove = a_set("s", "anna", "a"), a_set("s", "anna", absent="a")
    scene.want(to_add if adding else to_remove)
    scene.apply_and_die(before=0)
    scene.want(to_remove if adding else to_add, a_set("t", "bert", "b"))
    if gone:
        scene.here.crm.delete(name("anna"), now=scene.clock.now())
    else:
        scene.here.network.plan = FaultPlan(rate=1.0, kinds=(FaultKind.GATEWAY,), path=f"/contacts/{name('anna')}")
    report = scene.apply()

    assert [(each.contact, each.action, each.tags) for each in report.findings] == [(name("anna"), action, ("a",))]


@pytest.mark.parametrize("row", [Merged.DELETED, Merged.UNDER_SURVIVOR])
def test_a_row_counts_for_the_contact_that_it_names(tmp_path: Path, row: Merged) -> None:
    scene = Scene(
        tmp_path,
        contact("anna"),
        contact("bert", "own"),
        options=FREE,
        merged_row=row,
        merged_reads_as_survivor=True,
    )
    scene.want(a_set("s", "anna", "a"))
    merged(scene, "anna", "bert")
    report = scene.apply()

    assert scene.known("bert") == ContactState()
    assert pairs(report) == {"rejected" if row is Merged.DELETED else "in_doubt": 1}


@pytest.mark.parametrize("row", [Merged.UNDER_OWN_ID, Merged.UNDER_SURVIVOR])
def test_two_rows_of_the_survivor_leave_both_in_doubt(tmp_path: Path, row: Merged) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE, merged_row=row, may_read=False)
    scene.want(a_set("s", "anna bert", "a"))
    merged(scene, "anna", "bert")
    report = scene.apply()

    assert pairs(report) == ({"in_doubt": 2} if row is Merged.UNDER_SURVIVOR else {"applied": 1, "noop": 1})


@pytest.mark.slow
def test_an_answer_that_unpacks_to_too_much_is_in_doubt_and_settled(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), faults=faults(FaultKind.BOMB), options=FREE)
    scene.want(a_set("s", "anna", "a"))
    report = scene.apply()

    assert (pairs(report), report.requests, report.reads) == ({"seen": 1}, 1, 1)


def test_a_token_that_is_echoed_is_kept_nowhere(tmp_path: Path) -> None:
    # `Scene.apply` looks for it in state, report and events
    faults_of_rows = FaultPlan(dict.fromkeys(range(9), Fault(FaultKind.TOKEN_ECHOED)))
    scene = Scene(tmp_path, contact("anna"), contact("gone", deleted=True), faults=faults_of_rows, options=FREE)
    scene.want(a_set("s", "anna gone", "a"))
    (finding,) = scene.apply().findings

    assert "***" in finding.message


def test_readings_tell_who_is_missing_as_far_as_that_is_proven() -> None:
    people = [ContactId(each) for each in CROWD[:12]]
    readings = Readings()
    assert (readings.missing, readings.answered) == ({}, 0)
    assert [readings.add_absent(each, Rejection.DELETED) for each in people[:9]] == [False] * 9
    # a contact that is there begins the count anew
    there = ContactReading(NOW, NOW, None, None, frozenset())
    readings.add_found(people[9], there)
    assert readings.found == {people[9]: there}
    assert [readings.add_absent(each, Rejection.FOREIGN) for each in people[10:]] == [False, False]
    deleted = dict.fromkeys(people[:9], Rejection.DELETED)
    # it may be the token that is another location's
    assert readings.missing == deleted
    readings.see_any()
    assert readings.missing == deleted | dict.fromkeys(people[10:], Rejection.FOREIGN)
    # ten in a row say more of the API than of the contacts
    assert [readings.add_absent(ContactId(f"x{nth}"), Rejection.DELETED) for nth in range(8)] == [False] * 7 + [True]
    assert readings.missing == deleted


def test_readings_that_fail_are_counted_in_a_row() -> None:
    readings = Readings()
    assert [readings.add_failure() for _ in range(9)] == [False] * 9
    readings.add_answer()
    readings.add_answer()
    assert (readings.failed_in_a_row, readings.answered) == (0, 2)
    assert [readings.add_failure() for _ in range(10)] == [False] * 9 + [True]
    readings.end("no scope", forbidden=True)
    readings.end("no time")
    assert (readings.blind, readings.forbidden) == ("no time", True)
