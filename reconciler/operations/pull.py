"""Pulls: sets resolved into snapshots, matched or from sources: `pull_people(session, request, show) -> PullResult`.

Law: holds no writer of tags. Rules
1. Sources are asked before a location is held. All sets of all locations are matched, and shown, before the first
   snapshot is written.
2. A source that fails or has no rows keeps its snapshot, and so does a set that a guard refuses, or whose snapshot is
   damaged: without it no guard could tell what is lost. The others go on.
3. The index of people is saved as it is read: a pull that is ended goes on from there.
4. Values of people are in memory only: the index has fingerprints, the report lines of files and ids of contacts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from reconciler.beside import Meeting, Places
from reconciler.core.model.errors import ExitCode, GuardRefused, ReconcilerError, worst_code
from reconciler.core.model.journal import RunHeader
from reconciler.core.model.manifest import ContactSet
from reconciler.core.model.names import LocationId, SetName
from reconciler.core.model.people import PeopleBook, PeopleIndex, PeopleLot, RowQuery, Snapshot
from reconciler.core.observing.pull_report import PulledLocation
from reconciler.core.planning.guard_sentences import explain_lifting, explain_pull_refusals
from reconciler.core.planning.guards import Allowance
from reconciler.journalled_run import HeldLease, journalled_run
from reconciler.loading import snapshot_files
from reconciler.loading.snapshot_files import KeptSnapshots
from reconciler.operations.api import find_api
from reconciler.operations.ask_queries import QueryRows, ask_queries
from reconciler.operations.current_state import run_side_by_side
from reconciler.operations.identity import find_commit
from reconciler.operations.people_index import PeopleKey, PeopleReading, ReadPeople, find_people_key
from reconciler.operations.plan_options import find_allowances
from reconciler.operations.pulled_sets import SetSources, choose_sets, make_filtered, match_of
from reconciler.operations.quota import assume_sent_today
from reconciler.operations.refresh import hold_location
from reconciler.operations.snapshots_before import add_renamed, assume_former
from reconciler.operations.stored_state import refuse_missing_state, refuse_moved
from reconciler.operations.unreviewed import refuse_unreviewed_sources
from reconciler.operations.workspace import Session
from reconciler.ports import LocationReader, StateReader, StateStore
from reconciler.store import open_reader, open_store

Show = Callable[["PullResult"], None]
SNAPSHOT_KEEP_MS = 30 * 86_400_000
"""So long after its pull a set that is not matched any more has its snapshot: main's, while a branch is pulled."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A request to resolve the people of matched sets."""

    sets: tuple[str, ...] = ()
    """Only these sets; empty: all."""
    full: bool = False
    """Whether all contacts are read, however fresh the index is."""
    dry_run: bool = False
    """Whether nothing is kept."""
    allow: tuple[str, ...] = ()
    """Guards to lift, as GUARD:set=S; each needs `reason`."""
    reason: str = ""
    """Why guards are lifted; the journal keeps it."""
    unmatched: Path | None = None
    """A file to be written with the rows of the one chosen set that are of no contact."""
    lock_timeout_ms: int = 0
    """How long to wait for a location that another run holds."""
    create_state: bool = False
    """Whether this is meant to be the first run of all."""


@dataclass(frozen=True, slots=True, repr=False)
class PullResult:
    """How each location ended: one that fails does not stop the others."""

    locations: tuple[PulledLocation, ...]
    errors: tuple[ReconcilerError, ...]

    @property
    def refusals(self) -> tuple[GuardRefused, ...]:
        """An error for each location with a set that a guard refuses."""
        refused = {
            pulled.location: [guard for entry in pulled.sets for guard in entry.refused] for pulled in self.locations
        }
        return tuple(
            GuardRefused(explain_pull_refusals(location, guards), hints=[explain_lifting(guards)])
            for location, guards in refused.items()
            if guards
        )

    @property
    def exit_code(self) -> int:
        """The exit code of `reconciler pull`."""
        failed = [ExitCode.ERROR for pulled in self.locations for entry in pulled.sets if entry.failure]
        ends = [error.exit_code for error in (*self.errors, *self.refusals)]
        return worst_code([ExitCode.DONE, *failed, *ends])


