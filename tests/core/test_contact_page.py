"""The address of a contact's page: ids stay where the template has them, whatever is in them."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest

from reconciler.core.model.names import ContactId, LocationId
from reconciler.core.model.safe_text import contact_page, is_contact_url
from tests.render.hostile import HOSTILE

TEMPLATE = "https://crm.example.com/v2/{location_id}/contacts/{contact_id}?tab=tags"


def test_it_is_what_the_template_says() -> None:
    assert is_contact_url(TEMPLATE)
    page = contact_page(TEMPLATE, LocationId("asdrwHvLUxlfw5SqKVCN"), ContactId("AnnaAnnaAnnaAnnaAnna"))
    assert page == "https://crm.example.com/v2/asdrwHvLUxlfw5SqKVCN/contacts/AnnaAnnaAnnaAnnaAnna?tab=tags"


@pytest.mark.parametrize("text", [*HOSTILE, "../..", "a/b?c#d", "{contact_id}", "{location_id}", "ä ö", "%2F"])
def test_an_id_is_one_segment_whatever_is_in_it(text: str) -> None:
    page = contact_page(TEMPLATE, LocationId("{contact_id}"), ContactId(text))
    parts = urlsplit(page)
    assert (parts.netloc, parts.query, parts.fragment) == ("crm.example.com", "tab=tags", "")
    segments = parts.path.split("/")
    assert len(segments) == 5
    assert unquote(segments[2]) == "{contact_id}"
    assert unquote(segments[4]) == text.encode("utf-8", "replace").decode()
    assert page.isascii()
    assert not set(page) & set(" \"'<>()[]{}|\\`*")
