"""What a plan remembers: what was put back lately, whom the API refused and when it is tried again, spellings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.api_limits import Alias, LocationFacts
from reconciler.core.model.contact_changes import (
    record_answer,
    record_intent,
    record_observation,
    release_pairs,
    withdraw_intent,
)
from reconciler.core.model.contact_state import QUARANTINE_MS, RESTORE_MS, ContactState, ObservationOrigin
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import Instant, SetName, Tag, fold_spelling
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection, ResponseRow, classify_rows
from reconciler.core.planning.changes import FLAPPING, UNCONFIRMED, DeferralReason, Diff
from reconciler.core.planning.diff import diff
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState
from reconciler.core.planning.tag_aliases import aliases_in, make_spelling
from tests.build import (
    DAY,
    HERE,
    NOW,
    SETTLE,
    a_rule,
    a_set,
    carries,
    changed_state,
    changes,
    declare,
    fields_of,
    held,
    ids,
    many,
    only,
    plan_options,
    postponed,
    quarantined,
    recorded,
    state,
    tags,
    unseen,
)

ADD, REMOVE = Action.ADD, Action.REMOVE
GONE = carries("", ledger="vip")
VIP = declare(a_set("s", "anna", "vip"))


def put_back(known: ContactState, *, ago: int, tag: str = "vip") -> ContactState:
    return changed_state(known, restored=((Tag(tag), Instant(NOW - ago)),))


def intended(known: ContactState, text: str, *, at: int = NOW) -> ContactState:
    return record_intent(known, ADD, tags(text), keep=tags(""), at=Instant(at))


def found(known: ContactState, **options: object) -> Diff:
    return diff(VIP, state(anna=known), now=NOW, **options)  # type: ignore[arg-type]


def test_a_pair_of_ours_that_others_removed_is_restored() -> None:
    assert changes(found(GONE)) == {"anna": {"+vip restored"}}


@pytest.mark.parametrize("retry_held", [False, True])
def test_what_nobody_ever_saw_there_is_not_restored(*, retry_held: bool) -> None:
    # its add was in doubt, and it was not there when it was looked for
    never = changed_state(GONE, unconfirmed=tags("vip"))
    assert changes(found(never, selection=only(retry_held=retry_held))) == {"anna": {"+vip declared"}}
    assert intended(never, "vip").past_adds.restored == ()
    # an add of unknown effect lets nobody tell that others removed it
    assert changes(found(never.with_doubt(tags("vip"), Instant(NOW)), selection=only(retry_held=True))) == {
        "anna": {"+vip declared"}
    }


@pytest.mark.parametrize("ago", [0, 1, DAY, RESTORE_MS - 1, -60_000])
def test_put_back_lately_it_is_flapping_and_held(ago: int) -> None:
    result = found(put_back(GONE, ago=ago))
    assert changes(result) == {}
    assert [(each.why, each.tags) for each in result.held] == [(FLAPPING, ("vip",))]


def test_a_week_later_it_is_restored_once_more() -> None:
    assert changes(found(put_back(GONE, ago=RESTORE_MS))) == {"anna": {"+vip restored"}}


def test_asked_to_retry_what_is_held_it_is_restored_at_once() -> None:
    result = found(put_back(GONE, ago=DAY), selection=only(retry_held=True))
    assert changes(result) == {"anna": {"+vip restored"}}
    assert held(result) == {}


def test_what_is_there_again_is_not_flapping() -> None:
    assert found(put_back(carries("vip", ledger="vip"), ago=DAY)) == found(carries("vip", ledger="vip"))


def test_without_a_time_nothing_is_flapping() -> None:
    assert changes(diff(VIP, state(anna=put_back(GONE, ago=DAY)))) == {"anna": {"+vip restored"}}


def test_contacts_that_flap_are_apart_from_those_that_do_not() -> None:
    desired = declare(a_set("s", "anna bert", "vip"))
    result = diff(desired, state(anna=put_back(GONE, ago=DAY), bert=put_back(GONE, ago=8 * DAY)), now=NOW)
    assert changes(result) == {"bert": {"+vip restored"}}
    assert held(result) == {"anna": "vip"}


def test_the_rest_of_a_contact_goes_on_while_a_tag_of_it_flaps() -> None:
    desired = declare(a_set("s", "anna", "vip new", absent="trial"))
    known = put_back(carries("trial old", ledger="vip old"), ago=DAY)
    assert changes(diff(desired, state(anna=known), now=NOW)) == {
        "anna": {"+new declared", "-trial absent", "-old pruned"}
    }


def test_a_group_is_not_emptied_for_a_tag_that_flaps() -> None:
    desired = declare(a_set("s", "anna", "vip"), rule=[a_rule("vip", group="g"), a_rule("lead", group="g")])
    known = put_back(carries("lead", ledger="vip"), ago=DAY)
    assert changes(diff(desired, state(anna=known), now=NOW)) == {}
    assert changes(diff(desired, state(anna=put_back(known, ago=8 * DAY)), now=NOW)) == {
        "anna": {"+vip restored", "-lead group"}
    }


def test_a_tag_that_flaps_holds_back_only_what_it_is_to_take_the_place_of() -> None:
    rules = [a_rule("customer", group="g"), a_rule("lead", group="g"), a_rule("gold", renamed_from="top")]
    desired = declare(a_set("s", "anna", "vip customer gold"), rule=rules)
    known = put_back(carries("customer lead gold top", ledger="vip customer gold"), ago=DAY)
    result = diff(desired, state(anna=known), now=NOW)
    assert changes(result) == {"anna": {"-lead group", "-top renamed"}}
    assert held(result) == {"anna": "vip"}


@pytest.mark.parametrize("ago", [DAY, 8 * DAY])
def test_once_is_never_restored_nor_held(ago: int) -> None:
    desired = declare(a_set("s", "anna", "vip"), rule=[a_rule("vip", once=True)])
    result = diff(desired, state(anna=put_back(GONE, ago=ago)), now=NOW)
    assert (changes(result), held(result)) == ({}, {})


ONCE = declare(a_set("s", "anna", "vip"), rule=[a_rule("vip", once=True)])
SILENCE = ContactOutcome(Outcome.IN_DOUBT, "no answer")


def added_in_doubt(*, later: str, after: int = SETTLE) -> ContactState:
    """Asked for, without an answer; what a look so long after shows."""
    known = record_answer(intended(unseen(), "vip"), SILENCE, ADD, tags("vip"), sent=NOW, answered=NOW)
    return record_observation(
        known, tags(later), at=Instant(NOW + after), origin=ObservationOrigin.SEARCH, settle_ms=SETTLE
    )


def test_once_in_doubt_and_not_there_later_is_held_until_a_person_says() -> None:
    known = added_in_doubt(later="")
    result = diff(ONCE, state(anna=known), now=NOW)
    assert (changes(result), [(each.why, each.tags) for each in result.held]) == ({}, [(UNCONFIRMED, ("vip",))])
    retried = diff(ONCE, state(anna=known), now=NOW, selection=only(retry_held=True))
    assert (set(changes(retried)), held(retried)) == ({"anna"}, {})


def test_once_seen_and_once_unconfirmed_are_told_apart() -> None:
    desired = declare(a_set("s", "anna bert", "vip"), rule=[a_rule("vip", once=True)])
    unsure = changed_state(GONE, unconfirmed=tags("vip"))
    for present in (state(anna=GONE, bert=unsure), state(bert=unsure, anna=GONE)):
        assert held(diff(desired, present, now=NOW)) == {"bert": "vip"}


def test_what_stands_for_a_once_that_is_held_stays_and_the_rest_goes_on() -> None:
    rules = [a_rule("vip", once=True, group="g"), a_rule("lead", group="g")]
    desired = declare(a_set("s", "anna", "vip c", absent="trial"), rule=rules)
    result = diff(desired, state(anna=added_in_doubt(later="lead trial")), now=NOW)
    assert (changes(result), held(result)) == ({"anna": {"+c declared", "-trial absent"}}, {"anna": "vip"})
    assert postponed(result) == {"anna": {"until_replaced: lead"}}


def test_another_spelling_confirms_too() -> None:
    known = record_answer(intended(unseen(), "cafe\u0301"), SILENCE, ADD, tags("cafe\u0301"), sent=NOW, answered=NOW)
    seen = record_observation(
        known, tags("caf\u00e9"), at=Instant(NOW + 1), origin=ObservationOrigin.GET, settle_ms=SETTLE
    )
    assert (known.ledger.unconfirmed, seen.ledger.unconfirmed) == (tags("cafe\u0301"), tags(""))


@pytest.mark.parametrize("after", [1, SETTLE])
def test_once_in_doubt_and_seen_is_satisfied(after: int) -> None:
    seen = added_in_doubt(later="vip", after=after)
    gone = record_observation(seen, tags(""), at=Instant(NOW + DAY), origin=ObservationOrigin.GET, settle_ms=SETTLE)
    result = diff(ONCE, state(anna=gone), now=NOW)
    assert (changes(result), held(result)) == ({}, {})


def test_a_look_from_before_its_request_confirms_nothing() -> None:
    early = added_in_doubt(later="vip", after=-1)
    assert early.ledger.unconfirmed == tags("vip")


def test_an_answer_confirms_though_a_workflow_consumes_at_once() -> None:
    applied = ContactOutcome(Outcome.APPLIED, "", None, tags(""), tags("vip"))
    known = record_answer(intended(unseen(), "vip"), applied, ADD, tags("vip"), sent=NOW, answered=NOW)
    gone = record_observation(known, tags(""), at=Instant(NOW + DAY), origin=ObservationOrigin.GET, settle_ms=SETTLE)
    result = diff(ONCE, state(anna=gone), now=NOW)
    assert (known.ledger.unconfirmed, changes(result), held(result)) == (tags(""), {}, {})


def test_what_is_withdrawn_rejected_or_released_is_not_unconfirmed() -> None:
    before = unseen()
    known = intended(before, "vip x")
    assert known.ledger.unconfirmed == tags("vip x")
    assert withdraw_intent(known, before) == before
    assert release_pairs(known, tags("x")).ledger.unconfirmed == tags("vip")
    refused = ContactOutcome(Outcome.REJECTED, "deleted", Rejection.DELETED)
    assert record_answer(known, refused, ADD, tags("vip x"), sent=NOW, answered=NOW).ledger.unconfirmed == tags("")


def test_once_starts_anew_when_it_is_declared_anew() -> None:
    once = [a_rule("vip", once=True)]
    left = diff(declare(rule=once), state(anna=GONE))
    assert recorded(left) == {"anna": "-vip"}
    again = diff(declare(a_set("s", "anna", "vip"), rule=once), state(anna=release_pairs(GONE, tags("vip"))))
    assert changes(again) == {"anna": {"+vip declared"}}


def test_an_intent_remembers_what_it_puts_back() -> None:
    known = intended(carries("x", ledger="x vip"), "vip new")
    assert known.past_adds.restored == ((Tag("vip"), NOW),)
    assert intended(known, "other", at=NOW + RESTORE_MS).past_adds.restored == ()
    assert intended(known, "other", at=NOW + RESTORE_MS - 1).past_adds.restored == known.past_adds.restored


@pytest.mark.parametrize(
    "known", [carries(""), unseen(ledger="vip"), carries("vip", ledger="vip"), carries("", ledger="vip", doubt="vip")]
)
def test_what_others_did_not_remove_is_not_put_back(known: ContactState) -> None:
    assert intended(known, "vip").past_adds.restored == ()


def test_what_had_no_effect_put_nothing_back() -> None:
    assert withdraw_intent(intended(GONE, "vip"), GONE) == GONE


def test_what_leaves_the_ledger_was_put_back_no_more() -> None:
    assert release_pairs(intended(GONE, "vip"), tags("vip")).past_adds.restored == ()


def refused(known: ContactState = carries(""), *, at: int, sets: Iterable[str] = ("s",)) -> ContactState:  # noqa: B008
    verdict = ContactOutcome(Outcome.REJECTED, "contact is deleted", Rejection.DELETED)
    when = Instant(at)
    return record_answer(
        known, verdict, ADD, tags("vip"), sent=when, answered=when, membership=frozenset(map(SetName, sets))
    )


def test_a_refusal_is_remembered_from_the_first_to_the_last() -> None:
    known = refused(refused(at=NOW - 5), at=NOW)
    assert (
        fields_of(known)["quarantine"],
        fields_of(known)["quarantined_since"],
        fields_of(known)["quarantined_at"],
    ) == (Rejection.DELETED, NOW - 5, NOW)
    assert fields_of(known)["membership"] == {"s"}


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        (refused(at=NOW - DAY), "quarantined"),
        (refused(at=NOW - QUARANTINE_MS + 1), "quarantined"),
        (refused(at=NOW - QUARANTINE_MS), "planned"),
        (refused(at=NOW - DAY, sets=()), "planned"),
        (changed_state(refused(at=NOW - DAY), membership=None), "quarantined"),
        (changed_state(refused(at=NOW - QUARANTINE_MS), membership=None), "planned"),
        (
            record_observation(
                refused(at=NOW - DAY), tags(""), at=Instant(NOW), origin=ObservationOrigin.GET, settle_ms=SETTLE
            ),
            "planned",
        ),
        (
            record_observation(
                refused(at=NOW - DAY),
                tags(""),
                at=Instant(NOW - 2 * DAY),
                origin=ObservationOrigin.GET,
                settle_ms=SETTLE,
            ),
            "quarantined",
        ),
    ],
)
def test_whom_the_api_refused_comes_back(known: ContactState, outcome: str) -> None:
    result = found(known)
    assert changes(result) == ({"anna": {"+vip declared"}} if outcome == "planned" else {})
    assert quarantined(result) == ({} if outcome == "planned" else {"anna": "deleted"})


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [
        ("s", {"s": "anna"}, "quarantined"),
        ("s", {"s": "anna", "t": "bert"}, "quarantined"),
        # one set of hers has another name now, and so has one that was never hers
        ("s", {"renamed": "anna"}, "quarantined"),
        ("s t", {"s": "anna", "renamed": "anna"}, "quarantined"),
        ("s", {"s": "anna", "renamed": "bert"}, "quarantined"),
        # a set is no more: nobody left it
        ("s t", {"s": "anna"}, "quarantined"),
        ("s", {"s": "anna", "t": "anna"}, "planned"),
        ("s t", {"s": "anna", "t": "bert"}, "planned"),
        ("s", {"s": "bert", "t": "anna"}, "planned"),
    ],
)
def test_a_contact_has_moved_where_it_joined_or_left_a_set_and_not_where_one_is_renamed(
    before: str, now: dict[str, str], outcome: str
) -> None:
    desired = declare(*(a_set(name, contacts, "vip") for name, contacts in now.items()))
    result = diff(desired, state(anna=refused(at=NOW - DAY, sets=before.split())), now=NOW)
    assert ("anna" in changes(result), "anna" in quarantined(result)) == (
        outcome == "planned",
        outcome == "quarantined",
    )


def test_asked_to_retry_whom_the_api_refused_it_is_planned_but_not_twice_in_a_run() -> None:
    retry = only(retry_rejected=True)
    known = refused(at=NOW - DAY)
    assert changes(found(known, selection=retry)) == {"anna": {"+vip declared"}}
    (anna,) = ids("anna")
    again = found(refused(known, at=NOW), selection=retry, spent={anna: tags("vip")})
    assert (changes(again), quarantined(again)) == ({}, {"anna": "deleted"})


def test_an_observation_ends_a_quarantine_whole() -> None:
    known = refused(carries(""), at=NOW - DAY)
    seen = record_observation(known, tags(""), at=Instant(NOW), origin=ObservationOrigin.GET, settle_ms=SETTLE)
    assert (
        fields_of(seen)["quarantine"],
        fields_of(seen)["quarantined_at"],
        fields_of(seen)["quarantined_since"],
        fields_of(seen)["membership"],
    ) == (None,) * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("facts", "sizes"),
    [
        (LocationFacts(), [6]),
        (LocationFacts(max_contacts=4, limits_at=Instant(NOW)), [4, 2]),
        (LocationFacts(max_contacts=100, limits_at=Instant(NOW)), [6]),
        (LocationFacts(max_tags=1, limits_at=Instant(NOW - 6 * DAY)), [6, 6]),
        # what was learnt a week ago, or nobody knows when, is not believed any more
        (LocationFacts(max_tags=1, limits_at=Instant(NOW - 7 * DAY)), [6]),
        (LocationFacts(max_tags=1), [6]),
    ],
)
def test_what_a_request_was_found_to_hold_bounds_the_batches(facts: LocationFacts, sizes: list[int]) -> None:
    desired = declare(a_set("s", many(6), "a b"))
    plan = plan_location(desired, LocationState(HERE, facts=facts), plan_options(now=Instant(NOW)))
    assert [len(batch.contacts) for batch in plan.batches] == sizes


COMPOSED, APART = Tag("caf\u00e9"), Tag("cafe\u0301")
CAFE: tuple[Alias, ...] = ((APART, COMPOSED),)


@pytest.mark.parametrize(
    ("sent", "back"),
    [
        (APART, COMPOSED),
        ("x  y", "x y"),
        ("x\u00a0y", "x y"),
        ("stra\u00dfe", "strasse"),
        ("a\u200bb", "ab"),
        ("ＶＩＰ", "vip"),
    ],
)
def test_spellings_of_one_tag(sent: str, back: str) -> None:
    assert fold_spelling(sent) == fold_spelling(back)


@pytest.mark.parametrize(("one", "other"), [("vip", "vip2"), ("x y", "xy"), ("e", "\u00e9"), ("a-b", "a_b")])
def test_different_tags_are_not_spellings(one: str, other: str) -> None:
    assert fold_spelling(one) != fold_spelling(other)


def row(old: Iterable[str], *, added: Iterable[str] = (), removed: Iterable[str] = ()) -> ResponseRow:
    before, plus, minus = (frozenset(map(Tag, each)) for each in (old, added, removed))
    return ResponseRow(ids("anna")[0], "success", "Tags updated", before, plus, minus)


@pytest.mark.parametrize(
    ("action", "answer", "outcome"),
    [
        (ADD, row([], added=[COMPOSED, "b"]), Outcome.APPLIED),
        (ADD, row([COMPOSED], added=["b"]), Outcome.APPLIED),
        (ADD, row([COMPOSED, "b"]), Outcome.NOOP),
        (ADD, row(["b"], added=[COMPOSED]), Outcome.APPLIED),
        (ADD, row([], added=["b"]), Outcome.IN_DOUBT),
        (ADD, row([], added=[COMPOSED]), Outcome.IN_DOUBT),
        (ADD, row([COMPOSED], added=[COMPOSED, "b"]), Outcome.IN_DOUBT),
        (ADD, row([], added=[COMPOSED, "b", "c"]), Outcome.IN_DOUBT),
        (ADD, row([], added=[COMPOSED, "b"], removed=["z"]), Outcome.IN_DOUBT),
        (REMOVE, row([COMPOSED, "b"], removed=[COMPOSED, "b"]), Outcome.APPLIED),
        (REMOVE, row([COMPOSED], removed=[COMPOSED]), Outcome.APPLIED),
        (REMOVE, row([COMPOSED, "b"], removed=[COMPOSED]), Outcome.IN_DOUBT),
        (REMOVE, row(["b"], removed=[COMPOSED, "b"]), Outcome.IN_DOUBT),
    ],
)
def test_a_row_in_another_spelling_means_the_tag(action: Action, answer: ResponseRow, outcome: Outcome) -> None:
    wanted = frozenset({APART, Tag("b")})
    assert classify_rows(action, ids("anna"), wanted, [answer])[ids("anna")[0]].outcome is outcome


def test_answers_tell_aliases() -> None:
    sent = frozenset({APART, Tag("b")})
    told = [None, frozenset({COMPOSED, Tag("b")}), frozenset({APART, Tag("b")}), frozenset({Tag("z")})]
    assert list(aliases_in(sent, told)) == [(APART, COMPOSED)]
    assert list(aliases_in(sent, [frozenset({APART, COMPOSED, Tag("b")})])) == []
    # what was sent in both spellings came back as one of them, and of several the first by name stands for it
    assert list(aliases_in(frozenset({APART, COMPOSED}), [frozenset({COMPOSED})])) == []
    assert list(aliases_in(tags("vip a"), [tags("viP Vip VIP A")])) == [("a", "A"), ("vip", "VIP")]


def spelt(known: ContactState, *sets: object, **options: object) -> Diff:
    desired = declare(*(sets or (a_set("s", "anna", APART),)))  # type: ignore[arg-type]
    read = make_spelling(CAFE)
    return diff(read.spell_desired(desired), read.spell_states(state(anna=known)), now=NOW, **options)  # type: ignore[arg-type]


def of(observed: str | None, **more: str) -> ContactState:
    return unseen(**more) if observed is None else carries(observed, **more)  # type: ignore[arg-type]


def test_a_tag_that_is_there_in_another_spelling_is_never_added_again() -> None:
    result = spelt(of(COMPOSED, ledger=APART))
    assert (result.deltas, result.ledger) == ((), ())
    assert recorded(spelt(of(COMPOSED))) == {"anna": f"+{COMPOSED}"}


def test_a_tag_that_is_not_there_in_any_spelling_is_added() -> None:
    assert changes(spelt(of(""))) == {"anna": {f"+{COMPOSED} declared"}}


def test_a_removal_names_the_spelling_that_is_there() -> None:
    gone = a_set("t", "", APART)
    assert changes(spelt(of(COMPOSED, ledger=APART), gone)) == {"anna": {f"-{COMPOSED} pruned"}}
    assert changes(spelt(of(None, ledger=APART), gone)) == {"anna": {f"-{COMPOSED} pruned"}}
    assert changes(spelt(of(COMPOSED), a_set("s", "anna", absent=APART))) == {"anna": {f"-{COMPOSED} absent"}}


def test_once_it_is_removed_the_pair_leaves_the_ledger() -> None:
    assert recorded(spelt(of("", ledger=APART), a_set("t", "", APART))) == {"anna": f"-{COMPOSED}"}


def test_a_removal_that_waits_names_the_spelling_that_will_be_there() -> None:
    result = spelt(of(None), a_set("s", "anna", "new", absent=APART))
    assert postponed(result) == {"anna": {f"until_observed: {COMPOSED}"}}


def test_under_exact_authority_the_other_spelling_is_no_stranger() -> None:
    exact = a_set("s", "anna", APART, authority=Authority.EXACT)
    assert changes(spelt(of(f"{COMPOSED} wild", ledger=APART), exact)) == {"anna": {"-wild exact"}}


@pytest.mark.parametrize("authority", [None, Authority.OWNED, Authority.EXACT])
def test_the_spelling_of_a_desired_tag_is_not_removed_whoever_names_it(authority: Authority | None) -> None:
    named = (a_set("s", "anna", APART, authority=authority), a_set("t", "", COMPOSED))
    result = spelt(of(COMPOSED, ledger=f"{APART} {COMPOSED}"), *named)
    assert (changes(result), recorded(result)) == ({}, {})


@pytest.mark.parametrize("authority", [None, Authority.OWNED, Authority.EXACT])
def test_a_manifest_that_takes_the_spelling_over_has_nothing_to_send(authority: Authority | None) -> None:
    result = spelt(of(COMPOSED, ledger=APART), a_set("s", "anna", COMPOSED, authority=authority))
    assert (changes(result), recorded(result)) == ({}, {})


def test_a_doubt_about_either_spelling_is_about_the_tag() -> None:
    result = spelt(of(COMPOSED, ledger=APART, doubt=COMPOSED))
    assert (changes(result), held(result)) == ({}, {"anna": COMPOSED})


some = st.sets(st.sampled_from((APART, COMPOSED, "x")))


@given(some, some, st.booleans())
def test_nothing_desired_is_removed_under_any_spelling(there: set[str], desired: set[str], exact: bool) -> None:
    authority = Authority.EXACT if exact else Authority.OWNED
    known = carries(" ".join(there), ledger=" ".join(there))
    everything = declare(a_set("s", "anna", " ".join(desired), authority=authority), a_set("t", "", f"{APART} x"))
    read = make_spelling(CAFE)
    result = diff(read.spell_desired(everything), read.spell_states(state(anna=known)), now=NOW)
    removed = {change.tag for delta in result.deltas for change in delta.changes if change.action is REMOVE}
    assert not {fold_spelling(tag) for tag in removed} & {fold_spelling(tag) for tag in desired}
    left = {fold_spelling(tag) for tag in there} - {fold_spelling(tag) for tag in removed}
    assert left <= {fold_spelling(tag) for tag in desired}


def test_what_exact_authority_will_find_is_open_where_that_was_asked_for() -> None:
    desired = declare(a_set("s", "anna", "vip", authority=Authority.EXACT))
    for chosen, reason in (
        (only(), DeferralReason.EXACT),
        (replace(only(), apply_deferrals=True), DeferralReason.OPEN),
    ):
        result = diff(desired, state(anna=unseen()), selection=chosen)
        assert [(each.reason, each.tags) for each in result.deferrals] == [(reason, ())]
