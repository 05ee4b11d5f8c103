"""The text of a plan's document, part by part: that of a million contacts is never in memory as a whole.

Law: the parts are the text of `plan_document`, in its order and without blanks, and every string stands in one of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from reconciler.core.formats.plan_json import FORMAT_VERSION, FORMS
from reconciler.core.model import JsonObject
from reconciler.core.model.batch import Batch
from reconciler.core.model.safe_text import list_text
from reconciler.core.planning.changes import Change, Delta
from reconciler.core.planning.plan import LocationPlan, Plan


def plan_parts(plan: Plan, digest: str = "") -> Iterator[str]:
    """The text of the plan's document, part by part; `digest`: as `digest_document` has it, where it is known."""
    opening: JsonObject = {"format_version": FORMAT_VERSION, "digest": digest or digest_document(plan)}
    return _Writer(is_canonical=False).list_parts(plan, opening)


def digest_document(plan: Plan) -> str:
    """The digest that seals the plan's document, of which `seal` is the whole."""
    sealed = hashlib.sha256()
    for part in _Writer(is_canonical=True).list_parts(plan, {"format_version": FORMAT_VERSION}):
        sealed.update(part.encode())
    return f"sha256:{sealed.hexdigest()}"


AT_ONCE = 1_000
"""So many items of a list are one part."""
Parts = Callable[[Any], Iterator[str]]


class _Writer:
    """Writes a plan, in the order of its members or in the canonical one, which is that of their names."""

    def __init__(self, *, is_canonical: bool) -> None:
        self._is_canonical = is_canonical
        self._text = json.JSONEncoder(separators=(",", ":"), sort_keys=is_canonical).encode
        # contacts by the hundred thousand need the same few changes, nearly each of which is one object
        self._changes: dict[int, str] = {}

    def list_parts(self, plan: Plan, opening: JsonObject) -> Iterator[str]:
        """`opening`: the members before those of the plan."""
        members = {name: iter((self._text(value),)) for name, value in opening.items()}
        return self._object(members | self._members(plan, {"locations": self._locations}))

    def _locations(self, locations: Iterable[LocationPlan]) -> Iterator[str]:
        yield "["
        for place, location in enumerate(locations):
            yield "," if place else ""
            yield from self._object(self._members(location, {"deltas": self._deltas, "batches": self._batches}))
        yield "]"

    def _members(self, value: object, parts: Mapping[str, Parts]) -> dict[str, Iterator[str]]:
        """The parts of each member; `parts`: how those of a long one are made, by its name."""
        return {
            name: parts[name](part) if name in parts else iter((self._text(form.write(part)),))
            for name, part, form in FORMS.list_members(value)
        }

    def _object(self, members: Mapping[str, Iterator[str]]) -> Iterator[str]:
        names = sorted(members) if self._is_canonical else members
        for place, name in enumerate(names):
            yield f'{"," if place else "{"}"{name}":'
            yield from members[name]
        yield "}"

    def _list(self, texts: Iterator[str]) -> Iterator[str]:
        yield f"[{next(texts, '')}"
        while some := list(islice(texts, AT_ONCE)):
            yield f",{','.join(some)}"
        yield "]"

    def _deltas(self, deltas: Iterable[Delta]) -> Iterator[str]:
        return self._list(map(self._delta, deltas))

    def _delta(self, delta: Delta) -> str:
        changes = ",".join(map(self._change, delta.changes))
        return f'{{"changes":[{changes}],"contacts":{list_text(delta.contacts)}}}'

    def _change(self, change: Change) -> str:
        if (text := self._changes.get(id(change))) is None:
            text = self._changes[id(change)] = self._text(FORMS.write(change))
        return text

    def _batches(self, batches: Iterable[Batch]) -> Iterator[str]:
        return self._list(map(self._batch, batches))

    def _batch(self, batch: Batch) -> str:
        return "".join(self._object(self._members(batch, {"contacts": lambda contacts: iter((list_text(contacts),))})))
