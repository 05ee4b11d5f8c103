"""Snapshots of matched sets as files: for each set its sorted ids, which a review shows, and their facts beside them.

Rules
1. The same snapshot has the same bytes, and each file is replaced in one step.
2. The facts name the ids by their digest: files that do not belong together are damaged, and no snapshot. New ids wait
   beside their place until the facts are there: a pull that is stopped anywhere leaves the old snapshot or the new.
3. A snapshot is read as any file of the tree is, of another revision too: nothing outside is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, unquote

from reconciler.core.formats.json_forms import LONGEST_TEXT, PLAIN_FORMS, Count, read_text
from reconciler.core.formats.state_json import missing_document, read_missing
from reconciler.core.model.errors import Problem, Severity, StateError
from reconciler.core.model.names import ContactId, LocationId, SetName, Source, iso, parse_instant
from reconciler.core.model.people import MatchCounts, Snapshot
from reconciler.core.model.safe_text import quoted
from reconciler.core.model.settings import Settings
from reconciler.loading.file_tree import NO_FILE, OUTSIDE, CannotRead
from reconciler.loading.files import Directory, Files, display_path
from reconciler.system import CALLS, FileCalls, make_folders, replace_file

FORMAT_VERSION = "1.0"
LONGEST_NAME = 200
"""File systems take 255 bytes; a longer name ends in its digest."""
MOST_BYTES = 512 * 1024 * 1024


FindSnapshots = Callable[[Settings, LocationId], Mapping[SetName, Snapshot] | None]
"""The snapshots that a location's state has; None where they cannot be read, which whoever asks tells himself."""


class DamagedSnapshot(Exception):
    """Files of a snapshot that cannot be used; `name`: the one that is at fault."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def locate_folder(setting: str, directory: str) -> str:
    """The name of the snapshots' directory in the tree of manifests at `directory`; raises CannotRead outside of it.

    The same wherever a command runs: from the topmost directory above the manifests that it leads into them from. One
    that begins with a dot is relative to the manifests where there is none, as is any where they are a whole checkout.
    """
    home = _find_home(directory)
    places = dict.fromkeys((home, Path(os.path.realpath(home))))
    starts = [(start, place) for place in places for start in reversed(place.parents)]
    if setting.startswith(".") or os.path.lexists(home / ".git"):
        starts.append((home, home))
    for start, place in starts:
        relative = Path(os.path.relpath(start / setting, place)).as_posix()
        if relative != ".." and not relative.startswith("../"):
            return "" if relative == "." else relative
    raise CannotRead(f"the directory {OUTSIDE}")


def _find_home(directory: str) -> Path:
    """The whole path of a directory, through links as they are written; empty: the working directory."""
    return Path(os.path.normpath(Path(directory).absolute()))


def find_folder(settings: Settings, directory: Path) -> Path | None:
    """The directory of snapshots; None where they are in the state. `directory`: that of the manifests.

    Raises CannotRead where the setting names one outside.
    """
    return directory / locate_folder(settings.snapshots, str(directory)) if settings.snapshots else None


def snapshot_paths(folder: str, location: LocationId, name: SetName) -> tuple[str, str]:
    """The names of the two files of a set's snapshot, in the tree where `folder` is the directory of all."""
    quoted = quote(name, safe="")
    if len(quoted) > LONGEST_NAME:
        quoted = f"{quoted[: LONGEST_NAME - 33]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return posixpath.join(folder, location, f"{quoted}.txt"), posixpath.join(folder, location, f"{quoted}.json")


def find_set_names(directory: Path, location: LocationId) -> set[SetName]:
    """The sets that have a snapshot in a directory of snapshots, but for those of the longest names."""
    return {SetName(unquote(path.stem)) for path in (directory / location).glob("*.json")}


def find_naming(
    settings: Settings, directory: Path, location: LocationId, contacts: Collection[ContactId]
) -> tuple[Path, ...]:
    """The files of ids that name one of the contacts, sorted; none where snapshots are in the state, or outside."""
    home: Path | None = None
    with suppress(CannotRead):
        home = find_folder(settings, directory)
    if home is None or not contacts:
        return ()
    sought, folder = {contact.encode() for contact in contacts}, home / location
    listed = sorted([*folder.glob("*.txt"), *folder.glob(waiting_name("*.txt"))])
    return tuple(path for path in listed if not sought.isdisjoint(path.read_bytes().split()))


