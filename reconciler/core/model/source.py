"""Where a value was written."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLACE = re.compile(r"(.+?):([1-9][0-9]*)(?::([1-9][0-9]*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A place in a file: path as the user would type it, line and column from 1 (0: the whole file)."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}" if self.column else f"{self.path}:{self.line}"

    @classmethod
    def parse(cls, text: str) -> Source:
        """The inverse of `str` where line and column are given; else a path that ends in `:7` is taken for a line."""
        found = _PLACE.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3] or 0)) if found else cls(text)
