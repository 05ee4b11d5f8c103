"""A slip of the finger is told by what was probably meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import LOCATION, Command

Manifest = Callable[..., None]
ANNA = "AnnaAnnaAnnaAnnaAnna"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("pln", "Did you mean 'plan'?"),
        ("aply", "Did you mean 'apply'?"),
        ("histroy", "Did you mean 'history'?"),
        ("state unlok", "Did you mean 'unlock'?"),
        ("sandbox serv", "Did you mean 'serve'?"),
        ("plan --locaton x", "'--location'"),
        ("plan --refrsh auto", "'--refresh'"),
        ("state unlock --locaton x", "'--location'"),
        ("plan --format jsn", "'json'"),
        ("drift --fail-on mising", "missing"),
    ],
)
def test_what_was_meant_is_named(reconciler: Command, project: Path, typed: str, meant: str) -> None:
    ended = reconciler(*typed.split())
    assert (ended.code, meant in ended.err) == (64, True), ended.err


@pytest.mark.one_in(19)
@pytest.mark.parametrize(
    "command",
    ["history", "state list", "state show", "state pull", "state unlock", f"state forget {ANNA}"],
)
@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (LOCATION[:-1] + "x", f"did you mean {LOCATION!r}?"),
        ("Akme", "did you mean 'Acme'?"),
        ("elsewhere", f"they have: Acme ({LOCATION})"),
    ],
)
def test_a_location_that_nobody_has_is_no_empty_one(
    reconciler: Command, manifest: Manifest, project: Path, command: str, given: str, hint: str
) -> None:
    """Who forgets a contact for good is told that the location was mistyped, and not that nothing was known."""
    manifest(customers=(range(3), ["customer"], []))
    (project / "manifests" / "reconciler.yaml").write_text(f"locations: {{{LOCATION}: {{name: Acme}}}}\n")
    assert reconciler("apply", "--auto-approve").code == 0
    ended = reconciler(*command.split(), "--location", given)
    assert (ended.code, ended.out) == (64, "")
    assert f"neither the settings nor the state have a location {given!r}" in ended.err
    assert hint in ended.err


@pytest.mark.parametrize("typed", ["xyzzy", "größer", "\x1b[2J", "-"])
def test_nothing_is_named_where_nothing_is_near(reconciler: Command, project: Path, typed: str) -> None:
    ended = reconciler(typed)
    assert (ended.code, "Did you mean" in ended.err) == (64, False)
    assert "\x1b" not in ended.err


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("command", "message", "hint"),
    [
        ("apply plam.json", "no plan file plam.json", "did you mean 'plan.json'?"),
        ("apply plan.jsn", "no plan file plan.jsn", "did you mean 'plan.json'?"),
        ("show plam.json", "no plan file plam.json", "did you mean 'plan.json'?"),
        ("apply nothere/other.json", "no plan file nothere/other.json", "`reconciler plan --out FILE` writes one"),
        ("apply other.plan", "no plan file other.plan", "`reconciler plan --out FILE` writes one"),
        ("apply manifests/acme.yaml", "manifests/acme.yaml is no plan file, and looks like a manifest", ": manifests"),
        ("show manifests/acme.yaml", "manifests/acme.yaml is no plan file, and looks like a manifest", ": manifests"),
        ("plan manifests/acme.yaml", "manifests/acme.yaml: not a directory", "directory of the manifests, manifests:"),
        ("drift plan.json", "plan.json: not a directory", "a plan file is for `apply` and `show`"),
        ("validate nothere", "nothere: no such directory", "`reconciler init`"),
        ("apply nothere", "nothere: no such directory", "`reconciler init`"),
        ("apply .reconciler", ".reconciler: no manifest in this directory", "a manifest is a file that ends .yaml"),
    ],
)
def test_a_file_for_a_directory_and_the_other_way_round(
    reconciler: Command, manifest: Manifest, project: Path, command: str, message: str, hint: str
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    (project / ".reconciler").mkdir()
    assert reconciler("plan", "--out", "plan.json").code == 0
    ended = reconciler(*command.split())
    told = [line.strip() for line in (ended.out + ended.err).splitlines()]
    assert ended.code == 1
    assert any(message in line for line in told), told
    assert any("hint:" in line and hint in line for line in told), told
