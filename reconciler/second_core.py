"""A second core: a value is worked out in a process beside this one, which goes on meanwhile.

Rules
1. The value is that of `work`. Where no process is to be had, or it ends without a value, `work` is done here when it
   is asked for; so is one that fails, which then raises its error.
2. A process is forked on Linux alone, where a core is to spare and this process has one thread: a lock of another
   thread would stay locked in the new process for good.
3. The new process shares files and sockets with this one, and touches none: it has no handler of a signal, collects no
   cycles, and ends without a finalizer and without flushing a buffer.
4. It ends with its value, or with the process that began it.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

T = TypeVar("T")
MANY = 50_000
"""Work on so many contacts takes longer than to begin a process."""
_ENDING = {
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE") if name in signal.Signals.__members__
}
"""The signals that end a process; Windows lacks two of them."""


def may_fork() -> bool:
    """Whether a second process is safe, and of use."""
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1


class Beside(Generic[T]):
    """A value that is being worked out; called, it waits for it."""

    def __init__(self, work: Callable[[], T], *, may_fork: Callable[[], bool] = may_fork) -> None:
        """`work`: a function without effects, whose value can be pickled; begun where a process may be forked."""
        self._work = work
        self._values: list[T] = []
        self._forked = _fork(work) if may_fork() else None
        # a process whose value nobody asks for does not outlive it
        self._end = None if self._forked is None else weakref.finalize(self, _end_process, *self._forked)

    def __call__(self) -> T:
        if not self._values:
            self._values.append(self._take())
        return self._values[0]

    def _take(self) -> T:
        if self._forked is None or self._end is None:
            return self._work()
        with os.fdopen(self._forked[1], "rb", closefd=False) as pipe:
            content = pipe.read()
        self._end()
        # what is cut short is no value
        with suppress(EOFError, pickle.UnpicklingError):
            value: T = pickle.loads(content)  # noqa: S301 (of our own making, through a pipe that nobody else has)
            return value
        return self._work()


def _fork(work: Callable[[], object]) -> tuple[int, int] | None:
    """The new process, and the end of a pipe that its value comes from; None where the system has no room for it."""
    reading, writing = os.pipe()
    try:
        with _holding_signals() as masked:
            process = os.fork()
            if process == 0:
                # else its own end would wait for its value for good
                os.close(reading)
                _work_out(work, writing, masked)
    except OSError:
        os.close(reading)
        return None
    finally:
        os.close(writing)
    return process, reading


@contextmanager
def _holding_signals() -> Iterator[set[int]]:
    """Signals wait within it: a new process has no handler before it has a place to end at. Gives those that waited."""
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        with warnings.catch_warnings():
            # Python counts the threads of libraries too; those of numpy's know how to be forked
            warnings.simplefilter("ignore", DeprecationWarning)
            yield {int(each) for each in masked}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def _work_out(work: Callable[[], object], writing: int, masked: set[int]) -> None:
    """The whole course of the new process. `masked`: the signals that wait in it."""
    ended = 1
    try:
        signal.set_wakeup_fd(-1)
        for each in _ENDING:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        gc.disable()
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(work(), pipe, protocol=pickle.HIGHEST_PROTOCOL)
        ended = 0
    finally:
        # before anything of this process is unwound
        os._exit(ended)


def _end_process(process: int, reading: int) -> None:
    os.close(reading)
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(process, 0)
