"""The console of a person: the answer on stdout, progress and errors on stderr, and Ctrl-C.

The signals that end a process are handed to an operation that ends in order.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from reconciler.cli.command_record import find_record, for_person, learn_names, provenance
from reconciler.cli.progress_output import Progress, Verbosity, wants_colour
from reconciler.core.model.errors import Interrupted, Severity
from reconciler.core.model.safe_text import json_line, visible
from reconciler.output.document import CommandOutput, Document

if TYPE_CHECKING:
    from reconciler.core.model.events import Event
    from reconciler.core.model.settings import Settings
    from reconciler.core.planning.plan import LocationState
    from reconciler.operations.workspace import Session
    from reconciler.output.blocks import View
    from reconciler.ports import LocationReader
    from reconciler.request_gate import Stop
    from reconciler.telemetry import Telemetry

FILE_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Console:
    """Prints answers, notes and progress; hears of an operation's progress as its Listener."""

    verbosity: Verbosity
    progress: Progress
    telemetry: Telemetry | None = None

    @classmethod
    def open(cls, verbosity: Verbosity) -> Console:
        """The console of a command; its drawing goes away when the command ends, however it ends."""
        progress = Progress(verbosity)
        if (command := click.get_current_context(silent=True)) is not None:
            # an error or an interrupt leaves a clean screen as well
            command.call_on_close(progress.close)
        console = cls(verbosity, progress)
        # a command that is not measured begins without it
        if command is None or not any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
            return console
        from reconciler.cli.telemetry import measure_command

        return replace(console, telemetry=measure_command(command, console.warn))

    def show(self, view: View) -> None:
        from reconciler.output.text import render_text

        width = shutil.get_terminal_size((FILE_WIDTH, 24)).columns if sys.stdout.isatty() else FILE_WIDTH
        colour = wants_colour(self.verbosity.color, sys.stdout)
        self.answer(render_text(view, colour=colour, width=width), colour=colour)

    def answer(self, text: str, *, colour: bool | None = None) -> None:
        self.progress.close()
        find_record().note_answer()
        click.echo(text, nl=False, color=colour)

    def say(self, line: str) -> None:
        """A sentence for people, on stdout."""
        self.answer(f"{visible(for_person(line))}\n")

    def note(self, text: str) -> None:
        """A line for people, on stderr; not when they asked for quiet."""
        if not self.verbosity.quiet:
            self.warn(text)

    def warn(self, *lines: str) -> None:
        """A line for people that quiet does not silence."""
        # a board and a line must not share the screen
        self.progress.close()
        text = "".join(f"{visible(for_person(line))}\n" for line in lines)
        click.echo(json_line({"note": "\n".join(lines)}) if self.verbosity.as_json else text, err=True, nl=False)

    def warn_of_problems(self, session: Session) -> None:
        """Warnings of manifests, settings and variables."""
        for problem in session.problems:
            if problem.severity is not Severity.INFO:
                self.warn(*problem.lines)

    def __call__(self, event: Event, /) -> None:
        self.progress(event)
        if self.telemetry is not None:
            self.telemetry(event)

    def on_manifests(self, directory: Path, /) -> None:
        find_record().set_directory(directory)

    def on_settings(self, settings: Settings, /) -> None:
        learn_names(settings)
        if self.telemetry is not None:
            self.telemetry.set_state(settings.state)

    def on_reading(self, kept: bool, /) -> None:
        find_record().begin_reading(kept=kept)

    def on_asking(self, source: str, /) -> None:
        self.note(f"source {source} is asked")

    def on_source_errors(self, source: str, lines: Sequence[str], /) -> None:
        self.warn(f"source {source} failed; the end of its errors:", *(f"  {line}" for line in lines))

    def on_sending(self) -> None:
        find_record().begin_sending()

    def on_state(self, state: LocationState, reader: LocationReader, /) -> None:
        if self.telemetry is not None:
            self.telemetry.on_state(state, reader)


def make_output(document: Document) -> CommandOutput:
    """The document with the names, provenance and links of the running command."""
    record = find_record()
    return CommandOutput(document, record.names, provenance, record.contact_url, record.complete)


T = TypeVar("T")
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
KEPT = "what was read until then is kept: with --max-age the next one goes on from there"


@contextmanager
def hear_signals(ask: Callable[[int], None]) -> Iterator[None]:
    """Calls `ask` with every signal that ends a process."""
    import asyncio

    loop = asyncio.get_running_loop()
    # only the main thread, of a system that has them, hears of signals
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for signum in SIGNALS:
            loop.add_signal_handler(signum, ask, signum)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for signum in SIGNALS:
                loop.remove_signal_handler(signum)


AT_ONCE = (
    "at once: requests that were under way may have had an effect; the journal has them, and the next `apply` reads "
    "their contacts and settles them"
)


@contextmanager
def stop_by_signals(console: Console, at_once: str = AT_ONCE) -> Iterator[Stop]:
    """A Stop that signals ask: the first lets requests under way end, the second ends the process at once.

    `at_once`: what is then left as it is.
    """
    from reconciler.request_gate import Stop

    stop, signums = Stop(), list[int]()

    def ask(signum: int) -> None:
        if signums:
            # the journal has every intent: an end at once loses nothing
            try:
                console.warn(f"{Interrupted(signum).message} {at_once}")
                sys.stderr.flush()
            finally:
                os._exit(128 + signum)
        signums.append(signum)
        stop.ask(signum)
        console.warn("stopping: nothing more is sent; what is under way ends first (once more: at once)")

    with hear_signals(ask):
        yield stop


async def end_by_signals(reading: Awaitable[T], hint: str = "") -> T:
    """The result of a reading, which a signal ends in order; `hint`: what is kept then. Raises Interrupted."""
    import asyncio

    task, signums = asyncio.current_task(), list[int]()

    def ask(signum: int) -> None:
        signums.append(signum)
        if task is not None:
            task.cancel()

    try:
        with hear_signals(ask):
            return await reading
    except asyncio.CancelledError:
        if signums:
            # cancelled by us: for the caller it is the signal that ended it
            raise Interrupted(signums[0], hint=hint) from None
        raise


def read_line() -> str:
    """The next line that is typed; empty at the end of input. Ctrl-C ends it at once, whenever it comes."""
    if sys.platform == "win32":  # where only sockets can be waited for
        return sys.stdin.readline()
    # a handler of Python's runs between two steps of Python: a signal just before a read begins would wait for a key,
    # so that the wait is for the line or the wake-up, whichever comes first
    with _open_wakeup() as wakeup:
        while sys.stdin not in select.select([sys.stdin, wakeup], [], [])[0]:
            os.read(wakeup, 64)
    return sys.stdin.readline()


@contextmanager
def _open_wakeup() -> Iterator[int]:
    """A file that can be read as soon as a signal has come."""
    reading, writing = os.pipe()
    # a handler must not block where the pipe is full
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
