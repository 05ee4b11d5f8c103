"""Builds the filter of a contact set from its definition, and checks how its keys go together.

Rules
1. A condition has one field, or is one group: several conditions that must all hold are a list under `all`.
2. A bare date is the midnight in the settings' time zone that begins it; where the field is a day of the calendar, it
   is that day in UTC.
3. A filter is built without its `not`: the search knows none, and so there is none around opportunities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from pydantic import BaseModel

from reconciler.core.model.contact_filter import (
    Bounds,
    Condition,
    ConditionGroup,
    ContactFilter,
    FilterOperator,
    SoughtValue,
    negate,
)
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Instant, Source, iso
from reconciler.loading import mistakes
from reconciler.loading.filter_models import ConditionModel, OpportunityTest
from reconciler.loading.nodes import Mapping

_GROUPS = {"all_of": "all", "any_of": "any", "none_of": "not"}
_BOUNDS = {"after": "gt", "before": "lt", "gt": "gt", "gte": "gte", "lt": "lt", "lte": "lte"}
_OPERATORS = ("eq", "not_eq", "contains", "not_contains", "exists", *_BOUNDS, "option")
"""Keys beside `field`, in the order in which a message names the first."""
_NESTED = "opportunities"
_IDS = frozenset({"id", "assignedTo", "followers", "activeWorkflows", "finishedWorkflows"})
"""Fields with ids, which have one spelling."""
_DAYS = frozenset({"dateOfBirth"})

ReadMoment = Callable[[datetime, str], Instant]
Path = tuple[int | str, ...]


def build_filter(model: ConditionModel, node: Mapping, zone: str, read_moment: ReadMoment) -> ContactFilter:
    """The filter of a set, given with its node; raises InvalidInput with every mistake.

    `zone`: of bare dates, which `read_moment` reads.
    """
    builder = _Builder(node, zone, read_moment)
    built = builder.build(model, ("contacts", "filter"))
    if builder.problems:
        raise InvalidInput(builder.problems)
    return built


class _Builder:
    def __init__(self, node: Mapping, zone: str, read_moment: ReadMoment) -> None:
        self.problems: list[Problem] = []
        self._node = node
        self._zone = zone
        self._read_moment = read_moment

    def build(self, model: ConditionModel, path: Path) -> ContactFilter:
        written = model.model_fields_set
        # in the order of the definitions: a message does not depend on that of the file
        subjects = [name for name in type(model).model_fields if name in written and name not in _OPERATORS]
        if len(subjects) != 1 or (subjects != ["field"] and written.intersection(_OPERATORS)):
            self._refuse_subjects([_GROUPS.get(name, name) for name in subjects], written, path)
            # not used: the filter has a problem by now
            return ConditionGroup(())
        (subject,) = subjects
        if subject in _GROUPS:
            return self._build_group(model, subject, path)
        if model.opportunities is not None:
            return self._build_opportunities(model.opportunities, (*path, subject))
        test: BaseModel = model if subject == "field" else getattr(model, subject)
        name = model.field if subject == "field" and model.field is not None else subject
        below = path if subject == "field" else (*path, subject)
        built = self._build_conditions(test, name, below, is_custom=subject == "field")
        conditions = tuple(replace(condition, option=model.option or "") for condition in built)
        if not conditions:
            hint = "such as {field: plan, eq: gold}"
            self._refuse((*below, "field"), f"custom field {name!r} is held against nothing: no operator", hint)
        return conditions[0] if len(conditions) == 1 else ConditionGroup(conditions)

    def _build_group(self, model: ConditionModel, subject: str, path: Path) -> ContactFilter:
        below = (*path, _GROUPS[subject])
        if model.none_of is not None:
            return self._negate(self.build(model.none_of, below), below)
        members = getattr(model, subject)
        built = tuple(self.build(member, (*below, place)) for place, member in enumerate(members))
        return built[0] if len(built) == 1 else ConditionGroup(built, is_any=subject == "any_of")

    def _negate(self, wanted: ContactFilter, path: Path) -> ContactFilter:
        try:
            return negate(wanted)
        except ValueError:
            hint = f"such as {{{_NESTED}: {{status: {{not_eq: open}}}}}}, of contacts that have another one"
            self._refuse(path, f"the search cannot leave out contacts by their {_NESTED}: no `not` around these", hint)
            return wanted

    def _build_opportunities(self, test: OpportunityTest, path: Path) -> ContactFilter:
        """The conditions that one opportunity meets together."""
        conditions = [
            _spell_exactly(condition)
            for name in type(test).model_fields
            if (part := getattr(test, name)) is not None
            for condition in self._build_conditions(part, name, (*path, name), is_custom=False)
        ]
        return ConditionGroup(tuple(conditions), nested=_NESTED)

    def _build_conditions(self, test: BaseModel, name: str, path: Path, *, is_custom: bool) -> Iterator[Condition]:
        """A condition for each operator, and one for all bounds together."""
        place = self._place(path)
        for operator in ("eq", "not_eq", "contains", "not_contains"):
            value: SoughtValue = getattr(test, operator, None)
            if value is not None:
                found = FilterOperator(operator)
                yield Condition(name, found, value, (), is_custom, name in _IDS and not is_custom, place)
        # a field of its own may have no such operator
        exists = getattr(test, "exists", None)
        if exists is not None:
            found = FilterOperator.EXISTS if exists else FilterOperator.NOT_EXISTS
            yield Condition(name, found, is_custom=is_custom, source=place)
        if bounds := self._read_bounds(test, name, path, is_custom=is_custom):
            yield Condition(name, FilterOperator.RANGE, None, bounds, is_custom, source=place)

    def _read_bounds(self, test: BaseModel, name: str, path: Path, *, is_custom: bool) -> Bounds:
        # a day of the calendar is the same everywhere
        zone = "UTC" if is_custom or name in _DAYS else self._zone
        bounds: dict[str, str | int | float] = {}
        for key, bound in _BOUNDS.items():
            value = getattr(test, key, None)
            if value is None:
                continue
            if bound in bounds:
                self._refuse((*path, key), f"`{key}` is the bound that stands beside it in another word")
            is_date = isinstance(value, datetime)
            bounds[bound] = iso(self._read_moment(value, zone)) if is_date else value
        # sorted: the digest does not depend on the order of the keys
        self._check_bounds(bounds, path)
        return tuple(sorted(bounds.items()))

    def _check_bounds(self, bounds: dict[str, str | int | float], path: Path) -> None:
        least = [bounds[name] for name in ("gt", "gte") if name in bounds]
        most = [bounds[name] for name in ("lt", "lte") if name in bounds]
        if len({isinstance(value, str) for value in (*least, *most)}) > 1:
            self._refuse(path, "a number and a date: the bounds of a field are of one kind")
        elif any(low > high for low in least for high in most):  # type: ignore[operator]
            self._refuse(path, "no value is beyond its lower bound and short of its upper one")

    def _refuse_subjects(self, subjects: list[str], written: set[str], path: Path) -> None:
        operators = [key for key in _OPERATORS if key in written]
        if not subjects:
            what = f"`{operators[0]}` needs `field` beside it, the custom field" if operators else "an empty condition"
            self._refuse(path, what, "such as {field: plan, eq: gold}, or {city: {eq: Berlin}}")
        elif len(subjects) > 1:
            named = ", ".join(f"`{name}`" for name in subjects)
            hint = "write several as a list: all: [{city: {eq: Berlin}}, {country: {eq: DE}}]"
            self._refuse((*path, subjects[1]), f"one condition has one field, or is one group; here are {named}", hint)
        elif operators == ["option"]:
            message = f"`option` names a text box of a custom field, and stands beside `{subjects[0]}`"
            self._refuse((*path, "option"), message, "such as {field: measures, option: Waist, eq: 80}")
        else:
            message = f"`{operators[0]}` stands beside `{subjects[0]}`, and belongs below it"
            self._refuse((*path, operators[0]), message, "such as {city: {eq: Berlin}}")

    def _refuse(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self._place(path, of_key=True), message, "filter", hint=hint))

    def _place(self, path: Path, *, of_key: bool = False) -> Source:
        return mistakes.locate_value(self._node, path, of_key=of_key)


def _spell_exactly(condition: Condition) -> Condition:
    """A condition of an opportunity in one spelling, as of two either would be nested: ids, and words in lower case."""
    value = condition.value
    is_word = condition.name == "status" and isinstance(value, str)
    return replace(condition, value=str(value).lower() if is_word else value, is_exact=True)
