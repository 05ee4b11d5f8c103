"""Mistakes in YAML: behind the parser's error, with their place and how to mend them; and those that it lets pass.

Rules
1. The parser's own words stay in the message: a guess is a hint, and stands beside them.
2. The place is that of the mistake where the parser tells it: libyaml notices a quote that is never closed at the end
   of the file, and names where it was opened as the error's context.
3. A mistake that is not recognised keeps the parser's place and gets no hint.

Rules of YAML 1.2 that libyaml, a YAML 1.1 parser, lets pass
4. A comment's `#` follows a blank or starts its line.
5. Lines that continue a quoted text or a flow collection are indented by spaces, deeper than the block they are in;
   only a line of closing brackets may stand at that block's own column, as is usual.
6. A lone `-` in a flow collection is no text.
7. Blank lines at the start of a block text are not longer than its first line is indented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_LONGEST = 60
_NEEDS_QUOTES = "@`%"
_BRACKETS = {"[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in a YAML text; line and column count from 1."""

    line: int
    column: int
    message: str
    """Holds the parser's own words."""
    hint: str = ""
    """Empty where no guess is good enough."""


def find_mistake(error: Any, text: str) -> Mistake:
    """The mistake behind a `yaml.YAMLError` that was raised over the text."""
    problem, context = getattr(error, "problem", None), getattr(error, "context", None)
    message = "not YAML: " + (", ".join(part for part in (problem, context) if part) or "it cannot be read")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Mistake(1, 1, message)
    stop = _ParserStop(text.split("\n"), mark, getattr(error, "context_mark", None) or mark, message)
    # libyaml names few problems, each with several causes; the first guess that fits the lines is taken
    guesses = (guess(stop) for guess in _GUESSES.get(problem or "", ()))
    return next(filter(None, guesses), stop.at(mark, ""))


@dataclass(frozen=True, slots=True)
class _ParserStop:
    """The place where the parser stopped, in the lines of the file."""

    lines: list[str]
    mark: Any
    began: Any
    """The beginning of the construct that the parser was reading."""
    message: str

    def line(self, number: int) -> str:
        """A line by its number from 0, without its end."""
        return self.lines[number].rstrip("\r") if 0 <= number < len(self.lines) else ""

    def at(self, mark: Any, hint: str) -> Mistake:
        return Mistake(mark.line + 1, mark.column + 1, self.message, hint)

    def line_before(self) -> int:
        """The number of the last line before the error that is not blank."""
        number: int = self.mark.line - 1
        while number > 0 and not self.line(number).strip():
            number -= 1
        return number


def _tab_indents(stop: _ParserStop) -> Mistake | None:
    line = stop.line(stop.mark.line)
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" not in indentation[: stop.mark.column + 1]:
        return None
    return stop.at(stop.mark, "a tab indents this line: YAML is indented by spaces")


def _unquoted_start(stop: _ParserStop) -> Mistake | None:
    text = stop.line(stop.mark.line)[stop.mark.column :]
    if text[:1] not in _NEEDS_QUOTES or not text:
        return None
    word = re.split(r"[,\]}]|\s#", text)[0].strip()
    return stop.at(stop.mark, f"a text that begins with {text[0]!r} needs quotes: {_quote_text(_shorten_text(word))}")


def _missing_colon_above(stop: _ParserStop) -> Mistake | None:
    number = stop.line_before()
    # the parser notices a lost colon at the next line that has one
    above = stop.line(number).strip().removeprefix("- ")
    if ":" in above or "#" in above or not above or stop.mark.line == number:
        return None
    column = len(stop.line(number)) - len(stop.line(number).lstrip()) + 1
    return Mistake(number + 1, column, stop.message, _no_colon(above))


def _second_colon(stop: _ParserStop) -> Mistake | None:
    key, colon, value = stop.line(stop.mark.line).strip().partition(": ")
    if not colon or ": " not in f"{value} ":
        return None
    return stop.at(
        stop.mark, f"the text after {_quote_text(_shorten_text(key))} holds ': ', and needs quotes around it"
    )


def _missing_colon_here(stop: _ParserStop) -> Mistake | None:
    line = stop.line(stop.began.line).strip()
    glued = re.fullmatch(r"([\w-]+):(\S.*)", line)
    if glued:
        return stop.at(stop.began, f"a blank is missing after the colon of {_quote_text(_shorten_text(glued[1]))}")
    if not line or ":" in line:
        return None
    return stop.at(stop.began, _no_colon(line))


def _no_colon(line: str) -> str:
    """A hint that names the key only."""
    # the text beside it may be a secret
    return f"a colon is missing after {_quote_text(_shorten_text(line.split()[0]))}"


def _open_quote(stop: _ParserStop) -> Mistake | None:
    quote = stop.line(stop.began.line)[stop.began.column : stop.began.column + 1]
    return stop.at(stop.began, f"the quote {quote} that opens here is never closed: close it, or leave it out")


def _comment_in_brackets(stop: _ParserStop) -> Mistake | None:
    """A `#` after a bracket, a comma or a blank hides the rest of its line, the closing bracket with it."""
    for number in range(stop.mark.line, -1, -1):
        match = re.search(r"[\[{,\s]#(\S+?)[,\]}\s]", stop.line(number) + " ")
        if match:
            word = _quote_text("#" + _shorten_text(match[1]))
            hint = f"`#` begins a comment, which hides the rest of the line: quote it: {word}"
            return Mistake(number + 1, match.start() + 2, stop.message, hint)
        # above the line that opens the bracket, a comment hides none of it
        if _BRACKETS.keys() & set(stop.line(number)):
            return None
    return None


