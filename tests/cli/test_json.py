"""--format json of every command, as a user gets it: as the published schema says, no field more, in the order of the
text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.manifests.compare_revisions import compare_revisions
from reconciler.core.model.safe_text import json_line
from reconciler.output.diff import DiffDocument
from reconciler.output.document import CommandOutput, spell
from reconciler.output.schema import plan_schema, report_schema
from reconciler.sandbox import Running
from tests.build import HERE, a_set, declare, many
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.cli.test_formats import commands
from tests.json_schema import find_errors
from tests.render.test_schema import closed

Manifest = Callable[..., None]
HIDDEN = {("completion",), ("schema",)}
REPORTS = closed(report_schema())["$defs"]
PLANS = closed(plan_schema())


@pytest.fixture
def lived(reconciler: Command, manifest: Manifest, sandbox: Running, project: Path) -> Callable[[str], str]:
    """A location with a history: applied, refused, drifted, searched just after, with an exclusive tag and a commit
    that changed; tells the id of the run of an operation."""
    manifest(customers=([0, 1, 8], ["customer"], []), trial=([0, 1], ["trial"], []))
    assert reconciler("apply", "--auto-approve").code == 3
    manifest(customers=([0, 1, 2, 8], ["customer"], ["trial"]), vip=([3, 4, 5], ["vip"], []), one=([6], ["gold"], []))
    with (project / "manifests" / "acme.yaml").open("a") as file:
        file.write("tags: {vip: {exclusive: true, triggers: true}}\n")
    sandbox.do(lambda world, now: world.add(contact_id(7), ["vip"], now=now, by="somebody"))
    sandbox.do(lambda world, now: world.remove(contact_id(1), ["customer"], now=now, by="somebody"))
    assert reconciler("refresh", "--method", "get").code == 0

    def run_of(operation: str) -> str:
        (location,) = json.loads(reconciler("history", "--format", "json").out)["locations"]
        return next(str(run["id"]) for run in location["runs"] if run["operation"] == operation)

    return run_of


QUESTIONS: dict[str, tuple[str, ...]] = {
    "plan": ("plan",),
    "plan-search": ("plan", "--refresh", "search"),
    "plan-auto": ("plan", "--refresh", "auto"),
    "apply-dry": ("apply", "--dry-run", "--refresh", "get"),
    "apply": ("apply", "--auto-approve", "--refresh", "get"),
    "drift": ("drift", "--show", "foreign", "--max-age", "1h"),
    "drift-search": ("drift", "--refresh", "search"),
    "refresh": ("refresh", "--method", "search"),
    "history": ("history",),
    "show": ("show", "RUN"),
    "show-plan": ("show", "plan.json"),
    "revert": ("revert", "RUN", "--dry-run"),
    "revert-sent": ("revert", "RUN", "--auto-approve"),
    "state-list": ("state", "list"),
    "state-show": ("state", "show"),
    "state-show-contact": ("state", "show", contact_id(0)),
    "state-show-refused": ("state", "show", contact_id(8)),
    "validate": ("validate",),
    "locations": ("locations",),
    "doctor": ("doctor",),
    "diff": ("diff",),
    "pull": ("pull", "--dry-run"),
    "resolve": ("resolve", "people.csv", "--by", "email", "--location", LOCATION, "--out", "ids.csv"),
}


def asked(name: str, reconciler: Command, run_of: Callable[[str], str]) -> Any:
    question = [run_of("apply") if word == "RUN" else word for word in QUESTIONS[name]]
    if name in ("pull", "resolve"):
        # of the contacts nobody has an address: rows that are not found, one malformed, and a guard that refuses
        for place in (Path("manifests/people.csv"), Path("people.csv")):
            place.write_text("email\n" + "".join(f"person{number}@example.com\n" for number in range(8)) + "nobody\n")
        people = "contact_sets: {people: {contacts: {file: people.csv, match: {email: email}}, tags: [mailed]}}"
        Path("manifests/people.yaml").write_text(f"location: {LOCATION}\n{people}\n")
    if name == "show-plan":
        assert reconciler("plan", "--refresh", "search", "--out", "plan.json").code == 0
    return json.loads(reconciler(*question, "--format", "json").out)


def test_every_command_with_json_is_asked() -> None:
    with_json = {
        path
        for path, command in commands().items()
        for option in command.params
        # a fleet asks PostgreSQL: its documents are held to the schema in tests/render
        if option.name == "kind" and "json" in getattr(option.type, "choices", ()) and path[0] != "fleet"
    }

    def first(question: tuple[str, ...]) -> tuple[str, ...]:
        return question[:2] if question[0] == "state" else question[:1]

    assert {first(question) for question in QUESTIONS.values()} == with_json - HIDDEN


@pytest.mark.one_in(24)
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_document_is_as_the_schema_says_and_has_no_field_more(
    name: str, reconciler: Command, lived: Callable[[str], str], project: Path
) -> None:
    document = asked(name, reconciler, lived)
    schema = REPORTS[document["report"]] if "report" in document else PLANS
    assert find_errors(schema, document) == []


ORDERS: dict[str, Callable[[Any], list[str]]] = {
    "plan": lambda found: [each["contacts"][0] for each in found["deltas"]],
    "drift": lambda found: [f"{each['drift']} {each['tag']}".strip() for each in found["drifted"]],
    "history": lambda found: [each["id"] for each in found["runs"]],
    "state-list": lambda found: [each["contact"] for each in found["contacts"]],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ORDERS)
def test_text_and_json_list_in_the_same_order(
    name: str, reconciler: Command, lived: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (location,) = asked(name, reconciler, lived)["locations"]
    listed = ORDERS[name](location)
    assert len(listed) > 1
    text = " ".join(reconciler(*QUESTIONS[name], "--all").out.split())
    place = max(text.find("Changes, by contacts"), 0)
    for each in listed:
        assert each in text[place:], (listed, text)
        place = text.index(each, place) + len(each)


def test_what_was_done_on_a_contact_is_listed_in_the_same_order(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([0], ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    manifest(customers=([0], ["customer", "news"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    (story,) = json.loads(reconciler("state", "show", contact_id(0), "--format", "json").out)["locations"]
    assert [each["tags"] for each in story["trail"]] == [["news"], ["customer"]], "the latest first"
    text, table = (reconciler("state", "show", contact_id(0), "--format", kind).out for kind in ("text", "csv"))
    assert text.index("add news") < text.index("add customer")
    assert table.index(story["trail"][0]["run"]) < table.index(story["trail"][1]["run"])


def test_what_a_commit_changes_is_listed_in_the_same_order() -> None:
    after = declare(a_set("few", "anna", "aaa"), a_set("crowd", many(9), "zzz"))
    output = CommandOutput(DiffDocument([compare_revisions(HERE, declare(), after)], [], "main"))
    (location,) = json.loads(json_line(output.json()))["locations"]
    assert [each["gained"] for each in location["moved"]] == [["zzz"], ["aaa"]], "the most contacts first"
    text = "".join(spell(output, "text", whole=True))
    assert text.index("+zzz") < text.index("+aaa")
