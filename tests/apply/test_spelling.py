"""A location that keeps tags otherwise than they are sent, in all that a run meets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.run import SpeltReader
from reconciler.core.model.errors import ExitCode
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.model.outcome import Action, Rejection
from reconciler.core.observing.drift import find_drift
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.tag_aliases import make_spelling
from reconciler.core.running.stop_conditions import Canary
from reconciler.store import open_reader
from reconciler.wire import ContactRead, Page
from tests.apply.test_scenarios import converged, faults, pairs
from tests.build import HERE, a_rule, a_set, contact, name, only
from tests.fakes import START
from tests.sandbox.faults import FaultKind
from tests.scene import Scene, without_limits

SENT, KEPT = "two  spaces", "two spaces"
FREE = without_limits()
ALONE = replace(FREE, caps=Caps(contacts=1))


def keeping(directory: Path, *people: str, **more: object) -> Scene:
    """The location makes one space of two."""
    return Scene(directory, *map(contact, people), **{"options": FREE, "collapses_spaces": True} | more)  # type: ignore[arg-type]


def drifted(scene: Scene) -> set[str]:
    with open_reader(scene.url) as reader:
        report = find_drift(scene.wanted[HERE], reader.at(HERE).load_state(), now=scene.clock.now(), foreign=True)
    return {f"{each.drift} {each.tag}" for each in report.drifted}


def sent(scene: Scene, since: int = 0) -> list[tuple[Action, list[str]]]:
    return [(each.action, list(each.tags)) for each in scene.here.sent[since:]]


@pytest.mark.parametrize("called", [SENT, KEPT])
def test_what_came_back_in_another_spelling_is_never_drift(tmp_path: Path, called: str) -> None:
    scene = keeping(tmp_path, "anna")
    scene.want(a_set("s", "anna", (SENT,)))
    assert scene.apply().exit_code == ExitCode.DONE
    scene.want(a_set("s", "anna", (called,), authority=Authority.EXACT))
    assert drifted(scene) == set()
    converged(scene)
    scene.edit("anna", remove=[KEPT])
    assert drifted(scene) == set()


@pytest.mark.slow
def test_what_the_manifests_call_by_its_other_name_after_its_add_was_held_is_not_added_again(tmp_path: Path) -> None:
    # the first add teaches the spelling, that of the second is of unknown effect
    lost = faults(None, FaultKind.RESET_AFTER)
    scene = keeping(tmp_path, "anna", "bert", options=ALONE, may_read=False, faults=lost)
    scene.want(a_set("s", "anna bert", (SENT,)), rule=[a_rule(SENT, once=True)])
    scene.apply()
    scene.want(a_set("s", "anna bert", (KEPT,)), rule=[a_rule(KEPT, once=True)])
    (plan,) = scene.plan().locations

    assert plan.deltas == ()
    assert [(each.tags, each.contacts) for each in plan.held] == [((KEPT,), (name("bert"),))]
    assert scene.apply().requests == 0
    scene.may_read = True
    assert scene.apply().exit_code == ExitCode.DONE
    converged(scene)
    assert max(scene.adds().values()) == 1


@pytest.mark.slow
def test_the_rest_of_a_run_goes_on_with_the_spelling_that_was_approved(tmp_path: Path) -> None:
    scene = keeping(tmp_path, "anna", "bert", "cara", options=ALONE)
    scene.want(a_set("s", "anna bert cara", (SENT,)))
    report = scene.apply(canary=Canary(1), in_flight=1)

    assert (pairs(report), report.exit_code) == ({"applied": 3}, ExitCode.DONE)
    assert sent(scene) == [(Action.ADD, [SENT])] * 3
    assert any("keeps the tag 'two  spaces' as 'two spaces'" in note for note in report.notes)
    converged(scene)


def test_a_run_that_was_killed_goes_on_with_the_spelling_that_was_approved(tmp_path: Path) -> None:
    scene = keeping(tmp_path, "anna", "bert", "cara", options=ALONE, in_flight=1)
    scene.want(a_set("s", "anna bert cara", (SENT,)))
    plan = scene.plan()
    scene.apply_and_die(plan, after=1)
    report = scene.apply(plan)

    assert (report.exit_code, report.outside) == (ExitCode.DONE, 0)
    assert sent(scene, since=2) == [(Action.ADD, [SENT])]
    assert max(scene.adds().values()) == 1
    converged(scene)


def test_a_desired_tag_is_not_removed_by_the_name_that_the_location_gives_it(tmp_path: Path) -> None:
    """Nobody knew when it was planned that the stranger is the tag."""
    scene = keeping(tmp_path, "anna")
    scene.edit("anna", add=[KEPT, "wild"])
    scene.want(a_set("s", "anna", "first"))
    scene.apply()
    scene.want(a_set("s", "anna", (SENT,), authority=Authority.EXACT))
    plan = scene.plan()
    assert {f"{change.action} {change.tag}" for delta in plan.locations[0].deltas for change in delta.changes} == {
        f"add {SENT}",
        f"remove {KEPT}",
        "remove first",
        "remove wild",
    }
    report = scene.apply(plan)

    assert (pairs(report), report.exit_code) == ({"applied": 2, "noop": 2}, ExitCode.DONE)
    assert scene.tags("anna") == {KEPT}
    assert all(each.tag != KEPT for each in scene.here.crm.transitions if each.action is Action.REMOVE)
    converged(scene)


@pytest.mark.slow
def test_a_doubt_is_settled_by_the_spelling_that_is_kept(tmp_path: Path) -> None:
    scene = keeping(tmp_path, "anna", "bert", options=ALONE, faults=faults(None, None, FaultKind.RESET_AFTER))
    scene.want(a_set("s", "anna bert", (SENT,)))
    scene.apply()
    scene.want(a_set("s", "anna", (SENT,)), a_set("t", "", (SENT,)))
    report = scene.apply()

    assert (pairs(report), scene.tags("bert")) == ({"seen": 1}, set())
    assert sent(scene, since=2) == [(Action.REMOVE, [KEPT])]
    converged(scene)


def test_the_journal_tells_what_was_sent_and_the_state_what_is_there(tmp_path: Path) -> None:
    scene = keeping(tmp_path, "anna")
    scene.want(a_set("s", "anna", (SENT,)))
    scene.apply()
    with open_reader(scene.url) as opened:
        reader = opened.at(HERE)
        (run,) = reader.read_runs()
        (batch,), state = reader.read_batches(run.id), reader.load_state()
    known = state.observed[name("anna")]

    assert batch.tags == (SENT,)
    assert (known.ledger.tags, known.observed, state.facts.aliases) == ({KEPT}, {KEPT}, ((SENT, KEPT),))


def test_a_removal_that_is_answered_in_a_spelling_nobody_learnt_is_told_as_it_ended(tmp_path: Path) -> None:
    """The add landed, and its answer was lost: how the location keeps the tag, the answer to its removal shows."""
    scene = keeping(tmp_path, "anna", options=FREE, may_read=False, faults=faults(FaultKind.RESET_AFTER))
    scene.want(a_set("s", "anna", (SENT,)))
    scene.apply()
    scene.want()
    retried = replace(FREE, selection=only(retry_held=True))
    report = scene.apply(options=retried)
    assert (pairs(report), scene.tags("anna")) == ({"applied": 1}, set())


@pytest.mark.slow
def test_a_pair_that_is_there_in_a_spelling_nobody_learnt_is_not_taken_for_gone(tmp_path: Path) -> None:
    """The add landed, its answer was lost, and nobody wants the tag any more: pruned once its spelling is known."""
    scene = keeping(tmp_path, "anna", "bert")
    scene.want(a_set("s", "anna", (SENT,)))
    scene.apply_and_die(scene.plan(), after=0)
    scene.want()
    scene.apply()
    scene.want(a_set("s", "bert", (SENT,)))
    scene.apply()
    scene.apply()
    assert (scene.tags("anna"), scene.tags("bert")) == (set(), {KEPT})


@dataclass
class Library:
    """A reader of one contact, which is shown in the location's spelling, and of one that is gone."""

    there: ContactRead
    searched: list[tuple[object, ...]] = field(default_factory=list)

    async def get_contact(self, contact: ContactId) -> ContactRead | Rejection:
        return self.there if contact == self.there.id else Rejection.DELETED

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        self.searched.append((location, cursor, tag))
        return Page((self.there, replace(self.there, tags=None)), 2, (7,))


@pytest.mark.parametrize("text", [KEPT, SENT], ids=["kept", "sent"])
def test_a_run_reads_every_tag_in_its_own_spelling_and_searches_in_that_of_the_location(text: str) -> None:
    shown = ContactRead(name("anna"), HERE, frozenset({Tag(text), Tag("b")}), START, START)
    library, spelling = Library(shown), make_spelling([(Tag(SENT), Tag(KEPT))]).as_called({Tag(SENT)})
    reader = SpeltReader(library, lambda: spelling)
    read = replace(shown, tags=frozenset({Tag(SENT), Tag("b")}))

    async def ask() -> None:
        assert await reader.get_contact(name("anna")) == read
        assert await reader.get_contact(name("bert")) is Rejection.DELETED
        pages = [await reader.search(HERE, None), await reader.search(HERE, (3,), tag=text)]
        assert pages == [Page((read, replace(shown, tags=None)), 2, (7,))] * 2

    asyncio.run(ask())
    assert library.searched == [(HERE, None, ""), (HERE, (3,), KEPT)]
