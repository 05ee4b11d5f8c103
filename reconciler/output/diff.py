"""What a change to manifests means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reconciler.core.formats.json_forms import Schema
from reconciler.core.formats.shapes import Forms, Spelling
from reconciler.core.manifests.compare_revisions import Comparison, MovedContacts, SetMove, SettingMove, TagMove
from reconciler.core.model.json_values import JsonObject
from reconciler.output.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Records,
    Row,
    Section,
    Style,
    View,
    counted,
    make_records,
    number,
    sample_cell,
    table,
    totals,
)
from reconciler.output.charts import Chart, draw_bars
from reconciler.output.document import report_document


def compare_view(
    comparisons: Sequence[Comparison], settings: Sequence[SettingMove], *, base: str, most: int | None = ROWS
) -> View:
    """`base`: the revision that the manifests are compared with."""
    sections = [_section(each, base, most) for each in comparisons]
    if settings:
        sections.append(_settings(settings, most))
    return View("Difference", tuple(sections))


def _section(each: Comparison, base: str, most: int | None) -> Section:
    if each.is_empty:
        return Section(f"Location {each.location}", Cell(f"Says the same as at {base}.", Style.GOOD), ())
    if each.gone:
        told = "No manifest names it any more: it is left untouched. To empty it, keep one with `contact_sets: {}`."
        return Section(f"Location {each.location}", Cell(told, Style.WARN), ())
    gained, lost = sum(move.gained for move in each.tags), sum(move.lost for move in each.tags)
    verdict = f"Against {base}: {counted(gained, 'tag')} gained, {lost:,} lost, by contact."
    blocks: list[Block] = []
    if each.tags:
        names = ("gain it", "lose it", "must not have it now", "may have it now")
        columns = (Column("tag"), *(Column(name, right=True) for name in names))
        blocks.append(table("Tags, in contacts", columns, [_tag(move) for move in each.tags], most=most, key=True))
    if each.sets:
        columns = (
            Column("set"),
            Column("before", right=True),
            Column("after", right=True),
            Column("joined"),
            Column("left"),
        )
        blocks.append(table("Contact sets", columns, [_set(move) for move in each.sets], most=most))
    if each.moved:
        columns = (Column("contacts", right=True), Column("change"), Column("which"))
        blocks.append(table("Contacts that change alike", columns, [_moved(moved) for moved in each.moved], most=most))
    numbers = totals(
        ("tags gained", gained, Style.ADD),
        ("tags lost", lost, Style.REMOVE),
        ("contacts", sum(len(moved.contacts) for moved in each.moved), Style.PLAIN),
        ("sets changed", len(each.sets), Style.PLAIN),
    )
    return Section(f"Location {each.location}", Cell(verdict, Style.STRONG), tuple(blocks), numbers, each.location)


def _tag(move: TagMove) -> tuple[Cell, ...]:
    return (
        Cell(move.tag),
        number(move.gained, Style.ADD),
        number(move.lost, Style.REMOVE),
        number(move.forbidden, Style.REMOVE),
        number(move.allowed),
    )


def _set(move: SetMove) -> tuple[Cell, ...]:
    return (
        Cell(move.name),
        Cell("none" if move.before is None else f"{move.before:,}"),
        Cell("none" if move.after is None else f"{move.after:,}"),
        Cell(_who(move.joined), Style.ADD),
        Cell(_who(move.left), Style.REMOVE),
    )


def _who(contacts: Sequence[str]) -> str:
    return f"{len(contacts):,}" if contacts else "none"


def _moved(moved: MovedContacts) -> tuple[Cell, ...]:
    signed = [f"+{tag}" for tag in moved.gained] + [f"-{tag}" for tag in moved.lost]
    style = Style.REMOVE if moved.lost else Style.ADD
    return number(len(moved.contacts)), Cell(" ".join(signed), style), sample_cell(moved.contacts)


def _settings(settings: Sequence[SettingMove], most: int | None) -> Section:
    columns = (Column("setting"), Column("before"), Column("after"))
    rows = [
        (Cell(move.key), Cell(_value(move.before), Style.REMOVE), Cell(_value(move.after), Style.ADD))
        for move in settings
    ]
    verdict = Cell(f"{counted(len(settings), 'value')} changed.", Style.STRONG)
    return Section("Settings, tag rules and how sets declare", verdict, (table("", columns, rows, most=most),))


def _value(text: str | None) -> str:
    return "none" if text is None else text


_FORMS = Forms(
    {
        Comparison: Spelling(
            about="What changed in one location; sorted. `gone`: no manifest names it any more, "
            "so it is left untouched."
        ),
        TagMove: Spelling(
            about="How many contacts gain and lose the tag, and for how many it becomes, or no longer is, forbidden."
        ),
        SetMove: Spelling(
            about="A contact set's size before and after (None: it is not there), and who came and went."
        ),
        MovedContacts: Spelling(about="Contacts that gain and lose the same tags."),
        SettingMove: Spelling(
            about="One setting that changed; None where it is not there. `key`: dotted, such as `api.base_url`."
        ),
    }
)


@dataclass(frozen=True, slots=True)
class DiffDocument:
    locations: Sequence[Comparison]
    settings: Sequence[SettingMove]
    base: str
    """The revision that the manifests are compared with."""

    def view(self, most: int | None) -> View:
        return compare_view(self.locations, self.settings, base=self.base, most=most)

    def records(self) -> Records:
        columns = "location what change name contact before after"
        return make_records("Every contact, tag and set", columns, self._rows)

    def _rows(self) -> Iterator[Row]:
        for comparison in self.locations:
            yield from _comparison_rows(comparison)
        for move in self.settings:
            yield "", "setting", "changes", move.key, "", move.before or "", move.after or ""

    def json(self) -> JsonObject:
        members = {name: member for name, member in _FORMS.write(self).items() if name != "base"}
        return report_document("diff", members)

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return list(map(_compare_charts, self.locations))

    @staticmethod
    def schema() -> Schema:
        return {name: schema for name, schema in _FORMS.members(DiffDocument).items() if name != "base"}


def _comparison_rows(each: Comparison) -> Iterator[Row]:
    for moved in each.moved:
        for change, tags in (("gains", moved.gained), ("loses", moved.lost)):
            for contact in moved.contacts:
                yield from ((each.location, "tag", change, tag, contact, "", "") for tag in tags)
    for move in each.sets:
        for change, contacts in (("joins", move.joined), ("leaves", move.left)):
            yield from ((each.location, "set", change, move.name, contact, "", "") for contact in contacts)
    if each.gone:
        yield each.location, "location", "has no manifest any more", "", "", "", ""


def _compare_charts(each: Comparison) -> tuple[Chart, ...]:
    found = {str(move.tag): (move.gained, move.lost) for move in each.tags}
    return draw_bars("Tags by contacts that gain and lose them", (("gain", Style.ADD), ("lose", Style.REMOVE)), found)
