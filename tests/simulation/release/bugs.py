"""Bugs to plant in slow releases, one at a time, and the rule that has to notice each."""

from __future__ import annotations

from tests.simulation.bugs import Bug

SLOW_BUGS = (
    Bug(
        "let no pace count what is in doubt",
        "core/planning/slow_release.py",
        "    return [Sent(latest if batch.ended is None else batch.ended, applied), Sent(latest, unclear)]",
        "    return [Sent(latest if batch.ended is None else batch.ended, applied)]",
        "pace",
    ),
    Bug(
        "count by a pace what this run sent alone",
        "apply/release.py",
        "find_sent(journal.read_runs(), read_batches",
        "find_sent([each for each in journal.read_runs() if each.id == run.journal.id], read_batches",
        "pace",
    ),
    Bug(
        "give a tag while its window is closed",
        "core/model/release_rules.py",
        "return self.window is None or self.window.find_opening(now)[0] <= now",
        "return True",
        "window",
    ),
)
