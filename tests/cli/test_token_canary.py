"""Invariants 11 and 17: whatever fails, no token and no address of a person is told or kept: every command, at DEBUG.

The API repeats in each failure all that the request had: its headers with the token, its query and its body, in which
the addresses of people are. The commands are those that click has: a new one is named here, or the test fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click
import pytest

from reconciler.core.model.names import Instant
from reconciler.ports import Clock
from reconciler.sandbox import Running, in_background
from reconciler.sandbox.app import Access, App
from reconciler.sandbox.messages import Delivery, Loss, Request, Response, error_response
from reconciler.sandbox.people import LocationField, Person
from reconciler.sandbox.world import Contact, World
from tests.cli.conftest import LOCATION, Command, Ended, QuickClock, contact_id
from tests.docs.cli_reference import commands
from tests.privacy import Scanner
from tests.sandbox.faults import Network

TOKEN = "pit-00000000-qzvxkwjq-0000-canary"
MARK, PHONE = "xqvzjwkfpb", "+442079460"
SCANNER = Scanner([TOKEN, "qzvxkwjq", MARK, PHONE[1:]])
FIELD = LocationField("field0000000000000001", "Customer number", "contact.customer_no")
PEOPLE = 6

Failure = Callable[[Response, str], Delivery]
"""From the true answer and what the request had."""


def refuse(status: int) -> Failure:
    def answer(true: Response, said: str) -> Delivery:
        return Delivery(error_response(status, [said, "x"] if status == 422 else said))

    return answer


def show_page(true: Response, said: str) -> Delivery:
    return Delivery(Response(502, f"<html><title>{said}</title>{said}</html>".encode(), kind="text/html"))


def redirect(true: Response, said: str) -> Delivery:
    there = (("Location", f"https://elsewhere.example/?{json.dumps(said)[1:-1].replace(' ', '+')}"),)
    return Delivery(replace(error_response(307, said), headers=there))


def repeat(true: Response, said: str) -> Delivery:
    """The true answer, in which every text that is read aloud says it too."""
    document = json.loads(true.body)
    rows = [row | {"message": f"{row['message']} {said}"} for row in document.get("responses", [])]
    return Delivery(replace(true, body=json.dumps(document | ({"responses": rows} if rows else {"x": said})).encode()))


def limit(true: Response, said: str) -> Delivery:
    told = json.dumps(said)[1:-1]
    # a header that ends with a blank is none, and no server sends it
    headers = (("Retry-After", "0"), ("X-RateLimit-Remaining", told[:200].strip()), ("X-Trace", told[-200:].strip()))
    return Delivery(replace(error_response(429, said), headers=headers))


FAILURES: Mapping[str, Failure] = {
    **{f"refused with {status}": refuse(status) for status in (400, 401, 403, 404, 422, 500)},
    "too many": limit,
    "a web page": show_page,
    "a redirect": redirect,
    "the truth, and all that was asked": repeat,
    "no JSON": lambda true, said: Delivery(replace(true, body=said.encode())),
    "cut off": lambda true, said: Delivery(replace(true, body=true.body + said.encode()), Loss.TRUNCATED),
    "reset": lambda true, said: Delivery(None, Loss.RESET),
}
PASSING = ("refused with 500", "too many", "a web page", "no JSON", "cut off", "reset")
"""What is tried again, after a wait: two requests of a command fail so, and the third goes through."""


class Echo(Network):
    """The API, which fails as a test says: so many requests (`left`), after so many that do not (`spared`)."""

    failure: Failure | None = None
    left = spared = 0
    said = ""
    """What the failures had to repeat."""

    def handle(self, request: Request, now: Instant) -> Delivery:
        if self.failure is None or not self.left:
            return super().handle(request, now)
        if self.spared:
            self.spared -= 1
            return super().handle(request, now)
        self.left -= 1
        said = f"{request.method} {request.path} {dict(request.headers)} {request.body.decode()}"
        self.said += said
        return self.failure(self.app.handle(request, now), said)


@dataclass(frozen=True)
class Line:
    """A command line. `asks`: whether it asks the API, so that it meets the failures."""

    text: str
    asks: bool = False


LINES = {
    "init": Line("init new"),
    "validate": Line("validate --show-settings"),
    "schema": Line("schema manifest"),
    "diff": Line("diff manifests --format json"),
    "locations": Line("locations --format json"),
    "pull": Line("pull --all", asks=True),
    "resolve": Line(f"resolve manifests/people.csv --by email,phone --location {LOCATION} --out ids.csv", asks=True),
    "plan": Line("plan --refresh get --out plan.json --all", asks=True),
    "show": Line("show plan.json --format html"),
    "apply": Line("apply --auto-approve --refresh search", asks=True),
    "history": Line("history --format json"),
    # what the manifests still want is not undone: it asks nothing here
    "revert": Line("revert last --auto-approve"),
    "refresh": Line("refresh --method get", asks=True),
    "drift": Line("drift --refresh search --report drift.html", asks=True),
    "state": Line("state"),
    "state forget": Line(f"state forget {contact_id(1)} --location {LOCATION}"),
    "state import": Line(f"state import contacts.csv --location {LOCATION} --observed-at 2026-01-01"),
    "state list": Line("state list --format csv"),
    "state pull": Line("state pull"),
    "state push": Line("state push pushed.json"),
    "state recover": Line("state recover"),
    "state show": Line(f"state show {contact_id(0)} --format json"),
    "state unlock": Line("state unlock none"),
    "state verify": Line("state verify"),
    "doctor": Line("doctor --format json", asks=True),
    "completion": Line("completion bash"),
    "export": Line(f"export --location {LOCATION} --refresh search --out adopted", asks=True),
    "fleet": Line("fleet"),
    "fleet apply": Line("fleet apply"),
    "fleet cancel": Line("fleet cancel"),
    "fleet drift": Line("fleet drift"),
    "fleet migrate": Line("fleet migrate"),
    "fleet pull": Line("fleet pull"),
    "fleet schedule": Line("fleet schedule"),
    "fleet status": Line("fleet status"),
    "fleet wait": Line("fleet wait"),
    "fleet worker": Line("fleet worker"),
    "demo": Line("demo"),
    "sandbox": Line("sandbox"),
    "sandbox make": Line("sandbox make --data made.json"),
    "sandbox serve": Line("sandbox serve --port PORT"),
    # last: a state that was left for another is refused
    "state migrate": Line("state migrate sqlite:///moved.db"),
}


FLEET = {path for path in LINES if path.startswith("fleet")}
"""Without a queue they end at once, and say so."""
EXPECTED = FLEET | {"state", "state push", "state recover", "state unlock", "diff", "sandbox", "sandbox serve"}
"""What ends with an error in a sound project too, or prints its help as one."""


@pytest.fixture
def world() -> World:
    people = [
        Person(f"person{number}.{MARK}@example.com", phone=f"{PHONE}{number:03d}", custom_fields={FIELD.id: MARK})
        for number in range(PEOPLE)
    ]
    contacts = [Contact(contact_id(number), LOCATION, person=person) for number, person in enumerate(people)]
    return World(LOCATION, contacts, custom_fields=[FIELD])


@pytest.fixture
def echo(world: World) -> Echo:
    return Echo(App(world, accesses=[Access(TOKEN)]))


@pytest.fixture
def clock() -> Clock:
    """Some failures are waited for, minutes in all."""
    return QuickClock(30)


@pytest.fixture
def sandbox(echo: Echo, clock: Clock) -> Iterator[Running]:
    with in_background(echo, now=clock.now) as running:
        yield running


@pytest.fixture
def prepared(reconciler: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose people were pulled, and whose tags were given."""
    monkeypatch.setenv("HIGHLEVEL_TOKEN", TOKEN)
    rows = [f"person{number}.{MARK}@example.com,{PHONE}{number:03d}" for number in range(PEOPLE)]
    (project / "manifests" / "people.csv").write_text("\n".join(["email,phone", *rows]) + "\n")
    (project / "manifests" / "acme.yaml").write_text(
        f"location: {LOCATION}\n"
        "contact_sets:\n"
        "  mail: {contacts: {file: people.csv, match: {email: email, phone: phone}}, tags: [mailed]}\n"
        f"  ids: {{contacts: [{contact_id(0)}, {contact_id(1)}], tags: [listed]}}\n"
    )
    (project / "contacts.csv").write_text(f"Contact Id,Tags\n{contact_id(2)},seen\n")
    for line in ("pull", "apply --auto-approve"):
        assert reconciler(*line.split()).code == 0
    (project / "pushed.json").write_text(reconciler("state", "pull").out)
    return project


