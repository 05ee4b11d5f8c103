"""docs/troubleshooting.md quotes what the program says, each message below its exit code, and leaves no error out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from reconciler.core.model.errors import ApiError, ExitCode, RateLimited, ReconcilerError
from reconciler.core.model.settings import Guard
from reconciler.operations.git import GitRefused
from reconciler.sandbox import PortUnavailable
from tests.docs.messages import Text, modules, says, texts, texts_of
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## Exit codes? ([\d, ]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
WRITTEN_ELSEWHERE = {
    "InvalidInput": "loading/mistakes.py",
    "NeedsPull": "core/manifests/checks/snapshots.py",
    "LockHeld": "core/model/lease.py",
    "GuardRefused": "core/planning/guard_sentences.py",
    "Interrupted": "core/model/errors.py",
}
"""Errors whose messages are put together: the module that has their words."""

ENDS_AS_ANOTHER = {ApiError, RateLimited}
"""Errors that no command ends with: what others are made of."""

OF_THE_API = re.compile(r"contact (?:is deleted|id is not a valid firebase id|does not belong to location)")


def _kinds(kind: type[ReconcilerError]) -> Iterator[type[ReconcilerError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _kinds(sub)


def _quoted(section: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", section, re.M)


QUOTED = [(codes, quoted) for codes, section in SECTIONS for quoted in _quoted(section)]


def test_every_exit_code_has_a_section() -> None:
    explained = {int(code) for codes, _ in SECTIONS for code in codes.split(",")}
    assert explained == {int(code) for code in ExitCode} | {129, 130, 143}


@pytest.mark.one_in(16)
@pytest.mark.parametrize(("codes", "quoted"), QUOTED, ids=[quoted for _, quoted in QUOTED])
def test_a_quoted_message_is_one_of_the_program_or_of_the_api(codes: str, quoted: str) -> None:
    assert OF_THE_API.fullmatch(quoted) or any(says(each.text, quoted) for each in texts(quoted))


def test_the_refusals_of_the_api_are_those_of_the_sandbox() -> None:
    spoken = {
        found[0]
        for module in modules("sandbox/")
        for each in texts_of(module)
        for found in OF_THE_API.finditer(each.text)
    }
    assert spoken == {quoted for _, quoted in QUOTED if OF_THE_API.fullmatch(quoted)}


@pytest.mark.slow
def test_a_message_stands_below_the_exit_code_that_it_ends_with() -> None:
    kinds = {kind.__name__: kind for kind in _kinds(ReconcilerError)}
    wrong = []
    for codes, quoted in QUOTED:
        raised = {each.raised for each in texts() if each.raised in kinds and each.text == quoted}
        if raised and not any(str(int(kinds[name].exit_code)) in codes.split(", ") for name in raised):
            wrong.append((codes, quoted, raised))
    assert wrong == []


def test_every_kind_of_error_has_a_message_there() -> None:
    kinds = set(_kinds(ReconcilerError))
    assert kinds >= {GitRefused, PortUnavailable}, "those that are defined where they are raised"
    assert {kind.__name__ for kind in kinds - ENDS_AS_ANOTHER if not _is_covered(kind)} == set()


def _is_covered(kind: type[ReconcilerError]) -> bool:
    """Whether one of its own messages is quoted."""
    return any(says(each.text, quoted) for each in _texts_of(kind.__name__) for _, quoted in QUOTED)


def _texts_of(name: str) -> Iterator[Text]:
    if module := WRITTEN_ELSEWHERE.get(name):
        yield from texts_of(module)
    yield from (each for each in texts(named=f"{name}(") if each.raised == name)


def test_every_guard_has_a_row() -> None:
    (section,) = [section for codes, section in SECTIONS if codes == "5"]
    assert [guard for guard in Guard if f"| `{guard}` |" not in section] == [Guard.MAX_REMOVES]
