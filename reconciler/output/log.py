"""One run of the journal with everything that it changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Annotated

from reconciler.core.formats import JsonSpelling
from reconciler.core.formats.journal_json import JOURNAL_FORMS, Adopted
from reconciler.core.formats.json_forms import Schema
from reconciler.core.formats.plan_json import Remedies
from reconciler.core.model import JsonObject
from reconciler.core.model.journal import Answer, BatchRecord, RunEnding, RunLog
from reconciler.core.model.names import ContactId, Instant, Tag, iso
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.running.shortfalls import log_remedies
from reconciler.output.blocks import (
    Block,
    Cell,
    Column,
    Lines,
    Records,
    Row,
    Section,
    Style,
    Table,
    View,
    contact_cell,
    counted,
    iso_or_empty,
    make_records,
    make_section,
    moment,
    number,
    read_columns,
    table,
)
from reconciler.output.charts import Chart, draw_bars
from reconciler.output.document import report_document
from reconciler.output.history import ending_cell
from reconciler.output.run import (
    ending_totals,
    outcome_charts,
    outcomes,
    shortfall_rows,
    shortfalls,
    summary,
    unapproved,
    words,
)


@dataclass(frozen=True, slots=True)
class LogDocument:
    log: RunLog

    def view(self, most: int | None) -> View:
        return View("Run", (_log_section(self.log, most),))

    def records(self) -> Records:
        """A row for each pair that the run asked for, left unsent, or put under management without a request."""
        columns = "location run contact action tag outcome changed message asked answered"
        place, run = self.log.record.header.location, self.log.record.id
        return make_records(
            "Every contact and tag", columns, lambda: ((place, run, *row) for row in _log_rows(self.log))
        )

    def json(self) -> JsonObject:
        return report_document("log", _FORMS.write(self.log))

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return [_log_charts(self.log)]

    @staticmethod
    def schema() -> Schema:
        return _FORMS.members(RunLog)


_FORMS = JOURNAL_FORMS.extended(
    {
        RunLog: JsonSpelling(
            members="*record ending adopted batches",
            types={"adopted": Adopted, "batches": tuple[Annotated[BatchRecord, "One request."], ...]},
            derived={"remedies": (Remedies, log_remedies)},
        )
    }
)

_UNCHANGED = (Outcome.REJECTED, Outcome.HELD, Outcome.IN_DOUBT, Outcome.NOT_SENT)
_CHANGED = {Action.ADD: "added", Action.REMOVE: "removed"}


def _log_section(log: RunLog, most: int | None) -> Section:
    """One run: failures first, then its ending, tags, contacts, author, times and approval."""
    run, ending = log.record, log.ending
    blocks: list[Block] = []
    if ending is not None:
        blocks += [shortfalls(ending, most), outcomes(ending)]
    blocks.append(_header_lines(log))
    # without rows the tables would say that nothing was changed
    if run.is_pruned:
        text = "Whom it changed is no longer known: the rows of older runs are given up (history_keep)."
        blocks.append(Lines("", (Cell(text, Style.WARN),)))
    elif log.batches:
        blocks += [_tag_table(log), _contact_table(log.batches, most)]
    return make_section(
        f"Run {run.id}, location {run.header.location}",
        _log_verdict(log),
        *blocks,
        Lines("As far as nothing settled it since", tuple(Cell(text, Style.FAINT) for text in log_remedies(log))),
        _adopted_table(log),
        totals=() if ending is None else ending_totals(ending, run.requests),
        location=run.header.location,
    )


def _log_verdict(log: RunLog) -> Cell:
    """As the report of the run told it."""
    run, ending = log.record, log.ending
    # a run that was killed has no report: only its status is known
    if ending is None:
        return ending_cell(run)
    if ending.error:
        return Cell(f"Stopped: {ending.error}", Style.BAD)
    done = summary(ending, run.requests)
    if ending.is_partial:
        return Cell(f"Done in part: {done}.{f' {unapproved(ending)}' if ending.outside else ''}", Style.WARN)
    return Cell(f"Done: {done}.", Style.GOOD)


def _header_lines(log: RunLog) -> Lines:
    run, header = log.record, log.record.header
    facts = [
        f"{header.operation} by {header.who}",
        f"began {moment(header.started)}, ended {moment(run.ended)}",
        f"{counted(run.requests, 'request')}, {ending_cell(run).text}",
        *([f"change digest {header.change_digest}"] if header.change_digest else []),
        *([f"commit {header.commit}"] if header.commit else []),
        *(f"guard lifted: {text}" for text in header.allowed),
    ]
    return Lines("", tuple(map(Cell, facts)))


def _adopted_table(log: RunLog) -> Table:
    counts = Counter(tag for tags in log.adopted.values() for tag in tags)
    rows = [(Cell(tag), number(counts[tag])) for tag in sorted(counts)]
    return table("Put under management without a request", "tag #contacts", rows, most=None)


def _tag_table(log: RunLog) -> Table:
    """Each pair once, as it ended."""
    # a pair in doubt may have been sent again, or read: only its last answer counts
    outcomes: defaultdict[Tag, Counter[str]] = defaultdict(Counter)
    # a contact in doubt is counted by its last word: an early answer was overtaken
    doubted = {contact for contact, _, answer in _entries(log.batches) if _is_open(answer)}
    for batch in log.batches:
        # a batch has few distinct answers: equal ones are counted together, since there may be a million rows
        plain = (answer for contact, answer in batch.answers.items() if contact not in doubted)
        for answer, contacts in Counter(plain).items():
            for tag in batch.tags:
                outcomes[tag][_outcome_word(batch, answer, tag)] += contacts
    for (_, tag), word in _last_words(log, doubted).items():
        outcomes[tag][word] += 1
    columns = [
        *_CHANGED.values(),
        "was so already",
        Outcome.SEEN,
        *map(words, _UNCHANGED),
        "no answer",
    ]
    # a column for each outcome there is; all of them would not fit
    shown = [word for word in columns if any(counts[word] for counts in outcomes.values())]
    rows = [(Cell(tag), *(number(outcomes[tag][word]) for word in shown)) for tag in sorted(outcomes)]
    return table("Tags, in contacts", (Column("tag"), *(Column(word, right=True) for word in shown)), rows, most=None)


def _is_open(answer: Answer) -> bool:
    return answer.verdict is None or answer.verdict.outcome in (Outcome.IN_DOUBT, Outcome.HELD)


def _last_words(log: RunLog, doubted: Collection[ContactId]) -> dict[tuple[ContactId, Tag], str]:
    """The last word on each pair of these contacts; a doubt that the report has not any more was read to be so."""
    last: dict[tuple[ContactId, Tag], str] = {}
    # without a report no doubt counts as settled
    still_open = None if log.ending is None else _open_pairs(log.ending)
    for contact, batch, answer in _entries(log.batches):
        for tag in batch.tags if contact in doubted else ():
            # the report settled a doubt that is not among its shortfalls: a reading found the pair as asked
            seen = still_open is not None and (contact, tag) not in still_open and _is_open(answer)
            last[contact, tag] = Outcome.SEEN if seen else _outcome_word(batch, answer, tag)
    return last


def _open_pairs(ending: RunEnding) -> set[tuple[ContactId, Tag]]:
    return {
        (contact, tag) for shortfall in ending.shortfalls for contact in shortfall.contacts for tag in shortfall.tags
    }


def _outcome_word(batch: BatchRecord, answer: Answer, tag: Tag) -> str:
    verdict = answer.verdict
    if verdict is None:
        return "no answer"
    if verdict.outcome in _UNCHANGED:
        return words(verdict.outcome)
    return _CHANGED[batch.action] if tag in verdict.added | verdict.removed else "was so already"


def _contact_table(batches: Sequence[BatchRecord], most: int | None) -> Table:
    columns = read_columns("contact asked_for outcome changed the_API_said")
    total = sum(len(batch.answers) for batch in batches)
    ordered = (
        sorted(_entries(batches), key=_by_contact) if most is None else nsmallest(most, _entries(batches), _by_contact)
    )
    rows = tuple(_contact_row(*entry) for entry in ordered)
    return Table("Contacts", columns, rows, total - len(rows))


Entry = tuple[ContactId, BatchRecord, Answer]


def _entries(batches: Sequence[BatchRecord]) -> Iterator[Entry]:
    for batch in batches:
        for contact, answer in batch.answers.items():
            yield contact, batch, answer


def _by_contact(entry: Entry) -> tuple[ContactId, Instant]:
    contact, batch, _ = entry
    return contact, batch.intended


def _contact_row(contact: ContactId, batch: BatchRecord, answer: Answer) -> tuple[Cell, ...]:
    outcome, _, message = _outcome_words(answer.verdict)
    return (
        contact_cell(contact),
        Cell(f"{batch.action} {', '.join(batch.tags)}"),
        Cell(outcome),
        Cell(signed_tags(answer), Style.ADD if batch.action is Action.ADD else Style.REMOVE),
        Cell(message),
    )


def signed_tags(answer: Answer) -> str:
    """The tags that were added, each with a plus, and those that were removed, with a minus."""
    verdict = answer.verdict
    signed = () if verdict is None else (*(f"+{tag}" for tag in verdict.added), *(f"-{tag}" for tag in verdict.removed))
    return " ".join(sorted(signed))


def _log_rows(log: RunLog) -> Iterator[Row]:
    for batch in log.batches:
        yield from batch_rows(batch)
    for shortfall in log.ending.shortfalls if log.ending else ():
        # pairs with a batch have a row of their own above
        if shortfall.outcome in (Outcome.NOT_SENT, Outcome.DEFERRED):
            yield from (
                (who, action, tag, what, "no", why, "", "") for who, what, action, tag, why in shortfall_rows(shortfall)
            )
    for contact, tags in log.adopted.items():
        yield from ((contact, "", tag, "adopted", "", "", "", "") for tag in sorted(tags))


def batch_rows(batch: BatchRecord) -> Iterator[Row]:
    asked, answered = iso(batch.intended), iso_or_empty(batch.ended)
    for contact, answer in batch.answers.items():
        outcome, changed, message = _outcome_words(answer.verdict)
        for tag in batch.tags:
            did = "yes" if tag in changed else "no" if answer.verdict else ""
            yield contact, batch.action, tag, outcome, did, message, asked, answered


def _outcome_words(verdict: ContactOutcome | None) -> tuple[str, frozenset[str], str]:
    if verdict is None:
        return "no answer", frozenset(), ""
    return words(verdict.outcome), verdict.added | verdict.removed, verdict.message


def _log_charts(log: RunLog) -> tuple[Chart, ...]:
    """The charts of the run's report, and its changes by tag."""
    changed: Counter[tuple[Tag, Action]] = Counter()
    for batch in log.batches:
        for answer, contacts in Counter(batch.answers.values()).items():
            verdict = answer.verdict
            for tag in () if verdict is None else verdict.added | verdict.removed:
                changed[tag, batch.action] += contacts
    bars = {str(tag): (changed[tag, Action.ADD], changed[tag, Action.REMOVE]) for tag, _ in changed}
    both = (("added", Style.ADD), ("removed", Style.REMOVE))
    return *outcome_charts(log.ending.pairs if log.ending else ()), *draw_bars(
        "Tags by contacts that were changed", both, bars
    )
