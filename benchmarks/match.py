"""A million rows of a file matched with a million contacts: seconds and peak memory, besides requests and the state.

    PYTHONPATH=. python benchmarks/match.py [--rows N] [--by email|phone|field] [--check]

Each line is a process of its own. The index is made first, and is no part of the time: it holds the fingerprints that
the state has. Of the rows nine of ten are matched, the others are not found, doubled or malformed. Before it the same
process reads the file with the `csv` module and does nothing else: `ratio` is to that, in processor seconds. `--check`
fails where the match by e-mail misses its limits: a ratio of 45 and 600 MiB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

RATIO, MEBIBYTES = 45.0, 600
VALUES = {
    "email": "person{number:07d}@example{domain}.com",
    "phone": "+49171{number:07d}",
    "field": "k-{number:07d}",
}
MEASURED = """
import csv, io, sys, time
from reconciler.core.manifests.match import match_rows
from reconciler.core.manifests.match import Fingerprinter
from reconciler.core.model.names import ContactId, Source
from reconciler.core.model.people import Match, MatchKey, PeopleIndex, ValueKind
from reconciler.loading.people_files import PeopleFile, make_normaliser, read_people

path, kind, rows, template = sys.argv[1], ValueKind(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
key = MatchKey(kind, "value", "field01" if kind is ValueKind.FIELD else "")
match, place = Match(path, (key,), region="DE"), Source("acme.yaml", 3)
file = PeopleFile(path, place, match, make_normaliser(match, place), Fingerprinter(b"a key of a benchmark"))
make_fingerprint = file.fingerprinter.for_kind(kind, key.custom_field)
index = PeopleIndex(current={
    make_fingerprint(template.format(number=number, domain=number % 97)): (ContactId(f"contact{number:013d}"),)
    for number in range(rows)
})
processor = time.process_time()
with open(path, newline="") as stream:
    assert sum(1 for row in csv.reader(stream)) == rows + 1
plain = time.process_time() - processor
processor, began = time.process_time(), time.perf_counter()
with open(path, "rb") as stream:
    people = read_people(stream, file)
read = time.perf_counter() - began
result = match_rows(people, index, None)
seconds, processor = time.perf_counter() - began, time.process_time() - processor
assert result.counts.rows == rows and result.counts.matched == len(result.contacts) > 0.89 * rows, result.counts
assert result.counts.not_found and result.counts.malformed and result.counts.duplicate
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
print(read, seconds, processor, plain, peak)
"""


def write(path: Path, rows: int, template: str) -> None:
    """Every twentieth row is of nobody, every fortieth of an earlier contact, every eightieth malformed."""
    with path.open("w") as file:
        file.write("name,value,city\n")
        for number in range(rows):
            wanted = rows + number if number % 20 == 3 else number // 2 if number % 40 == 1 else number
            value = "\a" if number % 80 == 4 else template.format(number=wanted, domain=wanted % 97)
            file.write(f"Person {number},{value.upper() if number % 2 else value},Wien\n")


def measure(kind: str, rows: int) -> tuple[float, float, float, float, int]:
    """Seconds until the file was read, until the end, of the processor, for plain reading; peak MiB."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "people.csv"
        write(path, rows, VALUES[kind])
        command = [sys.executable, "-c", MEASURED, str(path), kind, str(rows), VALUES[kind]]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    read, seconds, processor, plain, peak = done.stdout.split()
    return float(read), float(seconds), float(processor), float(plain), int(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--by", action="append", choices=list(VALUES))
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    heads = f"{'read s':>7} {'all s':>7} {'cpu s':>7} {'ratio':>6} {'peak MiB':>9}"
    print(f"{'match by':10} {heads}   {arguments.rows:,} rows")
    for kind in arguments.by or (["email"] if arguments.check else list(VALUES)):
        read, seconds, processor, plain, peak = measure(kind, arguments.rows)
        ratio = processor / plain
        print(f"{kind:10} {read:7.2f} {seconds:7.2f} {processor:7.2f} {ratio:6.1f} {peak:>9}")
        if arguments.check and kind == "email" and (ratio > RATIO or peak > MEBIBYTES):
            sys.exit(f"slower than {RATIO} x plain reading, or more than {MEBIBYTES} MiB")


if __name__ == "__main__":
    main()
