"""The requests for a plan: the part of the manifests that is planned, the reading before it, and the guards to lift."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.batch import EFFORT
from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import Instant, LocationId, SetName, TagSet, did_you_mean, normalise_tag
from reconciler.core.model.settings import Guard
from reconciler.core.observing.refresh_rules import Method
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.guards import CREATE_STATE, Allowance
from reconciler.core.planning.plan import PlanOptions
from reconciler.core.planning.situation import Reassertion
from reconciler.cover import solve
from reconciler.operations.workspace import Session, latest_ms_from, rate_from, settle_ms_from


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the manifests that an operation is about, by names as people write them."""

    sets: tuple[str, ...] = ()
    """Only members of these sets; empty: all contacts."""
    tags: tuple[str, ...] = ()
    """Only these tags; empty: all."""
    retry_held: bool = False
    """Whether held pairs (in doubt, flapping, never seen) are planned once more."""
    retry_rejected: bool = False
    """Whether quarantined contacts are planned once more."""
    apply_deferrals: bool = False
    """Whether, under exact authority, a tag that only an add's answer shows is removed in the same run."""
    again: tuple[str, ...] = ()
    """Tags of the rule `once` that are given again to contacts that had them before."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Whether contacts are read before an operation goes by them."""

    method: Method | None = None
    """None: nothing is read."""
    max_age_ms: int | None = None
    """Contacts observed since so long ago are not read again; None: all are."""


STORED_ONLY = Reading()


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A request for a plan of the manifests of a session."""

    scope: Scope = Scope()
    reading: Reading = STORED_ONLY
    allow: tuple[str, ...] = ()
    """Guards to lift, as GUARD, GUARD:tag=T or GUARD:set=S; each needs `reason`."""
    reason: str = ""
    """Why guards are lifted or tags given again; the journal keeps it."""
    create_state: bool = False
    """Whether this is meant to be the first run of all."""
    effort: int = EFFORT
    """Rounds of search for fewer requests."""


EVERYTHING_STORED = PlanRequest()


def make_selection(session: Session, scope: Scope) -> Selection:
    """The scope by the names of the manifests; raises UsageError for a set or tag that they do not have."""
    sets = frozenset(SetName(name) for name in scope.sets)
    declared = {resolved.name for desired in session.desired.values() for resolved in desired.sets}
    if missing := sorted(sets - declared):
        raise UsageError(f"no set is named {missing[0]!r}", hint=f"the manifests have: {', '.join(sorted(declared))}")
    return Selection(
        sets=sets,
        tags=frozenset(map(normalise_tag, scope.tags)),
        retry_held=scope.retry_held,
        retry_rejected=scope.retry_rejected,
        apply_deferrals=scope.apply_deferrals,
        again=_find_again(session, scope),
    )


def _find_again(session: Session, scope: Scope) -> TagSet:
    tags = frozenset(map(normalise_tag, scope.again))
    once = {tag for desired in session.desired.values() for tag in desired.once}
    if strange := sorted(tags - once):
        near = did_you_mean(strange[0], sorted(once)) or "only such a tag is given once and may be given again"
        raise UsageError(f"--again {strange[0]!r}: no manifest has a tag of that name with the rule `once`", hint=near)
    return tags


def make_plan_options(session: Session, location: LocationId, request: PlanRequest) -> PlanOptions:
    """Settings and request, as far as they bear on the plan of a location."""
    api, selection = session.settings.api, make_selection(session, request.scope)
    return PlanOptions(
        solve=solve,
        caps=Caps(api.max_contacts, api.max_tags),
        rate=rate_from(session.settings),
        limits=session.settings.guards,
        allowances=(
            *_allow_first_adds(session, location, request),
            *find_allowances(session, location, request.allow, request.reason),
        ),
        selection=selection,
        reassertion=_make_reassertion(session),
        effort=request.effort,
        latest_ms=latest_ms_from(session.settings),
        settle_ms=settle_ms_from(session.settings),
        now=session.now,
        # the journal keeps each exception with its reason
        exceptions=tuple(f"again:tag={tag}: {request.reason}" for tag in sorted(selection.again)),
    )


def _make_reassertion(session: Session) -> Reassertion:
    plan = session.settings.plan
    return Reassertion(plan.reassert, Instant(session.now - 1000 * plan.reassert_max_age_s))


def _allow_first_adds(session: Session, location: LocationId, request: PlanRequest) -> list[Allowance]:
    if not request.create_state:
        return []
    # the guard is measured tag by tag, and lifted so
    rules = session.desired[location].rules
    return [Allowance(Guard.MAX_FIRST_ADDS, tag, f"{CREATE_STATE} was given") for tag in sorted(rules)]


def find_allowances(
    session: Session, location: LocationId, allow: tuple[str, ...], reason: str
) -> tuple[Allowance, ...]:
    """The `allow` entries of the settings that hold now, and the guards that `allow` lifts for `reason`."""
    if allow and not reason:
        raise UsageError("--allow needs a reason", hint='add --reason "why this is meant"; it goes into the journal')
    reviewed = [
        Allowance(allowed.guard, allowed.tag or allowed.set or "", allowed.reason)
        for allowed in session.settings.allow
        if session.now < allowed.until and allowed.location in (None, location)
    ]
    return (*reviewed, *(_parse_allowance(text, reason) for text in allow))


def _parse_allowance(text: str, reason: str) -> Allowance:
    name, _, scope = text.partition(":")
    kind, _, value = scope.partition("=")
    if name not in [guard.value for guard in Guard] or (scope and (kind not in ("tag", "set") or not value)):
        guards = ", ".join(sorted(Guard))
        raise UsageError(f"--allow {text!r} is not GUARD, GUARD:tag=T or GUARD:set=S", hint=f"the guards are {guards}")
    guard = Guard(name)
    if kind not in guard.scopes:
        forms = {"": name, "tag": f"{name}:tag=T", "set": f"{name}:set=S"}
        written = ", ".join(forms[form] for form in guard.scopes)
        raise UsageError(f"--allow {text!r}: the guard {name} does not hold for that", hint=f"write {written}")
    return Allowance(guard, normalise_tag(value) if kind == "tag" else value, reason)