def read_snapshot(files: Files, folder: str, location: LocationId, name: SetName) -> Snapshot | None:
    """The snapshot of a set; None where it has none. Raises DamagedSnapshot."""
    listed, described = snapshot_paths(folder, location, name)
    ids, facts = _read_file(files, listed), _read_file(files, described)
    if ids is None and facts is None:
        return None
    waiting = _read_waiting(files, listed, facts)
    if waiting is not None:
        ids = waiting
    if ids is None or facts is None:
        raise DamagedSnapshot(listed if ids is None else described, "it is missing beside the other file")
    # a checkout may have written other line ends
    return _parse_snapshot(ids.replace(b"\r\n", b"\n"), facts, (listed, described), (location, name))


def waiting_name(listed: str) -> str:
    """The name under which new ids wait for the facts that name them."""
    return f".{listed}.next"


def _read_waiting(files: Files, listed: str, facts: bytes | None) -> bytes | None:
    """The ids that wait, where the facts name these: a pull was stopped before it gave them their name."""
    folder, name = posixpath.split(listed)
    waiting = _read_file(files, posixpath.join(folder, waiting_name(name)))
    return waiting if waiting is not None and facts is not None and _digest(waiting).encode() in facts else None


def explain_damage(error: DamagedSnapshot, files: Files, paths: tuple[str, str], name: SetName) -> Problem:
    message = f"the snapshot of contact set {name!r} cannot be used: {error}"
    both = " and ".join(display_path(files, path) for path in paths)
    hint = f"restore {both} from Git, or delete both to begin anew: the next pull then has nothing to compare with"
    return Problem(Source(display_path(files, error.name)), message, "snapshot-damaged", hint=hint)


