"""diff: a small test for each rule of contract 5.2 to 5.5."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.model.batch import Demand, Reason
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.manifest import Authority, OnLeave, TagRule
from reconciler.core.model.names import ContactId, Instant, SetName, Source, Tag
from reconciler.core.model.outcome import Action, Rejection
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.changes import (
    Change,
    Deferral,
    DeferralReason,
    Delta,
    Demands,
    Diff,
    HeldContacts,
    LedgerChange,
)
from reconciler.core.planning.diff import diff, owned_in
from reconciler.core.planning.revert import NetChange, Reversal, undo_changes
from reconciler.core.planning.situation import Reassertion
from tests.build import (
    DAY,
    NOW,
    PLACE,
    a_rule,
    a_set,
    carries,
    changed_state,
    changes,
    declare,
    held,
    ids,
    only,
    postponed,
    quarantined,
    recorded,
    state,
    tags,
    unseen,
)

OWNED, EXACT, KEEP = Authority.OWNED, Authority.EXACT, OnLeave.KEEP
GROUP = tuple(a_rule(tag, group="lifecycle") for tag in ("lead", "customer"))


def anna(
    text: str,
    known: ContactState,
    *,
    absent: str = "",
    ignore: str = "",
    authority: Authority | None = None,
    on_leave: OnLeave = OnLeave.REMOVE,
    rule: tuple[TagRule, ...] = (),
    **options: object,
) -> Diff:
    """What sets anna, known as she is, apart from a set that holds her alone."""
    wanted = a_set("a", "anna", text, absent=absent, ignore=ignore, authority=authority, on_leave=on_leave)
    return diff(declare(wanted, rule=rule), state(anna=known), **options)  # type: ignore[arg-type]


def left(known: ContactState, *, rule: tuple[TagRule, ...] = (), on_leave: OnLeave = OnLeave.REMOVE) -> Diff:
    """Anna is in no set any more; the tag x is still declared for bert."""
    return diff(declare(a_set("a", "bert", "x", on_leave=on_leave), rule=rule), state(anna=known, bert=carries("x")))


def nothing(found: Diff) -> bool:
    return not (found.deltas or found.deferrals or found.ledger or found.held or found.quarantined)


# observed


def test_observed_adds_what_is_missing() -> None:
    found = anna("x y", carries("y z", ledger="y"))
    assert changes(found) == {"anna": {"+x declared"}}
    assert postponed(found) == {}


def test_observed_removes_what_must_be_absent_and_is_there() -> None:
    assert changes(anna("", carries("w z"), absent="w v")) == {"anna": {"-w absent"}}


def test_observed_removes_what_the_ledger_holds_and_nobody_declares() -> None:
    assert changes(anna("x", carries("x old foreign", ledger="x old"))) == {"anna": {"-old pruned"}}


def test_additive_leaves_owned_and_foreign_tags() -> None:
    found = diff(declare(a_set("a", "anna", "x"), a_set("b", "bert", "y")), state(anna=carries("x y z", ledger="x")))
    assert "anna" not in changes(found)


def test_owned_removes_owned_tags_and_leaves_foreign_ones() -> None:
    desired = declare(a_set("a", "anna", "x", authority=OWNED), a_set("b", "bert", "y"))
    found = diff(desired, state(anna=carries("x y z", ledger="x"), bert=carries("y", ledger="y")))
    assert changes(found) == {"anna": {"-y owned"}}


def test_owned_knows_the_tags_that_only_the_ledger_names() -> None:
    desired = declare(a_set("a", "anna", "x", authority=OWNED))
    found = diff(desired, state(anna=carries("x old z", ledger="x"), bert=carries("old", ledger="old")))
    assert changes(found) == {"anna": {"-old owned"}, "bert": {"-old pruned"}}


@pytest.mark.parametrize("left", [carries("old", ledger="old", kept="old"), carries("", ledger="old")])
def test_a_pair_that_leaves_the_ledger_makes_no_tag_owned(left: ContactState) -> None:
    """bert keeps it, or is known not to carry it: neither is a reason to take it from anna, who had it from others."""
    desired = declare(a_set("a", "anna", "x", authority=OWNED))
    found = diff(desired, state(anna=carries("x old", ledger="x"), bert=left))
    assert (changes(found), recorded(found)) == ({}, {"bert": "-old"})


def test_what_a_chosen_set_leaves_in_the_ledger_still_makes_a_tag_owned() -> None:
    desired = declare(a_set("a", "anna", "x", authority=OWNED))
    left = carries("old", ledger="old", kept="old")
    found = diff(desired, state(anna=carries("x old", ledger="x"), bert=left), selection=only(sets="a"))
    assert changes(found) == {"anna": {"-old owned"}}


@pytest.mark.parametrize("known", [carries("x old", ledger="x old", kept="old"), unseen(ledger="x old", kept="old")])
def test_what_is_kept_on_leaving_is_not_taken_as_owned_from_whoever_keeps_it(known: ContactState) -> None:
    """The tag is still of the manifests, and anna's other set owns its tags: on the next day too."""
    others = a_set("b", "bert", "old", on_leave=KEEP)
    desired = declare(a_set("a", "anna", "x", authority=OWNED), others)
    found = diff(desired, state(anna=known))
    assert (changes(found).get("anna", set()) - {"+x declared"}, recorded(found)) == (set(), {})
    assert "old" not in str(postponed(found))
    assert [(each.why, each.tags, each.contacts) for each in found.spared] == [
        ("kept on leaving", ("old",), ids("anna"))
    ]
    additive = declare(a_set("a", "anna", "x"), others)
    assert recorded(diff(additive, state(anna=known))) == {"anna": "-old"}


