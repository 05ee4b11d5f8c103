"""Bugs to plant, one at a time: each a substitution in one module, and what has to notice it.

`caught` is the number of the invariant in the simulation's complaint, or the test file whose laws have to fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes import directory_in_memory

ROOT = Path(__file__).parents[2]
SEEDS = 150


@dataclass(frozen=True, slots=True)
class Bug:
    """What somebody might do to `module` one day."""

    name: str
    module: str
    old: str
    new: str
    caught: str


BUGS = [
    Bug("trust a row that contradicts the request", "core/outcome.py",
        "if opposite or changed != expected:", "if opposite and changed != expected and not row.old:", "6"),
    Bug("take the first of two rows of one contact", "core/outcome.py",
        "if len(rows) != 1:", "if not rows:", "10"),
    Bug("take any error for a rejection", "core/outcome.py",
        "Outcome.REJECTED if rejection else Outcome.HELD", "Outcome.REJECTED", "10"),
    Bug("take 5xx for known not applied", "highlevel/client.py",
        "if status >= 500 or status ==", "if status < 0 or status ==", "6"),
    Bug("send again after a time-out", "highlevel/client.py",
        "raise InDoubt(f\"no answer from", "raise NotApplied(f\"no answer from", "6"),
    Bug("follow redirects", "highlevel/client.py",
        "follow_redirects=False", "follow_redirects=True", "11"),
    Bug("send the token in a header of its own", "highlevel/client.py",
        "headers={\"Version\": version,", "headers={\"Version\": version, \"X-Token\": token,", "11"),
    Bug("say removeAllTags", "wire.py",
        "\"tags\": list(update.tags), \"locationId\": update.location}",
        "\"tags\": list(update.tags), \"locationId\": update.location, \"removeAllTags\": False}", "4"),
    Bug("send a contact twice", "wire.py",
        "{\"contacts\": list(update.contacts),", "{\"contacts\": [*update.contacts, update.contacts[0]],", "4"),
    Bug("take a row without tags for a contact without tags", "wire.py",
        "if not isinstance(value, list) or", "if value is None:\n        return frozenset()\n    if not isinstance(value, list) or",
        "8"),
    Bug("settle a doubt at once", "core/observed.py",
        "at >= known.doubt_at + settle_ms", "at >= known.doubt_at", "6"),
    Bug("put nothing under management", "core/observed.py",
        "return replace(known, ledger=known.ledger | tags, kept=(known.kept - tags) | (keep & tags))",
        "return known", "16"),
    Bug("forget what was rejected", "core/observed.py",
        "rejected = replace(known, quarantine=verdict.rejection,", "rejected = replace(known, quarantine=None,", "15"),
    Bug("take no account of a group's other tags", "core/desired.py",
        "if rule.group:", "if not rule.group:", "15"),
    Bug("leave the old name of a renamed tag", "core/desired.py",
        "if tag in renamed and renamed[tag] not in present", "if tag not in renamed and tag not in present", "15"),
    Bug("remove what is kept on leaving", "core/desired.py",
        "keep=frozenset(present) - firm,", "keep=frozenset(),", "2"),
]  # fmt: skip


@contextmanager
def planted(bug: Bug) -> Iterator[dict[str, str]]:
    """An environment in which `reconciler` has the bug, and only that; raises where the code to spoil is not there."""
    with directory_in_memory() as directory:
        shutil.copytree(ROOT / "reconciler", directory / "reconciler")
        module = directory / "reconciler" / bug.module
        text = module.read_text()
        if text.count(bug.old) != 1:
            raise LookupError(f"{bug.name}: {bug.old!r} is {text.count(bug.old)} times in {bug.module}")
        module.write_text(text.replace(bug.old, bug.new))
        path = [str(directory), str(ROOT), *(each for each in sys.path if each)]
        yield os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}


def escapes(bug: Bug) -> str:
    """Why nothing noticed the bug; empty where it was caught as it should be."""
    with planted(bug) as environment:
        if bug.caught.endswith(".py"):
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(ROOT / bug.caught)]
        else:
            command = [sys.executable, "-m", "tests.simulation.hunt", "0", str(SEEDS)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return f"{bug.name}: nothing noticed it"
    if bug.caught.endswith(".py"):
        return "" if " failed" in done.stdout else f"{bug.name}: {done.stdout}{done.stderr}"
    complaints = {line.partition(":")[0] for line in done.stdout.splitlines()}
    return "" if bug.caught in complaints else f"{bug.name}: {done.stdout}{done.stderr}"
