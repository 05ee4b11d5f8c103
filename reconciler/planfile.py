"""The plan file: the public JSON of a plan, whole, private and sealed; the home of the plan format's bytes.

Beside it the emergency journal: answers that the state does not take.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler.core.formats.plan_json import read_plan
from reconciler.core.formats.plan_text import digest_document, plan_parts
from reconciler.core.formats.state_json import UnrecordedAnswers, read_unrecorded, unrecorded_document
from reconciler.core.model.errors import InvalidInput, PlanFileError, Problem
from reconciler.core.model.names import Source, did_you_mean
from reconciler.core.model.safe_text import json_line, without_commands
from reconciler.core.planning.plan import Plan
from reconciler.second_core import MANY, Beside
from reconciler.system import CALLS, FileCalls, create_file, replace_file

NOT_THROUGH_LINKS = "remove the link, or name the file that it leads to"
MANIFESTS = (".yaml", ".yml")
MOST_BYTES = 512 * 1024 * 1024


def plan_text(plan: Plan) -> str:
    """The document as one line of ASCII: any terminal, any tool."""
    return "".join(text_parts(plan))


def text_parts(plan: Plan, digest: str = "") -> Iterator[str]:
    """The document as `json_line` has it, part by part; `digest`: as `begin_digest` gives it, where it is known."""
    yield from map(without_commands, plan_parts(plan, digest))
    yield "\n"


def begin_digest(plan: Plan) -> Callable[[], str]:
    """The digest that seals the plan's document; that of a long one is worked out on another core meanwhile."""
    digest = partial(digest_document, plan)
    is_long = sum(location.summary.contacts for location in plan.locations) >= MANY
    return Beside(digest) if is_long else digest


def write_plan(plan: Plan, path: Path, *, find_digest: Callable[[], str] = str, calls: FileCalls = CALLS) -> None:
    """Writes the plan whole or not at all, and durably; replaces nothing but a file, and none behind a link.

    `find_digest`: of `begin_digest`.
    """
    if path.is_symlink():
        # the author of a checkout's files may have put it there, to have a file elsewhere replaced
        raise PlanFileError(f"the plan file {path} is a link to {path.readlink()}", hint=NOT_THROUGH_LINKS)
    if path.exists() and not path.is_file():
        raise PlanFileError(f"the plan file {path} is there already, and is no file", hint="choose another name")
    try:
        replace_file(path, (part.encode("ascii") for part in text_parts(plan, find_digest())), calls=calls)
    except OSError as error:
        raise PlanFileError(f"the plan file {path} cannot be written: {error.strerror}") from error


def no_plan_file(path: Path, message: str) -> PlanFileError:
    """The error for a plan file that is not there; its hint names the file that was probably meant."""
    try:
        siblings = [entry.name for entry in path.parent.iterdir() if entry.suffix not in MANIFESTS and entry.is_file()]
    except OSError:
        siblings = []
    near = did_you_mean(path.name, siblings)
    return PlanFileError(message, hint=near or "`reconciler plan --out FILE` writes one")


def load_plan(path: Path) -> Plan:
    """The plan in the file; raises PlanFileError with the file's name unless it is a complete plan, byte for byte."""
    if path.suffix in MANIFESTS:
        raise PlanFileError(
            f"{path} is no plan file, and looks like a manifest",
            hint=f"to apply manifests, name their directory: {path.parent}",
        )
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # a pipe has no size
            content = b"" if size > MOST_BYTES else file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PlanFileError(f"the plan file {path} cannot be read: {error.strerror}") from error
    if max(size, len(content)) > MOST_BYTES:
        raise PlanFileError(
            f"the plan file {path} is larger than {MOST_BYTES // 1024 // 1024} MB",
            hint="plan a part of it (--location, --set, --tag), or apply without a plan file",
        )
    try:
        return parse_plan(content)
    except PlanFileError as error:
        raise PlanFileError(f"the plan file {path}: {error.message}", hint=error.hint) from error


def parse_plan(content: bytes) -> Plan:
    """The inverse of `plan_text`. Fields of a later minor version may be there; another spelling may not."""
    try:
        document = json.loads(content)
        # another spelling of the same values would have another digest than the one that was reviewed
        as_written = content == json_line(document).encode()
    except (ValueError, RecursionError) as error:
        raise PlanFileError("it is damaged: not JSON", hint="plan again") from error
    plan = read_plan(document)
    if not as_written:
        raise PlanFileError("it was rewritten after it was saved", hint="apply the file as plan wrote it")
    return plan


@dataclass(frozen=True, slots=True)
class RecoveryJournal:
    """Writes beside `plan`; where that cannot be written, among the system's temporary files."""

    plan: Path
    calls: FileCalls = CALLS

    def __call__(self, lost: UnrecordedAnswers) -> str:
        """The path of the file; empty where there is no place left to write to."""
        name = f"{self.plan.name}.emergency-{lost.run}-{lost.number}.json"
        text = json.dumps(unrecorded_document(lost), separators=(",", ":")) + "\n"
        for directory in (self.plan.parent, Path(tempfile.gettempdir())):
            if _written(directory / name, text, self.calls):
                return str(directory / name)
        return ""


def _written(path: Path, text: str, calls: FileCalls) -> bool:
    """Durable, private, whole or not there; never over a file of the same name: that one holds other answers."""
    try:
        create_file(path, text.encode("ascii"), calls=calls)
    except OSError:
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
