"""`reconciler schema`"""

from __future__ import annotations

from typing import Any

import click

from reconciler.cli.options import common
from reconciler.loading.schema import Kind, schema_text


@click.command(epilog="Example: reconciler schema manifest > manifest.schema.json")
@click.argument("kind", type=click.Choice([kind.value for kind in Kind]), default=Kind.MANIFEST.value)
@common
def command(kind: str, **options: Any) -> int:
    """Print the JSON Schema of a manifest, or of the settings: editors complete and check with it."""
    click.echo(schema_text(Kind(kind)), nl=False)
    return 0
