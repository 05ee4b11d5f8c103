"""A page of the documentation as a shell script: its files are written, its commands run, its exit codes checked."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```(console|(?:yaml|csv|text) title="([^"]+)")\n(.*?)^```', re.M | re.S)


def script(page: str, port: int) -> str:
    """Ends at the first command whose exit code is not what the page says."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for kind, path, text in BLOCK.findall(page):
        if kind == "console":
            lines += [part for line in text.splitlines() for part in _command(line, port)]
        else:
            lines += [f"mkdir -p \"$(dirname '{path}')\"", f"cat > '{path}' <<'END-OF-FILE'\n{text}END-OF-FILE"]
    return "\n".join(lines)


def _command(line: str, port: int) -> list[str]:
    command, _, note = line.removeprefix("$ ").replace("8787", str(port)).partition("    # exit ")
    if command.endswith("&"):
        return [command, f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do :; done"]
    expected = int(note or 0)
    return [f"{command}\ncode=$?; [ $code = {expected} ] || {{ echo {_quoted(command)}: $code >&2; exit 99; }}"]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run(page: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs a page in a directory of its own, with `reconciler` on the PATH."""
    (directory / "bin").mkdir()
    program = directory / "bin" / "reconciler"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n')
    program.chmod(0o755)
    ours = ("RECONCILER_", "CI", "HIGHLEVEL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    (directory / "work").mkdir()
    return subprocess.run(
        ["bash", "-c", script(page, free_port())],
        cwd=directory / "work",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
