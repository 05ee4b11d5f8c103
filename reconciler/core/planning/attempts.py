"""Which pairs of a plan were tried before, and when last: the generation of each attempt. Pure.

Law: two plans of the same changes have the same attempts where no request tried them in between, and others where one
did and may have had an effect.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.planning.changes import Delta, Tried


def tried_before(deltas: Iterable[Delta], observed: ContactStates) -> tuple[Tried, ...]:
    """The pairs that earlier requests tried, sorted."""
    known = [index for index, each in enumerate(observed.patterns) if each.doubt or each.restored or each.attempted_at]
    suspects = dict.fromkeys(known)
    if not suspects:
        return ()
    found: defaultdict[tuple[Action, Instant, tuple[Tag, ...]], list[ContactId]] = defaultdict(list)
    for delta in deltas:
        alike: defaultdict[int, list[ContactId]] = defaultdict(list)
        for contact in delta.contacts:
            if (index := observed.contacts.get(contact, 0)) in suspects:
                alike[index].append(contact)
        for index, contacts in alike.items():
            for key in _attempts(delta, observed.patterns[index]):
                found[key] += contacts
    return tuple(Tried(action, tags, at, tuple(sorted(who))) for (action, at, tags), who in sorted(found.items()))


def _attempts(delta: Delta, known: ContactState) -> Iterator[tuple[Action, Instant, tuple[Tag, ...]]]:
    times: defaultdict[tuple[Action, Instant], set[Tag]] = defaultdict(set)
    for change in delta.changes:
        if (at := known.last_tried(change.action, change.tag)) is not None:
            times[change.action, at].add(change.tag)
    return ((action, at, tuple(sorted(tags))) for (action, at), tags in times.items())
