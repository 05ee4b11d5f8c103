"""`reconciler demo`: the whole job on the emulated API, by the very commands a person would type."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from reconciler.cli import INTERRUPTED, run
from reconciler.cli.options import Invocation, common
from reconciler.cli.sandbox import emulate
from reconciler.core.model.errors import ExitCode, ReconcilerError, UsageError
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action
from reconciler.operations.workspace import Workspace
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import DEMO_TOKEN
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.saved_world import save_locations
from reconciler.sandbox.world import World

SOMEBODY = "somebody"
TAKEN, GIVEN = 3, 2
PORT = 8787
SETTINGS = f"""
# Of this scene: the emulated location, and what reconciler knows of it.
state: sqlite:///state.db
api:
  base_url: http://127.0.0.1:{PORT}
"""
PACKAGED = Path(__file__).parent.parent / "sandbox" / "example"
CHECKED_OUT = Path(__file__).parent.parent.parent / "manifests"


@click.command(epilog="Example: reconciler demo --keep scene")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Leave the scene in DIR to play with.")
@common
def demo_command(keep: Path | None, invocation: Invocation) -> int:
    """See the whole job on an emulated location: validate, pull, plan, apply, drift, repair.

    Works in a directory of its own, speaks HTTP on loopback only, and takes some seconds.
    """
    with _scene(keep) as directory:
        shutil.copytree(example(), directory / "manifests")
        workspace = Workspace(directory / "manifests", listener=invocation.console)
        apps = emulate(workspace, None, seed=1, extra=200)
        with in_background(Locations(apps)) as sandbox:
            _Demo(directory, sandbox).play()
        save_locations(directory / "sandbox.json", apps)
    if keep:
        _leave(keep)
    return 0


def _leave(directory: Path) -> None:
    """Puts the scene's state and address into its settings, and tells how to go on."""
    with (directory / "manifests" / "reconciler.yaml").open("a", encoding="utf-8") as settings:
        settings.write(SETTINGS)
    click.echo(f"\nThe scene is in {directory}, and goes on where this ended. Three lines:")
    click.echo(f"  cd {shlex.quote(str(directory))} && export HIGHLEVEL_TOKEN={DEMO_TOKEN}")
    click.echo(f"  reconciler sandbox serve --data sandbox.json --port {PORT} &")
    click.echo("  reconciler drift --refresh get --set vip")
    click.echo("`fg` and Ctrl-C stop the location; sandbox.json keeps what changed in it.")


def example() -> Path:
    """The example manifests: packaged with an installed reconciler, at the root of a checkout."""
    return PACKAGED if PACKAGED.is_dir() else CHECKED_OUT


@contextmanager
def _scene(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="reconciler-demo-") as directory:
            yield Path(directory)
        return
    # a scene that was kept may hold a state: it is not written over
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UsageError(f"{keep} is not an empty directory", hint="choose a new one")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep


