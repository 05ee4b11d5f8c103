"""Locations as a JSON file, and a made-up world around given contacts: the same for ever for the same seed.

Rules
1. A file is written beside its place and moved there, so that it is always complete. Only its owner may read it.
2. The same world gives the same bytes: keys and contacts are sorted.
3. `format_version` is MAJOR.MINOR: unknown fields are ignored, an unknown MAJOR is refused. A file of one location is
   of MAJOR 1, as ever; one of several is of MAJOR 2, so that a version that knows one alone does not drop the others.
4. Made up: most of the contacts exist and carry a few tags of their own. Some trouble is mixed in, as real lists have
   it: about one in `ONE_DELETED_IN` is deleted, one in `ONE_FOREIGN_IN` belongs to another location; an id that cannot
   be one does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from enum import Enum
from functools import cache
from pathlib import Path
from random import Random
from types import UnionType
from typing import Any, NewType, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from reconciler.core.model import Json, JsonObject
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import (
    ContactId,
    Instant,
    LocationId,
    Source,
    Tag,
    TagSet,
    iso,
    looks_like_contact_id,
    parse_instant,
)
from reconciler.sandbox.access import Limits
from reconciler.sandbox.app import Access, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.people import CUSTOMER_NO, LocationField, Person, make_people
from reconciler.sandbox.traits import Traits, give_traits
from reconciler.sandbox.world import Contact, Transition, World, made_up_id
from reconciler.system import replace_file

FORMAT = "reconciler-sandbox"
FORMAT_VERSION = "1.3"
FORMAT_VERSION_OF_MANY = "2.0"
MOST_BYTES = 512 * 1024 * 1024

_CHECK = "sandbox-data"
_EXAMPLES: Mapping[type, object] = {bool: True, int: 500}
_Kind = TypeVar("_Kind")


class _Damaged(ValueError):
    """The document is no world; the message names the place."""


def save_locations(path: Path, apps: Sequence[App]) -> None:
    """Replaces the file at `path`; raises InvalidInput where it cannot be written."""
    text = json.dumps(_document(apps), indent=1, sort_keys=True) + "\n"
    try:
        replace_file(path, text.encode())
    except OSError as problem:
        _refuse_file(path, f"cannot be written: {problem.strerror}", hint="choose a directory that you may write to")


def load_locations(path: Path) -> list[App]:
    """The locations at `path`; raises InvalidInput where there are none that this version reads."""
    document = _read_document(path)
    if document.get("format") != FORMAT:
        _refuse_file(path, "is not the data of a sandbox", hint=f'its first key would be "format": "{FORMAT}"')
    version = str(document.get("format_version"))
    if version.partition(".")[0] not in {"1", "2"}:
        _refuse_file(
            path,
            f"has format {version}, this version reads {FORMAT_VERSION} and {FORMAT_VERSION_OF_MANY}",
            hint="use the version of reconciler that wrote it, or a newer one",
        )
    try:
        return _read_locations(document) if version.startswith("2.") else [_read_location(document)]
    except _Damaged as problem:
        _refuse_file(path, f"is damaged: {problem}", hint="restore the file, or delete it to start anew")


def _document(apps: Sequence[App]) -> JsonObject:
    head: JsonObject = {"format": FORMAT, "format_version": FORMAT_VERSION}
    if len(apps) == 1:
        return head | _location_document(apps[0])
    locations: list[Json] = [_location_document(app) for app in sorted(apps, key=lambda app: app.world.location)]
    return head | {"format_version": FORMAT_VERSION_OF_MANY, "locations": locations}


def _location_document(app: App) -> JsonObject:
    world = app.world
    contacts = sorted(world.contacts.values(), key=lambda contact: contact.id)
    return {
        "location": world.location,
        "accesses": [asdict(access) | {"scopes": sorted(access.scopes)} for access in app.accesses],
        "limits": asdict(app.limiter.limits),
        "assumptions": asdict(world.assumptions),
        "known_tags": list(world.known_tags),
        "custom_fields": [asdict(custom) for custom in world.custom_fields],
        "contacts": [_contact_document(contact) for contact in contacts],
        "transitions": [asdict(change) | {"at": iso(change.at)} for change in world.transitions],
    }


def _contact_document(contact: Contact) -> JsonObject:
    times = {"added": contact.added, "updated": contact.updated, "deleted": contact.deleted}
    written = {name: None if at is None else iso(at) for name, at in times.items()}
    return asdict(contact) | {"tags": sorted(contact.tags)} | written


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


def _read_locations(document: JsonObject) -> list[App]:
    documents = document.get("locations")
    if not isinstance(documents, list) or not documents:
        raise _Damaged("locations is not a list of objects")
    apps = []
    for number, location in enumerate(documents):
        try:
            apps.append(_read_location(location if isinstance(location, dict) else {}))
        except _Damaged as problem:
            raise _Damaged(f"locations[{number}]: {problem}") from None
    try:
        Locations(apps)
    except ValueError as problem:
        raise _Damaged(f"locations: {problem}") from None
    return apps


def _read_location(document: JsonObject) -> App:
    # files of older versions have no tokens and limits: theirs were the usual ones
    accesses = _read_items(Access, document["accesses"], "accesses") if "accesses" in document else [Access()]
    try:
        limits = _read_object(Limits, document.get("limits", {}), "limits")
    except _Damaged:
        raise
    except ValueError as problem:
        raise _Damaged(f"limits: {problem}") from None
    return App(_read_world(document), accesses=accesses, limits=limits)


def _read_world(document: JsonObject) -> World:
    contacts = _read_items(Contact, document.get("contacts"), "contacts")
    if len({contact.id for contact in contacts}) < len(contacts):
        raise _Damaged("contacts: an id is there twice")
    # a write to a merged contact goes to its survivor, which therefore must be there
    if not {contact.merged_into or contact.id for contact in contacts} <= {contact.id for contact in contacts}:
        raise _Damaged("contacts: one was merged into a contact that is not there")
    return World(
        _read_value(LocationId, document.get("location"), "location"),
        contacts,
        assumptions=_read_object(Assumptions, document.get("assumptions", {}), "assumptions"),
        transitions=_read_items(Transition, document.get("transitions"), "transitions"),
        known_tags=_read_value(TagSet, document.get("known_tags", []), "known_tags"),
        custom_fields=_read_items(LocationField, document.get("custom_fields", []), "custom_fields"),
    )


def _read_items(kind: type[_Kind], items: Json, place: str) -> list[_Kind]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _Damaged(f"{place} is not a list of objects")
    return [_read_object(kind, item, f"{place}[{number}]") for number, item in enumerate(items)]


def _read_object(kind: type[_Kind], item: Json, place: str) -> _Kind:
    """The value of a class of ours, by the types of its fields; a member that an older version lacks is the default."""
    if not isinstance(item, dict):
        raise _Damaged(f"{place} is not an object")
    members = [member for member in _members(cast(Hashable, kind)) if member.name in item or member.is_needed]
    values = {
        member.name: _read_value(member.hint, item.get(member.name), f"{place}.{member.name}") for member in members
    }
    return kind(**values)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    hint: Any
    is_needed: bool


@cache
def _members(kind: Any) -> tuple[_Member, ...]:
    """The fields of a class. Each class is looked at once, not once a contact."""
    hints = get_type_hints(kind)
    defaults = {member.name: (member.default, member.default_factory) for member in fields(kind)}
    return tuple(_Member(name, hints[name], set(default) == {MISSING}) for name, default in defaults.items())


def _read_value(hint: Any, value: Json, place: str) -> Any:
    if hint is Instant:
        return _read_instant(value, place)
    if isinstance(hint, NewType):
        return _read_value(hint.__supertype__, value, place)
    if hint is Person:
        return _read_object(Person, value, place)
    kind, parts = get_origin(hint), get_args(hint)
    if kind in {Union, UnionType}:
        return None if value is None else _read_value(parts[0], value, place)
    if kind in {tuple, frozenset}:
        return kind(_read_texts(value, place))
    if kind is not None:
        return _read_table(value, place)
    if issubclass(hint, Enum):
        return _read_member(hint, value, place)
    if type(value) is not hint:
        raise _Damaged(f"{place} is not text" if hint is str else f"{place} is {value!r}, not like {_EXAMPLES[hint]}")
    return value


def _read_texts(value: Json, place: str) -> list[str]:
    if isinstance(value, list) and len(texts := [text for text in value if isinstance(text, str)]) == len(value):
        return texts
    raise _Damaged(f"{place} is not a list of texts")


def _read_table(value: Json, place: str) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return {key: str(text) for key, text in value.items()}
    raise _Damaged(f"{place} is not an object of texts")


def _read_instant(value: Json, place: str) -> Instant:
    if not isinstance(value, str):
        raise _Damaged(f"{place} is no time: not text")
    try:
        return parse_instant(value)
    except ValueError as problem:
        raise _Damaged(f"{place} is no time: {problem}") from None


def _read_member(kind: type[Enum], value: Json, place: str) -> Enum:
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

LIVED_WITH = ("newsletter", "trial", "webinar 2025", "imported-2024", "invoice overdue", "called")
"""Of these, the tags that no example declares but for taking them away: a first run is let through by the guards."""

_FIRST_DAY = 1_704_067_200_000  # 2024-01-01T00:00Z
_SPAN_MS = 600 * 86_400_000


def make_world(
    location: LocationId,
    contacts: Iterable[str],
    *,
    seed: int,
    extra: int = 0,
    tags: Sequence[str] = OWN_TAGS,
    people: bool = False,
    living: Sequence[Person] = (),
    traits: Sequence[Traits] = (),
    assumptions: Assumptions | None = None,
) -> World:
    """A world in which `contacts` live, with `extra` ones that no manifest names; they may carry `tags` already.

    `people`: most have an e-mail, a phone, and a number in the custom field `customer_no`. `living`: the persons of a
    file that is to be matched; each has a contact, which is never deleted nor elsewhere. `traits`: values of fields
    that filters ask for; some of the contacts have them.
    """
    rules = assumptions or Assumptions()
    # sorted and without repeats: the world must not depend on the order of the manifests
    named = sorted({contact for contact in contacts if looks_like_contact_id(contact)})
    unnamed = [made_up_id(location, str(seed), str(number)) for number in range(extra)]
    palette = [rules.spell(tag) for tag in tags]
    deleted, foreign = _pick_troubled(named, seed)
    elsewhere = LocationId(made_up_id(location, str(seed), "elsewhere"))
    made = []
    matched = [made_up_id(location, str(seed), repr(person)) for person in living]
    for name in dict.fromkeys([*named, *unnamed, *matched]):
        where = elsewhere if name in foreign else location
        made.append(_make_contact(name, where, palette, seed=seed, deleted=name in deleted))
    if not people and not living:
        return World(location, made, assumptions=rules)
    number = customer_field(location)
    persons = make_people(named + unnamed, number, seed=seed, sharing=unnamed[-2:]) if people else {}
    persons |= zip(matched, living, strict=True)
    peopled = (replace(contact, person=persons.get(contact.id, Person())) for contact in made)
    # two filters may ask for one field
    fields = {number.id: number} | {field.id: field for trait in traits for field in trait.list_fields(location)}
    traited = give_traits(peopled, traits, location, seed)
    return World(location, traited, assumptions=rules, custom_fields=fields.values())


def make_locations(count: int, *, seed: int, contacts: int) -> list[World]:
    """So many locations of made-up people, each with `contacts` of them; the same for ever for the same seed."""
    names = [LocationId(made_up_id("location", str(seed), str(number))) for number in range(1, count + 1)]
    return [make_world(name, [], seed=seed, extra=contacts, tags=LIVED_WITH, people=True) for name in names]


def customer_field(location: LocationId) -> LocationField:
    """The one custom field of a made-up location."""
    return LocationField(made_up_id(location, CUSTOMER_NO), "Customer number", CUSTOMER_NO)


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
