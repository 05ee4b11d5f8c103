"""A world as a JSON file, and a made-up world around given contacts: the same for ever for the same seed.

Rules
1. A file is written beside its place and moved there, so that it is always complete. Only its owner may read it.
2. The same world gives the same bytes: keys and contacts are sorted.
3. `format_version` is MAJOR.MINOR: unknown fields are ignored, an unknown MAJOR is refused.
4. Made up: most of the contacts exist and carry a few tags of their own. Some trouble is mixed in, as real lists have
   it: about one in `ONE_DELETED_IN` is deleted, one in `ONE_FOREIGN_IN` belongs to another location; an id that cannot
   be one does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import NoReturn, TypeVar

from reconciler.core.model import Json, JsonObject
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import (
    ContactId,
    Instant,
    LocationId,
    Source,
    Tag,
    iso,
    looks_like_contact_id,
    parse_instant,
)
from reconciler.core.model.outcome import Action
from reconciler.sandbox.assumptions import Assumptions, Merged, Oversize
from reconciler.sandbox.world import Contact, Transition, World, made_up_id
from reconciler.system import replace_file

FORMAT = "reconciler-sandbox"
FORMAT_VERSION = "1.1"
MOST_BYTES = 512 * 1024 * 1024

_CHECK = "sandbox-data"
_Member = TypeVar("_Member", Action, Oversize, Merged)


class _Damaged(ValueError):
    """The document is no world; the message names the place."""


def save_world(path: Path, world: World) -> None:
    """Replaces the file at `path`; raises InvalidInput where it cannot be written."""
    text = json.dumps(_world_document(world), indent=1, sort_keys=True) + "\n"
    try:
        replace_file(path, text.encode())
    except OSError as problem:
        _refuse_file(path, f"cannot be written: {problem.strerror}", hint="choose a directory that you may write to")


def load_world(path: Path) -> World:
    """The world at `path`; raises InvalidInput where there is none that this version reads."""
    document = _read_document(path)
    if document.get("format") != FORMAT:
        _refuse_file(path, "is not the data of a sandbox", hint=f'its first key would be "format": "{FORMAT}"')
    version = str(document.get("format_version"))
    if version.partition(".")[0] != FORMAT_VERSION.partition(".")[0]:
        _refuse_file(
            path,
            f"has format {version}, this version reads {FORMAT_VERSION}",
            hint="use the version of reconciler that wrote it, or a newer one",
        )
    try:
        return _read_world(document)
    except _Damaged as problem:
        _refuse_file(path, f"is damaged: {problem}", hint="restore the file, or delete it to start anew")


def _world_document(world: World) -> JsonObject:
    contacts = sorted(world.contacts.values(), key=lambda contact: contact.id)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "location": world.location,
        "assumptions": asdict(world.assumptions),
        "known_tags": list(world.known_tags),
        "contacts": [_contact_document(contact) for contact in contacts],
        "transitions": [asdict(change) | {"at": iso(change.at)} for change in world.transitions],
    }


def _contact_document(contact: Contact) -> JsonObject:
    return {
        "id": contact.id,
        "location": contact.location,
        "tags": sorted(contact.tags),
        "added": iso(contact.added),
        "updated": iso(contact.updated),
        "deleted": None if contact.deleted is None else iso(contact.deleted),
        "merged_into": contact.merged_into,
    }


def _read_document(path: Path) -> JsonObject:
    try:
        # a wrong file, such as a disk image, is refused before it is read into memory
        if path.stat().st_size > MOST_BYTES:
            _refuse_file(path, f"is larger than {MOST_BYTES} bytes", hint="this is no data file of a sandbox")
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        _refuse_file(path, "no such file", hint="check the path; a file is written when a sandbox ends")
    except OSError as problem:
        _refuse_file(path, f"cannot be read: {problem.strerror}", hint="check the path and its permissions")
    except json.JSONDecodeError as problem:
        place = Source(str(path), problem.lineno, problem.colno)
        _refuse_file(place, f"is damaged: {problem.msg}", hint="restore the file, or delete it to start anew")
    except (ValueError, RecursionError):
        _refuse_file(path, "is damaged: not JSON", hint="restore the file, or delete it to start anew")
    return document if isinstance(document, dict) else {}


def _read_world(document: JsonObject) -> World:
    contacts = [
        _read_contact(item, f"contacts[{place}]") for place, item in enumerate(_read_items(document, "contacts"))
    ]
    if len({contact.id for contact in contacts}) < len(contacts):
        raise _Damaged("contacts: an id is there twice")
    # a write to a merged contact goes to its survivor, which therefore must be there
    if not {contact.merged_into or contact.id for contact in contacts} <= {contact.id for contact in contacts}:
        raise _Damaged("contacts: one was merged into a contact that is not there")
    changes = [
        _read_transition(item, f"transitions[{n}]") for n, item in enumerate(_read_items(document, "transitions"))
    ]
    return World(
        LocationId(_read_text(document, "location", "")),
        contacts,
        assumptions=_read_assumptions(document.get("assumptions", {})),
        transitions=changes,
        known_tags=map(Tag, _read_texts(document, "known_tags", "")),
    )


def _read_assumptions(written: Json) -> Assumptions:
    if not isinstance(written, dict):
        raise _Damaged("assumptions is not an object")
    defaults = asdict(Assumptions())
    # a switch that a later version added is passed over: its default is what this version does
    switches = {key: value for key, value in written.items() if key in defaults}
    for key, value in switches.items():
        if type(value) is not type(defaults[key]) and not isinstance(defaults[key], StrEnum):
            raise _Damaged(f"assumptions.{key} is {value!r}, not like {defaults[key]!r}")
    if "oversize" in switches:
        switches["oversize"] = _read_member(Oversize, switches["oversize"], "assumptions.oversize")
    if "merged_row" in switches:
        switches["merged_row"] = _read_member(Merged, switches["merged_row"], "assumptions.merged_row")
    return replace(Assumptions(), **switches)


def _read_contact(item: JsonObject, place: str) -> Contact:
    deleted = item.get("deleted")
    return Contact(
        ContactId(_read_text(item, "id", place)),
        LocationId(_read_text(item, "location", place)),
        frozenset(map(Tag, _read_texts(item, "tags", place))),
        _read_instant(item, "added", place),
        _read_instant(item, "updated", place),
        None if deleted is None else _read_instant(item, "deleted", place),
        None if item.get("merged_into") is None else ContactId(_read_text(item, "merged_into", place)),
    )


def _read_transition(item: JsonObject, place: str) -> Transition:
    return Transition(
        _read_instant(item, "at", place),
        ContactId(_read_text(item, "contact", place)),
        Tag(_read_text(item, "tag", place)),
        _read_member(Action, item.get("action"), f"{place}.action"),
        _read_text(item, "by", place),
    )


def _read_items(document: JsonObject, key: str) -> list[JsonObject]:
    items = document.get(key)
    if isinstance(items, list) and len(objects := [item for item in items if isinstance(item, dict)]) == len(items):
        return objects
    raise _Damaged(f"{key} is not a list of objects")


def _read_text(item: JsonObject, key: str, place: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise _Damaged(f"{place}.{key} is not text".lstrip("."))
    return value


def _read_texts(item: JsonObject, key: str, place: str) -> list[str]:
    value = item.get(key, [])
    if isinstance(value, list) and len(texts := [text for text in value if isinstance(text, str)]) == len(value):
        return texts
    raise _Damaged(f"{place}.{key} is not a list of texts".lstrip("."))


def _read_instant(item: JsonObject, key: str, place: str) -> Instant:
    try:
        return parse_instant(_read_text(item, key, place))
    except ValueError as problem:
        raise _Damaged(f"{place}.{key} is no time: {problem}") from None


def _read_member(kind: type[_Member], value: object, place: str) -> _Member:
    try:
        return kind(str(value))
    except ValueError:
        raise _Damaged(f"{place} is {value!r}") from None


def _refuse_file(place: Path | Source, message: str, *, hint: str) -> NoReturn:
    source = place if isinstance(place, Source) else Source(str(place))
    raise InvalidInput([Problem(source, message, _CHECK, hint=hint)]) from None


ONE_DELETED_IN = 400
ONE_FOREIGN_IN = 1_500
OWN_TAGS = (
    "lead",
    "webinar 2025",
    "imported-2024",
    "newsletter",
    "trial",
    "invoice overdue",
    "wf-welcome-sent",
    "called",
)

_FIRST_DAY = 1_704_067_200_000  # 2024-01-01T00:00Z
_SPAN_MS = 600 * 86_400_000


def make_world(
    location: LocationId,
    contacts: Iterable[str],
    *,
    seed: int,
    extra: int = 0,
    tags: Sequence[str] = OWN_TAGS,
    assumptions: Assumptions | None = None,
) -> World:
    """A world in which `contacts` live, with `extra` ones that no manifest names; they may carry `tags` already."""
    rules = assumptions or Assumptions()
    # sorted and without repeats: the world must not depend on the order of the manifests
    named = sorted({contact for contact in contacts if looks_like_contact_id(contact)})
    unnamed = [made_up_id(location, str(seed), str(number)) for number in range(extra)]
    palette = [rules.spell(tag) for tag in tags]
    deleted, foreign = _pick_troubled(named, seed)
    elsewhere = LocationId(made_up_id(location, str(seed), "elsewhere"))
    made = []
    for name in dict.fromkeys([*named, *unnamed]):
        where = elsewhere if name in foreign else location
        made.append(_make_contact(name, where, palette, seed=seed, deleted=name in deleted))
    return World(location, made, assumptions=rules)


def _pick_troubled(named: list[str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """The deleted contacts and those of another location."""
    # an exact share, not a chance for each: small lists have none, large ones do
    chance = Random(f"{seed}:troubled")  # noqa: S311  the same for ever, not secret
    deleted, foreign = round(len(named) / ONE_DELETED_IN), round(len(named) / ONE_FOREIGN_IN)
    picked = chance.sample(named, deleted + foreign)
    return frozenset(picked[:deleted]), frozenset(picked[deleted:])


def _make_contact(name: str, location: LocationId, palette: Sequence[Tag], *, seed: int, deleted: bool) -> Contact:
    chance = Random(f"{seed}:{name}")  # noqa: S311  the same for ever, not secret
    count = min(len(palette), chance.choices((0, 1, 2, 3), weights=(40, 35, 18, 7))[0])
    added = _FIRST_DAY + chance.randrange(_SPAN_MS)
    updated = Instant(added + chance.randrange(_SPAN_MS // 20))
    carried = frozenset(chance.sample(palette, count))
    return Contact(ContactId(name), location, carried, Instant(added), updated, deleted=updated if deleted else None)
