"""Plays worlds of people by their seeds and checks each, as `tests.simulation.hunt` does:
`python -m tests.simulation.people.playing FIRST AFTER [SOONER]`.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from reconciler.core.model.people import RowClass
from tests.fakes import directory_in_memory
from tests.sandbox.faults import EVERYDAY
from tests.simulation.hunt import hunt
from tests.simulation.invariants import Violated
from tests.simulation.people.judge import check_people
from tests.simulation.people.play import Act, Life
from tests.simulation.people.sightings import sought_of

Cell = tuple[str, str]
CHANGES = ("moves", "shares", "passes_on", "adds", "arrives", "is_deleted", "is_merged")
EDITS = ("joins", "leaves", "is_twice", "vanishes", "is_empty", "is_badly_imported", "gets_other_keys", "is_reordered")
ENDS = ("kept", "tried", "refused", "failed", "locked", "ended by an error", "killed", "frozen")
CELLS: list[Cell] = [
    *(("class", each.value) for each in RowClass),
    *(("class", each) for each in ("kept", "rematched", "gone", "joined", "left")),
    *(("change", each) for each in CHANGES),
    *(("edit", each) for each in EDITS),
    *(("pull", each) for each in ENDS),
    *(("pull", f"{how} in {where}") for how in ("all", "the changes") for where in ("files", "the state")),
    *(("beside a pull", each) for each in ("apply",)),
    *((each, kind) for each in EVERYDAY for kind in ("scan", "changes")),
    *(("asked", each) for each in ("scan", "changes", "look-up", "duplicate", "get", "fields")),
    *(("index", each) for each in ("lags", "flickers", "does not end")),
    ("files", "torn"),
    ("key", "changed"),
]  # fmt: skip


def play_people(seeds: Iterable[int]) -> Counter[Cell]:
    """What the worlds of these seeds met; raises Violated, naming the seed, where one of them breaks a rule."""
    met: Counter[Cell] = Counter()
    for seed in seeds:
        if seed % 20 == 0:
            gc.collect()
        with directory_in_memory() as directory:
            life = Life(directory, seed)
            assumed = life.crm.assumptions
            try:
                life.tell()
                check_people(life)
            except Violated as error:
                raise Violated(f"seed {seed}:\n{error}") from error
            finally:
                life.close()
        met += life.met
        met.update(cell for act in life.acts if act.kind == "pull" for cell in _pull(life, act))
        how = {
            "lags": assumed.search_lag_ms,
            "flickers": assumed.search_flickers_ms,
            "does not end": assumed.search_ignores_cursor,
        }
        met.update(("index", each) for each, is_so in how.items() if is_so)
    return met


def _pull(life: Life, act: Act) -> Iterator[Cell]:
    if act.met_its_fate and act.fate:
        yield "pull", "frozen" if act.fate.frozen_ms else "killed"
    for each in life.place.exchanges:
        if each.run == act.name:
            yield "asked", sought_of(each)
            if each.fault:
                yield str(each.fault), sought_of(each)
    for error in act.result.errors if act.result else ():
        yield "pull", "locked" if "is locked" in error.message else "ended by an error"
    for other in life.acts:
        if other.kind != "pull" and other.began <= act.ended and other.ended >= act.began:
            yield "beside a pull", other.kind
    if not act.is_done or act.result is None:
        return
    for pulled in act.result.locations:
        where = "files" if life.in_files else "the state"
        yield "pull", f"{'all' if pulled.scanned else 'the changes'} in {where}"
        yield from (("class", "gone") for _ in pulled.gone)
        for entry in pulled.sets:
            kept = "tried" if act.request.dry_run else "kept"
            yield "pull", "failed" if entry.failure else "refused" if entry.refused else kept
            counts = {each.value: getattr(entry.counts, each.value) for each in RowClass}
            counts |= {"kept": entry.counts.kept, "rematched": len(entry.changed)}
            counts |= {"joined": len(entry.joined), "left": len(entry.left)}
            yield from (("class", each) for each, number in counts.items() if number)


if __name__ == "__main__":
    sys.exit(hunt(play_people))
