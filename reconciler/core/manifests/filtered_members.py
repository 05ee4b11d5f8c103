"""The members of a set by filter, after a search: `find_members(hits, before) -> FilteredMembers`. Pure.

Rules
1. The index of the search lags and flickers: a contact that a search does not show may meet the filter all the same.
2. So a contact leaves only where two complete searches did not show it, of which the later one began longer after the
   earlier one had ended than the index lags at most, and none between them did show it.
3. A search that is not complete shows the contacts that join, and nothing follows from it for the others.
4. A search for another filter than before says nothing of how long a contact was not shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.people import MatchCounts, Snapshot


@dataclass(frozen=True, slots=True)
class Hits:
    """The contacts that a search showed for a filter."""

    contacts: frozenset[ContactId]
    began: Instant
    """When its first page was asked for."""
    ended: Instant
    """When its last page had come."""
    why_incomplete: str = ""
    """Empty where it is proven that all of them were shown."""


@dataclass(frozen=True, slots=True)
class FilteredMembers:
    contacts: tuple[ContactId, ...]
    """Sorted."""
    counts: MatchCounts
    """Each contact counts as a row; kept are those that the search did not show."""
    missing: dict[ContactId, Instant] = field(default_factory=dict)
    """The contacts that a complete search did not show, and when the first such one had ended; sorted."""


def find_members(hits: Hits, before: Snapshot | None, digest: str, *, lag_ms: int) -> FilteredMembers:
    """The contacts of the set from now on.

    `before`: the set's snapshot; `digest`: that of the filter; `lag_ms`: how far the index may be behind, at the most.
    """
    kept = dict(_list_kept(hits, before, digest, lag_ms)) if before is not None else {}
    contacts = tuple(sorted(hits.contacts | kept.keys()))
    counts = MatchCounts(rows=len(contacts), matched=len(contacts), kept=len(kept))
    return FilteredMembers(contacts, counts, {contact: at for contact, at in kept.items() if at is not None})


def _list_kept(hits: Hits, before: Snapshot, digest: str, lag_ms: int) -> Iterator[tuple[ContactId, Instant | None]]:
    """The contacts of before that were not shown and stay, with the time since when they are missing."""
    missing = before.missing if before.source_digest == digest else {}
    for contact in before.contacts:
        if contact in hits.contacts:
            continue
        since = missing.get(contact)
        if hits.why_incomplete:
            # it stays, and since when it is missing as well
            yield contact, since
        # the end of the search: the index may have been older than its first page
        elif since is None:
            yield contact, hits.ended
        # the first one counts, not the last: a pull every minute would keep a contact for ever
        elif hits.began - since <= lag_ms:
            yield contact, since
