"""Plans with one of everything, for tests that need a whole one."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.names import Instant, LocationId, Source
from reconciler.core.model.outcome import Rejection
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, combine_plans
from tests.build import DAY, HERE, NOW, a_rule, a_set, carries, declare, ids, plan_options, state, tags, unseen

ELSEWHERE = LocationId("zzzzzzzzzzzzzzzzzzzz")
PLENTY = GuardLimits(max_adds=100, max_removes_pct=100.0, empties_tag=False, odd_ids=False)


def a_location(*, valid_until: int | None = NOW + DAY, limits: GuardLimits = PLENTY) -> LocationPlan:
    """Adds, removals, a deferral, an adoption, a release, a doubt, a quarantine, a trigger, an observation."""
    desired = declare(
        a_set("vip", "anna bert cara", "vip gold", absent="trial", place=Source("acme.yaml", 7, 12), until=valid_until),
        a_set("leads", "dora emil", "lead", place=Source("acme.yaml", 12, 12)),
        a_set("new", "nora", "lead", absent="trial", place=Source("more.yaml", 3, 9)),
        rule=[a_rule("vip", triggers=True)],
    )
    observed = state(
        anna=carries("gold trial", ledger="gold"),
        bert=carries("vip", ledger="vip gold", doubt="gold"),
        cara=carries("vip gold old", ledger="vip gold old"),
        dora=carries("lead"),
        emil=carries("", quarantine=Rejection.DELETED),
        fred=carries("", ledger="vip"),
        gina=unseen(ledger="lead"),
    )
    seen = ObservedContacts(tags("gold trial"), Instant(NOW - DAY), ObservationOrigin.GET, ids("anna"))
    return plan_location(
        desired,
        LocationState(HERE, "6f1c8c4e-0000-4000-8000-000000000000", 41, observed),
        plan_options(limits=limits),
        observations=(seen,),
    )


def a_busy_plan(*, limits: GuardLimits = PLENTY) -> Plan:
    first = a_location(limits=limits)
    return combine_plans([first, replace(first, location=ELSEWHERE, lineage=None)], as_of=NOW, manifests="manifests")
