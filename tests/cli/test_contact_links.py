"""Contacts in a report are links to their pages in the CRM, where the settings say how these are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import LOCATION, Command, contact_id

Manifest = Callable[..., None]
URL = "https://crm.example.com/{location_id}/contacts/{contact_id}"
PAGE = f"https://crm.example.com/{LOCATION}/contacts/{contact_id(8)}"


@pytest.fixture
def linked(manifest: Manifest, project: Path) -> None:
    """Contact 8 is deleted there, so that each command has something to say of it."""
    manifest(customers=([8], ["customer"], []))
    (project / "manifests" / "reconciler.yaml").write_text(f"contact_url: {URL}\n")


@pytest.mark.one_in(4)
@pytest.mark.parametrize("command", [["plan"], ["apply", "--auto-approve"], ["refresh", "--method", "get"]])
def test_html_and_markdown_link_the_contacts_that_they_name(
    reconciler: Command, linked: None, command: list[str]
) -> None:
    page = reconciler(*command, "--format", "html").out
    assert f'<a href="{PAGE}" rel="noreferrer noopener">{contact_id(8)}</a>' in page
    if command != ["apply", "--auto-approve"]:
        assert f"[<code>{contact_id(8)}</code>]({PAGE})" in reconciler(*command, "--format", "markdown").out


def test_other_formats_have_the_id_alone(reconciler: Command, linked: None) -> None:
    for kind in ("text", "json", "csv"):
        told = reconciler("plan", "--format", kind).out
        assert contact_id(8) in told
        assert "crm.example.com" not in told


def test_without_the_setting_nothing_is_linked(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([8], ["customer"], []))
    assert "<a " not in reconciler("plan", "--format", "html").out
    assert "](" not in reconciler("plan", "--format", "markdown").out


def test_a_flag_says_it_too(reconciler: Command, manifest: Manifest) -> None:
    manifest(customers=([8], ["customer"], []))
    assert f'href="{PAGE}"' in reconciler("plan", "--contact-url", URL, "--format", "html").out
