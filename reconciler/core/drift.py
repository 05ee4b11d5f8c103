"""What others did: how the observed tags of a location differ from what the last apply left.

Rules
1. Drift is what a plan would mend, told by who moved: `pending`: the manifests did; `missing` and `unexpected`:
   others did.
2. A pair in the ledger that is observed gone is `missing`. A tag to remove that is not in the ledger, and was not
   there when it was last observed before, is `unexpected`.
3. What was never observed is `unobserved`, never "no drift".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.core.change import EVERYTHING, Change, Selection
from reconciler.core.desired import Desired, Reason
from reconciler.core.diff import diff, selected
from reconciler.core.facts import Alias
from reconciler.core.names import ContactId, Instant, LocationId, Tag
from reconciler.core.observed import Known, Observed
from reconciler.core.outcome import Action


class DriftClass(StrEnum):
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    PENDING = "pending"
    UNREACHABLE = "unreachable"
    UNOBSERVED = "unobserved"


@dataclass(frozen=True, slots=True)
class Drifted:
    """Contacts that drifted alike. `tag` is empty where the whole contact is meant."""

    drift: DriftClass
    tag: Tag
    reason: str
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The drift of one location. `observed_at`: oldest and newest observation of a declared contact."""

    location: LocationId
    serial: int
    drifted: tuple[Drifted, ...]
    observed: int
    oldest: Instant | None
    newest: Instant | None
    refreshed: bool

    def count(self, drift: DriftClass) -> int:
        """Pairs, or contacts where the class is of whole contacts."""
        return sum(len(each.contacts) for each in self.drifted if each.drift is drift)


def find_drift(
    desired: Desired,
    observed: Observed,
    *,
    serial: int,
    earlier: Mapping[ContactId, Known] | None = None,
    selection: Selection = EVERYTHING,
    aliases: Iterable[Alias] = (),
) -> DriftReport:
    """`earlier`: what was known, before a refresh, of the contacts that it read; None without a refresh.

    `aliases`: what the location spells otherwise.
    """
    found = diff(desired, observed, selection=selection, aliases=aliases)
    groups: defaultdict[tuple[DriftClass, Tag, str], list[ContactId]] = defaultdict(list)
    for delta in found.deltas:
        for change in delta.changes:
            for drift, contacts in _classified(change, delta.contacts, observed, earlier or {}):
                groups[drift, change.tag, change.reason].extend(contacts)
    for listed in found.quarantined:
        groups[DriftClass.UNREACHABLE, Tag(""), listed.why].extend(listed.contacts)
    chosen = selected(desired, selection)
    known = {observed.contacts.get(contact, 0) for contact in chosen}
    ages = [at for at in (observed.patterns[index].observed_at for index in known) if at is not None]
    unseen = {index for index in known if observed.patterns[index].observed is None}
    unobserved = [contact for contact in chosen if observed.contacts.get(contact, 0) in unseen]
    if strangers := [contact for contact in unobserved if observed[contact].quarantine is None]:
        groups[DriftClass.UNOBSERVED, Tag(""), ""] = strangers
    return DriftReport(
        location=desired.location,
        serial=serial,
        drifted=tuple(
            Drifted(drift, tag, reason, tuple(sorted(contacts)))
            for (drift, tag, reason), contacts in sorted(groups.items(), key=lambda item: (_RANK[item[0][0]], item[0]))
            if contacts
        ),
        observed=len(chosen) - len(unobserved),
        oldest=min(ages, default=None),
        newest=max(ages, default=None),
        refreshed=earlier is not None,
    )


_RANK = {drift: rank for rank, drift in enumerate(DriftClass)}


def _classified(
    change: Change, contacts: Sequence[ContactId], observed: Observed, earlier: Mapping[ContactId, Known]
) -> Iterator[tuple[DriftClass, Sequence[ContactId]]]:
    """The contacts that need a change, by who moved."""
    if change.action is Action.ADD:
        yield DriftClass.MISSING if change.reason is Reason.RESTORED else DriftClass.PENDING, contacts
        return
    others = {each for each in earlier.keys() & contacts if _came_since(change.tag, earlier[each], observed[each])}
    yield DriftClass.UNEXPECTED, [each for each in contacts if each in others]
    yield DriftClass.PENDING, [each for each in contacts if each not in others]


def _came_since(tag: Tag, before: Known, now: Known) -> bool:
    return before.observed is not None and tag not in before.observed and tag not in now.ledger
