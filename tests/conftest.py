"""Options of the test run.

`--bless` rewrites goldens; `--hypothesis-profile=thorough` tries the laws on as many examples as .ci/run does, and
`--hypothesis-profile=search` on others and many more, each time;
`--corpora=DIR`, `--matrices=DIR` and `--vendor=DIR` bring files of third parties (write the equals sign: with a blank,
pytest takes DIR for a place to look for tests).
"""

from __future__ import annotations

import gc
import re
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

from tests.extras import MARKS, never_runs
from tests.fakes import directory_in_memory

# the same examples each time: a stranger's first run passes where ours did
settings.register_profile("reconciler", deadline=None, max_examples=10, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2_000)
settings.load_profile("reconciler")

BY_DEFAULT = "not slow and not servers"
WHOLLY_SLOW = re.compile(r"^pytestmark = (?:\[[^\]]*|.*)\b(?:slow|servers)\b", re.M)
NEVER_BY_DEFAULT = MARKS - {"extras", "hypothesis"}
THIRD_PARTY = {
    "corpora": "hostile input, such as yaml-test-suite.json",
    "matrices": "published 0/1 matrices for the batch planner",
    "vendor": "the OpenAPI files of HighLevel",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expected files of golden cases")
    for name, what in THIRD_PARTY.items():
        parser.addoption(f"--{name}", type=Path, metavar="DIR", help=f"{what}; write --{name}=DIR")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--bless"))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: what is written durably, by thousands of tests, waits for no disk."""
    with directory_in_memory() as directory:
        yield directory


def _directory(request: pytest.FixtureRequest, name: str) -> Path:
    found: Path | None = request.config.getoption(f"--{name}")
    if found is None:
        pytest.skip(f"{THIRD_PARTY[name]}: run with --{name}=DIR")
    return found


@pytest.fixture(scope="session")
def corpora(request: pytest.FixtureRequest) -> Path:
    return _directory(request, "corpora")


@pytest.fixture(scope="session")
def matrices(request: pytest.FixtureRequest) -> Path:
    return _directory(request, "matrices")


@pytest.fixture(scope="session")
def vendor(request: pytest.FixtureRequest) -> Path:
    return _directory(request, "vendor")


@pytest.fixture(scope="session", autouse=True)
def nothing_works_on() -> Iterator[None]:
    """Fails where a thread that a test left behind never rests: all tests that come after it take twice as long."""
    yield
    for _ in range(40):
        began = time.process_time()
        Event().wait(0.05)
        if time.process_time() - began < 0.025:
            return
    pytest.fail(f"works on: {[thread.name for thread in enumerate_threads()]}")


def _plays_the_default(config: pytest.Config) -> bool:
    """Whether all tests that run by default are asked for, and none by its name."""
    return config.args == ["tests"] and config.getoption("markexpr") == BY_DEFAULT


def _is_left_out(module: Path, config: pytest.Config) -> bool:
    return _plays_the_default(config) and WHOLLY_SLOW.search(module.read_text(encoding="utf-8")) is not None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module without a test that runs by default is not imported: on a first run it would be compiled for nothing."""
    return True if collection_path.suffix == ".py" and _is_left_out(collection_path, config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """Of a test that does not run by default no case is made, to be thrown away: of the cases a fifth are such."""
    marks = {mark.name for mark in getattr(obj, "pytestmark", ())} if name.startswith("test") else set()
    return [] if marks & {"slow", "servers"} and _plays_the_default(collector.config) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Thousands of tests stay until the end: they are no garbage to look through again and again."""
    gc.disable()
    try:
        _import_in_turn(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _import_in_turn(config: pytest.Config) -> None:
    """Each worker begins to import the tests at another of them, so that no two compile the same ones.

    On a first run that takes most of the time before the first test; what one worker has compiled, the others load.
    """
    number = _worker_number(config)
    if config.args != ["tests"] or number == 0:
        return
    tests = Path(__file__).parent
    paths = [path for path in sorted(tests.rglob("test_*.py")) if not _is_left_out(path, config)]
    first = len(paths) * number // _worker(config)["workercount"]
    for path in paths[first:] + paths[:first]:
        # one that fails does so again when its tests are collected, and is told there
        with suppress(Exception, pytest.skip.Exception, pytest.fail.Exception, pytest.xfail.Exception):
            import_module(".".join(path.relative_to(tests.parent).with_suffix("").parts))


def _worker(config: pytest.Config) -> dict[str, Any]:
    """What a worker was told; empty in the process that tells."""
    told: dict[str, Any] = getattr(config, "workerinput", {})
    return told


def _worker_number(config: pytest.Config) -> int:
    return int(_worker(config).get("workerid", "gw0").removeprefix("gw"))


def _look_for_constants_from_the_end() -> None:
    """Hypothesis, which comes next, parses our modules in their order, on a first run for two seconds, and keeps the
    constants in a file: what one worker has found, one that begins at the other end reads."""
    for name in [name for name in reversed(sys.modules) if name.partition(".")[0] == "reconciler"]:
        sys.modules[name] = sys.modules.pop(name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever asks for third-party data is marked so, and of the cases of a test that is marked `one_in`, the others
    are slow: of those, too, that run by default where the library of an extra is installed."""
    if _worker_number(config) % 2:
        _look_for_constants_from_the_end()
    cases: Counter[str] = Counter()
    for item in items:
        if THIRD_PARTY.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker("third_party")
        mark = item.get_closest_marker("one_in")
        if mark is not None and not NEVER_BY_DEFAULT & {each.name for each in item.iter_markers()}:
            test = item.nodeid.partition("[")[0]
            if cases[test] % mark.args[0]:
                item.add_marker("slow")
            cases[test] += 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A worker says of each test how it went, and of its setup and its teardown only where they went wrong: to write
    and to read three reports of each of thousands of tests takes as much time as a tenth of the tests."""
    asked = (item.config.getoption(option, None) for option in ("durations", "xmlpath"))
    if not hasattr(item.config, "workerinput") or any(each is not None for each in asked):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped for want of an extra, and that .ci/run does not choose either, never runs: it fails."""
    report = yield
    if report.skipped and never_runs(str(report.longrepr), (mark.name for mark in item.iter_markers())):
        report.outcome, report.longrepr = "failed", f"{item.nodeid} needs an extra: mark it with pytest.mark.extras"
    return report
