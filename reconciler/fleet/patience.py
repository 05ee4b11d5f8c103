"""How long a database that fails is borne: one that is away as long as it takes, one that is damaged a few tries.

patience = Patience(fleet)
except StateError as error: await asyncio.sleep(await patience.bear(error))
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from reconciler.core.model.errors import ReconcilerError, StateError
from reconciler.fleet import JobChoice
from reconciler.fleet.queue import Fleet
from reconciler.output.fleet import FleetJob

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Between tries; the last one again and again."""
LOOK_S = 1.0
"""So often a wait for jobs looks."""
MOST_REFUSALS = 4
"""Tries that end with an error while the server answers. A server that has just come back may refuse one or two."""


class Patience:
    """For one piece of work, which is tried until it succeeds."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._failures = self._refusals = 0

    @property
    def is_new(self) -> bool:
        """Whether nothing has failed yet."""
        return not self._failures

    def begin_anew(self) -> None:
        self._failures = self._refusals = 0

    async def bear(self, error: ReconcilerError) -> float:
        """Seconds until the next try; raises why there is none, where the database is there and cannot be used."""
        self._refusals = self._refusals + 1 if await self._fleet.answers() else 0
        if self._refusals >= MOST_REFUSALS:
            raise await self._find_cause(error)
        self._failures += 1
        return PAUSES_S[min(self._failures, len(PAUSES_S)) - 1]

    async def _find_cause(self, error: ReconcilerError) -> ReconcilerError:
        # the engine's words tell less than a look at its tables
        try:
            await self._fleet.refuse_unready()
        except StateError:
            return error
        except ReconcilerError as cause:
            return cause
        return error


async def wait_for_jobs(fleet: Fleet, choice: JobChoice, timeout_s: float | None) -> list[FleetJob]:
    """The chosen jobs once all have ended, or after so many seconds: they go on while the database is away."""
    patience, jobs = Patience(fleet), await fleet.find(choice)
    # a database that is away is waited for, and no longer than that
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while any(job.is_open for job in jobs):
                await asyncio.sleep(LOOK_S)
                try:
                    jobs = await fleet.find(choice)
                    patience.begin_anew()
                except StateError as error:
                    await asyncio.sleep(await patience.bear(error))
    return jobs
