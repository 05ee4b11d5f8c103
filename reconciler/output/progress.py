"""How far a run is: in words, for a line of a log; as a board on a terminal, one bar a location, drawn over itself.

Rule: outside text is made harmless.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reconciler.core.model.events import LocationProgress
from reconciler.core.model.names import Instant
from reconciler.core.model.safe_text import visible
from reconciler.output.blocks import duration


def facts(standing: LocationProgress, now: Instant) -> list[str]:
    """The state of one location in short parts, the most important first."""
    parts = [f"{standing.done:,} of {standing.total:,} {standing.what}"]
    if standing.contacts:
        parts.append(f"{standing.contacts:,} contacts")
    if rate := standing.rate(now):
        parts.append(f"{rate:.1f}/s")
    if standing.rejected:
        parts.append(f"{standing.rejected:,} rejected")
    if standing.unclear:
        parts.append(f"{standing.unclear:,} in doubt")
    if standing.quota_left is not None:
        parts.append(f"{standing.quota_left:,} left today")
    if (remaining := standing.left_ms(now)) is not None and not standing.is_done:
        parts.append(f"about {duration(remaining / 1000)} left")
    if standing.why and standing.resumes > now:
        parts.append(f"waiting {duration((standing.resumes - now) / 1000)}: {standing.why}")
    elif standing.why and not standing.resumes:
        parts.append(f"in the queue: {standing.why}")
    return parts


REFRESHES_A_SECOND = 4
BAR = 20
GAP = "  "


@dataclass(frozen=True, slots=True)
class Board:
    """One row a location: bar, progress, rate, remaining time and quota, and failures.

    A row is one line however narrow the terminal is: parts drop out that do not fit, the last one never.
    """

    standings: Sequence[LocationProgress]
    now: Instant

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [visible(standing.called) for standing in self.standings]
        longest = max(map(cell_len, names), default=0)
        table = Table.grid(padding=(0, 2))
        for _ in range(3):
            table.add_column(no_wrap=True, overflow="ellipsis")
        for standing, name in zip(self.standings, names, strict=True):
            bar = ProgressBar(total=max(1, standing.total), completed=standing.done, width=BAR)
            parts = [visible(part) for part in facts(standing, self.now)]
            table.add_row(Text(name), bar, Text(_fit_parts(parts, options.max_width - longest - BAR - 2 * len(GAP))))
        yield table


def _fit_parts(parts: list[str], width: int) -> str:
    """The first part and the last, and of those in between as many of the later ones as fit."""
    # the first part is progress, the last a wait or a failure: both stay
    while len(parts) > 2 and cell_len(GAP.join(parts)) > width:
        del parts[1]
    return GAP.join(parts)


class LiveBoard:
    """The board on stderr. It is there from `show` to `close`, and leaves nothing behind."""

    def __init__(
        self, standings: Callable[[], Sequence[LocationProgress]], now: Callable[[], Instant], *, colour: bool
    ) -> None:
        self._standings, self._now, self._colour = standings, now, colour
        self._live: Live | None = None

    def show(self) -> None:
        if self._live is None:
            console = Console(file=sys.stderr, no_color=not self._colour, markup=False, highlight=False, emoji=False)
            # both streams stay as they are: rich would print the answer through the board's console, on stderr
            self._live = Live(
                console=console,
                get_renderable=lambda: Board(self._standings(), self._now()),
                refresh_per_second=REFRESHES_A_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
