"""Which additions of slowly given tags may go now, by the journal, and when the others may. Pure.

Rules
1. An addition counts from the journal, for a period after the latest moment at which it may have come to be: with its
   answer; in doubt, or without an answer, when its request can no longer take effect. It counts on where that doubt is
   settled later. Noops, rejected and withdrawn additions do not count.
2. A batch without its rows counts as all that the pace allows.
3. Additions of further tags to a contact do not wait. Its removals do: they leave after its adds, as ever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import NONE
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunRecord
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.release_rules import ReleaseRule, Sent, Slice, choose_first, local_time
from reconciler.core.planning.changes import WAITS_UNTIL, Change, Delta, contacts_by_tag, keep_changes

Rules = Mapping[Tag, ReleaseRule]
SentAdds = Mapping[Tag, tuple[Sent, ...]]
_WITHOUT_EFFECT = (Outcome.NOOP, Outcome.REJECTED, Outcome.NOT_SENT)


def list_release_rules(desired: Desired) -> dict[Tag, ReleaseRule]:
    """The rules of the tags that are given slowly."""
    return {tag: release for tag, rule in desired.rules.items() if (release := rule.release) is not None}


def longest_period(rules: Rules) -> int:
    """The longest period of these rules in milliseconds; 0 where none has a pace."""
    return max((rule.pace.per_ms for rule in rules.values() if rule.pace is not None), default=0)


def count_kept_runs(runs: Sequence[RunRecord], rules: Rules, now: Instant, *, settle_ms: int) -> int:
    """So many of the last runs may have sent what still counts: their rows must be kept."""
    period = longest_period(rules)
    if not period:
        return 0
    # an addition in doubt counts from the end of the time in which it may still come to be (rule 1)
    since = now - period - settle_ms
    # from the first of them on: the journal keeps the rows of its last runs, without gaps
    first = next((place for place, run in enumerate(runs) if _ends_after(run, since)), len(runs))
    return len(runs) - first


def _ends_after(run: RunRecord, since: int) -> bool:
    return run.ended is None or max(run.ended, run.header.started) > since


def find_sent(
    runs: Iterable[RunRecord],
    read_batches: Callable[[str], Iterable[BatchRecord]],
    rules: Rules,
    now: Instant,
    *,
    settle_ms: int,
) -> dict[Tag, tuple[Sent, ...]]:
    """The additions of tags with a pace that count at `now`. `read_batches`: of a run, in the spelling of the rules."""
    # a window alone counts nothing: the journal need not be read
    paced = {tag: rule.pace for tag, rule in rules.items() if rule.pace is not None}
    if not paced:
        return {}
    since = now - longest_period(rules) - settle_ms
    found: defaultdict[Tag, list[Sent]] = defaultdict(list)
    for run in runs:
        for batch in read_batches(run.id) if _ends_after(run, since) else ():
            if batch.action is Action.ADD and batch.status is not BatchStatus.WITHDRAWN:
                for tag in paced.keys() & set(batch.tags):
                    found[tag] += _count_batch(batch, tag, paced[tag].adds, settle_ms=settle_ms)
    return {
        tag: tuple(sorted(each for each in sent if each.adds and each.at + paced[tag].per_ms > now))
        for tag, sent in sorted(found.items())
    }


def _count_batch(batch: BatchRecord, tag: Tag, most: int, *, settle_ms: int) -> list[Sent]:
    latest = Instant(max(batch.intended + settle_ms, batch.ended or 0))
    # its rows are gone, and with them how many of its contacts were given the tag (rule 2)
    if not batch.answers:
        return [Sent(latest, most)]
    applied = sum(_has_added(answer, tag, batch.tags) for answer in batch.answers.values())
    unclear = sum(_may_have_added(answer) for answer in batch.answers.values())
    return [Sent(latest if batch.ended is None else batch.ended, applied), Sent(latest, unclear)]


def _has_added(answer: Answer, tag: Tag, sent: Sequence[Tag]) -> bool:
    verdict = answer.verdict
    if verdict is None or verdict.outcome is not Outcome.APPLIED:
        return False
    # an answer may spell a tag in a way that was not known yet
    return tag in verdict.added or not verdict.added <= frozenset(sent)


def _may_have_added(answer: Answer) -> bool:
    verdict = answer.verdict
    return verdict is None or (verdict.outcome is not Outcome.APPLIED and verdict.outcome not in _WITHOUT_EFFECT)


@dataclass(frozen=True, slots=True)
class TagRelease:
    """How a tag of a plan is given: the slices in which its additions are sent."""

    tag: Tag
    rule: str
    """The pace and the window, in words."""
    adds: int
    """The additions of the plan."""
    used: int
    """The additions that count already."""
    slices: tuple[Slice, ...]
    """The first slices."""
    slices_in_all: int
    ends: Instant | None
    """When the last slice begins; None where that is too far away to be told."""


def plan_releases(deltas: Iterable[Delta], rules: Rules, sent: SentAdds, now: Instant) -> tuple[TagRelease, ...]:
    """How each slowly given tag of a plan is given, if an apply goes on as soon as it may."""
    if not rules:
        return ()
    wanted = {tag: len(contacts) for (action, tag), contacts in contacts_by_tag(deltas).items() if action is Action.ADD}
    planned = []
    for tag, number in sorted(wanted.items()):
        if (rule := rules.get(tag)) is not None:
            counted = sent.get(tag, ())
            forecast = rule.forecast(number, counted, now)
            used = rule.used(counted, now)
            planned.append(TagRelease(tag, str(rule), number, used, forecast.first, forecast.number, forecast.last))
    return tuple(planned)


def last_slice(releases: Iterable[TagRelease], now: Instant) -> Instant:
    """When the last slice begins, as far as that can be told."""
    return max((each.ends or now for each in releases), default=now)


@dataclass(frozen=True, slots=True)
class WaitingAdds:
    """Additions of a tag that may not go yet."""

    tag: Tag
    rule: ReleaseRule
    contacts: frozenset[ContactId]
    until: Instant
    """When some of them may go."""

    @property
    def why(self) -> str:
        """The reason in words, for each of them."""
        what = "window" if self.rule.pace is None else "pace"
        return f"{WAITS_UNTIL}{local_time(self.until, self.rule.zone)} ({what} of {self.tag}: {self.rule})"

    @property
    def note(self) -> str:
        """How many wait, in words."""
        number = len(self.contacts)
        return f"{number:,} {'waits' if number == 1 else 'wait'}" + self.why.removeprefix("waits")


@dataclass(frozen=True, slots=True)
class Release:
    """The changes that may go now, and the additions that wait."""

    deltas: tuple[Delta, ...] = ()
    waiting: Mapping[Tag, WaitingAdds] = field(default_factory=dict)

    @property
    def until(self) -> Instant | None:
        """When the first of them may go; None where none waits."""
        return min((each.until for each in self.waiting.values()), default=None)


def release_changes(deltas: tuple[Delta, ...], rules: Rules, sent: SentAdds, now: Instant) -> Release:
    """Of these changes those that may go now."""
    waiting: dict[Tag, WaitingAdds] = {}
    for (action, tag), contacts in contacts_by_tag(deltas).items() if rules else ():
        if action is Action.ADD and (rule := rules.get(tag)) is not None:
            counted = sent.get(tag, ())
            room = rule.room(len(contacts), counted, now)
            if kept_back := frozenset(contacts) - frozenset(choose_first(contacts, tag, room)):
                # those that go now count from now on
                then = (*counted, Sent(now, room)) if room else counted
                waiting[tag] = WaitingAdds(tag, rule, kept_back, rule.next_room(then, now))
    if not waiting:
        return Release(deltas)
    held: defaultdict[ContactId, TagSet] = defaultdict(frozenset)
    for each in waiting.values():
        for contact in each.contacts:
            held[contact] |= {each.tag}

    def may_go(contact: ContactId, change: Change) -> bool:
        # a contact's removals leave after all of its adds (rule 3)
        kept_back = held.get(contact, NONE)
        return change.tag not in kept_back if change.action is Action.ADD else not kept_back

    return Release(keep_changes(deltas, may_go), waiting)
