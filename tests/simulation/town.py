"""A world: locations, the state of what we know of them, the manifests as they change, and the runs of the program."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.planning.plan import PlanOptions
from reconciler.sandbox.access import Limits
from reconciler.sandbox.assumptions import Assumptions, Merged
from reconciler.sandbox.people import Person
from reconciler.sandbox.world import Contact
from reconciler.sandbox.world import World as Crm
from tests.fakes import START
from tests.simulation.declared import AWAY, GONE, HEIR, MERGED, PEOPLE, Declared
from tests.simulation.place import RUNS, Place
from tests.simulation.process import Killed, Process
from tests.simulation.program import Run, perform
from tests.simulation.virtual import VirtualClock, VirtualLoop, run

HERE, THERE = LocationId("asdrwHvLUxlfw5SqKVCN"), LocationId("zzzzzzzzzzzzzzzzzzzz")
CARRIED = ("a", "b", "lead", "top", "wf-7", "d", "zz", "safe")


class Town:
    """Everything there is; all chance comes from one seed."""

    def __init__(self, directory: Path, chance: random.Random, *, locations: int = 1, limit: int = 100) -> None:
        self.path = directory / "state.db"
        self.url = f"sqlite:///{self.path}"
        self.chance = chance
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(heed_deaths)
        self.clock = VirtualClock(self.loop)
        self.runs: list[Run] = []
        self.places = {location: self._found(location, limit) for location in (HERE, THERE)[:locations]}
        self.history: dict[LocationId, list[Declared]] = {location: [] for location in self.places}

    def _found(self, location: LocationId, limit: int) -> Place:
        """Somebody's location, as it was before we came."""
        crowd = [self._contact(each, location) for each in PEOPLE]
        strangers = [
            replace(self._contact(GONE, location), deleted=START),
            self._contact(AWAY, LocationId("away")),
            replace(self._contact(MERGED, location), deleted=START, merged_into=HEIR),
            self._contact(HEIR, location),
        ]
        crm = Crm(location, [*crowd, *strangers], assumptions=self._assumptions())
        return Place(crm, self.clock, random.Random(self.chance.random()), Limits(requests=limit))

    def _assumptions(self) -> Assumptions:
        """What nobody can be sure of, one way or the other: a client that is right stays right. But who spells a tag in
        his own way does not answer in the words of the request: then nobody could ever learn of it.
        """
        either = self.chance.choice
        respelling, echoing = either([(True, False), (False, False), (False, True)])
        return Assumptions(
            collapses_spaces=respelling,
            rows_as_sent=either([True, False]),
            counts_errors=either([True, False]),
            succeeds_with_errors=either([True, False]),
            spells_succeded=either([True, False]),
            rows_as_text=either([True, False]),
            missing_contact_status=either([400, 404, 422]),
            missing_contact_message=either(["Contact not found", "contact is deleted"]),
            merged_row=either(list(Merged)),
            merged_reads_as_survivor=either([True, False]),
            read_without_location=either([True, False]),
            read_lag_ms=either([0, 0, 5_000]),
            changes_as_asked=echoing,
            max_contacts=either([500, 500, 500, 2]),
            max_tags=either([50, 50, 50, 1]),
            oversize_names_limit=either([True, False]),
            search_lag_ms=either([3_000, 3_000, 240_000]),
            search_flickers_ms=either([0, 0, 7_000]),
            tag_write_moves_date=(moves := either([True, True, False])),
            # a request that changes nothing moves no date where one that changes tags does not
            noop_write_moves_date=either([True, False]) and moves,
            search_row_without_tags=either([0, 3]),
            retry_after=either([True, False]),
            interval_slides=either([True, False]),
            search_ignores_cursor=either([False, False, True]),
        )

    def _contact(self, called: ContactId, location: LocationId) -> Contact:
        tags = self.chance.sample(CARRIED, self.chance.randrange(4))
        since = Instant(START - 86_400_000)
        return Contact(called, location, frozenset(map(Tag, tags)), since, since, person=Person(email_of(called)))

    def commit(self, location: LocationId, declared: Declared) -> None:
        """Other manifests, from now on."""
        self.history[location].append(declared)

    def wanted(self, location: LocationId) -> Declared:
        return self.history[location][-1]

    def pass_ms(self, milliseconds: int) -> None:
        run(self.clock.sleep(milliseconds), self.loop)

    def new_run(self, options: PlanOptions, **more: Any) -> Run:
        started = Run(RUNS[len(self.runs)], options, **more)
        self.runs.append(started)
        return started

    def execute(self, *runs: Run, apart_ms: int = 0, others: Iterable[Coroutine[Any, Any, None]] = ()) -> None:
        """The runs side by side, each begun some time after the one before; `others` are at work meanwhile."""
        run(self._together(runs, apart_ms, others), self.loop)

    async def _together(self, runs: Iterable[Run], apart_ms: int, others: Iterable[Coroutine[Any, Any, None]]) -> None:
        meanwhile = [asyncio.ensure_future(each) for each in others]
        await asyncio.gather(*(self._begin(each, nth * apart_ms) for nth, each in enumerate(runs)))
        for each in meanwhile:
            each.cancel()

    async def _begin(self, mine: Run, after_ms: int) -> None:
        await self.clock.sleep(after_ms)
        process = Process(mine.name, self.clock, mine.fate)
        mine.began = self.clock.now()
        mine.declared = {location: self.wanted(location) for location in self.places}
        mine.commits = {location: len(self.history[location]) for location in self.places}
        try:
            await process.live(perform(mine, process, self))
        except ReconcilerError as error:
            mine.problem = f"{type(error).__name__}: {error.message}"
        mine.killed, mine.met_its_fate = not process.alive, process.met_its_fate
        mine.intents = process.intents
        mine.ended = self.clock.now()

    def move(self, path: Path) -> None:
        """The state is there from now on."""
        self.path, self.url = path, f"sqlite:///{path}"

    def state(self) -> bytes:
        """What is written there, and wherever it was before."""
        return b"".join(each.read_bytes() for each in sorted(self.path.parent.rglob("state*.db*")))

    def close(self) -> None:
        self.loop.close()


def email_of(contact: ContactId) -> str:
    return f"{contact}@example.com"


def heed_deaths(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The tasks of a process that died die of it, and nobody asks what became of them."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)
