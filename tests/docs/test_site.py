"""The site builds without a warning, holds every heading of every page, and loads nothing from anywhere else."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
import yaml

from tests.browser.chromium import chromium, find_chromium
from tests.docs.pages import ROOT

pytestmark = pytest.mark.servers

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CODE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)\s*$", re.M | re.S)
HEADING = re.compile(r"^(#{1,6}) +(.+?)(?: +#+)?$", re.M)
BUILT_HEADING = re.compile(r"<h([1-6])[^>]*>(.*?)</h\1>", re.S)
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']([^"']+)|<link[^>]+href=["']([^"']+)|@import ["']?([^"';]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = shutil.which("zensical")
    if program is None:
        pytest.skip("no zensical: pip install -r .ci/tools.txt")
    directory = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, directory / "docs")
    shutil.copy(ROOT / "mkdocs.yml", directory)
    done = subprocess.run(
        [program, "build", "--strict"], cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    return directory / "build" / "site"


def built(site: Path, page: Path) -> Path:
    name = page.relative_to(DOCS).with_suffix("")
    return site / (name.parent if name.name == "index" else name) / "index.html"


def headings_of(markdown: str) -> list[tuple[int, str]]:
    """Level and words of each heading outside of code, as a reader of the source sees them."""
    found = HEADING.findall(CODE.sub("", markdown))
    return [(len(marks), _words(re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", text))) for marks, text in found]


def headings_in(html: str) -> list[tuple[int, str]]:
    without_links = re.sub(r'<a class="headerlink".*?</a>', "", html, flags=re.S)
    found = BUILT_HEADING.findall(without_links)
    return [(int(level), _words(unescape(re.sub(r"<[^>]+>", "", text)))) for level, text in found]


def _words(text: str) -> str:
    """Letters and digits only: a typographer may set quotes and dashes otherwise."""
    return " ".join(re.findall(r"\w+", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_has_all_of_its_headings(site: Path, page: Path) -> None:
    """A fence that the builder does not understand swallows what follows it, and no strict build complains."""
    expected = headings_of(page.read_text(encoding="utf-8"))
    html = built(site, page).read_text(encoding="utf-8")
    content = html[html.index("<article") : html.index("</article>")]
    assert headings_in(content) == expected
    assert expected


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w/-]+\.md", yaml.safe_dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == [str(page.relative_to(DOCS)) for page in PAGES]


def test_every_link_inside_leads_to_a_page_and_a_place_in_it(site: Path) -> None:
    places = {
        page: set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8"))) for page in site.rglob("*.html")
    }
    lost, followed = [], 0
    for page in (built(site, each) for each in PAGES):
        html = page.read_text(encoding="utf-8")
        content = html[html.index("<article") : html.index("</article>")]
        for link in re.findall(r'<a [^>]*?href="(?!https?:|mailto:)([^"]+)"', content):
            path, _, place = unescape(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            followed += 1
            if not target.is_file() or (place and place not in places.get(target, set())):
                lost.append((str(page.relative_to(site)), link))
    assert lost == []
    assert followed > 200


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted([*site.rglob("*.html"), *site.rglob("*.css")])
    loaded = {
        url for page in pages for found in LOADED.findall(page.read_text(encoding="utf-8")) for url in found if url
    }
    assert len(loaded) > 5
    assert {url for url in loaded if url.startswith(("http:", "https:", "//"))} == set()


@pytest.mark.slow
def test_what_the_copy_button_takes_has_no_prompt_and_no_output(site: Path) -> None:
    """The theme marks the block and takes its visible text: the same is done here, in a real browser."""
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not there")
    with chromium(program) as page:
        page.open(built(site, DOCS / "tutorial.md"))
        block = "document.querySelector('.gp').closest('code')"
        assert page.run(f"{block}.innerText").startswith("$ reconciler init my-tags")
        page.run(f"{block}.setAttribute('data-md-copying', '')")
        copied = "reconciler init my-tags\ncd my-tags\ngit init --quiet --initial-branch main"
        assert page.run(f"{block}.innerText").strip() == copied
