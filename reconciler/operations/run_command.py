"""Runs a program and keeps what it prints, within bounds: `run_command(command, stop) -> BinaryIO`.

Rules
1. No shell; nothing on its input. It leads a process group of its own, which is ended as a whole however the program
   ended (at its time-out, when it prints too much, when it is stopped, and when it ended well, too): SIGTERM, then
   SIGKILL. No process of its group goes on, and nobody waits for what may still hold the output open.
2. What it prints goes to a file without a name that only its owner may read, as it comes; memory has some hundred
   kilobytes of it.
3. Of its errors the last lines are kept. They are text from outside: who shows them makes them harmless.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import BinaryIO, cast

from reconciler.core.model.safe_text import quoted

LINES_KEPT = 20
_ERRORS_KEPT = 64 * 1024
_BLOCK = 1024 * 1024
_TICK_S = 0.1
"""So often it is seen whether the program has ended, or is to be stopped."""
GRACE_S = 5.0
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments and surroundings, and the bounds that it is held to."""

    words: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = field(repr=False)
    timeout_s: float
    most_bytes: int
    grace_s: float = GRACE_S
    """The time between SIGTERM and SIGKILL, and the time that a process left behind may hold the output open."""


class CommandFailed(Exception):
    """A program that did not print all that it had to; `errors`: the last lines that it wrote on its standard error."""

    def __init__(self, reason: str, errors: Sequence[str] = (), *, hint: str = "") -> None:
        super().__init__(reason)
        self.errors = tuple(errors)
        self.hint = hint


def run_command(command: Command, stop: Event) -> BinaryIO:
    """What the program printed, at its start; raises CommandFailed. Once `stop` is set, the program is ended."""
    try:
        kept = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (it is the result)
    except OSError as error:
        raise CommandFailed(f"what it prints cannot be kept: {error.strerror}") from None
    try:
        _Run(command, stop, kept).carry_out()
    except BaseException:
        kept.close()
        raise
    kept.seek(0)
    return kept


class _Run:
    """One run of a program."""

    def __init__(self, command: Command, stop: Event, kept: BinaryIO) -> None:
        self._command = command
        self._stop = stop
        self._kept = kept
        self._printed = 0
        self._errors = b""

    def carry_out(self) -> None:
        process = self._start()
        try:
            self._collect(process)
            self._judge_end(process)
        finally:
            # after a good end, too: a process in the background would go on unseen
            self._end_group(process)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def _start(self) -> subprocess.Popen[bytes]:
        command = self._command
        try:
            return subprocess.Popen(
                list(command.words),
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=command.directory,
                env=dict(command.environment),
                start_new_session=True,
            )
        except FileNotFoundError:
            words = "[psql, --csv, -v, ON_ERROR_STOP=1, --file, vips.sql]"
            hint = f"a command is a program and its arguments, each a word of its own: {words}"
            raise CommandFailed(f"there is no program {quoted(command.words[0])}", hint=hint) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise CommandFailed(f"{quoted(command.words[0])} cannot be run: {reason}") from None

    def _collect(self, process: subprocess.Popen[bytes]) -> None:
        """Reads until the output ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        began, ended = time.monotonic(), 0.0
        with selectors.DefaultSelector() as selector:
            # both are read: a program waits where one of its pipes is full
            selector.register(process.stdout, selectors.EVENT_READ, self._keep_output)
            selector.register(process.stderr, selectors.EVENT_READ, self._keep_errors)
            while process.stdout.fileno() in selector.get_map():
                ready = selector.select(_TICK_S)
                for key, _ in ready:
                    if not key.data(os.read(key.fd, _BLOCK)):
                        selector.unregister(key.fileobj)
                now = time.monotonic()
                if self._stop.is_set():
                    raise self._failure("it was stopped")
                if now - began > self._command.timeout_s:
                    raise self._time_out()
                # the program may be gone, and a process that it started hold the output open
                if not ready and process.poll():
                    # it failed, whatever else may come
                    break
                if not ready and process.poll() is not None:
                    ended = ended or now
                    if now - ended > self._command.grace_s:
                        raise self._failure("it ended, and left a process that holds its output open")
        os.set_blocking(process.stderr.fileno(), False)
        self._await_end(process, began + self._command.timeout_s)

    def _keep_output(self, block: bytes) -> bool:
        """Whether more may come."""
        self._printed += len(block)
        most = self._command.most_bytes
        if self._printed > most:
            size = f"{most // MIB:,} MiB" if most >= MIB else f"{most:,} bytes"
            raise self._failure(f"it printed more than {size}", hint="`max_mib` bounds it")
        try:
            self._kept.write(block)
        except OSError as error:
            raise self._failure(f"what it printed cannot be kept: {error.strerror}") from None
        return bool(block)

    def _keep_errors(self, block: bytes) -> bool:
        self._errors = (self._errors + block)[-_ERRORS_KEPT:]
        return bool(block)

    def _await_end(self, process: subprocess.Popen[bytes], until: float) -> None:
        """Waits for a program that has closed its output."""
        assert process.stderr is not None
        while process.poll() is None:
            # a full pipe would keep it from its end
            self._drain_errors(process.stderr.fileno())
            if self._stop.is_set():
                raise self._failure("it was stopped")
            if time.monotonic() > until:
                raise self._time_out()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_TICK_S)
        self._drain_errors(process.stderr.fileno())

    def _drain_errors(self, stream: int) -> None:
        """What is there of errors; their end is not waited for."""
        with suppress(BlockingIOError):
            while self._keep_errors(os.read(stream, _BLOCK)):
                pass

    def _judge_end(self, process: subprocess.Popen[bytes]) -> None:
        code = process.returncode
        if code < 0:
            raise self._failure(f"it was ended by {_name_signal(-code)}")
        if code > 0:
            raise self._failure(f"it ended with exit code {code}")
        if not self._printed:
            hint = "a query without rows prints the line that names its columns"
            raise self._failure("it printed nothing", hint=hint)
        try:
            self._kept.flush()
        except OSError as error:
            raise self._failure(f"what it printed cannot be kept: {error.strerror}") from None

    def _time_out(self) -> CommandFailed:
        return self._failure(f"it did not end within {self._command.timeout_s:g} s", hint="`timeout_s` bounds it")

    def _failure(self, reason: str, *, hint: str = "") -> CommandFailed:
        lines = self._errors.decode("utf-8", "replace").split("\n")
        if len(self._errors) >= _ERRORS_KEPT:
            # its beginning is gone: half a secret could not be told from another word
            del lines[0]
        return CommandFailed(reason, [line.rstrip("\r") for line in lines if line.strip()][-LINES_KEPT:], hint=hint)

    def _end_group(self, process: subprocess.Popen[bytes]) -> None:
        """Ends the program and what it started, as far as that is in its group."""
        # a program that is asked first may end its own: a client cancels its query
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal_group(process.pid, number)
            until = time.monotonic() + (self._command.grace_s if number == signal.SIGTERM else _TICK_S)
            # the program may be gone before those that it started
            while process.poll() is None or _signal_group(process.pid, 0):
                if time.monotonic() > until:
                    break
                time.sleep(_TICK_S / 10)


def _signal_group(group: int, number: int) -> bool:
    """Whether somebody is in the group."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
