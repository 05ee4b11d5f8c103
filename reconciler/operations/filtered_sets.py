"""Sets by filter, asked of the contact search: `read_filtered(sets, fields, reader, gate) -> FilteredSets`.

Law: holds no writer, and keeps nothing. Rules
1. A filter that the location, or the API, does not take does not stop the others.
2. The same filter is asked once, however many sets have it.
3. A set without a snapshot gets none from a search that is not complete: of an excepted set a part would be too few.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from reconciler.core.manifests.filtered_members import FilteredMembers, Hits, find_members
from reconciler.core.model.contact_filter import (
    ContactFilter,
    asks_for_address,
    list_conditions,
    replace_conditions,
    seal_filter,
)
from reconciler.core.model.errors import InvalidInput, Problem, RequestRefused
from reconciler.core.model.names import SetName, Source
from reconciler.core.model.people import Snapshot
from reconciler.core.observing.refresh_rules import INDEX_LAG_MS
from reconciler.operations.custom_fields import name_by_id
from reconciler.ports import PeopleReader
from reconciler.pull.search_filter import search_filter
from reconciler.request_gate import RequestGate
from reconciler.wire_people import CustomField

_SALT = re.compile(r" salt:([0-9a-f]{32}) ")


@dataclass(frozen=True, slots=True)
class FilteredSet:
    """A contact set that is asked for by a filter."""

    name: SetName
    place: Source
    """The place in the manifest."""
    wanted: ContactFilter
    digest: str
    """Of the filter, but for the addresses and numbers that it asks for."""
    may_be_empty: bool = False

    @property
    def needs_fields(self) -> bool:
        """Whether it names a custom field."""
        return any(condition.is_custom for condition in list_conditions(self.wanted))

    def make_digest(self, key: bytes | None, before: Snapshot | None) -> str:
        """What a snapshot says of the filter. `key`: that of the environment, None where it has none.

        Without a key the digest of an address has a salt of its own beside it: who has both can try addresses.
        """
        if not asks_for_address(self.wanted):
            return self.digest
        if key is not None:
            return f"{self.digest} {seal_filter(self.wanted, key)}"
        salt = _SALT.search("" if before is None else before.source_digest)
        text = secrets.token_hex(16) if salt is None else salt[1]
        return f"{self.digest} salt:{text} {seal_filter(self.wanted, text.encode())}"

    def find_members(self, hits: Hits, before: Snapshot | None, digest: str) -> FilteredMembers:
        """The contacts of the set from now on; raises InvalidInput where that is not known, or there are none.

        `digest`: the filter's, as `make_digest` has it.
        """
        if before is None and hits.why_incomplete:
            message = f"the search was not complete: {hits.why_incomplete}"
            hint = "a first pull needs a complete search; run it again when fewer contacts change"
            raise InvalidInput([Problem(self.place, message, "filter", hint=hint)])
        members = find_members(hits, before, digest, lag_ms=INDEX_LAG_MS)
        if not members.contacts and not self.may_be_empty:
            hint = "if that is meant, say so: allow_empty: true"
            raise InvalidInput([Problem(self.place, "no contact meets the filter", "filter", hint=hint)])
        return members


@dataclass(slots=True)
class FilteredSets:
    """The contacts that the search showed for the sets, or why it showed none."""

    hits: dict[SetName, Hits] = field(default_factory=dict)
    failures: dict[SetName, InvalidInput] = field(default_factory=dict)
    asks_for_address: bool = False
    """Whether a filter asks for the address or the number of a person."""

    def list_remarks(self) -> tuple[str, ...]:
        """Sentences that a person should know of the searches."""
        return tuple(
            f"The search for set {name} was not complete: {hits.why_incomplete}. No contact leaves by it."
            for name, hits in self.hits.items()
            if hits.why_incomplete
        )


def _tell_refusal(error: RequestRefused, entry: FilteredSet) -> str:
    """The API's words, but where they may repeat an address or a number that the filter asks for."""
    if asks_for_address(entry.wanted):
        return f"it answered {error.status}; its words are withheld, as they may hold an address or a number"
    return error.message


async def read_filtered(
    sets: Iterable[FilteredSet], fields: Sequence[CustomField], reader: PeopleReader, gate: RequestGate
) -> FilteredSets:
    """Asks for each of the sets; raises the errors of the gate, and of the API but for a filter that it refuses."""
    read, asked = FilteredSets(), dict[ContactFilter, Hits]()
    for entry in sets:
        read.asks_for_address |= asks_for_address(entry.wanted)
        try:
            wanted = replace_conditions(entry.wanted, partial(name_by_id, fields=fields))
            # places do not count: the same condition elsewhere is the same question
            if wanted not in asked:
                asked[wanted] = await search_filter(wanted, reader, gate)
        except InvalidInput as error:
            read.failures[entry.name] = error
        except RequestRefused as error:
            message = f"the API does not take the filter: {_tell_refusal(error, entry)}"
            read.failures[entry.name] = InvalidInput([Problem(entry.place, message, "filter")])
        else:
            read.hits[entry.name] = asked[wanted]
    return read
