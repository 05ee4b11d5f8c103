"""A world survives its file; a file that is none says what is wrong and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.names import ContactId, looks_like_contact_id
from reconciler.core.model.outcome import Action
from reconciler.sandbox.assumptions import Assumptions, Merged, Oversize
from reconciler.sandbox.saved_world import make_world
from reconciler.sandbox.world import World, made_up_id
from tests.build import HERE, NOW
from tests.sandbox.builders import ANNA, BERT, CARA, a_world, load_world, save_world


def facts(world: World) -> tuple[Any, ...]:
    return world.location, dict(world.contacts), world.assumptions, world.transitions, world.known_tags


def a_file(path: Path) -> Path:
    world = a_world(oversize=Oversize.CUT, search_lag_ms=7, merged_row=Merged.UNDER_OWN_ID, read_lag_ms=5)
    world.merge(CARA, BERT, now=NOW)
    world.bulk(Action.REMOVE, [ANNA, BERT], ["b", "\ud800"], now=NOW, by="api")
    world.bulk(Action.ADD, [ANNA], ["\ud800"], now=NOW, by="api")
    save_world(path, world)
    return path


def test_a_world_comes_back_as_it_was(tmp_path: Path) -> None:
    world = load_world(a_file(tmp_path / "world.json"))
    save_world(tmp_path / "again.json", world)

    assert facts(load_world(tmp_path / "again.json")) == facts(world)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "world.json").read_bytes()
    assert [(change.tag, change.action) for change in world.transitions] == [("b", "remove"), ("\ud800", "add")]
    assert world.known_tags == ("a", "b", "\ud800")


def test_a_file_replaces_the_old_one_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    path.write_text("old")
    path.chmod(0o644)
    a_file(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["world.json"]


def test_unknown_fields_and_minor_versions_are_ignored(tmp_path: Path) -> None:
    path = a_file(tmp_path / "world.json")
    document = json.loads(path.read_text())
    document |= {"format_version": "1.9", "more": 1, "assumptions": {"more": 1}}
    path.write_text(json.dumps(document))

    assert load_world(path).assumptions == Assumptions()


def drop(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(key)


def put(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update({key: value})


def put_first(kind: str, key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document[kind][0].update({key: value})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("format"), "is not the data of a sandbox"),
        (put("format_version", "3.0"), "has format 3.0, this version reads 1.3 and 2.0"),
        (put("format_version", None), "has format None, this version reads 1.3 and 2.0"),
        (drop("location"), "is damaged: location is not text"),
        (drop("contacts"), "is damaged: contacts is not a list of objects"),
        (put("contacts", [1]), "is damaged: contacts is not a list of objects"),
        (put_first("contacts", "id", 7), "is damaged: contacts[0].id is not text"),
        (put_first("contacts", "id", BERT), "is damaged: contacts: an id is there twice"),
        (put_first("contacts", "tags", "a"), "is damaged: contacts[0].tags is not a list of texts"),
        (put_first("contacts", "added", "today"), "is damaged: contacts[0].added is no time"),
        (put_first("contacts", "deleted", 5), "is damaged: contacts[0].deleted is no time"),
        (put_first("contacts", "merged_into", 5), "is damaged: contacts[0].merged_into is not text"),
        (
            put_first("contacts", "merged_into", "who"),
            "is damaged: contacts: one was merged into a contact",
        ),
        (put_first("transitions", "action", "swap"), "is damaged: transitions[0].action is 'swap'"),
        (put("assumptions", []), "is damaged: assumptions is not an object"),
        (put("assumptions", {"trims_tags": "yes"}), "is damaged: assumptions.trims_tags is 'yes', not like True"),
        (put("assumptions", {"oversize": "burst"}), "is damaged: assumptions.oversize is 'burst'"),
        (put("assumptions", {"merged_row": "both"}), "is damaged: assumptions.merged_row is 'both'"),
        (put("known_tags", 3), "is damaged: known_tags is not a list of texts"),
    ],
)
def test_a_damaged_file_says_where(tmp_path: Path, damage: Callable[[dict[str, Any]], object], message: str) -> None:
    path = a_file(tmp_path / "world.json")
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))

    with pytest.raises(InvalidInput) as caught:
        load_world(path)
    (problem,) = caught.value.problems
    assert problem.message.startswith(message)
    assert problem.source.path == str(path)
    assert problem.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"format":\n  1,}', "world.json:2:5: is damaged"),
        (b"{\xff}", "world.json: is damaged: not JSON"),
        (b"[" * 100_000, "world.json: is damaged: not JSON"),
        (b"[]", "world.json: is not the data of a sandbox"),
        (b"", "world.json:1:1: is damaged"),
    ],
)
def test_what_is_not_json_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "world.json"
    path.write_bytes(content)

    with pytest.raises(InvalidInput) as caught:
        load_world(path)
    assert message in str(caught.value)


def test_a_path_without_a_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        load_world(tmp_path / "none.json")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_world(tmp_path)
    with pytest.raises(InvalidInput, match="cannot be written"):
        save_world(tmp_path / "none" / "world.json", a_world())


@pytest.mark.slow
def test_a_made_up_world_is_plausible_and_always_the_same() -> None:
    ids = [made_up_id("list", str(number)) for number in range(4_000)]
    world = make_world(HERE, [*ids, "not-an-id"], seed=3, extra=100)
    found = [world.contacts[ContactId(name)] for name in ids]
    foreign = [contact for contact in found if contact.location != HERE]

    assert facts(make_world(HERE, reversed(ids), seed=3, extra=100)) == facts(world)
    assert len(world.contacts) == 4_100
    assert sum(contact.deleted is not None for contact in found) == 10
    assert len(foreign) == 3
    assert 0.3 < sum(not contact.tags for contact in found) / len(found) < 0.5
    assert all(looks_like_contact_id(name) for name in world.contacts)
    assert make_world(HERE, ids, seed=4).contacts != make_world(HERE, ids, seed=3).contacts


def test_a_small_made_up_world_has_no_trouble() -> None:
    world = make_world(HERE, [ANNA, BERT], seed=1)

    assert [contact.deleted for contact in world.contacts.values()] == [None, None]
    assert {contact.location for contact in world.contacts.values()} == {HERE}