def test_what_is_kept_on_leaving_and_gone_leaves_the_ledger_under_owned() -> None:
    desired = declare(a_set("a", "anna", "x", authority=OWNED), a_set("b", "bert", "old", on_leave=KEEP))
    found = diff(desired, state(anna=carries("x", ledger="x old", kept="old"), bert=carries("old", ledger="old")))
    assert recorded(found)["anna"] == "-old"


def test_what_is_declared_absent_goes_though_it_is_kept_on_leaving() -> None:
    desired = declare(a_set("a", "anna", "x", absent="old", authority=OWNED))
    found = diff(desired, state(anna=carries("x old", ledger="x old", kept="old")))
    assert changes(found) == {"anna": {"-old absent"}}


def test_what_a_plan_of_one_tag_leaves_in_the_ledger_is_owned() -> None:
    desired, observed = declare(), state(anna=carries("", ledger="old older"))
    assert owned_in(desired, observed, only()) == tags("")
    assert owned_in(desired, observed, only(tag="old")) == tags("older")


def test_a_run_goes_on_with_the_tags_that_were_owned_when_it_began() -> None:
    found = anna("x", carries("x old foreign", ledger="x"), authority=OWNED, owned=tags("old"))
    assert changes(found) == {"anna": {"-old owned"}}


def test_exact_removes_every_tag_that_is_not_declared() -> None:
    assert changes(anna("x", carries("x y z", ledger="x"), authority=EXACT)) == {"anna": {"-y exact", "-z exact"}}


def test_a_group_takes_the_place_of_its_other_tag() -> None:
    found = anna("customer", carries("lead"), rule=GROUP)
    assert changes(found) == {"anna": {"+customer declared", "-lead group"}}


def test_every_change_names_the_place_that_asked_for_it() -> None:
    place = Source("acme.yaml", 7, 3)
    desired = declare(a_set("a", "anna", "x", absent="w", place=place))
    (delta,) = diff(desired, state(anna=carries("w old", ledger="old"))).deltas
    assert {(change.tag, change.sources) for change in delta.changes} == {
        ("x", (place,)),
        ("w", (place,)),
        ("old", ()),
    }


