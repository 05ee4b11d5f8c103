"""No pair is orphaned, after any history of partial runs and reverts, lost answers, crashes and moving manifests.

The history keeps its own books of what is really ours: a tag that a request of ours put on a contact, or that was
adopted there, until somebody takes it off or it is left there on purpose. What is ours, or may still become so, is in
the ledger; and what the ledger holds is desired, or the next plan says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Batch
from reconciler.core.model.contact_changes import (
    adopt_pairs,
    record_answer,
    record_intent,
    record_observation,
    release_pairs,
    withdraw_intent,
)
from reconciler.core.model.contact_state import ContactStates, ObservationOrigin
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunLog, RunRecord, RunStatus
from reconciler.core.model.manifest import Authority, ContactSet, OnLeave
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.planning.changes import Deferral, Diff, HeldContacts
from reconciler.core.planning.diff import diff
from reconciler.core.planning.revert import Reversal, read_reversal, undo_changes
from tests.build import HERE, NOW, SETTLE, a_rule, a_set, changed_state, declare, ids, only
from tests.sizes import how_many

PEOPLE = ids("anna bert")
TAGS = tuple(map(Tag, "abc"))
STEPS_MS = (1_000, 1_000, 20_000, SETTLE, 600_000)
NONE: TagSet = frozenset()
Pair = tuple[ContactId, Tag]


class Crashed(Exception):
    pass


def requests(found: Diff) -> Iterator[Batch]:
    """Plainer than the batch planner's, and many: two tags of one group of contacts each, the adds first."""
    for action in (Action.ADD, Action.REMOVE):
        for delta in found.deltas:
            tags = sorted(delta.tags(action))
            yield from (Batch(action, delta.contacts, tuple(tags[at : at + 2])) for at in range(0, len(tags), 2))


@dataclass
class Effect:
    """A write of ours that lands later than its answer was given up."""

    at: int
    action: Action
    contact: ContactId
    tags: TagSet
    ours: TagSet


