"""Loads a directory of files: settings, manifests, and every problem at once.

Rules
1. All files are read before one is refused. A mistake in one place does not hide a mistake in another: a broken set is
   left out and the other ones are checked, except for problems that would only follow from its absence.
2. Errors are raised together, as InvalidInput; warnings and infos are returned.
3. Where locations are chosen, a manifest of another one is not read further than its `location`, if that can be seen
   early: of its faults only those of its name are told. Any other manifest is read as a whole.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.core.manifests.checks import Manifests, check_manifests
from reconciler.core.model.errors import InvalidInput, Problem, Severity
from reconciler.core.model.manifest import Manifest
from reconciler.core.model.names import Instant, LocationId, SetName, Source
from reconciler.core.model.settings import Settings
from reconciler.loading.file_tree import SETTINGS_NAME, CannotRead, FileTree, directory_hint
from reconciler.loading.files import MAX_BYTES, Directory, Files, decode_text, display_path
from reconciler.loading.manifest_builder import BuiltFile, ManifestBuilder
from reconciler.loading.manifest_files import HEAD, see_location
from reconciler.loading.nodes import Mapping as MappingNode
from reconciler.loading.nodes import Node, Scalar, parse_nodes
from reconciler.loading.query_files import QueryFinder
from reconciler.loading.settings import Overrides, read_settings
from reconciler.loading.snapshot_files import FindSnapshots, SnapshotFinder
from reconciler.system import without_cyclic_gc

MAX_ALIKE = 100

_NO_OVERRIDES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings and manifests of a directory."""

    settings: Settings
    manifests: tuple[Manifest, ...]
    problems: tuple[Problem, ...]
    """Warnings and infos only, sorted by place."""
    elsewhere: frozenset[LocationId] = frozenset()
    """Locations that were not chosen, and whose manifests were left out."""


def load(
    place: str | Path | Files,
    *,
    environment: Mapping[str, str] = _NO_OVERRIDES,
    flags: Mapping[str, str] = _NO_OVERRIDES,
    now: Instant | None = None,
    strict: bool = False,
    find_snapshots: FindSnapshots | None = None,
    pulls: bool = False,
    locations: Sequence[str] = (),
) -> Loaded:
    """The settings and manifests of a directory, or of any other tree of files.

    `environment`: the process's variables, of which those that name settings count; `flags`: text by key, such as
    `api.base_url`; `now`: without it dates that are past are not reported; `strict`: warnings are errors;
    `find_snapshots`: asked once for each location with matched sets whose snapshots are in the state; without it
    nothing is said of these; `pulls`: nothing is said of faults in files of people, which the pull finds by itself;
    `locations`: ids or names of those whose manifests are read, empty: all.
    Raises InvalidInput with every problem, and UsageError for a name of two locations.
    """
    with without_cyclic_gc():
        loader = _Loader(_files_at(place), pulls=pulls)
        settings = loader.load_settings(Overrides(environment, flags))
        snapshots = SnapshotFinder(loader.files, settings, find_snapshots, loader.problems.append)
        manifests = loader.load_manifests(settings, snapshots, frozenset(map(settings.find_location, locations)))
        elsewhere = frozenset(loader.elsewhere)
        merged = Manifests(
            files=manifests,
            shared=settings.rules,
            authority=settings.authority,
            now=now,
            broken=frozenset(loader.broken),
            complete=loader.complete,
            settled={named.location: named.source for named in settings.locations.values()},
            queries={query.name: query.place for query in settings.sources.values()},
            exceptions=(*settings.allow, *settings.expected_drift),
            snapshots_known=snapshots.known,
            unread=snapshots.unread,
            elsewhere=elsewhere,
        )
        problems = _sort_problems([*loader.problems, *check_manifests(merged)], strict)
    return Loaded(settings, manifests, problems, elsewhere)


