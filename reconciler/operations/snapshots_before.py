"""The snapshots that keep contacts in a set, though the set has another name by now, or the index another key.

Rules
1. A set is known by its source: the bytes of the file and the match, the query, or the filter with all that it asks
   for. One with a snapshot of another source, or with none, was renamed where a set that has gone, or has another
   source by now, has the snapshot of its source: no contact leaves or joins by that.
2. A source that is not known, since the file cannot be read, is no other one, and the same as none.
3. Values that contacts had before the index began anew are not known: any row that tells no contact may be theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from operator import attrgetter

from reconciler.core.manifests.match import find_unproven
from reconciler.core.model.manifest import ContactSet
from reconciler.core.model.names import Instant, SetName
from reconciler.core.model.people import Fingerprint, PeopleLot, Snapshot
from reconciler.loading.snapshot_files import KeptSnapshots
from reconciler.operations.people_index import PeopleKey, ReadPeople
from reconciler.operations.pulled_sets import make_filtered, match_of
from reconciler.output.blocks import counted


def add_renamed(
    kept: KeptSnapshots, sets: Iterable[ContactSet], matched: Iterable[ContactSet], key: PeopleKey
) -> KeptSnapshots:
    """With the snapshots of those of `sets` that were renamed; `matched`: all matched sets of the location."""
    by_name = {entry.name: entry for entry in matched}
    free = [
        snapshot
        for name, snapshot in kept.found.items()
        if name not in by_name or not _may_be_of(by_name[name], snapshot, key)
    ]
    taken = dict[SetName, Snapshot]()
    for entry in sets:
        own = kept.found.get(entry.name)
        if entry.name in kept.damaged or (own is not None and _may_be_of(entry, own, key)):
            continue
        if match_of(entry).source_digest and (same := [item for item in free if _may_be_of(entry, item, key)]):
            taken[entry.name] = max(same, key=attrgetter("as_of"))
    return replace(kept, found=taken | dict(kept.found), taken=taken)


def _may_be_of(contact_set: ContactSet, snapshot: Snapshot, key: PeopleKey) -> bool:
    """Whether the snapshot is of the source of the set, as far as that is known."""
    match = match_of(contact_set)
    if match.filter is None:
        return snapshot.source_digest.startswith(match.source_digest)
    # the digest of a filter alone leaves out the address that it asks for
    return make_filtered(contact_set).make_digest(key.of_environment, snapshot) == snapshot.source_digest


_MOST_ASSUMED = 1_000_000
"""Former values that are assumed for a set at most; of more rows that are not found the first are taken."""


def choose_assumed(values: Iterable[Fingerprint], contacts: int) -> frozenset[Fingerprint]:
    """Those of the values that are assumed for so many contacts: at least one, which keeps all of them in the set."""
    return frozenset(sorted(values)[: max(1, _MOST_ASSUMED // contacts)])


async def assume_former(
    read: ReadPeople, kept: KeptSnapshots, as_of: Instant, keep: Callable[[PeopleLot], Awaitable[None]]
) -> tuple[str, ...]:
    """Keeps contacts in their sets: an index that began anew does not tell their values of before.

    Returns a sentence on each set with such contacts: some of them may be of rows that were taken out of the file.
    """
    remarks = list[str]()
    for name, rows in read.rows.items():
        before = kept.find_previous(SetName(name))
        if before is None or not read.book.status.may_lack_past(before, as_of):
            continue
        contacts, values = find_unproven(rows, read.book.index, before)
        if not (contacts := contacts - set(read.update.gone)):
            continue
        for lot in read.book.make_former(sorted(contacts), choose_assumed(values, len(contacts))):
            read.book.apply_lot(lot)
            await keep(lot)
        remarks.append(
            f"Set {name} keeps {counted(len(contacts), 'contact')} that no row has: a row that is not found may be "
            "theirs, and what values they had before is not known."
        )
    return tuple(remarks)
