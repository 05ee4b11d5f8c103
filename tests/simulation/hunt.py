"""Plays worlds until one breaks an invariant: `python -m tests.simulation.hunt FIRST AFTER [SOONER]`; ends 1 where one
does. SOONER is played before the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from tests.simulation.invariants import Violated
from tests.simulation.playing import play


def hunt(play: Callable[[Iterable[int]], object]) -> int:
    """The exit code of a hunt through the seeds of the command line."""
    first, after, *sooner = map(int, sys.argv[1:])
    try:
        play([*sooner, *range(first, after)])
    except Violated as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(hunt(play))
