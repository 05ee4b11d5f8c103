"""How long a state takes to open, load and record, and how large it is, for each home.

    python benchmarks/store.py [--contacts N …] [--batches N] [--home sqlite|URL …] [--check]

Contacts have ids of 20 characters and share up to 3,000 patterns; those of a batch share 20 and lie all over the
location. `record` is the median of one answer of 500 rows with its observations, from the call to its durable end, and
`cpu` the processor's part of it; `fsync` is what the disk takes to keep 200 kB, of which a SQLite transaction needs
four. `B/row` is what a row of the journal takes, `all` with the observations that came with it. `--check` fails where
SQLite misses its limits.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sqlite3
import statistics
import string
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_changes import record_answer, record_intent
from reconciler.core.model.contact_state import ContactState, Ledger, Observation, ObservationOrigin
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.lease import Holder, Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.ports import LocationStore
from reconciler.store import open_reader, open_store

HERE = LocationId("asdrwHvLUxlfw5SqKVCN")
NOW = Instant(1_795_000_000_000)
ROWS = 500
ALIKE = 20
LIMITS = {"load_s": 3.0, "record_ms": 20.0, "megabytes": 120.0, "bytes_a_row": 20.0}
T = TypeVar("T")


@dataclass(frozen=True)
class Figures:
    fill_s: float
    load_s: float
    begin_s: float
    intend_ms: float
    record_ms: float
    record_cpu_ms: float
    release_s: float
    megabytes: float | None
    bytes_a_row: float | None
    bytes_in_all: float | None


def timed(work: Callable[[], T]) -> tuple[float, float, T]:
    """Seconds, seconds of the processor, and the result."""
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - began, time.process_time() - cpu, result


def contacts(number: int) -> list[ContactId]:
    chance = random.Random(number)
    alphabet = string.ascii_letters + string.digits
    return [ContactId("".join(chance.choices(alphabet, k=20))) for _ in range(number)]


def patterns(number: int) -> list[ContactState]:
    """As many as give each batch contacts of its own 20."""
    chance = random.Random(number)
    tags = [Tag(f"tag-{nth}") for nth in range(60)]
    return [
        ContactState(
            Observation(
                frozenset(chance.sample(tags, chance.randrange(8))),
                Instant(NOW - chance.randrange(100)),
                ObservationOrigin.SEARCH,
            ),
            Ledger(frozenset(chance.sample(tags, chance.randrange(3)))),
        )
        for _ in range(min(3_000, number * ALIKE // ROWS // ALIKE * ALIKE))
    ]


def batches(known: dict[ContactId, ContactState], patterns: list[ContactState]) -> list[list[ContactId]]:
    """All contacts, those of 20 patterns together."""
    group = {each: nth // ALIKE for nth, each in enumerate(patterns)}
    alike: defaultdict[int, list[ContactId]] = defaultdict(list)
    for contact in random.Random(0).sample(list(known), len(known)):
        alike[group[known[contact]]].append(contact)
    every = [each[nth : nth + ROWS] for each in alike.values() for nth in range(0, len(each) - ROWS + 1, ROWS)]
    return random.Random(1).sample(every, len(every))


def measure(url: str, number: int, count: int) -> Figures:
    distinct = patterns(number)
    known = {each: distinct[nth % len(distinct)] for nth, each in enumerate(contacts(number))}
    holder = Holder(uuid.uuid4().hex, "bench", "apply", "elsewhere", 1, "0", NOW)
    with open_store(url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(holder, NOW)
        fill_s, _, _ = timed(lambda: store.save_states(lease, known))
        release_s, _, _ = timed(lambda: store.release_lease(lease))
    before = size(url)
    gc.collect()
    load_s, _, loaded = timed(lambda: load(url))
    assert loaded == number
    planned = batches(known, distinct)
    with open_store(url) as state:
        store = state.at(HERE)
        lease = store.acquire_lease(holder, NOW)
        begin_s, _, run = timed(lambda: store.begin_run(lease, RunHeader(HERE, "apply", "bench", NOW)))
        times = [answer(store, lease, run, planned[nth % len(planned)], known, nth) for nth in range(count)]
        store.end_run(lease, run, RunStatus.COMPLETE, NOW, set_sizes={SetName("all"): number})
        store.release_lease(lease)
    after, rows = size(url), count * ROWS
    return Figures(
        fill_s=fill_s,
        load_s=load_s,
        begin_s=begin_s,
        intend_ms=1000 * statistics.median(intend for intend, _, _ in times),
        record_ms=1000 * statistics.median(record for _, record, _ in times),
        record_cpu_ms=1000 * statistics.median(cpu for _, _, cpu in times),
        release_s=release_s,
        megabytes=None if before is None else before / 1e6,
        bytes_a_row=journal_size(url) / rows if url.startswith("sqlite") else None,
        bytes_in_all=None if before is None or after is None else (after - before) / rows,
    )


def load(url: str) -> int:
    with open_reader(url) as reader:
        return len(reader.at(HERE).load_state().observed)


def answer(
    store: LocationStore,
    lease: Lease,
    run: str,
    chosen: list[ContactId],
    known: dict[ContactId, ContactState],
    nth: int,
) -> tuple[float, float, float]:
    """A batch as a plan has it, and the answer of the API to it."""
    batch = Batch(Action.ADD, tuple(chosen), (Tag(f"tag-{nth % 60}"),))
    tags, now = frozenset(batch.tags), Instant(NOW + nth)
    intended = {each: record_intent(known[each], Action.ADD, tags, keep=frozenset(), at=now) for each in chosen}
    verdicts = {each: verdict_on(known[each].observed or frozenset(), tags) for each in chosen}
    known.update(
        (each, record_answer(intended[each], verdicts[each], Action.ADD, tags, sent=now, answered=now))
        for each in chosen
    )
    intend_s, _, number = timed(lambda: store.record_intent(lease, run, batch, intended, now))
    record_s, cpu_s, _ = timed(
        lambda: store.record_answer(lease, number, verdicts, {each: known[each] for each in chosen}, now)
    )
    return intend_s, record_s, cpu_s


def verdict_on(old: TagSet, tags: TagSet) -> ContactOutcome:
    outcome = Outcome.APPLIED if tags - old else Outcome.NOOP
    return ContactOutcome(outcome, "Tags updated", None, old, tags - old)


def journal_size(url: str) -> int:
    """Bytes that rows and their answers take, where SQLite can tell."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        query = "SELECT sum(pgsize) FROM dbstat WHERE name IN ('rows', 'answers')"
        return int(connection.execute(query).fetchone()[0])


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
        from reconciler.store.postgres_states import PostgresServer

        with closing(PostgresServer(url, writes=False)) as server:
            query = (
                "SELECT sum(pg_total_relation_size(pg_class.oid)) FROM pg_class JOIN pg_namespace"
                f" ON relnamespace = pg_namespace.oid WHERE relkind = 'r' AND nspname = '{server.schema}'"
            )
            return int(server.list_names(query)[0])
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
    sizes = (found.megabytes, found.bytes_a_row, found.bytes_in_all)
    return (
        f"{home.partition('://')[0]:10} {number:9,} {found.fill_s:8.2f} {found.load_s:8.2f} {found.begin_s:8.2f}"
        f" {found.intend_ms:8.1f} {found.record_ms:8.1f} {found.record_cpu_ms:8.1f} {found.release_s:8.2f}"
        + "".join("       –" if each is None else f"{each:8.1f}" for each in sizes)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--batches", type=int, default=200, help="answers of 500 rows to record")
    parser.add_argument("--home", nargs="+", default=["sqlite"], help="sqlite, or the URLs of servers")
    parser.add_argument("--check", action="store_true", help="exit 1 where SQLite misses its limits at a million")
    arguments = parser.parse_args()
    print(f"fsync {1000 * fsync_s():.1f} ms in {tempfile.gettempdir()}")
    print("home        contacts   fill s   load s  begin s   intend   record      cpu  release      MB   B/row     all")
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
