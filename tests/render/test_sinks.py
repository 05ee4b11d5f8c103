"""No text from CRM or manifest changes the structure of any output, and each can be read again (invariant 12).

A document with a hostile text must have the structure of the same document with a plain one, as readers see it that are
not ours; and the text must be found in it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import pytest

from reconciler.cli.console import Console
from reconciler.cli.progress_output import Verbosity
from reconciler.core.model.contact_state import ContactState
from reconciler.core.model.errors import Problem
from reconciler.core.model.events import Waiting
from reconciler.core.model.journal import FailedChange, LocationReport, RunStatus
from reconciler.core.model.manifest import ListedContacts, TagUse
from reconciler.core.model.names import ContactId, LocationId, Source, Tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.model.safe_text import Provenance, command_line, json_line, printable, withhold_people
from reconciler.core.model.settings import DriftClass, GuardLimits
from reconciler.core.observing.drift import Drifted, DriftReport
from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, combine_plans
from reconciler.output.contact import ContactDocument, ContactStory
from reconciler.output.document import CommandOutput, spell
from reconciler.output.drift import DriftDocument
from reconciler.output.findings import ProblemList, render_github
from reconciler.output.markdown import render_markdown
from reconciler.output.plan import PlanDocument
from reconciler.output.run import RunDocument
from reconciler.output.state import StateDocument
from reconciler.output.text import render_text
from reconciler.planfile import parse_plan, plan_text
from tests.build import HERE, NOW, a_manifest, a_rule, a_set, carries, changed_state, declare, plan_options, state
from tests.render import judges
from tests.render.hostile import HOSTILE
from tests.sizes import how_many

PLAIN = "plain"
WIDE = 400


def a_plan(text: str) -> CommandOutput:
    """The text as tag, contact, path and location's name, with a refusing guard and an explanation."""
    contact, tag, place = ContactId(text), Tag(text), Source(text, 1, 1)
    manifest = a_manifest(a_set("s", "anna", "x"))
    use = replace(manifest.sets[0].tags[0], tag=tag, source=place)
    one = replace(manifest.sets[0], contacts=ListedContacts((contact,), place), tags=(use,), source=place)
    desired = declare(one, rule=[a_rule(text, triggers=True)])
    location = plan_location(desired, LocationState(HERE, "l", 1), plan_options(limits=GuardLimits(max_adds=0)))
    plan = combine_plans([location], as_of=NOW, manifests=text)
    return CommandOutput(PlanDocument(plan, notes=[text], explain=True), {HERE: text})


def a_run(text: str) -> CommandOutput:
    finding = FailedChange(ContactId(text), Outcome.HELD, Action.ADD, (Tag(text),), text)
    one = LocationReport(
        HERE, text, RunStatus.STOPPED, pairs={Outcome.HELD: 1}, findings=(finding,), error=text, hint=text
    )
    return CommandOutput(RunDocument([one]))


def some_drift(text: str) -> CommandOutput:
    found = (
        Drifted(DriftClass.MISSING, Tag(text), text, (ContactId(text),)),
        Drifted(DriftClass.UNREACHABLE, Tag(""), text, (ContactId(text),)),
    )
    return CommandOutput(DriftDocument([DriftReport(LocationId(text), 1, found, 1, NOW, NOW, refreshed=True)]))


def many_locations(text: str) -> CommandOutput:
    """The text as id and name of locations, and as a tag that changes in both."""
    desired = declare(replace(a_manifest(a_set("s", "anna", "x")).sets[0], tags=(a_use(text),)))
    plans = [
        plan_location(replace(desired, location=location), LocationState(location), plan_options())
        for location in map(LocationId, (text, f"{text}2"))
    ]
    return CommandOutput(PlanDocument(combine_plans(plans, as_of=NOW, manifests="m")), {LocationId(text): text})


def a_use(text: str) -> TagUse:
    return TagUse(Tag(text), text, Source("acme.yaml", 1, 1))


def known(text: str) -> ContactState:
    return carries(ledger="x", doubt="x") if not text else changed_state(carries(), observed=frozenset({Tag(text)}))


def a_state(text: str) -> CommandOutput:
    return CommandOutput(StateDocument([LocationState(LocationId(text), text, 1, state(**{text: known(text)}))]))


def a_contact(text: str) -> CommandOutput:
    return CommandOutput(ContactDocument([ContactStory(LocationId(text), ContactId(text), known(text), None, (), ())]))


def of_a_command(make: Callable[[str], CommandOutput]) -> Callable[[str], CommandOutput]:
    """The document with the command that made it, whose argument the text is, and with links to contacts."""
    url = "https://crm.example.com/{location_id}/contacts/{contact_id}"
    return lambda text: replace(
        make(text),
        made=lambda: Provenance(NOW, "", "1.0.0", command_line(["plan", text])),
        contact_url=url,
    )


DOCUMENTS: dict[str, Callable[[str], CommandOutput]] = {
    "plan": a_plan,
    "run": a_run,
    "drift": some_drift,
    "state": a_state,
    "contact": a_contact,
    "many locations": many_locations,
    "plan of a command": of_a_command(a_plan),
    "run of a command": of_a_command(a_run),
    "drift of a command": of_a_command(some_drift),
}
EXPECTED = {name: made(PLAIN) for name, made in DOCUMENTS.items()}


@lru_cache(maxsize=len(HOSTILE))
def with_text(name: str, text: str) -> CommandOutput:
    """Made once for all formats, which are tried one after the other."""
    return DOCUMENTS[name](text)


def spelt(answer: CommandOutput, kind: str) -> str:
    text = "".join(spell(answer, kind, whole=False))
    assert text.encode(), "it can be written to a file"
    return text


