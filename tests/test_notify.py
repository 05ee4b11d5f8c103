"""Notices to a webhook: what they hold, that they are signed, and that a bad webhook neither holds up nor fails."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model.journal import LocationReport, RunStatus
from reconciler.core.model.names import ContactId, LocationId, Tag
from reconciler.core.model.notice import LocationNotice, Notice, NoticeShape, NoticeWhen, NotifySettings
from reconciler.core.model.outcome import Outcome
from reconciler.core.model.settings import DriftClass
from reconciler.core.observing.drift import Drifted, DriftReport
from reconciler.operations.notify import PAUSES_MS, TRIES, send_notice, sign
from reconciler.operations.workspace import Workspace
from reconciler.output.notice import MOST_LINES, MOST_LISTED, SentNotice, make_drift_notice, make_run_notice
from tests.build import HERE
from tests.fakes import START, FakeClock
from tests.webhook import SILENT, Webhook, open_webhook

SECRET = "a secret of the team"
NOTICE = Notice("apply", (LocationNotice(HERE, 3, "4f1c", {"applied": 7, "requests": 2}),), changed=True)
SENT = SentNotice(NOTICE, 3, "0123", START)


def send(url: str, *, secret: str = SECRET, timeout_s: float = 20.0) -> tuple[str, int]:
    """Why it did not arrive, and how long that took by the clock."""
    clock = FakeClock()
    environment = {"RECONCILER_NOTIFY_URL": url, "RECONCILER_NOTIFY_SECRET": secret}
    workspace = Workspace(environment=environment, clock=clock)
    reason = asyncio.run(send_notice(SENT, NotifySettings(), workspace, timeout_s=timeout_s))
    return reason, clock.now() - START


def check_signature(webhook: Webhook) -> None:
    """As a receiver does it."""
    for headers, body in zip(webhook.headers, webhook.bodies, strict=True):
        signed = f"{headers['reconciler-timestamp']}.".encode() + body
        expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert headers["reconciler-signature"] == f"v1={expected}"


def test_a_notice_arrives_once_and_signed() -> None:
    with open_webhook(204) as webhook:
        assert send(webhook.url) == ("", 0)
    assert webhook.paths == ["/hook/geheim?sig=a%2Fb"]
    assert json.loads(webhook.bodies[0])["verdict"] == "partial"
    assert webhook.headers[0]["content-type"] == "application/json"
    assert webhook.headers[0]["reconciler-timestamp"] == str(START // 1000)
    assert "authorization" not in webhook.headers[0]
    check_signature(webhook)


def test_the_check_of_the_docs_knows_it_and_nothing_else() -> None:
    page = (Path(__file__).parents[1] / "docs/how-to/seen-from-outside.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    is_ours, headers = names["is_ours"], sign(b"{}", SECRET, START)
    given = (headers["Reconciler-Timestamp"], headers["Reconciler-Signature"])
    assert is_ours(*given, b"{}", SECRET, START / 1000 + 60)
    assert not is_ours(*given, b"[]", SECRET, START / 1000)
    assert not is_ours(*given, b"{}", "another", START / 1000)
    assert not is_ours(*given, b"{}", SECRET, START / 1000 + 600)


def test_without_a_secret_it_is_not_signed() -> None:
    with open_webhook() as webhook:
        send(webhook.url, secret="")
    assert "reconciler-signature" not in webhook.headers[0]


def test_what_fails_thrice_is_tried_again_with_pauses_and_signed_anew() -> None:
    with open_webhook(500, 503, 429, 200) as webhook:
        assert send(webhook.url) == ("", sum(PAUSES_MS))
    assert len(webhook.bodies) == 4
    assert len(set(webhook.bodies)) == 1, "the same id in each try"
    assert len({headers["reconciler-timestamp"] for headers in webhook.headers}) == 4
    check_signature(webhook)


def test_the_tries_are_bounded() -> None:
    with open_webhook(500) as webhook:
        assert send(webhook.url) == (f"it answers with 500 ({TRIES} tries)", sum(PAUSES_MS))
    assert len(webhook.bodies) == TRIES


def test_one_that_does_not_answer_is_given_up() -> None:
    with open_webhook(SILENT) as webhook:
        reason, _ = send(webhook.url, timeout_s=0.04)
    # a busy machine may take the time for the connection alone
    assert reason.endswith(f"within the time-out ({TRIES} tries)")


def test_one_that_is_down_is_given_up() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        reason, waited = send(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert reason == f"nothing listens there: the connection was refused ({TRIES} tries)"
    assert waited == sum(PAUSES_MS)


@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_is_not_followed(status: int) -> None:
    with open_webhook(status, 200) as webhook:
        assert send(webhook.url) == (f"it answers with {status}, a redirect, which is not followed", 0)
    assert len(webhook.bodies) == 1


def test_a_refusal_is_not_tried_again() -> None:
    with open_webhook(404) as webhook:
        assert send(webhook.url) == ("it answers with 404", 0)


@pytest.mark.parametrize(
    "url", ["http://example.com/hook", "ftp://127.0.0.1/", "https://", "no address", "https://[::"]
)
def test_an_odd_address_is_asked_nothing_and_not_repeated(url: str) -> None:
    reason, waited = send(url)
    assert "RECONCILER_NOTIFY_URL" in reason
    assert url not in reason
    assert waited == 0


def test_a_run_is_told_in_counts() -> None:
    pairs = {Outcome.APPLIED: 5, Outcome.REJECTED: 1, Outcome.NOOP: 0}
    report = LocationReport(HERE, "4f1c", RunStatus.COMPLETE, requests=3, pairs=pairs, notes=("vip is odd",))
    notice = make_run_notice("apply", [report])
    assert json.loads(SentNotice(notice, 3, "0123", START).spell(NoticeShape.JSON)) == {
        "format_version": "1.0",
        "id": "0123",
        "at": "2026-11-18T11:06:40.000Z",
        "command": "apply",
        "verdict": "partial",
        "exit_code": 3,
        "changed": True,
        "location_count": 1,
        "locations": [
            {
                "location": HERE,
                "run": "4f1c",
                "exit_code": 3,
                "counts": {"applied": 5, "rejected": 1, "requests": 3},
            }
        ],
    }


def test_drift_is_told_in_counts_and_names_no_tag_or_contact() -> None:
    drifted = Drifted(DriftClass.MISSING, Tag("vip"), "others removed it", (ContactId("c" * 20),))
    report = DriftReport(HERE, 1, (drifted,), 1, None, None, refreshed=False)
    notice = make_drift_notice([report], (), [DriftClass.MISSING])
    assert notice == Notice("drift", (LocationNotice(HERE, 2, counts={"missing": 1}),), changed=True)
    for shape in NoticeShape:
        body = SentNotice(notice, 2, "0123", START).spell(shape)
        assert b"missing" in body
        assert b"vip" not in body
        assert b"c" * 20 not in body


def test_slack_and_teams_get_messages_of_their_own() -> None:
    locations = (*NOTICE.locations, LocationNotice(LocationId("a_b_c")))
    sent = SentNotice(Notice("apply", locations), 143, "0123", START)
    assert json.loads(sent.spell(NoticeShape.SLACK)) == {
        "text": "reconciler apply: interrupted (exit code 143), 2 locations\n"
        f"• `{HERE}`: partial, 7 applied, 2 requests, run 4f1c\n"
        "• `a_b_c`: its end is not known"
    }
    (attachment,) = json.loads(sent.spell(NoticeShape.TEAMS))["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    text, facts = attachment["content"]["body"]
    assert text["text"].startswith("reconciler apply: interrupted")
    assert [fact["title"] for fact in facts["facts"]] == [HERE, r"a\_b\_c"]


@pytest.mark.parametrize("shape", NoticeShape)
def test_ten_thousand_locations_make_no_large_body(shape: NoticeShape) -> None:
    """Those that failed come first."""
    ends = [LocationNotice(LocationId(f"loc{number:05}"), 5 if number == 9_999 else 0) for number in range(10_000)]
    body = SentNotice(Notice("apply", tuple(ends)), 5, "0123", START).spell(shape).decode()
    assert len(body) < 20_000
    assert body.index("loc09999") < body.index("loc00000")
    assert "10000" in body or "10,000" in body
    assert body.count("loc0") == (MOST_LISTED if shape is NoticeShape.JSON else MOST_LINES)


@pytest.mark.parametrize(
    ("when", "wanted"),
    [(NoticeWhen.FAILED, "FF"), (NoticeWhen.CHANGED, "FFC"), (NoticeWhen.ALWAYS, "FFC-")],
)
def test_when_a_notice_is_wanted(when: NoticeWhen, wanted: str) -> None:
    changed = Notice("apply", changed=True)
    ends = {"F": [(Notice("apply"), 5), (changed, 3)], "C": [(changed, 0)], "-": [(Notice("apply"), 0)]}
    sent = [mark for mark, cases in ends.items() for notice, code in cases if notice.is_wanted(when, code)]
    assert "".join(sent) == wanted
