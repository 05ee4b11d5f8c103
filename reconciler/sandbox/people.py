"""The people behind the contacts of the emulated location: how each is reached; and made-up ones. Pure.

Rules
1. All of it may be missing: a contact without an e-mail and a phone is as good as another.
2. Several contacts may have one value, as in a location that allows duplicates.
3. No value of a person is logged, nor part of an error.
4. A made-up person depends on the id of the contact, and hardly on other contacts. The addresses are reserved ones,
   given to no one (RFC 2606; +1 … 555-01xx; Ofcom's numbers for drama), and no two share one but as `SHARED_EMAIL`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from reconciler.core.model import Json, JsonObject
from reconciler.sandbox.assumptions import Assumptions


@dataclass(frozen=True, slots=True)
class LocationField:
    """A field that the location gave its contacts."""

    id: str
    name: str
    key: str
    """Such as `contact.customer_no`."""
    kind: str = "TEXT"
    # not in the repr, as a person's details: worlds that are saved keep their ids
    options: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """Of a list of text boxes their labels by their ids."""


@dataclass(frozen=True, slots=True)
class Person:
    """How a person is reached: e-mails, phones in E.164, and values of the location's custom fields by their ids.

    The value of a text box is by the ids of its field and its own, with a full stop between them.
    """

    email: str = ""
    additional_emails: tuple[str, ...] = ()
    phone: str = ""
    additional_phones: tuple[str, ...] = ()
    custom_fields: Mapping[str, str] = field(default_factory=dict, hash=False)
    # not in the repr: made-up ids come from it, and worlds that are saved and shown keep theirs
    details: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """Other fields that a filter may ask for, by the vendor's names: `city`, or `dnd` with `true`; `opportunities` as
    the JSON of a list."""

    def emails(self, rules: Assumptions) -> frozenset[str]:
        """Those under which the person is found, in lower case."""
        sought = (self.email, *(self.additional_emails if rules.additional_are_sought else ()))
        return frozenset(email.lower() for email in sought if email)

    def phones(self, rules: Assumptions) -> frozenset[str]:
        """Those under which the person is found."""
        sought = (self.phone, *(self.additional_phones if rules.additional_are_sought else ()))
        return frozenset(phone for phone in sought if phone)

    def absorb(self, merged: Person) -> Person:
        """This person with the addresses of another one as additional ones; its own values stay."""
        return Person(
            self.email or merged.email,
            _additional(self.email or merged.email, self.additional_emails, merged.email, merged.additional_emails),
            self.phone or merged.phone,
            _additional(self.phone or merged.phone, self.additional_phones, merged.phone, merged.additional_phones),
            {**merged.custom_fields, **self.custom_fields},
            {**merged.details, **self.details},
        )

    def spell(self, rules: Assumptions) -> Person:
        """How the API stores it."""
        # most worlds have contacts without an e-mail: these are not copied
        if not rules.lowercases_emails or not (self.email or self.additional_emails):
            return self
        additional = tuple(map(str.lower, self.additional_emails))
        return replace(self, email=self.email.lower(), additional_emails=additional)


def _additional(first: str, own: Iterable[str], merged_first: str, merged: Iterable[str]) -> tuple[str, ...]:
    return tuple(value for value in dict.fromkeys((*own, merged_first, *merged)) if value and value != first)


def person_members(person: Person, rules: Assumptions, *, in_search: bool) -> JsonObject:
    """The members of a contact's document that tell how the person is reached."""
    custom: list[Json] = [{"id": name, "value": value} for name, value in _list_values(person, rules)]
    members: JsonObject = {
        "email": person.email or None,
        "phone": person.phone or None,
        "additionalEmails": _list_additional("email", person.additional_emails, rules),
        "additionalPhones": _list_additional("phone", person.additional_phones, rules),
        "customFields": custom,
    }
    # by the vendor's schema the document of one contact has no nulls; a row of a search has no schema
    if in_search and rules.search_row_with_nulls:
        return members
    return {key: value for key, value in members.items() if value is not None}


