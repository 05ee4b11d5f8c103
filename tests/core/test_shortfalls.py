"""Why a pair of the plan was not sent: a fact about its contact."""

from __future__ import annotations

import pytest

from reconciler.core.model.batch import Reason
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import Shortfall
from reconciler.core.model.names import Tag
from reconciler.core.model.outcome import Action, Outcome, Rejection
from reconciler.core.planning.changes import Change, DeferralReason, Delta
from reconciler.core.running.pair_outcomes import PairOutcomes
from reconciler.core.running.shortfalls import BESIDES, NEXT_PLAN, STOPPED, RunEnd, explain_unsent
from tests.build import carries, ids, state, tags


@pytest.mark.parametrize(
    ("known", "is_stopped", "besides", "why"),
    [
        (carries(), False, "", NEXT_PLAN),
        (carries(doubt="x"), False, "", DeferralReason.UNTIL_SETTLED),
        (carries(doubt="x"), False, "anna", BESIDES),
        (carries(doubt="x"), True, "anna", STOPPED),
        (carries(quarantine=Rejection.DELETED), True, "anna", "the API refuses the contact: deleted"),
    ],
    ids=["nothing known", "in doubt", "of the file alone", "stopped", "refused"],
)
def test_the_first_fact_that_holds_is_the_reason(known: ContactState, is_stopped: bool, besides: str, why: str) -> None:
    outcomes, wanted = PairOutcomes(), tags("vip")
    outcomes.add_planned([Delta((Change(Action.ADD, Tag("vip"), Reason.DECLARED),), ids("anna"))])
    end = RunEnd(state(anna=known), lambda contact: wanted, is_stopped=is_stopped, besides=ids(besides))
    assert explain_unsent(outcomes, (), end) == (
        Shortfall(Outcome.NOT_SENT, Action.ADD, (Tag("vip"),), why, ids("anna")),
    )
