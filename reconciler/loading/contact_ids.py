"""Collects the ids of a contact file with their lines, and the faults of any table, in the same way for every format.

Rule: every fault is counted, at most `LISTED` of each kind are listed.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from reconciler.core.model.contact_columns import NumberedContacts
from reconciler.core.model.contact_numbers import ContactNumbers, Numbers
from reconciler.core.model.errors import InvalidInput, Problem, Severity
from reconciler.core.model.names import ContactId, Source, are_plain, looks_like_contact_id
from reconciler.core.model.people import RowFilter, row_place
from reconciler.core.model.safe_text import tells_person
from reconciler.loading.fields import id_fault, repetition_message
from reconciler.loading.file_tree import ENDINGS

Row = tuple[int, Sequence[object]]
"""The line of a row, and its cells in the columns that are asked for."""
LISTED = 5
_OF_ADDRESSES = ("email", "e_mail", "mail", "email_address", "e_mail_address", "mail_address")
DEFAULT_COLUMNS = ("contact_id", "Contact Id", "id")
"""The second is the vendor's, in its exports."""

_PARTED = re.compile("[,;]")
_NUMBER = re.compile(r"'?[+＋]?[\d\s().\-/]{5,}")
"""A phone number, or another one that is long enough to tell a person by it."""


def lets_pass(row_filter: RowFilter, value: object) -> bool:
    """Whether a value of a JSON row, or a cell of a table, meets the condition."""
    text = row_filter.text
    return text in list_items(value) if row_filter.contains else json_text(value) == text


def asks_for_list(row_filter: RowFilter, value: object) -> bool:
    """Whether the filter would let the value pass if it asked for a list that holds its text."""
    # `where: {Tags: vip}` silently finds only contacts with this tag alone: worth a warning
    many = isinstance(value, list) or (isinstance(value, str) and _PARTED.search(value) is not None)
    return not row_filter.contains and many and row_filter.text in list_items(value)


def list_items(value: object) -> list[str]:
    """The items of a list: of JSON, or of a cell that parts them by commas or semicolons, as the vendor's export."""
    if isinstance(value, list):
        return [json_text(item) for item in value]
    return [item.strip() for item in _PARTED.split(json_text(value))]


