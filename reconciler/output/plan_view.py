"""The preview of a plan: changes, costs, and the pairs that it leaves alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.core.model.names import ContactId, Source, Tag
from reconciler.core.model.outcome import Action, Reason
from reconciler.core.planning.batches import Proof, Reasserted
from reconciler.core.planning.changes import (
    FLAPPING,
    IN_DOUBT,
    UNCONFIRMED,
    Change,
    DeferralReason,
    Delta,
    HeldContacts,
)
from reconciler.core.planning.guard_sentences import explain_lifted, explain_refusals, explain_warnings, guess_renames
from reconciler.core.planning.plan import LocationPlan, Plan
from reconciler.core.running.shortfalls import plan_remedies
from reconciler.output.blocks import (
    ROWS,
    Block,
    Cell,
    Column,
    Section,
    Style,
    Total,
    View,
    contact_cell,
    counted,
    lines,
    moment,
    number,
    places,
    sample,
    sample_cell,
    table,
    totals,
)
from reconciler.output.plan_sentences import plan_headline


def plan_view(
    plan: Plan,
    *,
    notes: Iterable[str] = (),
    most: int | None = ROWS,
    explain: bool = False,
) -> View:
    """`notes`: sentences such as a set that becomes active. `explain`: show why no plan needs fewer requests."""
    closing = [Cell(note, Style.WARN) for note in notes]
    # said last, where a terminal ends: above it a long plan scrolls away
    if plan.refused:
        closing.append(Cell("Refused by guards: apply would send nothing.", Style.BAD))
    if plan.valid_until is not None:
        closing.append(
            Cell(f"Valid until {moment(plan.valid_until)}, when a set becomes active or expires.", Style.FAINT)
        )
    closing.append(Cell(f"Change digest {plan.change_digest}", Style.FAINT))
    sections = tuple(_location_section(location, most, explain) for location in plan.locations)
    return View("Plan", sections, tuple(closing))


def _location_section(plan: LocationPlan, most: int | None, explain: bool) -> Section:
    # a plan is of one state: a reviewer sees which, and that a first plan knows of no contact
    since = f"state serial {plan.serial}" if plan.lineage else "no state yet: nothing is known of any contact"
    blocks = [
        _guard_lines(plan, most),
        _tag_table(plan, most),
        _removal_table(plan, most),
        _delta_table(plan, most),
        _repeat_lines(plan, most),
        *(_certificate_table(proof, most) for proof in plan.proofs if explain),
        _deferral_lines(plan, most),
        _held_table("Held: in doubt, not planned until an observation settles them", _held_for(plan, IN_DOUBT), most),
        _held_table("Held: put back lately and gone again, not planned for a week", _held_for(plan, FLAPPING), most),
        _held_table(
            "Held: to be added once, and maybe it was; --retry-held adds it", _held_for(plan, UNCONFIRMED), most
        ),
        _held_table("Left out", _left_out(plan), most),
        _held_table("Quarantined: rejected for good, not planned", _still_refused(plan), most),
        _held_table("Not there, as was read for this plan: nothing is sent to them", plan.gone, most),
        _held_table("Kept on purpose: nobody declares it, or a set wants it gone", plan.spared, most),
        _aside_lines(plan),
        _held_table("Given before, not given again; --again TAG gives it", plan.given, most),
    ]
    shown = tuple(block for block in blocks if block is not None)
    headline = plan_headline(plan, left_out=bool(_left_out(plan)))
    return Section(f"Location {plan.location}, {since}", headline, shown, _plan_totals(plan), plan.location)


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


def _aside_lines(plan: LocationPlan) -> Block | None:
    """Rows of a search that were set aside; the commands that settle the pairs left aside."""
    older = [Cell(f"{plan.searched.older_rows}.", Style.WARN)] if plan.searched.older_rows else []
    asides = [*older, *(Cell(text, Style.FAINT) for text in plan_remedies(plan))]
    return lines("", asides) if asides else None


@dataclass(slots=True)
class _TagRow:
    adds: int = 0
    removes: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    sources: set[Source] = field(default_factory=set)


def _tag_table(plan: LocationPlan, most: int | None) -> Block | None:
    rows_by_tag: defaultdict[Tag, _TagRow] = defaultdict(_TagRow)
    for delta in plan.deltas:
        for change in delta.changes:
            row = rows_by_tag[change.tag]
            # a delta is shared: each of its changes is a pair on every one of its contacts
            row.adds += len(delta.contacts) if change.action is Action.ADD else 0
            row.removes += len(delta.contacts) if change.action is Action.REMOVE else 0
            row.reasons[change.reason] += len(delta.contacts)
            row.sources.update(change.sources)
    # a table without rows would be taken for "no tag is concerned" where only the ledger changes
    if not rows_by_tag:
        return None
    # tags that start automations first: their changes are mailed
    ordered = sorted(
        rows_by_tag.items(), key=lambda item: (item[0] not in plan.triggers, -item[1].removes, -item[1].adds, item[0])
    )
    columns = (
        Column("tag"),
        Column("add", right=True),
        Column("remove", right=True),
        Column("why"),
        Column("asked for at"),
    )
    return table(
        "Tags", columns, [_tag_row(tag, row, tag in plan.triggers) for tag, row in ordered], most=most, key=True
    )


def _tag_row(tag: Tag, row: _TagRow, triggers: bool) -> tuple[Cell, ...]:
    why = ", ".join(f"{reason} {count:,}" for reason, count in row.reasons.most_common())
    return (
        Cell(f"{tag} (triggers automations)" if triggers else tag, Style.WARN if triggers else Style.PLAIN),
        number(row.adds, Style.ADD),
        number(row.removes, Style.REMOVE),
        Cell(why),
        Cell(places(sorted(row.sources)), Style.FAINT),
    )


def _removal_table(plan: LocationPlan, most: int | None) -> Block | None:
    contacts_by_change: defaultdict[tuple[Tag, Reason], list[ContactId]] = defaultdict(list)
    for delta in plan.deltas:
        for change in delta.changes:
            if change.action is Action.REMOVE:
                contacts_by_change[change.tag, change.reason] += delta.contacts
    if not contacts_by_change:
        return None
    # the largest removal first: a mistake in a manifest shows by its size
    ordered = sorted(contacts_by_change.items(), key=lambda item: (-len(item[1]), item[0]))
    columns = (Column("contacts", right=True), Column("tag"), Column("why"), Column("which"))
    rows = [
        (
            number(len(contacts), Style.REMOVE),
            Cell(tag, Style.REMOVE),
            Cell(reason),
            sample_cell(sorted(contacts)),
        )
        for (tag, reason), contacts in ordered
    ]
    return table("Removals", columns, rows, most=most, key=True)


def _delta_table(plan: LocationPlan, most: int | None) -> Block | None:
    if not plan.deltas:
        return None
    # removals stand apart above: here a reader checks that the groups are those that were meant
    columns = (Column("contacts", right=True), Column("change"), Column("which"))
    rows = [_delta_row(delta) for delta in plan.deltas]
    return table("Changes, by contacts that need the same", columns, rows, most=most)


def _delta_row(delta: Delta) -> tuple[Cell, ...]:
    # one removal makes the group red: the worst of its changes decides
    removing = any(change.action is Action.REMOVE for change in delta.changes)
    return (
        number(len(delta.contacts)),
        Cell(" ".join(_signed_tag(change) for change in delta.changes), Style.REMOVE if removing else Style.ADD),
        sample_cell(delta.contacts),
    )


def _signed_tag(change: Change) -> str:
    return f"{'+' if change.action is Action.ADD else '-'}{change.tag}"


def _repeat_lines(plan: LocationPlan, most: int | None) -> Block | None:
    items = [Cell(_repeat_sentence(repeat)) for repeat in plan.reasserted]
    return lines("Sent again, since that saves requests", items, most=most) if items else None


def _repeat_sentence(repeat: Reasserted) -> str:
    who = f"{counted(len(repeat.contacts), 'contact')}: {sample(repeat.contacts)}"
    return f"{repeat.action} {', '.join(repeat.tags)} again on {who}"


def _certificate_table(proof: Proof, most: int | None) -> Block:
    """Pairs that a reader can check: any two in one request would send a pair that no manifest asks for."""
    # a certificate of as many pairs as requests proves that fewer are not possible
    bound = "fewer are not possible" if proof.proven else f"no plan needs fewer than {proof.lower_bound:,}"
    title = (
        f"Batches that {proof.action}: {counted(proof.requests, 'request')}, {bound} (found by: {proof.stage}). "
        f"No two of these {counted(len(proof.certificate), 'pair')} can share a request:"
    )
    rows = [(contact_cell(contact), Cell(tag)) for contact, tag in proof.certificate]
    return table(title, (Column("contact"), Column("tag")), rows, most=most)


_BLIND = (DeferralReason.NEEDS_REFRESH, DeferralReason.EXCLUSIVE, DeferralReason.INCOMPLETE)


def _deferral_lines(plan: LocationPlan, most: int | None) -> Block | None:
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
    return lines("Deferred: not decidable before an observation", items, most=most) if items else None


def _held_for(plan: LocationPlan, why: str) -> tuple[HeldContacts, ...]:
    return tuple(held for held in plan.held if held.why == why)


def _left_out(plan: LocationPlan) -> tuple[HeldContacts, ...]:
    # a proposal or a revert lists here, with reasons of its own, the pairs that it does not send
    return tuple(held for held in plan.held if held.why not in (IN_DOUBT, FLAPPING, UNCONFIRMED))


def _still_refused(plan: LocationPlan) -> tuple[HeldContacts, ...]:
    """Those in quarantine that were not read as gone for this plan."""
    # such a contact is listed once, as gone, with the reason that was read just now
    return tuple(refused for refused in plan.quarantined if refused.why not in {away.why for away in plan.gone})


def _held_table(title: str, groups: tuple[HeldContacts, ...], most: int | None) -> Block | None:
    if not groups:
        return None
    columns = (Column("contacts", right=True), Column("why"), Column("tags"), Column("which"))
    rows = [
        (
            number(len(held.contacts)),
            Cell(held.why),
            Cell(", ".join(held.tags)),
            sample_cell(held.contacts),
        )
        for held in groups
    ]
    return table(title, columns, rows, most=most)


def _guard_lines(plan: LocationPlan, most: int | None) -> Block | None:
    refusals = [Cell(text, Style.BAD) for text in explain_refusals((plan,))]
    # several guards may be lifted by one flag
    lifts = [Cell(f"lift it with: {lift}") for lift in dict.fromkeys(measured.lift for measured in plan.refused)]
    renames = [Cell(text) for text in guess_renames(plan)]
    allowed = [Cell(explain_lifted(measured), Style.WARN) for measured in plan.guards if measured.allowed]
    warnings = [Cell(f"warning: {text}", Style.WARN) for text in explain_warnings(plan)]
    # refusals first, then the guess that explains many of them, then the flags that lift them
    sentences = [*refusals, *renames, *lifts, *allowed, *warnings]
    return lines("Guards", sentences, most=most, key=True) if sentences else None
