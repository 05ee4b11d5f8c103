"""No test that needs a library of an extra escapes .ci/run, which runs the default tests without them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.extras import EXTRAS, MARKS, need, never_runs

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def modules() -> dict[Path, ast.Module]:
    """The modules of the tests that may ask for an extra: to parse the others takes nine tenths of the time."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))}
    return {path: ast.parse(text) for path, text in texts.items() if "importorskip" in text}


def _asked_for(node: ast.AST) -> set[str]:
    """The libraries that `importorskip` asks for below a node."""
    calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
    return {
        str(getattr(call.args[0], "value", "")) for call in calls if ast.unparse(call.func).endswith("importorskip")
    }


def _is_marked(module: ast.Module) -> bool:
    written = [ast.unparse(each) for each in module.body if isinstance(each, ast.Assign)]
    written = [line for line in written if line.startswith("pytestmark =")]
    return any(f"mark.{mark}" in line for line in written for mark in MARKS)


def test_the_marked_tests_are_those_that_the_checks_choose() -> None:
    chosen = re.findall(r'-m "([^"]+)"', (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert [set(each.split(" or ")) for each in chosen] == [MARKS]
    declared = {each.partition(":")[0] for each in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert declared == MARKS - {"hypothesis"} | {"one_in(n)"}


def test_what_the_checks_install_has_every_extra() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    pinned = (ROOT / ".ci" / "requirements.txt").read_text(encoding="utf-8")
    assert {extra for extra in extras if extra not in ("dev", "test")} == set(EXTRAS.values())
    assert [library for library in EXTRAS if f"\n{library.replace('.', '-')}==" not in pinned] == []


@pytest.mark.slow
def test_a_module_that_is_skipped_as_a_whole_is_marked(modules: dict[Path, ast.Module]) -> None:
    whole = {path.name for path, module in modules.items() if any(map(_asked_for, _outside_functions(module)))}
    marked = {path.name for path, module in modules.items() if _is_marked(module)}
    assert whole
    assert whole - marked == set()


def _outside_functions(module: ast.Module) -> list[ast.stmt]:
    return [each for each in module.body if not isinstance(each, (ast.FunctionDef, ast.ClassDef))]


@pytest.mark.slow
def test_a_test_asks_for_an_extra_by_name(modules: dict[Path, ast.Module]) -> None:
    """So that conftest.py knows why it was skipped."""
    inside = {
        (path.name, library)
        for path, module in modules.items()
        for each in module.body
        if isinstance(each, (ast.FunctionDef, ast.ClassDef))
        for library in _asked_for(each) & EXTRAS.keys()
    }
    assert inside == set()


@pytest.mark.parametrize(("marks", "never"), [((), True), (("parametrize",), True), (("extras",), False)])
def test_a_test_that_is_skipped_for_want_of_an_extra_and_has_no_mark_never_runs(
    marks: tuple[str, ...], never: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """conftest.py fails it."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(pytest.skip.Exception) as skipped:
        need("duckdb")
    assert never_runs(str(skipped.value), marks) is never
    assert not never_runs("openssl makes the certificate", marks)
