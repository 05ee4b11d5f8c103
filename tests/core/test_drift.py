"""Drift: who moved, told from the ledger and from what was observed before."""

from __future__ import annotations

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.manifest import Authority
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Rejection
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import DriftReport, Evidence, find_drift
from reconciler.core.planning.situation import Searched
from tests.build import DAY, NOW, a_rule, a_set, carries, changed_state, declare, loaded, only, state, tags, unseen

VIP = declare(a_set("s", "anna", "vip", absent="trial"))


def drifted(report: DriftReport) -> set[str]:
    """Such as {"missing vip anna"}."""
    return {f"{each.drift} {each.tag} {contact}" for each in report.drifted for contact in each.contacts}


def drift(desired: Desired, anna: ContactState, earlier: ContactState | None = None) -> set[str]:
    before = None if earlier is None else {ContactId("anna"): earlier}
    return drifted(find_drift(desired, loaded(state(anna=anna)), earlier=before))


def test_nothing_drifted_where_everything_is_as_declared() -> None:
    assert drift(VIP, carries("vip other", ledger="vip")) == set()


def test_what_we_put_there_and_others_removed_is_missing() -> None:
    assert drift(VIP, carries("", ledger="vip")) == {"missing vip anna"}


def test_what_was_never_put_there_is_pending() -> None:
    assert drift(VIP, carries("")) == {"pending vip anna"}


def test_what_others_added_since_it_was_last_observed_is_unexpected() -> None:
    known = carries("vip trial", ledger="vip")
    assert drift(VIP, known, carries("vip", ledger="vip")) == {"unexpected trial anna"}


def test_what_was_there_before_is_pending() -> None:
    known = carries("vip trial", ledger="vip")
    assert drift(VIP, known) == {"pending trial anna"}
    assert drift(VIP, known, known) == {"pending trial anna"}
    assert drift(VIP, known, unseen(ledger="vip")) == {"pending trial anna"}


def test_what_nobody_declares_any_more_is_pending() -> None:
    known = carries("vip old", ledger="vip old")
    assert drift(VIP, known, carries("vip", ledger="vip old")) == {"pending old anna"}


def test_under_owned_and_exact_what_others_added_is_unexpected() -> None:
    desired = declare(a_set("s", "anna", "vip", authority=Authority.EXACT))
    assert drift(desired, carries("vip new", ledger="vip"), carries("vip", ledger="vip")) == {"unexpected new anna"}


def test_a_tag_that_additive_leaves_is_no_drift() -> None:
    assert drift(VIP, carries("vip new", ledger="vip"), carries("vip", ledger="vip")) == set()


def test_a_tag_that_may_be_consumed_is_not_missing() -> None:
    desired = declare(a_set("s", "anna", "vip"), rule=[a_rule("vip", once=True)])
    assert drift(desired, carries("", ledger="vip")) == set()


def test_a_rejected_contact_is_unreachable() -> None:
    assert drift(VIP, carries("", ledger="vip", quarantine=Rejection.DELETED)) == {"unreachable  anna"}
    assert drift(VIP, unseen(quarantine=Rejection.DELETED)) == {"unreachable  anna"}


def test_what_was_never_observed_is_unobserved_and_never_without_drift() -> None:
    assert drift(VIP, unseen()) == {"unobserved  anna", "pending vip anna"}
    assert drift(declare(a_set("s", "anna", "")), unseen()) == {"unobserved  anna"}


def test_owned_tags_that_additive_authority_leaves_are_tolerated() -> None:
    desired = declare(a_set("s", "anna", "vip"), a_set("t", "bert", "x"))
    observed = state(anna=carries("vip x other", ledger="vip"), bert=carries("x", ledger="x"), cara=carries("vip"))
    report = find_drift(desired, loaded(observed))
    assert drifted(report) == {"tolerated x anna", "tolerated vip cara"}
    assert drifted(find_drift(desired, loaded(observed), foreign=True)) >= {"foreign other anna"}
    assert drifted(find_drift(desired, loaded(observed), selection=only(sets="s"))) == {"tolerated x anna"}


