"""The headline of a plan: the worst that is true of it, and what it costs."""

from __future__ import annotations

from reconciler.core.planning.plan import LocationPlan
from reconciler.render.view.blocks import Cell, Style, counted, duration, percent


def plan_headline(plan: LocationPlan, *, left_out: bool) -> Cell:
    """`left_out`: whether changes of a proposal or a revert are listed that are not sent."""
    summary = plan.summary
    aside = plan.aside
    if plan.is_empty and left_out:
        return Cell("Nothing to send: see what is left out.", Style.STRONG)
    if plan.is_empty:
        return _nothing_to_send(plan)
    also = f" Left aside: {aside}." if aside else ""
    recorded = [
        f"{pairs:,} {word}" for pairs, word in ((summary.adopted, "adopted"), (summary.released, "released")) if pairs
    ]
    if not plan.batches:
        return Cell(
            f"Nothing to send. To record: {', '.join(recorded) or 'what stays on leaving'}.{also}", Style.STRONG
        )
    sent = [
        f"{counted(pairs, 'tag')} to {word}"
        for pairs, word in ((summary.adds, "add"), (summary.removes, "remove"))
        if pairs
    ]
    changes = ", ".join([*sent, *recorded])
    return Cell(f"{counted(summary.contacts, 'contact')}: {changes}. {_cost(plan)}.{also}", Style.STRONG)


def _nothing_to_send(plan: LocationPlan) -> Cell:
    """The worst that is true of a plan without changes."""
    also = f" Not decided: {plan.waiting}." if plan.waiting else ""
    if plan.aside:
        return Cell(f"Nothing to send, and not as declared: {plan.aside}.{also}", Style.WARN)
    if plan.refused:
        refused = ", ".join(dict.fromkeys(each.guard for each in plan.refused))
        return Cell(f"Nothing to send, and refused by {refused}.{also}", Style.BAD)
    if also:
        return Cell(f"Nothing to send.{also}", Style.WARN)
    return Cell("No changes: what was observed is as the manifests want it.", Style.GOOD)


def _bound(plan: LocationPlan) -> str:
    if all(proof.proven for proof in plan.proofs):
        return "fewer are not possible"
    return f"no plan needs fewer than {plan.summary.lower_bound:,}"


def _cost(plan: LocationPlan) -> str:
    summary = plan.summary
    time = f", {duration(summary.eta_seconds)} at the rate limit" if summary.eta_seconds else ""
    return (
        f"{counted(summary.requests, 'request')} ({_bound(plan)}), "
        f"{percent(summary.daily_quota_share)} of a day's quota{time}"
    )
