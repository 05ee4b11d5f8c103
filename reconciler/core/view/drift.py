"""What others changed: the classes of drift, who set it before, since when, and how old what we know is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.core.drift import DriftClass, Drifted, DriftReport
from reconciler.core.view.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Lines,
    Section,
    Style,
    View,
    counted,
    moment,
    number,
    sample,
    table,
)

_STYLES = {
    DriftClass.MISSING: Style.REMOVE,
    DriftClass.UNEXPECTED: Style.ADD,
    DriftClass.UNREACHABLE: Style.WARN,
    DriftClass.FLAPPING: Style.WARN,
    DriftClass.STALE: Style.WARN,
}
_MEANING = {
    DriftClass.MISSING: "others removed what we put there",
    DriftClass.UNEXPECTED: "others added what the manifests forbid",
    DriftClass.PENDING: "the manifests moved since the last apply",
    DriftClass.FLAPPING: "comes and goes: held",
    DriftClass.TOLERATED: "not declared for them; additive authority leaves it",
    DriftClass.FOREIGN: "no manifest names it",
    DriftClass.STALE: "observed too long ago",
    DriftClass.UNOBSERVED: "never observed",
}
_OURS = (DriftClass.MISSING, DriftClass.UNEXPECTED)


def drift_view(reports: Sequence[DriftReport], *, notes: Iterable[str] = (), most: int | None = ROWS) -> View:
    """`notes`: what else there is to say."""
    closing = tuple(Cell(note, Style.WARN) for note in notes)
    return View("Drift", tuple(_section(report, most) for report in reports), closing)


def _section(report: DriftReport, most: int | None) -> Section:
    told = [each for each in report.drifted if each.expected is None]
    expected = [each for each in report.drifted if each.expected is not None]
    blocks: list[Block] = [_table("", told, most)] if told else []
    if expected:
        blocks.append(_table("Expected, as the settings say", expected, most))
    lines = (*_proofs(report), _age(report))
    title = f"Location {report.location}, state serial {report.serial}"
    return Section(title, _verdict(report), (*blocks, Lines("", lines)))


def _table(title: str, rows: Sequence[Drifted], most: int | None) -> Block:
    columns = (
        Column("contacts", right=True),
        Column("class"),
        Column("tag"),
        Column("meaning"),
        Column("since"),
        Column("which"),
    )
    return table(title, columns, [_row(each) for each in rows], most=most)


def _verdict(report: DriftReport) -> Cell:
    missing, unexpected = (report.count(drift) for drift in _OURS)
    also = [
        f"{report.count(drift):,} {drift}"
        for drift in (DriftClass.UNREACHABLE, DriftClass.FLAPPING, DriftClass.STALE, DriftClass.UNOBSERVED)
        if report.count(drift)
    ]
    more = f" Contacts: {', '.join(also)}." if also else ""
    if missing or unexpected:
        return Cell(f"Drift: {counted(missing, 'tag')} missing, {unexpected:,} unexpected.{more}", Style.WARN)
    return Cell(f"No drift among what was observed.{more}", Style.STRONG if more else Style.GOOD)


def _proofs(report: DriftReport) -> list[Cell]:
    """What the reading does not prove."""
    lines = []
    if report.incomplete:
        text = f"The search was not complete: {report.incomplete}. Who is missing among its rows may still be there."
        lines.append(Cell(text, Style.WARN))
    if report.waiting:
        tags = ", ".join(report.waiting)
        lines.append(
            Cell(f"Who else carries what is exclusive is not known without a whole search: {tags}", Style.WARN)
        )
    return lines


def _age(report: DriftReport) -> Cell:
    text = f"{counted(report.observed, 'contact')} observed between {moment(report.oldest)} and {moment(report.newest)}"
    if report.refreshed:
        return Cell(f"{text}.", Style.FAINT)
    return Cell(f"{text}; nothing observed since. `--refresh auto` reads again.", Style.FAINT)


def _row(each: Drifted) -> tuple[Cell, ...]:
    style = _STYLES.get(each.drift, Style.PLAIN)
    return (
        number(len(each.contacts)),
        Cell(each.drift, style),
        Cell(each.tag),
        Cell(each.expected if each.expected is not None else _MEANING.get(each.drift, each.reason)),
        Cell(_since(each)),
        Cell(sample(each.contacts), Style.FAINT),
    )


def _since(each: Drifted) -> str:
    """Between when it was as it should be and when it was seen otherwise; by whom it was so."""
    seen = f"seen {moment(each.oldest)}" if each.oldest is not None else ""
    if each.drift not in (*_OURS, DriftClass.FLAPPING):
        return seen
    after = f"after {moment(each.after)}" if each.after is not None else ""
    by = f"set by run {each.set_by.run[:8]} of {each.set_by.who}" if each.set_by is not None else ""
    return ", ".join(part for part in (after, seen, by) if part)
