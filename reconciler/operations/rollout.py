"""Rollouts: the locations whose wave may not begin yet, each with the reason. Law: asks no API, changes nothing.

Rules
1. A location is done when nothing is left to do by the manifests of now, or the last run by their definitions ended
   with exit code 0 and no others were applied since, nor a run undone. Contacts that this run was refused, and that
   are still wanted, are something left to do, though they are quarantined and nothing more is sent. Who is in a set
   is no definition: with lists that change every day a rollout would never get beyond its first waves.
2. A wave begins when all locations of the waves before it are done, and the last of their runs ended `soak` ago.
3. A run by the definitions of now that ended otherwise refuses the later waves; where none was made, they wait for it.
4. A run of a version that wrote down no digest of definitions is compared by that of the manifests as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.errors import GuardRefused, NotYet, ReconcilerError, StateError
from reconciler.core.model.journal import RunEnding, RunRecord, RunStatus
from reconciler.core.model.manifest import Rollout
from reconciler.core.model.names import ContactId, Instant, LocationId, Source
from reconciler.core.model.outcome import Outcome
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationPlan, Plan
from reconciler.core.running.shortfalls import waits_for_release
from reconciler.operations.plan import PlanResult
from reconciler.operations.plan_options import PlanRequest, make_plan_options
from reconciler.operations.stored_state import load_state
from reconciler.operations.workspace import Session
from reconciler.output.blocks import moment
from reconciler.ports import LocationReader, StateReader
from reconciler.store import open_reader

_APPLY, _REVERT = "apply", "revert"


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a location is with the definitions of now."""

    is_settled: bool
    """Whether nothing is left to do."""
    run: RunRecord | None = None
    """The last run by these definitions; None where none was."""
    ended_well: bool = False
    """Whether that run ended with 0."""
    is_waiting: bool = False
    """Whether nothing is open of that run but additions that wait for a pace."""
    since: Instant | None = None
    """When the first run by these definitions ended that ended with 0; without one the last run of all."""

    @property
    def is_done(self) -> bool:
        return self.is_settled or self.ended_well

    def explain(self, wave: str, whom: str, location: LocationId) -> ReconcilerError:
        """Why a wave does not begin while the location is not done."""
        if self.run is None:
            return NotYet(f"{wave} waits: {whom} has changes that are not applied", hint=_hint_at(location))
        if self.is_waiting:
            return NotYet(f"{wave} waits: {whom} gives tags slowly, and is not done yet", hint=_hint_at(location))
        message = f"{wave} is refused: run {self.run.id} of {whom} did not end with exit code 0"
        return GuardRefused([message], hints=[_settling_hint(location)])


def find_waiting(planned: PlanResult) -> dict[LocationId, ReconcilerError]:
    """The locations of a plan with something to send whose wave may not begin, and why.

    GuardRefused where a run of a wave before ended badly, NotYet where it is only a matter of time.
    """
    # what undoes a run is no change of the manifests
    if planned.reversals or not planned.session.rollouts:
        return {}
    with open_reader(planned.session.settings.state) as reader:
        return _Rollouts(planned.session, planned.plan, planned.unknown, reader).find_waiting()