@pytest.mark.parametrize("authority", [OWNED, EXACT])
def test_what_authority_removes_names_the_sets_that_have_it(authority: Authority) -> None:
    strong, weak, ended = Source("a.yaml", 4), Source("a.yaml", 8), Source("a.yaml", 12)
    sets = [
        a_set("a", "anna", "x", authority=authority, place=strong),
        a_set("b", "anna bert", "x", place=weak),
        a_set("c", "anna", "x", authority=EXACT, until=NOW, place=ended),
        a_set("d", "bert", "y", place=weak),
    ]
    (delta,) = diff(declare(*sets), state(anna=carries("x y"), bert=carries("x y"))).deltas
    assert [(change.tag, change.sources) for change in delta.changes] == [("y", (strong,))]


def test_contacts_that_need_the_same_share_a_delta() -> None:
    found = diff(declare(a_set("a", "cara anna bert", "x")), state(bert=carries("y"), cara=carries("z")))
    assert [delta.contacts for delta in found.deltas] == [ids("anna bert cara")]


def test_when_it_was_learnt_parts_contacts_only_where_a_pair_may_be_sent_again() -> None:
    desired = declare(a_set("a", "anna bert", "x y"), rule=[a_rule("x", inert=True)])
    observed = state(anna=carries("x wf", ledger="x", at=NOW - 1), bert=carries("x", ledger="x", at=NOW - 2))
    again = Reassertion(Reassert.INERT, fresh_since=Instant(NOW - 1))
    found = diff(desired, observed, reassertion=again)
    assert [delta.contacts for delta in found.deltas] == [ids("anna bert")]
    assert {each.contacts: each.may for each in found.demands.adds} == {
        ids("anna"): tags("x y"),
        ids("bert"): tags("y"),
    }


# unobserved


def test_unobserved_adds_all_that_is_present() -> None:
    found = anna("x y", unseen())
    assert changes(found) == {"anna": {"+x declared", "+y declared"}}
    assert found.unobserved == 1


def test_a_contact_that_state_never_heard_of_is_unobserved() -> None:
    assert changes(diff(declare(a_set("a", "anna", "x")), state())) == {"anna": {"+x declared"}}


def test_with_an_add_every_removal_waits_for_its_answer() -> None:
    found = anna("x", unseen(ledger="old"), absent="w")
    assert changes(found) == {"anna": {"+x declared"}}
    assert postponed(found) == {"anna": {"until_observed: old w"}}


def test_a_deferral_under_owned_names_the_owned_tags() -> None:
    desired = declare(a_set("a", "anna", "x", authority=OWNED), a_set("b", "", "y"))
    assert postponed(diff(desired, state())) == {"anna": {"until_observed: y"}}


def test_a_deferral_under_exact_has_no_ceiling_for_what_cannot_be_named() -> None:
    found = anna("x", unseen(), absent="w", authority=EXACT)
    assert postponed(found) == {"anna": {"until_observed: w", "exact:"}}


def test_without_an_add_what_is_named_is_removed_blind() -> None:
    found = anna("", unseen(ledger="old"), absent="w")
    assert changes(found) == {"anna": {"-old pruned", "-w absent"}}
    assert postponed(found) == {}


def test_with_a_blind_removal_what_owned_would_remove_waits_for_its_answer() -> None:
    desired = declare(a_set("a", "anna", "", absent="w", authority=OWNED), a_set("b", "", "y"))
    found = diff(desired, state())
    assert changes(found) == {"anna": {"-w absent"}}
    assert postponed(found) == {"anna": {"until_observed: y"}}


def test_with_a_blind_removal_what_exact_would_remove_has_no_ceiling() -> None:
    found = anna("", unseen(), absent="w", authority=EXACT)
    assert (changes(found), postponed(found)) == ({"anna": {"-w absent"}}, {"anna": {"exact:"}})


def test_without_a_request_what_owned_would_remove_needs_a_refresh() -> None:
    desired = declare(a_set("a", "anna", "", authority=OWNED), a_set("b", "", "y"))
    found = diff(desired, state())
    assert (changes(found), postponed(found)) == ({}, {"anna": {"needs_refresh: y"}})


def test_without_a_request_what_exact_would_remove_needs_a_refresh() -> None:
    found = anna("", unseen(), authority=EXACT)
    assert (changes(found), postponed(found)) == ({}, {"anna": {"needs_refresh:"}})


