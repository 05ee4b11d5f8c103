"""A damaged state, and the backup beside it put back: it lacks the last run, whose adds are not to be sent again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.core.model.names import Tag
from reconciler.sandbox import Running
from tests.cli.conftest import LOCATION, Command, contact_id

ME = "somebody"
IS_BACKUP = f"the state of location {LOCATION} is a backup that was put back: it was made "
Declare = Callable[..., None]


@pytest.fixture
def declare(project: Path) -> Declare:
    """Writes a manifest of contacts with `customer`, and contacts with `welcome`, whose rule is given."""

    def write(welcomed: Iterable[int], rule: str = "once: true") -> None:
        ids = ", ".join(contact_id(each) for each in welcomed)
        welcome = f"  welcomed: {{contacts: [{ids}], tags: [welcome]}}\n" if ids else ""
        (project / "manifests" / "acme.yaml").write_text(
            f"location: {LOCATION}\ntags: {{welcome: {{{rule}}}}}\ncontact_sets:\n"
            f"  customers: {{contacts: [{contact_id(3)}], tags: [customer]}}\n{welcome}"
        )

    return write


def consume(sandbox: Running, *numbers: int) -> None:
    """A workflow takes `welcome` off, once it has sent its mail."""
    for who in map(contact_id, numbers):
        sandbox.do(lambda world, now, who=who: world.remove(who, ["welcome"], now=now, by=ME))


def put_back(project: Path) -> None:
    """The backup becomes the state, as the troubleshooting says."""
    state = project / ".reconciler" / "state.db"
    state.write_bytes(b"x" * 4096)
    shutil.copy(f"{state}.backup", state)
    # the process of the run that it was made before is gone by then; here all are one
    with closing(sqlite3.connect(state)) as connection, connection:
        connection.execute("UPDATE leases SET expires = 0")


def carriers(sandbox: Running) -> list[int]:
    found: list[int] = []
    sandbox.do(lambda world, now: found.extend(n for n in range(4) if Tag("welcome") in world.tags_of(contact_id(n))))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["once: true", "triggers: true"])
def test_what_the_last_run_gave_is_not_given_again_unasked(
    rule: str, declare: Declare, reconciler: Command, sandbox: Running, project: Path
) -> None:
    declare((), rule)
    assert reconciler("apply", "--auto-approve").code == 0
    declare(range(2), rule)
    assert reconciler("apply", "--auto-approve").code == 0
    run = json.loads(reconciler("history", "--format", "json").out)["locations"][0]["runs"][0]["id"]
    consume(sandbox, 0)
    put_back(project)

    planned = reconciler("plan", "--refresh", "get")
    assert planned.code == 5
    text = " ".join(planned.out.split())
    assert f"before apply {run}, and does not know what that and later runs did" in text
    assert IS_BACKUP in text
    assert "it would add 'welcome', which starts automations or is given once, to 1 contact" in text
    applied = reconciler("apply", "--refresh", "get", "--auto-approve")
    assert applied.code == 5
    assert "--allow max_backup_adds:tag=welcome" in applied.err
    # a part of the plan proves nothing of the other tags
    assert reconciler("apply", "--refresh", "get", "--auto-approve", "--tag", "customer").code == 0
    assert reconciler("apply", "--refresh", "get", "--auto-approve").code == 5
    assert carriers(sandbox) == [1]
    for command in (("drift",), ("state", "verify"), ("doctor", "--offline")):
        assert IS_BACKUP in " ".join(reconciler(*command).out.split())

    allowed = ("--allow", "max_backup_adds:tag=welcome", "--reason", "the run was seen to be undone")
    assert reconciler("apply", "--refresh", "get", "--auto-approve", *allowed).code == 0
    assert carriers(sandbox) == [0, 1]
    # whoever joins now was in no lost run
    declare(range(3), rule)
    assert "backup" not in reconciler("state", "verify").out
    assert reconciler("apply", "--auto-approve").code == 0
    assert carriers(sandbox) == [0, 1, 2]


@pytest.mark.slow
def test_an_apply_of_all_that_has_nothing_to_give_settles_a_backup(
    declare: Declare, reconciler: Command, project: Path, sandbox: Running
) -> None:
    declare((), "triggers: true")
    for _ in range(2):
        assert reconciler("apply", "--auto-approve").code == 0
    put_back(project)
    assert reconciler("apply", "--auto-approve").code == 0
    assert "backup" not in reconciler("plan").out
    declare([0], "triggers: true")
    assert reconciler("apply", "--auto-approve").code == 0
    assert carriers(sandbox) == [0]
