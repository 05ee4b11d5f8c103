"""The invariants of `docs/contract.md` (section 11), checked from outside: from what was approved, the log of requests,
the log of transitions and the reports. Nothing here asks the product what it thinks.

Each check yields a sentence for every violation, which begins with the number of the invariant.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import LocationId
from reconciler.core.model.outcome import Action, Outcome
from reconciler.highlevel.tokens import LOCATION_TOKEN_PATH
from tests.simulation.declared import ONCE, PEOPLE, TAGS, Declared, canonical
from tests.simulation.doubts import doubts_of_others, order, repeats
from tests.simulation.evidence import Pair, Said
from tests.simulation.facts import Facts, facts_of
from tests.simulation.ledger import adoptions, kept
from tests.simulation.place import ORIGIN, RUNS, Exchange, Place, location_token_of, token_of
from tests.simulation.program import Run
from tests.simulation.town import Town

WRITE = re.compile(r"POST /contacts/bulk/tags/update/(add|remove)")
READ = re.compile(r"GET /contacts/[A-Za-z0-9_-]+|POST /contacts/search")


class Violated(AssertionError):
    """An invariant does not hold."""


def check(town: Town) -> None:
    """Raises Violated with every violation of a world that has come to its end."""
    found = [each for location in town.places for each in violations(town, location)]
    written = _with_a_token(town.state())
    found += [each for run in town.runs for each in (*secrecy(run, written), *kept_lease(run))]
    if found:
        raise Violated("\n".join(found))


def violations(town: Town, location: LocationId) -> Iterator[str]:
    place = town.places[location]
    for exchange in place.exchanges:
        yield from form(exchange, place)
    known = [facts for run in town.runs if (facts := facts_of(town, run, location))]
    for facts in known:
        for rule in (approval, removals, undoing, repeats, order, observations, partition):
            yield from rule(facts)
    yield from doubts_of_others(known)
    yield from adoptions(known)
    yield from kept(known)
    yield from absences(known)
    yield from transitions(town, location, known)
    yield from once(town, location)
    yield from one_applier(place.exchanges)


def form(exchange: Exchange, place: Place) -> Iterator[str]:
    """4, 11: the one endpoint that changes anything, spelt with three keys; the token in one header to one origin."""
    what, run = f"{exchange.method} {exchange.path}", exchange.run
    exchanges = place.agency and what == f"POST {LOCATION_TOKEN_PATH}"
    token = location_token_of(run) if place.agency and not exchanges else token_of(run)
    if not exchange.url.startswith(ORIGIN + "/") or "?" in exchange.url:
        yield f"11: {run} asked {exchange.url}"
    if exchange.headers.get("authorization") != f"Bearer {token}":
        yield f"11: {run} sent another Authorization than its token's"
    headers = [value for name, value in exchange.headers.items() if name != "authorization"]
    secrets = (token_of(run), location_token_of(run))
    if any(secret in text for secret in secrets for text in (exchange.url, exchange.body.decode(), *headers)):
        yield f"11: the token of {run} is outside its header"
    if exchanges or READ.fullmatch(what):
        return
    if not WRITE.fullmatch(what):
        yield f"4: {run} asked {what}"
        return
    body = json.loads(exchange.body)
    if body.keys() != {"contacts", "tags", "locationId"} or body["locationId"] != place.location:
        yield f"4: {run} sent the body {body}"
    if any(not body[key] or len(set(body[key])) != len(body[key]) for key in ("contacts", "tags")):
        yield f"4: {run} sent nothing, or something twice: {body}"


def _with_a_token(written: bytes) -> bytes:
    """All of it where anybody's token is in it, else nothing: it is long, and there are many runs."""
    return written if any(token("").encode() in written for token in (token_of, location_token_of)) else b""


def secrecy(run: Run, written: bytes) -> Iterator[str]:
    """11: nor is the token in anything that we keep or say; `written`: all that the state is or was."""
    kept = {"report": repr(run.reports), "event": repr(run.events), "plan": repr(run.plan), "error": run.problem}
    for secret in (token_of(run.name), location_token_of(run.name)):
        for where, text in kept.items():
            if secret in text:
                yield f"11: a token of {run.name} is in its {where}"
        if secret.encode() in written:
            yield f"11: a token of {run.name} is in the state"


