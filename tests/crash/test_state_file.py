"""What a crash may leave of the state's own file, which SQLite writes, and of the copies beside it: whatever was
acknowledged is there, and nothing is half there.

A program of its own (`write_state.py`) makes the calls of a store under `strace`, which tells what the kernel was asked
for. What a crash may leave of that is opened by a reader and, each fourth time, laid out anew and opened by a writer:
either has to roll back what was half done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatch
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import COPY
from reconciler.ports import LocationReader, State
from reconciler.store import open_reader, open_store
from reconciler.store.schema import VERSION
from tests.build import HERE
from tests.crash.disk import SYNCS, Image, Op, Tree, crashes, lay_out, tree_of
from tests.crash.trace import record
from tests.fakes import START, directory_in_memory
from tests.sizes import how_many
from tests.store.test_migration import OLD, copied, document

pytestmark = pytest.mark.servers
WRITER = Path(__file__).with_name("write_state.py")
SEED = 20
MORE = how_many(6, 1_000)
"""States by chance at each moment, where all would be too many."""
SMALL_CACHE = "PRAGMA cache_size = -65536=>PRAGMA cache_size = 5"
"""As with a state that is larger than the cache: pages are written before the commit."""


@dataclass(frozen=True, slots=True)
class Recorded:
    top: Path
    before: Tree
    ops: list[Op]


@cache
def recorded(version: int | None, steps: str, *others: str) -> Recorded:
    """What is done to a state that is not there yet, or to one of some version; `steps` as in `write_state.py`."""
    with directory_in_memory() as directory:
        top, marker = directory / "top", directory / "marker"
        top.mkdir()
        marker.touch()
        state = top / "state" / "state.db"
        if version is not None:
            copied(version, state.parent)
        before = tree_of(top)
        ops = record([str(WRITER), str(state), str(marker), steps, *others], top, marker)
        assert done(before, ops)[-1] == tree_of(top), "the log does not tell all that was done"
        return Recorded(top, before, ops)


def done(before: Tree, ops: list[Op]) -> list[Tree]:
    """What is there without a crash: at first, behind each call that was acknowledged, and at the end."""
    image, trees = Image.of(before), [before]
    for op in ops:
        if op.kind == "acknowledged":
            trees.append(image.tree())
        elif op.kind not in SYNCS:
            image.do(op)
    return [*trees, image.tree()]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a state tells, and what the copies beside it tell."""

    state: object
    copies: object


Opening = Callable[[str], AbstractContextManager[State[LocationReader]]]
OPENINGS: tuple[Opening, ...] = (open_reader, open_store)


@dataclass
class Judge:
    """Reads what a crash left, and compares it with what is there behind each call."""

    recorded: Recorded
    directory: Path
    seen: set[tuple[int, bytes]] = field(default_factory=set)
    possible: int = 0
    _told: dict[bytes, object] = field(default_factory=dict)
    """By the bytes of a file."""

    def __str__(self) -> str:
        return f"{len(self.seen)} of {Decimal(self.possible):.1e} states, by the seed {SEED}"

    def faults(self, ops: list[Op]) -> Iterator[str]:
        """`ops`: those that were recorded, or some of them."""
        chance = Random(SEED)
        whole = done(self.recorded.before, self.recorded.ops)
        readings = {opening: [self.read(tree, opening) for tree in whole] for opening in OPENINGS}
        for crash in crashes(self.recorded.before, ops):
            self.possible += crash.possible
            for tree in crash.trees(chance, MORE):
                if (key := (crash.acknowledged, _digest(tree))) in self.seen:
                    continue
                self.seen.add(key)
                for opening in OPENINGS if len(self.seen) % 4 == 0 else [open_reader]:
                    now, then = readings[opening][crash.acknowledged :][:2]
                    for fault in self._faults(tree, opening, now, then):
                        yield f"after {crash.acknowledged} calls {opening.__name__} {fault}"

    def _faults(self, tree: Tree, opening: Opening, now: Reading, then: Reading) -> Iterator[str]:
        """What is wrong where `now` was acknowledged, and `then` may be there already."""
        try:
            # a copy is made before the state is changed
            if self.read(tree, opening) not in (now, Reading(now.state, then.copies), then):
                yield "finds what is lost or half there"
        except StateError as error:
            yield f"cannot read it: {error}"

    def read(self, tree: Tree, opening: Opening) -> Reading:
        with TemporaryDirectory(dir=self.directory) as directory:
            top = Path(directory)
            lay_out(tree, top, self.recorded.top)
            state = top / "state" / "state.db"
            with opening(f"sqlite:///{state}") as opened:
                opened.list_locations()
            copies = {copy.name: self._tell(copy) for copy in state.parent.glob(f"{state.name}.*backup")}
            return Reading(self._tell(state), copies)

    def _tell(self, path: Path) -> object:
        """All that the file holds; what was to be rolled back is so by now."""
        content = path.read_bytes() if path.exists() else b""
        key = sha256(content).digest()
        if key not in self._told:
            self._told[key] = _contents(path, int.from_bytes(content[60:64]) if content else VERSION)
        return self._told[key]


def _digest(tree: Tree) -> bytes:
    digest = sha256()
    for path, content in sorted(tree.items()):
        digest.update(b"%s %d " % (bytes(path), -1 if content is None else len(content)))
        digest.update(content or b"")
    return digest.digest()


def _contents(path: Path, version: int) -> object:
    with open_reader(f"sqlite:///{path}") as reader:
        found = document(reader)
        for location in found["locations"]:
            # the mark of a copy has an id, and a time, of its own
            location["runs"] = [COPY if run["operation"].startswith(COPY) else run for run in location["runs"]]
        store = reader.at(HERE)
        return found, version, store.read_lease(START), store.read_people(), reader.find_faults()


@pytest.mark.parametrize(
    ("version", "given"),
    [(None, ("fill,go on",)), (VERSION, ("go on", SMALL_CACHE)), (OLD[0], ("open",))],
    ids=["a new one", "pages before the commit", "an old version"],
)
def test_whatever_a_crash_leaves_can_be_read_and_what_was_acknowledged_is_there(
    version: int | None, given: tuple[str, ...], tmp_path: Path
) -> None:
    judge = Judge(recorded(version, *given), tmp_path)
    faults = list(judge.faults(judge.recorded.ops))
    sys.stdout.write(f"{judge}\n")
    assert not faults, f"{faults[:10]}: {len(faults)} faults in {judge}"
    assert len(judge.seen) > 100


@pytest.mark.parametrize(
    "others",
    [
        "PRAGMA synchronous = FULL=>PRAGMA synchronous = OFF",
        "PRAGMA journal_mode = TRUNCATE=>PRAGMA journal_mode = DELETE",
    ],
)
def test_the_model_finds_what_sqlite_would_lose_with_other_settings(others: str, tmp_path: Path) -> None:
    judge = Judge(recorded(None, "fill", others), tmp_path)
    assert next(judge.faults(judge.recorded.ops), None)


@pytest.mark.parametrize(
    "left_out", ["/top", "/state", "/state.db", "/state.db-journal", "/.state.db.backup.*"], ids=str
)
def test_the_model_finds_each_sync_that_is_left_out(left_out: str, tmp_path: Path) -> None:
    judge = Judge(recorded(None, "fill,go on"), tmp_path)
    careless = [op for op in judge.recorded.ops if op.kind not in SYNCS or not fnmatch(str(op.path), f"*{left_out}")]
    assert len(careless) < len(judge.recorded.ops)
    assert next(judge.faults(careless), None)
