"""One manifest for many locations: the list of them, what stands in placeholders, and the order of a rollout.

Rules
1. A placeholder is `{location}`, or `{client.COLUMN}` with a column of the file of locations: there are no expressions.
   It stands in the path of a contact file, in a value of `where`, or in a word of a source's command; elsewhere in a
   manifest, and in a source's SQL, it is an error. In a word and in SQL all other braces are text, but such as were
   probably meant for a placeholder: a program that is given `{locaton}` may print the same rows for every location.
2. Each location has the manifest as if it had been written out for it: nothing is shared but what has no placeholder.
3. A location that the list has twice is an error, and so is a list without any: none is left out silently.
4. The waves of a rollout follow from the ids: who comes when does not change with the order of the file.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, TypeVar

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.manifest import Rollout
from reconciler.core.model.names import LocationId, Source, did_you_mean
from reconciler.core.model.safe_text import quoted
from reconciler.loading import mistakes
from reconciler.loading.contact_files import read_cells, read_every_column
from reconciler.loading.contact_ids import FileFaults, FileRequest, Row, json_text
from reconciler.loading.fields import is_location_id
from reconciler.loading.file_tree import CannotRead
from reconciler.loading.files import Files, display_path, name_inside
from reconciler.loading.filter_models import FilterContacts
from reconciler.loading.models import ContactSetModel
from reconciler.loading.nodes import Mapping as MappingNode
from reconciler.loading.nodes import Scalar
from reconciler.loading.nodes import Sequence as SequenceNode
from reconciler.loading.people_files import row_filters
from reconciler.loading.placeholders import PLACEHOLDER, PLACEHOLDER_FORM
from reconciler.loading.row_models import (
    ClientsFile,
    FileContacts,
    ListFilter,
    RolloutModel,
    RowContacts,
    SourceContacts,
)

MOST_LOCATIONS = 50_000
_ENDINGS = (".csv", ".tsv", ".jsonl")
Rows = TypeVar("Rows", bound=RowContacts)
_PLAIN = re.compile(r"(?!-)[\w.@+,:/-]+( (?!-)[\w.@+,:/-]+)*")
_BRACES = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class ClientLocation:
    """A location that a manifest is written for, and what its file tells of it."""

    location: LocationId
    source: Source
    """Where it stands: in the manifest, or in the file of locations."""
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By column, those of two columns with one name left out."""


def read_clients(
    files: Files, name: str, root: MappingNode, listed: Sequence[str] | ClientsFile
) -> tuple[ClientLocation, ...]:
    """The locations of a manifest with `locations`, in their order; raises InvalidInput with every fault of the list.

    `name`: that of the manifest; `listed`: the validated value of the key.
    """
    if isinstance(listed, ClientsFile):
        clients = _read_file(files, name, root, listed)
    else:
        written = root.get("locations")
        assert isinstance(written, SequenceNode)
        clients = tuple(
            ClientLocation(LocationId(str(text)), item.source) for text, item in zip(listed, written.items, strict=True)
        )
    if len(clients) > MOST_LOCATIONS:
        message = f"the manifest is of {len(clients):,} locations; the limit is {MOST_LOCATIONS:,}"
        raise InvalidInput([Problem(_place_of_list(root), message, "locations", hint="write several manifests")])
    if doubles := list(_list_doubles(clients)):
        raise InvalidInput(doubles)
    return clients


def _place_of_list(root: MappingNode) -> Source:
    return mistakes.locate_value(root, ("locations",), of_key=True)


def _list_doubles(clients: Iterable[ClientLocation]) -> Iterator[Problem]:
    first: dict[LocationId, ClientLocation] = {}
    for client in clients:
        if (before := first.setdefault(client.location, client)) is not client:
            message = f"location {client.location!r} stands here a second time, the first is at {before.source}"
            yield Problem(client.source, message, "locations")


