"""Libraries that the default tests run without, and .ci/run with.

Rule: what needs one is marked `extras` (or `servers`, `slow`), else no run of the checks ever has it. `conftest.py`
fails a test that is skipped for want of one and is not marked; `test_extras.py` looks at modules that are skipped as a
whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

EXTRAS = {
    "duckdb": "bulk",
    "obstore": "objects",
    "opentelemetry.sdk": "otel",
    "phonenumbers": "phone",
    "procrastinate": "fleet",
    "psycopg": "postgres",
    "socksio": "socks",
}
"""The library of each extra."""
MARKS = frozenset({"extras", "hypothesis", "servers", "slow", "third_party"})
"""What .ci/run chooses by; `hypothesis` is that library's own mark of a law."""

_REASON = "not installed: the extra tagreconciler"


def need(library: str) -> Any:
    """The library, where its extra is installed; else the test is skipped."""
    return pytest.importorskip(library, reason=f"{_REASON}[{EXTRAS[library]}]")


def never_runs(reason: str, marks: Iterable[str]) -> bool:
    """Whether a test that was skipped so is skipped by `need`, and not chosen by .ci/run either."""
    return _REASON in reason and MARKS.isdisjoint(marks)