def ask(reconciler: Command, path: str, port: int = 0) -> Ended:
    """The command at DEBUG, where it has a log."""
    command = dict(commands())[path]
    has_log = any(isinstance(each, click.Option) and each.name == "log_level" for each in command.params)
    line = LINES[path].text.replace("PORT", str(port)).split()
    return reconciler(*line, *(("--log-level", "debug", "--log-format", "json") if has_log else ()))


def check(project: Path, told: Mapping[str, Ended]) -> None:
    leaks = {path: SCANNER.search(f"{ended.out}\n{ended.err}".encode()) for path, ended in told.items()}
    assert {path: found for path, found in leaks.items() if found} == {}
    # the file of people, and the emulated CRM that is made of it, have addresses by right
    rightful = [project / "manifests" / "people.csv", project / "made.json"]
    assert SCANNER.search_files(project, but=rightful) == {}
    bugs = {path: ended.err for path, ended in told.items() if "Traceback" in ended.err or "a bug of" in ended.err}
    assert bugs == {}


def test_every_command_is_named() -> None:
    assert LINES.keys() == dict(commands()).keys()


def under(failure: str, echo: Echo, reconciler: Command, paths: list[str]) -> dict[str, Ended]:
    told = {}
    for path in paths:
        fail(echo, failure)
        told[path] = ask(reconciler, path)
        assert echo.said, f"{path} asks nothing"
        echo.failure = None
    return told


