"""The index of a location's people while it is brought up to date: readings are taken in, lot by lot. Pure.

Rules
1. A reading replaces all values that a contact had: those that it has no more become former ones.
2. Only a contact that is proven gone leaves the index: an index of the API that flickers hides people for a while.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.model.names import ContactId, Instant
from reconciler.core.model.people import Fingerprint, IndexStatus, PeopleIndex, PeopleLot

SCAN_MAX_AGE_MS = 7 * 24 * 3_600_000
"""After so long all contacts are read anew: a search for changes does not show who was deleted."""

Entries = dict[Fingerprint, tuple[ContactId, ...]]


class PeopleBook:
    """An index that takes in lots; `status` is that of the last one."""

    def __init__(self, index: PeopleIndex) -> None:
        self.status = index.status
        self._current: Entries = dict(index.current)
        self._former: Entries = dict(index.former)
        # a million contacts have as many entries: they are turned around only where a reading replaces some
        self._values_of: dict[ContactId, set[Fingerprint]] | None = None

    @property
    def index(self) -> PeopleIndex:
        """The index as it is by now; not to be used after the next lot."""
        return PeopleIndex(self.status, self._current, self._former)

    @property
    def contacts(self) -> frozenset[ContactId]:
        """The contacts that have a value by their last reading."""
        return frozenset(contact for contacts in self._current.values() for contact in contacts)

    def apply_lot(self, lot: PeopleLot) -> None:
        self.status = lot.status
        if lot.anew:
            self._current, self._former, self._values_of = {}, {}, {}
        if lot.gone:
            self._forget_contacts(lot.gone)
        for contact, values in lot.people.items():
            self._replace_values(contact, values)

    def _replace_values(self, contact: ContactId, values: Iterable[Fingerprint]) -> None:
        before, after = self._turned_around.get(contact, set()), set(values)
        for value in before - after:
            _take_out(self._current, value, contact)
            _put_in(self._former, value, contact)
        for value in after - before:
            _put_in(self._current, value, contact)
            _take_out(self._former, value, contact)
        self._turned_around[contact] = after

    def find_strangers(self, contacts: Iterable[ContactId]) -> set[ContactId]:
        """Those of `contacts` that the index has no value of, neither a present nor a former one."""
        strangers = set(contacts)
        for entries in (self._current, self._former) if strangers else ():
            for having in entries.values():
                strangers.difference_update(having)
        return strangers

    def _forget_contacts(self, gone: frozenset[ContactId]) -> None:
        for contact in gone:
            for value in self._turned_around.pop(contact, set()):
                _take_out(self._current, value, contact)
        # former values are walked once for all that are gone
        for value in [value for value, contacts in self._former.items() if not gone.isdisjoint(contacts)]:
            for contact in gone.intersection(self._former[value]):
                _take_out(self._former, value, contact)

    @property
    def _turned_around(self) -> dict[ContactId, set[Fingerprint]]:
        if self._values_of is None:
            self._values_of = {}
            for value, contacts in self._current.items():
                for contact in contacts:
                    self._values_of.setdefault(contact, set()).add(value)
        return self._values_of


def _put_in(entries: Entries, value: Fingerprint, contact: ContactId) -> None:
    before = entries.get(value)
    entries[value] = (contact,) if before is None else tuple(sorted({*before, contact}))


def _take_out(entries: Entries, value: Fingerprint, contact: ContactId) -> None:
    before = entries.get(value, ())
    if before == (contact,):
        del entries[value]
    elif contact in before:
        entries[value] = tuple(other for other in before if other != contact)


def needs_scan(status: IndexStatus, now: Instant) -> bool:
    """Whether all contacts have to be read: never yet, or too long ago."""
    return status.scanned_at is None or now - status.scanned_at > SCAN_MAX_AGE_MS


def is_of_use(status: IndexStatus, key_check: str, covers: Iterable[str]) -> bool:
    """Whether an index has the values that are asked for, under the key of now."""
    return status.key_check == key_check and set(covers) <= set(status.covers)
