"""The site builds without a warning, and loads nothing from anywhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.servers

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']([^"']+)|<link[^>]+href=["']([^"']+)|@import ["']?([^"';]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("mkdocs"):
        pytest.skip("no mkdocs: pip install -r .ci/tools.txt")
    directory = tmp_path_factory.mktemp("site")
    line = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    own = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(line, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return directory


def test_every_page_is_in_it(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")]
    places = [page.parent if page.name == "index" else page for page in pages]
    assert [place for place in places if not (site / place / "index.html").is_file()] == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted([*site.rglob("*.html"), *site.rglob("*.css")])
    loaded = {
        url for page in pages for found in LOADED.findall(page.read_text(encoding="utf-8")) for url in found if url
    }
    assert len(loaded) > 5
    assert {url for url in loaded if url.startswith(("http:", "https:", "//"))} == set()
