"""The people of a location as they really are and were, and the files that name them: what a world is judged by.

Every address that is made up has a mark in it, by which it is found wherever it may not be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.core.model.names import ContactId, Instant, LocationId
from reconciler.sandbox.people import LocationField, Person
from reconciler.sandbox.world import Contact, World
from tests.fakes import START

HERE, AWAY = LocationId("asdrwHvLUxlfw5SqKVCN"), LocationId("zzzzzzzzzzzzzzzzzzzz")
NUMBER = LocationField("field0000000000000001", "Customer number", "contact.customer_no")
MARK, PHONES = "xqvzjwkfpb", "4477009001"
KEYS = {"email": "email: mail", "phone": "phone: mobile", "field": "field: customer_no, column: number"}
PEOPLE = 9
FOREIGNER = ContactId("away" * 5)
Value = tuple[str, str]
"""The kind of a value, and the value as it is compared."""


def contact_id(number: int) -> ContactId:
    return ContactId(f"p{number:03d}" * 5)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: its cells, and the value that each key means; None where it can be no value."""

    cells: tuple[str, str, str]
    values: Mapping[str, str | None] = field(hash=False, compare=False)

    def sought(self, keys: tuple[str, ...]) -> list[Value]:
        """What it is matched by, in the order of the keys."""
        return [(key, value) for key in keys if (value := self.values[key]) is not None]


@dataclass(frozen=True, slots=True)
class SetFile:
    """A matched set: its file and its keys. `exists`: whether somebody has not deleted the file."""

    name: str
    keys: tuple[str, ...]
    rows: tuple[Row, ...]
    max_age: str = ""
    exists: bool = True
    may_be_empty: bool = False

    def manifest(self) -> str:
        match = ", ".join(KEYS[key] for key in self.keys)
        more = (", region: GB" if "phone" in self.keys else "") + (f", max_age: {self.max_age}" if self.max_age else "")
        contacts = f"{{file: {self.name}.csv, match: {{{match}}}{more}}}"
        empty = "    allow_empty: true\n" if self.may_be_empty else ""
        return f"  {self.name}:\n    contacts: {contacts}\n    tags: [{self.tag}]\n{empty}"

    @property
    def tag(self) -> str:
        return f"tag-{self.name}"

    def text(self) -> str:
        return "\n".join(["mail,mobile,number", *(",".join(row.cells) for row in self.rows)]) + "\n"


