"""A state that is not there, and the first apply that is known of a location."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.model.names import Instant, Tag
from reconciler.sandbox.world import World
from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
FEW, MANY = 5, 6
COMMANDS = {
    "plan": ("plan",),
    "drift": ("drift", "--fail-on", "missing,unexpected"),
    "drift-refresh": ("drift", "--refresh", "search", "--fail-on", "missing,unexpected"),
    "refresh": ("refresh",),
    "apply": ("apply", "--auto-approve"),
    "dry-run": ("apply", "--dry-run"),
}


@pytest.fixture
def in_ci(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")


@pytest.fixture
def delicate(project: Path) -> Callable[[str, int], None]:
    """Writes a manifest whose one tag has a rule, such as `triggers`, and so many contacts."""

    def write(rule: str, number: int) -> None:
        ids = ", ".join(contact_id(each) for each in range(number))
        sets = f"contact_sets:\n  some:\n    contacts: [{ids}]\n    tags: [mail]\n"
        (project / "manifests" / "acme.yaml").write_text(f"location: {LOCATION}\ntags: {{mail: {{{rule}}}}}\n{sets}")

    return write


@pytest.mark.one_in(4)
@pytest.mark.parametrize("named", ["default", "settings", "flag", "variable"])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.usefixtures("in_ci")
def test_in_ci_a_state_that_is_gone_is_refused_whoever_names_it(
    named: str,
    command: tuple[str, ...],
    reconciler: Command,
    manifest: Manifest,
    project: Path,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lost, misspelt or never there: a plan would give everything again, a report says "no drift" of nothing."""
    manifest(customers=([0], ["customer"], []))
    flags: tuple[str, ...] = ()
    if named == "settings":
        (project / "manifests" / "reconciler.yaml").write_text("state: sqlite:///lost.db\n")
    if named == "variable":
        monkeypatch.setenv("RECONCILER_STATE", "sqlite:///lost.db")
    if named == "flag":
        flags = ("--state", "sqlite:///lost.db")
    ended = reconciler(*command, *flags)
    assert (ended.code, ended.out) == (64, "")
    assert "--create-state" in ended.err
    assert (".reconciler/state.db (the default)" if named == "default" else "lost.db (named by ") in ended.err
    assert not world.transitions
    assert not list(project.rglob("*.db")), "and none is made"
    assert reconciler(*command, *flags, "--create-state").code in (0, 2)


@pytest.mark.usefixtures("in_ci")
def test_in_ci_a_plan_file_is_not_applied_where_the_state_is_gone(
    reconciler: Command, manifest: Manifest, project: Path, world: World
) -> None:
    manifest(customers=([0], ["customer"], []))
    assert reconciler("plan", "--create-state", "--out", "plan.json").code == 0
    refused = reconciler("apply", "plan.json", "--auto-approve")
    assert (refused.code, list(world.transitions)) == (64, [])
    assert reconciler("apply", "plan.json", "--auto-approve", "--create-state").code == 0
    assert reconciler("plan").code == 0, "now it is there"


def one_more(project: Path, sets: str = f"{{a: {{contacts: [{contact_id(3)}], tags: [x]}}}}") -> str:
    """A manifest of one more location."""
    other = f"other{LOCATION[5:]}"
    (project / "manifests" / "other.yaml").write_text(f"location: {other}\ncontact_sets: {sets}\n")
    return other


@pytest.mark.slow
@pytest.mark.usefixtures("in_ci")
def test_in_ci_a_location_that_is_new_in_the_state_of_several_needs_no_word(
    reconciler: Command, manifest: Manifest, project: Path
) -> None:
    """The pull request that brings it is planned as any other is."""
    manifest(customers=([0], ["customer"], []))
    assert reconciler("apply", "--auto-approve", "--create-state").code == 0
    one_more(project)
    assert reconciler("plan").code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("in_ci")
def test_in_ci_the_state_of_one_location_is_none_of_another(
    reconciler: Command, manifest: Manifest, project: Path, world: World
) -> None:
    """A file that was lost, or one more location: a person has to say that it is the latter."""
    where = ("--state", f"sqlite:///{project}/{{location}}.db")
    manifest(customers=([0], ["customer"], []))
    assert reconciler("apply", "--auto-approve", "--create-state", *where).code == 0
    other, sent = one_more(project), len(world.transitions)
    for command in COMMANDS.values():
        for scope in ((), ("--location", other)):
            refused = reconciler(*command, *where, *scope)
            assert (refused.code, refused.out) == (64, "")
            assert f"and none of location {other}: in CI" in refused.err
            assert f"add --create-state with --location {other} for its first run" in refused.err
    assert len(world.transitions) == sent
    assert reconciler("plan", *where, "--location", LOCATION).code == 0, "the one that has it goes on"
    assert reconciler("plan", *where, "--create-state").code == 0
    assert reconciler("plan", *where, "--create-state", "--location", other).code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("in_ci")
def test_in_ci_a_location_that_declares_nothing_needs_no_state(
    reconciler: Command, manifest: Manifest, project: Path
) -> None:
    """An apply of it writes none, so that each run would have to say that it is the first."""
    manifest(customers=([0], ["customer"], []))
    where = ("--state", f"sqlite:///{project}/{{location}}.db")
    assert reconciler("apply", "--auto-approve", "--create-state", *where).code == 0
    one_more(project, "{}")
    assert (reconciler("plan", *where).code, reconciler("apply", "--auto-approve", *where).code) == (0, 0)


def test_at_a_desk_a_state_that_is_not_there_is_new(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([0], ["customer"], []))
    assert reconciler("drift").code == 0
    assert reconciler("plan").code == 0


