"""Values of fields that filters ask for, given to some contacts of a made-up location. Pure.

Rules
1. Of each filter the values that its conditions name go together, to one contact in `ONE_WITH_TRAITS_IN`; dates of the
   search's own fields, tags and ids are left to chance.
2. Which contacts have them depends on their ids alone: the same for ever for the same seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from reconciler.core.model.contact_filter import (
    Condition,
    ConditionGroup,
    ContactFilter,
    FilterOperator,
    list_conditions,
)
from reconciler.core.model.names import LocationId
from reconciler.sandbox.people import CUSTOMER_NO, LocationField
from reconciler.sandbox.world import Contact, made_up_id

ONE_WITH_TRAITS_IN = 4
_OWN = frozenset({"tags", "id", "email", "phone"})
"""Fields that every contact has values of already."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Values of fields that a filter asks for together."""

    details: Mapping[str, str]
    """By the vendor's names of the fields."""
    custom_fields: Mapping[tuple[str, str], str]
    """By the keys of the custom fields, and the ids of their text boxes or nothing; empty where a contact has none."""
    kinds: Mapping[str, str]
    """The types of these fields, by the vendor's names."""
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The text boxes of those that are lists of these: labels by ids."""

    def list_fields(self, location: LocationId) -> Iterator[LocationField]:
        for key, kind in self.kinds.items():
            yield LocationField(_field_id(location, key), key, f"contact.{key}", kind, self.options.get(key, {}))


def find_traits(wanted: ContactFilter) -> Traits:
    """The values that meet the conditions of a filter, as far as they name some."""
    conditions = list(_list_outside(wanted))
    # every made-up person has a customer number of its own
    custom = [entry for entry in conditions if entry.is_custom and f"contact.{_key(entry)}" != CUSTOMER_NO]
    own = [entry for entry in conditions if not entry.is_custom and entry.name not in _OWN]
    deals = [{test.name: value for test in group if (value := _find_value(test))} for group in _list_nested(wanted)]
    return Traits(
        {entry.name: value for entry in own if (value := _find_value(entry))}
        | ({"opportunities": json.dumps(deals)} if deals else {}),
        {_place(entry): value for entry in custom if (value := _find_value(entry))},
        {_key(entry): _find_kind(entry) for entry in custom},
        {_key(entry): {made_up_id("", entry.option): entry.option} for entry in custom if entry.option},
    )


def _list_outside(wanted: ContactFilter) -> Iterator[Condition]:
    """The conditions of the contact itself."""
    if isinstance(wanted, Condition):
        yield wanted
    elif not wanted.nested:
        for member in wanted.members:
            yield from _list_outside(member)


def _list_nested(wanted: ContactFilter) -> Iterator[list[Condition]]:
    """The conditions that one opportunity meets together, of each filter of opportunities."""
    if isinstance(wanted, ConditionGroup):
        if wanted.nested:
            yield list(list_conditions(wanted))
        else:
            for member in wanted.members:
                yield from _list_nested(member)


def _key(condition: Condition) -> str:
    return condition.name.removeprefix("contact.")


def _place(condition: Condition) -> tuple[str, str]:
    return _key(condition), made_up_id("", condition.option) if condition.option else ""


def _find_value(condition: Condition) -> str:
    """A text that meets a condition; empty where it is left to chance."""
    value = condition.value
    if condition.operator is FilterOperator.RANGE and condition.is_custom:
        name, bound = condition.bounds[0]
        # beyond the bound by one; a date stays out
        return "" if isinstance(bound, str) else str(bound + (1 if name.startswith("g") else -1))
    if condition.operator not in (FilterOperator.EQ, FilterOperator.CONTAINS):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _find_kind(condition: Condition) -> str:
    if condition.option:
        return "TEXTBOX_LIST"
    # the type that takes the operators of the condition
    if condition.operator is not FilterOperator.RANGE:
        return "TEXT"
    return "DATE" if isinstance(condition.bounds[0][1], str) else "NUMERICAL"


def _field_id(location: LocationId, key: str) -> str:
    return made_up_id(location, f"contact.{key}")


def _value_id(location: LocationId, key: str, option: str) -> str:
    return _field_id(location, key) + (f".{option}" if option else "")


def give_traits(
    contacts: Iterable[Contact], traits: Sequence[Traits], location: LocationId, seed: int
) -> list[Contact]:
    """The contacts, some of them with the values of each of `traits`."""
    return [_give_traits(contact, traits, location, seed) for contact in contacts]


def _give_traits(contact: Contact, traits: Sequence[Traits], location: LocationId, seed: int) -> Contact:
    person = contact.person
    for number, trait in enumerate(traits):
        chance = Random(f"{seed}:{contact.id}:trait {number}")  # noqa: S311  the same for ever, not secret
        if not chance.randrange(ONE_WITH_TRAITS_IN):
            custom = {_value_id(location, *place): value for place, value in trait.custom_fields.items()}
            person = replace(
                person, custom_fields={**person.custom_fields, **custom}, details={**person.details, **trait.details}
            )
    return contact if person is contact.person else replace(contact, person=person)
