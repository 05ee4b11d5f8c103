"""Runs the command line as it is, and kills the process at the n-th thing that it does to its state, the disk or the
network: `launch.py NTH LOG ARGUMENTS`. With NTH 0 it lives; LOG then lists what it did, a line each.

What it does is seen as a profiler sees it: every call of SQLite, a socket or the file system that Python makes, before
it and after it. Nothing of the product is replaced.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

SQL = ("execute", "executemany", "executescript", "backup", "close")
NETWORK = ("connect", "send", "recv")
DISK = ("fsync", "replace", "rename", "mkdir")
WATCHED = {*SQL, *NETWORK, *DISK}
SIDES = {"c_call": "before", "c_return": "after"}


class Watch:
    """Counts what is done, and ends it all at the `nth`."""

    def __init__(self, nth: int, log: Path) -> None:
        self.nth, self.log = nth, log
        self.done: list[str] = []

    def __call__(self, frame: FrameType, event: str, call: Any) -> None:
        # a run makes some hundred thousand calls: most are told by their names to touch nothing
        if event not in SIDES or getattr(call, "__name__", "") not in WATCHED or not (what := _what(frame, call)):
            return
        self.done.append(f"{SIDES[event]} {what}")
        if len(self.done) == self.nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(self) -> None:
        self.log.write_text("\n".join(self.done))


def _what(frame: FrameType, call: Any) -> str:
    """What a call touches, and from where; empty for what touches nothing."""
    name, owner = getattr(call, "__name__", ""), getattr(call, "__self__", None)
    touches = (
        (name in SQL and isinstance(owner, sqlite3.Connection))
        or (name in NETWORK and isinstance(owner, socket.socket) and owner.family == socket.AF_INET)
        or (name in DISK and owner is not None and getattr(owner, "__name__", "") == os.name)
    )
    where = Path(frame.f_code.co_filename)
    return f"{name} {where.name}:{frame.f_lineno}" if touches and "<frozen" not in str(where) else ""


def main() -> None:
    nth, log, *arguments = sys.argv[1:]
    watch = Watch(int(nth), Path(log))
    # what is imported from here on is imported quickly: nobody watches
    import httpx  # noqa: F401

    import reconciler.cli.apply
    import reconciler.loading.models  # noqa: F401
    from reconciler.cli import run

    threading.setprofile(watch)
    sys.setprofile(watch)
    code = run(arguments)
    sys.setprofile(None)
    watch.tell()
    sys.exit(code)


if __name__ == "__main__":
    main()
