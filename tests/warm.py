"""Python that begins warm: a process imports once what commands need, and forks for each of them.

A command line imports for half a second what it then works with for some milliseconds. Behind the words
`the_product()`, in place of `sys.executable`, it runs in a process of its own all the same: with its id, arguments,
directory, environment, streams and end. What is about start-up, imports, signals or an installation begins cold.

Rules
1. `-m NAME`, `-c CODE` and `PATH` are understood, as Python does; of its variables PYTHONPATH alone.
2. Where whoever asks is ended, what runs for it gets SIGTERM.
3. The process that forks has one thread, and ends with the one that started it.
"""

from __future__ import annotations

import atexit
import gc
import marshal
import os
import runpy
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from selectors import EVENT_READ, DefaultSelector
from socket import AF_UNIX, recv_fds, socket
from tempfile import mkdtemp
from types import ModuleType

ROOT = Path(__file__).parents[1]
MOST = 1 << 20
"""Bytes of a request: arguments, a directory and an environment."""


def the_product(*more: str) -> tuple[str, ...]:
    """Words that begin a Python which has imported the whole product, and more modules."""
    return with_imported("reconciler", *more)


def a_program(place: Path) -> None:
    """Writes a program there that is `reconciler`, warm, wherever it is called."""
    place.write_text(f'#!/bin/sh\nexec {shlex.join(the_product())} -m reconciler "$@"\n')
    place.chmod(0o755)


@cache
def with_imported(*modules: str) -> tuple[str, ...]:
    """Words that begin a Python which has imported these modules, and all that is in those that are packages."""
    if not hasattr(os, "fork"):
        return (sys.executable,)
    address = Path(mkdtemp()) / "warm"
    # -P: the files beside this one are no modules by themselves
    command = [sys.executable, "-P", __file__, str(address), *modules]
    path = os.pathsep.join([str(ROOT), *(each for each in sys.path if each)])
    forking = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    # a worker that is ended otherwise ends it too, as its end of stdin is closed then
    atexit.register(forking.communicate)
    assert forking.stdout is not None
    assert forking.stdout.readline() == b"listens\n", "nothing is warm"
    return (sys.executable, "-IS", str(Path(__file__).with_name("ask_warm.py")), str(address))


# the process that forks


def _serve(address: str) -> None:
    """Has a child for each request, until nobody holds the other end of stdin."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    asking: dict[int, socket] = {}
    with socket(AF_UNIX) as listening, DefaultSelector() as selector:
        listening.bind(address)
        listening.listen(64)
        for what in (0, woken, listening):
            selector.register(what, EVENT_READ)
        sys.stdout.write("listens\n")
        sys.stdout.flush()
        while True:
            for key, _ in selector.select():
                if key.fileobj == 0:
                    for child in asking:
                        os.kill(child, signal.SIGKILL)
                    return
                if key.fileobj == woken:
                    os.read(woken, MOST)
                    _tell_ends(asking, selector)
                elif key.fileobj is listening:
                    who, _ = listening.accept()
                    asking[_fork(who)] = who
                    selector.register(who, EVENT_READ)
                else:
                    # nobody asks for it any more
                    for child in [child for child, who in asking.items() if who is key.fileobj]:
                        os.kill(child, signal.SIGTERM)
                        selector.unregister(asking[child])


def _tell_ends(asking: dict[int, socket], selector: DefaultSelector) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            child, status = ended
            with asking.pop(child) as who, suppress(OSError, KeyError):
                who.send(status.to_bytes(4))
                selector.unregister(who)


def _fork(who: socket) -> int:
    request, streams, _, _ = recv_fds(who, MOST, 3)
    if child := os.fork():
        for stream in streams:
            os.close(stream)
        return child
    code = 1
    try:
        _become(streams, *marshal.loads(request))
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:  # noqa: BLE001  as Python does with what nobody catches
        sys.excepthook(*sys.exc_info())
    else:
        code = 0
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _become(streams: list[int], directory: bytes, environment: dict[bytes, bytes], arguments: list[str]) -> None:
    """Runs what is asked for, in the place of who asks."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 256)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(directory)
    os.environ.clear()
    os.environb.update(environment)
    time.tzset()
    more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in more if path and path not in sys.path]
    how, *rest = arguments
    if how == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(how, run_name="__main__")


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    sys.stderr.write(f"{error.code}\n")
    return 1


def main() -> None:
    address, *modules = sys.argv[1:]
    for module in modules:
        _walk(import_module(module))
    # who looks for garbage would write to all the pages that the processes share
    gc.collect()
    gc.freeze()
    _serve(address)
    Path(address).unlink()
    Path(address).parent.rmdir()


def _walk(module: ModuleType) -> None:
    for found in walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
        # what needs an extra that is not there is not warm
        if not found.name.endswith("__main__"):
            with suppress(ImportError):
                import_module(found.name)


if __name__ == "__main__":
    main()
