"""A report in a real Chromium: it renders, filters and sorts, says nothing on the console and asks for nothing.

Runs where Chromium is; with axe-core (npm) on the path of Node's modules, that judges it, too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.planning.make_plan import plan_location
from reconciler.core.planning.plan import LocationState, Plan, combine_plans
from reconciler.output.document import CommandOutput, spell
from reconciler.output.plan import PlanDocument
from tests.browser.chromium import Page, chromium, find_chromium
from tests.build import HERE, NOW, a_set, declare, many, plan_options
from tests.render.documents import ANSWERS
from tests.render.hostile import HOSTILE
from tests.render.test_sinks import DOCUMENTS

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not there"),
]
ROWS = 10_000
PATIENCE_S = 10


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    assert CHROMIUM is not None
    with chromium(CHROMIUM) as page:
        page.size(1280, 900)
        yield page


def a_long_plan() -> Plan:
    """10,000 rows: 5,000 contacts that get two tags."""
    tags = "customer newsletter"
    desired = declare(a_set("s", many(ROWS // 2), tags))
    return combine_plans(
        [plan_location(desired, LocationState(HERE), plan_options())], as_of=NOW, manifests="manifests"
    )


def show(page: Page, answer: CommandOutput, path: Path, *, whole: bool = False) -> None:
    path.write_text("".join(spell(answer, "html", whole=whole)), encoding="utf-8")
    page.open(path)


def quiet(page: Page, path: Path) -> bool:
    page.run("new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve, 50)))")
    return page.said == [] and page.asked == [path.as_uri()]


@pytest.mark.parametrize("name", ANSWERS)
def test_every_document_opens_without_a_word_on_the_console_or_the_network(
    browser: Page, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "report.html"
    for scheme in ("light", "dark"):
        browser.colours(scheme)
        show(browser, ANSWERS[name](), path)
        assert quiet(browser, path), (browser.said, browser.asked)
        assert browser.run("document.querySelector('h1').innerText")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "the page is as wide as the window"


def test_light_and_dark_are_as_the_reader_prefers(browser: Page, tmp_path: Path) -> None:
    show(browser, ANSWERS["plan"](), tmp_path / "report.html")
    grounds = []
    for scheme in ("light", "dark"):
        browser.colours(scheme)
        grounds.append(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


def shown(page: Page) -> list[list[str]]:
    """The cells of the long table, as they stand in the page."""
    rows: list[list[str]] = page.run(
        "[...document.querySelectorAll('.records tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return rows


def test_ten_thousand_rows_open_sort_and_filter_fluently(browser: Page, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    began = time.perf_counter()
    show(browser, CommandOutput(PlanDocument(a_long_plan())), path)
    before = shown(browser)
    assert len(before) == ROWS
    # rows far below are not laid out before they come into sight
    last = "document.querySelector('.records tbody:last-of-type tr')"
    assert browser.run(f"{last}.checkVisibility({{contentVisibilityAuto: true}})") is False
    assert time.perf_counter() - began < PATIENCE_S
    began = time.perf_counter()
    browser.click(".records th:nth-child(2) button")
    ascending = shown(browser)
    assert browser.run("document.querySelector('.records th:nth-child(2)').ariaSort") == "ascending"
    assert [row[1] for row in ascending] == sorted((row[1] for row in before), key=lambda name: int(name[1:]))
    browser.click(".records th:nth-child(2) button")
    assert [row[1] for row in shown(browser)] == [row[1] for row in ascending][::-1]
    browser.click(".filter input")
    browser.typed("NEWSletter")
    assert {row[4] for row in shown(browser)} == {"newsletter"}
    assert browser.run("document.querySelector('[role=status]').textContent") == "5,000 of 10,000 rows"
    assert time.perf_counter() - began < PATIENCE_S
    browser.run("document.querySelector('.filter input').value = ''")
    browser.typed(" ")
    assert len(shown(browser)) == ROWS
    assert quiet(browser, path), (browser.said, browser.asked)


def choose(page: Page, label: str, option: str) -> None:
    """As a person does in the list that has this label."""
    page.run(
        f"""(() => {{
          const named = element => element.closest("label").firstChild.data.trim();
          const list = [...document.querySelectorAll(".filter select")].find(element => named(element) === "{label}");
          [...list.options].find(each => each.text === "{option}").selected = true;
          list.dispatchEvent(new Event("change"));
        }})()"""
    )


def test_rows_are_chosen_by_tag_and_by_outcome(browser: Page, tmp_path: Path) -> None:
    show(browser, ANSWERS["run"](), tmp_path / "report.html")
    every = shown(browser)
    labels = (
        "[...document.querySelectorAll('.filter select')].map(list => list.closest('label').firstChild.data.trim())"
    )
    assert browser.run(labels) == ["outcome", "action", "tag"]
    choose(browser, "outcome", "deferred (12)")
    assert shown(browser) == [row for row in every if row[2] == "deferred"]
    choose(browser, "tag", "trial (4)")
    assert shown(browser) == [row for row in every if (row[2], row[6]) == ("deferred", "trial")]
    assert browser.run("document.querySelector('[role=status]').textContent") == f"4 of {len(every)} rows"
    choose(browser, "outcome", "all")
    choose(browser, "tag", "no tag (13)")
    assert shown(browser) == [row for row in every if not row[6]]
    choose(browser, "tag", "all")
    assert shown(browser) == every
    assert browser.run("document.querySelector('[role=status]').textContent") == ""


def test_short_tables_sort_by_number(browser: Page, tmp_path: Path) -> None:
    show(browser, ANSWERS["run"](), tmp_path / "report.html")
    browser.click("table th.right button")
    numbers = browser.run("[...document.querySelector('table').tBodies[0].rows].map(row => row.cells[0].textContent)")
    assert numbers == sorted(numbers, key=lambda text: int(text.replace(",", "")))
    assert (len(numbers), numbers[-1]) == (10, "1,200")


def test_a_hostile_tag_stays_text(browser: Page, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for text in HOSTILE:
        for name in ("run", "plan"):
            show(browser, DOCUMENTS[name](text), path)
            kinds = "script, img, iframe, a, object, [onload], [onerror]"
            elements = browser.run(f"document.querySelectorAll('{kinds}').length")
            assert elements == 1, f"{text!r}: there is more than our script"
            assert browser.said == [], text
            assert browser.asked == [path.as_uri()], text


def test_a_script_that_got_in_would_not_run(browser: Page, tmp_path: Path) -> None:
    """The policy is a second wall: here is what would happen if the first one fell."""
    path = tmp_path / "report.html"
    page = "".join(spell(ANSWERS["plan"](), "html", whole=False))
    assert "<main>" in page
    path.write_text(page.replace("<main>", "<main><script>window.broken = 1</script><img src='http://127.0.0.1:9/x'>"))
    browser.open(path)
    assert browser.run("typeof window.broken") == "undefined"
    assert browser.run("document.images[0].naturalWidth") == 0
    assert any("Content Security Policy" in said for said in browser.said)


def test_it_is_read_without_script(browser: Page, tmp_path: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        show(browser, CommandOutput(PlanDocument(a_long_plan())), tmp_path / "report.html")
        nodes = browser.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        rows = browser.call("DOM.querySelectorAll", nodeId=nodes, selector=".records tbody tr")["nodeIds"]
        buttons = browser.call("DOM.querySelectorAll", nodeId=nodes, selector="button, input, select")["nodeIds"]
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert len(rows) == ROWS
    assert buttons == [], "there is nothing to click that would do nothing"


def test_a_reader_by_ear_finds_tables_rows_and_cells(browser: Page, tmp_path: Path) -> None:
    """Laid out part by part, the long table is a table still."""
    show(browser, ANSWERS["plan"](), tmp_path / "report.html")
    browser.run("document.querySelector('.records').scrollIntoView()")
    assert browser.picture(), "what is in sight is laid out"
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    found = [node["role"]["value"] for node in nodes if not node["ignored"]]
    tables = browser.run("document.querySelectorAll('table').length")
    assert found.count("table") == found.count("caption") == tables > 1
    assert found.count("cell") == browser.run("document.querySelectorAll('td').length")
    assert found.count("columnheader") == browser.run("document.querySelectorAll('thead th').length")
    assert found.count("rowheader") == browser.run("document.querySelectorAll('tbody th').length") > 1


def test_print_leaves_the_long_table_out_and_says_so(browser: Page, tmp_path: Path) -> None:
    """10,000 rows are some 250 sheets of paper, which nobody meant to print with the summary."""
    show(browser, CommandOutput(PlanDocument(a_long_plan())), tmp_path / "report.html")
    seen = "element => element.checkVisibility()"
    names = [".records", ".filter", ".unprinted", "h1", ".totals"]
    parts = f"{names}.map(name => ({seen})(document.querySelector(name)))"
    on_screen = browser.run(parts)
    browser.call("Emulation.setEmulatedMedia", media="print")
    printed, told = browser.run(parts), browser.run("document.querySelector('.unprinted').textContent")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert on_screen == [True, True, False, True, True]
    assert printed == [False, False, True, True, True]
    assert "10,000 rows, which are not printed" in told


def test_the_tab_names_the_location(browser: Page, tmp_path: Path) -> None:
    show(browser, ANSWERS["contact"](), tmp_path / "report.html")
    first = browser.run("document.querySelector('h2').textContent")
    assert browser.run("document.title") == f"Contact: {first} and 1 more – reconciler"


def test_the_tab_of_many_locations_counts_them(browser: Page, tmp_path: Path) -> None:
    show(browser, ANSWERS["drift-many"](), tmp_path / "report.html")
    assert browser.run("document.title") == "Drift: 5 locations – reconciler"


def test_each_location_with_a_section_leads_to_it(browser: Page, tmp_path: Path) -> None:
    show(browser, ANSWERS["plan-many"](), tmp_path / "report.html")
    links = "[...document.querySelectorAll('.overview th a')]"
    led = browser.run(f"{links}.map(a => document.querySelector(a.hash).querySelector('h2').textContent)")
    named = browser.run(f"{links}.map(a => a.textContent)")
    assert len(named) == 4
    assert [name in title for name, title in zip(named, led, strict=True)] == [True] * 4
    assert "no changes" in browser.run("document.querySelector('.overview tbody').textContent")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_heat_is_read_by_its_numbers_too(browser: Page, tmp_path: Path, scheme: str, width: int) -> None:
    """On a phone no column is left out: the table is moved sideways, and its first column stays."""
    browser.colours(scheme)
    browser.size(width, 844)
    try:
        show(browser, ANSWERS["drift-many"](), tmp_path / "report.html")
        cells = "[...document.querySelectorAll('.overview td[class^=heat]')]"
        numbers = browser.run(f"{cells}.map(cell => cell.textContent)")
        grounds = browser.run(f"{cells}.map(cell => getComputedStyle(cell).backgroundColor)")
        seen = browser.run(f"{cells}.every(cell => cell.getClientRects().length > 0)")
        sticks = browser.run("getComputedStyle(document.querySelector('.overview tbody th')).position")
    finally:
        browser.size(1280, 900)
        browser.colours("light")
    digits = {
        ground: {len(number) for number, at in zip(numbers, grounds, strict=True) if at == ground} for ground in grounds
    }
    assert ("1,234" in numbers, seen, sticks) == (True, True, "sticky")
    assert sorted(map(sorted, digits.values())) == [[1], [2], [5]], "a ground an order of magnitude"


BROKEN_WORDS = """[...document.querySelectorAll('td, th, li, p, dd, dt, h1, h2, h3')].flatMap(element => {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), broken = [];
  for (let node = texts.nextNode(); node; node = texts.nextNode())
    for (const word of node.data.matchAll(/\\b[A-Za-z0-9,]{2,25}\\b/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(word[0]);
    }
  return broken;
})"""


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("name", ANSWERS)
def test_no_word_is_broken_however_wide_the_screen(browser: Page, tmp_path: Path, name: str, width: int) -> None:
    """On a phone the last columns go instead; the page itself is no wider than the screen."""
    browser.size(width, 844)
    try:
        show(browser, ANSWERS[name](), tmp_path / "report.html")
        assert browser.run(BROKEN_WORDS) == []
        assert browser.run("document.documentElement.scrollWidth") <= width
    finally:
        browser.size(1280, 900)


def axe() -> Path | None:
    """axe-core, beside the programs of npm that are on the path."""
    folders = [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep)]
    found = (folder.parent / "axe-core" / "axe.min.js" for folder in folders if folder.name == ".bin")
    return next((path for path in found if path.is_file()), None)


THREE_ALIKE = """(() => {
  const alike = {};
  for (const row of document.querySelectorAll('tr, li')) {
    const parts = [row.parentNode, row, ...row.querySelectorAll('*')];
    const look = parts.map(part => [part.tagName, part.className, ...part.getAttributeNames()]).join(' ');
    alike[look] = (alike[look] ?? 0) + 1;
    if (alike[look] > 3) row.remove();
  }
})()"""
"""Of rows of the same elements, classes and attributes three are left: they have one look."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ANSWERS)
def test_axe_finds_nothing(browser: Page, tmp_path: Path, name: str, scheme: str) -> None:
    """Contrast, names, roles, scopes, landmarks: by a judge that is not ours."""
    judge = axe()
    if judge is None:
        pytest.skip("axe-core (npm) is not there")
    browser.colours(scheme)
    show(browser, ANSWERS[name](), tmp_path / "report.html")
    # of a thousand rows that are alike it looks at each
    browser.run(THREE_ALIKE)
    browser.run(judge.read_text(encoding="utf-8") + "; 0")
    found: list[dict[str, Any]] = json.loads(browser.run("axe.run().then(found => JSON.stringify(found.violations))"))
    told = [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in found]
    assert told == []
