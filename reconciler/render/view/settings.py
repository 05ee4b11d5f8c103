"""The settings that hold, and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.model.names import LocationId
from reconciler.core.model.settings import Settings, shown
from reconciler.render.view.blocks import Cell, Column, Section, Style, View, counted, table


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
