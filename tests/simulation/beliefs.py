"""What the product says of others and believes of a location, held against what they did and what it is like: by the
logs and the server's own assumptions, never by the product's word.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.model.api_limits import LocationFacts as Learnt
from reconciler.core.model.batch import Reason
from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import find_drift
from reconciler.store import open_reader
from tests.sandbox.faults import FaultKind
from tests.simulation.declared import PEOPLE, SPACED, as_desired, canonical
from tests.simulation.evidence import GOOD, Pair, Sight, Write, document, rows_of
from tests.simulation.facts import Facts, facts_of
from tests.simulation.invariants import Violated
from tests.simulation.place import SEARCH, Place
from tests.simulation.program import Run
from tests.simulation.town import Town

UNTRIED = (Outcome.NOT_SENT, Outcome.DEFERRED)
MOST_PAGES = 2
"""Of a location that fits one: that one, and one that is empty or the same once more."""


def check_beliefs(town: Town) -> None:
    """Raises Violated with every word that is not true, and every belief that nothing told."""
    found = [each for location in town.places for each in _location(town, location)]
    if found:
        raise Violated("\n".join(found))


def _location(town: Town, location: LocationId) -> Iterator[str]:
    place = town.places[location]
    known = [facts for run in town.runs if (facts := facts_of(town, run, location))]
    for facts in known:
        yield from actions(facts, known)
        yield from restored(facts, known)
        yield from looks(facts)
        yield from searches(place, facts)
        yield from gone(facts)
    with open_reader(town.url) as reader:
        state = reader.at(location).load_state()
    yield from sizes(place, known, state.facts)
    yield from habit(place, state.facts)
    desired = as_desired(town.wanted(location), location, town.clock.now())
    for each in find_drift(desired, state, now=town.clock.now()).drifted:
        carried = [who for who in each.contacts if who in PEOPLE and _carries(place, who, each.tag)]
        if each.drift is DriftClass.MISSING and carried:
            yield f"8: {each.tag} is told as missing on {carried}, who carry it"


def _carries(place: Place, who: str, tag: str) -> bool:
    return canonical(tag) in map(canonical, place.crm.tags_of(who))


def actions(facts: Facts, known: list[Facts]) -> Iterator[str]:
    """10: what did not end well is listed by what was tried, by this run or an earlier one."""
    if facts.report is None:
        return
    tried = {
        pair for each in known for write in each.writes if write.exchange.at <= facts.run.ended for pair in write.pairs
    }
    tried |= {pair for each in known if each.run.killed for pair in _meant(each.run)}
    for each in facts.report.findings:
        # what was not tried is listed by what it was to be
        for tag in map(canonical, each.tags if each.outcome not in UNTRIED else ()):
            other = Action.REMOVE if each.action is Action.ADD else Action.ADD
            if (each.action, each.contact, tag) not in tried and (other, each.contact, tag) in tried:
                yield f"10: {facts.name} lists {tag} on {each.contact} to {each.action}, and it was to {other}"


def _meant(run: Run) -> Iterator[Pair]:
    """What a run had written down to send: where it died before the request left, a later run is in doubt about that,
    and the server saw nothing of it.
    """
    for batch in run.intents:
        yield from ((batch.action, who, canonical(tag)) for who in batch.contacts for tag in batch.tags)


def gone(facts: Facts) -> Iterator[str]:
    """8: nothing is sent to a contact that was read as gone for this very plan."""
    if facts.run.refresh != "get" or not facts.run.heeds_gone or facts.run.saved or facts.run.undoes or not facts.alone:
        return
    first = min((write.exchange.at for write in facts.writes), default=0)
    # a word that a fault spoilt may not be known again
    plain = [(who, each) for who, each in facts.unfound if each.fault in (None, FaultKind.UNFOUND)]
    seen = [sight.exchange.at for sight in facts.sights if sight.exchange.at <= first]
    # that the token may not see a contact tells of the contact where it saw another one afterwards, else of the token
    plain = [(who, each) for who, each in plain if each.status != 403 or any(each.at < at for at in seen)]
    away = {who for who, each in plain if (each.ended or each.at) <= first}
    away -= {sight.contact for sight in facts.sights if (sight.exchange.ended or 0) <= first}
    for write in facts.writes:
        for who in sorted(away.intersection(write.contacts)):
            yield f"8: {facts.name} sends to {who}, which it had read as gone"


def restored(facts: Facts, known: list[Facts]) -> Iterator[str]:
    """10: only what somebody saw on a contact was taken away by others."""
    if facts.run.saved or facts.run.undoes:
        return
    changes = [
        (who, canonical(change.tag))
        for delta in facts.plan.deltas
        for change in delta.changes
        if change.reason is Reason.RESTORED
        for who in delta.contacts
    ]
    if not changes:
        return
    before = [each for each in known if each.run.began <= facts.run.ended]
    shown = {(sight.contact, tag) for each in before for sight in each.sights for tag in sight.tags}
    told = {pair[1:] for each in before for write in each.writes for pair, said in write.told() if said in GOOD}
    for write in (write for each in before for write in each.writes):
        # an answer shows what was there before the request, too
        for who, rows in rows_of(write.exchange).items():
            shown |= {(who, canonical(tag)) for row in rows for tag in row.get("oldTags", ())}
    for who, tag in sorted({*changes} - shown - told):
        yield f"10: {facts.name} restores {tag} on {who}, where nobody ever saw it"


def looks(facts: Facts) -> Iterator[str]:
    """8: the newest look counts: what was read to be there is not added for want of it, whatever was searched."""
    if facts.run.refresh != "get" or facts.run.saved or facts.run.undoes or facts.run.retries or not facts.alone:
        return
    if any(sight.exchange.at > facts.run.began for sight in facts.sights if sight.exchange.method != "GET"):
        for sight in _planned_on(facts):
            # a tag in the location's own spelling is not known again before an answer told of it
            for tag in sorted(sight.tags - {canonical(SPACED)}):
                if (Action.ADD, sight.contact, tag) in facts.changes:
                    yield f"8: {facts.name} adds {tag} to {sight.contact}, where it had read it"


def _planned_on(facts: Facts) -> list[Sight]:
    """What was read one by one before anything was sent, or the last search ended."""
    ends = [each.exchange.ended or 0 for each in facts.sights if each.exchange.path == SEARCH]
    first = min((write.exchange.at for write in facts.writes), default=max(ends))
    return [each for each in facts.sights if each.exchange.method == "GET" and each.exchange.at < min(first, max(ends))]


def searches(place: Place, facts: Facts) -> Iterator[str]:
    """8: a search that comes back to where it was is left; where hits vanish and come back, nobody can tell that."""
    if place.crm.assumptions.search_flickers_ms:
        return
    number = 0
    for each in place.exchanges:
        if each.run != facts.name or each.path != SEARCH:
            continue
        number = 0 if b"searchAfter" not in each.body else number
        if number >= MOST_PAGES:
            yield f"8: {facts.name} asks for more than {MOST_PAGES} pages of a location that fits one"
        number += document(each) is not None


def sizes(place: Place, known: list[Facts], learnt: Learnt) -> Iterator[str]:
    """7: no smaller size is believed than the API takes, unless a larger request was refused twice."""
    rules = place.crm.assumptions
    writes = [write for facts in known for write in facts.writes]
    for size, real, what in (
        (learnt.max_contacts, rules.max_contacts, "contacts"),
        (learnt.max_tags, rules.max_tags, "tags"),
    ):
        if size is not None and size < real and not _refused_twice(writes, size, what):
            yield f"7: {size} {what} are believed to be the most of a request, and {real} are"


def _refused_twice(writes: list[Write], size: int, what: str) -> bool:
    refused = [
        (write.exchange.run, write.action, write.contacts, write.tags)
        for write in writes
        if write.exchange.status is not None and 400 <= write.exchange.status < 500
        if len(write.contacts if what == "contacts" else write.tags) > size
    ]
    return len(set(refused)) < len(refused)


def habit(place: Place, learnt: Learnt) -> Iterator[str]:
    """7: whether a write of tags moves a contact's date is believed as it is."""
    moves = place.crm.assumptions.tag_write_moves_date
    if learnt.moves_updated not in (None, moves):
        yield f"7: a write of tags is believed {'' if learnt.moves_updated else 'not '}to move the date of its contact"
