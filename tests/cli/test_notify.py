"""The webhook at the end of `apply`, `revert` and `drift`, as a user has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.sandbox.app import DEMO_TOKEN
from tests.cli.conftest import LOCATION, Command, contact_id
from tests.webhook import open_webhook

Manifest = Callable[..., None]


@pytest.fixture
def vip(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(vip=(range(2, 5), ["geheimtag"], []))
    monkeypatch.setenv("RECONCILER_NOTIFY_SECRET", "a secret of the team")


def test_apply_revert_and_drift_tell_their_end(vip: None, reconciler: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_webhook() as webhook:
        monkeypatch.setenv("RECONCILER_NOTIFY_URL", webhook.url)
        assert reconciler("apply", "--dry-run").code == 0
        assert reconciler("apply", "--auto-approve").code == 0
        assert reconciler("drift").code == 0
        assert reconciler("revert", "last", "--auto-approve").code == 0
    told = [json.loads(body) for body in webhook.bodies]
    assert [each["command"] for each in told] == ["apply", "drift", "revert"]
    assert [each["verdict"] for each in told] == ["done"] * 3
    assert told[0]["locations"][0]["counts"] == {"applied": 3, "requests": 1}
    for body in webhook.bodies:
        assert LOCATION.encode() in body
        assert not any(word.encode() in body for word in ("geheimtag", DEMO_TOKEN, contact_id(2), "contact0"))


def test_a_refusal_and_a_mistake_are_told(
    vip: None, reconciler: Command, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    with open_webhook() as webhook:
        monkeypatch.setenv("RECONCILER_NOTIFY_URL", webhook.url)
        monkeypatch.setenv("RECONCILER_NOTIFY_WHEN", "failed")
        monkeypatch.setenv("RECONCILER_NOTIFY_SHAPE", "slack")
        assert reconciler("apply", "--auto-approve", "--guards-max-adds", "1").code == 5
        assert reconciler("drift").code == 0
        (project / "manifests" / "reconciler.yaml").write_text("no_such_setting: 1\n")
        assert reconciler("drift").code == 1
    assert [json.loads(body)["text"] for body in webhook.bodies] == [
        f"reconciler apply: guard (exit code 5), 1 location\n• `{LOCATION}`: its end is not known",
        "reconciler drift: error (exit code 1), 0 locations",
    ]


@pytest.mark.slow
def test_a_webhook_that_refuses_is_a_line_and_no_exit_code(
    vip: None, reconciler: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_webhook(302) as webhook:
        monkeypatch.setenv("RECONCILER_NOTIFY_URL", webhook.url)
        ended = reconciler("apply", "--auto-approve")
    assert ended.code == 0
    assert "warning: the webhook of RECONCILER_NOTIFY_URL was not notified: it answers with 302" in ended.err
    assert "geheim?" not in ended.err


def test_no_file_says_where_a_notice_goes(vip: None, reconciler: Command, project: Path) -> None:
    with open_webhook() as webhook:
        (project / "manifests" / "reconciler.yaml").write_text(f"notify: {{url: '{webhook.url}'}}\n")
        assert reconciler("drift").code == 1
        (project / "manifests" / "reconciler.yaml").write_text("notify: {shape: teams, when: changed}\n")
        assert reconciler("drift").code == 0
    assert webhook.bodies == []
