"""`reconciler sandbox`: the emulated API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import click

from reconciler.cli import Suggesting
from reconciler.cli.complete import complete_location
from reconciler.cli.options import Invocation, common, manifests_argument
from reconciler.core.manifests.match import Fingerprinter
from reconciler.core.manifests.resolve import Desired
from reconciler.core.model.contact_filter import ContactFilter
from reconciler.core.model.errors import UsageError
from reconciler.core.model.manifest import ListedContacts
from reconciler.core.model.names import LocationId
from reconciler.core.model.people import PersonValue, ValueKind
from reconciler.loading.files import Directory
from reconciler.loading.people_files import PeopleFile, make_normaliser, read_values
from reconciler.operations.workspace import Session, Workspace, open_session
from reconciler.sandbox import run as serve_app
from reconciler.sandbox import url_of
from reconciler.sandbox.access import SandboxAgency
from reconciler.sandbox.app import DEMO_TOKEN, SCOPES, Access, App, sandbox_token
from reconciler.sandbox.assumptions import Assumptions, list_switches, read_assumptions
from reconciler.sandbox.locations import Locations
from reconciler.sandbox.people import Person
from reconciler.sandbox.saved_world import (
    LIVED_WITH,
    customer_field,
    load_locations,
    make_locations,
    make_world,
    save_locations,
)
from reconciler.sandbox.traits import find_traits
from reconciler.sandbox.world import World


@click.group(cls=Suggesting, epilog="Example: reconciler sandbox make manifests/ --data sandbox.json")
def sandbox_command() -> None:
    """Run the emulated API for yourself: same requests, same answers, nobody gets a mail."""


@sandbox_command.command(
    epilog="Example: reconciler sandbox make manifests/ --data sandbox.json --location asdrwHvLUxlfw5SqKVCN"
)
@manifests_argument
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to write the data.")
@click.option("--location", metavar="L", shell_complete=complete_location, help="This location alone, by id or name.")
@click.option("--seed", default=1, show_default=True, help="Another seed, another world.")
@click.option(
    "--extra",
    type=click.IntRange(0, 1_000_000),
    default=200,
    show_default=True,
    help="Contacts that no manifest names.",
)
@common
def make(data: Path, location: str | None, seed: int, extra: int, invocation: Invocation) -> int:
    """Make up the locations of the manifests, with the contacts that live there.

    Most have an e-mail, a phone and a customer number, all of them reserved for examples. The people of files that are
    to be matched live there too, but for one in twenty, and one contact in four has the values that a filter asks for.
    One location takes the sandbox's own token; of several each has a token of its own, `pit-sandbox-` and the
    location's id.
    """
    # a world that was played with is not made anew by mistake
    if data.exists():
        raise UsageError(f"{data} exists already", hint="choose another file, or delete it")
    apps = emulate(invocation.workspace, location, seed=seed, extra=extra)
    save_locations(data, apps)
    click.echo(f"made {data}: {_describe(apps)}")
    return 0


def _describe(apps: Sequence[App]) -> str:
    contacts = sum(len(app.world.contacts) for app in apps)
    named = f"location {apps[0].world.location}" if len(apps) == 1 else f"{len(apps)} locations"
    return f"{named} with {contacts:,} contacts"


def emulate(workspace: Workspace, location: str | None, *, seed: int, extra: int) -> list[App]:
    """The locations of the manifests, or the one that is named, in which their contacts live."""
    session = open_session(workspace, [location] if location else [], unpulled=True)
    if not session.desired:
        raise UsageError("the manifests have no location", hint="write one, or look at `reconciler init`")
    worlds = (_make_world(session, desired, seed, extra) for desired in session.desired.values())
    return give_tokens(list(worlds))


def give_tokens(worlds: Sequence[World]) -> list[App]:
    """Each world behind the API: the only one with the usual token, one of several with one of its own."""
    if len(worlds) == 1:
        return [App(worlds[0])]
    return [App(world, accesses=[Access(sandbox_token(world.location))]) for world in worlds]


def _make_world(session: Session, desired: Desired, seed: int, extra: int) -> World:
    return make_world(
        LocationId(desired.location),
        desired.contacts,
        seed=seed,
        extra=extra,
        # a made-up location holds no tag of ours yet that the guards would not let a first run take away
        tags=LIVED_WITH,
        people=True,
        living=_make_living(session, desired.location, seed),
        traits=tuple(map(find_traits, _list_filters(session, desired.location))),
    )


def _list_filters(session: Session, location: LocationId) -> Iterator[ContactFilter]:
    for contact_set in session.matched.get(location, ()):
        listed = contact_set.contacts
        if isinstance(listed, ListedContacts) and listed.match is not None and listed.match.filter is not None:
            yield listed.match.filter


def _make_living(session: Session, location: LocationId, seed: int) -> Sequence[Person]:
    """The people of the files that are to be matched, all but a few."""
    number = customer_field(location)
    living, taken = list[Person](), set[PersonValue]()
    for values in _read_rows(session, location):
        # a later row of the same person
        if taken.isdisjoint(values):
            of = {value.kind: value.text for value in values}
            custom = {number.id: of[ValueKind.FIELD]} if ValueKind.FIELD in of else {}
            living.append(Person(of.get(ValueKind.EMAIL, ""), phone=of.get(ValueKind.PHONE, ""), custom_fields=custom))
        taken.update(values)
    # an exact share, not a chance for each: small files have no stranger
    strangers = Random(f"{seed}:strangers").sample(living, len(living) // ONE_STRANGER_IN)  # noqa: S311  the same for ever
    return [person for person in living if person not in strangers]


def _read_rows(session: Session, location: LocationId) -> Iterator[tuple[PersonValue, ...]]:
    """The values of each row of the files that are to be matched."""
    files = Directory(session.workspace.directory)
    for contact_set in session.matched.get(location, ()):
        listed = contact_set.contacts
        assert isinstance(listed, ListedContacts)
        assert listed.match is not None
        # a query and a search are asked by a pull alone
        if not listed.match.file:
            continue
        normaliser = make_normaliser(listed.match, listed.source)
        file = PeopleFile(listed.path, listed.source, listed.match, normaliser, Fingerprinter(b""))
        with files.open(listed.match.file) as stream:
            yield from (values for values in read_values(stream, file) if values)


ONE_STRANGER_IN = 20
"""Of the people of a file one in so many has no contact, as in lists that somebody keeps by hand."""


class _ServeCommand(click.Command):
    """A command whose help lists the switches of the sandbox."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        switches = list_switches()
        with formatter.section(
            "Switches of --assume with their defaults and values; docs/assumptions.md explains them"
        ):
            formatter.write_dl([(f"{switch.name}={switch.default}", switch.values) for switch in switches])


