"""docs/report-light.png and docs/report-dark.png: reports as Chromium shows them.

    python benchmarks/screenshots.py

The documents are those of the goldens; a plan is shown in light, the history of runs in dark colours.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from reconciler.output.document import spell
from tests.browser.chromium import chromium, find_chromium
from tests.render.documents import ANSWERS

PICTURES = {"report-light.png": ("plan", "light"), "report-dark.png": ("history", "dark")}


def main() -> None:
    path = find_chromium()
    if path is None:
        sys.exit("there is no Chromium on the path")
    with tempfile.TemporaryDirectory() as folder, chromium(path) as page:
        page.size(1000, 760)
        for picture, (name, colours) in PICTURES.items():
            file = Path(folder) / f"{name}.html"
            file.write_text("".join(spell(ANSWERS[name](), "html", whole=False)), encoding="utf-8")
            page.colours(colours)
            page.open(file)
            (ROOT / "docs" / picture).write_bytes(page.picture())


if __name__ == "__main__":
    main()
