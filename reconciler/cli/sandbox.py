"""`reconciler sandbox`"""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli import Suggesting
from reconciler.cli.options import Invocation, common, manifests_argument
from reconciler.core.model.errors import UsageError
from reconciler.core.model.names import LocationId
from reconciler.operations.workspace import Workspace, open_session
from reconciler.sandbox.access import SandboxAgency
from reconciler.sandbox.app import DEMO_TOKEN, SCOPES, Access, App
from reconciler.sandbox.saved_world import load_world, make_world, save_world
from reconciler.sandbox.server import run, url_of
from reconciler.sandbox.world import World


@click.group(cls=Suggesting, epilog="Example: reconciler sandbox make manifests/ --data sandbox.json")
def command() -> None:
    """Run the emulated API for yourself: same requests, same answers, nobody gets a mail."""


@command.command(
    epilog="Example: reconciler sandbox make manifests/ --data sandbox.json --location asdrwHvLUxlfw5SqKVCN"
)
@manifests_argument
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to write the data.")
@click.option("--location", metavar="L", help="Which location, by id or name, where the manifests have several.")
@click.option("--seed", default=1, show_default=True, help="Another seed, another world.")
@click.option(
    "--extra", type=click.IntRange(min=0), default=200, show_default=True, help="Contacts that no manifest names."
)
@common
def make(manifests: Path, data: Path, location: str | None, seed: int, extra: int, invocation: Invocation) -> int:
    """Make up a location in which the contacts of the manifests live."""
    # a world that was played with is not made anew by mistake
    if data.exists():
        raise UsageError(f"{data} exists already", hint="choose another file, or delete it")
    world = emulate(invocation.workspace(manifests), location, seed=seed, extra=extra)
    save_world(data, world)
    click.echo(f"made {data}: location {world.location} with {len(world.contacts):,} contacts")
    return 0


def emulate(workspace: Workspace, location: str | None, *, seed: int, extra: int) -> World:
    """A location in which the contacts of the manifests live."""
    desired = open_session(workspace, [location] if location else []).desired
    if len(desired) != 1:
        raise UsageError(f"the manifests have {len(desired)} locations", hint="choose one with --location")
    only = next(iter(desired.values()))
    # a made-up location holds no tag of ours yet that the guards would not let a first run take away
    return make_world(LocationId(only.location), only.contacts, seed=seed, extra=extra, tags=LIVED_WITH)


LIVED_WITH = ("newsletter", "trial", "webinar 2025", "imported-2024", "invoice overdue", "called")
"""Tags that the contacts of a made-up location carry."""


@command.command(epilog="Example: reconciler sandbox serve --data sandbox.json --port 8787")
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Made by `sandbox make`.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--token", default=DEMO_TOKEN, metavar="TOKEN", help="The token to accept.  [default: the sandbox's own]")
@click.option(
    "--company",
    default="",
    metavar="ID",
    help="The agency that the token is of: to be exchanged for location tokens.",
)
@click.option(
    "--latency-ms", type=click.IntRange(min=0), default=0, show_default=True, help="How long an answer takes."
)
@common
def serve(data: Path, port: int, token: str, company: str, latency_ms: int, **_: object) -> int:
    """Serve the location in FILE on 127.0.0.1 until Ctrl-C; then what changed is written back to FILE."""
    world = load_world(data)
    agency = SandboxAgency(token, company, SCOPES) if company else None
    app = App(world, accesses=() if agency else (Access(token),), agency=agency)

    def ready(real: int) -> None:
        own = token == DEMO_TOKEN
        click.echo(f"location {world.location} at {url_of(real)}; in another terminal:")
        click.echo(f"  export RECONCILER_API_BASE_URL={url_of(real)}")
        click.echo(f"  export HIGHLEVEL_TOKEN={DEMO_TOKEN if own else '(the token you chose)'}")
        if company:
            click.echo(f"  export RECONCILER_API_COMPANY_ID={company}")
        click.echo("Ctrl-C stops")

    run(app, port=port, ready=ready, latency_ms=latency_ms)
    save_world(data, world)
    click.echo(f"stopped; {data} holds what changed")
    return 0
