"""Tags that contacts carry, that nobody declares for them, and that no plan removes. Worked out once per pattern."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from reconciler.core.manifests.resolve import NOTHING, Desired, Want
from reconciler.core.model.contact_state import ContactState, ContactStates
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.planning.changes import Selection
from reconciler.core.planning.diff import owned_in, selected
from reconciler.core.planning.exclusive_tags import Searched

NONE: TagSet = frozenset()


def left_alone(
    desired: Desired, observed: ContactStates, selection: Selection, searched: Searched
) -> Iterator[tuple[Tag, bool, Sequence[ContactId]]]:
    """Tag, whether it is owned, and contacts that carry it so."""
    owned = owned_in(desired, observed, selection)
    alike: defaultdict[tuple[int, int], list[ContactId]] = defaultdict(list)
    for contact in selected(desired, selection) if selection.sets else observed.contacts:
        alike[desired.contacts.get(contact, -1), observed.contacts.get(contact, 0)].append(contact)
    for (wanted, index), contacts in alike.items():
        want, known = desired.wants[wanted] if wanted >= 0 else NOTHING, observed.patterns[index]
        for tag in filter(selection.takes, _left(want, known, searched)):
            if want.authority is Authority.ADDITIVE or (tag not in owned and want.authority is Authority.OWNED):
                yield tag, tag in owned, contacts


def _left(want: Want, known: ContactState, searched: Searched) -> TagSet:
    others = (known.observed or NONE) - want.present.keys() - want.absent.keys() - known.ledger - known.doubt
    return others - searched.held_by(known.observed) if searched.shows(known) else others
