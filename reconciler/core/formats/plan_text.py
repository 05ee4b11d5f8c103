"""The text of a plan's document, part by part: that of a million contacts is never in memory as a whole.

Law: the parts are the text of `plan_document`, in its order and without blanks, and every string stands in one of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from reconciler.core.formats.plan_json import FORMAT_VERSION, FORMS
from reconciler.core.model import JsonObject
from reconciler.core.planning.changes import Delta
from reconciler.core.planning.plan import LocationPlan, Plan


def plan_parts(plan: Plan) -> Iterator[str]:
    """The text of the plan's document, part by part."""
    sealed = hashlib.sha256()
    for part in _Writer(is_canonical=True).list_parts(plan, {"format_version": FORMAT_VERSION}):
        sealed.update(part.encode())
    opening: JsonObject = {"format_version": FORMAT_VERSION, "digest": f"sha256:{sealed.hexdigest()}"}
    return _Writer(is_canonical=False).list_parts(plan, opening)


class _Writer:
    """Writes a plan, in the order of its members or in the canonical one, which is that of their names."""

    def __init__(self, *, is_canonical: bool) -> None:
        self._is_canonical = is_canonical
        self._text = json.JSONEncoder(separators=(",", ":"), sort_keys=is_canonical).encode
        # contacts by the hundred thousand need the same few changes
        self._change = cache(lambda change: self._text(FORMS.write(change)))

    def list_parts(self, plan: Plan, opening: JsonObject) -> Iterator[str]:
        """`opening`: the members before those of the plan."""
        members = {name: iter((self._text(value),)) for name, value in opening.items()}
        return self._object(members | self._members(plan, {"locations": self._location}))

    def _location(self, location: LocationPlan) -> Iterator[str]:
        return self._object(self._members(location, {"deltas": self._delta, "batches": self._item}))

    def _members(self, value: object, items: Mapping[str, Callable[[Any], Iterator[str]]]) -> dict[str, Iterator[str]]:
        """The members; `items`: by the name of a long list, the parts of one of its items."""
        return {
            name: self._list(part, items[name]) if name in items else iter((self._text(form.write(part)),))
            for name, part, form in FORMS.list_members(value)
        }

    def _object(self, members: Mapping[str, Iterator[str]]) -> Iterator[str]:
        names = sorted(members) if self._is_canonical else members
        for place, name in enumerate(names):
            yield f'{"," if place else "{"}"{name}":'
            yield from members[name]
        yield "}"

    def _list(self, items: Any, item_parts: Callable[[Any], Iterator[str]]) -> Iterator[str]:
        yield "["
        for place, item in enumerate(items):
            if place:
                yield ","
            yield from item_parts(item)
        yield "]"

    def _delta(self, delta: Delta) -> Iterator[str]:
        changes = ",".join(map(self._change, delta.changes))
        yield f'{{"changes":[{changes}],"contacts":{self._text(delta.contacts)}}}'

    def _item(self, item: object) -> Iterator[str]:
        yield self._text(FORMS.write(item))