@sandbox_command.command(
    cls=_ServeCommand, epilog="Example: reconciler sandbox serve --data sandbox.json --assume max_tags=10"
)
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE", help="Made by `sandbox make`.")
@click.option(
    "--locations",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="So many made-up locations of people, instead of those in FILE; with --data they are kept there.",
)
@click.option("--seed", default=1, show_default=True, help="Of --locations: another seed, other locations.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--token", metavar="TOKEN", help="The token to accept.  [default: those in FILE]")
@click.option(
    "--company",
    default="",
    metavar="ID",
    help="The agency that the token is of: to be exchanged for location tokens.",
)
@click.option(
    "--latency-ms", type=click.IntRange(0, 600_000), default=0, show_default=True, help="How long an answer takes."
)
@click.option(
    "--assume",
    "assumed",
    multiple=True,
    metavar="NAME=VALUE",
    help="The API behaves otherwise, this time: a switch of those that --help lists; repeatable.",
)
@common
def serve(
    data: Path | None,
    locations: int | None,
    seed: int,
    port: int,
    token: str | None,
    company: str,
    latency_ms: int,
    assumed: tuple[str, ...],
    **_: object,
) -> int:
    """Serve the locations in FILE on 127.0.0.1 until Ctrl-C; then what changed is written back to FILE.

    Each location has contacts, a rate limit, a daily quota and a token of its own: with one location's token nothing of
    another is read or changed. With --company one token, the agency's, is exchanged for each. With --assume the API
    behaves otherwise than it is believed to: each question that is open has a switch.
    """
    read_assumptions(assumed, Assumptions())
    apps = _find_apps(data, locations, seed)
    with assuming([app.world for app in apps], assumed):
        served = _admit(apps, token, company)
        serve_app(Locations(served), port=port, ready=lambda real: _tell(served, real, company), latency_ms=latency_ms)
    if data is None:
        click.echo("stopped; nothing was kept")
        return 0
    # with the tokens of the file: those of the command line are good for this time only
    save_locations(data, apps)
    click.echo(f"stopped; {data} holds what changed")
    return 0