def load_settings(
    place: str | Path | Files,
    *,
    environment: Mapping[str, str] = _NO_OVERRIDES,
    flags: Mapping[str, str] = _NO_OVERRIDES,
    begins: bool = False,
) -> Settings:
    """The settings alone; raises InvalidInput with every problem of theirs.

    `begins`: a directory that is not there yet has no settings of its own.
    """
    loader = _Loader(_files_at(place, begins=begins))
    settings = loader.load_settings(Overrides(environment, flags))
    _sort_problems(loader.problems, strict=False)
    return settings


def _files_at(place: str | Path | Files, *, begins: bool = False) -> Files:
    if not isinstance(place, str | Path):
        return place
    directory = Path(place)
    return FileTree({}, str(directory)) if begins and not directory.exists() else Directory(directory)


def _sort_problems(problems: Iterable[Problem], strict: bool) -> tuple[Problem, ...]:
    """The problems sorted by place, at most `MAX_ALIKE` of one check in one file; raises where one is an error."""
    # a manifest of many locations has the same mistake in each of them
    distinct = dict.fromkeys(_as_error(problem) if strict else problem for problem in problems)
    ordered = sorted(distinct, key=lambda problem: problem.sort_key)
    alike = Counter((problem.check, problem.source.path) for problem in ordered)
    listed: list[Problem] = []
    seen: Counter[tuple[str, str]] = Counter()
    for problem in ordered:
        kind = problem.check, problem.source.path
        seen[kind] += 1
        if seen[kind] <= MAX_ALIKE:
            listed.append(problem)
        elif seen[kind] == alike[kind]:
            message = f"and {alike[kind] - MAX_ALIKE:,} more problems of this kind up to here"
            listed.append(replace(problem, message=message, hint=""))
    if any(problem.severity is Severity.ERROR for problem in listed):
        raise InvalidInput(listed)
    # again: the sentence that stands for many has another place in the order than the problem it came from
    return tuple(sorted(listed, key=lambda problem: problem.sort_key))


def _as_error(problem: Problem) -> Problem:
    return replace(problem, severity=Severity.ERROR) if problem.severity is Severity.WARNING else problem


