"""Settings in the job of a pull request: its author may have written them.

Rules
1. A setting that would have a host asked or a command run counts where a flag, a variable or the target branch says the
   same; where only the files of the pull request say it, it is refused with its place, before the first request.
2. The target branch is one of the checkout that the job made. A pull request says what a submodule is.
3. These are a `state` that is not on this machine, where contacts are read, `api.base_url` and `token_command`, and
   where they are pulled, the `sources` that their sets name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import LocationId, Source
from reconciler.core.model.people import RowQuery
from reconciler.core.model.safe_text import redacted, words_text
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.loading import load_settings
from reconciler.loading.settings import flag_name, variable_name
from reconciler.store import is_remote

if TYPE_CHECKING:
    # the session asks this module before it reads a state
    from reconciler.operations.identity import Environment
    from reconciler.operations.workspace import Session

_LINKED = "the manifests lie in a submodule or a linked worktree, whose branches may be those of another repository"


def refuse_unreviewed(session: Session, *, reads: bool) -> None:
    """Raises InvalidInput with every setting that only a pull request's files name; does nothing in another job.

    `reads`: whether contacts are read.
    """
    workspace = session.workspace
    _refuse_daring(session.settings, list(session.desired) if reads else [], workspace.environment, workspace.directory)


def refuse_unreviewed_state(settings: Settings, environment: Environment, directory: Path) -> None:
    """Raises InvalidInput where only a pull request's files name the state; does nothing in another job."""
    _refuse_daring(settings, [], environment, directory)


def refuse_unreviewed_sources(session: Session, names: Iterable[str]) -> None:
    """Raises InvalidInput where only a pull request's files declare one of the sources; does nothing in another job."""
    workspace, queries = session.workspace, session.settings.sources
    _refuse_any([_daring_source(queries[name]) for name in names], workspace.environment, workspace.directory)


def _daring_source(query: RowQuery) -> _DaringSetting:
    asked = words_text(query.command) if query.command else query.sql
    remedy = "pull on the target branch"
    return _DaringSetting(f"sources.{query.name}", asked, query.place, remedy, query=query)


def _refuse_daring(settings: Settings, read: list[LocationId], environment: Environment, directory: Path) -> None:
    _refuse_any(list(_list_daring(settings, read, environment)), environment, directory)


def _refuse_any(daring: list[_DaringSetting], environment: Environment, directory: Path) -> None:
    target = find_target_branch(environment) if daring else None
    if target is None:
        return
    base, why = _load_base_settings(target, directory)
    problems = [setting.problem(why) for setting in daring if base is None or not setting.stands_in(base)]
    if problems:
        raise InvalidInput(problems)


@dataclass(frozen=True, slots=True)
class _DaringSetting:
    """A setting that has a host asked or a command run."""

    key: str
    value: str
    source: Source
    remedy: str
    location: LocationId | None = None
    """The location of a `token_command`; None for any other setting."""
    query: RowQuery | None = None
    """The source; None for any other setting."""

    def stands_in(self, base: Settings) -> bool:
        """Whether the file of the target branch says the same."""
        if self.query is not None:
            return base.sources.get(self.query.name) == self.query
        if self.location is not None:
            return base.location(self.location).token_command == self.value
        value = base.state if self.key == "state" else base.api.base_url
        return base.origin(self.key).kind is OriginKind.FILE and value == self.value

    def problem(self, why: str) -> Problem:
        message = f"`{self.key}: {redacted(self.value)}` stands only here, which the pull request may have written"
        is_run = self.location is not None or self.query is not None
        does = "it is not run" if is_run else "it is not asked"
        hint = f"{self.remedy}, or let the target branch say the same{why}"
        return Problem(self.source, f"{message}: {does}", "pull-request", hint=hint)


