"""Worlds of four locations with one manifest, whose set a source gives: applies wave by wave, answers that are lost,
sources that fail. What holds in each is judged by what the locations were sent and by exit codes: waves, source.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from reconciler.core.model.names import Tag
from reconciler.operations.pull import PullRequest, PullResult, pull_people
from reconciler.operations.workspace import open_session
from tests.apply.test_rollout import FIRST, PLACES, Fleet, contact_of
from tests.sandbox.faults import Fault, FaultKind

FAILURES = {
    "fails": "cat all.csv; exit 3",
    "fails half-way": "head -n 2 all.csv; exit 3",
    "dies half-way": "head -n 2 all.csv; kill -9 $$",
    "half a row": "head -n 2 all.csv; printf cut",
    "prints nothing": "true",
    "hangs": "head -n 2 all.csv; exec sleep 60",
}
"""What a source may do in place of giving all of its rows."""
CHANCES = (4, 4, 4, 4, 4, 1)
"""One that hangs takes as long as its time-out."""
GIVES_ALL = "cat all.csv"
BLIND = frozenset({"contacts.write"})


class Waves:
    """A world from its beginning to its end; `tell` plays it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(f"{seed}: waves")
        self.fleet = Fleet(directory)
        self.directory = directory
        text = (directory / "reconciler.yaml").read_text()
        self.settings = text.replace("odd_ids: false", "odd_ids: false, shrink_pct: 100")
        ids = "".join(f"{contact_of(place, which)},{place}\n" for place in PLACES for which in range(2))
        (directory / "all.csv").write_text(f"contact_id,place\n{ids}")
        self.met: Counter[tuple[str, str]] = Counter()
        self.found: list[str] = []
        self.ended_well: set[str] = set()

    def tell(self) -> None:
        self._source(GIVES_ALL)
        tags = self.chance.sample(["spring", "summer", "autumn"], self.chance.choice([1, 2]))
        for nth in range(len(tags)):
            self._write(tags[: nth + 1])
            if nth == 0:
                self._pull(GIVES_ALL)
            self._reach(tags[nth])

    def _write(self, tags: list[str]) -> None:
        """Another definition: who applied it so far is nobody."""
        self.ended_well = set()
        contacts = "{source: all, where: {place: '{location}'}}"
        self.fleet.write(", ".join(tags), then="1", contacts=contacts, more=", allow_empty: true")
        (rollout,) = open_session(self.fleet.workspace, (), pulls=True).rollouts[FIRST]
        self.waves = rollout.waves

    def _reach(self, tag: str) -> None:
        for _ in range(12):
            if self.chance.random() < 0.5:
                how = self.chance.choices([*FAILURES], CHANCES)[0]
                self._source(FAILURES[how])
                self._pull(how)
                self._source(GIVES_ALL)
            self._apply(tag)
            if self.fleet.with_tag(tag) == set(PLACES):
                break
        else:
            self.found.append(f"waves: {tag} reached {sorted(self.fleet.with_tag(tag))} and no more")

    def _source(self, script: str) -> None:
        # only what hangs is not waited for: on a busy machine a program may take its time
        timeout_s = 1 if "sleep" in script else 60
        source = f"sources: {{all: {{command: [sh, source.sh], timeout_s: {timeout_s}}}}}\n"
        (self.directory / "reconciler.yaml").write_text(self.settings + source)
        (self.directory / "source.sh").write_text(script + "\n")

    def _pull(self, how: str) -> None:
        """A source that fails leaves every set as it was: nobody leaves it, nobody is planned to lose a tag."""
        before = self._members()

        async def pull() -> PullResult:
            session = open_session(self.fleet.workspace, (), pulls=True)
            return await pull_people(session, PullRequest(create_state=True), lambda result: None)

        result = self.fleet.clock.run(pull())
        # on a busy machine the clock of this world goes past a lease while a real program is waited for
        for _ in range(20):
            if how != GIVES_ALL or result.exit_code == 0:
                break
            result = self.fleet.clock.run(pull())
        self.met["source", how] += 1
        if how != GIVES_ALL and (self._members() != before or result.exit_code != 1):
            self.found.append(f"source: that {how} makes {before} members {self._members()}, exit {result.exit_code}")

    def _members(self) -> list[int]:
        session = open_session(self.fleet.workspace, (), pulls=True)
        return [len(desired.contacts) for desired in session.desired.values()]

    def _apply(self, tag: str) -> None:
        lost = self.chance.random() < 0.3
        self.fleet.serve({0: Fault(FaultKind.TIMEOUT_AFTER)} if lost else {}, **({"scopes": BLIND} if lost else {}))
        before = self.fleet.with_tag(tag)
        waves = self.waves
        begun = next((nth for nth, wave in enumerate(waves) if not self.ended_well.issuperset(wave)), len(waves))
        may = {place for wave in waves[: begun + 1] for place in wave}
        self.fleet.apply()
        self.met["apply", "with a lost answer" if lost else "plain"] += 1
        if early := self.fleet.with_tag(tag) - before - may:
            self.found.append(f"waves: {sorted(early)} got {tag} before the wave before them ended with 0")
        for place, code in self.fleet.codes.items():
            (self.ended_well.add if code == 0 else self.ended_well.discard)(place)

    def violations(self) -> Iterator[str]:
        yield from self.found
        without = [len(world.holders(Tag("spring"))) for world in self.fleet.worlds.values()]
        if any(number not in (0, 2) for number in without):
            yield f"source: the locations have {without} holders"
