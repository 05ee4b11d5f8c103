"""The tables of a plan: the blocks of its preview, and a row for each pair."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.core.model.batch import Proof, Reason
from reconciler.core.model.names import ContactId, LocationId, Source, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.batches import Reasserted
from reconciler.core.planning.changes import (
    FLAPPING,
    IN_DOUBT,
    UNCONFIRMED,
    Change,
    DeferralReason,
    Delta,
    HeldContacts,
    LedgerChange,
    count_changes,
)
from reconciler.core.planning.guard_sentences import (
    explain_ended,
    explain_lifted,
    explain_refusals,
    explain_warnings,
    guess_renames,
)
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.planning.slow_release import TagRelease
from reconciler.core.running.shortfalls import plan_remedies
from reconciler.output.blocks import (
    Block,
    Cell,
    Row,
    Style,
    contact_cell,
    counted,
    lines,
    moment,
    number,
    places,
    sample,
    sample_cell,
    table,
)
from reconciler.output.overview import sample_locations


def aside_lines(plan: LocationPlan) -> Block:
    """Rows of a search that were set aside; the commands that settle the pairs left aside."""
    older = [Cell(f"{plan.searched.older_rows}.", Style.WARN)] if plan.searched.older_rows else []
    asides = [*older, *(Cell(text, Style.FAINT) for text in plan_remedies(plan))]
    return lines("", asides)


@dataclass(slots=True)
class _TagRow:
    adds: int = 0
    removes: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    sources: set[Source] = field(default_factory=set)


def tag_table(plan: LocationPlan, most: int | None) -> Block:
    rows_by_tag: defaultdict[Tag, _TagRow] = defaultdict(_TagRow)
    for change, contacts in count_changes(plan.deltas).items():
        row = rows_by_tag[change.tag]
        row.adds += contacts if change.action is Action.ADD else 0
        row.removes += contacts if change.action is Action.REMOVE else 0
        row.reasons[change.reason] += contacts
        row.sources.update(change.sources)
    # tags that start automations first: their changes are mailed
    ordered = sorted(
        rows_by_tag.items(), key=lambda item: (item[0] not in plan.triggers, -item[1].removes, -item[1].adds, item[0])
    )
    rows = [_tag_row(tag, row, tag in plan.triggers) for tag, row in ordered]
    return table("Tags", "tag #add #remove why asked_for_at", rows, most=most, key=True)


def _tag_row(tag: Tag, row: _TagRow, triggers: bool) -> tuple[Cell, ...]:
    why = ", ".join(f"{reason} {count:,}" for reason, count in row.reasons.most_common())
    return (
        Cell(f"{tag} (triggers automations)" if triggers else tag, Style.WARN if triggers else Style.PLAIN),
        number(row.adds, Style.ADD),
        number(row.removes, Style.REMOVE),
        Cell(why),
        Cell(places(sorted(row.sources)), Style.FAINT),
    )


def release_table(plan: LocationPlan, most: int | None) -> Block:
    """How slowly given tags are given."""
    rows = [
        (
            Cell(each.tag),
            number(each.adds, Style.ADD),
            Cell(each.rule),
            number(each.used),
            Cell(_describe_slices(each)),
            Cell("too far away to be told" if each.ends is None else moment(each.ends), _end_style(each, plan)),
        )
        for each in plan.pacing
    ]
    title = "Given slowly: apply sends what fits, and the others wait"
    return table(title, "tag #add at_most #used slices last_slice", rows, most=most, key=True)


def _describe_slices(release: TagRelease) -> str:
    first = ", ".join(f"{each.adds:,} from {moment(each.at)}" for each in release.slices)
    more = release.slices_in_all - len(release.slices)
    return f"{first} and {more:,} more" if more else first


def _end_style(release: TagRelease, plan: LocationPlan) -> Style:
    """Of an end beyond the time that the plan is valid for: the tags may not be wanted then."""
    is_late = release.ends is None or (plan.valid_until is not None and release.ends >= plan.valid_until)
    return Style.WARN if is_late else Style.PLAIN


def late_lines(plan: LocationPlan) -> Block:
    """Tags that are given beyond the time that the plan is valid for."""
    until = plan.valid_until
    late = [each for each in plan.pacing if until is not None and (each.ends is None or each.ends >= until)]
    return lines(
        "",
        [
            Cell(
                f"The last slice of {each.tag!r} comes after {moment(until)}, when a set becomes active or expires: "
                "what is left then is planned anew, and may be wanted no more.",
                Style.WARN,
            )
            for each in late
        ],
    )


def removal_table(plan: LocationPlan, most: int | None) -> Block:
    contacts_by_change: defaultdict[tuple[Tag, Reason], list[ContactId]] = defaultdict(list)
    for delta in plan.deltas:
        for change in delta.changes:
            if change.action is Action.REMOVE:
                contacts_by_change[change.tag, change.reason] += delta.contacts
    # the largest removal first: a mistake in a manifest shows by its size
    ordered = sorted(contacts_by_change.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [
        (number(len(contacts), Style.REMOVE), Cell(tag, Style.REMOVE), Cell(reason), sample_cell(sorted(contacts)))
        for (tag, reason), contacts in ordered
    ]
    return table("Removals", "#contacts tag why which", rows, most=most, key=True)


def delta_table(plan: LocationPlan, most: int | None, shared: Mapping[str, SharedChange]) -> Block:
    """`shared`: the changes that other locations get too, by their text."""
    # removals stand apart above: here a reader checks that the groups are those that were meant
    shown = plan.deltas if most is None else plan.deltas[:most]
    rows = [_delta_row(delta, shared) for delta in shown]
    folded = len(plan.deltas) - len(shown)
    return table("Changes, by contacts that need the same", "#contacts change which", rows, most=most, hidden=folded)


def _delta_row(delta: Delta, shared: Mapping[str, SharedChange]) -> tuple[Cell, ...]:
    change = _signed_tags(delta)
    text = f"{change} (in {len(shared[change].locations):,} locations)" if change in shared else change
    return number(len(delta.contacts)), Cell(text, _delta_style(delta)), sample_cell(delta.contacts)


def _delta_style(delta: Delta) -> Style:
    # one removal makes the group red: the worst of its changes decides
    removing = any(change.action is Action.REMOVE for change in delta.changes)
    return Style.REMOVE if removing else Style.ADD


@dataclass(slots=True)
class SharedChange:
    """The same tags to add and to remove, in several locations."""

    style: Style
    contacts: int = 0
    locations: dict[LocationId, None] = field(default_factory=dict)


def find_shared_changes(plans: Sequence[LocationPlan]) -> dict[str, SharedChange]:
    """The changes of two locations at least, by their text; those of most locations first."""
    changes: dict[str, SharedChange] = {}
    # of one location there is nothing to compare
    for plan in plans if len(plans) > 1 else ():
        for delta in plan.deltas:
            shared = changes.setdefault(_signed_tags(delta), SharedChange(_delta_style(delta)))
            shared.contacts += len(delta.contacts)
            shared.locations[plan.location] = None
    ordered = sorted(changes.items(), key=lambda item: (-len(item[1].locations), -item[1].contacts, item[0]))
    return {change: shared for change, shared in ordered if len(shared.locations) > 1}


def shared_table(shared: Mapping[str, SharedChange], most: int | None) -> Block:
    rows = [
        (
            Cell(change, entry.style),
            number(len(entry.locations)),
            number(entry.contacts),
            sample_locations(tuple(entry.locations)),
        )
        for change, entry in shared.items()
    ]
    return table("The same change in several locations", "change #locations #contacts which", rows, most=most)


def _signed_tags(delta: Delta) -> str:
    return " ".join(map(_signed_tag, delta.changes))


def _signed_tag(change: Change) -> str:
    return f"{'+' if change.action is Action.ADD else '-'}{change.tag}"


def repeat_lines(plan: LocationPlan, most: int | None) -> Block:
    items = [Cell(_repeat_sentence(repeat)) for repeat in plan.reasserted]
    return lines("Sent again, since that saves requests", items, most=most)


def _repeat_sentence(repeat: Reasserted) -> str:
    who = f"{counted(len(repeat.contacts), 'contact')}: {sample(repeat.contacts)}"
    return f"{repeat.action} {', '.join(repeat.tags)} again on {who}"


_FURTHER_BOUND = "; that more are needed follows from what a request holds, or from a search through all plans"


def certificate_table(proof: Proof, most: int | None) -> Block:
    """Pairs that a reader can check: any two in one request would send a pair that no manifest asks for."""
    pairs = len(proof.certificate)
    bound = "fewer are not possible" if proof.proven else f"no plan needs fewer than {proof.lower_bound:,}"
    # as many pairs as the bound prove it by themselves
    further = "" if pairs >= proof.lower_bound else _FURTHER_BOUND
    shown = "This pair needs a request" if pairs == 1 else f"No two of these {pairs:,} pairs can share a request"
    title = (
        f"Batches that {proof.action}: {counted(proof.requests, 'request')}, {bound} (found by: {proof.stage}). "
        f"{shown}{further}:"
    )
    rows = [(contact_cell(contact), Cell(tag)) for contact, tag in proof.certificate]
    return table(title, "contact tag", rows, most=most)


_BLIND = (DeferralReason.NEEDS_REFRESH, DeferralReason.EXCLUSIVE, DeferralReason.INCOMPLETE)


def deferral_lines(plan: LocationPlan, most: int | None) -> Block:
    items = []
    for deferral in plan.deferrals:
        # an answer may call for every one of the tags on every one of the contacts
        ceiling = len(deferral.tags) * len(deferral.contacts)
        tags = f": at most {counted(ceiling, 'removal')} of {', '.join(deferral.tags)}" if deferral.tags else ""
        # only a refresh can decide these; the others wait for an answer, or for another pair
        style = Style.WARN if deferral.reason in _BLIND else Style.PLAIN
        # an exclusive tag that was not searched has no contacts to count, only its name
        who = f"{counted(len(deferral.contacts), 'contact')}{tags}" if deferral.contacts else ", ".join(deferral.tags)
        items.append(Cell(f"{who} ({deferral.reason})", style))
    return lines("Deferred: not decidable before an observation", items, most=most)


def held_for(plan: LocationPlan, why: str) -> tuple[HeldContacts, ...]:
    return tuple(held for held in plan.held if held.why == why)


def left_out(plan: LocationPlan) -> tuple[HeldContacts, ...]:
    # a proposal or a revert lists here, with reasons of its own, the pairs that it does not send
    return tuple(held for held in plan.held if held.why not in (IN_DOUBT, FLAPPING, UNCONFIRMED))


def still_refused(plan: LocationPlan) -> tuple[HeldContacts, ...]:
    """Those in quarantine that were not read as gone for this plan."""
    # such a contact is listed once, as gone, with the reason that was read just now
    return tuple(refused for refused in plan.quarantined if refused.why not in {away.why for away in plan.gone})


def held_table(title: str, groups: tuple[HeldContacts, ...], most: int | None) -> Block:
    rows = [
        (number(len(held.contacts)), Cell(held.why), Cell(", ".join(held.tags)), sample_cell(held.contacts))
        for held in groups
    ]
    return table(title, "#contacts why tags which", rows, most=most)


def guard_lines(plan: LocationPlan, most: int | None) -> Block:
    refusals = [Cell(text, Style.BAD) for text in explain_refusals((plan,))]
    # several guards may be lifted by one flag
    lifts = [Cell(f"lift it with: {lift}") for lift in dict.fromkeys(measured.lift for measured in plan.refused)]
    causes = [Cell(text) for text in (*guess_renames(plan), *explain_ended(plan))]
    allowed = [Cell(explain_lifted(measured), Style.WARN) for measured in plan.guards if measured.allowed]
    warnings = [Cell(f"warning: {text}", Style.WARN) for text in explain_warnings(plan)]
    # refusals first, then the guess that explains many of them, then the flags that lift them
    sentences = [*refusals, *causes, *lifts, *allowed, *warnings]
    return lines("Guards", sentences, most=most, key=True)


def location_rows(plan: LocationPlan) -> Iterator[Row]:
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