class _Loader:
    """One pass over a tree of files."""

    def __init__(self, files: Files, *, pulls: bool = False) -> None:
        self.problems: list[Problem] = []
        # sets that are written but cannot be used: no check may say of them that they do not exist
        self.broken: set[tuple[LocationId, SetName]] = set()
        # false where a file could not be used: a set that seems to be missing may be in it
        self.complete = True
        # locations of manifests that were left out
        self.elsewhere: set[LocationId] = set()
        self.files = files
        self.pulls = pulls
        # false where the defaults stand in for settings with a mistake
        self.settings_are_sound = True
        self.names = self._list_names()

    def load_settings(self, overrides: Overrides) -> Settings:
        path = display_path(self.files, SETTINGS_NAME)
        before = len(self.problems)
        root = self._read_root(SETTINGS_NAME) if SETTINGS_NAME in self.names else None
        settings = read_settings(root, path, overrides, self.problems.append)
        self.settings_are_sound = all(problem.severity is not Severity.ERROR for problem in self.problems[before:])
        return settings

    def load_manifests(
        self, settings: Settings, snapshots: SnapshotFinder, chosen: frozenset[LocationId]
    ) -> tuple[Manifest, ...]:
        """`chosen`: the locations whose manifests are read; empty: all."""
        manifests: list[Manifest] = []
        builder = ManifestBuilder(
            self.files,
            settings.timezone,
            snapshots,
            QueryFinder(settings.sources, are_known=self.settings_are_sound),
            self.problems.append,
            pulls=self.pulls,
            chosen=chosen,
        )
        names = [name for name in self.names if self._is_manifest(name)]
        self._warn_of_misnamed()
        for name in names:
            if chosen and self._is_elsewhere(name, chosen):
                continue
            built = self._load_file(name, builder)
            if built is None or not built.is_known:
                self.complete = False
            if built is not None:
                manifests += built.manifests
                self.broken |= built.broken
                self.elsewhere |= built.elsewhere
        if not names and self.complete:
            hint = "a manifest is a file that ends .yaml or .yml and names a location; `reconciler init` writes one"
            self._add_problem(Source(self.files.label), "no manifest in this directory", "directory", hint)
        return tuple(manifests)

    def _is_elsewhere(self, name: str, chosen: frozenset[LocationId]) -> bool:
        """Whether a manifest is seen to be of another location than those."""
        # a name that cannot be shown is refused, whatever stands in the file
        if not name.isprintable():
            return False
        seen = self._see_location(name)
        if seen is None or seen in chosen:
            return False
        self.elsewhere.add(seen)
        return True

    def _list_names(self) -> list[str]:
        try:
            return self.files.names()
        except CannotRead as error:
            self._add_problem(Source(self.files.label), str(error), "directory", directory_hint(self.files.label))
            self.complete = False
            return []

    def _is_manifest(self, name: str) -> bool:
        """Whether a file is a manifest; settings in the wrong place are reported."""
        # they would silently not hold: a guard that is written and not applied
        if name == SETTINGS_NAME:
            return False
        if posixpath.basename(name) in (SETTINGS_NAME, "reconciler.yml"):
            hint = f"settings stand in {SETTINGS_NAME} at the top of the manifests directory"
            self._add_problem(
                Source(display_path(self.files, name)), "settings that nobody reads", "settings-place", hint
            )
            return False
        return True

    def _warn_of_misnamed(self) -> None:
        """What such a file declares would be pruned in silence."""
        for name in self.files.misnamed() if self.complete else ():
            # other JSON is a saved plan, or data
            if name.isprintable() and (not name.lower().endswith(".json") or self._see_location(name)):
                message = "it looks like a manifest, and nobody reads it"
                hint = "a manifest ends .yaml or .yml: name it so, or move it out of the directory"
                source = Source(display_path(self.files, name))
                self.problems.append(Problem(source, message, "manifest-ending", Severity.WARNING, hint))

    def _see_location(self, name: str) -> LocationId | None:
        try:
            with self.files.open(name) as stream:
                return see_location(stream.read(HEAD))
        except (CannotRead, OSError):
            return None

    def _add_problem(self, source: Source, message: str, check: str, hint: str = "") -> None:
        self.problems.append(Problem(source, message, check, hint=hint))

    def _read_root(self, name: str) -> Node | None:
        """A file's document; None where it has none, or none that can be used."""
        path = display_path(self.files, name)
        # printed as it is, such a name could change what a terminal shows
        if not name.isprintable():
            self._add_problem(Source(ascii(path)[1:-1]), "a file name with characters that cannot be shown", "path")
            self.complete = False
            return None
        try:
            with self.files.open(name) as stream:
                # a byte more than allowed, so that a file that is too large is noticed and not cut
                parsed = parse_nodes(decode_text(stream.read(MAX_BYTES + 1), path), path)
        except CannotRead as error:
            self._add_problem(Source(path), str(error), "path")
        except OSError as error:
            self._add_problem(Source(path), f"cannot be read: {error.strerror}", "path")
        except InvalidInput as error:
            self.problems += error.problems
        else:
            self.problems += parsed.problems
            return parsed.root
        self.complete = False
        return None

    def _load_file(self, name: str, builder: ManifestBuilder) -> BuiltFile | None:
        """The manifests of a file; None where it is none."""
        before = len(self.problems)
        root = self._read_root(name)
        path = display_path(self.files, name)
        if root is None or (isinstance(root, Scalar) and root.nothing):
            if len(self.problems) == before:
                self._add_problem(
                    Source(path, 1, 1), "the file is empty: a manifest names at least a location", "value"
                )
            return None
        if not isinstance(root, MappingNode):
            self._add_problem(root.source, "expected a mapping with `location` and `contact_sets`", "value")
            return None
        return builder.build_file(name, root)