def test_what_owned_or_exact_removes_is_not_tolerated() -> None:
    for authority in (Authority.OWNED, Authority.EXACT):
        desired = declare(a_set("s", "anna", "vip", authority=authority), a_set("t", "bert", "x"))
        observed = state(anna=carries("vip x other", ledger="vip"), bert=carries("x", ledger="x"))
        found = drifted(find_drift(desired, loaded(observed), foreign=True))
        assert "tolerated x anna" not in found
        assert "pending x anna" in found
        assert ("foreign other anna" in found) is (authority is Authority.OWNED)


def test_a_contact_that_is_not_there_has_no_other_drift() -> None:
    observed = state(anna=carries("x", ledger="vip"))
    gone = Evidence(gone={ContactId("anna"): "nowhere"})
    assert drifted(find_drift(VIP, loaded(observed), evidence=gone, foreign=True)) == {"unreachable  anna"}
    assert drifted(find_drift(VIP, loaded(state()), evidence=gone)) == {"unreachable  anna"}


def test_what_was_observed_too_long_ago_is_stale() -> None:
    observed = state(anna=carries("vip", ledger="vip", at=NOW - DAY))
    assert drifted(find_drift(VIP, loaded(observed), stale_before=Instant(NOW - DAY + 1))) == {"stale  anna"}
    assert drifted(find_drift(VIP, loaded(observed), stale_before=Instant(NOW - DAY))) == set()


def test_what_others_take_away_again_and_again_is_flapping() -> None:
    known = changed_state(carries("", ledger="vip", at=NOW - 1), restored=((Tag("vip"), Instant(NOW - DAY)),))
    assert drifted(find_drift(VIP, loaded(state(anna=known)), now=NOW)) == {"flapping vip anna"}
    assert drifted(find_drift(VIP, loaded(state(anna=known)), now=Instant(NOW + 8 * DAY))) == {"missing vip anna"}


def test_another_spelling_of_a_tag_is_that_tag() -> None:
    desired = declare(a_set("s", "anna", "very-important"))
    observed = state(anna=carries("important", ledger="very-important"))
    spelt = [(Tag("very-important"), Tag("important"))]
    assert drifted(find_drift(desired, loaded(observed, aliases=spelt), foreign=True)) == set()


BOARD = declare(a_set("s", "anna", "board"), a_set("t", "bert", "x"), rule=[a_rule("board", exclusive=True)])


def test_an_exclusive_tag_on_others_is_unexpected_once_it_was_searched_for() -> None:
    observed = state(anna=carries("board", ledger="board"), bert=carries("x board", ledger="x"), cara=carries("board"))
    blind = find_drift(BOARD, loaded(observed))
    assert drifted(blind) == {"tolerated board bert", "tolerated board cara"}
    assert blind.waiting == ("board",)
    searched = Searched(tags("board"), tags("board"), Instant(NOW - DAY))
    found = find_drift(BOARD, loaded(observed), evidence=Evidence(searched))
    assert drifted(found) == {"unexpected board bert", "unexpected board cara"}
    assert found.waiting == ()


def test_a_report_counts_and_tells_how_old_it_is() -> None:
    desired = declare(a_set("s", "anna bert cara", "vip"))
    observed = state(anna=carries("", ledger="vip"), bert=carries("", ledger="vip", at=NOW - 2 * DAY))
    report = find_drift(desired, loaded(observed, serial=7))
    assert (report.serial, report.observed, report.oldest, report.newest) == (7, 2, NOW - 2 * DAY, NOW - DAY)
    assert report.count(DriftClass.MISSING) == 2
    assert report.count(DriftClass.UNOBSERVED) == 1
    assert not report.refreshed
    assert find_drift(desired, loaded(observed, serial=7), earlier={}).refreshed


def test_a_selection_limits_the_report() -> None:
    desired = declare(a_set("a", "anna", "vip x"), a_set("b", "bert", "vip"))
    observed = state(anna=carries("", ledger="vip x"), bert=carries("", ledger="vip"))
    report = find_drift(desired, loaded(observed), selection=only(sets="a", tag="vip"))
    assert drifted(report) == {"missing vip anna"}
    assert report.observed == 1


def test_missing_comes_before_unexpected_before_pending() -> None:
    desired = declare(a_set("s", "anna", "vip new", absent="trial"))
    before = {ContactId("anna"): carries("vip", ledger="vip")}
    report = find_drift(desired, loaded(state(anna=carries("trial", ledger="vip"))), earlier=before)
    assert [each.drift for each in report.drifted] == ["missing", "unexpected", "pending"]
