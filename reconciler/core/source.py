"""Where a value was written."""

from __future__ import annotations

from dataclasses import dataclass


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
        """The inverse of `str`."""
        path, *numbers = text.rsplit(":", 2)
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            return cls(path, int(numbers[0]), int(numbers[1]))
        path, _, line = text.rpartition(":")
        return cls(path, int(line)) if path and line.isdigit() else cls(text)