@dataclass(frozen=True, slots=True)
class _Demo:
    """A play in one directory before one sandbox; each scene checks its claim at its end."""

    directory: Path
    sandbox: Running

    def play(self) -> None:
        click.echo(
            f"An emulated HighLevel location with {len(self.sandbox.world.contacts):,} contacts at {self.sandbox.url}"
        )
        self._scene("Are the manifests right?", ["validate", "manifests"], ExitCode.DONE)
        self._scene(
            "Who are these people? A file has their e-mails.", ["pull", "manifests", "--create-state"], ExitCode.DONE
        )
        self._check("the state has their contact ids, and no address", self._is_without_addresses())
        self._scene(
            "What would change, and what would it cost?",
            ["plan", "manifests", "--create-state", "--out", "plan.json"],
            ExitCode.DONE,
        )
        # a few contacts are deleted or live in another location: the API refuses them, and apply says so
        self._scene("Do exactly that.", ["apply", "plan.json", "--create-state", "--auto-approve"], ExitCode.PARTIAL)
        self._check("every reachable VIP carries its tag", self._mended())
        self._scene(
            "Once more: is there anything left to do?", ["plan", "manifests", "--detailed-exitcode"], ExitCode.DONE
        )
        self._somebody()
        look = ["--refresh", "get", "--set", "vip"]
        fail = ["--fail-on", "missing,unexpected"]
        self._scene("What did others change among the VIPs?", ["drift", "manifests", *look, *fail], ExitCode.CHANGES)
        self._scene("Put it right.", ["apply", "manifests", *look, "--auto-approve"], ExitCode.DONE)
        self._check("every reachable VIP carries its tag again", self._mended())
        self._scene("And now?", ["plan", "manifests", "--detailed-exitcode"], ExitCode.DONE)
        self._check("no tag was added twice to anyone", not self._twice())
        click.echo("\nThat was the whole job. Everything above is true: each step was checked.")

    def _scene(self, question: str, arguments: Sequence[str], expected: int) -> None:
        click.secho(f"\n# {question}", bold=True)
        click.echo(f"$ reconciler {shlex.join(arguments)}", nl=True)
        code = self._run(arguments)
        self._check(f"exit code {code}", code == expected, f"expected {expected}")

    def _run(self, arguments: Sequence[str]) -> int:
        """Runs the command line in this process, as the console script does: seven starts would take most of the time.

        Raises KeyboardInterrupt where Ctrl-C ended it.
        """
        before = dict(os.environ)
        os.environ.update(self._environment())
        try:
            with chdir(self.directory):
                code = run(arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code

    def _environment(self) -> dict[str, str]:
        return {
            "RECONCILER_API_BASE_URL": self.sandbox.url,
            "RECONCILER_STATE": "sqlite:///state.db",
            "HIGHLEVEL_TOKEN": DEMO_TOKEN,
        }

    def _check(self, claim: str, holds: bool, otherwise: str = "which is not so") -> None:
        if not holds:
            raise ReconcilerError(
                f"the demo failed: {claim}, {otherwise}", hint="please report it with the lines above"
            )
        click.secho(f"  ok: {claim}", fg="green")

    def _is_without_addresses(self) -> bool:
        state = b"".join(path.read_bytes() for path in sorted(self.directory.glob("state.db*"))).lower()
        return bool(state) and not any(address.encode() in state for address in self._addresses())

    def _addresses(self) -> set[str]:
        """Those of the file of VIPs."""
        with (self.directory / "manifests" / "contacts" / "vip.csv").open(encoding="utf-8", newline="") as file:
            return {row["mail"].strip().lower() for row in csv.DictReader(file)}

    def _vips(self) -> list[ContactId]:
        """The contacts of the location that have one of these addresses."""
        addresses = self._addresses()
        return sorted(each.id for each in self.sandbox.world.contacts.values() if each.person.email in addresses)

    def _somebody(self) -> None:
        vips = self._vips()
        taken, given = vips[:TAKEN], vips[-GIVEN:]

        def change(world: World, now: Instant) -> None:
            for contact in taken:
                world.remove(contact, ["vip"], now=now, by=SOMEBODY)
            for contact in given:
                world.add(contact, ["trial"], now=now, by=SOMEBODY)

        click.secho("\n# Meanwhile, somebody works by hand:", bold=True)
        self.sandbox.do(change)
        click.echo(f"  takes `vip` from {TAKEN} contacts and gives `trial` to {GIVEN}, which the manifests forbid")

    def _mended(self) -> bool:
        tags = [self.sandbox.world.tags_of(contact) for contact in self._vips()]
        return bool(tags) and all(Tag("vip") in each and Tag("trial") not in each for each in tags)

    def _twice(self) -> bool:
        """Whether we added a pair more often than its removals by hand explain."""
        steps = self.sandbox.world.transitions
        ours = Counter((each.contact, each.tag) for each in steps if each.by != SOMEBODY and each.action is Action.ADD)
        theirs = Counter(
            (each.contact, each.tag) for each in steps if each.by == SOMEBODY and each.action is Action.REMOVE
        )
        return any(times > 1 + theirs[pair] for pair, times in ours.items())
