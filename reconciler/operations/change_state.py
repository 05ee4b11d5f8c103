"""Mending the state: contacts forgotten and imported, whole states replaced, answers recovered, locks ended.

Every change but unlock is made under the location's lease. Contacts are forgotten and imported by a run of the history.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.formats.integrity import accept, verify
from reconciler.core.formats.state_json import Portable, UnrecordedAnswers, is_unrecorded, read_state
from reconciler.core.model.contact_changes import ObservedContacts
from reconciler.core.model.contact_state import ObservationOrigin
from reconciler.core.model.errors import InvalidInput, Problem, StateError, UsageError
from reconciler.core.model.journal import RunStatus
from reconciler.core.model.lease import Lease
from reconciler.core.model.names import ContactId, Instant, LocationId, Source, TagSet
from reconciler.core.observing.refresh_rules import record_observations
from reconciler.loading.export_files import Exported, read_export
from reconciler.loading.snapshot_files import find_naming
from reconciler.operations.git import GitRefused, find_commit_time
from reconciler.operations.refresh import begin_run, hold_location
from reconciler.operations.state import pull_location
from reconciler.operations.stored_state import find_location, refuse_moved, refuse_stateless
from reconciler.operations.workspace import Workspace, settle_ms_from
from reconciler.planfile import load_unrecorded
from reconciler.ports import LocationStore
from reconciler.store import open_reader, open_store


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """A request to forget contacts of a location, or the limits that its API taught."""

    location: str
    contacts: tuple[ContactId, ...] = ()
    limits: bool = False
    """Whether the sizes of requests are forgotten that refusals told."""
    lock_timeout_ms: int = 0
    """How long to wait for a location that a run holds."""


@dataclass(frozen=True, slots=True, repr=False)
class ForgetResult:
    """The contacts of a location that were forgotten."""

    location: LocationId
    forgotten: tuple[ContactId, ...]
    people: tuple[ContactId, ...]
    """Contacts that left the index of people or snapshots of matched sets."""
    unknown: tuple[ContactId, ...]
    """Contacts that the state did not have."""
    released: Mapping[ContactId, TagSet]
    """Tags that stay on contacts and are under management no more."""
    files: tuple[Path, ...] = ()
    """Snapshot files that still name one of them: a pull writes them, and Git keeps what they were."""


async def forget(workspace: Workspace, request: ForgetRequest) -> ForgetResult:
    """Forgets contacts, their rows in the journal included. Raises UsageError where there is nothing to forget."""
    if not request.contacts and not request.limits:
        raise UsageError("nothing to forget: name contacts, or say --limits")
    settings = workspace.load_state_settings()
    # a reader first: a mistyped location must not make a state
    with open_reader(settings.state) as reader:
        location = find_location(reader, request.location, settings)
        refuse_stateless(settings, reader, location)
    with open_store(settings.state) as store:
        async with (
            await hold_location(workspace, store, location, "state forget", request.lock_timeout_ms) as held,
            # a change by hand that is cancelled has stopped
            begin_run(held, cancelled=RunStatus.STOPPED),
        ):
            state, people = await held.call(held.store.load_state), frozenset[ContactId]()
            if request.limits:
                await held.call(held.store.save_facts, held.lease, state.facts.without_limits())
            if request.contacts:
                people = await held.call(held.store.forget_contacts, held.lease, request.contacts)
    # by the state before: afterwards none of the contacts is in it
    observed = state.observed
    forgotten = tuple(contact for contact in request.contacts if contact in observed.contacts)
    known = people.union(forgotten)
    return ForgetResult(
        location,
        forgotten,
        tuple(contact for contact in request.contacts if contact in people),
        tuple(contact for contact in request.contacts if contact not in known),
        {contact: ledger for contact in forgotten if (ledger := observed[contact].ledger.tags)},
        find_naming(settings, workspace.directory, location, request.contacts),
    )


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """A request to take the tags of contacts from an exported file."""

    file: Path
    location: str
    observed_at: Instant
    """When the file was exported."""
    lock_timeout_ms: int = 0
    """How long to wait for a location that a run holds."""


@dataclass(frozen=True, slots=True, repr=False)
class ImportResult:
    """An export, and how many of its contacts were news."""

    exported: Exported
    changed: int

    @property
    def contacts(self) -> int:
        return sum(map(len, self.exported.contacts.values()))


async def import_contacts(workspace: Workspace, request: ImportRequest) -> ImportResult:
    """Stores the tags of an export, without a request; a later observation stays."""
    settings = workspace.load_state_settings()
    location = settings.find_location(request.location)
    exported = read_export(request.file, location, odd_ids=settings.guards.odd_ids)
    observations = [
        ObservedContacts(tags, request.observed_at, ObservationOrigin.IMPORT, contacts)
        for tags, contacts in exported.contacts.items()
    ]
    with open_store(settings.state) as store:
        async with await hold_location(workspace, store, location, "state import", request.lock_timeout_ms) as held:
            refuse_moved(settings, location, await held.call(held.store.read_runs))
            # a change by hand that is cancelled has stopped
            async with begin_run(held, cancelled=RunStatus.STOPPED):
                state = await held.call(held.store.load_state)
                # the state has each tag in the location's own spelling
                spelt = tuple(map(state.spelling.spell_observed, observations))
                changed = record_observations(state.observed, spelt, settle_ms=settle_ms_from(settings))
                await held.call(held.store.save_states, held.lease, changed)
    return ImportResult(exported, len(changed))


def find_export_time(file: Path, now: Instant) -> tuple[Instant, bool]:
    """The time of the file's commit, or of its last change where Git does not track it; at most now.

    And whether it is that of a commit: a checkout makes every file new. Raises UsageError where that cannot be told.
    """
    if not file.is_file():
        return now, False
    try:
        committed = find_commit_time(file)
    except GitRefused as error:
        hint = "say when the file was exported: --observed-at TIME"
        raise UsageError(error.message, hint=f"{hint}; or {error.hint}" if error.hint else hint) from None
    if committed is None:
        return min(Instant(file.stat().st_mtime_ns // 1_000_000), now), False
    return min(committed, now), True


def read_portable(file: Path, now: Instant) -> tuple[Portable, ...]:
    """The states in a file that `state pull` printed; raises InvalidInput where they contradict themselves."""
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidInput([Problem(Source(str(file)), f"cannot be read: {error.strerror}", "state")]) from error
    # no state nests as deep as Python recurses
    except (ValueError, RecursionError) as error:
        raise InvalidInput([Problem(Source(str(file)), "is not JSON", "state")]) from error
    states = read_state(document, path=str(file))
    faults = [Problem(Source(str(file)), line, "state") for state in states for line in verify(state, now=now)]
    if faults:
        raise InvalidInput(faults)
    return states


@dataclass(frozen=True, slots=True)
class PushedState:
    """A location with its new state; `serial` is None where it was the same already."""

    location: LocationId
    serial: int | None


async def push_states(
    workspace: Workspace, states: Sequence[Portable], *, lock_timeout_ms: int = 0
) -> AsyncIterator[PushedState]:
    """Replaces the state of one location after the other.

    Raises StateError where the lineage is another, or the serial older than that of the state.
    """
    with open_store(workspace.load_state_settings().state) as store:
        for portable in states:
            location = portable.state.location
            async with await hold_location(workspace, store, location, "state push", lock_timeout_ms) as held:
                accepted = accept(pull_location(store, location), portable)
                if accepted is not None:
                    replaced = accepted.state, accepted.runs, accepted.snapshots
                    await held.call(held.store.replace_state, held.lease, *replaced)
            yield PushedState(location, None if accepted is None else accepted.state.serial)


async def recover_answers(
    workspace: Workspace, files: Sequence[Path], *, lock_timeout_ms: int = 0
) -> AsyncIterator[UnrecordedAnswers]:
    """Records the answers in one recovery file after the other, which the state could not be given in their run.

    Raises StateError where the state does not wait for an answer.
    """
    # all files first: a bad one is refused before an answer is recorded
    recovered = [load_unrecorded(file) for file in files]
    with open_store(workspace.load_state_settings().state) as store:
        for answers in recovered:
            async with await hold_location(
                workspace, store, answers.location, "state recover", lock_timeout_ms
            ) as held:
                await held.call(_record_unsettled, held.store, held.lease, answers)
            yield answers


def _record_unsettled(store: LocationStore, lease: Lease, answers: UnrecordedAnswers) -> None:
    _refuse_settled(store, answers)
    if answers.had_no_effect:
        store.withdraw_batch(lease, answers.number, answers.learnt, answers.answered)
    else:
        store.record_answer(lease, answers.number, answers.verdicts, answers.learnt, answers.answered)


def _refuse_settled(store: LocationStore, answers: UnrecordedAnswers) -> None:
    if store.load_state().lineage != answers.lineage:
        raise StateError(
            f"this is another state than that of run {answers.run}, whose answer it is",
            hint="name the state of that run, as the run did: --state URL, or reconciler.yaml by --manifests DIR",
        )
    runs = store.read_runs()
    if not is_unrecorded(answers, runs[-1] if runs else None, tuple(store.read_batches(answers.run))):
        raise StateError(
            f"the state does not wait for this answer of run {answers.run}: it has it, or a later run has begun",
            hint="plan with --refresh get to settle what is in doubt",
        )


def unlock(workspace: Workspace, location: str, lease: str) -> Lease:
    """Ends the lease with this id on a location, and returns it; raises UsageError where it is another."""
    settings = workspace.load_state_settings()
    with open_store(settings.state) as store:
        return store.at(settings.find_location(location)).unlock_lease(lease)
