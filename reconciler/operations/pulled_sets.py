"""The sets of one pull: their files, sources and filters, and what each of them has as its contacts.

Rule: a set that fails, whose snapshot is damaged, or that a guard refuses, keeps its snapshot; the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from reconciler.core.manifests.match import UNMATCHED, MatchResult, match_rows
from reconciler.core.model.errors import InvalidInput, Problem, UsageError
from reconciler.core.model.manifest import ContactSet, ListedContacts
from reconciler.core.model.names import ContactId, Instant, LocationId, odd_contact_ids
from reconciler.core.model.people import Match, MatchCounts, RowQuery, Snapshot
from reconciler.core.observing.pull_report import ChangedRow, PulledSet, list_ambiguous, list_rows_aside
from reconciler.core.planning.guard_measures import Pulled, measure_pull
from reconciler.core.planning.guards import Allowance
from reconciler.loading.contact_files import read_table
from reconciler.loading.contact_ids import FileRequest
from reconciler.loading.files import Directory
from reconciler.loading.people_files import read_full_rows, refuse_existing, write_rows
from reconciler.loading.snapshot_files import KeptSnapshots
from reconciler.operations.ask_queries import QueryRows
from reconciler.operations.cut_rows import find_cut, refuse_cut_id
from reconciler.operations.filtered_sets import FilteredSet
from reconciler.operations.people_index import PeopleKey, PeopleSource, ReadPeople
from reconciler.operations.workspace import Session
from reconciler.operations.written_files import refuse_files_read


def choose_sets(
    session: Session, names: tuple[str, ...], unmatched: Path | None
) -> Mapping[LocationId, tuple[ContactSet, ...]]:
    """The sets to pull by location, all or those of these names; raises UsageError for one that is not pulled.

    `unmatched`: where the rows of the one set are to be written that are of no contact.
    """
    there = sorted({entry.name for sets in session.matched.values() for entry in sets})
    if missing := sorted(set(names) - set(there)):
        none = "no set of the manifests has a `match`, `source` or `filter`"
        hint = f"pulled sets are: {', '.join(there)}" if there else none
        raise UsageError(f"no set {missing[0]!r} is pulled: it has no match, no source and no filter", hint=hint)
    chosen = {
        location: tuple(entry for entry in sets if not names or entry.name in names)
        for location, sets in session.matched.items()
    }
    chosen = {location: sets for location, sets in chosen.items() if sets}
    if unmatched is not None:
        refuse_existing(unmatched)
        refuse_files_read(session.workspace, {"--unmatched": unmatched})
    if unmatched is not None and sum(map(len, chosen.values())) != 1:
        raise UsageError("--unmatched takes the rows of one set", hint="choose one: --set NAME, and --location")
    if unmatched is not None and not match_of(next(iter(chain.from_iterable(chosen.values())))).keys:
        raise UsageError("--unmatched takes rows that are matched, and this set has none")
    return chosen


@dataclass(frozen=True, slots=True)
class SetSources:
    """Where the sets of a location have their contacts from."""

    session: Session
    given: Mapping[RowQuery, QueryRows]
    """What the sources gave."""
    allowances: tuple[Allowance, ...]
    unmatched: Path | None
    """A file to be written with the rows of the one chosen set that are of no contact."""

    def make_source(self, contact_set: ContactSet) -> PeopleSource:
        contacts, match = _listed(contact_set), match_of(contact_set)
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

    def find_failure(self, contact_set: ContactSet) -> tuple[str, ...]:
        """Why the source of a set gave nothing; empty where it gave its rows, or there is none."""
        query = match_of(contact_set).query
        if query is None:
            return ()
        rows = self.given[query]
        return rows.failure or find_cut(rows, _make_request(contact_set, rows))

    def match_set(
        self, contact_set: ContactSet, kept: KeptSnapshots, read: ReadPeople, as_of: Instant
    ) -> tuple[PulledSet, Snapshot | None]:
        contacts, name = _listed(contact_set), contact_set.name
        before = kept.found.get(name)
        size_before = None if before is None else len(before.contacts)
        entry = PulledSet(name, contacts.path, size_before or 0, size_before, None if before is None else before.as_of)
        unread = read.all_failures[name].lines if name in read.all_failures else ()
        if failure := (*kept.damaged.get(name, ()), *self.find_failure(contact_set), *unread):
            return replace(entry, failure=failure), None
        previous = kept.find_previous(name)
        digest = self._digest(contact_set, previous, read.key)
        try:
            result = self._find_members(contact_set, previous, read, digest)
        except InvalidInput as error:
            return replace(entry, failure=error.lines), None
        if self.unmatched is not None:
            self._copy_unmatched(self.unmatched, result, self.make_source(contact_set), read)
        guards = measure_pull(
            Pulled(name, result.counts, len(result.contacts), len(result.rematched)),
            before,
            limits=self.session.settings.guards,
            allowances=self.allowances,
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
        match, name = match_of(contact_set), contact_set.name
        # no rows: the search shows the contacts
        if match.filter is not None:
            members = make_filtered(contact_set).find_members(read.filtered.hits[name], before, digest)
            return MatchResult(members.contacts, members.counts, missing=members.missing)
        if not match.keys:
            return self._list_ids(contact_set)
        return match_rows(read.rows[name], read.book.index, before, read.update.unread)

    def _list_ids(self, contact_set: ContactSet) -> MatchResult:
        contacts, match = _listed(contact_set), match_of(contact_set)
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
        if self.session.settings.guards.odd_ids:
            _refuse_odd(contacts, ids)
        counts = MatchCounts(rows=len(ids) + repeated, matched=len(ids), duplicate=repeated)
        return MatchResult(ids, counts)

    def _digest(self, contact_set: ContactSet, before: Snapshot | None, key: PeopleKey) -> str:
        """What the snapshot says of where its contacts are from."""
        match = match_of(contact_set)
        if match.filter is not None:
            return make_filtered(contact_set).make_digest(key.of_environment, before)
        return match.source_digest if match.query is None else f"{match.source_digest} {self.given[match.query].digest}"

    def _copy_unmatched(self, target: Path, result: MatchResult, source: PeopleSource, read: ReadPeople) -> None:
        with read.open_again(source) as stream:
            full = read_full_rows(stream, read.files[source.name])
            # the file is read in the order in which it was matched
            rows = (cells for row, (_, cells) in enumerate(full.rows) if result.class_of(row) in UNMATCHED)
            write_rows(target, full.columns, rows)


def _refuse_odd(contacts: ListedContacts, ids: tuple[ContactId, ...]) -> None:
    # some may be test data; where all of them are odd, another column stands in the place of the ids
    if ids and len(odd_contact_ids(ids)) == len(ids):
        message = f"none of the {len(ids):,} ids in {contacts.path} can be a HighLevel contact id"
        hint = "name the column of ids; people are named by `match`. Where they are meant: guards: {odd_ids: false}"
        raise InvalidInput([Problem(contacts.source, message, "odd-id", hint=hint)])


def make_filtered(contact_set: ContactSet) -> FilteredSet:
    contacts, match = _listed(contact_set), match_of(contact_set)
    assert match.filter is not None
    return FilteredSet(
        contact_set.name, contacts.source, match.filter, match.source_digest, may_be_empty=contact_set.allow_empty
    )


def _listed(contact_set: ContactSet) -> ListedContacts:
    assert isinstance(contact_set.contacts, ListedContacts)
    return contact_set.contacts


def _make_request(contact_set: ContactSet, rows: QueryRows) -> FileRequest:
    """The columns and rows of a source that a set takes."""
    contacts, match = _listed(contact_set), match_of(contact_set)
    people = tuple(key.column for key in match.keys)
    return FileRequest(contacts.path, contacts.source, match.column, match.where, people, ending=rows.ending)


def match_of(contact_set: ContactSet) -> Match:
    match = _listed(contact_set).match
    assert match is not None
    return match