def _read_file(files: Files, name: str, root: MappingNode, listed: ClientsFile) -> tuple[ClientLocation, ...]:
    written = mistakes.locate_value(root, ("locations", "file"))
    if not listed.file.lower().endswith(_ENDINGS):
        hint = "known endings: " + ", ".join(_ENDINGS)
        raise InvalidInput([Problem(written, f"not a file of locations: {listed.file[:200]}", "locations", hint=hint)])
    try:
        inside = name_inside(name, listed.file)
        path = display_path(files, inside)
        request = FileRequest(path, written, listed.column, row_filters(listed.where), every_column=True)
        with files.open(inside) as stream:
            clients = tuple(_read_rows(stream, request))
    except (CannotRead, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"file of locations {quoted(listed.file[:200])}: {reason}"
        raise InvalidInput([Problem(written, message, "locations")]) from None
    if not clients:
        message = f"{path} has no location" + (" that meets `where`" if listed.where else "")
        raise InvalidInput([Problem(written, message, "locations")])
    return clients


def _read_rows(stream: BinaryIO, request: FileRequest) -> Iterator[ClientLocation]:
    faults = FileFaults(request)
    names, rows = _open_rows(stream, request, faults)
    clear = {column: at for at, column in enumerate(names) if names.count(column) == 1}
    at = names.index(request.column or "")
    for line, cells in rows:
        texts = ["" if cell is None else json_text(cell).strip() for cell in cells]
        if is_location_id(texts[at]):
            values = {column: texts[place] for column, place in clear.items()}
            yield ClientLocation(LocationId(texts[at]), Source(request.path, line), values)
        elif texts[at]:
            faults.add_fault("locations", line, f"no location id: {texts[at][:80]!r}")
        else:
            faults.add_fault("locations", line, "a row without a location")
    faults.raise_errors()


def _open_rows(stream: BinaryIO, request: FileRequest, faults: FileFaults) -> tuple[list[str], Iterator[Row]]:
    """The names of the columns, and the rows."""
    if request.path.lower().endswith(".jsonl"):
        columns, rows = read_every_column(stream, request)
    else:
        rows = read_cells(stream, faults)
        columns = next(rows)[1]
    return [str(column) for column in columns], rows


def fill_rows(model: Rows, node: MappingNode, client: ClientLocation) -> Rows:
    """The contacts of a set with a location's values in their placeholders; raises InvalidInput with every fault.

    `node`: that of the set.
    """
    filler = _Filler(client, mistakes.locate_value(node, ("contacts", "file")))
    path = {"file": filler.fill(model.file)} if isinstance(model, FileContacts) else {}
    where = dict(model.where)
    for column, condition in where.items():
        filler.place = mistakes.locate_value(node, ("contacts", "where", column))
        if isinstance(condition, ListFilter):
            where[column] = ListFilter(contains=filler.fill(condition.contains))
        else:
            where[column] = filler.fill(condition)
    if filler.problems:
        raise InvalidInput(filler.problems)
    return model.model_copy(update={**path, "where": where})


def fill_path(written: Scalar, client: ClientLocation) -> str:
    """The path of a contact file with a location's values in its placeholders; raises InvalidInput."""
    filler = _Filler(client, written.source)
    path = filler.fill(written.text)
    if filler.problems:
        raise InvalidInput(filler.problems)
    return path


def fill_words(words: Sequence[str], client: ClientLocation, place: Source) -> tuple[str, ...]:
    """The words of a command with a location's values in their placeholders; raises InvalidInput.

    A value is plain: a shell, or SQL, that a word is for would take quotes, operators or an option for its own.
    """
    filler = _Filler(client, place, plain=True)
    filled = tuple(PLACEHOLDER_FORM.sub(filler.value_of, word) for word in words)
    if words and PLACEHOLDER_FORM.search(words[0]):
        filler.problems.append(Problem(place, "which program a source runs stands in no placeholder", PLACEHOLDER))
    if filler.problems:
        raise InvalidInput(filler.problems)
    return filled


def depends_on_location(model: ContactSetModel) -> bool:
    """Whether a set is another one for each location: by what is put in, or by whom a pull found there."""
    contacts = model.contacts
    if not isinstance(contacts, FileContacts):
        return isinstance(contacts, SourceContacts | FilterContacts)
    conditions = (entry.contains if isinstance(entry, ListFilter) else entry for entry in contacts.where.values())
    return contacts.match is not None or any(_BRACES.search(text) for text in (contacts.file, *conditions))


@dataclass(slots=True)
class _Filler:
    """Puts a location's values into texts; what cannot be put in is a problem."""

    client: ClientLocation
    place: Source
    problems: list[Problem] = field(default_factory=list)
    plain: bool = False
    """Whether values may have letters, digits and a few signs alone."""

    def fill(self, text: str) -> str:
        return _BRACES.sub(self.value_of, text)

    def value_of(self, braces: re.Match[str]) -> str:
        written, client = braces.group(), self.client
        word = written[1:-1]
        values = {**client.values} if word != "location" else {word: client.location}
        column = word.removeprefix("client.")
        if word != "location" and (column == word or column not in values):
            known = ["{location}", *("{client." + column + "}" for column in values)]
            hint = did_you_mean(written, known) or "known are: " + ", ".join(known[:20])
            return self._refuse(written, f"nothing is known by {written[:80]!r}", hint)
        if not values[column] or not values[column].isprintable():
            what = "no value" if not values[column] else "a value with characters that cannot be shown"
            return self._refuse(written, f"location {client.location} has {what} in column {column!r}: {client.source}")
        if self.plain and not _PLAIN.fullmatch(values[column]):
            message = f"location {client.location} has {values[column][:80]!r} for {written}: {client.source}"
            hint = "in a command stand letters, digits and . _ - + , : @ / alone, and no word that begins with a dash"
            return self._refuse(written, message, hint)
        return values[column]

    def _refuse(self, written: str, message: str, hint: str = "") -> str:
        self.problems.append(Problem(self.place, message, PLACEHOLDER, hint=hint))
        return written


def plan_waves(model: RolloutModel, clients: Sequence[ClientLocation], root: MappingNode) -> Rollout:
    """The order in which the locations are sent a change; raises InvalidInput where it names one that is not there."""
    there = {client.location for client in clients}
    first = [LocationId(location) for location in dict.fromkeys(model.first)]
    if unknown := [location for location in first if location not in there]:
        hint = did_you_mean(unknown[0], sorted(there))
        place = mistakes.locate_value(root, ("rollout", "first"), of_key=True)
        raise InvalidInput([Problem(place, f"no location {unknown[0]!r} in `locations`", "rollout", hint=hint)])
    rest = sorted(there.difference(first), key=_place_in_rollout)
    share = model.then.removesuffix("%")
    size = max(1, math.ceil(len(there) * int(share) / 100) if share != model.then else int(share))
    later = (tuple(sorted(rest[at : at + size])) for at in range(0, len(rest), size))
    place = mistakes.locate_value(root, ("rollout",), of_key=True)
    return Rollout((tuple(sorted(first)), *later), model.soak or 0, place)


def _place_in_rollout(location: LocationId) -> str:
    # neither the order of the file nor the age of an id decides who is tried first
    return hashlib.sha256(location.encode()).hexdigest()


def name_client(problem: Problem, client: ClientLocation) -> Problem:
    """The problem with the location that it is of, where the message does not name it."""
    # what no location has is said once for all
    if problem.check == PLACEHOLDER:
        return problem
    return replace(problem, message=f"location {client.location}: {problem.message}")
