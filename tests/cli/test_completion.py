"""A shell completes the names of locations, contact sets and runs: from this machine, silently, and safely."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from reconciler.cli import cli
from reconciler.operations.known_names import MOST_BYTES
from tests.cli.conftest import LOCATION, Command, contact_id

SETTINGS = f"""\
locations:
  {LOCATION}: {{name: acme}}
  zzzzzzzzzzzzzzzzzzzz: {{name: Zed Ltd}}
"""
MANIFEST = f"""\
location: {LOCATION}
contact_sets:
  vip: {{contacts: [{contact_id(1)}], tags: [vip]}}
  winners: {{contacts: [{contact_id(1)}], tags: [won]}}
"""
Complete = Callable[..., list[str]]


@pytest.fixture
def complete(project: Path) -> Complete:
    """The words that a shell in a repository is offered behind others."""
    write("reconciler.yaml", SETTINGS)
    write("acme.yaml", MANIFEST)

    def offered(*words: str) -> list[str]:
        *before, begun = words
        found = ShellComplete(cli, {}, "reconciler", "_RECONCILER_COMPLETE").get_completions(before, begun)
        return [item.value for item in found if item.type == "plain"]

    return offered


def write(name: str, text: str) -> None:
    path = Path("manifests", name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_location_option_knows_ids_and_names(complete: Complete) -> None:
    assert complete("plan", "--location", "") == ["acme", LOCATION, "zzzzzzzzzzzzzzzzzzzz"]
    assert complete("apply", "--location", "ac") == ["acme"]
    assert complete("state", "show", "--location", "zz") == ["zzzzzzzzzzzzzzzzzzzz"]


def test_a_manifest_of_many_locations_names_those_on_its_list(complete: Complete) -> None:
    write("many.yaml", "locations: [oneoneoneoneoneoneon, twotwotwotwotwotwotw]\ncontact_sets: {}\n")
    assert complete("drift", "--location", "o") == ["oneoneoneoneoneoneon"]


def test_the_set_option_knows_the_sets_of_the_directory_that_is_named(complete: Complete) -> None:
    assert complete("plan", "--set", "") == ["vip", "winners"]
    assert complete("pull", "--set", "w") == ["winners"]
    Path("other").mkdir()
    Path("other", "a.yaml").write_text(MANIFEST.replace("winners", "losers"), encoding="utf-8")
    assert complete("plan", "other", "--set", "") == ["losers", "vip"]


def test_runs_are_those_of_a_state_on_this_machine(complete: Complete, reconciler: Command) -> None:
    assert complete("revert", "") == ["last"]
    assert reconciler("apply", "--auto-approve").code == 0
    last, run = complete("revert", "")
    assert last == "last"
    assert complete("show", run[:3]) == [run]


@pytest.mark.parametrize(
    "state", ["postgresql://db.example/tags", "s3://bucket/tags", "nonsense", "sqlite:////dev/null"]
)
def test_no_host_is_asked_and_no_error_is_told(
    complete: Complete, state: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert complete("revert", "--state", state, "") == ["last"]
    assert capfd.readouterr() == ("", "")


def test_what_is_broken_hides_nothing_else(complete: Complete, capfd: pytest.CaptureFixture[str]) -> None:
    write("a.yaml", "location: [\n")
    write("b.yaml", "- no mapping\n")
    Path("manifests", "c.yaml").write_bytes(b"\xff\xfe\xff")
    Path("manifests", "d.yaml").symlink_to("nowhere")
    write("reconciler.yaml", "state: [\n")
    assert complete("plan", "--set", "") == ["vip", "winners"]
    assert complete("plan", "--location", "") == [LOCATION]
    assert capfd.readouterr() == ("", "")


def test_no_name_is_offered_that_a_shell_would_take_for_anything_but_a_word(complete: Complete) -> None:
    """What is completed is executed next, and the manifest may be a stranger's."""
    odd = ["$(touch x)", "`id`", "a;b", "a b", "~", "-x", "a|b", "*", "a'b", "a,b", "{a}", "a:b", "!!"]
    sets = "".join(f"  {json_text(name)}: {{contacts: [{contact_id(1)}], tags: [t]}}\n" for name in [*odd, "fine-1"])
    write("odd.yaml", f"location: {LOCATION}\ncontact_sets:\n{sets}")
    assert complete("plan", "--set", "") == ["fine-1", "vip", "winners"]


def json_text(name: str) -> str:
    return '"' + name + '"'


def test_reading_is_bounded(complete: Complete) -> None:
    """A file beyond the budget still names its location."""
    line = f"  # {'x' * 90}\n"
    write("large.yaml", "location: largelargelargelarge\ncontact_sets:\n" + line * (MOST_BYTES // len(line) + 1))
    assert Path("manifests", "large.yaml").stat().st_size > MOST_BYTES
    assert complete("plan", "--location", "large") == ["largelargelargelarge"]
    assert complete("plan", "--set", "") == ["vip", "winners"]
