"""Plays worlds by their seeds and checks each; many of them on several processors."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from tests.fakes import directory_in_memory
from tests.simulation.beliefs import check_beliefs
from tests.simulation.coverage import coverage
from tests.simulation.ending import check_ending
from tests.simulation.invariants import Violated, check
from tests.simulation.story import Story

CHUNK = 20


@contextmanager
def told(seed: int) -> Iterator[Story]:
    """The world of this seed, at its end; nothing is checked yet."""
    with directory_in_memory() as directory:
        story = Story(directory, seed)
        try:
            story.tell()
            yield story
        finally:
            story.town.close()


def play(seeds: Iterable[int]) -> Counter[tuple[str, str]]:
    """What the worlds of these seeds met; raises Violated, naming the seed, where one of them breaks an invariant."""
    met: Counter[tuple[str, str]] = Counter()
    for seed in seeds:
        if seed % 20 == 0:
            gc.collect()
        with told(seed) as story:
            try:
                check(story.town)
                check_beliefs(story.town)
                check_ending(story.town)
            except Violated as error:
                raise Violated(f"seed {seed}:\n{error}") from error
            met += coverage(story.town)
    return met


def play_widely(seeds: Sequence[int], *, processes: int = 2) -> Counter[tuple[str, str]]:
    """The same on several processors."""
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(play, chunks), Counter())


def digest(seed: int) -> str:
    """One play of a seed, told in a few letters."""
    with told(seed) as story:
        return story.digest()
