"""A state with something of everything, as golden files hold it."""

from __future__ import annotations

from reconciler.core.model.api_limits import LocationFacts, TrialVerdict, TriedRow
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_state import NEVER_OBSERVED, ContactReading, ObservationOrigin
from reconciler.core.model.journal import RunEnding, RunHeader, RunStatus, Shortfall
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.people import (
    Fingerprint,
    IndexStatus,
    LookUp,
    MatchCounts,
    PeopleIndex,
    PeopleLot,
    Snapshot,
    ValueKind,
)
from reconciler.ports import StateStore
from tests.build import HERE, changed_state, contact_state, name, tags
from tests.fakes import START, a_holder

THERE = LocationId("zzzzzzzzzzzzzzzzzzzz")
ANNA, BERT, CARA, DORA, EMIL = map(name, ("Anna", "Bert", "Cara", "Dora", "Emil"))


def at(seconds: int) -> Instant:
    return Instant(START + 1_000 * seconds)


KNOWN = {
    ANNA: contact_state(
        tags("vip grün"),
        at(3),
        ObservationOrigin.WRITE,
        ledger=tags("vip"),
        kept=tags("vip"),
        restored=((Tag("vip"), at(2)),),
    ),
    BERT: contact_state(
        tags("old"),
        at(3),
        ObservationOrigin.SEARCH,
        ledger=tags("x"),
        doubt=tags("x"),
        doubt_at=at(4),
        unconfirmed=tags("x"),
    ),
    CARA: contact_state(
        quarantine=Rejection.DELETED,
        quarantined_at=at(3),
        quarantined_since=at(-9),
        membership=frozenset({SetName("vips")}),
    ),
    DORA: NEVER_OBSERVED,
    EMIL: contact_state(
        doubt=tags("x"),
        doubt_at=at(4),
        spent=((Tag("vip"), at(2)),),
        reading=ContactReading(at(5), at(6), at(5), at(1), tags("old")),
        attempted_at=at(4),
    ),
}


ENDING = RunEnding(
    pairs=((Outcome.APPLIED, 1), (Outcome.HELD, 1), (Outcome.NOT_SENT, 4)),
    rounds=2,
    reads=3,
    adopted=2,
    released=1,
    outside=1,
    error="the token was refused",
    shortfalls=(
        Shortfall(Outcome.HELD, Action.ADD, (Tag("grün"),), "what?", (ANNA,)),
        Shortfall(Outcome.NOT_SENT, Action.REMOVE, (Tag("old"), Tag("x")), "it stopped", (BERT, ContactId("never"))),
    ),
)


SNAPSHOTS = {
    SetName("vip, grün"): Snapshot((ANNA, BERT), at(7), "sha256:abc", MatchCounts(5, 2, 1, 1, 0, 1)),
    SetName("none"): Snapshot((), at(6), "sha256:def"),
    SetName("gold"): Snapshot((CARA, DORA), at(7), "sha256:0ab", MatchCounts(2, 2, kept=1), {DORA: at(4)}),
}
OLD, OWN, SHARED = (Fingerprint(bytes([nth]) * 16) for nth in range(3))
STATUS = IndexStatus(
    key_check="a1b2",
    secret=bytes(range(32)),
    covers=("field123", "email"),
    scanned_at=at(5),
    read_until=at(6),
    look_ups=((ValueKind.EMAIL, LookUp.SEARCH), (ValueKind.FIELD, LookUp.NONE)),
)
PEOPLE = PeopleIndex(STATUS, {OWN: (ANNA,), SHARED: (ANNA, BERT)}, {OLD: (ANNA,)})
"""The index of people that `fill` leaves."""


def fill(state: StateStore) -> None:
    """A run that completes, one that is withdrawn and stops, one that is killed before its answer."""
    store = state.at(HERE)
    lease = store.acquire_lease(a_holder(), START)
    run = store.begin_run(lease, RunHeader(HERE, "apply", "anna", at(1), "sha256:abc", "0123abc"))
    adding = Batch(Action.ADD, (ANNA, BERT, CARA), (Tag("vip"),))
    number = store.record_intent(lease, run, adding, {ANNA: contact_state(ledger=tags("vip"))}, at(2))
    verdicts = {
        ANNA: ContactOutcome(Outcome.APPLIED, "", None, tags("grün"), tags("vip")),
        BERT: ContactOutcome(Outcome.HELD, "what?"),
        CARA: ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED),
    }
    store.record_answer(lease, number, verdicts, KNOWN, at(3))
    store.end_run(lease, run, RunStatus.COMPLETE, at(4), set_sizes={SetName("vips"): 3})
    run = store.begin_run(lease, RunHeader(HERE, "apply", "bert", at(5), "sha256:def"))
    number = store.record_intent(lease, run, Batch(Action.REMOVE, (BERT,), (Tag("old"),)), {}, at(6))
    store.withdraw_batch(lease, number, {}, at(7))
    store.save_adoptions(lease, run, {CARA: changed_state(KNOWN[CARA], ledger=tags("grün vip"))})
    store.end_run(lease, run, RunStatus.STOPPED, at(8), set_sizes=None, ending=ENDING)
    store.save_snapshots(lease, SNAPSHOTS)
    store.save_people(lease, PeopleLot(STATUS, {ANNA: frozenset({OLD}), BERT: frozenset({SHARED})}))
    store.save_people(lease, PeopleLot(STATUS, {ANNA: frozenset({SHARED, OWN})}))
    run = store.begin_run(lease, RunHeader(HERE, "apply", "anna", at(9)))
    store.record_intent(
        lease, run, Batch(Action.ADD, (DORA,), (Tag("vip"),)), {DORA: contact_state(ledger=tags("vip"))}, at(10)
    )
    tried = (TriedRow("case", TrialVerdict.OTHERWISE, "'A' is kept as 'A'", at(10)),)
    store.save_facts(lease, LocationFacts(True, 250, None, ((Tag("gru\u0308n"), Tag("grün")),), at(10), tried))
    store = state.at(THERE)
    there = store.acquire_lease(a_holder("two"), START)
    store.save_states(there, {ANNA: contact_state(tags("z"), at(1), ObservationOrigin.IMPORT)})
    store.release_lease(there)
