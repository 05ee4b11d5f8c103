"""Settings in the job of a pull request: whoever opened it may have written them.

Rules
1. A setting that would have a host asked or a command run counts where a flag, a variable or the target branch says the
   same; where only the files of the pull request say it, it is refused with its place, before anything is asked.
2. The target branch is one of the checkout that the job made. A submodule is whatever a pull request says that it is.
3. These are a `state` that is not on this machine, and, where contacts are read, `api.base_url` and `token_command`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.cli.session import Session
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import LocationId, Source
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.loading import settings_of_files
from reconciler.loading.settings import flag_name, variable_name
from reconciler.operations.ci_job import PullRequest, pull_request
from reconciler.operations.git import GitRefused, find_repository
from reconciler.operations.git_revision import files_at
from reconciler.store import is_remote


def refuse_unreviewed(session: Session, options: Mapping[str, Any]) -> None:
    """Raises InvalidInput with every setting that only a pull request's files name; does nothing in another job."""
    settings, refreshes = session.settings, bool(options.get("refresh"))
    daring = list(_daring(settings, list(session.desired) if refreshes else []))
    request = pull_request(os.environ, _event()) if daring else None
    if request is None:
        return
    base, why = _at_base(request, session.directory)
    problems = [each.problem(why) for each in daring if base is None or not each.stands_in(base)]
    if problems:
        raise InvalidInput(problems)


@dataclass(frozen=True, slots=True)
class _Daring:
    """A setting that has a host asked or a command run. `location`: whose `token_command` it is."""

    key: str
    value: str
    source: Source
    remedy: str
    location: LocationId | None = None

    def stands_in(self, base: Settings) -> bool:
        """Whether the file of the target branch says the same."""
        if self.location is not None:
            return base.location(self.location).token_command == self.value
        value = base.state if self.key == "state" else base.api.base_url
        return base.origin(self.key).kind is OriginKind.FILE and value == self.value

    def problem(self, why: str) -> Problem:
        told = f"`{self.key}: {redacted(self.value)}` stands only here, which the pull request may have written"
        does = "it is not run" if self.location is not None else "it is not asked"
        hint = f"{self.remedy}, or let the target branch say the same{why}"
        return Problem(self.source, f"{told}: {does}", "pull-request", hint=hint)


def _daring(settings: Settings, read: list[LocationId]) -> Iterator[_Daring]:
    """`read`: the locations whose contacts are read."""
    simple = [("state", settings.state)] if is_remote(settings.state) else []
    simple += [("api.base_url", settings.api.base_url)] if read else []
    for key, value in simple:
        origin = settings.origin(key)
        if origin.kind is OriginKind.FILE:
            yield _Daring(
                key,
                value,
                origin.source or Source(key),
                f"give it by {flag_name(key)} or the variable {variable_name(key)}",
            )
    for location in read:
        place = settings.location(location)
        # the command runs where the variable is empty
        if place.token_command and not os.environ.get(place.token_env, "").strip():
            remedy = f"give the token by the variable {place.token_env}"
            yield _Daring("token_command", place.token_command, place.source, remedy, location)


def _event() -> Mapping[str, Any]:
    """What GitHub says started the job; empty where that cannot be read."""
    try:
        found = json.loads(Path(os.environ.get("GITHUB_EVENT_PATH", "")).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _at_base(request: PullRequest, directory: Path) -> tuple[Settings | None, str]:
    """The settings of the target branch, else why there are none."""
    if not request.base:
        return None, " (this CI does not tell which it is)"
    try:
        if find_repository(directory).is_linked:
            return None, f" ({_ANOTHERS})"
        return settings_of_files(files_at(request.base, directory)), ""
    except GitRefused as error:
        return None, f" ({error.message})"
    except InvalidInput:
        return None, f" (its settings at {request.base} are not valid)"


_ANOTHERS = "the manifests lie in a submodule or a linked worktree, whose branches may be those of another repository"
