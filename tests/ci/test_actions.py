"""The actions' steps as a runner starts them, against the sandbox and a fake of GitHub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from reconciler_action import apply, drift, plan
from reconciler_action.github import marker

from reconciler.sandbox import Running
from reconciler.sandbox.app import DEMO_TOKEN
from reconciler.sandbox.world import World
from tests.ci.conftest import NUMBER, Step
from tests.ci.github import FakeGitHub, served
from tests.ci.test_pins import ROOT
from tests.cli.conftest import ELSEWHERE, LOCATION, Command, contact_id

pytestmark = pytest.mark.slow

Make = Callable[..., Step]
Write = Callable[..., None]
HOSTILE = "<!-- reconciler:plan:x --> ``` ::error::boo @everyone | [x](y)"


@pytest.fixture
def github() -> Iterator[tuple[FakeGitHub, dict[str, str]]]:
    """The fake, and the variables by which a step finds it."""
    fake = FakeGitHub()
    with served(fake) as url:
        yield fake, {"GITHUB_API_URL": url}


def _plan(step: Make, **more: object) -> tuple[int, Step]:
    one = step(comment="true", **more)
    return plan.main(one.runner), one


def test_a_plan_on_a_pull_request(
    step: Make, manifest: Write, project: Path, github: tuple[FakeGitHub, dict[str, str]]
) -> None:
    fake, variables = github
    manifest(customers=(range(3), ["customer", json.dumps(HOSTILE)], []))
    code, one = _plan(step, variables=variables)
    assert code == 0
    saved = json.loads(Path(one.outputs["plan"]).read_text())
    assert one.outputs | {"plan": "", "reports": ""} == {
        "exit-code": "2",
        "changes": "6",
        "requests": "1",
        "digest": saved["change_digest"],
        "locations": json.dumps([{"id": LOCATION, "changes": 6, "digest": saved["change_digest"]}]),
        "plan": "",
        "reports": "",
    }
    assert [Path(each).name for each in one.outputs["reports"].splitlines()] == ["plan.json", "plan.md", "plan.html"]
    page = Path(one.outputs["reports"].splitlines()[2]).read_text()
    assert page.lower().startswith("<!doctype html>")
    assert HOSTILE not in page
    (comment,) = fake.comments[NUMBER]
    first, _, rest = comment["body"].partition("\n")
    assert first == marker("plan")
    assert "<!--" not in rest + one.summary
    assert "```" not in rest
    assert "customer" in one.summary


def test_all_locations_are_in_one_comment(
    step: Make, manifest: Write, project: Path, github: tuple[FakeGitHub, dict[str, str]]
) -> None:
    fake, variables = github
    manifest(customers=(range(3), ["customer"], []))
    text = (project / "manifests" / "acme.yaml").read_text()
    for number in range(3):
        (project / "manifests" / f"more{number}.yaml").write_text(text.replace(LOCATION, f"more{number:016}"))
    names = "locations: {more0000000000000001: {name: '@everyone'}}\n"
    (project / "manifests" / "reconciler.yaml").write_text(names)
    code, _ = _plan(step, variables=variables)
    assert code == 0
    (comment,) = fake.comments[NUMBER]
    assert "### 4 locations" in comment["body"]
    assert "| 4 | 12 |" in comment["body"].split("#### Locations")[0]
    assert "@everyone" not in comment["body"]
    # a job of a matrix has a comment of its own, which the others leave alone
    _plan(step, variables=variables, location="more0000000000000001")
    assert [each["body"].partition("\n")[0] for each in fake.comments[NUMBER]] == [
        marker("plan"),
        marker("plan", "more0000000000000001"),
    ]


def test_a_second_push_changes_the_comment_and_no_changes_make_none(
    step: Make, manifest: Write, reconciler: Command, github: tuple[FakeGitHub, dict[str, str]]
) -> None:
    fake, variables = github
    manifest(customers=(range(3), ["customer"], []))
    assert reconciler("apply", "--auto-approve").code == 0
    _plan(step, variables=variables)
    assert fake.comments == {}
    manifest(customers=(range(4), ["customer"], []))
    _plan(step, variables=variables)
    manifest(customers=(range(3), ["customer"], []))
    _plan(step, variables=variables)
    (comment,) = fake.comments[NUMBER]
    assert "No changes" in comment["body"]


def test_without_the_right_to_comment_the_summary_has_it(
    step: Make,
    manifest: Write,
    project: Path,
    capfd: pytest.CaptureFixture[str],
    github: tuple[FakeGitHub, dict[str, str]],
) -> None:
    fake, variables = github
    fake.writes = False
    manifest(customers=(range(3), ["customer"], []))
    code, one = _plan(step, variables=variables)
    assert code == 0
    assert "customer" in one.summary
    assert (
        "::warning::no comment on the pull request (POST issues/7/comments: GitHub answered 403)"
        in capfd.readouterr().out
    )


def test_no_pull_request_no_comment(step: Make, manifest: Write, project: Path) -> None:
    manifest(customers=(range(3), ["customer"], []))
    code, one = _plan(step, event={"ref": "refs/heads/main"}, variables={"GITHUB_API_URL": "http://127.0.0.1:1"})
    assert (code, one.outputs["exit-code"]) == (0, "2")


def test_broken_manifests_annotate_and_end_the_step(
    step: Make, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "manifests" / "acme.yaml").write_text(f"location: {LOCATION}\ncontact_sets: {{a: {{tags: [x]}}}}\n")
    code, one = _plan(step)
    assert (code, one.outputs["exit-code"], one.outputs["plan"]) == (1, "1", "")
    assert "::error file=manifests/acme.yaml,line=2" in capfd.readouterr().out


def test_a_guard_that_refuses_fails_the_step_and_is_told(
    step: Make, manifest: Write, reconciler: Command, github: tuple[FakeGitHub, dict[str, str]]
) -> None:
    fake, variables = github
    manifest(customers=(range(8), ["customer"], []))
    reconciler("apply", "--auto-approve")
    manifest(customers=([0], ["customer"], []))
    code, one = _plan(step, variables=variables)
    assert (code, one.outputs["exit-code"]) == (5, "5")
    assert "Guards" in fake.comments[NUMBER][0]["body"]


def test_a_plan_lists_the_locations_that_an_apply_each_has_to_send(step: Make, manifest: Write, project: Path) -> None:
    """Each with the digest that a plan of it alone has; one without changes, or that a guard refuses, is not there."""
    manifest(customers=(range(3), ["customer"], []))
    two, none, refused = (f"{name}{LOCATION[5:]}" for name in ("other", "quiet", "stern"))
    sets = {
        two: f"{{a: {{contacts: [{contact_id(3)}], tags: [x]}}}}",
        none: "{}",
        refused: f"{{a: {{contacts: [{contact_id(4)}, {contact_id(5)}], tags: [x, y]}}}}",
    }
    for location, declared in sets.items():
        (project / "manifests" / f"{location}.yaml").write_text(f"location: {location}\ncontact_sets: {declared}\n")
    (project / "manifests" / "reconciler.yaml").write_text("guards: {max_adds: 3}\n")
    code, one = _plan(step, event={})
    listed = json.loads(one.outputs["locations"])
    assert (code, [(each["id"], each["changes"]) for each in listed]) == (5, [(LOCATION, 3), (two, 1)])
    for each in listed:
        _, alone = _plan(step, event={}, location=each["id"])
        assert alone.outputs["digest"] == each["digest"]


def test_tokens_are_masked_before_anything_runs(
    step: Make, manifest: Write, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = f"locations: {{{LOCATION}: {{token_env: ACME_TOKEN}}}}\n"
    (project / "manifests" / "reconciler.yaml").write_text(settings)
    manifest(customers=(range(3), ["customer"], []))
    plan.main(step(variables={"ACME_TOKEN": "pit-acme"}).runner)
    said = capfd.readouterr().out.splitlines()
    assert said[:2] == ["::add-mask::pit-acme", f"::add-mask::{DEMO_TOKEN}"]


def _apply(step: Make, approved: str) -> tuple[int, Step]:
    one = step(approved=approved, create_state="true")
    return apply.main(one.runner), one


def test_apply_sends_what_was_approved_and_nothing_else(
    step: Make, manifest: Write, project: Path, world: World
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    _, planned = _plan(step, event={})
    digest = planned.outputs["digest"]
    manifest(customers=(range(4), ["customer"], []))
    code, one = _apply(step, digest)
    assert (code, one.outputs["exit-code"]) == (4, "4")
    assert "nothing was sent" in one.summary
    assert one.outputs["digest"] == ""
    assert "customer" not in world.tags_of(contact_id(0))
    manifest(customers=(range(3), ["customer"], []))
    code, one = _apply(step, digest)
    assert (code, one.outputs["exit-code"], one.outputs["changes"]) == (0, "0", "3")
    assert "customer" in world.tags_of(contact_id(0))
    assert "| 3 | <code>applied</code>" in one.summary
    assert one.outputs["requests"] == "1"
    assert one.outputs["digest"] == digest


def test_of_several_locations_each_is_approved_for_itself(
    step: Make, manifest: Write, project: Path, world: World
) -> None:
    def second(tag: str) -> None:
        text = f"location: {ELSEWHERE}\ncontact_sets: {{s: {{contacts: [{contact_id(9)}], tags: [{tag}]}}}}\n"
        (project / "manifests" / "second.yaml").write_text(text)

    manifest(customers=(range(3), ["customer"], []))
    second("vip")
    _, planned = _plan(step, event={})
    digests = planned.outputs["digest"].split()
    saved = json.loads(Path(planned.outputs["plan"]).read_text())
    assert digests == [each["change_digest"] for each in saved["locations"]]
    second("other")
    code, one = _apply(step, planned.outputs["digest"])
    assert (code, one.outputs["exit-code"], one.outputs["changes"]) == (4, "4", "3")
    assert "customer" in world.tags_of(contact_id(0))


def test_the_error_of_one_location_does_not_hide_that_the_changes_of_another_are_no_longer_those(
    step: Make, manifest: Write, project: Path, world: World
) -> None:
    def other(location: str, tag: str) -> None:
        text = f"location: {location}\ncontact_sets: {{s: {{contacts: [{contact_id(9)}], tags: [{tag}]}}}}\n"
        (project / "manifests" / f"{location}.yaml").write_text(text)

    third = "csdrwHvLUxlfw5SqKVCN"
    (project / "manifests" / "reconciler.yaml").write_text(f"locations: {{{third}: {{token_env: NO_TOKEN}}}}\n")
    manifest(customers=(range(3), ["customer"], []))
    other(ELSEWHERE, "vip")
    other(third, "vip")
    _, planned = _plan(step, event={})
    other(ELSEWHERE, "other")
    code, one = _apply(step, planned.outputs["digest"])
    assert (code, one.outputs["changes"], one.outputs["digest"]) == (7, "3", "")


@pytest.mark.parametrize("approved", ["", "sha256:0", "latest\nsha256:0", f"sha256:{'0' * 64}"])
def test_without_the_approved_digest_nothing_is_sent(
    approved: str, step: Make, manifest: Write, project: Path, world: World
) -> None:
    manifest(customers=(range(3), ["customer"], []))
    code, _ = _apply(step, approved)
    assert code == (4 if len(approved) > 70 else 64)
    assert "customer" not in world.tags_of(contact_id(0))


def test_drift_keeps_one_issue(
    step: Make, manifest: Write, reconciler: Command, sandbox: Running, github: tuple[FakeGitHub, dict[str, str]]
) -> None:
    fake, variables = github
    manifest(customers=(range(3), ["customer"], []))
    reconciler("apply", "--auto-approve")

    def look() -> Step:
        one = step(fail_on="missing,unexpected", refresh="get", issue="true", event={}, variables=variables)
        assert drift.main(one.runner) == 0
        return one

    assert look().outputs == {"exit-code": "0", "drifted": "false"}
    assert fake.issues == []
    sandbox.do(lambda world, now: world.remove(contact_id(0), ["customer"], now=now, by="somebody"))
    assert look().outputs == {"exit-code": "2", "drifted": "true"}
    look()
    (issue,) = fake.issues
    assert issue["body"].startswith(f"{marker('drift')}\n## Drift\n")
    assert "https://github.example/acme/crm/actions/runs/42" in issue["body"]
    reconciler("apply", "--auto-approve", "--refresh", "get")
    look()
    assert fake.issues[0]["state"] == "closed"


def test_an_issue_stays_open_while_a_tag_is_taken_off_again_and_again(
    step: Make,
    manifest: Write,
    reconciler: Command,
    sandbox: Running,
    github: tuple[FakeGitHub, dict[str, str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The action counts what is flapping where nothing else is said, and closes no issue where it is not to count."""
    fake, variables = github
    action = yaml.safe_load((ROOT / ".github" / "actions" / "drift" / "action.yml").read_text(encoding="utf-8"))
    by_default = action["inputs"]["fail-on"]["default"]
    assert by_default.split(",") == ["missing", "unexpected", "flapping"]
    manifest(customers=(range(3), ["customer"], []))
    reconciler("apply", "--auto-approve")

    def look(fail_on: str) -> str:
        one = step(fail_on=fail_on, refresh="get", issue="true", event={}, variables=variables)
        assert drift.main(one.runner) == 0
        return one.outputs["drifted"]

    for _ in range(2):
        sandbox.do(lambda world, now: world.remove(contact_id(0), ["customer"], now=now, by="somebody"))
        assert look(by_default) == "true"
        reconciler("apply", "--auto-approve", "--refresh", "get")
    assert look("missing,unexpected") == "false"
    (issue,) = fake.issues
    assert issue["state"] == "open"
    assert "::warning::tags that are declared are taken off again and again (flapping)" in capfd.readouterr().out


