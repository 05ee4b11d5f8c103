"""Asks the sources of the settings for the rows of contact sets: `ask_queries(session, queries)`.

Rules
1. Only a pull asks. A source is asked once, however many sets and locations have their contacts from it, unless its
   words have a location's values in them.
2. A program does not get our tokens, the key of fingerprints, or the state's URL, which may hold a password.
   What it complained of is for the log of the command alone, masked: a report is published.
3. A source that fails gives no rows at all: a part of them would be a set that shrank.
4. In a line of errors the name of a program's variable stands for its value, where it is named like a secret: line by
   line for a value of several, and for the password of a URL too. Our secrets and addresses of people are cut out.
5. What a source gave is in a file without a name until the pull has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BufferedReader, RawIOBase
from threading import Event
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from reconciler.core.model.errors import Problem
from reconciler.core.model.people import RowFormat, RowQuery
from reconciler.core.model.safe_text import redacted, withhold_people
from reconciler.core.model.settings import DEFAULT_TOKEN_ENV
from reconciler.highlevel.tokens import SHORTEST, cut
from reconciler.loading.files import Directory
from reconciler.loading.query_files import MIB, run_sql
from reconciler.loading.query_tables import SqlFailed
from reconciler.loading.settings import PREFIX, variable_name
from reconciler.operations.people_index import KEY_VARIABLE
from reconciler.operations.run_command import Command, CommandFailed, run_command
from reconciler.operations.workspace import Session

AT_ONCE = 4
"""So many sources are asked at the same time."""
LONGEST_LINE = 500
SHORTEST_VALUE = 6
"""A shorter text may be a part of any word."""
_SECRET_NAME = re.compile(r"(?i)TOKEN|SECRET|PASSWORD|PASSWD|KEY|CREDENTIAL|DATABASE_URL")
STATE_VARIABLES = frozenset({variable_name("state"), f"{PREFIX}STATE_READONLY"})
"""Ours, and that of the examples for CI: a URL may hold the password of a database."""
_WHERE_ERRORS_ARE = "  its error lines are in the log of the command (stderr)"
_ENDINGS = {RowFormat.CSV: ".csv", RowFormat.JSON_LINES: ".jsonl"}
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class QueryRows:
    """What a source gave, or why it gave nothing."""

    stream: BinaryIO | None = None
    ending: str = ""
    """The kind of file that it is."""
    digest: str = ""
    """Of its bytes."""
    ends_with_line: bool = True
    failure: tuple[str, ...] = ()
    """In lines; empty where it gave its rows."""
    errors: tuple[str, ...] = ()
    """The last lines of a program's errors, masked: for the log of the command."""

    def open(self) -> BinaryIO:
        """The rows from their start, as often as it is called."""
        assert self.stream is not None
        return cast(BinaryIO, BufferedReader(_Again(self.stream.fileno()), _BLOCK))


class _Again(RawIOBase):
    """A file from its start, whoever else reads it at the same time."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = os.preadv(self._number, [buffer], self._at)
        self._at += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self._number).st_size}
        self._at = starts[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at


@asynccontextmanager
async def ask_queries(session: Session, queries: Iterable[RowQuery]) -> AsyncIterator[Mapping[RowQuery, QueryRows]]:
    """What each of the sources gave, until the end of the block. Cancelled, those that run are ended first."""
    stop, asking = Event(), Asking.of(session)
    different = list(dict.fromkeys(queries))
    with ExitStack() as kept:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            loop = asyncio.get_running_loop()
            for query in different:
                session.workspace.listener.on_asking(query.name)
            asked = [loop.run_in_executor(pool, partial(asking.ask, query, stop)) for query in different]
            try:
                gave = await asyncio.gather(*asked)
            except BaseException:
                # the pool is left when the last of them has ended its program
                stop.set()
                raise
        for query, rows in zip(different, gave, strict=True):
            if rows.errors:
                session.workspace.listener.on_source_errors(query.name, rows.errors)
            if rows.stream is not None:
                kept.callback(rows.stream.close)
        yield dict(zip(different, gave, strict=True))


@dataclass(frozen=True, slots=True, repr=False)
class MaskedWords:
    """The secrets that a line must not tell."""

    ours: tuple[str, ...]
    named: Mapping[str, str] = field(default_factory=dict)
    """The values of the program's variables, and which variable each is of."""

    @classmethod
    def of(cls, ours: Iterable[str], environment: Mapping[str, str]) -> MaskedWords:
        """`ours`: secrets that the program did not get; `environment`: what it got."""
        named: dict[str, str] = {}
        for name in sorted(filter(_SECRET_NAME.search, environment)):
            for text in _parts_of(environment[name]):
                named.setdefault(text, name)
        # a short text is no secret, and may be a part of any word
        return cls(tuple(text for text in ours if len(text) >= SHORTEST), named)

    def mask(self, line: str) -> str:
        """The line without the secrets, e-mail addresses and international phone numbers in it, and not too long."""
        masked = cut(self.ours, line)
        if self.named:
            # the longest first, and all at once: no name that was put there is looked through again
            words = "|".join(map(re.escape, sorted(self.named, key=len, reverse=True)))
            masked = re.sub(words, lambda found: f"({self.named[found[0]]})", masked)
        return withhold_people(masked)[:LONGEST_LINE]


