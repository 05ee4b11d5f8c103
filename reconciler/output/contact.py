"""All that is known of one contact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Annotated, ClassVar

from reconciler.core.formats import JsonSpelling
from reconciler.core.formats.plan_json import Remedies
from reconciler.core.formats.state_json import STATE_FORMS
from reconciler.core.manifests.wants import Want
from reconciler.core.model.contact_state import ContactState, ObservationOrigin
from reconciler.core.model.journal import BatchRecord, RunRecord
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.running.shortfalls import known_remedies
from reconciler.output.blocks import (
    Cell,
    Lines,
    Records,
    Row,
    Section,
    Style,
    Table,
    View,
    make_records,
    make_section,
    moment,
    places,
    table,
)
from reconciler.output.document import DerivedDocument, Document
from reconciler.output.log import batch_rows, signed_tags
from reconciler.output.run import words


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
    title = f"Contact {story.contact}, location {story.location}"
    return make_section(title, verdict, _tag_table(story, most), _status_lines(state), _trail_table(story, most))


def _tag_table(story: ContactStory, most: int | None) -> Table:
    state, want = story.known, story.want
    present, absent = (want.present, want.absent) if want else ({}, {})
    every = sorted({*(state.observed or ()), *state.ledger.tags, *state.doubtful, *present, *absent})
    columns = "tag observed managed manifests" if want else "tag observed managed"
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


def _status_lines(state: ContactState) -> Lines:
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
    return Lines("", tuple(lines))


def _trail_table(story: ContactStory, most: int | None) -> Table:
    # a batch knows its run by id, the run its author
    who = {run.id: run.header.who for run in story.runs}
    rows = [_trail_row(run, batch, who.get(run, ""), story.contact) for run, batch in reversed(story.trail)]
    return table("What was done, the latest first", "when run asked_for outcome changed who", rows, most=most)


def _trail_row(run: str, batch: BatchRecord, who: str, contact: ContactId) -> tuple[Cell, ...]:
    answer = batch.answers[contact]
    return (
        Cell(moment(batch.intended)),
        Cell(run),
        Cell(f"{batch.action} {', '.join(batch.tags)}"),
        Cell("no answer" if answer.verdict is None else words(answer.verdict.outcome)),
        Cell(signed_tags(answer)),
        Cell(who, Style.FAINT),
    )


@dataclass(frozen=True, slots=True)
class _Request:
    run: str
    batch: BatchRecord


_FORMS = STATE_FORMS.extended(
    {
        ContactStory: JsonSpelling(
            members="location contact *known",
            derived={
                "observed_by": (
                    Annotated[str | None, "The run that the observation is from."],
                    lambda story: story.observed_by or None,
                ),
                "declared": (Want | None, lambda story: story.want),
                "remedies": (Remedies, lambda story: known_remedies([story.known])),
                "trail": (tuple[_Request, ...], lambda story: starmap(_Request, reversed(story.trail))),
            },
        ),
        Want: JsonSpelling(
            about="What the manifests declare, tag by tag, with the places that do.", members="present absent"
        ),
        _Request: JsonSpelling(about="One request that had this contact.", members="run *batch"),
    }
)


@dataclass(frozen=True, slots=True)
class ContactDocument(DerivedDocument, Document):
    """The contact as known in each location, what the manifests declare, and its `trail`, the latest first."""

    report: ClassVar = "contact"
    forms: ClassVar = _FORMS

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
