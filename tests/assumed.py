"""The product in a location that behaves otherwise than it is believed to: two stories, by the operations, behind a
transport, with a clock that a test moves. They are judged by the location's own log.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from reconciler.core.model.errors import ReconcilerError
from reconciler.core.model.journal import LocationReport
from reconciler.core.model.names import ContactId, Instant, LocationId, Tag, normalise_tag
from reconciler.core.model.outcome import Action, Outcome
from reconciler.core.observing.refresh_rules import Method
from reconciler.core.planning.plan import LocationPlan
from reconciler.operations.apply import ApplyRequest, apply_plan
from reconciler.operations.drift import DriftRequest, find_drift
from reconciler.operations.plan import make_plan
from reconciler.operations.plan_options import PlanRequest, Reading
from reconciler.operations.pull import PullRequest, pull_people
from reconciler.operations.refresh import Refreshed, RefreshStateRequest, refresh_state
from reconciler.operations.workspace import Workspace, open_session
from reconciler.sandbox.access import Limits, SandboxAgency
from reconciler.sandbox.app import DEMO_TOKEN, SCOPES, Access, App
from reconciler.sandbox.assumptions import Assumptions
from reconciler.sandbox.world import Contact, Transition, World
from tests.build import CUSTOMER_FIELD, DAY, HERE, NOW, contact, name, person
from tests.fakes import FakeClock, InPlace
from tests.sandbox.transport import SandboxTransport

KEY = "a key of the tests, long enough"
DECLARED = ("anna", "bert", "cara", "ghost", "gone", "away", "nobody")
TAGS = ("customer", "two  spaces", "cafe\u0301", "regular", "member")
"""Two of them are kept otherwise than they are sent, where the API makes one character or one space of two."""
LIVING = ("anna", "bert", "cara")
SETTINGS = """guards:
  max_first_adds: 1000
  max_removes_pct: 100
  max_restored_pct: 100
  empties_tag: false
  max_unmatched_pct: 100
  max_rematched_pct: 100
"""
MANIFEST = f"""location: {HERE}
contact_sets:
  customers:
    contacts: [{", ".join(map(name, DECLARED))}]
    tags: [{", ".join(f'"{tag}"' for tag in TAGS)}]
    absent: [trial]
  again:
    contacts: [{name("anna")}, {name("bert")}]
    tags: [member]
"""
PEOPLE = f"""location: {HERE}
contact_sets:
  mailed: {{contacts: {{file: mailed.csv, match: {{email: mail}}}}, tags: [mailed]}}
  called: {{contacts: {{file: called.csv, match: {{phone: phone}}}}, tags: [called]}}
  numbered: {{contacts: {{file: numbered.csv, match: {{field: customer_no, column: number}}}}, tags: [numbered]}}
"""
PEOPLE_FILES = {
    "people_yaml": PEOPLE,
    "mailed_csv": "mail\nAnna@Example.com\nbert@example.com\nsecond@example.com\nnobody@example.com\n",
    "called_csv": "phone\n+12025550101\n+12025550102\n+12025550199\n",
    "numbered_csv": "number\n17\nK-2\nK-9\n",
}
FILTERS = f"""location: {HERE}
contact_sets:
  nearby: {{contacts: {{filter: {{city: {{eq: Berlin}}}}}}, tags: [mailed]}}
  dealt: {{contacts: {{filter: {{opportunities: {{status: {{not_eq: open}}}}}}}}, tags: [called]}}
