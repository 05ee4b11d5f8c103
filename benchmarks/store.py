"""How long a state takes to open, load and record, and how large it is, for each home.

    python benchmarks/store.py [--contacts N …] [--batches N] [--home sqlite|URL …] [--check]

Contacts have ids of 20 characters and share a few thousand patterns. `record` is the median of one answer of 500 rows
with its observations, from the call to its durable end; `fsync` is what the disk takes to keep 200 kB, of which a
SQLite transaction needs three. `--check` fails where SQLite misses its limits.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import string
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reconciler.core.batching import Batch
from reconciler.core.journal import RunHeader, RunStatus
from reconciler.core.lease import Holder
from reconciler.core.names import ContactId, Instant, LocationId, SetName, Tag
from reconciler.core.observed import Known, Origin
from reconciler.core.outcome import Action, Outcome, Verdict
from reconciler.store import open_reader, open_store

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
NOW = Instant(1_795_000_000_000)
ROWS = 500
LIMITS = {"load_s": 3.0, "record_ms": 20.0, "megabytes": 120.0}
T = TypeVar("T")


@dataclass(frozen=True)
class Figures:
    fill_s: float
    load_s: float
    intend_ms: float
    record_ms: float
    release_s: float
    megabytes: float | None
    bytes_a_row: float | None


def timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def contacts(number: int) -> list[ContactId]:
    chance = random.Random(number)
    alphabet = string.ascii_letters + string.digits
    return [ContactId("".join(chance.choices(alphabet, k=20))) for _ in range(number)]


def patterns(number: int = 3_000) -> list[Known]:
    chance = random.Random(number)
    tags = [Tag(f"tag-{nth}") for nth in range(60)]
    return [
        Known(
            observed=frozenset(chance.sample(tags, chance.randrange(8))),
            observed_at=Instant(NOW - chance.randrange(100)),
            origin=Origin.SEARCH,
            ledger=frozenset(chance.sample(tags, chance.randrange(3))),
        )
        for _ in range(number)
    ]


def measure(url: str, number: int, batches: int) -> Figures:
    ids, known = contacts(number), patterns()
    with open_store(url) as store:
        holder = Holder(uuid.uuid4().hex, "bench", "apply", "elsewhere", 1, "0", NOW)
        lease = store.acquire(HERE, holder, NOW)
        fill_s, _ = timed(lambda: store.learn(lease, {each: known[nth % 3_000] for nth, each in enumerate(ids)}))
        release_s, _ = timed(lambda: store.release(lease))
    before = size(url)
    gc.collect()
    load_s, loaded = timed(lambda: load(url))
    assert loaded == number
    with open_store(url) as store:
        lease = store.acquire(HERE, holder, NOW)
        run = store.begin_run(lease, RunHeader(HERE, "apply", "bench", NOW))
        times = [answer(store, lease, run, ids, known, nth) for nth in range(batches)]
        store.end_run(lease, run, RunStatus.COMPLETE, NOW, set_sizes={SetName("all"): number})
        store.release(lease)
    after = size(url)
    rows = batches * min(ROWS, number)
    return Figures(
        fill_s=fill_s,
        load_s=load_s,
        intend_ms=1000 * statistics.median(intend for intend, _ in times),
        record_ms=1000 * statistics.median(record for _, record in times),
        release_s=release_s,
        megabytes=None if before is None else before / 1e6,
        bytes_a_row=None if before is None or after is None else (after - before) / rows,
    )


def load(url: str) -> int:
    with open_reader(url) as reader:
        return len(reader.load(HERE).observed)


def answer(
    store: object, lease: object, run: str, ids: list[ContactId], known: list[Known], nth: int
) -> tuple[float, float]:
    """A batch of contacts as a plan has them, all over the location; its answer moves them to 20 other patterns."""
    chosen = random.Random(nth).sample(ids, min(ROWS, len(ids)))
    batch = Batch(Action.ADD, tuple(chosen), (Tag(f"tag-{nth % 60}"),))
    old = [known[(20 * nth + each % 20) % 3_000].observed for each in range(len(chosen))]
    verdicts = {
        each: Verdict(Outcome.APPLIED, "Tags updated", None, tags, frozenset(batch.tags))
        for each, tags in zip(chosen, old, strict=True)
    }
    changed = {
        each: Known(tags | frozenset(batch.tags), Instant(NOW + nth), Origin.WRITE, frozenset(batch.tags))
        for each, tags in zip(chosen, (frozenset(tags or ()) for tags in old), strict=True)
    }
    intend, number = timed(lambda: store.intend(lease, run, batch, {}, NOW))
    record, _ = timed(lambda: store.record(lease, number, verdicts, changed, NOW))
    return intend, record


def fsync_s() -> float:
    with tempfile.TemporaryFile() as file:

        def once() -> None:
            file.write(bytes(200_000))
            file.flush()
            os.fsync(file.fileno())

        return statistics.median(timed(once)[0] for _ in range(20))


def size(url: str) -> int | None:
    """Bytes of the state, where they can be told."""
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///")).stat().st_size
    if url.startswith("postgres"):
        from reconciler.store.postgres import open_for_reading

        database = open_for_reading(url)
        assert database is not None
        with closing(database):
            query = (
                "SELECT sum(pg_total_relation_size(pg_class.oid)) FROM pg_class JOIN pg_namespace"
                " ON relnamespace = pg_namespace.oid WHERE relkind = 'r' AND nspname = current_schema()"
            )
            return int(database.execute(query).fetchall()[0][0])
    return None


def place(home: str, directory: str) -> str:
    """The URL of an empty state in that home."""
    name = uuid.uuid4().hex[:12]
    if home == "sqlite":
        return f"sqlite:///{directory}/{name}.db"
    path, mark, parameters = home.partition("?")
    if home.startswith("postgres"):
        return f"{home}{'&' if mark else '?'}schema=bench_{name}"
    return f"{path}/{name}{mark}{parameters}"


def told(home: str, number: int, found: Figures) -> str:
    large = "       –       –" if found.megabytes is None else f"{found.megabytes:8.1f}{found.bytes_a_row or 0:8.1f}"
    return (
        f"{home.partition('://')[0]:10} {number:9,} {found.fill_s:8.2f} {found.load_s:8.2f} {found.intend_ms:8.1f}"
        f" {found.record_ms:8.1f} {found.release_s:8.2f}{large}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--batches", type=int, default=200, help="answers of 500 rows to record")
    parser.add_argument("--home", nargs="+", default=["sqlite"], help="sqlite, or the URLs of servers")
    parser.add_argument("--check", action="store_true", help="exit 1 where SQLite misses its limits at a million")
    arguments = parser.parse_args()
    print(f"fsync {1000 * fsync_s():.1f} ms in {tempfile.gettempdir()}")
    print("home        contacts   fill s   load s   intend   record  release      MB   B/row")
    missed: list[str] = []
    for home in arguments.home:
        for number in arguments.contacts:
            with tempfile.TemporaryDirectory() as directory:
                found = measure(place(home, directory), number, arguments.batches)
            print(told(home, number, found), flush=True)
            if home == "sqlite":
                missed += [name for name, limit in LIMITS.items() if (getattr(found, name) or 0) > limit]
    if arguments.check and missed:
        sys.exit(f"over the limits of SQLite: {', '.join(missed)}")


if __name__ == "__main__":
    main()
