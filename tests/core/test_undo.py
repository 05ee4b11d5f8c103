"""Undoing a run: what the journal tells of its changes, which of them still stand, and what their inverse is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.batch import Demand, Reason
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunLog, RunRecord, RunStatus
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Tag, TagSet
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, Rejection
from reconciler.core.planning.changes import Change, Delta, Demands, Diff, HeldContacts, LedgerChange
from reconciler.core.planning.revert import NetChange, Reversal, read_reversal, undo_changes
from reconciler.core.planning.tag_aliases import AS_SENT, make_spelling
from tests.build import HERE, NOW, a_set, carries, changes, declare, ids, recorded, state, tags, unseen

ADD, REMOVE = Action.ADD, Action.REMOVE
APPLIED, NOOP = Outcome.APPLIED, Outcome.NOOP
OWNED, EXACT = Authority.OWNED, Authority.EXACT
ANNA, BERT, CARA = ids("anna bert cara")
NOTHING = declare()


def net(added: str = "", removed: str = "", *, released: str = "", unclear: str = "", entered: str = "") -> NetChange:
    return NetChange(tags(added), tags(removed), tags(released), tags(unclear), tags(entered))


def answer(
    outcome: Outcome | None,
    *,
    old: str | None = None,
    added: str = "",
    removed: str = "",
    released: str = "",
    entered: str = "",
) -> Answer:
    verdict = ContactOutcome(
        outcome or APPLIED, old=None if old is None else tags(old), added=tags(added), removed=tags(removed)
    )
    return Answer(verdict if outcome else None, tags(released), tags(entered))


def batch(sent: str, told: Answer, *contacts: ContactId) -> BatchRecord:
    """A request about these tags that was answered so for each of the contacts, anna by default."""
    return BatchRecord(
        ADD, tuple(sorted(tags(sent))), NOW, NOW, BatchStatus.ANSWERED, dict.fromkeys(contacts or (ANNA,), told)
    )


def log(
    *batches: BatchRecord, adopted: Mapping[ContactId, TagSet] | None = None, name: str = "run", traced: bool = True
) -> RunLog:
    header = RunHeader(HERE, "apply", "anna", NOW)
    return RunLog(RunRecord(name, header, RunStatus.COMPLETE, NOW, 1, 1, traced), batches, adopted or {})


# the changes of a run


FIRST = batch("a r u", answer(APPLIED, added="a", removed="r", released="l", entered="a e"))
"""What came of a contact before."""


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            answer(APPLIED, added="x", removed="y", released="y", entered="x"),
            net("a x", "r y", released="l y", entered="a e x"),
        ),
        (answer(APPLIED, added="r", removed="a"), net(released="l", entered="a e")),
        (answer(NOOP, entered="x"), net("a", "r", released="l", entered="a e x")),
        # nothing of it was put under management
        (answer(Outcome.REJECTED, entered="x"), net("a", "r", released="l", entered="a e")),
        (answer(Outcome.NOT_SENT, entered="x"), net("a", "r", released="l", entered="a e")),
        (answer(Outcome.HELD, entered="x"), net("a", "r", released="l", unclear="p q", entered="a e")),
        (answer(Outcome.IN_DOUBT), net("a", "r", released="l", unclear="p q", entered="a e")),
        (answer(None), net("a", "r", released="l", unclear="p q", entered="a e")),
    ],
)
def test_what_a_run_changed_is_told_by_its_answers_alone(told: Answer, expected: NetChange) -> None:
    assert read_reversal(log(FIRST, batch("p q", told)), []) == Reversal("run", {ANNA: expected}, {})


def test_what_a_run_does_not_know_of_itself_stays_unclear_whatever_else_it_did() -> None:
    found = read_reversal(log(batch("p q", answer(None)), FIRST, batch("s", answer(Outcome.HELD))), [])
    assert found.changed == {ANNA: net("a", "r", released="l", unclear="p q s", entered="a e")}


def test_what_a_run_adopted_entered_the_ledger_beside_what_it_sent() -> None:
    adopted = {ANNA: tags("b"), CARA: tags("c")}
    found = read_reversal(log(FIRST, batch("t", answer(APPLIED, added="t"), BERT), adopted=adopted), [])
    assert found.changed == {
        ANNA: net("a", "r", released="l", entered="a b e"),
        BERT: net("t"),
        CARA: net(entered="c"),
    }


def test_a_run_of_an_older_version_does_not_tell_what_it_put_under_management() -> None:
    assert read_reversal(log(name="older", traced=False), []) == Reversal("older", {}, {}, traced=False)


# what came after it


@pytest.mark.parametrize(
    ("told", "touched"),
    [
        (answer(None, added="x"), "p q"),
        (answer(Outcome.IN_DOUBT, added="x"), "p q"),
        (answer(Outcome.HELD, added="x"), "p q"),
        (answer(APPLIED, added="x", removed="y"), "x y"),
        # the run left it with `a` and without `r`
        (answer(NOOP, old="a z"), ""),
        (answer(NOOP, old="z"), "a"),
        (answer(NOOP, old="a r"), "r"),
        (answer(APPLIED, old="r", added="x", removed="y"), "a r x y"),
        # a pair that this run put under management, and a later one did, or took out of it
        (answer(NOOP, entered="e other"), "e"),
        (answer(NOOP, released="e other"), "e"),
    ],
)
def test_what_a_later_answer_tells_to_have_moved_is_touched(told: Answer, touched: str) -> None:
    found = read_reversal(log(FIRST), [log(batch("p q", told, ANNA, BERT))])
    assert found.since == {ANNA: tags(touched)}


def test_every_later_run_counts_and_what_it_adopted_too() -> None:
    adopting = log(batch("x", answer(APPLIED, added="x")), adopted={ANNA: tags("e"), BERT: tags("e")})
    found = read_reversal(log(FIRST), [log(batch("y", answer(None))), adopting, log(batch("z", answer(None)))])
    assert found.since == {ANNA: tags("e x y z")}


# what is listed of it


RUN = Reversal(
    "run",
    {
        BERT: net("x"),
        ANNA: net("", "x"),
        CARA: net(unclear="x"),
        ContactId("dora"): net(entered="x"),
        ContactId("emil"): net(released="x"),
    },
    {},
)


def test_who_was_moved_is_who_carries_something_else_since_or_may() -> None:
    assert RUN.moved == list(ids("anna bert cara"))


def test_what_is_given_back_is_managed_where_it_was_before_or_is_desired() -> None:
    run = Reversal("run", {ANNA: net("", "a b c", released="a")}, {})
    desired = declare(a_set("s", "anna bert", "b d"))
    assert run.managed(ANNA, tags("a b c"), desired) == tags("a b")
    assert run.managed(BERT, tags("a b c"), desired) == tags("b")


def test_a_run_is_read_in_the_spelling_that_is_in_use() -> None:
    spelling = make_spelling([(Tag("x__y"), Tag("x_y"))])
    sent = Reversal(
        "run",
        {ANNA: net("x__y a", "x__y b", released="x__y c", unclear="x__y d", entered="x__y e")},
        {ANNA: tags("x__y f")},
        traced=False,
    )
    assert sent.in_spelling(spelling) == Reversal(
        "run",
        {ANNA: net("x_y a", "x_y b", released="x_y c", unclear="x_y d", entered="x_y e")},
        {ANNA: tags("x_y f")},
        traced=False,
    )
    assert sent.in_spelling(AS_SENT) is sent


# the inverse


def undo(
    changed: NetChange, known: ContactState, desired: Desired = NOTHING, *, since: str = "", spent: str = ""
) -> tuple[str, dict[str, str], str]:
    """Of anna: what is sent, what is left out by its reason, and what leaves the ledger."""
    run = Reversal("run", {ANNA: changed}, {ANNA: tags(since)} if since else {})
    found = undo_changes(run, desired, state(anna=known), spent={ANNA: tags(spent)} if spent else {})
    assert all(each.contacts == (ANNA,) for each in found.held)
    sent = " ".join(sorted(change.removesuffix(" reverted") for change in changes(found).get(ANNA, ())))
    return sent, {each.why: " ".join(each.tags) for each in found.held}, recorded(found).get(ANNA, "")


DEMANDED = "still demanded: revert the commit first"
CHANGED_SINCE = "changed since by a later run, or by others"
UNCLEAR = "the run does not know whether it changed it"


@pytest.mark.parametrize(
    ("changed", "known", "options", "expected"),
    [
        (net("a b", "c d"), carries("a b z"), {}, ("+c +d -a -b", {}, "")),
        # others moved it, as no answer told: `a` is gone, and `c` is back
        (net("a b", "c d"), carries("b c"), {}, ("+d -b", {CHANGED_SINCE: "a c"}, "")),
        (net("a b", "c d"), carries("a b"), {"since": "a c z"}, ("+d -b", {CHANGED_SINCE: "a c"}, "")),
        (net("a b", "c d"), carries("a b"), {"spent": "a c"}, ("+d -b", {}, "")),
        (net("a b", "c d"), carries("a b", doubt="a c z"), {}, ("+d -b", {"in doubt": "a c"}, "")),
        # it is told once, by the first reason
        (net("a", "c"), carries("c", doubt="a c"), {}, ("", {CHANGED_SINCE: "a c"}, "")),
        (net("a", "c"), carries("c"), {"spent": "a c"}, ("", {}, "")),
        (net("a", unclear="u v"), carries("a u"), {}, ("-a", {UNCLEAR: "u v"}, "")),
        (net("a", unclear="u v"), carries("a u"), {"spent": "u"}, ("-a", {UNCLEAR: "v"}, "")),
        (
            net("a b", "c", unclear="u"),
            unseen(),
            {"spent": "b"},
            ("", {"nothing is known of the contact any more": "a c", UNCLEAR: "u"}, ""),
        ),
    ],
)
def test_what_still_stands_is_undone_and_the_rest_is_listed(
    changed: NetChange, known: ContactState, options: dict[str, str], expected: tuple[str, dict[str, str], str]
) -> None:
    assert undo(changed, known, **options) == expected


@pytest.mark.parametrize(
    ("text", "more", "known", "expected"),
    [
        # the run removed `x` and `y`, and took `y` out of the ledger
        ("", {}, carries(""), ("+x", "y")),
        ("x y", {}, carries(""), ("+x +y", "")),
        ("", {"absent": "x y"}, carries(""), ("", "x y")),
        ("", {"authority": EXACT}, carries(""), ("", "x y")),
        ("", {"authority": EXACT, "ignore": "x y"}, carries(""), ("+x +y", "")),
        ("", {"authority": EXACT, "ignore": "x", "absent": "x"}, carries(""), ("", "x y")),
        ("x", {"authority": EXACT, "absent": "y"}, carries(""), ("+x", "y")),
        ("", {"authority": OWNED}, carries(""), ("+x", "y")),
        # it is in the ledger already: the next plan prunes it, unless it is there on purpose
        ("", {}, carries("", ledger="x"), ("", "x y")),
        ("", {}, carries("", ledger="x y", kept="x y"), ("+x +y", "")),
    ],
)
def test_what_the_next_plan_would_take_again_is_not_given_back(
    text: str, more: dict[str, object], known: ContactState, expected: tuple[str, str]
) -> None:
    desired = declare(a_set("s", "anna", text, **more))  # type: ignore[arg-type]
    sent, left_out, _ = undo(net("", "x y", released="y"), known, desired)
    assert (sent, left_out.get(DEMANDED, "")) == expected


def test_what_is_desired_is_not_taken_away() -> None:
    assert undo(net("a b"), carries("a b"), declare(a_set("s", "anna", "a z"))) == ("-b", {DEMANDED: "a"}, "")


@pytest.mark.parametrize(
    ("changed", "known", "options", "expected"),
    [
        # adopted, or asked for and there already
        (net(entered="e f"), carries("e f", ledger="e f g"), {}, ("", {}, "-e -f")),
        (net(entered="e f"), carries("e f", ledger="e f g", kept="f g"), {}, ("", {}, "-e -f =g")),
        (net(entered="e f"), unseen(ledger="e f"), {}, ("", {}, "-e -f")),
        # it left the ledger already
        (net(entered="e f"), carries("e f", ledger="f"), {}, ("", {}, "-f")),
        (net(entered="e f"), carries("e f", ledger="e f", doubt="e"), {}, ("", {}, "-f")),
        (net(entered="e f"), carries("e f", ledger="e f"), {"since": "e"}, ("", {}, "-f")),
        (net(entered="e f", unclear="e"), carries("e f", ledger="e f"), {}, ("", {UNCLEAR: "e"}, "-f")),
        # it was added: it leaves with the request that takes it away, in whichever spelling it came
        (net("e", entered="e f"), carries("e f", ledger="e f"), {}, ("-e", {}, "-f")),
        (net("E", entered="e f"), carries("E f", ledger="e f"), {}, ("-E", {}, "-f")),
    ],
)
def test_what_was_put_under_management_without_a_change_leaves_it(
    changed: NetChange, known: ContactState, options: dict[str, str], expected: tuple[str, dict[str, str], str]
) -> None:
    assert undo(changed, known, **options) == expected


def test_what_is_desired_stays_under_management_and_is_listed() -> None:
    desired = declare(a_set("s", "anna", "e"))
    assert undo(net(entered="e f"), carries("e f", ledger="e f"), desired) == ("", {DEMANDED: "e"}, "-f")


@pytest.mark.parametrize(
    ("changed", "known", "is_owned"),
    [
        (None, carries("x", ledger="x"), True),
        (None, carries("x"), False),
        (net("y"), carries("x y", ledger="x y"), True),
        # it leaves the ledger by this very revert
        (net("x"), carries("x", ledger="x"), False),
        (net(entered="x"), carries("x", ledger="x"), False),
        (net(entered="x"), unseen(ledger="x"), False),
        # or it does not
        (net("x"), carries("x", ledger="x", doubt="x"), True),
        (net("x"), carries("", ledger="x"), True),
        (net("x"), unseen(ledger="x"), True),
    ],
)
def test_under_owned_what_the_ledger_holds_after_the_revert_is_not_given_back(
    changed: NetChange | None, known: ContactState, is_owned: bool
) -> None:
    """Anna's set owns its tags: whether `x` is one of them is for bert's ledger to say, and for nothing else."""
    run = Reversal("run", {ANNA: net("", "x"), **({} if changed is None else {BERT: changed})}, {})
    desired = declare(a_set("s", "anna", "w", authority=OWNED))
    found = undo_changes(run, desired, state(anna=carries("w", ledger="w"), bert=known), spent={})
    assert changes(found).get(ANNA) == (None if is_owned else {"+x reverted"})


def test_under_owned_what_a_contact_keeps_of_the_run_is_owned() -> None:
    """A later run had to do with `x` on bert: it stays there, and in his ledger."""
    run = Reversal("run", {ANNA: net("", "x"), BERT: net("x")}, {BERT: tags("x")})
    desired = declare(a_set("s", "anna", "w", authority=OWNED))
    found = undo_changes(run, desired, state(anna=carries("w", ledger="w"), bert=carries("x", ledger="x")), spent={})
    assert changes(found) == {}


# all of it


def test_undoing_a_run_is_one_plan_of_all_its_contacts() -> None:
    everyone = ids("anna bert cara dora emil fred gina hugo")
    anna, bert, cara, dora, emil, fred, gina, hugo = everyone
    run = Reversal(
        "run",
        {
            hugo: net("a", entered="e"),
            gina: net("a", entered="e"),
            fred: net("", "b", unclear="u"),
            emil: net("a"),
            dora: net("a"),
            cara: net("a"),
            bert: net("a", "b"),
            anna: net("a", "b"),
        },
        {cara: tags("a")},
    )
    observed = state(
        anna=carries("a"),
        bert=carries("a"),
        cara=carries("a"),
        dora=carries("a", quarantine=Rejection.DELETED),
        emil=carries("a"),
        fred=carries(""),
        gina=carries("a e", ledger="a e f", kept="e f"),
        hugo=carries("a e", ledger="a e"),
    )
    gone = [HeldContacts("the API does not have it", (), (emil, ContactId("zoe")))]
    give, take = Change(ADD, Tag("b"), Reason.REVERTED), Change(REMOVE, Tag("a"), Reason.REVERTED)
    found = undo_changes(run, declare(a_set("s", "kim", "x")), observed, spent={bert: tags("b")}, gone=gone)
    assert found == Diff(
        deltas=(
            Delta((take,), (bert, gina, hugo)),
            Delta((give,), (fred,)),
            Delta((give, take), (anna,)),
        ),
        demands=Demands(
            adds=(Demand(tags("b"), tags("b"), (fred,)), Demand(tags("b"), tags("b"), (anna,))),
            removes=(Demand(tags("a"), tags("a"), (bert, gina, hugo)), Demand(tags("a"), tags("a"), (anna,))),
        ),
        ledger=(
            LedgerChange((), (Tag("e"),), (), (hugo,)),
            LedgerChange((), (Tag("e"),), (Tag("f"),), (gina,)),
        ),
        held=(
            HeldContacts(CHANGED_SINCE, (Tag("a"),), (cara,)),
            HeldContacts(UNCLEAR, (Tag("u"),), (fred,)),
        ),
        quarantined=(
            HeldContacts("deleted", (), (dora,)),
            HeldContacts("the API does not have it", (), (emil,)),
        ),
    )


def test_contacts_alike_in_all_but_what_is_known_or_desired_of_them_are_undone_each_by_itself() -> None:
    run = Reversal("run", dict.fromkeys(ids("dora cara bert anna"), net("a", "b")), {ContactId("dora"): tags("b")})
    observed = state(anna=carries("a"), bert=carries("b"), cara=carries("a"), dora=carries("a"))
    found = undo_changes(run, declare(a_set("s", "cara", "a")), observed, spent={})
    assert changes(found) == {
        "anna": {"+b reverted", "-a reverted"},
        "cara": {"+b reverted"},
        "dora": {"-a reverted"},
    }
    assert [(each.why, each.tags, each.contacts) for each in found.held] == [
        (CHANGED_SINCE, ("a", "b"), ids("bert")),
        (CHANGED_SINCE, ("b",), ids("dora")),
        (DEMANDED, ("a",), ids("cara")),
    ]


def test_a_contact_that_is_refused_and_needs_nothing_is_not_listed() -> None:
    known = carries("e", ledger="e", quarantine=Rejection.DELETED)
    found = undo_changes(Reversal("run", {ANNA: net(entered="e")}, {}), NOTHING, state(anna=known), spent={})
    assert (found.quarantined, recorded(found)) == ((), {"anna": "-e"})
