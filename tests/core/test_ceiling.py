"""The ceiling: nothing that was not approved passes, and what passes is what was needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from reconciler.core.model.batch import Batch, Reason
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action, Rejection
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.approved_scope import (
    Ceiling,
    Proposal,
    derive_ceiling,
    intersect_ceilings,
    keep_approved,
    keep_called_for,
    keep_unmet,
    narrow_plan,
    respell_state,
    sends_what_it_says,
)
from reconciler.core.planning.batches import Reasserted
from reconciler.core.planning.changes import (
    FLAPPING,
    IN_DOUBT,
    Change,
    Deferral,
    DeferralReason,
    Delta,
    HeldContacts,
    Selection,
)
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState, combine_plans
from reconciler.core.planning.situation import Reassertion
from tests.build import (
    DAY,
    HERE,
    NOW,
    a_rule,
    a_set,
    carries,
    changed_state,
    declare,
    ids,
    loaded,
    plan_options,
    state,
    state_of,
    tags,
    unseen,
)
from tests.core.scenes import ELSEWHERE, a_busy_plan, a_location
from tests.core.test_diff_laws import World, worlds

Pair = tuple[str, str, str]


def plan_of(world: World) -> LocationPlan:
    return plan_location(world.desired, LocationState(HERE, observed=state_of(world.observed)), plan_options())


def pairs(deltas: tuple[Delta, ...]) -> set[Pair]:
    return {
        (change.action, contact, change.tag)
        for delta in deltas
        for contact in delta.contacts
        for change in delta.changes
    }


def approved(plan: LocationPlan) -> set[Pair]:
    # a removal that needs a refresh, or waits for a tag that is left out, is listed for another plan
    other = (DeferralReason.NEEDS_REFRESH, DeferralReason.UNTIL_REPLACED)
    runs = [each for each in plan.deferrals if each.reason not in other]
    deferred = {("remove", contact, tag) for each in runs for contact in each.contacts for tag in each.tags}
    doubtful = [each for each in plan.held if each.why == IN_DOUBT]
    held = {(action, who, tag) for each in doubtful for who in each.contacts for tag in each.tags for action in Action}
    return pairs(plan.deltas) | deferred | held


@pytest.mark.slow
@given(worlds(), worlds())
def test_only_approved_pairs_pass(reviewed: World, needed: World) -> None:
    plan, later = plan_of(reviewed), plan_of(needed)
    kept, outside = keep_approved(later.deltas, derive_ceiling(plan))
    assert pairs(kept) <= approved(plan) & pairs(later.deltas)
    assert outside == len(pairs(later.deltas)) - len(pairs(kept))
    without_add = {contact for action, contact, _ in pairs(later.deltas) - pairs(kept) if action == Action.ADD}
    assert not {contact for action, contact, _ in pairs(kept) if action == Action.REMOVE} & without_add
    left = {
        pair for pair in pairs(later.deltas) & approved(plan) if pair[0] == Action.ADD or pair[1] not in without_add
    }
    assert pairs(kept) == left


@pytest.mark.slow
@given(worlds())
def test_a_plan_is_within_its_own_ceiling(world: World) -> None:
    plan = plan_of(world)
    assert keep_approved(plan.deltas, derive_ceiling(plan)) == (plan.deltas, 0)


def test_a_group_is_not_emptied_where_the_add_was_not_approved() -> None:
    group = [a_rule(tag, group="g") for tag in ("lead", "customer")]
    desired = declare(a_set("s", "anna", "customer"), rule=group)

    def plan(text: str) -> LocationPlan:
        return plan_location(desired, LocationState(HERE, observed=state(anna=carries(text))), plan_options())

    assert keep_approved(plan("lead").deltas, derive_ceiling(plan("lead customer"))) == ((), 2)


@pytest.mark.parametrize("opened", [True, False])
def test_an_open_ceiling_takes_what_exact_authority_removes_and_nothing_else(opened: bool) -> None:
    desired = declare(a_set("s", "anna", "x y", authority=Authority.EXACT), a_set("t", "bert", "x"))
    options = plan_options(selection=Selection(apply_deferrals=opened))
    reviewed = plan_location(desired, LocationState(HERE, observed=state(anna=unseen())), options)
    after = state(anna=carries("x y wild"), bert=carries("wild"))
    kept, outside = keep_approved(
        plan_location(desired, LocationState(HERE, observed=after), options).deltas, derive_ceiling(reviewed)
    )
    assert pairs(kept) == {("add", "bert", "x")} | ({("remove", "anna", "wild")} if opened else set())
    assert outside == (0 if opened else 1)
    failed, _ = keep_approved(
        plan_location(desired, LocationState(HERE, observed=after), options).deltas,
        derive_ceiling(reviewed),
        failed=ids("anna"),
    )
    assert pairs(failed) == {("add", "bert", "x")}


def test_a_deferral_is_approved_up_to_the_tags_that_it_names() -> None:
    desired = declare(a_set("s", "anna", "x", absent="w"))
    reviewed = plan_location(desired, LocationState(HERE, observed=state(anna=unseen())), plan_options())
    after = LocationState(HERE, observed=state(anna=carries("x w old", ledger="x old")))
    kept, outside = keep_approved(plan_location(desired, after, plan_options()).deltas, derive_ceiling(reviewed))
    assert (pairs(kept), outside) == ({("remove", "anna", "w")}, 1)


def change(text: str, reason: Reason = Reason.PRUNED) -> Change:
    return Change(Action.ADD if text[0] == "+" else Action.REMOVE, Tag(text[1:]), reason)


def delta(text: str, contacts: str) -> Delta:
    return Delta(tuple(map(change, text.split())), ids(contacts))


def by_contact(**texts: str) -> dict[ContactId, TagSet]:
    return {ContactId(contact): tags(text) for contact, text in texts.items()}


EMPTY = plan_location(declare(), LocationState(HERE), plan_options())


def test_a_ceiling_is_of_the_changes_the_deferrals_that_run_and_the_doubts() -> None:
    waiting = tuple(Deferral(reason, (Tag(reason.name),), ids(reason.name.lower())) for reason in DeferralReason)
    plan = replace(
        EMPTY,
        deltas=(delta("+x -y", "anna bert"), delta("+z", "anna"), delta("-w", "cara")),
        deferrals=(*waiting, Deferral(DeferralReason.OPEN, (Tag("late"),), ids("anna"))),
        held=(
            HeldContacts(IN_DOUBT, (Tag("q"),), ids("anna emil")),
            HeldContacts(FLAPPING, (Tag("f"),), ids("anna fred")),
        ),
    )
    runs = ("until_observed", "exact", "open", "until_settled", "exclusive", "incomplete")
    assert derive_ceiling(plan) == Ceiling(
        adds=by_contact(anna="x z q", bert="x", emil="q"),
        removes=by_contact(
            anna="y late q", bert="y", cara="w", emil="q", **{reason: reason.upper() for reason in runs}
        ),
        open=frozenset(ids("open anna")),
    )


def test_two_ceilings_allow_what_both_do() -> None:
    first = Ceiling(by_contact(anna="x y", bert="x"), by_contact(anna="v w", cara="v"), frozenset(ids("anna bert")))
    second = Ceiling(by_contact(anna="y z", cara="x"), by_contact(anna="w", cara="w"), frozenset(ids("bert cara")))
    assert intersect_ceilings(first, second) == Ceiling(
        by_contact(anna="y"), by_contact(anna="w"), frozenset(ids("bert"))
    )


def test_of_each_contact_goes_what_was_approved_and_removals_after_all_of_its_adds() -> None:
    exact = change("-z", Reason.EXACT)
    needed = [
        Delta(
            (change("+x"), change("+y"), change("-v"), change("-w"), exact),
            ids("all adds_differ half open failed none poor"),
        ),
        delta("-w", "gone"),
    ]
    limit = Ceiling(
        adds=by_contact(all="x y", adds_differ="x", half="x y", open="x y", failed="x y", poor="x"),
        removes=by_contact(all="w z", adds_differ="w z", half="w", failed="w z", gone="w", poor="w z"),
        open=frozenset(ids("open failed poor")),
    )
    kept, outside = keep_approved(needed, limit, failed=ids("failed poor"))
    assert pairs(kept) == {
        *(("add", who, tag) for who in ("all", "half", "open", "failed") for tag in ("x", "y")),
        *(("add", who, "x") for who in ("adds_differ", "poor")),
        *(("remove", who, "w") for who in ("all", "half", "gone")),
        *(("remove", who, "z") for who in ("all", "open")),
    }
    # of a contact that did not end well, only its adds are asked for: "poor" lacks one of them
    assert outside == 1 + 4 + 2 + 2 + 0 + 5 + 1


SENT = replace(
    EMPTY,
    deltas=(delta("+x", "anna bert"), delta("-y", "bert")),
    batches=(
        Batch(Action.ADD, ids("anna bert"), (Tag("x"),)),
        Batch(Action.REMOVE, ids("bert"), (Tag("y"),), after=(0,)),
    ),
)
ADDS, REMOVES = SENT.batches
ADDED_AGAIN = Reasserted(Action.ADD, (Tag("z"),), ids("anna bert"))
REMOVED_AGAIN = Reasserted(Action.REMOVE, (Tag("w"),), ids("bert"))


@pytest.mark.parametrize(
    "plan",
    [
        SENT,
        EMPTY,
        replace(SENT, batches=(ADDS, replace(REMOVES, after=()))),
        replace(SENT, batches=(replace(ADDS, tags=(Tag("x"), Tag("z"))), REMOVES), reasserted=(ADDED_AGAIN,)),
        replace(SENT, batches=(ADDS, replace(REMOVES, tags=(Tag("w"), Tag("y")))), reasserted=(REMOVED_AGAIN,)),
        replace(SENT, batches=(ADDS, ADDS), deltas=SENT.deltas[:1], reasserted=(replace(ADDED_AGAIN, tags=ADDS.tags),)),
    ],
    ids=["all", "nothing", "in any order", "an add again", "a removal again", "twice"],
)
def test_a_plan_sends_its_changes_and_what_it_says_it_sends_again(plan: LocationPlan) -> None:
    assert sends_what_it_says(plan)


@pytest.mark.parametrize(
    "plan",
    [
        replace(SENT, batches=(ADDS,)),
        replace(SENT, batches=(ADDS, REMOVES, REMOVES)),
        replace(SENT, batches=(replace(ADDS, tags=(Tag("z"),)), REMOVES)),
        replace(SENT, batches=(ADDS, replace(REMOVES, contacts=ids("anna")))),
        replace(SENT, batches=(ADDS, replace(REMOVES, action=Action.ADD))),
        replace(SENT, reasserted=(ADDED_AGAIN,)),
        replace(SENT, batches=(replace(ADDS, tags=(Tag("x"), Tag("z"))), REMOVES)),
        replace(SENT, batches=(replace(ADDS, tags=(Tag("x"), Tag("w"))), REMOVES), reasserted=(REMOVED_AGAIN,)),
        replace(SENT, batches=(ADDS, replace(REMOVES, after=(1,)))),
        replace(SENT, batches=(ADDS, replace(REMOVES, after=(0, 2)))),
        replace(SENT, batches=(ADDS, replace(REMOVES, after=(-1,)))),
        replace(
            SENT,
            batches=(ADDS, replace(REMOVES, contacts=ids("anna"))),
            deferrals=(Deferral(DeferralReason.EXACT, REMOVES.tags, ids("anna")),),
        ),
        replace(
            SENT,
            batches=(replace(ADDS, contacts=ids("anna emil")), REMOVES),
            held=(HeldContacts(IN_DOUBT, ADDS.tags, ids("emil")),),
        ),
    ],
    ids=[
        "too little",
        "a request twice",
        "another tag",
        "another contact",
        "another action",
        "not again",
        "again, unsaid",
        "again, of the other action",
        "waits for itself",
        "waits for none",
        "waits for one before the first",
        "a deferral",
        "a doubt",
    ],
)
def test_a_plan_that_sends_otherwise_than_it_says_is_found(plan: LocationPlan) -> None:
    assert not sends_what_it_says(plan)


def test_a_file_has_a_plan_of_its_own_locations() -> None:
    plan = a_busy_plan()
    here, elsewhere = plan.locations
    assert (Proposal(plan).of(HERE), Proposal(plan).of(ELSEWHERE)) == (here, elsewhere)
    assert Proposal(combine_plans([here], as_of=NOW, manifests="")).of(ELSEWHERE) is None


@pytest.mark.parametrize(
    "plan",
    [
        replace(EMPTY, deltas=(delta("+x__y", "anna"),)),
        replace(EMPTY, deferrals=(Deferral(DeferralReason.EXACT, (Tag("x__y"),), ids("anna")),)),
        replace(EMPTY, held=(HeldContacts(IN_DOUBT, (Tag("x__y"),), ids("anna")),)),
        replace(EMPTY, reasserted=(Reasserted(Action.ADD, (Tag("x__y"),), ids("anna")),)),
    ],
    ids=["change", "deferral", "doubt", "again"],
)
def test_a_state_is_read_in_the_spelling_of_the_plan(plan: LocationPlan) -> None:
    known = loaded(state(anna=carries("x_y", ledger="x_y")), aliases=[("x__y", "x_y")])
    respelt = respell_state(known, plan)
    found = respelt.observed[ContactId("anna")]
    assert (found.observed, found.ledger.tags) == (tags("x__y"), tags("x__y"))
    assert (respelt.spelling.of(Tag("x_y")), respelt.spelling.kept_as(Tag("x__y"))) == ("x__y", "x_y")
    assert replace(respelt, observed=known.observed, spelling=known.spelling) == known
    assert respell_state(known, EMPTY) is known


def test_of_a_plan_goes_what_the_file_has_too_and_all_else_is_that_of_now() -> None:
    desired = declare(
        a_set("s", "anna bert dora emil fay nora", "x y", absent="w"),
        rule=[a_rule("z", protected=True), a_rule("y", once=True)],
    )
    known = state(
        anna=carries("w z", ledger="z"),
        bert=carries("x y old", ledger="old"),
        cara=carries("", ledger="x"),
        dora=carries("x", doubt="y"),
        emil=carries("", quarantine=Rejection.DELETED),
        fay=changed_state(carries("x", ledger="x"), spent=((Tag("y"), Instant(NOW - DAY)),)),
    )
    here, options = LocationState(HERE, "lineage", 7, known), plan_options(now=NOW)
    seen = a_location().observations
    fresh = plan_location(desired, here, options, observations=seen)
    kept = (fresh.deferrals, fresh.held, fresh.quarantined, fresh.ledger, fresh.spared, fresh.given, seen)
    assert all(kept), "the plan has one of each"
    file = replace(fresh, deltas=(delta("+x -w", "anna"), delta("+q", "bert")), deferrals=())
    both = narrow_plan(fresh, file, desired, here, options)
    assert pairs(both.deltas) == {("add", "anna", "x")}, "a removal goes with all adds of its contact"
    assert sends_what_it_says(both)
    smaller = replace(fresh.summary, contacts=1, adds=1, removes=0, requests=1, lower_bound=1, daily_quota_share=5e-06)
    changed = {"deltas": both.deltas, "batches": both.batches, "guards": both.guards, "proofs": both.proofs}
    assert both == replace(fresh, summary=smaller, **changed)  # type: ignore[arg-type]
    assert (
        narrow_plan(fresh, replace(fresh, deltas=(*fresh.deltas, delta("+q", "bert"))), desired, here, options) is fresh
    )


def test_what_is_sent_again_is_sent_with_all_changes_of_the_file_only() -> None:
    """Two requests do where bert is sent y twice, and three where each pair is sent once."""
    desired = declare(a_set("s", "anna bert", "x"), a_set("t", "anna bert cara", "y"), a_set("u", "bert cara", "z"))
    here = LocationState(HERE, observed=state(anna=carries(), bert=carries(), cara=carries()))
    options = plan_options(reassertion=Reassertion(Reassert.ALWAYS, Instant(0)), now=NOW)
    fresh = plan_location(desired, here, options)
    assert (len(fresh.batches), fresh.reasserted) == (2, (Reasserted(Action.ADD, (Tag("y"),), ids("bert")),))
    assert narrow_plan(fresh, replace(fresh, serial=99), desired, here, options) is fresh
    more = replace(fresh, deltas=(*fresh.deltas, delta("+q", "bert")))
    both = narrow_plan(fresh, more, desired, here, options)
    assert (both.deltas, len(both.batches), both.reasserted) == (fresh.deltas, 3, ())
    assert sends_what_it_says(both)


def test_a_file_may_ask_for_what_a_plan_by_the_manifests_may_have_had() -> None:
    desired = declare(a_set("s", "anna", "x"), a_set("gone", "bert", "", absent="w"))
    known = state(anna=carries("x"), cara=carries("", ledger="y"))
    asked = [delta("+x +z -x -y -w -v -f", "anna bert"), delta("+x -w", "cara dora")]
    kept = keep_called_for(asked, desired, known, removed=by_contact(bert="v x"), unread=ids("cara"))
    owned = {("remove", who, tag) for who in ("anna", "bert") for tag in ("w", "y")}
    assert pairs(kept) == {("add", "anna", "x"), ("remove", "bert", "v"), ("remove", "bert", "x"), *owned} | {
        ("remove", "dora", "w")
    }


def test_a_change_is_unmet_unless_it_is_seen_and_in_no_doubt() -> None:
    known = state(anna=carries("x d", doubt="d e"), bert=unseen(ledger="x"))
    asked = [delta("+x +n +d -x -n -e", "anna"), delta("+x -x", "bert cara")]
    assert pairs(keep_unmet(asked, known)) == {
        *((action, who, "x") for action in ("add", "remove") for who in ("bert", "cara")),
        *(("add", "anna", tag) for tag in ("n", "d")),
        *(("remove", "anna", tag) for tag in ("x", "e")),
    }
