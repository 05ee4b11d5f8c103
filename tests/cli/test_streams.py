"""The streams of a command as a shell and a system make them: on full disks, with readers that go, closed."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from reconciler.sandbox import Running
from reconciler.sandbox.app import DEMO_TOKEN
from reconciler.sandbox.world import World
from tests.cli.conftest import Command
from tests.webhook import open_webhook

Manifest = Callable[..., None]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
ONE_EACH = {"RECONCILER_API_MAX_CONTACTS": "1", "RECONCILER_APPLY_MAX_IN_FLIGHT": "1"}
TOLD = ("--log-level", "debug")


def in_shell(
    arguments: str,
    redirected: str,
    sandbox: Running | None = None,
    more: Mapping[str, str] | None = None,
    *,
    keeps: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | (more or {})
    if sandbox is not None:
        environment |= {"RECONCILER_API_BASE_URL": sandbox.url, "HIGHLEVEL_TOKEN": DEMO_TOKEN}
    line = f'exec "{sys.executable}" -m reconciler {arguments} {redirected}'
    return subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, text=True, check=False, pass_fds=keeps
    )


@pytest.mark.slow
@needs_full
@pytest.mark.parametrize("arguments", ["validate manifests", pytest.param("plan", marks=pytest.mark.slow)])
def test_an_answer_that_finds_no_room_is_told_and_is_no_bug(manifest: Manifest, arguments: str) -> None:
    manifest(customers=([0, 1], ["customer"], []))
    ended = in_shell(arguments, "> /dev/full")

    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "error: the answer cannot be written to the standard output: No space left on device\n"
    )
    assert "bug" not in ended.stderr


@needs_full
@pytest.mark.slow
def test_what_was_sent_is_in_the_report_though_the_answer_finds_no_room(
    manifest: Manifest, sandbox: Running, world: World
) -> None:
    manifest(customers=(range(4), ["customer"], []))
    ended = in_shell("apply --auto-approve --format json --report run.json", "> /dev/full", sandbox)

    assert (ended.returncode, len(world.transitions)) == (1, 4)
    assert json.loads(Path("run.json").read_text())["locations"][0]["pairs"] == {"applied": 4}


@needs_full
@pytest.mark.slow
@pytest.mark.parametrize("command", ["apply", "apply --dry-run"])
def test_a_preview_that_finds_no_room_is_no_end_of_a_run(
    manifest: Manifest, sandbox: Running, world: World, command: str
) -> None:
    manifest(customers=(range(4), ["customer"], []))
    ended = in_shell(f"{command} --auto-approve --report run.json", "> /dev/full", sandbox)

    report = json.loads(Path("run.json").read_text())
    assert (ended.returncode, world.transitions, "error" in report) == (1, [], command == "apply")


@pytest.mark.slow
@pytest.mark.parametrize(
    "redirected",
    ["2> >(head -n 1 > /dev/null)", pytest.param("2> /dev/full", marks=needs_full), "2>&-", ">&- 2>&- <&-"],
)
def test_a_run_goes_on_when_nobody_reads_of_its_progress(
    manifest: Manifest, sandbox: Running, world: World, reconciler: Command, redirected: str
) -> None:
    """The shell ends the reader after a line, or the disk of the log is full: a run sends for hours."""
    manifest(customers=(range(8), ["customer"], []))
    ended = in_shell(f"apply --auto-approve {' '.join(TOLD)} --report run.json", redirected, sandbox, ONE_EACH)

    assert (ended.returncode, len(world.transitions)) == (0, 8)
    assert json.loads(Path("run.json").read_text())["locations"][0]["pairs"] == {"applied": 8}
    # no database was written over by what was meant for a stream that is closed
    assert reconciler("plan", "--detailed-exitcode").code == 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="this system has no small pipes")
def test_an_answer_is_whole_where_its_pipe_lets_no_write_wait() -> None:
    """As Node.js makes the pipes of its children; this one holds a small part of the answer."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with subprocess.Popen([sys.executable, "-m", "reconciler", "schema", "report"], stdout=writer) as command:
        os.close(writer)
        # slower than any writer
        json.loads(b"".join(iter(partial(os.read, reader, 1), b"")))
    os.close(reader)
    assert command.returncode == 0


@pytest.mark.slow
def test_a_run_goes_on_where_its_log_lets_no_write_wait_and_nobody_reads(
    manifest: Manifest, sandbox: Running, world: World
) -> None:
    manifest(customers=(range(8), ["customer"], []))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, bytes(1)):
            pass
    ended = in_shell(f"apply --auto-approve {' '.join(TOLD)}", f"2>&{writer}", sandbox, ONE_EACH, keeps=(writer,))
    os.close(reader)
    os.close(writer)

    assert (ended.returncode, len(world.transitions)) == (0, 8)


@pytest.mark.slow
def test_a_webhook_hears_of_a_command_whose_answer_has_no_reader(manifest: Manifest, sandbox: Running) -> None:
    manifest(customers=(range(4), ["customer"], []))
    reader, writer = os.pipe()
    os.close(reader)
    with open_webhook() as webhook:
        told = {"RECONCILER_NOTIFY_URL": webhook.url}
        ended = in_shell("apply --auto-approve", f">&{writer}", sandbox, told, keeps=(writer,))
    os.close(writer)
    assert [json.loads(body)["exit_code"] for body in webhook.bodies] == [1]
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.slow
def test_the_reader_of_an_answer_may_go() -> None:
    ended = in_shell("schema manifest", "| head -n 1")

    assert ended.stderr == ""
    assert ended.stdout == "{\n"
