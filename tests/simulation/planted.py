"""Plants a bug, and lets the simulation look for it."""

from __future__ import annotations

import subprocess

from tests.planting import ROOT
from tests.simulation.bugs import Bug
from tests.simulation.first_seen import FIRST_SEEN
from tests.warm import the_product

SEEDS = 400
HUNTS = (
    "tests.simulation.hunt",
    "tests.simulation.people.playing",
    "tests.simulation.release.hunt_filters",
    "tests.simulation.release.hunt_waves",
)
PROGRAMS = (*HUNTS, "tests.simulation.machine", "pytest")
"""What runs with a bug."""


def run_with(bug: Bug, *program: str) -> subprocess.CompletedProcess[str]:
    """A program, that is a module and its arguments, in a process that has the bug."""
    planting = ["-m", "tests.planting", bug.module, bug.old, bug.new, *program]
    return subprocess.run([*the_product(*PROGRAMS), *planting], cwd=ROOT, capture_output=True, text=True, check=False)


def escapes(bug: Bug, hunt: str = HUNTS[0]) -> str:
    """How the bug got past the worlds that the module `hunt` plays; empty where it was caught as it should be."""
    sooner = [str(FIRST_SEEN[bug.name])] if bug.name in FIRST_SEEN else []
    done = run_with(bug, hunt, "0", str(SEEDS), *sooner)
    complaints = {line.partition(":")[0] for line in done.stdout.splitlines()}
    if done.returncode == 1 and complaints & set(bug.caught.split()):
        return ""
    return f"{bug.name}: {done.stdout or 'nothing noticed it'}{done.stderr}"
