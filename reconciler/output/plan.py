"""A plan as a document: its preview, its headline, and the question that a person answers before a request is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.core.formats.plan_json import plan_document
from reconciler.core.model import JsonObject
from reconciler.core.model.names import Instant, LocationId, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import FLAPPING, IN_DOUBT, UNCONFIRMED, DeferralReason
from reconciler.core.planning.plan import LocationPlan, Plan
from reconciler.output.blocks import (
    ROWS,
    Cell,
    Records,
    Row,
    Section,
    Style,
    Total,
    View,
    counted,
    duration,
    lines,
    make_records,
    make_section,
    moment,
    number,
    percent,
    read_columns,
    totals,
)
from reconciler.output.overview import (
    LocationRow,
    age_cell,
    is_many,
    make_overview,
    unknown_record,
    unknown_row,
    unknown_section,
)
from reconciler.output.plan_tables import (
    SharedChange,
    aside_lines,
    certificate_table,
    deferral_lines,
    delta_table,
    find_shared_changes,
    guard_lines,
    held_for,
    held_table,
    late_lines,
    left_out,
    location_rows,
    release_table,
    removal_table,
    repeat_lines,
    shared_table,
    still_refused,
    tag_table,
)

if TYPE_CHECKING:
    from reconciler.output.charts import Chart


@dataclass(frozen=True, slots=True)
class PlanDocument:
    plan: Plan
    notes: Sequence[str] = ()
    """Sentences below the sections, such as a set that becomes active."""
    explain: bool = False
    """Whether to show why no plan needs fewer requests."""
    undoes: str = ""
    """The run that the plan is to undo; empty for a plan of manifests."""

    def view(self, most: int | None = ROWS) -> View:
        shared = find_shared_changes(self.plan.locations)
        several = len(self.plan.locations) > 1
        sections = tuple(
            _location_section(plan, most, shared, self.explain, several=several, undoes=self.undoes)
            for plan in self._list_told()
        )
        overview = _make_overview(self.plan, shared, most)
        sections += tuple(map(unknown_section, self.plan.unknown))
        return View("Plan", sections, tuple(_closing_cells(self.plan, self.notes)), overview)

    def records(self) -> Records:
        """A row for each pair that is sent, deferred, held, kept or recorded, and for each location not known."""
        columns = "location contact what action tag why asked_for_at"

        def rows() -> Iterator[Row]:
            yield from (row for location in self.plan.locations for row in location_rows(location))
            yield from (unknown_record(unknown, columns) for unknown in self.plan.unknown)

        return make_records("Every contact and tag", columns, rows)

    def json(self) -> JsonObject:
        return plan_document(self.plan)

    def charts(self) -> Sequence[tuple[Chart, ...]]:
        return [*map(_plan_charts, self._list_told()), *(() for _ in self.plan.unknown)]

    def _list_told(self) -> list[LocationPlan]:
        """The locations with a section: of several, those of which more is to be told than that nothing changes."""
        locations = self.plan.locations
        every = [*(plan.location for plan in locations), *(unknown.location for unknown in self.plan.unknown)]
        alone = not is_many(every)
        return [plan for plan in locations if alone or not _is_quiet(plan)]


def _is_quiet(plan: LocationPlan) -> bool:
    return (
        _brief_verdict(plan) == NO_CHANGES and not _location_section(plan, None, {}, explain=False, several=True).blocks
    )


NO_CHANGES = Cell("no changes", Style.GOOD)
CONVERGED = Cell("No changes: what was observed is as the manifests want it.", Style.GOOD)


def _brief_verdict(plan: LocationPlan) -> Cell:
    """The headline in a word or two."""
    if plan.refused:
        return Cell("refused", Style.BAD)
    if plan.batches:
        return Cell("ready", Style.STRONG)
    if not plan.is_empty:
        return Cell("to record", Style.STRONG)
    if left_out(plan):
        return Cell("left out", Style.STRONG)
    if plan.aside:
        return Cell("not as declared", Style.WARN)
    return Cell("not decided", Style.WARN) if plan.waiting else NO_CHANGES


_OVERVIEW = read_columns("#adds #removes #requests #oldest guards")


def _make_overview(plan: Plan, shared: Mapping[str, SharedChange], most: int | None) -> Section | None:
    summaries = [location.summary for location in plan.locations]
    return make_overview(
        [
            *(_overview_row(location, plan.as_of) for location in plan.locations),
            *(unknown_row(unknown, len(_OVERVIEW)) for unknown in plan.unknown),
        ],
        _OVERVIEW,
        most,
        shared_table(shared, most),
        totals=totals(
            ("locations", len(plan.locations) + len(plan.unknown), Style.PLAIN),
            ("tags to add", sum(summary.adds for summary in summaries), Style.ADD),
            ("tags to remove", sum(summary.removes for summary in summaries), Style.REMOVE),
            ("contacts", sum(summary.contacts for summary in summaries), Style.PLAIN),
            ("requests", sum(summary.requests for summary in summaries), Style.PLAIN),
        ),
    )


def _overview_row(plan: LocationPlan, as_of: Instant) -> LocationRow:
    summary = plan.summary
    cells = (
        number(summary.adds, Style.ADD),
        number(summary.removes, Style.REMOVE),
        number(summary.requests),
        age_cell(plan.oldest, as_of),
        _guard_cell(plan),
    )
    return LocationRow(plan.location, _brief_verdict(plan), cells, summary.adds + summary.removes)


def _guard_cell(plan: LocationPlan) -> Cell:
    """The guards that refuse, else those that were lifted."""
    if plan.refused:
        return Cell(", ".join(dict.fromkeys(guard.guard for guard in plan.refused)), Style.BAD)
    lifted = ", ".join(dict.fromkeys(guard.guard for guard in plan.guards if guard.allowed))
    return Cell(f"{lifted} lifted" if lifted else "", Style.WARN)


def _closing_cells(plan: Plan, notes: Iterable[str]) -> Iterator[Cell]:
    yield from (Cell(note, Style.WARN) for note in notes)
    # said last, where a terminal ends: above it a long plan scrolls away
    if plan.refused:
        yield Cell(_tell_refused(plan), Style.BAD)
    if plan.valid_until is not None:
        yield Cell(f"Valid until {moment(plan.valid_until)}, when a set becomes active or expires.", Style.FAINT)
    yield Cell(f"Change digest {plan.change_digest}", Style.FAINT)


def _tell_refused(plan: Plan) -> str:
    refused = [location for location in plan.locations if location.refused]
    if len(refused) == len(plan.locations):
        return "Refused by guards: apply would send nothing."
    return (
        f"Refused by guards in {len(refused):,} of {len(plan.locations):,} locations: apply would send nothing there."
    )


def _location_section(
    plan: LocationPlan,
    most: int | None,
    shared: Mapping[str, SharedChange],
    explain: bool,
    *,
    several: bool,
    undoes: str = "",
) -> Section:
    # a plan is of one state: a reviewer sees which, and that a first plan knows of no contact
    since = f"state serial {plan.serial}" if plan.lineage else "no state yet: nothing is known of any contact"
    headline = plan_headline(plan, left_out=bool(left_out(plan)))
    if undoes and has_nothing_left(plan):
        headline = Cell(f"Nothing of run {undoes} is left to undo.", Style.STRONG)
    own_digest = [Cell(f"Change digest of this location {plan.change_digest}", Style.FAINT)]
    return make_section(
        f"Location {plan.location}, {since}",
        headline,
        guard_lines(plan, most),
        tag_table(plan, most),
        release_table(plan, most),
        late_lines(plan),
        removal_table(plan, most),
        delta_table(plan, most, shared),
        repeat_lines(plan, most),
        *(certificate_table(proof, most) for proof in plan.proofs if explain),
        deferral_lines(plan, most),
        held_table("Held: in doubt, not planned until an observation settles them", held_for(plan, IN_DOUBT), most),
        held_table("Held: put back lately and gone again, not planned for a week", held_for(plan, FLAPPING), most),
        held_table("Held: to be added once, and maybe it was; --retry-held adds it", held_for(plan, UNCONFIRMED), most),
        held_table("Left out", left_out(plan), most),
        held_table("Quarantined: rejected for good, not planned", still_refused(plan), most),
        held_table("Not there, as was read for this plan: nothing is sent to them", plan.gone, most),
        held_table("Kept on purpose: nobody declares it, or a set wants it gone", plan.spared, most),
        aside_lines(plan),
        held_table("Given before, not given again; --again TAG gives it", plan.given, most),
        # with one location it is that of the plan, which is told below
        lines("", own_digest if several and not plan.is_empty else []),
        totals=_plan_totals(plan),
        location=plan.location,
    )


def _plan_totals(plan: LocationPlan) -> tuple[Total, ...]:
    counts = plan.summary
    return totals(
        ("tags to add", counts.adds, Style.ADD),
        ("tags to remove", counts.removes, Style.REMOVE),
        ("contacts", counts.contacts, Style.PLAIN),
        ("requests", counts.requests, Style.PLAIN),
        ("adopted", counts.adopted, Style.PLAIN),
        ("released", counts.released, Style.PLAIN),
        ("sent again", counts.reasserted, Style.PLAIN),
        ("unobserved", counts.unobserved, Style.PLAIN),
        ("deferred", counts.deferred, Style.PLAIN),
        ("held", counts.held, Style.WARN),
        ("quarantined", counts.quarantined, Style.WARN),
    )


def has_nothing_left(plan: LocationPlan) -> bool:
    """Whether nothing is sent, and nothing is left out, held or refused either."""
    return plan_headline(plan, left_out=bool(left_out(plan))) == CONVERGED


def plan_headline(plan: LocationPlan, *, left_out: bool) -> Cell:
    """`left_out`: whether changes of a proposal or a revert are listed that are not sent."""
    summary = plan.summary
    aside = plan.aside
    # a proposal may leave out all that it asked for: that is not converged
    if plan.is_empty and left_out:
        return Cell("Nothing to send: see what is left out.", Style.STRONG)
    if plan.is_empty:
        return _nothing_to_send(plan)
    also = f" Left aside: {aside}." if aside else ""
    recorded = [
        f"{pairs:,} {word}" for pairs, word in ((summary.adopted, "adopted"), (summary.released, "released")) if pairs
    ]
    # adoptions and releases cost no request, and apply records them all the same
    if not plan.batches:
        return Cell(
            f"Nothing to send. To record: {', '.join(recorded) or 'what stays on leaving'}.{also}", Style.STRONG
        )
    sent = [
        f"{counted(pairs, 'tag')} to {word}"
        for pairs, word in ((summary.adds, "add"), (summary.removes, "remove"))
        if pairs
    ]
    changes = ", ".join([*sent, *recorded])
    return Cell(f"{counted(summary.contacts, 'contact')}: {changes}. {_explain_cost(plan)}.{also}", Style.STRONG)


def _nothing_to_send(plan: LocationPlan) -> Cell:
    """The worst that is true of a plan without changes."""
    also = f" Not decided: {plan.waiting}." if plan.waiting else ""
    # held and quarantined pairs are desired: "no changes" over them would be a lie
    if plan.aside:
        return Cell(f"Nothing to send, and not as declared: {plan.aside}.{also}", Style.WARN)
    if plan.refused:
        refused = ", ".join(dict.fromkeys(measured.guard for measured in plan.refused))
        return Cell(f"Nothing to send, and refused by {refused}.{also}", Style.BAD)
    if also:
        return Cell(f"Nothing to send.{also}", Style.WARN)
    return CONVERGED


def _explain_bound(plan: LocationPlan) -> str:
    # adds and removes have a proof each: the sum is proven where both are
    if all(proof.proven for proof in plan.proofs):
        return "fewer are not possible"
    return f"no plan needs fewer than {plan.summary.lower_bound:,}"


def _explain_cost(plan: LocationPlan) -> str:
    summary = plan.summary
    settling = ", with the wait for what is in doubt" if any(listed.why == IN_DOUBT for listed in plan.held) else ""
    how = "with all slices" if plan.pacing else f"at the rate limit{settling}"
    time = f", {duration(summary.eta_seconds)} {how}" if summary.eta_seconds else ""
    return (
        f"{counted(summary.requests, 'request')} ({_explain_bound(plan)}), "
        f"{percent(summary.daily_quota_share)} of a day's quota{time}"
    )


WORD = "yes"
NAMED = 3
"""So many tags and locations are named; of more there is the number."""

_IN_THE_SAME_RUN = (DeferralReason.UNTIL_OBSERVED, DeferralReason.UNTIL_SETTLED)


def question(plan: Plan, names: Mapping[LocationId, str], *, refused: Sequence[LocationId] = ()) -> str:
    """The question, in one line. `names`: the names of locations for people; `refused`: those that are not sent."""
    # a location without changes is no part of the question
    busy = [location for location in plan.locations if not location.is_empty]
    where = _name_some([names.get(location.location) or location.location for location in busy], "location")
    others = _name_some([names.get(location) or location for location in refused], "location")
    nothing = f", and nothing to {others}" if others else ""
    sent = [location for location in busy if location.batches]
    # a plan may only record: the question says that no request leaves
    if not sent:
        return f"Send nothing, and record {_count_recorded(busy)} in {where}{nothing}? Type {WORD}: "
    requests = counted(sum(location.summary.requests for location in sent), "request")
    return f"Send {_count_changes(sent)} in {requests} to {where}{_count_deferred(sent)}{nothing}? Type {WORD}: "


def _count_changes(plans: Iterable[LocationPlan]) -> str:
    parts = [_count_pairs(action, list(plans)) for action in (Action.ADD, Action.REMOVE)]
    return " and ".join(filter(None, parts)) or "again what was sent before"


def _count_pairs(action: Action, plans: Iterable[LocationPlan]) -> str:
    """`2,394 adds (vip triggers automations)`"""
    total, triggers = 0, set[Tag]()
    for plan in plans:
        for delta in plan.deltas:
            changed = delta.tags(action)
            total += len(changed) * len(delta.contacts)
            # an add or removal of such a tag starts automations, which mail people
            triggers |= set(changed) & set(plan.triggers)
    verb = "triggers" if len(triggers) == 1 else "trigger"
    warning = f" ({_name_some(sorted(triggers), 'tag')} {verb} automations)" if triggers else ""
    return counted(total, action) + warning if total else ""


def _count_recorded(plans: Iterable[LocationPlan]) -> str:
    summaries = [summary.summary for summary in plans]
    adopted, released = (sum(summary.adopted for summary in summaries), sum(summary.released for summary in summaries))
    parts = [f"{number:,} {word}" for number, word in ((adopted, "adopted"), (released, "released")) if number]
    return " and ".join(parts) or "what stays on leaving"


def _count_deferred(plans: Iterable[LocationPlan]) -> str:
    """The removals that may follow in the same run, once answers tell the tags."""
    deferrals = [deferral for plan in plans for deferral in plan.deferrals]
    # the ceiling of a deferral: every tag on every one of its contacts
    most = sum(
        len(deferral.tags) * len(deferral.contacts) for deferral in deferrals if deferral.reason in _IN_THE_SAME_RUN
    )
    bounded = f", and at most {counted(most, 'remove')} that the answers call for" if most else ""
    # exact authority removes tags that no manifest names: there is no ceiling to tell
    unbounded = any(deferral.reason is DeferralReason.OPEN for deferral in deferrals)
    return bounded + (", and whatever else exact authority removes then" if unbounded else "")


def _name_some(names: list[str], what: str) -> str:
    if len(names) <= NAMED:
        return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{', '.join(names[:NAMED])} and {counted(len(names) - NAMED, 'more ' + what)}"


def _plan_charts(plan: LocationPlan) -> tuple[Chart, ...]:
    from reconciler.output.charts import draw_bars

    pairs: Counter[tuple[Tag, Action]] = Counter()
    for delta in plan.deltas:
        for change in delta.changes:
            pairs[change.tag, change.action] += len(delta.contacts)
    bars = {str(tag): (pairs[tag, Action.ADD], pairs[tag, Action.REMOVE]) for tag, _ in pairs}
    return draw_bars("Tags by adds and removes, in pairs", (("add", Style.ADD), ("remove", Style.REMOVE)), bars)