def test_drift_of_a_location_keeps_an_issue_of_its_own(
    step: Make, manifest: Write, reconciler: Command, project: Path, github: tuple[FakeGitHub, dict[str, str]]
) -> None:
    """A job a location: the one whose location is as declared does not close the issue of another one's job."""
    fake, variables = github
    manifest(customers=(range(3), ["customer"], []))
    other = f"other{LOCATION[5:]}"
    (project / "manifests" / "other.yaml").write_text(
        f"location: {other}\ncontact_sets: {{a: {{contacts: [{contact_id(3)}], tags: [x]}}}}\n"
    )
    (project / "manifests" / "reconciler.yaml").write_text(f"locations: {{{LOCATION}: {{name: Acme}}}}\n")
    assert reconciler("apply", "--auto-approve", "--location", "acme").code == 0

    def look(location: str, fail_on: str) -> str:
        one = step(fail_on=fail_on, issue="true", location=location, event={}, variables=variables)
        assert drift.main(one.runner) == 0
        return one.outputs["drifted"]

    assert look(other, "pending") == "true"
    assert look("Acme", "pending") == "false"
    (issue,) = fake.issues
    assert issue["state"] == "open"
    assert issue["title"] == f"{drift.TITLE}: {other}"
    assert issue["body"].startswith(marker("drift", other))
    assert look(f"Acme\n{other}", "pending") == "true"
    assert [each["body"].splitlines()[0] for each in fake.issues] == [
        marker("drift", other),
        marker("drift", f"Acme,{other}"),
    ]