"""
MATCHED_TAGS = ("mailed", "called", "numbered")
PERSON = "human"


WON, BOTH = '[{"status": "won"}]', '[{"status": "open"}, {"status": "won"}]'


def make_people() -> list[Contact]:
    """Three that live here, one that is merged into the first, one that is gone, and one of another location."""
    return [
        contact(
            "anna",
            "trial",
            person=person(
                "anna@example.com second@example.com", "+12025550101", "17", city="Berlin", opportunities=WON
            ),
        ),
        contact(
            "bert",
            ["Trial", "regular "],
            person=person("Bert@example.com", "+12025550103 +12025550102", "K-2", city="berlin", opportunities=BOTH),
        ),
        contact("cara"),
        contact("ghost", person=person("ghost@example.com")),
        contact("gone", deleted=True),
        contact("away", location=LocationId("zzzzzzzzzzzzzzzzzzzz")),
    ]


@dataclass
class Transport(httpx.AsyncBaseTransport):
    """The location behind its API; keeps what was asked and answered.

    `answer` may answer in place of the location; `after` is called with each request that was answered.
    """

    play: Play
    asked: list[tuple[httpx.Request, httpx.Response]] = field(default_factory=list)
    answer: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
    after: Callable[[httpx.Request], None] = lambda request: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        clock = self.play.clock
        inner = SandboxTransport(self.play.app, now=clock.now, sleep=clock.sleep_seconds, latency_ms=50)
        for _ in range(self.play.strangers):
            path = f"https://api.example/contacts/{name('cara')}"
            await inner.handle_async_request(httpx.Request("GET", path, headers=request.headers))
        response = self.answer(request) or await inner.handle_async_request(request)
        self.asked.append((request, response))
        self.after(request)
        return response

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Of the writes."""
        return [json.loads(request.content) for request, _ in self.asked if "/bulk/" in request.url.path]


class Play:
    """A directory, a location that behaves so, and the story's results."""

    def __init__(
        self,
        directory: Path,
        *,
        limits: Limits | None = None,
        company: str = "",
        version: str = "",
        strangers: int = 0,
        **assumed: object,
    ) -> None:
        """`strangers`: requests of another program, which share the limits, before each of ours."""
        self.strangers = strangers
        self.clock = FakeClock(NOW)
        rules = Assumptions(**assumed)  # type: ignore[arg-type]
        self.world = World(HERE, make_people(), custom_fields=[CUSTOMER_FIELD], assumptions=rules)
        self.world.merge(name("ghost"), name("anna"), now=Instant(NOW - DAY))
        agency = SandboxAgency(DEMO_TOKEN, company, SCOPES) if company else None
        self.app = App(self.world, accesses=() if agency else (Access(),), limits=limits, agency=agency)
        self.transport = Transport(self)
        self.directory = directory / "manifests"
        self.directory.mkdir()
        self.environment = {
            "HIGHLEVEL_TOKEN": DEMO_TOKEN,
            "RECONCILER_KEY": KEY,
            "RECONCILER_STATE": f"sqlite:///{directory}/state.db",
            "RECONCILER_API_BASE_URL": "https://api.example",
            **({"RECONCILER_API_COMPANY_ID": company} if company else {}),
            **({"RECONCILER_API_VERSION": version} if version else {}),
        }
        self.workspace = Workspace(
            self.directory, {}, self.environment, clock=self.clock, transport=self.transport, start_worker=InPlace
        )
        self.reports: list[LocationReport] = []
        self.errors: list[ReconcilerError] = []
        self.read: list[Refreshed] = []
        self.matched: dict[str, int] = {}
        self.drift: dict[str, int] = {}

    def declare(self, **files: str) -> None:
        for stem, text in {"reconciler_yaml": SETTINGS, **files}.items():
            (self.directory / stem.replace("_", ".")).write_text(text)

    def tell_tags(self) -> None:
        """Two applies, with what a person does and two refreshes between them, and a third."""
        self.declare(acme_yaml=MANIFEST)
        self.apply()
        self.wait()
        self.edit()
        self.wait()
        self.refresh(Method.SEARCH)
        self.refresh(Method.GET)
        self.find_drift()
        self.apply()
        self.wait()
        self.apply()

    def tell_people(self) -> None:
        """A pull, what comes of it, and a pull more."""
        self.declare(**PEOPLE_FILES)
        self.pull()
        self.apply()
        self.wait()
        self.pull()
        self.apply()

    def tell_filters(self) -> None:
        """Sets by filter, pulled and applied twice."""
        self.declare(filters_yaml=FILTERS)
        for _ in range(2):
            self.pull()
            self.apply()
            self.wait()

    def wait(self) -> None:
        self.clock.ms += 400_000

    def plan(self) -> LocationPlan:
        planned = self.clock.run(make_plan(open_session(self.workspace), PlanRequest()))
        return planned.plan.locations[0]

    def apply(self) -> None:
        """A plan, and its apply; an error of either is kept."""
        try:
            planned = self.clock.run(make_plan(open_session(self.workspace), PlanRequest()))
            began = len(self.world.transitions)
            result = self.clock.run(apply_plan(planned, ApplyRequest()))
        except ReconcilerError as error:
            self.errors.append(error)
            return
        self.reports += result.reports
        self._judge(result.reports[0], self.world.transitions[began:])

    def _judge(self, report: LocationReport, moved: list[Transition]) -> None:
        """A report tells of no more and no less than the location did."""
        pairs = report.pairs
        sure = pairs.get(Outcome.APPLIED, 0)
        unsure = sum(pairs.get(outcome, 0) for outcome in (Outcome.SEEN, Outcome.HELD, Outcome.IN_DOUBT))
        assert sure <= sum(change.by == "api" for change in moved) <= sure + unsure

    def pull(self) -> None:
        session = open_session(self.workspace, pulls=True)
        result = self.clock.run(pull_people(session, PullRequest(), lambda _: None))
        self.errors += result.errors
        self.matched = {entry.name: entry.counts.matched for pulled in result.locations for entry in pulled.sets}

    def refresh(self, method: Method) -> None:
        session = open_session(self.workspace)
        result = self.clock.run(refresh_state(session, RefreshStateRequest(reading=Reading(method))))
        self.read += result.reports
        self.errors += result.errors

    def find_drift(self) -> None:
        found = self.clock.run(find_drift(open_session(self.workspace), DriftRequest()))
        drifted = [each for report in found.reports for each in report.drifted]
        self.drift = {f"{each.drift} {each.tag}": len(each.contacts) for each in drifted if each.tag}

    def edit(self) -> None:
        """A person takes a tag from Bert, and gives Cara one that no manifest names."""
        self.world.remove(name("bert"), ["customer"], now=self.clock.now(), by=PERSON)
        self.world.add(name("cara"), ["foreign"], now=self.clock.now(), by=PERSON)

    @property
    def exchanges(self) -> int:
        """How often an agency's token was exchanged."""
        return sum("/oauth/" in request.url.path for request, _ in self.transport.asked)

    @property
    def told(self) -> str:
        """All that the product said to people."""
        errors = [f"{error.message} {error.hint}" for error in self.errors]
        reports = [f"{report.error} {report.hint} {report.notes} {report.findings}" for report in self.reports]
        read = [f"{report.incomplete} {report.unread}" for report in self.read]
        return "\n".join((*errors, *reports, *read))

    def unsettled(self) -> set[tuple[ContactId, Tag]]:
        """The pairs of living contacts that are not as they shall be, in the spelling of the location."""
        wanted = {self.world.assumptions.spell(normalise_tag(tag)) for tag in TAGS}
        open_pairs = set()
        for holder in map(name, LIVING):
            carried = self.world.tags_of(holder)
            normal = {normalise_tag(tag) for tag in carried}
            open_pairs |= {(holder, tag) for tag in wanted if tag not in carried and normalise_tag(tag) not in normal}
            open_pairs |= {(holder, tag) for tag in carried if normalise_tag(tag) == "trial"}
        return open_pairs


