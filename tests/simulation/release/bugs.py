"""Bugs to plant in slow releases, rollouts and sets by filter, one at a time, and the rule that has to notice each."""

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

WAVE_BUGS = (
    Bug(
        "begin a wave though the one before did not end well",
        "operations/rollout.py",
        "return run.status is RunStatus.COMPLETE and not ending.error and not ending.is_partial",
        "return True",
        "waves",
    ),
    Bug(
        "take what a source gave before it failed for all",
        "operations/run_command.py",
        "        if code > 0:\n",
        "        if code > 0 and not self._printed:\n",
        "source",
    ),
    Bug(
        "take a source that fails for one without rows",
        "operations/run_command.py",
        "            self._collect(process)\n            self._judge_end(process)\n",
        """            try:
                self._collect(process)
                self._judge_end(process)
            except CommandFailed:
                self._kept.seek(0)
                self._kept.truncate()
                self._kept.write(b"contact_id,place\\n")
                self._kept.flush()
""",
        "source",
    ),
)

FILTER_BUGS = (
    Bug(
        "let a contact leave by two searches however near",
        "core/manifests/filtered_members.py",
        "        elif hits.began - since <= lag_ms:\n",
        "        elif hits.began - since < 0:\n",
        "leaves",
    ),
    Bug(
        "let a contact leave by a search that is not complete",
        "core/manifests/filtered_members.py",
        "        if hits.why_incomplete:\n",
        "        if hits.why_incomplete is None:\n",
        "leaves",
    ),
    Bug(
        "let a search for another filter count",
        "core/manifests/filtered_members.py",
        "before.missing if before.source_digest == digest else {}",
        "before.missing",
        "leaves",
    ),
    Bug(
        "keep a contact that is not found for ever",
        "core/manifests/filtered_members.py",
        "        elif since is None:\n",
        "        elif since is not hits:\n",
        "ends",
    ),
)
