"""Whole processes of `plan` and `drift` on large contact files, beside a plain csv loop over the same files.

    python benchmarks/plan.py [--contacts N …] [--only WORDS …] [--runs N] [--repo DIR] [--keep DIR] [--check]

30 contact sets, each a CSV file with 1–5 of 200 tags; a contact is in 1 + Poisson(1.5) of them. Measured are the first
plan, one with 2 % of the contacts changed since the state was written, one with nothing to do, each saved, and the
drift of 2 % of the contacts from that state: medians of the wall clock, of the processor (user and system) and of peak
memory, as the kernel counts them. `--repo` measures another checkout with the same files, in turn with this one;
`--keep` keeps the files, and uses those that are there. `--check` fails where a ratio to plain reading, in processor
seconds, is over its limit.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOCATION = "asdrwHvLUxlfw5SqKVCN"
SEGMENTS, TAGS = 30, 200
CHANGED = 0.02
SEED = 1
PLAIN = """
import csv, glob, sys
for path in sorted(glob.glob(sys.argv[1] + "/*.csv")):
    with open(path, newline="") as file:
        found = [row["contact_id"] for row in csv.DictReader(file)]
"""
CASES = {
    "first plan": ("none", "plan"),
    "2 % changed": ("changed", "plan"),
    "nothing to do": ("same", "plan"),
    "drift": ("drifted", "drift"),
}
LIMITS = {"first plan": 18.0, "2 % changed": 9.0, "nothing to do": 7.5, "drift": 8.0}
"""Processor seconds beside those of plain reading; held from 100,000 contacts on, where start-up is the lesser part."""


@dataclass(frozen=True)
class Run:
    """A process that has ended."""

    wall: float
    processor: float
    peak_mib: float


def contact_ids(number: int) -> list[str]:
    chance = random.Random(SEED)
    alphabet = string.ascii_letters + string.digits
    return ["".join(chance.choices(alphabet, k=20)) for _ in range(number)]


def poisson(chance: random.Random, mean: float) -> int:
    """So many events of an exponential clock before `mean`."""
    return sum(1 for at in itertools.takewhile(lambda at: at < mean, exponential_times(chance)))


def exponential_times(chance: random.Random) -> Iterator[float]:
    return itertools.accumulate(chance.expovariate(1) for _ in itertools.count())


def draw_memberships(number: int, chance: random.Random) -> list[tuple[int, ...]]:
    """For each contact its segments, sorted; few are popular."""
    segments, weights = range(SEGMENTS), list(itertools.accumulate((1 + n) ** -0.7 for n in range(SEGMENTS)))
    return [
        tuple(sorted(set(chance.choices(segments, cum_weights=weights, k=1 + poisson(chance, 1.5)))))
        for _ in range(number)
    ]


def write_files(place: Path, number: int) -> None:
    """Manifests with contact files, and a database for each state; with a seed, the same on every run."""
    chance = random.Random(SEED)
    ids = contact_ids(number)
    declared = [sorted(chance.sample(range(TAGS), chance.randint(1, 5))) for _ in range(SEGMENTS)]
    now = draw_memberships(number, chance)
    directory = place / "manifests"
    directory.mkdir(parents=True)
    lines = [f"location: {LOCATION}", "contact_sets:"]
    for segment, tags in enumerate(declared):
        named = ", ".join(f"t{tag:03}" for tag in tags)
        lines += [f"  set-{segment:02}:", f"    contacts: {{file: set-{segment:02}.csv}}", f"    tags: [{named}]"]
        rows = [f"{contact},Wien\n" for contact, sets in zip(ids, now, strict=True) if segment in sets]
        # of a hundred contacts none may be in a set
        lines += [] if rows else ["    allow_empty: true"]
        (directory / f"set-{segment:02}.csv").write_text("contact_id,city\n" + "".join(rows))
    (directory / "acme.yaml").write_text("\n".join(lines) + "\n")
    tags_now = [frozenset(tag for segment in sets for tag in declared[segment]) for sets in now]
    tags_before, tags_left = list(tags_now), list(tags_now)
    for index in chance.sample(range(number), int(number * CHANGED)):
        (others,) = draw_memberships(1, chance)
        tags_before[index] = frozenset(tag for segment in others for tag in declared[segment])
        tags_left[index] = tags_now[index] - {min(tags_now[index])}
    write_state(place / "same.db", ids, tags_now, tags_now)
    write_state(place / "changed.db", ids, tags_before, tags_before)
    write_state(place / "drifted.db", ids, tags_left, tags_now)


def write_state(path: Path, ids: list[str], observed: list[frozenset[int]], managed: list[frozenset[int]]) -> None:
    """The state that applying the managed tags left, where others have left those observed."""
    from reconciler.core.model.contact_state import ContactState, Ledger, Observation, ObservationOrigin
    from reconciler.core.model.journal import RunHeader, RunStatus
    from reconciler.core.model.lease import Holder
    from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
    from reconciler.store import open_store

    instant = Instant(time.time_ns() // 1_000_000 - 60_000)
    made: dict[tuple[frozenset[int], frozenset[int]], ContactState] = {}
    states = {}
    for contact, there, ours in zip(ids, observed, managed, strict=True):
        if (there, ours) not in made:
            tags, ledger = (frozenset(Tag(f"t{tag:03}") for tag in numbers) for numbers in (there, ours))
            made[there, ours] = ContactState(Observation(tags, instant, ObservationOrigin.WRITE), Ledger(ledger))
        states[ContactId(contact)] = made[there, ours]
    with open_store(f"sqlite:///{path}") as state:
        store = state.at(LocationId(LOCATION))
        lease = store.acquire_lease(Holder(uuid.uuid4().hex, "bench", "apply", "elsewhere", 1, "0", instant), instant)
        run = store.begin_run(lease, RunHeader(LocationId(LOCATION), "apply", "bench", instant))
        store.save_states(lease, states)
        store.end_run(lease, run, RunStatus.COMPLETE, instant, set_sizes={})
        store.release_lease(lease)


def run_process(command: list[str], directory: Path, compiled: Path) -> Run:
    """The command as a process of its own, which may end with any code of the command line but an error's.

    `compiled`: where its bytecode is.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(compiled), "OPENBLAS_NUM_THREADS": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=directory, stdout=said, stderr=said, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        if process.returncode not in (0, 2, 3):
            said.seek(0)
            sys.exit(f"{command} ended with {process.returncode}: {said.read().decode()[-2000:]}")
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def command_of(case: str, repo: Path, place: Path, out: Path) -> list[str]:
    state, verb = CASES[case]
    command = [sys.executable, "-c", start_code(repo), verb, str(place / "manifests")]
    command += ["--state", f"sqlite:///{place}/{state}.db"]
    if state == "none":
        # where CI is set, a state that is not there is taken for lost
        command.append("--create-state")
    return [*command, "--out", str(out)] if verb == "plan" else command


