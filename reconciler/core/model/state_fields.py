"""A contact's state as one row of fields: columns of the stores, keys of the portable JSON and of journal objects.

The fields derive from `Stored` at the parts in `contact_state.py`, the only list of them.

Rule: a part is there when its time is. Fields that contradict this, as a state mended by hand may, make no state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter, itemgetter
from types import NoneType
from typing import Any, get_args, get_type_hints

from reconciler.core.model.contact_state import (
    NONE,
    ContactReading,
    ContactState,
    DatedTags,
    Doubt,
    Ledger,
    Observation,
    ObservationOrigin,
    PastAdds,
    Quarantine,
    Stored,
)
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet

FIRST_VERSION = 9
"""The last place of the portable JSON's first version; its documents lack the members after it."""

SAMPLE = 3
"""So many contacts of a fault are named."""

# in the order in which a state has them
_PARTS: Mapping[str, Callable[..., object]] = {
    "observation": Observation,
    "ledger": Ledger,
    "doubt": Doubt,
    "quarantine": Quarantine,
    "past_adds": PastAdds,
}
_TIMES = {"observation": "observed_at", "doubt": "doubt_at", "quarantine": "quarantined_at"}
"""The parts that may be missing, each with the time that it has when it is there."""

_EMPTY: Mapping[object, object] = {TagSet: NONE, ObservationOrigin: ObservationOrigin.NEVER, DatedTags: ()}
"""By type, the value of a field whose part is not there; None for the other types."""


@dataclass(frozen=True, slots=True)
class StateField:
    name: str
    part: str
    attribute: str
    kind: object
    """Its type, without None."""
    empty: object
    """Its value where its part is not there."""
    stored: Stored

    def value_in(self, state: ContactState) -> Any:
        part = getattr(state, self.part)
        return self.empty if part is None else getattr(part, self.attribute)


def _declared_fields() -> Iterator[StateField]:
    for part, made in _PARTS.items():
        for attribute, hint in get_type_hints(made, include_extras=True).items():
            declared, stored = get_args(hint)
            kind = _without_none(declared)
            yield StateField(
                stored.name, part, attribute, kind, None if stored.may_be_null else _EMPTY.get(kind), stored
            )


def _without_none(hint: Any) -> Any:
    return next((kind for kind in get_args(hint) if NoneType in get_args(hint) and kind is not NoneType), hint)


_DECLARED = tuple(_declared_fields())
FIELDS = tuple(sorted(_DECLARED, key=lambda field: field.stored.place))
_ALL_EMPTY: Mapping[str, object] = {field.name: field.empty for field in FIELDS}
# in the order of the part's own fields: states are built by the ten thousand, and names would take a third more time
_MEMBERS = tuple(
    (made, _TIMES.get(part), tuple(field.name for field in _DECLARED if field.part == part))
    for part, made in _PARTS.items()
)


class ContradictoryState(ValueError):
    """Fields that make no state: `faults` says why, a line each."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def name_faults(contacts: Collection[ContactId], faults: Iterable[str]) -> Iterator[str]:
    """A line for each fault of a state that these contacts have."""
    names = ", ".join(sorted(contacts)[:SAMPLE]) + (" …" if len(contacts) > SAMPLE else "")
    return (f"{len(contacts)} contacts ({names}): {fault}" for fault in faults)


# the values of a part at once, and those of a part that is not there; states are written by the ten thousand
_PART_VALUES = tuple(
    (
        attrgetter(part),
        attrgetter(*(field.attribute for field in _DECLARED if field.part == part)),
        tuple(field.empty for field in _DECLARED if field.part == part),
    )
    for part in _PARTS
)
_in_order = itemgetter(*(tuple(field.name for field in _DECLARED).index(field.name) for field in FIELDS))


def field_values(state: ContactState) -> tuple[Any, ...]:
    """The values of `FIELDS`, as `value_in` gives each."""
    parts = ((part_of(state), values_of, empty) for part_of, values_of, empty in _PART_VALUES)
    values = chain.from_iterable(empty if part is None else values_of(part) for part, values_of, empty in parts)
    return tuple(_in_order(tuple(values)))


def state_fields(state: ContactState) -> Iterator[tuple[StateField, Any]]:
    return zip(FIELDS, field_values(state), strict=True)


def written_fields(state: ContactState) -> dict[str, object]:
    """The fields that are not empty, by name: what a format writes that leaves out what is empty."""
    return {field.name: value for field, value in state_fields(state) if value != field.empty}


def build_state(values: Mapping[str, object]) -> ContactState:
    """The state of these fields, by name; one that is left out is empty. Raises ContradictoryState.

    `unconfirmed` is None in older data, which did not say whether a tag was ever seen: no tag in doubt counts as seen.
    """
    given: Mapping[str, Any] = values if len(values) == len(FIELDS) else {**_ALL_EMPTY, **values}
    if given["unconfirmed"] is None:
        given = {**given, "unconfirmed": given["doubt"] & given["ledger"]}
    if faults := tuple(_find_faults(given)):
        raise ContradictoryState(faults)
    parts: list[Any] = [
        made(*[given[name] for name in names]) if time is None or given[time] is not None else None
        for made, time, names in _MEMBERS
    ]
    return ContactState(*parts)


def assume_unconfirmed(state: ContactState, added: TagSet) -> ContactState:
    """The state behind an intent of older data, which did not say so: its adds are unconfirmed until answered."""
    unconfirmed = state.ledger.unconfirmed | (added & state.ledger.tags)
    return replace(state, ledger=replace(state.ledger, unconfirmed=unconfirmed))


def _find_faults(given: Mapping[str, object]) -> Iterator[str]:
    is_observed = given["observed"] is not None
    if is_observed != (given["observed_at"] is not None) or is_observed != bool(given["origin"]):
        yield "observed tags without a time and an origin, or these without tags"
    if bool(given["doubt"]) != (given["doubt_at"] is not None):
        yield "a doubt without a time, or a time without a doubt"
    if (given["quarantine"] is None) != (given["quarantined_at"] is None):
        yield "a quarantine without a time, or a time without a quarantine"
    if given["quarantined_since"] is not None and given["quarantined_at"] is None:
        yield "first refused after it was last refused"
    if given["quarantine"] is None and given["membership"] is not None:
        yield "sets that it belonged to when it was refused, and no quarantine"
    if is_observed and not given["origin"]:
        yield "observed by nobody"


def respell_state(state: ContactState, read: Callable[[TagSet], TagSet]) -> ContactState:
    """The state with every tag as `read` spells it; of two dates of one tag the later counts."""
    return build_state({field.name: _respell(field.kind, value, read) for field, value in state_fields(state)})


def _respell(kind: object, value: Any, read: Callable[[TagSet], TagSet]) -> Any:
    if value is None:
        return None
    if kind == TagSet:
        return read(value)
    if kind == DatedTags:
        return _respell_dated(value, read)
    return replace(value, tags=read(value.tags)) if kind is ContactReading else value


def _respell_dated(dated: DatedTags, read: Callable[[TagSet], TagSet]) -> DatedTags:
    latest: dict[Tag, Instant] = {}
    for tag, at in dated:
        for spelt in read(frozenset({tag})):
            latest[spelt] = max(at, latest.get(spelt, at))
    return tuple(sorted(latest.items()))