async def pull_people(session: Session, request: PullRequest, show: Show) -> PullResult:
    """Resolves the matched sets of a session; `show` is called once, before the first snapshot is kept.

    Cancelled, it keeps what was read into the index. Raises StateError and UsageError where nothing could begin.
    """
    matched = choose_sets(session, request.sets, request.unmatched)
    refuse_missing_state(session, create_state=request.create_state or request.dry_run)
    queries = [query for sets in matched.values() for entry in sets if (query := match_of(entry).query) is not None]
    refuse_unreviewed_sources(session, dict.fromkeys(query.name for query in queries))
    async with ask_queries(session, queries) as given:
        return await _pull_sets(session, request, show, matched, given)


async def _pull_sets(
    session: Session,
    request: PullRequest,
    show: Show,
    matched: Mapping[LocationId, tuple[ContactSet, ...]],
    given: Mapping[RowQuery, QueryRows],
) -> PullResult:
    meeting = Meeting(len(matched), lambda: show(_make_result(meeting)))
    places = session.make_places()
    pulls = [
        _LocationPull(session, request, location, matched[location], meeting, places, given)
        for location in session.settings.in_order(matched)
    ]
    state = session.settings.state
    if request.dry_run:
        with open_reader(state) as reader:
            await run_side_by_side(pull.preview(reader) for pull in pulls)
    else:
        with open_store(state) as store:
            await run_side_by_side(pull.carry_out(store) for pull in pulls)
    if not matched:
        show(_make_result(meeting))
    return _make_result(meeting)


def _make_result(meeting: Meeting) -> PullResult:
    return PullResult(
        tuple(meeting.reports[location] for location in sorted(meeting.reports)),
        tuple(meeting.errors[location] for location in sorted(meeting.errors)),
    )