def in_markdown(answer: CommandOutput) -> str:
    return render_markdown(answer.page(None), limit=1_000_000)


@cache
def plain_structure(name: str, kind: str) -> Sequence[object]:
    if kind == "markdown":
        return judges.of_markdown(in_markdown(EXPECTED[name])).structure
    judge = {"html": judges.of_html, "csv": judges.of_csv}[kind]
    return judge(spelt(EXPECTED[name], kind)).structure


def check_html(name: str, text: str) -> None:
    shown = spelt(with_text(name, text), "html")
    judged = judges.of_html(shown)
    assert judged.structure == plain_structure(name, "html")
    assert any(judges.recovered(part) == text for part in judged.texts)
    assert not judges.commands(shown)


def check_markdown(name: str, text: str) -> None:
    shown = in_markdown(with_text(name, text))
    judged = judges.of_markdown(shown)
    # a mark that would call people stands in code of its own
    code = ("html_inline", "", "<code>"), ("html_inline", "", "</code>")
    assert [each for each in judged.structure if each not in code] == [
        each for each in plain_structure(name, "markdown") if each not in code
    ]
    assert any(text in judges.recovered(part) for part in judged.texts)
    assert not judges.commands(shown)


def check_csv(name: str, text: str) -> None:
    shown = spelt(with_text(name, text), "csv")
    judged = judges.of_csv(shown)
    assert judged.structure == plain_structure(name, "csv")
    assert not judges.formulas(shown)
    assert not judges.commands(shown)
    assert name == "contact" or any(judges.recovered(part) == text for part in judged.texts)


def check_json(name: str, text: str) -> None:
    shown = spelt(with_text(name, text), "json")
    assert shown.isascii()
    assert shown.count("\n") == 1
    assert not judges.commands(shown)
    assert "##" not in shown
    assert text in strings(json.loads(shown))


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield key
            yield from strings(below)
    elif isinstance(value, list):
        for below in value:
            yield from strings(below)


@cache
def plain_lines(name: str, width: int) -> int:
    return render_text(EXPECTED[name].view(None), width=width).count("\n")


def check_text(name: str, text: str) -> None:
    view = with_text(name, text).view(None)
    width = WIDE + 6 * len(printable(text))
    wide = render_text(view, width=width)
    assert not judges.commands(render_text(view, width=40))
    assert not judges.commands(wide)
    assert wide.count("\n") == plain_lines(name, width)
    assert all(char.isprintable() or char == "\n" or char in _BLANKS for char in wide)
    assert text in judges.recovered(wide)


_BLANKS = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
"""Not printable to Python, and nothing but blanks."""

CHECKS = {"html": check_html, "markdown": check_markdown, "csv": check_csv, "json": check_json, "text": check_text}


def check_workflow(text: str) -> None:
    problem = Problem(Source(text, 3, 7), text, text, hint=text)
    (command,) = judges.of_workflow(render_github([problem]))
    properties = dict(command.properties)
    assert (command.name, properties["line"], properties["col"]) == ("error", "3", "7")
    assert judges.recovered(properties["file"]) == judges.recovered(properties["title"]) == text
    # a problem has no address in it
    told = withhold_people(text)
    assert judges.recovered(command.data) == f"{told} (hint: {told})"
    assert json.loads(json_line(ProblemList([problem]).json()))["problems"][0]["message"] == told


def check_log(text: str) -> None:
    """Progress and warnings on stderr, for people and for programs."""
    for kind in ("text", "json"):
        sink = io.StringIO()
        console = Console.open(Verbosity(level="debug", as_json=kind == "json", color="never"))
        with redirect_stderr(sink):
            console.note(text)
            console(Waiting(LocationId(text), 5_000, text))
        lines = sink.getvalue().split("\n")
        assert len(lines) == 3
        assert not judges.commands(sink.getvalue())
        if kind == "json":
            assert json.loads(lines[0]) == {"note": text}
            assert json.loads(lines[1])["why"] == text
        else:
            assert judges.recovered(lines[0]) == text
            assert judges.recovered(lines[1]).count(text)


@pytest.mark.one_in(12)
@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_text_of_ours_changes_a_document(name: str, kind: str) -> None:
    for text in HOSTILE:
        CHECKS[kind](name, text)


def test_no_text_of_ours_changes_a_log_or_a_workflow() -> None:
    for text in HOSTILE:
        check_workflow(text)
        check_log(text)


@pytest.mark.slow
def test_a_plan_file_takes_any_text_and_gives_it_back() -> None:
    for text in HOSTILE:
        location = plan_location(declare(a_set("s", "anna", "x")), LocationState(HERE), plan_options())
        plan = combine_plans([replace(location, location=LocationId(text))], as_of=NOW, manifests=text)
        assert "##" not in plan_text(plan)
        assert parse_plan(plan_text(plan).encode()) == plan


APART = how_many(24, 4)
"""Each kind of each document takes one of so many texts: together they take each one about twice."""


@pytest.fixture(scope="module")
def foreign(corpora: Path) -> list[str]:
    groups = json.loads((corpora / "hostile-tags.json").read_text(encoding="utf-8"))
    return list(dict.fromkeys(text for group in groups.values() for text in group))


@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_text_of_others_changes_a_document(name: str, kind: str, foreign: list[str]) -> None:
    # each has another part of them, and neighbours in the list are much alike
    part = list(DOCUMENTS).index(name) * len(CHECKS) + list(CHECKS).index(kind)
    for text in foreign[part % APART :: APART]:
        CHECKS[kind](name, text)


def test_no_text_of_others_changes_a_log_or_a_workflow(foreign: list[str]) -> None:
    for text in foreign:
        check_workflow(text)
        check_log(text)
