"""`reconciler init` and `completion`: a repository to begin with, and a shell that knows the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from reconciler.cli.options import Invocation, common
from reconciler.core.model.errors import ReconcilerError, UsageError
from reconciler.core.model.safe_text import path_word
from reconciler.loading.settings import flag_name

SCAFFOLD = Path(__file__).parent / "scaffold"
RENAMED = {"gitignore": ".gitignore"}
"""The files that get another name when they are written: under their own they would act on this repository."""
WORKFLOWS = Path(".github") / "workflows"
EXAMPLE = "asdrwHvLUxlfw5SqKVCN"
PACKAGED = Path(__file__).parent / "ci_templates"
CHECKED_OUT = Path(__file__).parents[2] / "docs" / "ci"
NEXT = {
    "": (),
    "github": (
        "in .github/workflows, replace OWNER, and the zeros by the commit of reconciler that you use",
        "make the environments tags-plan and tags-apply with the secrets that the workflows name",
    ),
    "github-matrix": (
        "in .github/workflows, replace OWNER, and the zeros by the commit of reconciler that you use",
        "make the environment tags-plan, and for each location tags-apply-ID and tags-drift-ID, with the secrets that "
        "the workflows name",
    ),
    "gitlab": ("set the variables that the head of .gitlab-ci.yml names",),
    "gitlab-matrix": ("set the variables that the head of .gitlab-ci.yml names",),
    "kubernetes": ("in kubernetes.yaml, replace the image, and make the secrets that its head names",),
    "systemd": (
        "put the units into /etc/systemd/system, and the files that the head of the service names into their places",
    ),
}
PLACES = {
    "github": {"github": WORKFLOWS},
    "github-matrix": {"github-matrix": WORKFLOWS},
    "gitlab": {"gitlab.yml": Path(".gitlab-ci.yml")},
    "gitlab-matrix": {
        "gitlab-matrix/pipeline.yml": Path(".gitlab-ci.yml"),
        "gitlab-matrix/locations.yml": Path(".gitlab") / "tags-locations.yml",
    },
    "kubernetes": {"kubernetes.yaml": Path("kubernetes.yaml")},
    "systemd": {"systemd": Path("systemd")},
}
"""For each kind of pipeline the templates, files or directories of them, each with its place in the repository."""
_LOCATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@click.command(epilog="Example: reconciler init my-tags && reconciler plan my-tags/manifests")
@click.argument("directory", type=click.Path(path_type=Path), default=Path(), metavar="[DIR]")
@click.option(
    "--ci",
    "forge",
    type=click.Choice(list(PLACES)),
    help="Write plan, apply, pull and drift too, as its workflows or pipeline; with -matrix a job a location, as "
    "jobs of Kubernetes and systemd drift alone.",
)
@click.option("--location", default=EXAMPLE, metavar="ID", help="The location's id, instead of an example's.")
@common
def init_command(directory: Path, forge: str | None, location: str, invocation: Invocation) -> int:
    """Write a small repository to begin with: settings, one manifest, a CI workflow, .gitignore.

    It validates and plans as it is. Nothing that exists is overwritten. The workflow validates and compares; with --ci
    a change is planned, approved, sent and watched as well.
    """
    if not _LOCATION.fullmatch(location):
        raise UsageError(
            f"--location {location[:80]!r} is no location id",
            hint="it stands in the address of the location's pages: 20 letters and digits",
        )
    for key in invocation.workspace.overrides:
        raise UsageError(
            f"{flag_name(key)} is a setting, and init writes those of an example",
            hint=f"leave it out, and write `{key}` into {directory / 'manifests' / 'reconciler.yaml'} then",
        )
    targets = {directory / place: source for place, source in _files(forge)}
    # all are looked at before the first is written: half a repository is of no use
    existing = [target for target in targets if target.exists()]
    if existing:
        raise UsageError(f"{existing[0]} exists already, and nothing is overwritten", hint="choose another directory")
    try:
        for target, source in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            # bytes: a template's line ends are its own
            target.write_bytes(source.read_bytes().replace(EXAMPLE.encode(), location.encode()))
            click.echo(f"wrote {target}")
    except OSError as error:
        raise ReconcilerError(f"{error.filename} cannot be written: {error.strerror}") from error
    for step in NEXT[forge or ""]:
        click.echo(f"next: {step}")
    first = "" if location != EXAMPLE else f"put your location's id into {directory / 'manifests'}, then "
    click.echo(f"next: {first}reconciler plan {path_word(directory / 'manifests')}")
    return 0


def _files(forge: str | None) -> Iterator[tuple[Path, Path]]:
    """The files to write, each with its source. A forge's pipelines are the documentation's, not the scaffold's."""
    for path in sorted(path for path in SCAFFOLD.rglob("*") if path.is_file()):
        place = path.relative_to(SCAFFOLD)
        if forge in {None, "kubernetes", "systemd"} or place.parent != WORKFLOWS:
            yield place.with_name(RENAMED.get(place.name, place.name)), path
    templates = PACKAGED if PACKAGED.is_dir() else CHECKED_OUT
    for name, place in PLACES.get(forge or "", {}).items():
        source = templates / name
        if source.is_dir():
            yield from ((place / path.name, path) for path in sorted(source.iterdir()))
        else:
            yield place, source


SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
VARIABLE = "_RECONCILER_COMPLETE"


@click.command(epilog='Example: reconciler completion bash >> ~/.bashrc   or   eval "$(reconciler completion zsh)"')
@click.argument("shell", type=click.Choice(sorted(SHELLS)))
def completion_command(shell: str) -> int:
    """Print the script that makes a shell complete commands, options, and names.

    Names are those of locations, contact sets and runs, as the manifests and a state on this machine have them: no
    host is asked.

    For bash (4.4 or later) and zsh put it into ~/.bashrc or ~/.zshrc; for fish into
    ~/.config/fish/completions/reconciler.fish.
    """
    group = click.get_current_context().find_root().command
    try:
        click.echo(SHELLS[shell](group, {}, "reconciler", VARIABLE).source())
    except RuntimeError as error:
        raise ReconcilerError(f"no completion for {shell}: {error}") from error
    return 0
