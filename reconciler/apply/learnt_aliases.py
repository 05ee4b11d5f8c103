"""What a location answers, and the journal holds, in the spellings of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from reconciler.apply.run import Run
from reconciler.core.model.api_limits import Alias
from reconciler.core.model.contact_changes import not_among
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import BatchRecord
from reconciler.core.model.names import ContactId, LocationId, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Rejection
from reconciler.core.planning.batches import Batch
from reconciler.core.planning.tag_aliases import Spelling, aliases_in
from reconciler.ports import TagReader
from reconciler.wire import ContactRead, Page


@dataclass(frozen=True, slots=True)
class SpeltReader:
    """Reads by `reader`, and calls tags as `spelling` says at the time of the answer."""

    reader: TagReader
    spelling: Callable[[], Spelling]

    async def get_contact(self, contact: ContactId) -> ContactRead | Rejection:
        found = await self.reader.get_contact(contact)
        return self._spelt(found) if isinstance(found, ContactRead) else found

    async def search(self, location: LocationId, cursor: tuple[Any, ...] | None, *, tag: str = "") -> Page:
        page = await self.reader.search(location, cursor, tag=self.spelling().kept_as(Tag(tag)))
        return replace(page, contacts=tuple(map(self._spelt, page.contacts)))

    def _spelt(self, contact: ContactRead) -> ContactRead:
        return contact if contact.tags is None else replace(contact, tags=self.spelling().read(contact.tags))


def reader_of(run: Run) -> TagReader:
    """The means to read contacts, which the world has."""
    assert run.world.reader is not None
    return SpeltReader(run.world.reader(run.location), lambda: run.state.spelling)


def batches_of(run: Run, earlier: str) -> list[BatchRecord]:
    """The batches of a run of the journal."""
    return list(map(run.state.spelling.spell_record, run.world.store.read_batches(earlier)))


def trail_of(run: Run, contact: ContactId) -> list[BatchRecord]:
    """The batches of the journal that had the contact."""
    return [run.state.spelling.spell_record(batch) for _, batch in run.world.store.read_trail(run.location, contact)]


def aliases_told(batch: Batch, answered: Mapping[ContactId, ContactOutcome], spelling: Spelling) -> list[Alias]:
    """Tags that came back spelt otherwise, and were not known to."""
    if batch.action is Action.REMOVE:
        return []
    carried = {verdict.observed for verdict in answered.values()}
    return list(aliases_in(frozenset(batch.tags), (tags and spelling.read(tags) for tags in carried)))


def spelt_known(known: Mapping[ContactId, ContactState], spelling: Spelling) -> dict[ContactId, ContactState]:
    read = cache(spelling.spell_state)
    return {contact: read(each) for contact, each in known.items()}


def spelt_verdicts(verdicts: Mapping[ContactId, ContactOutcome], spelling: Spelling) -> dict[ContactId, ContactOutcome]:
    read = cache(spelling.spell_outcome)
    return {contact: read(verdict) for contact, verdict in verdicts.items()}


def as_named(batch: Batch, verdicts: Mapping[ContactId, ContactOutcome]) -> Mapping[ContactId, ContactOutcome]:
    """The verdicts under the names that the batch has, too: an answer may spell a tag otherwise, as nobody learnt yet,
    or as was learnt after the batch was planned."""
    tags = frozenset(batch.tags)

    def named(moved: TagSet) -> TagSet:
        return moved if moved <= tags else moved | (tags - not_among(tags, moved))

    return {
        contact: verdict
        if verdict.added | verdict.removed <= tags
        else replace(verdict, added=named(verdict.added), removed=named(verdict.removed))
        for contact, verdict in verdicts.items()
    }
