"""Submodules of Git that are not checked out: each leaves an empty directory, in which nothing would be declared."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

NOT_CHECKED_OUT = "a submodule that is not checked out: git submodule update --init"
MOST_BYTES = 1_000_000

_PATH = re.compile(r'^\s*path\s*=\s*"?(.*?)"?\s*$', re.MULTILINE)


def is_missing_submodule(folder: Path) -> bool:
    """Whether a directory is empty, and its checkout's `.gitmodules` has a submodule there."""
    try:
        if any(folder.iterdir()):
            return False
        place = folder.resolve()
        top = next((above for above in place.parents if os.path.lexists(above / ".git")), None)
        return top is not None and place.relative_to(top).as_posix() in _PATH.findall(_content(top / ".gitmodules"))
    except OSError:
        return False


def _content(file: Path) -> str:
    """The text of a regular file; empty for anything else that stands in its place."""
    if not stat.S_ISREG(file.lstat().st_mode):
        return ""
    with file.open("rb") as stream:
        return stream.read(MOST_BYTES).decode("utf-8", "replace")
