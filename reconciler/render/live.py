"""Progress as a board on a terminal: one bar a location, drawn over itself. Rule: outside text is made harmless."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reconciler.core.names import Instant
from reconciler.core.printable import visible
from reconciler.core.standing import Standing
from reconciler.core.view.standing import facts

REFRESHES_A_SECOND = 4


def board(standings: Sequence[Standing], now: Instant) -> Table:
    """One row a location: bar, what is done of what, the rate, what is left of time and quota, what went wrong."""
    table = Table.grid(padding=(0, 2))
    for each in standings:
        bar = ProgressBar(total=max(1, each.total), completed=each.done, width=20)
        table.add_row(Text(visible(each.called)), bar, *(Text(visible(part)) for part in facts(each, now)))
    return table


class LiveBoard:
    """The board on stderr. It is there from `show` to `close`, and leaves nothing behind."""

    def __init__(
        self, standings: Callable[[], Sequence[Standing]], now: Callable[[], Instant], *, colour: bool
    ) -> None:
        self._standings, self._now, self._colour = standings, now, colour
        self._live: Live | None = None

    def show(self) -> None:
        if self._live is None:
            console = Console(file=sys.stderr, no_color=not self._colour, markup=False, highlight=False, emoji=False)
            self._live = Live(
                console=console,
                get_renderable=lambda: board(self._standings(), self._now()),
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
