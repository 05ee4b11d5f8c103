"""How many small faults the tests notice, in the modules that decide what is sent and what is taken for sent.

    python benchmarks/mutants.py [GROUP …] [--keep DIR] [--only GLOB …] [--check]

mutmut plants one fault at a time (another operator, another constant, an argument left out), mypy --strict looks at it,
and then the tests play that reach it. A group's modules are played with the tests that are about them, in a copy of the
checkout. Printed are, by module, how many faults there were, and how many nothing noticed, with their names;
`mutmut show NAME`, in the directory of `--keep`, shows one. `--keep` goes on where it was left, so that after a test
`--only` plays again what survived. `--check` fails where less than 90 % of a group are noticed. Needs mutmut, which is
no part of the development's libraries: the larger groups take an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOAL = 0.9


@dataclass(frozen=True)
class Group:
    """Modules (globs below `reconciler/`), and the tests that are to notice (below `tests/`)."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS = {
    "wire": Group(
        ("wire.py", "wire_people.py", "wire_trial.py", "core/model/outcome.py"),
        ("core", "test_wire.py", "test_wire_people.py", "test_wire_trial.py", "test_scan.py", "test_refresh.py"),
    ),
    "guards": Group(("core/planning/guard*.py",), ("core", "test_cases.py")),
    "doubt": Group(
        ("core/running/doubt.py", "core/running/pair_outcomes.py", "core/running/shortfalls.py"),
        ("core", "test_cases.py"),
    ),
    "planning": Group(("core/planning/[!g]*.py",), ("core", "test_cases.py", "test_reassert.py")),
    "journal": Group(
        ("core/model/journal.py", "core/formats/journal_json.py", "store/sql_journal.py", "store/object_journal.py"),
        ("core", "store"),
    ),
    "apply": Group(
        ("apply/*.py", "journalled_run.py"),
        ("apply", "core", "test_gate_and_bracket.py", "test_patience.py", "test_blocked_loop.py", "test_cases.py"),
    ),
}
NOTICED = (1, 3, 24, -24, 36, 37, 152, 255, -11, -9)
"""mutmut's codes for a test that failed, ran out of time or died, and for what mypy refuses."""


def lay_out(group: Group, place: Path) -> None:
    """A copy of the checkout, with mutmut's settings for the group."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    settings = {
        "source_paths": ["reconciler"],
        "only_mutate": [f"reconciler/{glob}" for glob in group.modules],
        "also_copy": sorted({name.split("/")[0] for name in names} - {"reconciler", "tests", "pyproject.toml"}),
        "pytest_add_cli_args": ["-n0", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0"],
        "pytest_add_cli_args_test_selection": [f"tests/{name}" for name in group.tests],
        "type_check_command": [sys.executable, "-m", "mypy", "--output", "json", "--no-warn-unused-ignores"],
        "timeout_multiplier": 5.0,
        "use_git_change_detection": False,
    }
    text = (ROOT / "pyproject.toml").read_text()
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    (place / "pyproject.toml").write_text("\n".join([text, "[tool.mutmut]", *lines, ""]))


def report(place: Path) -> float:
    """Prints the figures of each module, and what was not noticed; returns the share that was."""
    every = Counter[bool]()
    for meta in sorted((place / "mutants").rglob("*.meta")):
        codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        if not codes:
            continue
        played = {name: code for name, code in codes.items() if code is not None}
        unnoticed = [name for name, code in played.items() if code not in NOTICED]
        every += Counter({True: len(played) - len(unnoticed), False: len(unnoticed)})
        module = meta.relative_to(place / "mutants").with_suffix("")
        print(f"{module!s:48} {len(played):5} of {len(codes):5} played, {len(unnoticed):4} not noticed")
        for name in unnoticed:
            print(f"    {name}{'' if played[name] == 0 else '   no test reaches it'}")
    # where nothing was played, as mutmut refused the tests, nothing was noticed
    share = every[True] / every.total() if every.total() else 0.0
    print(f"{every.total()} faults, {100 * share:.1f} % noticed")
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all of them by default")
    parser.add_argument("--keep", type=Path, help="a directory for the copies, in which a later call goes on")
    parser.add_argument("--only", nargs="+", default=[], metavar="GLOB", help="names of faults to play (again)")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--check", action="store_true", help=f"exit 1 where less than {GOAL:.0%} are noticed")
    arguments = parser.parse_args()
    groups = arguments.groups or list(GROUPS)
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}")
    below = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in groups:
            place = (arguments.keep or Path(scratch)) / name
            place.mkdir(parents=True, exist_ok=True)
            lay_out(GROUPS[name], place)
            command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(arguments.processes)]
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            subprocess.run([*command, *arguments.only], cwd=place, check=False, stdout=sys.stderr, env=environment)
            below += [name] if report(place) < GOAL else []
    if arguments.check and below:
        sys.exit(f"less than {GOAL:.0%} noticed in {', '.join(below)}")


if __name__ == "__main__":
    main()
