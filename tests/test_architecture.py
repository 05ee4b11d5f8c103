"""The laws that import-linter cannot tell: what the core may use of the standard library, how long functions are."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "reconciler"
PURE = sorted(
    [
        *(ROOT / "core").rglob("*.py"),
        ROOT / "wire.py",
        ROOT / "wire_people.py",
        ROOT / "wire_trial.py",
        ROOT / "ports.py",
    ]
)
FILES = sorted(ROOT.rglob("*.py"))
WORLDLY = {"asyncio", "http", "io", "logging", "os", "pathlib", "secrets", "shutil", "socket", "sqlite3"}
WORLDLY |= {"subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"}
LONGEST = 53


IMPORT = re.compile(r"^ *(?:from ([\w.]+) import (\([^)]*\)|.*)|import ([\w.]+))", re.M)
"""One statement of the formatted source. A line of prose that looks like one counts too."""

DOCSTRING = re.compile(r'(?:#.*\n)*r?"""')


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _named(path: Path) -> frozenset[str]:
    """Whatever its imports may mean: `from a import b` names a, and perhaps a module a.b."""
    named: set[str] = set()
    for origin, names, module in IMPORT.findall(_text(path)):
        imported = re.findall(r"(\w+)(?: as \w+)?", names)
        named |= {module} if module else {origin, *(f"{origin}.{each}" for each in imported)}
    return frozenset(named)


def _imported(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in _named(path)}


def test_the_core_does_not_touch_the_world() -> None:
    assert {str(path): worldly for path in PURE if (worldly := _imported(path) & WORLDLY)} == {}
    asking = re.compile(r"\.(?:now|utcnow|today)\(")
    assert {str(path): asked for path in PURE if (asked := asking.findall(_text(path)))} == {}


def _lengths(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a formatted module, each as long as what stands further right than it does."""
    opened: list[tuple[int, int, str]] = []
    last = 0
    for number, line in enumerate([*_text(path).splitlines(), "end"]):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            continue
        while opened and indent <= opened[-1][0] and not line.lstrip().startswith(")"):
            _, first, name = opened.pop()
            yield name, last - first + 1
        if defined := re.match(r" *(?:async )?def (\w+)", line):
            opened.append((indent, number, defined[1]))
        last = number


def test_functions_stay_small() -> None:
    lengths = [(str(path), name, length) for path in FILES for name, length in _lengths(path)]
    assert len(lengths) > 1_000
    assert [each for each in lengths if each[2] > LONGEST] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [str(path) for path in FILES if not DOCSTRING.match(_text(path))] == []


def test_no_import_is_overlooked() -> None:
    """What is found in the text of a module is what it imports."""
    path = ROOT / "cli" / "apply.py"
    nodes = list(ast.walk(ast.parse(_text(path))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    assert _named(path) == names


def test_all_tags_cannot_be_removed_and_contacts_not_overwritten() -> None:
    """Invariant 4: outside the sandbox, which emulates them, the dangerous requests have no spelling."""
    for path in FILES:
        text = _text(path)
        if "sandbox" not in path.parts:
            assert "removeAllTags" not in text
            assert "/contacts/upsert" not in text
            assert '"PUT"' not in text


def _reached(*modules: str) -> set[str]:
    """Our modules that these can import, now or later: imports inside of functions count."""
    assert all(map(_path, modules))
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and (path := _path(name)) is not None:
            found.add(name)
            waiting += _named(path) | {name.rpartition(".")[0]}
    return found


@cache
def _path(module: str) -> Path | None:
    base = ROOT.parent.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


PROJECT = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
CONTRACTS = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
HOME_LINES = [line.split(" -> ") for line in CONTRACTS["Each third-party library has a home"]["ignore_imports"]]
HOMES: dict[str, set[str]] = {}
"""Where each third-party library is imported. Here, unlike in the contract, imports for types alone count too."""
for _home, _library in HOME_LINES:
    HOMES.setdefault(_library, set()).add(_home.removesuffix(".**").replace(".", "/"))

DECLARED_AS = {"opentelemetry": "opentelemetry-sdk", "yaml": "pyyaml", "pydantic_core": "pydantic"}
"""The distributions that are not called as what they install."""


def test_each_third_party_library_is_imported_at_home() -> None:
    foreign = {path: _imported(path) - sys.stdlib_module_names - {"reconciler", ""} for path in FILES}
    assert set[str]().union(*foreign.values()) <= HOMES.keys()
    abroad = [(str(path), library) for path in FILES for library in foreign[path] if not _is_at_home(path, library)]
    assert abroad == []


def _is_at_home(path: Path, library: str) -> bool:
    homes = [ROOT.parent / home for home in HOMES[library]]
    return any(path == home.with_suffix(".py") or path.is_relative_to(home) for home in homes)


def test_numpy_alone_has_two_homes() -> None:
    """What many contacts are worked out by, and what their requests are found by: neither room sees the other."""
    assert {library: homes for library, homes in HOMES.items() if len(homes) > 1} == {
        "numpy": {"reconciler/columns", "reconciler/cover"}
    }


def test_each_third_party_library_is_declared() -> None:
    extras = chain.from_iterable(PROJECT["project"]["optional-dependencies"].values())
    declared = {re.split(r"[\[<>=]", line)[0].lower() for line in (*PROJECT["project"]["dependencies"], *extras)}
    assert {DECLARED_AS.get(library, library) for library in HOMES} <= declared


DESIGN = (ROOT.parent / "docs" / "design.md").read_text()


def _lines_of_rooms() -> dict[str, str]:
    """The lines of the tree by room, a folder of the product: a room's end where one stands as far left as it does."""
    lines: dict[str, str] = {}
    rooms: list[tuple[int, str]] = []
    for line in DESIGN.partition("```text\nreconciler/\n")[2].partition("```")[0].splitlines():
        indent = len(line) - len(line.lstrip())
        rooms = [(place, name) for place, name in rooms if place < indent]
        if room := re.match(r" +(\w+)/ ", line):
            rooms.append((indent, room[1]))
        path = "/".join(name for _, name in rooms)
        lines[path] = lines.get(path, "") + line
    return lines


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in FILES}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_tree_names_each_module_in_its_room(folder: Path) -> None:
    room = str(folder.relative_to(ROOT)).removeprefix(".")
    named = set(re.findall(r"\b\w+\.py\b", _lines_of_rooms().get(room, "")))
    modules = {path.name for path in FILES if path.parent == folder} - {"__init__.py", "__main__.py"}
    assert modules - named == set()
    assert {name for name in named - modules if name != "__init__.py"} == set()


