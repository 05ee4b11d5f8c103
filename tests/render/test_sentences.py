"""Each headline and each refusal as a person reads it, in golden files of their own: `pytest --bless` rewrites them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.manifest import Authority, TagRule
from reconciler.core.model.names import Instant, Tag
from reconciler.core.model.outcome import PendingCause, Rejection
from reconciler.core.model.settings import DriftClass, Guard, GuardLimits
from reconciler.core.observing.drift import Drifted, DriftReport
from reconciler.core.planning.changes import EVERYTHING, Selection
from reconciler.core.planning.guards import Measured
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, combine_plans
from reconciler.core.planning.situation import OlderRows
from reconciler.output.drift import DriftDocument
from reconciler.output.plan import PlanDocument
from reconciler.output.text import render_text
from tests.build import (
    DAY,
    HERE,
    NOW,
    a_rule,
    a_set,
    carries,
    declare,
    ids,
    loaded,
    many,
    only,
    plan_options,
    state,
    unseen,
)
from tests.render.test_goldens import GOLDEN, compare

SEEN = DriftReport(HERE, 3, (), observed=5, oldest=Instant(NOW - DAY), newest=NOW, refreshed=True)
UNSEEN = replace(SEEN, observed=0, oldest=None, newest=None, refreshed=False)
OF_CONTACTS = (DriftClass.UNOBSERVED, DriftClass.STALE, DriftClass.UNREACHABLE)


def drifted(report: DriftReport, expected: str | None = None, **classes: int) -> DriftReport:
    """The report with so many contacts of each class. `expected`: why they are expected."""
    rows = [
        Drifted(
            DriftClass(name),
            Tag("" if DriftClass(name) in OF_CONTACTS else "vip"),
            "why",
            ids(many(number)),
            expected=expected,
        )
        for name, number in classes.items()
    ]
    return replace(report, drifted=tuple(rows))


def pending(report: DriftReport, **causes: int) -> DriftReport:
    """The report with so many pending contacts of each cause."""
    rows = [
        Drifted(
            DriftClass.PENDING, Tag("vip"), "declared", ids(many(number)), cause=PendingCause(name), why_pending=why
        )
        for name, number in causes.items()
        for why in [f"why it is {name}"]
    ]
    return replace(report, drifted=(*report.drifted, *rows))


REPORTS = {
    "all is as declared": SEEN,
    "others moved it": drifted(SEEN, missing=2, unexpected=1, pending=1, held=1, unobserved=2),
    "others moved what they may": drifted(SEEN, "a workflow consumes it", missing=2),
    "the state is gone": replace(pending(drifted(UNSEEN, unobserved=3), never=3), applied=False),
    "the state is gone, and contacts were read": replace(pending(SEEN, never=3), applied=False),
    "the state is gone, and contacts too": replace(
        pending(drifted(SEEN, unreachable=2, stale=1), never=3), applied=False
    ),
    "the state is gone, and nobody is there": replace(drifted(SEEN, unreachable=2), applied=False),
    "the first apply is to come, and would change nothing": replace(SEEN, applied=False),
    "a request was lost": drifted(SEEN, held=2, pending=1),
    "a contact is refused": drifted(SEEN, unreachable=1),
    "others take it away again and again": drifted(SEEN, flapping=1),
    "the manifests moved": drifted(SEEN, pending=1, stale=1),
    **{f"pending: {cause}": pending(SEEN, **{cause: 2}) for cause in PendingCause if cause is not PendingCause.NEVER},
    "pending for several causes": pending(SEEN, pace=3, left=1, moved=2),
    "not all was ever observed": drifted(SEEN, unobserved=2),
    "the search was behind": replace(SEEN, older_rows=OlderRows(50, 30, 0)),
    "nobody looked who else has it": replace(SEEN, waiting=(Tag("board"),)),
}


def a_plan(
    *known: tuple[str, ContactState],
    rule: Iterable[TagRule] = (),
    selection: Selection = EVERYTHING,
    authority: Authority = Authority.ADDITIVE,
    tags: str = "vip",
) -> LocationPlan:
    people = dict(known)
    desired = declare(a_set("s", " ".join(people), tags, authority=authority), rule=rule)
    options = plan_options(limits=GuardLimits(), selection=selection, now=NOW)
    return plan_location(desired, loaded(state(**people), serial=3), options)


THERE = carries("vip", ledger="vip")
SHRUNK = Measured(Guard.SHRINK_PCT, "churned", 50, 75, True, 15, 20)
PLANS = {
    "all is as declared": a_plan(("anna", THERE)),
    "a request was lost": a_plan(("anna", carries("", ledger="vip", doubt="vip"))),
    "a contact is refused": a_plan(("anna", THERE), ("bert", carries("", quarantine=Rejection.DELETED))),
    "what takes its place is left out": a_plan(
        ("anna", carries("top", ledger="top")), rule=[a_rule("vip", renamed_from="top")], selection=only(tag="top")
    ),
    "nobody looked who else has it": a_plan(("anna", THERE), rule=[a_rule("vip", exclusive=True)]),
    "never observed, and nothing to add": a_plan(("anna", unseen()), authority=Authority.EXACT, tags=""),
    "a guard refuses": replace(a_plan(("anna", THERE)), guards=(SHRUNK,)),
}

BUSY = a_plan(("anna", carries("")), ("bert", carries("")))
REFUSALS = {
    "adds": Measured(Guard.MAX_ADDS, "spring", 100, 2_394, True, 2_394),
    "removes": Measured(Guard.MAX_REMOVES, "", 100, 1_200, True, 1_200),
    "adds, as a share": Measured(Guard.MAX_ADDS_PCT, "spring", 30, 50, True, 100, 200),
    "removes, as a share": Measured(Guard.MAX_REMOVES_PCT, "spring", 30, 100, True, 2_394, 2_394),
    "put back": Measured(Guard.MAX_RESTORED_PCT, "spring", 30, 100, True, 300, 300),
    "the first apply": Measured(Guard.MAX_FIRST_ADDS, "spring", 5, 300, True, 300),
    "the state is a backup": Measured(Guard.MAX_BACKUP_ADDS, "spring", 0, 300, True, 300),
    "nobody is left": Measured(Guard.EMPTIES_TAG, "spring", 0, 0, True, 2_394, 2_394),
    "too few are left": Measured(Guard.MIN_HOLDERS, "spring", 10, 1, True, 1, 2_394),
    "requests": Measured(Guard.MAX_REQUESTS, "", 20, 31, True, 31),
    "a set shrank": SHRUNK,
    "a set grew": Measured(Guard.GROW_PCT, "churned", 100, 166.7, True, 40, 24),
    "ids that cannot be": Measured(Guard.ODD_IDS, "spring", 0, 2, True, 2, 40),
    "protected": Measured(Guard.PROTECTED, "spring", 0, 3, True, 3),
    "people are not matched": Measured(Guard.MAX_UNMATCHED_PCT, "churned", 10, 30, True, 6, 20),
    "people are others": Measured(Guard.MAX_REMATCHED_PCT, "churned", 10, 30, True, 6, 20),
}
NAMED_ANEW = (
    Measured(Guard.SHRINK_PCT, "best", 50, 100, True, 24, 24),
    Measured(Guard.GROW_PCT, "finest", 100, 100, False, 24, 24),
)


def told(name: str, text: str) -> str:
    return f"### {name}\n{text.rstrip()}\n\n"


def test_each_headline_of_drift(bless: bool) -> None:
    text = "".join(told(name, render_text(DriftDocument([report]).view())) for name, report in REPORTS.items())
    compare(GOLDEN / "headlines-drift.txt", text, bless)


def test_each_headline_of_a_plan_without_changes(bless: bool) -> None:
    plans = {name: combine_plans([plan], as_of=NOW, manifests="") for name, plan in PLANS.items()}
    assert all(plan.is_empty for plan in plans.values())
    compare(
        GOLDEN / "headlines-plan.txt",
        "".join(told(name, render_text(PlanDocument(plan).view())) for name, plan in plans.items()),
        bless,
    )


def test_each_refusal(bless: bool) -> None:
    assert {each.guard for each in REFUSALS.values()} == set(Guard)
    text = ""
    for name, guards in {**{name: (each,) for name, each in REFUSALS.items()}, "a new name": NAMED_ANEW}.items():
        plan = combine_plans([replace(BUSY, deltas=(), batches=(), guards=guards)], as_of=NOW, manifests="")
        text += told(name, render_text(PlanDocument(plan).view()))
    compare(GOLDEN / "refusals.txt", text, bless)


def test_a_bound_that_its_pairs_do_not_reach_is_told_to_rest_on_more() -> None:
    """1,200 contacts need one tag: any two of the pairs fit in one request, and three requests are needed."""
    plan = a_plan(*((contact, carries("")) for contact in many(1200).split()), tags="vip")
    (proof,) = plan.proofs
    assert (proof.lower_bound, len(proof.certificate)) == (3, 1)
    text = render_text(PlanDocument(combine_plans([plan], as_of=NOW, manifests=""), explain=True).view())
    assert "This pair needs a request; that more are needed follows from" in " ".join(text.split())
