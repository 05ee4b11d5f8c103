"""The settings that hold, with their origins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from reconciler.core.model.names import LocationId, Source
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import OriginKind, SettingOrigin, Settings
from reconciler.output.blocks import Cell, Column, Section, Style, View, counted, table


def settings_view(settings: Settings, tokens: Mapping[LocationId, bool]) -> View:
    """`tokens`: per location, whether its variable is set; a token itself is never shown."""
    rows = [(Cell(each.key), Cell(each.value), Cell(str(each.origin), Style.FAINT)) for each in shown(settings)]
    values = table("", (Column("setting"), Column("value"), Column("from")), rows, most=None)
    found = [_token(settings, location, is_set) for location, is_set in sorted(tokens.items())]
    columns = (Column("location"), Column("variable"), Column("token"))
    verdict = Cell(f"{counted(len(rows), 'value')}; a flag rules over the environment, the environment over the file.")
    return View("Settings", (Section("Settings", verdict, (values, table("Tokens", columns, found, most=None))),))


def _token(settings: Settings, location: LocationId, is_set: bool) -> tuple[Cell, ...]:
    place = settings.location(location)
    if is_set:
        told = Cell("set", Style.GOOD)
    else:
        told = Cell("from token_command") if place.token_command else Cell("not set", Style.WARN)
    return Cell(location), Cell(place.token_env), told


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as a person sees it: no password, no token."""

    key: str
    value: str
    origin: SettingOrigin


def shown(settings: Settings) -> Iterator[Shown]:
    """Every simple setting, then one line a location; the order is that of the documentation."""
    simple: list[tuple[str, object]] = [
        ("state", redacted(settings.state)),
        ("lineage", settings.lineage),
        ("timezone", settings.timezone),
        ("authority", settings.authority),
    ]
    sections = (("api", settings.api), ("plan", settings.plan), ("apply", settings.apply), ("guards", settings.guards))
    for name, section in sections:
        simple += [(f"{name}.{each.name}", getattr(section, each.name)) for each in fields(section)]
    simple += [("history_keep", settings.history_keep), ("contact_url", settings.contact_url or None)]
    for key, value in simple:
        yield Shown(key, _text(value), settings.origin(key))
    for place in settings.locations.values():
        token = f"command {place.token_command}" if place.token_command else f"variable {place.token_env}"
        yield Shown(f"locations.{place.location}", f"{place.name or '-'}, token from {token}", _written(place.source))


def _written(source: Source) -> SettingOrigin:
    return SettingOrigin(OriginKind.FILE, source)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
