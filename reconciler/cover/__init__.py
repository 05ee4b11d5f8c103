"""The batch planner: the fewest rectangles contacts × tags that send every needed pair and nothing that may not be
sent.

Law: a function from values to a value, the same on every machine, for every order of its input and every hash seed.
Importing this package does not import numpy; `solve` does, when it is called.

Rules
1. A needed pair in a tag that is not repeatable is sent exactly once, any other pair of that tag never (a
   *partition*).
2. A tag that is repeatable may be sent more than once wherever `may` allows (a *cover*).
3. Every plan is verified cell by cell. It is never more than one rectangle a delta, nor one a tag.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.core.model.batch import EFFORT, Demand, Schedule
from reconciler.core.model.names import TagSet


def solve(
    adds: Sequence[Demand],
    removes: Sequence[Demand],
    *,
    repeatable_adds: TagSet,
    repeatable_removes: TagSet,
    max_contacts: int,
    max_tags: int,
    effort: int = EFFORT,
) -> Schedule:
    """The fewest batches for both actions, in the order to send them: the `Solver` of `core.planning.batches`."""
    from reconciler.cover.planner import schedule_batches

    return schedule_batches(
        adds,
        removes,
        repeatable_adds=repeatable_adds,
        repeatable_removes=repeatable_removes,
        max_contacts=max_contacts,
        max_tags=max_tags,
        effort=effort,
    )
