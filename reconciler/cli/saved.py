"""A saved plan, when it is to be applied: a proposal, held against what is to do now.

Rules
1. Settings, and with them state, origin, tokens and lifted guards, are of the directory that a person named, or of the
   default one; a file chooses none.
2. The file says which part of the whole was planned. What sends more than a plan without flags (retries, deferrals
   under exact authority, re-assertions) is sent by flags of this very command.
3. What the file says was observed is believed of nobody: where it would change what is sent, the contact is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.cli.connecting import reckon_today
from reconciler.cli.first_run import refuse_missing_state
from reconciler.cli.looking import Present, absorbed, make_plan, read, side_by_side
from reconciler.cli.session import Session, load_pinned, open_session, plan_options, settle_ms_of
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.errors import AuthRefused, StalePlan, UsageError
from reconciler.core.model.names import ContactId, LocationId, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.observing.refresh_rules import Method, RefreshRequest, list_doubtful
from reconciler.core.planning.approved_scope import (
    Proposal,
    ProposalDifference,
    contacts_by_tag,
    contacts_that_differ,
    keep_called_for,
    keep_unmet,
    list_additions,
    list_unapproved,
    narrow_plan,
    respell_state,
)
from reconciler.core.planning.batches import count_change_pairs
from reconciler.core.planning.changes import Delta
from reconciler.core.planning.diff import diff
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, PlanOptions, combine_plans
from reconciler.core.planning.situation import NOT_SEARCHED, Searched, exclusive_tags
from reconciler.output.blocks import counted, sample
from reconciler.planfile import load_plan
from reconciler.ports import LocationReader, Reporter
from reconciler.store import open_reader

DEFAULT = Path("manifests")
FEW = 100
"""So many are read one by one, which tells of this moment, though a search might take fewer requests."""

NOT_WITH_A_PLAN = {
    "locations": "--location",
    "sets": "--set",
    "tags": "--tag",
    "refresh": "--refresh",
}
WIDENING = {
    "retry_held": "--retry-held",
    "retry_rejected": "--retry-rejected",
    "apply_deferrals": "--apply-deferrals",
    "again": "--again",
}
"""What sends more than a plan without flags, by its name in a selection and among options."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A plan file that is to be applied. `plan`: what of it is needed now; `options`: with what was chosen in it.
    `notes`: what it has besides, and what is needed besides."""

    plan: Plan
    session: Session
    proposal: Proposal
    options: dict[str, Any]
    notes: tuple[str, ...]


def open_saved(path: Path, directory: Path | None, options: Mapping[str, Any], report: Reporter) -> Saved:
    """The plan in the file, made anew by the manifests in `directory`, as far as it has it.

    Raises PlanFileError, StalePlan where the manifests no longer say what was planned, and UsageError for options
    that would make another plan of it.
    """
    given = [flag for name, flag in NOT_WITH_A_PLAN.items() if options.get(name)]
    if given:
        raise UsageError(
            f"{given[0]} does not go with a saved plan: the file says which part is planned, and who was read",
            hint="give it to plan, and apply what that saves",
        )
    proposed = load_plan(path)
    options = dict(options) | _chosen(proposed)
    session = _session_of(proposed, _directory(directory, proposed), options)
    # nothing began after now
    proposed = replace(proposed, as_of=min(proposed.as_of, session.now))
    return asyncio.run(_made_anew(proposed, session, options, report))


def _chosen(plan: Plan) -> dict[str, Any]:
    """The part of the whole that was planned."""
    return {
        "locations": tuple(each.location for each in plan.locations),
        "sets": tuple(plan.selection.sets),
        "tags": tuple(plan.selection.tags),
    }


def _directory(given: Path | None, plan: Plan) -> Path:
    if given is not None:
        return given
    if not _is_default(plan.manifests):
        raise UsageError(
            f"the plan file says that its manifests are in {plan.manifests[:80]!r}, and a file does not choose whose "
            f"settings and token are used: only {DEFAULT} is taken unasked",
            hint="name their directory: --manifests DIR",
        )
    return DEFAULT


def _is_default(written: str) -> bool:
    try:
        return Path(written).resolve() == DEFAULT.resolve()
    except (OSError, RuntimeError, ValueError):
        # characters that no path has, a link that leads in a circle
        return False


def _session_of(plan: Plan, directory: Path, options: Mapping[str, Any]) -> Session:
    session = open_session(directory, options)
    refuse_missing_state(session.settings, session.desired, options)
    if plan.valid_until is not None and session.now >= plan.valid_until:
        raise StalePlan("the plan is stale: a set has become active or expired since", hint="plan again")
    for each in plan.locations:
        if session.desired[each.location].digest != each.manifests_digest:
            raise StalePlan(
                f"the plan is stale: the manifests of location {each.location} have changed since",
                hint="plan again, or apply with the manifests that were planned (--manifests DIR)",
            )
    return session


async def _made_anew(proposed: Plan, session: Session, options: dict[str, Any], report: Reporter) -> Saved:
    with open_reader(session.settings.state) as reader:
        states = [respell_state(load_pinned(session, reader, each.location), each) for each in proposed.locations]
        removed = {state.location: _removed(proposed, state, reader.at(state.location)) for state in states}
        for state in states:
            reckon_today(session.pace(state.location), reader.at(state.location))
    present = await side_by_side(
        _look(each, state, session, options, report) for each, state in zip(proposed.locations, states, strict=True)
    )
    fresh = make_plan(session, present, options)
    known = {each.state.location: each for each in present}
    parts = [
        _part(each, proposed, known[each.location], removed[each.location], session, options)
        for each in fresh.locations
    ]
    plans = [each.plan for each in parts]
    return Saved(
        plan=combine_plans(plans, as_of=fresh.as_of, manifests=fresh.manifests, selection=fresh.selection),
        session=session,
        proposal=Proposal(proposed, {each.plan.location: each.rest for each in parts}),
        options=options,
        notes=(*_not_given(proposed, options), *(note for each in parts for note in each.notes)),
    )


def _not_given(proposed: Plan, options: Mapping[str, Any]) -> Iterator[str]:
    """A line for each flag that the file was made with, says it, and that nobody gave now."""
    for name, flag in WIDENING.items():
        if getattr(proposed.selection, name) and not options.get(name):
            yield f"the plan file was made with {flag}, and a file gives no leave: add {flag} if that is meant"


async def _look(
    proposed: LocationPlan, state: LocationState, session: Session, options: Mapping[str, Any], report: Reporter
) -> Present:
    """What is known of the location, with what a reading of our own tells of whom the file knows better."""
    location, desired = state.location, state.spelling.spell_desired(session.desired[state.location])
    searched = _searched(proposed, desired)
    contacts = _to_read(proposed, desired, state, replace(plan_options(session, location, options), searched=searched))
    wanted = RefreshRequest(
        method=Method.GET if len(contacts) <= FEW else Method.AUTO,
        contacts=contacts,
        doubtful=tuple(list_doubtful(contacts, state.observed)),
        known=len(desired.contacts.keys() | state.observed.contacts.keys()),
    )
    try:
        found = await read(session.settings, location, wanted, report, pace=session.pace(location))
    except AuthRefused as error:
        if not error.status:
            raise
        return Present(state, searched=searched, unread=dict.fromkeys(contacts, error.message))
    return Present(
        state=state,
        observations=found.seen,
        earlier=absorbed(state, found.seen, settle_ms_of(session.settings)),
        searched=searched,
        gone=found.unreachable(contacts, state.observed),
        unread=found.unread,
        incomplete=found.incomplete,
    )


def _to_read(
    proposed: LocationPlan, desired: Desired, state: LocationState, options: PlanOptions
) -> tuple[ContactId, ...]:
    """Whose changes in the file are not those by what is known, where the file says that they were observed since."""
    known = state.observed
    news = {
        contact
        for seen in proposed.observations
        for contact in seen.contacts
        if not known[contact].doubt and ((at := known[contact].observed_at) is None or at < seen.at)
    }
    news |= {contact for away in proposed.gone for contact in away.contacts}
    if not news:
        return ()
    needed = diff(
        desired,
        known,
        selection=options.selection,
        searched=options.searched,
        now=options.now,
    ).deltas
    return tuple(sorted(news & contacts_that_differ(proposed.deltas, needed)))


def _searched(proposed: LocationPlan, desired: Desired) -> Searched:
    """The exclusive tags that the file says were looked for: whoever carries one is read again, or known since."""
    sought = proposed.searched
    tags = sought.tags & exclusive_tags(desired)
    return Searched(tags, sought.complete & tags, sought.since) if tags else NOT_SEARCHED


@dataclass(frozen=True, slots=True)
class _Part:
    """Of one location: what is in both plans, what is in one of them, what is to be said of it."""

    plan: LocationPlan
    rest: ProposalDifference
    notes: tuple[str, ...]


def _part(
    fresh: LocationPlan,
    whole: Plan,
    present: Present,
    removed: Mapping[ContactId, TagSet],
    session: Session,
    options: Mapping[str, Any],
) -> _Part:
    location, state = fresh.location, present.state
    desired = state.spelling.spell_desired(session.desired[location])
    proposed = next(each for each in whole.locations if each.location == location)
    now = present.bears_on(plan_options(session, location, options))
    both = narrow_plan(fresh, proposed, desired, state, now.in_spelling(state.spelling))
    lacking, more = list_unapproved(fresh.deltas, both.deltas), list_additions(proposed.deltas, both.deltas)
    plausible = keep_called_for(more, desired, state.observed, removed=removed, unread=present.unread)
    unsent = (*list_additions(more, plausible), *keep_unmet(plausible, state.observed))
    notes = (
        *present.notes(),
        *_moved(proposed, state),
        *_listed(location, "not in the plan, and not sent", lacking),
        *_listed(location, "in the plan file, not in a plan made now, and not sent", unsent),
    )
    return _Part(
        both, ProposalDifference(plausible, list_additions(more, plausible), count_change_pairs(lacking)), notes
    )


def _removed(proposed: Plan, state: LocationState, reader: LocationReader) -> dict[ContactId, TagSet]:
    """What earlier runs of the file removed from each contact."""
    found: dict[ContactId, TagSet] = {}
    for run in reader.read_runs():
        if run.header.change_digest != proposed.change_digest:
            continue
        for batch in reader.read_batches(run.id):
            if batch.action is Action.REMOVE:
                for contact in batch.answers:
                    found[contact] = found.get(contact, NONE) | state.spelling.read(frozenset(batch.tags))
    return found


def _moved(proposed: LocationPlan, state: LocationState) -> Iterator[str]:
    if state.serial != proposed.serial:
        moved = f"the state moved from serial {proposed.serial} to {state.serial}"
        yield f"location {state.location}: {moved}; what the plan has and is still needed is sent"


def _listed(location: LocationId, what: str, deltas: Iterable[Delta]) -> Iterator[str]:
    """A line for each change."""
    for (action, tag), contacts in contacts_by_tag(deltas).items():
        sign = "+" if action is Action.ADD else "-"
        who = f"{counted(len(contacts), 'contact')}: {sample(contacts)}"
        yield f"location {location}: {what}: {sign}{tag} on {who}"
