"""Batches: every needed pair in exactly one, nothing else in any, within the caps, removes after adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.api_limits import LIMITS_MS, LocationFacts, Rate
from reconciler.core.model.batch import EFFORT, Batch, Demand, Proof, Reason, Schedule
from reconciler.core.model.names import ContactId, Instant, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.planning.batches import (
    Batches,
    Caps,
    Reasserted,
    Summary,
    explain_aside,
    explain_waiting,
    make_batches,
    summarise_plan,
)
from reconciler.core.planning.changes import (
    Change,
    Deferral,
    DeferralReason,
    Delta,
    Demands,
    Diff,
    HeldContacts,
    LedgerChange,
    demands_from_deltas,
)
from reconciler.cover import solve
from tests.build import NOW, ids, many, tags

ADD, REMOVE = Action.ADD, Action.REMOVE
Need = dict[ContactId, dict[Tag, Action]]

words = st.sampled_from([Tag(f"t{number}") for number in range(6)])
people = st.sampled_from([ContactId(f"c{number}") for number in range(12)])
needs = st.dictionaries(people, st.dictionaries(words, st.sampled_from(Action), min_size=1, max_size=6), max_size=12)
caps = st.builds(Caps, contacts=st.integers(1, 5), tags=st.integers(1, 4))
efforts = st.integers(0, 2)
"""The laws hold after any search, and a long one of problems so small finds nothing more."""


def deltas(need: Need) -> list[Delta]:
    """As diff gives them: contacts with the same changes together, everything sorted."""
    groups: dict[tuple[Change, ...], list[ContactId]] = {}
    for contact in sorted(need):
        changes = tuple(sorted(Change(action, tag, Reason.DECLARED) for tag, action in need[contact].items()))
        groups.setdefault(changes, []).append(contact)
    return [Delta(changes, tuple(contacts)) for changes, contacts in sorted(groups.items())]


def pairs(found: Batches) -> Counter[tuple[Action, ContactId, Tag]]:
    return Counter(
        (each.action, contact, tag) for each in found.batches for contact in each.contacts for tag in each.tags
    )


@pytest.mark.slow
@given(needs, caps, efforts, st.data())
def test_every_needed_pair_is_in_one_batch_and_the_order_of_deltas_means_nothing(
    need: Need, caps: Caps, effort: int, data: st.DataObject
) -> None:
    """One search for all that holds of a plan: a search takes longer than to look at what it found."""
    asked = deltas(need)
    found = make_batches(demands_from_deltas(asked), caps, solve=solve, effort=effort)
    wanted = Counter((action, contact, tag) for contact, tags in need.items() for tag, action in tags.items())
    assert pairs(found) == wanted
    assert (1 if need else 0) <= found.lower_bound <= len(found.batches) or not need
    _check_sizes(found.batches, caps)
    _check_order(found.batches)
    mixed = demands_from_deltas(data.draw(st.permutations(asked)))
    assert make_batches(mixed, caps, solve=solve, effort=effort) == found


def _check_sizes(batches: Sequence[Batch], caps: Caps) -> None:
    """A batch holds no more than a request may, and nothing twice."""
    for each in batches:
        assert 1 <= len(each.contacts) <= caps.contacts
        assert 1 <= len(each.tags) <= caps.tags
        assert len(set(each.contacts)) == len(each.contacts)
        assert len(set(each.tags)) == len(each.tags)


def _check_order(batches: Sequence[Batch]) -> None:
    """A batch waits for those that share a contact, and removes for adds."""
    ended: list[set[int]] = []
    for index, each in enumerate(batches):
        sharing = {at for at in range(index) if not set(batches[at].contacts).isdisjoint(each.contacts)}
        assert set(each.after) <= sharing
        # directly, or through a batch that waited itself
        ended.append(set(each.after).union(*(ended[before] for before in each.after)))
        assert sharing <= ended[index]
        assert list(each.after) == sorted(each.after)
    assert [each.action for each in batches] == sorted(each.action for each in batches)


def test_nothing_to_do_takes_no_request() -> None:
    assert make_batches(Demands(), Caps(), solve=solve) == Batches()


def test_contacts_alike_share_requests_up_to_the_cap() -> None:
    alike = deltas({ContactId(f"{number:04}"): {Tag("x"): ADD} for number in range(1_001)})
    found = make_batches(demands_from_deltas(alike), Caps(), solve=solve)
    assert sorted(len(each.contacts) for each in found.batches) == [1, 500, 500]
    assert found.lower_bound == 3


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (LocationFacts(), Caps(500, 50)),
        (LocationFacts(max_contacts=100, limits_at=NOW), Caps(100, 50)),
        (LocationFacts(max_tags=10, limits_at=NOW), Caps(500, 10)),
        (LocationFacts(max_contacts=501, max_tags=51, limits_at=NOW), Caps(500, 50)),
        (LocationFacts(max_contacts=100, max_tags=10, limits_at=Instant(NOW - LIMITS_MS + 1)), Caps(100, 10)),
        (LocationFacts(max_contacts=100, max_tags=10, limits_at=Instant(NOW - LIMITS_MS)), Caps(500, 50)),
        (LocationFacts(max_contacts=100, max_tags=10), Caps(500, 50)),
    ],
)
def test_a_request_holds_no_more_than_the_location_took_lately(facts: LocationFacts, expected: Caps) -> None:
    assert Caps().within(facts, NOW) == expected


def by_words(action: Action, contacts: str, text: str) -> Batch:
    return Batch(action, ids(contacts), tuple(map(Tag, text.split())))


def demand(must: str, contacts: str, may: str = "") -> Demand:
    return Demand(tags(must), tags(f"{must} {may}"), ids(contacts))


def test_the_solver_is_asked_with_all_that_bounds_a_request() -> None:
    asked = []

    def answer(
        adds: Sequence[Demand],
        removes: Sequence[Demand],
        *,
        repeatable_adds: TagSet,
        repeatable_removes: TagSet,
        max_contacts: int,
        max_tags: int,
        effort: int = EFFORT,
    ) -> Schedule:
        asked.append((adds, removes, repeatable_adds, repeatable_removes, max_contacts, max_tags, effort))
        return Schedule((), ())

    demands = Demands((demand("x", "a"),), ())
    make_batches(demands, Caps(7, 3), solve=answer, repeatable_adds=tags("r"), repeatable_removes=tags("s"), effort=11)
    make_batches(Demands((), (demand("x", "a"),)), Caps(), solve=answer)
    make_batches(Demands(), Caps(), solve=answer)
    assert asked == [
        (demands.adds, (), tags("r"), tags("s"), 7, 3, 11),
        ((), demands.adds, tags(""), tags(""), 500, 50, EFFORT),
    ]


@pytest.mark.parametrize(
    ("batches", "again"),
    [
        (((ADD, "a b", "x"), (ADD, "c", "y"), (REMOVE, "a", "v")), ()),
        # x of c is there already, and so is v of b absent: sending them saves a request
        (
            ((ADD, "a b c", "x y"), (REMOVE, "a b", "v w")),
            (
                Reasserted(ADD, (Tag("x"),), ids("c")),
                Reasserted(ADD, (Tag("y"),), ids("a b")),
                Reasserted(REMOVE, (Tag("v"), Tag("w")), ids("b")),
                Reasserted(REMOVE, (Tag("w"),), ids("a")),
            ),
        ),
        # of two requests with a pair the later one sends it again
        (
            ((ADD, "b a", "x"), (ADD, "b a", "x"), (ADD, "c", "y"), (REMOVE, "a", "v")),
            (Reasserted(ADD, (Tag("x"),), ids("a b")),),
        ),
    ],
)
def test_a_pair_beyond_the_needed_ones_is_listed_as_sent_again(
    batches: tuple[tuple[Action, str, str], ...], again: tuple[Reasserted, ...]
) -> None:
    demands = Demands((demand("x", "a b", "y"), demand("y", "c", "x")), (demand("v", "a", "w"), demand("", "b", "v w")))
    proofs = (Proof(ADD, 2, 1, "greedy", False, ()), Proof(REMOVE, 1, 1, "greedy", True, ()))
    schedule = Schedule(tuple(by_words(*each) for each in batches), proofs)
    found = make_batches(demands, Caps(), solve=lambda *_, **__: schedule)
    assert found == Batches(schedule.batches, again, proofs)
    assert found.lower_bound == 2


def test_a_plan_in_numbers_counts_pairs_contacts_and_the_time_and_quota_of_its_requests() -> None:
    def change(text: str) -> Change:
        return Change(ADD if text[0] == "+" else REMOVE, Tag(text[1:]), Reason.DECLARED)

    one, two = (Tag("x"),), (Tag("x"), Tag("y"))
    found = Diff(
        deltas=(
            Delta(tuple(map(change, ("+x", "+y", "-z"))), ids(many(7))),
            Delta((change("-y"),), ids("c0 dora")),
        ),
        demands=Demands(),
        deferrals=(
            Deferral(DeferralReason.EXACT, two, ids("a b")),
            Deferral(DeferralReason.OPEN, two, ids("b c")),
        ),
        ledger=(LedgerChange(two, one, (), ids("a b c")), LedgerChange(one, two, one, ids("d"))),
        held=(HeldContacts("why", two, ids("a")), HeldContacts("other", one, ids("a b c d e"))),
        quarantined=(HeldContacts("gone", two, ids("a b c")), HeldContacts("dnd", one, ids("d e f"))),
        unobserved=9,
    )
    planned = Batches(
        batches=(by_words(ADD, "c0", "x"),) * 7,
        reasserted=(Reasserted(ADD, two, ids("a b c d")), Reasserted(REMOVE, one, ids("e f"))),
        proofs=(Proof(ADD, 4, 3, "greedy", False, ()), Proof(REMOVE, 3, 1, "greedy", False, ())),
    )
    assert summarise_plan(found, planned, Rate(per_window=2, window_ms=1_500, per_day=900)) == Summary(
        contacts=8,
        unobserved=9,
        adds=14,
        removes=9,
        adopted=7,
        released=5,
        reasserted=10,
        deferred=3,
        held=5,
        quarantined=6,
        requests=7,
        lower_bound=4,
        eta_seconds=4.5,
        daily_quota_share=0.007778,
    )
    assert summarise_plan(Diff((), Demands()), Batches(), Rate()) == Summary(*[0] * 12, 0.0, 0.0)
    # a run that waits for its slices takes longer than its requests
    assert summarise_plan(found, planned, Rate(2, 1_500), at_least_ms=4_501).eta_seconds == 4.501


HELD = HeldContacts("why", (Tag("x"), Tag("y")), ids(many(600)))


@pytest.mark.parametrize(
    ("held", "quarantined", "words"),
    [
        ((), 0, ""),
        ((HELD, HELD), 0, "2,400 tags held"),
        ((HeldContacts("why", (Tag("x"),), ids("a")),), 2_000, "1 tag held, 2,000 contacts quarantined"),
        ((), 1, "1 contact quarantined"),
    ],
)
def test_what_a_plan_leaves_aside_is_told_in_words(
    held: tuple[HeldContacts, ...], quarantined: int, words: str
) -> None:
    assert explain_aside(held, quarantined) == words


def waits(text: str, contacts: str = "") -> Deferral:
    return Deferral(DeferralReason.EXCLUSIVE, tuple(map(Tag, text.split())), ids(contacts))


@pytest.mark.parametrize(
    ("deferrals", "contacts", "words"),
    [
        ((), 0, ""),
        ((waits("x", "a"),), 1, "1 contact deferred"),
        (
            (waits("x", "a b"), waits("z y"), waits("y")),
            2_000,
            "2,000 contacts deferred, who else carries 'y', who else carries 'z'",
        ),
        ((waits("x"),), 0, "who else carries 'x'"),
    ],
)
def test_what_waits_is_told_in_words(deferrals: tuple[Deferral, ...], contacts: int, words: str) -> None:
    assert explain_waiting(deferrals, contacts) == words