def _open_bracket(stop: _ParserStop) -> Mistake | None:
    opened = stop.line(stop.began.line)[stop.began.column : stop.began.column + 1]
    if opened not in _BRACKETS:
        return None
    return stop.at(stop.began, f"the {opened} that opens here is not closed by a {_BRACKETS[opened]} before this")


def _quote_in_quotes(stop: _ParserStop) -> Mistake | None:
    before = stop.line(stop.mark.line)[: stop.mark.column].rstrip()
    if before[-1:] not in ("'", '"') or not before:
        return None
    outer = '"' if before[-1] == "'" else "'"
    return stop.at(stop.mark, f"the text ended at the quote before this: write {outer} around a text that holds one")


def _glued_to_quote(stop: _ParserStop) -> Mistake | None:
    """As `_quote_in_quotes`, where a text that follows apart is a comma that was left out."""
    glued = stop.line(stop.mark.line)[: stop.mark.column][-1:] in ("'", '"')
    return _quote_in_quotes(stop) if glued and stop.mark.column else None


def _uneven_keys(stop: _ParserStop) -> Mistake | None:
    column = stop.mark.column + 1
    if stop.line(stop.mark.line)[: stop.mark.column].strip():
        return None
    hint = f"the keys of one mapping begin in one column: this one begins in column {column}, "
    return stop.at(stop.mark, f"{hint}the first one (line {stop.began.line + 1}) in column {stop.began.column + 1}")


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


_COMMENT = re.compile(r"[ \t]+#")
_CLOSING = re.compile(r"[ \t]*[\]}]+[ \t,]*(?:#.*)?\r?")
_HEADER = re.compile(r"[|>][^\n]*")

COMMENT = "a comment must be set off by a blank: ` #`"
_BLANK = "a blank line longer than the indentation of the text"
_INDENT = "a line that continues {text} must be indented by spaces, deeper than the block it is in"


class Strictness:
    """The checks of YAML 1.2 over one text; each returns None, or a sentence on the fault."""

    def __init__(self, text: str) -> None:
        self._text = text
        # most texts have no comment; then none is looked for behind each value
        self._hashes = "#" in text

    def has_comment_behind(self, end: int) -> bool:
        """Whether a comment follows on the line of a value that ends at `end`."""
        return self._hashes and _COMMENT.match(self._text, end) is not None

    def find_stray_comment(self, start: int, end: int) -> int:
        """The first `#` between two values that neither follows a blank nor starts its line; -1 if there is none."""
        if not self._hashes or start >= end:
            return -1
        at = self._text.find("#", start, end)
        while at >= 0:
            # only the first `#` of a line matters: the others stand in its comment
            if at > 0 and self._text[at - 1] not in " \t\n":
                return at
            line_end = self._text.find("\n", at, end)
            at = self._text.find("#", line_end, end) if line_end >= 0 else -1
        return -1

    def check_scalar(self, style: str | None, start: Any, end: Any, indent: int) -> str | None:
        """Checks a scalar that is quoted, a block, or a lone dash."""
        if style in ("'", '"'):
            return self._check_continued(start.index, end.index, indent, "a quoted text")
        if style in ("|", ">"):
            return self._check_block(start.index, indent)
        return "a lone `-` is no text here: quote it"

    def check_flow(self, start: int, end: int, indent: int) -> str | None:
        """Checks a flow collection from its opening to its closing bracket."""
        lines = self._text[start:end].split("\n")[1:]
        margin = " " * (indent + 1)
        for line in lines:
            if line.startswith(margin) or not line.strip() or line.lstrip().startswith("#"):
                continue
            # YAML 1.2 forbids it, but a closing bracket at the block's own column is the common style
            if line.startswith(margin[1:]) and _CLOSING.fullmatch(line):
                continue
            return _INDENT.format(text="a list or mapping in brackets")
        return None

    def _check_continued(self, start: int, end: int, indent: int, kind: str) -> str | None:
        if "\n" not in self._text[start:end]:
            return None
        margin = " " * (indent + 1)
        lines = self._text[start:end].split("\n")[1:]
        if all(line.startswith(margin) or not line.strip() for line in lines):
            return None
        return _INDENT.format(text=kind)

    def _check_block(self, start: int, outer: int) -> str | None:
        match = _HEADER.match(self._text, start)
        header = match.group() if match else ""
        if self.find_stray_comment(start, start + len(header)) >= 0:
            return COMMENT
        # a header such as `|2` states the indentation: nothing is inferred from the first line
        if any(char.isdigit() for char in header.split("#")[0]):
            return None
        longest = 0
        for line in _lines_from(self._text, start + len(header) + 1):
            if line.strip():
                indent = len(line) - len(line.lstrip(" "))
                return _BLANK if longest > indent > outer else None
            longest = max(longest, len(line.rstrip("\r")))
        return None


def _lines_from(text: str, start: int) -> Iterator[str]:
    while start < len(text):
        end = text.find("\n", start)
        yield text[start : end if end >= 0 else len(text)]
        start = end + 1 if end >= 0 else len(text)
