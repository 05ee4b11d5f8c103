"""After a first request that was lost: every answer names the commands that settle it, and they do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox import in_background
from reconciler.sandbox.app import Access, App
from reconciler.sandbox.world import World
from tests.cli.conftest import Command, contact_id
from tests.sandbox.faults import FaultKind, FaultPlan, Network

Manifest = Callable[..., None]
HELD, REFUSED = "reconciler apply --retry-held", "reconciler apply --retry-rejected"
APPLY = "apply --auto-approve --api-settle-s 0"
ANSWERS = ("show last", "plan", "drift", "state list", f"state show {contact_id(2)}", APPLY)


def remedies(reconciler: Command, command: str) -> str:
    document = json.loads(reconciler(*command.split(), "--format", "json").out)
    return "\n".join(text for place in document.get("locations", [document]) for text in place.get("remedies", []))


@pytest.mark.slow
def test_every_answer_names_the_commands_and_they_settle_it(
    reconciler: Command, manifest: Manifest, project: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(vip=([8], ["vip"], []))
    ended = reconciler("apply", "--auto-approve")
    assert (ended.code, REFUSED in ended.out, REFUSED in remedies(reconciler, "show last")) == (3, True, True)
    manifest(vip=([2, 3, 8], ["vip"], []))
    writes_only = Access(scopes=frozenset({"contacts.write"}))
    lost = FaultPlan(rate=1.0, kinds=(FaultKind.ERROR_BEFORE,), path="/contacts/bulk")
    with in_background(Network(App(world, accesses=[writes_only]), lost)) as running, monkeypatch.context() as away:
        away.setenv("RECONCILER_API_BASE_URL", running.url)
        ended = reconciler(*APPLY.split())
    assert (ended.code, HELD in ended.out) == (3, True)
    for command in ANSWERS:
        assert HELD in reconciler(*command.split()).out, command
        assert HELD in remedies(reconciler, command), command
    for command in ("plan", "drift", "state list", f"state show {contact_id(8)}"):
        assert REFUSED in reconciler(*command.split()).out, command

    assert reconciler(*APPLY.split(), "--retry-held").code == 0
    assert len(world.holders("vip")) == 2
    for command in ("plan", "drift", "state list"):
        assert HELD not in remedies(reconciler, command), command
