"""What turned out to be needed and was not approved: listed, never sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from reconciler.core.model.names import ContactId, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import Change, Delta, sorted_deltas


def beyond(needed: Iterable[Delta], approved: Iterable[Delta]) -> tuple[Delta, ...]:
    """The changes of `needed` that are not among the approved ones."""
    sent = {contact: delta.changes for delta in approved for contact in delta.contacts}
    rest: defaultdict[tuple[Change, ...], list[ContactId]] = defaultdict(list)
    for delta in needed:
        for contact in delta.contacts:
            passed: tuple[Change, ...] = sent.get(contact, ())
            if left := tuple(change for change in delta.changes if change not in passed):
                rest[left].append(contact)
    return sorted_deltas(rest)


def by_tag(deltas: Iterable[Delta]) -> dict[tuple[Action, Tag], list[ContactId]]:
    """The contacts of each change, sorted."""
    found: defaultdict[tuple[Action, Tag], list[ContactId]] = defaultdict(list)
    for delta in deltas:
        for change in delta.changes:
            found[change.action, change.tag].extend(delta.contacts)
    return {key: sorted(contacts) for key, contacts in sorted(found.items())}
