"""A GitHub runner as its files and variables: inputs, outputs, the step summary, the log.

Rules
1. An output is written under a random delimiter: no value can end it and begin another.
2. What `reconciler` prints stands between `stop-commands` and a random token: no line of it is a command.
3. Tokens are masked before anything runs.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUMMARY_LIMIT = 1_000_000
"""A step summary has at most 1 MiB."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command line of reconciler ended, and its answer."""

    code: int
    answer: str


@dataclass(frozen=True, slots=True)
class Runner:
    """`environment`: the step's variables. `program`: how reconciler is called."""

    environment: Mapping[str, str]
    program: tuple[str, ...] = (str(Path(sys.executable).with_name("reconciler")),)

    def given(self, name: str) -> str:
        """An input of the action, empty where it was not given."""
        return self.environment.get("INPUT_" + name.upper().replace("-", "_"), "").strip()

    def words(self, name: str) -> list[str]:
        """An input with a value a line."""
        return [line.strip() for line in self.given(name).splitlines() if line.strip()]

    def wants(self, name: str) -> bool:
        return self.given(name).lower() == "true"

    @property
    def event(self) -> Mapping[str, Any]:
        """What started the workflow; empty where the runner does not tell."""
        path = self.environment.get("GITHUB_EVENT_PATH", "")
        found = json.loads(Path(path).read_text(encoding="utf-8")) if path and Path(path).is_file() else {}
        return found if isinstance(found, dict) else {}

    @property
    def scratch(self) -> Path:
        """A directory of this job's own."""
        directory = Path(self.environment["RUNNER_TEMP"]) / "reconciler"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def output(self, **values: object) -> None:
        """Sets outputs of the step; `exit_code` is the output `exit-code`."""
        with Path(self.environment["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as sink:
            for name, value in values.items():
                delimiter = f"end-{secrets.token_hex(16)}"
                sink.write(f"{name.replace('_', '-')}<<{delimiter}\n{value}\n{delimiter}\n")

    def summary(self, markdown: str) -> None:
        """Appends to the page of the run."""
        path = Path(self.environment["GITHUB_STEP_SUMMARY"])
        room = SUMMARY_LIMIT - (path.stat().st_size if path.is_file() else 0)
        with path.open("a", encoding="utf-8") as sink:
            sink.write(cut(markdown, room) + "\n")

    def summarise(self, report: Path) -> str:
        """Appends what a report says to the page of the run, and returns it; empty where there is none."""
        markdown = report.read_text(encoding="utf-8") if report.is_file() else ""
        if markdown:
            self.summary(markdown)
        return markdown

    def mask(self, texts: Iterable[str]) -> None:
        """Keeps secrets out of the log, also those that were not given as `secrets.…`."""
        for text in texts:
            if text:
                self.command("add-mask", text)

    def command(self, name: str, text: str) -> None:
        """One workflow command; what would end it is percent-encoded."""
        data = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        print(f"::{name}::{data}", flush=True)

    def run(self, *arguments: str | Path, commands: bool = False, shown: bool = True) -> Done:
        """Runs reconciler. `commands`: its answer is workflow commands, and the runner shall act on them.

        `shown`: the answer is in the log; progress and errors are in any case.
        """
        token = secrets.token_hex(16)
        if not commands:
            print(f"::stop-commands::{token}", flush=True)
        try:
            line = [*self.program, *map(str, arguments)]
            done = subprocess.run(
                line, stdout=subprocess.PIPE, encoding="utf-8", env=dict(self.environment), check=False
            )
            if shown:
                print(done.stdout, end="" if done.stdout.endswith("\n") else "\n", flush=True)
        finally:
            if not commands:
                print(f"::{token}::", flush=True)
        return Done(done.returncode, done.stdout)


NOTICE = "\n\n*cut here: the whole of it is in the files of the run*\n"


def cut(markdown: str, most: int) -> str:
    """The text in at most `most` bytes, cut at the end of a line. Every line of ours is whole by itself."""
    encoded = markdown.encode()
    if len(encoded) <= most:
        return markdown
    if most < len(NOTICE):
        return ""
    kept = encoded[: most - len(NOTICE)].decode(errors="ignore")
    return kept[: kept.rfind("\n") + 1] + NOTICE
