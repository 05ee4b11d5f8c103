"""The laws that import-linter cannot tell: what the core may use of the standard library, how long functions are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "reconciler"
PURE = sorted([*(ROOT / "core").rglob("*.py"), ROOT / "wire.py", ROOT / "ports.py"])
FILES = sorted(ROOT.rglob("*.py"))
WORLDLY = {"asyncio", "http", "io", "logging", "os", "pathlib", "secrets", "shutil", "socket", "sqlite3"}
WORLDLY |= {"subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"}
LONGEST = 60


def _imported(tree: ast.AST) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names | modules}


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_does_not_touch_the_world(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not _imported(tree) & WORLDLY
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    assert not called & {"now", "utcnow", "today"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_stay_small(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [each.name for each in functions if (each.end_lineno or 0) - each.lineno + 1 > LONGEST] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_all_tags_cannot_be_removed_and_contacts_not_overwritten() -> None:
    """Invariant 4: outside the sandbox, which emulates them, the dangerous requests have no spelling."""
    for path in FILES:
        text = path.read_text()
        if "sandbox" not in path.parts:
            assert "removeAllTags" not in text
            assert "/contacts/upsert" not in text
            assert '"PUT"' not in text
