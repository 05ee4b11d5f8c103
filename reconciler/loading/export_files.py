"""Reads a CRM's export of contacts and their tags, and writes the manifests and contact files of `export`.

Rules of reading
1. CSV: a header with `contact_id`, `contact id` or `id`, and `tags`, in any case; tags are parted by commas. Where no
   cell has a comma and some have `;` or `|`, these part them: such a file is refused.
2. JSON: a list of rows, an object with a list `contacts`, or one of these a line; a row is as the search shows it.
3. A row without tags is counted and left out; an empty list of tags means that the contact has none.
4. A file with a mistake is refused whole: every problem is reported with its place.
5. What cannot be an id is refused as in a contact file, and where HighLevel cannot have issued it, too: an export has
   ids of contacts that are there, and an address or a name would be stored.

Rules of writing
6. `load` reads every tag back unchanged: a tag that is not plainly a word is quoted, unprintable characters escaped.
7. Nothing that exists is overwritten.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.manifests.checks.ids import name_id
from reconciler.core.manifests.export_sets import ExportedSet
from reconciler.core.model.errors import InvalidInput, Problem, ReconcilerError, UsageError
from reconciler.core.model.names import ContactId, LocationId, Source, TagSet, looks_like_contact_id, normalise_tag
from reconciler.core.model.safe_text import tells_person
from reconciler.loading.contact_ids import FileFaults, FileRequest, name_separator, refuse_headless
from reconciler.loading.fields import id_fault
from reconciler.loading.files import LFS, SAVE_AS_UTF_8, UTF_16, is_lfs_pointer, is_utf_16
from reconciler.wire import ContactRead, UnreadableAnswer, read_rows

ID_COLUMNS = ("contact_id", "contact id", "contactid", "id")
MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Exported:
    """The contacts of an export by their tags."""

    contacts: dict[TagSet, tuple[ContactId, ...]]
    elsewhere: int
    """Rows of other locations."""
    without_tags: int
    """Rows that do not tell their tags."""
    unparted: int = 0
    """Rows of a CSV with a tag that has `;` or `|` in it, beside cells that commas part."""


_OTHER_SEPARATORS = frozenset(";|")
_Row = tuple[int, ContactRead]
"""A row with its line. A CSV tells no location: it is empty there."""


def read_export(path: Path, location: LocationId, *, odd_ids: bool = True) -> Exported:
    """The contacts of `location`; raises InvalidInput with every problem.

    `odd_ids`: whether ids that HighLevel cannot have issued are refused, too.
    """
    text = _read_text(path)
    is_json = text.lstrip()[:1] in ("{", "[")
    rows = list(_read_json_rows(path, text) if is_json else _read_csv_rows(path, text))
    faults = FileFaults(FileRequest(str(path), Source(str(path))))
    unparted = 0 if is_json else _count_unparted(rows, faults)
    _find_strange_ids(rows, faults, odd_ids=odd_ids)
    # before the ids are looked at together: a message of that repeats them
    faults.raise_errors()
    _refuse_twice(path, rows)
    by_tags: defaultdict[TagSet, list[ContactId]] = defaultdict(list)
    # a CSV has no locations: the caller names the one that it was exported from
    here = [row for _, row in rows if row.location in ("", location)]
    for row in here:
        if row.tags is not None:
            by_tags[row.tags].append(row.id)
    return Exported(
        contacts={tags: tuple(contacts) for tags, contacts in by_tags.items()},
        elsewhere=len(rows) - len(here),
        without_tags=sum(row.tags is None for row in here),
        unparted=unparted,
    )


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if is_lfs_pointer(data):
            raise InvalidInput([_export_problem(path, 1, LFS)])
        if is_utf_16(data):
            raise InvalidInput([_export_problem(path, 0, UTF_16, SAVE_AS_UTF_8)])
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput([_export_problem(path, 0, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise InvalidInput([_export_problem(path, 0, f"is not UTF-8 text at byte {error.start}")]) from error


def _find_strange_ids(rows: Iterable[_Row], faults: FileFaults, *, odd_ids: bool) -> None:
    for line, row in rows:
        if not row.id:
            faults.add_fault("empty-id", line, "a row without a contact's id")
        elif looks_like_contact_id(row.id):
            continue
        elif wrong := id_fault(row.id):
            faults.add_fault("contact-id", line, *wrong)
        elif odd_ids or tells_person(row.id):
            hint = "an id has 20 letters and digits; where test data has others: guards: {odd_ids: false}"
            faults.add_fault("contact-ids", line, f"{name_id(row.id)} cannot be a HighLevel contact id", hint)


def _count_unparted(rows: Iterable[_Row], faults: FileFaults) -> int:
    """The rows with a tag that holds what other exports part tags by; faults where no cell has a comma."""
    unparted, are_parted = list[int](), False
    for line, row in rows:
        tags = row.tags or ()
        are_parted = are_parted or len(tags) > 1
        if any(set(tag) & _OTHER_SEPARATORS for tag in tags):
            unparted.append(line)
    for line in () if are_parted else unparted:
        hint = (
            'part tags by commas; a tag with such a character in it needs JSON: {"id": …, "locationId": …, "tags": […]}'
        )
        faults.add_fault("tags", line, "tags that ';' or '|' seems to part: commas do, and no cell has one", hint)
    return len(unparted)


def _export_problem(path: Path, line: int, message: str, hint: str = "") -> Problem:
    return Problem(Source(str(path), line), message, "export", hint=hint)


def _refuse_twice(path: Path, rows: Sequence[_Row]) -> None:
    first: dict[ContactId, _Row] = {}
    problems = []
    for line, row in rows:
        # two rows that agree are harmless: exports overlap
        first_line, before = first.setdefault(row.id, (line, row))
        if before.tags != row.tags:
            problems.append(_export_problem(path, line, f"contact {row.id} has other tags than in line {first_line}"))
    if problems:
        raise InvalidInput(problems[:MOST_PROBLEMS])


def _read_csv_rows(path: Path, text: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        names = [name.lower() for name in header]
        contact = next((names.index(name) for name in ID_COLUMNS if name in names), None)
        if contact is None or "tags" not in names:
            refuse_headless(header, FileFaults(FileRequest(str(path), Source(str(path)))))
            hint = name_separator(names) or (f"it has {', '.join(names[:10])}" if names else "it is empty")
            raise InvalidInput([_export_problem(path, 1, "a CSV export has the columns contact_id and tags", hint)])
        tags = names.index("tags")
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(names):
                message = f"{len(cells)} cells, where the header has {len(names)}"
                raise InvalidInput([_export_problem(path, reader.line_num, message)])
            split = frozenset(normalise_tag(tag) for tag in cells[tags].split(",") if tag.strip())
            yield reader.line_num, ContactRead(ContactId(cells[contact].strip()), LocationId(""), split, None)
    except csv.Error as error:
        raise InvalidInput([_export_problem(path, reader.line_num, f"no CSV: {error}")]) from error


def _read_json_rows(path: Path, text: str) -> Iterator[_Row]:
    for line, document in _read_documents(path, text):
        items = document.get("contacts", [document]) if isinstance(document, dict) else document
        try:
            yield from ((line, contact) for contact in read_rows(items))
        except UnreadableAnswer as error:
            raise InvalidInput([_export_problem(path, line, f"no search row: {error}")]) from error


def _read_documents(path: Path, text: str) -> list[tuple[int, object]]:
    """The one document of the file, or those of its lines."""
    try:
        return [(1, json.loads(text))]
    except RecursionError as error:
        raise InvalidInput([_export_problem(path, 1, "is nested too deeply")]) from error
    except ValueError:
        # not one document: one a line, as `jq -c` and loggers write them
        documents = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            documents += [(number, json.loads(line))] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise InvalidInput([_export_problem(path, number, "is not JSON")]) from error
    return documents


_WORD = re.compile(r"[a-z0-9](?:[a-z0-9 _./+-]*[a-z0-9])?")


def manifest_text(location: LocationId, sets: Iterable[ExportedSet], *, folder: str, comment: str) -> str:
    """A manifest with these sets, their contacts in files of `folder` beside it. `comment`: one printable line."""
    lines = [f"# {comment}", f"location: {location}", "contact_sets:"]
    for exported in sets:
        lines += [
            f"  {exported.name}:",
            f"    contacts: {{file: {folder}/{exported.name}.csv}}",
            "    tags:",
            *(f"      - {yaml_scalar(tag)}" for tag in exported.tags),
        ]
    return "\n".join(lines) + "\n"


def contacts_text(exported: ExportedSet) -> str:
    return "contact_id\n" + "".join(f"{_csv_cell(contact)}\n" for contact in exported.contacts)


def yaml_scalar(text: str) -> str:
    """A YAML scalar that is read as exactly this text."""
    # `no` and `012` need no quotes, since the loader types nothing: only characters that mean something to YAML do
    if _WORD.fullmatch(text):
        return text
    return '"' + "".join(map(_escape_char, text)) + '"'


def _escape_char(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char == " " or char.isprintable():
        return char
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"') else text


def write_files(directory: Path, files: Mapping[Path, str]) -> None:
    """Writes all of the files (their paths relative to the directory), or none where one is there already."""
    # all are looked for before the first is written: half an export is worse than none
    existing = sorted(path for path in files if (directory / path).exists())
    if existing:
        raise UsageError(
            f"{directory / existing[0]} exists already, and nothing is overwritten", hint="choose another --out"
        )
    try:
        for path, text in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            # the same bytes on every platform, so that an export can be compared with the last one
            (directory / path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ReconcilerError(f"{error.filename} cannot be written: {error.strerror}") from error
