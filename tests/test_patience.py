"""How long a worker bears a database that fails: by what the server does, and not by the error's words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from reconciler.core.model.errors import ReconcilerError, StateError
from tests.extras import need

pytestmark = pytest.mark.extras
need("procrastinate")

# they import it
from reconciler.fleet import FleetError  # noqa: E402
from reconciler.fleet.patience import MOST_REFUSALS, PAUSES_S, Patience  # noqa: E402

ERROR = StateError("the fleet's database cannot be used")
CAUSE = FleetError("it lacks its table")


class Server:
    """Says of each look whether it answers, and what is wrong with its tables."""

    def __init__(self, answers: Sequence[bool], cause: ReconcilerError | None = None) -> None:
        self._answers, self._cause = list(answers), cause

    async def answers(self) -> bool:
        return self._answers.pop(0)

    async def refuse_unready(self) -> None:
        if self._cause is not None:
            raise self._cause


def bear(answers: Sequence[bool], cause: ReconcilerError | None = None) -> list[float]:
    """The pauses after an error each; raises the one with which it gives up."""
    server: Any = Server(answers, cause)
    patience = Patience(server)

    async def go() -> list[float]:
        return [await patience.bear(ERROR) for _ in answers]

    return asyncio.run(go())


def test_a_server_that_is_away_is_waited_for_with_pauses_that_grow() -> None:
    assert bear([False] * 9) == [*PAUSES_S, *[PAUSES_S[-1]] * 3]


def test_a_server_that_comes_back_in_between_is_no_damaged_one() -> None:
    assert len(bear([True] * (MOST_REFUSALS - 1) + [False] + [True] * (MOST_REFUSALS - 1))) == 2 * MOST_REFUSALS - 1


@pytest.mark.parametrize(("cause", "told"), [(CAUSE, CAUSE), (None, ERROR), (StateError("away"), ERROR)])
def test_a_server_that_answers_and_refuses_is_given_up_with_the_clearest_cause(
    cause: ReconcilerError | None, told: ReconcilerError
) -> None:
    with pytest.raises(ReconcilerError) as given_up:
        bear([True] * MOST_REFUSALS, cause)
    assert given_up.value is told
