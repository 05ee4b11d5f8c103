"""What the logs say of a run: parsed here anew, by the vendor's documents, not by the product.

A delivered answer makes the outcome of a pair known where the contact has exactly one row and that row agrees with
itself and the request. 401, 403, 429 and a refused connection are known not to have had an effect. Every other refusal
may have had one, whatever it says; everything else leaves a doubt.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from reconciler.core.model.outcome import Action
from tests.sandbox.faults import FaultKind
from tests.simulation.declared import canonical
from tests.simulation.place import BULK, Exchange, Place

Pair = tuple[Action, str, str]
UNTOUCHING = (401, 403, 429)
ABSENT = ("Contact not found", "contact is deleted", "contact id is not a valid firebase id")
REJECTED = (
    "contact id is not a valid firebase id",
    "contact is deleted",
    "contact does not belong to location",
)


class Said(StrEnum):
    """What a run was told of a pair by one exchange."""

    APPLIED = "applied"
    NOOP = "noop"
    REJECTED = "rejected"
    UNTOUCHED = "untouched"
    REFUSED = "refused"
    DOUBT = "doubt"


GOOD = (Said.APPLIED, Said.NOOP)


@dataclass(frozen=True)
class Write:
    """One bulk request, read off the log."""

    exchange: Exchange
    action: Action
    contacts: tuple[str, ...]
    tags: tuple[str, ...]
    said: dict[str, dict[str, Said]]

    @property
    def pairs(self) -> set[Pair]:
        return {(self.action, contact, tag) for contact in self.contacts for tag in self.tags}

    def told(self) -> Iterator[tuple[Pair, Said]]:
        for contact, tags in self.said.items():
            for tag, said in tags.items():
                yield (self.action, contact, tag), said


def writes_of(place: Place, run: str) -> list[Write]:
    """The bulk requests of a run, in the order in which they left."""
    return [_write(each) for each in place.exchanges if each.run == run and each.path.startswith(BULK)]


def _write(exchange: Exchange) -> Write:
    body = json.loads(exchange.body)
    action = Action(exchange.path.removeprefix(BULK))
    contacts, tags = tuple(body["contacts"]), tuple(map(canonical, body["tags"]))
    rows = rows_of(exchange)
    said = {contact: _said(exchange, action, tags, rows.get(contact, [])) for contact in contacts}
    return Write(exchange, action, contacts, tags, said)


def rows_of(exchange: Exchange) -> dict[str, list[dict[str, Any]]]:
    """The rows of an answer to a write, by contact; none where no whole answer of success was delivered."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in (document(exchange) or {}).get("responses", []):
        read = json.loads(row) if isinstance(row, str) else row
        found[read["contactId"]].append(read)
    return found


def document(exchange: Exchange) -> dict[str, Any] | None:
    """The answer, where a whole one of success was delivered."""
    if exchange.status is None or not 200 <= exchange.status < 300 or exchange.answer is None:
        return None
    try:
        found = json.loads(exchange.answer)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _said(exchange: Exchange, action: Action, tags: Iterable[str], rows: list[dict[str, Any]]) -> dict[str, Said]:
    if exchange.raised == "ConnectError" or exchange.status in UNTOUCHING:
        return dict.fromkeys(tags, Said.UNTOUCHED)
    if exchange.status is not None and 300 <= exchange.status < 500:
        return dict.fromkeys(tags, Said.REFUSED)
    if len(rows) != 1:
        return dict.fromkeys(tags, Said.DOUBT)
    (row,) = rows
    if row["type"] == "error" and not row.get("tagsAdded") and not row.get("tagsRemoved"):
        return dict.fromkeys(tags, Said.REJECTED if row["message"] in REJECTED else Said.DOUBT)
    if row["type"] != "success":
        return dict.fromkeys(tags, Said.DOUBT)
    old, added, removed = (set(map(canonical, row[key])) for key in ("oldTags", "tagsAdded", "tagsRemoved"))
    changed, other = (added, removed) if action is Action.ADD else (removed, added)
    expected = set(tags) - old if action is Action.ADD else set(tags) & old
    if other or changed != expected:
        return dict.fromkeys(tags, Said.DOUBT)
    return {tag: Said.APPLIED if tag in changed else Said.NOOP for tag in tags}


@dataclass(frozen=True)
class Sight:
    """A contact's tags as an answer to a read showed them, and when it was last changed by the server's clock."""

    exchange: Exchange
    contact: str
    tags: frozenset[str]
    updated: int


def sights_of(place: Place, run: str) -> list[Sight]:
    found = []
    for each in place.exchanges:
        shown = document(each) if each.run == run and not each.path.startswith(BULK) else None
        rows = [shown["contact"]] if shown and "contact" in shown else (shown or {}).get("contacts", [])
        if each.method == "GET":
            # who answers under another id has said nothing of the one that was asked for, and little of the other
            rows = [row for row in rows if row["id"] == each.contact]
        found += [
            Sight(each, row["id"], frozenset(map(canonical, row["tags"])), _moment(row))
            for row in rows
            if "tags" in row
        ]
    return found


def unfound_by(place: Place, run: str) -> list[tuple[str, Exchange]]:
    """The contacts of which a read said, in the vendor's words, that they are not there; nobody unpacks a bomb."""
    reads = [each for each in place.exchanges if each.run == run and each.method == "GET"]
    said = [each for each in reads if each.fault is not FaultKind.BOMB]
    return [(each.contact, each) for each in said if each.status == 403 or _message(each) in ABSENT]


def _message(exchange: Exchange) -> str:
    """What an error body says, empty where it is none of the vendor's."""
    if exchange.status is None or not 400 <= exchange.status < 500 or exchange.answer is None:
        return ""
    try:
        found = json.loads(exchange.answer)["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    return "; ".join(found) if isinstance(found, list) else str(found)


def _moment(row: dict[str, Any]) -> int:
    return round(datetime.fromisoformat(row["dateUpdated"]).timestamp() * 1000)
