"""All that is known of one contact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from reconciler.core.formats.journal_json import JOURNAL_FORMS, TEXTS
from reconciler.core.formats.json_forms import Schema, object_schema
from reconciler.core.formats.plan_json import Remedies
from reconciler.core.formats.state_json import contact_document, contact_members
from reconciler.core.manifests.resolve import Want
from reconciler.core.model import JsonObject
from reconciler.core.model.contact_state import ContactState, ObservationOrigin
from reconciler.core.model.journal import BatchRecord, RunRecord
from reconciler.core.model.names import ContactId, LocationId, Source, Tag
from reconciler.core.model.outcome import Reason
from reconciler.core.running.shortfalls import known_remedies
from reconciler.output.blocks import (
    Block,
    Cell,
    Column,
    Lines,
    Records,
    Row,
    Section,
    Style,
    View,
    make_records,
    moment,
    places,
    table,
)
from reconciler.output.document import Document, report_document
from reconciler.output.log import batch_rows


@dataclass(frozen=True, slots=True)
class ContactStory:
    """`want`: what the manifests declare, None where there are none to ask. `trail`: its rows, with their runs' ids."""

    location: LocationId
    contact: ContactId
    known: ContactState
    want: Want | None
    trail: tuple[tuple[str, BatchRecord], ...]
    runs: tuple[RunRecord, ...]

    @property
    def observed_by(self) -> str:
        """The run from which the observed tags are; empty where it is no longer known."""
        at = self.known.observed_at
        if at is None:
            return ""
        # an answer is observed at exactly the moment at which its batch ended
        if self.known.origin is ObservationOrigin.WRITE:
            return next((run for run, batch in reversed(self.trail) if batch.ended == at), "")
        # an observation is older than the run that took it in
        return next((run.id for run in self.runs if (run.ended or run.header.started) >= at), "")


def _story_section(story: ContactStory, most: int | None) -> Section:
    state = story.known
    if state.observed is None:
        verdict = Cell("Never observed.", Style.WARN)
    else:
        run = f", run {story.observed_by}" if story.observed_by else ""
        verdict = Cell(f"Observed {moment(state.observed_at)} by {state.origin}{run}.", Style.STRONG)
    blocks = [_tag_table(story, most), _status_lines(state), _trail_table(story, most)]
    title = f"Contact {story.contact}, location {story.location}"
    return Section(title, verdict, tuple(block for block in blocks if block is not None))


def _tag_table(story: ContactStory, most: int | None) -> Block | None:
    state, want = story.known, story.want
    present, absent = (want.present, want.absent) if want else ({}, {})
    every = sorted({*(state.observed or ()), *state.ledger.tags, *state.doubtful, *present, *absent})
    if not every:
        return None
    columns = [Column("tag"), Column("observed"), Column("managed"), *([Column("manifests")] if want else [])]
    rows = [
        (
            Cell(tag),
            Cell(_show_observed(state, tag), Style.WARN if tag in state.doubtful else Style.PLAIN),
            Cell("yes, stays on leaving" if tag in state.ledger.kept else "yes" if tag in state.ledger.tags else ""),
            *([_declared_cell(want, tag)] if want else []),
        )
        for tag in every
    ]
    return table("", columns, rows, most=most)


def _show_observed(state: ContactState, tag: Tag) -> str:
    there = "unknown" if state.observed is None else "there" if tag in state.observed else "not there"
    return f"{there}, in doubt" if tag in state.doubtful else there


def _declared_cell(want: Want, tag: Tag) -> Cell:
    if tag in want.present:
        return Cell(f"present: {places(want.present[tag])}", Style.ADD)
    if tag in want.absent:
        cause = want.absent[tag]
        return Cell(f"{cause.reason}: {places(cause.sources)}", Style.REMOVE)
    return Cell("")


def _status_lines(state: ContactState) -> Block | None:
    lines = []
    refused, doubt = state.quarantine, state.doubt
    if refused is not None:
        since = refused.since or refused.at
        last = f", refused last {moment(refused.at)}" if since != refused.at else ""
        lines.append(Cell(f"quarantined since {moment(since)}{last}: {refused.reason}", Style.WARN))
    if doubt is not None:
        lines.append(Cell(f"in doubt since a request of {moment(doubt.sent)}", Style.WARN))
    # a tag in doubt is told above: it was not seen either
    unseen = sorted(state.ledger.unconfirmed - state.doubtful)
    lines += [Cell(f"{tag!r} was to be added, and nobody saw it there", Style.WARN) for tag in unseen]
    lines += [Cell(f"{tag!r} was put back {moment(at)}", Style.FAINT) for tag, at in state.past_adds.restored]
    lines += [Cell(f"{tag!r}, once: given {moment(at)}", Style.FAINT) for tag, at in state.past_adds.spent]
    lines += [Cell(text, Style.FAINT) for text in known_remedies([state])]
    if doubt is not None and doubt.reading is not None:
        lines.append(Cell(f"read {moment(doubt.reading.answered)}, which did not settle the doubt", Style.FAINT))
    if state.past_adds.attempted_at is not None:
        lines.append(Cell(f"last tried {moment(state.past_adds.attempted_at)}", Style.FAINT))
    return Lines("", tuple(lines)) if lines else None


