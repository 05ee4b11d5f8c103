"""The emulated location: its contacts with their tags, and every transition so far. Pure: no clock, I/O or chance.

Rules
1. Only a transition is logged: adding a tag that is there, or removing one that is not, leaves no trace but the answer.
2. A row tells the truth: (old + added) - removed are the tags that the contact carries afterwards, but for their
   spelling where the row repeats the request's words (`changes_as_asked`).
3. Time is passed in and never runs backwards: an earlier instant counts as the latest one seen.
4. A search sees a copy that follows `search_lag_ms` behind; a read, one that follows `read_lag_ms` behind.
5. A merged contact is deleted. A write to it that is let through goes to the survivor, and the log names the survivor.
   Its addresses are the survivor's from then on, but for `merging_keeps_addresses`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, TagSet, looks_like_contact_id
from reconciler.core.model.outcome import Action, ResponseRow
from reconciler.sandbox.assumptions import Assumptions, Merged
from reconciler.sandbox.people import LocationField, Person

INVALID = "contact id is not a valid firebase id"
DELETED = "contact is deleted"
FOREIGN = "contact does not belong to location"
UPDATED = "Tags updated"
MERGING = "merging"

_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact at one moment."""

    id: ContactId
    location: LocationId
    tags: TagSet = frozenset()
    added: Instant = Instant(0)
    updated: Instant = Instant(0)
    deleted: Instant | None = None
    """The time of its deletion; a deleted contact keeps its tags but answers no more."""
    merged_into: ContactId | None = None
    """The survivor, where it was deleted by being merged."""
    person: Person = Person()


@dataclass(frozen=True, slots=True)
class Transition:
    """A tag that came to a contact or left it, on which automations fire."""

    at: Instant
    contact: ContactId
    tag: Tag
    action: Action
    by: str
    """The integration, workflow or person that changed it."""


