"""`dataclass` of ours, whose methods are compiled late, behaves as that of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.dataclass import dataclass

NAMES = ("first", "second", "third", "fourth")
OPTIONS = st.fixed_dictionaries(
    {}, optional={option: st.booleans() for option in ("frozen", "slots", "repr", "eq", "order")}
).filter(lambda options: options.get("eq", True) or not options.get("order"))
KINDS = st.fixed_dictionaries(
    {
        "repr": st.booleans(),
        "compare": st.booleans(),
        "hash": st.sampled_from([None, True, False]),
        "kw_only": st.booleans(),
    }
)
DEFAULTS: list[dict[str, Any]] = [{"default": 7}, {"default_factory": list}, {"default": None, "init": False}]
VALUES = st.one_of(st.integers(0, 3), st.tuples(st.integers(0, 1)), st.text(max_size=2))


@st.composite
def definitions(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, bool], bool]:
    """The fields of a class, by name; its options; whether it takes its own part in making a value."""
    names, made = NAMES[: draw(st.integers(0, len(NAMES)))], {}
    # without a default behind one with a default there is no such class
    plain = draw(st.integers(0, len(names)))
    for place, name in enumerate(names):
        default: dict[str, Any] = {}
        if place >= plain:
            default = draw(
                st.sampled_from([{"default": 7}, {"default_factory": list}, {"default": None, "init": False}])
            )
        kind = draw(KINDS)
        made[name] = {**kind, **default, "hash": False if "default_factory" in default else kind["hash"]}
        if "default_factory" in default:
            made[name]["compare"] = False
    return made, draw(OPTIONS), draw(st.booleans())


def _make(decorator: Any, definition: tuple[dict[str, Any], dict[str, bool], bool]) -> Any:
    """A class by that definition, made anew, since a definition of a field is used once."""
    kinds, options, takes_part = definition
    space: dict[str, Any] = {name: field(**kind) for name, kind in kinds.items()}
    space |= {"__annotations__": dict.fromkeys(kinds, "object"), "__module__": __name__, "__qualname__": "Made"}
    if takes_part:
        space["__post_init__"] = lambda self: TAKEN_PART.append(type(self).__name__)
    return decorator(**options)(type("Made", (), space))


TAKEN_PART: list[str] = []


def _told(action: Any) -> object:
    """What came of it: a value, or the kind of error."""
    try:
        return action()
    except (TypeError, AttributeError) as error:
        return type(error)


def _facts(cls: Any, arguments: list[Any], named: dict[str, Any]) -> list[object]:
    """All that is seen of a class, and of two values that are made alike."""
    TAKEN_PART.clear()
    value = _told(lambda: cls(*arguments, **named))
    if isinstance(value, type):
        return [value]
    again = cls(*arguments, **named)
    names = [each.name for each in fields(cls) if hasattr(value, each.name)]
    # one without a value of a field that `__init__` does not know shows no more than that
    whole = len(names) == len(fields(cls))
    return [
        [getattr(value, name) for name in names],
        _told(lambda: repr(value)) if whole and "object at" not in repr(value) else None,
        value == again if whole else None,
        value == 1,
        value != again if whole else None,
        _told(lambda: hash(value) == hash(again)) if whole else None,
        _told(lambda: value < again) if whole else None,
        [_told(lambda name=name: setattr(value, name, 5)) for name in names],
        [_told(lambda name=name: delattr(again, name)) for name in names],
        _told(lambda: replace(cls(*arguments, **named), **named) == cls(*arguments, **named)) if whole else None,
        dataclasses.asdict(copy.deepcopy(cls(*arguments, **named))) if whole else None,
        copy.copy(cls(*arguments, **named)) == cls(*arguments, **named) if whole else None,
        cls.__match_args__,
        [repr(each.default) for each in fields(cls)],
        len(TAKEN_PART),
        cls.__hash__ is None,
        hasattr(cls, "__slots__"),
    ]


@given(definitions(), st.lists(VALUES, max_size=5), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2))
def test_a_class_behaves_as_the_standard_librarys(
    definition: tuple[dict[str, Any], dict[str, bool], bool], arguments: list[Any], named: dict[str, Any]
) -> None:
    theirs, ours = _make(dataclasses.dataclass, definition), _make(dataclass, definition)
    assert _facts(ours, arguments, named) == _facts(theirs, arguments, named)


@dataclass(frozen=True, slots=True)
class Point:
    across: int
    up: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """Has an equality of its own."""

    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named)

    def __hash__(self) -> int:
        return 1


def test_what_a_class_writes_itself_stays() -> None:
    assert Named("one") == Named("another")
    assert len({Named("one"), Named("another")}) == 1


def test_a_value_survives_a_file() -> None:
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)


def test_a_value_that_is_frozen_says_which_field_it_keeps() -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'up'"):
        setattr(Point(1), "up", 2)  # noqa: B010


def test_a_class_tells_that_it_is_frozen() -> None:
    assert vars(Point)["__dataclass_params__"].frozen
