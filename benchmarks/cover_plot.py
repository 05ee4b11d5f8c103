"""Requests against contacts, both on logarithmic scales, as an SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SERIES = (
    ("per delta", "one per delta", "#b0533c"),
    ("per tag", "one per tag", "#b58a2a"),
    ("default", "reconciler, each pair once (default)", "#3a6ea5"),
    ("requests", "reconciler, --reassert always", "#2b8a5b"),
    ("bound", "lower bound", "#888888"),
)
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 440, 70, 20, 240, 50


@dataclass(frozen=True)
class Curve:
    """A line through points, drawn with its name."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


def plot(points: Sequence[Mapping[str, object]]) -> str:
    """The picture; a point holds `contacts` and a number for each of SERIES."""
    rows = sorted(points, key=lambda point: _number(point, "contacts"))
    curves = [
        Curve(label, colour, [(_number(row, "contacts"), _number(row, key)) for row in rows])
        for key, label, colour in SERIES
    ]
    return draw_curves(curves, across="contacts")


def draw_curves(curves: Sequence[Curve], *, across: str, up: str = "") -> str:
    """The curves in one picture, both scales logarithmic; `across` and `up` say what they are of."""
    left, right = _decades([x for curve in curves for x, _ in curve.points])
    low, high = _decades([y for curve in curves for _, y in curve.points])

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"']
    parts[0] += ' font-size="12"><rect width="100%" height="100%" fill="white"/>'
    for power in range(left, right + 1):
        parts.append(_line(x(10**power), TOP, x(10**power), HEIGHT - BOTTOM))
        parts.append(_text(x(10**power), HEIGHT - BOTTOM + 18, f"{10**power:,}", "middle"))
    for power in range(low, high + 1):
        parts.append(_line(LEFT, y(10**power), WIDTH - RIGHT, y(10**power)))
        parts.append(_text(LEFT - 6, y(10**power) + 4, f"{10.0**power:g}" if power < 0 else f"{10**power:,}", "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, "middle"))
    parts += [_text(LEFT, TOP - 6, up, "start")] if up else []
    for place, curve in enumerate(curves):
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="2"/>')
        parts.append(
            f'<g fill="{curve.colour}">{_text(WIDTH - RIGHT + 12, TOP + 16 + 20 * place, curve.name, "start")}</g>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _number(point: Mapping[str, object], key: str) -> float:
    return max(1.0, float(str(point[key])))


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