@pytest.mark.parametrize(("rule", "number", "code"), [("triggers: true", MANY, 5), ("triggers: true", FEW, 0)])
def test_a_first_apply_starts_automations_for_a_handful_only(
    rule: str, number: int, code: int, reconciler: Command, delicate: Callable[[str, int], None], world: World
) -> None:
    delicate(rule, number)
    assert reconciler("plan").code == code
    ended = reconciler("apply", "--auto-approve")
    assert ended.code == code
    assert len(world.holders("mail")) == (0 if code else number)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("rule", ["triggers: true", "once: true"])
def test_a_first_apply_that_would_mail_many_says_so_and_is_lifted_by_create_state(
    rule: str, reconciler: Command, delicate: Callable[[str, int], None], project: Path, world: World
) -> None:
    """With a lost state everybody would be mailed once more: in the preview a guard says so, and nothing is sent."""
    delicate(rule, MANY)
    planned = reconciler("plan", "--out", "plan.json")
    assert planned.code == 5
    said = " ".join(planned.out.split())
    assert f"add 'mail', which starts automations or is given once, to {MANY} contacts (limit: 5)" in said
    assert f"{MANY} tags to add" in planned.out, "the preview is whole"
    assert "`reconciler apply plan.json` refuses it as this plan does" in planned.err
    refused = reconciler("apply", "plan.json", "--auto-approve")
    assert refused.code == 5
    assert "if this is meant: --create-state, or an `allow` entry" in refused.err
    assert not world.transitions
    assert reconciler("plan", "--create-state").code == 0
    assert reconciler("apply", "plan.json", "--auto-approve", "--create-state").code == 0
    assert len(world.holders("mail")) == MANY


def test_what_was_applied_once_is_first_no_more(
    reconciler: Command, delicate: Callable[[str, int], None], world: World
) -> None:
    delicate("triggers: true", 1)
    assert reconciler("apply", "--auto-approve").code == 0
    delicate("triggers: true", MANY)
    assert reconciler("apply", "--auto-approve").code == 0
    assert len(world.holders("mail")) == MANY


@pytest.mark.slow
@pytest.mark.parametrize("part", [("--tag", "customer"), ("--set", "few")], ids=["tag", "set"])
def test_an_apply_of_a_part_does_not_make_the_next_one_of_all_a_second_one(
    part: tuple[str, str], reconciler: Command, delicate: Callable[[str, int], None], project: Path, world: World
) -> None:
    """State was lost, and a careful person begins with the harmless tag, or with a few contacts."""
    delicate("triggers: true", MANY)
    with (project / "manifests" / "acme.yaml").open("a") as file:
        file.write(f"  few:\n    contacts: [{contact_id(0)}]\n    tags: [mail, customer]\n")
    assert reconciler("apply", *part, "--auto-approve").code == 0
    given = world.holders("mail")
    refused = reconciler("apply", "--auto-approve")
    assert refused.code == 5
    assert "no apply of the whole location is known" in refused.err
    assert world.holders("mail") == given
    assert reconciler("apply", "--auto-approve", "--create-state").code == 0
    assert len(world.holders("mail")) == MANY


@pytest.mark.slow
def test_a_refresh_of_a_lost_state_does_not_make_the_next_apply_a_second_one(
    reconciler: Command, delicate: Callable[[str, int], None], world: World
) -> None:
    """The workflow took the tag away long ago: observed without it, everybody would get it again."""
    delicate("once: true", MANY)
    assert reconciler("refresh", "--method", "get").code == 0
    assert reconciler("apply", "--auto-approve").code == 5
    assert world.holders("mail") == frozenset()


def test_tags_that_are_adopted_by_an_apply_of_a_part_do_not_tell_that_others_never_had_them(
    reconciler: Command, delicate: Callable[[str, int], None], project: Path, world: World
) -> None:
    """State was lost; a few still carry the tag, and a workflow took it from the others long ago."""
    (project / "manifests" / "reconciler.yaml").write_text("guards: {max_first_adds: 1}\n")
    delicate("triggers: true", 4)
    some = [contact_id(number) for number in range(2)]
    with (project / "manifests" / "acme.yaml").open("a") as file:
        file.write(f"  few:\n    contacts: [{', '.join(some)}]\n    tags: [mail]\n")
    for each in some:
        world.add(each, ["mail"], now=Instant(0), by="human")
    assert reconciler("refresh", "--method", "get").code == 0
    assert reconciler("apply", "--set", "few", "--auto-approve").code == 0
    refused = reconciler("apply", "--tag", "mail", "--auto-approve")
    assert refused.code == 5
    assert "is given once, to 2 contacts (limit: 1)" in " ".join(refused.out.split())
    assert reconciler("apply", "--tag", "mail", "--auto-approve", "--create-state").code == 0
    delicate("triggers: true", 6)
    assert reconciler("apply", "--tag", "mail", "--auto-approve").code == 0, "more were let pass: it is not new"
    assert len(world.holders("mail")) == 6


def test_the_limit_is_a_setting(
    reconciler: Command, delicate: Callable[[str, int], None], project: Path, world: World
) -> None:
    delicate("triggers: true", MANY)
    (project / "manifests" / "reconciler.yaml").write_text(f"guards: {{max_first_adds: {MANY}}}\n")
    planned = reconciler("plan", "--format", "json")
    assert planned.code == 0
    (guard,) = [each for each in json.loads(planned.out)["locations"][0]["guards"] if each["guard"] == "max_first_adds"]
    assert (guard["tag"], guard["limit"], guard["measure"], guard["refused"]) == (Tag("mail"), MANY, MANY, False)
    (project / "manifests" / "reconciler.yaml").unlink()
    assert reconciler("plan", "--allow", "max_first_adds:tag=mail", "--reason", "a new location").code == 0
