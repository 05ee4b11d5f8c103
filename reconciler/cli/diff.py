"""`reconciler diff`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from reconciler.cli.answers import tell
from reconciler.cli.command_record import learn_contact_url, learn_directory
from reconciler.cli.console import Console
from reconciler.cli.options import FORMATS, common, manifests, output
from reconciler.clock import SystemClock
from reconciler.core.manifests.compare_revisions import compare_revisions
from reconciler.core.manifests.resolve import Desired, resolve
from reconciler.core.model.errors import ExitCode, UsageError
from reconciler.core.model.manifest import ContactSet, Manifest, TagRule
from reconciler.core.model.names import Instant, LocationId, iso
from reconciler.core.model.settings import Settings
from reconciler.loading import Directory, Loaded, load_files
from reconciler.loading.files import Files
from reconciler.loading.settings import compare_settings
from reconciler.operations.git_revision import files_at
from reconciler.output.diff import DiffDocument
from reconciler.output.settings import shown


@click.command(epilog="Example: reconciler diff --base origin/main --format markdown")
@manifests
@click.option("--base", default="HEAD", show_default=True, metavar="REV", help="The revision to compare with.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where something changed.")
@output(*FORMATS)
@common
def command(manifests: Path, base: str, detailed_exitcode: bool, **options: Any) -> int:
    """Say what a change to manifests means: who gains and loses what.

    Needs no token, no API and no state, so that it works on a pull request from a fork. Compares the files below
    MANIFESTS as they are now with those at REV.
    """
    console, now = Console.of(options), SystemClock().now()
    learn_directory(manifests)
    then = files_at(base, manifests)
    before = _load(then, now) if then.names() else Loaded(Settings(), (), ())
    present = Directory(manifests)
    after = _load(present, now) if manifests.is_dir() and present.names() else Loaded(Settings(), (), ())
    if not before.manifests and not after.manifests:
        raise UsageError(f"there is no manifest below {manifests}, neither now nor at {base}")
    learn_contact_url(after.settings)
    old, new = _desired(before, now), _desired(after, now)
    comparisons = [compare_revisions(each, old.get(each), new.get(each)) for each in sorted(old.keys() | new.keys())]
    moves = compare_settings(_settings(before), _settings(after))
    tell(DiffDocument(comparisons, moves, base), console, options)
    changed = bool(moves) or any(not each.is_empty for each in comparisons)
    return ExitCode.CHANGES if detailed_exitcode and changed else ExitCode.DONE


def _load(files: Files, now: Instant) -> Loaded:
    """Without the environment: what is compared is what the files say."""
    return load_files(files, now=now)


def _desired(loaded: Loaded, now: Instant) -> dict[LocationId, Desired]:
    groups: dict[LocationId, list[Manifest]] = {}
    for manifest in loaded.manifests:
        groups.setdefault(manifest.location, []).append(manifest)
    settings = loaded.settings
    return {
        location: resolve(group, now=now, shared_rules=settings.rules, authority=settings.authority)
        for location, group in groups.items()
    }


def _settings(loaded: Loaded) -> dict[str, Any]:
    """Settings and tag rules as a tree of plain values."""
    tree: dict[str, Any] = {each.key: each.value for each in shown(loaded.settings)}
    rules = {f"tags.{tag}": _rule(rule) for tag, rule in loaded.settings.rules.items()}
    for manifest in loaded.manifests:
        rules |= {f"{manifest.location}.tags.{tag}": _rule(rule) for tag, rule in manifest.rules.items()}
        rules |= {f"{manifest.location}.contact_sets.{each.name}": _declares(each, manifest) for each in manifest.sets}
    return tree | rules


def _declares(each: ContactSet, manifest: Manifest) -> dict[str, Any]:
    """How a set declares, beside whom and what."""
    return {
        "authority": str(each.authority or manifest.authority or "as in the settings"),
        "ignore": ", ".join(each.ignore) or None,
        "on_leave": str(each.on_leave),
        "from": None if each.start is None else iso(each.start),
        "until": None if each.until is None else iso(each.until),
    }


def _rule(rule: TagRule) -> dict[str, Any]:
    """What a rule says, without what it leaves at the default."""
    default = asdict(TagRule(rule.tag, rule.source))
    return {key: value for key, value in asdict(rule).items() if value != default[key]}
