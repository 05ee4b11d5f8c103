"""A pull that comes between the reading of the manifests and the lease: nothing is sent by the older snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from reconciler.core.model.errors import ExitCode
from reconciler.core.model.journal import exit_code
from reconciler.core.model.names import LocationId, SetName
from reconciler.core.model.people import Snapshot
from reconciler.store import open_store
from tests.build import HERE, NOW, a_set, contact, name
from tests.fakes import a_holder
from tests.scene import Scene

VIP = SetName("vip")


def snapshot(*short: str) -> Snapshot:
    return Snapshot(tuple(sorted(map(name, short))), NOW, "sha256:0")


def keep(scene: Scene, pulled: Snapshot | None) -> None:
    with open_store(scene.url) as store:
        here = store.at(HERE)
        lease = here.acquire_lease(a_holder("puller"), scene.clock.now())
        if pulled is None:
            here.drop_snapshots(lease, [VIP])
        else:
            here.save_snapshots(lease, {VIP: pulled})
        here.release_lease(lease)


@pytest.mark.parametrize("newer", [snapshot("Anna"), snapshot("Anna", "Cara"), None])
def test_another_snapshot_than_the_one_that_was_resolved_is_refused(tmp_path: Path, newer: Snapshot | None) -> None:
    scene, resolved = Scene(tmp_path, contact("Anna"), contact("Bert")), snapshot("Anna", "Bert")
    keep(scene, resolved)
    scene.want(a_set("vip", "Anna Bert", "vip"))
    plan = scene.plan()
    keep(scene, newer)
    report = scene.apply(plan, snapshots={HERE: {VIP: resolved}})
    assert exit_code([report]) == ExitCode.STALE
    assert report.error is not None
    assert "contact set 'vip'" in str(report.error)
    assert not scene.here.sent
    assert not scene.runs()


def test_the_same_contacts_pulled_anew_are_what_was_resolved(tmp_path: Path) -> None:
    scene, resolved = Scene(tmp_path, contact("Anna"), contact("Bert")), snapshot("Anna", "Bert")
    keep(scene, resolved)
    scene.want(a_set("vip", "Anna Bert", "vip"))
    plan = scene.plan()
    keep(scene, snapshot("Anna", "Bert"))
    scene.apply(plan, snapshots={HERE: {VIP: resolved}})
    assert scene.here.crm.holders("vip") == {name("Anna"), name("Bert")}


@pytest.mark.parametrize(("newer", "sent"), [(snapshot("Anna", "Bert"), 1), (snapshot("Anna"), 0)])
def test_snapshots_that_are_files_are_compared_with_the_files_of_now(
    tmp_path: Path, newer: Snapshot, sent: int
) -> None:
    """The state has none then; the sets that were resolved are asked for, and no other."""
    scene, resolved = Scene(tmp_path, contact("Anna"), contact("Bert")), snapshot("Anna", "Bert")
    asked: list[tuple[LocationId, list[SetName]]] = []

    def read(location: LocationId, names: Iterable[SetName]) -> Mapping[SetName, Snapshot]:
        asked.append((location, list(names)))
        return {VIP: newer}

    scene.want(a_set("vip", "Anna Bert", "vip"))
    scene.read_snapshots = read
    report = scene.apply(snapshots={HERE: {VIP: resolved}})
    assert (len(scene.here.sent), asked) == (sent, [(HERE, [VIP])])
    assert bool(report.error) is not bool(sent)


def test_a_set_that_ends_while_the_lease_is_waited_for_is_refused(tmp_path: Path) -> None:
    scene = Scene(tmp_path, contact("Anna"), contact("Bert"))
    scene.want(a_set("vip", "Anna Bert", "vip", until=scene.clock.now() + 60_000))
    plan = scene.plan()
    scene.clock.ms += 60_000
    report = scene.apply(plan)
    assert exit_code([report]) == ExitCode.STALE
    assert "a set has become active or expired since" in str(report.error)
    assert not scene.here.sent
