"""Resolving one file of people into a file of contact ids: `resolve_file(workspace, request) -> ResolvedFile`.

Law: holds no writer, takes no lease, and changes no state: it uses the index of people that pulls have left there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.manifests.match import MatchResult, match_rows
from reconciler.core.model.errors import StateError, UsageError
from reconciler.core.model.names import ContactId, LocationId, Source
from reconciler.core.model.people import Match, MatchKey, PeopleIndex, RowClass, ValueKind
from reconciler.core.observing.pull_report import ResolvedFile, list_ambiguous, list_rows_aside
from reconciler.core.running.pace import Pace
from reconciler.loading.people_files import FullRows, read_full_rows, refuse_existing, write_rows
from reconciler.operations.api import LocationApi
from reconciler.operations.people_index import PeopleReading, PeopleSource, ReadPeople
from reconciler.operations.workspace import Workspace, rate_from
from reconciler.operations.written_files import refuse_files_read
from reconciler.store import open_reader

ID_COLUMN = "contact_id"
_KINDS = "write email, phone, or field:NAME for a custom field"


@dataclass(frozen=True, slots=True)
class ResolveRequest:
    """A request to resolve the people of a file."""

    file: Path
    """A table with a header: .csv, .tsv, .jsonl or .parquet."""
    by: tuple[str, ...]
    """The kinds of value, tried in this order: `email`, `phone`, or `field:NAME` for a custom field."""
    location: str
    """The id of the location, or its name by the settings."""
    out: Path
    """The file of contact ids to be written."""
    columns: tuple[tuple[str, str], ...] = ()
    """The column of a kind of value, where it has another name."""
    region: str = ""
    """The country, as `DE`, of phone numbers that are written without one."""
    keeps_values: bool = False
    """Whether the columns of the values are written too."""
    replaces: bool = False
    """Whether a file that is there is replaced."""
    full: bool = False
    """Whether all contacts are read, however fresh the index is."""


async def resolve_file(workspace: Workspace, request: ResolveRequest) -> ResolvedFile:
    """Writes a sorted file of the contacts of the rows that are matched, with their other columns.

    Raises InvalidInput for a file with faults, UsageError for one that cannot be written, and the errors of the API.
    """
    settings = workspace.load_settings(begins=True)
    location = settings.find_location(request.location)
    if not request.replaces and (request.out.is_symlink() or request.out.exists()):
        raise UsageError(f"{request.out} is there already", hint="name another file, or add --force to replace it")
    refuse_existing(request.out, replaces=request.replaces)
    refuse_files_read(workspace, {"--out": request.out}, {"the argument": request.file})
    source = PeopleSource(
        "file", str(request.file), Source(str(request.file)), _make_match(request), lambda: request.file.open("rb")
    )
    workspace.listener.on_reading(False)
    api = LocationApi(workspace, settings, location, Pace(rate_from(settings)))
    reading = PeopleReading(api, (source,), full=request.full)
    read = await reading.read(_find_index(settings.state, location))
    if failure := read.failures.get(source.name):
        raise failure
    result = match_rows(read.rows[source.name], read.book.index, None)
    _write_contacts(request, result, source, read)
    return _make_report(location, request, result, read)


def _find_index(state: str, location: LocationId) -> PeopleIndex:
    """The index of earlier pulls; an empty one where no state can be read: all that it holds can be learnt again."""
    try:
        with open_reader(state) as reader:
            return reader.at(location).read_people()
    except StateError:
        return PeopleIndex()


def _make_match(request: ResolveRequest) -> Match:
    if not request.by:
        raise UsageError("--by names no kind of value", hint=_KINDS)
    if twice := next((name for name in request.by if request.by.count(name) > 1), ""):
        raise UsageError(f"--by has {twice} twice", hint="each kind of value is tried once, in the order written")
    columns = dict(request.columns)
    if strange := sorted(columns.keys() - set(request.by)):
        raise UsageError(f"--column {strange[0]}=… is of no value of --by", hint=f"--by has: {', '.join(request.by)}")
    return Match(
        str(request.file),
        tuple(_make_key(name, columns.get(name, "")) for name in request.by),
        region=request.region.upper(),
    )


def _make_key(name: str, column: str) -> MatchKey:
    kind, _, custom_field = name.partition(":")
    if kind not in list(ValueKind) or (kind == ValueKind.FIELD) != bool(custom_field):
        raise UsageError(f"--by {name!r} is no kind of value", hint=_KINDS)
    return MatchKey(ValueKind(kind), column or custom_field or kind, custom_field)


def _write_contacts(request: ResolveRequest, result: MatchResult, source: PeopleSource, read: ReadPeople) -> None:
    file = read.files[source.name]
    with read.open_again(source) as stream:
        full = read_full_rows(stream, file)
        values = {key.column for key in file.match.keys}
        kept = [
            place
            for place, column in enumerate(full.columns)
            if column != ID_COLUMN and (request.keeps_values or column not in values)
        ]
        rows = sorted(_matched_rows(full, result, kept))
        columns = (ID_COLUMN, *(full.columns[place] for place in kept))
        write_rows(request.out, columns, rows, replaces=request.replaces)


def _matched_rows(full: FullRows, result: MatchResult, kept: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """The contact and the kept cells of each row that is matched; a later row of the same contact is left out."""
    # the file is read in the order in which it was matched
    for row, (_, cells) in enumerate(full.rows):
        contact: ContactId | None = result.row_contacts[row]
        if contact is not None and result.class_of(row) is RowClass.MATCHED:
            yield (contact, *(cells[place] for place in kept))


def _make_report(location: LocationId, request: ResolveRequest, result: MatchResult, read: ReadPeople) -> ResolvedFile:
    return ResolvedFile(
        location=location,
        file=str(request.file),
        out=str(request.out),
        counts=result.counts,
        aside=list_rows_aside(result),
        ambiguous=list_ambiguous(result),
        requests=read.requests,
        looked_up=read.update.looked_up,
        remarks=read.list_remarks(),
    )