@pytest.mark.parametrize(("tags", "doubt"), [("", "w"), ("x", "x")])
def test_what_is_in_doubt_is_read_before_more_is_removed(tags: str, doubt: str) -> None:
    desired = declare(a_set("a", "anna", tags, absent="w", authority=OWNED), a_set("b", "", "y"))
    found = diff(desired, state(anna=unseen(doubt=doubt)))
    withheld = "y" if doubt == "w" else "w y"
    assert (changes(found), postponed(found), held(found)) == (
        {},
        {"anna": {f"until_settled: {withheld}"}},
        {"anna": doubt},
    )


def test_a_contact_that_nobody_declares_is_not_counted_as_unobserved() -> None:
    assert left(unseen(ledger="x")).unobserved == 0


def test_who_was_read_as_gone_gets_nothing_and_is_listed() -> None:
    desired = declare(a_set("s", "anna bert cara", "vip", absent="trial"))
    observed = state(anna=carries("trial"), bert=carries("vip", ledger="vip"))
    gone = [HeldContacts("the API does not have it", (), ids("anna bert dora"))]
    for selection in (only(), only(retry_held=True, retry_rejected=True)):
        found = diff(desired, observed, gone=gone, selection=selection)
        assert changes(found) == {"cara": {"+vip declared"}}
        # who needs nothing is not listed
        assert quarantined(found) == {"anna": "the API does not have it"}


def test_who_was_read_as_gone_gets_nothing_back_by_a_revert() -> None:
    run = Reversal("run", dict.fromkeys(ids("anna bert"), NetChange(removed=tags("vip"))), {})
    gone = [HeldContacts("the API does not have it", (), ids("anna"))]
    found = undo_changes(run, declare(), state(anna=carries(""), bert=carries("")), spent={}, gone=gone)
    assert (changes(found), quarantined(found)) == ({"bert": {"+vip reverted"}}, {"anna": gone[0].why})


# protected and ignored


@pytest.mark.parametrize("known", [carries("w old y", ledger="old"), unseen(ledger="old")])
def test_protected_tags_are_never_removed(known: ContactState) -> None:
    safe = tuple(a_rule(tag, protected=True) for tag in ("w", "old", "y"))
    found = anna("", known, absent="w", authority=OWNED, rule=safe)
    assert (changes(found), postponed(found), recorded(found)) == ({}, {}, {})


@pytest.mark.parametrize("authority", [None, OWNED, EXACT])
def test_ignored_tags_are_left_alone(authority: Authority | None) -> None:
    found = anna("x", carries("x wf-1 wf-old", ledger="x wf-old"), ignore="wf-*", authority=authority)
    assert nothing(found)


def test_ignoring_does_not_keep_a_tag_from_being_added() -> None:
    assert changes(anna("wf-1", carries(), ignore="wf-*")) == {"anna": {"+wf-1 declared"}}


# once


ONCE = (a_rule("x", once=True),)


def test_once_one_add_satisfies_a_tag_that_a_workflow_consumed() -> None:
    assert nothing(anna("x", carries("", ledger="x"), rule=ONCE))


def test_once_is_added_where_it_never_was() -> None:
    assert changes(anna("x", carries(""), rule=ONCE)) == {"anna": {"+x declared"}}


def test_once_lasts_as_long_as_the_tag_stays_declared() -> None:
    consumed = left(carries("", ledger="x"), rule=ONCE)
    assert recorded(consumed)["anna"] == "-x"
    assert changes(anna("x", carries(""), rule=ONCE)) == {"anna": {"+x declared"}}


def test_once_does_not_keep_a_tag_that_nobody_declares() -> None:
    assert changes(left(carries("x", ledger="x"), rule=ONCE)) == {"anna": {"-x pruned"}}


# in doubt


def test_an_add_in_doubt_is_held() -> None:
    found = anna("x y", carries("", ledger="x", doubt="x"))
    assert changes(found) == {"anna": {"+y declared"}}
    assert held(found) == {"anna": "x"}


