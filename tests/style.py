"""Counts how the product is written: `python -m tests.style` prints each figure beside its limit and its goal.

`python -m tests.style reconciler/store reconciler/wire.py` counts these alone; `--list` prints where each vague word
and each empty name stands. Only the product's own files count, not the tests. A word is a run of letters; a line is
one that is not blank.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent / "reconciler"

VAGUE = frozenset({
    "what", "who", "whom", "whose", "whoever", "whatever", "nobody", "somebody", "anybody", "everybody", "something",
    "anything", "besides", "thereof",
})  # fmt: skip
"""Words that leave the subject of a sentence to the reader."""

EMPTY = frozenset({
    "each", "found", "told", "left", "known", "one", "rest", "other", "others", "some", "whole", "mine", "thing",
    "things",
})  # fmt: skip
"""Names that say nothing of the value that they are bound to."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    path: Path
    text: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def lines(self) -> int:
        return sum(bool(line.strip()) for line in self.text.splitlines())

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.tree.body if isinstance(node, ast.ClassDef)]


def modules(*places: Path) -> list[Module]:
    paths = [
        path for place in places or [ROOT] for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))
    ]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    return [Module(path, text, ast.parse(text)) for path, text in texts.items()]


def vague_words(product: Iterable[Module]) -> float:
    """Of a thousand words of docstrings, those that are vague."""
    words = [word for module in product for _, text in _docstrings(module) for word in re.findall(r"[a-z]+", text)]
    return 1000 * sum(word in VAGUE for word in words) / len(words)


def _docstrings(module: Module) -> Iterator[tuple[int, str]]:
    """Each with its line, in lower case and without code: of modules, classes, functions, constants and fields."""
    for node in module.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, re.sub(r"`[^`]*`", "", node.value.value).lower()


def empty_names(product: Iterable[Module]) -> float:
    """Of a hundred names that are bound in functions, those that say nothing."""
    names = [name for module in product for _, name in _bound_names(module)]
    return 100 * sum(name in EMPTY for name in names) / len(names)


def _bound_names(module: Module) -> Iterator[tuple[int, str]]:
    for node in module.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def functions_of_one_word(product: Iterable[Module]) -> float:
    """Of a hundred functions and methods, those whose name is one word."""
    names = [each.name.strip("_") for module in product for each in module.functions if not each.name.startswith("__")]
    return 100 * sum("_" not in name for name in names) / len(names)


def shared_class_names(product: Iterable[Module]) -> int:
    """Public classes that have the name of another one."""
    names = Counter(each.name for module in product for each in module.classes if not each.name.startswith("_"))
    return sum(count for count in names.values() if count > 1)


def modules_in_ing(product: Iterable[Module]) -> int:
    return sum(module.path.stem.endswith("ing") for module in product)


def comments(product: Iterable[Module]) -> float:
    """Comments of a hundred lines that can be reasons: one that goes on is one, a directive to a tool is none, and none
    is one above a field, which says what the field is."""
    product = list(product)
    return 100 * sum(map(_comments, product)) / sum(module.lines for module in product)


def _comments(module: Module) -> int:
    rows = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline)
        if token.type == tokenize.COMMENT and not re.match(r"# (noqa|type:|fmt:)", token.string)
    }
    fields = {node.lineno for defined in module.classes for node in defined.body if isinstance(node, ast.AnnAssign)}
    ends = [row for row in rows if row + 1 not in rows]
    return sum(row + 1 not in fields for row in ends)


def dicts_of_anything(product: Iterable[Module]) -> int:
    """`Mapping[str, Any]` and `dict[str, Any]` in the signatures of functions."""
    return sum(len(_ANYTHING.findall(_signature(each))) for module in product for each in module.functions)


_ANYTHING = re.compile(r"\b(?:Mapping|dict)\[str, Any\]")


def _signature(function: Function) -> str:
    return ast.unparse(function.args) + (f" -> {ast.unparse(function.returns)}" if function.returns else "")


def cli_lines_without_click(product: Iterable[Module]) -> int:
    """Lines of the modules of the command line that have nothing to do with click: they belong to operations."""
    cli = [module for module in product if "cli" in module.path.parts]
    return sum(module.lines for module in cli if not re.search(r"^(import|from) click\b", module.text, re.M))


def fields_of_the_largest_mutable_class(product: Iterable[Module]) -> int:
    classes = (each for module in product for each in module.classes if not _is_frozen(each))
    return max((len(_fields(each)) for each in classes), default=0)


