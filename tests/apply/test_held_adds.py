"""An add in doubt that a workflow may have consumed: no answer to another request of its contact sends it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.model.contact_changes import record_answer
from reconciler.core.model.contact_state import NEVER_OBSERVED, NONE, Doubt, Ledger
from reconciler.core.model.names import Instant
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.batches import Caps
from tests.build import a_rule, a_set, contact, tags
from tests.sandbox.faults import Fault, FaultKind, FaultPlan
from tests.scene import Scene, plan_options, without_limits

OPTIONS = plan_options(limits=GuardLimits(max_first_adds=None, odd_ids=False))
WELCOME = tags("welcome")
LATER = Instant(10_000_000)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("may_read", [True, False])
@pytest.mark.parametrize("triggers", [True, False])
def test_an_answer_about_another_tag_sends_it_no_second_time(tmp_path: Path, may_read: bool, triggers: bool) -> None:
    """The API added the tag and answered nothing; a workflow took it, as its automation does when it has begun."""
    lost = FaultPlan({0: Fault(FaultKind.TIMEOUT_AFTER)}, path="/contacts/bulk")
    scene = Scene(tmp_path, contact("anna"), options=OPTIONS, may_read=False, faults=lost)
    rule = [a_rule("welcome", triggers=triggers)]
    scene.want(a_set("s", "anna", "welcome"), rule=rule)
    scene.apply()
    scene.edit("anna", remove="welcome")
    scene.clock.ms += 400_000
    scene.may_read = may_read
    scene.want(a_set("s", "anna", "welcome other"), rule=rule)
    # a round after the answer would send it, and so would the run after that
    for _ in range(3):
        scene.apply()
    assert {tag: number for (_, tag), number in scene.adds().items()} == {"welcome": 1, "other": 1}
    assert scene.plan().locations[0].held[0].tags == ("welcome",)


def test_it_is_sent_once_more_where_that_answer_makes_the_reading_of_before_a_proof(tmp_path: Path) -> None:
    """The request never arrived. That writes move `dateUpdated` here is learnt by the other one."""
    lost = FaultPlan({0: Fault(FaultKind.TIMEOUT_BEFORE)}, path="/contacts/bulk")
    scene = Scene(tmp_path, contact("anna"), options=OPTIONS, faults=lost)
    rule = [a_rule("welcome", triggers=True)]
    scene.want(a_set("s", "anna", "welcome"), rule=rule)
    assert scene.apply().pairs == {Outcome.HELD: 1}
    scene.want(a_set("s", "anna", "welcome other"), rule=rule)
    assert scene.apply().pairs == {Outcome.APPLIED: 2}
    assert {tag: number for (_, tag), number in scene.adds().items()} == {"welcome": 1, "other": 1}


@pytest.mark.parametrize("takes_ms", [200_000, 35_000], ids=["after it could settle", "just before"])
@pytest.mark.slow
@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT_AFTER, FaultKind.TIMEOUT_BEFORE])
def test_no_reading_that_lags_takes_the_place_of_the_answer_that_left_it_in_doubt(
    tmp_path: Path, kind: FaultKind, takes_ms: int
) -> None:
    """The run reads what is in doubt at its end: seconds after an answer, from a copy that is behind it."""
    lost = FaultPlan({0: Fault(kind)}, path="/contacts/bulk")
    options = without_limits(replace(OPTIONS, caps=Caps(tags=1)))
    scene = Scene(tmp_path, contact("anna"), options=options, in_flight=1, faults=lost, read_lag_ms=30_000)
    scene.want(a_set("s", "anna", "first second"))

    def answer_late(nth: int) -> None:
        scene.takes_ms = takes_ms * (nth == 2)
        scene.edit("anna", remove="first")

    scene.before = answer_late
    assert scene.apply().pairs == {Outcome.APPLIED: 1, Outcome.HELD: 1}
    assert scene.known("anna").observed == tags("second")
    scene.want(a_set("s", "anna", "third"))
    scene.before = lambda nth: None
    scene.apply()
    assert scene.tags("anna") == {"third"}


@pytest.mark.parametrize("may_read", [True, False])
@pytest.mark.parametrize(
    ("carried", "kind", "outcomes"),
    [
        ("", FaultKind.TIMEOUT_AFTER, {Outcome.APPLIED: 1, Outcome.SEEN: 1}),
        ("", FaultKind.TIMEOUT_BEFORE, {Outcome.APPLIED: 1, Outcome.HELD: 1}),
        ("first second", FaultKind.TIMEOUT_AFTER, {Outcome.APPLIED: 1, Outcome.SEEN: 1}),
        ("first second", FaultKind.TIMEOUT_BEFORE, {Outcome.APPLIED: 1, Outcome.IN_DOUBT: 1}),
    ],
)
def test_what_a_later_answer_tells_is_told_by_the_run_and_waited_for_no_more(
    tmp_path: Path, carried: str, kind: FaultKind, outcomes: dict[Outcome, int], may_read: bool
) -> None:
    lost = FaultPlan({0: Fault(kind)}, path="/contacts/bulk")
    options = without_limits(replace(OPTIONS, caps=Caps(tags=1)))
    scene = Scene(tmp_path, contact("anna", carried), options=options, in_flight=1, faults=lost, may_read=may_read)
    wanted = {"absent" if carried else "text": "first second"}
    scene.want(a_set("s", "anna", **wanted))

    def answer_late(nth: int) -> None:
        scene.takes_ms = 200_000 * (nth == 2)

    scene.before = answer_late
    began = scene.clock.ms
    report = scene.apply()
    # a time-out, and the request that took long
    assert (report.pairs, scene.clock.ms - began < 270_000) == (outcomes, True)
    scene.apply()
    assert scene.plan().locations[0].is_empty


@pytest.mark.parametrize(
    ("shown", "sent", "left"),
    [
        ("other", "other", "welcome"),
        ("other welcome", "other", ""),
        ("other welcome", "other welcome", ""),
    ],
    ids=["neither shown nor sent", "shown", "sent once more"],
)
def test_an_answer_settles_what_it_shows_and_what_it_is_of(shown: str, sent: str, left: str) -> None:
    before = replace(NEVER_OBSERVED, doubt=Doubt(WELCOME, Instant(0)), ledger=Ledger(WELCOME, unconfirmed=WELCOME))
    outcome = ContactOutcome(Outcome.APPLIED, old=tags(shown))
    after = record_answer(before, outcome, Action.ADD, tags(sent), sent=LATER, answered=LATER)
    assert after.doubtful == tags(left)


def test_an_answer_settles_a_tag_that_was_seen_there_before() -> None:
    """Others took it since: it is no add whose effect is unknown."""
    before = replace(NEVER_OBSERVED, doubt=Doubt(WELCOME, Instant(0)), ledger=Ledger(WELCOME))
    outcome = ContactOutcome(Outcome.APPLIED, old=tags("other"))
    after = record_answer(before, outcome, Action.ADD, tags("other"), sent=LATER, answered=LATER)
    assert after.doubtful == NONE
