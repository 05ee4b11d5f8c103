"""Plants a bug in a copy of the package, and lets the simulation look for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes import directory_in_memory
from tests.simulation.bugs import Bug
from tests.simulation.first_seen import FIRST_SEEN
from tests.warm import what_they_need

ROOT = Path(__file__).parents[2]
SEEDS = 400


@contextmanager
def planted(bug: Bug) -> Iterator[dict[str, str]]:
    """An environment in which `reconciler` has the bug, and only that; raises where the code to spoil is not there."""
    text = (ROOT / "reconciler" / bug.module).read_text()
    if text.count(bug.old) != 1:
        raise LookupError(f"{bug.name}: {bug.old!r} is {text.count(bug.old)} times in {bug.module}")
    with directory_in_memory() as directory:
        shutil.copytree(ROOT / "reconciler", directory / "reconciler")
        (directory / "reconciler" / bug.module).write_text(text.replace(bug.old, bug.new))
        path = [str(directory), str(ROOT), *(each for each in sys.path if each)]
        yield os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def escapes(bug: Bug, hunt: str = "tests.simulation.hunt") -> str:
    """How the bug got past the worlds that the module `hunt` plays; empty where it was caught as it should be."""
    with planted(bug) as environment:
        sooner = [str(FIRST_SEEN[bug.name])] if bug.name in FIRST_SEEN else []
        command = [*what_they_need("tests.simulation.hunt"), "-m", hunt, "0", str(SEEDS), *sooner]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    complaints = {line.partition(":")[0] for line in done.stdout.splitlines()}
    if done.returncode == 1 and complaints & set(bug.caught.split()):
        return ""
    return f"{bug.name}: {done.stdout or 'nothing noticed it'}{done.stderr}"
