"""A plan file that is to be applied: a proposal, compared with a plan that is made now.

Rules
1. Settings, and with them state, origin, tokens and lifted guards, are of the directory that a person named, or of the
   default one; a file chooses none.
2. The file says which part of the manifests was planned. Retries, deferrals under exact authority and re-assertions,
   which send more than a plan without flags, are sent by flags of this very command.
3. Observations in the file are not believed: where they would change the requests, the contact is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.errors import AuthRefused, StalePlan, Unfinished, UsageError
from reconciler.core.model.journal import UnknownLocation
from reconciler.core.model.names import ContactId, Instant, LocationId, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.model.safe_text import quoted
from reconciler.core.observing.refresh_rules import Method, RefreshRequest
from reconciler.core.planning.approved_scope import (
    Proposal,
    ProposalDifference,
    keep_called_for,
    keep_unmet,
    narrow_plan,
    respell_state,
)
from reconciler.core.planning.batches import count_change_pairs
from reconciler.core.planning.changes import (
    Delta,
    contacts_by_tag,
    contacts_that_differ,
    list_additions,
    list_unapproved,
)
from reconciler.core.planning.diff import diff
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, PlanOptions, combine_plans
from reconciler.core.planning.situation import NOT_SEARCHED, Searched, exclusive_tags
from reconciler.operations.api import find_api
from reconciler.operations.current_state import (
    CurrentState,
    Errors,
    count_sent,
    find_leases,
    load_each,
    read_location,
    run_each,
    take_in_reading,
    work_each,
)
from reconciler.operations.plan import PlanResult, list_rule_notes, plan_current
from reconciler.operations.plan_options import PlanRequest, make_plan_options
from reconciler.operations.quota import assume_sent_today
from reconciler.operations.stored_state import refuse_missing_state
from reconciler.operations.workspace import MANIFESTS, Session, Workspace, open_session
from reconciler.output.blocks import counted, sample
from reconciler.planfile import load_plan
from reconciler.ports import LocationReader
from reconciler.store import open_reader

FEW = 100
"""So many are read one by one, which tells of this moment, though a search might take fewer requests."""

WIDENING = {
    "retry_held": "--retry-held",
    "retry_rejected": "--retry-rejected",
    "apply_deferrals": "--apply-deferrals",
    "again": "--again",
}
"""The fields of a scope that send more than a plan without flags, and their flags."""


async def remake_plan(
    workspace: Workspace,
    file: Path,
    request: PlanRequest,
    *,
    locations: Sequence[str] = (),
    is_default: bool = False,
) -> PlanResult:
    """The part of a plan file that a plan made now needs too; the rest is in its notes.

    `is_default`: the workspace's directory was not named: then the file has to be of that one.

    Raises PlanFileError, StalePlan where the manifests have changed since it was planned, and UsageError for a request
    that would make another plan of it: `locations`, sets, tags and a reading are the file's to say.
    """
    _refuse_another_part(request, locations)
    proposed = load_plan(file)
    if is_default:
        _refuse_other_directory(proposed)
    request = replace(
        request,
        scope=replace(
            request.scope,
            sets=tuple(proposed.selection.sets),
            tags=tuple(proposed.selection.tags),
        ),
    )
    named = [planned.location for planned in proposed.locations]
    named += [unknown.location for unknown in proposed.unknown]
    session = open_session(workspace, named, some=True)
    refuse_missing_state(session, create_state=request.create_state)
    stale = _find_stale(proposed, session)
    # nothing began after now
    proposed = replace(proposed, as_of=min(proposed.as_of, session.now))
    return await _plan_again(proposed, session, request, stale)


def _refuse_another_part(request: PlanRequest, locations: Sequence[str]) -> None:
    given = {
        "--location": locations,
        "--set": request.scope.sets,
        "--tag": request.scope.tags,
        "--refresh": request.reading.method,
    }
    if flags := [flag for flag, value in given.items() if value]:
        raise UsageError(
            f"{flags[0]} does not go with a saved plan: the file says which part is planned, and who was read",
            hint="give it to plan, and apply what that saves",
        )


def _refuse_other_directory(proposed: Plan) -> None:
    # characters that no path has, a link that leads in a circle: no default
    with suppress(OSError, RuntimeError, ValueError):
        if Path(proposed.manifests).resolve() == MANIFESTS.resolve():
            return
    raise UsageError(
        f"the plan file says that its manifests are in {quoted(proposed.manifests[:80])}, and a file does not choose "
        f"whose settings and token are used: only {MANIFESTS} is taken unasked",
        hint="name their directory: --manifests DIR",
    )


def _find_stale(proposed: Plan, session: Session) -> Errors:
    """The error of each location whose part of the file is stale; raises that of the only one."""
    ended = {each.location for each in proposed.locations if _has_ended(each.valid_until, session)}
    if _has_ended(proposed.valid_until, session) and not ended:
        ended = {each.location for each in proposed.locations}
    errors: Errors = {}
    for planned in proposed.locations:
        # without its snapshots nothing is known of its manifests: its state tells why
        if planned.location in session.unread:
            continue
        if planned.location in ended:
            message = "the plan is stale: a set has become active or expired since"
            errors[planned.location] = StalePlan(message, hint="plan again")
        elif planned.location not in session.desired:
            message = f"the plan is stale: no manifest is of location {planned.location} any more"
            errors[planned.location] = StalePlan(message, hint="plan again")
        elif session.desired[planned.location].digest != planned.manifests_digest:
            errors[planned.location] = _explain_other_manifests(planned.location, proposed, session)
    if errors and len(proposed.locations) == 1:
        raise next(iter(errors.values()))
    return errors


def _has_ended(valid_until: Instant | None, session: Session) -> bool:
    return valid_until is not None and session.now >= valid_until


def _explain_other_manifests(location: LocationId, proposed: Plan, session: Session) -> StalePlan:
    sets = session.desired[location].sets
    if pulled := [part.name for part in sets if (part.pulled_at or proposed.as_of) > proposed.as_of]:
        return StalePlan(
            f"the plan is stale: contact set {pulled[0]!r} of location {location} was pulled since", hint="plan again"
        )
    return StalePlan(
        f"the plan is stale: the manifests of location {location} have changed since",
        hint="plan again, or apply with the manifests that were planned (--manifests DIR)",
    )


async def _plan_again(proposed: Plan, session: Session, request: PlanRequest, stale: Errors) -> PlanResult:
    with open_reader(session.settings.state) as reader:
        loaded, unusable = load_each(session, reader)
        planned = {each.location: each for each in proposed.locations if each.location not in {*stale, *unusable}}
        states = {location: respell_state(loaded[location], part) for location, part in planned.items()}

        def look(location: LocationId) -> dict[ContactId, TagSet]:
            assume_sent_today(session.pace(location), session.workspace.clock, reader.at(location))
            return _find_removed(proposed, states[location], reader.at(location))

        looked, untold = work_each(session, planned, look)
        leases, unleased = find_leases(session, reader, looked)
        untold |= unleased
        removed = {location: looked[location] for location in looked if location not in unleased}
    current, unread = await run_each(
        session,
        {
            location: _read_news(part, states[location], session, request)
            for location, part in planned.items()
            if location in removed
        },
    )
    with open_reader(session.settings.state) as reader:
        current, uncounted = count_sent(session, reader, current)
    fresh = plan_current(session, current, request)
    by_location = {location.state.location: location for location in current}
    parts = [
        _make_part(planned, proposed, by_location[planned.location], removed[planned.location], session, request)
        for planned in fresh.locations
    ]
    plans, unknown = (
        [part.plan for part in parts],
        {**_list_unplanned(proposed), **unread, **uncounted, **untold, **unusable, **stale},
    )
    plan = combine_plans(plans, as_of=fresh.as_of, manifests=fresh.manifests, selection=fresh.selection)
    return PlanResult(
        plan=replace(plan, unknown=UnknownLocation.list_from(unknown)),
        session=session,
        request=request,
        notes=(*_list_missing_flags(proposed, request), *(note for part in parts for note in part.notes)),
        leases=leases,
        proposal=Proposal(proposed, {part.plan.location: part.difference for part in parts}),
        unknown=unknown,
    )


def _list_unplanned(proposed: Plan) -> Errors:
    """The error of each location that was not known when the file was made: the file says nothing of it."""
    return {
        each.location: Unfinished(
            f"location {each.location} was not known when the plan file was made ({each.error})", hint="plan again"
        )
        for each in proposed.unknown
    }


def _list_missing_flags(proposed: Plan, request: PlanRequest) -> Iterator[str]:
    """A line for each widening flag that the file was made with, and that this request lacks."""
    for name, flag in WIDENING.items():
        if getattr(proposed.selection, name) and not getattr(request.scope, name):
            yield f"the plan file was made with {flag}, and a file gives no leave: add {flag} if that is meant"


async def _read_news(
    proposed: LocationPlan, state: LocationState, session: Session, request: PlanRequest
) -> CurrentState:
    """The current state, with a reading of the contacts that the file claims to have observed later."""
    location, desired = state.location, state.spelling.spell_desired(session.desired[state.location])
    searched = _find_searched(proposed, desired)
    options = replace(make_plan_options(session, location, request), searched=searched)
    contacts = _list_to_read(proposed, desired, state, options)
    wanted = RefreshRequest(
        method=Method.GET if len(contacts) <= FEW else Method.AUTO,
        contacts=contacts,
        doubtful=tuple(contact for contact in contacts if state.observed[contact].doubt),
        known=len(desired.contacts.keys() | state.observed.contacts.keys()),
    )
    try:
        result = await read_location(find_api(session, location), wanted)
    except AuthRefused as error:
        # without a token at all nothing could be sent either; a refused one only leaves contacts unread
        if not error.status:
            raise
        return CurrentState(state, searched=searched, unread=dict.fromkeys(contacts, error.message))
    return replace(take_in_reading(session, state, result, contacts), searched=searched)


def _list_to_read(
    proposed: LocationPlan, desired: Desired, state: LocationState, options: PlanOptions
) -> tuple[ContactId, ...]:
    """The contacts with other changes in the file than by the state, where the file observed them later."""
    observed = state.observed
    news = {
        contact
        for observation in proposed.observations
        for contact in observation.contacts
        if not observed[contact].doubtful and ((at := observed[contact].observed_at) is None or at < observation.at)
    }
    news |= {contact for unreachable in proposed.gone for contact in unreachable.contacts}
    if not news:
        return ()
    needed = diff(desired, observed, selection=options.selection, searched=options.searched, now=options.now).deltas
    return tuple(sorted(news & contacts_that_differ(proposed.deltas, needed)))


def _find_searched(proposed: LocationPlan, desired: Desired) -> Searched:
    """The exclusive tags that the file says were looked for."""
    # no holder is missed by that: one that the file shows is read again, another one is in the state
    sought = proposed.searched
    tags = sought.tags & exclusive_tags(desired)
    return Searched(tags, sought.complete & tags, sought.since) if tags else NOT_SEARCHED


@dataclass(frozen=True, slots=True)
class _Part:
    """One location of the plan: the changes in both plans, those in one of them, and lines on these."""

    plan: LocationPlan
    difference: ProposalDifference
    notes: tuple[str, ...]


def _make_part(
    fresh: LocationPlan,
    proposal: Plan,
    current: CurrentState,
    removed: Mapping[ContactId, TagSet],
    session: Session,
    request: PlanRequest,
) -> _Part:
    location, state = fresh.location, current.state
    desired = state.spelling.spell_desired(session.desired[location])
    proposed = next(planned for planned in proposal.locations if planned.location == location)
    options = current.add_to(make_plan_options(session, location, request))
    both = narrow_plan(fresh, proposed, desired, state, options.in_spelling(state.spelling))
    lacking, more = list_unapproved(fresh.deltas, both.deltas), list_additions(proposed.deltas, both.deltas)
    plausible = keep_called_for(more, desired, state.observed, removed=removed, unread=current.unread)
    # of what the file has more, a part is done by now: only changes that still lack their effect are listed
    unsent = (*list_additions(more, plausible), *keep_unmet(plausible, state.observed))
    notes = (
        *current.list_notes(),
        *list_rule_notes(both, state, session, request),
        *_list_moved(proposed, state),
        *_list_deltas(location, "not in the plan, and not sent", lacking),
        *_list_deltas(location, "in the plan file, not in a plan made now, and not sent", unsent),
    )
    return _Part(
        both, ProposalDifference(plausible, list_additions(more, plausible), count_change_pairs(lacking)), notes
    )


def _find_removed(proposed: Plan, state: LocationState, reader: LocationReader) -> dict[ContactId, TagSet]:
    """The tags that earlier runs of the file removed from each contact."""
    removed: dict[ContactId, TagSet] = {}
    digests = {proposed.change_digest, *(each.change_digest for each in proposed.locations)}
    for run in reader.read_runs():
        if run.header.change_digest not in digests:
            continue
        for batch in reader.read_batches(run.id):
            if batch.action is Action.REMOVE:
                for contact in batch.answers:
                    removed[contact] = removed.get(contact, NONE) | state.spelling.read(frozenset(batch.tags))
    return removed


def _list_moved(proposed: LocationPlan, state: LocationState) -> Iterator[str]:
    if state.serial != proposed.serial:
        moved = f"the state moved from serial {proposed.serial} to {state.serial}"
        yield f"location {state.location}: {moved}; what the plan has and is still needed is sent"


def _list_deltas(location: LocationId, what: str, deltas: Iterable[Delta]) -> Iterator[str]:
    for (action, tag), contacts in contacts_by_tag(deltas).items():
        sign = "+" if action is Action.ADD else "-"
        count = f"{counted(len(contacts), 'contact')}: {sample(contacts)}"
        yield f"location {location}: {what}: {sign}{tag} on {count}"
