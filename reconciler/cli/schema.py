"""`reconciler schema`"""

from __future__ import annotations

import click

from reconciler.cli.options import common
from reconciler.loading.settings_models import SchemaKind, schema_text
from reconciler.output.schema import SCHEMAS, published


@click.command(epilog="Example: reconciler schema manifest > manifest.schema.json")
@click.argument("kind", type=click.Choice([*SchemaKind, *SCHEMAS]), default=SchemaKind.MANIFEST.value)
@common
def command(kind: str, **_: object) -> int:
    """Print the JSON Schema of a manifest, of the settings, or of what --format json prints.

    Editors complete and check with `manifest` and `settings`; `report` and `plan` are for programs that read answers.
    """
    click.echo(published(kind) if kind in SCHEMAS else schema_text(SchemaKind(kind)), nl=False)
    return 0