@dataclass(frozen=True, slots=True)
class Asking:
    """The surroundings in which sources are asked."""

    files: Directory
    environment: Mapping[str, str] = field(repr=False)
    """That of a program: without our secrets."""
    masked: MaskedWords = field(repr=False)
    """What no log may repeat."""

    @classmethod
    def of(cls, session: Session) -> Asking:
        given, settings = session.workspace.environment, session.settings
        named = {DEFAULT_TOKEN_ENV, KEY_VARIABLE, *(place.token_env for place in settings.locations.values())}
        texts = {given.get(name, "").strip() for name in named}
        for url in (settings.state, *(given.get(name, "") for name in STATE_VARIABLES)):
            texts |= _secrets_of(url)
        theirs = {name: text for name, text in given.items() if name not in named | STATE_VARIABLES}
        return cls(Directory(session.workspace.directory), theirs, MaskedWords.of(texts, theirs))

    def ask(self, query: RowQuery, stop: Event) -> QueryRows:
        """What the source gave, or why it failed."""
        try:
            stream = self._run(query, stop) if query.command else run_sql(query, self.files, stop)
            return _describe(stream, query)
        except CommandFailed as error:
            told = (_WHERE_ERRORS_ARE,) if error.errors else ()
            failure = (*_failure(query, str(error), error.hint), *told)
            return QueryRows(failure=failure, errors=tuple(map(self.masked.mask, error.errors)))
        except SqlFailed as error:
            return QueryRows(failure=_failure(query, str(error), error.hint))

    def _run(self, query: RowQuery, stop: Event) -> BinaryIO:
        root, most = self.files.root, query.max_mib * MIB
        return run_command(Command(query.command, root, self.environment, query.timeout_s, most), stop)


def _secrets_of(url: str) -> set[str]:
    """The URL and its password, where it holds a secret at all: a path is none."""
    if redacted(url) == url:
        return set()
    try:
        password = urlsplit(url).password or ""
    except ValueError:
        password = ""
    return {url, password, unquote(password)}


def _parts_of(value: str) -> Iterator[str]:
    for text in (value, *value.splitlines(), *_secrets_of(value)):
        if len(text.strip()) >= SHORTEST_VALUE:
            yield text.strip()


def _failure(query: RowQuery, reason: str, hint: str) -> tuple[str, ...]:
    return Problem(query.place, f"{query} failed: {reason}", "source", hint=hint).lines


def _describe(stream: BinaryIO, query: RowQuery) -> QueryRows:
    digest, first, last = hashlib.sha256(), b"", b""
    while block := stream.read(_BLOCK):
        digest.update(block)
        first, last = first or block.removeprefix(b"\xef\xbb\xbf").lstrip()[:1], block[-1:]
    told = query.format or (RowFormat.JSON_LINES if first == b"{" else RowFormat.CSV)
    return QueryRows(stream, _ENDINGS[told], f"sha256:{digest.hexdigest()}", ends_with_line=last == b"\n")
