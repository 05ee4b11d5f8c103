"""What the index of the API showed pulls of people: parsed here anew from the log of requests, not by the product."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reconciler.core.model.names import ContactId
from tests.simulation.evidence import document
from tests.simulation.people.crowd import HERE, Crowd, Value
from tests.simulation.people.play import Act, Life
from tests.simulation.place import SEARCH, Exchange

DUPLICATE = "/contacts/search/duplicate"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A contact as an answer showed it."""

    contact: str
    values: frozenset[Value]
    nth: int
    """Its place in the log of all answers."""
    act: str


def sought_of(exchange: Exchange) -> str:
    """What a request of a pull is for."""
    if exchange.path.endswith("/customFields"):
        return "fields"
    if exchange.path == DUPLICATE:
        return "duplicate"
    if exchange.path != SEARCH:
        return "get"
    filters = json.loads(exchange.body).get("filters", [])
    if not filters:
        return "scan"
    return "changes" if filters[0]["field"] == "dateUpdated" else "look-up"


class Seen:
    """All sightings of a world, and what was in the index of the product for sure."""

    def __init__(self, life: Life) -> None:
        self.crowd: Crowd = life.crowd
        acts = {act.name: act for act in life.acts if act.kind == "pull"}
        self.kept = {name for name, act in acts.items() if act.is_kept}
        self.asked = {name: frozenset(_asked(act)) for name, act in acts.items()}
        stored = {name for name, act in acts.items() if not act.request.dry_run}
        told = [each for each in life.place.exchanges if each.run in acts and document(each) is not None]
        self.log = sorted(told, key=lambda each: each.ended or 0)
        self.last = {each.run: nth for nth, each in enumerate(self.log)}
        self.sightings: dict[str, list[Sighting]] = {}
        self.scans = [found for name in stored if (found := self._find_scan(name)) is not None]
        """The searches that showed all contacts, and whom each showed."""
        for nth, each in enumerate(self.log):
            shown = [*_sightings(nth, each)]
            for sighting in shown:
                self.sightings.setdefault(sighting.contact, []).append(sighting)

    def _find_scan(self, act: str) -> tuple[int, frozenset[str]] | None:
        """The place in the log where a search of a pull came to its end, where that proves that it showed everybody."""
        pages = [nth for nth, each in enumerate(self.log) if each.run == act and sought_of(each) == "scan"]
        shown = [row["id"] for nth in pages for row in (document(self.log[nth]) or {}).get("contacts", [])]
        totals = {(document(self.log[nth]) or {}).get("total") for nth in pages}
        is_whole = len(pages) > 1 and totals == {len(shown)} and len(set(shown)) == len(shown)
        return (pages[-1], frozenset(shown)) if is_whole else None

    def _of(self, contact: str, act: Act) -> list[Sighting]:
        """Of this pull, of those before that kept something, in their order."""
        last = self.last.get(act.name, -1)
        return [each for each in self.sightings.get(contact, []) if each.nth <= last]

    def may_have(self, contact: str, value: Value, act: Act) -> bool:
        """Whether a pull may go by it: what it showed itself, in the order that it likes, or what is kept from before.

        A page that only tells how values can be looked up is no reading of its contacts, though it may be the newest.
        """
        for each in reversed(self._of(contact, act)):
            if value in each.values:
                return True
            if each.act in self.kept and each.act != act.name:
                return False
        return False

    def has(self, contact: str, value: Value, act: Act) -> bool:
        """Whether the index says so for sure: it was shown in a pull that kept it, and nothing took that back."""
        sightings = self._of(contact, act)
        sure = [each for each in sightings if self._is_sure(each, value, act)]
        if not sure or value not in sure[-1].values:
            return False
        since = sure[-1].nth
        if any(value not in each.values for each in sightings if each.nth >= since):
            return False
        last = self.last.get(act.name, -1)
        hidden = any(since < nth <= last and contact not in shown for nth, shown in self.scans)
        # read by id, it may have been found to be gone
        return not hidden and not self.crowd.is_gone(ContactId(contact), act.ended)

    def had(self, contact: str, value: Value, act: Act) -> bool:
        """Whether it was shown with the value in a pull that kept it."""
        return any(value in each.values for each in self._of(contact, act) if self._is_sure(each, value, act))

    def _is_sure(self, sighting: Sighting, value: Value, act: Act) -> bool:
        """Whether the pull kept what it saw, and such values at all."""
        return sighting.act in (*self.kept, act.name) and value[0] in self.asked[sighting.act]

    def holders(self, value: Value, act: Act) -> list[str]:
        """The contacts that have the value for sure, by the index."""
        return [contact for contact in sorted(self.sightings) if self.has(contact, value, act)]


def _asked(act: Act) -> Iterator[str]:
    """The kinds of the values that a pull asks for; those of other sets it need not keep."""
    for pulled in act.result.locations if act.result else ():
        for entry in pulled.sets:
            yield from () if entry.failure else act.sets[entry.name].keys


def _sightings(nth: int, exchange: Exchange) -> Iterator[Sighting]:
    shown = document(exchange) or {}
    rows = [shown["contact"]] if shown.get("contact") else shown.get("contacts", [])
    for row in rows:
        # who answers under another id has said nothing of the one that was asked for
        own = sought_of(exchange) != "get" or row["id"] == exchange.contact
        if own and row.get("locationId", HERE) == HERE:
            yield Sighting(row["id"], frozenset(_values(row)), nth, exchange.run)


def _values(row: dict[str, Any]) -> Iterator[Value]:
    for kind, own, more in (("email", "email", "additionalEmails"), ("phone", "phone", "additionalPhones")):
        for written in (row.get(own), *row.get(more, ())):
            text = written[kind] if isinstance(written, dict) else written
            if text:
                yield kind, text.lower()
    for custom in row.get("customFields", ()):
        yield "field", str(custom["value"]).lower()
