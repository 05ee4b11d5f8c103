"""Whole batches that the API refuses: taken apart, learnt from, or the end of the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconciler.core.batching import Caps
from reconciler.core.errors import ExitCode
from reconciler.core.facts import Facts
from reconciler.core.journal import RunStatus
from reconciler.core.observed import Known
from reconciler.store import open_reader
from tests.apply.scene import HERE, Scene, a_set, contact
from tests.apply.test_scenarios import FREE, converged, pairs, status

TEN = [f"c{nth}" for nth in range(10)]


def facts(scene: Scene) -> Facts:
    with open_reader(scene.url) as reader:
        return reader.load(HERE).facts


def sizes(scene: Scene) -> list[tuple[int, int, int | None]]:
    return [(len(each.contacts), len(each.tags), each.status) for each in scene.here.sent]


def test_a_limit_of_contacts_is_learnt_remembered_and_heeded(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, max_contacts=6)
    scene.want(a_set("s", TEN, "a"))
    report = scene.apply()

    assert sizes(scene) == [(10, 1, 422), (5, 1, 201), (5, 1, 201)]
    assert (pairs(report), report.exit_code) == ({"applied": 10}, ExitCode.DONE)
    assert "refused for its size" in report.notes[0]
    assert facts(scene).max_contacts == 5
    scene.want(a_set("s", TEN, "a", "b"))
    scene.apply()
    assert [each[:2] for each in sizes(scene)[3:]] == [(5, 1), (5, 1)]
    converged(scene)


def test_a_limit_of_tags_is_learnt_first(tmp_path: Path) -> None:
    tags = [f"t{nth}" for nth in range(8)]
    scene = Scene(tmp_path, contact("anna"), options=FREE, max_tags=4)
    scene.want(a_set("s", ["anna"], *tags))
    report = scene.apply()

    assert sizes(scene) == [(1, 8, 422), (1, 4, 201), (1, 4, 201)]
    assert (pairs(report), facts(scene).max_tags) == ({"applied": 8}, 4)


def test_what_is_under_way_when_a_limit_is_learnt_heeds_it(tmp_path: Path) -> None:
    groups = [[f"{letter}{nth}" for nth in range(6)] for letter in "abcd"]
    everybody = [each for group in groups for each in group]
    options = replace(FREE, caps=Caps(contacts=6))
    scene = Scene(tmp_path, *map(contact, everybody), options=options, max_contacts=3, latency_ms=1_000)
    scene.want(a_set("s", everybody, "a"))
    report = scene.apply()

    assert pairs(report) == {"applied": 24}
    refused = [each for each in scene.here.sent if each.status == 422]
    assert len(scene.here.sent) == len(refused) + 8
    assert len(refused) <= 4


def test_a_tag_that_is_refused_is_found_and_left_out(tmp_path: Path) -> None:
    tags = ["a", "b", "c", "much too long"]
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, longest_tag=5)
    scene.want(a_set("s", TEN, *tags))
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 30, "not_sent": 10}, ExitCode.PARTIAL)
    assert {(each.tags, each.outcome) for each in report.findings} == {(("much too long",), "not_sent")}
    assert "shorter than or equal to 5" in report.findings[0].message
    assert status(scene) == [RunStatus.COMPLETE]
    assert scene.known("c0").ledger == {"a", "b", "c"}  # type: ignore[attr-defined]


def test_what_goes_stays_where_what_comes_was_refused(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, longest_tag=5)
    scene.want(a_set("s", TEN, "old"))
    scene.apply()
    scene.want(a_set("s", TEN, "a", "much too long"))
    report = scene.apply()

    assert pairs(report) == {"applied": 10, "not_sent": 20}
    assert scene.tags("c3") == {"a", "old"}


def test_where_everything_is_refused_alike_the_run_stops(tmp_path: Path) -> None:
    scene = Scene(tmp_path, *map(contact, TEN), options=FREE, longest_tag=1)
    scene.want(a_set("s", TEN, "too", "long"))
    report = scene.apply()

    # the batch, both halves of its tags, both of its contacts
    assert sizes(scene) == [(10, 2, 422), (10, 1, 422), (10, 1, 422), (5, 2, 422), (5, 2, 422)]
    assert (pairs(report), report.exit_code) == ({"not_sent": 20}, ExitCode.ERROR)
    assert ("422" in report.error, "api.max_contacts" in report.hint) == (True, True)
    assert scene.known("c0") == Known()
    assert facts(scene) == Facts()


def test_no_more_than_forty_requests_are_spent_on_it(tmp_path: Path) -> None:
    tags = [f"t{nth:02}" if nth % 2 else f"much too long {nth:02}" for nth in range(50)]
    scene = Scene(tmp_path, contact("anna"), options=FREE, longest_tag=5)
    scene.want(a_set("s", ["anna"], *tags, "ok"))
    report = scene.apply()

    assert report.requests <= 42
    assert (report.exit_code, "40 more did not tell why" in report.error) == (ExitCode.ERROR, True)
