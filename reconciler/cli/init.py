"""`reconciler init`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import common
from reconciler.core.errors import ReconcilerError, UsageError

SCAFFOLD = Path(__file__).parent / "scaffold"
RENAMED = {"gitignore": ".gitignore"}
"""A file of that name would act on this repository; it gets its own name when it is written."""


@click.command(epilog="Example: reconciler init my-tags && reconciler plan my-tags/manifests")
@click.argument("directory", type=click.Path(path_type=Path), default=Path(), metavar="[DIR]")
@common
def command(directory: Path, **options: Any) -> int:
    """Write a small repository to begin with: settings, one manifest, a CI workflow, .gitignore.

    It validates and plans as it is. Nothing that exists is overwritten.
    """
    sources = sorted(path for path in SCAFFOLD.rglob("*") if path.is_file())
    targets = {path: directory / _name(path.relative_to(SCAFFOLD)) for path in sources}
    existing = [target for target in targets.values() if target.exists()]
    if existing:
        raise UsageError(f"{existing[0]} exists already, and nothing is overwritten", hint="choose another directory")
    try:
        for source, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            click.echo(f"wrote {target}")
    except OSError as error:
        raise ReconcilerError(f"{error.filename} cannot be written: {error.strerror}") from error
    click.echo(f"next: put your location's id into {directory / 'manifests'}, then reconciler plan")
    return 0


def _name(path: Path) -> Path:
    return path.with_name(RENAMED.get(path.name, path.name))
