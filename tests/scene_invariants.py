"""The invariants of `docs/contract.md` (section 11) for one run of a scene: from what was approved, what the location
was asked, and what happened in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.core.model.errors import StateError
from reconciler.core.model.journal import LocationReport
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, LocationId, Tag, TagSet
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.planning.approved_scope import NO_DIFFERENCE
from reconciler.core.planning.batches import count_change_pairs
from reconciler.core.planning.changes import IN_DOUBT, DeferralReason
from reconciler.core.planning.plan import LocationPlan
from reconciler.core.running.shortfalls import ending_of
from reconciler.store import open_reader

if TYPE_CHECKING:
    from tests.scene import Scene, Sent

PATH = re.compile(r"/contacts/bulk/tags/update/(add|remove)")
ENDED_WELL = (Outcome.APPLIED, Outcome.NOOP, Outcome.SEEN)


def check_run(
    scene: Scene,
    plan: LocationPlan,
    sent: list[Sent],
    report: LocationReport | None,
    owned: Mapping[ContactId, TagSet],
) -> None:
    wanted = scene.wanted[plan.location]
    allowed, opened = approved_pairs(plan), open_contacts(plan)
    # so long after it left a request may land; a run adds how late it may have left after its intent
    lands_ms = scene.options.settle_ms - scene.options.latest_ms
    settled: set[tuple[Action, ContactId, Tag]] = set()
    doubted: dict[tuple[Action, ContactId, Tag], int] = {}
    for each in sent:
        # 4, 11: one endpoint, three keys, one location, one token in one header
        assert PATH.fullmatch(each.path)
        assert each.body.keys() == {"contacts", "tags", "locationId"}
        assert each.body["locationId"] == plan.location
        assert each.headers["authorization"] == f"Bearer {scene.token}"
        assert sum(scene.token in value for value in each.headers.values()) == 1
        # 1: nothing outside what was approved
        besides = each.pairs() - allowed
        assert all(action is Action.REMOVE and contact in opened for action, contact, _ in besides)
        # 5: the intent is durable before it leaves; one contact is in one request at a time
        assert each.journalled
        # stale from then on: what was desired is not any more
        assert plan.valid_until is None or scene.undoes or each.began < plan.valid_until
        assert not any(set(each.contacts) & set(other.contacts) for other in each.alongside)
        # 6: known outcomes are not sent again, doubts only once they were read
        assert not each.pairs() & settled
        again = each.pairs() & doubted.keys()
        for pair in again:
            assert _was_read(scene, plan.location, pair[1], doubted[pair] + lands_ms, each.began)
        if each.readable:
            settled |= each.pairs()
        elif each.is_doubtful:
            settled |= again
            doubted |= dict.fromkeys(each.pairs() - again, each.began)
        for who, tag in [(who, what) for action, who, what in each.pairs() if action is Action.REMOVE]:
            want = wanted.want(who)
            # 2: owned tags only, but for what a run gives back; 3: never one that is desired
            assert tag not in want.present
            assert scene.undoes or tag in wanted.owned.union(*owned.values()) or want.authority is Authority.EXACT
    _check_order(scene, plan.location, sent)
    _check_report(scene, plan, sent, report)


def _was_read(scene: Scene, location: LocationId, contact: ContactId, since: int, until: int) -> bool:
    return any(who == contact and since <= at <= until for at, who in scene.places[location].reads)


def _searched(scene: Scene, since: int, until: int) -> bool:
    return any(since <= at <= until for place in scene.places.values() for at, _ in place.searches)


def _check_order(scene: Scene, location: LocationId, sent: list[Sent]) -> None:
    """A contact's removes leave only after its adds ended well, or were seen."""
    added: dict[ContactId, Sent] = {}
    for each in sent:
        for who in each.contacts:
            if each.action is Action.ADD:
                added[who] = each
            elif before := added.get(who):
                ended = scene.clock.ms + 1 if before.ended is None else before.ended
                assert ended <= each.began
                looked = _was_read(scene, location, who, ended, each.began) or _searched(scene, ended, each.began)
                assert before.readable or looked


