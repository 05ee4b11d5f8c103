"""Measures the batch planner: requests, bounds, processor time, memory.

    python benchmarks/cover.py                       the synthetic families, capped at 500 contacts x 50 tags
    python benchmarks/cover.py --families 10k,100k   some of them
    python benchmarks/cover.py --matrices DIR        published 0/1 matrices instead: a line `row column column
    …` a row
    python benchmarks/cover.py --roles               rows that are unions of few overlapping roles, seeded; no caps
    python benchmarks/cover.py --svg FILE            also draws requests against contacts
    python benchmarks/cover.py --collapse            only how long contacts take to become patterns

Each measurement runs in a process of its own, so that its peak memory is its own; the input's share is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cover_families import FAMILIES, ROLE_SETS, demands
from cover_plot import plot

from reconciler.core.model.batch import EFFORT, Demand
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.cover.planner import find_cover
from reconciler.cover.problem import make_problem

UNCAPPED = 1_000_000_000
Row = dict[str, int | float | str]


def read_matrix(path: Path) -> list[Demand]:
    """One demand a row."""
    found = []
    for line in path.read_text().splitlines():
        row, *columns = line.split()
        tags = frozenset(Tag(f"t{column}") for column in columns)
        found.append(Demand(tags, tags, (ContactId(f"c{row}"),)))
    return found


def plain(asked: Sequence[Demand], max_contacts: int, max_tags: int) -> Row:
    """What it takes without a planner."""
    deltas: dict[TagSet, int] = {}
    tags: dict[Tag, int] = {}
    for demand in asked:
        deltas[demand.must] = deltas.get(demand.must, 0) + len(demand.contacts)
        for tag in demand.must:
            tags[tag] = tags.get(tag, 0) + len(demand.contacts)
    return {
        "contacts": sum(deltas.values()),
        "per contact": sum(-(-len(must) // max_tags) * count for must, count in deltas.items()),
        "per tag": sum(-(-count // max_contacts) for count in tags.values()),
        "per delta": sum(-(-count // max_contacts) * -(-len(must) // max_tags) for must, count in deltas.items()),
    }


def measure(asked: list[Demand], repeatable: TagSet, max_contacts: int, max_tags: int, effort: int) -> Row:
    """One plan, with the processor time it took and the peak memory of this process."""
    before = time.process_time()
    proof = find_cover(
        Action.ADD, asked, repeatable=repeatable, max_contacts=max_contacts, max_tags=max_tags, effort=effort
    ).proof
    seconds = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "requests": proof.requests,
        "bound": proof.lower_bound,
        "stage": proof.stage,
        "CPU s": round(seconds, 2),
        "peak MiB": round(peak),
    }


def collapse_seconds(name: str) -> list[object]:
    """The line of a family: elapsed seconds from demands to patterns, best and worst of 7."""
    asked = demands(next(family for family in FAMILIES if family.name == name))
    repeatable = frozenset[Tag]().union(*{demand.may for demand in asked})
    seconds = []
    for _ in range(7):
        before = time.perf_counter()
        problem = make_problem(asked, repeatable=repeatable, max_contacts=500, max_tags=50)
        seconds.append(round(time.perf_counter() - before, 2))
    return [name, len(problem.contacts), len(problem.must), min(seconds), max(seconds)]


def role_lines() -> Iterator[list[object]]:
    """A line for each kind of set of roles: requests, bounds and seconds of its seeds."""
    for kind in ROLE_SETS:
        found = []
        for seed in range(1, 4):
            asked = kind.demands(seed)
            repeatable = frozenset[Tag]().union(*{demand.must for demand in asked})
            found.append(measure(asked, repeatable, UNCAPPED, UNCAPPED, EFFORT))
        yield [
            kind.name,
            kind.roles,
            *(" ".join(str(one[key]) for one in found) for key in ("requests", "bound", "CPU s")),
        ]


def job(arguments: argparse.Namespace) -> Row:
    """The one measurement that this process is for."""
    kind, _, name = arguments.job.partition(":")
    if kind == "matrix":
        asked, caps = read_matrix(Path(name)), (arguments.contacts, UNCAPPED)
    else:
        family = next(family for family in FAMILIES if family.name == name)
        asked, caps = demands(family), (500, 50)
    if arguments.mode == "default":
        repeatable: TagSet = frozenset()
        if kind == "family":
            asked = [Demand(demand.must, demand.must, demand.contacts) for demand in asked]
    else:
        repeatable = frozenset[Tag]().union(*{demand.may for demand in asked})
    return plain(asked, *caps) | measure(asked, repeatable, *caps, arguments.effort)


def run(name: str, mode: str, contacts: int, effort: int) -> Row:
    """The measurement in a process of its own."""
    command = [sys.executable, __file__, "--job", name, "--mode", mode]
    command += ["--contacts", str(contacts), "--effort", str(effort)]
    answer = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    )
    found: Row = json.loads(answer.stdout)
    return found


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table, a line as soon as it is known."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |")
    sys.stdout.flush()


def both(name: str, label: str, contacts: int, effort: int) -> tuple[Row, list[object]]:
    """The two modes of one input, and its line in the table."""
    always, default = (run(name, mode, contacts, effort) for mode in ("always", "default"))
    line: list[object] = [
        label,
        *(always[key] for key in ("contacts", "per contact", "per tag", "per delta")),
    ]
    for found in (always, default):
        line += [found[key] for key in ("requests", "bound", "CPU s", "peak MiB")]
    line.append(f"{int(default['requests']) / int(always['requests']):.3f}")
    return always | {"default": default["requests"]}, line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(family.key for family in FAMILIES))
    parser.add_argument("--matrices", type=Path)
    parser.add_argument("--contacts", type=int, default=UNCAPPED, help="cap on contacts for --matrices")
    parser.add_argument("--effort", type=int, default=EFFORT)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--collapse", action="store_true")
    parser.add_argument("--roles", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--mode", default="always", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(job(arguments)))
        return
    if arguments.collapse:
        wanted = arguments.families.split(",")
        lines = [collapse_seconds(one.name) for one in FAMILIES if one.key in wanted]
        table(["set", "contacts", "patterns", "seconds, best", "worst"], lines)
        return
    if arguments.roles:
        table(["rows × columns, roles", "roles", "requests, by seed", "bound", "CPU s"], list(role_lines()))
        return
    if arguments.matrices:
        names = [(f"matrix:{path}", path.stem) for path in sorted(arguments.matrices.glob("*.txt"))]
    else:
        wanted = arguments.families.split(",")
        names = [(f"family:{one.name}", one.name) for one in FAMILIES if one.key in wanted]
    header = ["set", "contacts", "one per contact", "one per tag", "one per delta"]
    for mode in ("always", "default"):
        header += [f"{mode}: requests", "bound", "CPU s", "peak MiB"]
    table([*header, "default ÷ always"], [])
    points = []
    for name, label in names:
        found, line = both(name, label, arguments.contacts, arguments.effort)
        points.append(found)
        print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line) + " |")
        sys.stdout.flush()
    if arguments.svg:
        arguments.svg.write_text(plot(points))


if __name__ == "__main__":
    main()
