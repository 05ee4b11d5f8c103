"""The values that planning and the solver exchange: demands go in, rectangles come out, ordered as a schedule."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action

EFFORT = 8
"""How many rounds of search a plan gets unless told otherwise: about 10 s for a million contacts."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Contacts that are to be treated alike."""

    # the tags that they need
    must: TagSet
    # the tags that they may be sent, a superset
    may: TagSet
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True, order=True)
class Rectangle:
    """One request: every tag for every contact; both sorted, neither empty."""

    tags: tuple[Tag, ...]
    contacts: tuple[ContactId, ...]


@dataclass(frozen=True, slots=True)
class Cover:
    """The rectangles that send every needed pair, and the proof of how few there can be."""

    rectangles: tuple[Rectangle, ...]
    # no plan has fewer rectangles
    lower_bound: int
    # the method that found this plan
    stage: str
    # there is no smaller plan
    proven: bool
    # needed pairs no two of which can share a request, so at least as many requests as pairs
    certificate: tuple[tuple[ContactId, Tag], ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One batch of a schedule."""

    action: Action
    rectangle: Rectangle
    # indices of earlier steps that must have ended before this one starts
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The covers of both actions, and their rectangles in the order to send them."""

    adds: Cover
    removes: Cover
    steps: tuple[Step, ...]
