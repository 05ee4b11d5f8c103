"""Plays worlds until one breaks an invariant: `python -m tests.simulation.hunt FIRST AFTER`; ends 1 where one does."""

from __future__ import annotations

import sys

from tests.simulation.invariants import Violated
from tests.simulation.playing import play


def main() -> int:
    first, after = map(int, sys.argv[1:])
    try:
        play(range(first, after))
    except Violated as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
