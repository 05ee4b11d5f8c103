"""Values out of a JSON document that somebody may have edited. Each raises TypeError or ValueError otherwise."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, TypeVar

from reconciler.core.model.names import ContactId, Instant, Tag, parse_instant

T = TypeVar("T")
LONGEST_TEXT = 10_000


def text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "text")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"a text of {len(value):,} characters, and at most {LONGEST_TEXT:,} are taken")
    return value


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")
    return value


def integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, "an integer")
    return value


def count(value: object) -> int:
    if integer(value) < 0:
        raise _wrong(value, "a count")
    return integer(value)


def number(value: object) -> Any:
    """A finite number; an integer stays one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _wrong(value, "a number")
    return value


def moment(value: object) -> Instant:
    return parse_instant(text(value))


def each(read: Callable[[Any], T], items: object) -> tuple[T, ...]:
    """Every item of a list."""
    if not isinstance(items, list):
        raise _wrong(items, "a list")
    return tuple(read(item) for item in items)


def optional(read: Callable[[Any], T], value: object) -> T | None:
    """The value, or None for null."""
    return None if value is None else read(value)


def tag(value: object) -> Tag:
    return Tag(text(value))


def tags(items: object) -> tuple[Tag, ...]:
    return each(tag, items)


def contacts(items: object) -> tuple[ContactId, ...]:
    return each(_contact, items)


def _contact(value: object) -> ContactId:
    return ContactId(text(value))


def _wrong(value: object, what: str) -> TypeError:
    return TypeError(f"{str(value)[:40]!r} is not {what}")
