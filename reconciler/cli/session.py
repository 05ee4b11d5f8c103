"""What several commands need: manifests resolved, state read, the API opened, a plan made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.cli.console import Console
from reconciler.cli.first_run import first_run_allowances
from reconciler.cli.whose import load_named
from reconciler.clock import SystemClock
from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.api_limits import Rate
from reconciler.core.model.errors import Problem, Severity, StateError, UsageError
from reconciler.core.model.manifest import Manifest
from reconciler.core.model.names import Instant, LocationId, SetName, TagSet, did_you_mean, normalise_tag
from reconciler.core.model.rectangles import EFFORT
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import Guard, Settings
from reconciler.core.planning.batches import Caps
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.guards import Allowance
from reconciler.core.planning.plan import LocationState, PlanOptions
from reconciler.core.planning.situation import Reassertion
from reconciler.core.running.pace import Pace
from reconciler.cover import solve
from reconciler.output.blocks import moment
from reconciler.ports import StateReader


@dataclass(frozen=True, slots=True)
class Session:
    """The manifests of a directory, resolved at `now`. `problems`: warnings and infos.

    `paces`: of the locations that were asked so far; all that ask a location go by one.
    """

    directory: Path
    now: Instant
    settings: Settings
    desired: Mapping[LocationId, Desired]
    problems: tuple[Problem, ...]
    paces: dict[LocationId, Pace] = field(default_factory=dict)

    def pace(self, location: LocationId) -> Pace:
        return self.paces.setdefault(location, Pace(rate_of(self.settings)))

    def notes(self) -> list[str]:
        """Sets that do not declare now, and when they do."""
        return [
            f"{each.source}: set {each.name!r} {_when(each.start, each.until, self.now)}"
            for desired in self.desired.values()
            for each in desired.sets
            if not each.active
        ]


def warn_of_problems(session: Session, console: Console) -> None:
    """What is wrong with manifests, settings and variables, and no error."""
    for problem in session.problems:
        if problem.severity is not Severity.INFO:
            console.warn(*problem.lines)


def strays(session: Session, reader: StateReader, options: Mapping[str, Any]) -> list[str]:
    """A line for each location that has state and no manifest any more; nothing where locations were chosen."""
    left = [] if options.get("locations") else sorted(set(reader.list_locations()) - session.desired.keys())
    return [
        f"location {location} has state but no manifest: left untouched (to empty it, declare `contact_sets: {{}}`)"
        for location in left
    ]


def _when(start: Instant | None, until: Instant | None, now: Instant) -> str:
    if start is not None and now < start:
        return f"becomes active {moment(start)}"
    return f"expired {moment(until)}"


def open_session(directory: Path, options: Mapping[str, Any]) -> Session:
    """Loads and resolves; raises InvalidInput with every problem. `options`: the command's own."""
    now = SystemClock().now()
    loaded = load_named(directory, options, now=now)
    chosen = [loaded.settings.find_location(each) for each in options.get("locations", ())]
    desired = {
        location: resolve(manifests, now=now, shared_rules=loaded.settings.rules, authority=loaded.settings.authority)
        for location, manifests in _by_location(loaded.manifests, chosen, loaded.settings).items()
    }
    return Session(directory, now, loaded.settings, desired, loaded.problems)


def _by_location(
    manifests: Iterable[Manifest], chosen: Sequence[LocationId], settings: Settings
) -> dict[LocationId, list[Manifest]]:
    found: dict[LocationId, list[Manifest]] = {}
    for manifest in manifests:
        found.setdefault(manifest.location, []).append(manifest)
    unknown = [location for location in chosen if location not in found]
    if unknown:
        raise UsageError(
            f"no manifest is of location {unknown[0]!r}",
            hint=f"the manifests have: {', '.join(map(settings.called, sorted(found)))}",
        )
    return {location: found[location] for location in sorted(chosen or found)}


def plan_options(session: Session, location: LocationId, options: Mapping[str, Any]) -> PlanOptions:
    """Settings and flags that bear on the plan of a location."""
    api = session.settings.api
    return PlanOptions(
        solve=solve,
        caps=Caps(api.max_contacts, api.max_tags),
        rate=rate_of(session.settings),
        limits=session.settings.guards,
        allowances=(
            *first_run_allowances(session.desired[location], options),
            *_reviewed(session, location),
            *_allowances(options),
        ),
        selection=selection(session, options),
        reassertion=_reassertion(session),
        effort=options.get("plan_effort", EFFORT),
        settle_ms=settle_ms_of(session.settings),
        now=session.now,
        exceptions=tuple(f"again:tag={tag}: {options.get('reason')}" for tag in sorted(_again(session, options))),
    )


