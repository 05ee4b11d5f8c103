"""What YAML 1.2 forbids and libyaml, a YAML 1.1 parser, lets through.

Rules
1. A comment's `#` follows a blank or starts its line.
2. Lines that continue a quoted text or a flow collection are indented by spaces, deeper than the block they are in;
   only a line of closing brackets may stand at that block's own column, as everybody writes it.
3. A lone `-` in a flow collection is no text.
4. Blank lines at the start of a block text are not longer than its first line is indented.

`comment` answers where; the others answer None, or a sentence on what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_COMMENT = re.compile(r"[ \t]+#")
_CLOSING = re.compile(r"[ \t]*[\]}]+[ \t,]*(?:#.*)?\r?")
_HEADER = re.compile(r"[|>][^\n]*")

COMMENT = "a comment must be set off by a blank: ` #`"
_BLANK = "a blank line longer than the indentation of the text"
_INDENT = "a line that continues {what} must be indented by spaces, deeper than the block it is in"


class Strictness:
    """The checks over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._hashes = "#" in text

    def commented(self, end: int) -> bool:
        """Whether a comment follows on the line of a value that ends at `end`."""
        return self._hashes and _COMMENT.match(self._text, end) is not None

    def comment(self, start: int, end: int) -> int:
        """The first `#` between two values that neither follows a blank nor starts its line; -1 if there is none."""
        if not self._hashes or start >= end:
            return -1
        at = self._text.find("#", start, end)
        while at >= 0:
            if at > 0 and self._text[at - 1] not in " \t\n":
                return at
            line_end = self._text.find("\n", at, end)
            at = self._text.find("#", line_end, end) if line_end >= 0 else -1
        return -1

    def scalar(self, style: str | None, start: Any, end: Any, indent: int) -> str | None:
        """A scalar that is quoted, a block, or a lone dash."""
        if style in ("'", '"'):
            return self._continued(start.index, end.index, indent, "a quoted text")
        if style in ("|", ">"):
            return self._block(start.index, indent)
        return "a lone `-` is no text here: quote it"

    def flow(self, start: int, end: int, indent: int) -> str | None:
        """A flow collection from its opening to its closing bracket."""
        lines = self._text[start:end].split("\n")[1:]
        margin = " " * (indent + 1)
        for line in lines:
            if line.startswith(margin) or not line.strip() or line.lstrip().startswith("#"):
                continue
            if line.startswith(margin[1:]) and _CLOSING.fullmatch(line):
                continue
            return _INDENT.format(what="a list or mapping in brackets")
        return None

    def _continued(self, start: int, end: int, indent: int, what: str) -> str | None:
        if "\n" not in self._text[start:end]:
            return None
        margin = " " * (indent + 1)
        lines = self._text[start:end].split("\n")[1:]
        if all(line.startswith(margin) or not line.strip() for line in lines):
            return None
        return _INDENT.format(what=what)

    def _block(self, start: int, outer: int) -> str | None:
        found = _HEADER.match(self._text, start)
        header = found.group() if found else ""
        if self.comment(start, start + len(header)) >= 0:
            return COMMENT
        if any(char.isdigit() for char in header.split("#")[0]):
            return None
        longest = 0
        for line in _lines(self._text, start + len(header) + 1):
            if line.strip():
                indent = len(line) - len(line.lstrip(" "))
                return _BLANK if longest > indent > outer else None
            longest = max(longest, len(line.rstrip("\r")))
        return None


def _lines(text: str, start: int) -> Iterator[str]:
    while start < len(text):
        end = text.find("\n", start)
        yield text[start : end if end >= 0 else len(text)]
        start = end + 1 if end >= 0 else len(text)
