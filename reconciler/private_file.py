"""Replaces a file in one step: old or new, never half; only its owner may read it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Raises OSError, with the old file as it was."""
    # beside its place, since a rename replaces a file in one step only within one file system; 0600 from the start
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # on disk before the rename: after a crash the name must not lead to an empty file
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
