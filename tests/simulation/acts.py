"""What happens in a world besides runs: people are pulled, a lease is ended by hand, the state moves elsewhere."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import ContactId, LocationId
from reconciler.operations.migrate_state import migrate_states
from reconciler.operations.pull import PullRequest, pull_people
from reconciler.operations.workspace import Workspace, open_session
from reconciler.store import open_store
from tests.fakes import InPlace
from tests.simulation.declared import PEOPLE, Declared, SetText
from tests.simulation.invariants import Violated
from tests.simulation.people.play import Mortal
from tests.simulation.place import ORIGIN, Wire, token_of
from tests.simulation.process import Fate, Process, ProcessClock
from tests.simulation.program import Run
from tests.simulation.town import Town, email_of
from tests.simulation.virtual import run

GUARDS = ("max_unmatched_pct", "max_rematched_pct")
PULLED = "pulled"
DEADLINE_MS = 200_000
"""Longer than a lease of somebody who died lasts."""


def unlock(town: Town, location: LocationId) -> None:
    """A person ends the lease that a dead run left behind: `state unlock`."""
    with open_store(town.url) as store:
        held = store.at(location)
        lease = held.read_lease(town.clock.now())
        if lease is not None:
            held.unlock_lease(lease.holder.id)


def migrate(town: Town) -> None:
    """The state is copied to another file, and that one is used from now on: `state migrate`."""
    if not town.path.exists():
        return
    target = town.path.with_name(f"state-{len(list(town.path.parent.glob('state*.db')))}.db")
    process = Process("migrate", town.clock)
    workspace = _workspace(town, process, Path(town.path.parent), {})
    copied = migrate_states(workspace, f"sqlite:///{target}", lock_timeout_ms=DEADLINE_MS)
    run(_exhaust(copied), town.loop)
    town.move(target)


async def _exhaust(items: AsyncIterator[object]) -> None:
    async for _ in items:
        pass


def pull(town: Town, mine: Run, asked: Iterable[ContactId], tag: str) -> None:
    """Somebody pulls a file with the addresses of some people; whoever was found carries `tag` from now on: `pull`,
    in the first location. Raises Violated where others were found. Where the search hides people, one whom the pull
    before found stays: nothing may tell any more which row was theirs.
    """
    location = next(iter(town.places))
    wanted = tuple(sorted(asked))
    mine.declared = {each: town.wanted(each) for each in town.places}
    mine.commits = {each: len(town.history[each]) for each in town.places}
    before = _read_pulled(town, location)
    found = _pull(town, mine, location, wanted, tag)
    mine.ended = town.clock.now()
    if found is None:
        return
    rules = town.places[location].crm.assumptions
    hides = bool(rules.search_flickers_ms or rules.search_ignores_cursor)
    if not set(found) <= {*wanted, *(before if hides else ())}:
        raise Violated(f"8: {mine.name} found {sorted(found)} behind the addresses of {wanted}")
    if set(found) != set(wanted) and not hides:
        raise Violated(f"8: {mine.name} found {sorted(found)} behind the addresses of {wanted}, who were all there")
    now = town.wanted(location)
    town.commit(location, Declared((*now.sets, SetText(found, tags=(tag,))), now.rules))


def _pull(
    town: Town, mine: Run, location: LocationId, wanted: tuple[ContactId, ...], tag: str
) -> tuple[ContactId, ...] | None:
    """The contacts that a pull kept; None where it did not come to its end."""
    manifests = town.path.parent / "manifests"
    _write(manifests, location, wanted, tag)
    taken: list[dict[Path, bytes]] = []
    process = Mortal(mine.name, town.clock, mine.fate, on_death=lambda: taken.append(_files(town)))
    lifted = {"allow": tuple(f"{guard}:set={PULLED}" for guard in GUARDS), "reason": "it is so"}
    session_of = _workspace(town, process, manifests, {"HIGHLEVEL_TOKEN": token_of(mine.name)}, mine)

    async def work() -> Any:
        request = PullRequest(full=True, lock_timeout_ms=DEADLINE_MS, **lifted)
        return await pull_people(open_session(session_of, unpulled=True), request, lambda _: None)

    mine.began = town.clock.now()
    try:
        result = run(process.live(work()), town.loop)
    except ReconcilerError as error:
        mine.problem, result = f"{type(error).__name__}: {error.message}", None
    if taken:
        # what it did on its way out, it did not
        for path, content in taken[0].items():
            path.write_bytes(content)
    mine.killed, mine.met_its_fate = not process.alive, process.met_its_fate
    if result is None or result.errors or any(entry.failure or entry.refused for entry in result.locations[0].sets):
        return None
    return _read_pulled(town, location)


def _read_pulled(town: Town, location: LocationId) -> tuple[ContactId, ...]:
    """The contacts that the last pull kept; none before the first."""
    if not town.path.exists():
        return ()
    with open_store(town.url) as store:
        snapshots = store.at(location).read_snapshots()
    return tuple(snapshots[PULLED].contacts) if PULLED in snapshots else ()


def _write(manifests: Path, location: LocationId, wanted: Iterable[ContactId], tag: str) -> None:
    manifests.mkdir(exist_ok=True)
    (manifests / "people.csv").write_text("\n".join(["mail", *map(email_of, wanted)]) + "\n")
    (manifests / "acme.yaml").write_text(
        f"location: {location}\ncontact_sets:\n  {PULLED}:\n"
        f"    contacts: {{file: people.csv, match: {{email: mail}}}}\n    tags: [{tag!r}]\n"
    )


def _files(town: Town) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(town.path.parent.glob(f"{town.path.name}*"))}


def _workspace(
    town: Town, process: Process, directory: Path, environment: dict[str, str], mine: Run | None = None
) -> Workspace:
    place = next(iter(town.places.values()))
    environment = {"RECONCILER_API_BASE_URL": ORIGIN, "RECONCILER_STATE": town.url} | environment
    workspace = Workspace(
        directory,
        environment=environment,
        clock=ProcessClock(process),
        transport=Wire(place, process),
        start_worker=InPlace,
    )
    return workspace if mine is None else replace(workspace, environment=environment)


def people(chosen: Iterable[int]) -> list[ContactId]:
    return [PEOPLE[nth] for nth in chosen]


def chance_of(seed: int) -> random.Random:
    return random.Random(f"machine {seed}")


def fate_of_a_pull(fate: Fate | None) -> Fate | None:
    """A pull is killed where it sends: its state is opened by the operation itself."""
    return fate if fate is not None and fate.what == "send" and not fate.frozen_ms else None
