"""Where an operation works: a directory of manifests, its settings and manifests, and the listener of its progress.

Rule: a listener hears of the settings as soon as they are loaded, before the first error that speaks of a location.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reconciler.core.manifests.checks import list_unplannable
from reconciler.core.manifests.resolve import Desired, ResolvedSet, resolve
from reconciler.core.model.api_limits import Rate
from reconciler.core.model.contact_state import LATEST_MS
from reconciler.core.model.errors import (
    AuthRefused,
    InvalidInput,
    NeedsPull,
    Problem,
    ReconcilerError,
    StateError,
    UsageError,
)
from reconciler.core.model.events import Event
from reconciler.core.model.manifest import ContactSet, ListedContacts, Manifest, Rollout
from reconciler.core.model.names import Instant, LocationId, SetName
from reconciler.core.model.people import Snapshot
from reconciler.core.model.settings import Settings
from reconciler.core.planning.plan import LocationState
from reconciler.core.running.pace import Pace
from reconciler.loading import FindSnapshots, Loaded, load, load_settings
from reconciler.loading.settings import variable_name
from reconciler.operations.state_place import refuse_other_state, warn_of_other_state
from reconciler.operations.unreviewed import refuse_unreviewed_state
from reconciler.output.blocks import moment
from reconciler.ports import Clock, LocationReader, StartWorker, StateReader, Worker
from reconciler.second_core import MANY, Beside
from reconciler.store import open_reader, refuse_unlisted
from reconciler.system import SystemClock, without_cyclic_gc

if TYPE_CHECKING:
    from reconciler.beside import Places
    from reconciler.highlevel.http_client import Transport


LOCATIONS_A_CORE = 4
"""So many locations work at once for each core where the settings do not say how many."""


ENDS_SOON_MS = 7 * 86_400_000
"""So long before its end a set is noted: an exception from the guards takes a review."""


MANIFESTS = Path("manifests")
"""The directory that is taken where none is named."""


@dataclass(frozen=True, slots=True, repr=False)
class FetchedToken:
    """A location's token, or why there is none, as of a moment."""

    fetched_at: Instant
    token: str = ""
    error: AuthRefused | None = None


Tokens = dict[LocationId, FetchedToken]


class Listener(Protocol):
    """Hears of an operation's progress while it works; a Reporter of the stages too."""

    def __call__(self, event: Event, /) -> None: ...

    def on_manifests(self, directory: Path, /) -> None:
        """The manifests below this directory are read from now on."""

    def on_settings(self, settings: Settings, /) -> None:
        """The settings were loaded."""

    def on_reading(self, kept: bool, /) -> None:
        """Contacts are read from now on; `kept`: the state takes them as they come."""

    def on_asking(self, source: str, /) -> None:
        """A source of the settings is asked from now on."""

    def on_source_errors(self, source: str, lines: Sequence[str], /) -> None:
        """A source failed; `lines`: the end of its errors, masked, for a log and for no report."""

    def on_sending(self) -> None:
        """Tags may be changed from now on, and the journal says which."""

    def on_state(self, state: LocationState, reader: LocationReader, /) -> None:
        """The state of a location was read, from where `reader` tells more."""


class SilentListener:
    """Hears all and says nothing."""

    def __call__(self, _: Event, /) -> None:
        return

    def on_manifests(self, _: Path, /) -> None:
        return

    def on_settings(self, _: Settings, /) -> None:
        return

    def on_reading(self, _: bool, /) -> None:
        return

    def on_asking(self, _: str, /) -> None:
        return

    def on_source_errors(self, source: str, lines: Sequence[str], /) -> None:  # noqa: ARG002 (nothing is said)
        return

    def on_sending(self) -> None:
        return

    def on_state(self, state: LocationState, reader: LocationReader, /) -> None:  # noqa: ARG002 (nothing is measured)
        return


def _start_thread() -> Worker:
    # threads and the event loop are loaded by those who ask somebody
    from reconciler.beside import ThreadWorker

    return ThreadWorker()


