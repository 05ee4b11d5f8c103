"""Plan files: what `apply PLAN` reads before it plans again, and what somebody may write into one."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Batch, Reason
from reconciler.core.model.names import ContactId, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import Change, Delta, contacts_that_differ
from reconciler.core.planning.diff import diff
from reconciler.core.planning.plan import LocationPlan, LocationState, PlanOptions, combine_plans
from reconciler.planfile import parse_plan, plan_text
from tests.simulation.declared import FOREIGN, PEOPLE, THEIRS


def whom_to_read(
    proposed: LocationPlan, desired: Desired, state: LocationState, options: PlanOptions
) -> tuple[ContactId, ...]:
    """Whose changes in the file are not those by what is known, where the file says that they were observed since."""
    known = state.observed
    news = {
        contact
        for seen in proposed.observations
        for contact in seen.contacts
        if not known[contact].doubtful and ((at := known[contact].observed_at) is None or at < seen.at)
    }
    needed = diff(desired, known, selection=options.selection, now=options.now).deltas if news else ()
    return tuple(sorted(news & contacts_that_differ(proposed.deltas, needed)))


def forge(file: bytes) -> bytes:
    """The file with pairs that no plan had: a tag of others to add, and a workflow's to remove. It is sealed as the
    product seals its own.
    """
    plan = parse_plan(file)
    forged = tuple(map(_forged, plan.locations))
    return plan_text(
        combine_plans(forged, as_of=plan.as_of, manifests=plan.manifests, selection=plan.selection)
    ).encode()


def _forged(location: LocationPlan) -> LocationPlan:
    who = tuple(sorted(PEOPLE))
    more = tuple(
        Delta((Change(action, Tag(tag), Reason.DECLARED),), who)
        for action, tag in ((Action.ADD, FOREIGN), (Action.REMOVE, THEIRS))
    )
    batches = tuple(Batch(each.changes[0].action, who, (each.changes[0].tag,)) for each in more)
    return replace(location, deltas=(*location.deltas, *more), batches=(*location.batches, *batches))
