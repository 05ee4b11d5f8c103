"""What several commands need: manifests resolved, state read, the API opened, a plan made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.cli.options import flags_of
from reconciler.clock import SystemClock
from reconciler.core.batching import Caps
from reconciler.core.cover import EFFORT
from reconciler.core.desired import Desired, resolve
from reconciler.core.diff import Selection, selected
from reconciler.core.errors import Problem, StateError, UsageError
from reconciler.core.guard import Allowance, Guard
from reconciler.core.manifest import Manifest
from reconciler.core.names import ContactId, Instant, LocationId, SetName, did_you_mean, normalise_tag
from reconciler.core.observed import Known, Seen
from reconciler.core.pace import Pace, Rate
from reconciler.core.plan import Plan, PlanOptions, Snapshot, combine, plan_location
from reconciler.core.reassert import Reassertion
from reconciler.core.settings import Settings, redacted
from reconciler.core.view.blocks import moment
from reconciler.highlevel.client import Heard, HighLevel, ignore
from reconciler.highlevel.token import find_token
from reconciler.loading import load
from reconciler.ports import Reporter, StateReader
from reconciler.refresh import Reading, read_contacts, scan


@dataclass(frozen=True, slots=True)
class Session:
    """The manifests of a directory, resolved at `now`. `problems`: warnings and infos."""

    directory: Path
    now: Instant
    settings: Settings
    desired: Mapping[LocationId, Desired]
    problems: tuple[Problem, ...]

    def called(self) -> dict[LocationId, str]:
        """What people call the locations."""
        return {location: self.settings.location(location).name for location in self.desired}

    def notes(self) -> list[str]:
        """Sets that do not declare now, and when they do."""
        return [
            f"{each.source}: set {each.name!r} {_when(each.start, each.until, self.now)}"
            for desired in self.desired.values()
            for each in desired.sets
            if not each.active
        ]


def strays(session: Session, reader: StateReader, options: Mapping[str, Any]) -> list[str]:
    """A line for each location that has state and no manifest any more; nothing where locations were chosen."""
    left = [] if options.get("locations") else sorted(set(reader.locations()) - session.desired.keys())
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
    loaded = load(directory, environment=os.environ, flags=flags_of(options), now=now)
    chosen = [LocationId(each) for each in options.get("locations", ())]
    desired = {
        location: resolve(manifests, now=now, shared_rules=loaded.settings.rules, authority=loaded.settings.authority)
        for location, manifests in _by_location(loaded.manifests, chosen).items()
    }
    return Session(directory, now, loaded.settings, desired, loaded.problems)


def _by_location(manifests: Iterable[Manifest], chosen: Sequence[LocationId]) -> dict[LocationId, list[Manifest]]:
    found: dict[LocationId, list[Manifest]] = {}
    for manifest in manifests:
        found.setdefault(manifest.location, []).append(manifest)
    unknown = [location for location in chosen if location not in found]
    if unknown:
        raise UsageError(
            f"no manifest is of location {unknown[0]!r}", hint=f"the manifests have: {', '.join(sorted(found))}"
        )
    return {location: found[location] for location in sorted(chosen or found)}


def plan_options(session: Session, location: LocationId, options: Mapping[str, Any]) -> PlanOptions:
    """Settings and flags that bear on the plan of a location."""
    api = session.settings.api
    return PlanOptions(
        caps=Caps(api.max_contacts, api.max_tags),
        rate=_rate(session.settings),
        limits=session.settings.guards,
        allowances=(*_reviewed(session, location), *_allowances(options)),
        selection=selection(session, options),
        reassertion=_reassertion(session),
        effort=options.get("plan_effort", EFFORT),
        settle_ms=_settle_ms(session.settings),
    )


def _reassertion(session: Session) -> Reassertion:
    plan = session.settings.plan
    return Reassertion(plan.reassert, Instant(session.now - 1000 * plan.reassert_max_age_s))


def _settle_ms(settings: Settings) -> int:
    return settings.api.settle_s * 1000


def _rate(settings: Settings) -> Rate:
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
    )


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
    return Allowance(Guard(name), normalise_tag(value) if kind == "tag" else value, reason)


def open_api(session: Session, location: LocationId, *, heard: Heard = ignore) -> HighLevel:
    """The API of a location; `heard` is told what it says of its limits. Raises AuthRefused without a token."""
    place, api = session.settings.location(location), session.settings.api
    token = find_token(location, os.environ, variable=place.token_env, command=place.token_command)
    return HighLevel(api.base_url, token=token, version=api.version, timeout_s=api.timeout_s, heard=heard)


@dataclass(frozen=True, slots=True)
class Present:
    """What is known of a location now. `observations` were read just now; `earlier`: what they replaced."""

    state: Snapshot
    observations: tuple[Seen, ...] = ()
    earlier: Mapping[ContactId, Known] | None = None


def load_pinned(session: Session, reader: StateReader, location: LocationId) -> Snapshot:
    """The state; raises StateError where it is another than the one that the settings pin."""
    state = reader.load(location)
    pin = session.settings.pin(location)
    if pin in (None, state.lineage):
        return state
    where = redacted(session.settings.state)
    there = f"lineage {state.lineage}" if state.lineage else "none there"
    raise StateError(
        f"the state of location {location} is pinned to lineage {pin}, and {where} has {there}",
        hint="see that `state` names the right one; the pin is `lineage` in reconciler.yaml",
    )


async def look(
    session: Session,
    reader: StateReader,
    options: Mapping[str, Any],
    report: Reporter,
    *,
    contacts: Sequence[ContactId] | None = None,
) -> list[Present]:
    """The state of every location, refreshed where --refresh asks for it. Holds no writer.

    `contacts`: whom `--refresh get` reads, where it is not whom the manifests declare.
    """
    method = options.get("refresh")
    states = {location: load_pinned(session, reader, location) for location in session.desired}
    _refuse_unknown_tags(session, states.values(), options)
    if not method:
        return [Present(state) for state in states.values()]
    async with AsyncExitStack() as stack:
        found = []
        for location, desired in session.desired.items():
            api = await stack.enter_async_context(open_api(session, location))
            reading = Reading(api, SystemClock(), report, Pace(_rate(session.settings)))
            if method == "get":
                whom = (
                    _concerned(desired, states[location], selection(session, options)) if contacts is None else contacts
                )
                seen = await read_contacts(location, whom, reading)
            else:
                seen = await scan(location, reading)
            found.append(_refreshed(states[location], seen, _settle_ms(session.settings)))
        return found


def _refuse_unknown_tags(session: Session, states: Iterable[Snapshot], options: Mapping[str, Any]) -> None:
    """A --tag that neither manifests nor ledger know is a slip of the finger."""
    known = {tag for desired in session.desired.values() for tag in desired.owned}
    known |= {tag for state in states for pattern in state.observed.patterns for tag in pattern.ledger}
    if unknown := sorted(selection(session, options).tags - known):
        near = did_you_mean(unknown[0], sorted(known))
        raise UsageError(f"no manifest and no ledger has the tag {unknown[0]!r}", hint=near)


def _concerned(desired: Desired, state: Snapshot, chosen: Selection) -> list[ContactId]:
    """The contacts to read one by one: those that are declared, and those that the ledger still holds."""
    declared = set(selected(desired, chosen))
    if chosen.sets:
        return sorted(declared)
    return sorted(declared | {contact for contact, known in state.observed.items() if known.ledger})


def _refreshed(state: Snapshot, seen: tuple[Seen, ...], settle_ms: int) -> Present:
    """The state with what was read taken in, in memory only."""
    observed = state.observed
    earlier = {contact: observed[contact] for each in seen for contact in each.contacts}
    for each in seen:
        observed.update(dict(each.absorb(observed, settle_ms=settle_ms)))
    return Present(state, seen, earlier)


def make_plan(session: Session, present: Iterable[Present], options: Mapping[str, Any]) -> Plan:
    plans = [
        plan_location(
            session.desired[each.state.location],
            each.state,
            plan_options(session, each.state.location, options),
            observations=each.observations,
        )
        for each in present
    ]
    chosen = selection(session, options)
    return combine(plans, as_of=session.now, manifests=str(session.directory), selection=chosen)
