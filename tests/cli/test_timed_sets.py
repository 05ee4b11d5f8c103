"""A set that ends: told before, and where its end is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id


def write_set(project: Path, ends_in: timedelta) -> str:
    """Writes a manifest with one set, and returns when it ends, as a person is told."""
    until = datetime.now(UTC) + ends_in
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\ncontact_sets:\n  promo:\n    contacts: [{contact_id(0)}]\n    tags: [spring]\n"
        f"    until: {until:%Y-%m-%dT%H:%M:%S}Z\n"
    )
    return f"{until:%Y-%m-%d %H:%M:%S}Z"


@pytest.mark.parametrize(("days", "noted"), [(6, True), (8, False)])
def test_a_plan_notes_a_week_before_that_a_set_ends(reconciler: Command, project: Path, days: int, noted: bool) -> None:
    ends = write_set(project, timedelta(days=days))
    note = f"set 'promo' ends {ends}: guards count what is removed then as any other removal (`allow` lifts them)"
    assert (note in " ".join(reconciler("plan").out.split())) is noted


def test_the_removals_of_a_set_that_ended_are_refused_with_the_entries_that_let_them_pass(
    reconciler: Command, project: Path, world: World
) -> None:
    write_set(project, timedelta(days=1))
    assert reconciler("apply", "--auto-approve").code == 0
    write_set(project, -timedelta(days=1))
    refused = reconciler("apply", "--auto-approve")
    assert refused.code == 5
    assert "a set that declared 'spring' has ended by its `until` (manifests/acme.yaml:5:12)" in refused.err
    # the entry as the refusal spells it, its two gaps filled
    entry = refused.err.partition("allow: [")[2].partition("]")[0]
    entry = entry.replace("reason: …", "reason: the spring is over").replace("until: …", "until: 2099-01-01")
    (project / "manifests" / "reconciler.yaml").write_text(f"allow:\n  - {entry}\n")
    assert reconciler("apply", "--auto-approve").code == 0
    assert not world.holders("spring")