def test_a_removal_in_doubt_is_held_whatever_was_observed_before() -> None:
    assert held(anna("", carries("w", doubt="w"), absent="w")) == {"anna": "w"}
    assert held(anna("", carries("", doubt="w"), absent="w")) == {"anna": "w"}


def test_a_desired_tag_whose_removal_is_in_doubt_is_held_though_it_was_observed() -> None:
    found = anna("x", carries("x", ledger="x", doubt="x"))
    assert (changes(found), held(found)) == ({}, {"anna": "x"})


def test_a_kept_tag_in_doubt_is_held() -> None:
    found = left(carries("", ledger="x", kept="x", doubt="x"))
    assert (recorded(found).get("anna"), held(found)) == (None, {"anna": "x"})


def test_removals_wait_while_an_add_of_the_contact_is_in_doubt() -> None:
    found = anna("customer", carries("lead", ledger="customer", doubt="customer"), rule=GROUP)
    assert changes(found) == {}
    assert postponed(found) == {"anna": {"until_settled: lead"}}


def test_other_adds_do_not_wait_for_a_removal_in_doubt() -> None:
    found = anna("x", carries("w v", doubt="w"), absent="w v")
    assert changes(found) == {"anna": {"+x declared", "-v absent"}}


def test_held_pairs_are_sent_once_more_when_asked_to() -> None:
    found = anna("x", carries("w", ledger="x", doubt="x w"), absent="w", selection=only(retry_held=True))
    assert changes(found) == {"anna": {"+x declared", "-w absent"}}
    assert held(found) == {}


def test_a_pair_that_stays_in_doubt_when_sent_once_more_is_held_again() -> None:
    spent = {ContactId("anna"): tags("x")}
    known = unseen(ledger="x", doubt="x")
    found = anna("x", known, absent="w", selection=only(retry_held=True), spent=spent)
    assert (changes(found), held(found)) == ({}, {"anna": "x"})
    assert postponed(found) == {"anna": {"until_settled: w"}}


def test_an_add_that_ended_in_doubt_in_this_run_keeps_the_contacts_removals_back() -> None:
    found = anna("x", unseen(ledger="x", doubt="x"), absent="w", spent={ContactId("anna"): tags("x")})
    assert changes(found) == {}


# quarantined


def test_a_rejected_contact_is_listed_and_not_planned() -> None:
    found = anna("x", carries("w", quarantine=Rejection.DELETED), absent="w")
    assert (changes(found), quarantined(found)) == ({}, {"anna": "deleted"})


def test_a_rejected_contact_that_needs_nothing_is_not_listed() -> None:
    known = carries("x", ledger="x", quarantine=Rejection.DELETED)
    assert nothing(anna("x", known, absent="w", authority=OWNED))
    assert quarantined(diff(declare(a_set("a", "bert")), state(anna=carries("z", quarantine=Rejection.DELETED)))) == {}


def test_what_a_rejected_contact_holds_in_the_ledger_is_listed_until_it_is_gone() -> None:
    assert quarantined(left(carries("x", ledger="x", quarantine=Rejection.FOREIGN))) == {"anna": "other location"}
    assert quarantined(left(unseen(ledger="x", quarantine=Rejection.FOREIGN))) == {"anna": "other location"}


def test_what_a_rejected_contact_is_known_not_to_carry_leaves_the_ledger() -> None:
    found = left(carries("", ledger="x", quarantine=Rejection.DELETED))
    assert (quarantined(found), recorded(found)["anna"]) == ({}, "-x")


def test_rejected_contacts_are_tried_once_more_when_asked_to() -> None:
    known = carries("", quarantine=Rejection.DELETED)
    assert changes(anna("x", known, selection=only(retry_rejected=True))) == {"anna": {"+x declared"}}


def test_a_rejected_contact_is_tried_once_it_has_left_the_set_of_then() -> None:
    known = carries("x", ledger="x", quarantine=Rejection.DELETED)
    of_then = changed_state(known, membership=frozenset({SetName("a")}))
    assert quarantined(anna("y", of_then)) == {"anna": "deleted"}
    assert changes(left(of_then)) == {"anna": {"-x pruned"}}


