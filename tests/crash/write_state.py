"""Does to a state what runs and commands do: `write_state.py STATE MARKER STEPS [WORDS=>OTHERS ...]`.

Each of the STEPS, with commas between them, has a connection of its own. Whatever it writes to MARKER says that a call
has returned. SQLite is asked for OTHERS where the product says WORDS.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, cast

from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.lease import TTL_MS
from reconciler.core.model.names import Instant, SetName, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.people import IndexStatus, PeopleLot
from reconciler.core.planning.plan import LocationState
from reconciler.ports import StateStore
from reconciler.store import open_store
from reconciler.store.sqlite_file import Disk
from tests.build import HERE, contact_state, tags
from tests.fakes import START, a_holder
from tests.store.sample import ANNA, BERT, DORA, fill

LATER = Instant(START + 2 * TTL_MS)
"""The lease that `fill` leaves is over."""


class Marking:
    """A state, or a location's, that leaves a mark behind each of its calls."""

    def __init__(self, marked: Any, marker: int) -> None:
        self._marked, self._marker = marked, marker

    def at(self, location: str) -> Marking:
        return Marking(self._marked.at(location), self._marker)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = getattr(self._marked, name)(*arguments, **named)
            os.write(self._marker, f"{name}\n".encode())
            return result

        return call


class Otherwise(sqlite3.Connection):
    """A connection that asks for other things than it is told to."""

    others: Mapping[str, str] = {}
    asked: ClassVar[set[str]] = set()

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        self.asked.add(statement)
        return super().execute(self.others.get(statement, statement), *parameters)


def go_on(state: StateStore) -> None:
    """A run with another version of the tags, what tidies up behind it, and at last the location is forgotten."""
    store = state.at(HERE)
    lease = store.acquire_lease(a_holder("two"), LATER)
    run = store.begin_run(lease, RunHeader(HERE, "apply", "bert", LATER, "sha256:012"))
    adding = Batch(Action.ADD, (ANNA, DORA), (Tag("gold"),))
    number = store.record_intent(lease, run, adding, {DORA: contact_state(ledger=tags("gold"))}, LATER)
    lease = store.renew_lease(lease, LATER)
    applied = ContactOutcome(Outcome.APPLIED, "", None, tags("grün"), tags("gold"))
    learnt = contact_state(tags("grün gold"), LATER, ObservationOrigin.WRITE, ledger=tags("gold"))
    store.record_answer(lease, number, dict.fromkeys((ANNA, DORA), applied), {ANNA: learnt, DORA: learnt}, LATER)
    store.end_run(lease, run, RunStatus.COMPLETE, LATER, set_sizes={SetName("vips"): 2})
    store.prune_journal(lease, 1)
    store.forget_contacts(lease, [BERT])
    # what `state forget` does
    store.replace_state(lease, LocationState(HERE, store.load_state().lineage), (), {})
    store.save_people(lease, PeopleLot(IndexStatus(), anew=True))
    store.release_lease(lease)


STEPS: Mapping[str, Callable[[StateStore], object]] = {"open": lambda state: None, "fill": fill, "go on": go_on}


def main() -> None:
    path, marker, steps, *others = sys.argv[1:]
    Otherwise.others = dict(each.split("=>") for each in others)
    disk, marks = Disk(connect=partial(sqlite3.connect, factory=Otherwise)), os.open(marker, os.O_WRONLY)
    for step in steps.split(","):
        with open_store(f"sqlite:///{path}", disk=disk) as state:
            os.write(marks, b"open_store\n")
            STEPS[step](cast("StateStore", Marking(state, marks)))
    assert Otherwise.others.keys() <= Otherwise.asked, "the product does not say these words"


if __name__ == "__main__":
    main()
