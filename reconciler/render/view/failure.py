"""What a report says of a command that ended with an error: what was known until then, and the error."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.render.view.blocks import Cell, Lines, Section, Style, View


def failure_view(lines: Iterable[str], hints: Iterable[str], *, until_then: View | None = None) -> View:
    """`lines`: the message. `until_then`: what was to be told before it failed."""
    told = (*(Cell(line, Style.BAD) for line in lines), *(Cell(f"hint: {hint}") for hint in hints))
    failed = Section("Error", Cell("The command ended with an error.", Style.BAD), (Lines("", told),))
    if until_then is None:
        return View("Error", (failed,))
    return View(until_then.title, (*until_then.sections, failed), until_then.closing)
