"""The values that planning and the solver exchange: demands go in, rectangles come out, ordered as a schedule."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action

EFFORT = 8
"""How many rounds of search a plan gets unless told otherwise: about 10 s for a million contacts."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Contacts that are to be treated alike: `must` is what they need, `may` (a superset) what they may be sent."""

    must: TagSet
    may: TagSet
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True, order=True)
class Rectangle:
    """One request: every tag for every contact; both sorted, neither empty."""

    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Cover:
    """The rectangles that send every needed pair, and what is known of how few there can be.

    `lower_bound`: no plan has fewer rectangles. `stage`: which method found this one. `proven`: it is minimal.
    `certificate`: needed pairs no two of which can share a request, so at least as many requests as pairs.
    """

    rectangles: tuple[Rectangle, ...]
    lower_bound: int
    stage: str
    proven: bool
    certificate: tuple[tuple[ContactId, Tag], ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One batch of a schedule. `after`: indices of earlier steps that must have ended before this one starts."""

    action: Action
    rectangle: Rectangle
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The covers of both actions, and their rectangles in the order to send them."""

    adds: Cover
    removes: Cover
    steps: tuple[Step, ...]
