"""Every state that a crash may leave of the files that we write ourselves: read as the old ones or the new ones, and as
the new ones once that was acknowledged. (The state's own file, which SQLite writes, has `test_state_file.py`.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from reconciler.core.formats.state_json import UnrecordedAnswers
from reconciler.core.model.names import Instant, SetName
from reconciler.core.model.outcome import ContactOutcome, Outcome
from reconciler.core.model.people import MatchCounts, Snapshot
from reconciler.loading.files import Directory
from reconciler.loading.snapshot_files import read_snapshot, write_snapshot
from reconciler.planfile import RecoveryJournal, load_plan, load_unrecorded, parse_plan, write_plan
from reconciler.system import FileCalls
from tests.build import HERE, NOW, carries, name, tags
from tests.crash.disk import ACKNOWLEDGED, Recorder, crash_states, lay_out, tree_of
from tests.fuzz.targets import plan_seeds

VIP = SetName("vip")
SMALL, LARGE = plan_seeds()[-1], plan_seeds()[0]
LOST = UnrecordedAnswers(
    HERE,
    "lineage",
    "3f0c9e1b2a4d",
    3,
    NOW,
    {name("anna"): ContactOutcome(Outcome.APPLIED, "", None, tags(""), tags("vip"))},
    {name("anna"): carries("vip")},
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that is kept in files: how it is written (twice: the old and the new) and read."""

    old: Callable[[Path, FileCalls], object] | None
    new: Callable[[Path, FileCalls], object]
    read: Callable[[Path], object]


def a_snapshot(*people: str) -> Snapshot:
    contacts = tuple(sorted(map(name, people)))
    return Snapshot(contacts, Instant(NOW + len(people)), "sha256:0", MatchCounts(rows=len(people)))


def _read_plan(top: Path) -> object:
    path = top / "plan.json"
    return load_plan(path).change_digest if path.exists() else None


def _read_recovery(top: Path) -> object:
    files = [path for path in top.glob("plan.json.emergency-*") if not path.name.startswith(".")]
    return load_unrecorded(files[0]).run if files else None


def _read_snapshot(top: Path) -> object:
    return read_snapshot(Directory(top), ".resolved", HERE, VIP)


def _writes_plan(content: bytes) -> Callable[[Path, FileCalls], object]:
    return lambda top, calls: write_plan(parse_plan(content), top / "plan.json", calls=calls)


def _writes_snapshot(*people: str) -> Callable[[Path, FileCalls], object]:
    return lambda top, calls: write_snapshot(top / ".resolved", HERE, VIP, a_snapshot(*people), calls=calls)


KEPT = {
    "a first plan": Kept(None, _writes_plan(LARGE), _read_plan),
    "a plan over another": Kept(_writes_plan(SMALL), _writes_plan(LARGE), _read_plan),
    "a first snapshot": Kept(None, _writes_snapshot("anna", "bert"), _read_snapshot),
    "a snapshot over another": Kept(_writes_snapshot("anna"), _writes_snapshot("anna", "bert"), _read_snapshot),
    "answers that the state did not take": Kept(
        None, lambda top, calls: RecoveryJournal(top / "plan.json", calls)(LOST), _read_recovery
    ),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT.keys())
def test_whatever_a_crash_leaves_can_be_read_and_what_was_acknowledged_is_there(kept: Kept, tmp_path: Path) -> None:
    written = tmp_path / "written"
    written.mkdir()
    if kept.old is not None:
        kept.old(written, FileCalls())
    before, old = tree_of(written), kept.read(written)
    recorder = Recorder()
    kept.new(written, recorder.calls)
    new = kept.read(written)
    assert new != old
    states = list(crash_states(before, [*recorder.ops, ACKNOWLEDGED], Random(0)))
    assert len(states) > 4
    for nth, (tree, acknowledged) in enumerate(states):
        top = tmp_path / str(nth)
        top.mkdir()
        lay_out(tree, top, written)
        assert kept.read(top) in ([new] if acknowledged else [old, new]), (nth, sorted(tree))


@pytest.mark.parametrize("left_out", ["_sync", "_sync_folder"])
def test_the_model_finds_what_is_not_brought_to_the_disk(left_out: str, tmp_path: Path) -> None:
    """The test is tested: a plan that is written without one of the two may be half or lost."""
    recorder = Recorder()
    write_plan(parse_plan(LARGE), tmp_path / "plan.json", calls=recorder.calls)
    word = {"_sync": "sync", "_sync_folder": "sync folder"}[left_out]
    careless = [op for op in recorder.ops if op.kind != word]
    assert len(careless) < len(recorder.ops)
    whole = (tmp_path / "plan.json").read_bytes()
    acknowledged = [
        tree.get(tmp_path / "plan.json")
        for tree, told in crash_states({}, [*careless, ACKNOWLEDGED], Random(0))
        if told
    ]
    assert {content == whole for content in acknowledged} == {True, False}
