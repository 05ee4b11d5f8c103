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

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from reconciler.beside import Places
from reconciler.core.manifests.match import UNMATCHED, MatchResult, match_rows
from reconciler.core.model.errors import (
    ExitCode,
    GuardRefused,
    InvalidInput,
    Problem,
    ReconcilerError,
    UsageError,
    worst_code,
)
from reconciler.core.model.journal import RunHeader
from reconciler.core.model.manifest import ContactSet, ListedContacts
from reconciler.core.model.names import Instant, LocationId, SetName
from reconciler.core.model.people import Match, MatchCounts, PeopleBook, PeopleIndex, PeopleLot, RowQuery, Snapshot
from reconciler.core.observing.pull_report import (
    ChangedRow,
    PulledLocation,
    PulledSet,
    list_ambiguous,
    list_rows_aside,
)
from reconciler.core.planning.guard_measures import Pulled, measure_pull
from reconciler.core.planning.guard_sentences import explain_lifting, explain_pull_refusals
from reconciler.core.planning.guards import Allowance
from reconciler.journalled_run import HeldLease, journalled_run
from reconciler.loading.contact_files import read_table
from reconciler.loading.contact_ids import FileRequest
from reconciler.loading.files import Directory
from reconciler.loading.people_files import read_full_rows, refuse_existing, write_rows
from reconciler.loading.snapshot_files import KeptSnapshots, read_snapshot_files, write_snapshot
from reconciler.operations.api import find_api
from reconciler.operations.ask_queries import QueryRows, ask_queries
from reconciler.operations.current_state import run_side_by_side
from reconciler.operations.cut_rows import find_cut, refuse_cut_id
from reconciler.operations.filtered_sets import FilteredSet
from reconciler.operations.identity import find_commit
from reconciler.operations.people_index import PeopleKey, PeopleReading, PeopleSource, ReadPeople
from reconciler.operations.plan_options import find_allowances
from reconciler.operations.quota import assume_sent_today
from reconciler.operations.refresh import hold_location
from reconciler.operations.unreviewed import refuse_unreviewed_sources
from reconciler.operations.workspace import Session, refuse_missing_state
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
    matched = _choose_sets(session, request)
    refuse_missing_state(session, create_state=request.create_state or request.dry_run)
    queries = [query for sets in matched.values() for entry in sets if (query := _match_of(entry).query) is not None]
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
    meeting = _Meeting(len(matched), show)
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
        show(meeting.result)
    return meeting.result


def _choose_sets(session: Session, request: PullRequest) -> Mapping[LocationId, tuple[ContactSet, ...]]:
    """The sets to pull by location; raises UsageError for one that is not pulled."""
    there = sorted({entry.name for sets in session.matched.values() for entry in sets})
    if missing := sorted(set(request.sets) - set(there)):
        none = "no set of the manifests has a `match`, `source` or `filter`"
        hint = f"pulled sets are: {', '.join(there)}" if there else none
        raise UsageError(f"no set {missing[0]!r} is pulled: it has no match, no source and no filter", hint=hint)
    chosen = {
        location: tuple(entry for entry in sets if not request.sets or entry.name in request.sets)
        for location, sets in session.matched.items()
    }
    chosen = {location: sets for location, sets in chosen.items() if sets}
    if request.unmatched is not None:
        refuse_existing(request.unmatched)
    if request.unmatched is not None and sum(map(len, chosen.values())) != 1:
        raise UsageError("--unmatched takes the rows of one set", hint="choose one: --set NAME, and --location")
    if request.unmatched is not None and not _match_of(next(iter(chain.from_iterable(chosen.values())))).keys:
        raise UsageError("--unmatched takes rows that are matched, and this set has none")
    return chosen


@dataclass(slots=True)
class _Meeting:
    """Where all locations wait for the last one to be matched: then the result is shown, and each goes on."""

    expected: int
    show: Show
    reports: dict[LocationId, PulledLocation] = field(default_factory=dict)
    errors: dict[LocationId, ReconcilerError] = field(default_factory=dict)
    shown: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def result(self) -> PullResult:
        return PullResult(
            tuple(self.reports[location] for location in sorted(self.reports)),
            tuple(self.errors[location] for location in sorted(self.errors)),
        )

    async def arrive(self, report: PulledLocation) -> None:
        self.reports[report.location] = report
        self._show_if_all()
        await self.shown.wait()

    def fail(self, location: LocationId, error: ReconcilerError) -> None:
        # an error after the meeting leaves the report: it was shown
        self.errors[location] = error
        self._show_if_all()

    def _show_if_all(self) -> None:
        if not self.shown.is_set() and len(self.reports.keys() | self.errors.keys()) == self.expected:
            self.show(self.result)
            self.shown.set()


