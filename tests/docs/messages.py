"""Every text that the program can say, out of its source: `…` stands for what is filled in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.docs.pages import ROOT

BLANK = "…"


@dataclass(frozen=True, slots=True)
class Text:
    """A text and the module that has it. `raised`: the error whose message it is, where it is written as one."""

    text: str
    module: str
    raised: str = ""


def texts(like: str = "", *, named: str = "") -> Iterator[Text]:
    """Those of all modules (of a text that is put together its parts), or of the modules that name something.

    Those that share most with what is looked for come first: a module is parsed when it has its turn.
    """
    words = {*re.findall(r"[^\W\d_]{3,}", like), *re.findall(r"(?=\b(\w+ \w+)\b)", like)}
    found = [module for module, source in _sources().items() if named in source]
    for module in sorted(found, key=lambda module: -sum(word in _sources()[module] for word in words)):
        yield from texts_of(module)


def modules(place: str) -> list[str]:
    return [module for module in _sources() if module.startswith(place)]


@cache
def _sources() -> dict[str, str]:
    paths = sorted((ROOT / "reconciler").rglob("*.py"))
    return {str(path.relative_to(ROOT / "reconciler")): path.read_text(encoding="utf-8") for path in paths}


@cache
def texts_of(module: str) -> list[Text]:
    return list(_find_texts(module))


def _find_texts(module: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(_sources()[module])):
        if isinstance(node, ast.Call) and node.args and (text := _text(node.args[0])):
            yield Text(text, module, _name(node.func))
        elif text := _text(node):
            yield Text(text, module)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or BLANK for part in node.values)
    return ""


def says(text: str, quoted: str) -> bool:
    """Whether a quoted message is this text, with `…` for one or more parts of it, or a status of HTTP for one."""
    return _pattern(quoted).fullmatch(text) is not None


@cache
def _pattern(quoted: str) -> re.Pattern[str]:
    quoted = re.sub(r"\b[45]\d\d\b", BLANK, quoted)
    return re.compile(".*".join(re.escape(part) for part in quoted.split(BLANK)), re.S)
