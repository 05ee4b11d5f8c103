"""Runs the stages, keeps the cheapest plan, and lets nothing out unchecked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.cover import capped, pack, roles
from reconciler.core.cover.bounds import Cell, groups
from reconciler.core.cover.draft import Draft, emit, naive
from reconciler.core.cover.model import Cover, Demand, Rectangle
from reconciler.core.cover.problem import CoverProblem, collapse
from reconciler.core.cover.verify import faults
from reconciler.core.model.names import ContactId, TagSet

_LOOSE = 1.05
"""Where the caps cut the boxes of a plan without caps into hardly more requests, a plan under caps has little
to gain."""


def plan(demands: Sequence[Demand], *, repeatable: TagSet, max_contacts: int, max_tags: int, effort: int) -> Cover:
    """See `reconciler.core.cover.cover`."""
    if max_contacts < 1 or max_tags < 1 or effort < 0:
        raise ValueError(f"a request of {max_contacts} contacts and {max_tags} tags, effort {effort}")
    problem = collapse(demands, repeatable=repeatable, max_contacts=max_contacts, max_tags=max_tags)
    if not problem.contacts:
        return Cover((), 0, "nothing to send", True, ())
    best, bound, certificate = _search(problem, effort)
    rectangles = emit(problem, best)
    wrong = faults(demands, rectangles, repeatable=repeatable, max_contacts=max_contacts, max_tags=max_tags)
    if wrong:
        rectangles = plain(demands, max_contacts=max_contacts, max_tags=max_tags)
        why = f"{best.stage} failed the last check: {'; '.join(wrong)}"
        return Cover(rectangles, 0, f"one per delta ({why}; please report this)", False, ())
    pairs = tuple(sorted((problem.contacts[contact], problem.tags[tag]) for contact, tag in certificate))
    return Cover(rectangles, bound, best.stage, bound == len(rectangles), pairs)


def _search(problem: CoverProblem, effort: int) -> tuple[Draft, int, tuple[Cell, ...]]:
    """The cheapest plan, a lower bound, and a certificate of (contact, tag) numbers."""
    best, (bound, certificate) = naive(problem), groups(problem)
    tight = True
    if roles.small(problem):
        core = roles.reduced(problem)
        bound, certificate = max(bound, core.bound), max(core.certificate, certificate, key=len)
        drafts = roles.plans(core, effort=effort)
        first = next(drafts)
        tight = first.cost > _LOOSE * len(first.blocks)
        best = _cheapest(min(best, first, key=_rank), drafts, bound)
    best = _cheapest(best, pack.plans(problem, effort=effort), bound)
    if tight:
        best = _cheapest(best, capped.plans(problem, effort=effort), bound)
    return best, bound, certificate


def _rank(plan: Draft) -> tuple[int, int]:
    return plan.rank


def _cheapest(best: Draft, drafts: Iterator[Draft], bound: int) -> Draft:
    """The first of the cheapest plans; none is made once the bound is reached."""
    while best.cost > bound and (found := next(drafts, None)):
        best = min(best, found, key=_rank)
    return best


def plain(demands: Sequence[Demand], *, max_contacts: int, max_tags: int) -> tuple[Rectangle, ...]:
    """One rectangle a delta, cut to the caps: what is left to send when the search cannot be trusted."""
    groups: dict[TagSet, list[ContactId]] = {}
    for demand in demands:
        groups.setdefault(demand.must, []).extend(demand.contacts)
    found = []
    for must, group in groups.items():
        tags, contacts = sorted(must), sorted(group)
        found += [
            Rectangle(tuple(tags[left : left + max_tags]), tuple(contacts[top : top + max_contacts]))
            for top in range(0, len(contacts), max_contacts)
            for left in range(0, len(tags), max_tags)
        ]
    return tuple(sorted(found))