@dataclass(frozen=True, slots=True)
class Workspace:
    """A directory of manifests, and the surroundings in which an operation works with it."""

    directory: Path = MANIFESTS
    overrides: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Settings that go before those of the environment and of the files, by key, such as `api.max_contacts`."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    """Variables with settings and tokens."""
    listener: Listener = field(default_factory=SilentListener)
    clock: Clock = field(default_factory=SystemClock)
    transport: Transport | None = None
    """Replaces the network in tests."""
    start_worker: StartWorker = _start_thread
    """Calls of a location's state are made by a worker of its own."""

    @property
    def in_ci(self) -> bool:
        return bool(self.environment.get("CI"))

    def load_settings(self, *, begins: bool = False) -> Settings:
        """The settings; raises InvalidInput. `begins`: the directory need not be there yet."""
        settings = load_settings(self.directory, environment=self.environment, flags=self.overrides, begins=begins)
        self.listener.on_settings(settings)
        return settings

    def load_state_settings(self) -> Settings:
        """The settings of an operation on the state alone; raises InvalidInput, and UsageError for another state.

        Where a flag or a variable says which state that is, the directory need not be there, unless it was named.
        """
        named = "state" in self.overrides or variable_name("state") in self.environment
        settings = self.load_settings(begins=named and self.directory == MANIFESTS)
        refuse_other_state(settings, self.directory)
        return settings

    def load_manifests(
        self,
        *,
        now: Instant,
        strict: bool = False,
        find_snapshots: FindSnapshots | None = None,
        pulls: bool = False,
        locations: Sequence[str] = (),
    ) -> Loaded:
        """The settings and manifests as they are at `now`; raises InvalidInput with every problem.

        `find_snapshots`: finds those of matched sets that are in the state; without it no state is asked. `pulls`:
        whether files of people are left to a pull. `locations`: ids or names of those whose manifests are read; empty:
        all.
        """
        self.listener.on_manifests(self.directory)
        try:
            loaded = load(
                self.directory,
                environment=self.environment,
                flags=self.overrides,
                now=now,
                strict=strict,
                find_snapshots=find_snapshots,
                pulls=pulls,
                locations=locations,
            )
        except InvalidInput:
            # the problems speak of locations, whose names stand in settings that may well be valid
            self.find_names()
            raise
        self.listener.on_settings(loaded.settings)
        return loaded

    def find_snapshots(self, settings: Settings, location: LocationId) -> Mapping[SetName, Snapshot]:
        """The snapshots of a location's matched sets, from the state that the settings name.

        Raises StateError, InvalidInput where only the files of a pull request name that state, and UsageError where it
        is another than that of the manifests.
        """
        refuse_unreviewed_state(settings, self.environment, self.directory)
        refuse_other_state(settings, self.directory)
        with open_reader(settings.state) as reader:
            return reader.at(location).read_snapshots()

    def find_names(self) -> None:
        """Lets the listener hear of the settings where they can be loaded, and does without them elsewhere."""
        with suppress(ReconcilerError, OSError):
            self.load_settings(begins=True)


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """The manifests of a workspace, resolved at `now`."""

    workspace: Workspace
    now: Instant
    settings: Settings
    desired: Mapping[LocationId, Desired]
    problems: tuple[Problem, ...]
    """Warnings and infos of manifests, settings and variables."""
    is_part: bool = False
    """Whether locations were chosen, and others left out."""
    matched: Mapping[LocationId, tuple[ContactSet, ...]] = field(default_factory=dict)
    """The sets whose people are matched, of each location that has some."""
    paces: dict[LocationId, Pace] = field(default_factory=dict)
    """Of the locations that were asked so far: all requests to a location go by one."""
    tokens: Tokens = field(default_factory=dict)
    """What `operations/api.py` fetched so far."""
    rollouts: Mapping[LocationId, tuple[Rollout, ...]] = field(default_factory=dict)
    """The order in which locations are sent a change, of each that has one."""
    load_others: Callable[[Sequence[str]], Loaded] | None = None
    """Loads the manifests of locations that are not among the chosen ones."""
    unread: Mapping[LocationId, StateError] = field(default_factory=dict)
    """Locations whose snapshots could not be read from their state, and why: their sets lack contacts."""

    def resolve_others(self, locations: Iterable[LocationId]) -> dict[LocationId, Desired]:
        """What is desired in locations that were left out, as of the same moment.

        Those whose snapshots cannot be read are among `unread`, and not in the answer.
        """
        wanted = sorted(locations)
        if not wanted or self.load_others is None:
            return {}
        groups = group_manifests(self.load_others(wanted).manifests)
        read = {location: groups[location] for location in wanted if location not in self.unread}
        return resolve_all(read, self.settings, self.now)

    def work_out_beside(self) -> Session:
        """The same session, with the digest of its largest location under way on another core."""
        largest = max(self.desired.values(), key=lambda desired: len(desired.contacts), default=None)
        if largest is None or len(largest.contacts) < MANY:
            return self
        beside = replace(largest, find_digest=Beside(largest.find_digest))
        return replace(self, desired={**self.desired, largest.location: beside})

    def pace(self, location: LocationId) -> Pace:
        return self.paces.setdefault(location, Pace(rate_from(self.settings)))

    def make_places(self) -> Places:
        """The places for locations that work at once."""
        from reconciler.beside import Places

        most = self.settings.apply.max_locations
        return Places(LOCATIONS_A_CORE * (os.cpu_count() or 1) if most is None else most, self.workspace.listener)

    def in_order(self) -> list[LocationId]:
        """The locations in the order in which they come."""
        return self.settings.in_order(self.desired)

    def list_snapshots(self) -> dict[LocationId, dict[SetName, Snapshot]]:
        """The snapshots that the sets were resolved by."""
        return {
            location: {
                entry.name: entry.contacts.match.snapshot
                for entry in sets
                if isinstance(entry.contacts, ListedContacts) and entry.contacts.match and entry.contacts.match.snapshot
            }
            for location, sets in self.matched.items()
        }

    def list_timed_sets(self) -> list[str]:
        """A line for each set that does not declare now, and when it does, or that ends soon."""
        return [
            f"{declared.source}: set {declared.name!r} {interval}"
            for desired in self.desired.values()
            for declared in desired.sets
            if (interval := _describe_interval(declared, self.now))
        ]

    def list_strays(self, reader: StateReader) -> list[str]:
        """A line for each location that has state and no manifest any more; none where locations were chosen."""
        # where locations were chosen, the others are left out on purpose
        if self.is_part:
            return []
        try:
            strays = sorted(set(reader.list_locations()) - self.desired.keys())
        except StateError as error:
            # the state of a location may be there, and no list of them
            return [f"which locations have state and no manifest is not known: {error.message}"]
        return [
            f"location {location} has state but no manifest: left untouched (to empty it, declare `contact_sets: {{}}`;"
            f" was it mistyped, `reconciler state forget --whole --location {location}`)"
            for location in strays
        ]