@dataclass(frozen=True, slots=True)
class _LocationPull:
    """The pull of one location."""

    session: Session
    request: PullRequest
    location: LocationId
    sets: tuple[ContactSet, ...]
    meeting: _Meeting
    places: Places
    given: Mapping[RowQuery, QueryRows]
    """What the sources gave."""

    async def preview(self, reader: StateReader) -> None:
        """Matches, and keeps nothing."""
        try:
            async with self.places.take(self.location):
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
        matched = [entry for entry in self.sets if _match_of(entry).keys and not self._failure(entry)]
        sources = tuple(map(self._make_source, matched))
        filters = tuple(_make_filtered(entry) for entry in self.sets if _match_of(entry).filter is not None)
        return PeopleReading(find_api(self.session, self.location), sources, full=self.request.full, filters=filters)

    def _make_source(self, contact_set: ContactSet) -> PeopleSource:
        contacts, match = _listed(contact_set), _match_of(contact_set)
        files = Directory(self.session.workspace.directory)
        given = None if match.query is None else self.given[match.query]
        return PeopleSource(
            contact_set.name,
            contacts.path,
            contacts.source,
            match,
            partial(files.open, match.file) if given is None else given.open,
            may_be_empty=contact_set.allow_empty,
            ending="" if given is None else given.ending,
        )

    def _failure(self, contact_set: ContactSet) -> tuple[str, ...]:
        """Why the source of a set gave nothing; empty where it gave its rows, or there is none."""
        query = _match_of(contact_set).query
        if query is None:
            return ()
        rows = self.given[query]
        return rows.failure or find_cut(rows, _make_request(contact_set, rows))

    @property
    def _allowances(self) -> tuple[Allowance, ...]:
        return find_allowances(self.session, self.location, self.request.allow, self.request.reason)

    def _read_before(self, reader: LocationReader) -> _Before:
        assume_sent_today(self.session.pace(self.location), self.session.workspace.clock, reader)
        return _Before(self._find_snapshots(reader), reader.read_people())

    async def _match(self, before: _Before, reading: PeopleReading) -> _Pulled:
        as_of = self.session.workspace.clock.now()
        self.session.workspace.listener.on_reading(reading.heartbeat is not None)
        kept = before.kept
        by_people = {SetName(source.name) for source in reading.sources}
        contacts = frozenset(chain.from_iterable(kept.found[name].contacts for name in by_people & kept.found.keys()))
        if by_people or reading.filters:
            read = await replace(reading, contacts=contacts).read(before.people)
        else:
            # ids need no look at the location, nor its token
            read = ReadPeople(PeopleBook(before.people), PeopleKey(b""))
        entries, snapshots = [], {}
        for contact_set in self.sets:
            entry, snapshot = self._match_set(contact_set, kept, read, as_of)
            entries.append(entry)
            if snapshot is not None and entry.is_new:
                snapshots[contact_set.name] = snapshot
        update = read.update
        report = PulledLocation(
            location=self.location,
            as_of=as_of,
            sets=tuple(entries),
            requests=read.requests,
            scanned=update.scanned,
            looked_up=update.looked_up,
            gone=update.gone,
            remarks=read.list_remarks(),
        )
        return _Pulled(report, snapshots)

    def _find_snapshots(self, reader: LocationReader) -> KeptSnapshots:
        """The snapshots before, as they are under the lease."""
        settings = self.session.settings
        if not settings.snapshots:
            return KeptSnapshots(reader.read_snapshots())
        names = [entry.name for entry in self.sets]
        return read_snapshot_files(settings, self.session.workspace.directory, self.location, names)

    def _match_set(
        self, contact_set: ContactSet, kept: KeptSnapshots, read: ReadPeople, as_of: Instant
    ) -> tuple[PulledSet, Snapshot | None]:
        contacts, name = _listed(contact_set), contact_set.name
        before = kept.found.get(name)
        size_before = None if before is None else len(before.contacts)
        entry = PulledSet(name, contacts.path, size_before or 0, size_before, None if before is None else before.as_of)
        unread = read.all_failures[name].lines if name in read.all_failures else ()
        if failure := (*kept.damaged.get(name, ()), *self._failure(contact_set), *unread):
            return replace(entry, failure=failure), None
        digest = self._digest(contact_set, before, read.key)
        try:
            result = self._find_members(contact_set, before, read, digest)
        except InvalidInput as error:
            return replace(entry, failure=error.lines), None
        if self.request.unmatched is not None:
            self._copy_unmatched(self.request.unmatched, result, self._make_source(contact_set), read)
        guards = measure_pull(
            Pulled(name, result.counts, len(result.contacts), len(result.rematched)),
            before,
            limits=self.session.settings.guards,
            allowances=self._allowances,
        )
        earlier = frozenset(() if before is None else before.contacts)
        entry = replace(
            entry,
            counts=result.counts,
            joined=tuple(sorted(set(result.contacts) - earlier)),
            left=tuple(sorted(earlier - set(result.contacts))),
            aside=list_rows_aside(result),
            ambiguous=list_ambiguous(result),
            changed=tuple(ChangedRow(row.line, row.former, row.current) for row in result.rematched),
            guards=guards,
        )
        if entry.is_new:
            entry = replace(entry, size=len(result.contacts))
        return entry, Snapshot(result.contacts, as_of, digest, result.counts, result.missing)

    def _find_members(
        self, contact_set: ContactSet, before: Snapshot | None, read: ReadPeople, digest: str
    ) -> MatchResult:
        """The contacts of the set; raises InvalidInput with their faults."""
        match, name = _match_of(contact_set), contact_set.name
        # no rows: the search shows the contacts
        if match.filter is not None:
            members = _make_filtered(contact_set).find_members(read.filtered.hits[name], before, digest)
            return MatchResult(members.contacts, members.counts, missing=members.missing)
        if not match.keys:
            return self._list_ids(contact_set)
        return match_rows(read.rows[name], read.book.index, before, read.update.unread)

    def _list_ids(self, contact_set: ContactSet) -> MatchResult:
        contacts, match = _listed(contact_set), _match_of(contact_set)
        assert match.query is not None
        rows = self.given[match.query]
        request = _make_request(contact_set, rows)
        # the same strictness, and the same faults, as of a file in the repository
        with rows.open() as stream:
            table = read_table(stream, request)
        refuse_cut_id(rows, request, table)
        if not table.ids and not contact_set.allow_empty:
            hint = "if that is meant, say so: allow_empty: true"
            raise InvalidInput([Problem(contacts.source, f"{contacts.path} has no rows", "contact-file", hint=hint)])
        ids, repeated = tuple(sorted(table.ids)), table.repeated
        counts = MatchCounts(rows=len(ids) + repeated, matched=len(ids), duplicate=repeated)
        return MatchResult(ids, counts)

    def _digest(self, contact_set: ContactSet, before: Snapshot | None, key: PeopleKey) -> str:
        """What the snapshot says of where its contacts are from."""
        match = _match_of(contact_set)
        if match.filter is not None:
            return _make_filtered(contact_set).make_digest(None if key.is_with_state else key.key, before)
        return match.source_digest if match.query is None else f"{match.source_digest} {self.given[match.query].digest}"

    def _copy_unmatched(self, target: Path, result: MatchResult, source: PeopleSource, read: ReadPeople) -> None:
        with read.open_again(source) as stream:
            full = read_full_rows(stream, read.files[source.name])
            # the file is read in the order in which it was matched
            rows = (cells for row, (_, cells) in enumerate(full.rows) if result.class_of(row) in UNMATCHED)
            write_rows(target, full.columns, rows)

    async def _keep(self, held: HeldLease, snapshots: Mapping[SetName, Snapshot]) -> None:
        place = self.session.settings.snapshots
        if place:
            for name, snapshot in snapshots.items():
                write_snapshot(Path(place), self.location, name, snapshot)
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


def _make_filtered(contact_set: ContactSet) -> FilteredSet:
    contacts, match = _listed(contact_set), _match_of(contact_set)
    assert match.filter is not None
    return FilteredSet(
        contact_set.name, contacts.source, match.filter, match.source_digest, may_be_empty=contact_set.allow_empty
    )


def _listed(contact_set: ContactSet) -> ListedContacts:
    assert isinstance(contact_set.contacts, ListedContacts)
    return contact_set.contacts


def _make_request(contact_set: ContactSet, rows: QueryRows) -> FileRequest:
    """The columns and rows of a source that a set takes."""
    contacts, match = _listed(contact_set), _match_of(contact_set)
    people = tuple(key.column for key in match.keys)
    return FileRequest(contacts.path, contacts.source, match.column, match.where, people, ending=rows.ending)


def _match_of(contact_set: ContactSet) -> Match:
    match = _listed(contact_set).match
    assert match is not None
    return match
