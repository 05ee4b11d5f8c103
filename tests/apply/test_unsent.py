"""What a run did not send is told contact by contact, with what is so of that contact.

The scene checks after every run that no pair is left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconciler.core.model.journal import LocationReport
from tests.apply.test_scenarios import FREE, faults, pairs
from tests.build import a_set, contact
from tests.sandbox.faults import FaultKind
from tests.scene import Scene

LONE = replace(FREE, caps=replace(FREE.caps, contacts=1))


def reasons(report: LocationReport) -> dict[tuple[str, str, str], str]:
    """Why, by contact, outcome and what was asked for."""
    return {
        (contact[:4], each.outcome, f"{each.action} {' '.join(each.tags)}"): each.why
        for each in report.unsent
        for contact in each.contacts
    }


def test_a_removal_of_a_refused_contact_waits_for_no_observation(tmp_path: Path) -> None:
    """Its add is refused for good: no observation will ever come. Until now it "waits for an observation"."""
    scene = Scene(tmp_path, contact("anna", "old"), contact("bert", "old", deleted=True), options=FREE)
    scene.want(a_set("s", "anna bert", "vip", absent="old"))
    report = scene.apply()
    assert pairs(report) == {"applied": 2, "rejected": 1, "deferred": 1}
    assert reasons(report) == {
        ("bert", "deferred", "remove old"): "the API refuses the contact: contact is deleted",
    }


def test_a_removal_waits_for_the_add_that_did_not_end_well(tmp_path: Path) -> None:
    """The answer of the add was lost, and nobody may read: what is to follow it says what it waits for."""
    scene = Scene(
        tmp_path, contact("anna", "old"), options=FREE, may_read=False, faults=faults(FaultKind.TIMEOUT_AFTER)
    )
    scene.want(a_set("s", "anna", "vip", absent="old"))
    report = scene.apply()
    assert reasons(report) == {
        ("anna", "deferred", "remove old"): "waits for the add of vip, which did not end well",
    }


def test_what_a_stopped_run_did_not_send_is_listed_by_contact(tmp_path: Path) -> None:
    """The token is refused in the midst of it: whose tags are not sent is in the report, and not their number alone."""
    scene = Scene(tmp_path, *map(contact, ("anna", "bert", "cara")), options=LONE, in_flight=1)
    scene.want(a_set("s", "anna bert cara", "vip", absent="old"))

    scene.here.after = lambda nth: scene.here.app._accesses.clear()
    report = scene.apply()
    assert (report.exit_code, pairs(report)["not_sent"]) == (7, 2)
    assert reasons(report) == {
        ("bert", "not_sent", "add vip"): "the run stopped before it was sent",
        ("cara", "not_sent", "add vip"): "the run stopped before it was sent",
        ("bert", "deferred", "remove old"): "waits for the add of vip, which was not sent",
        ("cara", "deferred", "remove old"): "waits for the add of vip, which was not sent",
    }