def test_a_contact_rejected_in_this_run_is_not_tried_again_in_it() -> None:
    known = unseen(quarantine=Rejection.DELETED)
    spent = {ContactId("anna"): tags("x")}
    found = anna("x", known, absent="w", selection=only(retry_rejected=True), spent=spent)
    assert (changes(found), quarantined(found)) == ({}, {"anna": "deleted"})


# the ledger


def test_a_pair_desired_and_observed_is_adopted() -> None:
    found = anna("x", carries("x"))
    assert (changes(found), recorded(found)) == ({}, {"anna": "+x"})


def test_an_undesired_pair_known_absent_is_released() -> None:
    assert recorded(left(carries("y", ledger="x")))["anna"] == "-x"


def test_nothing_is_released_while_it_is_unknown() -> None:
    assert recorded(left(unseen(ledger="x"))).get("anna") is None
    assert recorded(left(carries("", ledger="x", doubt="x"))).get("anna") is None


def test_nothing_is_adopted_that_is_unknown() -> None:
    assert recorded(anna("x", unseen())) == {}
    assert recorded(anna("x", carries("x", doubt="x"))) == {}


def test_a_desired_pair_known_absent_stays_in_the_ledger() -> None:
    assert recorded(anna("x", carries("", ledger="x"))) == {}


def test_what_was_kept_on_purpose_stays_on_the_contact_and_leaves_the_ledger() -> None:
    found = left(carries("x", ledger="x", kept="x"))
    assert (changes(found), recorded(found)["anna"]) == ({}, "-x")


def test_what_other_contacts_keep_says_nothing_of_a_pair_that_was_put_there_to_be_pruned() -> None:
    found = left(carries("x", ledger="x"), on_leave=KEEP)
    assert changes(found) == {"anna": {"-x pruned"}}


def test_the_ledger_notes_what_is_to_stay_on_leaving() -> None:
    assert recorded(anna("x", carries("x"), on_leave=KEEP)) == {"anna": "+x =x"}
    assert recorded(anna("x", carries("x", ledger="x"), on_leave=KEEP)) == {"anna": "=x"}
    assert recorded(anna("x", carries("x", ledger="x", kept="x"))) == {"anna": ""}
    assert recorded(anna("x", carries("x", ledger="x", kept="x"), on_leave=KEEP)) == {}


def test_a_kept_tag_is_removed_where_it_must_be_absent() -> None:
    assert changes(anna("", carries("x", ledger="x", kept="x"), absent="x")) == {"anna": {"-x absent"}}


# reasons


def test_a_pair_of_the_ledger_that_others_removed_is_restored() -> None:
    assert changes(anna("x", carries("", ledger="x"))) == {"anna": {"+x restored"}}


def test_a_pair_of_the_ledger_on_a_contact_never_observed_is_not_restored() -> None:
    assert changes(anna("x", unseen(ledger="x"))) == {"anna": {"+x declared"}}


def test_nothing_is_restored_within_a_run() -> None:
    assert nothing(anna("x", carries("", ledger="x"), spent={ContactId("anna"): tags("x")}))


def test_a_pair_whose_set_has_ended_expires() -> None:
    place = Source("acme.yaml", 4)
    desired = declare(a_set("a", "anna", "x", until=NOW, place=place))
    (delta,) = diff(desired, state(anna=carries("x y", ledger="x y"))).deltas
    assert [(change.tag, change.reason, change.sources) for change in delta.changes] == [
        ("x", "expired", (place,)),
        ("y", "pruned", ()),
    ]


@pytest.mark.parametrize(
    ("known", "reason"), [(carries("w", ledger="w"), "absent"), (carries("w"), "absent"), (unseen(), "absent")]
)
def test_what_is_asked_for_by_name_rules_over_what_follows(known: ContactState, reason: str) -> None:
    assert changes(anna("", known, absent="w", authority=EXACT)) == {"anna": {f"-w {reason}"}}


# spent


def test_a_pair_whose_outcome_this_run_knows_is_not_planned_again() -> None:
    found = anna("x y", carries("w v"), absent="w v", spent={ContactId("anna"): tags("x w")})
    assert changes(found) == {"anna": {"+y declared", "-v absent"}}