class World:
    """One location, with contacts of other locations that a manifest may name by mistake, and perhaps neighbours.

    `transitions` only grows; `version` moves with every change of a contact.
    """

    def __init__(
        self,
        location: LocationId,
        contacts: Iterable[Contact] = (),
        *,
        assumptions: Assumptions | None = None,
        transitions: Iterable[Transition] = (),
        known_tags: Iterable[Tag] = (),
        custom_fields: Iterable[LocationField] = (),
    ) -> None:
        self.location = location
        self.custom_fields = tuple(custom_fields)
        self.assumptions = assumptions or Assumptions()
        self.transitions: list[Transition] = list(transitions)
        self.version = 0
        self._contacts = {contact.id: self._spell_contact(contact) for contact in contacts}
        self._index, self._shown = LaggingCopy(self._contacts), LaggingCopy(self._contacts)
        self._known_tags = set(known_tags).union(*(contact.tags for contact in self._contacts_here()))
        # a world that is loaded from a file goes on where its log ended
        self._latest = max((change.at for change in self.transitions), default=Instant(0))
        self._neighbours: tuple[World, ...] = ()

    def assume(self, assumptions: Assumptions) -> None:
        """From now on the API behaves so; contacts that are there keep their tags and texts as they are stored."""
        self.assumptions = assumptions

    def settle_beside(self, neighbours: Iterable[World]) -> None:
        """From now on a contact of these locations is known to be another location's."""
        self._neighbours = tuple(neighbours)

    def lives_elsewhere(self, contact: str) -> bool:
        """Whether a contact that this location never had is one of its neighbours'."""
        name = ContactId(contact)
        return name not in self._contacts and any(
            neighbour.location == there.location
            for neighbour in self._neighbours
            if (there := neighbour.contacts.get(name)) is not None
        )

    @property
    def contacts(self) -> Mapping[ContactId, Contact]:
        """Every contact, deleted and foreign ones included; not to be changed."""
        return self._contacts

    @property
    def index_version(self) -> int:
        """Moves with every change that a search sees."""
        return self._index.version

    @property
    def known_tags(self) -> tuple[Tag, ...]:
        """Every tag that the location ever had, sorted: one outlives its last holder."""
        return tuple(sorted(self._known_tags))

    def tags_of(self, contact: str) -> TagSet:
        """The tags of a contact; raises KeyError for one that never was."""
        return self._contacts[ContactId(contact)].tags

    def holders(self, tag: str) -> frozenset[ContactId]:
        """The living contacts of this location that carry the tag."""
        spelt = self.assumptions.spell(tag)
        return frozenset(contact.id for contact in self._contacts_here() if spelt in contact.tags)

    def find(self, contact: str) -> Contact | None:
        """A living contact of any location."""
        return _if_living(self._contacts.get(ContactId(contact)))

    def show(self, contact: str, now: Instant) -> Contact | None:
        """A living contact of any location as a read at `now` sees it: for a merged one perhaps the survivor."""
        versions = self.shown(now)
        version = versions.get(ContactId(contact))
        if version is not None and version.merged_into and self.assumptions.merged_reads_as_survivor:
            version = versions.get(version.merged_into)
        return _if_living(version)

    def bulk(
        self,
        action: Action,
        contacts: Sequence[str],
        tags: Sequence[str],
        *,
        now: Instant,
        by: str,
        everything: bool = False,
    ) -> tuple[ResponseRow, ...]:
        """Add or remove `tags`, or remove `everything`; one row for each of `contacts`."""
        rules = self.assumptions
        at, spelt = self._advance_time(now), self._spell_tags(tags)
        named = contacts if rules.repeats_give_rows else tuple(dict.fromkeys(contacts))
        ordered = named if rules.rows_as_sent else sorted(named)
        rows = (self._bulk_row(action, contact, spelt, at, by, everything) for contact in ordered)
        if rules.changes_as_asked and not everything:
            rows = (_as_asked(row, action, frozenset(map(Tag, tags))) for row in rows)
        return tuple(rows)

    def add(self, contact: str, tags: Iterable[str], *, now: Instant, by: str) -> TagSet:
        """Adds tags to one contact as `by`; returns its tags afterwards. Raises KeyError for one that never was."""
        before = self._contacts[ContactId(contact)]
        return self._change_tags(before, before.tags | self._spell_tags(tags), self._advance_time(now), by).tags

    def remove(self, contact: str, tags: Iterable[str], *, now: Instant, by: str) -> TagSet:
        """The counterpart of `add`."""
        before = self._contacts[ContactId(contact)]
        return self._change_tags(before, before.tags - self._spell_tags(tags), self._advance_time(now), by).tags

    def put(self, contact: Contact, *, now: Instant) -> None:
        """Stores a new contact, or another version of one; no transition, as when it is created with its tags."""
        self._store_version(self._spell_contact(contact), self._advance_time(now))

    def delete(self, contact: str, *, now: Instant) -> None:
        """Raises KeyError for a contact that never was."""
        at = self._advance_time(now)
        self._store_version(replace(self._contacts[ContactId(contact)], deleted=at), at)

    def merge(self, contact: str, survivor: str, *, now: Instant) -> None:
        """Deletes `contact`; its tags and addresses, and every later write to it, become the survivor's."""
        at, gone = self._advance_time(now), self._contacts[ContactId(contact)]
        self.add(survivor, gone.tags, now=at, by=MERGING)
        if self.assumptions.merging_keeps_addresses:
            self.change_person(survivor, self._contacts[ContactId(survivor)].person.absorb(gone.person), now=at)
        self._store_version(replace(gone, deleted=at, merged_into=ContactId(survivor)), at)

    def change_person(self, contact: str, person: Person, *, now: Instant) -> None:
        """Another e-mail, phone or custom field moves the contact's date. Raises KeyError for one that never was."""
        at, before = self._advance_time(now), self._contacts[ContactId(contact)]
        if person != before.person:
            self._store_version(self._spell_contact(replace(before, person=person, updated=at)), at)

    def indexed(self, now: Instant) -> Mapping[ContactId, Contact]:
        """The contacts as a search sees them at `now`; not to be changed."""
        return self._index.as_of(self._advance_time(now) - self.assumptions.search_lag_ms)

    def shown(self, now: Instant) -> Mapping[ContactId, Contact]:
        """The contacts as a read sees them at `now`; not to be changed."""
        return self._shown.as_of(self._advance_time(now) - self.assumptions.read_lag_ms)

    def _bulk_row(
        self, action: Action, named: str, tags: TagSet, at: Instant, by: str, everything: bool
    ) -> ResponseRow:
        contact = self._written_contact(named)
        problem = self._row_problem(named, contact)
        if contact is None or problem:
            return ResponseRow(ContactId(named), "error", problem)
        old = contact.tags
        new = old | tags if action is Action.ADD else frozenset() if everything else old - tags
        self._change_tags(contact, new, at, by)
        # the survivor's row may carry the id that was sent, or its own, which the request did not name
        own = self.assumptions.merged_row is Merged.UNDER_OWN_ID
        said = ContactId(named) if own else contact.id
        return ResponseRow(said, "success", UPDATED, old=old, added=new - old, removed=old - new)

    def _written_contact(self, named: str) -> Contact | None:
        """The contact that a write to this id concerns."""
        contact = self._contacts.get(ContactId(named))
        if contact is None or not contact.merged_into or self.assumptions.merged_row is Merged.DELETED:
            return contact
        return self._contacts[contact.merged_into]

    def _row_problem(self, named: str, contact: Contact | None) -> str:
        if not looks_like_contact_id(named):
            return INVALID
        if contact is None:
            return FOREIGN if self.lives_elsewhere(named) else self.assumptions.unknown_contact
        if contact.deleted is not None:
            return DELETED
        return "" if contact.location == self.location else FOREIGN

    def _change_tags(self, contact: Contact, new: TagSet, at: Instant, by: str) -> Contact:
        old = contact.tags
        # sorted: two runs of one simulation must log the same
        log = [Transition(at, contact.id, tag, Action.ADD, by) for tag in sorted(new - old)]
        log += [Transition(at, contact.id, tag, Action.REMOVE, by) for tag in sorted(old - new)]
        rules = self.assumptions
        moves = rules.tag_write_moves_date if log else rules.noop_write_moves_date
        if not log and not moves:
            return contact
        self.transitions += log
        after = replace(contact, tags=new, updated=at if moves else contact.updated)
        self._store_version(after, at)
        return after

    def _store_version(self, contact: Contact, at: Instant) -> None:
        self._contacts[contact.id] = contact
        self._index.record_change(at, contact.id, contact)
        self._shown.record_change(at, contact.id, contact)
        self.version += 1
        # a tag stays in the location's list when its last holder loses it
        if contact.location == self.location:
            self._known_tags |= contact.tags

    def _spell_contact(self, contact: Contact) -> Contact:
        spelt, person = self._spell_tags(contact.tags), contact.person.spell(self.assumptions)
        same = spelt == contact.tags and person == contact.person
        return contact if same else replace(contact, tags=spelt, person=person)

    def _spell_tags(self, tags: Iterable[str]) -> TagSet:
        return frozenset(spelt for tag in tags if (spelt := self.assumptions.spell(tag)))

    def _advance_time(self, now: Instant) -> Instant:
        # an effect that a fault delays may come after later requests: time stands still for it
        self._latest = max(self._latest, now)
        return self._latest

    def _contacts_here(self) -> Iterable[Contact]:
        living = (contact for contact in self._contacts.values() if contact.deleted is None)
        return (contact for contact in living if contact.location == self.location)


