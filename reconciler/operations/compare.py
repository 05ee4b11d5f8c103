"""Comparing the manifests with those of another revision. Law: needs no token and no environment.

Where matched sets have their snapshots in a state on this machine, it is read; else they are compared without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from reconciler.core.manifests.compare_revisions import Comparison, SettingMove, compare_revisions
from reconciler.core.model.contact_filter import describe_filter
from reconciler.core.model.errors import UsageError
from reconciler.core.model.manifest import Combined, ContactSet, ListedContacts, Manifest, TagRule
from reconciler.core.model.names import iso
from reconciler.core.model.people import RowQuery
from reconciler.core.model.safe_text import words_text
from reconciler.core.model.settings import Settings
from reconciler.loading import Directory, Loaded, load
from reconciler.loading.settings import compare_settings
from reconciler.operations.git import read_files_at
from reconciler.operations.local_snapshots import LocalSnapshots
from reconciler.operations.workspace import Workspace, group_manifests, resolve_all
from reconciler.output.findings import shown

NO_FILES = Loaded(Settings(), (), ())


@dataclass(frozen=True, slots=True, repr=False)
class CompareResult:
    """The comparison of each location, and of the settings."""

    comparisons: tuple[Comparison, ...]
    moves: tuple[SettingMove, ...]
    settings: Settings
    """The settings as the files have them now."""
    notes: tuple[str, ...] = ()
    """Parts that could not be compared."""

    @property
    def is_empty(self) -> bool:
        return not self.moves and all(comparison.is_empty for comparison in self.comparisons)


def compare_with(workspace: Workspace, base: str) -> CompareResult:
    """The files of a workspace as they are now, compared with those at `base`, a revision of Git.

    Raises InvalidInput for either side, GitRefused, and UsageError where neither has a manifest.
    """
    # both sides at one instant, so that time makes no difference
    now, directory = workspace.clock.now(), workspace.directory
    workspace.listener.on_manifests(directory)
    then = read_files_at(base, directory)
    # no environment: the files alone are compared
    snapshots = LocalSnapshots(workspace)
    before = load(then, now=now, find_snapshots=snapshots) if then.names() else NO_FILES
    present = Directory(directory)
    # a directory that is new or removed is compared with nothing
    after = load(present, now=now, find_snapshots=snapshots) if directory.is_dir() and present.names() else NO_FILES
    if not before.manifests and not after.manifests:
        raise UsageError(f"there is no manifest below {directory}, neither now nor at {base}")
    old, new = (resolve_all(group_manifests(loaded.manifests), loaded.settings, now) for loaded in (before, after))
    return CompareResult(
        tuple(
            compare_revisions(location, old.get(location), new.get(location))
            for location in sorted(old.keys() | new.keys())
        ),
        tuple(compare_settings(_flatten(before), _flatten(after))),
        after.settings,
        tuple(
            f"location {location}: matched sets are compared without their contacts: {reason}"
            for location, reason in snapshots.unread.items()
        ),
    )


def _flatten(loaded: Loaded) -> dict[str, object]:
    """Settings, tag rules and the manner of each set, as a tree of plain values."""
    tree: dict[str, object] = {setting.key: setting.value for setting in shown(loaded.settings)}
    tree |= {f"tags.{tag}": _flatten_rule(rule) for tag, rule in loaded.settings.rules.items()}
    tree |= {f"sources.{query.name}": _flatten_query(query) for query in loaded.settings.sources.values()}
    for manifest in loaded.manifests:
        tree |= {f"{manifest.location}.tags.{tag}": _flatten_rule(rule) for tag, rule in manifest.rules.items()}
        tree |= {
            f"{manifest.location}.contact_sets.{declared.name}": _flatten_set(declared, manifest)
            for declared in manifest.sets
        }
    return tree


def _flatten_set(declared: ContactSet, manifest: Manifest) -> Mapping[str, object]:
    """The manner of a set, without its contacts and tags."""
    return {
        "authority": str(declared.authority or manifest.authority or "as in the settings"),
        "ignore": ", ".join(declared.ignore) or None,
        "on_leave": str(declared.on_leave),
        "from": None if declared.start is None else iso(declared.start),
        "until": None if declared.until is None else iso(declared.until),
        **_flatten_match(declared.contacts),
    }


def _flatten_query(query: RowQuery) -> Mapping[str, object]:
    return {
        "command": words_text(query.command) or None,
        "sql": query.sql or None,
        "files": ", ".join(query.files) or None,
        "format": query.format,
        "timeout_s": query.timeout_s,
        "max_mib": query.max_mib,
        "max_age": _age_text(query.max_age_ms),
    }


def _age_text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else f"{milliseconds // 1000:,} s"


class _HidingText(str):
    """A text that leaves something out, and is compared by the whole: another address is another filter."""

    def __new__(cls, shown: str, whole: str) -> _HidingText:
        text = super().__new__(cls, shown)
        text.whole = whole
        return text

    whole: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HidingText) and self.whole == other.whole

    def __hash__(self) -> int:
        return hash(self.whole)


def _flatten_match(contacts: ListedContacts | Combined) -> Mapping[str, object]:
    """How people are matched: nothing else tells of it, since both sides have the contacts of a pull."""
    match = contacts.match if isinstance(contacts, ListedContacts) else None
    if match is None:
        return {}
    keys = [f"{key.custom_field or key.kind}: {key.column}" for key in match.keys]
    where = [
        f"{condition.column} {'contains' if condition.contains else '='} {condition.text}" for condition in match.where
    ]
    return {
        "file": match.file or None,
        "source": None if match.query is None else match.query.name,
        # as it is asked, without its `not`
        "filter": None if match.filter is None else _HidingText(str(match.filter), describe_filter(match.filter)),
        "column": match.column,
        "match": ", ".join(keys) or None,
        "where": ", ".join(where) or None,
        "region": match.region or None,
        "max_age": _age_text(match.max_age_ms),
    }


def _flatten_rule(rule: TagRule) -> Mapping[str, object]:
    """The keys of a rule that differ from the default."""
    # a default that a file does not write is no setting of the file
    default = asdict(TagRule(rule.tag, rule.source))
    slow = {key: str(value) for key, value in (("pace", rule.pace), ("window", rule.window)) if value is not None}
    return {key: value for key, value in asdict(rule).items() if value != default[key]} | slow
