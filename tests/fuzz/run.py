"""Runs a target on damaged input, a seed an execution: what it raises, or how long it takes, names the seed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType

from tests.fuzz.targets import TARGETS, Target

PATIENCE_S = 20.0
"""An execution that takes longer hangs: it has some kilobytes to read, on a machine that may be busy."""


class Hangs(BaseException):
    """No Exception: what catches every error must not catch it."""


def examine(name: str, seeds: range, *, target: Target | None = None, patience_s: float = PATIENCE_S) -> int:
    """How many of the inputs were taken. `python -c "from tests.fuzz.run import *; examine('plan', range(7, 8))"`"""
    target = target or TARGETS[name]
    inputs = target.seeds()
    taken = 0
    with _ended_in_time(patience_s):
        for seed in seeds:
            random = Random(f"{name} {seed}")
            nth = random.randrange(len(inputs))
            content = target.damage(random, inputs[nth])
            signal.setitimer(signal.ITIMER_REAL, patience_s)
            try:
                taken += target.examine(nth, content)
            except BaseException as error:
                error.add_note(f"target {name}, seed {seed}, input {nth}: {content[:2_000]!r}")
                raise
    return taken


@contextmanager
def _ended_in_time(patience_s: float) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise Hangs(f"an execution takes more than {patience_s} seconds")

    before = signal.signal(signal.SIGALRM, end)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
