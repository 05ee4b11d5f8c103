"""Charts: bars, and lines over time; and the places of their parts in an SVG.

Rule: a chart repeats numbers of the tables beside it, for readers who see a shape sooner than a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10

from reconciler.core.model.names import Instant
from reconciler.output.blocks import Style, moment

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


def draw_bars(
    title: str, series: Sequence[tuple[str, Style]], bars_by_label: Mapping[str, tuple[int, ...]]
) -> tuple[Bars, ...]:
    """The longest first; none where there is nothing to show."""
    ordered = sorted(((label, parts) for label, parts in bars_by_label.items() if sum(parts)), key=_by_length)
    # an empty frame would say that there is nothing, which the tables say better
    if not ordered:
        return ()
    return (Bars(title, tuple(series), tuple(ordered[:BARS]), max(0, len(ordered) - BARS)),)


def _by_length(bar: tuple[str, tuple[int, ...]]) -> tuple[int, str]:
    return -sum(bar[1]), bar[0]


def draw_over_time(title: str, curves: Sequence[Curve], hidden: int = 0) -> tuple[Curves, ...]:
    """The curves with two points at least; none where no curve has them."""
    # one run is no development: its single dot would look like a flat line
    drawn = tuple(line for line in curves if len(line.points) > 1)
    return (Curves(title, drawn, hidden),) if drawn else ()


WIDTH = 640
LABEL = 180
ROW = 24
HEIGHT = 220
EDGE = 10
FOOT = 28
LEFT = 56
NUMBERS = 110
TICKS = 4
LONGEST = 26


@dataclass(frozen=True, slots=True)
class Part:
    """One coloured rectangle of a bar; `kind` is its class, `told` its words."""

    x: float
    width: float
    kind: str
    told: str


@dataclass(frozen=True, slots=True)
class Bar:
    y: float
    label: str
    parts: tuple[Part, ...]
    total: str
    end: float


@dataclass(frozen=True, slots=True)
class BarChart:
    title: str
    height: float
    legend: tuple[tuple[str, str], ...]
    bars: tuple[Bar, ...]
    told: str
    template: str = "bars.svg"


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    told: str


@dataclass(frozen=True, slots=True)
class Path:
    kind: str
    points: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class LineChart:
    title: str
    height: float
    legend: tuple[tuple[str, str], ...]
    paths: tuple[Path, ...]
    ticks: tuple[tuple[float, str], ...]
    began: str
    ended: str
    told: str
    template: str = "lines.svg"


Drawing = BarChart | LineChart


def place_chart(chart: Chart) -> Drawing:
    return _place_bars(chart) if isinstance(chart, Bars) else _place_lines(chart.title, chart.curves, chart.hidden)


def _place_bars(chart: Bars) -> BarChart:
    longest = max(sum(parts) for _, parts in chart.bars)
    kinds = tuple((name, _style_class(style)) for name, style in chart.series)
    bars = tuple(
        _place_bar(label, parts, kinds, y=EDGE + ROW * index, scale=(WIDTH - LABEL - NUMBERS) / longest)
        for index, (label, parts) in enumerate(chart.bars)
    )
    # one series is named by the title
    legend = kinds if len(kinds) > 1 else ()
    return BarChart(chart.title, 2 * EDGE + ROW * len(bars), legend, bars, _count_hidden(chart.hidden))


def _place_bar(label: str, parts: Sequence[int], kinds: Sequence[tuple[str, str]], *, y: float, scale: float) -> Bar:
    x, drawn = float(LABEL), []
    for number, (name, kind) in zip(parts, kinds, strict=True):
        if number:
            # a part of one pair among a million would vanish
            width = max(1.0, round(number * scale, 1))
            drawn.append(Part(round(x, 1), width, kind, f"{label}: {number:,} {name}"))
            x += width
    numbers = " + ".join(f"{number:,}" for number in parts if number)
    return Bar(y, _shorten(label), tuple(drawn), numbers, round(x + 6, 1))


def _shorten(label: str) -> str:
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"


def _style_class(style: Style) -> str:
    return {Style.ADD: "add", Style.REMOVE: "remove", Style.WARN: "warn"}.get(style, "plain")


def _count_hidden(number: int) -> str:
    return f"and {number:,} more, which are smaller" if number else ""


def _place_lines(title: str, curves: Sequence[Curve], hidden: int) -> LineChart:
    first = min(at for curve in curves for at, _ in curve.points)
    last = max(at for curve in curves for at, _ in curve.points)
    top = _round_up(max(number for curve in curves for _, number in curve.points))
    frame = _Frame(first, last, top)
    paths = tuple(_place_path(curve, f"line{index}", frame) for index, curve in enumerate(curves))
    legend = tuple((curve.name, f"line{index}") for index, curve in enumerate(curves)) if len(curves) > 1 else ()
    return LineChart(
        title, HEIGHT, legend, paths, tuple(frame.ticks()), moment(first)[:16], moment(last)[:16], _count_hidden(hidden)
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """From instants and numbers to places."""

    first: Instant
    last: Instant
    top: int

    def x(self, at: Instant) -> float:
        share = (at - self.first) / max(1, self.last - self.first)
        return round(LEFT + share * (WIDTH - LEFT - EDGE), 1)

    def y(self, number: float) -> float:
        return round(HEIGHT - FOOT - number / self.top * (HEIGHT - FOOT - EDGE), 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        step = max(1, ceil(self.top / TICKS))
        return ((self.y(number), f"{number:,}") for number in range(0, self.top + 1, step))


def _place_path(curve: Curve, kind: str, frame: _Frame) -> Path:
    dots = tuple(
        Dot(frame.x(at), frame.y(number), f"{curve.name}: {number:,} at {moment(at)}") for at, number in curve.points
    )
    return Path(kind, " ".join(f"{dot.x},{dot.y}" for dot in dots), dots)


def _round_up(number: int) -> int:
    """To the next 1, 2, 4 or 8 times a power of ten."""
    power = 10 ** int(log10(number)) if number else 1
    return next(times * power for times in (1, 2, 4, 8, 10) if times * power >= max(1, number))
