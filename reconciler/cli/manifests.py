"""`reconciler validate`, `schema`, `diff` and `locations`: they look at manifests, settings and snapshots."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import click

from reconciler.cli.command_record import find_record, provenance
from reconciler.cli.console import Console
from reconciler.cli.options import Invocation, common, manifests_argument, output
from reconciler.core.model.errors import ExitCode, InvalidInput, Problem, Severity
from reconciler.core.model.names import LocationId
from reconciler.core.model.safe_text import json_line
from reconciler.loading.settings_models import SchemaKind, schema_text
from reconciler.operations.compare import compare_with
from reconciler.operations.local_snapshots import LocalSnapshots
from reconciler.operations.locations import list_locations
from reconciler.operations.workspace import Workspace
from reconciler.output.blocks import counted
from reconciler.output.diff import DiffDocument
from reconciler.output.document import add_provenance
from reconciler.output.findings import ProblemList, render_github, settings_view
from reconciler.output.locations import LocationsDocument
from reconciler.output.schema import SCHEMAS, published


@click.command(epilog="Example: reconciler validate manifests/ --strict")
@manifests_argument
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option("--show-settings", is_flag=True, help="Show every setting and where it comes from; no token is shown.")
@output(("text", "json", "github"), whole=False, text="How to answer; github: annotations of a workflow run.")
@common
def validate_command(strict: bool, show_settings: bool, invocation: Invocation) -> int:
    """Check manifests and settings: every problem at once, each with its place.

    Needs no token and no network. Of matched sets it looks at the snapshots, where these are files or in a state on
    this machine. Exit code 0 without errors, 1 with.
    """
    console, workspace = invocation.console, invocation.workspace
    if show_settings:
        return _show_settings(workspace, console)
    summary, snapshots = "", LocalSnapshots(workspace)
    try:
        loaded = workspace.load_manifests(now=workspace.clock.now(), strict=strict, find_snapshots=snapshots)
        problems = loaded.problems
        sets = sum(len(manifest.sets) for manifest in loaded.manifests)
        warnings = sum(problem.severity is Severity.WARNING for problem in problems)
        found = f"; {counted(warnings, 'warning')} above" if warnings else ""
        summary = f"valid: {counted(len(loaded.manifests), 'manifest')}, {counted(sets, 'contact set')}{found}"
    except InvalidInput as error:
        problems = error.problems
    for reason, count in Counter(snapshots.unread.values()).items():
        console.note(f"matched sets of {counted(count, 'location')} are checked without their contacts: {reason}")
    if invocation.form.kind == "json":
        console.answer(json_line(add_provenance(ProblemList(problems).json(), provenance())))
    elif invocation.form.kind == "github":
        # an annotation is read by a person, as a line is
        complete = find_record().complete
        console.answer(render_github([replace(problem, hint=complete(problem.hint)) for problem in problems]))
    else:
        for line in (*(line for problem in problems for line in problem.lines), summary or _count_problems(problems)):
            console.say(line)
    return ExitCode.DONE if summary else ExitCode.ERROR


def _show_settings(workspace: Workspace, console: Console) -> int:
    settings = workspace.load_settings()
    locations = {*settings.locations, LocationId("any other")}
    # whether there is one is shown, never the token
    tokens = {
        location: bool(workspace.environment.get(settings.location(location).token_env)) for location in locations
    }
    console.show(settings_view(settings, tokens))
    return ExitCode.DONE


def _count_problems(problems: tuple[Problem, ...]) -> str:
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    return f"{counted(errors, 'error')}, {counted(len(problems) - errors, 'other finding')}"


@click.command(epilog="Example: reconciler schema manifest > manifest.schema.json")
# the values: click calls the members of an enum by their names
@click.argument("kind", type=click.Choice([*map(str, SchemaKind), *SCHEMAS]), default=SchemaKind.MANIFEST.value)
@common
def schema_command(kind: str, **_: object) -> int:
    """Print the JSON Schema of a manifest, of the settings, or of what --format json prints.

    Editors complete and check with `manifest` and `settings`; `report` and `plan` are for programs that read answers.
    """
    click.echo(published(kind) if kind in SCHEMAS else schema_text(SchemaKind(kind)), nl=False)
    return 0


@click.command(epilog="Example: reconciler diff --base origin/main --format markdown")
@manifests_argument
@click.option("--base", default="HEAD", show_default=True, metavar="REV", help="The revision to compare with.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where something changed.")
@output()
@common
def diff_command(base: str, detailed_exitcode: bool, invocation: Invocation) -> int:
    """Say what a change to manifests means: who gains and loses what.

    Needs no token, no API and no state, so that it works on a pull request from a fork. Compares the files below
    MANIFESTS as they are now with those at REV. Only snapshots of matched sets are read from a state on this machine;
    those in another one are not asked for.
    """
    result = compare_with(invocation.workspace, base)
    find_record().set_links(result.settings.contact_url)
    for note in result.notes:
        invocation.console.note(note)
    invocation.print_document(DiffDocument(result.comparisons, result.moves, base))
    return ExitCode.CHANGES if detailed_exitcode and not result.is_empty else ExitCode.DONE


@click.command(epilog="Example: reconciler locations --changed-since origin/main --format json")
@manifests_argument
@click.option(
    "--changed-since",
    default="",
    metavar="REV",
    help="Only locations of which something differs from this revision of Git; what it cannot tell names all.",
)
@output()
@common
def locations_command(changed_since: str, invocation: Invocation) -> int:
    """List the locations: what they are called, their manifests, whether they have state.

    Needs no token and asks no API. The state is asked which locations it has, unless only a pull request names it. As
    JSON, `locations` fits a CI matrix and an indexed job as it is: those with manifests, in a stable order.
    """
    result = list_locations(invocation.workspace, changed_since=changed_since)
    for note in result.notes:
        invocation.console.note(note)
    invocation.print_document(LocationsDocument(changed_since, result.locations, result.others))
    return ExitCode.DONE
