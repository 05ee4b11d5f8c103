"""The parts of a fleet that a scene is made of: processes that are heard, requests that are counted, commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from reconciler.core.model.names import Instant
from reconciler.sandbox.app import App
from reconciler.sandbox.messages import Delivery, Request

PATIENCE_S = int(os.environ.get("FLEET_PATIENCE_S", "240"))
"""More where many locations are tried, or the machine is busy."""


class Process:
    """A command that runs, and what it has said so far; `more` tells of each line and end, of others too."""

    def __init__(self, popen: subprocess.Popen[str], more: threading.Condition) -> None:
        self.popen = popen
        self._said, self._ended, self._more = "", False, more
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self._more:
                self._said += line
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    @property
    def said(self) -> str:
        with self._more:
            return self._said

    def has_said(self, pattern: str) -> bool:
        return re.search(pattern, self.said) is not None

    def wait_for(self, pattern: str, count: int = 1) -> None:
        """Waits until it has said that so often."""
        with self._more:
            self._more.wait_for(lambda: self._ended or len(re.findall(pattern, self._said)) >= count, PATIENCE_S)
            assert len(re.findall(pattern, self._said)) >= count, f"it did not say {pattern!r}:\n{self._said}"

    def kill(self, signum: signal.Signals = signal.SIGKILL) -> None:
        self.popen.send_signal(signum)

    def end(self) -> int:
        return self.popen.wait(PATIENCE_S)


class RequestCount:
    """The requests that reached the emulated API, by which a test finds a moment in the midst of runs."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        """The method and the path of each."""
        self._more = threading.Condition()

    def add(self, request: Request) -> None:
        with self._more:
            self.seen.append(f"{request.method} {request.path}")
            self._more.notify_all()

    def wait_for(self, more: int) -> bool:
        """Whether so many more came before long."""
        with self._more:
            until = len(self.seen) + more
            return self._more.wait_for(lambda: len(self.seen) >= until, PATIENCE_S / 4)


@dataclass(frozen=True)
class CountedNetwork:
    """A location behind its API, whose requests are counted."""

    app: App
    count: RequestCount

    def handle(self, request: Request, now: Instant) -> Delivery:
        self.count.add(request)
        return Delivery(self.app.handle(request, now))


@dataclass(frozen=True)
class EndedCommand:
    """How a command ended in this process, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def another_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The environment of this process is another one."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
