"""The values of `reconciler.yaml`, the environment and the flags, where each comes from, and the words it may choose.

Law: no token is ever a setting; a location names the variable or the command that yields one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.core.model.errors import UsageError
from reconciler.core.model.manifest import Authority, TagRule
from reconciler.core.model.names import Instant, LocationId, Source, Tag, location_label
from reconciler.core.model.notice import NotifySettings
from reconciler.core.model.people import RowQuery

DEFAULT_TOKEN_ENV = "HIGHLEVEL_TOKEN"  # noqa: S105 (a name, no token)
"""The variable a token is read from where a location names neither a variable nor a command."""

DEFAULT_STATE = "sqlite:///.reconciler/state.db"


class Reassert(StrEnum):
    """Which tags may be added again where that saves a request."""

    INERT = "inert"
    ALWAYS = "always"
    NEVER = "never"


PCT_FLOOR = 5


class Guard(StrEnum):
    MAX_ADDS = "max_adds"
    MAX_REMOVES = "max_removes"
    MAX_ADDS_PCT = "max_adds_pct"
    MAX_REMOVES_PCT = "max_removes_pct"
    MAX_RESTORED_PCT = "max_restored_pct"
    MAX_FIRST_ADDS = "max_first_adds"
    MAX_BACKUP_ADDS = "max_backup_adds"
    EMPTIES_TAG = "empties_tag"
    MIN_HOLDERS = "min_holders"
    ODD_IDS = "odd_ids"
    MAX_REQUESTS = "max_requests"
    SHRINK_PCT = "shrink_pct"
    GROW_PCT = "grow_pct"
    MAX_UNMATCHED_PCT = "max_unmatched_pct"
    MAX_REMATCHED_PCT = "max_rematched_pct"
    PROTECTED = "protected"

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that it holds for, and may be lifted on: the location as a whole (empty), a tag, a set."""
        return _SCOPES.get(self, ("", "tag"))