RECIPES = DESIGN.partition("## Where the next change goes")[2].partition("\n## ")[0].split("\n- ")[1:]
"""Where each kind of change goes; a module that moves takes its recipe along."""


def test_the_recipes_name_places_that_are_there() -> None:
    named = re.findall(r"`([\w./]+(?:\.py|\.md|/))`", " ".join(RECIPES))
    assert len(named) > 30
    missing = [name for name in named if not any((base / name).exists() for base in (ROOT, ROOT.parent))]
    assert missing == []


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if "(as `" in recipe], ids=lambda text: text[:30])
def test_a_recipe_names_all_modules_that_its_example_needed(recipe: str) -> None:
    example, listed = re.search(r"\(as `([\w.]+)`\)(.*)", recipe, re.DOTALL).groups()  # type: ignore[union-attr]
    word = re.compile(rf"\b{re.escape(example)}\b", re.I)
    mentioned = [path for path in FILES if example.lower() in _text(path).lower()]
    stands = {str(path.relative_to(ROOT)) for path in mentioned if word.search(_text(path))}
    assert set(re.findall(r"`([\w/]+\.py)`", listed)) - {"tests/render/documents.py"} == stands


WRITERS = {
    "reconciler.apply",
    "reconciler.highlevel.client",
    "reconciler.journalled_run",
    "reconciler.operations.apply",
}


@pytest.mark.parametrize("command", ["plan", "manifests", "setup", "state", "complete"])
def test_who_only_looks_cannot_reach_a_writer(command: str) -> None:
    assert not _reached(f"reconciler.cli.{command}") & WRITERS
    assert _reached("reconciler.cli.apply") >= WRITERS


@pytest.mark.parametrize("command", ["refresh", "change_state", "people"])
def test_who_stores_what_it_reads_cannot_reach_a_writer_of_tags(command: str) -> None:
    assert not _reached(f"reconciler.cli.{command}") & {"reconciler.highlevel.client", "reconciler.apply"}


def test_one_module_can_ask_for_a_write() -> None:
    """The client alone can spell the bulk request, by the words of `wire`."""
    spelling = [path for path in FILES if "bulk_path" in _text(path)]
    assert [str(path.relative_to(ROOT)) for path in spelling] == ["highlevel/client.py", "wire.py"]
