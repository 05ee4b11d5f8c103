"""The members of contact sets, and the combinations of sets that contacts belong to; by the numbers of the contacts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from reconciler.core.manifests import order_sets
from reconciler.core.model.contact_columns import ContactColumn, NumberedContacts
from reconciler.core.model.contact_numbers import ABSENT, ContactNumbers, Numbers
from reconciler.core.model.manifest import ContactSet, ListedContacts
from reconciler.core.model.names import ContactId, SetName

Combination: TypeAlias = tuple[int, ...]
"""Sets that contacts share, by their places."""


def members_of(sets: Iterable[ContactSet], numbered: ContactNumbers | None = None) -> dict[SetName, NumberedContacts]:
    """The members of every set, those of combined sets worked out; raises KeyError for an unknown set.

    `numbered`: the contacts of the location, which those of most sets are numbered among already.
    """
    by_name = {contact_set.name: contact_set for contact_set in sets}
    numbered = ContactNumbers() if numbered is None else numbered
    order, _ = order_sets({name: contact_set.references for name, contact_set in by_name.items()})
    members: dict[SetName, Numbers] = {}
    for name in order:
        contacts = by_name[name].contacts
        if isinstance(contacts, ListedContacts):
            members[name] = _number_ids(contacts.ids, numbered)
        else:
            members[name] = array("i", contacts.combine_members(members.__getitem__))
    return {name: NumberedContacts(numbered, numbers) for name, numbers in members.items()}


def _number_ids(ids: Sequence[ContactId], numbered: ContactNumbers) -> Numbers:
    if isinstance(ids, NumberedContacts) and ids.numbered is numbered:
        return ids.numbers
    return numbered.number_all(ids)


class _Steps(dict[int, int]):
    """By the combination that a contact had before a set was looked at, the one that it has with it."""

    def __init__(self, combinations: list[Combination], place: int) -> None:
        super().__init__()
        self._combinations, self._place = combinations, place

    def __missing__(self, before: int) -> int:
        self[before] = after = len(self._combinations)
        self._combinations.append((*(() if before == ABSENT else self._combinations[before]), self._place))
        return after


def combine_sets(numbered: ContactNumbers, members: Iterable[Numbers]) -> tuple[list[Combination], ContactColumn]:
    """The distinct combinations of sets, and the index of the one that each contact has."""
    # walks the sets once, each as a whole; a contact moves from combination to combination
    combinations: list[Combination] = []
    column = array("i", [ABSENT]) * len(numbered)
    for place, numbers in enumerate(members):
        numbered.advance(column, numbers, _Steps(combinations, place))
    return combinations, ContactColumn(numbered, column)