# selection


def test_a_selected_set_limits_the_plan_to_its_members() -> None:
    desired = declare(a_set("a", "anna", "x"), a_set("b", "bert anna", "y"))
    observed = state(cara=carries("old", ledger="old"))
    assert changes(diff(desired, observed, selection=only(sets="a"))) == {"anna": {"+x declared", "+y declared"}}


def test_a_selected_tag_limits_the_plan_to_it() -> None:
    found = anna("x y", carries("w v x", ledger="v", kept="v"), absent="w", selection=only(tag="y w"))
    assert changes(found) == {"anna": {"+y declared", "-w absent"}}
    assert recorded(found) == {}


def test_the_ledger_of_other_tags_stays_as_it_is_under_a_selected_tag() -> None:
    found = anna("x y", carries("x y", ledger="y"), on_leave=KEEP, selection=only(tag="x"))
    assert recorded(found) == {"anna": "+x =x"}


def test_a_selected_tag_does_not_leave_a_group_empty() -> None:
    found = anna("customer", carries("lead"), rule=GROUP, selection=only(tag="lead"))
    assert changes(found) == {}
    there = anna("customer", carries("lead customer"), rule=GROUP, selection=only(tag="lead"))
    assert changes(there) == {"anna": {"-lead group"}}


def test_held_pairs_of_other_tags_are_not_listed_under_a_selected_tag() -> None:
    assert held(anna("x y", carries("", ledger="x y", doubt="x y"), selection=only(tag="x"))) == {"anna": "x"}


@pytest.mark.parametrize("first", ["anna", "bert"])
def test_a_tag_spelt_otherwise_is_there_for_its_own_contact_alone(first: str) -> None:
    """The location keeps `a` as `A` on anna, as no answer has told so far; bert has lost it."""
    known = {"anna": carries("A", ledger="a"), "bert": carries("", ledger="a")}
    observed = state(**{name: known[name] for name in sorted(known, key=lambda name: name != first)})
    (released,) = diff(declare(), observed, now=NOW).ledger
    assert (released.released, released.contacts) == (("a",), tuple(ids("bert")))


# all of it


