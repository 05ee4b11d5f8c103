"""Journal objects that an older version wrote mean what they meant."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_changes import record_intent
from reconciler.core.model.contact_state import NEVER_OBSERVED, NONE, ContactReading
from reconciler.core.model.journal import RunHeader, RunStatus
from reconciler.core.model.lease import Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.model.outcome import Action
from reconciler.store import open_store
from reconciler.store.object_journal import CLASSES, ENUMS, FORMAT, UNCONFIRMED, Call, decode, encode
from tests.build import changed_state, contact_state
from tests.extras import need
from tests.fakes import START, a_holder

HELLO = frozenset({Tag("hello")})
ANNA = ContactId("AnnaAnnaAnnaAnnaAnna")
LEASE = Lease(LocationId("asdrwHvLUxlfw5SqKVCN"), a_holder(), 1, Instant(START + 90_000))
BATCH = Batch(Action.ADD, (ANNA,), tuple(HELLO))


def as_of_format(number: int, method: str, *arguments: object) -> tuple[object, ...]:
    document = json.loads(encode(Call("1", method, arguments)))
    return decode(json.dumps(document | {"format": number}).encode()).arguments


@pytest.mark.parametrize("number", range(1, UNCONFIRMED))
def test_the_last_intent_of_an_older_journal_leaves_its_additions_unseen(number: int) -> None:
    after = record_intent(NEVER_OBSERVED, Action.ADD, HELLO, keep=NONE, at=START)
    old = changed_state(after, unconfirmed=NONE)
    *_, changed, _ = as_of_format(number, "intend", LEASE, "run", BATCH, {ANNA: old}, START)
    assert changed == {ANNA: after}


@pytest.mark.parametrize("number", range(1, UNCONFIRMED))
def test_what_an_older_journal_left_in_doubt_was_not_seen(number: int) -> None:
    old = contact_state(ledger=HELLO, doubt=HELLO, doubt_at=START)
    _, changed = as_of_format(number, "learn", LEASE, {ANNA: old})
    assert changed == {ANNA: changed_state(old, unconfirmed=HELLO)}
    answered = changed_state(old, doubt=NONE, doubt_at=None)
    assert as_of_format(number, "learn", LEASE, {ANNA: answered})[1] == {ANNA: answered}


@pytest.mark.parametrize("number", range(UNCONFIRMED, FORMAT + 1))
def test_what_a_later_journal_says_of_a_doubt_stands(number: int) -> None:
    seen = contact_state(ledger=HELLO, doubt=HELLO, doubt_at=START)
    assert as_of_format(number, "learn", LEASE, {ANNA: seen})[1] == {ANNA: seen}


def test_what_was_given_read_and_tried_before_is_in_the_journal() -> None:
    given = contact_state(
        doubt=HELLO,
        doubt_at=START,
        spent=((Tag("hello"), START),),
        reading=ContactReading(START, Instant(START + 9), None, START, HELLO),
        attempted_at=START,
    )
    assert as_of_format(FORMAT, "learn", LEASE, {ANNA: given})[1] == {ANNA: given}


@pytest.mark.extras
def test_the_end_of_a_run_in_an_older_journal_tells_nothing_of_its_report(tmp_path: Path) -> None:
    """Until format 5 an object had no place for it: a bucket that was written so is replayed all the same."""
    need("obstore")
    from reconciler.store.object_replica import METHODS

    with open_store(f"sqlite:///{tmp_path / 'state.db'}") as state:
        store = state.at(LEASE.location)
        lease = store.acquire_lease(a_holder(), START)
        run = store.begin_run(lease, RunHeader(LEASE.location, "apply", "anna", START))
        older = as_of_format(4, "end_run", lease, run, RunStatus.COMPLETE, START, None)
        METHODS["end_run"](store, *older)
        assert (store.read_ending(run), store.read_runs()[0].status) == (None, RunStatus.COMPLETE)


def test_an_object_with_every_value_that_the_last_release_wrote_is_read_and_written_as_it_is() -> None:
    """Buckets hold objects for ever: a class or field that is renamed here keeps its name there."""
    golden = Path(__file__).parent / "golden"
    written = (golden / f"journal-{FORMAT}.json").read_bytes()
    named = set(re.findall(r'"(?:class|enum)":"(\w+)"', written.decode()))
    assert named == CLASSES.keys() | ENUMS.keys()
    assert encode(decode(written)) == written
    # format 6 has calls that are new, and no value; format 7 a member in the text of one of them; format 8 the last
    # value here, what a trial settled
    assert FORMAT == 8
    assert decode((golden / "journal-5.json").read_bytes()).arguments == decode(written).arguments[:-1]


@pytest.mark.extras
def test_the_calls_in_the_journal_keep_their_names() -> None:
    need("obstore")
    from reconciler.store.object_replica import METHODS

    names = "take release begin_run end_run learn manage note prune intend record withdraw forget replace"
    names += " save_snapshots drop_snapshots save_people"
    assert METHODS.keys() == set(names.split())
