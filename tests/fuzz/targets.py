"""The six readers of what others write: valid input of each, how it is damaged, and what is done with what is taken.

A reader takes its input or refuses it with an error of ours. What it takes must serve: manifests resolve, a plan is
written and shown again, a state comes back as it was.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import yaml

from reconciler.core.formats.plan_json import FORMS, read_plan, seal
from reconciler.core.formats.state_json import (
    Portable,
    UnrecordedAnswers,
    read_snapshots,
    read_state,
    read_unrecorded,
    snapshots_document,
    state_document,
    unrecorded_document,
)
from reconciler.core.manifests.resolve import resolve
from reconciler.core.model.api_limits import read_pause, read_quota
from reconciler.core.model.errors import InvalidInput, PlanFileError
from reconciler.core.model.names import ContactId, Instant, LocationId, SetName, Tag
from reconciler.core.model.outcome import Action, ContactOutcome, Outcome, classify_rows, read_refusal
from reconciler.core.model.safe_text import json_line
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, Plan, change_digests, combine_plans
from reconciler.highlevel.tokens import read_location_token, without
from reconciler.loading import FileTree, load, load_settings
from reconciler.loading.file_tree import SETTINGS_NAME
from reconciler.loading.snapshot_files import DamagedSnapshot, read_snapshot, snapshot_paths, write_snapshot
from reconciler.operations.change_state import read_portable
from reconciler.operations.runs import read_log
from reconciler.output.document import CommandOutput, spell
from reconciler.output.plan import PlanDocument
from reconciler.planfile import load_unrecorded, parse_plan, plan_text
from reconciler.ports import StateStore
from reconciler.store import open_store
from reconciler.wire import (
    UnreadableAnswer,
    classify_absence,
    read_bulk_answer,
    read_contact,
    read_error,
    read_object,
    read_page,
    read_rows,
    read_tag_list,
)
from reconciler.wire_people import read_custom_fields, read_people, read_person
from tests.build import HERE, NOW, a_set, carries, declare, plan_options, state, tags
from tests.core.scenes import PLENTY, a_location
from tests.fakes import directory_in_memory
from tests.fuzz.mutations import damage, damage_bytes, damage_lines
from tests.fuzz.seeds import ANSWERS, HEADERS, MANIFESTS, SETTINGS, TABLES, VARIABLES
from tests.store.sample import ANNA, KNOWN, SNAPSHOTS, at, fill

LATER = Instant(1_795_100_000_000)


@dataclass(frozen=True)
class Target:
    """`examine` takes a seed's place and damaged content; it raises what must not come out, and nothing else."""

    seeds: Callable[[], Sequence[bytes]]
    damage: Callable[[Random, bytes], bytes]
    examine: Callable[[int, bytes], bool]
    """Whether the content was taken."""


def damage_yaml(random: Random, whole: bytes) -> bytes:
    """By its lines, by its bytes, or by its structure: then it is written as JSON, which is YAML too."""
    kind = random.random()
    if kind < 0.4:
        return damage_lines(random, whole)
    if kind < 0.6:
        return damage_bytes(random, whole)
    return damage(random, _as_json(whole))


@cache
def _as_json(whole: bytes) -> bytes:
    return json.dumps(yaml.load(whole, Loader=yaml.BaseLoader)).encode()


def load_manifest(nth: int, content: bytes) -> bool:
    try:
        loaded = load(FileTree(TABLES | {"m.yaml": content}), now=NOW)
    except InvalidInput:
        return False
    for location in {manifest.location for manifest in loaded.manifests}:
        alike = [manifest for manifest in loaded.manifests if manifest.location == location]
        resolve(alike, now=NOW, shared_rules=loaded.settings.rules)
    return True


