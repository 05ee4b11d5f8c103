"""The file operations of a program, as the kernel is asked for them: `strace` sees those of SQLite as well as ours.

Rules
1. A call that may change a file below the folder that is watched, and is not of the model, is an error: none is missed.
   So are a file that is mapped to be written to, and calls of two threads at once.
2. `fdatasync` counts as `sync`: it brings the length of a file with its bytes. `sync_file_range` counts for nothing.
3. What is written to the marker acknowledges.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.crash.disk import ACKNOWLEDGED, Op

CONTENT = ("write", "pwrite64", "writev", "pwritev", "pwritev2")
WATCHED = (
    *CONTENT,
    *("open", "openat", "openat2", "creat", "truncate", "ftruncate", "fallocate", "mmap", "io_uring_setup"),
    *("copy_file_range", "sendfile", "splice", "fsync", "fdatasync", "sync_file_range", "msync"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir"),
)
"""All by which Linux changes files and their names, or brings them to the disk."""
LONGEST = 1 << 20
"""Bytes of one write."""
_CALL = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)(.*)")
_HEX = r"((?:\\x[0-9a-f]{2})*)"
_QUOTED, _OPENED = re.compile(f'"{_HEX}"'), re.compile(f"<{_HEX}>")


def record(program: Sequence[str], top: Path, marker: Path) -> list[Op]:
    """What Python does below `top` when it runs the program; skips the test where there is no strace."""
    strace = shutil.which("strace") or pytest.skip("strace, which tells system calls, is not installed")
    watch, log = Watch(top, marker), marker.with_name("trace")
    # a `?` before a call, since some processors do not have all of them
    watched = ",".join(f"?{call}" for call in WATCHED)
    command = [strace, "-f", "-y", "-xx", "-s", str(LONGEST), "-o", str(log), "-e", f"trace={watched}", sys.executable]
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([*command, *program], env=os.environ | one_thread, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with log.open(encoding="ascii") as lines:
        return [op for line in lines for op in watch.read(line)]


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str
    result: int
    opened: str
    """The path of the file that it opened."""

    @property
    def quoted(self) -> list[bytes]:
        return [_bytes(text) for text in _QUOTED.findall(self.arguments)]

    @property
    def last(self) -> int:
        return int(self.arguments.rpartition(", ")[2])

    @property
    def paths(self) -> list[Path]:
        """Those that it names, and then those of the descriptors that it is given or gives."""
        named = [] if self.name in CONTENT else self.quoted
        return [
            Path(os.fsdecode(path)) for path in [*named, *map(_bytes, _OPENED.findall(self.arguments + self.opened))]
        ]


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class Watch:
    """Reads a log. `files`: those below `top` by their present names, each as `Op.file` has it."""

    top: Path
    marker: Path
    files: dict[Path, str] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)
    made: int = 0

    def __post_init__(self) -> None:
        self.files |= {path: str(path) for path in self.top.rglob("*") if path.is_file()}
        self.folders |= {self.top, *(path for path in self.top.rglob("*") if path.is_dir())}

    def read(self, line: str) -> Iterator[Op]:
        assert "<unfinished ...>" not in line, "calls of two threads at once"
        found = _CALL.match(line)
        if found is None or int(found[3]) < 0:
            return
        assert "..." not in found[2], "a write that the log does not hold whole"
        call = Call(found[1], found[2], int(found[3]), found[4])
        ours = [path for path in call.paths if path == self.top or self.top in path.parents]
        if self.marker in call.paths and call.name == "write":
            yield ACKNOWLEDGED
        elif ours:
            yield from self._ops(call, ours)

    def _ops(self, call: Call, paths: list[Path]) -> Iterator[Op]:
        path = paths[-1]
        match call.name.removesuffix("2").removesuffix("at"):
            case "open":
                yield from self._open(path, call.arguments)
            case "pwrite64":
                yield Op("write", self.files[path], path, call.quoted[0][: call.result], call.last)
            case "ftruncate":
                yield Op("cut", self.files[path], path, offset=call.last)
            case "fsync" | "fdatasync":
                yield Op("sync folder", "", path) if path in self.folders else Op("sync", self.files[path], path)
            case "rename":
                self.files[path] = self.files.pop(paths[0])
                yield Op("rename", self.files[path], path, os.fsencode(paths[0]))
            case "link":
                self.files[path] = self.files[paths[0]]
                yield Op("link", self.files[path], path)
            case "unlink":
                yield Op("remove", self.files.pop(path), path)
            case "mkdir":
                self.folders.add(path)
                yield Op("folder", str(path), path)
            case "mmap":
                assert "MAP_SHARED" not in call.arguments or "PROT_WRITE" not in call.arguments, call.arguments
            case other:
                assert other == "sync_file_range", f"the model has no {call.name}"

    def _open(self, path: Path, arguments: str) -> Iterator[Op]:
        if "O_CREAT" in arguments and path not in self.files:
            self.made += 1
            self.files[path] = f"{path} {self.made}"
            yield Op("name", self.files[path], path)
        elif "O_TRUNC" in arguments:
            yield Op("cut", self.files[path], path)
