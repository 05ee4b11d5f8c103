"""Snapshots of matched sets: how a pull is measured, how long one holds, and that a set has its contacts by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.manifests.checks import list_unplannable
from reconciler.core.model.manifest import ContactSet, ListedContacts
from reconciler.core.model.names import Instant, LocationId, SetName
from reconciler.core.model.people import Match, MatchCounts, MatchKey, Snapshot, ValueKind
from reconciler.core.model.settings import GuardLimits
from reconciler.core.planning.guard_measures import Pulled, measure_pull
from reconciler.core.planning.guard_sentences import explain_lifting, explain_pull_refusals
from reconciler.core.planning.guards import Allowance, Measured
from tests.build import DAY, NOW, PLACE, Words, a_manifest, a_set, declare, ids

VIP = SetName("vip")
HOUR = 3_600_000


def matched(contacts: Words | None, age: int = 0, max_age: int | None = None, **options: int) -> ContactSet:
    """A matched set with the snapshot of these contacts; None: it was never pulled."""
    snapshot = None if contacts is None else Snapshot(tuple(sorted(ids(contacts))), Instant(NOW - age), "sha256:1")
    match = Match("vip.csv", (MatchKey(ValueKind.EMAIL, "mail"),), max_age_ms=max_age, snapshot=snapshot)
    held = () if snapshot is None else snapshot.contacts
    listed = ListedContacts(held, PLACE, "vip.csv", match=match)
    return replace(a_set("vip", "", "vip", **options), contacts=listed)


def test_a_snapshot_resolves_as_its_ids_do() -> None:
    by_snapshot, by_ids = declare(matched("bert anna")), declare(a_set("vip", "anna bert", "vip"))
    assert by_snapshot.digest == by_ids.digest
    assert by_snapshot.contacts == by_ids.contacts
    assert declare(matched("bert")).digest != by_ids.digest
    assert (by_snapshot.sets[0].pulled_at, by_ids.sets[0].pulled_at) == (NOW, None)


@pytest.mark.parametrize(
    ("age", "max_age", "until", "expected"),
    [
        (0, None, None, None),
        (0, DAY, None, NOW + DAY),
        (DAY - 1, DAY, None, NOW + 1),
        (0, DAY, NOW + HOUR, NOW + HOUR),
        (0, HOUR, NOW + DAY, NOW + HOUR),
    ],
)
def test_a_plan_holds_until_the_snapshot_is_too_old(
    age: int, max_age: int | None, until: int | None, expected: int | None
) -> None:
    sets = [matched("anna", age, max_age), *([a_set("s", "bert", "x", until=until)] if until else [])]
    assert declare(*sets).valid_until == expected


def refused(contact_set: ContactSet) -> list[str]:
    return [problem.check for problem in list_unplannable([a_manifest(contact_set)], NOW)]


def test_nobody_plans_by_a_set_that_is_not_known() -> None:
    assert refused(a_set("vip", "anna", "vip")) == []
    assert refused(matched("anna", 10 * DAY)) == []
    assert refused(matched("anna", DAY - 1, DAY)) == []
    assert refused(matched("anna", DAY, DAY)) == ["snapshot-expired"]
    assert refused(matched(None)) == ["snapshot-missing"]
    assert refused(matched("")) == ["snapshot-empty"]
    assert refused(replace(matched(""), allow_empty=True)) == []


def measured(
    rows: MatchCounts,
    contacts: int = 0,
    before: int | None = None,
    *,
    rematched: int = 0,
    allow: tuple[Allowance, ...] = (),
    limits: GuardLimits | None = None,
) -> dict[str, Measured]:
    was = None if before is None else Snapshot(ids(f"c{number}" for number in range(before)), NOW, "sha256:1")
    pulled = Pulled(VIP, rows, contacts, rematched)
    return {each.guard: each for each in measure_pull(pulled, was, limits=limits or GuardLimits(), allowances=allow)}


def refusals(*arguments: object, **options: object) -> set[str]:
    return {guard for guard, each in measured(*arguments, **options).items() if each.refused}  # type: ignore[arg-type]


def test_unmatched_rows_are_judged_from_six_on() -> None:
    assert refusals(MatchCounts(rows=10, matched=5, not_found=2, ambiguous=2, malformed=1)) == set()
    assert refusals(MatchCounts(rows=10, matched=4, not_found=2, ambiguous=2, malformed=2)) == {"max_unmatched_pct"}
    assert refusals(MatchCounts(rows=60, matched=54, not_found=6)) == set()
    assert refusals(MatchCounts(rows=59, matched=53, not_found=6)) == {"max_unmatched_pct"}
    assert refusals(MatchCounts(rows=60, matched=10, duplicate=50)) == set(), "a duplicate is matched"
    assert refusals(MatchCounts(rows=60, not_found=60), limits=GuardLimits(max_unmatched_pct=None)) == set()


def test_rematched_rows_are_judged_from_six_on() -> None:
    assert refusals(MatchCounts(rows=40, matched=40), rematched=5) == set()
    assert refusals(MatchCounts(rows=40, matched=40), rematched=6) == {"max_rematched_pct"}
    assert refusals(MatchCounts(rows=60, matched=60), rematched=6) == set()


def test_a_pull_is_measured_by_the_one_before() -> None:
    assert refusals(MatchCounts(rows=100, matched=100), 100) == set(), "the first one"
    assert refusals(MatchCounts(rows=100, matched=100), 100, 9) == set(), "of a small set"
    assert refusals(MatchCounts(rows=100, matched=100), 100, 49) == {"grow_pct"}
    assert refusals(MatchCounts(rows=100, matched=100), 100, 50) == set()
    assert refusals(MatchCounts(rows=100, matched=100), 100, 201) == {"shrink_pct"}
    assert refusals(MatchCounts(rows=100, matched=100), 100, 200) == set()


def test_a_pull_is_told_by_all_that_was_measured_the_refusals_first() -> None:
    def told(rows: MatchCounts, contacts: int, rematched: int) -> list[tuple[str, str, float, float, bool, int, int]]:
        before = Snapshot(ids(f"c{number}" for number in range(49)), NOW, "sha256:1")
        found = measure_pull(Pulled(VIP, rows, contacts, rematched), before, limits=GuardLimits())
        return [
            (each.guard, each.scope, each.limit, each.measure, each.refused, each.numerator, each.denominator)
            for each in found
        ]

    assert told(MatchCounts(rows=160, matched=140, not_found=20), 100, 1) == [
        ("grow_pct", "vip", 100, 104.1, True, 51, 49),
        ("max_unmatched_pct", "vip", 10, 12.5, True, 20, 160),
        ("max_rematched_pct", "vip", 10, 0.7, False, 1, 140),
    ]
    assert told(MatchCounts(rows=80, matched=60, not_found=20), 25, 15) == [
        ("max_rematched_pct", "vip", 10, 25, True, 15, 60),
        ("max_unmatched_pct", "vip", 10, 25, True, 20, 80),
        ("shrink_pct", "vip", 50, 49, False, 24, 49),
    ]
    assert told(MatchCounts(rows=80, matched=80), 49, 0) == []


def test_a_refusal_is_a_sentence_with_its_way_out() -> None:
    found = measured(MatchCounts(rows=59, matched=53, not_found=6), 100, 49, rematched=12)
    sentences = explain_pull_refusals(LocationId("acme"), found.values())
    assert sorted(sentences) == [
        "guard grow_pct refuses a pull of location acme: contact set 'vip' gains 51 contacts, where the last pull had "
        "49: 104.1 % (limit: 100 %)",
        "guard max_rematched_pct refuses a pull of location acme: contact set 'vip': 12 of 53 matched rows are of "
        "another contact than before: 22.6 % (limit: 10 %)",
        "guard max_unmatched_pct refuses a pull of location acme: contact set 'vip': 6 of 59 rows are not matched (not "
        "found, ambiguous or malformed): 10.2 % (limit: 10 %)",
    ]
    assert "--allow max_unmatched_pct:set=vip" in explain_lifting(found.values())


def test_a_guard_is_lifted_for_its_set_alone() -> None:
    rows = MatchCounts(rows=10, not_found=10)
    (guard,) = measured(rows).values()
    assert guard.flag == "max_unmatched_pct:set=vip"
    lifted = measured(rows, allow=(Allowance(guard.guard, "vip", "a new branch"),))[guard.guard]
    assert (lifted.refused, lifted.allowed) == (False, "a new branch")
    assert measured(rows, allow=(Allowance(guard.guard, "other", "no"),))[guard.guard].refused