def _reassertion(session: Session) -> Reassertion:
    plan = session.settings.plan
    return Reassertion(plan.reassert, Instant(session.now - 1000 * plan.reassert_max_age_s))


def settle_ms_of(settings: Settings) -> int:
    return settings.api.settle_s * 1000


def rate_of(settings: Settings) -> Rate:
    api = settings.api
    return Rate(per_window=api.requests_per_10s, per_day=api.requests_per_day, reserve_pct=api.reserve_pct)


def selection(session: Session, options: Mapping[str, Any]) -> Selection:
    sets = frozenset(SetName(each) for each in options.get("sets", ()))
    known = {each.name for desired in session.desired.values() for each in desired.sets}
    if missing := sorted(sets - known):
        raise UsageError(f"no set is named {missing[0]!r}", hint=f"the manifests have: {', '.join(sorted(known))}")
    return Selection(
        sets=sets,
        tags=frozenset(normalise_tag(each) for each in options.get("tags", ())),
        retry_held=options.get("retry_held", False),
        retry_rejected=options.get("retry_rejected", False),
        apply_deferrals=options.get("apply_deferrals", False),
        again=_again(session, options),
    )


def _again(session: Session, options: Mapping[str, Any]) -> TagSet:
    """The tags of --again; raises UsageError for one that no manifest has as `once`."""
    tags = frozenset(normalise_tag(each) for each in options.get("again", ()))
    once = {tag for desired in session.desired.values() for tag in desired.once}
    if strange := sorted(tags - once):
        near = did_you_mean(strange[0], sorted(once)) or "only such a tag is given once and may be given again"
        raise UsageError(f"--again {strange[0]!r}: no manifest has a tag of that name with the rule `once`", hint=near)
    return tags


def _reviewed(session: Session, location: LocationId) -> list[Allowance]:
    """The `allow` entries of the settings that hold now."""
    return [
        Allowance(each.guard, each.tag or each.set or "", each.reason)
        for each in session.settings.allow
        if session.now < each.until and each.location in (None, location)
    ]


def _allowances(options: Mapping[str, Any]) -> list[Allowance]:
    """The --allow flags: `guard`, `guard:tag=T` or `guard:set=S`, each with the one --reason."""
    allowed = options.get("allow", ())
    if allowed and not options.get("reason"):
        raise UsageError("--allow needs a reason", hint='add --reason "why this is meant"; it goes into the journal')
    return [_allowance(text, options["reason"]) for text in allowed]


def _allowance(text: str, reason: str) -> Allowance:
    name, _, scope = text.partition(":")
    kind, _, value = scope.partition("=")
    if name not in [guard.value for guard in Guard] or (scope and (kind not in ("tag", "set") or not value)):
        guards = ", ".join(sorted(Guard))
        raise UsageError(f"--allow {text!r} is not GUARD, GUARD:tag=T or GUARD:set=S", hint=f"the guards are {guards}")
    guard = Guard(name)
    if kind not in guard.scopes:
        forms = {"": name, "tag": f"{name}:tag=T", "set": f"{name}:set=S"}
        written = ", ".join(forms[each] for each in guard.scopes)
        raise UsageError(f"--allow {text!r}: the guard {name} does not hold for that", hint=f"write {written}")
    return Allowance(guard, normalise_tag(value) if kind == "tag" else value, reason)


def load_pinned(session: Session, reader: StateReader, location: LocationId) -> LocationState:
    """As `load_state`, by the settings of a session."""
    return load_state(session.settings, reader, location)


def load_state(settings: Settings, reader: StateReader, location: LocationId) -> LocationState:
    """The state; raises StateError where it is another than the one that the settings pin."""
    state = reader.at(location).load_state()
    pin = settings.pin(location)
    if pin in (None, state.lineage):
        return state
    where = redacted(settings.state)
    there = f"lineage {state.lineage}" if state.lineage else "none there"
    raise StateError(
        f"the state of location {location} is pinned to lineage {pin}, and {where} has {there}",
        hint="see that `state` names the right one; the pin is `lineage` in reconciler.yaml",
    )
