"""A document row by row: what a spreadsheet wants, and the long table of a web page. Nothing is grouped or folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from reconciler.core.manifests.compare_revisions import Comparison, SettingMove
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import BatchRecord, LocationReport, RunLog, RunRecord, Shortfall
from reconciler.core.model.names import ContactId, Instant, LocationId, iso
from reconciler.core.model.outcome import ContactOutcome, Outcome
from reconciler.core.observing.drift_report import DriftReport
from reconciler.core.observing.refresh_rules import Refreshed
from reconciler.core.planning.changes import HeldContacts, LedgerChange
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan
from reconciler.core.running.shortfalls import ending_of
from reconciler.output.blocks import Block, Column, Lines, View
from reconciler.output.contact import ContactStory

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """`rows` makes them anew whenever it is called: there may be a million."""

    title: str
    columns: tuple[Column, ...]
    rows: Callable[[], Iterator[Row]]


def _records(title: str, columns: str, rows: Callable[[], Iterator[Row]]) -> Records:
    """`columns`: their names; `#` before one marks a number."""
    named = (Column(name.lstrip("#").replace("_", " "), right=name.startswith("#")) for name in columns.split())
    return Records(title, tuple(named), rows)


def plan_records(plan: Plan) -> Records:
    """A row for each pair that is sent, and for whatever else the plan lists of a contact."""
    columns = "location contact what action tag why asked_for_at"
    return _records("Every contact and tag", columns, lambda: (row for each in plan.locations for row in _plan(each)))


def _plan(plan: LocationPlan) -> Iterator[Row]:
    place = plan.location
    for delta in plan.deltas:
        for contact in delta.contacts:
            for change in delta.changes:
                where = ", ".join(map(str, change.sources))
                yield place, contact, "planned", change.action, change.tag, change.reason, where
    for again in plan.reasserted:
        yield from _pairs(place, again.contacts, "sent again", again.action, again.tags, "saves a request")
    for deferral in plan.deferrals:
        yield from _pairs(place, deferral.contacts, "deferred", "remove", deferral.tags, deferral.reason)
    for listed, what in (
        (plan.held, "held"),
        (plan.quarantined, "quarantined"),
        (plan.spared, "kept"),
        (plan.given, "given before"),
    ):
        for each in listed:
            yield from _listed(place, what, each)
    for move in plan.ledger:
        yield from _ledger(place, move)


def _listed(place: LocationId, what: str, each: HeldContacts) -> Iterator[Row]:
    return _pairs(place, each.contacts, what, "", each.tags, each.why)


def _ledger(place: LocationId, move: LedgerChange) -> Iterator[Row]:
    for what, tags in (("adopted", move.adopted), ("released", move.released), ("stays on leaving", move.kept)):
        if tags:
            yield from _pairs(place, move.contacts, what, "", tags, "")


def _pairs(
    place: LocationId, contacts: Iterable[ContactId], what: str, action: str, tags: Sequence[str], why: str
) -> Iterator[Row]:
    for contact in contacts:
        for tag in tags or ("",):
            yield place, contact, what, action, tag, why, ""


def run_records(reports: Sequence[LocationReport]) -> Records:
    """First what stopped it and how many pairs ended how, then each contact that did not end well."""
    columns = "location run outcome #pairs contact action tag message"
    return _records("How it ended", columns, lambda: (row for each in reports for row in _run(each)))


def _run(report: LocationReport) -> Iterator[Row]:
    place = (report.location, report.run)
    if report.error:
        yield (*place, "stopped", "", "", "", "", report.error)
    for outcome, pairs in report.pairs.items():
        yield (*place, _words(outcome), str(pairs), "", "", "", "")
    for each in ending_of(report).shortfalls:
        for contact, what, action, tag, why in _shortfall(each):
            yield (*place, what, "1", contact, action, tag, why)


def _shortfall(each: Shortfall) -> Iterator[tuple[str, str, str, str, str]]:
    for contact in each.contacts:
        for tag in each.tags or ("",):
            yield contact, _words(each.outcome), each.action, tag, each.why


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def drift_records(reports: Sequence[DriftReport]) -> Records:
    columns = "location class contact tag why expected was_right_at observed_at set_by_run set_by"
    return _records("Every contact and tag", columns, lambda: (row for each in reports for row in _drift(each)))


def _drift(report: DriftReport) -> Iterator[Row]:
    for each in report.drifted:
        setter = each.set_by
        who = ("", "") if setter is None else (setter.run, setter.who)
        told = (each.tag, each.reason, each.expected or "", _iso(each.after), _iso(each.oldest), *who)
        yield from ((report.location, each.drift, contact, *told) for contact in each.contacts)


def refresh_records(reports: Sequence[Refreshed]) -> Records:
    """Who is not there, or was not read."""
    columns = "location run contact why"
    return _records(
        "Who is not there, or was not read",
        columns,
        lambda: (
            (each.location, each.run, contact, why)
            for each in reports
            for contact, why in chain(each.gone.items(), each.unread.items())
        ),
    )


def view_records(view: View) -> Records:
    """A short document line by line."""
    return _records("Line by line", "section told", lambda: _lines_of(view))


def _lines_of(view: View) -> Iterator[Row]:
    for section in view.sections:
        yield section.title, section.verdict.text
        yield from ((section.title, text) for block in section.blocks for text in _texts(block))


def _texts(block: Block) -> Iterator[str]:
    if isinstance(block, Lines):
        return (cell.text for cell in block.items)
    return (", ".join(cell.text for cell in row if cell.text) for row in block.rows)


def history_records(runs: Mapping[LocationId, Sequence[RunRecord]]) -> Records:
    """The newest first."""
    columns = "location run operation who started ended status #requests #rows change_digest commit"
    return _records("Every run", columns, lambda: (_record(run) for found in runs.values() for run in reversed(found)))


def _record(run: RunRecord) -> Row:
    header = run.header
    return (
        header.location,
        run.id,
        header.operation,
        header.who,
        iso(header.started),
        _iso(run.ended),
        run.status,
        str(run.requests),
        "" if run.is_pruned else str(run.rows),
        header.change_digest,
        header.commit,
    )


def log_records(log: RunLog) -> Records:
    """A row for each pair that the run asked for, left unsent, or put under management without a request."""
    columns = "location run contact action tag outcome changed message asked answered"
    place, run = log.record.header.location, log.record.id
    return _records("Every contact and tag", columns, lambda: ((place, run, *row) for row in _log(log)))


def _log(log: RunLog) -> Iterator[Row]:
    for each in log.batches:
        yield from _batch(each)
    for left in log.ending.shortfalls if log.ending else ():
        if left.outcome in (Outcome.NOT_SENT, Outcome.DEFERRED):
            yield from ((who, action, tag, what, "no", why, "", "") for who, what, action, tag, why in _shortfall(left))
    for contact, tags in log.adopted.items():
        yield from ((contact, "", tag, "adopted", "", "", "", "") for tag in sorted(tags))


def _batch(batch: BatchRecord) -> Iterator[Row]:
    asked, answered = iso(batch.intended), _iso(batch.ended)
    for contact, answer in batch.answers.items():
        outcome, changed, message = _verdict(answer.verdict)
        for tag in batch.tags:
            did = "yes" if tag in changed else "no" if answer.verdict else ""
            yield contact, batch.action, tag, outcome, did, message, asked, answered


def _verdict(verdict: ContactOutcome | None) -> tuple[str, frozenset[str], str]:
    if verdict is None:
        return "no answer", frozenset(), ""
    return _words(verdict.outcome), verdict.added | verdict.removed, verdict.message


def compare_records(comparisons: Sequence[Comparison], settings: Sequence[SettingMove]) -> Records:
    columns = "location what change name contact before after"

    def rows() -> Iterator[Row]:
        for each in comparisons:
            yield from _comparison(each)
        for move in settings:
            yield "", "setting", "changes", move.key, "", move.before or "", move.after or ""

    return _records("Every contact, tag and set", columns, rows)


def _comparison(each: Comparison) -> Iterator[Row]:
    for moved in each.moved:
        for change, tags in (("gains", moved.gained), ("loses", moved.lost)):
            for contact in moved.contacts:
                yield from ((each.location, "tag", change, tag, contact, "", "") for tag in tags)
    for move in each.sets:
        for change, contacts in (("joins", move.joined), ("leaves", move.left)):
            yield from ((each.location, "set", change, move.name, contact, "", "") for contact in contacts)
    if each.gone:
        yield each.location, "location", "has no manifest any more", "", "", "", ""


def state_records(snapshots: Sequence[LocationState]) -> Records:
    """No tags and no instant: never observed. `state import` does not take this for an export: it would take that for
    "has no tags"."""
    columns = "location contact observed_tags managed_tags kept in_doubt observed_at from quarantine"
    return _records("Every contact", columns, lambda: (row for each in snapshots for row in _state(each)))


def _state(state: LocationState) -> Iterator[Row]:
    for contact, known in sorted(state.observed.items()):
        yield (state.location, contact, *_known(known))


def _known(known: ContactState) -> Row:
    return (
        "" if known.observed is None else _tags(known.observed),
        _tags(known.ledger),
        _tags(known.kept),
        _tags(known.doubt),
        _iso(known.observed_at),
        known.origin if known.observed is not None else "",
        known.quarantine or "",
    )


def contact_records(stories: Sequence[ContactStory]) -> Records:
    """What was done on the contact, the latest first."""
    columns = "location contact run action tag outcome changed message asked answered"

    def rows() -> Iterator[Row]:
        for story in stories:
            for run, batch in reversed(story.trail):
                for _, *row in _batch(batch):
                    yield (story.location, story.contact, run, *row)

    return _records("What was done", columns, rows)


def _tags(tags: Iterable[str]) -> str:
    return ", ".join(sorted(tags))


def _iso(moment: Instant | None) -> str:
    return "" if moment is None else iso(moment)