@dataclass(frozen=True, slots=True)
class _StoredSnapshots:
    """Those of matched sets that are in the state. `must_list`: whether it has to tell which locations it has."""

    workspace: Workspace
    must_list: bool
    unread: dict[LocationId, StateError] = field(default_factory=dict)
    """Why those of a location could not be read."""

    def find(self, settings: Settings, location: LocationId) -> Mapping[SetName, Snapshot] | None:
        if self.must_list:
            refuse_unlisted(settings.state)
        try:
            return self.workspace.find_snapshots(settings, location)
        except StateError as error:
            self.unread[location] = error
            return None


def _refuse_unplannable(manifests: Iterable[Manifest], now: Instant) -> None:
    if refused := list_unplannable(manifests, now):
        raise NeedsPull(refused)


def _describe_interval(declared: ResolvedSet, now: Instant) -> str:
    """Empty for a set that is active, and for some time to come."""
    if declared.start is not None and now < declared.start:
        return f"becomes active {moment(declared.start)}"
    if not declared.active:
        return f"expired {moment(declared.until)}"
    if declared.until is None or declared.until - now > ENDS_SOON_MS:
        return ""
    return f"ends {moment(declared.until)}: guards count what is removed then as any other removal (`allow` lifts them)"


def open_session(
    workspace: Workspace,
    locations: Sequence[str] = (),
    *,
    unpulled: bool = False,
    pulls: bool = False,
    some: bool = False,
) -> Session:
    """The manifests, loaded and resolved; raises InvalidInput with every problem.

    `locations`: the ids or names of those to work with; empty: all that have manifests. `unpulled`: whether matched
    sets may be without contacts, for want of a pull; otherwise raises NeedsPull, also where one is too old, and, before
    the state is asked, UsageError where that of all locations cannot list them. `pulls`:
    the session is one of a pull, for which a file of people with faults ends its own set alone. `some`: it is enough
    that some of the `locations` have manifests.
    """
    # one moment for all: sets begin and expire, and exceptions end, as of it
    now = workspace.clock.now()
    compares_all = not (locations or unpulled or pulls)
    snapshots = _StoredSnapshots(workspace, must_list=compares_all)
    unread = snapshots.unread

    def load_those(wanted: Sequence[str]) -> Loaded:
        return workspace.load_manifests(now=now, find_snapshots=snapshots.find, pulls=pulls, locations=wanted)

    loaded = load_those(locations)
    settings = loaded.settings
    if compares_all:
        refuse_unlisted(settings.state)
    chosen = [settings.find_location(location) for location in locations]
    groups = _choose_manifests(loaded, chosen, some=some)
    if unread and (unpulled or len(groups) == 1):
        raise next(iter(unread.values()))
    if not (unpulled or pulls):
        read = (group for location, group in groups.items() if location not in unread)
        _refuse_unplannable(chain.from_iterable(read), now)
    return Session(
        workspace,
        now,
        settings,
        resolve_all(groups, settings, now),
        (*loaded.problems, *warn_of_other_state(settings, workspace.directory)),
        is_part=bool(chosen),
        matched={location: sets for location, group in groups.items() if (sets := _find_matched(group))},
        rollouts=_find_rollouts(groups),
        load_others=load_those,
        unread=unread,
    )


