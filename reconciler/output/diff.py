"""A change to manifests by its meaning: tags, sets and contacts that differ between two revisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reconciler.core.formats import Forms, JsonSpelling
from reconciler.core.manifests.compare_revisions import Comparison, MovedContacts, SetMove, SettingMove, TagMove
from reconciler.output.blocks import (
    Cell,
    Records,
    Row,
    Section,
    Style,
    View,
    counted,
    make_records,
    make_section,
    number,
    sample_cell,
    table,
    totals,
)
from reconciler.output.charts import Chart, draw_bars
from reconciler.output.document import DerivedDocument


def _comparison_section(comparison: Comparison, base: str, most: int | None) -> Section:
    # a location without changes is told all the same: a reviewer must see that it was compared
    if comparison.is_empty:
        return Section(f"Location {comparison.location}", Cell(f"Says the same as at {base}.", Style.GOOD), ())
    # a manifest that is deleted removes no tag: that would empty a location by mistake
    if comparison.gone:
        advice = "No manifest names it any more: it is left untouched. To empty it, keep one with `contact_sets: {}`."
        return Section(f"Location {comparison.location}", Cell(advice, Style.WARN), ())
    gained, lost = sum(move.gained for move in comparison.tags), sum(move.lost for move in comparison.tags)
    verdict = f"Against {base}: {counted(gained, 'tag')} gained, {lost:,} lost, by contact."
    return make_section(
        f"Location {comparison.location}",
        Cell(verdict, Style.STRONG),
        # the tags are the key: a comment on a pull request cuts the contacts first
        table("Tags, in contacts", _TAG_COLUMNS, list(map(_tag_row, comparison.tags)), most=most, key=True),
        table("Contact sets", "set #before #after joined left", list(map(_set_row, comparison.sets)), most=most),
        table(
            "Contacts that change alike",
            "#contacts change which",
            list(map(_contacts_row, comparison.moved)),
            most=most,
        ),
        totals=totals(
            ("tags gained", gained, Style.ADD),
            ("tags lost", lost, Style.REMOVE),
            ("contacts", sum(len(moved.contacts) for moved in comparison.moved), Style.PLAIN),
            ("sets changed", len(comparison.sets), Style.PLAIN),
        ),
        location=comparison.location,
    )


_TAG_COLUMNS = "tag #gain_it #lose_it #must_not_have_it_now #may_have_it_now"


def _tag_row(move: TagMove) -> tuple[Cell, ...]:
    return (
        Cell(move.tag),
        number(move.gained, Style.ADD),
        number(move.lost, Style.REMOVE),
        number(move.forbidden, Style.REMOVE),
        number(move.allowed),
    )


def _set_row(move: SetMove) -> tuple[Cell, ...]:
    return (
        Cell(move.name),
        Cell("none" if move.before is None else f"{move.before:,}"),
        Cell("none" if move.after is None else f"{move.after:,}"),
        Cell(_count_contacts(move.joined), Style.ADD),
        Cell(_count_contacts(move.left), Style.REMOVE),
    )


def _count_contacts(contacts: Sequence[str]) -> str:
    return f"{len(contacts):,}" if contacts else "none"


def _contacts_row(moved: MovedContacts) -> tuple[Cell, ...]:
    signed = [f"+{tag}" for tag in moved.gained] + [f"-{tag}" for tag in moved.lost]
    style = Style.REMOVE if moved.lost else Style.ADD
    return number(len(moved.contacts)), Cell(" ".join(signed), style), sample_cell(moved.contacts)


def _settings_section(settings: Sequence[SettingMove], most: int | None) -> Section:
    rows = [
        (Cell(move.key), Cell(_show_value(move.before), Style.REMOVE), Cell(_show_value(move.after), Style.ADD))
        for move in settings
    ]
    verdict = Cell(f"{counted(len(settings), 'value')} changed.", Style.STRONG)
    return Section(
        "Settings, tag rules and how sets declare", verdict, (table("", "setting before after", rows, most=most),)
    )


def _show_value(text: str | None) -> str:
    return "none" if text is None else text


_FORMS = Forms(
    {
        Comparison: JsonSpelling(
            about="What changed in one location; sorted. `gone`: no manifest names it any more, "
            "so it is left untouched."
        ),
        TagMove: JsonSpelling(
            about="How many contacts gain and lose the tag, and for how many it becomes, or no longer is, forbidden."
        ),
        SetMove: JsonSpelling(
            about="A contact set's size before and after (None: it is not there), and who came and went."
        ),
        MovedContacts: JsonSpelling(about="Contacts that gain and lose the same tags."),
        SettingMove: JsonSpelling(
            about="One setting that changed; None where it is not there. `key`: dotted, such as `api.base_url`."
        ),
    }
)


@dataclass(frozen=True, slots=True)
class DiffDocument(DerivedDocument):
    report: ClassVar = "diff"
    forms: ClassVar = _FORMS
    only_in_views: ClassVar = frozenset({"base"})

    locations: Sequence[Comparison]
    settings: Sequence[SettingMove]
    base: str
    """The revision that the manifests are compared with."""

    def view(self, most: int | None) -> View:
        sections = [_comparison_section(comparison, self.base, most) for comparison in self.locations]
        if self.settings:
            sections.append(_settings_section(self.settings, most))
        return View("Difference", tuple(sections))

    def records(self) -> Records:
        columns = "location what change name contact before after"
        return make_records("Every contact, tag and set", columns, self._make_rows)

    def _make_rows(self) -> Iterator[Row]:
        for comparison in self.locations:
            yield from _comparison_rows(comparison)
        for move in self.settings:
            yield "", "setting", "changes", move.key, "", move.before or "", move.after or ""

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return list(map(_compare_charts, self.locations))


def _comparison_rows(comparison: Comparison) -> Iterator[Row]:
    for moved in comparison.moved:
        for change, tags in (("gains", moved.gained), ("loses", moved.lost)):
            for contact in moved.contacts:
                yield from ((comparison.location, "tag", change, tag, contact, "", "") for tag in tags)
    for move in comparison.sets:
        for change, contacts in (("joins", move.joined), ("leaves", move.left)):
            yield from ((comparison.location, "set", change, move.name, contact, "", "") for contact in contacts)
    if comparison.gone:
        yield comparison.location, "location", "has no manifest any more", "", "", "", ""


def _compare_charts(comparison: Comparison) -> tuple[Chart, ...]:
    moves = {str(move.tag): (move.gained, move.lost) for move in comparison.tags}
    return draw_bars("Tags by contacts that gain and lose them", (("gain", Style.ADD), ("lose", Style.REMOVE)), moves)
