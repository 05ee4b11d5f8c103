"""docs/limits.md and docs/people.md: costs are worked out by the program's own arithmetic, and limits are its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler import planfile
from reconciler.apply import rounds, split_refused
from reconciler.core.model import api_limits, contact_state, lease
from reconciler.core.model.api_limits import Rate
from reconciler.core.model.settings import ApiSettings
from reconciler.core.observing.refresh_rules import Cost, count_pages, estimate_cost
from reconciler.highlevel import http_client
from reconciler.loading import contact_files, files, nodes
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "limits.md"
PEOPLE = ROOT / "docs" / "people.md"
API = ApiSettings()
RATE = Rate(API.requests_per_10s, per_day=API.requests_per_day, reserve_pct=API.reserve_pct)
CONTACTS = (500, 10_000, 100_000, 1_000_000)
SEARCH_MS = 300
"""How long a page of a search takes, as the page says."""


def sending() -> list[tuple[str, ...]]:
    costs = [estimate_cost(-(-contacts // API.max_contacts), RATE) for contacts in CONTACTS]
    return [(f"{contacts:,}", *_cells(cost)) for contacts, cost in zip(CONTACTS, costs, strict=True)]


def people() -> list[tuple[str, ...]]:
    costs = [estimate_cost(count_pages(contacts), RATE, each_ms=SEARCH_MS) for contacts in CONTACTS]
    return [(f"{contacts:,}", *_cells(cost)) for contacts, cost in zip(CONTACTS, costs, strict=True)]


def reading() -> list[tuple[str, ...]]:
    return [
        (
            f"{contacts:,}",
            *_cells(estimate_cost(contacts, RATE)),
            *_cells(estimate_cost(count_pages(contacts), RATE, each_ms=SEARCH_MS)),
        )
        for contacts in CONTACTS
    ]


def _cells(cost: Cost) -> tuple[str, str, str]:
    time = _time(cost.milliseconds) if cost.share <= 1 else "more than a day has"
    return (
        f"{cost.requests:,}",
        time,
        f"{cost.share * 100:.2g} %" if cost.share < 1 else f"{cost.share:.0%}".replace("%", " %"),
    )


def _time(milliseconds: int) -> str:
    seconds = round(milliseconds / 1000)
    hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "at once"


def ours() -> list[tuple[str, ...]]:
    day = api_limits.DAY_MS
    return [
        ("lines of a manifest", f"{files.MAX_LINES:,}"),
        ("size of a manifest", f"{files.MAX_BYTES // 1_000_000} MB"),
        ("values in a manifest", f"{nodes.MAX_VALUES:,}"),
        ("depth of a manifest", f"{nodes.MAX_DEPTH}"),
        ("line of a contact file", f"{contact_files.MAX_LINE >> 20} MB"),
        ("body of an answer", f"{http_client.MOST_BODY >> 20} MB"),
        ("plan file", f"{planfile.MOST_BYTES >> 20} MB"),
        ("extra requests for batches that are refused as a whole", f"{split_refused.MOST_EXTRA}"),
        ("rounds of a run", f"{rounds.MAX_ROUNDS}"),
        ("a lease without a heartbeat", f"{lease.TTL_MS // 1000} s"),
        ("a pause that `Retry-After` may ask for", f"{api_limits.LONGEST_PAUSE_MS // 60_000} min"),
        ("a quarantine without another look", f"{contact_state.QUARANTINE_MS // day} days"),
        ("between two restorations of a pair", f"{contact_state.RESTORE_MS // day} days"),
    ]


@pytest.mark.parametrize(
    ("path", "name", "rows"),
    [(PAGE, "sending", sending()), (PAGE, "reading", reading()), (PAGE, "ours", ours()), (PEOPLE, "people", people())],
    ids=["sending", "reading", "ours", "people"],
)
def test_a_table_is_what_the_program_reckons(path: Path, name: str, rows: list[tuple[str, ...]], bless: bool) -> None:
    page = path.read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- {name} -->\n\|[^\n]*\n\|[-|]*\n(.*?)<!-- end -->", page, re.S)
    expected = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if bless:
        path.write_text(page.replace(found, expected), encoding="utf-8")
        found = expected
    assert found == expected


def test_the_limits_of_the_vendor_are_the_defaults() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, value in (
        ("requests in 10 seconds", API.requests_per_10s),
        ("requests a day", API.requests_per_day),
        ("contacts in one bulk request", API.max_contacts),
        ("tags in one bulk request", API.max_tags),
    ):
        assert f"| {name} | {value:,} |" in page
    assert f"{API.reserve_pct} % are left to others" in page
    assert f"`api.settle_s` ({API.settle_s} s)" in page
