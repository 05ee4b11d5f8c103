"""Checks of contact ids: those that cannot be any, and those that several manifests list."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from reconciler.core.manifests import CheckFinding, Manifests
from reconciler.core.model.contact_columns import NumberedContacts
from reconciler.core.model.contact_numbers import ContactNumbers
from reconciler.core.model.manifest import ListedContacts
from reconciler.core.model.names import ContactId, odd_contact_ids
from reconciler.core.model.safe_text import tells_person

LISTED = 5


def contact_ids(manifests: Manifests) -> Iterator[CheckFinding]:
    """Ids that HighLevel cannot have issued: the first few, and how many in all."""

    @cache
    def odd_ones(contacts: ContactNumbers) -> frozenset[ContactId]:
        # contacts that many lists number together are looked at once
        return frozenset(contacts.list_odd())

    for location in manifests.locations:
        for _, listed in location.listed():
            if isinstance(listed.ids, NumberedContacts):
                odd = listed.ids.list_among(odd_ones(listed.ids.numbered))
            else:
                odd = odd_contact_ids(listed.ids)
            for place, contact in enumerate(odd[:LISTED], 1):
                more = f" (and {len(odd) - LISTED:,} more in this list)" if place == LISTED < len(odd) else ""
                yield CheckFinding(
                    listed.place(listed.ids.index(contact)),
                    f"{name_id(contact)} cannot be a HighLevel contact id{more}",
                    "an id has 20 letters and digits; this one is sent, and would come back rejected",
                )


def name_id(contact: ContactId) -> str:
    """An id that cannot be one, as a message names it."""
    # its line tells which is meant
    return "this text" if tells_person(contact) else repr(contact[:80])


def shared_contacts(manifests: Manifests) -> Iterator[CheckFinding]:
    """Contacts that several manifests of a location list."""
    for location in manifests.locations:
        seen: dict[str, frozenset[ContactId]] = {}
        for manifest in location.files if len(location.files) > 1 else ():
            lists = [part.contacts.ids for part in manifest.sets if isinstance(part.contacts, ListedContacts)]
            ids = frozenset[ContactId]().union(*lists)
            for path, listed in seen.items():
                if common := ids & listed:
                    message = f"{len(common):,} of its {len(ids):,} contacts are listed in {path} too"
                    yield CheckFinding(manifest.source, f"{message}, for example {name_id(min(common))}")
            seen[manifest.path] = ids
