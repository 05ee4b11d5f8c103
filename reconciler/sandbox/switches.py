"""Switches of the sandbox as people write them: `--assume NAME=VALUE`. Pure.

read_assumptions(["max_tags=10", "read_lag_ms=60000"], Assumptions())
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cache
from typing import get_args, get_type_hints

from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import did_you_mean
from reconciler.sandbox.assumptions import Assumptions, Bounds

_TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch for people."""

    name: str
    default: str
    values: str
    """The values that it takes, in words."""


def list_switches() -> Iterator[Switch]:
    """The switches in the order of their names."""
    defaults, kinds = Assumptions(), _kinds()
    for name in sorted(kinds):
        yield Switch(name, _spell_value(getattr(defaults, name)), _describe_values(kinds[name]))


def read_assumptions(given: Iterable[str], base: Assumptions) -> Assumptions:
    """`base` with the switches that are given as NAME=VALUE; the last value of a name rules. Raises UsageError."""
    values = dict(_read_switch(text) for text in given)
    return replace(base, **values)  # type: ignore[arg-type]


def _read_switch(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    kinds = _kinds()
    if name not in kinds:
        raise UsageError(
            f"the sandbox has no switch {name[:80]!r}",
            hint=did_you_mean(name, kinds) or "`reconciler sandbox serve --help` lists the switches",
        )
    read = _read_value(kinds[name], value) if equals else None
    if read is None:
        given = repr(value[:80]) if equals else "no value"
        default = _spell_value(getattr(Assumptions(), name))
        raise UsageError(
            f"--assume {name} has {given}, and takes {_describe_values(kinds[name])}",
            hint=f"as in --assume {name}={default}, the default",
        )
    return name, read


@cache
def _kinds() -> Mapping[str, object]:
    """The type of each switch, that of a number with its bounds."""
    hints = get_type_hints(Assumptions, include_extras=True)
    return {member.name: hints[member.name] for member in fields(Assumptions)}


def _read_value(kind: object, text: str) -> object:
    """The value of a switch; None for one that it does not take."""
    if kind is bool:
        return _TRUTHS.get(text)
    if kind is str:
        return text or None
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(text) if text in list(kind) else None
    bounds = _bounds(kind)
    # isdigit is true of digits that int() does not read, and Python refuses to convert thousands of them
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(bounds.most)):
        return None
    return int(text) if bounds.least <= int(text) <= bounds.most else None


def _bounds(kind: object) -> Bounds:
    bounds = get_args(kind)[1]
    assert isinstance(bounds, Bounds)
    return bounds


def _describe_values(kind: object) -> str:
    if kind is bool:
        return "true or false"
    if kind is str:
        return "a text"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " or ".join(kind)
    bounds = _bounds(kind)
    up_to = f" to {bounds.most}" if bounds.most < Bounds().most else ""
    return f"a number from {bounds.least}{up_to}"


def _spell_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
