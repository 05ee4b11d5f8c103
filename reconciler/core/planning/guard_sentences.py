"""A guard's words to a person: a sentence for each refusal and warning, and a guess at the intention. Pure.

Rules
1. `approve(plan)` is the only maker of an `ApprovedPlan`, which is all that apply accepts: safety as a type.
2. A sentence names the guard, the location, the effect on how many of how many, and the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import InitVar, dataclass
from functools import partial
from itertools import filterfalse

from reconciler.core.model.batch import Reason
from reconciler.core.model.errors import GuardRefused
from reconciler.core.model.names import ContactId, LocationId, Source, Tag, looks_like_contact_id
from reconciler.core.model.outcome import Action
from reconciler.core.model.safe_text import tells_person
from reconciler.core.model.settings import Guard
from reconciler.core.planning.guards import BY_NAME, CREATE_STATE, Measured
from reconciler.core.planning.plan import LocationPlan, Plan

WORST = 3
"""So many tags are named where a guard refuses a location as a whole, and so many ids that are odd."""
SHOWN = 80
"""So much of an odd id is shown: a wrong column may hold a text of any length."""


def explain_refusals(locations: Iterable[LocationPlan]) -> tuple[str, ...]:
    """A sentence a refusal."""
    return tuple(
        f"guard {measured.guard} refuses location {plan.location}: {_sentence_of(measured)}{_details(plan, measured)}"
        for plan in locations
        for measured in plan.refused
    )


def explain_pull_refusals(location: LocationId, guards: Iterable[Measured]) -> tuple[str, ...]:
    """A sentence a refusal of a set that was pulled in this location."""
    return tuple(
        f"guard {measured.guard} refuses a pull of location {location}: {explain_pulled(measured)}"
        for measured in guards
        if measured.refused
    )


def explain_pulled(measured: Measured) -> str:
    """The sentence of a guard that was held against a pull."""
    return _grow_by_pull(measured) if measured.guard is Guard.GROW_PCT else _sentence_of(measured)


def explain_warnings(plan: LocationPlan) -> tuple[str, ...]:
    """A sentence for each tag that the plan empties because a manifest asks for that by name."""
    return tuple(
        f"nobody will carry {measured.scope!r} any more: {measured.numerator:,} of {measured.denominator:,} lose it, "
        "as `absent` or `renamed_from` asks"
        for measured in plan.guards
        if measured.warned
    )


def explain_lifted(measured: Measured, *, of_pull: bool = False) -> str:
    """The sentence of a guard that a person lifted, with the reason."""
    sentence = explain_pulled(measured) if of_pull else _sentence_of(measured)
    return f"guard {measured.guard} is lifted ({measured.allowed}): {sentence}"


def explain_ended(plan: LocationPlan) -> tuple[str, ...]:
    """For each tag whose refused removal follows from the end of a set: the place, and the entries that lift it."""
    ended: dict[Tag, set[Source]] = {}
    for delta in plan.deltas if plan.refused else ():
        for change in delta.changes:
            if change.reason is Reason.EXPIRED:
                ended.setdefault(change.tag, set()).update(change.sources)
    entries = {
        tag: [_write_allow_entry(measured, plan.location) for measured in plan.refused if _is_by_removal(measured, tag)]
        for tag in sorted(ended)
    }
    return tuple(
        f"a set that declared {tag!r} has ended by its `until` ({', '.join(map(str, sorted(ended[tag])))}), and what "
        "is removed for that counts as any other removal; if it is meant, put up for review: allow: "
        f"[{', '.join(lift)}]"
        for tag, lift in entries.items()
        if lift
    )


def _is_by_removal(measured: Measured, tag: Tag) -> bool:
    """Whether removals of the tag are among what the guard refuses."""
    return measured.scope in ("", tag) and measured.guard in (Guard.EMPTIES_TAG, Guard.MIN_HOLDERS, *_REMOVES)


def _write_allow_entry(measured: Measured, location: LocationId) -> str:
    scope = f", tag: {measured.scope}" if measured.scope else ""
    return f"{{guard: {measured.guard}{scope}, location: {location}, reason: …, until: …}}"


def guess_renames(plan: LocationPlan) -> tuple[str, ...]:
    """Tags and sets that may have another name only: each refused tag, where its holders and no other contacts get one
    other tag that is new; each refused set that is gone, where another set gains as many contacts."""
    return *_renamed_tags(plan), *_renamed_sets(plan)


def _renamed_tags(plan: LocationPlan) -> tuple[str, ...]:
    refused = {measured.scope for measured in plan.refused if measured.guard in (Guard.EMPTIES_TAG, *_REMOVES)}
    if not refused or not plan.new_names:
        return ()
    changed = {action: _contacts_by_tag(plan, action) for action in Action}
    return tuple(
        f"if {new!r} is the new name of {old!r}, say so in the manifest: tags: {{{new}: {{renamed_from: {old}}}}}"
        for old, losers in sorted(changed[Action.REMOVE].items())
        if old in refused
        for new in [tag for tag in plan.new_names if changed[Action.ADD].get(tag) == losers][:1]
    )


def _renamed_sets(plan: LocationPlan) -> Iterator[str]:
    # state has the size of each set, and not its contacts: whether they are the same is for a person to say
    gone = [guard for guard in plan.refused if guard.guard is Guard.SHRINK_PCT and guard.numerator == guard.denominator]
    grown = [guard for guard in plan.guards if guard.guard is Guard.GROW_PCT]
    for old in sorted(gone, key=lambda guard: guard.scope):
        for new in [guard for guard in grown if guard.numerator == old.numerator][:1]:
            yield (
                f"contact set {new.scope!r} gains as many contacts as {old.scope!r} had: if they are the same contacts "
                "under another name, nobody left, and it may be lifted"
            )


_REMOVES = (Guard.MAX_REMOVES, Guard.MAX_REMOVES_PCT)


def _contacts_by_tag(plan: LocationPlan, action: Action) -> dict[Tag, set[ContactId]]:
    contacts: dict[Tag, set[ContactId]] = {}
    for delta in plan.deltas:
        for tag in delta.tags(action):
            contacts.setdefault(tag, set()).update(delta.contacts)
    return contacts


def _sentence_of(measured: Measured) -> str:
    return _SENTENCES[measured.guard](measured)


def _contacts(number: int) -> str:
    return f"{number:,} contact" if number == 1 else f"{number:,} contacts"


def _tags(number: int) -> str:
    return f"{number:,} tag" if number == 1 else f"{number:,} tags"


def _at_most(measured: Measured) -> str:
    return f"(limit: {measured.limit:,g})"


def _in_percent(measured: Measured) -> str:
    return f"{measured.measure:,g} % (limit: {measured.limit:,g} %)"


def _max_pairs(measured: Measured, verb: str, preposition: str) -> str:
    tag, pairs = measured.scope, measured.numerator
    would = f"{verb} {tag!r} {preposition} {_contacts(pairs)}" if tag else f"{verb} {_tags(pairs)}"
    return f"it would {would} {_at_most(measured)}"


def _max_adds_pct(measured: Measured) -> str:
    part, total = measured.numerator, measured.denominator
    if not measured.scope:
        return f"it would add {_tags(part)}, where contacts carry {total:,} now: {_in_percent(measured)}"
    return (
        f"it would add {measured.scope!r} to {_contacts(part)}, where {total:,} carry it now: {_in_percent(measured)}"
    )


def _max_removes_pct(measured: Measured) -> str:
    part, total = measured.numerator, measured.denominator
    if not measured.scope:
        return f"it would remove {_tags(part)}, of {total:,} that contacts are known to carry: {_in_percent(measured)}"
    holders = f"of {total:,} known to carry it" if total else "of whom nobody is known to carry it"
    return f"it would remove {measured.scope!r} from {_contacts(part)}, {holders}: {_in_percent(measured)}"


def _max_restored_pct(measured: Measured) -> str:
    return (
        f"others took {measured.scope!r} off, and it would put it back on {measured.numerator:,} of "
        f"{_contacts(measured.denominator)} that have it from here: {_in_percent(measured)}"
    )


def _max_first_adds(measured: Measured) -> str:
    besides = f" besides {measured.denominator:,} that have it from here" if measured.denominator else ""
    return (
        f"no apply of the whole location is known, and it would add {measured.scope!r}, which starts automations or is "
        f"given once, to {_contacts(measured.numerator)}{besides} {_at_most(measured)}; if it was applied before, the "
        "state is lost or is another one"
    )


def _max_backup_adds(measured: Measured) -> str:
    return (
        f"the state is a backup that was put back, and it would add {measured.scope!r}, which starts automations or is "
        f"given once, to {_contacts(measured.numerator)} {_at_most(measured)}: a run that the backup does not know may "
        "have given it already"
    )


def _empties_tag(measured: Measured) -> str:
    lost, before = measured.numerator, measured.denominator
    return f"it would leave nobody with {measured.scope!r}: {lost:,} of {before:,} lose it (limit: at least 1)"


def _min_holders(measured: Measured) -> str:
    remaining, before = _contacts(measured.numerator), measured.denominator
    return f"it would leave {remaining} with {measured.scope!r}, of {before:,} (limit: at least {measured.limit:,g})"


def _odd_ids(measured: Measured) -> str:
    number = measured.numerator
    return (
        f"it would take {measured.scope!r} from {_contacts(measured.denominator)} and give it to {number:,} "
        f"{'id' if number == 1 else 'ids'} that HighLevel cannot have issued (an id has 20 letters and digits)"
    )


def _max_requests(measured: Measured) -> str:
    return f"it would take {measured.numerator:,} requests {_at_most(measured)}"


def _shrink_pct(measured: Measured) -> str:
    lost, before = measured.numerator, measured.denominator
    return f"contact set {measured.scope!r} loses {lost:,} of its {_contacts(before)}: {_in_percent(measured)}"


def _grow_pct(measured: Measured) -> str:
    return (
        f"contact set {measured.scope!r} gains {_contacts(measured.numerator)}, where the last apply had "
        f"{measured.denominator:,} (for a new set: in all sets): {_in_percent(measured)}"
    )


def _grow_by_pull(measured: Measured) -> str:
    joined, before = _contacts(measured.numerator), f"{measured.denominator:,}"
    return f"contact set {measured.scope!r} gains {joined}, where the last pull had {before}: {_in_percent(measured)}"


def _max_unmatched_pct(measured: Measured) -> str:
    rows = f"{measured.numerator:,} of {measured.denominator:,} rows"
    why = "not found, ambiguous or malformed"
    return f"contact set {measured.scope!r}: {rows} are not matched ({why}): {_in_percent(measured)}"


def _max_rematched_pct(measured: Measured) -> str:
    rows = f"{measured.numerator:,} of {measured.denominator:,} matched rows"
    return f"contact set {measured.scope!r}: {rows} are of another contact than before: {_in_percent(measured)}"


def _explain_protected(measured: Measured) -> str:
    return f"it would remove {measured.scope!r}, which is protected, from {_contacts(measured.numerator)}"


_SENTENCES: dict[Guard, Callable[[Measured], str]] = {
    Guard.MAX_ADDS: partial(_max_pairs, verb="add", preposition="to"),
    Guard.MAX_REMOVES: partial(_max_pairs, verb="remove", preposition="from"),
    Guard.MAX_ADDS_PCT: _max_adds_pct,
    Guard.MAX_REMOVES_PCT: _max_removes_pct,
    Guard.MAX_RESTORED_PCT: _max_restored_pct,
    Guard.MAX_FIRST_ADDS: _max_first_adds,
    Guard.MAX_BACKUP_ADDS: _max_backup_adds,
    Guard.EMPTIES_TAG: _empties_tag,
    Guard.MIN_HOLDERS: _min_holders,
    Guard.ODD_IDS: _odd_ids,
    Guard.MAX_REQUESTS: _max_requests,
    Guard.SHRINK_PCT: _shrink_pct,
    Guard.GROW_PCT: _grow_pct,
    Guard.PROTECTED: _explain_protected,
    Guard.MAX_UNMATCHED_PCT: _max_unmatched_pct,
    Guard.MAX_REMATCHED_PCT: _max_rematched_pct,
}


_ABOUT = {
    Guard.MAX_ADDS: Action.ADD,
    Guard.MAX_ADDS_PCT: Action.ADD,
    Guard.MAX_REMOVES: Action.REMOVE,
    Guard.MAX_REMOVES_PCT: Action.REMOVE,
}


def _details(plan: LocationPlan, measured: Measured) -> str:
    """The worst tags, or examples, where the plan shows them."""
    return _list_odd_ids(plan, measured) if measured.guard is Guard.ODD_IDS else _list_worst_tags(plan, measured)


def _list_worst_tags(plan: LocationPlan, measured: Measured) -> str:
    """The tags that a guard on the whole location is most about."""
    if measured.scope or measured.guard not in _ABOUT:
        return ""
    pairs: Counter[Tag] = Counter()
    for tag, contacts in _pairs_about(plan, measured.guard):
        pairs[tag] += contacts
    worst = sorted(sorted(pairs), key=pairs.__getitem__, reverse=True)[:WORST]
    return f"; most of {', '.join(f'{tag!r} ({pairs[tag]:,})' for tag in worst)}" if worst else ""


def _list_odd_ids(plan: LocationPlan, measured: Measured) -> str:
    """Some of the odd ids of the plan, and their usual origin."""
    # earlier rounds of the run may have sent them all: then none is left in the plan to name
    gaining = _contacts_by_tag(plan, Action.ADD).get(Tag(measured.scope), set())
    odd = sorted(filterfalse(tells_person, filterfalse(looks_like_contact_id, gaining)))[:WORST]
    such = f", such as {', '.join(repr(contact[:SHOWN]) for contact in odd)}" if odd else ""
    return f"{such}; is the column of the ids the right one?"


def _pairs_about(plan: LocationPlan, guard: Guard) -> Iterator[tuple[Tag, int]]:
    action, by_name_too = _ABOUT[guard], guard is not Guard.MAX_REMOVES_PCT
    for delta in plan.deltas:
        for change in delta.changes:
            if change.action is action and (by_name_too or change.reason not in BY_NAME):
                yield change.tag, len(delta.contacts)


_MADE_HERE = object()


@dataclass(frozen=True, slots=True)
class ApprovedPlan:
    """A plan that no guard refuses. Only `approve` makes one; apply accepts nothing else."""

    plan: Plan
    made_by: InitVar[object]

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _MADE_HERE:
            raise TypeError("an approved plan comes from approve(plan)")


def approve(plan: Plan) -> ApprovedPlan:
    """The plan, fit to be applied; raises GuardRefused with every refusal."""
    if plan.refused:
        raise GuardRefused(explain_refusals(plan.locations), hints=_ways_out(plan))
    return ApprovedPlan(plan, _MADE_HERE)


def _ways_out(plan: Plan) -> list[str]:
    guesses = (hint for location in plan.locations for hint in (*guess_renames(location), *explain_ended(location)))
    return [*guesses, explain_lifting(plan.refused)]


def explain_lifting(refused: Iterable[Measured]) -> str:
    """How a person lifts these refusals."""
    options = dict.fromkeys(measured.option for measured in refused)
    # a first run states its reason by its option
    reason = ' --reason "…"' if options.keys() - {CREATE_STATE} else ""
    return f"if this is meant: {' '.join(options)}{reason}, or an `allow` entry in reconciler.yaml"
