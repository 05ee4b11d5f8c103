"""What the journal holds: the runs, and one run with everything that it changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import nsmallest

from reconciler.core.model.journal import Answer, BatchRecord, RunEnding, RunLog, RunRecord, RunStatus
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.running.shortfalls import log_remedies
from reconciler.output.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Lines,
    Section,
    Style,
    Table,
    View,
    contact_cell,
    counted,
    duration,
    moment,
    number,
    table,
)
from reconciler.output.run import ending_totals, outcomes, shortfalls, summary, unapproved

_STATUS = {
    RunStatus.RUNNING: Cell("running", Style.STRONG),
    RunStatus.COMPLETE: Cell("complete", Style.GOOD),
    RunStatus.STOPPED: Cell("stopped", Style.WARN),
    RunStatus.INTERRUPTED: Cell("interrupted", Style.WARN),
}
_KILLED = Cell("killed", Style.BAD)
_UNCHANGED = (Outcome.REJECTED, Outcome.HELD, Outcome.IN_DOUBT, Outcome.NOT_SENT)
_CHANGED = {Action.ADD: "added", Action.REMOVE: "removed"}


def history_view(runs: Mapping[LocationId, Sequence[RunRecord]], *, most: int | None = ROWS) -> View:
    """The newest run first."""
    return View("History", tuple(_runs(location, found, most) for location, found in runs.items()))


def _runs(location: LocationId, runs: Sequence[RunRecord], most: int | None) -> Section:
    columns = (
        Column("run"),
        Column("began"),
        Column("took", right=True),
        Column("what"),
        Column("who"),
        Column("requests", right=True),
        Column("rows", right=True),
        Column("ended"),
        Column("commit"),
    )
    rows = [_run(run) for run in reversed(runs)]
    verdict = Cell(f"{counted(len(runs), 'run')}.", Style.STRONG)
    return Section(f"Location {location}", verdict, (table("", columns, rows, most=most),) if rows else ())


def _run(run: RunRecord) -> tuple[Cell, ...]:
    header = run.header
    return (
        Cell(run.id, Style.STRONG),
        Cell(moment(header.started)),
        Cell("" if run.ended is None else duration((run.ended - header.started) / 1000)),
        Cell(header.operation),
        Cell(header.who),
        number(run.requests),
        Cell("given up", Style.FAINT) if run.is_pruned else number(run.rows),
        _ending(run),
        Cell(header.commit[:12], Style.FAINT),
    )


def _ending(run: RunRecord) -> Cell:
    return _KILLED if run.was_killed else _STATUS[run.status]


def log_view(log: RunLog, *, most: int | None = ROWS) -> View:
    """One run: what failed, how it ended, what became of each tag and contact; who, when, what was approved."""
    run, ending = log.record, log.ending
    blocks: list[Block | None] = []
    if ending is not None:
        blocks += [shortfalls(ending, most), outcomes(ending)]
    blocks.append(_facts(log))
    if run.is_pruned:
        text = "Whom it changed is no longer known: the rows of older runs are given up (history_keep)."
        blocks.append(Lines("", (Cell(text, Style.WARN),)))
    elif log.batches:
        blocks += [_tags(log), _contacts(log.batches, most)]
    if remedies := log_remedies(log):
        blocks.append(Lines("As far as nothing settled it since", tuple(Cell(text, Style.FAINT) for text in remedies)))
    if log.adopted:
        blocks.append(_adopted(log))
    title = f"Run {run.id}, location {run.header.location}"
    shown = tuple(block for block in blocks if block is not None)
    told = () if ending is None else ending_totals(ending, run.requests)
    return View("Run", (Section(title, _verdict(log), shown, told, run.header.location),))


def _verdict(log: RunLog) -> Cell:
    """As the report of the run told it."""
    run, ending = log.record, log.ending
    if ending is None:
        return _ending(run)
    if ending.error:
        return Cell(f"Stopped: {ending.error}", Style.BAD)
    done = summary(ending, run.requests)
    if ending.outside or any(each.outcome is not Outcome.DEFERRED for each in ending.shortfalls):
        return Cell(f"Done in part: {done}.{f' {unapproved(ending)}' if ending.outside else ''}", Style.WARN)
    return Cell(f"Done: {done}.", Style.GOOD)


def _facts(log: RunLog) -> Lines:
    run, header = log.record, log.record.header
    facts = [
        f"{header.operation} by {header.who}",
        f"began {moment(header.started)}, ended {moment(run.ended)}",
        f"{counted(run.requests, 'request')}, {_ending(run).text}",
        *([f"change digest {header.change_digest}"] if header.change_digest else []),
        *([f"commit {header.commit}"] if header.commit else []),
        *(f"guard lifted: {text}" for text in header.allowed),
    ]
    return Lines("", tuple(map(Cell, facts)))


def _adopted(log: RunLog) -> Table:
    found = Counter(tag for tags in log.adopted.values() for tag in tags)
    columns = (Column("tag"), Column("contacts", right=True))
    rows = [(Cell(tag), number(found[tag])) for tag in sorted(found)]
    return table("Put under management without a request", columns, rows, most=None)


def _tags(log: RunLog) -> Table:
    """Each pair once, as it ended: what was in doubt may have been sent again, or read."""
    found: defaultdict[Tag, Counter[str]] = defaultdict(Counter)
    doubted = {contact for _, (contact, answer) in _answers(log) if _is_open(answer)}
    for batch in log.batches:
        plain = (answer for contact, answer in batch.answers.items() if contact not in doubted)
        for answer, contacts in Counter(plain).items():
            for tag in batch.tags:
                found[tag][_word(batch, answer, tag)] += contacts
    for (_, tag), word in _ended(log, doubted).items():
        found[tag][word] += 1
    words = [
        *_CHANGED.values(),
        "was so already",
        Outcome.SEEN,
        *(each.replace("_", " ") for each in _UNCHANGED),
        "no answer",
    ]
    shown = [word for word in words if any(counts[word] for counts in found.values())]
    rows = [(Cell(tag), *(number(found[tag][word]) for word in shown)) for tag in sorted(found)]
    return table("Tags, in contacts", (Column("tag"), *(Column(word, right=True) for word in shown)), rows, most=None)


def _answers(log: RunLog) -> Iterator[tuple[BatchRecord, tuple[ContactId, Answer]]]:
    return ((batch, item) for batch in log.batches for item in batch.answers.items())


def _is_open(answer: Answer) -> bool:
    return answer.verdict is None or answer.verdict.outcome in (Outcome.IN_DOUBT, Outcome.HELD)


def _ended(log: RunLog, doubted: Collection[ContactId]) -> dict[tuple[ContactId, Tag], str]:
    """The last word on each pair of these contacts; a doubt that the report has not any more was read to be so."""
    last: dict[tuple[ContactId, Tag], str] = {}
    still_open = None if log.ending is None else _open_pairs(log.ending)
    for batch, (contact, answer) in _answers(log):
        for tag in batch.tags if contact in doubted else ():
            seen = still_open is not None and (contact, tag) not in still_open and _is_open(answer)
            last[contact, tag] = Outcome.SEEN if seen else _word(batch, answer, tag)
    return last


def _open_pairs(ending: RunEnding) -> set[tuple[ContactId, Tag]]:
    return {(contact, tag) for each in ending.shortfalls for contact in each.contacts for tag in each.tags}


def _word(batch: BatchRecord, answer: Answer, tag: Tag) -> str:
    verdict = answer.verdict
    if verdict is None:
        return "no answer"
    if verdict.outcome in _UNCHANGED:
        return verdict.outcome.replace("_", " ")
    return _CHANGED[batch.action] if tag in verdict.added | verdict.removed else "was so already"


def _contacts(batches: Sequence[BatchRecord], most: int | None) -> Table:
    columns = (Column("contact"), Column("asked for"), Column("outcome"), Column("changed"), Column("the API said"))
    total = sum(len(batch.answers) for batch in batches)
    ordered = sorted(_each(batches), key=_by_contact) if most is None else nsmallest(most, _each(batches), _by_contact)
    rows = tuple(_contact(*each) for each in ordered)
    return Table("Contacts", columns, rows, total - len(rows))


Entry = tuple[ContactId, BatchRecord, Answer]


def _each(batches: Sequence[BatchRecord]) -> Iterator[Entry]:
    for batch in batches:
        for contact, answer in batch.answers.items():
            yield contact, batch, answer


def _by_contact(entry: Entry) -> tuple[ContactId, Instant]:
    contact, batch, _ = entry
    return contact, batch.intended


def _contact(contact: ContactId, batch: BatchRecord, answer: Answer) -> tuple[Cell, ...]:
    verdict = answer.verdict
    changed = (
        () if verdict is None else (*(f"+{tag}" for tag in verdict.added), *(f"-{tag}" for tag in verdict.removed))
    )
    return (
        contact_cell(contact),
        Cell(f"{batch.action} {', '.join(batch.tags)}"),
        Cell("no answer" if verdict is None else verdict.outcome.replace("_", " ")),
        Cell(" ".join(sorted(changed)), Style.ADD if batch.action is Action.ADD else Style.REMOVE),
        Cell("" if verdict is None else verdict.message),
    )
