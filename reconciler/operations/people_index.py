"""The people of a location, read for the files that name them: what pull and resolve have in common.

Law: holds no writer, and keeps nothing itself. Rules
1. A file that fails, or names a custom field that the location does not have, does not stop the others.
2. The key of the fingerprints is RECONCILER_KEY, or a secret that is kept with the state; another key than the
   index's has the people read anew.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import BinaryIO

from reconciler.core.manifests.match import Fingerprinter, Normaliser, PeopleRows, ReadPhone, find_unknown
from reconciler.core.model.errors import InvalidInput, Problem, UsageError
from reconciler.core.model.names import ContactId, Instant, Source
from reconciler.core.model.people import (
    Fingerprint,
    IndexStatus,
    Match,
    MatchKey,
    PeopleBook,
    PeopleIndex,
    PeopleLot,
    PersonValue,
    ValueKind,
    row_place,
)
from reconciler.core.model.safe_text import quoted
from reconciler.highlevel.people_reader import connect_people
from reconciler.loading.file_tree import CannotRead
from reconciler.loading.people_files import PeopleFile, find_values, make_normaliser, phone_reader, read_people
from reconciler.operations.api import LocationApi
from reconciler.operations.custom_fields import find_field
from reconciler.operations.filtered_sets import FilteredSet, FilteredSets, read_filtered
from reconciler.output.blocks import counted
from reconciler.ports import Heartbeat, PeopleReader
from reconciler.pull import IndexRequest, IndexUpdate, update_index
from reconciler.pull.single_requests import PullServices
from reconciler.request_gate import NoLease, RequestGate
from reconciler.wire_people import CustomField

KEY_VARIABLE = "RECONCILER_KEY"
SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class PeopleKey:
    """The key of fingerprints."""

    key: bytes = field(repr=False)
    secret: bytes = field(default=b"", repr=False)
    """The key, where it is kept with the state; empty where the environment has it."""

    @property
    def is_with_state(self) -> bool:
        """Whether who has the state can try addresses: the fingerprints are pseudonymous only."""
        return bool(self.secret)

    @property
    def of_environment(self) -> bytes | None:
        """The key, where the environment has it."""
        return None if self.is_with_state else self.key


def find_people_key(environment: Mapping[str, str], status: IndexStatus) -> PeopleKey:
    """The key of the environment, or the one that is kept with the state, made up where there is none yet."""
    given = environment.get(KEY_VARIABLE, "")
    if given and len(given) < SHORTEST_KEY:
        raise UsageError(
            f"{KEY_VARIABLE} has {len(given)} characters, and a key at least {SHORTEST_KEY}",
            hint="make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    if given:
        return PeopleKey(given.encode(errors="surrogateescape"))
    secret = status.secret or secrets.token_bytes(32)
    return PeopleKey(secret, secret)


@dataclass(frozen=True, slots=True)
class PeopleSource:
    """A file that names people; `open` reads it from its start, as often as it is called."""

    name: str
    """Tells it from the others."""
    path: str
    """The file as a person names it."""
    place: Source
    """The place in the manifest that names it."""
    match: Match
    open: Callable[[], BinaryIO] = field(repr=False)
    may_be_empty: bool = False
    ending: str = ""
    """The kind of file, where its path does not tell it: of a query."""


@dataclass(slots=True, repr=False)
class ReadPeople:
    """The rows of the files, and the index that they are matched with."""

    book: PeopleBook
    key: PeopleKey
    files: dict[str, PeopleFile] = field(default_factory=dict)
    """By the names of the sources, those that could be read."""
    rows: dict[str, PeopleRows] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    """Of the bytes of these files."""
    failures: dict[str, InvalidInput] = field(default_factory=dict)
    """Why a file could not be read."""
    update: IndexUpdate = field(default_factory=IndexUpdate)
    filtered: FilteredSets = field(default_factory=FilteredSets)
    """What the search showed for sets by filter."""
    requests: int = 0

    @property
    def all_failures(self) -> dict[str, InvalidInput]:
        """By the names of the sets, why nothing could be read for them."""
        return dict(chain(self.failures.items(), self.filtered.failures.items()))

    @contextmanager
    def open_again(self, source: PeopleSource) -> Iterator[BinaryIO]:
        """A file that was read, for its values or other columns; raises InvalidInput where it is another one by now."""
        try:
            with source.open() as stream:
                if _digest(stream) != self.digests[source.name]:
                    raise CannotRead("it changed while people were read")
                yield stream
        except (CannotRead, OSError) as error:
            raise _unreadable(source, error, hint="run it again") from None

    def list_remarks(self) -> tuple[str, ...]:
        """Sentences that a person should know of the reading."""
        update, remarks = self.update, list[str]()
        if update.another_key:
            remarks.append("The key of the fingerprints is another one than before: the people were read anew.")
        if update.incomplete:
            remarks.append(f"The search was not complete: {update.incomplete}. A row that is not found may be there.")
        if update.one_only:
            remarks.append(
                "The location answers no search by these values: each look-up shows one contact, also where several "
                "have the value."
            )
        if update.unproven:
            remarks.append(
                f"{counted(update.unproven, 'contact')} of the snapshots before were not shown, and are not proven "
                "gone: they stay."
            )
        if update.refused:
            remarks.append(
                f"The API refused to look up {counted(update.refused, 'value')}: their rows are not found this time."
            )
        if self.key.is_with_state and self.files:
            remarks.append(
                f"{KEY_VARIABLE} is not set: the key of the fingerprints is kept with the state, and who has the state "
                "can try addresses."
            )
        if self.key.is_with_state and self.filtered.asks_for_address:
            remarks.append(
                f"{KEY_VARIABLE} is not set: a filter asks for an address or a number, and who has the snapshot of its "
                "set can try addresses."
            )
        explained = (*self._explain_malformed(), *self._explain_unread_phones())
        return (*remarks, *explained, *self.filtered.list_remarks())

    def _explain_malformed(self) -> Iterator[str]:
        """Of each file with malformed rows: the reasons, each with its rows and the first of them."""
        for name, rows in self.rows.items():
            if rows.malformed:
                path = self.files[name].path
                reasons = (
                    f"{kind.reason} ({kind.rows:,}, the first: {row_place(path, kind.first)})"
                    for kind in rows.malformed
                )
                yield f"{counted(sum(kind.rows for kind in rows.malformed), 'malformed row')}: {', '.join(reasons)}."

    def _explain_unread_phones(self) -> Iterator[str]:
        """Of files without a region: their numbers may be sound in some country."""
        for name, rows in self.rows.items():
            file = self.files[name]
            if rows.unread_phones and not file.match.region:
                yield (
                    f"{file.path}: {counted(rows.unread_phones, 'phone number')} cannot be read, and no country is "
                    "named for numbers that are written without one: add it, as `region: DE` beside `match` "
                    "(`resolve`: --region DE)."
                )


async def keep_nothing(_: PeopleLot) -> None:
    """For a reading that is not stored."""


@dataclass(frozen=True, slots=True)
class PeopleReading:
    """One reading of a location's people."""

    api: LocationApi
    sources: tuple[PeopleSource, ...]
    contacts: frozenset[ContactId] = frozenset()
    """The contacts of the snapshots before."""
    as_of: Instant = Instant(0)
    """The time of the pull."""
    full: bool = False
    """Whether all contacts are read, however fresh the index is."""
    heartbeat: Heartbeat | None = None
    """Of the lease, where the reading is stored."""
    keep: Callable[[PeopleLot], Awaitable[None]] = keep_nothing
    filters: tuple[FilteredSet, ...] = ()

    async def read(self, index: PeopleIndex) -> ReadPeople:
        """Reads the files, and brings the index up to date for them; raises the errors of the API."""
        workspace, location = self.api.workspace, self.api.location
        read = ReadPeople(PeopleBook(index), find_people_key(workspace.environment, index.status))
        await self.api.fetch_token()
        async with connect_people(self.api.settings.api.base_url, **self.api.make_arguments()) as api:
            clock = workspace.clock
            gate = RequestGate(location, self.api.pace, clock, workspace.listener, self.heartbeat or NoLease(clock))
            fields = await self._list_fields(api, gate)
            self._read_files(read, fields)
            if read.rows:
                services = PullServices(api, gate, _make_fingerprint(read), self.keep)
                read.update = await update_index(read.book, self._make_request(read), services)
            read.filtered = await read_filtered(self.filters, fields, api, gate)
            read.requests = gate.reads
        return read

    async def _list_fields(self, api: PeopleReader, gate: RequestGate) -> Sequence[CustomField]:
        """The custom fields of the location; none where no set names one."""
        keys = chain.from_iterable(source.match.keys for source in self.sources)
        if not any(key.kind is ValueKind.FIELD for key in keys) and not any(
            entry.needs_fields for entry in self.filters
        ):
            return ()
        # once for all sets, whatever names them
        _, fields = await gate.read_with_retries(partial(api.list_custom_fields, gate.location))
        return fields

    def _read_files(self, read: ReadPeople, fields: Sequence[CustomField]) -> None:
        fingerprinter = Fingerprinter(read.key.key)
        for source in self.sources:
            try:
                match = _with_field_ids(source, fields)
                normaliser = make_normaliser(match, source.place)
                file = PeopleFile(source.path, source.place, match, normaliser, fingerprinter, source.ending)
                read.digests[source.name], read.rows[source.name] = _read_rows(source, file)
                read.files[source.name] = file
            except InvalidInput as error:
                read.failures[source.name] = error

    def _make_request(self, read: ReadPeople) -> IndexRequest:
        return IndexRequest(
            key_check=Fingerprinter(read.key.key).key_check,
            secret=read.key.secret,
            covers=tuple(sorted(_covers(read))),
            count_unknown=lambda index: sum(
                len(values) for rows in read.rows.values() for values in find_unknown(rows, index)
            ),
            read_unknown=lambda index: self._read_unknown(read, index),
            contacts=self.contacts,
            full=self.full,
            as_of=self.as_of,
        )

    def _read_unknown(self, read: ReadPeople, index: PeopleIndex) -> list[PersonValue]:
        """The values of the files that the index does not have: the files are read again, fingerprints tell none."""
        values: dict[PersonValue, None] = {}
        for source in self.sources:
            if source.name in read.rows:
                unknown = frozenset[Fingerprint]().union(*find_unknown(read.rows[source.name], index))
                with read.open_again(source) as stream:
                    values |= dict.fromkeys(find_values(stream, read.files[source.name], unknown))
        return list(values)


