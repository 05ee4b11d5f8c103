"""docs/manifests.md is true: its examples load without a word, and it names every key, variable and check."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.manifests.checks import CHECKS
from reconciler.core.model.names import parse_instant
from reconciler.loading import FileTree, Loaded
from reconciler.loading import load as load_files
from reconciler.loading.nodes import Mapping, Node, Sequence, parse_nodes
from reconciler.loading.settings import setting_keys, variable_name
from reconciler.loading.settings_models import SchemaKind, build_schema
from tests.json_schema import find_errors

DOC = (Path(__file__).parents[2] / "docs" / "manifests.md").read_text(encoding="utf-8")
KINDS = {"manifests/example.yaml": "manifest", "manifests/reconciler.yaml": "settings"}
EXAMPLES = [
    (KINDS[path], text)
    for path, text in re.findall(r'^```yaml title="([^"]+)"\n(.*?)^```', DOC, flags=re.MULTILINE | re.DOTALL)
]

A, B = "qFSqySFkVvNzOSqgGqFi", "Bb2bhnV7j3n3a9r2moDx"
FILES = {
    "contacts/customers.csv": f'contact_id,plan,Tags\n{A},gold,"vip,lead"\n{B},silver,lead\n',
    "contacts/everybody.csv": f"contact_id,client,plan\n{A},asdrwHvLUxlfw5SqKVCN,gold\n{B},bsdrwHvLUxlfw5SqKVCN,gold\n",
    "contacts/acme.csv": f"contact_id\n{A}\n",
    "contacts/beta.csv": f"contact_id\n{B}\n",
    "clients.csv": "location_id,name,plan\nasdrwHvLUxlfw5SqKVCN,acme,pro\nbsdrwHvLUxlfw5SqKVCN,beta,pro\n",
    "contacts/people.csv": "mail,mobile,number,consent\nann@example.com,0170 1,7,yes\n",
    "contacts/churned.txt": f"{A}\n",
    "contacts/concierge.jsonl": f'{{"id": "{A}", "plan": "gold"}}\n',
}
ANY_MANIFEST = (
    "location: asdrwHvLUxlfw5SqKVCN\ncontact_sets: {a: {contacts: [qFSqySFkVvNzOSqgGqFi], tags: [founder]}}\n"
)
# the exceptions of the settings are for sets of these names
EXCEPTED = "".join(
    f"  {name}: {{contacts: [qFSqySFkVvNzOSqgGqFi], tags: [founder]}}\n" for name in ("churned", "customers")
)


SOURCES = "sources: {spenders: {command: [psql]}, attendees: {command: [psql]}}\n"
FROM_SOURCES = "".join(
    f"  {name}: {{contacts: {{source: {name}}}, tags: [founder], allow_empty: true}}\n"
    for name in ("spenders", "attendees")
)


def load(kind: str, text: str) -> Loaded:
    beta = ANY_MANIFEST.replace("asdr", "bsdr").replace("{a: {", "\n  a: {").replace("}}\n", f"}}\n{FROM_SOURCES}")
    acme = ANY_MANIFEST.replace("{a: {", "\n  a: {").replace("}}\n", f"}}\n{EXCEPTED}")
    beside = {"acme.yaml": acme, "beta.yaml": beta}
    # a filter may ask for a field of this name
    with_sources = {"reconciler.yaml": SOURCES} if re.search(r"source: \w", text) else {}
    named = {"acme.yaml": text, **with_sources} if kind == "manifest" else {**beside, "reconciler.yaml": text}
    files = {name: content.encode() for name, content in {**FILES, **named}.items()}
    return load_files(FileTree(files), now=parse_instant("2026-11-01T00:00:00Z"), strict=True)


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_an_example_loads_without_a_word(kind: str, text: str) -> None:
    # the sources of the settings are used by sets that were never pulled
    assert [problem for problem in load(kind, text).problems if problem.check != "snapshot-missing"] == []


@pytest.mark.one_in(15)
@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_an_example_is_valid_in_an_editor(kind: str, text: str) -> None:
    value = typed(parse_nodes(text, "example").root)
    assert find_errors(build_schema(SchemaKind(kind)), value) == []


def typed(node: Node | None) -> Any:
    """What an editor makes of a text: the types of YAML 1.2's core schema."""
    if isinstance(node, Mapping):
        return {key: typed(value) for key, (_, value) in node.items.items()}
    if isinstance(node, Sequence):
        return [typed(item) for item in node.items]
    assert node is not None
    if node.plain and re.fullmatch(r"true|false|null|[-+]?[0-9]+|[-+]?[0-9]+\.[0-9]*", node.text):
        return json.loads(re.sub(r"^([-+]?)0+(?=[0-9])", r"\1", node.text))
    return node.text


def test_there_are_examples_of_both_kinds_and_none_is_unmarked() -> None:
    assert {kind for kind, _ in EXAMPLES} == {"manifest", "settings"}
    assert len(EXAMPLES) == DOC.count("```yaml")


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SchemaKind))
def test_every_key_is_explained_and_shown_in_an_example(kind: SchemaKind) -> None:
    whole = build_schema(kind)
    names = [key for each in (whole, *whole["$defs"].values()) for key in each.get("properties", {})]
    examples = "".join(text for _, text in EXAMPLES)
    assert [key for key in names if not re.search(rf"`([a-z_]+\.)?{key}[:`]", DOC) and key not in _IN_PROSE] == []
    assert [key for key in names if not re.search(rf"\b{key}:", examples)] == []


_IN_PROSE = {"api", "plan", "apply", "guards", "name"}


def test_every_setting_is_listed_with_its_variable() -> None:
    assert [key for key in setting_keys() if f"| `{key}` | `{variable_name(key)}` |" not in DOC] == []


def test_every_check_is_listed_with_its_severity() -> None:
    assert [check.name for check in CHECKS if f"| `{check.name}` | {check.severity} |" not in DOC] == []


def test_the_settings_example_shows_the_defaults_of_the_api() -> None:
    settings = next(load(kind, text).settings for kind, text in EXAMPLES if kind == "settings")
    assert settings.api == load("manifest", ANY_MANIFEST.replace("founder", "x")).settings.api