def json_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True)
class FileRequest:
    """A manifest's request for the ids of a contact file."""

    path: str
    """The file as a person names it."""
    source: Source
    """The place in the manifest."""
    column: str | None = None
    where: tuple[RowFilter, ...] = ()
    people: tuple[str, ...] = ()
    """The columns of the values that people are matched by, where the file has these in place of ids."""
    every_column: bool = False
    """Whether rows have the cells of all columns, of which two may have one name; the first row has the names."""
    ending: str = ""
    """The kind of file, where its path does not tell it: of a query, whose rows have places as `row_place` has them."""

    @property
    def kind(self) -> str:
        """The ending that tells how it is read; empty where none is known."""
        return self.ending or next((ending for ending in ENDINGS if self.path.lower().endswith(ending)), "")

    def place(self, line: int) -> Source:
        return Source(row_place(self.path, line)) if self.ending else Source(self.path, line)

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns that the manifest names."""
        of_values = self.people or ((self.column,) if self.column is not None else ())
        return (*of_values, *(row_filter.column for row_filter in self.where))


@dataclass(frozen=True, slots=True)
class ContactTable:
    """The ids of a file."""

    ids: NumberedContacts
    """In the order of the file."""
    lines: array[int]
    """The line of each id."""
    problems: tuple[Problem, ...]
    """Warnings and infos; a file with errors gives no table."""
    repeated: int = 0
    """Rows with an id that an earlier row has."""


class FileFaults:
    """The faults of a file by kind, the first few of each with their line, and what its filters may have missed."""

    def __init__(self, request: FileRequest) -> None:
        self.request = request
        self._faults: dict[str, list[tuple[int, str, str]]] = {}
        self._counts: dict[str, int] = {}
        self._lists: dict[RowFilter, tuple[int, int]] = {}

    def add_fault(self, check: str, line: int, message: str, hint: str = "") -> None:
        self._counts[check] = self._counts.get(check, 0) + 1
        listed = self._faults.setdefault(check, [])
        if len(listed) < LISTED:
            listed.append((line, message, hint))

    def meets_filters(self, values: Iterable[tuple[RowFilter, object]], line: int) -> bool:
        """Whether a row meets all filters; counts lists that hold the text of a filter that asks for the text alone."""
        meets = True
        for row_filter, value in values:
            if not lets_pass(row_filter, value):
                meets = False
                if asks_for_list(row_filter, value):
                    self.note_list(row_filter, line)
        return meets

    def note_list(self, row_filter: RowFilter, line: int) -> None:
        first, count = self._lists.get(row_filter, (line, 0))
        self._lists[row_filter] = first, count + 1

    def fatal_error(self, check: str, line: int, message: str, hint: str = "") -> InvalidInput:
        """The error that ends the reading of this file, together with the faults before it."""
        place = self.request.place(line)
        return InvalidInput([*self._list_errors(), Problem(place, message, check, hint=hint)])

    def raise_errors(self) -> None:
        """Raises InvalidInput where the file has a fault."""
        if errors := list(self._list_errors()):
            raise InvalidInput(errors)

    def _list_errors(self) -> Iterator[Problem]:
        for check, listed in self._faults.items():
            more = self._counts[check] - len(listed)
            for place, (line, message, hint) in enumerate(listed, 1):
                unlisted = f" (and {more:,} more rows like it)" if more and place == len(listed) else ""
                yield Problem(self.request.place(line), message + unlisted, check, hint=hint)

    def list_remarks(self) -> Iterator[Problem]:
        """Warnings about lists that a filter did not let pass."""
        for row_filter, (line, count) in self._lists.items():
            rows = f"{count:,} rows hold lists" if count > 1 else "a row holds a list"
            column, is_shown = row_filter.column, not tells_person(row_filter.text)
            text = repr(row_filter.text) if is_shown else "the text of `where`"
            message = f"in column {column!r} {rows} with {text}, and `where` asks for this text alone"
            sought = row_filter.text if is_shown else "…"
            hint = f"to ask for lists that hold it: where: {{{column}: {{contains: {sought}}}}}"
            yield Problem(self.request.place(line), message, "list-column", Severity.WARNING, hint)


class IdCollector:
    """The ids so far."""

    def __init__(self, faults: FileFaults, contacts: ContactNumbers | None = None) -> None:
        """`contacts`: those of all files so far: an id of many files is kept once."""
        self._faults = faults
        self._contacts = ContactNumbers() if contacts is None else contacts
        self._lines = array("I")
        # in the order of the file; no objects, for files of a million rows
        self._numbers = array("i")
        # those of the file so far; None while each was new to all files, and numbered as it came
        self._seen: set[int] | None = None
        self._double: tuple[int, str] | None = None
        self._double_count = 0

    def add_ids(self, texts: Sequence[str], first: int) -> None:
        """Adds the ids of rows on consecutive lines, the first of which is given; the same as one by one."""
        ids = texts if all(texts) and are_plain("".join(texts)) else list(map(str.strip, texts))
        if ids is not texts and not all(map(str.isalnum, ids)):
            self._add_each(texts, first)
            return
        before = len(self._contacts)
        numbers = self._contacts.number_all(cast(Sequence[ContactId], ids))
        if not self._add_numbers(numbers, len(self._contacts) - before, first):
            self._add_each(texts, first)

    def add_cells(self, block: bytes, delimiter: str, width: int, place: int, first: int) -> bool:
        """Adds the ids of `ContactNumbers.number_cells`; False where there are none, but texts to be added."""
        before = len(self._contacts)
        numbers = self._contacts.number_cells(block, delimiter, width, place)
        if numbers is None:
            return False
        if not self._add_numbers(numbers, len(self._contacts) - before, first):
            self._add_each(NumberedContacts(self._contacts, numbers), first)
        return True

    def _add_numbers(self, numbers: Numbers, new: int, first: int) -> bool:
        """Whether they were added: not where a contact is there twice. `new`: how many of them no file had before."""
        if self._seen is not None or new < len(numbers):
            self._seen = self._list_seen()
            self._seen.update(numbers)
        if self._seen is not None and len(self._seen) < len(self._numbers) + len(numbers):
            # as if they had not been added
            self._seen = set(self._numbers)
            return False
        self._numbers += numbers
        self._lines.extend(range(first, first + len(numbers)))
        return True

    def _add_each(self, texts: Sequence[str], first: int) -> None:
        for line, text in enumerate(texts, first):
            self.add_id(text, line)

    def add_id(self, text: object, line: int) -> None:
        """Adds the id of a row; a value that is no text is a fault."""
        if not isinstance(text, str):
            self._add_fault("empty-id", line, "a row without an id" if text is None else "an id that is not text")
            return
        contact = text.strip()
        self._seen = self._list_seen()
        if self._contacts.find(contact) in self._seen:
            self._double_count += 1
            self._double = self._double or (line, contact)
        elif not contact:
            self._add_fault("empty-id", line, "a row without an id")
        # almost every id is alphanumeric, and needs none of the slower checks
        elif not contact.isalnum() and (wrong := id_fault(contact)):
            self._add_fault("contact-id", line, *wrong)
        else:
            (number,) = self._contacts.number((ContactId(contact),))
            self._seen.add(number)
            self._numbers.append(number)
            self._lines.append(line)

    def _list_seen(self) -> set[int]:
        return set(self._numbers) if self._seen is None else self._seen

    def _add_fault(self, check: str, line: int, message: str, hint: str = "") -> None:
        self._faults.add_fault(check, line, message, hint)

    def build_table(self) -> ContactTable:
        """The ids with their remarks; raises InvalidInput with every fault of the file."""
        self._faults.raise_errors()
        remarks = tuple(self._faults.list_remarks())
        problems = (*self._list_doubles(), *(remarks or self._list_unmet()))
        return ContactTable(NumberedContacts(self._contacts, self._numbers), self._lines, problems, self._double_count)

    def _list_unmet(self) -> Iterator[Problem]:
        """The conditions, where no row meets them: their columns alone, as a text may tell a person."""
        request = self._faults.request
        if request.where and not self._numbers:
            columns = ", ".join(repr(row_filter.column) for row_filter in request.where)
            message = f"no row of {request.path} meets `where` (column {columns})"
            hint = "a value is compared as it is written in the file: in case and length too"
            yield Problem(request.source, message, "where-unmet", Severity.INFO, hint)

    def _list_doubles(self) -> Iterator[Problem]:
        if self._double is not None:
            line, contact = self._double
            message = repetition_message(self._double_count, contact)
            yield Problem(self._faults.request.place(line), message, "duplicate-id", Severity.INFO)


def find_columns(names: list[str], faults: FileFaults, *, line: int = 1) -> tuple[str, ...]:
    """The columns of the ids, or of the values of people; raises InvalidInput unless each named one is there once."""
    request = faults.request
    default = next((name for name in DEFAULT_COLUMNS if name in names), None)
    columns = request.people or tuple(filter(None, (request.column or default,)))
    missing = [name for name in request.named_columns if name not in names]
    if missing or not columns:
        refuse_headless(names, faults, line=line)
    if missing or not columns:
        absent = repr(missing[0]) if missing else "'contact_id', 'Contact Id' or 'id'"
        of_ids = not columns or (not request.people and columns[0] in missing)
        hint = _column_hint(names, missing[:1] or DEFAULT_COLUMNS, of_ids=of_ids)
        raise faults.fatal_error("column", line, f"no column {absent}; the columns are {_join_names(names)}", hint)
    # of two columns with one name, either may be the right one
    double = [name for name in (*columns, *request.named_columns) if names.count(name) > 1]
    if double:
        raise faults.fatal_error("column", line, f"column {double[0]!r} is there more than once")
    return columns


def refuse_headless(names: Iterable[str], faults: FileFaults, *, line: int = 1) -> None:
    """Raises InvalidInput where the names of columns are people: a file without a header has them in its first line."""
    # none of its cells is repeated
    if any("@" in name or _NUMBER.fullmatch(name) for name in names):
        hint = "begin the file with a line that names its columns"
        message = "the first line has an e-mail address or a number, and names no columns"
        raise faults.fatal_error("column", line, message, hint)


def name_separator(names: Sequence[str]) -> str:
    """A hint where the only column of a table is a header that something else separates; empty elsewhere."""
    separator = next((char for char in ";\t|," if char in names[0]), "") if len(names) == 1 else ""
    return f"the file looks separated by {separator!r}: .csv is separated by commas, .tsv by tabs" if separator else ""


def _join_names(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(repr(name[:60]) for name in names[:20]) + more


def _column_hint(names: list[str], wanted: Iterable[str], *, of_ids: bool) -> str:
    """Names the column that was probably meant by one of `wanted`."""
    if hint := name_separator(names):
        return hint
    plain = {name.lower().replace(" ", "_").replace("-", "_"): name for name in names}
    close = [plain[near] for name in wanted for near in get_close_matches(name.lower(), list(plain), n=1, cutoff=0.8)]
    if of_ids and any(map(looks_like_contact_id, names)):
        return "the first line looks like a contact's: begin the file with a line that says contact_id, or call it .txt"
    if of_ids and not close:
        mail = next((plain[name] for name in _OF_ADDRESSES if name in plain), None)
        # the first minute of who has a list of addresses, and no ids
        return "" if mail is None else f"to find people by their addresses: match: {{email: {mail}}}"
    if not close:
        return ""
    return f"name it in the manifest: column: {close[0]}" if of_ids else f"did you mean {close[0]!r}?"