_SCOPES = {
    Guard.MAX_REQUESTS: ("",),
    Guard.MAX_RESTORED_PCT: ("tag",),
    Guard.MAX_FIRST_ADDS: ("tag",),
    Guard.MAX_BACKUP_ADDS: ("tag",),
    Guard.EMPTIES_TAG: ("tag",),
    Guard.MIN_HOLDERS: ("tag",),
    Guard.ODD_IDS: ("tag",),
    Guard.PROTECTED: ("tag",),
    Guard.SHRINK_PCT: ("set",),
    Guard.GROW_PCT: ("set",),
    Guard.MAX_UNMATCHED_PCT: ("set",),
    Guard.MAX_REMATCHED_PCT: ("set",),
}


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The limits of a location; None: no limit. Limits on a single tag are in its rule."""

    max_adds: int | None = None
    max_removes: int | None = None
    max_adds_pct: float | None = None
    max_removes_pct: float | None = 30.0
    max_restored_pct: float | None = 30.0
    max_first_adds: int | None = PCT_FLOOR
    max_backup_adds: int | None = 0
    empties_tag: bool = True
    min_holders: int | None = None
    odd_ids: bool = True
    max_requests: int | None = None
    shrink_pct: float | None = 50.0
    grow_pct: float | None = 100.0
    max_unmatched_pct: float | None = 10.0
    max_rematched_pct: float | None = 10.0


class DriftClass(StrEnum):
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    PENDING = "pending"
    UNREACHABLE = "unreachable"
    FLAPPING = "flapping"
    HELD = "held"
    TOLERATED = "tolerated"
    FOREIGN = "foreign"
    STALE = "stale"
    UNOBSERVED = "unobserved"


class OriginKind(StrEnum):
    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """Where a setting's value comes from. `source`: the place in the file, or the variable's or flag's name as path."""

    kind: OriginKind = OriginKind.DEFAULT
    source: Source | None = None

    def __str__(self) -> str:
        return str(self.kind) if self.source is None else f"{self.kind} {self.source}"


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The API's address, limits and times, which are in seconds."""

    base_url: str = "https://services.leadconnectorhq.com"
    version: str = "2021-07-28"
    max_contacts: int = 500
    max_tags: int = 50
    requests_per_10s: int = 100
    requests_per_day: int = 200_000
    reserve_pct: float = 3
    """The percentage of every limit that is left to the location's other integrations."""
    company_id: str = ""
    """The agency that the locations' tokens belong to; empty where they are the locations' own."""
    timeout_s: int = 60
    settle_s: int = 90
    """How long a request in doubt may still take effect."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    reassert: Reassert = Reassert.INERT
    reassert_max_age_s: int = 3600


@dataclass(frozen=True, slots=True)
class ApplySettings:
    """How a run goes: requests under way at once in a location, and the shares, in percent, that stop it.

    `max_locations`: so many locations at once, in every command that asks them; None: four for each core.
    """

    max_in_flight: int = 50
    max_locations: int | None = None
    max_error_pct: float | None = None
    max_surprise_pct: float | None = None


@dataclass(frozen=True, slots=True)
class LocationSettings:
    """One location: a name for people, and where its token comes from (a command's output before a variable).

    `company_id`: the agency that its token belongs to, empty for a token of the location's own, None where `api` tells.
    `lineage`: the one that its state must have, None where any will do.
    """

    location: LocationId
    source: Source
    name: str = ""
    token_env: str = DEFAULT_TOKEN_ENV
    token_command: str = ""
    company_id: str | None = None
    lineage: str | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """A reviewed exception to a guard until an instant: on a tag, a set, or without both on a location as a whole.

    Without `location` it holds in all of them.
    """

    guard: Guard
    reason: str
    until: Instant
    source: Source
    tag: Tag | None = None
    set: str | None = None
    location: LocationId | None = None


@dataclass(frozen=True, slots=True)
class ExpectedDrift:
    """Drift that another integration makes on purpose.

    `tag` is a tag or a pattern such as `wf-*`; without `classes` all are expected, without `set` on all contacts.
    """

    tag: str
    source: Source
    classes: frozenset[DriftClass] = frozenset()
    reason: str = ""
    set: str | None = None
    location: LocationId | None = None
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. `rules` are the tag rules shared by all locations; `origins` by key, such as `api.base_url`.

    `snapshots`: the directory of the snapshots of matched sets, empty where they are in the state. `sources`: by name.
    `contact_url`: where the CRM shows a contact, as `safe_text.contact_page`; empty where it is not set.
    """

    state: str = DEFAULT_STATE
    snapshots: str = ""
    lineage: str | None = None
    timezone: str = "UTC"
    authority: Authority = Authority.ADDITIVE
    api: ApiSettings = ApiSettings()
    plan: PlanSettings = PlanSettings()
    apply: ApplySettings = ApplySettings()
    notify: NotifySettings = NotifySettings()
    rules: Mapping[Tag, TagRule] = field(default_factory=dict)
    locations: Mapping[LocationId, LocationSettings] = field(default_factory=dict)
    sources: Mapping[str, RowQuery] = field(default_factory=dict)
    guards: GuardLimits = GuardLimits()
    allow: tuple[Allowed, ...] = ()
    expected_drift: tuple[ExpectedDrift, ...] = ()
    history_keep: int = 10
    contact_url: str = ""
    origins: Mapping[str, SettingOrigin] = field(default_factory=dict)

    def origin(self, key: str) -> SettingOrigin:
        return self.origins.get(key, SettingOrigin())

    def location(self, location: LocationId) -> LocationSettings:
        """The settings of a location; the defaults where it has none."""
        return self.locations.get(location) or LocationSettings(location, Source("default"))

    def find_location(self, given: str) -> LocationId:
        """The location with this name or id; raises UsageError where several have the name.

        Upper and lower case count alike in a name. A text that is neither is taken for an id: the state may know it.
        """
        # an id rules over a name: another location may be named like it
        if given in self.locations:
            return LocationId(given)
        named = sorted(
            each for each, place in self.locations.items() if place.name and place.name.casefold() == given.casefold()
        )
        if len(named) > 1:
            raise UsageError(
                f"{len(named)} locations are called {given!r}: {', '.join(named)}",
                hint="choose one by its id, or give them different names in reconciler.yaml",
            )
        return named[0] if named else LocationId(given)

    def called(self, location: LocationId) -> str:
        """The id of a location, with its name where it has one."""
        return location_label(location, self.location(location).name)

    def names(self) -> dict[LocationId, str]:
        """The names of the locations; those without a name are left out."""
        return {location: place.name for location, place in self.locations.items() if place.name}

    def in_order(self, locations: Iterable[LocationId]) -> list[LocationId]:
        """The locations in the order of their names, of their ids where they have none."""
        names = self.names()
        return sorted(locations, key=lambda location: (names.get(location, location), location))

    def company(self, location: LocationId) -> str:
        """The agency that the location's token belongs to; empty where it is the location's own."""
        # empty is an answer too: a token of the location's own, where the others have an agency's
        own = self.location(location).company_id
        return self.api.company_id if own is None else own

    def pin(self, location: LocationId) -> str | None:
        """The lineage that the location's state must have."""
        return self.location(location).lineage or self.lineage
