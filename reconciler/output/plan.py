"""The plan as a document: its preview, a row for each pair, its JSON and charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.core.formats.plan_json import plan_document
from reconciler.core.model import JsonObject
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import HeldContacts, LedgerChange
from reconciler.core.planning.plan import LocationPlan, Plan
from reconciler.output.blocks import (
    Records,
    Row,
    Style,
    View,
    make_records,
)
from reconciler.output.charts import Chart, draw_bars
from reconciler.output.plan_view import plan_view


@dataclass(frozen=True, slots=True)
class PlanDocument:
    plan: Plan
    notes: Sequence[str] = ()
    """Sentences below the sections, such as a set that becomes active."""
    explain: bool = False
    """Whether to show why no plan needs fewer requests."""

    def view(self, most: int | None) -> View:
        return plan_view(self.plan, notes=self.notes, most=most, explain=self.explain)

    def records(self) -> Records:
        """A row for each pair that is sent, deferred, held, kept or recorded."""
        columns = "location contact what action tag why asked_for_at"
        rows = lambda: (row for location in self.plan.locations for row in _location_rows(location))  # noqa: E731
        return make_records("Every contact and tag", columns, rows)

    def json(self) -> JsonObject:
        return plan_document(self.plan)

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return list(map(_plan_charts, self.plan.locations))


def _location_rows(plan: LocationPlan) -> Iterator[Row]:
    place = plan.location
    for delta in plan.deltas:
        for contact in delta.contacts:
            for change in delta.changes:
                # a CSV row has one cell for all places: two sets may ask for one tag
                where = ", ".join(map(str, change.sources))
                yield place, contact, "planned", change.action, change.tag, change.reason, where
    # not a change, but a pair that leaves: a spreadsheet must show all that is sent
    for again in plan.reasserted:
        yield from _pair_rows(place, again.contacts, "sent again", again.action, again.tags, "saves a request")
    for deferral in plan.deferrals:
        yield from _pair_rows(place, deferral.contacts, "deferred", "remove", deferral.tags, deferral.reason)
    for listed, what in (
        (plan.held, "held"),
        (plan.quarantined, "quarantined"),
        (plan.spared, "kept"),
        (plan.given, "given before"),
    ):
        for held in listed:
            yield from _listed_rows(place, what, held)
    # recording is a change too: it counts for the exit code, and apply does it
    for move in plan.ledger:
        yield from _ledger_rows(place, move)


def _listed_rows(place: LocationId, what: str, held: HeldContacts) -> Iterator[Row]:
    return _pair_rows(place, held.contacts, what, "", held.tags, held.why)


def _ledger_rows(place: LocationId, move: LedgerChange) -> Iterator[Row]:
    for what, tags in (("adopted", move.adopted), ("released", move.released), ("stays on leaving", move.kept)):
        # an empty list is no move: below it would make a row without a tag
        if tags:
            yield from _pair_rows(place, move.contacts, what, "", tags, "")


def _pair_rows(
    place: LocationId, contacts: Iterable[ContactId], what: str, action: str, tags: Sequence[str], why: str
) -> Iterator[Row]:
    for contact in contacts:
        # a contact that is left aside as a whole has a row without a tag
        for tag in tags or ("",):
            yield place, contact, what, action, tag, why, ""


def _plan_charts(plan: LocationPlan) -> tuple[Chart, ...]:
    pairs: Counter[tuple[Tag, Action]] = Counter()
    for delta in plan.deltas:
        for change in delta.changes:
            pairs[change.tag, change.action] += len(delta.contacts)
    bars = {str(tag): (pairs[tag, Action.ADD], pairs[tag, Action.REMOVE]) for tag, _ in pairs}
    return draw_bars("Tags by adds and removes, in pairs", (("add", Style.ADD), ("remove", Style.REMOVE)), bars)