def _if_living(contact: Contact | None) -> Contact | None:
    return None if contact is None or contact.deleted is not None else contact


def _as_asked(row: ResponseRow, action: Action, asked: TagSet) -> ResponseRow:
    """The row with all tags of the request as changed, in the request's spelling."""
    if row.type == "error":
        return row
    return replace(row, added=asked) if action is Action.ADD else replace(row, removed=asked)


def made_up_id(*parts: str) -> str:
    """An id as HighLevel could have issued it, always the same for the same parts."""
    digest = int.from_bytes(sha256("\0".join(parts).encode(errors="surrogatepass")).digest(), "big")
    letters = []
    for _ in range(20):
        digest, place = divmod(digest, len(_ID_LETTERS))
        letters.append(_ID_LETTERS[place])
    return "".join(letters)


class LaggingCopy:
    """A copy of contacts that follows behind, as a replica or an index does.

    Changes are recorded in the order of their instants; `version` moves with every one that becomes visible.
    """

    def __init__(self, contacts: Mapping[ContactId, Contact]) -> None:
        self.version = 0
        self._seen = dict(contacts)
        self._coming: deque[tuple[int, ContactId, Contact]] = deque()

    def record_change(self, at: int, contact: ContactId, version: Contact) -> None:
        self._coming.append((at, contact, version))

    def as_of(self, moment: int) -> Mapping[ContactId, Contact]:
        """Every contact as it was at `moment`, which never goes back; not to be changed."""
        while self._coming and self._coming[0][0] <= moment:
            _at, contact, version = self._coming.popleft()
            self._seen[contact] = version
            self.version += 1
        return self._seen