@contextmanager
def assuming(worlds: Sequence[World], assumed: Sequence[str]) -> Iterator[None]:
    """The API behaves as is assumed within this block; afterwards, and in the file, as before."""
    usual = [world.assumptions for world in worlds]
    for world in worlds:
        world.assume(read_assumptions(assumed, world.assumptions))
    try:
        yield
    finally:
        for world, assumptions in zip(worlds, usual, strict=True):
            world.assume(assumptions)


MADE_UP_CONTACTS = 200


def _find_apps(data: Path | None, count: int | None, seed: int) -> list[App]:
    """The locations of a file, or made-up ones."""
    if count is None and data is None:
        raise UsageError("there is no location to serve", hint="--data FILE from `sandbox make`, or --locations N")
    if count is None or data is None:
        return (
            load_locations(data)
            if data
            else give_tokens(make_locations(count or 0, seed=seed, contacts=MADE_UP_CONTACTS))
        )
    if data.exists():
        raise UsageError(f"{data} exists already", hint="choose another file, or leave --locations out")
    return give_tokens(make_locations(count, seed=seed, contacts=MADE_UP_CONTACTS))


def _admit(apps: list[App], token: str | None, company: str) -> list[App]:
    """The locations with the token that the command line names, where it names one."""
    if token is None and not company:
        # anew: what limits requests goes by the assumptions as they are now
        return [App(app.world, accesses=app.accesses, limits=app.limiter.limits) for app in apps]
    if not company and len(apps) > 1:
        raise UsageError(
            f"one token cannot be that of {len(apps)} locations", hint="leave --token out, or give its --company"
        )
    token = token or DEMO_TOKEN
    agency = SandboxAgency(token, company, SCOPES) if company else None
    accesses = () if agency else (Access(token),)
    return [App(app.world, accesses=accesses, limits=app.limiter.limits, agency=agency) for app in apps]


def _tell(apps: Sequence[App], port: int, company: str) -> None:
    named = f"location {apps[0].world.location}" if len(apps) == 1 else f"{len(apps)} locations"
    click.echo(f"{named} at {url_of(port)}; in another terminal:")
    click.echo(f"  export RECONCILER_API_BASE_URL={url_of(port)}")
    if company:
        own = apps[0].exchange is not None and apps[0].exchange.agency.token == DEMO_TOKEN
        click.echo(f"  export HIGHLEVEL_TOKEN={DEMO_TOKEN if own else '(the token you chose)'}")
        click.echo(f"  export RECONCILER_API_COMPANY_ID={company}")
    elif len(apps) == 1:
        own = DEMO_TOKEN in apps[0].tokens
        click.echo(f"  export HIGHLEVEL_TOKEN={DEMO_TOKEN if own else '(the token you chose)'}")
    else:
        click.echo("and for each location its token, in the variable that the settings name:")
        for app in apps:
            click.echo(f"  {app.world.location}  {' '.join(sorted(app.tokens))}")
    click.echo("Ctrl-C stops")