@dataclass(frozen=True, slots=True)
class _LocationPull:
    """The pull of one location."""

    session: Session
    request: PullRequest
    location: LocationId
    sets: tuple[ContactSet, ...]
    meeting: Meeting
    places: Places
    given: Mapping[RowQuery, QueryRows]
    """What the sources gave."""

    async def preview(self, reader: StateReader) -> None:
        """Matches, and keeps nothing."""
        try:
            async with self.places.take(self.location):
                refuse_moved(self.session.settings, self.location, reader.at(self.location).read_runs())
                pulled = await self._match(self._read_before(reader.at(self.location)), self._make_reading())
            await self.meeting.arrive(replace(pulled.report, is_kept=False))
        except ReconcilerError as error:
            self._fail(error)

    async def carry_out(self, store: StateStore) -> None:
        """Matches under the lease, and keeps the snapshots once all locations are shown."""
        workspace = self.session.workspace
        try:
            timeout_ms = self.request.lock_timeout_ms
            async with AsyncExitStack() as place:
                await place.enter_async_context(self.places.take(self.location))
                async with await hold_location(workspace, store, self.location, "pull", timeout_ms) as held:
                    refuse_moved(self.session.settings, self.location, await held.call(held.store.read_runs))
                    await self._carry_out(held, place)
        except ReconcilerError as error:
            self._fail(error)

    async def _carry_out(self, held: HeldLease, place: AsyncExitStack) -> None:
        workspace = self.session.workspace
        header = RunHeader(
            self.location,
            "pull",
            held.lease.holder.who,
            held.clock.now(),
            commit=find_commit(workspace.directory),
            allowed=tuple(map(str, self._allowances)),
        )

        async def keep(lot: PeopleLot) -> None:
            await held.call(held.store.save_people, held.lease, lot)

        async with journalled_run(held, header) as run:
            reading = replace(self._make_reading(), heartbeat=held, keep=keep)
            pulled = await self._match(await held.call(self._read_before, held.store), reading)
            # it waits for those that come after it
            await place.aclose()
            await held.during(self.meeting.arrive(replace(pulled.report, run=run.id)))
            await held.renew()
            await self._keep(held, pulled.snapshots)

    def _fail(self, error: ReconcilerError) -> None:
        if len(self.session.matched) > 1:
            error.reword(f"location {self.location}: {error.message}")
        self.meeting.fail(self.location, error)

    def _make_reading(self) -> PeopleReading:
        matched = [entry for entry in self.sets if match_of(entry).keys and not self._sources.find_failure(entry)]
        sources = tuple(map(self._sources.make_source, matched))
        filters = tuple(make_filtered(entry) for entry in self.sets if match_of(entry).filter is not None)
        return PeopleReading(find_api(self.session, self.location), sources, full=self.request.full, filters=filters)

    @property
    def _sources(self) -> SetSources:
        return SetSources(self.session, self.given, self._allowances, self.request.unmatched)

    @property
    def _allowances(self) -> tuple[Allowance, ...]:
        return find_allowances(self.session, self.location, self.request.allow, self.request.reason)

    def _read_before(self, reader: LocationReader) -> _Before:
        assume_sent_today(self.session.pace(self.location), self.session.workspace.clock, reader)
        return _Before(self._find_snapshots(reader), reader.read_people())

    async def _match(self, before: _Before, reading: PeopleReading) -> _Pulled:
        as_of = self.session.workspace.clock.now()
        self.session.workspace.listener.on_reading(reading.heartbeat is not None)
        by_people = {SetName(source.name) for source in reading.sources}
        key = PeopleKey(b"")
        if by_people or reading.filters:
            key = find_people_key(self.session.workspace.environment, before.people.status)
        kept = add_renamed(before.kept, self.sets, self.session.matched[self.location], key)
        previous = filter(None, map(kept.find_previous, by_people))
        contacts = frozenset(chain.from_iterable(snapshot.contacts for snapshot in previous))
        if by_people or reading.filters:
            read = await replace(reading, contacts=contacts, as_of=as_of).read(before.people)
            assumed = await assume_former(read, kept, as_of, reading.keep)
        else:
            # ids need no look at the location, nor its token
            read, assumed = ReadPeople(PeopleBook(before.people), key), ()
        entries, snapshots = [], {}
        for contact_set in self.sets:
            entry, snapshot = self._sources.match_set(contact_set, kept, read, as_of)
            entries.append(entry)
            if snapshot is not None and entry.is_new:
                snapshots[contact_set.name] = snapshot
        report = PulledLocation(
            location=self.location,
            as_of=as_of,
            sets=tuple(entries),
            requests=read.requests,
            scanned=read.update.scanned,
            looked_up=read.update.looked_up,
            gone=read.update.gone,
            remarks=(*read.list_remarks(), *assumed),
        )
        return _Pulled(report, snapshots)

    def _find_snapshots(self, reader: LocationReader) -> KeptSnapshots:
        """The snapshots before, as they are under the lease."""
        settings, directory = self.session.settings, self.session.workspace.directory
        folder = snapshot_files.find_folder(settings, directory)
        if folder is None:
            return KeptSnapshots(reader.read_snapshots())
        names = {entry.name for entry in self.sets} | snapshot_files.find_set_names(folder, self.location)
        return snapshot_files.read_snapshot_files(settings, directory, self.location, names)

    async def _keep(self, held: HeldLease, snapshots: Mapping[SetName, Snapshot]) -> None:
        folder = snapshot_files.find_folder(self.session.settings, self.session.workspace.directory)
        if folder is not None:
            for name, snapshot in snapshots.items():
                snapshot_files.write_snapshot(folder, self.location, name, snapshot)
            return
        if snapshots:
            await held.call(held.store.save_snapshots, held.lease, snapshots)
        # a set that is not matched any more: by hand, or gone, or another branch has it
        matched = {entry.name for entry in self.session.matched[self.location]}
        oldest, stored = held.clock.now() - SNAPSHOT_KEEP_MS, await held.call(held.store.read_snapshots)
        if gone := [name for name in stored.keys() - matched if stored[name].as_of < oldest]:
            await held.call(held.store.drop_snapshots, held.lease, sorted(gone))


@dataclass(frozen=True, slots=True)
class _Before:
    """A location as the state has it before a pull."""

    kept: KeptSnapshots
    people: PeopleIndex


@dataclass(frozen=True, slots=True)
class _Pulled:
    """A location as it was matched, and the snapshots to be kept."""

    report: PulledLocation
    snapshots: Mapping[SetName, Snapshot]