def _find_rollouts(groups: Mapping[LocationId, Iterable[Manifest]]) -> dict[LocationId, tuple[Rollout, ...]]:
    rollouts = {
        location: tuple(manifest.rollout for manifest in group if manifest.rollout is not None)
        for location, group in groups.items()
    }
    return {location: found for location, found in rollouts.items() if found}


def _find_matched(manifests: Iterable[Manifest]) -> tuple[ContactSet, ...]:
    return tuple(
        contact_set
        for manifest in manifests
        for contact_set in manifest.sets
        if isinstance(contact_set.contacts, ListedContacts) and contact_set.contacts.match is not None
    )


def group_manifests(manifests: Iterable[Manifest]) -> dict[LocationId, list[Manifest]]:
    groups: dict[LocationId, list[Manifest]] = {}
    for manifest in manifests:
        groups.setdefault(manifest.location, []).append(manifest)
    return groups


def resolve_all(
    groups: Mapping[LocationId, Sequence[Manifest]], settings: Settings, now: Instant
) -> dict[LocationId, Desired]:
    """`groups`: the manifests of each location."""
    with without_cyclic_gc():
        return {
            location: resolve(manifests, now=now, shared_rules=settings.rules, authority=settings.authority)
            for location, manifests in groups.items()
        }


def _choose_manifests(loaded: Loaded, chosen: Sequence[LocationId], *, some: bool) -> dict[LocationId, list[Manifest]]:
    groups = group_manifests(loaded.manifests)
    unknown = [location for location in chosen if location not in groups]
    if unknown and not (some and len(unknown) < len(chosen)):
        there = sorted({*groups, *loaded.elsewhere})
        raise UsageError(
            f"no manifest is of location {unknown[0]!r}",
            hint=f"the manifests have: {', '.join(map(loaded.settings.called, there))}",
        )
    return {location: groups[location] for location in sorted(chosen or groups) if location in groups}


def rate_from(settings: Settings) -> Rate:
    api = settings.api
    return Rate(per_window=api.requests_per_10s, per_day=api.requests_per_day, reserve_pct=api.reserve_pct)


def latest_ms_from(settings: Settings) -> int:
    """How long after the date of its intent a request may leave: at most as long as it needs to take effect."""
    return max(1_000, min(LATEST_MS, settings.api.settle_s * 1000))


def settle_ms_from(settings: Settings) -> int:
    """How long after the date of its intent a request may still take effect."""
    return latest_ms_from(settings) + settings.api.settle_s * 1000
