"""Settings: what wins over what, where each value comes from, what is refused, and that no secret is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.core.model.contact_state import LATEST_MS
from reconciler.core.model.errors import InvalidInput
from reconciler.core.model.lease import HEARTBEAT_MS, LONGEST_REQUEST_S, TTL_MS
from reconciler.core.model.names import LocationId, parse_instant
from reconciler.core.model.safe_text import redacted
from reconciler.core.model.settings import ApiSettings, Guard, GuardLimits, OriginKind, Settings
from reconciler.loading import FileTree, load, load_settings
from reconciler.loading.settings import flag_name, setting_keys, variable_name
from reconciler.output.findings import shown

LOCATION = LocationId("asdrwHvLUxlfw5SqKVCN")
MANIFEST = b"location: asdrwHvLUxlfw5SqKVCN\ncontact_sets: {}\n"


def settings(
    text: str = "", environment: dict[str, str] | None = None, flags: dict[str, str] | None = None
) -> Settings:
    files = {"a.yaml": MANIFEST} | ({"reconciler.yaml": text.encode()} if text else {})
    return load(FileTree(files), environment=environment or {}, flags=flags or {}).settings


def problems(
    text: str = "", environment: dict[str, str] | None = None, flags: dict[str, str] | None = None
) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        settings(text, environment, flags)
    return [str(problem) for problem in caught.value.problems]


def test_the_defaults_are_those_of_the_contract() -> None:
    found = settings()
    assert found.state == "sqlite:///.reconciler/state.db"
    assert found.api == ApiSettings()
    assert (found.api.max_contacts, found.api.max_tags, found.api.settle_s) == (500, 50, 90)
    assert found.guards == GuardLimits()
    assert (found.timezone, found.history_keep, found.lineage) == ("UTC", 10, None)
    assert all(found.origin(key).kind is OriginKind.DEFAULT for key in setting_keys())
    assert found.location(LOCATION).token_env == "HIGHLEVEL_TOKEN"


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default() -> None:
    text, environment, flags = "api: {max_tags: 3}\n", {"RECONCILER_API_MAX_TAGS": "4"}, {"api.max_tags": "5"}
    found = [settings(), settings(text), settings(text, environment), settings(text, environment, flags)]
    assert [each.api.max_tags for each in found] == [50, 3, 4, 5]
    assert [str(each.origin("api.max_tags")) for each in found] == [
        "default",
        "file reconciler.yaml:1:17",
        "environment RECONCILER_API_MAX_TAGS",
        "flag --api-max-tags",
    ]


def test_an_override_needs_no_file_and_no_section() -> None:
    assert settings("", {"RECONCILER_PLAN_REASSERT": "never"}).plan.reassert == "never"
    assert settings("timezone: UTC\n", {"RECONCILER_GUARDS_EMPTIES_TAG": "false"}).guards.empties_tag is False


def test_every_simple_key_has_a_variable_and_a_flag_of_its_own() -> None:
    assert (
        len(set(map(variable_name, setting_keys()))) == len(set(map(flag_name, setting_keys()))) == len(setting_keys())
    )
    assert variable_name("api.base_url") == "RECONCILER_API_BASE_URL"
    assert {"state", "timezone", "api.timeout_s", "plan.reassert", "guards.shrink_pct", "history_keep"} <= set(
        setting_keys()
    )


def test_a_wrong_override_is_told_by_its_name() -> None:
    assert problems("", {"RECONCILER_API_MAX_TAGS": "many"}) == [
        "RECONCILER_API_MAX_TAGS: expected a whole number of at most 9 digits, found 'many'"
    ]
    assert problems("", {}, {"api.base_url": "http://example.com"}) == [
        "--api-base-url: plain http goes to loopback only, not to example.com: use https"
    ]


def test_no_request_may_be_waited_for_longer_than_its_lease_is_sure_to_last() -> None:
    """A request leaves up to a heartbeat after the last renewal, and up to `LATEST_MS` after it had its turn."""
    assert LONGEST_REQUEST_S * 1000 < TTL_MS - HEARTBEAT_MS - LATEST_MS
    assert settings("", {"RECONCILER_API_TIMEOUT_S": f"{LONGEST_REQUEST_S}"}).api.timeout_s == LONGEST_REQUEST_S
    assert problems("", {"RECONCILER_API_TIMEOUT_S": "61"}) == [
        "RECONCILER_API_TIMEOUT_S: expected at most 60, found 61"
    ]


def test_a_variable_of_ours_that_is_no_setting_is_a_warning_with_the_nearest_name() -> None:
    """Those that the actions and the examples for CI set are meant."""
    names = ("RECONCILER_API_BASEURL", "RECONCILER_TIMZONE", "RECONCILER_X", "RECONCILER_HOME", "OTHER_STATE")
    meant = ("RECONCILER_STATE_READONLY",)
    loaded = load(FileTree({"a.yaml": MANIFEST}), environment=dict.fromkeys((*names, *meant), "x"))
    assert [str(problem) for problem in loaded.problems] == [
        "RECONCILER_API_BASEURL: warning: no such setting\n  hint: did you mean 'RECONCILER_API_BASE_URL'?",
        "RECONCILER_TIMZONE: warning: no such setting\n  hint: did you mean 'RECONCILER_TIMEZONE'?",
        "RECONCILER_X: warning: no such setting",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://services.leadconnectorhq.com",
        "https://example.com:8443/base",
        "http://127.0.0.1:8080",
        "http://localhost",
        "http://[::1]:9",
        "http://127.9.9.9",
    ],
)
def test_base_urls_that_may_carry_a_token(url: str) -> None:
    assert settings(f"api: {{base_url: '{url}/'}}\n").api.base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "https://user:pass@example.com",
        "https://example.com?x=1",
        "https://example.com#x",
        "ftp://localhost",
        "https://",
        "https://example.com:99999",
        "https://exa mple.com",
        "http://[::2]",
        "http://0x7f.1",
        "HTTPS://example.com/\\\\x",
        "",
    ],
)
def test_base_urls_that_may_not(url: str) -> None:
    assert problems("", {}, {"api.base_url": url})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://crm.example.com/v2/location/{location_id}/contacts/detail/{contact_id}",
        "https://crm.example.com:8443/?id={contact_id}&at={location_id}#top",
    ],
)
def test_addresses_that_reports_may_link_contacts_to(url: str) -> None:
    assert settings(f"contact_url: '{url}'\n").contact_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/{contact_id}",
        "javascript:alert(1)//{contact_id}",
        "https://crm.example.com/",
        "https://crm.example.com/{contact}",
        "https://crm.example.com/{contact_id}/{0}",
        "https://crm.example.com/{contact_id",
        "https://{contact_id}.example.com/",
        "https://user@crm.example.com/{contact_id}",
        "https://crm.example.com/{contact_id}) [x](y",
        'https://crm.example.com/{contact_id}">',
        "https://crm.example.com\\@x/{contact_id}",
        "https://crm.example.com/{contact_id}##x",
        f"https://crm.example.com/{'x' * 500}/{{contact_id}}",
    ],
)
def test_addresses_that_reports_may_not_link_contacts_to(url: str) -> None:
    (told,) = problems("", {}, {"contact_url": url})
    assert told.startswith("--contact-url: expected an https URL such as")


def test_hostile_urls_never_reach_another_host_by_http(corpora: Path) -> None:
    for entry in json.loads((corpora / "urls.json").read_text()):
        url = entry["input"] if isinstance(entry, dict) else entry
        try:
            found = settings("", {}, {"api.base_url": str(url)}).api.base_url
        except InvalidInput:
            continue
        assert found.startswith(("https://", "http://localhost", "http://127.", "http://[::1]"))


def test_the_rest_of_the_file() -> None:
    found = settings(
        "timezone: Europe/Berlin\n"
        "tags: {VIP: {protected: true}}\n"
        "locations: {asdrwHvLUxlfw5SqKVCN: {name: Acme, token_env: ACME_TOKEN, token_command: op read x}}\n"
        "guards: {max_removes_pct: 12.5, max_adds: 7}\n"
        "allow: [{guard: empties_tag, tag: Trial, reason: it ended, until: 2026-12-31}]\n"
        "expected_drift: [{tag: wf-*, classes: [unexpected], reason: the workflow owns them}]\n"
    )
    assert found.rules.keys() == {"vip"}
    place = found.location(LOCATION)
    assert (place.name, place.token_env, place.token_command) == ("Acme", "ACME_TOKEN", "op read x")
    assert (found.guards.max_removes_pct, found.guards.max_adds) == (12.5, 7)
    allowed = found.allow[0]
    assert (allowed.guard, allowed.tag, allowed.reason) == (Guard.EMPTIES_TAG, "trial", "it ended")
    assert allowed.until == parse_instant("2026-12-30T23:00:00Z")
    assert str(allowed.source) == "reconciler.yaml:5:9"
    assert (found.expected_drift[0].tag, found.expected_drift[0].classes) == ("wf-*", {"unexpected"})


def test_a_variable_that_no_text_can_hold_is_refused_in_words() -> None:
    """A byte that is no UTF-8 reaches a program as half a character."""
    (told,) = problems("", {"RECONCILER_HISTORY_KEEP": "1\udc80"})
    assert told.startswith("RECONCILER_HISTORY_KEEP: expected a whole number of at most 9 digits, found '1\\udc80'")


def test_what_is_shown_has_no_secret() -> None:
    found = settings("", {}, {"state": "postgresql://crm:s3cr@t/x@db.example/crm?sslpassword=hush&sslmode=require"})
    lines = {each.key: each.value for each in shown(found)}
    assert set(lines) >= set(setting_keys())
    assert "s3cr" not in lines["state"]
    assert "hush" not in lines["state"]
    assert "sslmode=require" in lines["state"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://crm:s3cr@t/x@db.example/crm?a=b", "postgresql://crm:***@db.example/crm?a=b"),
        ("postgresql://crm:pa/ss#1@db.example/crm", "postgresql://crm:***@db.example/crm"),
        ("postgresql://ghp_token@db.example/crm", "postgresql://***@db.example/crm"),
        ("postgresql://:hush@db.example/crm", "postgresql://***@db.example/crm"),
        ("postgresql://a:b\nc@db.example/crm", "postgresql://a:***@db.example/crm"),
        ("postgresql://crm:pa?ss@db.example/crm", "postgresql://crm:***@db.example/crm"),
        ("s3://bucket/{location}", "s3://bucket/{location}"),
        ("s3://bucket/team@acme", "s3://bucket/team@acme"),
        ("sqlite:///.reconciler/state.db", "sqlite:///.reconciler/state.db"),
        ("sqlite:////home/a@b/state.db", "sqlite:////home/a@b/state.db"),
    ],
)
def test_a_state_url_is_shown_without_user_and_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_a_token_written_where_its_name_belongs_is_not_repeated() -> None:
    told = problems("locations: {asdrwHvLUxlfw5SqKVCN: {token_env: pit-12345678-secret}}\n")
    assert "pit-" not in "".join(told)


def test_settings_alone(tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").write_text("state: sqlite:///x.db\n")
    (tmp_path / "broken.yaml").write_text("location: [")
    assert load_settings(tmp_path).state == "sqlite:///x.db"
    with pytest.raises(InvalidInput, match="no such directory"):
        load_settings(tmp_path / "missing")
