"""The shell: the only place where a plan meets the API. Takes an ApprovedPlan and nothing else.

    location.py    a run in one location: lease, run, report
    rounds.py      waves and rounds, until nothing is left to do
    flying.py      many requests at once
    refusing.py    a batch that is refused as a whole, in parts
    sending.py     one request: intent, answer, what it tells
    settling.py    what is in doubt, read and settled
    run.py         what they share: a run so far
    world.py stop.py    what a run is given; how it is asked to stop

Law: sees core, wire, ports and tenure; no store, no client, no clock of its own.
"""

from __future__ import annotations

import asyncio

from reconciler.apply.run import ApplyOptions, Services
from reconciler.apply.run_location import apply_location
from reconciler.core.model.journal import LocationReport
from reconciler.core.planning.guard_sentences import ApprovedPlan
from reconciler.request_gate import Stop

__all__ = ["ApplyOptions", "Services", "Stop", "apply"]


async def apply(approved: ApprovedPlan, mission: ApplyOptions, world: Services) -> tuple[LocationReport, ...]:
    """Carries out the plan, all locations side by side; a location that fails does not stop the others."""
    tasks = [
        asyncio.ensure_future(apply_location(location, approved, mission, world))
        for location in approved.plan.locations
    ]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
