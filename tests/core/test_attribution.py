"""Who set a pair before it drifted, since when it differs, and what the settings expect."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.journal import Answer, BatchRecord, BatchStatus, RunHeader, RunRecord, RunStatus
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome
from reconciler.core.model.settings import DriftClass, ExpectedDrift
from reconciler.core.observing.attribution import attribute_drift, mark_expected
from reconciler.core.observing.drift import DriftReport, Setter, find_drift
from tests.build import DAY, HERE, NOW, PLACE, a_set, carries, declare, ids, loaded, state, tags

VIP = declare(a_set("s", "anna bert", "vip", absent="trial"), a_set("t", "bert", "x"))
GONE = carries("x", ledger="vip x", at=NOW)


class Journal:
    """Runs of one batch each, an hour apart, the oldest first."""

    def __init__(self, *batches: tuple[Action, str, str, Outcome]) -> None:
        self.batches = {f"run{nth}": (self._batch(nth, *batch),) for nth, batch in enumerate(batches)}
        self.runs = [self._run(nth) for nth in range(len(batches))]
        self.read: list[str] = []

    def _run(self, nth: int) -> RunRecord:
        header = RunHeader(HERE, "apply", f"who{nth}", _hour(nth))
        return RunRecord(f"run{nth}", header, RunStatus.COMPLETE, _hour(nth), 1, 1)

    def _batch(self, nth: int, action: Action, contacts: str, tag: str, outcome: Outcome) -> BatchRecord:
        answers = dict.fromkeys(ids(contacts), Answer(ContactOutcome(outcome)))
        return BatchRecord(action, (Tag(tag),), _hour(nth), _hour(nth), BatchStatus.ANSWERED, answers)

    def of(self, run: str) -> tuple[BatchRecord, ...]:
        self.read.append(run)
        return self.batches[run]


def _hour(nth: int) -> Instant:
    return Instant(NOW - 2 * DAY + nth * 3_600_000)


def told(journal: Journal, earlier: dict[str, ContactState] | None = None, **contacts: ContactState) -> DriftReport:
    before = {ContactId(contact): known for contact, known in (earlier or {}).items()}
    observed = state(**contacts)
    report = find_drift(VIP, loaded(observed), earlier=before)
    return attribute_drift(report, observed, before, journal.runs, journal.of)


def test_a_missing_pair_names_the_last_run_that_put_it_there() -> None:
    journal = Journal(
        (Action.ADD, "anna", "vip", Outcome.APPLIED),
        (Action.ADD, "anna bert", "vip", Outcome.NOOP),
        (Action.ADD, "anna", "vip", Outcome.IN_DOUBT),
        (Action.REMOVE, "anna", "vip", Outcome.APPLIED),
        (Action.ADD, "anna", "other", Outcome.APPLIED),
    )
    (each,) = told(journal, anna=GONE).drifted[:1]
    assert each.drift is DriftClass.MISSING
    assert each.set_by == Setter("run1", "who1", _hour(1))
    assert (each.after, each.newest) == (_hour(1), NOW)


def test_older_runs_are_not_read_once_everybody_is_found() -> None:
    journal = Journal(*[(Action.ADD, "anna", "vip", Outcome.APPLIED)] * 5)
    told(journal, anna=GONE)
    assert journal.read == ["run4"]


def test_contacts_are_told_apart_by_the_run_that_set_them() -> None:
    journal = Journal((Action.ADD, "anna", "vip", Outcome.APPLIED), (Action.ADD, "bert", "vip", Outcome.SEEN))
    report = told(journal, anna=GONE, bert=GONE)
    missing = [each for each in report.drifted if each.drift is DriftClass.MISSING]
    assert [(each.contacts, each.set_by and each.set_by.run) for each in missing] == [
        (("anna",), "run0"),
        (("bert",), "run1"),
    ]
    assert report.count(DriftClass.MISSING) == 2


def test_without_a_history_nobody_is_named() -> None:
    (each,) = told(Journal(), anna=GONE).drifted[:1]
    assert (each.set_by, each.after) == (None, None)


def test_an_observation_narrows_down_when_it_happened() -> None:
    journal = Journal((Action.ADD, "anna", "vip", Outcome.APPLIED))
    seen = {"anna": carries("vip x", ledger="vip x", at=NOW - 1_000)}
    (each,) = told(journal, seen, anna=GONE).drifted[:1]
    assert each.after == NOW - 1_000
    gone = {"anna": carries("x", ledger="vip x", at=NOW - 1_000)}
    (each,) = told(journal, gone, anna=GONE).drifted[:1]
    assert each.after == _hour(0)


def test_an_unexpected_tag_names_the_last_run_that_took_it() -> None:
    journal = Journal((Action.REMOVE, "anna", "trial", Outcome.APPLIED))
    earlier = {"anna": carries("vip", ledger="vip", at=NOW - 5)}
    (each,) = told(journal, earlier, anna=carries("vip trial", ledger="vip", at=NOW)).drifted[:1]
    assert (each.drift, each.set_by) == (DriftClass.UNEXPECTED, Setter("run0", "who0", _hour(0)))
    assert each.after == NOW - 5


def arrived(*batches: BatchRecord) -> list[DriftClass]:
    """The class of a tag on Anna that a set wants absent, after these requests of one run, the oldest first."""
    journal = Journal((Action.ADD, "anna", "vip", Outcome.APPLIED))
    journal.batches["run0"] = batches
    before = {"anna": carries("vip trial", ledger="vip", at=NOW - 5)}
    report = told(journal, before, anna=carries("vip trial", ledger="vip", at=NOW))
    return [each.drift for each in report.drifted if each.tag == "trial"]


def about_anna(action: Action, tag: str, verdict: ContactOutcome | None) -> BatchRecord:
    status = BatchStatus.INTENDED if verdict is None else BatchStatus.ANSWERED
    return BatchRecord(action, (Tag(tag),), _hour(0), _hour(0), status, {ContactId("anna"): Answer(verdict)})


def test_a_tag_that_an_answer_showed_absent_was_brought_by_others_unless_a_request_of_ours_may_have() -> None:
    absent = about_anna(Action.ADD, "vip", ContactOutcome(Outcome.APPLIED, old=frozenset(), added=tags("vip")))
    assert arrived() == [DriftClass.PENDING]
    assert arrived(absent) == [DriftClass.UNEXPECTED]
    for unknown in (None, ContactOutcome(Outcome.IN_DOUBT)):
        assert arrived(absent, about_anna(Action.ADD, "gold", unknown)) == [DriftClass.UNEXPECTED]
        assert arrived(absent, about_anna(Action.ADD, "trial", unknown)) == [DriftClass.PENDING]


EXPECTED = ExpectedDrift(Tag("v*"), PLACE, frozenset({DriftClass.MISSING}), "a workflow takes it")


def expecting(entry: ExpectedDrift) -> DriftReport:
    return mark_expected(told(Journal(), anna=GONE, bert=GONE), [entry], VIP, now=NOW)


def test_what_is_expected_is_no_drift_and_still_told() -> None:
    report = expecting(EXPECTED)
    assert report.count(DriftClass.MISSING) == 0
    assert [each.contacts for each in report.drifted if each.expected == "a workflow takes it"] == [ids("anna bert")]


def test_an_entry_is_of_a_time_a_place_a_class_a_tag_and_a_set() -> None:
    assert expecting(replace(EXPECTED, until=Instant(NOW + 1))).count(DriftClass.MISSING) == 0
    assert expecting(replace(EXPECTED, until=NOW)).count(DriftClass.MISSING) == 2
    assert expecting(replace(EXPECTED, location=HERE)).count(DriftClass.MISSING) == 0
    assert expecting(replace(EXPECTED, location="elsewhere")).count(DriftClass.MISSING) == 2
    assert expecting(replace(EXPECTED, classes=frozenset())).count(DriftClass.MISSING) == 0
    assert expecting(replace(EXPECTED, classes=frozenset({DriftClass.PENDING}))).count(DriftClass.MISSING) == 2
    assert expecting(replace(EXPECTED, tag=Tag("w*"))).count(DriftClass.MISSING) == 2
    assert expecting(replace(EXPECTED, set="t")).count(DriftClass.MISSING) == 1
    assert expecting(replace(EXPECTED, set="unknown")).count(DriftClass.MISSING) == 2


def test_an_entry_without_a_reason_is_named_by_its_place() -> None:
    report = expecting(replace(EXPECTED, reason=""))
    assert {each.expected for each in report.drifted if each.drift is DriftClass.MISSING} == {str(PLACE)}
