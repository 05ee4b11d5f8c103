"""`reconciler demo`: the whole job on the emulated API, by the very commands a person would type."""

from __future__ import annotations

import csv
import io
import os
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import click

from reconciler.cli import INTERRUPTED, run
from reconciler.cli.options import Invocation, common
from reconciler.cli.sandbox import emulate
from reconciler.core.model.errors import ExitCode, ReconcilerError, UsageError
from reconciler.core.model.names import ContactId, Instant, Tag
from reconciler.core.model.outcome import Action
from reconciler.core.model.safe_text import path_word
from reconciler.operations.workspace import Workspace
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import DEMO_TOKEN, App, sandbox_token
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.saved_world import save_locations
from reconciler.sandbox.world import World, made_up_id

SOMEBODY = "somebody"
TAKEN, GIVEN = 3, 2
MOST_LOCATIONS = 200
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
@click.option(
    "--locations",
    type=click.IntRange(2, MOST_LOCATIONS),
    metavar="N",
    help="Play with N locations at once, each with a token of its own.",
)
@common
def demo_command(keep: Path | None, locations: int | None, invocation: Invocation) -> int:
    """See the whole job on an emulated location: validate, pull, plan, apply, drift, repair.

    Works in a directory of its own, speaks HTTP on loopback only, and takes some seconds. With --locations the clients
    of an agency: a directory of manifests each, planned, applied and watched by one command.
    """
    with _scene(keep) as directory:
        if locations:
            _write_clients(directory / "manifests", locations)
        else:
            shutil.copytree(example(), directory / "manifests")
        workspace = Workspace(directory / "manifests", listener=invocation.console)
        apps = emulate(workspace, None, seed=1, extra=20 if locations else 200)
        with in_background(Locations(apps)) as sandbox:
            stage = _Stage(directory, sandbox.url, _find_tokens(apps), is_folded=bool(locations))
            play = _DemoOfMany if locations else _Demo
            play(stage, sandbox).play()
        save_locations(directory / "sandbox.json", apps)
    if keep:
        _leave(keep, _find_tokens(apps))
    return 0


def _find_tokens(apps: Sequence[App]) -> dict[str, str]:
    """The token of each location, by the variable that the scene's settings name."""
    if len(apps) == 1:
        return {"HIGHLEVEL_TOKEN": DEMO_TOKEN}
    return {
        _token_variable(location): sandbox_token(location) for location in sorted(app.world.location for app in apps)
    }


def _token_variable(location: str) -> str:
    return f"TOKEN_{location.upper()}"