def _list_daring(settings: Settings, read: list[LocationId], environment: Environment) -> Iterator[_DaringSetting]:
    """`read`: the locations whose contacts are read."""
    simple = [("state", settings.state)] if is_remote(settings.state) else []
    simple += [("api.base_url", settings.api.base_url)] if read else []
    for key, value in simple:
        origin = settings.origin(key)
        if origin.kind is OriginKind.FILE:
            remedy = f"give it by {flag_name(key)} or the variable {variable_name(key)}"
            yield _DaringSetting(key, value, origin.source or Source(key), remedy)
    for location in read:
        place = settings.location(location)
        # the command runs where the variable is empty
        if place.token_command and not environment.get(place.token_env, "").strip():
            remedy = f"give the token by the variable {place.token_env}"
            yield _DaringSetting("token_command", place.token_command, place.source, remedy, location)


def _load_base_settings(target: str, directory: Path) -> tuple[Settings | None, str]:
    """The settings of the target branch, else why there are none."""
    if not target:
        return None, " (this CI does not tell which it is)"
    # the commands that meet no pull request are most of them
    from reconciler.operations.git import GitRefused, find_repository, read_files_at

    try:
        # rule 2: the author of the pull request chooses what a submodule is
        if find_repository(directory).is_linked:
            return None, f" ({_LINKED})"
        return load_settings(read_files_at(target, directory)), ""
    except GitRefused as error:
        return None, f" ({error.message})"
    except InvalidInput:
        return None, f" (its settings at {target} are not valid)"


@dataclass(frozen=True, slots=True)
class _Forge:
    """The variables of a CI: `number` is set for a pull request; `commit` and `branch` are of its target."""

    number: str
    commit: str = ""
    branch: str = ""


_FORGES = (
    _Forge("CI_MERGE_REQUEST_IID", "CI_MERGE_REQUEST_DIFF_BASE_SHA", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME"),
    _Forge(
        "CI_EXTERNAL_PULL_REQUEST_IID",
        "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA",
        "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME",
    ),
    _Forge("SYSTEM_PULLREQUEST_PULLREQUESTID", "", "SYSTEM_PULLREQUEST_TARGETBRANCH"),
    _Forge("BITBUCKET_PR_ID", "BITBUCKET_PR_DESTINATION_COMMIT", "BITBUCKET_PR_DESTINATION_BRANCH"),
    _Forge("CHANGE_ID", "", "CHANGE_TARGET"),
    _Forge("CIRCLE_PULL_REQUEST"),
    _Forge("CIRCLE_PR_NUMBER"),
    _Forge("BUILDKITE_PULL_REQUEST", "", "BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
    _Forge("TRAVIS_PULL_REQUEST", "", "TRAVIS_BRANCH"),
    _Forge("DRONE_PULL_REQUEST", "", "DRONE_TARGET_BRANCH"),
    _Forge("CI_COMMIT_PULL_REQUEST", "", "CI_COMMIT_TARGET_BRANCH"),
    _Forge("APPVEYOR_PULL_REQUEST_NUMBER", "", "APPVEYOR_REPO_BRANCH"),
)
"""GitLab, Azure Pipelines, Bitbucket, Jenkins, CircleCI, Buildkite, Travis CI, Drone, Woodpecker, AppVeyor."""


def find_target_branch(environment: Environment) -> str | None:
    """The target of the pull request that a job is for, a revision of Git; empty where the CI names none.

    None where the job is for no pull request.
    """
    if environment.get("GITHUB_EVENT_NAME", "").startswith("pull_request"):
        commit = _read_github_base(environment.get("GITHUB_EVENT_PATH", ""))
        # the event's commit comes first: where the head's repository was checked out, its owner made its branches
        return _name_tracked(environment.get("GITHUB_BASE_REF", "")) if commit is None else commit
    for forge in _FORGES:
        if environment.get(forge.number, "false") not in ("", "false"):
            return environment.get(forge.commit) or _name_tracked(environment.get(forge.branch, ""))
    return None


def _read_github_base(event_file: str) -> str | None:
    """The target's commit, as GitHub says in the event that started the job; None where that cannot be read."""
    try:
        event: object = json.loads(Path(event_file).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(event, dict) or not event:
        return None
    base = (event.get("pull_request") or {}).get("base") or {}
    return str(base.get("sha") or "")


def _name_tracked(branch: str) -> str:
    """The branch of `origin`, by the one name that no tag and no branch of the checkout can take."""
    return f"refs/remotes/origin/{branch.removeprefix('refs/heads/')}" if branch else ""