def _digest(stream: BinaryIO) -> bytes:
    """Of all its bytes; the stream is at its start again."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    stream.seek(0)
    return digest.digest()


def _unreadable(source: PeopleSource, error: CannotRead | OSError, *, hint: str = "") -> InvalidInput:
    reason = error.strerror if isinstance(error, OSError) else error
    what = f"{source.path}:" if source.ending else f"contact file {quoted(source.path)}:"
    return InvalidInput([Problem(source.place, f"{what} {reason}", "contact-file", hint=hint)])


def _read_rows(source: PeopleSource, file: PeopleFile) -> tuple[bytes, PeopleRows]:
    """The digest of the file, and its rows."""
    try:
        with source.open() as stream:
            digest, rows = _digest(stream), read_people(stream, file)
    except (CannotRead, OSError) as error:
        raise _unreadable(source, error) from None
    if not rows and not source.may_be_empty:
        hint = "if that is meant, say so: allow_empty: true"
        raise InvalidInput([Problem(source.place, f"{source.path} has no rows to match", "contact-file", hint=hint)])
    return digest, rows


def _with_field_ids(source: PeopleSource, fields: Sequence[CustomField]) -> Match:
    """The match with the ids of its custom fields; raises InvalidInput for one that the location does not have."""
    return replace(source.match, keys=tuple(_with_field_id(key, source, fields) for key in source.match.keys))


def _with_field_id(key: MatchKey, source: PeopleSource, fields: Sequence[CustomField]) -> MatchKey:
    if key.kind is not ValueKind.FIELD:
        return key
    return replace(key, custom_field=find_field(key.custom_field, fields, source.place).id)


def _covers(read: ReadPeople) -> frozenset[str]:
    """The values that the index has by now, and those that the files ask for."""
    asked = {key.custom_field or key.kind.value for file in read.files.values() for key in file.match.keys}
    status, check = read.book.status, Fingerprinter(read.key.key).key_check
    return frozenset(asked | set(status.covers if status.key_check == check else ()))


def _find_phone_reader(read: ReadPeople, covers: frozenset[str]) -> ReadPhone | None:
    readers = (file.normaliser.read_phone for file in read.files.values())
    of_files = next((reader for reader in readers if reader is not None), None)
    return of_files or (phone_reader(Source("index")) if ValueKind.PHONE.value in covers else None)


def _make_fingerprint(read: ReadPeople) -> Callable[[PersonValue], Fingerprint | None]:
    """The fingerprint of a value as the CRM has it; None where it is none that a match could name."""
    covers, fingerprinter = _covers(read), Fingerprinter(read.key.key)
    # numbers of the CRM are written with their country
    normaliser = Normaliser(_find_phone_reader(read, covers))

    def make(value: PersonValue) -> Fingerprint | None:
        if (value.custom_field or value.kind.value) not in covers:
            return None
        text = normaliser.normalise(value.kind, value.text)
        return None if text is None else fingerprinter.of(value.kind, text, value.custom_field)

    return make