def _leave(directory: Path, tokens: Mapping[str, str]) -> None:
    """Puts the scene's state and address into its settings, and tells how to go on."""
    with (directory / "manifests" / "reconciler.yaml").open("a", encoding="utf-8") as settings:
        settings.write(SETTINGS)
    exports = [f"export {name}={token}" for name, token in tokens.items()]
    if many := len(exports) > 1:
        (directory / TOKENS).write_text("".join(f"{line}\n" for line in exports), encoding="utf-8")
        exports = [f". ./{TOKENS}"]
    click.echo(f"\nThe scene is in {directory}, and goes on where this ended. Three lines:")
    click.echo(f"  cd {path_word(directory)} && {exports[0]}")
    click.echo(f"  reconciler sandbox serve --data sandbox.json --port {PORT} &")
    click.echo("  reconciler drift --refresh get --set vip")
    stopped = (
        "locations; sandbox.json keeps what changed in them"
        if many
        else "location; sandbox.json keeps what changed in it"
    )
    click.echo(f"`fg` and Ctrl-C stop the {stopped}.")


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
class _Stage:
    """Runs command lines in a directory before a sandbox, and checks claims of the play."""

    directory: Path
    url: str
    tokens: Mapping[str, str]
    is_folded: bool = False
    """Whether of an answer with a section for each location nothing but the overview is shown."""

    def scene(self, question: str, arguments: Sequence[str], expected: int) -> None:
        click.secho(f"\n# {question}", bold=True)
        click.echo(f"$ reconciler {shlex.join(arguments)}", nl=True)
        code = self._run(arguments)
        self.check(f"exit code {code}", code == expected, f"expected {expected}")

    def check(self, claim: str, holds: bool, otherwise: str = "which is not so") -> None:
        if not holds:
            raise ReconcilerError(
                f"the demo failed: {claim}, {otherwise}", hint="please report it with the lines above"
            )
        click.secho(f"  ok: {claim}", fg="green")

    def _run(self, arguments: Sequence[str]) -> int:
        """Runs the command line in this process, as the console script does: seven starts would take most of the time.

        Raises KeyboardInterrupt where Ctrl-C ended it.
        """
        before = dict(os.environ)
        os.environ.update(self._environment())
        try:
            with chdir(self.directory), self._fold():
                code = run(arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code

    @contextmanager
    def _fold(self) -> Iterator[None]:
        if not self.is_folded:
            yield
            return
        with redirect_stdout(io.StringIO()) as answer:
            yield
        lines = answer.getvalue().splitlines()
        end = next((row for row, line in enumerate(lines) if line.startswith("Location ")), len(lines))
        click.echo("\n".join(lines[:end]).rstrip())
        if end < len(lines):
            click.echo(f"\n… and {len(lines) - end:,} lines more, a section for each of these locations")

    def _environment(self) -> dict[str, str]:
        return {"RECONCILER_API_BASE_URL": self.url, "RECONCILER_STATE": "sqlite:///state.db", **self.tokens}


LOOK = ("--refresh", "get", "--set", "vip")
FAIL = ("--fail-on", "missing,unexpected,flapping")


@dataclass(frozen=True, slots=True)
class _Demo:
    """A play with one location; each scene checks its claim at its end."""

    stage: _Stage
    sandbox: Running

    def play(self) -> None:
        scene, check = self.stage.scene, self.stage.check
        click.echo(
            f"An emulated HighLevel location with {len(self.sandbox.world.contacts):,} contacts at {self.sandbox.url}"
        )
        scene("Are the manifests right?", ["validate", "manifests"], ExitCode.DONE)
        scene("Who are these people? A file has their e-mails.", ["pull", "manifests", "--create-state"], ExitCode.DONE)
        check("the state has their contact ids, and no address", self._is_without_addresses())
        scene(
            "What would change, and what would it cost?",
            ["plan", "manifests", "--create-state", "--out", "plan.json"],
            ExitCode.DONE,
        )
        # a few contacts are deleted or live in another location: the API refuses them, and apply says so
        scene("Do exactly that.", ["apply", "plan.json", "--create-state", "--auto-approve"], ExitCode.PARTIAL)
        check("every reachable VIP carries its tag", self._mended())
        scene("Once more: is there anything left to do?", ["plan", "manifests", "--detailed-exitcode"], ExitCode.DONE)
        self._somebody()
        scene("What did others change among the VIPs?", ["drift", "manifests", *LOOK, *FAIL], ExitCode.CHANGES)
        scene("Put it right.", ["apply", "manifests", *LOOK, "--auto-approve"], ExitCode.DONE)
        check("every reachable VIP carries its tag again", self._mended())
        scene("And now?", ["plan", "manifests", "--detailed-exitcode"], ExitCode.DONE)
        check("no tag was added twice to anyone", not _is_added_twice(self.sandbox.world))
        click.echo("\nThat was the whole job. Everything above is true: each step was checked.")

    def _is_without_addresses(self) -> bool:
        state = b"".join(path.read_bytes() for path in sorted(self.stage.directory.glob("state.db*"))).lower()
        return bool(state) and not any(address.encode() in state for address in self._addresses())

    def _addresses(self) -> set[str]:
        """Those of the file of VIPs."""
        with (self.stage.directory / "manifests" / "contacts" / "vip.csv").open(encoding="utf-8", newline="") as file:
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


def _is_added_twice(world: World) -> bool:
    """Whether we added a pair more often than its removals by hand explain."""
    steps = world.transitions
    ours = Counter((step.contact, step.tag) for step in steps if step.by != SOMEBODY and step.action is Action.ADD)
    theirs = Counter((step.contact, step.tag) for step in steps if step.by == SOMEBODY and step.action is Action.REMOVE)
    return any(times > 1 + theirs[pair] for pair, times in ours.items())


CUSTOMERS, VIPS = 40, 4
CARELESS = 3
TOKENS = "tokens.sh"
NEW_TAG = "spring 2027"
CLIENT = """location: {location}
contact_sets:
  customers:
    contacts: {{file: customers.csv}}
    tags: [customer]
  vip:
    contacts: {{file: customers.csv, where: {{plan: gold}}}}
    tags: [vip]
    absent: [trial]
"""
AGENCY = """# One settings file for all clients: what holds everywhere, what each is called, and where its token is.
timezone: UTC
tags:
  customer: {description: has bought something}
  vip: {description: on the best plan}
locations:
"""


def _client_id(number: int) -> str:
    return made_up_id("client", str(number))


def _write_clients(manifests: Path, count: int) -> None:
    """The manifests of so many clients, a directory each."""
    settings = AGENCY
    for number in range(1, count + 1):
        name, location = f"client-{number:02}", _client_id(number)
        directory = manifests / name
        directory.mkdir(parents=True)
        contacts = [made_up_id(location, str(contact)) for contact in range(CUSTOMERS)]
        rows = [f"{contact},{'gold' if row < VIPS else 'silver'}\n" for row, contact in enumerate(contacts)]
        (directory / "customers.csv").write_text("contact_id,plan\n" + "".join(rows), encoding="utf-8")
        (directory / "tags.yaml").write_text(CLIENT.format(location=location), encoding="utf-8")
        settings += f"  {location}: {{name: Client {number:02}, token_env: {_token_variable(location)}}}\n"
    (manifests / "reconciler.yaml").write_text(settings, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _DemoOfMany:
    """A play with many locations, each of which is checked by itself."""

    stage: _Stage
    sandbox: Running

    def play(self) -> None:
        scene, check = self.stage.scene, self.stage.check
        worlds = self._worlds()
        contacts = sum(len(world.contacts) for world in worlds)
        click.echo(f"{len(worlds)} emulated HighLevel locations with {contacts:,} contacts at {self.sandbox.url}")
        scene("A directory for each client: are all of them right?", ["validate", "manifests"], ExitCode.DONE)
        scene(
            "What would change, and where?",
            ["plan", "manifests", "--create-state", "--out", "plan.json"],
            ExitCode.DONE,
        )
        scene(
            "Do exactly that, everywhere: each location at its own pace, with its own token.",
            ["apply", "plan.json", "--create-state", "--auto-approve"],
            ExitCode.DONE,
        )
        check("in each location every VIP carries its tag", all(_is_mended(world) for world in worlds))
        scene("Once more: is there anything left to do?", ["plan", "manifests", "--detailed-exitcode"], ExitCode.DONE)
        self._somebody()
        scene("Where did others change the VIPs?", ["drift", "manifests", *LOOK, *FAIL], ExitCode.CHANGES)
        scene("Put it right.", ["apply", "manifests", *LOOK, "--auto-approve"], ExitCode.DONE)
        check("in each location every VIP carries its tag again", all(_is_mended(world) for world in worlds))
        self._edit()
        scene("Send it.", ["apply", "manifests", "--auto-approve"], ExitCode.GUARD)
        unsent = [world.location for world in worlds if not world.holders(NEW_TAG)]
        check("a guard keeps that client as it was, and all others are sent", unsent == [_client_id(len(worlds))])
        check("no tag was added twice to anyone", not any(map(_is_added_twice, worlds)))
        click.echo("\nThat was the whole job, many times over. Everything above is true: each step was checked.")

    def _worlds(self) -> list[World]:
        return [network.app.world for _, network in sorted(self.sandbox.locations.networks.items())]

    def _somebody(self) -> None:
        click.secho("\n# Meanwhile, people work by hand at some of the clients:", bold=True)
        for world in self._worlds()[:CARELESS]:
            self.sandbox.do(
                lambda world, now: world.remove(_vips_of(world)[0], ["vip"], now=now, by=SOMEBODY), world.location
            )
            click.echo(f"  {world.location}: `vip` is taken from a contact")

    def _edit(self) -> None:
        """Declares another tag everywhere, and leaves a few rows of the last client's list."""
        clients = sorted(path.parent for path in (self.stage.directory / "manifests").glob("*/tags.yaml"))
        for client in clients:
            manifest = client / "tags.yaml"
            text = manifest.read_text(encoding="utf-8").replace("[customer]", f"[customer, {NEW_TAG}]")
            manifest.write_text(text, encoding="utf-8")
        rows = (clients[-1] / "customers.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        (clients[-1] / "customers.csv").write_text("".join(rows[: VIPS + 1]), encoding="utf-8")
        click.secho(
            f"\n# All customers shall carry `{NEW_TAG}`; but one client's list came in nearly empty:", bold=True
        )
        click.echo(f"  {clients[-1].name}/customers.csv has {VIPS} contacts instead of {CUSTOMERS}")


def _vips_of(world: World) -> list[str]:
    """The contacts of a client who are on the best plan."""
    return [made_up_id(world.location, str(contact)) for contact in range(VIPS)]


def _is_mended(world: World) -> bool:
    tags = [world.tags_of(contact) for contact in _vips_of(world)]
    return all(Tag("vip") in carried and Tag("trial") not in carried for carried in tags)
