"""From the YAML parser's error to the mistake that a person made: where it stands, and how to mend it.

Rules
1. The parser's own words stay in the message: a guess is a hint, and stands beside them.
2. The place is that of the mistake where the parser tells it: libyaml notices a quote that is never closed at the end
   of the file, and names where it was opened as the error's context.
3. A mistake that is not recognised keeps the parser's place and gets no hint.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LONGEST = 60
_NEEDS_QUOTES = "@`%"
_BRACKETS = {"[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """`line` and `column` count from 1; `message` holds the parser's words; `hint` is empty where nobody can guess."""

    line: int
    column: int
    message: str
    hint: str = ""


def find_mistake(error: Any, text: str) -> Mistake:
    """The mistake behind a `yaml.YAMLError` that was raised over the text."""
    problem, context = getattr(error, "problem", None), getattr(error, "context", None)
    message = "not YAML: " + (", ".join(part for part in (problem, context) if part) or "it cannot be read")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Mistake(1, 1, message)
    scene = _ParserStop(text.split("\n"), mark, getattr(error, "context_mark", None) or mark, message)
    guesses = (guess(scene) for guess in _GUESSES.get(problem or "", ()))
    return next(filter(None, guesses), scene.at(mark, ""))


@dataclass(frozen=True, slots=True)
class _ParserStop:
    """The lines of the file, where the parser stopped, and where what it was reading began."""

    lines: list[str]
    mark: Any
    began: Any
    message: str

    def line(self, number: int) -> str:
        """A line by its number from 0, without its end."""
        return self.lines[number].rstrip("\r") if 0 <= number < len(self.lines) else ""

    def at(self, mark: Any, hint: str) -> Mistake:
        return Mistake(mark.line + 1, mark.column + 1, self.message, hint)

    def line_before(self) -> int:
        """The number of the last line before the error that holds something."""
        number: int = self.mark.line - 1
        while number > 0 and not self.line(number).strip():
            number -= 1
        return number


def _tab_indents(scene: _ParserStop) -> Mistake | None:
    line = scene.line(scene.mark.line)
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" not in indentation[: scene.mark.column + 1]:
        return None
    return scene.at(scene.mark, "a tab indents this line: YAML is indented by spaces")


def _unquoted_start(scene: _ParserStop) -> Mistake | None:
    rest = scene.line(scene.mark.line)[scene.mark.column :]
    if rest[:1] not in _NEEDS_QUOTES or not rest:
        return None
    word = re.split(r"[,\]}]|\s#", rest)[0].strip()
    return scene.at(scene.mark, f"a text that begins with {rest[0]!r} needs quotes: {_quote_text(_shorten_text(word))}")


def _missing_colon_above(scene: _ParserStop) -> Mistake | None:
    number = scene.line_before()
    above = scene.line(number).strip().removeprefix("- ")
    if ":" in above or "#" in above or not above or scene.mark.line == number:
        return None
    column = len(scene.line(number)) - len(scene.line(number).lstrip()) + 1
    return Mistake(number + 1, column, scene.message, _no_colon(above))


def _second_colon(scene: _ParserStop) -> Mistake | None:
    key, colon, value = scene.line(scene.mark.line).strip().partition(": ")
    if not colon or ": " not in f"{value} ":
        return None
    return scene.at(
        scene.mark, f"the text after {_quote_text(_shorten_text(key))} holds ': ', and needs quotes around it"
    )


def _missing_colon_here(scene: _ParserStop) -> Mistake | None:
    line = scene.line(scene.began.line).strip()
    glued = re.fullmatch(r"([\w-]+):(\S.*)", line)
    if glued:
        return scene.at(scene.began, f"a blank is missing after the colon of {_quote_text(_shorten_text(glued[1]))}")
    if not line or ":" in line:
        return None
    return scene.at(scene.began, _no_colon(line))


def _no_colon(line: str) -> str:
    """Names the key only: what stands beside it may be a secret."""
    return f"a colon is missing after {_quote_text(_shorten_text(line.split()[0]))}"


def _open_quote(scene: _ParserStop) -> Mistake | None:
    quote = scene.line(scene.began.line)[scene.began.column : scene.began.column + 1]
    return scene.at(scene.began, f"the quote {quote} that opens here is never closed: close it, or leave it out")


def _comment_in_brackets(scene: _ParserStop) -> Mistake | None:
    """A `#` after a bracket, a comma or a blank hides the rest of its line, the closing bracket with it."""
    for number in range(scene.mark.line, -1, -1):
        found = re.search(r"[\[{,\s]#(\S+?)[,\]}\s]", scene.line(number) + " ")
        if found:
            word = _quote_text("#" + _shorten_text(found[1]))
            hint = f"`#` begins a comment, which hides the rest of the line: quote it: {word}"
            return Mistake(number + 1, found.start() + 2, scene.message, hint)
        if _BRACKETS.keys() & set(scene.line(number)):
            return None
    return None


def _open_bracket(scene: _ParserStop) -> Mistake | None:
    opened = scene.line(scene.began.line)[scene.began.column : scene.began.column + 1]
    if opened not in _BRACKETS:
        return None
    return scene.at(scene.began, f"the {opened} that opens here is not closed by a {_BRACKETS[opened]} before this")


def _quote_in_quotes(scene: _ParserStop) -> Mistake | None:
    before = scene.line(scene.mark.line)[: scene.mark.column].rstrip()
    if before[-1:] not in ("'", '"') or not before:
        return None
    other = '"' if before[-1] == "'" else "'"
    return scene.at(scene.mark, f"the text ended at the quote before this: write {other} around a text that holds one")


def _glued_to_quote(scene: _ParserStop) -> Mistake | None:
    """As `_quote_in_quotes`, where a text that follows apart is a comma that was left out."""
    glued = scene.line(scene.mark.line)[: scene.mark.column][-1:] in ("'", '"')
    return _quote_in_quotes(scene) if glued and scene.mark.column else None


def _uneven_keys(scene: _ParserStop) -> Mistake | None:
    column = scene.mark.column + 1
    if scene.line(scene.mark.line)[: scene.mark.column].strip():
        return None
    hint = f"the keys of one mapping begin in one column: this one begins in column {column}, "
    return scene.at(scene.mark, f"{hint}the first one (line {scene.began.line + 1}) in column {scene.began.column + 1}")


def _quote_text(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def _shorten_text(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


_Guess = Callable[[_ParserStop], Mistake | None]
_IN_BRACKETS: tuple[_Guess, ...] = (_glued_to_quote, _comment_in_brackets, _open_bracket)
_GUESSES: dict[str, tuple[_Guess, ...]] = {
    "found character that cannot start any token": (_tab_indents, _unquoted_start),
    "mapping values are not allowed in this context": (_second_colon, _missing_colon_above),
    "could not find expected ':'": (_missing_colon_here,),
    "found unexpected end of stream": (_open_quote,),
    "did not find expected node content": _IN_BRACKETS,
    "did not find expected ',' or ']'": _IN_BRACKETS,
    "did not find expected ',' or '}'": _IN_BRACKETS,
    "did not find expected key": (_quote_in_quotes, _uneven_keys),
    "did not find expected '-' indicator": (_glued_to_quote, _uneven_keys),
}
"""By the problem that libyaml names, the likelier guess first."""
