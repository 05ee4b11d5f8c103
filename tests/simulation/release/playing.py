"""Plays worlds of slow releases by their seeds and checks each: `python -m tests.simulation.release.playing FIRST AFTER
[SOONER]`.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterable

from tests.fakes import directory_in_memory
from tests.simulation.hunt import hunt
from tests.simulation.invariants import Violated
from tests.simulation.release.filtered import Filtered
from tests.simulation.release.slowly import Slowly
from tests.simulation.release.waves import Waves

Cell = tuple[str, str]


def play_slowly(seeds: Iterable[int]) -> Counter[Cell]:
    """What the worlds of these seeds met; raises Violated, naming the seed, where one of them breaks a rule."""
    met: Counter[Cell] = Counter()
    for seed in seeds:
        if seed % 20 == 0:
            gc.collect()
        with directory_in_memory() as directory:
            world = Slowly(directory, seed)
            try:
                world.tell()
                found = [*world.violations()]
            finally:
                world.town.close()
        if found:
            raise Violated("\n".join([*found, f"in the world of seed {seed}"]))
        met += world.met
    return met


def play_waves(seeds: Iterable[int]) -> Counter[Cell]:
    """The same of worlds with rollouts and sources."""
    met: Counter[Cell] = Counter()
    for seed in seeds:
        with directory_in_memory() as directory:
            world = Waves(directory, seed)
            world.tell()
        if found := [*world.violations()]:
            raise Violated("\n".join([*found, f"in the world of seed {seed}"]))
        met += world.met
    return met


def play_filtered(seeds: Iterable[int]) -> Counter[Cell]:
    """The same of worlds in which a set is a filter."""
    met: Counter[Cell] = Counter()
    for seed in seeds:
        with directory_in_memory() as directory:
            world = Filtered(directory, seed)
            world.tell()
        if found := [*world.violations()]:
            raise Violated("\n".join([*found, f"in the world of seed {seed}"]))
        met += world.met
    return met


if __name__ == "__main__":
    sys.exit(hunt(play_slowly))
