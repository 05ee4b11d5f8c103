"""Programs that fail, hang, print nothing, too much or on and on, and leave others behind: all end within bounds."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from threading import Event, Timer

import pytest

from reconciler.core.model.people import MOST_MIB
from reconciler.operations.run_command import GRACE_S, Command, CommandFailed, run_command

GRACE = 0.3
LONG_S = 60


def command(script: str, *, timeout_s: float = LONG_S, most_bytes: int = 1_000_000, **environment: str) -> Command:
    words = [sys.executable, "-c", script]
    return Command(words, Path(), {"PATH": os.environ["PATH"], **environment}, timeout_s, most_bytes, GRACE)


def failure(script: str, **bounds: float) -> CommandFailed:
    with pytest.raises(CommandFailed) as failed:
        run_command(command(script, **bounds), Event())  # type: ignore[arg-type]
    return failed.value


def test_what_is_printed_is_kept_without_a_name_and_for_its_owner_alone(tmp_path: Path) -> None:
    with run_command(command("print('id'); print('a'); import sys; print('fine', file=sys.stderr)"), Event()) as kept:
        assert kept.read() == b"id\na\n"
        status = os.fstat(kept.fileno())
    assert (status.st_nlink, status.st_mode & 0o777) == (0, 0o600)


def test_no_shell_reads_the_words_and_nothing_is_on_the_input() -> None:
    script = "import sys; print(sys.argv[1:], repr(sys.stdin.read()))"
    words = [*command(script).words, "$HOME; rm -rf *", "`id`", ""]
    with run_command(Command(words, Path(), {}, LONG_S, 1_000), Event()) as kept:
        assert kept.read().decode() == "['$HOME; rm -rf *', '`id`', ''] ''\n"


def test_it_runs_in_its_directory_with_its_environment_alone(tmp_path: Path) -> None:
    script = "import os; print(os.getcwd(), sorted(os.environ.keys() - {'LC_CTYPE'}))"
    with run_command(Command([sys.executable, "-c", script], tmp_path, {"A": "1"}, LONG_S, 1_000), Event()) as kept:
        assert kept.read().decode() == f"{tmp_path} ['A']\n"


def test_a_program_beside_the_manifests_is_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "vips.sh").write_text("#!/bin/sh\necho id\n")
    (tmp_path / "vips.sh").chmod(0o700)
    with run_command(Command(["./vips.sh"], tmp_path, {}, LONG_S, 1_000), Event()) as kept:
        assert kept.read() == b"id\n"


def test_an_exit_code_tells_the_last_lines_of_its_errors() -> None:
    failed = failure("import sys; [print('line', n, file=sys.stderr) for n in range(5000)]; print('id'); sys.exit(3)")
    assert str(failed) == "it ended with exit code 3"
    assert failed.errors == tuple(f"line {n}" for n in range(4980, 5000))


def test_a_line_of_errors_whose_beginning_is_gone_is_not_told() -> None:
    """Half a secret could not be told from another word."""
    failed = failure(
        "import sys; print('x' * 70_000 + 'half', file=sys.stderr); print('end', file=sys.stderr); sys.exit(3)"
    )
    assert failed.errors == ("end",)


def test_a_signal_is_named() -> None:
    assert str(failure("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")) == "it was ended by SIGKILL"


def test_a_program_that_is_not_there_or_none() -> None:
    for words, reason in (
        (["no-such-program", "x"], "there is no program 'no-such-program'"),
        (["/etc/passwd"], "'/etc/passwd' cannot be run: Permission denied"),
        (["a\0b"], "'a\\x00b' cannot be run: embedded null byte"),
    ):
        with pytest.raises(CommandFailed) as failed:
            run_command(Command(words, Path(), {"PATH": os.environ["PATH"]}, LONG_S, 1_000), Event())
        assert str(failed.value) == reason


def test_nothing_printed_is_no_answer() -> None:
    assert str(failure("pass")) == "it printed nothing"


def test_too_much_is_cut_off() -> None:
    failed = failure("while True: print('x' * 1000)", most_bytes=3 * 1024 * 1024)
    assert str(failed) == "it printed more than 3 MiB"
    assert "max_mib" in failed.hint


@pytest.mark.slow
def test_a_program_that_hangs_is_ended_at_its_time_out() -> None:
    failed = failure("import sys, time; print('waits', file=sys.stderr, flush=True); time.sleep(1000)", timeout_s=2.0)
    assert str(failed) == "it did not end within 2 s"
    assert failed.errors == ("waits",)


@pytest.mark.slow
def test_one_that_closes_its_output_and_goes_on_is_ended_too() -> None:
    script = "import os, sys, time; print('id', flush=True); os.close(1); time.sleep(1000)"
    assert str(failure(script, timeout_s=0.5)) == "it did not end within 0.5 s"


@pytest.mark.slow
def test_errors_without_an_end_do_not_fill_the_memory_or_hold_it_up() -> None:
    script = (
        "import os, sys\nprint('id', flush=True)\nos.close(1)\nfor _ in range(3000): sys.stderr.write('x' * 999 + ' ')"
    )
    with run_command(command(script), Event()) as kept:
        assert kept.read() == b"id\n"


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # one that nobody has waited for is no more
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


CHILD = "import os, signal, sys, time\n"
IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
FORK = """
pid = os.fork()
if not pid: time.sleep(1000)
open(os.environ['PIDS'], 'w').write(f'{pid}')
print('id', flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it tells who is there")
@pytest.mark.parametrize("deaf", ["", IGNORES], ids=["polite", "deaf"])
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("time.sleep(1000)", "it did not end within 0.8 s"),
        ("sys.exit(3)", "it ended with exit code 3"),
        ("os._exit(0)", "it ended, and left a process that holds its output open"),
    ],
    ids=["hangs", "fails", "ends"],
)
def test_children_are_ended_with_it(deaf: str, end: str, reason: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(CommandFailed) as failed:
        run_command(command(CHILD + deaf + FORK + end, timeout_s=0.8, PIDS=str(pids)), Event())
    assert str(failed.value) == reason
    assert not is_there(int(pids.read_text()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it tells who is there")
@pytest.mark.parametrize("deaf", ["", IGNORES], ids=["polite", "deaf"])
def test_a_child_in_the_background_is_ended_with_a_program_that_ended_well(deaf: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    background = FORK.replace("if not pid:", "if not pid: os.close(1); os.close(2);")
    with run_command(command(CHILD + deaf + background, PIDS=str(pids)), Event()) as kept:
        assert kept.read() == b"id\n"
    assert not is_there(int(pids.read_text()))


@pytest.mark.slow
def test_a_child_that_left_the_group_does_not_hold_us_up(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = CHILD + FORK.replace("if not pid:", "if not pid: os.setsid();") + "time.sleep(1000)"
    began = time.monotonic()
    with pytest.raises(CommandFailed):
        run_command(command(script, timeout_s=0.8, PIDS=str(pids)), Event())
    assert time.monotonic() - began < GRACE_S
    os.kill(int(pids.read_text()), 9)


def test_it_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    stop, pids = Event(), tmp_path / "pids"
    Timer(0.5, stop.set).start()
    with pytest.raises(CommandFailed) as failed:
        run_command(command(CHILD + FORK + "time.sleep(1000)", PIDS=str(pids)), stop)
    assert str(failed.value) == "it was stopped"
    assert not is_there(int(pids.read_text()))


@pytest.mark.slow
def test_ten_gigabytes_end_at_the_limit() -> None:
    script = "import os\nblock = b'x' * 1048576\nfor _ in range(10 * 1024): os.write(1, block)"
    failed = failure(script, most_bytes=MOST_MIB * 1024 * 1024, timeout_s=600)
    assert str(failed) == "it printed more than 1,024 MiB"
