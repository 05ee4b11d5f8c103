"""What a plan must say of one contact, written from the contract's formulas with plain sets, one contact at a time.

P present, A absent, O observed, D ledger, as contract 5.2 (`docs/contract.md`) has them. Deliberately slow and literal.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from fnmatch import fnmatch

from reconciler.core.model.names import Tag

Tags = Set[Tag]
EMPTY: Tags = frozenset()


@dataclass(frozen=True)
class Case:
    """One contact. `observed` None: never observed. `keep`: what stays on leaving; `owned`: of the location.

    `lately`: what we put back less than 7 days ago. `grouped`: absent for the sake of a declared tag of its group,
    which `instead` tells.
    """

    present: Tags = EMPTY
    absent: Tags = EMPTY
    authority: str = "additive"
    ignore: tuple[str, ...] = ()
    observed: Tags | None = None
    ledger: Tags = EMPTY
    keep: Tags = EMPTY
    doubt: Tags = EMPTY
    quarantined: bool = False
    owned: Tags = EMPTY
    protected: Tags = EMPTY
    once: Tags = EMPTY
    lately: Tags = EMPTY
    grouped: Tags = EMPTY
    instead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    adds: Tags = field(default_factory=set)
    removes: Tags = field(default_factory=set)
    deferred: Tags = field(default_factory=set)
    held: Tags = field(default_factory=set)
    adopted: Tags = field(default_factory=set)
    released: Tags = field(default_factory=set)
    quarantined: bool = False


def expect(case: Case) -> Expected:
    p, a, d, keep = case.present, case.absent, case.ledger, case.keep
    safe = {tag for tag in p | a | d | case.owned | (case.observed or EMPTY) if _safe(tag, case)}
    satisfied = {tag for tag in case.once if tag in d}
    flapping = set() if case.observed is None else (p & d & case.lately) - case.observed - case.doubt - satisfied
    prune = d - p - keep
    named = (a | prune) - p - safe
    broad = (case.owned - p - safe) if case.authority in ("owned", "exact") else set()
    if case.authority == "owned":
        broad -= keep
    adopted, released = _ledger(case)
    if case.observed is None:
        adds = p - satisfied - case.doubt
        waiting = p & case.doubt - satisfied
        removes = set() if adds or waiting else named - case.doubt
        deferred = (named | broad) - case.doubt - removes
        wrong = bool(p - satisfied or named)
    else:
        o = case.observed
        everything = (o - p - safe) if case.authority == "exact" else set()
        adds = p - o - satisfied - case.doubt - flapping
        waiting = p & case.doubt - satisfied
        due = (named | broad | everything) & (o | case.doubt)
        if flapping:
            due -= {tag for tag in case.grouped if case.instead.get(tag) in flapping}
        removes = set() if waiting else due - case.doubt
        deferred = due if waiting else set()
        wrong = bool((p - (o - case.doubt) - satisfied) or due)
    if case.quarantined:
        return Expected(adopted=adopted, released=released, quarantined=wrong or bool(case.doubt))
    return Expected(adds, removes, deferred, case.doubt | flapping, adopted, released)


def _safe(tag: Tag, case: Case) -> bool:
    return tag in case.protected or any(fnmatch(tag, pattern) for pattern in case.ignore)


def _ledger(case: Case) -> tuple[Tags, Tags]:
    """What enters because it is desired and there; what leaves: undesired and known absent, or kept on the contact,
    where `owned` would not take it."""
    o = case.observed
    adopted = set() if o is None else (case.present & o) - case.ledger - case.doubt
    undesired = case.ledger - case.present - case.doubt
    absent = set() if o is None else undesired - o
    would_go = case.owned if case.authority == "owned" else set()
    return adopted, absent | ((undesired & case.keep) - would_go)
