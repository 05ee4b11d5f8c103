"""The image of the Containerfile: as little in it as it needs, run as nobody, and what comes of its steps works.

Where a builder runs, it builds; elsewhere its steps are done in a directory, in the order of the file: those that need
another root than a user has (packages, accounts) are left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler import __version__

ROOT = Path(__file__).parents[2]
FILE = ROOT / "Containerfile"
KNOWN = {"ARG", "FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT"}
IMAGE = "tagreconciler-test"
OF_ROOT = ("apt-get ", "useradd ")


@dataclass(frozen=True, slots=True)
class Step:
    word: str
    rest: str


def steps() -> list[Step]:
    """The instructions of the file, without comments; a line that ends in a backslash goes on."""
    text = "\n".join(line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [Step(*line.split(maxsplit=1)) for line in lines if line.strip()]


def of(word: str) -> list[str]:
    return [step.rest for step in steps() if step.word == word]


def sources() -> list[str]:
    """What is copied from the checkout."""
    return [name for rest in of("COPY") if not rest.startswith("--from") for name in rest.split()[:-1]]


def test_each_instruction_is_known_and_the_base_is_one() -> None:
    assert {step.word for step in steps()} == KNOWN
    assert steps()[0] == Step("ARG", "BASE=python:3.12-slim")
    assert of("FROM") == ["${BASE} AS build", "${BASE}"]


def test_nobody_in_particular_runs_it() -> None:
    """As the Kubernetes template does, and after everything that needs root."""
    (user,) = of("USER")
    run_as = re.findall(r"runAs(?:User|Group): (\d+)", (ROOT / "docs" / "ci" / "kubernetes.yaml").read_text())
    assert user.split(":") == run_as
    words = [step.word for step in steps()]
    assert set(words[words.index("USER") + 1 :]) == {"WORKDIR", "ENTRYPOINT"}
    assert json.loads(of("ENTRYPOINT")[0]) == ["reconciler"]


def test_every_library_is_pinned_by_its_hash() -> None:
    installs = [rest for rest in of("RUN") if " install " in rest and not rest.startswith("apt-get")]
    assert len(installs) == 2
    assert [rest for rest in installs if "--require-hashes" not in rest and "--no-deps" not in rest] == []


def test_what_is_copied_is_there_and_is_all_that_a_builder_is_given() -> None:
    assert [name for name in sources() if not (ROOT / name).exists()] == []
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(sources())


def test_what_the_wheel_takes_from_elsewhere_is_copied() -> None:
    """Else the image would lack an example or a template."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    forced = re.findall(r'^"([^"]+)" = "reconciler/', project, re.M)
    assert forced
    assert [name for name in forced if not any(f"{name}/".startswith(f"{source}/") for source in sources())] == []


def builder() -> str | None:
    """A program that builds images on this machine."""
    for name in ("podman", "docker"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    return None


def _build(program: str) -> list[str]:
    subprocess.run([program, "build", "--quiet", "--file", str(FILE), "--tag", IMAGE, "."], cwd=ROOT, check=True)
    return [program, "run", "--rm", "--tmpfs", "/work:mode=1777", IMAGE]


def _do_steps(top: Path) -> list[str]:
    """The steps of the file with `/opt` and `/source` below `top`; the command that comes of them."""

    def below(text: str) -> str:
        return re.sub(r"(?<![\w/])/(opt|source)\b", rf"{top}/\1", text)

    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(top)}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
    for step in steps():
        if step.word == "COPY" and not step.rest.startswith("--from"):
            *names, target = below(step.rest).split()
            _copy(names, target)
        elif step.word == "ENV" and "PATH=" not in step.rest:
            environment |= dict(pair.split("=", 1) for pair in step.rest.split())
        elif step.word == "RUN" and not step.rest.startswith(OF_ROOT):
            subprocess.run(["/bin/sh", "-c", below(step.rest)], cwd=top, env=environment, check=True)
    return [str(top / "opt" / "reconciler" / "bin" / "reconciler")]


def _copy(names: list[str], target: str) -> None:
    for name in names:
        source, goal = ROOT / name, Path(target)
        if source.is_dir():
            shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
            continue
        goal = goal / source.name if target.endswith("/") else goal
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, goal)


@pytest.mark.servers
def test_the_image_runs_the_demo(tmp_path: Path) -> None:
    program = builder()
    command = _build(program) if program else _do_steps(tmp_path)
    line = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    told = subprocess.run([*command, "--version"], **line)
    assert told.stdout == f"reconciler {__version__}\n"
    shown = subprocess.run([*command, "demo"], **line)
    assert "plan" in shown.stdout
