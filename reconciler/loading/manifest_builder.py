"""From the nodes of a file to its manifests: validated, one for each of its locations, with contact sets and rules.

Rules
1. The sound part of a file with mistakes is built all the same, so that further mistakes in it are told.
2. A contact set that is the same for all locations of a file is built once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import ValidationError

from reconciler.columns import LargeNumbers
from reconciler.core.model.contact_numbers import ContactNumbers
from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.core.model.manifest import ContactSet, Manifest, Rollout, TagRule
from reconciler.core.model.names import LocationId, SetName, Tag, closest_name
from reconciler.loading import mistakes
from reconciler.loading.build import Report, SetBuilder, tag_rules
from reconciler.loading.files import Files, display_path
from reconciler.loading.models import ManifestModel
from reconciler.loading.nodes import Mapping as MappingNode
from reconciler.loading.nodes import plain_mapping
from reconciler.loading.placeholders import list_misplaced, list_unfilled
from reconciler.loading.query_files import QueryFinder
from reconciler.loading.snapshot_files import SnapshotFinder
from reconciler.loading.templates import (
    ClientLocation,
    depends_on_location,
    fill_rows,
    name_client,
    plan_waves,
    read_clients,
)


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """What came of a file."""

    manifests: Sequence[Manifest] = ()
    broken: frozenset[tuple[LocationId, SetName]] = frozenset()
    """Sets that are written and cannot be used."""
    elsewhere: frozenset[LocationId] = frozenset()
    """Locations that were not chosen."""
    is_known: bool = True
    """Whether it can be told which locations it is of."""


@dataclass(frozen=True, slots=True)
class _Document:
    """A file of manifests as it is written, and the sound part of it."""

    name: str
    path: str
    root: MappingNode
    model: ManifestModel
    broken: frozenset[str]
    """The names of the sets that are not in the sound part."""
    rules: Mapping[Tag, TagRule]

    def manifest_of(
        self,
        location: LocationId,
        sets: Iterable[ContactSet],
        contacts: ContactNumbers,
        rollout: Rollout | None = None,
    ) -> Manifest:
        key = "location" if self.model.locations is None else "locations"
        place = self.root.items[key][0].source
        return Manifest(self.path, location, place, tuple(sets), self.rules, self.model.authority, rollout, contacts)


@dataclass(frozen=True, slots=True)
class ManifestBuilder:
    """Builds the manifests of files."""

    files: Files
    zone: str
    """The time zone of bare dates."""
    snapshots: SnapshotFinder
    queries: QueryFinder
    report: Report
    pulls: bool = False
    chosen: frozenset[LocationId] = field(default_factory=frozenset)
    """The locations whose manifests are built; empty: all."""
    contacts: defaultdict[LocationId | None, ContactNumbers] = field(default_factory=lambda: defaultdict(LargeNumbers))
    """Those of each location so far, from all of its files; None: those of sets that locations share."""

    def build_file(self, name: str, root: MappingNode) -> BuiltFile:
        """The manifest of each of its locations."""
        model, broken = self._validate(root)
        if model is None:
            return BuiltFile(is_known=False)
        rules = tag_rules(model.tags, root.get("tags"), self.zone, self.report)
        document = _Document(name, display_path(self.files, name), root, model, frozenset(broken), rules)
        if model.locations is None:
            return self._build_one(document)
        try:
            clients = read_clients(self.files, name, root, model.locations)
            rollout = None if model.rollout is None else plan_waves(model.rollout, clients, root)
        except InvalidInput as error:
            for problem in error.problems:
                self.report(problem)
            return BuiltFile(is_known=False)
        return self._build_each(document, clients, rollout)

    def _build_one(self, document: _Document) -> BuiltFile:
        """Of a file that names its location, or fails to."""
        location = None if document.model.location is None else LocationId(document.model.location)
        sets, lost = self._build_sets(document, self._set_builder(document, location), {})
        if location is None:
            return BuiltFile(is_known=False)
        manifest = document.manifest_of(location, sets, self.contacts[location])
        return BuiltFile([manifest], frozenset((location, name) for name in lost))

    def _build_each(self, document: _Document, clients: Iterable[ClientLocation], rollout: Rollout | None) -> BuiltFile:
        manifests: list[Manifest] = []
        broken, elsewhere = set[tuple[LocationId, SetName]](), set[LocationId]()
        shared: dict[SetName, ContactSet | None] = {}
        for client in clients:
            location = client.location
            if self.chosen and location not in self.chosen:
                elsewhere.add(location)
                continue
            sets, lost = self._build_sets(document, self._set_builder(document, location, client), shared)
            broken |= {(location, name) for name in lost}
            manifests.append(document.manifest_of(location, sets, self.contacts[location], rollout))
        return BuiltFile(manifests, frozenset(broken), frozenset(elsewhere))

    def _set_builder(
        self, document: _Document, location: LocationId | None, client: ClientLocation | None = None
    ) -> SetBuilder:
        find, contacts = partial(self.snapshots.find, location), self.contacts[location]
        known = client or ClientLocation(location or LocationId(""), document.root.source)
        find_query = partial(self.queries.find, client=known)
        is_unread = partial(self.snapshots.is_unread, location)
        build = partial(
            SetBuilder, self.files, document.name, self.zone, contacts=contacts, is_unread=is_unread, pulls=self.pulls
        )
        if client is None:
            return build(self.report, find, find_query)

        def report(problem: Problem) -> None:
            self.report(name_client(problem, client))

        return build(report, find, find_query, fill=partial(fill_rows, client=client))

    def _build_sets(
        self, document: _Document, builder: SetBuilder, shared: dict[SetName, ContactSet | None]
    ) -> tuple[list[ContactSet], frozenset[SetName]]:
        """The sets of a location, and the names of those that cannot be used.

        `shared`: the sets that are the same for all locations, so far.
        """
        plain = builder if document.model.locations is None else self._set_builder(document, None)
        written = document.root.get("contact_sets")
        sets, lost = [], {SetName(name) for name in document.broken}
        for text, entry in document.model.contact_sets.items():
            assert isinstance(written, MappingNode)
            key, node = written.items[text]
            assert isinstance(node, MappingNode)
            name, is_own = SetName(text), depends_on_location(entry)
            if name not in shared or is_own:
                shared[name] = (builder if is_own else plain).build_set(text, entry, key, node)
            built = shared[name]
            if built is None:
                lost.add(name)
            else:
                sets.append(built)
        return sets, frozenset(lost)

    def _validate(self, root: MappingNode) -> tuple[ManifestModel | None, set[str]]:
        """The sound part of a manifest, and the names of the sets that are not in it."""
        data = plain_mapping(root)
        for problem in _list_key_faults(root):
            self.report(problem)
        try:
            return ManifestModel.model_validate(data), set()
        except ValidationError as error:
            for problem in mistakes.list_problems(error, root, ManifestModel):
                self.report(problem)
            details = error.errors(include_url=False, include_input=False)
            broken = mistakes.cut_out(data, [detail["loc"] for detail in details])
        try:
            return ManifestModel.model_validate(data), broken
        except ValidationError:
            return None, broken


def _list_key_faults(root: MappingNode) -> Iterator[Problem]:
    """Keys that are missing, or that do not go with one another."""
    keys = root.items.keys()
    naming = next((key for key in ("location", "locations") if key in keys), None)
    # a misspelt key has its own hint
    if naming is None and not any(closest_name(key, ["location", "locations"]) for key in keys):
        yield Problem(root.source, "key 'location' is missing", "missing-key")
    # a file that names only its location is more likely unfinished than meant to empty it
    if naming is not None and not {"contact_sets", "tags"} & keys:
        hint = "contact_sets: {} declares nothing, and removes what was declared before"
        yield Problem(root.items[naming][0].source, "neither contact_sets nor tags", "missing-key", hint=hint)
    if {"location", "locations"} <= keys:
        message = "both `location` and `locations`: a manifest is of one or of several"
        yield Problem(root.items["locations"][0].source, message, "locations")
    if "rollout" in keys and "locations" not in keys:
        yield Problem(root.items["rollout"][0].source, "`rollout` is of manifests with `locations`", "rollout")
    yield from list_misplaced(root) if "locations" in keys else list_unfilled(root)
