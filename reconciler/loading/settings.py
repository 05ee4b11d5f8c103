"""`reconciler.yaml`, the environment and the flags → Settings.

Rules
1. A flag wins over an environment variable, that over the file, that over the default; each value remembers its origin.
2. Every simple key can be overridden: `api.base_url` by the variable RECONCILER_API_BASE_URL and the flag
   --api-base-url. Rules of tags, locations, sources, allow and expected_drift are reviewed text: of the file only.
3. No token is read here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from reconciler.core.model.errors import Problem, Severity
from reconciler.core.model.names import LocationId, Source, Tag, did_you_mean, normalise_tag
from reconciler.core.model.notice import NotifySettings
from reconciler.core.model.people import RowQuery
from reconciler.core.model.settings import (
    Allowed,
    ApiSettings,
    ApplySettings,
    ExpectedDrift,
    GuardLimits,
    LocationSettings,
    OriginKind,
    PlanSettings,
    SettingOrigin,
    Settings,
)
from reconciler.loading import mistakes
from reconciler.loading import nodes as yaml_nodes
from reconciler.loading.build import Report, read_instant, tag_rules
from reconciler.loading.query_files import list_source_faults
from reconciler.loading.settings_models import SettingsModel, SourceModel

if TYPE_CHECKING:
    from reconciler.core.manifests.compare_revisions import SettingMove

PREFIX = "RECONCILER_"
SECTIONS = ("api", "plan", "apply", "notify", "guards")
OURS = frozenset(
    PREFIX + name for name in ("HOME", "STATE_READONLY", "KEY", "FLEET_DATABASE", "NOTIFY_URL", "NOTIFY_SECRET")
)
"""Variables that are no settings: of the actions and of the examples for CI, the key of fingerprints, the fleet's
database, the webhook."""
_FROM_FILE_ONLY = ("tags", "locations", "sources", "allow", "expected_drift")


@cache
def setting_keys() -> tuple[str, ...]:
    """The simple settings, such as `timezone` and `api.base_url`, in the order of the documentation."""
    return tuple(_model_keys(SettingsModel))


@cache
def variable_name(key: str) -> str:
    return PREFIX + key.replace(".", "_").upper()


def flag_name(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")


def _model_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, definition in model.model_fields.items():
        if not prefix and name in _FROM_FILE_ONLY:
            continue
        if not prefix and name in SECTIONS:
            yield from _model_keys(definition.annotation, f"{name}.")  # type: ignore[arg-type]
        else:
            yield prefix + name


@dataclass(frozen=True, slots=True)
class Overrides:
    """The sources of settings that win over the file."""

    environment: Mapping[str, str]
    """All variables of the process."""
    flags: Mapping[str, str]
    """Texts by key."""

    def find_origins(self) -> dict[str, tuple[str, SettingOrigin]]:
        """For each overridden key its text and the origin of that."""
        origins: dict[str, tuple[str, SettingOrigin]] = {}
        for key in setting_keys():
            if (text := self.environment.get(variable_name(key))) is not None:
                origins[key] = text, SettingOrigin(OriginKind.ENVIRONMENT, Source(variable_name(key)))
            if (text := self.flags.get(key)) is not None:
                origins[key] = text, SettingOrigin(OriginKind.FLAG, Source(flag_name(key)))
        return origins

    def find_unknown(self) -> Iterator[Problem]:
        """Variables that look like settings and are none."""
        names = set(map(variable_name, setting_keys()))
        for name in sorted(name for name in self.environment if name.startswith(PREFIX)):
            if name not in names and name not in OURS:
                # compared without the prefix, which would make all of them similar
                ends = sorted(name.removeprefix(PREFIX) for name in names)
                hint = did_you_mean(name.removeprefix(PREFIX), ends).replace("'", f"'{PREFIX}", 1)
                yield Problem(Source(name), "no such setting", "variable", Severity.WARNING, hint)


def read_settings(root: yaml_nodes.Node | None, path: str, overrides: Overrides, report: Report) -> Settings:
    """The settings; the defaults where a problem was reported."""
    for problem in overrides.find_unknown():
        report(problem)
    if root is not None and not isinstance(root, yaml_nodes.Mapping):
        report(Problem(root.source, "expected a mapping of settings", "value"))
        root = None
    node = root or yaml_nodes.Mapping({}, Source(path))
    origins = _file_origins(node)
    # overrides become nodes and are validated with the file: the same rules, the same messages
    merged = node
    for key, (text, origin) in overrides.find_origins().items():
        merged = _lay_over(merged, key.split("."), yaml_nodes.Scalar(text, origin.source or node.source))
        origins[key] = origin
    try:
        # a section that is left out is one of defaults
        sections: dict[str, yaml_nodes.Plain] = {name: {} for name in SECTIONS}
        model = SettingsModel.model_validate(sections | yaml_nodes.plain_mapping(merged))
    except ValidationError as error:
        for problem in mistakes.list_problems(error, merged, SettingsModel):
            report(problem)
        # the defaults stand in, so that the manifests are checked too before all is refused
        return Settings()
    return _build_settings(model, merged, origins, report)


def _lay_over(node: yaml_nodes.Mapping, parts: list[str], value: yaml_nodes.Scalar) -> yaml_nodes.Mapping:
    """The mapping with one value laid over it; a section that is no mapping stays as it is, to be reported."""
    name = parts[0]
    key = yaml_nodes.Scalar(name, value.source)
    if len(parts) == 1:
        return yaml_nodes.Mapping({**node.items, name: (key, value)}, node.source)
    # a section that the file lacks is made for the override
    key, below = node.items.get(name, (key, yaml_nodes.Mapping({}, value.source)))
    if not isinstance(below, yaml_nodes.Mapping):
        return node
    return yaml_nodes.Mapping({**node.items, name: (key, _lay_over(below, parts[1:], value))}, node.source)


def _file_origins(node: yaml_nodes.Mapping) -> dict[str, SettingOrigin]:
    written = {name: value.source for name, (_, value) in node.items.items()}
    for section in SECTIONS:
        if isinstance(holder := node.get(section), yaml_nodes.Mapping):
            written |= {f"{section}.{name}": value.source for name, (_, value) in holder.items.items()}
    return {key: SettingOrigin(OriginKind.FILE, written[key]) for key in setting_keys() if key in written}


def _build_settings(
    model: SettingsModel, node: yaml_nodes.Mapping, origins: Mapping[str, SettingOrigin], report: Report
) -> Settings:
    return Settings(
        state=model.state,
        snapshots=model.snapshots,
        lineage=model.lineage,
        timezone=model.timezone,
        authority=model.authority,
        api=ApiSettings(**model.api.model_dump()),
        plan=PlanSettings(**model.plan.model_dump()),
        apply=ApplySettings(**model.apply.model_dump()),
        notify=NotifySettings(**model.notify.model_dump()),
        rules=tag_rules(model.tags, node.get("tags"), model.timezone, report),
        locations=_build_locations(model, node),
        sources=dict(_build_sources(model, node, report)),
        guards=GuardLimits(**model.guards.model_dump()),
        allow=tuple(_build_exceptions(model, _list_items(node, "allow"), report)),
        expected_drift=tuple(_build_expected_drift(model, _list_items(node, "expected_drift"))),
        history_keep=model.history_keep,
        contact_url=model.contact_url,
        origins=origins,
    )


def _build_locations(model: SettingsModel, node: yaml_nodes.Mapping) -> dict[LocationId, LocationSettings]:
    places: Any = node.get("locations")
    return {
        LocationId(name): LocationSettings(LocationId(name), places.items[name][0].source, **entry.model_dump())
        for name, entry in model.locations.items()
    }


def _build_sources(model: SettingsModel, node: yaml_nodes.Mapping, report: Report) -> Iterator[tuple[str, RowQuery]]:
    places: Any = node.get("sources")
    for name, entry in model.sources.items():
        key, written = places.items[name]
        for problem in list_source_faults(entry, key, written):
            report(problem)
        yield name, _build_source(name, entry, key.source)


def _build_source(name: str, model: SourceModel, place: Source) -> RowQuery:
    files = tuple(posixpath.normpath(file) for file in model.files or ())
    return RowQuery(
        name,
        place,
        tuple(model.command or ()),
        model.sql or "",
        files,
        format=model.format,
        timeout_s=model.timeout_s,
        max_mib=model.max_mib,
        max_age_ms=model.max_age,
    )


def _list_items(node: yaml_nodes.Mapping, key: str) -> Iterable[yaml_nodes.Node]:
    listed = node.get(key)
    return listed.items if isinstance(listed, yaml_nodes.Sequence) else ()


_SCOPES = {"": "neither `tag` nor `set`", "tag": "`tag: TAG`", "set": "`set: NAME`"}


def _build_exceptions(model: SettingsModel, places: Iterable[yaml_nodes.Node], report: Report) -> Iterator[Allowed]:
    for entry, place in zip(model.allow, places, strict=True):
        kinds = [kind for kind in ("tag", "set") if getattr(entry, kind) is not None]
        if "".join(kinds) not in entry.guard.scopes:
            given = " and ".join(f"`{kind}`" for kind in kinds) or _SCOPES[""]
            message = f"an exception of the guard {entry.guard} names {given}, where it is not measured"
            written = " or ".join(_SCOPES[scope] for scope in entry.guard.scopes)
            report(Problem(place.source, message, "allow", hint=f"write {written}"))
        until = read_instant(entry.until, model.timezone)
        assert until is not None
        yield Allowed(
            guard=entry.guard,
            reason=entry.reason,
            until=until,
            source=place.source,
            tag=_to_tag(entry.tag),
            set=entry.set,
            location=_to_location(entry.location),
        )


def _build_expected_drift(model: SettingsModel, places: Iterable[yaml_nodes.Node]) -> Iterator[ExpectedDrift]:
    for entry, place in zip(model.expected_drift, places, strict=True):
        yield ExpectedDrift(
            tag=normalise_tag(entry.tag),
            source=place.source,
            classes=frozenset(entry.classes),
            reason=entry.reason,
            set=entry.set,
            location=_to_location(entry.location),
            until=read_instant(entry.until, model.timezone),
        )


def _to_tag(text: str | None) -> Tag | None:
    return None if text is None else normalise_tag(text)


def _to_location(text: str | None) -> LocationId | None:
    return None if text is None else LocationId(text)


def compare_settings(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[SettingMove, ...]:
    """The differences between two trees of plain values, sorted by dotted key."""
    # only `diff` compares settings: every other command starts faster without the library
    from deepdiff import DeepDiff

    differences = DeepDiff(before, after, view="tree", verbose_level=2)
    moves = (move for kind in differences.values() for level in kind for move in _setting_moves(level))
    return tuple(sorted(moves, key=lambda move: move.key))


def _setting_moves(level: Any) -> Iterator[SettingMove]:
    from reconciler.core.manifests.compare_revisions import SettingMove

    key = ".".join(str(part) for part in level.path(output_format="list"))
    before, after = level.t1, level.t2
    tree = next((side for side in (before, after) if isinstance(side, Mapping) and side), None)
    if tree is None or (isinstance(before, Mapping) and isinstance(after, Mapping)):
        yield SettingMove(key, _setting_text(before), _setting_text(after))
        return
    # a branch as a whole came or went: each of its leaves is a move
    for name, value in tree.items():
        gone = tree is before
        yield SettingMove(
            f"{key}.{name}", _setting_text(value) if gone else None, None if gone else _setting_text(value)
        )


def _setting_text(value: Any) -> str | None:
    from deepdiff.helper import NotPresent

    if isinstance(value, NotPresent) or value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
