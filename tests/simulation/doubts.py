"""Invariant 6, checked from outside: nothing that is known is sent again, nor what is in doubt, but on proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations

from reconciler.core.model.outcome import Action
from tests.simulation.declared import ONCE, SPACED, canonical
from tests.simulation.evidence import GOOD, Pair, Said, Sight, Write, rows_of
from tests.simulation.facts import Facts
from tests.simulation.place import SEARCH, Exchange

SETTLE_MS = 90_000
INDEX_LAG_MS = 300_000


def repeats(facts: Facts) -> Iterator[str]:
    """6: what is known is not sent again; nor is what is in doubt, but once, and an add only on proof."""
    told: dict[Pair, tuple[Said, Write]] = {}
    doubts: Counter[Pair] = Counter()
    for write in facts.writes:
        for pair in sorted(write.pairs & told.keys()):
            said, before = told[pair]
            doubts[pair] += said is Said.DOUBT
            if said in (*GOOD, Said.REJECTED) and pair not in facts.again:
                yield f"6: {facts.name} sends {pair} again, which ended {said}"
            if said is Said.DOUBT and doubts[pair] > 1:
                yield f"6: {facts.name} sends {pair} once more, in doubt for the second time"
            if said is Said.DOUBT and pair[0] is Action.ADD and not _proven(pair, before, write, facts.sights):
                yield f"6: {facts.name} adds {pair} again, and nothing proves that the first time had no effect"
            if said is Said.REFUSED and pair[0] is Action.ADD and not _cleared(pair, before, write, facts):
                yield f"6: {facts.name} adds {pair} again, refused before, and nobody looked whether it had an effect"
        told.update((pair, (said, write)) for pair, said in write.told())


def _proven(pair: Pair, before: Write, write: Write, sights: Iterable[Sight]) -> bool:
    """Whether a read, once nothing could land any more, showed the contact without the tag and untouched since.

    Who keeps a tag in a spelling of his own, and had it there before, shows it where nobody knows it again.
    """
    sent, respelt = before.exchange.at, pair[2] == canonical(SPACED)
    return any(
        sight.contact == pair[1]
        and sight.exchange.at >= sent + SETTLE_MS
        and (sight.exchange.ended or 0) <= write.exchange.at
        and (respelt or pair[2] not in sight.tags)
        and sight.updated < sent
        for sight in sights
    )


def _cleared(pair: Pair, before: Write, write: Write, facts: Facts) -> bool:
    """Whether reads after a refusal showed no trace of it, one of them once nothing could land any more: of any of its
    contacts, of the pair's own where the tag starts something. A trace makes a doubt of it: a date that moved, or a tag
    that it did bring, as the server's own log has it.
    """
    sent, told = before.exchange.at, before.exchange.ended or before.exchange.at
    seen = [
        sight
        for sight in facts.sights
        if sight.contact in before.contacts
        and sight.exchange.method == "GET"
        and told <= sight.exchange.at
        and (sight.exchange.ended or 0) <= write.exchange.at
    ]
    first = [sight for sight in seen if not _written(facts, sight.contact, told, sight.exchange.at)]
    arrived = {(each.contact, canonical(each.tag)) for each in facts.log if sent <= each.at <= told}
    if any(sight.updated >= sent or arrived & {(sight.contact, tag) for tag in sight.tags} for sight in first):
        return _proven(pair, before, write, facts.sights)
    late = sent + SETTLE_MS
    looked = {sight.contact for sight in seen if late <= sight.exchange.at}
    looked |= {who for who, each in facts.unfound if late <= each.at and (each.ended or 0) <= write.exchange.at}
    return pair[1] in looked if pair[2] == ONCE else not looked.isdisjoint(before.contacts)


def _written(facts: Facts, who: str, after: int, before: int) -> bool:
    """Whether the run wrote to the contact in between."""
    return any(who in each.contacts and after <= each.exchange.at < before for each in facts.writes)


def doubts_of_others(known: list[Facts]) -> Iterator[str]:
    """6: what any run left in doubt is sent again only once its contact was looked at, after nothing could land, or
    where a person asks for it; what a saved plan left in doubt is added by the same plan on proof alone.
    """
    runs = {facts.name: facts.run for facts in known}
    sights = [sight for facts in known for sight in facts.sights]
    writes = sorted((write for facts in known for write in facts.writes), key=lambda each: each.exchange.at)
    looks = [(sight.contact, *_seen(sight.exchange)) for facts in known for sight in facts.sights]
    looks += [
        (who, *_seen(write.exchange))
        for write in writes
        for who, said in write.said.items()
        if set(said.values()) & set(GOOD)
    ]
    looks += [(who, *_seen(exchange)) for facts in known for who, exchange in facts.unfound]
    told: dict[Pair, tuple[Said, Write]] = {}
    for write in writes:
        for pair in sorted(write.pairs & told.keys()):
            said, before = told[pair]
            since = before.exchange.at + SETTLE_MS
            looked = any(who == pair[1] and at >= since and end <= write.exchange.at for who, at, end in looks)
            run, earlier = runs[write.exchange.run], runs[before.exchange.run]
            refused = said is Said.REFUSED and pair[0] is Action.ADD and run is not earlier and not run.retries
            if refused and not any(
                who in before.contacts and at >= since and end <= write.exchange.at for who, at, end in looks
            ):
                yield f"6: {run.name} sends {pair}, which {earlier.name} was refused, and nobody looked"
            if said is not Said.DOUBT:
                continue
            if not looked and not run.retries:
                yield f"6: {run.name} sends {pair}, which {earlier.name} left in doubt"
            resumed = run is not earlier and bool(run.saved) and run.saved == earlier.saved
            if resumed and pair[0] is Action.ADD and not _proven(pair, before, write, sights):
                yield f"6: {run.name} adds {pair} again, which the same plan may have added in {earlier.name}"
        told.update((pair, (said, write)) for pair, said in write.told())


def _seen(exchange: Exchange) -> tuple[int, int]:
    """Of what moment an answer tells, and when it came: the index of a search lags."""
    lag = INDEX_LAG_MS if exchange.path == SEARCH else 0
    at = exchange.ended if exchange.method == "POST" and not lag else exchange.at
    return (at or exchange.at) - lag, exchange.ended or exchange.at


def order(facts: Facts) -> Iterator[str]:
    """6: a contact is in one request at a time; its removes wait until its adds ended well."""
    for first, second in combinations(facts.writes, 2):
        shared = set(first.contacts) & set(second.contacts)
        if shared and (first.exchange.ended is None or second.exchange.at < first.exchange.ended):
            yield f"6: {facts.name} has two requests under way that share {sorted(shared)}"
        if first.action is Action.ADD and second.action is Action.REMOVE:
            for who in sorted(shared):
                if not _ended_well(first, who, second, facts):
                    yield f"6: {facts.name} removes from {who}, although an add of it did not end well"


def _ended_well(add: Write, who: str, remove: Write, facts: Facts) -> bool:
    """Whether each tag of the add was told to be there, by an answer to a write or a read, before the remove left.

    An answer to a write tells of its own tags, and of those that the contact had before.
    """
    until = remove.exchange.at
    adds = [each for each in facts.writes if each.action is Action.ADD and each.exchange.at < until]
    there = {tag for each in adds for tag, said in each.said.get(who, {}).items() if said in GOOD}
    seen = [each for each in facts.sights if each.contact == who and (each.exchange.ended or 0) <= until]
    there |= {tag for each in seen if each.exchange.at > add.exchange.at for tag in each.tags}
    for each in facts.writes:
        if add.exchange.at < each.exchange.at and (each.exchange.ended or until) < until:
            told = [row for row in rows_of(each.exchange).get(who, []) if row["type"] == "success"]
            there |= {canonical(tag) for row in told for tag in row["oldTags"]}
    return set(add.tags) <= there