def _list_values(person: Person, rules: Assumptions) -> Iterator[tuple[str, Json]]:
    """The custom fields by their ids; one with text boxes has an object of these."""
    boxes: dict[str, dict[str, Json]] = {}
    for name, value in sorted(person.custom_fields.items()):
        custom, _, option = name.partition(".")
        if option:
            boxes.setdefault(custom, {})[option] = value
        else:
            yield name, _field_value(value, rules)
    yield from boxes.items()


def _field_value(value: str, rules: Assumptions) -> Json:
    # a number that would be written otherwise, such as 007, is text
    return int(value) if rules.field_numbers and value.isdecimal() and str(int(value)) == value else value


def _list_additional(key: str, values: Sequence[str], rules: Assumptions) -> Sequence[Json]:
    return [{key: value} for value in values] if rules.additional_as_objects else values


def field_document(custom: LocationField, location: str) -> JsonObject:
    """A custom field as the location lists it."""
    told: JsonObject = {
        "id": custom.id,
        "name": custom.name,
        "fieldKey": custom.key,
        "dataType": custom.kind,
        "locationId": location,
        "model": "contact",
    }
    boxes: list[Json] = [
        {"id": option, "label": label, "prefillValue": ""} for option, label in sorted(custom.options.items())
    ]
    return told | ({"textBoxListOptions": boxes} if boxes else {})


CUSTOMER_NO = "contact.customer_no"
SHARED_EMAIL = "office@example.org"

_FIRST_NAMES = "anna ben carla david elif felix greta hamid ines jonas klara luis mara nils olga paul rosa sven tina"
_LAST_NAMES = "abel berger costa dahl evans fischer garcia hahn ito jansen klein lopez meyer novak olsen peters weber"
_PHONES = (
    *(f"+1{area}55501{last:02}" for area in (202, 206, 212, 303, 312, 404, 415, 512, 617, 702) for last in range(100)),
    *(f"+44{area}{last:03}" for area in (2079460, 1174960, 2890180) for last in range(1_000)),
)


def make_people(
    contacts: Sequence[str], number: LocationField, *, seed: int, sharing: Collection[str]
) -> dict[str, Person]:
    """A person for each contact, the same for ever for the same seed; the contacts `sharing` have one e-mail."""
    taken: set[str] = set()
    people = {contact: _make_person(contact, number.id, taken, seed) for contact in dict.fromkeys(contacts)}
    if len(sharing) > 1:
        people |= {contact: replace(people[contact], email=SHARED_EMAIL) for contact in sharing}
    return people


def _make_person(contact: str, number: str, taken: set[str], seed: int) -> Person:
    chance = Random(f"{seed}:{contact}:person")  # noqa: S311  the same for ever, not secret
    called = f"{chance.choice(_FIRST_NAMES.split())}.{chance.choice(_LAST_NAMES.split())}"
    email = _pick_untaken(lambda: f"{called}.{chance.randrange(100_000)}", taken)
    customer = _pick_untaken(lambda: f"{chance.randrange(10_000_000):07}", taken)
    # there are few reserved phone numbers: where one is taken, the contact has none
    phone, second = (wanted if wanted not in taken else "" for wanted in chance.sample(_PHONES, 2))
    has_email, has_second_email, has_phone, has_second_phone, has_number = (
        chance.random() < share for share in (0.95, 0.2, 0.7, 0.1, 0.6)
    )
    person = Person(
        f"{email}@example.com" if has_email else "",
        (f"{email}@example.org",) if has_second_email else (),
        phone if has_phone else "",
        (second,) if second and has_second_phone else (),
        {number: customer} if has_number else {},
    )
    taken |= {person.phone, *person.additional_phones}
    return person


def _pick_untaken(make: Callable[[], str], taken: set[str]) -> str:
    while (value := make()) in taken:
        pass
    taken.add(value)
    return value
