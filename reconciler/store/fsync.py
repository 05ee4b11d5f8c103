"""What the file store needs of the operating system: what a test replaces to see what happens when it fails."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def _replace(source: Path, target: Path) -> None:
    source.replace(target)


@dataclass(frozen=True, slots=True)
class Disk:
    """`connect` opens a database, `sync` makes a file's bytes durable, `replace` renames over what is there."""

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    sync: Callable[[int], Any] = os.fsync
    replace: Callable[[Path, Path], None] = _replace


DISK = Disk()
