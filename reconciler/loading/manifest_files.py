"""The manifests of a tree by location, and the files that each of them reads; only lists of locations are read too.

Rules
1. A file of which it is not known whose manifest it is, or what it reads, is a problem: nobody is left out silently.
2. A manifest that `validate` would refuse for anything else is taken: it says of which location it is.

Rules of a location that is seen before its manifest is read
3. What is seen is what a whole reading would find, or nothing is seen: then the manifest is read as a whole, and told
   whatever is wrong with it.
4. Seen is an id behind the key `location` of the outermost mapping, where nothing up to there is refused. Other keys
   may stand before it, as far as the beginning of the file goes.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.names import LocationId, SetName, Source
from reconciler.loading.fields import is_location_id
from reconciler.loading.file_tree import SETTINGS_NAME, CannotRead
from reconciler.loading.files import MAX_BYTES, Files, decode_text, display_path, is_lfs_pointer, is_sound, name_inside
from reconciler.loading.nodes import Mapping, Node, Scalar, find_first, parse_nodes, plain_mapping
from reconciler.loading.row_models import LOCATIONS, ClientsFile
from reconciler.loading.templates import fill_path, read_clients

_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest. Names are those of the tree of files."""

    name: str
    location: LocationId
    reads: tuple[str, ...]
    """The files with contacts, or people, that its sets name."""
    matched: tuple[SetName, ...]
    """The sets whose people are matched, or that a query gives: their contacts are in snapshots."""


def read_manifest_files(files: Files, *, whole: bool) -> tuple[ManifestFile, ...]:
    """The manifests of a tree, sorted by name; raises InvalidInput with every file that cannot be told.

    `whole`: whether to tell what they read; else of a manifest that shows its location early nothing more is read.
    """
    problems: list[Problem] = []
    manifests: list[ManifestFile] = []
    try:
        names = files.names()
    except CannotRead as error:
        raise InvalidInput([Problem(Source(files.label), str(error), "directory")]) from None
    for name in names:
        if name == SETTINGS_NAME:
            continue
        try:
            manifests += _read_manifest(files, name, whole=whole)
        except InvalidInput as error:
            problems += error.problems
        except (CannotRead, OSError) as error:
            problems.append(Problem(Source(display_path(files, name)), str(error), "path"))
    if problems:
        raise InvalidInput(problems)
    return tuple(manifests)


def _read_manifest(files: Files, name: str, *, whole: bool) -> list[ManifestFile]:
    """The manifest of each location that the file is of."""
    path = display_path(files, name)
    with files.open(name) as stream:
        head = stream.read(HEAD)
        if not whole and (seen := see_location(head)) is not None:
            return [ManifestFile(name, seen, (), ())]
        root = parse_nodes(decode_text(head + stream.read(MAX_BYTES + 1), path), path).root
    if isinstance(root, Mapping) and "locations" in root.items:
        return _read_template(files, name, root)
    written = root.get("location") if isinstance(root, Mapping) else None
    if not isinstance(root, Mapping) or not isinstance(written, Scalar):
        hint = "`reconciler validate` tells more"
        raise InvalidInput([Problem(Source(path, 1, 1), "it names no location", "missing-key", hint=hint)])
    if not is_location_id(written.text):
        raise InvalidInput([Problem(written.source, f"{written.text[:80]!r} is no location", "value")])
    paths = [file.text for file in _list_files(root)]
    return [_file_of(name, LocationId(written.text), root, paths)]


def _file_of(name: str, location: LocationId, root: Mapping, paths: Iterable[str]) -> ManifestFile:
    reads = dict.fromkeys(name_inside(name, path) for path in paths)
    sets = _list_file_sets(root.get("contact_sets"))
    matched = tuple(SetName(set_name) for set_name, contacts in sets if {"match", "source"} & contacts.items.keys())
    return ManifestFile(name, location, tuple(reads), matched)


def _read_template(files: Files, name: str, root: Mapping) -> list[ManifestFile]:
    try:
        listed = LOCATIONS.validate_python(plain_mapping(root)["locations"])
    except ValidationError as error:
        message = f"its locations cannot be told: {error.error_count()} mistakes"
        place, hint = root.items["locations"][0].source, "`reconciler validate` tells more"
        raise InvalidInput([Problem(place, message, "value", hint=hint)]) from None
    # who is on the list, and with which values, stands in that file
    shared = [listed.file] if isinstance(listed, ClientsFile) else []
    return [
        _file_of(name, client.location, root, [*shared, *(fill_path(file, client) for file in _list_files(root))])
        for client in read_clients(files, name, root, listed)
    ]


def _list_files(root: Mapping) -> list[Scalar]:
    return [file for _, contacts in _list_file_sets(root.get("contact_sets")) if (file := _text_of(contacts, "file"))]


def _list_file_sets(node: Node | None) -> Iterator[tuple[str, Mapping]]:
    """The sets whose contacts are a mapping, each with that."""
    for name, (_, declared) in node.items.items() if isinstance(node, Mapping) else ():
        contacts = declared.get("contacts") if isinstance(declared, Mapping) else None
        if isinstance(contacts, Mapping):
            yield name, contacts


def _text_of(node: Mapping, key: str) -> Scalar | None:
    value = node.get(key)
    return value if isinstance(value, Scalar) else None


def digest_files(files: Files, names: Iterable[str]) -> dict[str, str]:
    """The digest of each file's content; the reason of a file that cannot be read."""
    return {name: _digest_file(files, name) for name in names}


def _digest_file(files: Files, name: str) -> str:
    digest = hashlib.sha256()
    try:
        with files.open(name) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except (CannotRead, OSError) as error:
        return f"cannot be read: {error}"
    return digest.hexdigest()


HEAD = 16_384
"""So many bytes of a manifest are looked through."""


def see_location(head: bytes) -> LocationId | None:
    """The location of the manifest that begins so; None where it has to be read."""
    text, is_cut = _decode(head), len(head) >= HEAD
    if text is None or (found := find_first("location", text)) is None:
        return None
    scalar, end = found
    # a text at the cut may go on behind it
    if is_cut and not text[end:].strip():
        return None
    return LocationId(scalar.text) if is_location_id(scalar.text) else None


def _decode(head: bytes) -> str | None:
    if is_lfs_pointer(head):
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        # the cut may go through a character
        text = decoder.decode(head, final=len(head) < HEAD).removeprefix("\ufeff")
    except UnicodeDecodeError:
        return None
    return text if is_sound(text) else None
