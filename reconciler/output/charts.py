"""What a picture shows better than a table: bars, and lines over time. Numbers only; a renderer draws them.

Rule: a chart shows nothing that the tables beside it do not say in words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.manifests.compare_revisions import Comparison
from reconciler.core.model.journal import LocationReport, RunLog, RunRecord
from reconciler.core.model.names import Instant, Tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.observing.attribution import Trend
from reconciler.core.observing.drift_report import OF_CONTACTS, DriftReport
from reconciler.core.planning.guards import count_holders
from reconciler.core.planning.plan import LocationPlan, LocationState
from reconciler.output.blocks import Style

BARS = 15
CURVES = 6


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar a label, of one part a series. `hidden`: how many labels were left out, the smallest."""

    title: str
    series: tuple[tuple[str, Style], ...]
    bars: tuple[tuple[str, tuple[int, ...]], ...]
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    points: tuple[tuple[Instant, int], ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves over time."""

    title: str
    curves: tuple[Curve, ...]
    hidden: int = 0


Chart = Bars | Curves


def _bars(title: str, series: Sequence[tuple[str, Style]], found: Mapping[str, tuple[int, ...]]) -> tuple[Bars, ...]:
    """The longest first; none where there is nothing to show."""
    ordered = sorted(((label, parts) for label, parts in found.items() if sum(parts)), key=_longest)
    if not ordered:
        return ()
    return (Bars(title, tuple(series), tuple(ordered[:BARS]), max(0, len(ordered) - BARS)),)


def _longest(bar: tuple[str, tuple[int, ...]]) -> tuple[int, str]:
    return -sum(bar[1]), bar[0]


def plan_charts(plan: LocationPlan) -> tuple[Chart, ...]:
    pairs: Counter[tuple[Tag, Action]] = Counter()
    for delta in plan.deltas:
        for change in delta.changes:
            pairs[change.tag, change.action] += len(delta.contacts)
    found = {str(tag): (pairs[tag, Action.ADD], pairs[tag, Action.REMOVE]) for tag, _ in pairs}
    return _bars("Tags by adds and removes, in pairs", (("add", Style.ADD), ("remove", Style.REMOVE)), found)


def compare_charts(each: Comparison) -> tuple[Chart, ...]:
    found = {str(move.tag): (move.gained, move.lost) for move in each.tags}
    return _bars("Tags by contacts that gain and lose them", (("gain", Style.ADD), ("lose", Style.REMOVE)), found)


_ENDS = (("ended as asked", Style.ADD), ("left open", Style.WARN), ("refused", Style.REMOVE))
_OPEN = (Outcome.HELD, Outcome.IN_DOUBT, Outcome.DEFERRED, Outcome.NOT_SENT)


def run_charts(report: LocationReport) -> tuple[Chart, ...]:
    return _outcomes(report.pairs.items())


def _outcomes(pairs: Iterable[tuple[Outcome, int]]) -> tuple[Chart, ...]:
    found = {outcome.replace("_", " "): _ended(outcome, number) for outcome, number in pairs}
    return _bars("Pairs by outcome", _ENDS, found)


def _ended(outcome: Outcome, pairs: int) -> tuple[int, int, int]:
    if outcome in _OPEN:
        return 0, pairs, 0
    return (0, 0, pairs) if outcome is Outcome.REJECTED else (pairs, 0, 0)


def log_charts(log: RunLog) -> tuple[Chart, ...]:
    """Of a run in the journal: those of its report, and what it changed."""
    changed: Counter[tuple[Tag, Action]] = Counter()
    for batch in log.batches:
        for answer, contacts in Counter(batch.answers.values()).items():
            verdict = answer.verdict
            for tag in () if verdict is None else verdict.added | verdict.removed:
                changed[tag, batch.action] += contacts
    found = {str(tag): (changed[tag, Action.ADD], changed[tag, Action.REMOVE]) for tag, _ in changed}
    both = (("added", Style.ADD), ("removed", Style.REMOVE))
    return *_outcomes(log.ending.pairs if log.ending else ()), *_bars("Tags by contacts that were changed", both, found)


def drift_charts(report: DriftReport) -> tuple[Chart, ...]:
    by_class: defaultdict[str, Counter[int]] = defaultdict(Counter)
    by_tag: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in report.drifted:
        counted = f"{each.drift} (contacts)" if each.drift in OF_CONTACTS else str(each.drift)
        by_class[counted][_age(each.oldest, report.newest)] += len(each.contacts)
        if each.tag and each.drift in ("missing", "unexpected"):
            by_tag[each.tag][each.drift] += len(each.contacts)
    classes = {name: tuple(ages[index] for index in range(len(_AGES))) for name, ages in by_class.items()}
    named = [(name, style) for name, style, _ in _AGES]
    tags = {tag: (counts["missing"], counts["unexpected"]) for tag, counts in by_tag.items()}
    both = (("missing", Style.REMOVE), ("unexpected", Style.ADD))
    return (
        *_bars("Drift by class and age of what was observed, in pairs, or in contacts where said", named, classes),
        *_bars("Tags by what others changed", both, tags),
    )


_HOUR_MS = 3_600_000
_AGES = (
    ("within an hour", Style.PLAIN, _HOUR_MS),
    ("within a day", Style.ADD, 24 * _HOUR_MS),
    ("within a week", Style.WARN, 7 * 24 * _HOUR_MS),
    ("older, or never", Style.REMOVE, 0),
)
"""Up to how old, beside the newest observation of the report."""


def _age(oldest: Instant | None, newest: Instant | None) -> int:
    """Which of `_AGES`."""
    if oldest is None or newest is None:
        return len(_AGES) - 1
    young = (index for index, (_, _, limit) in enumerate(_AGES) if newest - oldest <= limit)
    return next(young, len(_AGES) - 1)


def state_charts(state: LocationState) -> tuple[Chart, ...]:
    found = {str(tag): (number,) for tag, number in count_holders(state.observed).items()}
    return _bars("Observed holders of each tag", (("contacts", Style.PLAIN),), found)


def history_charts(runs: Sequence[RunRecord], trend: Trend) -> tuple[Chart, ...]:
    """`trend`: what the kept rows of these runs tell."""
    requests = [(run.header.started, run.requests) for run in runs]
    counted = (Curve("tags changed by us", trend.changed), Curve("tags changed by others since", trend.drifted))
    ranked = sorted(trend.holders.items(), key=lambda item: (-item[1][-1][1], item[0]))
    held = tuple(Curve(tag, points) for tag, points in ranked[:CURVES])
    return (
        *_over_time("Requests of each run", (Curve("requests", tuple(requests)),)),
        *_over_time("Tags changed, by run", counted),
        *_over_time("Holders of a tag, among contacts that runs were told of", held, max(0, len(ranked) - CURVES)),
    )


def _over_time(title: str, curves: Sequence[Curve], hidden: int = 0) -> tuple[Curves, ...]:
    """One point makes no line."""
    drawn = tuple(line for line in curves if len(line.points) > 1)
    return (Curves(title, drawn, hidden),) if drawn else ()
