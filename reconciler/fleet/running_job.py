"""A job in its thread, and the words of a worker about its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from reconciler.fleet import FORMAT_VERSION
from reconciler.fleet.queue import queue_of
from reconciler.fleet.rows import JobEnd, OpenCount
from reconciler.output.blocks import counted
from reconciler.output.fleet import JobStatus
from reconciler.request_gate import Stop


@dataclass(slots=True)
class RunningJob:
    """A job in its thread; `loop` is that of the thread, as soon as there is one."""

    stop: Stop = field(default_factory=Stop)
    loop: asyncio.AbstractEventLoop | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def ask(self, ask: Callable[[Stop], None]) -> None:
        # before its loop is there, nothing of the job listens yet
        if self.loop is None:
            ask(self.stop)
        else:
            # its loop may have ended meanwhile
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(ask, self.stop)


def describe_left_queued(counts: Sequence[OpenCount], commit: str) -> list[str]:
    """A line for each commit and format with jobs that a worker at `commit` leaves queued."""
    own = queue_of(commit)
    left = [count for count in counts if count.queued and queue_of(count.commit, count.format_version) != own]
    return [
        f"left queued: {counted(count.queued, 'job')} of commit {count.commit[:12]}, format {count.format_version}; "
        f"taken here is commit {commit[:12]}, format {FORMAT_VERSION}"
        for count in left
    ]


def describe_end(end: JobEnd) -> str:
    # that of a try that is tried again is not the job's
    told = end.exit_code is not None and end.status is not JobStatus.QUEUED
    code = f" with exit code {end.exit_code}" if told else ""
    return f"{end.status}{code}{f': {end.note}' if end.note else ''}"


def ignore_late_ends(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Passes over the engine's words on a job that was taken over before its end, or on a database that is away."""
    if type(context.get("exception")).__module__.partition(".")[0] not in ("procrastinate", "psycopg", "psycopg_pool"):
        loop.default_exception_handler(context)