def approval(facts: Facts) -> Iterator[str]:
    """1: whatever is sent was approved."""
    for write in facts.writes:
        for pair in sorted(write.pairs - facts.changes - facts.ceilings - facts.again):
            yield f"1: {facts.name} sent {pair}, which nobody approved"


def removals(facts: Facts) -> Iterator[str]:
    """2, 3: only what is ours, or wholly ours to say, is removed; never what is desired or to be left alone."""
    declared = facts.past[-1]
    pairs = {pair for write in facts.writes if write.action is Action.REMOVE for pair in write.pairs}
    for _, who, tag in sorted(pairs):
        if tag in declared.present(who):
            yield f"3: {facts.name} removes {tag} from {who}, where it is desired"
        if declared.is_left_alone(who, tag):
            yield f"2: {facts.name} removes {tag} from {who}, where it is to be left alone"
        if not facts.run.undoes and not _may_remove(who, tag, facts.past):
            yield f"2: {facts.name} removes {tag} from {who}, and nobody asked for it"


def _may_remove(who: str, tag: str, past: list[Declared]) -> bool:
    """Whether any rule asks for it: declared absent, authority, or once declared there and not to be kept."""
    declared = past[-1]
    if tag in declared.absent(who) or declared.authority(who) is Authority.EXACT:
        return True
    if declared.authority(who) is Authority.OWNED:
        return any(tag in each.named() for each in past)
    return any(tag in each.present(who) - each.kept(who) for each in past[:-1])


def undoing(facts: Facts) -> Iterator[str]:
    """1: a run that undoes another one sends the inverse of what that one changed, and nothing else."""
    if not facts.run.undoes:
        return
    for write in facts.writes:
        for action, who, tag in sorted(write.pairs):
            if who in PEOPLE and (_INVERSE[action], who, tag) not in facts.undone:
                yield f"1: {facts.name} sends {(action, who, tag)}, which {facts.run.undoes.name} did not change"


_INVERSE = {Action.ADD: Action.REMOVE, Action.REMOVE: Action.ADD}


def absences(known: list[Facts]) -> Iterator[str]:
    """8: nobody is taken for gone, invalid or of another location but by an answer about that very contact."""
    told: dict[str, int] = {}
    for facts in known:
        for who, exchange in facts.unfound:
            told[who] = min(exchange.at, told.get(who, exchange.at))
        for write in facts.writes:
            for who in (who for who, said in write.said.items() if Said.REJECTED in said.values()):
                told[who] = min(write.exchange.at, told.get(who, write.exchange.at))
    for facts in known:
        for who in sorted({who for group in facts.plan.quarantined for who in group.contacts}):
            if told.get(who, facts.run.ended) >= facts.run.ended:
                yield f"8: {facts.name} takes {who} for unreachable, which no answer said"


def observations(facts: Facts) -> Iterator[str]:
    """8: a plan assumes of a contact only what an answer showed."""
    if facts.run.saved:
        return
    shown = {(sight.contact, sight.tags) for sight in facts.sights}
    for seen in facts.plan.observations:
        for who in seen.contacts:
            if (who, frozenset(map(canonical, seen.tags))) not in shown:
                yield f"8: {facts.name} takes {who} to carry {sorted(seen.tags)}, which no answer said"