def read_settings(nth: int, content: bytes) -> bool:
    """From the file; the last seed is the variables of a process, in JSON."""
    files, environment = {SETTINGS_NAME: content}, {}
    if nth == len(SETTINGS):
        with suppress(ValueError, RecursionError):
            found = json.loads(content)
            environment = {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
        files = {}
    with suppress(InvalidInput):
        load_settings(FileTree(files), environment=environment)
        return True
    return False


@cache
def plan_seeds() -> tuple[bytes, ...]:
    """A location with a few changes, which is quick to seal, and one with everything."""
    held = state(anna=carries("é old", ledger="é old"), bert=carries("x", doubt="vip"))
    desired = declare(a_set("s", "anna bert", "vip", absent="é"), a_set("new", "nora", "x"))
    few = plan_location(desired, LocationState(HERE, "l", 1, held), plan_options(limits=PLENTY))
    plans = [combine_plans([each], as_of=NOW, manifests="m") for each in (few, few, few, a_location())]
    return tuple(plan_text(plan).encode() for plan in plans)


def damage_plan(random: Random, whole: bytes) -> bytes:
    """Mostly as somebody would who seals the file anew, every other time with digests that fit its changes."""
    kind = random.random()
    damaged = damage(random, whole) if kind > 0.1 else damage_bytes(random, whole)
    if kind < 0.3:
        return damaged
    try:
        document = json.loads(damaged)
        if kind < 0.6:
            document = _with_change_digests(document)
        return json_line(document | {"digest": seal(document)}).encode()
    except Exception:  # noqa: BLE001 (a document that cannot be sealed is a document too)
        return damaged


def _with_change_digests(document: dict[str, Any]) -> dict[str, Any]:
    plan = FORMS.form(Plan).read(document)
    whole, *own = change_digests(plan.locations)
    document["change_digest"] = whole
    for location, digest in zip(document["locations"], own, strict=True):
        location["change_digest"] = digest
    return document


def take_plan(nth: int, content: bytes) -> bool:
    try:
        plan = parse_plan(content)
    except PlanFileError:
        return False
    assert read_plan(json.loads(plan_text(plan))) == plan, "another plan is written than was read"
    # a terminal's tables take ten times as long as all else
    for kind in ("json", "text") if crc32(content) % 8 == 0 else ("json",):
        "".join(spell(CommandOutput(PlanDocument(plan)), kind, whole=True))
    return True


@cache
def state_seeds() -> tuple[bytes, ...]:
    """All states, the one of them, and an emergency journal."""
    with directory_in_memory() as directory, open_store(f"sqlite:///{directory}/s.db") as store:
        fill(store)
        whole = [_everything(store, location) for location in store.list_locations()]
    lost = UnrecordedAnswers(HERE, "lineage", "run", 3, at(4), {ANNA: _APPLIED}, {ANNA: KNOWN[ANNA]})
    documents = (state_document(whole), state_document(whole[1:]), unrecorded_document(lost))
    return tuple(json.dumps(document).encode() for document in documents)


_APPLIED = ContactOutcome(Outcome.APPLIED, "", None, tags("grün"), tags("vip"))


def _everything(store: StateStore, location: LocationId) -> Portable:
    place = store.at(location)
    runs = tuple(read_log(store, run) for run in place.read_runs())
    return Portable(place.load_state(), runs, place.read_snapshots())


@cache
def a_file() -> Path:
    """One for all executions: to make a file takes longer than to read it."""
    return _DIRECTORY.enter_context(directory_in_memory()) / "document.json"


_DIRECTORY = ExitStack()
atexit.register(_DIRECTORY.close)


def take_state(nth: int, content: bytes) -> bool:
    """From a file, as `state push` takes it and `state recover` the emergency journal."""
    file = a_file()
    file.write_bytes(content)
    try:
        taken: Any = load_unrecorded(file) if nth == len(state_seeds()) - 1 else read_portable(file, LATER)
    except InvalidInput:
        return False
    if isinstance(taken, UnrecordedAnswers):
        assert read_unrecorded(json.loads(json.dumps(unrecorded_document(taken))), path="x") == taken
    else:
        document = state_document(taken)
        again = read_state(json.loads(json.dumps(document)), path="x")
        assert state_document(again) == document, "another state is written than was read"
    return True


def damage_snapshot(random: Random, whole: bytes) -> bytes:
    """The ids, the facts, or the ids with facts that name their digest."""
    ids, facts = whole.split(b"\0", 1)
    kind = random.random()
    if kind < 0.4:
        return ids + b"\0" + damage(random, facts)
    if kind < 0.6:
        return ids + b"\0" + damage_bytes(random, facts)
    ids = damage_lines(random, ids)
    document = json.loads(facts) | {"contacts_digest": f"sha256:{sha256(ids).hexdigest()}"}
    return ids + b"\0" + json.dumps(document).encode()


SET = SetName("vip, grün")


@cache
def snapshot_seeds() -> tuple[bytes, ...]:
    with directory_in_memory() as directory:
        listed, described = write_snapshot(directory, HERE, SET, SNAPSHOTS[SET])
        return (listed.read_bytes() + b"\0" + described.read_bytes(),)


def take_snapshot(nth: int, content: bytes) -> bool:
    ids, facts = content.split(b"\0", 1)
    listed, described = snapshot_paths("", HERE, SET)
    try:
        snapshot = read_snapshot(FileTree({listed: ids, described: facts}), "", HERE, SET)
    except DamagedSnapshot:
        return False
    assert snapshot is not None
    assert read_snapshots(snapshots_document({SET: snapshot})) == {SET: snapshot}, "a state has it otherwise"
    return True


def damage_answer(random: Random, whole: bytes) -> bytes:
    return damage(random, whole) if random.random() < 0.75 else damage_bytes(random, whole)


def read_answer(nth: int, content: bytes) -> bool:
    """By every reader, whatever it is an answer to; the last seed is headers."""
    if nth == len(ANSWERS):
        return read_headers(content)
    taken = False
    for read in _READERS:
        with suppress(UnreadableAnswer):
            read(content)
            taken = True
    with suppress(UnreadableAnswer):
        rows = read_bulk_answer(content)
        for action in Action:
            classify_rows(action, _ASKED, [Tag("tag-1")], rows)
    classify_absence(read_error(content), 400)
    read_refusal(401, read_error(content), "the token", page=False)
    without(["a token that nobody knows"], content)
    return taken


_READERS: tuple[Callable[[bytes], object], ...] = (
    read_bulk_answer,
    read_page,
    read_contact,
    read_people,
    read_person,
    read_custom_fields,
    read_tag_list,
    read_location_token,
    lambda content: read_rows(read_object(content).get("contacts")),
)
_ASKED = [ContactId("qFSqySFkVvNzOSqgGqFi"), ContactId("abcdef")]


def read_headers(content: bytes) -> bool:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict):
        return False
    # a client hands on the values of headers as texts
    headers = {str(name): str(value) for name, value in document.items()}
    quota = read_quota(headers)
    quota.resets_at(LATER)
    read_pause(headers, LATER)
    return True


TARGETS: Mapping[str, Target] = {
    "manifest": Target(lambda: MANIFESTS, damage_yaml, load_manifest),
    "settings": Target(lambda: (*SETTINGS, VARIABLES), damage_yaml, read_settings),
    "plan": Target(plan_seeds, damage_plan, take_plan),
    "state": Target(state_seeds, damage, take_state),
    "snapshot": Target(snapshot_seeds, damage_snapshot, take_snapshot),
    "answer": Target(lambda: (*ANSWERS, HEADERS), damage_answer, read_answer),
}
