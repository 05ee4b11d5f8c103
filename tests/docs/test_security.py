"""docs/security.md, on the site, is SECURITY.md, where the forge looks for it: one text in two places."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "security.md"


def on_the_site() -> str:
    """SECURITY.md with the links as they are from docs/."""
    return re.sub(r"\(docs/([^)]+)\)", r"(\1)", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))


def test_the_site_has_the_whole_of_security(bless: bool) -> None:
    if bless:
        PAGE.write_text(on_the_site(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == on_the_site(), "pytest --bless tests/docs rewrites docs/security.md"


def test_links_in_both_lead_somewhere() -> None:
    for text, base in (((ROOT / "SECURITY.md").read_text(encoding="utf-8"), ROOT), (on_the_site(), ROOT / "docs")):
        linked = re.findall(r"\]\((?!https:)([^)#]+)", text)
        assert linked
        assert [target for target in linked if not (base / target).is_file()] == []