@dataclass(slots=True)
class _Rollouts:
    """The rollouts of a session, held against a plan of it and the journals of its locations."""

    session: Session
    plan: Plan
    unknown: Mapping[LocationId, ReconcilerError]
    reader: StateReader
    _plans: dict[LocationId, LocationPlan] = field(default_factory=dict)
    """Those that tell of all that there is to do."""
    _waves: dict[tuple[Source, int], ReconcilerError | None] = field(default_factory=dict)
    _found: dict[LocationId, _Progress | None] = field(default_factory=dict)
    _earlier: dict[LocationId, Desired] = field(default_factory=dict)
    """What is desired in locations of earlier waves that are not among the chosen ones."""

    def find_waiting(self) -> dict[LocationId, ReconcilerError]:
        if not self.plan.selection.is_part:
            self._plans = {plan.location: plan for plan in self.plan.locations}
        waiting: dict[LocationId, ReconcilerError] = {}
        for location in self.plan.locations:
            for rollout in self.session.rollouts.get(location.location, ()) if location.may_have_work else ():
                if (error := self._judge(rollout, rollout.wave_of(location.location))) is not None:
                    waiting.setdefault(location.location, error)
        return waiting

    def _judge(self, rollout: Rollout, wave: int) -> ReconcilerError | None:
        """Why a wave may not begin; None where it may."""
        key = rollout.source, wave
        if key not in self._waves:
            self._waves[key] = self._judge_wave(rollout, wave)
        return self._waves[key]

    def _judge_wave(self, rollout: Rollout, wave: int) -> ReconcilerError | None:
        called = f"wave {wave + 1} of {len(rollout.waves)} ({rollout.source})"
        ends = [0]
        for before, number in (
            (before, number) for number, each in enumerate(rollout.waves[:wave], 1) for before in each
        ):
            whom = f"location {before} of wave {number}"
            progress = None if before in self.unknown else self._progress_of(before)
            if progress is None:
                return NotYet(f"{called} waits: it is not known how far {whom} is", hint=_hint_at(before))
            if not progress.is_done:
                return progress.explain(called, whom, before)
            ends.append(progress.since or 0)
        until = Instant(max(ends) + rollout.soak_ms)
        if until <= self.session.workspace.clock.now():
            return None
        hint = "apply again from then on; `soak` of the rollout is how long a wave is watched"
        return NotYet(f"{called} waits until {moment(until)}: the wave before is watched until then", hint=hint)

    def _progress_of(self, location: LocationId) -> _Progress | None:
        """None where its state cannot be read."""
        if location not in self._found:
            try:
                self._found[location] = self._find_progress(location)
            except StateError:
                self._found[location] = None
        return self._found[location]

    def _find_progress(self, location: LocationId) -> _Progress:
        desired = self._find_desired(location)
        reader = self.reader.at(location)
        if (plan := self._plans.get(location)) is None:
            state = load_state(self.session.settings, self.reader, location)
            plan = plan_location(desired, state, make_plan_options(self.session, location, PlanRequest()))
        runs, last = _runs_by(desired, reader)
        clean = [run.ended for run, ending in runs if _ended_well(run, ending)]
        if not runs:
            return _Progress(plan.is_settled, since=last)
        run, ending = runs[-1]
        is_settled = plan.is_settled and not _rejected_contacts(ending) & _quarantined_contacts(plan)
        return _Progress(is_settled, run, _ended_well(run, ending), _waits(ending), (*clean, last)[0])

    def _find_desired(self, location: LocationId) -> Desired:
        if location in self.session.desired:
            return self.session.desired[location]
        if location not in self._earlier and location not in self.session.unread:
            before = {
                other
                for chosen, rollouts in self.session.rollouts.items()
                for rollout in rollouts
                for other in rollout.locations_before(chosen)
            }
            self._earlier |= self.session.resolve_others(before - self.session.desired.keys())
        if location in self.session.unread:
            raise self.session.unread[location]
        return self._earlier[location]


def _runs_by(desired: Desired, reader: LocationReader) -> tuple[list[tuple[RunRecord, RunEnding]], Instant | None]:
    """The last applies by these definitions, in their order: those after a run by others, or a revert.

    And when the last apply or revert ended, whatever it was by.
    """
    found: list[tuple[RunRecord, RunEnding]] = []
    last: Instant | None = None
    for run in reversed(reader.read_runs()):
        ending = reader.read_ending(run.id)
        last = last or (run.ended if _operation_of(run) in (_APPLY, _REVERT) else None)
        if _is_of_others(run, ending, desired):
            break
        if ending is not None and ending.is_by(desired.definitions_digest, desired.digest):
            found.append((run, ending))
    return found[::-1], last


def _is_of_others(run: RunRecord, ending: RunEnding | None, desired: Desired) -> bool:
    # a part of the manifests is neither by these nor by others
    is_whole = ending is not None and ending.manifests_digest != ""
    is_by = ending is not None and ending.is_by(desired.definitions_digest, desired.digest)
    return _operation_of(run) == _REVERT or (is_whole and not is_by)


def _operation_of(run: RunRecord) -> str:
    # that of a revert names the run that it undoes
    return run.header.operation.split(" ")[0]


def _rejected_contacts(ending: RunEnding) -> set[ContactId]:
    return {contact for each in ending.shortfalls if each.outcome is Outcome.REJECTED for contact in each.contacts}


def _quarantined_contacts(plan: LocationPlan) -> set[ContactId]:
    return {contact for each in plan.quarantined for contact in each.contacts}


def _waits(ending: RunEnding) -> bool:
    """Whether only a pace keeps back what was not sent."""
    return not ending.error and all(map(waits_for_release, ending.shortfalls))


def _ended_well(run: RunRecord, ending: RunEnding) -> bool:
    """Whether the exit code was 0."""
    return run.status is RunStatus.COMPLETE and not ending.error and not ending.is_partial


def _settling_hint(location: LocationId) -> str:
    return (
        f"settle that location first: `reconciler plan --location {location}` tells what is open; contacts that were "
        "rejected are taken out of their sets, or tried again with --retry-rejected"
    )


def _hint_at(location: LocationId) -> str:
    return f"`reconciler plan --location {location}` tells what it waits for"
