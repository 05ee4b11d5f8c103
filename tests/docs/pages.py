"""A page of the documentation as a shell script: its files are written, its commands run; exit codes are checked, and
the outputs that stand beside commands.

Rules
1. In a `console` block a line that begins with `$ ` is a command; the lines below it, if any, are what it prints: its
   answer (stdout), or where it has none, what it says (stderr).
2. A line `…` among them stands for any lines. What differs from run to run (times, ids, hashes, versions) is ignored.
3. `pytest --bless` writes anew what is shown: as many lines as stood before a final `…` or after a first one, or all
   where `…` stands alone.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.warm import a_program

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```(console|(?:yaml|csv|text) title="([^"]+)")\n(.*?)^```', re.M | re.S)
CONSOLE = re.compile(r"(?<=^```console\n)(.*?)(?=^```)", re.M | re.S)
PORT = 8787
ANY = "…"

VARIES = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z"), "TIME"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "LINEAGE"),
    (re.compile(r"\b(?:[0-9a-f]{40}|[0-9a-f]{12})\b|(?<=run )[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"\b\d+\.\d+\.\d+\b"), "VERSION"),
    (re.compile(r"\b\d+ (?:ms|s|min)\b"), "DURATION"),
    (re.compile(r"\b1\d\d,\d{3}(?= of them left)"), "LEFT"),
    (re.compile(r"\b(?:linux|darwin|win32)\b"), "SYSTEM"),
    (re.compile(r" {2,}|[ \t]+$"), "  "),
)
"""What differs between two runs of one command, and what it is read as; a column is as wide as what stands in it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page, and the lines that the page shows of what it prints."""

    line: str
    shown: tuple[str, ...]


def commands(page: str) -> Iterator[Command]:
    """Those of all console blocks, in their order."""
    for block in CONSOLE.findall(page):
        yield from _commands(block)


def _commands(block: str) -> Iterator[Command]:
    lines = block.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Command(lines[start].removeprefix("$ "), tuple(lines[start + 1 : end]))


def script(page: str, port: int, told: Path) -> str:
    """Ends at the first command whose exit code is not what the page says; what the n-th one prints is in `told`."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    number = 0
    for kind, path, text in BLOCK.findall(page):
        if kind == "console":
            for command in _commands(text):
                lines += _run(command.line, port, told / str(number))
                number += 1
        else:
            lines += [f"mkdir -p \"$(dirname '{path}')\"", f"cat > '{path}' <<'END-OF-FILE'\n{text}END-OF-FILE"]
    return "\n".join(lines)


def _run(line: str, port: int, told: Path) -> list[str]:
    command, _, note = line.replace(str(PORT), str(port)).partition("    # exit ")
    if command.endswith("&"):
        # with pauses: to ask without an end takes the processor from the server that is to start
        return [command, f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done"]
    failed = f"echo {_quoted(command)}: $code >&2; cat {told}.out {told}.err >&2; exit 99"
    return [
        f"{{ {command}\n}} > {told}.out 2> {told}.err",
        f"code=$?; [ $code = {int(note or 0)} ] || {{ {failed}; }}",
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a page. `printed`: the lines of each command, empty for one in the background."""

    code: int
    problem: str
    printed: tuple[tuple[str, ...], ...]


def play(page: str, directory: Path) -> Played:
    """Runs a page in a directory of its own, with `reconciler` on the PATH."""
    (directory / "bin").mkdir()
    a_program(directory / "bin" / "reconciler")
    for name in ("work", "told"):
        (directory / name).mkdir()
    port = free_port()
    done = subprocess.run(
        ["bash", "-c", script(page, port, directory / "told")],
        cwd=directory / "work",
        env=_environment(directory),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    printed = [_printed(directory / "told" / str(number), port) for number, _ in enumerate(commands(page))]
    return Played(done.returncode, done.stdout[-3000:] + done.stderr[-3000:], tuple(printed))


def _environment(directory: Path) -> dict[str, str]:
    ours = ("RECONCILER_", "CI", "HIGHLEVEL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    person = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "anna")
    return environment | person | {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def _printed(told: Path, port: int) -> tuple[str, ...]:
    texts = [
        path.read_text(encoding="utf-8")
        for end in (".out", ".err")
        if (path := told.with_name(told.name + end)).exists()
    ]
    text = next((text for text in texts if text.strip()), "").replace(str(port), str(PORT))
    return tuple(line.rstrip() for line in text.strip("\n").splitlines())


def is_shown(shown: tuple[str, ...], printed: tuple[str, ...]) -> bool:
    """Whether the page shows what was printed."""
    pattern = "".join(r"(?:.*\n)*?" if line == ANY else re.escape(_steady(line)) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{_steady(line)}\n" for line in printed)) is not None


def _steady(line: str) -> str:
    for found, read_as in VARIES:
        line = found.sub(read_as, line)
    return line.rstrip()


def blessed(page: str, printed: tuple[tuple[str, ...], ...]) -> str:
    """The page with what was printed, where it shows anything of a command and that is not so."""
    answers = iter(printed)

    def block(found: re.Match[str]) -> str:
        lines = []
        for command in _commands(found[0]):
            lines += [f"$ {command.line}", *_shown_anew(command.shown, next(answers))]
        return "".join(f"{line}\n" for line in lines)

    return CONSOLE.sub(block, page)


def _shown_anew(shown: tuple[str, ...], printed: tuple[str, ...]) -> tuple[str, ...]:
    if not shown or (shown != (ANY,) and is_shown(shown, printed)):
        return shown
    if len(shown) > 1 and shown[-1] == ANY:
        return (*printed[: len(shown) - 1], ANY)
    if len(shown) > 1 and shown[0] == ANY:
        return (ANY, *printed[-(len(shown) - 1) :])
    return printed
