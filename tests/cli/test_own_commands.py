"""Commands that a text names, as they are printed by a command with options for manifests or state."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from reconciler.operations import own_commands
from reconciler.operations.own_commands import CommandPlace
from reconciler.sandbox.world import World
from reconciler.store import open_store
from reconciler.system import SystemClock
from tests.cli.conftest import LOCATION, Command, Ended, contact_id
from tests.docs.cli_reference import commands
from tests.fakes import a_holder

ELSEWHERE = CommandPlace(Path("my tags"), "postgresql://crm:hunter2@db.example/crm?sslmode=require")
GIVEN = "--manifests 'my tags' --state 'postgresql://crm:***@db.example/crm?sslmode=require'"
STATE = GIVEN.partition(" --state ")[2]
TEXTS = {
    "gone: reconciler state unlock 'a b' --location x": f"gone: reconciler state unlock 'a b' --location x {GIVEN}",
    "reconciler pull --set vip": f"reconciler pull --set vip 'my tags' --state {STATE}",
    "Held: `reconciler refresh` looks, `reconciler apply --retry-held` sends": (
        f"Held: `reconciler refresh 'my tags' --state {STATE}` looks, `reconciler apply --retry-held {GIVEN}` sends"
    ),
    "`reconciler apply plan.json`": f"`reconciler apply plan.json {GIVEN}`",
    "`reconciler plan other`": f"`reconciler plan other --state {STATE}`",
    "`reconciler history --manifests m --state s` lists": "`reconciler history --manifests m --state s` lists",
    "`reconciler sandbox serve --help` lists": "`reconciler sandbox serve --help` lists",
    "`reconciler init` writes one": "`reconciler init` writes one",
    "`reconciler state` has more": "`reconciler state` has more",
    "this reconciler reads version 3": "this reconciler reads version 3",
    "reconciler plan is a command": "reconciler plan is a command",
    "`reconciler plan 'open`": "`reconciler plan 'open`",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_command_gets_the_options_that_it_lacks_and_takes(text: str) -> None:
    assert ELSEWHERE.complete(text) == TEXTS[text]
    assert CommandPlace().complete(text) == text


def test_what_each_command_takes_is_known_without_importing_it() -> None:
    by_argument, by_option, flags, valued = set(), {}, set(), set()
    # a group takes nothing itself
    for name, command in commands():
        if isinstance(command, click.Group):
            continue
        arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
        given = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        flags |= {name for option in given if option.is_flag for name in option.opts}
        valued |= {name for option in given if not option.is_flag for name in option.opts}
        if [argument.name for argument in arguments] == ["manifests"]:
            by_argument.add(name)
        elif any("--manifests" in option.opts for option in given):
            by_option[name] = sum(argument.nargs if argument.nargs > 0 else 1_000 for argument in arguments)
    assert by_argument == own_commands.BY_ARGUMENT
    assert by_option == own_commands.BY_OPTION
    assert (flags - valued) | {"--help"} == own_commands.FLAGS


@pytest.fixture
def elsewhere(project: Path, manifest: object) -> tuple[str, str]:
    """Manifests and a state that no command finds unasked, and a lease on its location."""
    (project / "manifests").rename(project / "tags of acme")
    (project / "tags of acme" / "acme.yaml").write_text(f"location: {LOCATION}\ncontact_sets: {{}}\n")
    with open_store("sqlite:///kept.db") as store:
        store.at(LOCATION).acquire_lease(a_holder("anna"), SystemClock().now())
    return "tags of acme", "sqlite:///kept.db"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("apply", "{}", "--auto-approve"), ("refresh", "{}"), ("state", "unlock", "--manifests", "{}")]
)
def test_the_command_that_ends_a_lease_does_as_it_is_printed(
    reconciler: Command, elsewhere: tuple[str, str], world: World, words: tuple[str, ...]
) -> None:
    directory, state = elsewhere
    if words[0] == "apply":
        (Path(directory) / "acme.yaml").write_text(
            f"location: {LOCATION}\ncontact_sets: {{one: {{contacts: [{contact_id(0)}], tags: [vip]}}}}\n"
        )
    told = reconciler(*(word.format(directory) for word in words), "--state", state)
    found = re.search(
        r"reconciler (state unlock lease-\S+ --location \S+ [^.]*?--state \S+)", " ".join((told.out + told.err).split())
    )
    assert found is not None, told
    assert reconciler(*shlex.split(found[1])).code == 0
    assert reconciler("apply", directory, "--auto-approve", "--state", state).code == 0


def test_a_refused_contact_is_looked_up_where_it_is_known(reconciler: Command, elsewhere: tuple[str, str]) -> None:
    directory, state = elsewhere
    shown = reconciler("state", "show", "nobody", "--manifests", directory, "--state", state)
    assert (
        "`reconciler state list --manifests 'tags of acme' --state sqlite:///kept.db` lists the contacts" in shown.err
    )
    saved = reconciler("plan", directory, "--state", state, "--out", "plan.json")
    assert "`reconciler apply plan.json --manifests 'tags of acme' --state sqlite:///kept.db` sends" in saved.err


def run_printed(reconciler: Command, text: str, name: str, *more: str) -> Ended:
    """Runs the command of that name as a text prints it, between backticks or to the end of a line."""
    found = re.search(rf"`reconciler ({name} [^`]*)`|reconciler ({name} .*)$", text, re.MULTILINE)
    assert found is not None, text
    return reconciler(*shlex.split(found[1] or found[2]), *more)


@pytest.mark.slow
def test_a_saved_plan_is_applied_as_printed_with_the_leave_that_it_was_made_with(
    reconciler: Command, project: Path, world: World
) -> None:
    """A file gives no leave: without its flags the apply that is named was refused, though the plan was not."""
    ids = ", ".join(contact_id(number) for number in range(6))
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\ntags: {{mail: {{triggers: true}}}}\n"
        f"contact_sets: {{some: {{contacts: [{ids}], tags: [mail]}}}}\n"
    )
    limited = ("--guards-max-requests", "0")
    leave = ("--allow", "max_requests", "--reason", "it's meant")
    saved = reconciler("plan", "--out", "plan.json", "--create-state", *limited, *leave)
    assert saved.code == 0
    assert run_printed(reconciler, saved.err, "apply", "--auto-approve").code == 0
    assert len(world.holders("mail")) == 6


@pytest.mark.slow
def test_a_saved_plan_that_is_refused_in_part_says_what_apply_does_with_it(
    reconciler: Command, project: Path, world: World
) -> None:
    """A guard refuses the location that it is measured in, and apply sends to the others."""
    for name, location, contacts in (("a", LOCATION, (0,)), ("b", f"other{LOCATION[5:]}", (1, 2))):
        ids = ", ".join(map(contact_id, contacts))
        (project / "manifests" / f"{name}.yaml").write_text(
            f"location: {location}\ncontact_sets: {{some: {{contacts: [{ids}], tags: [mail]}}}}\n"
        )
    saved = reconciler("plan", "--out", "plan.json", "--guards-max-adds", "1")
    assert saved.code == 5
    assert "sends what of it is still called for then, and nothing to 1 location that guards refuse" in saved.err
    assert run_printed(reconciler, saved.err, "apply", "--auto-approve").code == 5
    assert len(world.holders("mail")) == 1


def test_a_printed_path_with_a_blank_is_one_word(reconciler: Command, project: Path) -> None:
    made = reconciler("init", "my tags", "--location", LOCATION)
    assert run_printed(reconciler, made.out, "plan").code == 0

    place = ("--location", LOCATION, "--refresh", "search")
    flagged = reconciler("export", *place, "--out", "by flag", "--state", "sqlite:///kept here.db")
    assert "To record: 2 adopted" in run_printed(reconciler, flagged.err, "plan").out
    (project / "manifests" / "reconciler.yaml").write_text("state: sqlite:///kept here.db\n")
    named = reconciler("export", *place, "--out", "by settings")
    assert "To record: 2 adopted" in run_printed(reconciler, named.err, "plan").out


def test_a_printed_path_that_begins_with_a_dash_is_no_option(reconciler: Command, project: Path, world: World) -> None:
    made = reconciler("init", "./-tags", "--location", LOCATION)
    saved = run_printed(reconciler, made.out, "plan", "--out=-x.json")
    assert saved.code == 0
    assert "`reconciler apply ./-x.json --manifests ./-tags/manifests`" in saved.err
    assert run_printed(reconciler, saved.err, "apply", "--dry-run").code == 0
    exported = reconciler("export", "--location", LOCATION, "--refresh", "search", "--out=-tags of now")
    assert run_printed(reconciler, exported.err, "plan").code == 0


def test_an_annotation_names_a_command_that_finds_the_manifests(reconciler: Command, project: Path) -> None:
    """It stands in a pull request, where a person reads it."""
    (project / "manifests").rename(project / "my tags")
    (project / "my tags" / "people.csv").write_text("mail\nanna@example.com\n")
    (project / "my tags" / "acme.yaml").write_text(
        f"location: {LOCATION}\n"
        "contact_sets: {vip: {contacts: {file: people.csv, match: {email: mail}}, tags: [vip]}}\n"
    )
    told = reconciler("validate", "my tags", "--format", "github")
    assert "(hint: reconciler pull --set vip 'my tags')" in told.out
    # so do the hints of a plan that is refused, in its JSON too
    refused = reconciler("plan", "my tags", "--state", "sqlite:///kept.db", "--format", "json")
    error = json.loads(refused.out)["error"]
    assert error.endswith("hint: reconciler pull --set vip 'my tags' --state sqlite:///kept.db")
