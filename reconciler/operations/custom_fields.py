"""The custom fields of a location, as matches and filters name them, and the operators that a filter may use on each.

Source of the operators by type: the vendor's page on the contact search.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from reconciler.core.model.contact_filter import Condition, FilterOperator, SoughtValue
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source, did_you_mean
from reconciler.wire_people import CustomField

_EXISTING = frozenset({FilterOperator.EXISTS, FilterOperator.NOT_EXISTS})
_WORD = _EXISTING | {FilterOperator.EQ, FilterOperator.NOT_EQ}
_TEXT = _WORD | {FilterOperator.CONTAINS, FilterOperator.NOT_CONTAINS}
_DATE = _EXISTING | {FilterOperator.RANGE}
_NUMBER = _WORD | {FilterOperator.RANGE}
_NUMBERS = frozenset({"NUMERICAL", "MONETORY"})
_OPERATORS = {
    **dict.fromkeys(["TEXT", "LARGE_TEXT", "SINGLE_OPTIONS", "RADIO", "PHONE", "TEXTBOX_LIST"], _TEXT),
    **dict.fromkeys(["CHECKBOX", "MULTIPLE_OPTIONS"], _WORD),
    **dict.fromkeys(_NUMBERS, _NUMBER),
    "DATE": _DATE,
    **dict.fromkeys(["FILE_UPLOAD", "SIGNATURE"], frozenset[FilterOperator]()),
}
"""By the vendor's name of the type; of one that does not stand here the API decides."""
_BOXES = "TEXTBOX_LIST"
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")
_SPELT = {FilterOperator.NOT_EXISTS: "exists", FilterOperator.RANGE: "gt, gte, lt, lte"}


def find_field(name: str, fields: Sequence[CustomField], place: Source, hint: str = "") -> CustomField:
    """The custom field that is meant by `name`; raises InvalidInput where it is none of the location's, or several."""
    named = [entry for entry in fields if entry.is_called(name)]
    if len(named) == 1:
        return named[0]
    if named:
        message = f"{len(named)} custom fields of the location are called {name!r}"
        raise InvalidInput([Problem(place, message, "custom-field", hint="name it by its id or key")])
    near = did_you_mean(name, [entry.key.removeprefix("contact.") for entry in fields])
    message = f"the location has no custom field {name!r}"
    raise InvalidInput([Problem(place, message, "custom-field", hint=near or hint)])


def name_by_id(condition: Condition, fields: Sequence[CustomField]) -> Condition:
    """A condition with the id of its custom field, and its value as the field's type has it.

    Raises InvalidInput where the location has no such field, or the search takes no such condition of its type.
    """
    if not condition.is_custom:
        return condition
    hint = "a field that every location has is written {city: {eq: Berlin}}"
    found = find_field(condition.name, fields, condition.source, hint)
    _check_operator(condition, found)
    asked = ".".join(filter(None, (found.id, _find_option(condition, found))))
    return replace(condition, name=asked, value=_read_value(condition, found), option="")


def _find_option(condition: Condition, field: CustomField) -> str:
    """The id of the text box that is asked for; empty where the field is no list of these."""
    named, labels = condition.option, [label or option for option, label in field.options]
    if field.kind != _BOXES:
        if named:
            raise _refuse(condition, field, "it has no text boxes", "leave `option` out")
        return ""
    if not named:
        such = f": it has {', '.join(labels)}" if labels else ""
        raise _refuse(condition, field, "the search asks for one of its text boxes", f"name one by `option`{such}")
    ids = {option for option, label in field.options if named in (option, label)}
    if len(ids) == 1:
        return ids.pop()
    # a location that does not tell the ids takes them from who knows them
    if not ids and not labels and _ID.fullmatch(named):
        return named
    what = "several text boxes are" if ids else "no text box is"
    raise _refuse(condition, field, f"{what} called {named!r}", did_you_mean(named, labels) or "name it by its id")


def _check_operator(condition: Condition, field: CustomField) -> None:
    allowed = _OPERATORS.get(field.kind, frozenset(FilterOperator))
    if condition.operator not in allowed:
        takes = dict.fromkeys(_spell(operator) for operator in FilterOperator if operator in allowed)
        asked = _spell(condition.operator)
        hint = f"it takes {', '.join(takes)}" if takes else "a filter cannot ask for fields of this type"
        raise _refuse(condition, field, f"the search does not take {asked}", hint)
    kinds = {isinstance(bound, str) for _, bound in condition.bounds}
    if kinds and field.kind in _OPERATORS and kinds != {field.kind == "DATE"}:
        raise _refuse(condition, field, f"its bounds are {'dates' if field.kind == 'DATE' else 'numbers'}")


def _spell(operator: FilterOperator) -> str:
    """As a manifest has it."""
    return _SPELT.get(operator, operator.value)


def _read_value(condition: Condition, field: CustomField) -> SoughtValue:
    if field.kind not in _NUMBERS or not isinstance(condition.value, str):
        return condition.value
    # as bounds are written: Python would read nan, 1_000 and more digits than a number of JSON keeps
    if not _DECIMAL.fullmatch(condition.value):
        # the value is not repeated: a value of the wrong kind may be an address
        raise _refuse(condition, field, "its value is a number such as 30 or -2.5, and here is another text")
    number = float(condition.value)
    # 80 and not 80.0: the value goes out as JSON
    return int(number) if number.is_integer() else number


def _refuse(condition: Condition, field: CustomField, message: str, hint: str = "") -> InvalidInput:
    text = f"custom field {condition.name!r} is of type {field.kind}: {message}"
    return InvalidInput([Problem(condition.source, text, "filter", hint=hint)])