def _is_frozen(defined: ast.ClassDef) -> bool:
    """Whether it is frozen, or holds no state of its own: a Protocol, an enumeration, a model that reads a file."""
    if not any("dataclass" in ast.unparse(decorator) for decorator in defined.decorator_list):
        return True
    return any("frozen=True" in ast.unparse(decorator) for decorator in defined.decorator_list)


def _fields(defined: ast.ClassDef) -> set[str]:
    return {
        node.target.id for node in defined.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def attributes_assigned_from_outside(product: Iterable[Module]) -> int:
    """`thing.attribute = …` where no class of the same module has the attribute."""
    return sum(len(list(_assigned_from_outside(module))) for module in product)


def _assigned_from_outside(module: Module) -> Iterator[ast.Attribute]:
    classes = [node for node in module.nodes if isinstance(node, ast.ClassDef)]
    own = {name for each in classes for name in _fields(each)} | {
        node.attr for each in classes for node in ast.walk(each) if _is_set_on(node, "self")
    }
    for node in module.nodes:
        is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node, ast.Attribute) and is_set and not _is_set_on(node, "self") and node.attr not in own:
            yield node


def _is_set_on(node: ast.AST, name: str) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    )


MOST_LINES = 300
"""More than this is a long module."""


def long_modules(product: Iterable[Module]) -> float:
    """Of a hundred modules, those that are long."""
    lengths = [len(module.text.splitlines()) for module in product]
    return 100 * sum(length > MOST_LINES for length in lengths) / len(lengths)


def median_lines(product: Iterable[Module]) -> float:
    return statistics.median(len(module.text.splitlines()) for module in product)


def longest_function(product: Iterable[Module]) -> int:
    return max(_length(each) for module in product for each in module.functions)


def long_functions(product: Iterable[Module]) -> int:
    """The length that nine of ten functions do not exceed."""
    lengths = sorted(_length(each) for module in product for each in module.functions)
    return lengths[len(lengths) * 9 // 10]


def _length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


@dataclass(frozen=True)
class Figure:
    """`limit`: the product is held to it; a commit that lets it grow says why. `goal`: where it is to end."""

    name: str
    count: Callable[[list[Module]], float]
    limit: float
    goal: float
    at_least: bool = False

    def allows(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


FIGURES = [
    Figure("vague words of 1,000 in docstrings", vague_words, 5, 5),
    Figure("empty names of 100 that are bound", empty_names, 2, 2),
    Figure("functions of one word of 100", functions_of_one_word, 50, 50),
    Figure("public classes that share a name", shared_class_names, 0, 0),
    Figure("modules that end in -ing", modules_in_ing, 0, 6),
    Figure("comments of 100 lines", comments, 3, 3, at_least=True),
    Figure("dictionaries of anything in signatures", dicts_of_anything, 0, 0),
    Figure("lines of cli without click", cli_lines_without_click, 150, 150),
    Figure("fields of the largest mutable class", fields_of_the_largest_mutable_class, 15, 15),
    Figure("attributes assigned from outside", attributes_assigned_from_outside, 0, 0),
    Figure("modules of more than 300 lines of 100", long_modules, 16.5, 0),
    Figure("median lines of a module", median_lines, 200, 200),
    Figure("longest function, lines", longest_function, 53, 53),
    Figure("function of the ninth decile, lines", long_functions, 15, 15),
]


def vague_places(product: Iterable[Module]) -> Iterator[str]:
    """Where each vague word of a docstring stands, and each empty name: `path:line: word`."""
    for module in product:
        for line, text in _docstrings(module):
            yield from (f"{module.path}:{line}: {word}" for word in re.findall(r"[a-z]+", text) if word in VAGUE)
        yield from (f"{module.path}:{line}: {name}" for line, name in _bound_names(module) if name in EMPTY)


def main() -> None:
    product = modules(*(Path(name) for name in sys.argv[1:] if name != "--list"))
    for figure in FIGURES:
        sign = "≥" if figure.at_least else "≤"
        sys.stdout.write(
            f"{figure.name:42} {figure.count(product):7.1f}  {sign} {figure.limit:g}  goal {figure.goal:g}\n"
        )
    if "--list" in sys.argv:
        sys.stdout.writelines(f"{place}\n" for place in vague_places(product))


if __name__ == "__main__":
    main()