def check_adds(scene: Scene, location: LocationId, since: int) -> None:
    """7: one add transition per pair and plan, whatever the requests were."""
    log = scene.places[location].crm.transitions[since:]
    ours = Counter((each.contact, each.tag) for each in log if each.by == "api" and each.action is Action.ADD)
    assert all(number == 1 for number in ours.values())


def check_token(scene: Scene) -> None:
    """11: the token is in no event and not in the state."""
    assert scene.token.encode() not in (scene.path.read_bytes() if scene.path.exists() else b"")
    assert scene.token not in repr(scene.events)


def _check_report(scene: Scene, plan: LocationPlan, sent: list[Sent], report: LocationReport | None) -> None:
    if report is None:
        return
    assert scene.token not in repr(report)
    assert report.requests == len(sent)
    # 10: every pair ends as exactly one outcome
    fixed = count_change_pairs(plan.deltas)
    deferred = sum(len(each.tags) * len(each.contacts) for each in (*plan.deferrals, *plan.held))
    total = sum(report.pairs.values())
    again = sum(len(each.tags) * len(each.contacts) for each in plan.reasserted)
    # those that only a plan file has are accounted for, too
    rest = scene.rests.get(plan.location, NO_DIFFERENCE)
    beside = count_change_pairs((*rest.besides, *rest.foreign)) + _count_besides(plan, report)
    assert fixed + deferred + again + beside >= total or open_contacts(plan)
    assert total >= fixed or scene.replanned
    answered = sum(sum(each.effect.values()) for each in sent if each.readable)
    unclear = report.pairs.get(Outcome.IN_DOUBT, 0) + report.pairs.get(Outcome.HELD, 0)
    assert answered - unclear <= report.pairs.get(Outcome.APPLIED, 0) <= answered
    _check_shortfalls(scene, report)


def _count_besides(plan: LocationPlan, report: LocationReport) -> int:
    """Doubts of earlier runs that were looked at and stay: they are told whatever was selected for this plan."""
    planned = {(contact, tag) for _, contact, tag in approved_pairs(plan)}
    held = [each for each in report.findings if each.outcome is Outcome.HELD]
    return sum((each.contact, tag) not in planned for each in held for tag in each.tags)


def _check_shortfalls(scene: Scene, report: LocationReport) -> None:
    """What did not end well is told contact by contact, with why; and the journal tells it as the report does."""
    ending, told = ending_of(report), Counter[Outcome]()
    for each in ending.shortfalls:
        told[each.outcome] += len(each.contacts) * len(each.tags)
        assert each.why
    assert told == {each: number for each, number in report.pairs.items() if each not in ENDED_WELL}
    # where the disk failed there is no journal; whoever lost the lease writes into none
    with suppress(StateError), open_reader(scene.url) as reader:
        found = reader.at(report.location).read_ending(report.run)
        # a disk that fails once the end is written fails the run, and the journal cannot say so
        written = (ending, replace(ending, error="")) if report.error else (ending,)
        assert found in written or (found is None and (report.error or not report.run))


def approved_pairs(plan: LocationPlan) -> set[tuple[Action, ContactId, Tag]]:
    changes = {
        (change.action, contact, change.tag)
        for delta in plan.deltas
        for change in delta.changes
        for contact in delta.contacts
    }
    ceilings = {
        (Action.REMOVE, contact, tag) for each in plan.deferrals for contact in each.contacts for tag in each.tags
    }
    again = {(each.action, contact, tag) for each in plan.reasserted for contact in each.contacts for tag in each.tags}
    held = {
        (action, contact, tag)
        for each in plan.held
        if each.why == IN_DOUBT
        for contact in each.contacts
        for tag in each.tags
        for action in Action
    }
    return changes | ceilings | again | held


def open_contacts(plan: LocationPlan) -> set[ContactId]:
    """From whom whatever exact authority removes was approved."""
    return {contact for each in plan.deferrals if each.reason is DeferralReason.OPEN for contact in each.contacts}