class Crowd:
    """Who has which values, now and before; all changes of the CRM's people are made here."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self._made = 0
        self.history: dict[ContactId, list[tuple[int, frozenset[Value] | None]]] = {}
        since = Instant(START - 86_400_000)
        ids = [contact_id(number) for number in range(PEOPLE)]
        self.contacts = [Contact(each, HERE, added=since, updated=since, person=self.person()) for each in ids]
        self.contacts.append(Contact(FOREIGNER, AWAY, added=since, updated=since, person=self.person()))
        for contact in self.contacts:
            self._note(contact.id, contact.person, since)

    def person(self) -> Person:
        """Somebody new, reached in one way at least."""
        number, chance = self._next(), self.chance
        email = f"n{number}.{MARK}@example.com"
        return Person(
            email.upper() if chance.random() < 0.2 else email,
            phone=f"+{PHONES}{number:02d}" if chance.random() < 0.7 else "",
            custom_fields={NUMBER.id: f"C-{MARK}-{number}"} if chance.random() < 0.8 else {},
        )

    def _next(self) -> int:
        self._made += 1
        return self._made

    def _note(self, contact: ContactId, person: Person | None, now: int) -> None:
        self.history.setdefault(contact, []).append((now, None if person is None else values_of(person)))

    def living(self, crm: World) -> list[ContactId]:
        return [each.id for each in crm.contacts.values() if each.deleted is None and each.location == HERE]

    def change(self, crm: World, now: Instant) -> str:
        """Something happens to somebody, and what it is called."""
        acts: list[Callable[[World, Instant], None]] = [
            self.moves, self.moves, self.shares, self.shares, self.passes_on, self.adds, self.arrives, self.is_deleted,
            self.is_merged,
        ]  # fmt: skip
        act = self.chance.choice(acts)
        if len(self.living(crm)) > 4 or act in (self.moves, self.shares, self.adds, self.arrives):
            act(crm, now)
            return act.__name__
        return "nothing"

    def moves(self, crm: World, now: Instant) -> None:
        """Other addresses, and the ones of before are nobody's."""
        self._store(crm, self._one(crm), self.person(), now)

    def shares(self, crm: World, now: Instant) -> None:
        """Two contacts come to have the same values."""
        first, second = self._two(crm)
        self._store(crm, second, self._mixed(crm, first, second), now)

    def passes_on(self, crm: World, now: Instant) -> None:
        """Values go over from one contact to another."""
        first, second = self._two(crm)
        mixed = self._mixed(crm, first, second)
        self._store(crm, first, self.person(), now)
        self._store(crm, second, mixed, now)

    def adds(self, crm: World, now: Instant) -> None:
        """One more address, perhaps one that somebody else has too."""
        first, second = self._two(crm)
        mine, other = crm.contacts[first].person, crm.contacts[second].person
        more = self.chance.choice([self.person().email, other.email]).lower()
        self._store(crm, first, replace(mine, additional_emails=(*mine.additional_emails, more)), now)

    def arrives(self, crm: World, now: Instant) -> None:
        """A new contact, perhaps one that somebody imported twice."""
        copied = crm.contacts[self._one(crm)].person if self.chance.random() < 0.4 else self.person()
        called = contact_id(100 + self._next())
        crm.put(Contact(called, HERE, added=now, updated=now, person=copied), now=now)
        self._note(called, copied, now)

    def is_deleted(self, crm: World, now: Instant) -> None:
        gone = self._one(crm)
        crm.delete(gone, now=now)
        self._note(gone, None, now)

    def is_merged(self, crm: World, now: Instant) -> None:
        gone, survivor = self._two(crm)
        crm.merge(gone, survivor, now=now)
        self._note(gone, None, now)
        self._note(survivor, crm.contacts[survivor].person, now)

    def _one(self, crm: World) -> ContactId:
        return self.chance.choice(self.living(crm))

    def _two(self, crm: World) -> list[ContactId]:
        return self.chance.sample(self.living(crm), 2)

    def _store(self, crm: World, contact: ContactId, person: Person, now: Instant) -> None:
        crm.change_person(contact, person, now=now)
        self._note(contact, person, now)

    def _mixed(self, crm: World, first: ContactId, second: ContactId) -> Person:
        """The second, with some values of the first."""
        one, two = crm.contacts[first].person, crm.contacts[second].person
        how = self.chance.randrange(3)
        return Person(
            one.email if how != 1 else two.email,
            two.additional_emails,
            one.phone if how != 0 else two.phone,
            two.additional_phones,
            one.custom_fields if how != 0 else two.custom_fields,
        )

    def row(self, crm: World) -> Row:
        """Of somebody in the CRM, of another location, of nobody, or of nothing."""
        whose = self.chance.random()
        if whose < 0.08:
            return make_row(self.chance, None)
        if whose < 0.15:
            return make_row(self.chance, self.person())
        if whose < 0.2:
            return make_row(self.chance, crm.contacts[FOREIGNER].person)
        return make_row(self.chance, crm.contacts[self.chance.choice(sorted(self.history))].person)

    # what is true

    def moments(self, contact: ContactId, after: int, until: int) -> Iterator[frozenset[Value] | None]:
        """The values that a contact had at some time between two moments; None: it was not there."""
        times = self.history.get(contact, [(0, None)])
        for (since, values), (end, _) in zip(times, [*times[1:], (until + 1, None)], strict=True):
            if since <= until and end > after:
                yield values

    def had(self, contact: ContactId, value: Value, until: int) -> bool:
        return any(values is not None and value in values for values in self.moments(contact, 0, until))

    def is_gone(self, contact: ContactId, until: int) -> bool:
        return contact not in self.history or None in self.moments(contact, 0, until)

    def holders(self, value: Value, now: int) -> list[ContactId]:
        """The contacts of the location that have a value now."""
        current = {contact: [*self.moments(contact, now, now)][-1] for contact in self.history if contact != FOREIGNER}
        return sorted(contact for contact, values in current.items() if values and value in values)


def values_of(person: Person) -> frozenset[Value]:
    emails = {("email", text.lower()) for text in (person.email, *person.additional_emails) if text}
    phones = {("phone", text) for text in (person.phone, *person.additional_phones) if text}
    return frozenset(emails | phones | {("field", text.lower()) for text in person.custom_fields.values() if text})


def make_row(chance: random.Random, person: Person | None) -> Row:
    """As somebody wrote it down: in capitals, with blanks, a number without its country."""
    if person is None:
        return Row((f"two@@{MARK}.com", "12", ""), dict.fromkeys(KEYS))
    email = chance.choice([person.email, *person.additional_emails])
    number = person.custom_fields.get(NUMBER.id, "")
    phone = person.phone
    spelt = "0" + phone[3:] if phone and chance.random() < 0.5 else phone
    cells = (chance.choice([email, email.upper(), f" {email}"]), spelt, number)
    return Row(cells, {"email": email.lower() or None, "phone": phone or None, "field": number.lower() or None})
