"""Filters of the contact search, as values: conditions on fields of a contact, and groups of conditions.

Rules
1. The search knows no negation: a filter under `not` is turned around as it is built, down to its conditions. One of
   opportunities has no opposite: some opportunity meets its conditions together, and not all of them miss one.
2. A condition asks for no more than the vendor documents of its field; the operators of a custom field depend on its
   type, which only the location tells.

Source: the vendor's page on the contact search, which the description of the operation names.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from reconciler.core.model import Json
from reconciler.core.model.names import Source
from reconciler.core.model.safe_text import NOT_SHOWN

LONGEST_SOUGHT = 75
"""The most characters of a value."""

_CONTACTING = frozenset({"email", "phone"})
_SHORTEST_NUMBER = 5
_PHONE = re.compile(r"\+[0-9 ()./-]{5,}")


class FilterOperator(StrEnum):
    EQ = "eq"
    NOT_EQ = "not_eq"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    RANGE = "range"


_OPPOSITES = {
    FilterOperator.EQ: FilterOperator.NOT_EQ,
    FilterOperator.CONTAINS: FilterOperator.NOT_CONTAINS,
    FilterOperator.EXISTS: FilterOperator.NOT_EXISTS,
}
_OPPOSITES |= {opposite: operator for operator, opposite in tuple(_OPPOSITES.items())}
_BEYOND = {"gt": "lte", "gte": "lt", "lt": "gte", "lte": "gt"}

SoughtValue: TypeAlias = str | bool | int | float | None
Bounds: TypeAlias = tuple[tuple[str, str | int | float], ...]
"""The bounds of a range by their names (gt, gte, lt, lte), sorted: dates as ISO text, or numbers."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One field of a contact, held against a value."""

    name: str
    """The API's name of the field; of a custom field its key, name or id, until the location told the id."""
    operator: FilterOperator
    value: SoughtValue = None
    """None for `exists`, `not_exists` and `range`."""
    bounds: Bounds = ()
    is_custom: bool = False
    """Whether the field is one that the location added."""
    is_exact: bool = False
    """Whether the value has one spelling, as an id has."""
    source: Source = field(default=Source(""), compare=False)
    """Where the condition stands."""
    option: str = ""
    """The text box of a custom field that is a list of these, by label or id, until the location told the id."""

    def __str__(self) -> str:
        name = f"field {self.name}" if self.is_custom else self.name
        name += f" option {self.option}" if self.option else ""
        if self.operator is FilterOperator.RANGE:
            return " and ".join(f"{name} {bound} {value}" for bound, value in self.bounds)
        return f"{name} {self.operator}" + ("" if self.value is None else f" {self._shown_value}")

    @property
    def _shown_value(self) -> str:
        return NOT_SHOWN if self.is_personal else json.dumps(self.value)

    @property
    def is_personal(self) -> bool:
        """Whether its value may be the address or the number of a person, which no output shows."""
        text = self.value if isinstance(self.value, str) else ""
        # a few digits are those of a country or an area
        is_contacting = self.name in _CONTACTING and not self.is_custom and len(text) >= _SHORTEST_NUMBER
        return bool(text) and (is_contacting or "@" in text or _PHONE.fullmatch(text) is not None)

    @property
    def is_negative(self) -> bool:
        """Whether it is met by contacts without a value."""
        return self.operator in (FilterOperator.NOT_EQ, FilterOperator.NOT_CONTAINS, FilterOperator.NOT_EXISTS)


@dataclass(frozen=True, slots=True)
class ConditionGroup:
    """Filters that must all be met, or any of them."""

    members: tuple[ContactFilter, ...]
    is_any: bool = False
    nested: str = ""
    """`opportunities`: the members are conditions that one of these meets together; empty: they are of the contact."""

    def __str__(self) -> str:
        together = (" or " if self.is_any else " and ").join(map(str, self.members))
        return f"{self.nested} ({together})" if self.nested else f"({together})"


ContactFilter: TypeAlias = Condition | ConditionGroup


def negate(wanted: ContactFilter) -> ContactFilter:
    """The filter that is met by all contacts that `wanted` is not met by.

    Raises ValueError where the search has none.
    """
    if isinstance(wanted, ConditionGroup):
        if wanted.nested:
            raise ValueError(wanted.nested)
        # De Morgan: not all of them is any of their opposites
        return ConditionGroup(tuple(map(negate, wanted.members)), is_any=not wanted.is_any)
    if wanted.operator is not FilterOperator.RANGE:
        return replace(wanted, operator=_OPPOSITES[wanted.operator])
    # below, above, or without a date at all, which lies within no range
    beyond = [replace(wanted, bounds=((_BEYOND[name], bound),)) for name, bound in wanted.bounds]
    without = replace(wanted, operator=FilterOperator.NOT_EXISTS, bounds=())
    return ConditionGroup((*beyond, without), is_any=True)


def list_conditions(wanted: ContactFilter) -> Iterator[Condition]:
    """All conditions, in the order written."""
    if isinstance(wanted, Condition):
        yield wanted
    else:
        for member in wanted.members:
            yield from list_conditions(member)


def replace_conditions(wanted: ContactFilter, change: Callable[[Condition], Condition]) -> ContactFilter:
    """The filter with each condition as `change` returns it."""
    if isinstance(wanted, Condition):
        return change(wanted)
    return replace(wanted, members=tuple(replace_conditions(member, change) for member in wanted.members))


def asks_for_address(wanted: ContactFilter) -> bool:
    """Whether a condition may ask for the address or the number of a person."""
    return any(condition.is_personal for condition in list_conditions(wanted))


def digest_filter(wanted: ContactFilter) -> str:
    """Identifies the question but for the addresses and numbers in it: neither comments nor the order of keys count.

    It needs no key, for plans are made without one; and so it has no part of what could be tried against it.
    """
    return "sha256:" + hashlib.sha256(describe_filter(replace_conditions(wanted, _withhold)).encode()).hexdigest()


def seal_filter(wanted: ContactFilter, key: bytes) -> str:
    """Identifies the whole question, addresses and numbers too, to who has the key."""
    return "hmac-sha256:" + hmac.new(key, describe_filter(wanted).encode(), hashlib.sha256).hexdigest()


def _withhold(condition: Condition) -> Condition:
    return replace(condition, value=NOT_SHOWN) if condition.is_personal else condition


def describe_filter(wanted: ContactFilter) -> str:
    """The whole filter as JSON."""
    return json.dumps(_describe(wanted))


def _describe(wanted: ContactFilter) -> Json:
    if isinstance(wanted, ConditionGroup):
        return [wanted.nested or ("any" if wanted.is_any else "all"), *map(_describe, wanted.members)]
    # the spelling of a value counts: a text and a number are different questions
    bounds = [list(bound) for bound in wanted.bounds]
    # what came later has no part where it is not used: snapshots keep their digests
    option = [wanted.option] if wanted.option else []
    return [wanted.is_custom, wanted.name, wanted.operator, wanted.value, bounds, *option]
