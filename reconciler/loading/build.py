"""Builds the contact sets and rules of a validated file: reads the contact files, gives every value its place."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from reconciler.core.model.contact_filter import digest_filter
from reconciler.core.model.contact_numbers import ContactNumbers
from reconciler.core.model.errors import InvalidInput, Problem, Severity
from reconciler.core.model.manifest import Combined, ContactSet, ListedContacts, SetUse, TagRule, TagUse
from reconciler.core.model.names import ContactId, Instant, SetName, Source, Tag, normalise_tag
from reconciler.core.model.people import Match, RowQuery, Snapshot
from reconciler.core.model.release_rules import EVERY_DAY, TagPace, TagWindow
from reconciler.core.model.safe_text import quoted
from reconciler.loading import mistakes
from reconciler.loading.contact_files import read_table
from reconciler.loading.contact_ids import FileRequest
from reconciler.loading.fields import id_fault, repetition_message
from reconciler.loading.file_tree import NO_FILE, CannotRead
from reconciler.loading.files import Files, display_path, name_inside
from reconciler.loading.filter_models import FilterContacts
from reconciler.loading.filters import build_filter
from reconciler.loading.models import CombinedContacts, ContactSetModel, TagRuleModel, WindowModel
from reconciler.loading.nodes import Mapping, Node, Scalar, Sequence
from reconciler.loading.people_files import (
    check_source,
    list_match_faults,
    make_match,
    make_query_match,
    row_filters,
)
from reconciler.loading.row_models import FileContacts, RowContacts, SourceContacts

Report = Callable[[Problem], None]
FindSnapshot = Callable[[SetName], Snapshot | None]
FindQuery = Callable[[str, Source], RowQuery | None]
"""The source of a name, for the location; raises InvalidInput, and tells None where nothing can be said of it."""
Rows = TypeVar("Rows", bound=RowContacts)


class Fill(Protocol):
    """Fills the placeholders in the contacts of a set, whose node is given; raises InvalidInput."""

    def __call__(self, model: Rows, node: Mapping, /) -> Rows: ...


def read_instant(moment: datetime | None, zone: str) -> Instant | None:
    """Milliseconds; a midnight without zone is one in `zone`."""
    return None if moment is None else read_moment(moment, zone)


def read_moment(moment: datetime, zone: str) -> Instant:
    """As `read_instant`."""
    # only a bare date has no zone: see `fields`
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC if zone == "UTC" else ZoneInfo(zone))
    return Instant(round(moment.timestamp() * 1000))


def tag_rules(models: dict[str, TagRuleModel], node: Node | None, zone: str, report: Report) -> dict[Tag, TagRule]:
    """The rules by tag; two spellings of one tag are an error. `zone`: of windows that name none."""
    rules: dict[Tag, TagRule] = {}
    entries = node.items if isinstance(node, Mapping) else {}
    for written, model in models.items():
        # pydantic keeps the spellings apart, the API does not
        tag, source = normalise_tag(written), entries[written][0].source
        if tag in rules:
            message = f"tag {written!r} has a second rule, the first is at {rules[tag].source}"
            report(Problem(source, message, "tag-rule"))
            continue
        fields = model.model_dump(exclude={"group", "renamed_from", "pace", "window"})
        renamed = None if model.renamed_from is None else normalise_tag(model.renamed_from)
        pace = None if model.pace is None else TagPace(model.pace.adds, model.pace.per)
        window = None if model.window is None else _make_window(model.window, entries[written][1], zone, report)
        rules[tag] = TagRule(
            tag, source, **fields, group=model.group or "", renamed_from=renamed, pace=pace, window=window
        )
    return rules


def _make_window(model: WindowModel, rule: Node, zone: str, report: Report) -> TagWindow | None:
    """None where it never opens, which is reported."""
    if model.opens == model.until:
        place = mistakes.locate_value(rule, ("window", "until"))
        hint = 'for the whole day leave window out; "from" and "until" are times of day, such as "09:00" and "18:00"'
        report(Problem(place, "a window that ends as it begins never opens", "window", hint=hint))
        return None
    return TagWindow(model.days or EVERY_DAY, model.opens, model.until, model.zone or zone)


class SetBuilder:
    """Builds the contact sets of one manifest file."""

    def __init__(
        self,
        files: Files,
        name: str,
        zone: str,
        report: Report,
        find_snapshot: FindSnapshot,
        find_query: FindQuery,
        *,
        contacts: ContactNumbers,
        is_unread: Callable[[], bool],
        pulls: bool = False,
        fill: Fill | None = None,
    ) -> None:
        """`contacts`: those of all files so far, to be numbered together. `is_unread`: whether the location has
        snapshots that cannot be read now."""
        self._files = files
        self._name = name
        self._zone = zone
        self._report = report
        self._find_snapshot = find_snapshot
        self._find_query = find_query
        self._is_unread = is_unread
        self._pulls = pulls
        self._fill = fill
        self._contacts = contacts

    def build_set(self, name: str, model: ContactSetModel, key: Scalar, node: Mapping) -> ContactSet | None:
        """The set, or None where its contacts have errors, which are reported."""
        contacts = self._build_contacts(SetName(name), model.contacts, node)
        if contacts is None:
            return None
        return ContactSet(
            name=SetName(name),
            source=key.source,
            contacts=contacts,
            tags=_tag_uses(node.get("tags")),
            absent=_tag_uses(node.get("absent")),
            authority=model.authority,
            # compared with tags, which are normalised: as it is written, `WF-*` would leave none of them alone
            ignore=tuple(map(normalise_tag, model.ignore)),
            on_leave=model.on_leave,
            start=read_instant(model.start, self._zone),
            until=read_instant(model.until, self._zone),
            allow_empty=model.allow_empty,
            definition=_describe_choice(model.contacts, contacts),
        )

    def _build_contacts(self, name: SetName, model: Any, node: Mapping) -> ListedContacts | Combined | None:
        place = node.items["contacts"][0].source
        if isinstance(model, CombinedContacts):
            written = node.get("contacts")
            return Combined(_set_uses(written, "sets"), _set_uses(written, "except"), _set_uses(written, "only"), place)
        if isinstance(model, FileContacts):
            return self._read_file(name, model, node)
        if isinstance(model, SourceContacts):
            return self._list_pulled(name, model, node)
        if isinstance(model, FilterContacts):
            return self._list_filtered(name, model, node)
        return self._list_contacts(model, place)

    def _list_contacts(self, ids: Sequence, place: Source) -> ListedContacts | None:
        seen: dict[str, None] = {}
        # places as two arrays, not a Source for each id: a million ids would be a million objects
        lines, columns, sound = array("L"), array("L"), True
        doubles: list[Scalar] = []
        for item in ids.items:
            text = item.text.strip() if isinstance(item, Scalar) else ""
            if not isinstance(item, Scalar) or not text:
                sound = False
                self._report(Problem(item.source, "expected a contact id", "contact-id"))
            elif not text.isalnum() and (wrong := id_fault(text)):
                sound = False
                self._report(Problem(item.source, wrong[0], "contact-id", hint=wrong[1]))
            elif text in seen:
                doubles.append(item)
            else:
                seen[text] = None
                lines.append(item.source.line)
                columns.append(item.source.column)
        # an info, not an error: the same contact twice is one contact
        if doubles:
            message = repetition_message(len(doubles), doubles[0].text)
            self._report(Problem(doubles[0].source, message, "duplicate-id", Severity.INFO))
        if not sound:
            return None
        return ListedContacts(tuple(map(ContactId, seen)), place, "", lines, columns)

    def _read_file(self, set_name: SetName, model: FileContacts, node: Mapping) -> ListedContacts | None:
        written = mistakes.locate_value(node, ("contacts", "file"))
        faults = list(list_match_faults(model, node))
        if faults:
            for fault in faults:
                self._report(fault)
            return None
        try:
            model = model if self._fill is None else self._fill(model, node)
            name = name_inside(self._name, model.file)
            request = FileRequest(display_path(self._files, name), written, model.column, row_filters(model.where))
            if model.match is not None:
                match = make_match(name, model, node, self._find_snapshot(set_name))
                return self._match_people(set_name, match, request)
            with self._files.open(name) as stream:
                table = read_table(stream, request, self._contacts)
        except (CannotRead, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._report(Problem(written, f"contact file {quoted(model.file[:200])}: {reason}", "contact-file"))
            return None
        except InvalidInput as error:
            for problem in error.problems:
                self._report(problem)
            return None
        for problem in table.problems:
            self._report(problem)
        return ListedContacts(table.ids, written, request.path, table.lines)

    def _list_pulled(self, set_name: SetName, model: SourceContacts, node: Mapping) -> ListedContacts | None:
        """The contacts of the snapshot of what a query gave."""
        place = mistakes.locate_value(node, ("contacts", "source"))
        faults, query = list(list_match_faults(model, node)), None
        try:
            filled = model if self._fill is None else self._fill(model, node)
            query = self._find_query(model.source, place)
        except InvalidInput as error:
            faults += error.problems
        for fault in faults:
            self._report(fault)
        if faults or query is None:
            return None
        match = make_query_match(query, filled, node, snapshot := self._find_snapshot(set_name))
        return ListedContacts(() if snapshot is None else snapshot.contacts, place, str(query), match=match)

    def _list_filtered(self, set_name: SetName, model: FilterContacts, node: Mapping) -> ListedContacts | None:
        """The contacts of the snapshot of those that met a filter."""
        try:
            wanted = build_filter(model.filter, node, self._zone, read_moment)
        except InvalidInput as error:
            for problem in error.problems:
                self._report(problem)
            return None
        snapshot = self._find_snapshot(set_name)
        digest = digest_filter(wanted)
        match = Match("", (), (), "", model.max_age, digest, snapshot, filter=wanted)
        place = mistakes.locate_value(node, ("contacts", "filter"), of_key=True)
        return ListedContacts(() if snapshot is None else snapshot.contacts, place, match.origin, match=match)

    def _match_people(self, set_name: SetName, match: Match, request: FileRequest) -> ListedContacts:
        """The contacts of the snapshot; raises the fault of a file of people, unless these are not needed now."""
        try:
            with self._files.open(match.file) as stream:
                match = check_source(stream, match, request)
        except (CannotRead, OSError, InvalidInput) as error:
            # planning reads only what was resolved: the people may be kept where the pull runs, and nowhere else
            was_pulled = match.snapshot is not None or self._is_unread()
            is_elsewhere = was_pulled and isinstance(error, CannotRead) and str(error) == NO_FILE
            if not self._pulls and not is_elsewhere:
                raise
            if not self._pulls:
                message = (
                    f"{request.path} is not here: whether contact set {set_name!r} changed since its pull is unknown"
                )
                self._report(Problem(request.source, message, "snapshot-source", Severity.WARNING))
        ids = () if match.snapshot is None else match.snapshot.contacts
        return ListedContacts(ids, request.source, request.path, match=match)


def _describe_choice(model: Any, contacts: ListedContacts | Combined) -> str:
    """How contacts are chosen, as JSON; of a source what it is asked, too."""
    if not isinstance(model, BaseModel):
        return ""
    match = contacts.match if isinstance(contacts, ListedContacts) else None
    if match is not None and match.filter is not None:
        return match.source_digest
    # what is left out has no part in it: a key that is new does not move those that do not have it
    choice = model.model_dump(mode="json", exclude_defaults=True, by_alias=True, serialize_as_any=True)
    query = None if match is None else match.query
    asked = [] if query is None else [query.command, query.sql, query.files, query.format]
    return json.dumps([choice, *asked], sort_keys=True)


def _tag_uses(node: Node | None) -> tuple[TagUse, ...]:
    return tuple(
        TagUse(normalise_tag(scalar.text), scalar.text, scalar.source, scalar.commented)
        for scalar in _scalar_items(node)
        # a blank tag is an error by now, and must not become a tag before all errors are raised
        if scalar.text.strip()
    )


def _set_uses(node: Node | None, key: str) -> tuple[SetUse, ...]:
    listed = node.get(key) if isinstance(node, Mapping) else None
    return tuple(SetUse(SetName(scalar.text), scalar.source) for scalar in _scalar_items(listed))


def _scalar_items(node: Node | None) -> Iterator[Scalar]:
    if isinstance(node, Sequence):
        yield from (item for item in node.items if isinstance(item, Scalar))
