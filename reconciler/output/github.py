"""Problems as workflow commands of GitHub Actions: annotations on the lines they are about.

Rule: what would end a command, or start another, is percent-encoded, as the runner's own toolkit does.
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.model.errors import Problem, Severity
from reconciler.core.model.safe_text import visible

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def problems_github(problems: Iterable[Problem]) -> str:
    """A command a line."""
    return "".join(f"{_command(problem)}\n" for problem in problems)


def _command(problem: Problem) -> str:
    place = {"file": problem.source.path, "line": problem.source.line, "col": problem.source.column}
    properties = ",".join(f"{key}={_property(str(value))}" for key, value in place.items() if value)
    text = problem.message + (f" (hint: {problem.hint})" if problem.hint else "")
    return f"::{_LEVELS[problem.severity]} {properties},title={_property(problem.check)}::{_data(text)}"


def _data(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
