"""Invariant 14: whatever is read is taken, or refused with an error of ours: no other exception, and no hang.

Six readers of what others write. .ci/run gives each of them 50,000 damaged inputs, the default tests forty.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz.run import Hangs, examine
from tests.fuzz.targets import TARGETS, Target

EXECUTIONS = 50_000
PART = 5_000
"""A test has so many, so that several processors share them."""


@pytest.mark.parametrize("name", TARGETS)
def test_valid_input_is_taken(name: str) -> None:
    """The damage starts from what works: else nothing behind the first check would be tried."""
    target = TARGETS[name]
    taken = Counter(target.examine(nth, seed) for nth, seed in enumerate(target.seeds()))
    # of the answers, errors are nothing that a reader takes
    assert taken[True] >= 4 or not taken[False]


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_gives_no_other_exception(name: str) -> None:
    examine(name, range(40))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(EXECUTIONS // PART))
@pytest.mark.parametrize("name", TARGETS)
def test_a_great_deal_of_damaged_input_gives_no_other_exception(name: str, part: int) -> None:
    taken = examine(name, range(part * PART, (part + 1) * PART))
    # some of the damage is none: what lies behind the reader is tried too
    assert 0 < taken < PART


def test_an_execution_that_hangs_is_ended() -> None:
    def hang(nth: int, content: bytes) -> bool:
        while True:
            pass

    with pytest.raises(Hangs, match="takes more than"):
        examine("plan", range(1), target=Target(TARGETS["plan"].seeds, TARGETS["plan"].damage, hang), patience_s=0.01)


def test_an_exception_names_the_seed_that_gives_it_again() -> None:
    def fail(nth: int, content: bytes) -> bool:
        raise KeyError("x")

    with pytest.raises(KeyError) as caught:
        examine("plan", range(7, 8), target=Target(TARGETS["plan"].seeds, TARGETS["plan"].damage, fail))
    assert "target plan, seed 7, input " in caught.value.__notes__[0]
