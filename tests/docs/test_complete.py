"""Every command, option, exit code and setting is documented, and what is documented exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.core.model.errors import WORST_FIRST, ExitCode
from reconciler.core.model.outcome import Outcome
from reconciler.core.model.settings import DriftClass, Guard
from reconciler.loading.settings import flag_name, setting_keys, variable_name
from tests.docs.cli_reference import commands, common_options, options, reference

DOCS = Path(__file__).parents[2] / "docs"
CLI = DOCS / "cli.md"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path not in (CLI, DOCS / "benchmarks.md", DOCS / "scale.md"))
"""The benchmarks, and what is computed from them, are about scripts with options of their own."""


def _page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_reference_of_the_command_line_is_what_the_commands_say(bless: bool) -> None:
    if bless:
        CLI.write_text(reference(), encoding="utf-8")
    assert CLI.read_text(encoding="utf-8") == reference(), "pytest --bless tests/docs rewrites docs/cli.md"


def test_every_command_and_option_is_in_it() -> None:
    text = _page("cli.md")
    for path, command in commands():
        assert f"# {path}\n" in text
        for option in options(command):
            assert option.help, f"{path} {option.opts[0]}"
            assert f"`{option.opts[0]}" in text
    assert all(f"`{each.opts[0]}" in text for each in common_options())


def test_every_setting_is_there_as_flag_and_variable() -> None:
    text = _page("cli.md")
    assert [
        key for key in setting_keys() if f"| `{key}` | `{flag_name(key)}` | `{variable_name(key)}` |" not in text
    ] == []


def test_every_command_has_a_row_in_the_table_of_commands() -> None:
    text = _page("reference.md")
    groups = {path.partition(" ")[0] for path, _ in commands() if " " in path}
    missing = [path for path, _ in commands() if path not in groups and not re.search(rf"^\|.*`{path}\b", text, re.M)]
    assert missing == []


def test_every_exit_code_is_explained() -> None:
    text = _page("exit-codes.md")
    explained = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", text, re.M) for code in row.split(",")}
    assert explained == {int(code) for code in ExitCode} | {129, 130, 143}
    order = re.search(r"in the order ([\d, ]+)\.", text)
    assert order is not None
    assert [int(code) for code in order[1].split(",")] == [int(code) for code in WORST_FIRST]


@pytest.mark.parametrize("names", [list(Guard), list(Outcome), list(DriftClass)], ids=["guards", "outcomes", "drift"])
def test_every_guard_outcome_and_class_of_drift_is_explained(names: list[str]) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in names if not re.search(rf"^\|.*`{re.escape(name)}`", text, re.M)] == []


def _known_options() -> set[str]:
    every = {name for _, command in commands() for each in command.params for name in each.opts}
    return every | {"--help", "--version"}


OTHERS = re.compile(
    r"(?:pip|git|pytest|docker|zizmor|uv|python|npm|curl|gh|zensical|act|psql|dbt|bq|snowsql|aws|cosign)\b[^\n`]*"
)
"""Command lines of other programs."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_no_page_names_an_option_or_command_that_is_not_there(page: Path) -> None:
    ours = OTHERS.sub("", page.read_text(encoding="utf-8"))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b", ours))
    assert named - _known_options() == set()
    known = {path for path, _ in commands()} | {path.partition(" ")[0] for path, _ in commands()}
    called = re.findall(r"(?:^|[`$] ?|&& )reconciler ([a-z]+)(?: ([a-z]+))?", ours, re.M)
    unknown = [first for first, second in called if first not in known and f"{first} {second}" not in known]
    assert unknown == []
