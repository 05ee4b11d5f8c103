"""A million contacts from a file: seconds and peak memory of ours beside a plain csv loop and polars, in the same run.

    python benchmarks/loading.py [--rows N] [--peer polars] [--parquet]
    python benchmarks/loading.py --locations N

Each candidate runs in a process of its own on the same rows. `polars` needs `pip install polars`; `--parquet` (ours on
a Parquet file, as for ten million rows) needs the extra [bulk]. `--locations`: a manifest of twenty contacts for
each of so many locations, all of them read and one of them chosen.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOCATION = "asdrwHvLUxlfw5SqKVCN"
CANDIDATES = {
    "csv loop": """
import csv
with open(directory + "/contacts.csv", newline="") as file:
    found = {row["contact_id"] for row in csv.DictReader(file)}
""",
    "load": """
from reconciler.loading import load
found = load(directory).manifests[0].sets[0].contacts.ids
""",
    "load and resolve": """
from reconciler.core.manifests.resolve import resolve
from reconciler.loading import load
found = resolve(load(directory).manifests, now=0).contacts
""",
    "load, resolve and plan": """
from reconciler.core.manifests.resolve import resolve
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, PlanOptions
from reconciler.cover import solve
from reconciler.loading import load
desired = resolve(load(directory).manifests, now=0)
found = desired.contacts
plan_location(desired, LocationState(desired.location), PlanOptions(solve))
""",
    "load Parquet": """
import os
os.replace(directory + "/parquet.yaml.off", directory + "/acme.yaml")
from reconciler.loading import load
found = load(directory).manifests[0].sets[0].contacts.ids
""",
    "polars": """
import polars
found = polars.read_csv(directory + "/contacts.csv").get_column("contact_id").unique().to_list()
""",
}
OF_LOCATIONS = {
    "all locations": "found = load(directory).manifests",
    "one, all read": "found = [each for each in load(directory).manifests if each.location == one]",
    "one, chosen": "found = load(directory, locations=[one]).manifests",
}
MEASURED_LOCATIONS = """
import sys, time
from reconciler.loading import load
directory, number = sys.argv[1], int(sys.argv[2])
one = f"location{{number - 1:012d}}"
began = time.process_time()
{code}
seconds = time.process_time() - began
assert len(found) == {expected}, len(found)
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
print(seconds, peak)
"""
MEASURED = """
import sys, time
directory, rows = sys.argv[1], int(sys.argv[2])
began = time.perf_counter()
{code}
assert len(found) == rows, len(found)
seconds = time.perf_counter() - began
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
print(seconds, peak)
"""


def write(directory: Path, rows: int) -> None:
    with (directory / "contacts.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["contact_id", "plan", "city"])
        out.writerows(
            (f"contact{number:013d}", "gold" if number % 10 == 0 else "free", "Wien") for number in range(rows)
        )
    (directory / "acme.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n  all:\n    contacts: {{file: contacts.csv}}\n    tags: [customer]\n"
    )


def write_parquet(directory: Path) -> None:
    import duckdb

    source, target = directory / "contacts.csv", directory / "contacts.parquet"
    duckdb.sql(f"COPY (SELECT * FROM '{source}') TO '{target}' (FORMAT parquet)")
    manifest = (directory / "acme.yaml").read_text().replace("contacts.csv", "contacts.parquet")
    (directory / "parquet.yaml.off").write_text(manifest)


def write_locations(directory: Path, number: int) -> None:
    for place in range(number):
        ids = "".join(f"      - {place:08d}{contact:012d}\n" for contact in range(20))
        (directory / f"place{place}.yaml").write_text(
            f"location: location{place:012d}\ncontact_sets:\n  customers:\n    contacts:\n{ids}    tags: [customer]\n"
        )


def measure_locations(number: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        write_locations(Path(place), number)
        print(f"{'candidate':24} {'cpu s':>8} {'peak MiB':>9}   {number:,} locations")
        for name, code in OF_LOCATIONS.items():
            program = MEASURED_LOCATIONS.format(code=code, expected="number" if name == "all locations" else "1")
            command = [sys.executable, "-c", program, place, str(number)]
            seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            print(f"{name:24} {float(seconds):8.2f} {peak:>9}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer", action="append", choices=["polars"], default=[])
    parser.add_argument("--parquet", action="store_true")
    parser.add_argument("--locations", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.locations:
        measure_locations(arguments.locations)
        return
    left_out = {"polars"} - set(arguments.peer) | ({"load Parquet"} if not arguments.parquet else set())
    ordered = sorted(CANDIDATES, key=lambda name: name == "load Parquet")
    names = [name for name in ordered if name not in left_out]
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), arguments.rows)
        if arguments.parquet:
            write_parquet(Path(place))
        print(f"{'candidate':24} {'seconds':>8} {'peak MiB':>9}   {arguments.rows:,} rows")
        for name in names:
            began = time.perf_counter()
            program = MEASURED.format(code=CANDIDATES[name])
            done = subprocess.run(
                [sys.executable, "-c", program, place, str(arguments.rows)], capture_output=True, text=True, check=True
            )
            seconds, peak = done.stdout.split()
            print(f"{name:24} {float(seconds):8.2f} {peak:>9}   (process {time.perf_counter() - began:.1f} s)")


if __name__ == "__main__":
    main()
