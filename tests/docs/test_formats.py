"""docs/formats.md is true: the keys it names are those of the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.names import ContactId, Instant, LocationId, SetName
from reconciler.core.model.people import MatchCounts, RowClass
from reconciler.core.model.settings import Guard
from reconciler.core.observing.pull_report import (
    AmbiguousRow,
    ChangedRow,
    PulledLocation,
    PulledSet,
    ResolvedFile,
    RowsAside,
)
from reconciler.core.planning.guards import Measured
from reconciler.output.pull import PullDocument, ResolveDocument
from tests.cli.conftest import Command

DOC = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def _shape(title: str) -> set[str]:
    block = re.search(rf"^## {title}\n\n```text\n(.*?)^```", DOC, re.M | re.S)
    assert block is not None
    return set(re.findall(r'"(\w+)"', block[1]))


FREE = ("pairs", "reads_for", "findings", "set_by", "made")
"""Their keys are values of an enum, or told elsewhere."""


def _keys(value: Any) -> set[str]:
    if isinstance(value, list):
        return {key for item in value for key in _keys(item)}
    if not isinstance(value, dict):
        return set()
    return set(value) | {key for name, item in value.items() if name not in FREE for key in _keys(item)}


@pytest.fixture
def scene(reconciler: Command, manifest: Callable[..., None], project: Path) -> dict[str, Any]:
    """The documents of each command after a run with a contact that the API refuses."""
    manifest(customers=([0, 1, 8], ["customer"], ["trial"]))
    run = json.loads(reconciler("apply", "--auto-approve", "--format", "json").out)
    number = run["locations"][0]["run"]
    commands = {"drift": ["drift"], "history": ["history"], "show": ["show", number], "doctor": ["doctor", "--offline"]}
    found = {name: json.loads(reconciler(*words, "--format", "json").out) for name, words in commands.items()}
    return {"apply, revert": run, **found}


@pytest.mark.slow
def test_every_document_has_the_keys_that_are_told(scene: dict[str, Any]) -> None:
    wrong = {name: _keys(document) ^ _shape(name) for name, document in scene.items()}
    assert {name: keys for name, keys in wrong.items() if keys} == {}


HERE, ANNA, BERT = LocationId("acme"), ContactId("anna"), ContactId("bert")


def test_the_documents_of_people_have_the_keys_that_are_told() -> None:
    aside, ambiguous = (RowsAside(RowClass.MALFORMED, (2,)),), (AmbiguousRow(3, (ANNA, BERT)),)
    entry = PulledSet(
        SetName("vip"),
        "vip.csv",
        aside=aside,
        ambiguous=ambiguous,
        changed=(ChangedRow(4, ANNA, BERT),),
        guards=(Measured(Guard.GROW_PCT, "vip", 100, 120, refused=True),),
    )
    documents = {
        "pull": PullDocument((PulledLocation(HERE, Instant(0), sets=(entry,)),)).json(),
        "resolve": ResolveDocument(ResolvedFile(HERE, "vip.csv", "ids.csv", MatchCounts(), aside, ambiguous)).json(),
    }
    # `made` is of the command line
    wrong = {name: _keys(document) ^ (_shape(name) - {"made"}) for name, document in documents.items()}
    assert wrong == {"pull": set(), "resolve": set()}
