"""What runs in a warm Python runs as in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import the_product, with_imported

ENDED = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.write(1, b"runs\\n")
signal.sigwait([signal.SIGTERM])
os.write(1, b"ended\\n")
"""
CASES = {
    "arguments, a directory and variables": (
        "import os, sys; print(sys.argv, os.getcwd(), os.environ['X'])",
        ["a", "ü"],
    ),
    "streams": ("import sys; sys.stderr.write('é'); print(sys.stdin.read(), 'ö', end='')", []),
    "an exit code": ("raise SystemExit(3)", []),
    "words for an exit code": ("raise SystemExit('no')", []),
    "a module of elsewhere": ("import elsewhere; print(elsewhere.__file__)", []),
    "a signal": ("import os; os.kill(os.getpid(), 9)", []),
}


@pytest.mark.one_in(5)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("name", CASES)
def test_a_warm_python_does_and_says_what_a_cold_one_does(name: str, tmp_path: Path) -> None:
    code, arguments = CASES[name]
    (tmp_path / "elsewhere.py").write_text("")
    cold, warm = (
        subprocess.run(
            [*words, "-c", code, *arguments],
            cwd=tmp_path,
            env=os.environ | {"X": "1", "PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
            input="ß",
            capture_output=True,
            encoding="utf-8",
        )
        for words in ((sys.executable,), with_imported("json"))
    )
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_what_runs_for_one_that_is_ended_is_ended() -> None:
    with subprocess.Popen([*with_imported("json"), "-c", ENDED], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "runs\n"
        asking.send_signal(signal.SIGKILL)
        assert asking.stdout.readline() == "ended\n"


@pytest.mark.slow
def test_the_product_has_been_imported_and_runs() -> None:
    code = "import sys; print('reconciler.apply' in sys.modules, 'numpy' in sys.modules)"
    told = subprocess.run([*the_product(), "-c", code], capture_output=True, text=True)
    assert told.stdout == "True True\n", told.stderr
    told = subprocess.run([*the_product(), "-m", "reconciler", "--version"], capture_output=True, text=True)
    assert told.stdout.startswith("reconciler "), told.stderr
