"""`dataclass` of the standard library, with methods that are compiled when the first value of a class is made.

A command loads hundreds of classes and makes values of some of them. The standard library compiles eight methods for
each, one by one, which took a third of the time until a command began.

Law: a class behaves as the standard library's would. Whatever is out of the ordinary is left to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, asdict, field, fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

__all__ = ["asdict", "dataclass", "field", "fields", "is_dataclass", "replace"]

T = TypeVar("T")
Method: TypeAlias = Callable[..., object]
Names: TypeAlias = dict[str, Any]
"""The names that a compiled text knows, and those that it defines."""


def _is_special(cls: type, options: Iterable[str]) -> bool:
    """Whether there is an order, inherited fields, or a parameter that is no field."""
    return (
        not {"frozen", "slots", "repr", "eq"}.issuperset(options)
        or hasattr(cls, "__dataclass_fields__")
        or any("InitVar" in str(annotation) for annotation in cls.__annotations__.values())
    )


def _make_quick(cls: type[T], *, frozen: bool = False, slots: bool = False, eq: bool = True, **shown: bool) -> type[T]:
    own = frozenset(vars(cls))
    # where there is no docstring one is made of the signature, which is not known yet
    type.__setattr__(cls, "__doc__", cls.__doc__ or cls.__name__)
    made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    for option, value in {"init": True, "repr": True, "frozen": frozen, "eq": eq, **shown}.items():
        setattr(vars(made)["__dataclass_params__"], option, value)
    compiled = ["__init__", *(["__eq__"] if eq else []), *(["__hash__"] if eq and frozen else [])]
    deferred = [name for name in compiled if name not in own]
    complete = partial(_compile_methods, made, deferred)
    methods = _shared_methods(frozen=frozen, slots=slots, eq=eq, shown=shown.get("repr", True))
    methods |= {name: _defer(complete, name) for name in deferred}
    for name in methods.keys() - own:
        setattr(made, name, methods[name])
    return made


def _shared_methods(*, frozen: bool, slots: bool, eq: bool, shown: bool) -> dict[str, Method | None]:
    """The methods that need no text of their own."""
    # a value that may change has no hash
    methods: dict[str, Method | None] = {"__hash__": None} if eq and not frozen else {}
    methods |= {"__repr__": _represent} if shown else {}
    if frozen:
        methods |= {"__setattr__": _refuse_setting, "__delattr__": _refuse_deleting}
    if frozen and slots:
        methods |= {"__getstate__": _get_state, "__setstate__": _set_state}
    return methods


def _defer(complete: Callable[[], Names], name: str) -> Method:
    def compile_first(*arguments: object, **named: object) -> object:
        return complete()[name](*arguments, **named)

    return compile_first


def _compile_methods(cls: Any, deferred: Sequence[str]) -> Names:
    """Puts compiled methods in the place of the deferred ones."""
    every: tuple[Field[Any], ...] = fields(cls)
    names = _list_names(cls, every)
    has_slots, then = "__slots__" in vars(cls), "self.__post_init__()" if hasattr(cls, "__post_init__") else "pass"
    lines = [f"def __init__({', '.join(['self', *_list_parameters(every)])}):"]
    lines += [_filling_line(each, has_slots=has_slots) for each in every if each.init or _has_factory(each)]
    lines += [f" {then}", *_comparison_lines(every)]
    # made of names of fields, which are names of Python, and of nothing else
    exec("\n".join(lines), names)  # noqa: S102
    for name in deferred:
        setattr(cls, name, names[name])
    return names


def _list_names(cls: type, every: Sequence[Field[Any]]) -> Names:
    """The names that the methods know."""
    names: Names = {"MISSING": MISSING, "set_attribute": object.__setattr__}
    for each in every:
        names |= {f"default_{each.name}": each.default, f"make_{each.name}": each.default_factory}
        # a slot is filled by its descriptor, which asks no `__setattr__`
        names[f"set_{each.name}"] = getattr(vars(cls).get(each.name), "__set__", None)
    return names


def _has_factory(each: Field[Any]) -> bool:
    return each.default_factory is not MISSING


def _list_parameters(every: Sequence[Field[Any]]) -> list[str]:
    positional = [_parameter(each) for each in every if each.init and not each.kw_only]
    named = [_parameter(each) for each in every if each.init and each.kw_only]
    return [*positional, *(["*", *named] if named else [])]


def _parameter(each: Field[Any]) -> str:
    if _has_factory(each):
        return f"{each.name}=MISSING"
    return each.name if each.default is MISSING else f"{each.name}=default_{each.name}"


def _filling_line(each: Field[Any], *, has_slots: bool) -> str:
    name = value = each.name
    if _has_factory(each):
        value = f"make_{name}() if {name} is MISSING else {name}" if each.init else f"make_{name}()"
    return f" set_{name}(self, {value})" if has_slots else f" set_attribute(self, {name!r}, {value})"


def _comparison_lines(every: Sequence[Field[Any]]) -> list[str]:
    compared = [each.name for each in every if each.compare]
    hashed = [each.name for each in every if (each.compare if each.hash is None else each.hash)]
    return [
        "def __eq__(self, other):",
        " if other.__class__ is self.__class__:",
        f"  return {_tuple_of('self', compared)} == {_tuple_of('other', compared)}",
        " return NotImplemented",
        "def __hash__(self):",
        f" return hash({_tuple_of('self', hashed)})",
    ]


def _tuple_of(value: str, names: Iterable[str]) -> str:
    return f"({''.join(f'{value}.{name},' for name in names)})"


def _represent(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_setting(_: object, name: str, value: object, /) -> None:  # noqa: ARG001 (as Python calls it)
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(_: object, name: str, /) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


if TYPE_CHECKING:
    # the same to a type checker
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, **options):
        """The class; without it a decorator with these options."""
        if cls is None:
            return partial(dataclass, **options)
        return (dataclasses.dataclass if _is_special(cls, options) else _make_quick)(cls, **options)