def start_code(repo: Path) -> str:
    # the checkout goes before whatever is installed
    return f"import sys; sys.path.insert(0, {str(repo)!r}); from reconciler.__main__ import main; main()"


def median_of(runs: list[Run]) -> Run:
    return Run(
        statistics.median(run.wall for run in runs),
        statistics.median(run.processor for run in runs),
        max(run.peak_mib for run in runs),
    )


def measure(place: Path, cases: list[str], repos: list[Path], runs: int) -> dict[tuple[str, Path | None], Run]:
    """Medians by case and checkout; plain reading is of none."""
    commands: dict[tuple[str, Path | None], list[str]] = {
        ("plain reading", None): [sys.executable, "-c", PLAIN, str(place / "manifests")]
    }
    with tempfile.TemporaryDirectory() as scratch:
        out, compiled = Path(scratch) / "plan.json", Path(scratch) / "compiled"
        for repo in repos:
            # the first process of a checkout compiles it
            run_process(command_of(cases[0], repo, place, out), place, compiled)
            commands |= {(case, repo): command_of(case, repo, place, out) for case in cases}
        turns = [(key, run_process(command, place, compiled)) for _ in range(runs) for key, command in commands.items()]
    return {key: median_of([run for of, run in turns if of == key]) for key in commands}


def report(number: int, found: dict[tuple[str, Path | None], Run]) -> list[str]:
    """Prints a table; returns the ratios that are over their limit."""
    plain = found["plain reading", None]
    over = []
    for (case, repo), run in found.items():
        ratio = run.processor / plain.processor
        where = "" if repo is None or repo == Path(__file__).parent.parent else f" ({repo})"
        print(
            f"{number:>9,}  {case + where:30} {run.wall:7.2f} s {run.processor:7.2f} CPU s {run.peak_mib:7.0f} MiB"
            f"   x {ratio:.2f}",
            flush=True,
        )
        if number >= 100_000 and ratio > LIMITS.get(case, ratio):
            over.append(f"{case} of {number:,} takes {ratio:.1f} times plain reading; the limit is {LIMITS[case]}")
    return over


def make_files(place: Path, number: int) -> None:
    # in a process of its own: the kernel counts the peak of a parent as its children's
    subprocess.run([sys.executable, __file__, "--make", str(place), str(number)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--repo", type=Path, nargs="*", default=[], help="other checkouts to measure beside this one")
    parser.add_argument("--keep", type=Path, help="a directory for the files")
    parser.add_argument("--check", action="store_true", help="exit 1 where a ratio is over its limit")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        write_files(Path(arguments.make[0]), int(arguments.make[1]))
        return
    repos = [*(repo.resolve() for repo in arguments.repo), Path(__file__).resolve().parent.parent]
    over = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in arguments.contacts:
            place = (arguments.keep or Path(scratch)) / str(number)
            if not place.exists():
                make_files(place, number)
            over += report(number, measure(place, arguments.only, repos, arguments.runs))
    if arguments.check and over:
        sys.exit("\n".join(over))


if __name__ == "__main__":
    main()
