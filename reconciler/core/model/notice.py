"""The content of a notice, which a webhook gets at the end of a command: counts, and ids of locations and runs.

Law: a notice leaves for a third party. It has no field for a contact, a tag, a message or a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.model.errors import ExitCode
from reconciler.core.model.names import LocationId


class NoticeShape(StrEnum):
    """The form of a notice's body."""

    JSON = "json"
    SLACK = "slack"
    TEAMS = "teams"


class NoticeWhen(StrEnum):
    """The commands that a notice is sent of."""

    FAILED = "failed"
    CHANGED = "changed"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """The form of notices, and when they are sent. Where they are sent to is no setting: the environment says it."""

    shape: NoticeShape = NoticeShape.JSON
    when: NoticeWhen = NoticeWhen.ALWAYS


@dataclass(frozen=True, slots=True)
class LocationNotice:
    """The end of a command in one location."""

    location: LocationId
    exit_code: int | None = None
    """None where the command ended before that was known."""
    run: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Pairs by outcome, and requests; of drift pairs and contacts by class."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The end of a command; `changed`: whether it changed tags, or found changes of others."""

    command: str
    locations: tuple[LocationNotice, ...] = ()
    changed: bool = False

    def is_wanted(self, when: NoticeWhen, exit_code: int) -> bool:
        """Whether a notice of this end is sent. A failure always is."""
        if exit_code not in (ExitCode.DONE, ExitCode.CHANGES):
            return True
        return when is NoticeWhen.ALWAYS or (when is NoticeWhen.CHANGED and (self.changed or exit_code != 0))


def begin_notice(command: str, locations: Iterable[LocationId]) -> Notice:
    """A notice of a command that has not ended yet in these locations."""
    return Notice(command, tuple(LocationNotice(location) for location in locations))
