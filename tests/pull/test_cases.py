"""Golden folders: manifests, a file of people and the location in; report and snapshots out (`tests/pull/case.py`).

`pytest --bless` rewrites what comes out; review the diff. `cases/pull`: a case for each class of row, each refusal and
each way to end. `cases/resolve`: files that are resolved once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extras import need
from tests.golden_case import cases_of
from tests.pull.case import PullCase


def asks_sql(path: Path) -> bool:
    """Whether a source of the case is SQL, which needs the extra."""
    settings = path / "manifests" / "reconciler.yaml"
    return settings.is_file() and "sql: " in settings.read_text(encoding="utf-8")


PULLS = [
    pytest.param(path, id=path.name, marks=[pytest.mark.extras] if asks_sql(path) else []) for path in cases_of("pull")
]


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PullCase]:
    if asks_sql(request.param):
        need("duckdb")
    monkeypatch.chdir(tmp_path)
    with PullCase.opened(request.param, tmp_path) as opened:
        yield opened


@pytest.mark.one_in(29)
@pytest.mark.parametrize("case", PULLS, indirect=True)
def test_pull(case: PullCase, bless: bool) -> None:
    case.expect(bless, case.pull())


@pytest.mark.parametrize("case", cases_of("resolve"), ids=lambda path: path.name, indirect=True)
def test_resolve(case: PullCase, bless: bool) -> None:
    case.expect(bless, case.resolve())
