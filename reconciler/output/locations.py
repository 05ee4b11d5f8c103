"""The locations of a directory of manifests, as a table, and as a list that jobs take their location from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.formats.json_forms import Count
from reconciler.core.model.names import LocationId
from reconciler.output.blocks import (
    Block,
    Cell,
    Records,
    Row,
    Style,
    View,
    counted,
    make_records,
    make_section,
    table,
)
from reconciler.output.document import DerivedDocument, Document


class ChangedPart(StrEnum):
    """What differs from a revision, of a location that is named as changed."""

    MANIFESTS = "manifests"
    FILES = "contact files"
    SNAPSHOTS = "snapshots"
    PULLED = "pulled into the state"
    SETTINGS = "settings"
    SHARED = "settings of all"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class ListedLocation:
    """A location."""

    index: Count | None
    """Its place among those with manifests, from 0 on; None for any other."""
    id: LocationId
    name: str
    manifests: tuple[str, ...]
    """The paths of its files."""
    has_state: bool | None
    """None: the state was not asked, or cannot tell."""
    deleted: bool = False
    """Whether the revision that it is compared with had manifests of it, and there are none now."""
    changed: tuple[ChangedPart, ...] = ()
    """Why it is named; empty where it is compared with no revision."""


_FORMS = Forms(
    {
        ListedLocation: JsonSpelling(
            about="A location. `index`: its place among those with manifests; `has_state`: null where nothing tells; "
            "`deleted`: its manifests are gone since the revision; `changed`: what differs from that."
        )
    }
)


@dataclass(frozen=True, slots=True)
class LocationsDocument(DerivedDocument, Document):
    report: ClassVar = "locations"
    forms: ClassVar = _FORMS

    changed_since: str
    """The revision that they are compared with, as it was asked for; empty without one."""
    locations: Sequence[ListedLocation]
    """Those with manifests."""
    others: Sequence[ListedLocation]
    """Those without: known by a deleted manifest, the settings, or the state alone."""

    def view(self, most: int | None) -> View:
        since = f" changed since {self.changed_since}" if self.changed_since else ""
        verdict = Cell(f"{counted(len(self.locations), 'location')} with manifests{since}.", Style.STRONG)
        blocks = (
            self._make_table("Locations", self.locations, most),
            self._make_table("Without a manifest: nothing is planned for them", self.others, most),
        )
        return View("Locations", (make_section("Locations", verdict, *blocks),))

    def _make_table(self, title: str, locations: Sequence[ListedLocation], most: int | None) -> Block:
        columns = "id name manifests state" + (" changed" if self.changed_since else "")
        cells = [tuple(map(Cell, _row_texts(location))) for location in locations]
        return table(title, columns, [row if self.changed_since else row[:-1] for row in cells], most=most)

    def records(self) -> Records:
        return make_records("Locations", "#index id name manifests state changed", self._make_rows)

    def _make_rows(self) -> Iterator[Row]:
        for location in (*self.locations, *self.others):
            yield "" if location.index is None else str(location.index), *_row_texts(location)


_STATES = {True: "yes", False: "no", None: "?"}


def _row_texts(location: ListedLocation) -> Row:
    causes = ["deleted" if location.deleted else "", *location.changed]
    return (
        location.id,
        location.name,
        ", ".join(location.manifests),
        _STATES[location.has_state],
        ", ".join(filter(None, causes)),
    )