def partition(facts: Facts) -> Iterator[str]:
    """10: the report counts every pair of the plan once, and as the answers had it."""
    report = facts.report
    if report is None:
        return
    planned, total = len(facts.changes), sum(report.pairs.values())
    pairs = {(who, tag) for _, who, tag in facts.changes | facts.ceilings | facts.again}
    # one tag was asked for, and doubts about the contact's other tags are settled and told too
    narrow = bool(facts.run.options.selection.tags)
    # as are doubts about contacts in quarantine, though no plan is made for them
    if total > facts.size and facts.alone and not facts.plan.quarantined and not narrow:
        yield f"10: {facts.name} reports {total} pairs, more than the plan has"
    if total < planned and facts.alone:
        yield f"10: {facts.name} reports {total} pairs, and {planned} were planned"
    ends = _ends(facts)
    counted = Counter(ends.values())
    unsent = facts.size - len(ends) + counted[Said.UNTOUCHED] + counted[Said.REFUSED]
    gone = {who for who, _ in facts.unfound}
    aside = {who for group in facts.plan.quarantined for who in group.contacts}
    # doubts that others left are settled and told too, also on contacts that this plan has not
    listed = facts.alone and not narrow and not gone & aside
    unfound = sum(who in gone for who, _ in pairs) if listed else len(gone) * len(TAGS)
    # what was applied and is sent again may end otherwise
    repeated = len(facts.again)
    spare = {Said.APPLIED: 0, Said.NOOP: unsent, Said.REJECTED: unfound}
    for said, more in spare.items():
        reported = report.pairs.get(Outcome(said), 0)
        if reported > counted[said] + more or (reported + repeated < counted[said] and not report.error):
            yield f"10: {facts.name} reports {reported} pairs {said}, and the answers {counted[said]}"


def _ends(facts: Facts) -> dict[Pair, Said]:
    """What came of each pair that was sent: applied once is applied, else the last word counts."""
    ends: dict[Pair, Said] = {}
    for write in facts.writes:
        ends |= {pair: said for pair, said in write.told() if ends.get(pair) is not Said.APPLIED}
    return ends


def transitions(town: Town, location: LocationId, known: list[Facts]) -> Iterator[str]:
    """7: a plan makes a pair start its automations at most once, re-assertions aside, however often it is applied; nor
    does an approval, however often it is sent.
    """
    of = {facts.name: facts for facts in known}
    added: Counter[tuple[str, str, str]] = Counter()
    for each in town.places[location].crm.transitions:
        if each.by not in RUNS or each.action is not Action.ADD:
            continue
        facts, tag = of[each.by], canonical(each.tag)
        if (each.action, each.contact, tag) not in facts.again:
            added[_approved_as(facts.run), each.contact, tag] += 1
    for (plan, who, tag), number in added.items():
        if number > 1:
            yield f"7: one plan, that of {plan}, added {tag} to {who} {number} times"


def _approved_as(run: Run) -> str:
    """What a person approved who let the run send: a file, a change digest, or this one run."""
    if run.saved:
        return hashlib.sha256(run.saved).hexdigest()
    return run.approval.name if run.approval else run.name


def once(town: Town, location: LocationId) -> Iterator[str]:
    """7: a tag that is `once` is added once, whoever consumes it, and whatever is declared meanwhile, unless a person
    asks to send once more what is held, or to undo a run that removed it.
    """
    asked = {run.name for run in town.runs if run.retries or run.undoes}
    lasting = all(declared.rules.once for declared in town.history[location])
    added: set[str] = set()
    for each in town.places[location].crm.transitions:
        if not lasting or each.by not in RUNS or each.tag != ONCE or each.action is not Action.ADD:
            continue
        if each.contact in added and each.by not in asked:
            yield f"7: {ONCE} was added to {each.contact} again, and nobody asked for it"
        added.add(each.contact)


def kept_lease(run: Run) -> Iterator[str]:
    """9: nobody loses the location who lives and never stood still, wherever his process is."""
    if not run.met_its_fate and any(
        "taken over" in told for told in (run.problem, *(each.error for each in run.reports))
    ):
        yield f"9: {run.name} was alive, and its lease was taken over"


def one_applier(exchanges: list[Exchange]) -> Iterator[str]:
    """9: at any moment the requests under way that change anything are of one run, and no run comes back."""
    changing = [each for each in exchanges if WRITE.fullmatch(f"{each.method} {each.path}")]
    over: set[str] = set()
    for first, second in pairwise(sorted(changing, key=lambda each: each.at)):
        if first.run == second.run:
            continue
        over.add(first.run)
        if first.ended is None or second.at < first.ended:
            yield f"9: {second.run} sends while a request of {first.run} is under way"
        if second.run in over:
            yield f"9: {second.run} goes on after {first.run} took over"