def check_promises(play: Play) -> None:
    """The laws that hold however the API behaves."""
    log = [change for change in play.world.transitions if change.by == "api"]
    taken = Counter((change.contact, change.tag) for change in play.world.transitions if change.by == PERSON)
    added = Counter((change.contact, change.tag) for change in log if change.action is Action.ADD)
    # no pair is added twice, but for one that a person took away
    assert all(number <= 1 + taken[pair] for pair, number in added.items())
    # nobody is touched who is not declared, and by no tag that is not
    assert {change.contact for change in log} <= set(map(name, LIVING))
    named = {normalise_tag(play.world.assumptions.spell(tag)) for tag in (*TAGS, *MATCHED_TAGS, "trial")}
    assert {normalise_tag(change.tag) for change in log} <= named
    for body in play.transport.bodies:
        assert body.keys() == {"contacts", "tags", "locationId"}
        assert body["contacts"]
        assert len(set(body["contacts"])) == len(body["contacts"])
        assert body["tags"]
        assert all(tag.strip() for tag in body["tags"])


def check_open(play: Play) -> None:
    """What is not as it shall be is planned, held or told: it is never passed over."""
    plan = play.plan()
    planned = {contact for delta in plan.deltas for contact in delta.contacts}
    planned |= {contact for held in (*plan.held, *plan.deferrals) for contact in held.contacts}
    assert {contact for contact, _ in play.unsettled()} <= planned
