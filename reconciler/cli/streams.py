"""The streams of the process, made to outlast what is at their other ends.

Rules
1. What is told on stderr never ends a command: a run would stop in the midst since the reader of its log has gone, or a
   disk is full. What cannot be written there is lost.
2. An answer that cannot be written to stdout ends the command in plain words; if only its reader has gone, in silence.
3. A stream that is closed from the start is as good as the null device. Else the next file that is opened, such as a
   database, would have its number, and be written over by what was meant for the stream.
"""

from __future__ import annotations

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

_INPUT, _ANSWERS, _LOG = range(3)


class AnswerLost(OSError):
    """Raised where stdout takes no more, for another reason than that its reader has gone."""

    @property
    def message(self) -> str:
        return f"the answer cannot be written to the standard output: {self.strerror}"


class _Answers(FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise AnswerLost(error.errno, error.strerror) from None


class _Log(FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def secure_streams() -> None:
    """Puts streams that keep the rules in the place of Python's."""
    for number in (_INPUT, _ANSWERS, _LOG):
        try:
            os.fstat(number)
        except OSError:
            # the lowest number that is free: this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(_INPUT, closefd=False)  # noqa: SIM115  for as long as the process lasts
    sys.stdout = _open_text(_Answers(_ANSWERS, "w", closefd=False), sys.stdout)
    sys.stderr = _open_text(_Log(_LOG, "w", closefd=False), sys.stderr, errors="backslashreplace")


def drop_answers() -> None:
    """Lets the rest of the answer go to the null device: what is buffered is written once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), _ANSWERS)


def _open_text(file: FileIO, before: object, *, errors: str | None = None) -> TextIOWrapper:
    """A text stream on the file, as the one before it is."""
    return TextIOWrapper(
        BufferedWriter(file),
        encoding=getattr(before, "encoding", "utf-8"),
        errors=errors or getattr(before, "errors", "strict"),
        line_buffering=errors is not None or file.isatty(),
    )
