"""What a guard says: a whole sentence each, the tags or ids that it is most about, the ways out, and the new names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.model.batch import Reason
from reconciler.core.model.names import Source, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Guard
from reconciler.core.planning.changes import Change, Delta
from reconciler.core.planning.guard_sentences import (
    explain_ended,
    explain_lifted,
    explain_lifting,
    explain_pull_refusals,
    explain_refusals,
    guess_renames,
)
from reconciler.core.planning.guards import Measured
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, LocationState
from tests.build import HERE, declare, ids, many, plan_options

X = Tag("x")


def a_plan(*guards: Measured, deltas: tuple[Delta, ...] = (), new: str = "") -> LocationPlan:
    empty = plan_location(declare(), LocationState(HERE), plan_options())
    return replace(empty, deltas=deltas, guards=guards, new_names=tuple(map(Tag, new.split())))


SENTENCES = [
    (Guard.MAX_ADDS, "", 1_000, 2_394, 2_394, 0, "it would add 2,394 tags (limit: 1,000)"),
    (Guard.MAX_ADDS, "x", 0, 1, 1, 0, "it would add 'x' to 1 contact (limit: 0)"),
    (Guard.MAX_ADDS, "", 0, 1, 1, 0, "it would add 1 tag (limit: 0)"),
    (Guard.MAX_REMOVES, "", 1, 2, 2, 0, "it would remove 2 tags (limit: 1)"),
    (Guard.MAX_REMOVES, "", 0, 1, 1, 0, "it would remove 1 tag (limit: 0)"),
    (Guard.MAX_REMOVES, "x", 1, 2_394, 2_394, 0, "it would remove 'x' from 2,394 contacts (limit: 1)"),
    (
        Guard.MAX_ADDS_PCT,
        "",
        1_000,
        1_197,
        23_940,
        2_000,
        "it would add 23,940 tags, where contacts carry 2,000 now: 1,197 % (limit: 1,000 %)",
    ),
    (
        Guard.MAX_ADDS_PCT,
        "x",
        7.5,
        20,
        1,
        5,
        "it would add 'x' to 1 contact, where 5 carry it now: 20 % (limit: 7.5 %)",
    ),
    (
        Guard.MAX_REMOVES_PCT,
        "",
        30,
        37.5,
        1_500,
        4_000,
        "it would remove 1,500 tags, of 4,000 that contacts are known to carry: 37.5 % (limit: 30 %)",
    ),
    (
        Guard.MAX_REMOVES_PCT,
        "x",
        30,
        37.5,
        1_500,
        4_000,
        "it would remove 'x' from 1,500 contacts, of 4,000 known to carry it: 37.5 % (limit: 30 %)",
    ),
    (
        Guard.MAX_REMOVES_PCT,
        "x",
        30,
        100,
        6,
        0,
        "it would remove 'x' from 6 contacts, of whom nobody is known to carry it: 100 % (limit: 30 %)",
    ),
    (
        Guard.MAX_RESTORED_PCT,
        "x",
        30,
        50,
        1_000,
        2_000,
        "others took 'x' off, and it would put it back on 1,000 of 2,000 contacts that have it from here: 50 % "
        "(limit: 30 %)",
    ),
    (
        Guard.MAX_FIRST_ADDS,
        "x",
        5,
        6,
        6,
        0,
        "no apply of the whole location is known, and it would add 'x', which starts automations or is "
        "given once, to 6 contacts (limit: 5); if it was applied before, the state is lost or is another one",
    ),
    (
        Guard.MAX_FIRST_ADDS,
        "x",
        5,
        6,
        1,
        5,
        "no apply of the whole location is known, and it would add 'x', which starts automations or is "
        "given once, to 1 contact besides 5 that have it from here (limit: 5); if it was applied before, the state is "
        "lost or is another one",
    ),
    (
        Guard.MAX_BACKUP_ADDS,
        "x",
        0,
        1,
        1,
        0,
        "the state is a backup that was put back, and it would add 'x', which starts automations or is given once, to "
        "1 contact (limit: 0): a run that the backup does not know may have given it already",
    ),
    (
        Guard.EMPTIES_TAG,
        "x",
        0,
        0,
        2_394,
        2_395,
        "it would leave nobody with 'x': 2,394 of 2,395 lose it (limit: at least 1)",
    ),
    (
        Guard.MIN_HOLDERS,
        "x",
        1_000,
        1,
        1,
        2_394,
        "it would leave 1 contact with 'x', of 2,394 (limit: at least 1,000)",
    ),
    (
        Guard.ODD_IDS,
        "x",
        0,
        1,
        1,
        1_000,
        "it would take 'x' from 1,000 contacts and give it to 1 id that HighLevel cannot have issued (an id has 20 "
        "letters and digits)",
    ),
    (
        Guard.ODD_IDS,
        "x",
        0,
        1_000,
        1_000,
        1,
        "it would take 'x' from 1 contact and give it to 1,000 ids that HighLevel cannot have issued (an id has 20 "
        "letters and digits)",
    ),
    (Guard.MAX_REQUESTS, "", 1_000, 1_001, 1_001, 0, "it would take 1,001 requests (limit: 1,000)"),
    (
        Guard.SHRINK_PCT,
        "s",
        50,
        75,
        1_500,
        2_000,
        "contact set 's' loses 1,500 of its 2,000 contacts: 75 % (limit: 50 %)",
    ),
    (
        Guard.GROW_PCT,
        "s",
        100,
        150,
        3_000,
        2_000,
        "contact set 's' gains 3,000 contacts, where the last apply had 2,000 (for a new set: in all sets): 150 % "
        "(limit: 100 %)",
    ),
    (Guard.PROTECTED, "x", 0, 3, 3, 0, "it would remove 'x', which is protected, from 3 contacts"),
    (
        Guard.MAX_UNMATCHED_PCT,
        "s",
        10,
        50,
        1_000,
        2_000,
        "contact set 's': 1,000 of 2,000 rows are not matched (not found, ambiguous or malformed): 50 % (limit: 10 %)",
    ),
    (
        Guard.MAX_REMATCHED_PCT,
        "s",
        10,
        50,
        1_000,
        2_000,
        "contact set 's': 1,000 of 2,000 matched rows are of another contact than before: 50 % (limit: 10 %)",
    ),
]


@pytest.mark.parametrize(("guard", "scope", "limit", "measure", "part", "total", "sentence"), SENTENCES)
def test_a_guard_that_was_lifted_tells_its_sentence_with_the_reason(
    guard: Guard, scope: str, limit: float, measure: float, part: int, total: int, sentence: str
) -> None:
    measured = Measured(guard, scope, limit, measure, False, part, total, allowed="why")
    assert explain_lifted(measured) == f"guard {guard} is lifted (why): {sentence}"


def test_every_guard_has_its_sentence() -> None:
    assert {guard for guard, *_ in SENTENCES} == set(Guard)


def test_a_growth_that_a_pull_shows_is_told_by_the_last_pull() -> None:
    grown = Measured(Guard.GROW_PCT, "s", 100, 150, True, 3_000, 2_000)
    told = "contact set 's' gains 3,000 contacts, where the last pull had 2,000: 150 % (limit: 100 %)"
    assert explain_pull_refusals(HERE, [grown, replace(grown, refused=False)]) == (
        f"guard grow_pct refuses a pull of location {HERE}: {told}",
    )
    lifted = replace(grown, refused=False, allowed="a fair")
    assert explain_lifted(lifted, of_pull=True) == f"guard grow_pct is lifted (a fair): {told}"


def a_refusal(*changes: Delta, guard: Guard, scope: str = "") -> str:
    """The sentence with which a guard refuses a plan of these changes."""
    refused = Measured(guard, scope, 1, 2, True, 2, 4)
    (sentence,) = explain_refusals([a_plan(refused, deltas=changes)])
    return sentence.partition(": ")[2]


def a_change(action: Action, tag: str, contacts: int, reason: Reason = Reason.DECLARED) -> Delta:
    return Delta((Change(action, Tag(tag), reason),), ids(many(contacts)))


def test_a_refusal_of_the_location_names_the_three_tags_that_it_is_most_about() -> None:
    adds = [a_change(Action.ADD, tag, contacts) for tag, contacts in (("c", 3), ("b", 3), ("d", 2), ("a", 1_200))]
    gone = [
        a_change(Action.REMOVE, "a", 2, Reason.PRUNED),
        a_change(Action.REMOVE, "a", 1, Reason.PRUNED),
        a_change(Action.REMOVE, "b", 9, Reason.ABSENT),
        a_change(Action.REMOVE, "c", 8, Reason.RENAMED),
    ]
    most = "; most of 'a' (1,200), 'b' (3), 'c' (3)"
    assert a_refusal(*adds, *gone, guard=Guard.MAX_ADDS) == "it would add 2 tags (limit: 1)" + most
    assert a_refusal(*adds, *gone, guard=Guard.MAX_ADDS_PCT).endswith(": 2 % (limit: 1 %)" + most)
    assert a_refusal(*adds, *gone, guard=Guard.MAX_REMOVES).endswith("; most of 'b' (9), 'c' (8), 'a' (3)")
    assert a_refusal(*adds, *gone, guard=Guard.MAX_REMOVES_PCT).endswith("; most of 'a' (3)"), "none that is named"
    for whole in (
        a_refusal(*adds, guard=Guard.MAX_ADDS, scope="a"),
        a_refusal(*adds, guard=Guard.MAX_REMOVES),
        a_refusal(*adds, guard=Guard.MAX_REQUESTS),
    ):
        assert whole.endswith("(limit: 1)")


def test_a_refusal_of_odd_ids_shows_three_of_them_and_nobodys_address() -> None:
    odd = ids(["b", "3", "2", "anna@example.com", "a" * 20, "a" * 90])
    told = a_refusal(Delta((Change(Action.ADD, X, Reason.DECLARED),), odd), guard=Guard.ODD_IDS, scope="x")
    such = f", such as '2', '3', {'a' * 80!r}; is the column of the ids the right one?"
    assert told.endswith("(an id has 20 letters and digits)" + such)
    # earlier rounds may have sent them all
    none = a_refusal(guard=Guard.ODD_IDS, scope="x")
    assert none.endswith("(an id has 20 letters and digits); is the column of the ids the right one?")


def test_the_ways_out_of_a_refusal_are_told_each_once() -> None:
    adds, first = Measured(Guard.MAX_ADDS, "x", 1, 2, True), Measured(Guard.MAX_FIRST_ADDS, "x", 1, 2, True)
    file = ", or an `allow` entry in reconciler.yaml"
    assert explain_lifting([first, replace(first, scope="y")]) == f"if this is meant: --create-state{file}"
    assert (
        explain_lifting([adds, first, adds, replace(adds, scope="")])
        == f'if this is meant: --allow max_adds:tag=x --create-state --allow max_adds --reason "…"{file}'
    )


def test_removals_by_the_end_of_a_set_name_its_place_and_the_entries_that_let_them_pass() -> None:
    ended = Change(Action.REMOVE, X, Reason.EXPIRED, (Source("a.yaml", 5, 12),))
    deltas = [Delta((ended,), ids("anna")), Delta((replace(ended, sources=(Source("b.yaml", 2, 3),)),), ids("bert"))]
    share, all_of_it = Measured(Guard.MAX_REMOVES_PCT, "", 30, 40, True), Measured(Guard.EMPTIES_TAG, "x", 0, 0, True)
    others = Measured(Guard.EMPTIES_TAG, "y", 0, 0, True), Measured(Guard.MAX_ADDS, "x", 1, 2, True)
    entry = f"location: {HERE}, reason: …, until: …}}"
    assert explain_ended(a_plan(share, all_of_it, *others, deltas=deltas)) == (
        "a set that declared 'x' has ended by its `until` (a.yaml:5:12, b.yaml:2:3), and what is removed for that "
        "counts as any other removal; if it is meant, put up for review: allow: "
        f"[{{guard: max_removes_pct, {entry}, {{guard: empties_tag, tag: x, {entry}]",
    )
    assert explain_ended(a_plan(*others, deltas=deltas)) == ()
    assert explain_ended(a_plan(replace(share, refused=False), deltas=deltas)) == ()
    pruned = [a_change(Action.REMOVE, "x", 2, Reason.PRUNED)]
    assert explain_ended(a_plan(share, all_of_it, deltas=pruned)) == ()


def new_names(*guards: Measured, deltas: tuple[Delta, ...] = ()) -> tuple[str, ...]:
    return guess_renames(a_plan(*guards, deltas=deltas, new="few new zone"))


@pytest.mark.parametrize("guard", [Guard.EMPTIES_TAG, Guard.MAX_REMOVES, Guard.MAX_REMOVES_PCT])
def test_a_tag_may_have_a_new_name_where_its_holders_and_no_others_get_one_tag(guard: Guard) -> None:
    refused = Measured(guard, "old", 0, 0, True)
    out, other = a_change(Action.REMOVE, "old", 3, Reason.PRUNED), a_change(Action.REMOVE, "x", 3, Reason.PRUNED)
    told = "if 'new' is the new name of 'old', say so in the manifest: tags: {new: {renamed_from: old}}"
    other_tags = a_change(Action.ADD, "few", 2), a_change(Action.ADD, "zone", 3), a_change(Action.ADD, "new", 3)
    assert new_names(refused, deltas=(out, other, *other_tags)) == (told,)
    # the holders may be in several groups of contacts that change alike
    parts = tuple(Delta(out.changes, ids(who)) for who in ("c0 c1", "c2"))
    assert new_names(refused, deltas=(*parts, *other_tags)) == (told,)
    assert new_names(refused, deltas=(out, a_change(Action.ADD, "new", 4))) == ()
    assert new_names(replace(refused, refused=False), deltas=(out, *other_tags)) == ()
    assert new_names(replace(refused, guard=Guard.MAX_ADDS), deltas=(out, *other_tags)) == ()


def test_a_set_may_have_a_new_name_where_another_gains_as_many() -> None:
    gone = Measured(Guard.SHRINK_PCT, "old", 50, 100, True, 24, 24)
    grown = Measured(Guard.GROW_PCT, "new", 100, 100, False, 24, 24)
    told = (
        "contact set 'new' gains as many contacts as 'old' had: if they are the same contacts under another name, "
        "nobody left, and it may be lifted"
    )
    others = replace(grown, scope="few", numerator=23), replace(grown, guard=Guard.SHRINK_PCT, scope="lost")
    assert new_names(gone, *others, grown, replace(grown, scope="zone")) == (told,)
    assert new_names(replace(gone, scope="z"), gone, grown) == (told, told.replace("'old'", "'z'"))
    assert new_names(replace(gone, denominator=25), grown) == (), "it has contacts yet"
    assert new_names(replace(gone, refused=False), grown) == ()
    assert new_names(replace(gone, guard=Guard.MAX_ADDS), grown) == ()
