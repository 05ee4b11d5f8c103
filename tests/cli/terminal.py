"""A terminal of 80 x 24 on which the real command line runs, and what a person would see on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.warm import the_product

COLUMNS, LINES = 80, 24
PATIENCE_S = 30
ROOT = Path(__file__).parent.parent.parent


@contextmanager
def on_terminal(
    *arguments: str, cwd: Path, columns: int = COLUMNS, signalled: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command whose three streams are a terminal, and our end of it; one that is `signalled` begins cold."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    python = (sys.executable,) if signalled else the_product()
    command = [*python, "-m", "reconciler", *arguments]
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=heed_ctrl_c
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            os.close(ours)
            process.kill()  # one that waits for an answer would wait for ever


def heed_ctrl_c() -> None:
    """Test workers, and jobs in the background, ignore Ctrl-C, and so would whatever they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read_until(terminal: int, words: str) -> str:
    """What is shown until `words` are; all of it where they never are, or nothing more comes for long."""
    shown = b""
    while words.encode() not in shown:
        try:
            if not select.select([terminal], [], [], PATIENCE_S)[0]:
                break
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    return shown.decode()


class Dialogue:
    """A command on the terminal, as its screen shows it (pyte draws it)."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int, pyte: Any) -> None:
        self._process, self._terminal = process, terminal
        self._screen = pyte.HistoryScreen(COLUMNS, LINES, history=10_000)
        self._stream = pyte.Stream(self._screen)

    def wait_for(self, words: str) -> None:
        """Goes on until the command has written these words, or has ended."""
        self._stream.feed(read_until(self._terminal, words))

    def type(self, line: str) -> None:
        os.write(self._terminal, line.encode() + b"\n")

    def ended(self) -> int:
        """The exit code; everything that was shown until then is on the screen."""
        self.wait_for("no such words")
        return self._process.wait(timeout=PATIENCE_S)

    @property
    def lines(self) -> list[str]:
        """What the screen shows, and what has gone off its top."""
        gone = ["".join(line[column].data for column in range(COLUMNS)) for line in self._screen.history.top]
        return [line.rstrip() for line in (*gone, *self._screen.display)]

    @property
    def text(self) -> str:
        """As one text: a line that the terminal folded goes on."""
        return "".join(line.ljust(COLUMNS) if len(line) == COLUMNS else f"{line}\n" for line in self.lines)


@contextmanager
def dialogue(*arguments: str, cwd: Path, pyte: Any) -> Iterator[Dialogue]:
    with on_terminal(*arguments, cwd=cwd) as (process, terminal):
        yield Dialogue(process, terminal, pyte)
