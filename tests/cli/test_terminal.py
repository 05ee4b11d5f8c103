"""On a real terminal: apply asks, colour and width are the terminal's, Ctrl-C ends cleanly; and the demo plays."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from reconciler.sandbox.world import World
from tests.cli.conftest import Command
from tests.cli.terminal import on_terminal, read_until

Manifest = Callable[..., None]


@pytest.mark.one_in(7)
@pytest.mark.parametrize(
    ("answer", "code", "holders"),
    [("yes\n", 0, 3), (" Yes \n", 0, 3), ("y\n", 1, 0), ("n\n", 1, 0), ("\n", 1, 0), ("\x04", 1, 0)],
)
def test_apply_asks(manifest: Manifest, project: Path, world: World, answer: str, code: int, holders: int) -> None:
    manifest(customers=(range(3), ["customer"], []))
    with on_terminal("apply", cwd=project) as (process, terminal):
        shown = read_until(terminal, "Type yes: ")
        assert "3 tags to add" in shown
        assert "\x1b[" in shown
        os.write(terminal, answer.encode())
        read_until(terminal, "no such words")
        assert process.wait(timeout=30) == code
    assert len(world.holders("customer")) == holders


@pytest.mark.slow
def test_ctrl_c_before_anything_is_sent(manifest: Manifest, project: Path, world: World) -> None:
    manifest(customers=(range(3), ["customer"], []))
    with on_terminal("apply", cwd=project, signalled=True) as (process, terminal):
        # as early as can be: a signal that comes between the question and the reading is heeded too
        read_until(terminal, "Type yes: ")
        process.send_signal(signal.SIGINT)
        shown = read_until(terminal, "no such words")
        assert process.wait(timeout=30) == 130
    assert "Traceback" not in shown
    assert "interrupted: nothing was sent\r\n" in shown
    assert not world.transitions


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_scene_of_the_demo_goes_on_in_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three lines are typed as they are printed, but for the port, which may be taken here."""
    for name in ("RECONCILER_API_BASE_URL", "RECONCILER_STATE", "HIGHLEVEL_TOKEN", "CI"):
        monkeypatch.delenv(name, raising=False)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    run = partial(
        subprocess.run, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=120
    )
    shown = run(["reconciler", "demo", "--keep", "my scene"], check=True).stdout
    goes, serves, looks = [line.strip() for line in shown.split("Three lines:\n")[1].splitlines()[:3]]
    port = free_port()
    settings = tmp_path / "my scene" / "manifests" / "reconciler.yaml"
    assert "base_url: http://127.0.0.1:8787" in settings.read_text()
    settings.write_text(settings.read_text().replace(":8787", f":{port}"))
    serves = serves.replace("--port 8787", f"--port {port}")
    typed = f"""
        {goes}
        {serves}
        until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done
        {looks} --fail-on missing,unexpected,flapping; echo "drift: $?"
        reconciler plan --detailed-exitcode; echo "plan: $?"
        kill -INT %1; wait %1
    """
    played = run(["bash", "-mc", typed], check=False).stdout
    assert "drift: 0" in played, played
    assert "No drift" in played
    assert "plan: 0" in played, played
    assert "sandbox.json holds what changed" in played


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert isinstance(port, int)
        return port


@pytest.mark.slow
def test_a_bar_stands_while_requests_are_sent_and_is_gone_afterwards(manifest: Manifest, project: Path) -> None:
    manifest(customers=(range(3), ["customer"], []))
    with on_terminal("apply", "--auto-approve", cwd=project, columns=100) as (process, terminal):
        shown = read_until(terminal, "no such words")
        assert process.wait(timeout=30) == 0
    assert "of 1 requests" in shown
    assert "━" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
