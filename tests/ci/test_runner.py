"""What reaches the log, the outputs and the summary of a run cannot do anything there."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from reconciler_action.runner import Runner, cut

from tests.ci.conftest import Step, read_outputs

Make = Callable[..., Step]


def test_an_output_is_ended_by_nothing_in_it(step: Make) -> None:
    hostile = "a\nend-0000\nother<<x\nEOF\n::set-output name=x::y"
    one = step()
    one.runner.output(digest=hostile, exit_code=2)
    assert one.outputs == {"digest": hostile, "exit-code": "2"}


def test_each_delimiter_is_new(step: Make) -> None:
    one = step()
    one.runner.output(a=1)
    one.runner.output(b=1)
    delimiters = re.findall(r"<<(end-[0-9a-f]{32})", (one.files / "output").read_text())
    assert len(set(delimiters)) == 2


def _printing(text: str, environment: dict[str, str]) -> Runner:
    return Runner(environment, (sys.executable, "-c", f"import sys; sys.stdout.write({text!r})"))


def test_no_line_of_an_answer_is_a_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = _printing("::error::boo\n::add-path::/evil", {}).run()
    first, *between, last = capfd.readouterr().out.splitlines()
    token = first.removeprefix("::stop-commands::")
    assert re.fullmatch("[0-9a-f]{32}", token)
    assert last == f"::{token}::"
    assert between == ["::error::boo", "::add-path::/evil"]
    assert done.answer == "::error::boo\n::add-path::/evil"


def test_commands_are_taken_up_again_after_a_program_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError):
        Runner({}, ("no-such-program",)).run()
    first, last = capfd.readouterr().out.splitlines()
    assert last == f"::{first.removeprefix('::stop-commands::')}::"


def test_a_mask_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    Runner({}).mask(["pit-1\n::error::x", "", "50%"])
    assert capfd.readouterr().out == "::add-mask::pit-1%0A::error::x\n::add-mask::50%25\n"


def test_a_long_text_is_cut_at_the_end_of_a_line_and_says_so() -> None:
    text = "".join(f"line {number:04d} ü\n" for number in range(1000))
    short = cut(text, 1000)
    assert len(short.encode()) <= 1000
    kept, _, notice = short.partition("\n\n\n*cut here")
    assert text.startswith(kept)
    assert notice
    assert cut("short", 1000) == "short"


def test_a_summary_stays_below_its_limit(step: Make) -> None:
    one = step()
    for _ in range(3):
        one.runner.summary("x" * 9 + "\n" + ("y" * 99 + "\n") * 5_000)
    assert (one.files / "summary.md").stat().st_size <= 1_000_003


def test_an_event_that_is_not_there_is_empty() -> None:
    assert Runner({}).event == Runner({"GITHUB_EVENT_PATH": "/nowhere"}).event == {}


def test_outputs_are_read_as_they_are_written(tmp_path: Path) -> None:
    assert read_outputs(tmp_path / "none") == {}
