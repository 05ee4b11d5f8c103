"""What the logs say of a run: parsed here anew, by the vendor's documents, not by the product.

A delivered answer makes the outcome of a pair known where the contact has exactly one row and that row agrees with
itself and the request; everything else that may have had an effect leaves a doubt.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from reconciler.core.outcome import Action
from tests.simulation.place import BULK, Exchange, Place

Pair = tuple[Action, str, str]
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
    DOUBT = "doubt"


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
    contacts, tags = tuple(body["contacts"]), tuple(body["tags"])
    rows = _rows(exchange)
    said = {contact: _said(exchange, action, tags, rows.get(contact, [])) for contact in contacts}
    return Write(exchange, action, contacts, tags, said)


def _rows(exchange: Exchange) -> dict[str, list[dict[str, Any]]]:
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
    if exchange.status is not None and (exchange.status == 429 or 300 <= exchange.status < 500):
        return dict.fromkeys(tags, Said.UNTOUCHED)
    if exchange.raised == "ConnectError":
        return dict.fromkeys(tags, Said.UNTOUCHED)
    if len(rows) != 1:
        return dict.fromkeys(tags, Said.DOUBT)
    (row,) = rows
    if row["type"] == "error" and not row.get("tagsAdded") and not row.get("tagsRemoved"):
        return dict.fromkeys(tags, Said.REJECTED if row["message"] in REJECTED else Said.DOUBT)
    if row["type"] != "success":
        return dict.fromkeys(tags, Said.DOUBT)
    old, added, removed = set(row["oldTags"]), set(row["tagsAdded"]), set(row["tagsRemoved"])
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
        found += [Sight(each, row["id"], frozenset(row["tags"]), _moment(row)) for row in rows if "tags" in row]
    return found


def unfound_by(place: Place, run: str) -> list[tuple[str, Exchange]]:
    """The contacts that a read did not find."""
    reads = [each for each in place.exchanges if each.run == run and each.method == "GET"]
    return [(each.path.rpartition("/")[2], each) for each in reads if each.status in (400, 403, 404, 422)]


def _moment(row: dict[str, Any]) -> int:
    return round(datetime.fromisoformat(row["dateUpdated"]).timestamp() * 1000)
