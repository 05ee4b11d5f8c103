"""On a real terminal: apply asks, colour and width are the terminal's, Ctrl-C ends cleanly; and the demo plays."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.sandbox.world import World
from tests.cli.conftest import Command

Manifest = Callable[..., None]
PATIENCE_S = 30
ROOT = Path(__file__).parent.parent.parent


@contextmanager
def on_terminal(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command whose three streams are a terminal, and our end of it."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "90"}
    command = [sys.executable, "-m", "reconciler", *arguments]
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=_heed_ctrl_c
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            os.close(ours)


def _heed_ctrl_c() -> None:
    """Test workers, and jobs in the background, ignore Ctrl-C, and so would whatever they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read_until(terminal: int, words: str) -> str:
    """What is shown until `words` are; all of it where they never are, or nothing more comes for long."""
    shown = b""
    while words.encode() not in shown:
        try:
            if not select.select([terminal], [], [], PATIENCE_S)[0]:
                break
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    return shown.decode()


@pytest.mark.parametrize(
    ("answer", "code", "holders"), [("y\n", 0, 3), ("Yes\n", 0, 3), ("n\n", 1, 0), ("\n", 1, 0), ("\x04", 1, 0)]
)
def test_apply_asks(manifest: Manifest, project: Path, world: World, answer: str, code: int, holders: int) -> None:
    manifest(customers=(range(3), ["customer"], []))
    with on_terminal("apply", cwd=project) as (process, terminal):
        shown = read_until(terminal, "Send this? [y/N]:")
        assert "3 tags to add" in shown
        assert "\x1b[" in shown
        os.write(terminal, answer.encode())
        read_until(terminal, "no such words")
        assert process.wait(timeout=30) == code
    assert len(world.holders("customer")) == holders


def test_ctrl_c_before_anything_is_sent(manifest: Manifest, project: Path, world: World) -> None:
    manifest(customers=(range(3), ["customer"], []))
    with on_terminal("apply", cwd=project) as (process, terminal):
        # as early as can be: a signal that comes between the question and the reading is heeded too
        read_until(terminal, "Send this?")
        process.send_signal(signal.SIGINT)
        shown = read_until(terminal, "no such words")
        assert process.wait(timeout=30) == 130
    assert "Traceback" not in shown
    assert not world.transitions


def test_the_demo_is_true_and_leaves_its_scene(reconciler: Command, project: Path, world: World) -> None:
    ended = reconciler("demo", "--keep", "scene")
    assert ended.code == 0, ended.out + ended.err
    assert "Nothing to send, and not as declared: " in ended.out
    assert "Everything above is true" in ended.out
    scene = project / "scene"
    assert {"manifests", "state.db", "sandbox.json", "plan.json"} <= {path.name for path in scene.iterdir()}
    assert reconciler("plan", "scene/manifests", "--state", "sqlite:///scene/state.db", "--detailed-exitcode").code == 0
    again = reconciler("demo", "--keep", "scene")
    assert again.code == 64
    shutil.rmtree(scene)


def test_a_bar_stands_while_requests_are_sent_and_is_gone_afterwards(manifest: Manifest, project: Path) -> None:
    manifest(customers=(range(3), ["customer"], []))
    with on_terminal("apply", "--auto-approve", cwd=project) as (process, terminal):
        shown = read_until(terminal, "no such words")
        assert process.wait(timeout=30) == 0
    assert "of 1 requests" in shown
    assert "━" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
