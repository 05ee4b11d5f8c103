"""What a report says of a command that ended with an error: what was known until then, and the error."""

from __future__ import annotations

from reconciler.core.view.blocks import Cell, Lines, Section, Style, View


def failure_view(message: str, hint: str, *, until_then: View | None = None) -> View:
    """`message` may have several lines. `until_then`: what was to be told before it failed."""
    lines = [Cell(line, Style.BAD) for line in message.split("\n")]
    lines += [Cell(f"hint: {hint}")] if hint else []
    failed = Section("Error", Cell("The command ended with an error.", Style.BAD), (Lines("", tuple(lines)),))
    if until_then is None:
        return View("Error", (failed,))
    return View(until_then.title, (*until_then.sections, failed), until_then.closing)