@dataclass
class History:
    """A location, what state holds of it, and the books."""

    random: Random
    now: int = NOW
    desired: Desired = field(default_factory=declare)
    observed: ContactStates = field(default_factory=ContactStates)
    carried: dict[ContactId, set[Tag]] = field(default_factory=lambda: {each: set() for each in PEOPLE})
    deleted: set[ContactId] = field(default_factory=set)
    late: list[Effect] = field(default_factory=list)
    ours: set[Pair] = field(default_factory=set)
    taken: set[Pair] = field(default_factory=set)
    put: set[Pair] = field(default_factory=set)
    journal: list[list[BatchRecord]] = field(default_factory=list)
    adopted: list[dict[ContactId, TagSet]] = field(default_factory=list)
    undoing: Reversal | None = None
    log: list[str] = field(default_factory=list)

    def live(self, steps: int) -> None:
        kinds = (self.change_manifests, self.others_change, self.refresh, self.run, self.run, self.revert)
        for _ in range(steps):
            self.pass_time()
            self.random.choice(kinds)()
            self.check()

    def pass_time(self) -> None:
        self.now += self.random.choice(STEPS_MS)
        due = [each for each in self.late if each.at <= self.now]
        self.late = [each for each in self.late if each.at > self.now]
        for each in due:
            self.land(each.action, each.contact, each.tags, each.ours)

    def some(self, chance: float = 0.4) -> TagSet:
        return frozenset(tag for tag in TAGS if self.random.random() < chance)

    def change_manifests(self) -> None:
        sets = [self.some_set(number) for number in range(self.random.randrange(3))]
        rule = [a_rule("a", protected=self.random.random() < 0.1), a_rule("b", once=self.random.random() < 0.2)]
        self.desired = declare(*sets, rule=rule, now=self.now)
        self.log.append(f"manifests {[(each.name, each.contacts, each.tags) for each in sets]}")

    def some_set(self, number: int) -> ContactSet:
        present = self.some()
        return a_set(
            f"s{number}",
            " ".join(each for each in PEOPLE if self.random.random() < 0.6),
            " ".join(present if not number else present - {"a"}),
            absent="c" if number and "c" not in present and self.random.random() < 0.3 else "",
            authority=self.random.choice((None, None, None, Authority.OWNED, Authority.EXACT)),
            on_leave=self.random.choice((OnLeave.REMOVE, OnLeave.REMOVE, OnLeave.KEEP)),
            ignore=self.random.choice(("", "", "b")),
        )

    def others_change(self) -> None:
        contact = self.random.choice(PEOPLE)
        toggled = self.some(0.3)
        self.carried[contact] ^= toggled
        self.taken -= {(contact, tag) for tag in toggled}
        self.forget_what_is_gone(contact)
        self.deleted ^= {contact} if self.random.random() < 0.2 else set()
        self.log.append(f"others {contact} {sorted(self.carried[contact])} deleted {sorted(self.deleted)}")

    def forget_what_is_gone(self, contact: ContactId) -> None:
        gone = {(contact, tag) for tag in TAGS if tag not in self.carried[contact]}
        self.ours -= gone
        self.put -= gone

    def refresh(self) -> None:
        lag = self.random.choice((0, 300_000))
        for contact in set(PEOPLE) - self.deleted:
            seen = frozenset(self.carried[contact])
            at = Instant(self.now - lag)
            known = record_observation(
                self.observed[contact], seen, at=at, origin=ObservationOrigin.GET, settle_ms=SETTLE
            )
            self.observed.update({contact: known})
        self.log.append(f"refresh {lag}")

    def revert(self) -> None:
        """Undoes one of the last runs, or what is left of it."""
        if not self.journal:
            return
        nth = self.random.randrange(max(0, len(self.journal) - 4), len(self.journal))
        log, *later = map(a_log, self.journal[nth:], self.adopted[nth:])
        self.undoing, spent = read_reversal(log, later), {}
        self.begin()
        self.log.append(f"revert {nth}")
        try:
            for _ in range(self.random.choice((1, 2))):
                self.round(undo_changes(self.undoing, self.desired, self.observed, spent=spent), spent)
        except Crashed:
            self.log.append("crashed")
        self.undoing = None

    def begin(self) -> None:
        self.journal.append([])
        self.adopted.append({})

    def managed(self, contact: ContactId, tags: TagSet) -> TagSet:
        return tags if self.undoing is None else self.undoing.managed(contact, tags, self.desired)

    def expected(self, contact: ContactId, tags: TagSet) -> TagSet:
        """By the books: what a revert gives back is ours where it is desired, or was ours when we took it away."""
        if self.undoing is None:
            return tags
        present = self.desired.want(contact).present
        return frozenset(tag for tag in tags if tag in present or (contact, tag) in self.taken)

    def run(self) -> None:
        spent: dict[ContactId, TagSet] = {}
        self.begin()
        self.log.append("run")
        try:
            retry = only(retry_held=self.random.random() < 0.3, retry_rejected=self.random.random() < 0.3)
            for _ in range(self.random.choice((1, 2, 3))):
                self.round(diff(self.desired, self.observed, selection=retry, spent=spent), spent)
        except Crashed:
            self.log.append("crashed")

    def round(self, found: Diff, spent: dict[ContactId, TagSet]) -> None:
        self.record(found)
        failed: set[ContactId] = set()
        for batch in requests(found):
            left = tuple(each for each in batch.contacts if batch.action is Action.ADD or each not in failed)
            if left:
                failed |= self.send(replace(batch, contacts=left), spent)

    def record(self, found: Diff) -> None:
        for entry in found.ledger:
            for contact in entry.contacts:
                known = self.observed[contact]
                self.ours |= {(contact, tag) for tag in entry.adopted if tag in self.carried[contact]}
                on_purpose = known.ledger.kept if self.undoing is None else frozenset(entry.released)
                let_go = {(contact, tag) for tag in entry.released if tag in on_purpose}
                self.ours -= let_go
                if self.undoing is None:
                    # kept on leaving, it is nobody's: who adopts it later has not put it there
                    self.put -= let_go
                else:
                    given = {tag for tag in entry.released if (contact, tag) in self.put}
                    assert not given, f"{contact} {given} was put there by a run of ours, and a revert lets go of it"
                before = self.adopted[-1].get(contact, NONE)
                self.adopted[-1][contact] = before | (frozenset(entry.adopted) - known.ledger.tags)
                after = release_pairs(
                    adopt_pairs(known, frozenset(entry.adopted), keep=NONE), frozenset(entry.released)
                )
                self.observed.update({contact: changed_state(after, kept=frozenset(entry.kept))})

    def send(self, batch: Batch, spent: dict[ContactId, TagSet]) -> set[ContactId]:
        """One request with one of its many ends; the contacts that did not end well."""
        tags, sent = frozenset(batch.tags), Instant(self.now)
        before = {contact: self.observed[contact] for contact in batch.contacts}
        for contact, known in before.items():
            ours = self.managed(contact, tags)
            self.observed.update(
                {contact: record_intent(known, batch.action, ours, keep=self.desired.want(contact).keep, at=sent)}
            )
        end = self.random.choice(("answered", "answered", "answered", "lost", "withdrawn", "crash", "killed"))
        self.log.append(f"{batch.action} {batch.contacts} {batch.tags} {end}")
        if end == "killed":
            self.doubt(batch, sent)
            raise Crashed
        if end == "withdrawn":
            self.observed.update({each: withdraw_intent(self.observed[each], before[each]) for each in before})
            raise Crashed
        verdicts = {contact: self.arrive(batch.action, contact, tags, end) for contact in batch.contacts}
        if end == "crash":
            self.doubt(batch, sent)
            raise Crashed
        self.now += 500
        answers = {}
        for contact, verdict in verdicts.items():
            spent[contact] = spent.get(contact, NONE) | tags
            known = record_answer(
                self.observed[contact],
                verdict,
                batch.action,
                tags,
                sent=sent,
                answered=Instant(self.now),
                settle_ms=SETTLE,
            )
            ledger = self.observed[contact].ledger.tags
            gone = (ledger - known.ledger.tags) | (ledger & verdict.removed)
            answers[contact] = Answer(verdict, gone, ledger - before[contact].ledger.tags)
            self.observed.update({contact: known})
        self.journal[-1].append(a_record(batch, sent, answers, BatchStatus.ANSWERED))
        bad = {each for each, verdict in verdicts.items() if verdict.outcome not in (Outcome.APPLIED, Outcome.NOOP)}
        return bad if batch.action is Action.ADD else set()

    def doubt(self, batch: Batch, sent: Instant) -> None:
        """What state makes of a batch that it never saw answered."""
        tags = frozenset(batch.tags)
        unclear = dict.fromkeys(batch.contacts, Answer(ContactOutcome(Outcome.IN_DOUBT)))
        self.journal[-1].append(a_record(batch, sent, unclear, BatchStatus.IN_DOUBT))
        self.observed.update({each: self.observed[each].with_doubt(tags, sent) for each in batch.contacts})

    def arrive(self, action: Action, contact: ContactId, tags: TagSet, end: str) -> ContactOutcome:
        """What the API does with one contact of a request, now or later or never, and what it answers."""
        if contact in self.deleted:
            rejected = ContactOutcome(Outcome.REJECTED, rejection=Rejection.DELETED)
            return rejected if end == "answered" else ContactOutcome(Outcome.IN_DOUBT)
        if end == "answered" and self.random.random() < 0.8:
            old = frozenset(self.carried[contact])
            added = tags - old if action is Action.ADD else NONE
            removed = tags & old if action is Action.REMOVE else NONE
            self.land(action, contact, tags, self.expected(contact, tags))
            return ContactOutcome(
                Outcome.APPLIED if added or removed else Outcome.NOOP, old=old, added=added, removed=removed
            )
        ours = self.expected(contact, tags)
        match self.random.choice(("now", "later", "later", "never")):
            case "now":
                self.land(action, contact, tags, ours)
            case "later":
                self.late.append(Effect(self.now + self.random.randrange(1, SETTLE), action, contact, tags, ours))
        return ContactOutcome(Outcome.IN_DOUBT)

    def land(self, action: Action, contact: ContactId, tags: TagSet, ours: TagSet) -> None:
        """`ours`: what of an add is under management, and not only given back."""
        if action is Action.ADD:
            self.put |= {(contact, tag) for tag in ours - self.carried[contact]}
            self.carried[contact] |= tags
            self.ours |= {(contact, tag) for tag in ours}
        else:
            self.taken |= {(contact, tag) for tag in tags if (contact, tag) in self.ours}
            self.carried[contact] -= tags
            self.forget_what_is_gone(contact)

    def check(self) -> None:
        coming = {(each.contact, tag) for each in self.late if each.action is Action.ADD for tag in each.ours}
        for contact, tag in self.ours | coming:
            assert tag in self.observed[contact].ledger.tags, f"{contact} {tag} is ours and not in the ledger"
        found = diff(self.desired, self.observed)
        for contact in PEOPLE:
            told = self.told(found, contact)
            for tag in self.observed[contact].ledger.tags:
                assert tag in told, f"{contact} {tag} is in the ledger, and no plan says a word of it"

    def told(self, found: Diff, contact: ContactId) -> set[str]:
        """The tags of a contact that are desired, kept on purpose, or of which the plan says what becomes of them."""
        want = self.desired.want(contact)
        told: set[str] = {*want.present, *want.ignore}
        told |= {tag for tag, rule in self.desired.rules.items() if rule.protected}
        if any(contact in each.contacts for each in found.quarantined):
            told |= set(TAGS)
        for delta in found.deltas:
            told |= delta.tags(Action.REMOVE) if contact in delta.contacts else NONE
        listings: tuple[Deferral | HeldContacts, ...] = (*found.deferrals, *found.held, *found.spared)
        for listed in listings:
            told |= set(listed.tags) if contact in listed.contacts else NONE
        for entry in found.ledger:
            told |= set(entry.released) if contact in entry.contacts else NONE
        return told


def a_record(batch: Batch, sent: Instant, answers: dict[ContactId, Answer], status: BatchStatus) -> BatchRecord:
    return BatchRecord(batch.action, batch.tags, sent, None, status, answers)


def a_log(batches: list[BatchRecord], adopted: dict[ContactId, TagSet]) -> RunLog:
    header = RunHeader(HERE, "apply", "anna", Instant(NOW))
    return RunLog(RunRecord("run", header, RunStatus.COMPLETE, None, len(batches), 0), tuple(batches), adopted)


def live(seed: int) -> None:
    history = History(Random(seed))
    try:
        history.live(steps=16)
    except AssertionError as error:
        raise AssertionError(f"history {seed}: {error}\n" + "\n".join(history.log)) from error


def test_no_pair_is_orphaned() -> None:
    # 12554: kept though owned, on a contact that is refused
    for seed in (*range(60), 12_554):
        live(seed)


@pytest.mark.slow
def test_no_pair_is_orphaned_in_thousands_of_histories() -> None:
    for seed in range(60, how_many(2_200, 10_200)):
        live(seed)