def _trail_table(story: ContactStory, most: int | None) -> Block | None:
    if not story.trail:
        return None
    columns = (Column("when"), Column("run"), Column("asked for"), Column("outcome"), Column("changed"), Column("who"))
    # a batch knows its run by id, the run its author
    who = {run.id: run.header.who for run in story.runs}
    rows = [_trail_row(run, batch, who.get(run, ""), story.contact) for run, batch in reversed(story.trail)]
    return table("What was done, the latest first", columns, rows, most=most)


def _trail_row(run: str, batch: BatchRecord, who: str, contact: ContactId) -> tuple[Cell, ...]:
    verdict = batch.answers[contact].verdict
    changed = (
        () if verdict is None else (*(f"+{tag}" for tag in verdict.added), *(f"-{tag}" for tag in verdict.removed))
    )
    return (
        Cell(moment(batch.intended)),
        Cell(run),
        Cell(f"{batch.action} {', '.join(batch.tags)}"),
        Cell("no answer" if verdict is None else verdict.outcome.replace("_", " ")),
        Cell(" ".join(sorted(changed))),
        Cell(who, Style.FAINT),
    )


@dataclass(frozen=True, slots=True)
class ContactDocument(Document):
    """The contact as known in each location, what the manifests declare, and its `trail`, the latest first."""

    locations: Sequence[ContactStory]

    def view(self, most: int | None) -> View:
        return View("Contact", tuple(_story_section(story, most) for story in self.locations))

    def records(self) -> Records:
        """What was done on the contact, the latest first."""
        columns = "location contact run action tag outcome changed message asked answered"
        return make_records("What was done", columns, self._make_rows)

    def _make_rows(self) -> Iterator[Row]:
        for story in self.locations:
            for run, batch in reversed(story.trail):
                for _, *row in batch_rows(batch):
                    yield (story.location, story.contact, run, *row)

    def json(self) -> JsonObject:
        return report_document("contact", {"locations": list(map(_story_json, self.locations))})

    @staticmethod
    def schema() -> Schema:
        request = object_schema(
            "One request that had this contact.", {"run": {"type": "string"}} | JOURNAL_FORMS.members(BatchRecord)
        )
        facts: Schema = {
            "observed_by": JOURNAL_FORMS.schema(Annotated[str | None, "The run that the observation is from."]),
            "declared": {"anyOf": [_declared_schema(), {"type": "null"}]},
            "remedies": JOURNAL_FORMS.schema(Remedies),
            "trail": {"type": "array", "items": request},
        }
        story = object_schema(
            "", {"location": {"type": "string"}, "contact": {"type": "string"}} | contact_members() | facts
        )
        return {"locations": {"type": "array", "items": story}}


def _declared_schema() -> Schema:
    absent = object_schema("", {"reason": JOURNAL_FORMS.schema(Reason), "sources": TEXTS})
    declared: Schema = {
        "present": {"type": "object", "additionalProperties": TEXTS},
        "absent": {"type": "object", "additionalProperties": absent},
    }
    return object_schema("What the manifests declare, tag by tag, with the places that do.", declared)


def _declared_json(want: Want) -> JsonObject:
    present: JsonObject = {tag: _place_texts(sources) for tag, sources in want.present.items()}
    absent: JsonObject = {
        tag: {"reason": cause.reason, "sources": _place_texts(cause.sources)} for tag, cause in want.absent.items()
    }
    return {"present": present, "absent": absent}


def _story_json(story: ContactStory) -> JsonObject:
    return {
        "location": story.location,
        "contact": story.contact,
        **contact_document(story.known),
        "observed_by": story.observed_by or None,
        "declared": None if story.want is None else _declared_json(story.want),
        "remedies": known_remedies([story.known]),
        "trail": [{"run": run} | JOURNAL_FORMS.write(batch) for run, batch in reversed(story.trail)],
    }


def _place_texts(sources: Iterable[Source]) -> list[str]:
    return [str(source) for source in sources]
