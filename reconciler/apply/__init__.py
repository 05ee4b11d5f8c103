"""The shell: the only place where a plan meets the API. Takes an ApprovedPlan and nothing else.

    run_location.py    a run in one location: lease, run, report
    rounds.py          waves and rounds, until nothing is left to do; many requests at once
    split_refused.py   a batch that is refused as a whole, in parts
    send_batch.py batch_journal.py   one request; its intent and its answer in the journal
    examine_refused.py   a refused request, looked at for its effect
    resolve_doubts.py    doubts, settled by readings
    read_contacts.py     reading in the midst of a run, by id and by search
    run.py books.py      a run: its services and options, and its books

Law: sees core, wire, ports, the gate and the bracket of runs; no store, no client, no clock of its own.
"""

from __future__ import annotations

import asyncio

from reconciler.apply.run import ApplyOptions, Services
from reconciler.apply.run_location import apply_location
from reconciler.core.model.journal import LocationReport
from reconciler.core.planning.guard_sentences import ApprovedPlan
from reconciler.request_gate import Stop

__all__ = ["ApplyOptions", "Services", "Stop", "apply"]


async def apply(approved: ApprovedPlan, options: ApplyOptions, services: Services) -> tuple[LocationReport, ...]:
    """Carries out the plan, all locations side by side; a location that fails does not stop the others."""
    tasks = [
        asyncio.ensure_future(apply_location(location, approved, options, services))
        for location in approved.plan.locations
    ]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
