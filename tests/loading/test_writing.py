"""Whatever is written as a manifest is read back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.manifests.checks.tags import can_be_declared
from reconciler.core.manifests.export_sets import LONGEST_SLUG, RESERVED, ExportedSet, GroupBy, export_sets, make_slug
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.manifest import ListedContacts
from reconciler.core.model.names import ContactId, LocationId, Tag, normalise_tag
from reconciler.core.model.outcome import Rejection
from reconciler.loading import FileTree
from reconciler.loading.export_files import contacts_text, manifest_text, write_files
from reconciler.loading.manifests import load
from tests.build import HERE, carries, contact_state, ids, state, state_of, tags, unseen

TAGS = st.text(min_size=1, max_size=30).map(normalise_tag).filter(can_be_declared)


def read_back(*sets: ExportedSet) -> list[tuple[str, list[str], list[str]]]:
    """The sets of the manifest that is written: name, tags, contacts."""
    files = {"acme.yaml": manifest_text(HERE, sets, folder="contacts", comment="written").encode()}
    files |= {f"contacts/{each.name}.csv": contacts_text(each).encode() for each in sets}
    (manifest,) = load(FileTree(files)).manifests
    return [
        (each.name, [use.tag for use in each.tags], list(each.contacts.ids))
        for each in manifest.sets
        if isinstance(each.contacts, ListedContacts)
    ]


@given(st.lists(TAGS, min_size=1, max_size=8, unique=True))
def test_every_tag_that_can_be_declared_comes_back(found: list[Tag]) -> None:
    contacts = ids("annaannaannaannaanna")
    assert read_back(ExportedSet("s", tuple(found), contacts)) == [("s", found, list(contacts))]


@given(st.lists(st.frozensets(TAGS, min_size=1, max_size=3), min_size=1, max_size=6), st.sampled_from(list(GroupBy)))
def test_the_sets_declare_what_was_observed(carried: list[frozenset[Tag]], group_by: GroupBy) -> None:
    known = {ContactId(f"{nth:020}"): contact_state(observed=found) for nth, found in enumerate(carried)}
    export = export_sets(state_of(known), group_by=group_by, called="acme")
    declared: dict[str, set[str]] = {}
    for sets in export.manifests.values():
        for _, found, contacts in read_back(*sets):
            for contact in contacts:
                declared.setdefault(contact, set()).update(found)
    assert declared == {contact: set(each.observed or ()) for contact, each in known.items()}
    names = [each.name for sets in export.manifests.values() for each in sets]
    assert len(set(names)) == len(names)
    assert not RESERVED & set(names)


@given(st.text())
def test_a_slug_is_a_plain_name(text: str) -> None:
    found = make_slug(text)
    assert 1 <= len(found) <= LONGEST_SLUG
    assert found == found.strip("-")
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_what_is_not_sure_is_not_exported() -> None:
    observed = state(
        anna=carries("vip doubtful", doubt="doubtful"),
        bert=carries("vip", quarantine=Rejection.DELETED),
        cara=unseen(ledger="vip"),
        dora=carries(""),
        emil=carries("vip"),
    )
    export = export_sets(observed, group_by=GroupBy.TAG, called="acme", present=frozenset(ids("anna bert cara dora")))
    assert export.manifests == {"vip": (ExportedSet("vip", (Tag("vip"),), ids("anna")),)}
    assert (export.contacts, export.pairs) == (1, 1)


def test_what_no_manifest_can_name_is_left_out_and_told() -> None:
    known = {
        ContactId("anna"): carries(),
        ContactId("bert "): carries("vip"),
        ContactId("cara"): contact_state(observed=tags("vip") | {Tag("bell\x07")}),
    }
    export = export_sets(state_of(known), group_by=GroupBy.COMBINATION, called="acme")
    assert (export.undeclarable, export.odd) == (("bell\x07",), 1)
    assert export.manifests["acme"][0].contacts == ids("cara")


def test_all_is_written_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(UsageError):
        write_files(tmp_path, {Path("a"): "new", Path("b"): "new"})
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReconcilerError, match="cannot be written"):
        write_files(tmp_path / "file", {Path("a"): "new"})


def test_location_ids_stand_in_paths() -> None:
    text = manifest_text(LocationId("L-1_x"), [ExportedSet("s", (Tag("a"),), ())], folder="contacts/L-1_x", comment="c")
    assert "file: contacts/L-1_x/s.csv" in text