def _read_file(files: Files, name: str) -> bytes | None:
    try:
        with files.open(name) as stream:
            content = stream.read(MOST_BYTES + 1)
    except CannotRead as error:
        if str(error) == NO_FILE:
            return None
        raise DamagedSnapshot(name, str(error)) from None
    except OSError as error:
        raise DamagedSnapshot(name, f"it cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise DamagedSnapshot(name, "it is too large")
    return content


def _parse_snapshot(ids: bytes, facts: bytes, names: tuple[str, str], of: tuple[LocationId, SetName]) -> Snapshot:
    try:
        document = json.loads(facts)
        version, digest, counted = document["format_version"], document["contacts_digest"], document["counts"]
        if str(version).partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
            raise DamagedSnapshot(names[1], f"its format {str(version)[:20]!r} is not known here")
        if (document["location"], document["set"]) != of:
            raise DamagedSnapshot(names[1], "it is of another set")
        if digest != _digest(ids):
            raise DamagedSnapshot(names[0], "it was changed, or is of another pull than the facts beside it")
        contacts = tuple(map(ContactId, ids.decode("ascii").split()))
        if not all(contact.isprintable() and len(contact) <= LONGEST_TEXT for contact in contacts):
            raise DamagedSnapshot(names[0], "it holds what no id can be")
        # whoever wrote both files may have given a contact twice, which no plan expects
        if any(first >= second for first, second in pairwise(contacts)):
            raise DamagedSnapshot(names[0], "its ids are not sorted, or one is there twice")
        # as a state reads them: what a file brings is stored there, and must come back
        count = PLAIN_FORMS[Count].read
        counts = MatchCounts(**{entry.name: count(counted.get(entry.name, 0)) for entry in fields(MatchCounts)})
        # files of sets that are not by filter, and older ones, have none
        missing = read_missing(document.get("missing", {}))
        if not missing.keys() <= set(contacts):
            raise DamagedSnapshot(names[1], "it names a contact that is not among its ids")
        digest = read_text(document["source_digest"])
        return Snapshot(contacts, parse_instant(document["as_of"]), digest, counts, missing)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise DamagedSnapshot(names[1], "it is not as a pull writes it") from None


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def write_snapshot(
    directory: Path, location: LocationId, name: SetName, snapshot: Snapshot, *, calls: FileCalls = CALLS
) -> tuple[Path, Path]:
    """Writes the two files of a set's snapshot below the directory of all; returns their paths. Raises StateError."""
    listed, described = (directory / path for path in snapshot_paths("", location, name))
    ids = "".join(f"{contact}\n" for contact in snapshot.contacts).encode("ascii")
    facts = {
        "format_version": FORMAT_VERSION,
        "location": location,
        "set": name,
        "as_of": iso(snapshot.as_of),
        "source_digest": snapshot.source_digest,
        "counts": asdict(snapshot.counts),
        **({"missing": missing_document(snapshot.missing)} if snapshot.missing else {}),
        "contacts_digest": _digest(ids),
    }
    try:
        make_folders(listed.parent, calls=calls)
        # the author of a checkout's files may have put a link there, to have a file elsewhere replaced
        if directory.is_symlink() or listed.parent.is_symlink():
            raise StateError(f"snapshots are not written through a link: {listed.parent}", hint="remove the link")
        # the ids wait beside their place until the facts name them: at any moment a whole snapshot can be read
        waiting = listed.with_name(waiting_name(listed.name))
        replace_file(waiting, ids, calls=calls)
        replace_file(described, (json.dumps(facts, indent=2, ensure_ascii=True) + "\n").encode("ascii"), calls=calls)
        calls.replace(str(waiting), listed)
        calls.sync_folder(listed.parent)
    except OSError as error:
        raise StateError(f"the snapshot {listed} cannot be written: {error.strerror}") from error
    return listed, described


@dataclass(frozen=True, slots=True, repr=False)
class KeptSnapshots:
    """The snapshots of a location's matched sets; a set that was never pulled has none."""

    found: Mapping[SetName, Snapshot]
    damaged: Mapping[SetName, tuple[str, ...]] = field(default_factory=dict)
    """Why files of a set cannot be used, in lines."""
    taken: Mapping[SetName, Snapshot] = field(default_factory=dict)
    """Those of sets that have another name by now: the set has its source."""

    def find_previous(self, name: SetName) -> Snapshot | None:
        """The snapshot that tells who stays in a set; the one found under its name may be of another source."""
        return self.taken.get(name, self.found.get(name))


def read_snapshot_files(
    settings: Settings, directory: Path, location: LocationId, names: Iterable[SetName]
) -> KeptSnapshots:
    """The snapshots of these sets; `directory`: that of the manifests, below which the settings have them."""
    files = Directory(directory)
    folder = locate_folder(settings.snapshots, files.place)
    found, damaged = dict[SetName, Snapshot](), dict[SetName, tuple[str, ...]]()
    for name in names:
        try:
            snapshot = read_snapshot(files, folder, location, name)
        except DamagedSnapshot as error:
            damaged[name] = explain_damage(error, files, snapshot_paths(folder, location, name), name).lines
        else:
            if snapshot is not None:
                found[name] = snapshot
    return KeptSnapshots(found, damaged)


class SnapshotFinder:
    """Where the snapshots of matched sets are: files of the tree, or the state."""

    def __init__(
        self, files: Files, settings: Settings, find: FindSnapshots | None, report: Callable[[Problem], None]
    ) -> None:
        self.known = bool(settings.snapshots) or find is not None
        """Whether a set without a snapshot was never pulled."""
        self._files = files
        self._settings = settings
        self._find = find
        self._report = report
        self._found: dict[LocationId, Mapping[SetName, Snapshot] | None] = {}
        self._folder = self._locate_folder() if settings.snapshots else None

    def _locate_folder(self) -> str | None:
        setting = self._settings.snapshots
        try:
            return locate_folder(setting, self._files.place)
        except CannotRead as error:
            self.known = False
            source = self._settings.origin("snapshots").source or Source(self._files.label)
            # no whole path, which is one of this machine
            hint = f"such as {posixpath.join(_find_home(self._files.place).name, '.resolved')}"
            self._report(Problem(source, f"snapshots: {quoted(setting[:200])}: {error}", "snapshots", hint=hint))
            return None

    def find(self, location: LocationId | None, name: SetName) -> Snapshot | None:
        """The snapshot of a set; None where there is none, it cannot be used, or nothing is known of it."""
        if location is None:
            return None
        if self._folder is not None:
            return self._read(self._folder, location, name)
        if self._settings.snapshots or self._find is None:
            return None
        if location not in self._found:
            self._found[location] = self._find(self._settings, location)
        found = self._found[location]
        return None if found is None else found.get(name)

    def is_unread(self, location: LocationId | None) -> bool:
        """Whether the snapshots of the location are there, for all that is known, and could not be read."""
        return location in self.unread

    @property
    def unread(self) -> frozenset[LocationId]:
        """The locations whose snapshots could not be read."""
        return frozenset(location for location, found in self._found.items() if found is None)

    def _read(self, folder: str, location: LocationId, name: SetName) -> Snapshot | None:
        try:
            return read_snapshot(self._files, folder, location, name)
        except DamagedSnapshot as error:
            # no error: a pull loads the manifests too, and goes on with the other sets
            problem = explain_damage(error, self._files, snapshot_paths(folder, location, name), name)
            self._report(replace(problem, severity=Severity.WARNING))
            return None
