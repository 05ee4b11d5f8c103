"""How much of a long repetition a test plays: a part in .ci/run, all of it with TESTS_EVERY=1 in the environment.

A part shows what a test claims; the whole looks for what is rare, for hours.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
EVERY = os.environ.get("TESTS_EVERY", "") == "1"


def how_many(some: T, every: T) -> T:
    """`every` where all is to be played."""
    return every if EVERY else some
