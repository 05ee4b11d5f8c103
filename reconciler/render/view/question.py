"""The question that a person answers before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.core.model.names import LocationId, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import DeferralReason
from reconciler.core.planning.plan import LocationPlan, Plan
from reconciler.render.view.blocks import counted

WORD = "yes"
NAMED = 3
"""So many tags and locations are named; of more there is the number."""

_IN_THE_SAME_RUN = (DeferralReason.UNTIL_OBSERVED, DeferralReason.UNTIL_SETTLED)


def question(plan: Plan, names: Mapping[LocationId, str]) -> str:
    """What a person agrees to, in one line. `names`: what people call the locations."""
    busy = [each for each in plan.locations if not each.is_empty]
    where = _some([names.get(each.location) or each.location for each in busy], "location")
    sent = [each for each in busy if each.batches]
    if not sent:
        return f"Send nothing, and record {_recorded(busy)} in {where}? Type {WORD}: "
    requests = counted(sum(each.summary.requests for each in sent), "request")
    return f"Send {_sent(sent)} in {requests} to {where}{_open(sent)}? Type {WORD}: "


def _sent(plans: Iterable[LocationPlan]) -> str:
    told = [_pairs(action, list(plans)) for action in (Action.ADD, Action.REMOVE)]
    return " and ".join(filter(None, told)) or "again what was sent before"


def _pairs(action: Action, plans: Iterable[LocationPlan]) -> str:
    """`2,394 adds (vip triggers automations)`"""
    total, triggers = 0, set[Tag]()
    for plan in plans:
        for delta in plan.deltas:
            changed = delta.tags(action)
            total += len(changed) * len(delta.contacts)
            triggers |= set(changed) & set(plan.triggers)
    verb = "triggers" if len(triggers) == 1 else "trigger"
    told = f" ({_some(sorted(triggers), 'tag')} {verb} automations)" if triggers else ""
    return counted(total, action) + told if total else ""


def _recorded(plans: Iterable[LocationPlan]) -> str:
    summaries = [each.summary for each in plans]
    adopted, released = (sum(each.adopted for each in summaries), sum(each.released for each in summaries))
    parts = [f"{number:,} {word}" for number, word in ((adopted, "adopted"), (released, "released")) if number]
    return " and ".join(parts) or "what stays on leaving"


def _open(plans: Iterable[LocationPlan]) -> str:
    """What may follow in the same run, once answers tell."""
    found = [each for plan in plans for each in plan.deferrals]
    most = sum(len(each.tags) * len(each.contacts) for each in found if each.reason in _IN_THE_SAME_RUN)
    bounded = f", and at most {counted(most, 'remove')} that the answers call for" if most else ""
    unbounded = any(each.reason is DeferralReason.OPEN for each in found)
    return bounded + (", and whatever else exact authority removes then" if unbounded else "")


def _some(names: list[str], what: str) -> str:
    if len(names) <= NAMED:
        return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{', '.join(names[:NAMED])} and {counted(len(names) - NAMED, 'more ' + what)}"
