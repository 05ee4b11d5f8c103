"""Laws of slow release: how many additions may go when, and who goes first."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.batch import Reason
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunRecord, RunStatus
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.release_rules import (
    EVERY_DAY,
    ReleaseRule,
    Sent,
    Slice,
    TagPace,
    TagWindow,
    choose_first,
    describe_period,
)
from reconciler.core.planning.changes import Change, Delta
from reconciler.core.planning.slow_release import (
    Release,
    TagRelease,
    WaitingAdds,
    count_kept_runs,
    find_sent,
    last_slice,
    list_release_rules,
    longest_period,
    plan_releases,
    release_changes,
)
from tests.build import a_rule, a_set, declare

MINUTE = 60_000
HOUR = 60 * MINUTE
SETTLE = 100_000
WELCOME = Tag("welcome")
NOON = Instant(1_796_040_000_000)
PACE = ReleaseRule(TagPace(500, HOUR))
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
windows = st.builds(
    TagWindow,
    days=st.sets(st.sampled_from(EVERY_DAY), min_size=1).map(lambda days: tuple(sorted(days))),
    opens=st.integers(0, 720),
    closes=st.integers(721, 1439) | st.just(0),
    zone=zones,
)
paces = st.builds(TagPace, adds=st.integers(1, 50), per_ms=st.integers(1, 200).map(lambda minutes: minutes * MINUTE))
rules = st.builds(ReleaseRule, pace=paces | st.none(), window=windows | st.none())
moments = st.integers(NOON, NOON + 400 * 24 * HOUR).map(Instant)


def _at(text: str, zone: str) -> Instant:
    return Instant(round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000))


@given(
    pace=paces,
    attempts=st.lists(
        st.tuples(
            st.integers(0, 90 * MINUTE),
            st.integers(1, 80),
            st.integers(0, SETTLE),
            st.booleans(),
            st.booleans(),
        ),
        max_size=40,
    ),
)
def test_in_no_period_come_more_to_be_than_the_pace_allows(
    pace: TagPace, attempts: list[tuple[int, int, int, bool, bool]]
) -> None:
    """Whatever is answered, lost, or killed between intent and answer, and however late a lost request lands."""
    rule, now, batches = ReleaseRule(pace), NOON, list[BatchRecord]()
    landed: list[tuple[int, int]] = []
    for gap, wanted, late, answered, killed in attempts:
        now = Instant(now + gap)
        sent = find_sent([_run(now)], lambda _, found=tuple(batches): found, {WELCOME: rule}, now, settle_ms=SETTLE)  # type: ignore[misc]
        room = rule.room(wanted, sent.get(WELCOME, ()), now)
        if not room:
            continue
        contacts = [ContactId(f"{len(batches)}-{each}") for each in range(room)]
        arrives = now + (min(late, 5_000) if answered else late)
        landed.append((arrives, room))
        verdict = ContactOutcome(Outcome.APPLIED, added=frozenset({WELCOME})) if answered else None
        if not answered and not killed:
            verdict = ContactOutcome(Outcome.IN_DOUBT)
        ended = None if verdict is None else Instant(arrives if answered else now + 1)
        batches.append(_batch(dict.fromkeys(contacts, verdict), now, ended))
        # the answer is there before the next request is thought of
        now = Instant(max(now, arrives)) if answered else now
    for begins, _ in landed:
        assert sum(adds for at, adds in landed if begins <= at < begins + pace.per_ms) <= pace.adds


@given(rule=rules, wanted=st.integers(1, 400), before=st.lists(st.integers(-300 * MINUTE, 2 * MINUTE)), now=moments)
def test_the_slices_add_up_and_keep_the_rule(rule: ReleaseRule, wanted: int, before: list[int], now: Instant) -> None:
    sent = [Sent(Instant(now + offset), 3) for offset in before]
    forecast = rule.forecast(wanted, sent, now)
    assert forecast.number >= 1
    left, at = wanted, now
    for each in forecast.first:
        assert each.at >= at
        assert rule.room(left, sent, each.at) >= each.adds > 0
        sent.append(Sent(each.at, each.adds))
        left, at = left - each.adds, each.at
    if forecast.number == len(forecast.first):
        assert left == 0
        assert forecast.last == at
    else:
        assert left > 0


@given(rule=rules, now=moments)
def test_it_may_go_when_it_is_said_to(rule: ReleaseRule, now: Instant) -> None:
    used = (Sent(now, rule.pace.adds),) if rule.pace else ()
    then = rule.next_room(used, now)
    assert then >= now
    assert rule.room(1, used, then) == 1
    if rule.window is None and then > now:
        assert rule.room(1, used, Instant(then - 1)) == 0


@given(window=windows, now=moments)
def test_a_window_opens_by_the_clocks_of_its_zone(window: TagWindow, now: Instant) -> None:
    opens, closes = window.find_opening(now)
    assert opens < closes
    assert now < closes
    for instant in (opens, Instant(max(opens, min(now, closes - 1))), Instant(closes - 1)):
        local = datetime.fromtimestamp(instant / 1000, ZoneInfo(window.zone))
        assert local.weekday() in window.days


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    night = TagWindow((4,), 22 * 60, 6 * 60, "Europe/Berlin")
    saturday = _at("2026-12-05 05:59", "Europe/Berlin")
    opens, closes = night.find_opening(saturday)
    assert (opens, closes) == (_at("2026-12-04 22:00", "Europe/Berlin"), _at("2026-12-05 06:00", "Europe/Berlin"))
    assert night.find_opening(closes)[0] == _at("2026-12-11 22:00", "Europe/Berlin")


def test_a_window_keeps_its_hours_where_the_clocks_are_moved() -> None:
    office = TagWindow(EVERY_DAY, 9 * 60, 18 * 60, "Europe/Berlin")
    before, after = _at("2026-10-24 12:00", "UTC"), _at("2026-10-25 12:00", "UTC")
    assert office.find_opening(before)[0] == _at("2026-10-24 07:00", "UTC")
    assert office.find_opening(after)[0] == _at("2026-10-25 08:00", "UTC")


def test_hours_that_the_clocks_leave_out_are_not_waited_for() -> None:
    sunday = TagWindow((6,), 2 * 60, 3 * 60, "Europe/Berlin")
    opens, _ = sunday.find_opening(_at("2026-03-28 12:00", "Europe/Berlin"))
    assert opens == _at("2026-04-05 02:00", "Europe/Berlin")


@given(numbers=st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_who_goes_first_does_not_depend_on_how_many_go(numbers: tuple[int, int]) -> None:
    contacts = [ContactId(f"contact{each}") for each in range(40)]
    few, many = sorted(numbers)
    first = choose_first(contacts, WELCOME, few)
    assert len(first) == few
    assert set(first) <= set(choose_first(contacts[::-1], WELCOME, many))


def test_who_goes_first_is_another_for_each_tag() -> None:
    contacts = [ContactId(f"contact{each}") for each in range(40)]
    assert set(choose_first(contacts, WELCOME, 10)) != set(choose_first(contacts, Tag("other"), 10))


_CHANGES = (
    Change(Action.ADD, Tag("other"), Reason.DECLARED),
    Change(Action.ADD, WELCOME, Reason.DECLARED),
    Change(Action.REMOVE, Tag("trial"), Reason.ABSENT),
)


@given(adds=st.integers(1, 30), used=st.integers(0, 40), contacts=st.integers(1, 25))
def test_what_goes_and_what_waits_are_the_plan(adds: int, used: int, contacts: int) -> None:
    everyone = tuple(sorted(ContactId(f"contact{each}") for each in range(contacts)))
    rules = {WELCOME: ReleaseRule(TagPace(adds, HOUR))}
    release = release_changes((Delta(_CHANGES, everyone),), rules, {WELCOME: (Sent(NOON, used),)}, NOON)
    gone = {contact: delta.changes for delta in release.deltas for contact in delta.contacts}
    waiting = release.waiting[WELCOME].contacts if release.waiting else frozenset()
    assert len(everyone) - len(waiting) == max(0, min(contacts, adds - used))
    # a contact's other additions do not wait; its removals leave after its additions
    assert all(gone[contact] == (_CHANGES[:1] if contact in waiting else _CHANGES) for contact in everyone)
    assert (release.until is None) == (not waiting)


def test_what_has_no_pace_is_released_as_it_is() -> None:
    deltas = (Delta(_CHANGES, (ContactId("contact"),)),)
    assert release_changes(deltas, {}, {}, NOON) == Release(deltas)
    # neither a rule of another tag nor one of a tag that is removed holds anything back
    closed = ReleaseRule(TagPace(1, HOUR))
    sent = {Tag("trial"): (Sent(NOON, 1),), Tag("absent"): (Sent(NOON, 1),)}
    assert release_changes(deltas, dict.fromkeys(sent, closed), sent, NOON) == Release(deltas)


def test_what_waits_is_told_with_the_time_at_which_some_of_it_may_go() -> None:
    people = tuple(ContactId(f"contact{each}") for each in range(4))
    nobody_yet, all_of_it = ReleaseRule(TagPace(3, HOUR)), ReleaseRule(TagPace(2, 2 * HOUR))
    sent = {Tag("other"): (Sent(Instant(NOON - MINUTE), 2),)}
    release = release_changes((Delta(_CHANGES, people),), {WELCOME: nobody_yet, Tag("other"): all_of_it}, sent, NOON)
    (last,) = set(people) - set(choose_first(people, WELCOME, 3))
    # those that go now count: the fourth waits for a whole hour
    assert release == Release(
        deltas=(Delta(_CHANGES[1:2], tuple(sorted(set(people) - {last}))),),
        waiting={
            Tag("other"): WaitingAdds(Tag("other"), all_of_it, frozenset(people), Instant(NOON - MINUTE + 2 * HOUR)),
            WELCOME: WaitingAdds(WELCOME, nobody_yet, frozenset({last}), Instant(NOON + HOUR)),
        },
    )
    assert release.until == NOON + HOUR


def test_an_addition_that_waits_says_for_how_long_and_why() -> None:
    office = TagWindow((0, 1, 2, 3, 4), 9 * 60, 18 * 60, "Europe/Berlin")
    paced = WaitingAdds(WELCOME, PACE, frozenset(map(ContactId, ("anna", "bert"))), _at("2026-12-01 14:00", "UTC"))
    both = replace(paced, rule=replace(PACE, window=office), contacts=frozenset({ContactId("anna")}))
    night = replace(both, rule=ReleaseRule(window=office))
    crowd = replace(paced, contacts=frozenset(ContactId(str(number)) for number in range(1_200)))
    assert paced.why == "waits until 2026-12-01 14:00Z (pace of welcome: 500 in 1h)"
    assert paced.note == "2 wait until 2026-12-01 14:00Z (pace of welcome: 500 in 1h)"
    assert crowd.note == "1,200 wait until 2026-12-01 14:00Z (pace of welcome: 500 in 1h)"
    berlin = "2026-12-01 15:00 Europe/Berlin"
    assert both.note == f"1 waits until {berlin} (pace of welcome: 500 in 1h, mon-fri 09:00-18:00 Europe/Berlin)"
    assert night.why == f"waits until {berlin} (window of welcome: mon-fri 09:00-18:00 Europe/Berlin)"


def test_a_plan_tells_its_slices_and_its_end() -> None:
    everyone = tuple(ContactId(f"contact{each}") for each in range(1_200))
    sent = {WELCOME: (Sent(NOON, 100), Sent(Instant(NOON - HOUR), 7))}
    rules = {WELCOME: PACE, Tag("trial"): PACE, Tag("absent"): PACE}
    hours = [Instant(NOON + number * HOUR) for number in range(3)]
    planned = plan_releases([Delta(_CHANGES, everyone)], rules, sent, NOON)
    assert planned == (
        TagRelease(
            tag=WELCOME,
            rule="500 in 1h",
            adds=1_200,
            used=100,
            slices=(Slice(hours[0], 400), Slice(hours[1], 500), Slice(hours[2], 300)),
            slices_in_all=3,
            ends=hours[2],
        ),
    )
    assert last_slice(planned, NOON) == hours[2]


def test_a_plan_tells_each_slowly_given_tag_by_itself() -> None:
    everyone = tuple(ContactId(f"contact{each}") for each in range(3))
    slow, slower = ReleaseRule(TagPace(2, HOUR)), ReleaseRule(TagPace(1, HOUR))
    deltas = [Delta(_CHANGES, everyone[:2]), Delta(_CHANGES[1:], everyone[2:])]
    planned = plan_releases(deltas, {WELCOME: slower, Tag("other"): slow}, {}, NOON)
    assert [(each.tag, each.adds, each.used, each.slices_in_all) for each in planned] == [
        ("other", 2, 0, 1),
        ("welcome", 3, 0, 3),
    ]
    assert last_slice(planned, NOON) == NOON + 2 * HOUR
    assert plan_releases(deltas, {}, {}, NOON) == ()


def test_the_last_slice_is_now_where_nothing_waits_or_its_end_is_too_far_away() -> None:
    endless = TagRelease(WELCOME, "1 in 30d", 1_000_000, 0, (Slice(NOON, 1),), 100_000, None)
    soon = replace(endless, ends=Instant(NOON + 1))
    assert (last_slice([], NOON), last_slice([endless], NOON)) == (NOON, NOON)
    assert last_slice([endless, soon], NOON) == NOON + 1


@pytest.mark.slow
def test_a_million_at_a_slow_pace_are_told_to_end_too_far_away() -> None:
    slow = ReleaseRule(TagPace(1, 30 * 24 * HOUR))
    assert slow.forecast(1_000_000, (), NOON).last is None


def _run(started: Instant, ended: Instant | None = None) -> RunRecord:
    header = RunHeader(LocationId("loc"), "apply", "anna", started)
    return RunRecord("run", header, RunStatus.COMPLETE, ended, 1, 1)


def _batch(
    answers: dict[ContactId, ContactOutcome | None],
    intended: Instant,
    ended: Instant | None,
    *,
    status: BatchStatus = BatchStatus.ANSWERED,
    action: Action = Action.ADD,
) -> BatchRecord:
    told = {contact: Answer(verdict) for contact, verdict in answers.items()}
    return BatchRecord(action, (WELCOME,), intended, ended, status, told)


def _count(*batches: BatchRecord, now: Instant = NOON, runs: int = 1) -> dict[Tag, tuple[Sent, ...]]:
    records = [_run(Instant(NOON - MINUTE))] * runs
    return find_sent(records, lambda _: batches, {WELCOME: PACE}, now, settle_ms=SETTLE)


ENDED = Instant(NOON - 1_000)
SENT = Instant(NOON - 2_000)
LANDED = Instant(SENT + SETTLE)


def test_an_addition_counts_by_what_is_known_of_it() -> None:
    added = ContactOutcome(Outcome.APPLIED, added=frozenset({WELCOME}))
    answers: dict[ContactId, ContactOutcome | None] = {
        ContactId("added"): added,
        ContactId("there"): ContactOutcome(Outcome.NOOP),
        ContactId("refused"): ContactOutcome(Outcome.REJECTED),
        ContactId("withdrawn"): ContactOutcome(Outcome.NOT_SENT),
        ContactId("other tag"): ContactOutcome(Outcome.APPLIED, added=frozenset()),
        ContactId("spelt otherwise"): ContactOutcome(Outcome.APPLIED, added=frozenset({Tag("wellcome")})),
        ContactId("spelt so too"): ContactOutcome(Outcome.APPLIED, added=frozenset({Tag("wellcome")})),
        ContactId("in doubt"): ContactOutcome(Outcome.IN_DOUBT),
        ContactId("held"): ContactOutcome(Outcome.HELD),
        ContactId("no answer"): None,
    }
    assert _count(_batch(answers, SENT, ENDED)) == {WELCOME: (Sent(ENDED, 3), Sent(LANDED, 3))}


def test_an_intent_without_an_answer_counts_until_it_can_no_longer_land() -> None:
    batch = _batch({ContactId("one"): None}, SENT, None, status=BatchStatus.INTENDED)
    assert _count(batch) == {WELCOME: (Sent(LANDED, 1),)}
    assert _count(batch, now=Instant(LANDED + HOUR - 1))[WELCOME]
    assert _count(batch, now=Instant(LANDED + HOUR)) == {WELCOME: ()}


def test_what_is_known_to_have_had_no_effect_does_not_count() -> None:
    withdrawn = _batch({ContactId("one"): None}, SENT, ENDED, status=BatchStatus.WITHDRAWN)
    removed = _batch({ContactId("one"): None}, SENT, ENDED, action=Action.REMOVE)
    assert _count(withdrawn, removed) == {}


def test_rows_that_were_given_up_count_as_all_that_is_allowed() -> None:
    assert _count(_batch({}, SENT, ENDED)) == {WELCOME: (Sent(LANDED, 500),)}


def test_a_clock_that_was_put_back_lets_nothing_more_go() -> None:
    batch = _batch({ContactId("one"): ContactOutcome(Outcome.APPLIED, added=frozenset({WELCOME}))}, SENT, ENDED)
    earlier = Instant(NOON - 5 * HOUR)
    assert PACE.used(_count(batch, now=earlier)[WELCOME], earlier) == 1


def test_additions_are_read_by_tag_from_runs_that_may_still_count() -> None:
    """A run counts as long as what it left in doubt may have come to be within the longest of the periods."""
    slow, other, windowed = ReleaseRule(TagPace(5, 2 * HOUR)), Tag("other"), Tag("windowed")
    rules = {WELCOME: PACE, other: slow, windowed: ReleaseRule(window=TagWindow((0,), 0, 60, "UTC"))}
    oldest = Instant(NOON - 2 * HOUR - SETTLE + 1)
    runs = [
        replace(_run(SENT, None if ended is None else Instant(ended)), id=name)
        for name, ended in (("early", oldest - 1), ("oldest", oldest), ("runs", None))
    ]
    runs = [replace(run, header=replace(run.header, started=Instant(NOON - 9 * HOUR))) for run in runs]
    added = ContactOutcome(Outcome.APPLIED, added=frozenset({WELCOME, other, windowed}))
    both = replace(_batch({ContactId("anna"): added}, SENT, ENDED), tags=(other, WELCOME, windowed))
    earlier = replace(both, ended=Instant(NOON - 2 * HOUR + 1), intended=Instant(NOON - 3 * HOUR))
    batches = {"oldest": [both, earlier], "runs": [replace(both, ended=NOON)]}

    def read(run: str) -> list[BatchRecord]:
        return batches[run]

    found = find_sent(runs, read, rules, NOON, settle_ms=SETTLE)
    assert list(found.items()) == [
        (other, (Sent(Instant(NOON - 2 * HOUR + 1), 1), Sent(ENDED, 1), Sent(NOON, 1))),
        (WELCOME, (Sent(ENDED, 1), Sent(NOON, 1))),
    ]
    # the journal is not read for what has no pace
    assert find_sent(runs[:1], read, {windowed: rules[windowed]}, NOON, settle_ms=SETTLE) == {}


def test_an_answer_that_came_late_dates_what_it_left_open() -> None:
    late = Instant(SENT + SETTLE + MINUTE)
    answers: dict[ContactId, ContactOutcome | None] = {ContactId("in doubt"): ContactOutcome(Outcome.IN_DOUBT)}
    assert _count(_batch(answers, SENT, late)) == {WELCOME: (Sent(late, 1),)}
    assert _count(_batch({}, SENT, None)) == {WELCOME: (Sent(LANDED, 500),)}


def test_the_rules_of_slowly_given_tags_are_those_with_a_pace_or_a_window() -> None:
    window = TagWindow((0,), 0, 60, "UTC")
    rule = [a_rule("plain"), a_rule("paced", pace=TagPace(1, HOUR)), a_rule("timed", window=window)]
    found = list_release_rules(declare(a_set("s", "anna", "plain"), rule=rule))
    assert found == {"paced": ReleaseRule(TagPace(1, HOUR)), "timed": ReleaseRule(window=window)}
    assert longest_period(found) == HOUR
    assert longest_period({**found, WELCOME: ReleaseRule(TagPace(1, 2 * HOUR))}) == 2 * HOUR
    assert longest_period({Tag("timed"): found[Tag("timed")]}) == 0


def test_rows_are_kept_from_the_first_run_that_may_still_count() -> None:
    counts = Instant(NOON - HOUR - SETTLE + 1)
    early = Instant(counts - 1)
    begun = Instant(NOON - 9 * HOUR)
    for first, kept in (
        (_run(begun, early), 1),
        (_run(begun, counts), 3),
        # a clock that was put back
        (_run(counts, begun), 3),
        (_run(early, begun), 1),
        (_run(begun), 3),
    ):
        runs = [_run(begun, early), first, _run(begun, early), _run(begun, NOON)]
        assert count_kept_runs(runs, {WELCOME: PACE}, NOON, settle_ms=SETTLE) == kept
    assert count_kept_runs([_run(begun, early)], {WELCOME: PACE}, NOON, settle_ms=SETTLE) == 0


def test_runs_whose_additions_count_keep_their_rows() -> None:
    old, young = _run(Instant(NOON - 5 * HOUR), Instant(NOON - 4 * HOUR)), _run(Instant(NOON - HOUR), NOON)
    killed = _run(Instant(NOON - 9 * HOUR))
    assert count_kept_runs([old, old, young], {WELCOME: PACE}, NOON, settle_ms=SETTLE) == 1
    assert count_kept_runs([old, killed, young], {WELCOME: PACE}, NOON, settle_ms=SETTLE) == 2
    assert count_kept_runs([old, old, young], {}, NOON, settle_ms=SETTLE) == 0


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(60_000, "1m"), (90_000, "90s"), (5_400_000, "90m"), (3_601_000, "3601s"), (86_400_000, "1d")],
)
def test_a_period_is_told_as_it_was_given(milliseconds: int, text: str) -> None:
    """A manifest may give it in seconds, and a reviewer approves the pace that is shown."""
    assert describe_period(milliseconds) == text
