"""The README is executed: its tour runs line by line, its manifest loads, its exit codes are the program's."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from reconciler.core.model.errors import WORST_FIRST, ExitCode
from reconciler.loading import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _script(tour: str, port: int) -> str:
    """The tour as a shell script that ends at the first line whose exit code is not what the README says."""
    lines = ["trap 'kill $(jobs -p)' EXIT"]
    for line in tour.replace("8787", str(port)).splitlines():
        command, _, note = line.removeprefix("$ ").partition("#")
        expected = int(note.split()[-1]) if note else 0
        if command.rstrip().endswith("&"):
            lines += [command, f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do :; done"]
        else:
            lines.append(f'{command}\ncode=$?; [ $code = {expected} ] || {{ echo "{command}: $code" >&2; exit 99; }}')
    return "\n".join(lines)


def test_the_tour(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "reconciler"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n')
    program.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RECONCILER_")}
    environment |= {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment.pop("CI", None)
    (tour,) = _blocks("console")
    done = subprocess.run(
        ["bash", "-c", _script(tour, _free_port())],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing to send, and not as declared: " in done.stdout


def test_the_manifest(tmp_path: Path) -> None:
    (manifest,) = _blocks("yaml")
    (tmp_path / "acme.yaml").write_text(manifest)
    (tmp_path / "contacts").mkdir()
    (tmp_path / "contacts" / "customers.csv").write_text("contact_id\nqFSqySFkVvNzOSqgGqFi\n")
    loaded = load(tmp_path)
    assert [each.name for each in loaded.manifests[0].sets] == ["customers", "vip"]


def test_the_exit_codes() -> None:
    table = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE) for code in row.split(",")}
    assert table - {129, 130, 143} == {int(code) for code in ExitCode}
    order = re.search(r"in the order ([\d, ]+)\.", README)
    assert order is not None
    assert [int(code) for code in order[1].split(",")] == [int(code) for code in WORST_FIRST]


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