def test_a_report_that_observed_nothing_closes_no_issue(
    step: Make,
    manifest: Write,
    project: Path,
    reconciler: Command,
    sandbox: Running,
    github: tuple[FakeGitHub, dict[str, str]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The state was lost between two nights: nothing is known of anybody, so nothing shows that the drift is mended.

    Where contacts are read all the same, what others took off looks as if it had never been given.
    """
    fake, variables = github
    manifest(customers=(range(3), ["customer"], []))
    reconciler("apply", "--auto-approve")
    sandbox.do(lambda world, now: world.remove(contact_id(0), ["customer"], now=now, by="somebody"))

    def look(**given: str) -> Step:
        one = step(fail_on="missing,unexpected", issue="true", event={}, variables=variables, **given)
        assert drift.main(one.runner) == 0
        return one

    look(refresh="get")
    shutil.rmtree(project / ".reconciler")
    assert look().outputs["drifted"] == "false"
    (issue,) = fake.issues
    assert issue.get("state", "open") == "open"
    assert "::warning::nothing was ever observed" in capfd.readouterr().out
    assert look(refresh="get").outputs["drifted"] == "false"
    (issue,) = fake.issues
    assert issue.get("state", "open") == "open"
    assert "::warning::no apply of a location is known" in capfd.readouterr().out


@pytest.mark.parametrize("action", [plan, drift, apply])
def test_a_state_that_is_gone_fails_the_step_unless_the_workflow_says_that_it_is_the_first_run(
    action: ModuleType, step: Make, manifest: Write, project: Path
) -> None:
    """No plan for a reviewer, no "No drift", no closed issue of what nobody knows."""
    manifest(customers=(range(3), ["customer"], []))
    inputs = {"approved": f"sha256:{'0' * 64}", "comment": "false", "issue": "false", "fail_on": "missing"}
    refused = step(variables={"CI": "true"}, **inputs)
    assert (action.main(refused.runner), refused.outputs["exit-code"]) == (64, "64")
    first = step(variables={"CI": "true"}, create_state="true", **inputs)
    # apply goes on, and finds that this is not what was approved
    assert action.main(first.runner) == (4 if action is apply else 0)
