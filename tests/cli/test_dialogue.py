"""What a person reads on a terminal of 80 x 24: what is asked, of whom, and who works there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.model.lease import Lease
from reconciler.sandbox.world import World
from reconciler.store import open_store
from reconciler.system import SystemClock
from tests.cli.conftest import LOCATION
from tests.cli.terminal import dialogue
from tests.fakes import a_holder

pytestmark = pytest.mark.extras
pyte = pytest.importorskip("pyte", reason="pyte is not installed: pip install pyte")

Manifest = Callable[..., None]
SETTINGS = f"locations:\n  {LOCATION}: {{name: Acme Outdoor}}\ntags:\n  vip: {{triggers: true}}\n"


@pytest.fixture
def shop(project: Path, manifest: Manifest) -> Path:
    """A location with a name, with a tag that starts automations; two contacts lose `trial`, three gain a tag."""
    (project / "manifests" / "reconciler.yaml").write_text(SETTINGS)
    manifest(vips=([2, 3, 4], ["vip"], []), former=([0, 1], [], ["trial"]))
    return project


@pytest.fixture
def locked(shop: Path) -> Iterator[Lease]:
    with open_store(f"sqlite:///{shop}/.reconciler/state.db") as store:
        yield store.at(LOCATION).acquire_lease(a_holder("anna"), SystemClock().now())


@pytest.mark.slow
def test_the_question_has_the_counts_the_automations_and_the_name(shop: Path, world: World) -> None:
    with dialogue("apply", cwd=shop, pyte=pyte) as talk:
        talk.wait_for("Type yes: ")
        assert "Send 3 adds (vip triggers automations) and 2 removes in 2 requests to Acme Outdoor?" in talk.text
        talk.type("yes")
        assert talk.ended() == 0
    assert len(world.holders("vip")) == 3


@pytest.mark.slow
def test_only_the_word_approves(shop: Path, world: World) -> None:
    with dialogue("apply", cwd=shop, pyte=pyte) as talk:
        talk.wait_for("Type yes: ")
        talk.type("y")
        assert talk.ended() == 1
        assert "not approved: nothing was sent" in talk.text
        assert "only the word yes approves" in talk.text
    assert not world.transitions


@pytest.mark.slow
def test_revert_asks_the_same_way(shop: Path, manifest: Manifest, world: World) -> None:
    with dialogue("apply", "--auto-approve", cwd=shop, pyte=pyte) as talk:
        assert talk.ended() == 0
    manifest(former=([0, 1], [], ["trial"]))
    lifting = ("--allow", "empties_tag:tag=vip", "--reason", "oops")
    with dialogue("revert", "last", *lifting, cwd=shop, pyte=pyte) as talk:
        talk.wait_for("Type yes: ")
        assert "Send 3 removes (vip triggers automations) in 1 request to Acme Outdoor?" in talk.text
        talk.type("yes")
        assert talk.ended() == 0
    assert not world.holders("vip")


@pytest.mark.slow
@pytest.mark.usefixtures("locked")
def test_who_would_wait_is_told_before_the_plan(shop: Path, world: World) -> None:
    with dialogue("apply", "--lock-timeout", "1", cwd=shop, pyte=pyte) as talk:
        talk.wait_for("Type yes: ")
        told = talk.text.index("is locked by anna@elsewhere")
        assert told < talk.text.index("tags to add")
        assert "This run will wait for it, at most 1 s." in talk.text
        talk.type("yes")
        assert talk.ended() == 6
    assert not world.transitions


@pytest.mark.slow
@pytest.mark.usefixtures("locked")
def test_who_would_be_refused_is_told_before_the_plan(shop: Path) -> None:
    with dialogue("apply", cwd=shop, pyte=pyte) as talk:
        talk.wait_for("Type yes: ")
        assert talk.text.index("is locked by anna@elsewhere") < talk.text.index("tags to add")
        assert "While it is, a run here is refused." in talk.text
        talk.type("no")
        assert talk.ended() == 1


@pytest.mark.slow
@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("command", ["plan", pytest.param("drift", marks=pytest.mark.slow)])
def test_what_is_looked_at_during_a_run_says_whose_run(shop: Path, command: str) -> None:
    with dialogue(command, cwd=shop, pyte=pyte) as talk:
        assert talk.ended() == 0
        assert "is locked by anna@elsewhere (process 4242, apply since" in " ".join(talk.text.split())


@pytest.mark.slow
@pytest.mark.usefixtures("locked")
def test_the_locks_are_listed_with_the_way_to_end_each(shop: Path) -> None:
    with dialogue("state", "unlock", cwd=shop, pyte=pyte) as talk:
        assert talk.ended() == 0
        for words in (
            f"location Acme Outdoor ({LOCATION}) is locked",
            "by anna, apply",
            "on elsewhere, process 4242",
            "since ",
        ):
            assert words in talk.text
        command = next(line for line in talk.text.splitlines() if "reconciler state unlock" in line)
    with dialogue(*command.split()[1:], cwd=shop, pyte=pyte) as talk:
        assert talk.ended() == 0
    with dialogue("state", "unlock", cwd=shop, pyte=pyte) as talk:
        assert talk.ended() == 0
        assert "no location is locked in sqlite:///.reconciler/state.db" in talk.text
