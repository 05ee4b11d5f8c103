"""The plan: same inputs, same bytes; a digest of what a reviewer sees; approval that only the guards give."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given

from reconciler.core.model.api_limits import LocationFacts
from reconciler.core.model.batch import Batch, Reason, Schedule
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import GuardRefused
from reconciler.core.model.journal import StateCopy
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Source, Tag, iso
from reconciler.core.model.outcome import Action
from reconciler.core.model.release_rules import Sent, TagPace
from reconciler.core.model.settings import Guard, GuardLimits, Reassert
from reconciler.core.observing.diagnosis import CheckStatus, state_remark
from reconciler.core.planning.batches import Caps, Reasserted
from reconciler.core.planning.changes import (
    EVERYTHING,
    FLAPPING,
    IN_DOUBT,
    Change,
    Deferral,
    DeferralReason,
    Delta,
    HeldContacts,
    LedgerChange,
    Selection,
    Tried,
)
from reconciler.core.planning.guard_sentences import ApprovedPlan, approve
from reconciler.core.planning.guards import Allowance, Before, Counts
from reconciler.core.planning.make_plan import count_given_and_gone, find_tried, plan_location, plan_revert
from reconciler.core.planning.plan import LocationPlan, LocationState, Plan, change_digest, combine_plans
from reconciler.core.planning.revert import NetChange, Reversal
from reconciler.core.planning.situation import Reassertion, Searched
from reconciler.core.planning.tag_aliases import make_spelling
from reconciler.cover import solve
from reconciler.planfile import plan_text
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
    many,
    only,
    plan_options,
    state,
    state_of,
    tags,
    unseen,
)
from tests.core.scenes import ELSEWHERE, a_busy_plan, a_location
from tests.core.test_diff_laws import World, worlds

ROOT = Path(__file__).parents[2]
SEEDS = ("0", "1", "2", "77", "4294967295")


@pytest.mark.slow
def test_the_same_inputs_make_the_same_bytes_in_any_process() -> None:
    code = "import sys; from tests.core.scenes import a_busy_plan; from reconciler.planfile import plan_text\n"
    code += "sys.stdout.write(plan_text(a_busy_plan()))"
    for seed in SEEDS:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
        assert made.stdout.decode() == plan_text(a_busy_plan())


@pytest.mark.slow
@given(worlds())
def test_the_order_in_which_contacts_became_known_makes_no_other_bytes(world: World) -> None:
    def plan(known: dict[ContactId, ContactState]) -> str:
        location = plan_location(world.desired, LocationState(HERE, observed=state_of(known)), plan_options())
        return plan_text(combine_plans([location], as_of=NOW, manifests="manifests"))

    assert plan(dict(reversed(world.observed.items()))) == plan(dict(world.observed))


def test_locations_are_sorted_and_the_nearest_boundary_holds() -> None:
    here = a_location(valid_until=NOW + DAY)
    there = replace(a_location(valid_until=None), location=ELSEWHERE)
    plan = combine_plans([there, here], as_of=NOW, manifests="")
    assert plan == combine_plans([here, there], as_of=NOW, manifests="")
    assert [each.location for each in plan.locations] == sorted((HERE, ELSEWHERE))
    assert plan.valid_until == NOW + DAY


def test_one_plan_says_of_its_locations_all_that_was_planned() -> None:
    here, there = a_location(valid_until=NOW + 2 * DAY), replace(a_location(valid_until=NOW + DAY), location=ELSEWHERE)
    plan = combine_plans([there, here], as_of=NOW, manifests="manifests", selection=only(tag="x"))
    sealed = replace(here, change_digest=digest(here)), replace(there, change_digest=digest(there))
    assert plan == Plan(NOW, Instant(NOW + DAY), sealed, digest(here, there), "manifests", only(tag="x"))
    assert [each.change_digest for each in plan.locations] == [digest(here), digest(there)]
    assert change_digest((here, there)) == digest(here, there)
    assert combine_plans([replace(here, valid_until=None)], as_of=NOW, manifests="").valid_until is None


NOTHING = plan_location(declare(), LocationState(HERE), plan_options())
X = (Tag("x"),)


@pytest.mark.parametrize(
    ("plan", "is_empty", "is_settled", "may_have_work"),
    [
        (NOTHING, True, True, False),
        (replace(NOTHING, batches=(Batch(Action.ADD, ids("anna"), X),)), False, False, True),
        (replace(NOTHING, ledger=(LedgerChange(X, (), (), ids("anna")),)), False, False, True),
        (replace(NOTHING, held=(HeldContacts(IN_DOUBT, X, ids("anna")),)), True, False, True),
        (replace(NOTHING, held=(HeldContacts(FLAPPING, X, ids("anna")),)), True, False, False),
        (replace(NOTHING, deferrals=(Deferral(DeferralReason.UNTIL_REPLACED, X, ids("anna")),)), True, False, False),
        (replace(NOTHING, deferrals=(Deferral(DeferralReason.EXCLUSIVE, X, ()),)), True, True, False),
        (replace(NOTHING, observations=a_location().observations), True, True, True),
    ],
    ids=["nothing", "request", "adoption", "doubt", "flapping", "replaced later", "search", "reading"],
)
def test_a_plan_tells_whether_there_is_work(
    plan: LocationPlan, is_empty: bool, is_settled: bool, may_have_work: bool
) -> None:
    assert (plan.is_empty, plan.is_settled, plan.may_have_work) == (is_empty, is_settled, may_have_work)
    # of several locations, each must be done
    both = combine_plans([plan, replace(NOTHING, location=ELSEWHERE)], as_of=NOW, manifests="")
    assert (both.is_empty, both.is_settled) == (is_empty, is_settled)


def test_a_plan_tells_in_words_what_it_leaves_aside_and_what_waits() -> None:
    plan = a_location()
    assert (plan.aside, plan.waiting) == ("1 tag held, 1 contact quarantined", "1 contact deferred")


def digest(*locations: LocationPlan, as_of: int = NOW) -> str:
    return combine_plans(locations, as_of=Instant(as_of), manifests="").change_digest


def planned(
    text: str = "x", known: str = "", *, absent: str = "", contacts: str = "anna bert", place: Source | None = None
) -> LocationPlan:
    """Two sets ask for the same, so that the places which ask can differ among contacts."""
    first, *others = contacts.split()
    sets = (
        a_set("one", first, text, absent=absent, place=place or Source("a.yaml", 1, 1)),
        a_set("two", " ".join(others), text, absent=absent),
    )
    observed = state(**{each: carries(known) for each in contacts.split()})
    return plan_location(declare(*sets), LocationState(HERE, "lineage", 7, observed), plan_options())


def test_the_change_digest_stays_where_a_reviewer_sees_the_same() -> None:
    base = planned()
    for same in (
        planned(place=Source("z.yaml", 99, 9)),
        planned(contacts="bert anna"),
        replace(base, serial=8, manifests_digest="other", lineage=None),
        replace(base, guards=(), batches=base.batches[::-1], observations=()),
    ):
        assert digest(same) == digest(base)
    assert digest(base, as_of=NOW + 1) == digest(base)


def test_the_change_digest_moves_with_every_change() -> None:
    plans = [
        planned(),
        planned("x y"),
        planned("y"),
        planned(contacts="anna cara"),
        planned(contacts="anna bert cara"),
        planned("", "x", absent="x"),
        planned("x", "y", absent="y"),
        planned("x", "x"),
        planned("x", "x", contacts="anna"),
        replace(planned(), location=LocationId("elsewhere")),
        replace(planned(), deltas=()),
    ]
    assert len({digest(each) for each in plans}) == len(plans)
    assert digest(planned(), replace(planned(), location=ELSEWHERE)) != digest(planned())


BOB = ids("bob")
REVIEWED = replace(
    a_location(),
    reasserted=(Reasserted(Action.ADD, X, BOB),),
    tried=(Tried(Action.ADD, X, NOW, BOB),),
    deferrals=(Deferral(DeferralReason.EXACT, X, BOB),),
    held=(HeldContacts(IN_DOUBT, X, BOB), HeldContacts(FLAPPING, X, BOB)),
    ledger=(LedgerChange(X, X, X, BOB),),
)


def test_an_approval_is_of_each_thing_that_a_plan_may_do_and_of_nothing_else() -> None:
    """Of what is sent again, tried before, deferred, in doubt and recorded: action, tags, dates, reasons, contacts."""
    (again,), (tried,), (deferral,), (ledger,) = (
        REVIEWED.reasserted,
        REVIEWED.tried,
        REVIEWED.deferrals,
        REVIEWED.ledger,
    )
    doubt, flapping = REVIEWED.held
    other, anna = (Tag("other"),), ids("anna")
    plans = [
        REVIEWED,
        *(replace(REVIEWED, **{name: ()}) for name in ("reasserted", "tried", "deferrals", "held", "ledger")),
        *(
            replace(REVIEWED, reasserted=(replace(again, **changed),))
            for changed in ({"action": Action.REMOVE}, {"tags": other}, {"contacts": anna})
        ),
        *(
            replace(REVIEWED, tried=(replace(tried, **changed),))
            for changed in ({"action": Action.REMOVE}, {"tags": other}, {"at": NOW - 1}, {"contacts": anna})
        ),
        *(
            replace(REVIEWED, deferrals=(replace(deferral, **changed),))
            for changed in ({"reason": DeferralReason.OPEN}, {"tags": other}, {"contacts": anna})
        ),
        *(
            replace(REVIEWED, held=(replace(doubt, **changed), flapping))
            for changed in ({"tags": other}, {"contacts": anna})
        ),
        *(
            replace(REVIEWED, ledger=(replace(ledger, **changed),))
            for changed in ({"adopted": other}, {"released": other}, {"kept": other}, {"contacts": anna})
        ),
    ]
    assert len({digest(each) for each in plans}) == len(plans)
    assert digest(replace(REVIEWED, held=(doubt,))) == digest(REVIEWED), "no reading lets a flapping pair be sent"
    assert digest(replace(REVIEWED, spared=REVIEWED.held, given=REVIEWED.held)) == digest(REVIEWED)


@pytest.mark.slow
@given(worlds(), worlds())
def test_a_location_has_the_digest_of_a_plan_of_it_alone_whatever_else_is_planned(one: World, other: World) -> None:
    here, elsewhere = (
        plan_location(
            replace(world.desired, location=place),
            LocationState(place, observed=state_of(world.observed)),
            plan_options(),
        )
        for world, place in ((one, HERE), (other, ELSEWHERE))
    )
    both = combine_plans([elsewhere, here], as_of=NOW, manifests="")
    assert {each.location: each.change_digest for each in both.locations} == {
        HERE: digest(here),
        ELSEWHERE: digest(elsewhere),
    }
    assert both.change_digest not in {digest(here), digest(elsewhere)}
    (alone,) = combine_plans([here], as_of=NOW, manifests="").locations
    assert alone.change_digest == digest(here)


def test_the_change_digest_moves_with_a_reason_and_with_a_ceiling() -> None:
    group = [a_rule(tag, group="g") for tag in ("x", "w")]
    by_name, by_group = declare(a_set("s", "anna", "x", absent="w")), declare(a_set("s", "anna", "x"), rule=group)
    alone = declare(a_set("s", "anna", "x"))
    for known in (carries("w"), unseen()):
        observed = LocationState(HERE, observed=state(anna=known))
        plans = [plan_location(each, observed, plan_options()) for each in (by_name, by_group, alone)]
        assert len({digest(each) for each in plans}) == (3 if known.observed is not None else 2)


def test_the_summary_counts_pairs_contacts_and_requests() -> None:
    summary = a_location().summary
    assert (summary.contacts, summary.adds, summary.removes) == (4, 2, 3)
    assert (summary.unobserved, summary.deferred, summary.held, summary.quarantined) == (1, 1, 1, 1)
    assert (summary.adopted, summary.released, summary.reasserted) == (1, 1, 0)
    assert summary.requests == len(a_location().batches)
    assert summary.daily_quota_share == round(summary.requests / 200_000, 6)


def test_a_plan_is_empty_where_nothing_is_sent_and_nothing_recorded() -> None:
    def plan(known: str, ledger: str) -> LocationPlan:
        observed = state(anna=carries(known, ledger=ledger))
        return plan_location(declare(a_set("s", "anna", "x")), LocationState(HERE, observed=observed), plan_options())

    assert plan("x", "x").is_empty
    assert not plan("x", "").is_empty
    assert not plan("", "x").is_empty


def test_a_selection_limits_a_plan() -> None:
    desired = declare(a_set("a", "anna", "x y"), a_set("b", "bert", "x"))
    options = plan_options(selection=only(sets="a", tag="x"))
    (delta,) = plan_location(desired, LocationState(HERE), options).deltas
    assert ([change.tag for change in delta.changes], delta.contacts) == (["x"], ("anna",))


def test_what_a_person_names_is_read_in_the_spelling_of_the_state() -> None:
    spelling = make_spelling([(Tag("x__y"), Tag("x_y"))])
    options = plan_options(
        allowances=(Allowance(Guard.MAX_ADDS, "x__y", "why"), Allowance(Guard.SHRINK_PCT, "x__y", "why")),
        selection=only(tag="x__y", sets="x__y"),
        searched=Searched(tags("x__y"), tags("x__y"), NOW),
        now=NOW,
    )
    assert options.in_spelling(spelling) == replace(
        options,
        allowances=(Allowance(Guard.MAX_ADDS, "x_y", "why"), Allowance(Guard.SHRINK_PCT, "x__y", "why")),
        selection=only(tag="x_y", sets="x__y"),
        searched=Searched(tags("x_y"), tags("x_y"), NOW),
    )


def test_pairs_that_were_tried_are_told_with_their_last_attempt() -> None:
    """By a request in doubt, by one that put back what others removed, and by one of a contact never seen."""
    latest, earlier, long_ago = Instant(NOW - DAY), Instant(NOW - 2 * DAY), Instant(NOW - 9 * DAY)
    observed = state(
        anna=carries("", doubt="x z"),
        bert=changed_state(carries("", doubt="x"), restored=((Tag("y"), earlier),)),
        cara=changed_state(carries(""), restored=((Tag("x"), long_ago), (Tag("y"), long_ago)), attempted_at=earlier),
        dora=carries(""),
        abel=carries("", doubt="x z"),
        fred=changed_state(carries(""), restored=((Tag("y"), long_ago),)),
        gina=changed_state(carries(""), attempted_at=long_ago),
    )
    changes = tuple(Change(action, Tag(tag), Reason.DECLARED) for action, tag in ASKED)
    deltas = Delta(changes, ids("emil dora cara bert anna fred gina")), Delta(changes[:1], ids("zoe abel"))
    assert find_tried(deltas, observed) == (
        Tried(Action.ADD, (Tag("x"), Tag("y")), long_ago, ids("gina")),
        Tried(Action.ADD, (Tag("y"),), long_ago, ids("fred")),
        Tried(Action.ADD, (Tag("x"), Tag("y")), earlier, ids("cara")),
        Tried(Action.ADD, (Tag("y"),), earlier, ids("bert")),
        Tried(Action.ADD, X, latest, ids("abel anna bert")),
        Tried(Action.REMOVE, (Tag("z"),), latest, ids("anna")),
    )
    assert find_tried(deltas, state(dora=carries(""))) == ()


def test_a_plan_tells_the_pairs_that_were_tried() -> None:
    here = LocationState(HERE, observed=state(anna=changed_state(unseen(), attempted_at=NOW)))
    plan = plan_location(declare(a_set("s", "anna", "x")), here, plan_options())
    assert plan.tried == (Tried(Action.ADD, X, NOW, ids("anna")),)


ASKED = ((Action.ADD, "x"), (Action.ADD, "y"), (Action.REMOVE, "z"))


@pytest.mark.parametrize(
    ("sets", "oldest"),
    [("", 5), ("a", 3), ("b", 5), ("c", None)],
)
def test_the_oldest_observation_is_of_the_contacts_that_the_plan_is_about(sets: str, oldest: int | None) -> None:
    """Declared in the chosen sets, or to change: fred loses a tag, and nothing is desired of gina."""
    desired = declare(a_set("a", "anna", "x"), a_set("b", "bert", "x"), a_set("c", "cara dora", "x"))
    known = state(
        anna=carries("x", ledger="x", at=NOW - 3 * DAY),
        bert=carries("x", ledger="x", at=NOW - 5 * DAY),
        cara=unseen(),
        fred=carries("old", ledger="old", at=NOW - 4 * DAY),
        gina=carries("x", at=NOW - 9 * DAY),
    )
    plan = plan_location(desired, LocationState(HERE, observed=known), plan_options(selection=only(sets=sets)))
    assert plan.oldest == (None if oldest is None else NOW - oldest * DAY)
    assert plan_location(desired, LocationState(HERE), plan_options()).oldest is None


def test_a_contact_that_is_to_change_may_have_the_oldest_observation() -> None:
    known = state(anna=carries("x", ledger="x", at=NOW - 3 * DAY), fred=carries("old", ledger="old", at=NOW - 4 * DAY))
    plan = plan_location(declare(a_set("a", "anna", "x")), LocationState(HERE, observed=known), plan_options())
    assert plan.oldest == NOW - 4 * DAY


@pytest.mark.parametrize(
    ("sizes", "selection", "moved"),
    [
        ({"a": 2}, EVERYTHING, False),
        ({"a": 1}, EVERYTHING, True),
        ({}, EVERYTHING, True),
        ({"a": 1}, only(sets="a"), False),
        ({"a": 1}, only(tag="x"), False),
    ],
)
def test_a_plan_of_everything_notes_whether_a_set_has_another_size(
    sizes: dict[str, int], selection: Selection, moved: bool
) -> None:
    here = LocationState(HERE, set_sizes={SetName(name): size for name, size in sizes.items()})
    plan = plan_location(declare(a_set("a", "anna bert", "x")), here, plan_options(selection=selection))
    assert plan.leaves_record is moved


def test_a_plan_heeds_what_the_location_took_lately() -> None:
    known = LocationState(HERE, facts=LocationFacts(max_contacts=2, limits_at=NOW))
    plan = plan_location(declare(a_set("s", many(5), "x")), known, plan_options(now=NOW, caps=Caps(4, 50)))
    assert sorted(len(batch.contacts) for batch in plan.batches) == [1, 2, 2]


WITH_X = NetChange(added=tags("x"), entered=tags("x"))
GIVEN = Reversal("run", dict.fromkeys(ids("anna bert cara dora"), WITH_X), {})


@pytest.mark.parametrize("plan", [plan_location, partial(plan_revert, GIVEN)], ids=["plan", "revert"])
def test_a_round_plans_what_is_left_within_limits_on_the_run_as_a_whole(plan: Callable[..., LocationPlan]) -> None:
    """Four lose x: cara is not there, the removal on dora has its outcome, and earlier rounds removed it from two."""
    known = state(**dict.fromkeys(("anna", "bert", "cara", "dora"), carries("x", ledger="x")))
    seen = a_location().observations
    found = plan(
        declare(),
        LocationState(HERE, "lineage", 7, known),
        plan_options(gone=(HeldContacts("deleted", (), ids("cara")),), limits=GuardLimits(max_requests=1)),
        spent={ContactId("dora"): tags("x")},
        done=Counts(removes=Counter(x=2), unnamed=Counter(x=2), lost=Counter(x=2), requests=1),  # type: ignore[arg-type]
        before=Before(Counter({Tag("x"): 40}), {SetName("s"): 20}),
        observations=seen,
    )
    changes = [(change.action, change.tag) for delta in found.deltas for change in delta.changes]
    assert (changes, [delta.contacts for delta in found.deltas]) == ([(Action.REMOVE, "x")], [ids("anna bert")])
    assert found.quarantined == (HeldContacts("deleted", (), ids("cara")),)
    assert [(each.flag, each.numerator, each.denominator) for each in found.guards] == [
        ("shrink_pct:set=s", 20, 20),
        ("max_requests", 2, 0),
        ("empties_tag:tag=x", 4, 40),
        ("max_removes_pct", 4, 40),
        ("max_removes_pct:tag=x", 4, 40),
    ]
    assert found.observations == seen
    assert [each.flag for each in found.refused] == ["shrink_pct:set=s", "max_requests"]


def test_a_plan_goes_by_the_search_the_time_and_the_tags_that_were_owned_when_the_run_began() -> None:
    """cara has an exclusive tag, bert one that was put back yesterday, anna one that was owned by another name."""
    desired = declare(
        a_set("s", "anna", "x", authority=Authority.OWNED),
        a_set("t", "bert", "x"),
        a_set("u", "dora", "board"),
        rule=[a_rule("board", exclusive=True)],
    )
    known = state(
        anna=carries("x a_b", ledger="x"),
        bert=changed_state(carries("", ledger="x"), restored=((Tag("x"), Instant(NOW - DAY)),)),
        cara=carries("board"),
        dora=carries("board", ledger="board"),
    )
    here = loaded(known, aliases=[("a__b", "a_b")])
    searched = Searched(tags("board"), tags("board"), Instant(NOW - DAY))

    plan = plan_location(desired, here, plan_options(searched=searched, now=NOW), owned=tags("a__b"))
    found = [(change.action, change.tag, each.contacts) for each in plan.deltas for change in each.changes]
    assert found == [(Action.REMOVE, "a_b", ids("anna")), (Action.REMOVE, "board", ids("cara"))]
    assert plan.held == (HeldContacts(FLAPPING, X, ids("bert")),)
    assert plan.searched == searched

    without = plan_location(desired, here, plan_options())
    found = [(change.action, change.tag, each.contacts) for each in without.deltas for change in each.changes]
    assert (found, without.held) == ([(Action.ADD, "x", ids("bert"))], ())


def test_a_plan_tells_what_was_given_what_starts_automations_who_is_gone_and_how_tags_are_given() -> None:
    """Five get x, two an hour; one was given it half an hour ago, and hans was given y once before."""
    hour = 3_600_000
    rule = [a_rule("x", pace=TagPace(2, hour)), a_rule("y", once=True, triggers=True)]
    desired = declare(a_set("s", many(5), "x"), a_set("t", "hans ines", "y"), rule=[*rule, a_rule("a", triggers=True)])
    known = state(hans=changed_state(carries(""), spent=((Tag("y"), Instant(NOW - DAY)),)))
    gone = (HeldContacts("deleted", (), ids("ines")),)
    options = plan_options(
        now=NOW, gone=gone, sent={Tag("x"): (Sent(Instant(NOW - hour // 2), 1),)}, limits=GuardLimits(max_requests=9)
    )
    plan = plan_location(desired, LocationState(HERE, observed=known), options)
    assert (plan.triggers, plan.gone, plan.quarantined) == (tags_in_order("a y"), gone, gone)
    assert [(each.tags, each.contacts) for each in plan.given] == [(tags_in_order("y"), ids("hans"))]
    (release,) = plan.pacing
    assert (release.tag, release.adds, release.used, release.slices_in_all) == ("x", 5, 1, 5)
    assert release.ends == NOW + 2 * hour
    assert plan.summary.eta_seconds == 2 * 3_600


@pytest.mark.parametrize(("ago", "eta"), [(30_000, 70.0), (100_000, 0.0), (DAY, 0.0)])
def test_the_time_of_a_plan_has_the_wait_until_what_is_in_doubt_settles(ago: int, eta: float) -> None:
    """An apply waits for it before its first request."""
    known = state(anna=changed_state(carries("", ledger="x", doubt="x"), doubt_at=Instant(NOW - ago)))
    plan = plan_location(declare(a_set("s", "anna bert", "x")), loaded(known), plan_options(now=NOW))
    assert (plan.summary.requests, plan.summary.eta_seconds) == (1, eta)
    assert plan_location(declare(a_set("s", "bert", "x")), loaded(known), plan_options()).summary.eta_seconds == 0


def tags_in_order(text: str) -> tuple[Tag, ...]:
    return tuple(map(Tag, text.split()))


def test_the_solver_is_asked_for_the_effort_that_was_chosen_and_for_what_may_be_sent_again() -> None:
    asked = []

    def solver(*demands: object, **bounds: object) -> Schedule:
        asked.append(bounds)
        return solve(*demands, **bounds)  # type: ignore[arg-type]

    known = state(anna=carries("x", ledger="x"), bert=carries("w"))
    desired = declare(a_set("s", "anna bert", "x y", absent="w v"))
    options = plan_options(
        solve=solver, effort=7, caps=Caps(9, 8), reassertion=Reassertion(Reassert.ALWAYS, Instant(0)), now=NOW
    )
    plan_location(desired, LocationState(HERE, observed=known), options)
    assert asked == [
        {
            "repeatable_adds": tags("x y"),
            "repeatable_removes": tags("w v"),
            "max_contacts": 9,
            "max_tags": 8,
            "effort": 7,
        }
    ]


@pytest.mark.parametrize(
    ("known", "refused"),
    [
        (LocationState(HERE), True),
        (LocationState(HERE, observed=state(anna=carries("y", ledger="y", kept="y"))), True),
        (LocationState(HERE, set_sizes={SetName("other"): 1}), False),
    ],
    ids=["no state", "a part was applied", "all was applied"],
)
def test_a_location_of_which_only_a_part_was_applied_is_applied_for_the_first_time(
    known: LocationState, refused: bool
) -> None:
    desired = declare(a_set("s", many(6), "x"), rule=[a_rule("x", triggers=True)])
    plan = plan_location(desired, known, plan_options())
    assert [each.flag for each in plan.refused] == ["max_first_adds:tag=x"] * refused


A_COPY = StateCopy(NOW, "apply 29e35c7249a4")
KNOWN_PAIRS = state(anna=carries("x y z", ledger="x y z"))


@pytest.mark.parametrize(
    ("rule", "refused"),
    [({"triggers": True}, ["max_backup_adds:tag=x"]), ({"once": True}, ["max_backup_adds:tag=x"]), ({}, [])],
    ids=["triggers", "once", "no rule"],
)
def test_on_a_backup_no_tag_is_added_that_a_second_time_does_harm(rule: dict[str, bool], refused: list[str]) -> None:
    """Where only bert lacks it, one contact is enough; it is lifted by its own name, and by no first run."""
    desired = declare(a_set("s", "anna bert", "x y z"), rule=[a_rule("x", **rule)])
    there = LocationState(HERE, "l", 1, KNOWN_PAIRS, {SetName("s"): 2})
    copied = replace(there, copied=A_COPY)
    assert plan_location(desired, there, plan_options()).refused == ()
    plan = plan_location(desired, copied, plan_options())
    assert [each.flag for each in plan.refused] == refused
    assert [each.lift for each in plan.refused] == [f'--allow {flag} --reason "…"' for flag in refused]
    lifted = plan_options(allowances=(Allowance(Guard.MAX_BACKUP_ADDS, "x", "seen"),))
    assert plan_location(desired, copied, lifted).refused == ()


def test_on_a_backup_an_apply_of_all_is_written_down_though_there_is_nothing_to_send() -> None:
    desired = declare(a_set("s", "anna", "x y z"))
    copied = LocationState(HERE, "l", 1, KNOWN_PAIRS, {SetName("s"): 1}, copied=A_COPY)
    whole = plan_location(desired, copied, plan_options())
    part = plan_location(desired, copied, plan_options(selection=Selection(tags=frozenset({Tag("x")}))))
    known = plan_location(desired, replace(copied, copied=None), plan_options())
    assert [(each.is_empty, each.leaves_record) for each in (whole, part, known)] == [
        (True, True),
        (True, False),
        (True, False),
    ]


def test_a_copy_says_when_it_was_made_and_before_which_run() -> None:
    assert StateCopy.read(A_COPY.operation, NOW) == A_COPY
    assert StateCopy.read("apply", NOW) is None
    told = A_COPY.describe(HERE)
    assert f"is a backup that was put back: it was made {iso(NOW)} before apply 29e35c7249a4, and" in told
    remark = state_remark(LocationState(HERE, "l", 1, copied=A_COPY))
    assert (remark.verdict, remark.told) == (CheckStatus.WATCH, told)


def test_an_approval_that_was_written_down_is_of_the_same_changes_in_each_release() -> None:
    plan = replace(
        NOTHING,
        deltas=(Delta((Change(Action.ADD, Tag("x"), Reason.DECLARED),), BOB),),
        reasserted=(Reasserted(Action.ADD, X, BOB),),
        tried=(Tried(Action.ADD, X, NOW, BOB),),
        deferrals=(Deferral(DeferralReason.EXACT, X, BOB),),
        held=(HeldContacts(IN_DOUBT, X, BOB),),
        ledger=(LedgerChange(X, X, X, BOB),),
    )
    assert digest(plan) == "sha256:68ca68bb62cede412868a739f2c30c3e8c2c38922c22ae8f150a4ed323992fac"


# approval


def refused_plan() -> Plan:
    options = plan_options(limits=GuardLimits(max_adds=1))
    desired = declare(a_set("s", many(3), "x"))
    return combine_plans([plan_location(desired, LocationState(HERE), options)], as_of=NOW, manifests="")


def test_what_no_guard_refuses_is_approved_as_it_is() -> None:
    plan = a_busy_plan()
    assert approve(plan).plan is plan


def test_what_a_guard_refuses_is_not_approved() -> None:
    with pytest.raises(GuardRefused, match="max_adds refuses location"):
        approve(refused_plan())


def test_one_refused_location_refuses_them_all() -> None:
    plan = combine_plans([*a_busy_plan().locations, *refused_plan().locations], as_of=NOW, manifests="")
    with pytest.raises(GuardRefused):
        approve(plan)


def test_what_was_lifted_is_approved() -> None:
    options = plan_options(limits=GuardLimits(max_adds=1), allowances=(Allowance(Guard.MAX_ADDS, "", "meant"),))
    location = plan_location(declare(a_set("s", many(3), "x")), LocationState(HERE), options)
    assert approve(combine_plans([location], as_of=NOW, manifests="")).plan.locations == (location,)


def test_an_approved_plan_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        ApprovedPlan(refused_plan())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^an approved plan comes from approve\(plan\)$"):
        ApprovedPlan(refused_plan(), object())


def test_an_approved_plan_cannot_become_another() -> None:
    approved = approve(a_busy_plan())
    with pytest.raises(FrozenInstanceError):
        approved.plan = refused_plan()  # type: ignore[misc]
    with pytest.raises((TypeError, ValueError)):
        replace(approved, plan=refused_plan())  # type: ignore[call-arg]


def test_a_request_may_land_for_90_seconds_where_nothing_else_is_said() -> None:
    # and it leaves up to ten seconds after the date of its intent
    assert plan_options().settle_ms == 90_000 + 10_000


def test_who_was_given_a_tag_and_lost_it_is_counted_among_those_who_are_to_have_it_and_were_looked_at() -> None:
    """Anna lost it; Bert has it; Cara was never seen, and Dora is in no set any more: of neither is anything known."""
    desired = declare(a_set("all", "anna bert cara", "welcome"), rule=[a_rule("welcome", once=True)])
    observed = state(
        anna=carries("", ledger="welcome"),
        bert=carries("welcome", ledger="welcome"),
        cara=unseen(ledger="welcome"),
        dora=carries("", ledger="welcome"),
    )
    assert count_given_and_gone(tags("welcome"), desired, observed) == {"welcome": 1}
    assert count_given_and_gone(tags("other"), desired, observed) == {}
