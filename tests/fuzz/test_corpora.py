"""Files that nobody here wrote, by each reader as a whole: `pytest --corpora=DIR`."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from reconciler.core.model.errors import InvalidInput
from reconciler.loading import FileTree, load
from tests.fuzz.targets import TARGETS
from tests.loading.test_hostile import LOCATION

LAST = {"state": 2, "settings": 4, "answer": 18}
"""The place of another kind of input among a target's seeds: emergency journal, variables, headers."""


def cases(corpora: Path, name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((corpora / name).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", ["plan", "state", "snapshot", "answer"])
def test_the_json_test_suite_is_refused_by_every_reader_of_json(name: str, corpora: Path) -> None:
    """None of its cases is a document of ours, and none ends in a traceback. An answer may be any object."""
    target = TARGETS[name]
    tried = 0
    for case in cases(corpora, "json-test-suite.json"):
        content = base64.b64decode(case["base64"])
        for nth in (0, LAST.get(name, 0)):
            taken = target.examine(nth, b"x\n\0" + content if name == "snapshot" else content)
            assert not taken or (name == "answer" and nth and not case["name"].startswith("n_")), case["name"]
            tried += 1
    assert tried > 600


def test_the_json_test_suite_as_lines_of_contacts_is_told_with_its_place(corpora: Path) -> None:
    taken, places = [], set[str]()
    for case in cases(corpora, "json-test-suite.json"):
        manifest = f"{LOCATION}contact_sets: {{a: {{contacts: {{file: c.jsonl}}, tags: [x]}}}}\n".encode()
        try:
            load(FileTree({"m.yaml": manifest, "c.jsonl": base64.b64decode(case["base64"])}))
        except InvalidInput as error:
            places |= {problem.source.path for problem in error.problems}
        else:
            taken.append(case["name"])
    # the one that is an object with an `id`
    assert taken == ["y_object_long_strings.json"]
    assert places <= {"m.yaml", "c.jsonl"}


def test_the_yaml_test_suite_as_manifests_and_as_settings(corpora: Path) -> None:
    """No case of it is a manifest; what it holds as settings is none of ours, or nothing."""
    for case in cases(corpora, "yaml-test-suite.json"):
        content = base64.b64decode(case["yaml_base64"])
        assert not TARGETS["manifest"].examine(0, content), case["id"]
        taken = TARGETS["settings"].examine(0, content)
        assert not (taken and case["error"]), case["id"]


def test_naughty_strings_in_a_snapshot_are_ids_or_refused(corpora: Path) -> None:
    for text in json.loads((corpora / "naughty-strings.json").read_text(encoding="utf-8")):
        ids = text.encode("utf-8", "surrogatepass")
        assert not TARGETS["snapshot"].examine(0, ids + b"\0" + b"{}"), text