def test_a_diff_tells_all_that_is_to_be_done_and_all_that_is_not_in_one_order() -> None:
    """Its parts are sorted, and contacts alike in what they need are together, however they came to it."""
    rule = [a_rule("w", once=True), a_rule("u", once=True), a_rule("p", protected=True), a_rule("i", inert=True)]
    desired = declare(
        a_set("late", "adam", "x", absent="_w"),
        a_set("all", "zoe anna bert cara dora emil fred gina hugo ida", "x i", absent="a p"),
        a_set("kept", "lisa lea kim uma", "k", on_leave=KEEP),
        a_set("welcome", "nora mia will", "w u"),
        a_set("bare", "quin rosa", "", absent="a b"),
        a_set("ignoring", "tom", "", absent="z", ignore="z"),
        a_set("owning", "sara vera", "x", authority=OWNED),
        a_set("named", "", "z"),
        rule=rule,
    )
    given = tuple((Tag(tag), Instant(NOW - day * DAY)) for tag, day in (("u", 1), ("w", 2)))
    observed = state(
        zoe=carries("i", ledger="i", at=NOW),
        anna=carries("i", ledger="i", at=NOW),
        bert=carries("a p"),
        cara=carries("a p"),
        dora=carries("i", ledger="x i", doubt="x"),
        emil=carries("x i a", ledger="x i", doubt="x a"),
        fred=carries("", quarantine=Rejection.INVALID),
        gina=carries("", quarantine=Rejection.DELETED),
        kim=carries("k y", ledger="y"),
        lea=carries("", ledger="k y z"),
        mia=changed_state(carries("p", ledger="p"), spent=given),
        nora=changed_state(carries("u"), spent=given),
        olga=carries("old", ledger="old"),
        paul=carries("", ledger="old"),
        quin=carries("a"),
        rosa=carries("a b"),
        sara=carries("x z", ledger="x z", kept="z"),
        tom=carries("z"),
        uma=carries("k", ledger="k"),
        vera=carries("x", ledger="x", kept="x"),
        will=changed_state(carries("u", ledger="u"), spent=((Tag("w"), Instant(NOW - 5 * DAY)),)),
        lisa=changed_state(carries("", ledger="k", kept="k"), restored=((Tag("k"), Instant(NOW - DAY)),)),
    )
    found = diff(desired, observed, reassertion=Reassertion(Reassert.INERT), now=NOW)
    add_x, add_i, add_k = (Change(Action.ADD, Tag(tag), Reason.DECLARED, (PLACE,)) for tag in "xik")
    take_a, take_b = (Change(Action.REMOVE, Tag(tag), Reason.ABSENT, (PLACE,)) for tag in "ab")
    take_old, take_y = (Change(Action.REMOVE, Tag(tag), Reason.PRUNED) for tag in ("old", "y"))
    assert found == Diff(
        deltas=(
            Delta((add_x,), ids("adam anna zoe")),
            Delta((add_i, add_x), ids("hugo ida")),
            Delta((add_i, add_x, take_a), ids("bert cara")),
            Delta((replace(add_k, reason=Reason.RESTORED),), ids("lea")),
            Delta((take_a,), ids("quin")),
            Delta((take_a, take_b), ids("rosa")),
            Delta((take_old,), ids("olga")),
            Delta((take_y,), ids("kim")),
        ),
        demands=Demands(
            adds=(
                Demand(tags("x"), tags("x"), ids("adam")),
                Demand(tags("x"), tags("i x"), ids("anna zoe")),
                Demand(tags("i x"), tags("i x"), ids("bert cara hugo ida")),
                Demand(tags("k"), tags("k"), ids("lea")),
            ),
            removes=(
                Demand(tags("a"), tags("a"), ids("bert cara")),
                Demand(tags("y"), tags("y"), ids("kim")),
                Demand(tags("old"), tags("old"), ids("olga")),
                # the tag that is known to be gone may be removed with the other
                Demand(tags("a"), tags("a b"), ids("quin")),
                Demand(tags("a b"), tags("a b"), ids("rosa")),
            ),
        ),
        deferrals=(
            Deferral(DeferralReason.UNTIL_OBSERVED, (Tag("_w"),), ids("adam")),
            Deferral(DeferralReason.UNTIL_OBSERVED, (Tag("a"),), ids("hugo ida")),
            Deferral(DeferralReason.UNTIL_SETTLED, (Tag("a"),), ids("emil")),
        ),
        ledger=(
            LedgerChange((), (), (), ids("vera")),
            LedgerChange((), (), (Tag("k"),), ids("uma")),
            LedgerChange((), (Tag("old"),), (), ids("paul")),
            LedgerChange((), (Tag("y"), Tag("z")), (Tag("k"),), ids("lea")),
            LedgerChange((Tag("k"),), (), (Tag("k"),), ids("kim")),
            LedgerChange((Tag("u"),), (), (), ids("nora")),
        ),
        held=(
            HeldContacts("flapping: put back less than 7 days ago", (Tag("k"),), ids("lisa")),
            HeldContacts("in doubt", (Tag("a"), Tag("x")), ids("emil")),
            HeldContacts("in doubt", (Tag("x"),), ids("dora")),
        ),
        quarantined=(HeldContacts("deleted", (), ids("gina")), HeldContacts("invalid", (), ids("fred"))),
        spared=(
            HeldContacts("protected or ignored", (Tag("p"),), ids("bert cara hugo ida mia")),
            HeldContacts("kept on leaving", (Tag("z"),), ids("sara")),
            HeldContacts("protected or ignored", (Tag("z"),), ids("tom")),
        ),
        unobserved=3,
        given=(
            HeldContacts("once: given before, on 2026-11-17", (Tag("u"),), ids("mia")),
            HeldContacts("once: given before, on 2026-11-13", (Tag("w"),), ids("will")),
            HeldContacts("once: given before, on 2026-11-16", (Tag("w"),), ids("mia nora")),
        ),
    )
