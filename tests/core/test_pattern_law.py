"""The commonest situations are decided by a look at them: the law is the derivation by the formulas."""

from __future__ import annotations

from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.core.manifests.wants import Want
from reconciler.core.model.batch import Cause, Reason
from reconciler.core.model.contact_state import Ledger
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import Instant, Tag, TagSet
from reconciler.core.model.outcome import Action
from reconciler.core.model.settings import Reassert
from reconciler.core.planning.changes import EVERYTHING, Change, Selection
from reconciler.core.planning.diff import sorted_deltas
from reconciler.core.planning.pattern import NO_CHANGES, Decision
from reconciler.core.planning.situation import NOT_SEARCHED, Reassertion, Situation
from tests.build import NOW, PLACE, a_rule, a_set, declare, ids, rules, tags

ALL = sorted(tags("x y z"))
RULES = rules(a_rule("x", once=True), a_rule("y", inert=True), a_rule("z", protected=True))
SOME = st.frozensets(st.sampled_from(ALL))
RARELY = st.sampled_from([frozenset[Tag]()] * 3 + [tags("x")])
SEARCHED = NOT_SEARCHED


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    present = draw(SOME)
    alike = st.one_of(st.just(present), SOME)
    keep: TagSet = draw(RARELY) & present
    want = Want(
        present=dict.fromkeys(sorted(present), (PLACE,)),
        absent={tag: Cause(Reason.ABSENT, (PLACE,)) for tag in draw(RARELY) - present},
        keep=keep,
        authority=draw(st.sampled_from([Authority.ADDITIVE, Authority.ADDITIVE, *Authority])),
    )
    ledger = draw(st.sampled_from([frozenset(), draw(alike)]))
    situation = Situation(
        observed=draw(st.one_of(st.none(), alike)),
        ledger=Ledger(ledger, draw(st.sampled_from([keep & ledger, draw(RARELY) & ledger])), draw(RARELY) & ledger),
        doubtful=draw(RARELY),
        given_before=((Tag("x"), Instant(NOW)),) if "x" not in ledger and draw(st.integers(0, 4)) == 0 else (),
        flapping=draw(RARELY),
        refusal=draw(st.sampled_from(["", "", "not found"])),
        is_fresh=draw(st.booleans()),
    )
    return Decision(
        desired=declare(a_set("a", "anna", "x y z"), rule=RULES.values()),
        owned=draw(SOME),
        want=want,
        situation=situation,
        selection=draw(
            st.sampled_from([EVERYTHING, EVERYTHING, Selection(tags=tags("x")), Selection(retry_held=True)])
        ),
        reassertion=Reassertion(draw(st.sampled_from(Reassert))),
        spent=draw(RARELY),
        searched=SEARCHED,
        barred=draw(st.integers(0, 4)) == 0,
        gone=draw(st.sampled_from(["", "", "not there"])),
    )


@given(decisions())
def test_a_look_decides_as_the_formulas_do(decision: Decision) -> None:
    decided = decision.decide_changes()
    assert decided == decision.derive_changes()
    event("nothing" if decided is NO_CHANGES else "some")


def plain_order(grouped: dict[tuple[Change, ...], tuple[str, ...]]) -> list[tuple[Change, ...]]:
    return sorted(grouped, key=lambda changes: (-len(grouped[changes]), changes, grouped[changes]))


CHANGES = st.builds(Change, st.sampled_from(Action), st.sampled_from(ALL), st.sampled_from(Reason), st.just((PLACE,)))


@given(
    st.dictionaries(
        st.lists(CHANGES, min_size=1, max_size=3).map(tuple),
        st.integers(1, 2).map(lambda size: ids("anna bert")[:size]),
    )
)
def test_deltas_are_sorted_by_size_then_by_their_changes(grouped: dict[tuple[Change, ...], tuple[str, ...]]) -> None:
    assert [delta.changes for delta in sorted_deltas(grouped)] == plain_order(grouped)  # type: ignore[arg-type]
