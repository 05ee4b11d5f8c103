"""Why a pair of the plan was not sent: a fact about its contact; and the commands that settle what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.model.batch import Batch, Reason
from reconciler.core.model.contact_state import NONE, ContactState, ContactStates, ObservationOrigin
from reconciler.core.model.journal import (
    Answer,
    BatchRecord,
    BatchStatus,
    FailedChange,
    LocationReport,
    RunEnding,
    RunHeader,
    RunLog,
    RunRecord,
    RunStatus,
    Shortfall,
)
from reconciler.core.model.names import Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.model.release_rules import ReleaseRule, TagPace
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import Drifted, DriftReport
from reconciler.core.planning.changes import (
    FLAPPING,
    IN_DOUBT,
    UNCONFIRMED,
    Change,
    Deferral,
    DeferralReason,
    Delta,
    HeldContacts,
)
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState
from reconciler.core.planning.slow_release import WaitingAdds
from reconciler.core.running.pair_outcomes import PairOutcomes
from reconciler.core.running.shortfalls import (
    BESIDES,
    FLAPS,
    FOREIGN,
    HELD,
    LONGEST,
    NEXT_PLAN,
    NOT_OBSERVED,
    STOPPED,
    UNOBSERVED,
    UNREACHABLE,
    RunEnd,
    drift_remedies,
    ending_of,
    explain_unsent,
    foreign_changes,
    known_remedies,
    log_remedies,
    note_left_aside,
    plan_remedies,
    report_nothing_sent,
    run_remedies,
    waits_for_release,
)
from tests.build import HERE, NOW, a_set, carries, contact_state, declare, ids, plan_options, state, tags, unseen

ADD, REMOVE = Action.ADD, Action.REMOVE
REFUSED = "the API refuses the contact: deleted"
UNTIL = "waits until 2026-11-18 11:07Z (pace of vip: 500 in 1h)"


def delta(text: str, who: str) -> Delta:
    """Such as `+vip -trial`."""
    actions = {"+": ADD, "-": REMOVE}
    return Delta(tuple(Change(actions[word[0]], Tag(word[1:]), Reason.DECLARED) for word in text.split()), ids(who))


def waiting(tag: str, who: str) -> dict[Tag, WaitingAdds]:
    rule = ReleaseRule(TagPace(500, 3_600_000))
    return {Tag(tag): WaitingAdds(Tag(tag), rule, frozenset(ids(who)), NOW)}


def explain(
    planned: str = "",
    deferred: str = "",
    *,
    known: ContactState | None = None,
    reason: DeferralReason = DeferralReason.UNTIL_OBSERVED,
    failed: Mapping[str, Outcome] | None = None,
    **end: Any,
) -> set[tuple[Outcome, str, str]]:
    """Of anna: the outcome of her pairs, what they are, and why."""
    outcomes, (anna,) = PairOutcomes(), ids("anna")
    planning = delta(planned, "anna")
    outcomes.add_planned([planning])
    deferrals = [Deferral(reason, tuple(sorted(tags(deferred))), (anna,))] if deferred else []
    outcomes.add_deferred(deferrals)
    for tag, outcome in (failed or {}).items():
        outcomes.record_failure(anna, ADD, tags(tag), outcome, "no such contact")
    observed = ContactStates() if known is None else state(anna=known)
    found = explain_unsent(outcomes, deferrals, RunEnd(observed, lambda _: planning.tags(ADD), **end))
    assert all(each.contacts == (anna,) for each in found)
    return {(each.outcome, f"{'+' if each.action is ADD else '-'}{' '.join(each.tags)}", each.why) for each in found}


def not_sent(pairs: str, why: str) -> tuple[Outcome, str, str]:
    return Outcome.NOT_SENT, pairs, why


def put_off(pairs: str, why: str) -> tuple[Outcome, str, str]:
    return Outcome.DEFERRED, pairs, why


@pytest.mark.parametrize(
    ("known", "is_stopped", "besides", "why"),
    [
        (carries(), False, "", NEXT_PLAN),
        (carries(doubt="x"), False, "", DeferralReason.UNTIL_SETTLED),
        (carries(doubt="x"), False, "anna", BESIDES),
        (carries(doubt="x"), True, "anna", STOPPED),
        (carries(quarantine=Rejection.DELETED), True, "anna", REFUSED),
    ],
    ids=["nothing known", "in doubt", "of the file alone", "stopped", "refused"],
)
def test_the_first_fact_that_holds_is_the_reason(known: ContactState, is_stopped: bool, besides: str, why: str) -> None:
    outcomes, wanted = PairOutcomes(), tags("vip")
    outcomes.add_planned([Delta((Change(Action.ADD, Tag("vip"), Reason.DECLARED),), ids("anna"))])
    end = RunEnd(state(anna=known), lambda contact: wanted, is_stopped=is_stopped, besides=ids(besides))
    assert explain_unsent(outcomes, (), end) == (
        Shortfall(Outcome.NOT_SENT, Action.ADD, (Tag("vip"),), why, ids("anna")),
    )


@pytest.mark.parametrize(
    ("planned", "more", "expected"),
    [
        ("+vip +new -trial", {}, {not_sent("+new vip", NEXT_PLAN), not_sent("-trial", NEXT_PLAN)}),
        # removals wait for each addition, whatever kept it back
        (
            "+vip +new -trial",
            {"failed": {"vip": Outcome.HELD}},
            {not_sent("+new", NEXT_PLAN), not_sent("-trial", "waits for the add of vip, which did not end well")},
        ),
        (
            "+b +a -trial",
            {"failed": {"b": Outcome.HELD, "a": Outcome.IN_DOUBT}},
            {not_sent("-trial", "waits for the add of a, b, which did not end well")},
        ),
        (
            "+vip +new -trial",
            {"waiting": waiting("vip", "anna bert")},
            {
                not_sent("+new", NEXT_PLAN),
                not_sent("+vip", UNTIL),
                not_sent("-trial", "waits for the add of vip, which was not sent"),
            },
        ),
        (
            "+vip -trial",
            {"waiting": waiting("vip", "bert")},
            {not_sent("+vip", NEXT_PLAN), not_sent("-trial", NEXT_PLAN)},
        ),
        (
            "+vip -trial",
            {"failed": {"vip": Outcome.REJECTED}},
            {not_sent("-trial", "the API refuses the contact: no such contact")},
        ),
        # no request may hold it: that is told among the changes that did not end well
        (
            "+vip -trial",
            {"failed": {"vip": Outcome.NOT_SENT}},
            {not_sent("-trial", "waits for the add of vip, which did not end well")},
        ),
    ],
)
def test_a_pair_that_was_not_sent_says_why(
    planned: str, more: dict[str, Any], expected: set[tuple[Outcome, str, str]]
) -> None:
    assert explain(planned, known=carries("trial"), **more) == expected


@pytest.mark.parametrize(
    ("planned", "more", "expected"),
    [
        ("", {}, {put_off("-old", NOT_OBSERVED)}),
        ("", {"reason": DeferralReason.INCOMPLETE}, {put_off("-old", DeferralReason.INCOMPLETE)}),
        ("", {"known": unseen(quarantine=Rejection.DELETED)}, {put_off("-old", REFUSED)}),
        ("", {"known": unseen(doubt="x")}, {put_off("-old", DeferralReason.UNTIL_SETTLED)}),
        ("", {"known": carries("old")}, set()),
        (
            "+vip +new",
            {"reason": DeferralReason.INCOMPLETE},
            {
                not_sent("+new vip", NEXT_PLAN),
                put_off("-old", "waits for the add of new, vip, which was not sent"),
            },
        ),
        # a removal of the plan that was not sent is nothing to wait for
        ("-trial", {}, {not_sent("-trial", NEXT_PLAN), put_off("-old", NOT_OBSERVED)}),
        (
            "+vip",
            {"failed": {"vip": Outcome.HELD}, "known": unseen(doubt="vip")},
            {put_off("-old", "waits for the add of vip, which did not end well")},
        ),
        (
            "+vip",
            {"failed": {"vip": Outcome.REJECTED}},
            {put_off("-old", "the API refuses the contact: no such contact")},
        ),
    ],
)
def test_a_removal_that_stays_deferred_says_why(
    planned: str, more: dict[str, Any], expected: set[tuple[Outcome, str, str]]
) -> None:
    assert explain(planned, "old", **more) == expected


def test_shortfalls_come_worst_first_then_the_most_contacts_then_by_tag() -> None:
    outcomes = PairOutcomes()
    planned = [delta("+a", "bert anna"), delta("+b", "cara dora"), delta("+c -x", "emil")]
    outcomes.add_planned(planned)
    deferral = Deferral(DeferralReason.UNTIL_OBSERVED, (Tag("y"),), ids("hugo gina fred"))
    # one that can name no ceiling names no reason either
    unnamed = Deferral(DeferralReason.EXACT, (), ids("fred"))
    outcomes.add_deferred([deferral, unnamed])
    end = RunEnd(ContactStates(), lambda _: tags("a b c"))
    assert explain_unsent(outcomes, [deferral, unnamed], end) == (
        Shortfall(Outcome.NOT_SENT, ADD, (Tag("a"),), NEXT_PLAN, ids("anna bert")),
        Shortfall(Outcome.NOT_SENT, ADD, (Tag("b"),), NEXT_PLAN, ids("cara dora")),
        Shortfall(Outcome.NOT_SENT, ADD, (Tag("c"),), NEXT_PLAN, ids("emil")),
        Shortfall(Outcome.NOT_SENT, REMOVE, (Tag("x"),), NEXT_PLAN, ids("emil")),
        Shortfall(Outcome.DEFERRED, REMOVE, (Tag("y"),), NOT_OBSERVED, ids("fred gina hugo")),
    )


def test_changes_of_a_file_alone_are_listed_by_action() -> None:
    found = foreign_changes([delta("+vip -trial", "bert anna"), delta("-trial", "cara"), delta("+new", "anna")])
    assert found == (
        Shortfall(Outcome.NOT_SENT, REMOVE, (Tag("trial"),), FOREIGN, ids("anna bert cara")),
        Shortfall(Outcome.NOT_SENT, ADD, (Tag("vip"),), FOREIGN, ids("anna bert")),
        Shortfall(Outcome.NOT_SENT, ADD, (Tag("new"),), FOREIGN, ids("anna")),
    )


def test_the_journal_keeps_a_report_in_numbers_and_its_shortfalls_by_reason() -> None:
    anna, bert = ids("anna bert")
    left = Shortfall(Outcome.NOT_SENT, ADD, (Tag("vip"),), STOPPED, ids("cara"))
    report = LocationReport(
        HERE,
        "run",
        RunStatus.STOPPED,
        rounds=2,
        requests=7,
        adopted=3,
        released=4,
        pairs={Outcome.HELD: 3, Outcome.REJECTED: 1},
        findings=(
            FailedChange(bert, Outcome.HELD, ADD, (Tag("b"), Tag("a")), "m" * LONGEST + "x"),
            FailedChange(anna, Outcome.HELD, ADD, (Tag("a"), Tag("b")), "m" * LONGEST + "y"),
            FailedChange(anna, Outcome.REJECTED, REMOVE, (Tag("x"),), "deleted"),
        ),
        reads=5,
        outside=6,
        unsent=(left,),
        error="e" * LONGEST + "x",
    )
    assert ending_of(report) == RunEnding(
        pairs=((Outcome.HELD, 3), (Outcome.REJECTED, 1)),
        rounds=2,
        reads=5,
        adopted=3,
        released=4,
        outside=6,
        error="e" * LONGEST,
        shortfalls=(
            Shortfall(Outcome.REJECTED, REMOVE, (Tag("x"),), "deleted", (anna,)),
            Shortfall(Outcome.HELD, ADD, (Tag("a"), Tag("b")), "m" * LONGEST, (anna, bert)),
            left,
        ),
    )


@pytest.mark.parametrize(
    ("short", "is_so"),
    [
        (Shortfall(Outcome.NOT_SENT, ADD, (), UNTIL, ()), True),
        (Shortfall(Outcome.NOT_SENT, ADD, (), "waits until ", ()), False),
        (Shortfall(Outcome.NOT_SENT, ADD, (), DeferralReason.UNTIL_SETTLED, ()), False),
        (Shortfall(Outcome.NOT_SENT, ADD, (), "it waits until 2026", ()), False),
        (Shortfall(Outcome.NOT_SENT, REMOVE, (), UNTIL, ()), False),
        (Shortfall(Outcome.DEFERRED, ADD, (), UNTIL, ()), False),
    ],
)
def test_what_waits_for_its_pace_alone_says_a_date(short: Shortfall, is_so: bool) -> None:
    assert waits_for_release(short) is is_so


def a_plan(*contacts: str, known: Mapping[str, ContactState], text: str = "vip", absent: str = "") -> LocationPlan:
    wanted = declare(a_set("s", contacts, text, absent=absent))
    return plan_location(wanted, LocationState(HERE, "6f1c", 1, state(**known)), plan_options())


@pytest.mark.parametrize(("status", "why"), [(RunStatus.COMPLETE, NEXT_PLAN), (RunStatus.STOPPED, STOPPED)])
def test_where_nothing_is_sent_every_pair_of_the_plan_is_told(status: RunStatus, why: str) -> None:
    plan = a_plan("anna", "bert", known={"anna": carries("old"), "bert": carries("vip", doubt="vip")}, absent="old")
    assert report_nothing_sent(plan, status) == LocationReport(
        HERE,
        "",
        status,
        pairs={Outcome.NOT_SENT: 2},
        notes=("Not as declared: 1 tag held.", HELD),
        unsent=(
            Shortfall(Outcome.NOT_SENT, REMOVE, (Tag("old"),), why, ids("anna")),
            Shortfall(Outcome.NOT_SENT, ADD, (Tag("vip"),), why, ids("anna")),
        ),
    )


def test_where_nothing_is_sent_the_changes_of_a_contact_may_be_in_two_groups() -> None:
    """As a plan file may have them: each of them is told as what it was to be."""
    plan = replace(
        a_plan("anna", known={"anna": carries("vip", ledger="vip")}),
        deltas=(delta("+a", "anna bert"), delta("+b -old", "anna")),
    )
    assert report_nothing_sent(plan).unsent == (
        Shortfall(Outcome.NOT_SENT, ADD, (Tag("a"),), NEXT_PLAN, ids("bert")),
        Shortfall(Outcome.NOT_SENT, ADD, (Tag("a"), Tag("b")), NEXT_PLAN, ids("anna")),
        Shortfall(Outcome.NOT_SENT, REMOVE, (Tag("old"),), NEXT_PLAN, ids("anna")),
    )


def test_where_nothing_is_sent_a_deferral_stays_one() -> None:
    settled = a_plan("anna", known={"anna": carries("vip", ledger="vip")})
    deferral = Deferral(DeferralReason.NEEDS_REFRESH, (Tag("old"),), ids("bert"))
    plan = replace(settled, deferrals=(deferral,), summary=replace(settled.summary, deferred=1))
    assert report_nothing_sent(plan) == LocationReport(
        HERE,
        "",
        RunStatus.COMPLETE,
        pairs={Outcome.DEFERRED: 1},
        notes=("Not decided: 1 contact deferred.",),
        unsent=(Shortfall(Outcome.DEFERRED, REMOVE, (Tag("old"),), DeferralReason.NEEDS_REFRESH, ids("bert")),),
    )


def test_a_plan_without_requests_tells_what_it_leaves_aside_and_what_is_not_decided() -> None:
    settled = a_plan("anna", known={"anna": carries("vip", ledger="vip")})
    assert note_left_aside(settled, settled.held) == ()
    held = [HeldContacts(IN_DOUBT, (Tag("vip"),), ids("anna bert"))]
    assert note_left_aside(settled, held) == ("Not as declared: 2 tags held.", HELD)
    # those that were held when the plan was made may be settled since
    assert note_left_aside(replace(settled, held=tuple(held)), []) == ()
    open_still = replace(settled, summary=replace(settled.summary, deferred=3))
    assert note_left_aside(open_still, []) == ("Not decided: 3 contacts deferred.",)
    # what is sent may decide it
    sent = replace(open_still, batches=(Batch(ADD, ids("anna"), (Tag("vip"),)),))
    assert note_left_aside(sent, held) == ("Not as declared: 2 tags held.", HELD)


@pytest.mark.parametrize(
    ("whys", "refused", "told"),
    [
        ([], False, []),
        ([IN_DOUBT], False, [HELD]),
        ([UNCONFIRMED], False, [HELD]),
        ([FLAPPING], False, [FLAPS]),
        ([FLAPPING, IN_DOUBT, "changed since"], True, [HELD, FLAPS, UNREACHABLE]),
        (["changed since"], True, [UNREACHABLE]),
    ],
)
def test_a_plan_names_the_commands_for_what_it_leaves_out(whys: list[str], refused: bool, told: list[str]) -> None:
    plan = a_plan("anna", known={"anna": carries("vip", ledger="vip")})
    held = tuple(HeldContacts(why, (Tag("vip"),), ids("anna")) for why in whys)
    assert plan_remedies(replace(plan, held=held, quarantined=held[:1] if refused else ())) == told


@pytest.mark.parametrize(
    ("drift", "told"),
    [
        (DriftClass.HELD, [HELD]),
        (DriftClass.FLAPPING, [FLAPS]),
        (DriftClass.UNREACHABLE, [UNREACHABLE]),
        (DriftClass.UNOBSERVED, [UNOBSERVED]),
        (DriftClass.MISSING, []),
    ],
)
def test_drift_names_the_commands_for_its_classes(drift: DriftClass, told: list[str]) -> None:
    drifted = (Drifted(drift, Tag("vip"), "", ids("anna")),)
    assert drift_remedies(DriftReport(HERE, 1, drifted, 1, None, None, refreshed=False)) == told


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.HELD, [HELD]),
        (Outcome.IN_DOUBT, [HELD]),
        (Outcome.REJECTED, [UNREACHABLE]),
        (Outcome.NOT_SENT, []),
        (Outcome.APPLIED, []),
    ],
)
def test_a_run_names_the_commands_for_how_its_pairs_ended(outcome: Outcome, told: list[str]) -> None:
    assert run_remedies(LocationReport(HERE, "run", RunStatus.COMPLETE, pairs={outcome: 1})) == told
    ending = RunEnding(pairs=((outcome, 1),))
    assert log_remedies(a_log(ending, Outcome.IN_DOUBT)) == told
    # a killed run wrote no ending: its answers tell
    assert log_remedies(a_log(None, outcome)) == told


def a_log(ending: RunEnding | None, *outcomes: Outcome | None) -> RunLog:
    header = RunHeader(HERE, "apply", "ops", NOW)
    answers = {
        contact: Answer(None if outcome is None else ContactOutcome(outcome))
        for contact, outcome in zip(ids("anna bert"), outcomes, strict=False)
    }
    batch = BatchRecord(ADD, (Tag("vip"),), NOW, NOW, BatchStatus.ANSWERED, answers)
    return RunLog(RunRecord("run", header, RunStatus.INTERRUPTED, None, 1, 1), (batch,), ending=ending)


def test_an_answer_that_never_came_is_in_doubt() -> None:
    assert log_remedies(a_log(None, None, Outcome.REJECTED)) == [HELD, UNREACHABLE]


def test_a_run_repeats_the_commands_of_its_notes_once() -> None:
    report = LocationReport(HERE, "run", RunStatus.COMPLETE, pairs={Outcome.HELD: 1}, notes=(FLAPS, HELD, "else"))
    assert run_remedies(report) == [HELD, FLAPS]


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ([], []),
        ([carries("vip")], []),
        ([carries("vip"), carries(doubt="vip")], [HELD]),
        ([contact_state(NONE, NOW, ObservationOrigin.GET, ledger=tags("vip"), unconfirmed=tags("vip"))], [HELD]),
        ([carries(quarantine=Rejection.DELETED), carries(doubt="vip")], [HELD, UNREACHABLE]),
    ],
)
def test_contacts_name_the_commands_for_what_is_known_of_them(known: list[ContactState], told: list[str]) -> None:
    assert known_remedies(iter(known)) == told