def fail(echo: Echo, failure: str) -> None:
    """From now on what is asked fails so."""
    echo.failure, echo.left, echo.said = FAILURES[failure], 2 if failure in PASSING else 1_000, ""


@pytest.mark.slow
def test_a_refusal_that_repeats_all_that_was_asked_leaks_nothing(
    reconciler: Command, prepared: Path, echo: Echo
) -> None:
    check(prepared, under("refused with 401", echo, reconciler, ["pull", "refresh"]))
    # there was something to repeat, and the scanner finds it
    assert SCANNER.search(echo.said.encode())


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
def test_no_failure_makes_a_command_tell_or_keep_a_token_or_an_address(
    failure: str, reconciler: Command, prepared: Path, echo: Echo
) -> None:
    told = under(failure, echo, reconciler, [path for path, line in LINES.items() if line.asks])
    check(prepared, told)
    # the failure was met: the commands do not end as they do without it
    assert any(ended.code for ended in told.values()) or failure in PASSING or failure.startswith("the truth")


WRITES = {
    "apply": "apply --auto-approve",
    "revert": "revert last --auto-approve --allow empties_tag:tag=more --reason gone",
}


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("command", WRITES)
def test_no_failure_of_a_write_makes_it_tell_or_keep_a_token_or_an_address(
    command: str, failure: str, reconciler: Command, prepared: Path, echo: Echo
) -> None:
    """Of the lines above none writes: all is as it is wanted, and those which read fail as they do."""
    manifest = prepared / "manifests" / "acme.yaml"
    before = manifest.read_text()
    manifest.write_text(before.replace("[listed]", "[listed, more]"))
    if command == "revert":
        assert reconciler("apply", "--auto-approve").code == 0
        manifest.write_text(before)
    fail(echo, failure)
    ended = reconciler(*WRITES[command].split(), "--log-level", "debug", "--log-format", "json")
    check(prepared, {command: ended})
    assert "/contacts/bulk/" in echo.said


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
def test_no_failure_makes_a_trial_tell_or_keep_a_token_or_an_address(
    failure: str, reconciler: Command, prepared: Path, echo: Echo
) -> None:
    """`doctor --try`, whose second request fails: the first write, and what removes its tags."""
    echo.failure, echo.left, echo.spared = FAILURES[failure], 1_000, 1
    line = f"doctor manifests --location {LOCATION} --try {contact_id(0)} --yes --log-level debug --log-format json"
    ended = reconciler(*line.split())
    check(prepared, {"doctor --try": ended})
    assert bool(ended.code) is not failure.startswith("the truth")
    assert "/contacts/bulk/" in echo.said


@pytest.mark.slow
def test_no_command_tells_or_keeps_a_token_or_an_address(reconciler: Command, prepared: Path, sandbox: Running) -> None:
    told = {path: ask(reconciler, path, sandbox.port) for path in LINES}
    check(prepared, told)
    ill = {path: ended.code for path, ended in told.items() if ended.code not in (0, 2, 3)}
    # nothing is locked or to be recovered, no repository is there to compare with, the state went on, the port is taken
    assert ill.keys() <= EXPECTED, {path: told[path].err for path in ill}


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"RECONCILER_API_BASE_URL": "http://127.0.0.1:9"},
        {"RECONCILER_API_BASE_URL": "https://127.0.0.1:PORT"},
        {"RECONCILER_API_BASE_URL": "https://api.invalid", "HTTPS_PROXY": f"http://me:{TOKEN}@127.0.0.1:9"},
        {"RECONCILER_STATE": f"postgresql://me:{TOKEN}@127.0.0.1:9/x"},
        {"RECONCILER_API_BASE_URL": f"https://me:{TOKEN}@127.0.0.1:9"},
        {"HIGHLEVEL_TOKEN": f"{TOKEN}\nx"},
    ],
    ids=["nobody listens", "no TLS", "a proxy's password", "a state's password", "a URL's password", "no token"],
)
def test_no_way_to_the_api_or_the_state_tells_a_secret(
    environment: dict[str, str],
    reconciler: Command,
    prepared: Path,
    sandbox: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("PORT", str(sandbox.port)))
    told = {path: ask(reconciler, path) for path in ("pull", "plan", "refresh", "doctor", "history", "validate")}
    check(prepared, told)
    assert any(ended.code for ended in told.values())
