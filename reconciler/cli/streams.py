"""The streams of the process, made to outlast their readers and disks.

Rules
1. Progress and errors on stderr never end a command: a run would stop in the midst since the reader of its log has
   gone, or a disk is full. A line that cannot be written there, or not at once where no write may wait, is lost.
2. An answer that cannot be written to stdout ends the command in plain words; if only its reader has gone, in silence.
   Where no write may wait, as in pipes that Node.js makes, it waits until its reader has taken more.
3. A stream that is closed from the start is as good as the null device. Else the next file that is opened, such as a
   database, would have its number, and be written over by lines for the stream.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

_INPUT, _ANSWERS, _LOG = range(3)


class AnswerLost(OSError):
    """Raised where stdout takes no more, though its reader is there."""

    @property
    def message(self) -> str:
        return f"the answer cannot be written to the standard output: {self.strerror}"


class _Answers(FileIO):
    def write(self, data: Any, /) -> int:
        try:
            while (written := _write(self, data)) is None:
                _await_room(self)
            return written
        except BrokenPipeError:
            raise
        except OSError as error:
            raise AnswerLost(error.errno, error.strerror) from None


class _Log(FileIO):
    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        try:
            written = _write(self, data)
        except OSError:
            return size
        return size if written is None else written


def _await_room(file: FileIO) -> None:
    # such a pipe is rare, and `--help` imports nothing that it need not
    import select

    select.select([], [file], [])


def _write(file: FileIO, data: Any) -> int | None:
    """The bytes that were written; None where there is no room for one now, and no write may wait."""
    return FileIO.write(file, data)


@contextmanager
def secure_streams() -> Iterator[None]:
    """Puts streams that keep the rules in the place of Python's."""
    if sys.platform == "win32":  # where the console takes text, and no bytes
        yield
        return
    _fill_closed()
    answers = _open_text(_Answers(_ANSWERS, "w", closefd=False), sys.stdout)
    log = _open_text(_Log(_LOG, "w", closefd=False), sys.stderr, errors="backslashreplace")
    with redirect_stdout(answers), redirect_stderr(log):
        yield


def _fill_closed() -> None:
    for number in (_INPUT, _ANSWERS, _LOG):
        try:
            os.fstat(number)
        except OSError:
            # the lowest number that is free: this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def can_ask() -> bool:
    """Whether a person is at the other end of stdin, which Python leaves out where it was closed from the start."""
    return sys.stdin is not None and sys.stdin.isatty()


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
