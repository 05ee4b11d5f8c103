"""`reconciler export`"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import click

from reconciler.cli.console import Console
from reconciler.cli.options import common, locking
from reconciler.cli.session import load_state
from reconciler.cli.storing import Stored, ended_by_signals, read_and_store
from reconciler.cli.whose import settings_of, whose_state
from reconciler.core.manifests.export_sets import Export, GroupBy, export_sets
from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.core.model.names import ContactId, LocationId, normalise_tag
from reconciler.core.model.safe_text import redacted, visible
from reconciler.core.model.settings import OriginKind, Settings
from reconciler.core.observing.refresh_rules import Method, RefreshRequest
from reconciler.core.planning.plan import LocationState
from reconciler.loading.export_files import contacts_text, manifest_text, write_files
from reconciler.output.blocks import counted
from reconciler.store import open_reader, open_store


@click.command(epilog="Example: reconciler export --location asdrwHvLUxlfw5SqKVCN --refresh search --out manifests")
@click.option(
    "--location",
    "locations",
    multiple=True,
    metavar="L",
    help="This location, by id or name; repeatable.  [default: all]",
)
@click.option("--tag", "tags", multiple=True, metavar="T", help="Only this tag, or pattern of tags; repeatable.")
@click.option(
    "--group-by",
    type=click.Choice([each.value for each in GroupBy]),
    default=GroupBy.ONE_SET_PER_TAG.value,
    show_default=True,
    help="tag: a manifest for each tag; one-set-per-tag: one manifest; combination: a contact is in one set.",
)
@click.option("--refresh", type=click.Choice(["search"]), help="Read the whole location first, and store it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("manifests"),
    show_default=True,
    metavar="DIR",
    help="Where manifests and contact files are written; nothing is overwritten.",
)
@whose_state
@locking
@common
def command(manifests: Path, out: Path, group_by: str, tags: tuple[str, ...], **options: Any) -> int:
    """Write manifests that declare what contacts carry: adopt a location that exists.

    From what was observed, or with --refresh search from what the location has now. The plan that follows adopts
    what is there, and sends nothing.
    """
    console = Console.of(options)
    settings = settings_of(manifests, options, begins=True)
    files: dict[Path, str] = {}
    for location in _locations(settings, options):
        state, present = _state(settings, location, console, options)
        export = export_sets(
            state.observed,
            group_by=GroupBy(group_by),
            called=location,
            patterns=[normalise_tag(each) for each in tags],
            present=present,
        )
        files |= _files(location, export, GroupBy(group_by))
        _tell(location, export, console)
    if not files:
        raise UsageError("nothing was observed that could be exported", hint="read the location: --refresh search")
    write_files(out, files)
    console.answer("".join(f"wrote {visible(str(out / path))}\n" for path in sorted(files) if path.suffix == ".yaml"))
    # the directory has no settings of its own that would name this state
    apart = settings.origin("state").kind is OriginKind.FILE and out.resolve() != manifests.resolve()
    same = f" --state {redacted(settings.state)}" if apart else ""
    console.note(f"next: reconciler plan {out}{same}, which adopts what is there")
    return ExitCode.DONE


def _locations(settings: Settings, options: Mapping[str, Any]) -> list[LocationId]:
    """Those that were named; else those that have state, or that the settings know where they are to be read."""
    if options["locations"]:
        return [settings.find_location(each) for each in options["locations"]]
    with open_reader(settings.state) as reader:
        known = set(reader.list_locations()) | (settings.locations.keys() if options["refresh"] else set())
    if not known:
        raise UsageError("no location is known", hint="name one: --location L --refresh search")
    return sorted(known)


async def _ended_in_order(reading: Awaitable[Stored]) -> Stored:
    with ended_by_signals():
        return await reading


def _state(
    settings: Settings, location: LocationId, console: Console, options: Mapping[str, Any]
) -> tuple[LocationState, frozenset[ContactId] | None]:
    """What is known, and who is there, where a search proved that."""
    if not options["refresh"]:
        with open_reader(settings.state) as reader:
            return load_state(settings, reader, location), None
    with open_store(settings.state) as store:
        reading = read_and_store(settings, store, location, _everybody, console, options, operation="export")
        stored = asyncio.run(_ended_in_order(reading))
    if stored.found.incomplete:
        console.warn(
            f"location {location}: the search was not complete: {stored.found.incomplete}. Contacts may be missing"
        )
    return stored.state, None if stored.found.shown is None else frozenset(stored.found.shown)


def _everybody(state: LocationState) -> RefreshRequest:
    return RefreshRequest(Method.SEARCH, (), known=len(state.observed), everybody=True)


def _files(location: LocationId, export: Export, group_by: GroupBy) -> dict[Path, str]:
    """One manifest of the location's name, or a directory of that name with one for each tag."""
    apart = group_by is GroupBy.TAG
    home, folder = (Path(location), "contacts") if apart else (Path(), f"contacts/{location}")
    comment = "written by reconciler export: what contacts carried; review it, then it is yours"
    files: dict[Path, str] = {}
    for name, sets in export.manifests.items():
        files[home / f"{name}.yaml"] = manifest_text(location, sets, folder=folder, comment=comment)
        for each in sets:
            files[home / folder / f"{each.name}.csv"] = contacts_text(each)
    return files


def _tell(location: LocationId, export: Export, console: Console) -> None:
    sets = sum(map(len, export.manifests.values()))
    held = f"{counted(export.contacts, 'contact')}, {counted(export.pairs, 'pair')}"
    console.note(f"location {location}: {counted(sets, 'set')}, {held}")
    if export.undeclarable:
        some = ", ".join(ascii(tag) for tag in export.undeclarable[:5])
        console.warn(f"left out, since no manifest can name them: {counted(len(export.undeclarable), 'tag')}: {some}")
    if export.odd:
        console.warn(f"left out {counted(export.odd, 'contact')} with an id that no file can hold")
