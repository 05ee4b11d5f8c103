"""The emergency journal: answers that the state does not take go into a file beside the plan. Law: sees core."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.formats.state_json import UnrecordedAnswers, read_unrecorded, unrecorded_document
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import Source


@dataclass(frozen=True, slots=True)
class RecoveryJournal:
    """Writes beside `plan`; where that cannot be written, among the system's temporary files."""

    plan: Path

    def __call__(self, lost: UnrecordedAnswers) -> str:
        """The path of the file; empty where there is no place left to write to."""
        name = f"{self.plan.name}.emergency-{lost.run}-{lost.number}.json"
        text = json.dumps(unrecorded_document(lost), separators=(",", ":")) + "\n"
        for directory in (self.plan.parent, Path(tempfile.gettempdir())):
            if _written(directory / name, text):
                return str(directory / name)
        return ""


def _written(path: Path, text: str) -> bool:
    """Durable, private, whole or not there; never over a file of the same name: that one holds other answers."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError:
        return False
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        return False
    return True


def load_unrecorded(path: Path) -> UnrecordedAnswers:
    """The answers that the file holds; raises InvalidInput."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput([Problem(Source(str(path)), f"cannot be read: {error.strerror}", "emergency")]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput([Problem(Source(str(path)), "is not JSON", "emergency")]) from error
    return read_unrecorded(document, path=str(path))
