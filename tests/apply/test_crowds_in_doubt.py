"""Many contacts in doubt at once: settled without a person, in few requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.errors import ExitCode
from reconciler.core.facts import Facts
from reconciler.core.names import Tag
from reconciler.core.observed import DAY_MS
from reconciler.store import open_store
from tests.apply.scene import HERE, Scene, a_set, contact, name
from tests.apply.test_scenarios import FREE, converged, pairs
from tests.apply.test_settling import facts, known
from tests.fakes import a_holder


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


@pytest.mark.parametrize("may_read", [True, False])
def test_a_second_tag_killed_before_any_answer_is_finished_by_the_next_run_without_a_person(
    tmp_path: Path, may_read: bool
) -> None:
    """`may_read`: in the first run already, which learns that a tag write moves the date; else its journal tells."""
    scene = converged_crowd(tmp_path, 5_000, may_read=may_read)
    assert facts(scene) is (True if may_read else None)
    scene.want(a_set("s", crowd(5_000), "one", "two"))
    scene.apply_and_die(before=0)
    report = scene.apply()

    assert (pairs(report), report.exit_code) == ({"applied": 5_000}, ExitCode.DONE)
    assert max(scene.adds().values()) == 1
    converged(scene)


@pytest.mark.parametrize("moves", [True, False])
def test_a_doubt_keeps_the_reading_which_is_judged_again_in_the_run_that_learns(tmp_path: Path, moves: bool) -> None:
    scene = Scene(tmp_path, contact("anna"), contact("bert"), options=FREE, tag_write_moves_date=moves)
    scene.want(a_set("s", ["anna"], "a"))
    scene.apply_and_die(before=0)
    scene.apply()
    # nothing was ever surely written here
    assert (facts(scene), known(scene, "anna").doubt) == (None, {"a"})
    assert known(scene, "anna").reading is not None

    reads = len(scene.here.reads)
    scene.clock.ms += DAY_MS
    scene.want(a_set("s", ["anna"], "a"), a_set("t", ["bert"], "b"))
    report = scene.apply()
    assert facts(scene) is moves
    assert [who for _, who in scene.here.reads[reads:]] == [name("bert")]
    assert scene.tags("anna") == ({"a"} if moves else set())
    assert pairs(report) == ({"applied": 2} if moves else {"applied": 1})
    assert scene.adds()[name("anna"), Tag("a")] == int(moves)
    assert known(scene, "anna").doubt == (set() if moves else {"a"})


def test_a_kept_reading_is_judged_by_a_later_run_even_one_that_cannot_read(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", ["anna"], "a"))
    scene.apply_and_die(before=0)
    assert pairs(scene.apply()) == {"held": 1}
    scene.may_read = False
    assert pairs(scene.apply()) == {}

    with open_store(scene.url) as store:
        lease = store.acquire(HERE, a_holder("another"), scene.clock.now())
        store.note(lease, Facts(moves_updated=True))
        store.release(lease)
    report = scene.apply()
    assert (pairs(report), scene.tags("anna"), report.exit_code) == ({"applied": 1}, {"a"}, ExitCode.DONE)
    converged(scene)


def test_what_was_touched_since_keeps_no_reading(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("anna"), options=FREE)
    scene.want(a_set("s", ["anna"], "a"))
    scene.apply_and_die(after=0)
    scene.edit("anna", remove=["a"])
    report = scene.apply()

    assert (pairs(report), known(scene, "anna").reading) == ({"held": 1}, None)


def test_a_location_where_earlier_writes_moved_nothing_proves_nothing(tmp_path: Path) -> None:
    scene = converged_crowd(tmp_path, 3, may_read=False, tag_write_moves_date=False)
    scene.want(a_set("s", crowd(3), "one", "two"))
    scene.apply_and_die(before=0)
    report = scene.apply()

    assert (pairs(report), facts(scene)) == ({"held": 3}, False)
