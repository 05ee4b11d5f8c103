"""The reader of YAML: what it refuses, with which place, and that text stays text."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.model.errors import InvalidInput, Problem
from reconciler.loading import files as text_module
from reconciler.loading.files import decode_text
from reconciler.loading.nodes import FAST_LOADER, MAX_DEPTH, MAX_PROBLEMS, Mapping, Node, Parsed, Scalar, parse_nodes

LOADERS = [pytest.param(FAST_LOADER, id="libyaml"), pytest.param(yaml.SafeLoader, id="pure")]


def read(data: bytes | str, loader: Any = FAST_LOADER) -> Parsed:
    raw = data.encode() if isinstance(data, str) else data
    return parse_nodes(decode_text(raw, "m.yaml"), "m.yaml", loader=loader)


def problems(data: bytes | str, loader: Any = FAST_LOADER) -> list[str]:
    try:
        return [str(problem) for problem in read(data, loader).problems]
    except InvalidInput as error:
        return [str(problem) for problem in error.problems]


def texts(node: Node | None) -> Any:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Mapping):
        return {key: texts(value) for key, (_, value) in node.items.items()}
    return [texts(item) for item in node.items] if node else None


REFUSED = {
    "alias": ("a: &x b\nc: *x\n", ["m.yaml:1:4: an anchor (&x)", "m.yaml:2:4: an alias (*x)"]),
    "merge key": ("a:\n  <<: {b: c}\n", ["m.yaml:2:3: a merge key (<<)"]),
    "tag": ("a: !!str b\n", ["m.yaml:1:4: an explicit YAML tag"]),
    "directive": ("%YAML 1.2\n---\na: b\n", ["m.yaml:1:1: a directive (%)"]),
    "documents": ("a: b\n---\nc: d\n", ["m.yaml:2:1: a second document"]),
    "duplicate key": ("a: b\nc: d\na: e\n", ["m.yaml:3:1: key 'a' is given twice, first at m.yaml:1:1"]),
    "list as key": ("? [a]\n: b\n", ["m.yaml:1:3: a key must be text"]),
    "not UTF-8": (b"a: b\nc: \xff\n", ["m.yaml:2:4: not UTF-8: byte 0xff"]),
    "control": ("a: b\n  \x07\n", ["m.yaml:2:3: control character U+0007"]),
    "NUL": ("a: \0\n", ["m.yaml:1:4: control character U+0000"]),
    "line separator": ("a: b\u2028\n", ["m.yaml:1:5: control character U+2028"]),
    "lone CR": ("a: b\rc: d\n", ["m.yaml:1:5: a carriage return without a line feed"]),
    "depth": ("[" * (MAX_DEPTH + 1), [f"m.yaml:1:21: nested deeper than {MAX_DEPTH} levels"]),
    "open quote": ("a: 'b\n", ["m.yaml:1:4: not YAML: found unexpected end of stream"]),
    "comment after quote": ("a: 'b'#c\n", ["m.yaml:1:7: a comment must be set off by a blank"]),
    "comment after comma": ("a: [b,#c\n  d]\n", ["m.yaml:1:7: a comment must be set off by a blank"]),
    "flow not indented": ("a:\n  b: [\nc]\n", ["m.yaml:2:6: a line that continues a list or mapping"]),
    "quote not indented": ('a: "b\nc"\n', ["m.yaml:1:4: a line that continues a quoted text"]),
    "tab indents quote": ('a: "b\n\tc"\n', ["m.yaml:1:4: a line that continues a quoted text"]),
    "lone dash": ("a: [-]\n", ["m.yaml:1:5: a lone `-` is no text here"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_its_place(name: str) -> None:
    data, expected = REFUSED[name]
    found = problems(data)
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


def test_a_byte_order_mark_and_crlf_change_no_place() -> None:
    parsed = read("\ufeffa: b\r\nc: d\r\n")
    assert isinstance(parsed.root, Mapping)
    assert str(parsed.root.items["c"][1].source) == "m.yaml:2:4"


def test_closing_brackets_may_stand_at_the_column_of_their_key() -> None:
    assert texts(read("a:\n  b: [\n    c,  # first\n    d,\n  ]\n").root) == {"a": {"b": ["c", "d"]}}


def test_every_duplicate_is_reported_up_to_a_limit() -> None:
    assert len(problems("a: b\n" * 5)) == 4
    assert len(problems("a: b\n" * 5000)) == MAX_PROBLEMS + 1


def test_a_text_followed_by_a_comment_is_marked() -> None:
    parsed = read("- vip #1\n- 'vip' #1\n- vip#1\n- [lead # x\n  ]\n")
    found = [(node.text, node.commented) for node in _scalars(parsed.root)]
    assert found == [("vip", True), ("vip", False), ("vip#1", False), ("lead", True)]


def _scalars(node: Any) -> list[Scalar]:
    return [node] if isinstance(node, Scalar) else [leaf for item in node.items for leaf in _scalars(item)]


@pytest.mark.parametrize(
    "word", ["no", "012", "1:30", "null", "~", "1e3", "2026-12-31", "0x1F", ".inf", "Yes", "=", "1_000"]
)
def test_text_stays_text(word: str) -> None:
    assert texts(read(f"a: [{word}]\n{word}: b\n").root) == {"a": [word], word: "b"}


def test_the_size_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more than 300,000 lines" in problems("\n" * (text_module.MAX_LINES + 1))[0]
    assert "larger than 16,000,000 bytes" in problems(b" " * (text_module.MAX_BYTES + 1))[0]


@pytest.mark.parametrize("loader", LOADERS)
@given(data=st.binary(max_size=200))
def test_hostile_bytes_give_no_other_exception(loader: Any, data: bytes) -> None:
    problems(data, loader)


@pytest.mark.parametrize("loader", LOADERS)
@given(data=st.text(alphabet="ab:-[]{},#&*!|>'\"%@`\\?<~ \n\t0xuU", max_size=60))
def test_hostile_yaml_gives_no_other_exception(loader: Any, data: str) -> None:
    problems(data, loader)


@given(text=st.text(alphabet=st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=40))
def test_a_quoted_text_comes_back(text: str) -> None:
    assert texts(read(json.dumps({"a": text}, ensure_ascii=False)).root) == {"a": text}


@pytest.mark.parametrize("loader", LOADERS)
def test_the_yaml_test_suite(corpora: Path, loader: Any) -> None:
    """402 cases: every one gives a result or problems with line and column; all 94 invalid ones are refused."""
    cases = json.loads((corpora / "yaml-test-suite.json").read_text())
    accepted = 0
    for case in cases:
        found = _outcome(base64.b64decode(case["yaml_base64"]), loader)
        assert all(problem.source.line and problem.source.column for problem in found), case["id"]
        assert found or not case["error"], f"{case['id']} is invalid"
        accepted += not found
    assert len(cases) == 402
    assert accepted >= 170


def _outcome(data: bytes, loader: Any) -> tuple[Problem, ...]:
    try:
        return read(data, loader).problems
    except InvalidInput as error:
        return error.problems
